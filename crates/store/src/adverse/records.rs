//! `Records`, adverse.

use tegata_core::{
    Batch, CommitRefused, Kind, Log, Realm, Records, StoreError, Timestamp,
    id::NodeId,
    port::{BoxFuture, Page, Pull, Record, Sequenced},
};

use super::Adverse;

impl<P: Records + ?Sized> Records for Adverse<P> {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.read(move || self.inner.load(realm, kind, key)))
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.read(move || self.inner.find(realm, kind, index, value, page)))
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.read(move || self.inner.scan(realm, kind, page)))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(self.write(move || self.inner.commit(batch)))
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        Box::pin(self.read(move || self.inner.pull(log, after, limit)))
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        Box::pin(self.write(move || self.inner.sequence(log, node)))
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write(move || self.inner.purge(now, logs_before)))
    }
}
