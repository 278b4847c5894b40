//! Clients of the FAPI 2.0 Security Profile that show certificates, over real handshakes: from the request
//! that is pushed to the resource, and whoever takes something of theirs on the way.

use std::fs;

use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};
use tegata_core::Node;
use tegata_token::{Algorithm, SigningKey, dpop, jws};

use super::{
    certificates::{Shown, named},
    world::{Answer, Server, bound_to, get, post, unique},
};

const CALLBACK: &str = "https://bank.example/cb";

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const PASSWORD: &str = "correct horse battery staple";

/// The declaration of a client that people sign in at, and that proves itself by a certificate for its name.
fn bank(id: &str) -> String {
    format!(
        "[[client]]\nclient_id = \"{id}\"\nprofile = \"fapi2\"\nredirect_uris = [\"{CALLBACK}\"]\n\
         grant_types = [\"authorization_code\", \"refresh_token\"]\nasks_consent = false\n\
         scope = \"openid orders.read offline_access\"\ntls_client_auth_san_dns = \"{id}.example\"\n"
    )
}

/// One connection's worth of a world: with which version of TLS, and what is shown.
#[derive(Clone, Copy)]
struct Caller<'a> {
    server: &'a Server,
    version: &'static SupportedProtocolVersion,
    shown: Option<&'a Shown>,
}

impl<'a> Caller<'a> {
    fn showing(self, shown: Option<&'a Shown>) -> Self {
        Self { shown, ..self }
    }

    fn ask(self, port: u16, request: &str) -> Answer {
        let answer = self.server.attempt(port, self.shown, self.version, request);
        answer.unwrap_or_else(|| panic!("no answer to {request}"))
    }

    /// What is answered to a form, where certificates are asked for.
    fn form(self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask(self.server.mtls, &post(path, &form(fields), ""))
    }

