//! Workloads prove who they are by the SVIDs of their trust domain, and nobody else does (OAuth SPIFFE Client
//! Authentication).

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use tegata_core::Node;
use tegata_token::{Algorithm, SigningKey, jws};
use tempfile::TempDir;

use super::{
    certificates::{Authority, Shown},
    world::{Answer, Publisher, Server, bound_to, credentials, machine, post, unique, until},
};

const BILLING: &str = "spiffe://example.org/ns/shop/sa/billing";
const JWT_SVID: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// A trust domain: who signs for its workloads.
struct Domain {
    name: &'static str,
    x509: Authority,
    jwt: SigningKey,
    place: TempDir,
}

impl Domain {
    fn new(name: &'static str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let x509 = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let jwt = SigningKey::generate(Algorithm::Es256).unwrap();
        let domain = Self { name, x509, jwt, place: tempfile::tempdir().unwrap() };
        fs::write(domain.place.path().join("bundle.json"), domain.bundle().to_string()).unwrap();
        domain
    }

    fn bundle(&self) -> Value {
        let for_tokens = for_tokens(&self.jwt);
        let x5c = [STANDARD.encode(self.x509.der())];
        json!({"keys": [{"use": "x509-svid", "kty": "EC", "x5c": x5c}, for_tokens]})
    }

    /// How it is configured, with its bundle in a file.
    fn declared(&self) -> String {
        let file = self.place.path().join("bundle.json");
        format!(
            "[[trust_domain]]\nname = \"{}\"\nbundle_file = \"{}\"\n",
            self.name,
            file.display()
        )
    }

    /// The X.509-SVID of a workload, but for one thing.
    fn certificate(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(id)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        change(&mut params);
        Shown::signed(&params, &self.x509)
    }

    fn svid(&self, id: &str) -> Shown {
        self.certificate(id, |_| {})
    }

