//! Request objects (RFC 9101), as hostile as they can be, at the authorization endpoint and where requests are
//! pushed. Each differs in one thing from one that counts, and none takes the browser to where its client did
//! not register.

use serde_json::{Value, json};
use tegata_core::Node;

use super::{
    administration::Administrator,
    browser::{CALLBACK, CHALLENGE, as_client},
    demo::{Client, demo, unique},
    forged::{Good, Signer},
    hostile::{is_well, tells_nothing},
    http::{Answer, form, parameter},
    publisher::Publisher,
};

const TYP: &str = "oauth-authz-req+jwt";

/// Where nobody is ever sent.
const EVIL: &str = "https://evil.example/cb";

/// More than this does not go into an address.
const LONGEST: usize = 4096;

const NO_OBJECT: &str = "invalid_request_object";

/// A client that signs what it asks for, and proves itself by a secret.
struct Asker {
    client: Client,
    signer: Signer,
}

impl Asker {
    fn new() -> Self {
        let (id, signer) = (unique("asker"), Signer::new());
        let said = json!({
            "client_id": id, "token_endpoint_auth_method": "client_secret_basic",
            "jwks": signer.jwks(), "redirect_uris": [CALLBACK], "scope": "openid orders.read",
        });
        let administrator = Administrator::machine(demo(), "admin.read admin.write");
        let made = administrator.post("/clients", &said).expect(201).json();
        let secret = made["client_secret"].as_str().map(str::to_owned);
        Self { client: Client { id, secret }, signer }
    }

    /// The claims of one that counts.
    fn claims(&self) -> Value {
        let now = Node::start().now().secs();
        json!({
            "iss": self.client.id, "aud": demo().issuer, "client_id": self.client.id,
            "response_type": "code", "redirect_uri": CALLBACK, "scope": "openid", "state": "inside",
            "nonce": "a nonce", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
            "iat": now, "nbf": now, "exp": now + 240, "jti": unique("object"),
        })
    }

    fn signed(&self, claims: &Value) -> String {
        self.signer.signed(Good { typ: TYP, claims })
    }

    /// What the browser is answered that brings this.
    fn brought(&self, more: &[(&str, &str)]) -> Answer {
        let asked = [&[("client_id", self.client.id.as_str())][..], more].concat();
        demo().public.get(&format!("/oauth2/authorize?{}", form(&asked))).send()
    }

    /// What the client is answered that pushes this.
    fn pushed(&self, more: &[(&str, &str)]) -> Answer {
        as_client(demo().public.post("/oauth2/par"), &self.client, more).send()
    }

    /// That an object leads to an error and nowhere else, whatever stands beside it.
    fn refuses(&self, what: &str, object: &str, error: &str) {
        let pushed = self.pushed(&[("request", object), ("redirect_uri", CALLBACK)]);
        assert_eq!(pushed.status, 400, "{what}, pushed: {}", pushed.text());
        assert_eq!(pushed.json()["error"], error, "{what}, pushed");
        tells_nothing(what, &pushed);
        if object.len() > LONGEST {
            return;
        }
        let beside = [("request", object), ("redirect_uri", CALLBACK), ("state", "beside")];
        let back = self.brought(&beside);
        goes_back(what, &back, error);
        assert_eq!(parameter(back.location(), "state").as_deref(), Some("beside"), "{what}");
        let away = self.brought(&[("request", object), ("redirect_uri", EVIL)]);
        goes_nowhere(what, &away);
    }

    /// That an object counts, where it is brought and where it is pushed.
    fn counts(&self, object: &str) {
        let target = self.brought(&[("request", object)]);
        assert!(target.location().starts_with("/login"), "{}", target.location());
        self.pushed(&[("request", object)]).expect(201);
    }
}

/// The browser is sent to the client with this error.
fn goes_back(what: &str, answer: &Answer, error: &str) {
    assert!(matches!(answer.status, 302 | 303), "{what}: {} {}", answer.status, answer.text());
    let address = answer.location();
    assert!(address.starts_with(&format!("{CALLBACK}?")), "{what}: {address}");
    assert_eq!(parameter(address, "error").as_deref(), Some(error), "{what}: {address}");
    assert_eq!(parameter(address, "iss").as_deref(), Some(demo().issuer.as_str()), "{what}");
    assert!(parameter(address, "code").is_none(), "{what}: {address}");
}

