use std::future::pending;

use prometheus_client::registry::Registry;
use tegata_core::{
    ManualClock, SeededEntropy, StoreError, Timestamp,
    port::{Held, Put, Space, Swap, Withdrawal},
};
use tegata_store::{MemoryBackstop, MemoryEphemeral};
use tegata_token::{Claims, Entry, Target, View, foreign::Told};

use super::*;
use crate::metrics::Metrics;

const ISSUER: &str = "https://idp.example";

/// A store that was sent a question and says nothing.
struct Silent;

/// A store that says that it cannot be reached.
struct Away;

fn away<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable { backend: "a store", detail: "away".into() })
}

impl Backstop for Silent {
    fn record<'a>(
        &'a self,
        _: &'a Realm,
        _: &'a [Withdrawal],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(pending())
    }
    fn withdrawn<'a>(
        &'a self,
        _: &'a Realm,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Withdrawal>, StoreError>> {
        Box::pin(pending())
    }
}

impl Backstop for Away {
    fn record<'a>(
        &'a self,
        _: &'a Realm,
        _: &'a [Withdrawal],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { away() })
    }
    fn withdrawn<'a>(
        &'a self,
        _: &'a Realm,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Withdrawal>, StoreError>> {
        Box::pin(async { away() })
    }
}

impl Ephemeral for Silent {
    fn get<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(pending())
    }
    fn put<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(pending())
    }
    fn add<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(pending())
    }
    fn swap<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: u64,
        _: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(pending())
    }
    fn take<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(pending())
    }
    fn find<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: &'a str,
        _: Option<&'a str>,
        _: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        Box::pin(pending())
    }
    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(pending())
    }
}

struct Bench {
    clock: Arc<ManualClock>,
    node: Node,
    view: View,
    foreign: Foreign,
    near: Arc<MemoryEphemeral>,
    durable: Arc<MemoryBackstop>,
    layers: Layers,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let known = Arc::new(ForeignView::new(node.clone(), 1000, 0));
        let view = View::new(node.clone()).with_foreign(Realm::default(), Arc::clone(&known));
        let near = Arc::new(MemoryEphemeral::new(clock.clone()));
        let durable = Arc::new(MemoryBackstop::new(clock.clone()));
        let foreign = Foreign {
            issuers: vec![],
            view: known,
            near: Some(near.clone()),
            durable: durable.clone(),
            realm: Realm::default(),
        };
        let layers = Metrics::register(&mut Registry::default()).layers();
        Self { clock, node, view, foreign, near, durable, layers }
    }

    /// Takes something back, and answers what the stores would be told, which they are not.
    fn take_back(&self, target: Target) -> Vec<Told> {
        let at = self.node.now();
        let until = at + Duration::from_secs(86_400);
        let (reason, actor) = ("test".to_owned(), "system".to_owned());
        let entry = Entry { target, places: vec![], at, until, reason, actor };
        self.view.apply(&Realm::default(), &entry);
        let told = self.foreign.view.untold();
        self.foreign.view.told(&told);
        told
    }

    async fn tell_durable(&self, told: &[Told]) {
        let withdrawals: Vec<_> = told.iter().map(Told::withdrawal).collect();
        self.durable.record(&Realm::default(), &withdrawals).await.unwrap();
    }

    async fn tell_near(&self, told: &[Told]) {
        let puts = told.iter().map(|told| told.put(self.node.now())).collect();
        self.near.put_all(&Realm::default(), &WITHDRAWN, puts).await.unwrap();
    }

    fn names(&self, jti: &str) -> Names {
        let (iss, iat) = (ISSUER.to_owned(), self.node.now().secs());
        let (jti, sub) = (jti.to_owned(), "alice".to_owned());
        let claims = Claims { iss, jti, sub, iat, ..Claims::default() };
        Names::of(&claims, Some("web"), "key-1")
    }

    async fn check(&self, names: &Names) -> Result<(Option<Revoked>, Layer), Unanswered> {
        self.foreign.check(names, &self.node, &self.layers).await
    }
}

fn token(jti: &str) -> Target {
    Target::ForeignToken { issuer: ISSUER.into(), jti: jti.into() }
}

fn subject(up_to: Timestamp) -> Target {
    Target::ForeignSubject { issuer: ISSUER.into(), sub: "alice".into(), up_to }
}

const REVOKED: Option<Revoked> = Some(Revoked::Token);

