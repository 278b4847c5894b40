//! A store that does not answer is left alone for a while.
//!
//! A call that takes too long is given up, and after several failures in a row nobody asks any
//! more: callers are told at once, instead of waiting each for its own disappointment. What is
//! refused for another reason (a conflict, a rule of the port, no space) is an answer.

use std::{sync::Arc, time::Duration};

use tegata_core::{
    Backstop, Batch, Breaker, BreakerLimits, BreakerState, Clock, CommitRefused, Ephemeral, Kind,
    Log, Realm, Records, StoreError, Timestamp,
    id::NodeId,
    port::{BoxFuture, Held, Page, Pull, Put, Record, Sequenced, Space, Swap, Withdrawal},
};
use tokio::time::timeout;

/// A store behind a breaker.
pub struct Guarded<P: ?Sized> {
    inner: Arc<P>,
    backend: &'static str,
    timeout: Duration,
    breaker: Arc<Breaker>,
}

/// What a failure says of the other side.
trait Failure: From<StoreError> {
    /// The store's own error, where it is one.
    fn of_store(&self) -> Option<&StoreError>;
}

impl Failure for StoreError {
    fn of_store(&self) -> Option<&StoreError> {
        Some(self)
    }
}

impl Failure for CommitRefused {
    fn of_store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Conflict { .. } => None,
        }
    }
}

/// Whether a call changes something, so that one that is given up may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Question,
    Change,
}

impl<P: ?Sized> Guarded<P> {
    /// Guards a store. `backend` is what errors call it; a call may take `timeout`.
    #[must_use]
    pub fn new(
        inner: Arc<P>,
        backend: &'static str,
        timeout: Duration,
        limits: BreakerLimits,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { inner, backend, timeout, breaker: Arc::new(Breaker::new(limits, clock)) }
    }

    /// The breaker, to be shown.
    #[must_use]
    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    async fn call<T, E: Failure>(
        &self,
        kind: Call,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let backend = self.backend;
        let permit = self.breaker.admit().map_err(|open| {
            let detail = open.to_string();
            StoreError::Unavailable { backend, detail }
        })?;
        let Ok(outcome) = timeout(self.timeout, call).await else {
            permit.failed();
            let detail = format!("no answer after {} ms", self.timeout.as_millis());
            return Err(match kind {
                Call::Question => StoreError::Unavailable { backend, detail },
                Call::Change => StoreError::Indeterminate { backend, detail },
            }
            .into());
        };
        match outcome.as_ref().err().and_then(Failure::of_store) {
            Some(
                StoreError::Unavailable { .. }
                | StoreError::Refused { .. }
                | StoreError::Indeterminate { .. },
            ) => permit.failed(),
            _ => permit.succeeded(),
        }
        outcome
    }

    async fn ask<T, E: Failure>(
        &self,
        question: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        self.call(Call::Question, question).await
    }

    async fn change<T, E: Failure>(
        &self,
        change: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        self.call(Call::Change, change).await
    }
}

impl<P: ?Sized> std::fmt::Debug for Guarded<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state: BreakerState = self.breaker.state();
        write!(f, "Guarded({}, {})", self.backend, state.name())
    }
}

impl<P: Ephemeral + ?Sized> Ephemeral for Guarded<P> {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.ask(self.inner.get(realm, space, key)))
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.ask(self.inner.recent(realm, space, key)))
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.change(self.inner.put(realm, space, put)))
    }

    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.change(self.inner.put_all(realm, space, puts)))
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.change(self.inner.add(realm, space, put)))
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(self.change(self.inner.swap(realm, space, revision, put)))
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.change(self.inner.take(realm, space, key)))
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        Box::pin(self.ask(self.inner.find(realm, space, index, after, limit)))
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        // It may take long, and nobody waits for it.
        self.inner.sweep()
    }
}

impl<P: Records + ?Sized> Records for Guarded<P> {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.ask(self.inner.load(realm, kind, key)))
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.ask(self.inner.recent(realm, kind, key)))
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.ask(self.inner.find(realm, kind, index, value, page)))
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.ask(self.inner.scan(realm, kind, page)))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(self.change(self.inner.commit(batch)))
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        Box::pin(self.ask(self.inner.pull(log, after, limit)))
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        Box::pin(self.change(self.inner.sequence(log, node)))
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        // It may take long, and nobody waits for it.
        self.inner.purge(now, logs_before)
    }
}

impl<P: Backstop + ?Sized> Backstop for Guarded<P> {
    fn record<'a>(
        &'a self,
        realm: &'a Realm,
        withdrawals: &'a [Withdrawal],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.change(self.inner.record(realm, withdrawals)))
    }

    fn withdrawn<'a>(
        &'a self,
        realm: &'a Realm,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Withdrawal>, StoreError>> {
        Box::pin(self.ask(self.inner.withdrawn(realm, key)))
    }
}

#[cfg(test)]
mod tests;
