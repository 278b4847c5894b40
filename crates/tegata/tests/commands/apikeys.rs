//! API keys and opaque tokens, on two nodes that share PostgreSQL and Redis.

use std::path::Path;

use serde_json::{Value, json};
use tegata_engines::{
    EchoServer, PostgresServer, RedisServer, TegataNode,
    process::until,
    tegata::{Own, Shared, root_key},
};

use crate::{PATIENCE, ask, body};

/// Two nodes before a service, with a client of each form of token.
struct Scene<'p> {
    nodes: [TegataNode; 2],
    _parts: (EchoServer, RedisServer, tegata_engines::PostgresDatabase<'p>),
}

impl<'p> Scene<'p> {
    fn start(postgres: &'p PostgresServer) -> Self {
        Self::with(postgres, &[])
    }

    /// With this in the environment of both.
    fn with(postgres: &'p PostgresServer, environment: &[(&str, &str)]) -> Self {
        let set = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let program = Path::new(env!("CARGO_BIN_EXE_tegata"));
        let database = postgres.database();
        let (echo, redis) = (EchoServer::start(), RedisServer::start());
        let shared = Shared {
            program: program.to_owned(),
            root_key: root_key(program),
            issuer: "http://localhost:8000".to_owned(),
            audience: "http://localhost:8080".to_owned(),
        };
        let own = Own {
            store: database.url_on("127.0.0.1"),
            more: format!("[redis]\nurl = \"{}\"\n", redis.url()),
            environment: environment.iter().map(set).collect(),
            ..Own::default()
        };
        let nodes = ["one", "two"].map(|name| TegataNode::start(name, &shared, &own));
        let client = |id: &str, format: &str| {
            json!({
                "client_id": id, "client_secret": format!("a secret of {id} for tests"),
                "grant_types": ["client_credentials"], "scope": "stock.read",
                "may_introspect": true, "token_format": format,
                "access_token_signed_response_alg": "ES256",
                "token_endpoint_auth_method": "client_secret_post",
            })
        };
        let declared = json!({
            "service": [{
                "name": "stock", "upstreams": [format!("http://127.0.0.1:{}", echo.port())],
            }],
            "route": [
                {"path": "/stock", "service": "stock"},
                {"path": "/strict", "service": "stock", "revocation": "strict"},
                {"path": "/keys", "service": "stock", "credentials": ["token", "key"]},
                {"path": "/limited", "service": "stock", "credentials": ["token", "key"],
                 "rate_limits": [{"by": "key", "limit": "5/d"}]},
            ],
            "client": [client("opaque", "reference"), client("plain", "jwt")],
        });
        std::fs::write(nodes[0].directory().join("declared.json"), declared.to_string()).unwrap();
        nodes[0].command(&["apply", "declared.json"]);
        let scene = Self { nodes, _parts: (echo, redis, database) };
        // The other reads what is declared once a second.
        for node in [0, 1] {
            assert!(until(PATIENCE, || scene.call(node, "/keys/x", "").0 == 401), "{node}");
        }
        scene
    }

    /// What a command answers.
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.nodes[0].command(args)).unwrap()
    }

    fn call(&self, node: usize, path: &str, field: &str) -> (u16, String) {
        ask(self.nodes[node].ports().gateway, &format!("GET {path} HTTP/1.1{field}"), "")
    }

    /// With a key.
    fn showing(&self, node: usize, key: &str) -> (u16, String) {
        self.call(node, "/keys/x", &format!("\r\nX-API-Key: {key}"))
    }

    /// With a token.
    fn bearing(&self, node: usize, path: &str, token: &str) -> u16 {
        self.call(node, path, &format!("\r\nAuthorization: Bearer {token}")).0
    }

    fn post(&self, node: usize, path: &str, form: &str) -> (u16, String) {
        let head =
            format!("POST {path} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded");
        ask(self.nodes[node].ports().public, &head, form)
    }

    fn as_client(&self, node: usize, path: &str, client: &str, more: &str) -> (u16, String) {
        let own = format!("client_id={client}&client_secret=a+secret+of+{client}+for+tests");
        self.post(node, path, &format!("{own}&{more}"))
    }

    fn token(&self, client: &str) -> String {
        let asked = self.as_client(0, "/oauth2/token", client, "grant_type=client_credentials");
        assert_eq!(asked.0, 200, "{}", asked.1);
        body(&asked.1)["access_token"].as_str().unwrap().to_owned()
    }

    fn introspected(&self, node: usize, token: &str) -> Value {
        let asked = self.as_client(node, "/oauth2/introspect", "plain", &format!("token={token}"));
        assert_eq!(asked.0, 200, "{}", asked.1);
        body(&asked.1)
    }
}

