//! Client assertions (RFC 7523), as hostile as they can be, at every endpoint at which clients prove
//! themselves. Each differs in one thing from one that counts, which is shown after it: under the same `jti`,
//! so that nothing that is refused uses that up.

use serde_json::{Value, json};
use tegata_core::Node;
use tegata_token::dpop;

use super::{
    administration::Administrator,
    browser::{Browser, CALLBACK, CHALLENGE, VERIFIER, authorization},
    demo::{Client, demo, unique},
    forged::{Good, Signer},
    hostile::is_well,
    http::{Answer, form, parameter},
    publisher::Publisher,
};

const BY_JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An endpoint, with the status of a good answer to what is asked there.
type Endpoint<'a> = (&'a str, u16, &'a [(&'a str, &'a str)]);

const ENDPOINTS: [Endpoint<'_>; 4] = [
    ("/oauth2/token", 200, &[("grant_type", "client_credentials"), ("scope", "orders.read")]),
    (
        "/oauth2/par",
        201,
        &[
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("scope", "openid"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ],
    ),
    ("/oauth2/introspect", 200, &[("token", "x")]),
    ("/oauth2/revoke", 200, &[("token", "x")]),
];

/// A client that may ask everything, and signs.
struct Prover {
    id: String,
    signer: Signer,
}

impl Prover {
    fn new() -> Self {
        Self::declared(&json!({}))
    }

    fn declared(changes: &Value) -> Self {
        let (id, signer) = (unique("prover"), Signer::new());
        let mut said = json!({
            "client_id": id, "token_endpoint_auth_method": "private_key_jwt",
            "jwks": signer.jwks(), "redirect_uris": [CALLBACK], "may_introspect": true,
            "grant_types": ["authorization_code", "client_credentials"],
            "scope": "openid orders.read", "asks_consent": false,
            "access_token_signed_response_alg": "ES256", "id_token_signed_response_alg": "ES256",
        });
        for (name, value) in changes.as_object().unwrap() {
            said[name] = value.clone();
        }
        said.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let administrator = Administrator::machine(demo(), "admin.read admin.write");
        administrator.post("/clients", &said).expect(201);
        Self { id, signer }
    }

    /// The claims of one that counts, each time another.
    fn claims(&self) -> Value {
        let now = Node::start().now().secs();
        json!({
            "iss": self.id, "sub": self.id, "aud": demo().issuer, "iat": now, "nbf": now,
            "exp": now + 240, "jti": unique("assertion"),
        })
    }

    fn signed(&self, claims: &Value) -> String {
        self.signer.signed(Good { typ: "JWT", claims })
    }
}

/// What an endpoint answers to whoever shows this.
fn shown(endpoint: &Endpoint<'_>, more: &[(&str, &str)]) -> Answer {
    let (path, _, asked) = *endpoint;
    demo().public.post(path).form(&[asked, more].concat()).send()
}

fn by(endpoint: &Endpoint<'_>, assertion: &str) -> Answer {
    shown(endpoint, &[("client_assertion_type", BY_JWT), ("client_assertion", assertion)])
}

fn passes(endpoint: &Endpoint<'_>, assertion: &str) {
    let answer = by(endpoint, assertion);
    assert_eq!(answer.status, endpoint.1, "{}: {}", endpoint.0, answer.text());
}

/// Refused as RFC 6749 §5.2 and RFC 9126 §2.3 say, with nothing that tells what else would count.
fn refuses(what: &str, answer: &Answer, (status, error): (u16, &str)) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.json()["error"], error, "{what}");
    assert_eq!(answer.field("cache-control"), Some("no-store"), "{what}");
    assert!(answer.field("location").is_none(), "{what}");
    super::hostile::tells_nothing(what, answer);
}

const NOBODY: (u16, &str) = (401, "invalid_client");

#[test]
fn whatever_is_not_signed_by_the_client_for_this_proves_nothing_anywhere() {
    let prover = Prover::new();
    let canary = Publisher::of("200 OK", &prover.signer.strange_jwks().to_string());
    for endpoint in &ENDPOINTS {
        let claims = prover.claims();
        let good = Good { typ: "JWT", claims: &claims };
        for (what, text) in prover.signer.forgeries(good, &canary.address) {
            refuses(&format!("{}: {what}", endpoint.0), &by(endpoint, &text), NOBODY);
        }
        for typ in ["oauth-authz-req+jwt", "OAUTH-AUTHZ-REQ+JWT"] {
            let text = prover.signer.signed(Good { typ, claims: &claims });
            refuses(&format!("{}: {typ}", endpoint.0), &by(endpoint, &text), NOBODY);
        }
        passes(endpoint, &prover.signed(&claims));
    }
    assert_eq!(canary.asked(), 0, "an address that a token names was asked");
    is_well(demo());
}

