use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    http::{Method, Request},
};
use tegata_sdk::{
    Transport, TransportLimits,
    testing::{TestAuthority, server::TestServer},
};

use super::*;

const SECRET: &str = "demo_partner-s_secret";

impl Key for TestAuthority {
    fn public(&self) -> Value {
        self.jwks()["keys"][0].clone()
    }

    fn sign(&self, claims: &[u8]) -> Option<String> {
        Some(self.sign("at+jwt", claims))
    }
}

struct Bench {
    server: TestServer,
    transport: Transport,
    authority: Arc<TestAuthority>,
}

impl Bench {
    async fn start() -> Self {
        let node = Node::for_tests(1);
        let authority = TestAuthority::on(node.clone());
        let config = PartnerConfig {
            issuer: "http://localhost:9002".to_owned(),
            audience: "http://localhost:8080".to_owned(),
            client: Client {
                id: "partner".to_owned(),
                secret: Secret::new(SECRET.to_owned()),
                scope: Scope::new("orders.read orders.write").unwrap(),
                roles: vec!["partner".to_owned()],
            },
            key: Box::new(authority.clone()),
            node,
        };
        let server = TestServer::start(router(config)).await.unwrap();
        let timeout = Duration::from_secs(60);
        let transport = Transport::new(TransportLimits { timeout, ..TransportLimits::default() });
        Self { server, transport, authority: Arc::new(authority) }
    }

    /// Status, what stands in `cache-control` and `www-authenticate`, and the body.
    async fn ask(&self, request: Request<Bytes>) -> (u16, String, Value) {
        let answer = self.transport.send(request).await.unwrap();
        let fields = ["cache-control", "www-authenticate"];
        let fields =
            fields.map(|name| answer.headers().get(name).map_or("", |it| it.to_str().unwrap()));
        (answer.status().as_u16(), fields.join("|"), serde_json::from_slice(answer.body()).unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let request = Request::get(self.server.url(path)).body(Bytes::new()).unwrap();
        let (status, _, body) = self.ask(request).await;
        assert_eq!(status, 200, "{path}");
        body
    }

    async fn token(&self, lines: &[String], form: &str) -> (u16, String, Value) {
        let mut request = Request::builder().method(Method::POST).uri(self.server.url("/token"));
        request = request.header("content-type", "application/x-www-form-urlencoded");
        for line in lines {
            request = request.header("authorization", line);
        }
        self.ask(request.body(Bytes::from(form.to_owned())).unwrap()).await
    }

    async fn error(&self, lines: &[String], form: &str) -> String {
        let (status, fields, body) = self.token(lines, form).await;
        let error = body["error"].as_str().unwrap().to_owned();
        let challenge = if error == "invalid_client" { "Basic realm=\"partner\"" } else { "" };
        assert_eq!(status, if challenge.is_empty() { 400 } else { 401 }, "{form}");
        assert_eq!(fields, format!("no-store|{challenge}"), "{form}");
        error
    }
}

fn shown(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

#[tokio::test]
async fn its_client_gets_tokens_of_its_own_by_either_way_of_showing_its_secret() {
    let bench = Bench::start().await;
    let header = [shown(&format!("partner:{SECRET}"))];
    let (status, fields, first) = bench.token(&header, "grant_type=client_credentials").await;
    assert_eq!((status, fields.as_str()), (200, "no-store|"));
    assert_eq!(first["scope"], "orders.read orders.write");
    let form = format!(
        "grant_type=client_credentials&client_id=partner&client_secret={SECRET}&scope=orders.read"
    );
    let (status, _, second) = bench.token(&[], &form).await;
    assert_eq!((status, &second["scope"]), (200, &json!("orders.read")));
    let claims = |told: &Value| -> Value {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let token = told["access_token"].as_str().unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap())
            .unwrap()
    };
    let (first, second) = (claims(&first), claims(&second));
    for (name, value) in [
        ("iss", json!("http://localhost:9002")),
        ("sub", json!("partner")),
        ("client_id", json!("partner")),
        ("aud", json!("http://localhost:8080")),
        ("roles", json!(["partner"])),
    ] {
        assert_eq!(first[name], value);
        assert_eq!(second[name], value);
    }
    assert_eq!(first["exp"].as_u64().unwrap() - first["iat"].as_u64().unwrap(), LIFETIME);
    assert_eq!(second["scope"], "orders.read");
    assert_ne!(first["jti"], second["jti"]);
    let name = first["jti"].as_str().unwrap();
    assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
}

#[tokio::test]
async fn whoever_does_not_prove_to_be_its_client_gets_nothing() {
    let bench = Bench::start().await;
    let (grant, good) = ("grant_type=client_credentials", shown(&format!("partner:{SECRET}")));
    let long = format!("partner:{SECRET}x");
    for text in ["partner:", "partner", "", ":", "partner:wrong", &long, &long[1..]] {
        assert_eq!(bench.error(&[shown(text)], grant).await, "invalid_client", "{text}");
    }
    for line in ["Basic", "Basic !!!", "Bearer x", &good["Basic ".len()..]] {
        assert_eq!(bench.error(&[line.to_owned()], grant).await, "invalid_client", "{line}");
    }
    assert_eq!(bench.error(&[], grant).await, "invalid_client");
    for form in ["client_id=partner", "client_secret=", "client_id=partner&client_secret=wrong"] {
        let form = format!("{grant}&{form}");
        assert_eq!(bench.error(&[], &form).await, "invalid_client", "{form}");
    }
    // Only one of two ways is looked at, or nobody knows which.
    let both = format!("{grant}&client_id=partner&client_secret={SECRET}");
    assert_eq!(bench.error(std::slice::from_ref(&good), &both).await, "invalid_request");
    assert_eq!(bench.error(&[good.clone(), good], grant).await, "invalid_request");
}

#[tokio::test]
async fn what_its_client_may_not_ask_for_or_nobody_can_read_is_refused() {
    let bench = Bench::start().await;
    let header = [shown(&format!("partner:{SECRET}"))];
    for (form, error) in [
        ("", "invalid_request"),
        ("grant_type=", "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=client_credentials&scope=orders.read&scope=x", "invalid_request"),
        ("grant_type=authorization_code", "unsupported_grant_type"),
        ("grant_type=client_credentials&scope=admin.write", "invalid_scope"),
        ("grant_type=client_credentials&scope=orders.read+admin.write", "invalid_scope"),
        ("grant_type=client_credentials&scope=%22", "invalid_scope"),
    ] {
        assert_eq!(bench.error(&header, form).await, error, "{form}");
    }
    let large = format!("grant_type=client_credentials&x={}", "x".repeat(LARGEST_BODY));
    assert_eq!(bench.error(&header, &large).await, "invalid_request");
}

#[tokio::test]
async fn it_publishes_where_its_keys_and_tokens_are() {
    let bench = Bench::start().await;
    let metadata = bench.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(metadata["issuer"], "http://localhost:9002");
    assert_eq!(metadata["jwks_uri"], "http://localhost:9002/keys");
    assert_eq!(metadata["token_endpoint"], "http://localhost:9002/token");
    let keys = bench.get("/keys").await;
    assert_eq!(keys, bench.authority.jwks());
    assert!(keys["keys"][0].get("d").is_none(), "the private half is published");
}