#[test]
fn each_key_has_its_own_limit_on_all_nodes_together_and_tokens_have_none_of_it() {
    let postgres = PostgresServer::listening("", |_| {});
    let limits = [
        // Otherwise this machine is not counted.
        ("TEGATA_GATEWAY__LIMITS__EXEMPT", "[]"),
        ("TEGATA_GATEWAY__LIMITS__PER_ADDRESS", "100000/s"),
        // How fast a busy machine is, is not what is shown.
        ("TEGATA_GATEWAY__LIMITS__STORE_WAIT", "30s"),
    ];
    let scene = Scene::with(&postgres, &limits);
    let make = || {
        let made = scene.json(&["apikey", "create", "--service", "stock", "--name", "nightly"]);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("api_key"))
    };
    let call =
        |node: usize, key: &str| scene.call(node, "/limited/x", &format!("\r\nX-API-Key: {key}"));
    let ((id, one), (_, two), token) = (make(), make(), scene.token("plain"));
    for key in [&one, &two] {
        // Five on both nodes together, whichever is asked.
        for turn in 0..5 {
            let answer = call(turn % 2, key);
            assert_eq!(answer.0, 200, "{turn}: {}", answer.1);
            assert!(answer.1.contains("\"route:key\""), "{}", answer.1);
        }
        for node in [0, 1, 0] {
            let (status, answer) = call(node, key);
            assert_eq!(status, 429, "{answer}");
            assert!(answer.to_lowercase().contains("\r\nretry-after: "), "{answer}");
            assert!(!answer.contains(&key[12..]), "{answer}");
        }
    }
    // It is the key that is counted, and there alone: not its service, its route or where it comes from.
    assert_eq!(scene.showing(0, &one).0, 200);
    for turn in 0..8 {
        assert_eq!(scene.bearing(turn % 2, "/limited/x", &token), 200, "{turn}");
    }
    // What is no key of ours is refused as such, however often, and takes nothing from one that is.
    let mut wrong = two.clone();
    wrong.replace_range(12..13, if &two[12..13] == "a" { "b" } else { "a" });
    for _ in 0..6 {
        assert_eq!(call(0, &wrong).0, 401);
    }
    // Its successor is another key.
    let made = scene.json(&["apikey", "rotate", &id, "--grace", "1h"]);
    assert_eq!(call(1, made["api_key"].as_str().unwrap()).0, 200);
    assert_eq!(call(1, &one).0, 429);
}

#[test]
fn a_key_taken_back_is_refused_by_every_node() {
    let postgres = PostgresServer::listening("", |_| {});
    let scene = Scene::start(&postgres);
    let make = || {
        let made = scene.json(&[
            "apikey",
            "create",
            "--service",
            "stock",
            "--name",
            "nightly",
            "--scope",
            "stock.read",
            "--role",
            "worker",
        ]);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("api_key"))
    };
    let both = |key: &str, status: u16| {
        for node in [0, 1] {
            let answer = scene.showing(node, key);
            assert_eq!(answer.0, status, "{node}: {}", answer.1);
            assert!(!answer.1.contains(&key[12..]), "{}", answer.1);
        }
    };
    // Made by one node, it counts on both, for its service.
    let (id, key) = make();
    assert_eq!(&key[3..11], id);
    both(&key, 200);
    assert_eq!(scene.bearing(1, "/keys/x", &key), 200);
    assert_eq!(scene.bearing(0, "/stock/x", &key), 401);
    // It is listed, without its secret.
    let listed = scene.json(&["apikey", "list", "--service", "stock"]);
    assert_eq!((&listed[0]["id"], &listed[0]["standing"]), (&json!(id), &json!("active")));
    assert!(!listed.to_string().contains(&key[12..]));
    // Taken back, it is refused by both when the command answers; as often as it is done.
    for _ in 0..2 {
        let told = scene.json(&["apikey", "revoke", &id, "--reason", "leaked", "--wait"]);
        assert_eq!(told["revoked"]["api_key"], json!(id));
        both(&key, 401);
    }
    let listed = scene.json(&["apikey", "list"]);
    assert_eq!(
        (&listed[0]["standing"], &listed[0]["reason"]),
        (&json!("revoked"), &json!("leaked"))
    );

    // One that takes its place counts beside it, unless that was not wanted.
    let (id, old) = make();
    let told = scene.json(&["apikey", "rotate", &id, "--grace", "1h"]);
    assert_eq!(told["replaces"], json!(id));
    let (next, new) = (told["id"].as_str().unwrap(), told["api_key"].as_str().unwrap());
    both(&old, 200);
    both(new, 200);
    let told = scene.json(&["apikey", "rotate", next, "--at-once"]);
    let last = told["api_key"].as_str().unwrap();
    assert!(until(PATIENCE, || scene.showing(1, new).0 == 401));
    both(new, 401);
    both(last, 200);
    // Whoever found one somewhere takes it back by what was found.
    scene.json(&["revoke", "--token", &old, "--reason", "found", "--wait"]);
    both(&old, 401);

    // The kill switch finds all of the service, and what is made afterwards counts.
    let told = scene.json(&["revoke", "--service", "stock", "--reason", "breach", "--wait"]);
    assert_eq!(told["proof"]["api keys"], 1, "{told}");
    both(last, 401);
    let (_, fresh) = make();
    assert!(until(PATIENCE, || [0, 1].iter().all(|node| scene.showing(*node, &fresh).0 == 200)));
    // A service that is removed takes its keys with it.
    scene.json(&["service", "remove", "stock"]);
    let listed = scene.json(&["apikey", "list"]);
    let active = listed.as_array().unwrap().iter().filter(|key| key["standing"] == "active");
    assert_eq!(active.count(), 0, "{listed}");
    let journal = scene.nodes[0].process().said() + &scene.nodes[1].process().said();
    for key in [&key, &old, new, last, &fresh] {
        assert!(!journal.contains(&key[12..]));
    }
}