#[test]
fn a_client_that_publishes_its_keys_has_nobody_elses_asked() {
    let canary = Publisher::of("200 OK", "{}");
    let own = Publisher::of("200 OK", "{}");
    let prover = Prover::declared(&json!({"jwks": null, "jwks_uri": own.address}));
    own.becomes(&prover.signer.jwks().to_string());
    canary.becomes(&prover.signer.strange_jwks().to_string());
    let claims = prover.claims();
    let good = Good { typ: "JWT", claims: &claims };
    for (what, text) in prover.signer.with_keys_of_their_own(good, &canary.address) {
        refuses(&what, &by(&ENDPOINTS[0], &text), NOBODY);
    }
    for kid in [canary.address.as_str(), "unknown", "../jwks"] {
        let text = prover.signer.signed_as(kid, good);
        refuses(kid, &by(&ENDPOINTS[0], &text), NOBODY);
    }
    assert_eq!(canary.asked(), 0);
    passes(&ENDPOINTS[0], &prover.signed(&claims));
    assert!(own.asked() > 0);
}

/// What is put in the place of a claim; `null`: nothing, so that it is missing.
fn with(claims: &Value, name: &str, value: &Value) -> Value {
    let mut claims = claims.clone();
    if value.is_null() {
        claims.as_object_mut().unwrap().shift_remove(name);
    } else {
        claims[name] = value.clone();
    }
    claims
}

#[test]
fn every_claim_is_as_it_must_be_or_the_assertion_counts_for_nothing() {
    let prover = Prover::new();
    let (demo, now) = (demo(), Node::start().now().secs());
    let issuer = demo.issuer.as_str();
    let token = format!("{issuer}/oauth2/token");
    let spelled = issuer.replace("localhost", "LOCALHOST");
    let far = i64::MAX;
    for endpoint in &ENDPOINTS {
        let claims = prover.claims();
        let called = format!("{issuer}{}", endpoint.0);
        for (name, values) in [
            // A client of several issuers could be made to sign for the wrong one (audience injection).
            (
                "aud",
                vec![
                    json!(null),
                    json!([]),
                    json!(""),
                    json!(7),
                    json!({"issuer": issuer}),
                    json!(token),
                    json!(called),
                    json!([token]),
                    json!([issuer, token]),
                    json!([issuer, "https://evil.example"]),
                    json!(["https://evil.example", issuer]),
                    json!([issuer, issuer]),
                    json!([issuer, null]),
                    json!([[issuer]]),
                    json!(format!("{issuer}/")),
                    json!(format!("{issuer}#")),
                    json!(format!("{issuer}?x")),
                    json!(format!("{issuer} ")),
                    json!(format!("{issuer}.evil.example")),
                    json!(format!("{issuer} https://evil.example")),
                    json!(spelled),
                    json!("https://evil.example"),
                    json!("orders"),
                    json!(prover.id),
                ],
            ),
            (
                "iss",
                vec![
                    json!(null),
                    json!(""),
                    json!("demo-web"),
                    json!(issuer),
                    json!([prover.id]),
                    json!(7),
                ],
            ),
            // Of another client, which has no such key; of nobody; of a person.
            (
                "sub",
                vec![
                    json!(null),
                    json!(""),
                    json!("demo-web"),
                    json!("nobody"),
                    json!("usr_x"),
                    json!([prover.id]),
                    json!(format!("{} ", prover.id)),
                ],
            ),
            (
                "exp",
                vec![
                    json!(null),
                    json!((now + 240).to_string()),
                    json!(true),
                    json!([now + 240]),
                    json!(-1),
                    json!(0),
                    json!(-0.5),
                    json!(now - 60),
                    json!(now + 3600),
                    // Milliseconds.
                    json!((now + 240) * 1000),
                    json!(1_u64 << 53),
                    json!(far),
                    json!(u64::MAX),
                    json!(1e300),
                    json!(1.5),
                ],
            ),
            (
                "iat",
                vec![
                    json!(now + 3600),
                    json!(now.to_string()),
                    json!(-1),
                    json!(u64::MAX),
                    json!([now]),
                ],
            ),
            (
                "nbf",
                vec![
                    json!(now + 3600),
                    json!(now.to_string()),
                    json!(-1),
                    json!(u64::MAX),
                    json!({}),
                ],
            ),
            ("jti", vec![json!(null), json!(7), json!(["a"]), json!({})]),
        ] {
            for value in values {
                let text = prover.signed(&with(&claims, name, &value));
                let what = format!("{}: {name} = {value}", endpoint.0);
                refuses(&what, &by(endpoint, &text), NOBODY);
            }
        }
        let swapped = with(&with(&claims, "iss", &json!("demo-web")), "sub", &json!("demo-web"));
        refuses("somebody else's", &by(endpoint, &prover.signed(&swapped)), NOBODY);
        passes(endpoint, &prover.signed(&claims));
    }
    // What is as good: the newer type, none, no time of issue, an audience in a list by itself.
    for claims in [
        with(&prover.claims(), "iat", &json!(null)),
        with(&prover.claims(), "nbf", &json!(null)),
        with(&prover.claims(), "aud", &json!([issuer])),
        with(&prover.claims(), "exp", &json!(240.5 + f64::from(u32::try_from(now).unwrap()))),
        with(&prover.claims(), "client_id", &json!(prover.id)),
    ] {
        passes(&ENDPOINTS[0], &prover.signed(&claims));
    }
    let (typ, claims) = ("client-authentication+jwt", &prover.claims());
    passes(&ENDPOINTS[0], &prover.signer.signed(Good { typ, claims }));
}

