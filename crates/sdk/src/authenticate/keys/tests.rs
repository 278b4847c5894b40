use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::future::join_all;
use tegata_core::{ManualClock, SeededEntropy};
use tegata_token::{Algorithm, Refusal, SigningKey};

use super::*;
use crate::{
    authenticate::{Authenticator, Reason},
    testing::{TestAuthority, server::TestServer},
    transport::TransportLimits,
};

/// An issuer's key set over HTTP, a service that uses it, and a clock that both live by.
struct Bench {
    clock: Arc<ManualClock>,
    authority: TestAuthority,
    issuer: Issuer,
    service: Authenticator,
    keys: KeySource,
    _server: TestServer,
}

#[derive(Clone, Default)]
struct Issuer {
    jwks: Arc<Mutex<String>>,
    max_age: Arc<Mutex<Option<u32>>>,
    asked: Arc<AtomicU32>,
    down: Arc<AtomicBool>,
}

impl Issuer {
    fn publish(&self, authorities: &[&TestAuthority]) {
        let keys = authorities.iter().map(|authority| authority.jwks()["keys"][0].clone());
        *self.jwks.lock() = serde_json::json!({ "keys": keys.collect::<Vec<_>>() }).to_string();
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn jwks(State(issuer): State<Issuer>) -> Response {
    issuer.asked.fetch_add(1, Ordering::SeqCst);
    if issuer.down.load(Ordering::SeqCst) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let age =
        issuer.max_age.lock().map(|age| [("cache-control", format!("public, max-age={age}"))]);
    let body = issuer.jwks.lock().clone();
    match age {
        Some(age) => (age, body).into_response(),
        None => body.into_response(),
    }
}

impl Bench {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let authority = TestAuthority::on(node.clone());
        let issuer = Issuer::default();
        issuer.publish(&[&authority]);
        let router = Router::new().route("/jwks", get(jwks)).with_state(issuer.clone());
        let server = TestServer::start(router).await.unwrap();
        let limits =
            TransportLimits { timeout: Duration::from_secs(30), ..TransportLimits::default() };
        let url = server.url("/jwks").parse().unwrap();
        let transport = Transport::new(limits);
        let keys = KeySource::fetched(url, transport, node.clone(), KeyRules::default());
        let service =
            Authenticator::of("orders").trusting(TestAuthority::ISSUER, keys.clone()).on(node);
        Self { clock, authority, issuer, service, keys, _server: server }
    }

    async fn judge(&self, token: &str) -> Result<(), Reason> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        self.service.authenticate(&headers).await.map(drop).map_err(|refused| refused.reason)
    }

    fn token(&self) -> String {
        self.authority.user("usr_alice", "orders").living(86_400 * 7).access()
    }

    /// Waits until a fetch in the background has ended.
    async fn settle(&self, version: u64) {
        while self.keys.current().await.unwrap().version < version {
            tokio::task::yield_now().await;
        }
    }

    fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

const UNKNOWN: Result<(), Reason> = Err(Reason::Token(Refusal::UnknownKey));

#[tokio::test]
async fn fetches_once_for_all_who_come_first() {
    let bench = Bench::new().await;
    let token = bench.token();
    let all = join_all((0..100).map(|_| bench.judge(&token))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(bench.issuer.asked(), 1);
    bench.pass(3599);
    bench.judge(&token).await.unwrap();
    assert_eq!(bench.issuer.asked(), 1);
}

#[tokio::test]
async fn fetches_anew_in_the_background_when_the_set_has_aged() {
    let bench = Bench::new().await;
    *bench.issuer.max_age.lock() = Some(60);
    let token = bench.token();
    bench.judge(&token).await.unwrap();
    bench.pass(61);
    bench.judge(&token).await.unwrap();
    bench.settle(2).await;
    assert_eq!(bench.issuer.asked(), 2);
}

#[tokio::test]
async fn a_new_key_is_known_at_its_first_token_and_a_withdrawn_one_is_not() {
    let bench = Bench::new().await;
    let old = bench.token();
    bench.judge(&old).await.unwrap();
    let next = TestAuthority::on(bench.authority.node().clone());
    bench.issuer.publish(&[&bench.authority, &next]);
    bench.pass(10);
    let new = next.user("usr_alice", "orders").living(86_400).access();
    assert!(join_all((0..50).map(|_| bench.judge(&new))).await.iter().all(Result::is_ok));
    bench.judge(&old).await.unwrap();
    assert_eq!(bench.issuer.asked(), 2);
    bench.issuer.publish(&[&next]);
    bench.pass(3600);
    bench.judge(&new).await.unwrap();
    bench.settle(3).await;
    assert_eq!(bench.judge(&old).await, UNKNOWN);
    bench.judge(&new).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_unknown_keys_asks_once_in_ten_seconds() {
    let bench = Bench::new().await;
    bench.judge(&bench.token()).await.unwrap();
    let forge = |_| {
        let stranger = TestAuthority::on(bench.authority.node().clone());
        stranger.user("usr_root", "orders").living(86_400).access()
    };
    for round in 0..3 {
        bench.pass(10);
        let forged: Vec<_> = (0..20).map(forge).collect();
        for result in join_all(forged.iter().map(|token| bench.judge(token))).await {
            assert_eq!(result, UNKNOWN);
        }
        assert_eq!(bench.issuer.asked(), 2 + round);
    }
}

/// Whoever lets a set be kept for two seconds may sign with a key that was published two seconds ago.
#[tokio::test]
async fn an_issuer_that_rotates_in_haste_is_asked_as_often_as_it_says() {
    let bench = Bench::new().await;
    *bench.issuer.max_age.lock() = Some(2);
    bench.judge(&bench.token()).await.unwrap();
    let next = TestAuthority::on(bench.authority.node().clone());
    bench.issuer.publish(&[&bench.authority, &next]);
    bench.pass(2);
    let token = next.user("usr_alice", "orders").access();
    bench.judge(&token).await.unwrap();
    // The set has aged, and the key is new: one question does for both.
    assert_eq!(bench.issuer.asked(), 2);
    for _ in 0..100 {
        let stranger = TestAuthority::on(bench.authority.node().clone());
        let _ = bench.judge(&stranger.user("usr_alice", "orders").access()).await;
    }
    assert_eq!(bench.issuer.asked(), 2);
}

#[tokio::test]
async fn a_key_that_was_missed_is_not_asked_for_again_at_once() {
    let bench = Bench::new().await;
    bench.judge(&bench.token()).await.unwrap();
    let stranger = TestAuthority::on(bench.authority.node().clone());
    let forged = stranger.user("usr_root", "orders").living(86_400).access();
    bench.pass(10);
    assert_eq!(bench.judge(&forged).await, UNKNOWN);
    bench.pass(30);
    assert_eq!(bench.judge(&forged).await, UNKNOWN);
    assert_eq!(bench.issuer.asked(), 2);
    bench.pass(31);
    assert_eq!(bench.judge(&forged).await, UNKNOWN);
    assert_eq!(bench.issuer.asked(), 3);
}

#[tokio::test]
async fn keeps_the_last_good_set_while_the_issuer_is_down_but_not_for_ever() {
    let bench = Bench::new().await;
    let token = bench.token();
    bench.judge(&token).await.unwrap();
    bench.issuer.down.store(true, Ordering::SeqCst);
    bench.pass(86_399);
    bench.judge(&token).await.unwrap();
    bench.pass(20);
    assert!(matches!(bench.judge(&token).await, Err(Reason::Keys(_))));
    bench.issuer.down.store(false, Ordering::SeqCst);
    bench.pass(10);
    bench.judge(&token).await.unwrap();
}

#[tokio::test]
async fn an_empty_or_broken_set_does_not_replace_a_good_one() {
    let bench = Bench::new().await;
    let token = bench.token();
    bench.judge(&token).await.unwrap();
    for bad in ["{\"keys\":[]}", "{}", "<html>", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}"] {
        *bench.issuer.jwks.lock() = bad.to_owned();
        bench.pass(10);
        assert!(!bench.keys.fetch().await, "{bad}");
        bench.judge(&token).await.unwrap();
    }
}

#[tokio::test]
async fn answers_503_until_there_is_a_set_and_asks_every_second() {
    let bench = Bench::new().await;
    bench.issuer.down.store(true, Ordering::SeqCst);
    let token = bench.token();
    for _ in 0..3 {
        assert!(matches!(bench.judge(&token).await, Err(Reason::Keys(_))));
    }
    assert_eq!(bench.issuer.asked(), 1);
    bench.issuer.down.store(false, Ordering::SeqCst);
    bench.pass(1);
    bench.judge(&token).await.unwrap();
}

#[test]
fn takes_from_a_set_the_keys_that_it_can_use() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let set = serde_json::json!({"keys": [
        {"kty": "EC", "crv": "P-521", "kid": "big", "alg": "ES512", "x": "AA", "y": "AA"},
        {"kty": "RSA", "kid": "encrypts", "use": "enc", "alg": "RS256", "n": "AA", "e": "AQAB"},
        key.jwk(),
        "nonsense",
    ]});
    let read = Published::read(set.to_string().as_bytes(), None, None).unwrap();
    assert_eq!(read.keys.len(), 1);
    let again = Published::read(set.to_string().as_bytes(), Some(&read), None).unwrap();
    assert!(Arc::ptr_eq(&read.keys[0].1, &again.keys[0].1));
    assert_eq!((read.version, again.version), (1, 2));
}

#[test]
fn a_key_is_used_with_an_algorithm_that_was_allowed_and_no_other() {
    use Algorithm::{EdDsa, Es256, Ps256, Rs256};
    let (rsa, ec) = (SigningKey::generate(Rs256).unwrap(), SigningKey::generate(Es256).unwrap());
    let mut unnamed = serde_json::to_value(rsa.jwk()).unwrap();
    unnamed.as_object_mut().unwrap().remove("alg");
    let set = serde_json::json!({"keys": [unnamed, ec.jwk()]}).to_string();
    let algorithms = |allowed: &[Algorithm]| {
        let read = Published::read(set.as_bytes(), None, Some(allowed));
        read.map(|read| read.keys.iter().map(|(_, key)| key.algorithm()).collect::<Vec<_>>())
    };
    assert_eq!(algorithms(&Algorithm::ALL), Some(vec![Rs256, Es256]));
    assert_eq!(algorithms(&[Es256, Ps256, Rs256]), Some(vec![Ps256, Es256]));
    assert_eq!(algorithms(&[Rs256]), Some(vec![Rs256]));
    assert_eq!(algorithms(&[EdDsa]), None);
    // Of whom nothing was said, keys that name none are used with none.
    assert_eq!(Published::read(set.as_bytes(), None, None).unwrap().keys.len(), 1);
}

#[test]
fn a_key_without_a_name_has_its_thumbprint_for_one() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let mut unnamed = serde_json::to_value(key.jwk()).unwrap();
    unnamed.as_object_mut().unwrap().remove("kid");
    let set = serde_json::json!({"keys": [unnamed]}).to_string();
    let read = Published::read(set.as_bytes(), None, Some(&Algorithm::ALL)).unwrap();
    assert!(read.set().has(&key.jwk().thumbprint()));
    // Of an issuer that is ours, every key has a name.
    assert!(Published::read(set.as_bytes(), None, None).is_none());
}

#[tokio::test]
async fn a_key_that_nobody_could_be_asked_for_is_not_said_to_be_unknown() {
    let bench = Bench::new().await;
    bench.keys.current().await.unwrap();
    // It was asked a moment ago, so it is not asked again.
    assert!(bench.keys.with("new").await.is_err());
    bench.pass(11);
    bench.issuer.down.store(true, Ordering::SeqCst);
    assert!(bench.keys.with("new").await.is_err());
    bench.pass(11);
    bench.issuer.down.store(false, Ordering::SeqCst);
    // Now it was asked, and has none of this name; that is remembered.
    assert!(bench.keys.with("new").await.is_ok());
    let asked = bench.issuer.asked();
    assert!(bench.keys.with("new").await.is_ok());
    assert_eq!(bench.issuer.asked(), asked);
}