/// The browser stays here, at a page that says why.
fn goes_nowhere(what: &str, answer: &Answer) {
    assert_eq!(answer.status, 400, "{what}: {:?} {}", answer.fields, answer.text());
    assert!(answer.field("location").is_none(), "{what}: {:?}", answer.fields);
    assert!(answer.field("refresh").is_none(), "{what}: {:?}", answer.fields);
    let page = answer.text();
    assert!(!page.contains("http-equiv=\"refresh\""), "{what}: {page}");
    assert!(!page.contains("href=\"https://evil.example"), "{what}: {page}");
    assert!(!page.contains("javascript:"), "{what}: {page}");
    tells_nothing(what, answer);
}

/// What is put in the place of a claim; `null`: nothing, so that it is missing.
fn with(claims: &Value, changes: &[(&str, Value)]) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes {
        if value.is_null() {
            claims.as_object_mut().unwrap().shift_remove(*name);
        } else {
            claims[*name] = value.clone();
        }
    }
    claims
}

#[test]
fn whatever_is_not_signed_by_the_client_for_this_asks_for_nothing() {
    let asker = Asker::new();
    let canary = Publisher::of("200 OK", &asker.signer.strange_jwks().to_string());
    let claims = asker.claims();
    // As they would be of whoever wants to have the code.
    let evil = with(&claims, &[("redirect_uri", json!(EVIL))]);
    for claims in [&claims, &evil] {
        for (what, text) in asker.signer.forgeries(Good { typ: TYP, claims }, &canary.address) {
            asker.refuses(&what, &text, NO_OBJECT);
        }
        let typ = "client-authentication+jwt";
        asker.refuses(typ, &asker.signer.signed(Good { typ, claims }), NO_OBJECT);
    }
    assert_eq!(canary.asked(), 0, "an address that an object names was asked");
    asker.counts(&asker.signed(&claims));
    is_well(demo());
}

#[test]
fn every_claim_is_as_it_must_be_or_the_object_counts_for_nothing() {
    let asker = Asker::new();
    let claims = asker.claims();
    let (issuer, now) = (demo().issuer.as_str(), Node::start().now().secs());
    let id = asker.client.id.as_str();
    for (name, values) in [
        (
            "iss",
            vec![json!(null), json!(""), json!("demo-web"), json!(issuer), json!([id]), json!(7)],
        ),
        ("client_id", vec![json!(null), json!(""), json!("demo-web"), json!([id]), json!({})]),
        // RFC 9101 §10.8: it would be an assertion.
        ("sub", vec![json!(id), json!("usr_x"), json!(""), json!(7)]),
        (
            "aud",
            vec![
                json!(null),
                json!([]),
                json!(""),
                json!("https://evil.example"),
                json!(["https://evil.example"]),
                json!(format!("{issuer}/")),
                json!(format!("{issuer}/oauth2/authorize")),
                json!(format!("{issuer}/oauth2/par")),
                json!(format!("{issuer} https://evil.example")),
                json!([[issuer]]),
                json!({"issuer": issuer}),
                json!(7),
            ],
        ),
        (
            "exp",
            vec![
                json!(now - 60),
                json!(0),
                json!(-1),
                json!(1.5),
                json!((now + 240).to_string()),
                json!(1_u64 << 53),
                json!(u64::MAX),
                json!(1e300),
                json!([now + 240]),
                json!(true),
            ],
        ),
        ("iat", vec![json!(now + 3600), json!(-1), json!(now.to_string()), json!(u64::MAX)]),
        ("nbf", vec![json!(now + 3600), json!(-1), json!(now.to_string()), json!(u64::MAX)]),
        // RFC 9101 §4: it neither holds nor points to another.
        ("request", vec![json!(asker.signed(&claims)), json!(""), json!({}), json!(7)]),
        (
            "request_uri",
            vec![
                json!("https://evil.example/object"),
                json!("urn:ietf:params:oauth:request_uri:x"),
                json!(""),
                json!(["x"]),
            ],
        ),
        // What is read otherwise by whoever looks less closely.
        ("redirect_uri", vec![json!([CALLBACK]), json!({"uri": CALLBACK}), json!(7), json!(true)]),
        ("response_type", vec![json!(["code"]), json!(false)]),
        ("scope", vec![json!(["openid"]), json!({}), json!(1)]),
        ("state", vec![json!(1), json!(["inside"])]),
        ("code_challenge", vec![json!(true), json!([CHALLENGE])]),
        ("resource", vec![json!({}), json!([1]), json!([["x"]])]),
        ("max_age", vec![json!([60]), json!(true)]),
        ("prompt", vec![json!(["none"])]),
    ] {
        for value in values {
            let what = format!("{name} = {value}");
            let text = asker.signed(&with(&claims, &[(name, value)]));
            asker.refuses(&what, &text, NO_OBJECT);
        }
    }
    // Made by another of our clients, and brought in the name of this one.
    let other = Asker::new();
    asker.refuses("another client's", &other.signed(&other.claims()), NO_OBJECT);
    asker.refuses("one that another signed for it", &other.signed(&claims), NO_OBJECT);
    asker.counts(&asker.signed(&claims));
    // What is as good: for others, too, without dates, with what nobody knows, of the older type.
    for claims in [
        with(&claims, &[("aud", json!([issuer, "https://other.example"]))]),
        with(&claims, &[("exp", json!(null)), ("nbf", json!(null)), ("iat", json!(null))]),
        with(&claims, &[("unknown", json!({"a": [1]})), ("jti", json!(null))]),
    ] {
        asker.counts(&asker.signed(&claims));
    }
    for typ in ["JWT", "jwt", "OAuth-Authz-Req+JWT"] {
        asker.counts(&asker.signer.signed(Good { typ, claims: &claims }));
    }
}