#[test]
fn tokens_that_were_given_for_something_else_are_no_assertions() {
    let (demo, prover) = (demo(), Prover::new());
    let own = by(&ENDPOINTS[0], &prover.signed(&prover.claims())).expect(200).json();
    let client = Client { id: prover.id.clone(), secret: None };
    let mut asked = authorization(&client);
    asked.retain(|(name, _)| *name != "scope");
    asked.push(("scope", "openid orders.read"));
    let person = demo.person("customer");
    let code = parameter(&Browser::new(demo.public).authorize(&asked, &person), "code").unwrap();
    let of_code = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let redeeming = ("/oauth2/token", 200, &of_code[..]);
    let given = by(&redeeming, &prover.signed(&prover.claims())).expect(200).json();
    let now = Node::start().now().secs();
    // All of an assertion is in it, and it is a request all the same.
    let object = {
        let mut claims = prover.claims();
        claims["client_id"] = json!(prover.id);
        claims["response_type"] = json!("code");
        claims["redirect_uri"] = json!(CALLBACK);
        claims
    };
    let proof = json!({
        "htm": "POST", "htu": format!("{}/oauth2/token", demo.issuer), "iat": now, "exp": now + 60,
        "jti": unique("proof"), "iss": prover.id, "sub": prover.id, "aud": demo.issuer,
    });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for (what, token) in [
        ("an access token of its own", text(&own["access_token"])),
        ("an access token of a person", text(&given["access_token"])),
        ("an ID token", text(&given["id_token"])),
        ("a request object", {
            let bare = with(&object, "sub", &json!(null));
            prover.signer.signed(Good { typ: "oauth-authz-req+jwt", claims: &bare })
        }),
        ("a request object without a type", prover.signed(&with(&object, "sub", &json!(null)))),
        ("a DPoP proof", { dpop::make(&prover.signer.key, proof.to_string().as_bytes()).unwrap() }),
        ("a token of another issuer", demo.token_of_partner()),
    ] {
        for endpoint in &ENDPOINTS {
            refuses(&format!("{}: {what}", endpoint.0), &by(endpoint, &token), NOBODY);
        }
    }
    passes(&ENDPOINTS[0], &prover.signed(&prover.claims()));
}

#[test]
fn an_assertion_counts_once_at_all_endpoints_together_however_it_is_signed_again() {
    let prover = Prover::new();
    for first in &ENDPOINTS {
        let claims = prover.claims();
        let text = prover.signed(&claims);
        passes(first, &text);
        // ECDSA signs otherwise each time; it is the name that counts.
        let again = prover.signed(&claims);
        assert_ne!(again, text);
        let longer = with(&claims, "exp", &json!(claims["exp"].as_u64().unwrap() + 30));
        let other = Good { typ: "client-authentication+jwt", claims: &claims };
        let more = with(&claims, "more", &json!("x"));
        for (what, text) in [
            ("the same", text),
            ("signed again", again),
            ("living longer", prover.signed(&longer)),
            ("saying more", prover.signed(&more)),
            ("of the other type", prover.signer.signed(other)),
            ("by another of its keys", prover.signer.signed_by_spare(other)),
        ] {
            for second in &ENDPOINTS {
                let what = format!("{} after {}: {what}", second.0, first.0);
                refuses(&what, &by(second, &text), NOBODY);
            }
        }
        // The name is the client's own: another may have used the same.
        let neighbour = Prover::new();
        let theirs = with(&neighbour.claims(), "jti", &claims["jti"]);
        passes(first, &neighbour.signed(&theirs));
    }
}

