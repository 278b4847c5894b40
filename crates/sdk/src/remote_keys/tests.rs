use std::sync::atomic::{AtomicU32, Ordering};

use axum::{Json, Router, extract::State, routing::get};
use serde_json::{Value, json};
use tegata_core::{ManualClock, SeededEntropy};
use tegata_token::SigningKey;

use super::*;
use crate::testing::server::TestServer;

/// An issuer that publishes metadata and a key set.
#[derive(Clone)]
struct Issuer {
    metadata: Arc<Mutex<Value>>,
    jwks: Arc<Mutex<Value>>,
    asked: Arc<AtomicU32>,
}

struct Bench {
    clock: Arc<ManualClock>,
    node: Node,
    issuer: Issuer,
    server: TestServer,
    kid: String,
}

impl Bench {
    async fn new(path: &'static str) -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let issuer = Issuer {
            metadata: Arc::default(),
            jwks: Arc::new(Mutex::new(json!({"keys": [key.jwk()]}))),
            asked: Arc::default(),
        };
        let router =
            Router::new()
                .route(
                    path,
                    get(|State(issuer): State<Issuer>| async move {
                        Json(issuer.metadata.lock().clone())
                    }),
                )
                .route(
                    "/keys",
                    get(|State(issuer): State<Issuer>| async move {
                        issuer.asked.fetch_add(1, Ordering::SeqCst);
                        Json(issuer.jwks.lock().clone())
                    }),
                )
                .with_state(issuer.clone());
        let server = TestServer::start(router).await.unwrap();
        Self { clock, node, issuer, server, kid: key.kid().as_str().to_owned() }
    }

    fn keys(&self, issuer: &str) -> RemoteKeys {
        let of = RemoteIssuer {
            issuer: issuer.to_owned(),
            jwks_uri: None,
            algorithms: Algorithm::ALL.to_vec(),
            rules: KeyRules::default(),
        };
        RemoteKeys::new(of, Transport::default(), self.node.clone())
    }

    fn publish(&self, issuer: &str, keys: &str) {
        *self.issuer.metadata.lock() = json!({"issuer": issuer, "jwks_uri": keys});
    }
}

#[tokio::test]
async fn finds_the_keys_where_either_standard_has_the_issuer_say_so() {
    for path in ["/a/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/a"]
    {
        let bench = Bench::new(path).await;
        let issuer = bench.server.url("/a");
        bench.publish(&issuer, &bench.server.url("/keys"));
        let keys = bench.keys(&issuer);
        assert!(!keys.look_for(&bench.kid).await, "before there is a set, nobody is asked");
        let (version, set) = keys.current().await.unwrap();
        let named = format!("{set:?}");
        assert!(named.contains(&bench.kid), "{named}");
        assert!(keys.look_for(&bench.kid).await);
        assert_eq!(keys.current().await.unwrap().0, version);
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_lead_nowhere() {
    let bench = Bench::new("/.well-known/openid-configuration").await;
    let issuer = bench.server.url("");
    for other in [format!("{issuer}/"), "https://other.example".to_owned()] {
        bench.publish(&other, &bench.server.url("/keys"));
        assert!(bench.keys(&issuer).current().await.is_err(), "{other}");
    }
    // Nor does an address that is none, or one that is read by whoever listens.
    for uri in ["", "file:///etc/passwd", "http://192.0.2.1/keys"] {
        bench.publish(&issuer, uri);
        assert!(bench.keys(&issuer).current().await.is_err(), "{uri}");
    }
    assert_eq!(bench.issuer.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn keys_that_have_moved_are_found_again_within_an_hour() {
    let bench = Bench::new("/.well-known/openid-configuration").await;
    let issuer = bench.server.url("");
    bench.publish(&issuer, &bench.server.url("/keys"));
    let keys = bench.keys(&issuer);
    let (before, _) = keys.current().await.unwrap();
    bench.publish(&issuer, &bench.server.url("/keys?moved"));
    bench.clock.advance(LOOKED);
    let (after, _) = keys.current().await.unwrap();
    assert_ne!(before, after);
}

#[tokio::test]
async fn a_set_is_asked_for_anew_once_in_a_while_whoever_misses_something_in_it() {
    let bench = Bench::new("/.well-known/openid-configuration").await;
    let of = RemoteIssuer {
        issuer: "client".to_owned(),
        jwks_uri: Some(bench.server.url("/keys").parse().unwrap()),
        algorithms: Algorithm::ALL.to_vec(),
        rules: KeyRules::default(),
    };
    let keys = RemoteKeys::new(of, Transport::default(), bench.node.clone());
    let (first, _) = keys.renewed().await.unwrap();
    // The same key, with a certificate now: nothing is new by name.
    bench.issuer.jwks.lock()["keys"][0]["x5c"] = json!(["AAAA"]);
    for _ in 0..20 {
        assert_eq!(keys.renewed().await.unwrap().0, first);
    }
    assert_eq!(bench.issuer.asked.load(Ordering::SeqCst), 1);
    bench.clock.advance(KeyRules::default().pause);
    assert_eq!(keys.current().await.unwrap().0, first, "nobody misses anything");
    for _ in 0..20 {
        assert_eq!(keys.renewed().await.unwrap().0, first + 1);
    }
    assert_eq!(bench.issuer.asked.load(Ordering::SeqCst), 2);
}