#[test]
fn a_good_signature_takes_nobody_to_where_the_client_did_not_register() {
    let asker = Asker::new();
    let claims = asker.claims();
    for uri in [
        EVIL,
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example/cb",
        "http://127.0.0.1:9999/callback/..",
        "http://127.0.0.1:9999/callback?x",
        "http://127.0.0.1:9999/callback#x",
        "http://127.0.0.1:9999@evil.example/callback",
    ] {
        let text = asker.signed(&with(&claims, &[("redirect_uri", json!(uri))]));
        // What stands beside it does not count, and so does not save it.
        for beside in [CALLBACK, uri] {
            let answer = asker.brought(&[("request", &text), ("redirect_uri", beside)]);
            goes_nowhere(uri, &answer);
        }
        let pushed = asker.pushed(&[("request", &text), ("redirect_uri", CALLBACK)]).expect(400);
        assert_eq!(pushed.json()["error"], "invalid_request", "{uri}");
    }
    // With `openid`, the only one that there is stands for none that is missing.
    let bare = asker.signed(&with(&claims, &[("redirect_uri", json!(null))]));
    goes_nowhere("none", &asker.brought(&[("request", &bare), ("redirect_uri", CALLBACK)]));
    // What is in it counts, and nothing beside it.
    let beside = [("redirect_uri", EVIL), ("scope", "admin.write"), ("prompt", "none")];
    let text = asker.signed(&claims);
    let answer = asker.brought(&[&[("request", text.as_str())], &beside[..]].concat());
    assert!(answer.location().starts_with("/login"), "{}", answer.location());
    let silent = asker.signed(&with(&claims, &[("prompt", json!("none"))]));
    let answer = asker.brought(&[&[("request", silent.as_str())], &beside[..]].concat());
    goes_back("prompt", &answer, "login_required");
    assert_eq!(parameter(answer.location(), "state").as_deref(), Some("inside"));
}

#[test]
fn an_object_is_its_clients_alone_and_stands_alone() {
    let (asker, other) = (Asker::new(), Asker::new());
    let text = asker.signed(&asker.claims());
    other.refuses("another client's", &text, NO_OBJECT);
    // The client is said in the address, and is the one in the object.
    let nobody = [("client_id", "nobody"), ("request", text.as_str())];
    goes_nowhere(
        "nobody",
        &demo().public.get(&format!("/oauth2/authorize?{}", form(&nobody))).send(),
    );
    let nameless = format!("/oauth2/authorize?{}", form(&[("request", &text)]));
    goes_nowhere("no client_id", &demo().public.get(&nameless).send());
    let twice = [("request", text.as_str()), ("request", text.as_str())];
    goes_nowhere("two of them", &asker.brought(&twice));
    assert_eq!(asker.pushed(&twice).expect(400).json()["error"], "invalid_request");
    let named = [("request", text.as_str()), ("client_id", other.client.id.as_str())];
    assert_eq!(asker.pushed(&named).expect(401).json()["error"], "invalid_client");
    // The person of a token, and a client's assertion, ask for nothing.
    let mut assertion = asker.claims();
    assertion["sub"] = json!(asker.client.id);
    for typ in ["JWT", "client-authentication+jwt"] {
        let text = asker.signer.signed(Good { typ, claims: &assertion });
        asker.refuses(typ, &text, NO_OBJECT);
    }
    asker.refuses("an access token", &demo().token_of_partner(), NO_OBJECT);
    asker.counts(&text);
}

