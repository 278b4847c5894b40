//! `Records` that are measured.

use std::sync::Arc;

use tegata_core::{
    Batch, Clock, CommitRefused, Kind, Log, Realm, Records, StoreError, Timestamp,
    id::NodeId,
    port::{BoxFuture, Page, Pull, Record, Sequenced},
};

use super::{
    Figures, Of, Operation,
    spans::{Failed, Spans},
};

/// `Records` that are measured: what decides, and where sessions are kept.
pub struct MeasuredRecords {
    inner: Arc<dyn Records>,
    spans: Spans<6>,
}

/// What reads many at a time takes as long as it reads, and counts as neither.
const OPERATIONS: [(&str, Option<Operation>); 6] = [
    ("load", Some(Operation::Read)),
    ("recent", Some(Operation::Read)),
    ("find", None),
    ("scan", None),
    ("pull", None),
    ("commit", Some(Operation::Write)),
];

const LOAD: usize = 0;
const RECENT: usize = 1;
const FIND: usize = 2;
const SCAN: usize = 3;
const PULL: usize = 4;
const COMMIT: usize = 5;

impl MeasuredRecords {
    /// Measures a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Records>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, spans: Spans::new(clock, OPERATIONS) }
    }

    /// What the last calls of a kind were like.
    #[must_use]
    pub fn figures(&self, operation: Operation) -> Figures {
        self.spans.figures(operation)
    }

    /// What the last calls of each operation were like.
    #[must_use]
    pub fn each(&self) -> Vec<Of> {
        self.spans.each()
    }
}

/// A conflict is an answer, and no failure.
const fn failed(refused: &CommitRefused) -> Option<Failed> {
    match refused {
        CommitRefused::Store(error) => Failed::of(error),
        CommitRefused::Conflict { .. } => None,
    }
}

impl Records for MeasuredRecords {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.spans.measure(LOAD, move || self.inner.load(realm, kind, key)))
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.spans.measure(RECENT, move || self.inner.recent(realm, kind, key)))
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.spans.measure(FIND, move || self.inner.find(realm, kind, index, value, page)))
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.spans.measure(SCAN, move || self.inner.scan(realm, kind, page)))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(self.spans.measure_as(COMMIT, move || self.inner.commit(batch), failed))
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        Box::pin(self.spans.measure(PULL, move || self.inner.pull(log, after, limit)))
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        // Every node asks for this fifty times a second, whatever else happens: it would say nothing.
        self.inner.sequence(log, node)
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.purge(now, logs_before)
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::{Expect, Lifetime, ManualClock, port::Body, port::Change};

    use super::*;
    use crate::MemoryRecords;

    static NOTES: Kind =
        Kind { name: "note", indexes: &[], lifetime: Lifetime::Kept, secret: false };

    #[tokio::test]
    async fn each_operation_is_counted_by_itself_and_a_conflict_is_no_failure() {
        let clock = Arc::new(ManualClock::default());
        let inner = Arc::new(MemoryRecords::new(&[&NOTES], clock.clone()).unwrap());
        let measured = MeasuredRecords::new(inner, clock);
        let realm = Realm::default();
        let put = || Change::Put {
            kind: &NOTES,
            key: "a".to_owned(),
            expect: Expect::Absent,
            body: Body::Plain(vec![1]),
            indexes: Vec::new(),
        };
        let commit = || measured.commit(Batch::new(realm.clone()).with(put()));
        assert!(commit().await.is_ok());
        assert!(matches!(commit().await, Err(CommitRefused::Conflict { .. })));
        assert!(measured.load(&realm, &NOTES, "a").await.unwrap().is_some());
        let each = measured.each();
        let counted: Vec<_> = each.iter().map(|of| (of.operation, of.counts.calls)).collect();
        let expected =
            [("load", 1), ("recent", 0), ("find", 0), ("scan", 0), ("pull", 0), ("commit", 2)];
        assert_eq!(counted, expected);
        assert!(each.iter().all(|of| of.counts.unavailable + of.counts.indeterminate == 0));
        assert_eq!(measured.figures(Operation::Write).errors, 0);
    }
}
