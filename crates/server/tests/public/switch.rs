//! Stores that can be taken away. A fake.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tegata_core::{
    Batch, BoxFuture, CommitRefused, Ephemeral, Kind, Log, NodeId, Realm, Records, StoreError,
    Timestamp,
    port::{Held, Page, Pull, Put, Record, Sequenced, Space, Swap},
};

/// Stores that answer whatever they are asked.
pub(crate) const ALL: usize = usize::MAX;

/// A store that answers only while nobody has said that it is away, and counts what it is asked.
pub(crate) struct Switch<P: ?Sized> {
    inner: Arc<P>,
    /// How many questions are answered yet, or [`ALL`].
    left: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    keeps: Arc<AtomicBool>,
}

impl<P: ?Sized> Switch<P> {
    pub(crate) fn new(inner: Arc<P>, left: &Arc<AtomicUsize>, calls: &Arc<AtomicUsize>) -> Self {
        let keeps = Arc::default();
        Self { inner, left: Arc::clone(left), calls: Arc::clone(calls), keeps }
    }

    /// The same, which lets go of no request that waits for a person while this is said.
    pub(crate) fn keeping(self, keeps: &Arc<AtomicBool>) -> Self {
        Self { keeps: Arc::clone(keeps), ..self }
    }

    fn up(&self) -> Result<&P, StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fewer = |left| (left != ALL).then(|| usize::saturating_sub(left, 1));
        let counted = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer);
        if counted == Ok(0) {
            let detail = "10.0.0.3:5432 refused the connection".to_owned();
            return Err(StoreError::Unavailable { backend: "the fake", detail });
        }
        Ok(&self.inner)
    }
}

impl Records for Switch<dyn Records> {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move { self.up()?.load(realm, kind, key).await })
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move { self.up()?.find(realm, kind, index, value, page).await })
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move { self.up()?.scan(realm, kind, page).await })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(async move { self.up()?.commit(batch).await })
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        Box::pin(async move { self.up()?.pull(log, after, limit).await })
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        Box::pin(async move { self.up()?.sequence(log, node).await })
    }

    fn purge(&self, now: Timestamp, before: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.up()?.purge(now, before).await })
    }
}

impl Ephemeral for Switch<dyn Ephemeral> {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move { self.up()?.get(realm, space, key).await })
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.up()?.put(realm, space, put).await })
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { self.up()?.add(realm, space, put).await })
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(async move { self.up()?.swap(realm, space, revision, put).await })
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            if self.keeps.load(Ordering::SeqCst) && space.name == "authorization_request" {
                let detail = "it keeps what it has".to_owned();
                return Err(StoreError::Unavailable { backend: "the fake", detail });
            }
            self.up()?.take(realm, space, key).await
        })
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        Box::pin(async move { self.up()?.find(realm, space, index, after, limit).await })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.up()?.sweep().await })
    }
}
