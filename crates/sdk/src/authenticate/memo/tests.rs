use std::sync::Arc;

use tegata_core::{Clock as _, ManualClock, Node, SeededEntropy};

use super::*;
use crate::{authenticate::KeySource, testing::TestAuthority};

struct World {
    clock: Arc<ManualClock>,
    authority: TestAuthority,
    orders: Authenticator,
    memo: Memo,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let authority = TestAuthority::on(node.clone());
        let orders = Authenticator::of("orders")
            .trusting(TestAuthority::ISSUER, authority.keys())
            .leeway(Duration::ZERO)
            .remembering(tegata_token::Memory { tokens: 0, ..Default::default() })
            .on(node.clone());
        let memo = Memo::new(MemoLimits::default(), node.entropy());
        Self { clock, authority, orders, memo }
    }

    async fn ask(&self, headers: &HeaderMap) -> (Result<Caller, Reason>, FoundIn) {
        let (answer, from) = self.memo.authenticate(&self.orders, headers).await;
        (answer.map_err(|refused| refused.reason), from)
    }

    async fn ask_reason(&self, headers: &HeaderMap) -> (Reason, FoundIn) {
        let (answer, from) = self.ask(headers).await;
        (answer.unwrap_err(), from)
    }
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers
}

fn internal(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-internal-token", token.parse().unwrap());
    headers
}

#[tokio::test]
async fn what_was_found_is_remembered_for_a_minute_and_no_longer() {
    let world = World::new();
    let token = world.authority.user("usr_alice", "orders").living(300).access();
    let mut found = Vec::new();
    for pause in [0, 1, 58, 1, 59, 1] {
        world.clock.advance(Duration::from_secs(pause));
        let (answer, from) = world.ask(&bearer(&token)).await;
        assert_eq!(answer.unwrap().user().unwrap().as_str(), "usr_alice");
        found.push(from);
    }
    use FoundIn::{Memo, Token};
    assert_eq!(found, [Token, Memo, Memo, Token, Memo, Token]);
}

#[tokio::test]
async fn a_token_that_ends_while_it_is_remembered_is_refused_and_stays_so_though_the_clock_goes_back()
 {
    let world = World::new();
    let token = bearer(&world.authority.user("usr_alice", "orders").living(20).access());
    assert!(world.ask(&token).await.0.is_ok());
    world.clock.advance(Duration::from_secs(20));
    let expired = Reason::Token(Refusal::Expired);
    assert_eq!(world.ask_reason(&token).await, (expired.clone(), FoundIn::Memo));
    // Somebody sets the wall clock an hour back: since boot, no time has passed.
    world.clock.jump(world.clock.now() - Duration::from_secs(3600));
    assert_eq!(world.ask_reason(&token).await, (expired, FoundIn::Memo));
}

#[tokio::test]
async fn a_token_is_not_remembered_as_another_kind_of_credential() {
    let world = World::new();
    let user = world.authority.user("usr_alice", "orders");
    let (access, inside) = (user.access(), user.internal());
    assert!(world.ask(&bearer(&access)).await.0.is_ok());
    assert!(world.ask(&internal(&inside)).await.0.is_ok());
    let other_kind = Reason::Token(Refusal::Kind);
    assert_eq!(world.ask_reason(&internal(&access)).await, (other_kind.clone(), FoundIn::Token));
    assert_eq!(world.ask_reason(&bearer(&inside)).await, (other_kind, FoundIn::Token));
    assert!(world.ask(&bearer(&access)).await.0.is_ok());
}

#[tokio::test]
async fn a_bound_token_that_is_remembered_is_of_no_use_to_whoever_copies_it() {
    let world = World::new();
    let bound = world.authority.user("usr_alice", "orders").with(|claims| {
        let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".to_owned();
        claims.cnf = Some(tegata_token::Confirmation { jkt: Some(jkt), ..Default::default() });
    });
    let bound = bearer(&bound.access());
    for from in [FoundIn::Token, FoundIn::Memo] {
        assert_eq!(world.ask_reason(&bound).await, (Reason::Bound, from));
    }
}

#[tokio::test]
async fn nonsense_pushes_nobody_out_who_counts() {
    let world = World::new();
    let tokens: Vec<_> = (0..100)
        .map(|n| bearer(&world.authority.user(&format!("usr_{n}"), "orders").access()))
        .collect();
    for token in &tokens {
        assert!(world.ask(token).await.0.is_ok());
    }
    let good = world.authority.user("usr_alice", "orders").access();
    for n in 0..5_000 {
        assert!(world.ask(&bearer(&format!("{good}{n}"))).await.0.is_err());
    }
    for token in &tokens {
        assert_eq!(world.ask(token).await.1, FoundIn::Memo);
    }
    assert!(world.memo.bad.len() <= 1_100, "{}", world.memo.bad.len());
}

#[tokio::test]
async fn that_nobody_knows_a_key_is_remembered_for_a_second() {
    let world = World::new();
    let stranger = TestAuthority::on(world.authority.node().clone());
    let token = bearer(&stranger.user("usr_alice", "orders").access());
    let unknown = Reason::Token(Refusal::UnknownKey);
    for (pause, from) in [(0, FoundIn::Token), (999, FoundIn::Memo), (1, FoundIn::Token)] {
        world.clock.advance(Duration::from_millis(pause));
        assert_eq!(world.ask_reason(&token).await, (unknown.clone(), from), "{pause}");
    }
}

#[tokio::test]
async fn where_keys_cannot_be_had_nothing_is_remembered() {
    let world = World::new();
    let node = world.authority.node().clone();
    let nowhere = "http://127.0.0.1:1/jwks".parse().unwrap();
    let rules = crate::authenticate::KeyRules::default();
    let keys = KeySource::fetched(nowhere, crate::Transport::default(), node.clone(), rules);
    let orders = Authenticator::of("orders").trusting(TestAuthority::ISSUER, keys).on(node);
    let token = bearer(&world.authority.user("usr_alice", "orders").access());
    let (answer, _) = world.memo.authenticate(&orders, &token).await;
    assert!(matches!(answer.unwrap_err().reason, Reason::Keys(_)));
    assert!(world.ask(&token).await.0.is_ok());
}

#[test]
fn neither_credentials_nor_their_hashes_are_shown() {
    let memo = Memo::new(MemoLimits::default(), &SeededEntropy::new(1));
    let shown = format!("{memo:?}");
    assert!(!shown.contains("key") && !shown.contains("good"), "{shown}");
}