    fn push(self, id: &str) -> Answer {
        let fields = [
            ("client_id", id),
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("scope", "openid orders.read offline_access"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        self.form("/oauth2/par", &fields)
    }

    fn redeem(self, id: &str, code: &str) -> Answer {
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", id),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        self.form("/oauth2/token", &fields)
    }

    fn refresh(self, id: &str, token: &str) -> Answer {
        let fields = [("grant_type", "refresh_token"), ("client_id", id), ("refresh_token", token)];
        self.form("/oauth2/token", &fields)
    }

    /// What the resource behind the gateway, and userinfo, answer to a token.
    fn resources(self, token: &str) -> [Answer; 2] {
        [
            self.ask(self.server.gateway, &get("/orders/1", token, "")),
            self.ask(self.server.mtls, &get("/oauth2/userinfo", token, "")),
        ]
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |text: &str| -> String {
        let one = |byte: u8| {
            if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        };
        text.bytes().map(one).collect()
    };
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

/// The browser of somebody who has signed in.
struct Browser {
    cookies: String,
}

impl Browser {
    fn signed_in(server: &Server) -> Self {
        fs::write(server.path().join("pw"), PASSWORD).unwrap();
        let mut add = std::process::Command::new(env!("CARGO_BIN_EXE_tegata"));
        add.args(["user", "add", "alice", "--password-file", "pw"]);
        assert!(add.current_dir(server.path()).env_clear().output().unwrap().status.success());
        let body = json!({"username": "alice", "password": PASSWORD}).to_string();
        let request = format!(
            "POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Origin: https://127.0.0.1:{}\r\nUser-Agent: tegata-fapi\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            server.public,
            body.len()
        );
        let answer = server.attempt(server.public, None, &TLS13, &request).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let lines = answer.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        let pairs: Vec<_> = lines.filter_map(|line| line.split(';').next()).collect();
        Self { cookies: pairs.join("; ") }
    }

    /// Where the browser is sent that brings a pushed request.
    fn bring(&self, server: &Server, id: &str, request_uri: &str) -> String {
        let query = form(&[("client_id", id), ("request_uri", request_uri)]);
        let request = format!(
            "GET /oauth2/authorize?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             User-Agent: tegata-fapi\r\nCookie: {}\r\n\r\n",
            self.cookies
        );
        let answer = server.attempt(server.public, None, &TLS13, &request).unwrap();
        let mut lines = answer.head.lines();
        let address = lines.find_map(|line| line.strip_prefix("location: "));
        address.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }
}

fn parameter(address: &str, name: &str) -> String {
    let query = address.split_once('?').unwrap_or_else(|| panic!("{address}")).1;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(own, _)| *own == name).unwrap_or_else(|| panic!("{address}"));
    found.1.to_owned()
}

fn text(answer: &Answer, name: &str) -> String {
    let value = answer.json()[name].as_str().map(str::to_owned);
    value.unwrap_or_else(|| panic!("no `{name}`: {answer:?}"))
}

#[test]
fn a_bank_goes_from_the_request_to_the_resource_and_a_thief_nowhere() {
    let server = Server::with_tls(&(bank("bank") + &bank("rival")));
    let of = |name: &str| Shown::signed(&named(name, &format!("{name}.example")), &server.ours);
    let (own, renewed, rivals, thief) = (of("bank"), of("bank"), of("rival"), Shown::own("bank"));
    let browser = Browser::signed_in(&server);
    for version in [&TLS12, &TLS13] {
        let bank = Caller { server: &server, version, shown: Some(&own) };
        let nobodies = [None, Some(&thief), Some(&rivals)].map(|shown| bank.showing(shown));

        for nobody in nobodies {
            nobody.push("bank").refuses(401, "invalid_client");
        }
        // A request that was not pushed.
        let plain = form(&[
            ("client_id", "bank"),
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("scope", "openid"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        let request = format!(
            "GET /oauth2/authorize?{plain} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let answer = bank.showing(None).ask(server.public, &request);
        assert!(answer.head.contains("error=invalid_request"), "{answer:?}");

        let pushed = bank.push("bank");
        assert_eq!(pushed.status, 201, "{pushed:?}");
        let address = browser.bring(&server, "bank", &text(&pushed, "request_uri"));
        assert!(address.starts_with(CALLBACK), "{address}");
        assert_eq!(
            parameter(&address, "iss"),
            format!("https%3A%2F%2F127.0.0.1%3A{}", server.public)
        );
        let code = parameter(&address, "code");

        // Whoever took the code has not the certificate, or is another client, and uses nothing up.
        for nobody in nobodies {
            nobody.redeem("bank", &code).refuses(401, "invalid_client");
        }
        bank.showing(Some(&rivals)).redeem("rival", &code).refuses(400, "invalid_grant");
        let given = bank.redeem("bank", &code);
        let token = given.access_token();
        assert_eq!(bound_to(&token), json!({"x5t#S256": own.x5t()}));
        let refresh = text(&given, "refresh_token");
        assert!(given.json()["id_token"].is_string(), "{given:?}");

        for answer in bank.resources(&token) {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        // The token is of no use with another certificate, the client's own next one included, nor with none.
        let others = [Some(&renewed), Some(&rivals), Some(&thief), None];
        for other in others.map(|shown| bank.showing(shown)) {
            for answer in other.resources(&token) {
                answer.refuses_token();
            }
        }

        for nobody in nobodies {
            nobody.refresh("bank", &refresh).refuses(401, "invalid_client");
        }
        bank.showing(Some(&rivals)).refresh("rival", &refresh).refuses(400, "invalid_grant");
        // It does not rotate, and gives tokens that are bound to what is shown then.
        let next = bank.showing(Some(&renewed)).refresh("bank", &refresh);
        assert_eq!(text(&next, "refresh_token"), refresh);
        let next = next.access_token();
        assert_eq!(bound_to(&next), json!({"x5t#S256": renewed.x5t()}));
        assert_eq!(bank.showing(Some(&renewed)).resources(&next).map(|it| it.status), [200; 2]);
        for answer in bank.resources(&next) {
            answer.refuses_token();
        }
        assert_eq!(bank.resources(&token).map(|it| it.status), [200; 2]);

        // A code that comes again takes back what it gave.
        bank.redeem("bank", &code).refuses(400, "invalid_grant");
        for answer in bank.resources(&token) {
            answer.refuses_token();
        }
        bank.refresh("bank", &refresh).refuses(400, "invalid_grant");
    }
}

/// The declaration of a client that asks in its own name.
fn machine(id: &str, rest: &str) -> String {
    format!(
        "[[client]]\nclient_id = \"{id}\"\nprofile = \"fapi2\"\ngrant_types = [\"client_credentials\"]\n\
         scope = \"orders.read\"\n{rest}\n"
    )
}

/// How a client of its own name proves itself, and by what its tokens are bound: each of both ways with each.
#[test]
fn a_machine_of_fapi_gets_bound_tokens_however_it_proves_itself_and_no_others() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let jwk = key.jwk();
    let part = |value: &Option<String>| value.clone().unwrap_or_default();
    let jwks = format!(
        "[[client.jwks.keys]]\nkty = \"EC\"\ncrv = \"P-256\"\nx = \"{}\"\ny = \"{}\"\n",
        part(&jwk.x),
        part(&jwk.y)
    );
    let certified = "tls_client_auth_san_dns = \"machine.example\"";
    let binds = "tls_client_certificate_bound_access_tokens = true";
    let clients = machine("shows", certified)
        + &machine("signs", &jwks)
        + &machine("signs-bound", &format!("{binds}\n{jwks}"));
    let server = Server::with_tls(&clients);
    let shown = Shown::signed(&named("machine", "machine.example"), &server.ours);
    let any = Shown::own("any");
    let (issuer, now) =
        (format!("https://127.0.0.1:{}", server.public), || Node::start().now().secs());
    let assertion = |id: &str| {
        let claims =
            json!({"iss": id, "sub": id, "aud": issuer, "exp": now() + 60, "jti": unique()});
        jws::sign(&key, "JWT", claims.to_string().as_bytes()).unwrap()
    };
    let proof = |htm: &str, htu: &str, token: Option<&str>, nonce: &str| {
        let mut claims = json!({
            "jti": unique(), "htm": htm, "htu": htu, "iat": now(), "nonce": nonce,
        });
        if let Some(token) = token {
            claims["ath"] = json!(dpop::hash_of(token));
        }
        dpop::make(&key, claims.to_string().as_bytes()).unwrap()
    };
    let asked = |id: &str| {
        let mut fields =
            vec![("grant_type", "client_credentials".to_owned()), ("client_id", id.to_owned())];
        if id != "shows" {
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            fields.push(("client_assertion_type", kind.to_owned()));
            fields.push(("client_assertion", assertion(id)));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        form(&fields)
    };
    let ask = |shown: Option<&Shown>, id: &str, lines: &str| {
        let request = post("/oauth2/token", &asked(id), lines);
        server.attempt(server.mtls, shown, &TLS13, &request).unwrap()
    };

    // Bound to the certificate: of who proves itself by it, and of who signs and shows any.
    for (id, own) in [("shows", &shown), ("signs-bound", &any)] {
        let token = ask(Some(own), id, "").access_token();
        assert_eq!(bound_to(&token), json!({"x5t#S256": own.x5t()}), "{id}");
        let at = |shown: Option<&Shown>| {
            server.ask(server.gateway, shown, &get("/orders/1", &token, ""))
        };
        assert_eq!(at(Some(own)).status, 200);
        at(None).refuses_token();
        at(Some(&Shown::own("thief"))).refuses_token();
    }
    ask(None, "shows", "").refuses(401, "invalid_client");
    ask(Some(&any), "shows", "").refuses(401, "invalid_client");
    ask(None, "signs-bound", "").refuses(400, "invalid_request");
    // Nothing to bind it to.
    ask(None, "signs", "").refuses(400, "invalid_request");
    ask(Some(&any), "signs", "").refuses(400, "invalid_request");

    // Bound to a key, by a proof with a nonce of ours.
    let place = format!("{issuer}/oauth2/token");
    for (id, own) in [("shows", Some(&shown)), ("signs", None)] {
        let line = |nonce: &str| format!("DPoP: {}\r\n", proof("POST", &place, None, nonce));
        let told = ask(own, id, &line("none"));
        told.refuses(400, "use_dpop_nonce");
        let nonce = told.head.lines().find_map(|line| line.strip_prefix("dpop-nonce: ")).unwrap();
        let answer = ask(own, id, &line(nonce));
        assert_eq!(
            (answer.status, &answer.json()["token_type"]),
            (200, &json!("DPoP")),
            "{answer:?}"
        );
        let token = text(&answer, "access_token");
        assert_eq!(bound_to(&token), json!({"jkt": key.jwk().thumbprint()}), "{id}");
        let at = |lines: &str| {
            let request = get("/orders/1", &token, lines).replace("Bearer", "DPoP");
            server.attempt(server.gateway, None, &TLS13, &request).unwrap()
        };
        assert_eq!(at("").status, 401);
        // The place that it is asked by.
        let resource = "https://localhost/orders/1";
        let line =
            |nonce: &str| format!("DPoP: {}\r\n", proof("GET", resource, Some(&token), nonce));
        // The nonces of the gateway are its own.
        let told = at(&line(nonce));
        assert_eq!(told.status, 401, "{told:?}");
        let nonce = told.head.lines().find_map(|line| line.strip_prefix("dpop-nonce: ")).unwrap();
        let answer = at(&line(nonce));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// What the suite reads of the metadata for its variants with mutual TLS.
#[test]
fn the_metadata_names_what_a_bank_with_certificates_needs() {
    let server = Server::with_tls("");
    let request = "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: localhost\r\n\
                   Connection: close\r\n\r\n";
    let metadata = server.ask(server.public, None, request).json();
    let has = |name: &str, value: &Value| {
        let all = metadata[name].as_array().unwrap_or_else(|| panic!("{name}: {metadata}"));
        assert!(all.contains(value), "{name}: {all:?}");
    };
    for (name, value) in [
        ("token_endpoint_auth_methods_supported", "tls_client_auth"),
        ("token_endpoint_auth_methods_supported", "private_key_jwt"),
        ("token_endpoint_auth_signing_alg_values_supported", "ES256"),
        ("grant_types_supported", "client_credentials"),
        ("grant_types_supported", "authorization_code"),
        ("response_types_supported", "code"),
        ("code_challenge_methods_supported", "S256"),
    ] {
        has(name, &json!(value));
    }
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], true);
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    for endpoint in ["token_endpoint", "pushed_authorization_request_endpoint", "userinfo_endpoint"]
    {
        let alias = metadata["mtls_endpoint_aliases"][endpoint].as_str().unwrap();
        assert!(alias.starts_with(&format!("https://127.0.0.1:{}/", server.mtls)), "{alias}");
    }
}