#[test]
fn what_stands_beside_an_assertion_does_not_contradict_it() {
    let prover = Prover::new();
    let neighbour = Prover::new();
    for endpoint in &ENDPOINTS {
        let claims = prover.claims();
        let text = prover.signed(&claims);
        let theirs = neighbour.signed(&neighbour.claims());
        let (kind, assertion) = ("client_assertion_type", ("client_assertion", text.as_str()));
        let saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
        let (good, id) = ((kind, BY_JWT), prover.id.as_str());
        let both = (400, "invalid_request");
        for (what, fields, expected) in [
            ("another client_id", vec![good, assertion, ("client_id", &neighbour.id)], NOBODY),
            ("a client_id of nobody", vec![good, assertion, ("client_id", "nobody")], NOBODY),
            ("no client_assertion_type", vec![assertion], NOBODY),
            ("an empty client_assertion_type", vec![(kind, ""), assertion], NOBODY),
            ("that of SAML", vec![(kind, saml), assertion], NOBODY),
            ("another one", vec![(kind, "jwt-bearer"), assertion], NOBODY),
            ("a secret", vec![good, assertion, ("client_secret", "a secret of it")], both),
            ("two types", vec![good, good, assertion], both),
            ("it twice", vec![good, assertion, assertion], both),
            ("another's beside it", vec![good, assertion, ("client_assertion", &theirs)], both),
            ("a line break", vec![good, ("client_assertion", "a.b.c\n")], both),
            ("no assertion", vec![good, ("client_id", id)], NOBODY),
            ("an empty assertion", vec![good, ("client_assertion", ""), ("client_id", id)], NOBODY),
            ("nothing", vec![("client_id", id)], NOBODY),
        ] {
            refuses(&format!("{}: {what}", endpoint.0), &shown(endpoint, &fields), expected);
        }
        let (path, _, asked) = *endpoint;
        let ask = demo().public.post(path).form(&[asked, &[good, assertion][..]].concat());
        let answer = ask.basic(&prover.id, "a secret of it").send();
        refuses("a header beside it", &answer, both);
        let answer = demo().public.post(path).form(asked).bearer(&text).send();
        refuses("it as a token in the header", &answer, NOBODY);
        let target = format!("{path}?{}", form(&[good, assertion]));
        let answer = demo().public.post(&target).form(asked).send();
        refuses("it in the address", &answer, NOBODY);
        let large = "x".repeat(70 * 1024);
        let answer = shown(endpoint, &[good, ("client_assertion", &large)]);
        refuses("more than a body may have", &answer, (413, "invalid_request"));
        passes(endpoint, &text);
    }
}

/// FAPI 2.0 Security Profile §5.3.2.1, item 8: the issuer, as a string.
#[test]
fn a_client_of_fapi_names_the_issuer_as_a_string() {
    let issuer = demo().issuer.as_str();
    let signer = Signer::new();
    let prover = Prover::declared(&json!({
        "jwks": {"keys": [signer.key.jwk()]}, "profile": "fapi2",
        "grant_types": ["authorization_code"], "may_introspect": null,
    }));
    let sign = |claims: &Value| signer.signed(Good { typ: "JWT", claims });
    let par = &ENDPOINTS[1];
    for aud in [
        json!([issuer]),
        json!([issuer, "https://evil.example"]),
        json!(format!("{issuer}/oauth2/par")),
        json!(format!("{issuer}/oauth2/token")),
    ] {
        let claims = prover.claims();
        refuses(&aud.to_string(), &by(par, &sign(&with(&claims, "aud", &aud))), NOBODY);
        passes(par, &sign(&claims));
    }
}

/// RFC 7591 §2: what a client registered to sign with is all that counts.
#[test]
fn a_client_that_has_registered_an_algorithm_signs_with_no_other() {
    let prover = Prover::declared(&json!({"token_endpoint_auth_signing_alg": "RS256"}));
    let administrator = Administrator::machine(demo(), "admin.read admin.write");
    let claims = prover.claims();
    for endpoint in &ENDPOINTS {
        refuses("ES256", &by(endpoint, &prover.signed(&claims)), NOBODY);
    }
    passes(&ENDPOINTS[0], &prover.signer.signed_by_rsa(Good { typ: "JWT", claims: &claims }));
    let own = format!("/clients/{}", prover.id);
    administrator.patch(&own, &json!({"token_endpoint_auth_signing_alg": null})).expect(200);
    passes(&ENDPOINTS[0], &prover.signed(&prover.claims()));
    administrator.patch(&own, &json!({"token_endpoint_auth_signing_alg": "EdDSA"})).expect(400);
}
