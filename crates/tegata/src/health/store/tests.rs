use std::sync::atomic::{AtomicUsize, Ordering};

use tegata_core::{
    Log, ManualClock, NodeId, StoreError,
    port::{Page, Pull, Record, Sequenced},
};
use tegata_store::MemoryRecords;

use super::*;

/// What a store does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    Write,
    /// It takes what it is given, and does not answer.
    Read,
    /// It takes what it is given, and has it no more.
    Keep,
}

/// A store that fails in one way, and counts what it is given. A fake.
struct Faulty {
    inner: MemoryRecords,
    fault: Fault,
    written: AtomicUsize,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        let inner = MemoryRecords::new(&[&HEALTH], Arc::new(ManualClock::default())).unwrap();
        Self { inner, fault, written: AtomicUsize::new(0) }
    }

    async fn probe(&self) -> Result<(), Unwell> {
        probe(self, &Realm::default(), Timestamp::from_secs(1)).await
    }

    /// What the probe finds.
    async fn found(&self) -> serde_json::Value {
        self.probe().await.map_or_else(|unwell| unwell.told().into(), |()| "well".into())
    }
}

fn away() -> StoreError {
    StoreError::Unavailable { backend: "the fake", detail: "the disk is full".to_owned() }
}

impl Records for Faulty {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        match self.fault {
            Fault::Read => Box::pin(async { Err(away()) }),
            Fault::Keep => Box::pin(async { Ok(None) }),
            Fault::Nothing | Fault::Write => self.inner.load(realm, kind, key),
        }
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.inner.find(realm, kind, index, value, page)
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.inner.scan(realm, kind, page)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        self.written.fetch_add(1, Ordering::SeqCst);
        if self.fault == Fault::Write {
            return Box::pin(async { Err(away().into()) });
        }
        self.inner.commit(batch)
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        self.inner.pull(log, after, limit)
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        self.inner.sequence(log, node)
    }

    fn purge(&self, now: Timestamp, before: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.purge(now, before)
    }
}

#[tokio::test]
async fn a_store_that_takes_or_gives_nothing_is_found() {
    assert_eq!(Faulty::new(Fault::Nothing).found().await, "well");
    for (fault, reason) in
        [(Fault::Write, "write_failed"), (Fault::Read, "read_failed"), (Fault::Keep, "read_failed")]
    {
        let store = Faulty::new(fault);
        assert_eq!(store.found().await["reasons"][0], reason, "{fault:?}");
        assert_eq!(store.probe().await.unwrap_err().severity, Severity::Without, "{fault:?}");
    }
}

#[tokio::test]
async fn who_looks_at_once_shares_what_is_found() {
    let (store, last) = (Faulty::new(Fault::Nothing), Last::default());
    let look = || async {
        let slow = async {
            tokio::task::yield_now().await;
            store.probe().await
        };
        last.or(SinceBoot(Duration::ZERO), slow).await
    };
    let (one, other) = tokio::join!(look(), look());
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(store.written.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn however_often_somebody_looks_it_is_written_to_once_in_five_seconds() {
    for (fault, well) in [(Fault::Nothing, true), (Fault::Write, false)] {
        let (store, last) = (Faulty::new(fault), Last::default());
        for (millis, written) in [(0, 1), (1, 1), (4_999, 1), (5_000, 2), (9_999, 2), (10_000, 3)] {
            let now = SinceBoot(Duration::from_millis(millis));
            assert_eq!(last.or(now, store.probe()).await.is_ok(), well);
            assert_eq!(store.written.load(Ordering::SeqCst), written, "{fault:?} at {millis} ms");
        }
    }
}
