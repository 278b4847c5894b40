//! Assertions that name an endpoint in place of the issuer: whose count, and where, if they may at all.

use rustls::version::TLS13;
use serde_json::{Value, json};
use tegata_core::Node;
use tegata_token::{Algorithm, SigningKey, jws};

use super::world::{Answer, Server, post, unique};

const KIND: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

/// The declaration of a client that signs.
fn signing(id: &str, key: &SigningKey, rest: &str) -> String {
    let jwk = key.jwk();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    format!(
        "[[client]]\nclient_id = \"{id}\"\nredirect_uris = [\"https://app.example/cb\"]\n\
         scope = \"openid orders.read\"\ngrant_types = [\"authorization_code\", \"client_credentials\"]\n{rest}\n\
         [[client.jwks.keys]]\nkty = \"EC\"\ncrv = \"P-256\"\nx = \"{}\"\ny = \"{}\"\n",
        text(&jwk.x),
        text(&jwk.y)
    )
}

struct Signing {
    server: Server,
    key: SigningKey,
    issuer: String,
    /// Where certificates are asked for.
    alias: String,
}

impl Signing {
    fn new(settings: &str) -> Self {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let clients = signing("svc", &key, "") + &signing("bank", &key, "profile = \"fapi2\"");
        let server = Server::with_settings(settings, &clients);
        let [issuer, alias] =
            [server.public, server.mtls].map(|port| format!("https://127.0.0.1:{port}"));
        Self { server, key, issuer, alias }
    }

    /// What is answered at an endpoint of a listener to an assertion for this audience, each time another.
    fn asked(&self, (port, path): (u16, &str), client: &str, aud: &Value) -> Answer {
        let now = Node::start().now();
        let claims = json!({
            "iss": client, "sub": client, "aud": aud, "exp": now.secs() + 60,
            "jti": unique(),
        });
        let assertion = jws::sign(&self.key, "JWT", claims.to_string().as_bytes()).unwrap();
        let asked = if path == "/oauth2/token" {
            "grant_type=client_credentials&scope=orders.read"
        } else {
            "response_type=code&scope=openid&redirect_uri=https%3A%2F%2Fapp.example%2Fcb\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
        };
        let form = format!("{asked}&client_assertion_type={KIND}&client_assertion={assertion}");
        self.server.attempt(port, None, &TLS13, &post(path, &form, "")).unwrap()
    }

    fn listeners(&self) -> [u16; 3] {
        [self.server.public, self.server.mtls, self.server.gateway]
    }

    /// The addresses of an endpoint.
    fn addresses(&self, path: &str) -> [String; 2] {
        [&self.issuer, &self.alias].map(|base| format!("{base}{path}"))
    }
}

const ENDPOINTS: [(&str, u16); 2] = [("/oauth2/token", 200), ("/oauth2/par", 201)];

#[test]
fn an_assertion_is_for_the_issuer_where_nothing_else_was_set() {
    for settings in ["", "assertion_audience = \"issuer\"\n"] {
        let world = Signing::new(settings);
        let at = world.server.public;
        for (path, good) in ENDPOINTS {
            assert_eq!(world.asked((at, path), "svc", &json!(world.issuer)).status, good);
            for address in ["/oauth2/token", path].iter().flat_map(|path| world.addresses(path)) {
                let answer = world.asked((at, path), "svc", &json!(address));
                answer.refuses(401, "invalid_client");
            }
        }
    }
}

#[test]
fn where_it_may_an_assertion_names_the_token_endpoint_or_the_one_that_is_called_alone() {
    let world = Signing::new("assertion_audience = \"danger_issuer_or_endpoint\"\n");
    for (path, good) in ENDPOINTS {
        for port in world.listeners() {
            let own = world.addresses(path).into_iter().chain(world.addresses("/oauth2/token"));
            for aud in own.chain([world.issuer.clone()]) {
                let answer = world.asked((port, path), "svc", &json!(aud));
                assert_eq!(answer.status, good, "{aud} at {path}: {answer:?}");
                let listed = world.asked((port, path), "svc", &json!([aud]));
                assert_eq!(listed.status, good, "{listed:?}");
                // Never beside anybody else, nor beside each other.
                for others in [
                    json!([aud, "https://evil.example"]),
                    json!(["https://evil.example", aud]),
                    json!([aud, aud]),
                    json!([aud, world.issuer]),
                ] {
                    let answer = world.asked((port, path), "svc", &others);
                    answer.refuses(401, "invalid_client");
                }
            }
        }
        let other = if path == "/oauth2/token" { "/oauth2/par" } else { "/oauth2/introspect" };
        for aud in [
            format!("{}{other}", world.issuer),
            format!("{}{path}/", world.issuer),
            format!("{}{path}?x", world.issuer),
            format!("{}/", world.issuer),
            world.alias.clone(),
            format!("https://127.0.0.1:{}{path}", world.server.gateway),
            format!("http://127.0.0.1:{}{path}", world.server.public),
            format!("https://evil.example{path}"),
            path.to_owned(),
        ] {
            let answer = world.asked((world.server.public, path), "svc", &json!(aud));
            answer.refuses(401, "invalid_client");
        }
    }
    // A client of FAPI names the issuer, as a string.
    let par = (world.server.public, "/oauth2/par");
    assert_eq!(world.asked(par, "bank", &json!(world.issuer)).status, 201);
    let endpoints = ["/oauth2/par", "/oauth2/token"].map(|path| world.addresses(path));
    for aud in endpoints.as_flattened().iter().map(|it| json!(it)) {
        world.asked(par, "bank", &aud).refuses(401, "invalid_client");
    }
    world.asked(par, "bank", &json!([world.issuer])).refuses(401, "invalid_client");
}
