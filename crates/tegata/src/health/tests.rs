use tegata_core::{
    Clock, ManualClock, SeededEntropy, StoreError,
    port::{Held, Swap},
};
use tegata_store::{Measured, MemoryEphemeral};

use super::*;

/// What a store does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    Write,
    Read,
    /// It takes what it is given, and has it no more.
    Keep,
    /// It takes so many milliseconds for every answer.
    Slow(u64),
}

/// A store that fails in one way, as often as it is told to: once in so many calls. A fake.
struct Faulty {
    inner: MemoryEphemeral,
    clock: Arc<ManualClock>,
    fault: Fault,
}

fn away() -> StoreError {
    StoreError::Unavailable { backend: "the fake", detail: "it is away".to_owned() }
}

impl Faulty {
    fn slow(&self) {
        if let Fault::Slow(millis) = self.fault {
            self.clock.advance(Duration::from_millis(millis));
        }
    }
}

impl Ephemeral for Faulty {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.slow();
        match self.fault {
            Fault::Read => Box::pin(async { Err(away()) }),
            Fault::Keep => Box::pin(async { Ok(None) }),
            _ => self.inner.get(realm, space, key),
        }
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.slow();
        match self.fault {
            Fault::Write => Box::pin(async { Err(away()) }),
            _ => self.inner.put(realm, space, put),
        }
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.add(realm, space, put)
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        self.inner.swap(realm, space, revision, put)
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.inner.take(realm, space, key)
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        self.inner.find(realm, space, index, after, limit)
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.sweep()
    }
}

struct World {
    measured: Measured,
    node: Node,
}

impl World {
    fn new(fault: Fault) -> Self {
        let clock = Arc::new(ManualClock::default());
        let inner = MemoryEphemeral::new(clock.clone());
        let faulty = Faulty { inner, clock: clock.clone(), fault };
        let measured = Measured::new(Arc::new(faulty), clock.clone());
        let node = Node::with(clock as Arc<dyn Clock>, Arc::new(SeededEntropy::new(1)));
        Self { measured, node }
    }

    async fn probe(&self) -> Result<(), Unwell> {
        probe(&self.measured, &Realm::default(), &self.node).await
    }

    /// The reasons that so many probes give.
    async fn reasons(&self, probes: usize) -> Vec<&'static str> {
        for _ in 0..probes {
            let _found = self.probe().await;
        }
        let judge = |it| judged(("of the fake", it), self.measured.figures(it), Some(SLOW));
        Operation::ALL.into_iter().flat_map(judge).map(|(reason, _)| reason).collect()
    }
}

#[tokio::test]
async fn a_store_of_short_lived_things_that_takes_or_gives_nothing_is_found() {
    assert!(World::new(Fault::Nothing).probe().await.is_ok());
    for (fault, reason) in
        [(Fault::Write, "write_failed"), (Fault::Read, "read_failed"), (Fault::Keep, "read_failed")]
    {
        let found = World::new(fault).probe().await.unwrap_err();
        assert_eq!(found.severity, Severity::Without, "{fault:?}");
        assert_eq!(found.reasons[0].0, reason, "{fault:?}");
    }
}

#[tokio::test]
async fn latency_is_high_when_ninety_nine_of_a_hundred_take_longer_than_ten_milliseconds() {
    assert!(World::new(Fault::Slow(10)).reasons(ENOUGH_CALLS).await.is_empty());
    let slow = World::new(Fault::Slow(11));
    // Of a few calls, the slowest says nothing.
    assert!(slow.reasons(ENOUGH_CALLS - 1).await.is_empty());
    assert_eq!(slow.reasons(1).await, ["high_latency", "high_latency"]);
    let found = degraded(judged(
        ("of the fake", Operation::Read),
        slow.measured.figures(Operation::Read),
        Some(SLOW),
    ));
    let told = found.unwrap_err();
    assert_eq!(told.severity, Severity::Degraded);
    assert!(told.reasons[0].1.contains("p99 of a read of the fake is 11 ms"), "{:?}", told.reasons);
}

#[test]
fn errors_are_many_when_they_are_more_than_one_in_a_thousand() {
    let figures = |calls, errors| Figures { calls, errors, ..Figures::default() };
    let reasons = |calls, errors| judged(("", Operation::Write), figures(calls, errors), None);
    for (calls, errors) in [(0, 0), (1000, 0), (1000, 1), (2000, 2)] {
        assert!(reasons(calls, errors).is_empty(), "{errors} of {calls}");
    }
    for (calls, errors) in [(1, 1), (999, 1), (1000, 2), (2000, 3)] {
        let found = reasons(calls, errors);
        assert_eq!(found[0].0, "high_error_rate", "{errors} of {calls}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_has_a_high_error_rate_until_its_errors_are_long_past() {
    assert_eq!(World::new(Fault::Read).reasons(1).await, ["high_error_rate"]);
    assert_eq!(World::new(Fault::Write).reasons(1).await, ["high_error_rate"]);
}

#[test]
fn hits_are_few_below_ninety_five_of_a_hundred_of_a_thousand() {
    let hits = |own, near, store| hits_often(Hits { own, near, store });
    assert!(hits(0, 0, ENOUGH - 1).is_ok());
    assert!(hits(900, 50, 50).is_ok());
    let few = hits(900, 49, 51).unwrap_err();
    assert_eq!((few.severity, few.reasons[0].0), (Severity::Degraded, "low_hit_rate"));
}