#[test]
fn a_key_made_for_tokens_gets_them_for_its_services_and_nothing_else_does() {
    let postgres = PostgresServer::listening("", |_| {});
    let scene = Scene::start(&postgres);
    let own = "a secret of keyed for tests";
    let service = |name: &str| json!({"name": name, "upstreams": ["http://127.0.0.1:9"], "callers": ["keyed"]});
    let declared = json!({
        "service": [service("ledger"), service("vault")],
        "client": [{
            "client_id": "keyed", "client_secret": own, "scope": "ledger.read ledger.write",
            "grant_types": ["client_credentials"], "may_introspect": true,
            "access_token_signed_response_alg": "ES256",
        }],
    });
    std::fs::write(scene.nodes[0].directory().join("keyed.json"), declared.to_string()).unwrap();
    scene.nodes[0].command(&["apply", "keyed.json"]);
    let make = |client: &str, more: &[&str]| {
        let args = ["apikey", "create", "--service", client, "--scope", "ledger.read"];
        let made = scene.json(&[&args, more].concat());
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("api_key"))
    };
    let (id, key) = make("keyed", &["--for-service", "ledger", "--tokens"]);
    let asking = |node: usize, path: &str, secret: &str, more: &str| {
        scene.post(node, path, &format!("client_id=keyed&client_secret={secret}&{more}"))
    };
    let token = |node: usize, secret: &str, more: &str| {
        let asked = format!("grant_type=client_credentials&{more}");
        asking(node, "/oauth2/token", secret, &asked)
    };
    let refused = |answer: (u16, String), status: u16, error: &str| {
        assert_eq!(answer.0, status, "{}", answer.1);
        assert_eq!(body(&answer.1)["error"], error, "{}", answer.1);
        assert!(!answer.1.contains(&key[12..]), "{}", answer.1);
    };
    // On every node, in the form or in the header, for what it was made for.
    let mut given = String::new();
    for node in [0, 1] {
        assert!(until(PATIENCE, || token(node, &key, "audience=ledger").0 == 200), "{node}");
        let (_, answer) = token(node, &key, "audience=ledger");
        let told = body(&answer);
        assert_eq!((&told["scope"], &told["expires_in"]), (&json!("ledger.read"), &json!(60)));
        told["access_token"].as_str().unwrap().clone_into(&mut given);
    }
    let claims = crate::part(&given, 1);
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("keyed"), &json!("ledger")));
    assert!(claims["lineage"]["jti"][0].as_str().unwrap().ends_with(&id), "{claims}");
    refused(token(0, &key, "audience=vault"), 400, "invalid_target");
    refused(token(0, &key, "audience=http://localhost:8080"), 400, "invalid_target");
    refused(token(0, &key, ""), 400, "invalid_target");
    refused(token(0, &key, "audience=ledger&scope=ledger.write"), 400, "invalid_scope");
    // Nowhere else, and not what is no such key; the client's own secret gets what it got before.
    for (path, asked) in [("/oauth2/introspect", "token=x"), ("/oauth2/revoke", "token=x")] {
        refused(asking(0, path, &key, asked), 401, "invalid_client");
        assert_eq!(asking(0, path, &own.replace(' ', "+"), asked).0, 200);
    }
    let mut forged = key.clone();
    forged.replace_range(12..13, if &key[12..13] == "a" { "b" } else { "a" });
    let (_, of_another) = make("plain", &["--tokens"]);
    let (_, for_the_gateway) = make("keyed", &[]);
    for secret in [&forged, &of_another, &for_the_gateway] {
        refused(token(0, secret, "audience=ledger"), 401, "invalid_client");
    }
    let for_a_route =
        ["apikey", "create", "--service", "keyed", "--tokens", "--for-route", "/stock"];
    assert_eq!(scene.nodes[0].run(&for_a_route).status.code(), Some(2));
    assert_eq!(token(0, &own.replace(' ', "+"), "audience=vault&scope=ledger.write").0, 200);
    // What it gave falls with it, on every node.
    for node in [0, 1] {
        assert_eq!(scene.introspected(node, &given)["active"], json!(true), "{node}");
    }
    scene.json(&["apikey", "revoke", &id, "--reason", "leaked", "--wait"]);
    for node in [0, 1] {
        refused(token(node, &key, "audience=ledger"), 401, "invalid_client");
        assert_eq!(scene.introspected(node, &given)["active"], json!(false), "{node}");
    }
    let journal = scene.nodes[0].process().said() + &scene.nodes[1].process().said();
    assert!(!journal.contains(&key[12..]));
}