    fn token(&self, claims: &Value) -> String {
        signed(&self.jwt, "JWT", claims)
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn for_tokens(key: &SigningKey) -> Value {
    let mut jwk = serde_json::to_value(key.jwk()).unwrap();
    jwk["use"] = json!("jwt-svid");
    jwk.as_object_mut().unwrap().shift_remove("alg");
    jwk
}

fn signed(key: &SigningKey, typ: &str, claims: &Value) -> String {
    jws::sign(key, typ, claims.to_string().as_bytes()).unwrap()
}

/// A client that is a workload.
fn workload(client: &str, method: &str, spiffe_id: &str) -> String {
    machine(
        client,
        &format!("token_endpoint_auth_method = \"{method}\"\nspiffe_id = \"{spiffe_id}\""),
    )
}

/// What a JWT-SVID says that counts.
fn claims(server: &Server, sub: &str) -> Value {
    let now = Node::start().now().secs();
    let issuer = format!("https://127.0.0.1:{}", server.public);
    json!({"sub": sub, "aud": [issuer], "iat": now, "exp": now + 240})
}

fn form(more: &str, kind: &str, svid: &str) -> String {
    format!("{more}&client_assertion_type={kind}&client_assertion={svid}")
}

fn ask(server: &Server, path: &str, form: &str) -> Answer {
    server.ask(server.public, None, &post(path, form, ""))
}

/// A token request with a JWT-SVID, for the client of this name.
fn by_token(server: &Server, client: &str, svid: &str) -> Answer {
    ask(server, "/oauth2/token", &form(&credentials(client), JWT_SVID, svid))
}

#[test]
fn a_workload_is_who_its_own_domain_says_and_nobody_else() {
    let (ours, theirs) = (Domain::new("example.org"), Domain::new("other.org"));
    let clients = ours.declared()
        + &theirs.declared()
        + &workload("billing", "spiffe_x509", BILLING)
        + &workload("batch", "spiffe_x509", "spiffe://example.org/batch/*")
        + &workload("abroad", "spiffe_x509", "spiffe://other.org/abroad")
        // It has the name of its workload, as the draft has it.
        + &machine("spiffe://example.org/named", "token_endpoint_auth_method = \"spiffe_x509\"")
        + &machine("by-name", &format!("tls_client_auth_san_uri = \"{BILLING}\""))
        + &machine("secret", "client_secret = \"a secret of this client\"");
    let server = Server::with_tls(&clients);
    for (client, shown) in [
        ("billing", ours.svid(BILLING)),
        ("batch", ours.svid("spiffe://example.org/batch/1")),
        ("batch", ours.svid("spiffe://example.org/batch/night/2")),
        ("spiffe://example.org/named", ours.svid("spiffe://example.org/named")),
        ("abroad", theirs.svid("spiffe://other.org/abroad")),
    ] {
        let token = server.access_token(Some(&shown), &credentials(client));
        assert_eq!(bound_to(&token), json!({"x5t#S256": shown.x5t()}), "{client}");
    }
    let good = ours.svid(BILLING);
    let changed = |change: &dyn Fn(&mut CertificateParams)| ours.certificate(BILLING, change);
    for (client, shown, why) in [
        ("billing", theirs.svid(BILLING), "another domain signed it"),
        ("abroad", ours.svid("spiffe://other.org/abroad"), "another domain signed it"),
        ("billing", ours.svid("spiffe://example.org/ns/shop/sa/Billing"), "another path"),
        ("billing", ours.svid("spiffe://nowhere.org/ns/shop/sa/billing"), "an unknown domain"),
        ("billing", ours.svid("spiffe://example.org/batch/1"), "another workload"),
        ("batch", ours.svid("spiffe://example.org/batch"), "not beneath"),
        ("batch", ours.svid("spiffe://example.org/batch1"), "no whole segment"),
        ("billing", changed(&|it| it.subject_alt_names.push(uri("https://a.example"))), "two URIs"),
        ("billing", changed(&|it| it.subject_alt_names.clear()), "no URI"),
        (
            "billing",
            changed(&|it| it.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
            "an authority's",
        ),
        ("billing", changed(&|it| it.key_usages.clear()), "no usage"),
        (
            "billing",
            changed(&|it| it.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
            "not for signing",
        ),
        (
            "billing",
            changed(&|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "a server's",
        ),
        ("billing", changed(&|it| it.not_after = rcgen::date_time_ymd(2021, 1, 1)), "expired"),
        // Whoever signs certificates of clients does not sign for workloads, nor the other way round.
        ("billing", of(&server.ours), "the authority of `client_ca_file`"),
        ("by-name", ours.svid(BILLING), "a trust domain for `tls_client_auth`"),
        ("billing", Shown::own("billing"), "its own signature"),
        ("secret", ours.svid(BILLING), "has a secret"),
        ("nobody", ours.svid(BILLING), "there is none"),
    ] {
        let answer = server.token(Some(&shown), &credentials(client));
        assert_eq!(answer.status, 401, "{why}: {answer:?}");
        answer.refuses(401, "invalid_client");
    }
    server.token(None, &credentials("billing")).refuses(401, "invalid_client");
    let stolen = post("/oauth2/token", &credentials("billing"), "");
    let version = &rustls::version::TLS13;
    assert!(server.attempt(server.mtls, Some(&good.stolen()), version, &stolen).is_none());
    // A JWT-SVID is another way.
    let svid = ours.token(&claims(&server, BILLING));
    by_token(&server, "billing", &svid).refuses(401, "invalid_client");
}

/// What somebody else signed for the same workload.
fn of(authority: &Authority) -> Shown {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri(BILLING)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Shown::signed(&params, authority)
}

#[test]
fn a_token_of_the_domain_proves_a_workload_wherever_clients_do() {
    let ours = Domain::new("example.org");
    let clients = ours.declared()
        + "[[client]]\nclient_id = \"billing\"\ntoken_endpoint_auth_method = \"spiffe_jwt\"\n"
        + &format!("spiffe_id = \"{BILLING}\"\nscope = \"orders.read\"\nmay_introspect = true\n")
        + "grant_types = [\"client_credentials\", \"authorization_code\", \
           \"urn:ietf:params:oauth:grant-type:device_code\"]\n\
           redirect_uris = [\"https://billing.example/cb\"]\n"
        + &machine("spiffe://example.org/named", "token_endpoint_auth_method = \"spiffe_jwt\"");
    let server = Server::with_tls(&clients);
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let pushed = format!(
        "client_id=billing&response_type=code&redirect_uri=https://billing.example/cb\
         &code_challenge={challenge}&code_challenge_method=S256"
    );
    for (path, status, asked) in [
        ("/oauth2/token", 200, credentials("billing").as_str()),
        ("/oauth2/introspect", 200, "client_id=billing&token=x"),
        ("/oauth2/revoke", 200, "client_id=billing&token=x"),
        ("/oauth2/device", 200, "client_id=billing"),
        ("/oauth2/par", 201, pushed.as_str()),
    ] {
        // Without a name, a workload may keep one and show it again: `ask` does so twice.
        let svid = ours.token(&claims(&server, BILLING));
        let answer = ask(&server, path, &form(asked, JWT_SVID, &svid));
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let forged = SigningKey::generate(Algorithm::Es256).unwrap();
        let forged = signed(&forged, "JWT", &claims(&server, BILLING));
        ask(&server, path, &form(asked, JWT_SVID, &forged)).refuses(401, "invalid_client");
    }
    // One that has the name of its workload need not say who it is.
    let svid = ours.token(&claims(&server, "spiffe://example.org/named"));
    let asked = form("grant_type=client_credentials", JWT_SVID, &svid);
    assert_eq!(ask(&server, "/oauth2/token", &asked).status, 200);
    // One of another name must.
    let svid = ours.token(&claims(&server, BILLING));
    let asked = form("grant_type=client_credentials", JWT_SVID, &svid);
    ask(&server, "/oauth2/token", &asked).refuses(401, "invalid_client");
}

#[test]
fn a_token_that_differs_in_one_thing_proves_nobody() {
    let (ours, theirs) = (Domain::new("example.org"), Domain::new("other.org"));
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let jwk = serde_json::to_value(key.jwk()).unwrap();
    let text = |name: &str| jwk[name].as_str().unwrap().to_owned();
    let own_key = machine("keyed", "token_endpoint_auth_method = \"private_key_jwt\"")
        + &format!(
            "[[client.jwks.keys]]\nkty = \"EC\"\ncrv = \"P-256\"\nkid = \"{}\"\nx = \"{}\"\ny = \"{}\"\n",
            text("kid"),
            text("x"),
            text("y")
        );
    let clients = ours.declared()
        + &theirs.declared()
        + &workload("billing", "spiffe_jwt", BILLING)
        + &workload("batch", "spiffe_jwt", "spiffe://example.org/batch/*")
        + &own_key;
    let server = Server::with_tls(&clients);
    let good = claims(&server, BILLING);
    let now = good["iat"].as_u64().unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().shift_remove(name);
        claims
    };
    let issuer = good["aud"][0].as_str().unwrap();
    for (what, claims) in [
        ("another audience", with("aud", json!("https://elsewhere.example"))),
        ("the token endpoint", with("aud", json!(format!("{issuer}/oauth2/token")))),
        ("two audiences", with("aud", json!([issuer, "https://elsewhere.example"]))),
        ("no audience", without("aud")),
        ("expired", with("exp", json!(now - 60))),
        ("lives for an hour", with("exp", json!(now + 3600))),
        ("does not end", without("exp")),
        ("not valid yet", with("nbf", json!(now + 120))),
        ("nobody", without("sub")),
        ("no SPIFFE ID", with("sub", json!("billing"))),
        ("another workload", with("sub", json!("spiffe://example.org/batch/1"))),
        ("another domain", with("sub", json!("spiffe://other.org/ns/shop/sa/billing"))),
        ("a domain that nobody knows", with("sub", json!("spiffe://nowhere.org/billing"))),
    ] {
        let answer = by_token(&server, "billing", &ours.token(&claims));
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        answer.refuses(401, "invalid_client");
    }
    for (what, svid) in [
        ("another domain's key", theirs.token(&good)),
        ("nobody's key", signed(&key, "JWT", &good)),
        ("an access token", signed(&ours.jwt, "at+jwt", &good)),
        ("no token", "x".to_owned()),
    ] {
        let answer = by_token(&server, "billing", &svid);
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
    }
    // One way is not another.
    let svid = ours.token(&good);
    let bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    for kind in [bearer, "", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe2"] {
        let asked = form(&credentials("billing"), kind, &svid);
        ask(&server, "/oauth2/token", &asked).refuses(401, "invalid_client");
    }
    by_token(&server, "keyed", &svid).refuses(401, "invalid_client");
    by_token(&server, "batch", &svid).refuses(401, "invalid_client");
    let own = json!({"iss": "keyed", "sub": "keyed", "aud": issuer, "exp": now + 60, "jti": "1"});
    by_token(&server, "keyed", &signed(&key, "JWT", &own)).refuses(401, "invalid_client");
    let asked = format!("{}&client_secret=x", form(&credentials("billing"), JWT_SVID, &svid));
    ask(&server, "/oauth2/token", &asked).refuses(400, "invalid_request");
    // What has a name counts once, and is not used up by whoever may not use it.
    let named = ours.token(&with("jti", json!(unique())));
    by_token(&server, "batch", &named).refuses(401, "invalid_client");
    let version = &rustls::version::TLS13;
    let request = post("/oauth2/token", &form(&credentials("billing"), JWT_SVID, &named), "");
    let once = || server.attempt(server.public, None, version, &request).unwrap();
    assert_eq!(once().status, 200);
    once().refuses(401, "invalid_client");
    assert_eq!(by_token(&server, "billing", &svid).status, 200);
}

#[test]
fn what_a_domain_publishes_counts_until_it_publishes_something_else() {
    let ours = Domain::new("example.org");
    let publisher = Publisher::start();
    publisher.says("503 Service Unavailable", &json!({}));
    let declared = format!(
        "[[trust_domain]]\nname = \"example.org\"\nbundle_endpoint = \"{}\"\n",
        publisher.address
    );
    let clients = declared
        + &workload("billing", "spiffe_jwt", BILLING)
        + &workload("batch", "spiffe_x509", "spiffe://example.org/batch/*");
    let server = Server::with_tls(&clients);
    let status = |key: &SigningKey| {
        let svid = signed(key, "JWT", &claims(&server, BILLING));
        let request = post("/oauth2/token", &form(&credentials("billing"), JWT_SVID, &svid), "");
        let version = &rustls::version::TLS13;
        server.attempt(server.public, None, version, &request).unwrap().status
    };
    // Nothing was had yet: nobody is anybody, and that the server runs does not depend on it.
    assert_eq!(status(&ours.jwt), 401);
    let numbered = |number: u64, mut bundle: Value| {
        bundle["spiffe_sequence"] = json!(number);
        bundle["spiffe_refresh_hint"] = json!(1);
        bundle
    };
    publisher.says("200 OK", &numbered(5, ours.bundle()));
    until("the bundle is had", || status(&ours.jwt) == 200);
    let shown = ours.svid("spiffe://example.org/batch/1");
    server.access_token(Some(&shown), &credentials("batch"));
    // Another key takes the place of the first.
    let next = SigningKey::generate(Algorithm::Es256).unwrap();
    let newer = numbered(6, json!({"keys": [for_tokens(&next)]}));
    publisher.says("200 OK", &newer);
    until("the next key counts", || status(&next) == 200);
    assert_eq!(status(&ours.jwt), 401);
    server.token(Some(&shown), &credentials("batch")).refuses(401, "invalid_client");
    // What is no bundle, is older or is elsewhere changes nothing. Whether it was asked, the next shows.
    let elsewhere = Publisher::start();
    elsewhere.says("200 OK", &numbered(9, ours.bundle()));
    let moved = format!("302 Found\r\nLocation: {}", elsewhere.address);
    let mut huge = numbered(9, ours.bundle());
    huge["more"] = json!("a".repeat(300 * 1024));
    for (number, (answer, body)) in [
        ("200 OK", numbered(5, ours.bundle())),
        ("200 OK", json!({"keys": "none"})),
        ("404 Not Found", numbered(9, ours.bundle())),
        (moved.as_str(), numbered(9, ours.bundle())),
        ("200 OK", huge),
    ]
    .into_iter()
    .enumerate()
    {
        publisher.says(answer, &body);
        let asked = publisher.asked();
        until("it was asked", || publisher.asked() > asked + 1);
        assert_eq!((status(&next), status(&ours.jwt)), (200, 401), "{number}");
    }
    assert_eq!(elsewhere.asked(), 0);
    // With its last key, a domain takes everything back.
    publisher.says("200 OK", &numbered(7, json!({"keys": []})));
    until("nothing counts", || status(&next) == 401);
}

#[test]
fn the_methods_are_offered_where_a_trust_domain_is_known() {
    let metadata = |server: &Server| {
        let request = "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: localhost\r\n\
                       Connection: close\r\n\r\n";
        server.ask(server.public, None, request).json()
    };
    let register = |server: &Server, spiffe_id: Value| {
        let body = json!({
            "redirect_uris": ["https://app.example/cb"], "token_endpoint_auth_method": "spiffe_jwt",
            "spiffe_id": spiffe_id, "spiffe_bundle_endpoint": "https://evil.example/bundle",
        });
        let body = body.to_string();
        let request = format!(
            "POST /oauth2/register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        server.attempt(server.public, None, &rustls::version::TLS13, &request).unwrap()
    };
    let ours = Domain::new("example.org");
    for (server, offered) in
        [(Server::with_tls(""), false), (Server::with_tls(&ours.declared()), true)]
    {
        let told = metadata(&server);
        for endpoint in ["token", "introspection", "revocation"] {
            let methods = &told[format!("{endpoint}_endpoint_auth_methods_supported")];
            for method in ["spiffe_jwt", "spiffe_x509"] {
                let has = methods.as_array().unwrap().contains(&json!(method));
                assert_eq!(has, offered, "{endpoint}: {methods}");
            }
        }
        let made = register(&server, json!(BILLING));
        assert_eq!(made.status == 201, offered, "{made:?}");
        if offered {
            // Where the keys of a domain are, its clients do not say.
            let made = made.json();
            assert_eq!(made["spiffe_id"], BILLING);
            assert!(made.get("spiffe_bundle_endpoint").is_none(), "{made}");
        }
        for bad in [json!("spiffe://example.org"), json!("https://example.org/a"), Value::Null] {
            register(&server, bad).refuses(400, "invalid_client_metadata");
        }
    }
}