#[tokio::test]
async fn redis_is_believed_when_it_says_yes() {
    let bench = Bench::new();
    let told = bench.take_back(token("t1"));
    bench.tell_near(&told).await;
    assert_eq!(bench.check(&bench.names("t1")).await, Ok((REVOKED, Layer::Redis)));
    assert_eq!(bench.check(&bench.names("t1")).await, Ok((REVOKED, Layer::Cache)));
}

#[tokio::test]
async fn redis_that_has_lost_what_it_was_told_lets_nothing_pass() {
    let bench = Bench::new();
    let told = bench.take_back(token("t1"));
    bench.tell_durable(&told).await;
    assert_eq!(bench.check(&bench.names("t1")).await, Ok((REVOKED, Layer::Durable)));
    assert_eq!(bench.layers.of(Layer::Redis).unsure.count.get(), 1);
}

#[tokio::test]
async fn redis_that_has_an_older_word_of_a_subject_lets_nothing_pass() {
    let bench = Bench::new();
    let first = bench.take_back(subject(bench.node.now()));
    bench.tell_near(&first).await;
    bench.tell_durable(&first).await;
    bench.clock.advance(Duration::from_secs(10));
    let names = bench.names("t1");
    assert_eq!(bench.check(&names).await, Ok((None, Layer::Durable)));
    // The second word is lost on the way to Redis.
    bench.clock.advance(Duration::from_secs(10));
    let second = bench.take_back(subject(bench.node.now()));
    bench.tell_durable(&second).await;
    assert_eq!(bench.check(&names).await, Ok((Some(Revoked::Subject), Layer::Durable)));
}

#[tokio::test]
async fn a_filter_that_is_wrong_refuses_nobody() {
    let bench = Bench::new();
    // The filter holds it, and no store does.
    bench.take_back(token("t1"));
    assert_eq!(bench.check(&bench.names("t1")).await, Ok((None, Layer::Durable)));
    assert_eq!(bench.check(&bench.names("t1")).await, Ok((None, Layer::Cache)));
    // What was asked once is asked again when something is learnt of it.
    let told = bench.take_back(token("t1"));
    bench.tell_durable(&told).await;
    assert_eq!(bench.check(&bench.names("t1")).await, Ok((REVOKED, Layer::Durable)));
}

#[tokio::test]
async fn who_is_silent_is_not_waited_for() {
    let mut bench = Bench::new();
    let told = bench.take_back(token("t1"));
    bench.tell_durable(&told).await;
    bench.foreign.near = Some(Arc::new(Silent));
    let (clocks, names) = (Node::start(), bench.names("t1"));
    let began = clocks.since_boot();
    assert_eq!(bench.check(&names).await, Ok((REVOKED, Layer::Durable)));
    // Ten times what it may take: this machine has other things to do.
    assert!(clocks.elapsed(began) < 10 * (NEAR + DURABLE));
    assert_eq!(bench.layers.of(Layer::Redis).failed.count.get(), 1);
}

#[tokio::test]
async fn where_no_store_answers_nothing_passes_that_may_have_been_taken_back() {
    let mut bench = Bench::new();
    bench.take_back(token("t1"));
    let names = bench.names("t1");
    for durable in [Arc::new(Silent) as Arc<dyn Backstop>, Arc::new(Away)] {
        bench.foreign.durable = durable;
        for near in [None, Some(Arc::new(Silent) as Arc<dyn Ephemeral>), Some(bench.near.clone())] {
            bench.foreign.near = near;
            assert_eq!(bench.check(&names).await, Err(Unanswered));
        }
        // What the filter does not hold needs no store.
        assert!(bench.check(&bench.names("t2")).await.unwrap().0.is_none());
    }
    // That nobody answered is not remembered as an answer.
    bench.foreign.durable = bench.durable.clone();
    assert_eq!(bench.check(&names).await, Ok((None, Layer::Durable)));
}

#[tokio::test]
async fn a_yes_is_enough_where_another_question_is_not_answered() {
    let answers = [Err(Unanswered), Ok(REVOKED)];
    assert_eq!(settle(answers.to_vec()), Ok(REVOKED));
    assert_eq!(settle(vec![Err(Unanswered), Ok(None)]), Err(Unanswered));
    assert_eq!(settle(vec![Ok(None), Ok(None)]), Ok(None));
}