#[test]
fn nothing_is_fetched_wherever_a_request_is_said_to_be() {
    let asker = Asker::new();
    let text = asker.signed(&asker.claims());
    let canary = Publisher::of("200 OK", &text);
    let pushed = asker.pushed(&[("request", &text)]).expect(201).json();
    let known = pushed["request_uri"].as_str().unwrap().to_owned();
    let beside = [("redirect_uri", CALLBACK), ("state", "beside")];
    for uri in [
        canary.address.as_str(),
        "https://evil.example/object",
        "file:///etc/passwd",
        "data:application/jwt,x",
        "http://169.254.169.254/latest/meta-data",
        "urn:ietf:params:oauth:request",
        "URN:IETF:PARAMS:OAUTH:REQUEST_URI:x",
        "x",
        &format!(" {known}"),
    ] {
        let asked = [&beside[..], &[("request_uri", uri)]].concat();
        goes_back(uri, &asker.brought(&asked), "request_uri_not_supported");
        let both = [&asked[..], &[("request", text.as_str())]].concat();
        goes_back(uri, &asker.brought(&both), "invalid_request");
        let away = [("request_uri", uri), ("redirect_uri", EVIL)];
        goes_nowhere(uri, &asker.brought(&away));
        let refused = asker.pushed(&asked).expect(400).json();
        assert_eq!(refused["error"], "invalid_request", "{uri}");
    }
    // Of the form of ours, and none that was given out here, or to this client.
    let random = "A".repeat(43);
    for uri in [
        "urn:ietf:params:oauth:request_uri:x".to_owned(),
        format!("urn:ietf:params:oauth:request_uri:{random}"),
        format!("{known}x"),
        format!("{known}/../{random}"),
        format!("{known}#x"),
    ] {
        goes_nowhere(
            &uri,
            &asker.brought(&[&beside[..], &[("request_uri", uri.as_str())]].concat()),
        );
    }
    let other = Asker::new();
    let asked = [&beside[..], &[("request_uri", known.as_str())]].concat();
    goes_nowhere("another client's", &other.brought(&asked));
    let both = [&asked[..], &[("request", text.as_str())]].concat();
    goes_back("both", &asker.brought(&both), "invalid_request");
    assert_eq!(canary.asked(), 0, "an address that a request names was asked");
    // All of that has not used it up.
    let answer = asker.brought(&[("request_uri", &known)]);
    assert!(answer.location().starts_with("/login"), "{}", answer.location());
}

/// FAPI 2.0 Message Signing §5.3.1: a window of an hour, both ends of which are said.
#[test]
fn a_client_of_fapi_says_from_when_and_until_when_its_object_counts() {
    let asker = Asker::new();
    let administrator = Administrator::machine(demo(), "admin.read admin.write");
    let own = format!("/clients/{}", asker.client.id);
    let keys = json!({"keys": [asker.signer.key.jwk()]});
    let fapi = json!({
        "profile": "fapi2", "jwks": keys, "token_endpoint_auth_method": "private_key_jwt",
        "access_token_signed_response_alg": "ES256", "id_token_signed_response_alg": "ES256",
        "authorization_signed_response_alg": "ES256",
    });
    administrator.patch(&own, &fapi).expect(200);
    let now = Node::start().now().secs();
    let push = |changes: &[(&str, Value)]| {
        let assertion = json!({
            "iss": asker.client.id, "sub": asker.client.id, "aud": demo().issuer, "exp": now + 240,
            "jti": unique("assertion"),
        });
        let assertion = asker.signer.signed(Good { typ: "JWT", claims: &assertion });
        let object = asker.signed(&with(&asker.claims(), changes));
        let fields = [
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.as_str()),
            ("request", object.as_str()),
        ];
        demo().public.post("/oauth2/par").form(&fields).send()
    };
    for changes in [
        vec![("exp", json!(null))],
        vec![("nbf", json!(null))],
        vec![("exp", json!(null)), ("nbf", json!(null))],
        vec![("exp", json!(now + 3700))],
        vec![("exp", json!(1_u64 << 40))],
        vec![("nbf", json!(now - 3700))],
        vec![("nbf", json!(now + 120))],
        vec![("exp", json!(now - 60))],
        vec![("iss", json!("other"))],
    ] {
        let refused = push(&changes).expect(400).json();
        assert_eq!(refused["error"], NO_OBJECT, "{changes:?}");
    }
    push(&[("nbf", json!(now - 60)), ("exp", json!(now + 3000))]).expect(201);
}