#[test]
fn a_reference_means_nothing_outside_and_a_token_inside() {
    let postgres = PostgresServer::listening("", |_| {});
    let scene = Scene::start(&postgres);
    let (opaque, plain) = (scene.token("opaque"), scene.token("plain"));
    assert!(opaque.starts_with("at_") && opaque.len() == 51 && !opaque.contains('.'), "{opaque}");
    for node in [0, 1] {
        for path in ["/stock/x", "/strict/x", "/keys/x"] {
            assert_eq!(scene.bearing(node, path, &opaque), 200, "{node} {path}");
            assert_eq!(scene.bearing(node, path, &plain), 200, "{node} {path}");
        }
        let told = scene.introspected(node, &opaque);
        assert_eq!((&told["active"], &told["client_id"]), (&json!(true), &json!("opaque")));
        assert_eq!((&told["scope"], &told["token_type"]), (&json!("stock.read"), &json!("Bearer")));
    }
    // As a signed answer, it says the same.
    let head = "POST /oauth2/introspect HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\
                \r\nAccept: application/token-introspection+jwt";
    let own = "client_id=plain&client_secret=a+secret+of+plain+for+tests";
    let port = scene.nodes[1].ports().public;
    let (status, signed) = ask(port, head, &format!("{own}&token={opaque}"));
    assert_eq!(status, 200, "{signed}");
    let claims = crate::part(signed.split_once("\r\n\r\n").unwrap().1.trim(), 1);
    assert_eq!(claims["token_introspection"]["active"], json!(true));
    // What is made up stands for nothing, whoever is asked.
    let last = if opaque.ends_with('A') { 'B' } else { 'A' };
    let made_up =
        [opaque[..50].to_owned() + &last.to_string(), format!("at_{plain}"), "at_".into()];
    for made_up in &made_up {
        assert_eq!(scene.bearing(1, "/strict/x", made_up), 401);
        assert_eq!(scene.introspected(1, made_up)["active"], json!(false));
    }
    // Taken back through one node by its client, it is refused by both.
    let (status, said) = scene.as_client(0, "/oauth2/revoke", "opaque", &format!("token={opaque}"));
    assert_eq!(status, 200, "{said}");
    assert_eq!(scene.bearing(0, "/stock/x", &opaque), 401);
    assert!(until(PATIENCE, || scene.bearing(1, "/stock/x", &opaque) == 401));
    for node in [0, 1] {
        assert_eq!(scene.introspected(node, &opaque)["active"], json!(false));
    }
    assert_eq!(scene.bearing(1, "/stock/x", &plain), 200);
    // What it stood for, the client's next token does not share.
    let next = scene.token("opaque");
    assert_ne!(next, opaque);
    assert_eq!(scene.bearing(1, "/strict/x", &next), 200);
    scene.json(&["revoke", "--client", "opaque", "--reason", "test", "--wait"]);
    assert_eq!(scene.bearing(1, "/strict/x", &next), 401);
}
