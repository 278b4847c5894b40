//! How quickly a store answers, and how often it does not.
//!
//! The last thousand calls of each kind are remembered, so the figures are those of the last
//! moments under load, and of the last hours where little happens.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tegata_core::{
    Clock, Ephemeral, Realm, StoreError,
    port::{BoxFuture, Held, Put, Space, Swap},
};

/// How many calls are remembered of each kind.
const REMEMBERED: usize = 1000;

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Whatever changes nothing.
    Read,
    /// Whatever changes something.
    Write,
}

impl Operation {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Read, Self::Write];

    /// The kind in a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What the last calls of a kind were like.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// How many are remembered.
    pub calls: usize,
    /// How many of them the store did not answer.
    pub errors: usize,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

/// `Ephemeral` that is measured.
pub struct Measured {
    inner: Arc<dyn Ephemeral>,
    clock: Arc<dyn Clock>,
    reads: Mutex<VecDeque<Call>>,
    writes: Mutex<VecDeque<Call>>,
}

#[derive(Clone, Copy)]
struct Call {
    took: Duration,
    failed: bool,
}

impl Measured {
    /// Measures a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Ephemeral>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, reads: Mutex::default(), writes: Mutex::default() }
    }

    /// What the last calls of a kind were like.
    #[must_use]
    pub fn figures(&self, operation: Operation) -> Figures {
        let calls: Vec<Call> = self.calls(operation).lock().iter().copied().collect();
        let mut took: Vec<_> = calls.iter().map(|call| call.took).collect();
        took.sort_unstable();
        let share = |percent: usize| {
            let at = (took.len() * percent).div_ceil(100).saturating_sub(1);
            took.get(at).copied().unwrap_or_default()
        };
        Figures {
            calls: calls.len(),
            errors: calls.iter().filter(|call| call.failed).count(),
            p50: share(50),
            p95: share(95),
            p99: share(99),
        }
    }

    const fn calls(&self, operation: Operation) -> &Mutex<VecDeque<Call>> {
        match operation {
            Operation::Read => &self.reads,
            Operation::Write => &self.writes,
        }
    }

    async fn measure<T>(
        &self,
        operation: Operation,
        call: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = self.clock.since_boot();
        let outcome = call.await;
        let took = self.clock.since_boot().since(began);
        let failed = matches!(
            outcome,
            Err(StoreError::Unavailable { .. } | StoreError::Indeterminate { .. })
        );
        let mut calls = self.calls(operation).lock();
        if calls.len() >= REMEMBERED {
            calls.pop_front();
        }
        calls.push_back(Call { took, failed });
        outcome
    }
}

impl Ephemeral for Measured {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.measure(Operation::Read, self.inner.get(realm, space, key)))
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.measure(Operation::Read, self.inner.recent(realm, space, key)))
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.measure(Operation::Write, self.inner.put(realm, space, put)))
    }

    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.measure(Operation::Write, self.inner.put_all(realm, space, puts)))
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.measure(Operation::Write, self.inner.add(realm, space, put)))
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(self.measure(Operation::Write, self.inner.swap(realm, space, revision, put)))
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.measure(Operation::Write, self.inner.take(realm, space, key)))
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        Box::pin(self.measure(Operation::Read, self.inner.find(realm, space, index, after, limit)))
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.sweep()
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::ManualClock;

    use super::*;
    use crate::MemoryEphemeral;

    #[tokio::test]
    async fn the_slowest_of_a_hundred_is_the_ninety_ninth_in_a_hundred_and_the_old_are_forgotten() {
        let clock = Arc::new(ManualClock::default());
        let inner = Arc::new(MemoryEphemeral::new(clock.clone()));
        let measured = Measured::new(inner, clock.clone());
        let take = async |millis: u64, fails: bool| {
            let (clock, took) = (clock.clone(), Duration::from_millis(millis));
            let call = Box::pin(async move {
                clock.advance(took);
                let detail = String::new();
                if fails { Err(StoreError::Unavailable { backend: "it", detail }) } else { Ok(()) }
            });
            let _ = measured.measure(Operation::Read, call).await;
        };
        for millis in 1..=100 {
            take(millis, millis == 7).await;
        }
        let figures = measured.figures(Operation::Read);
        let millis = Duration::from_millis;
        let expected =
            Figures { calls: 100, errors: 1, p50: millis(50), p95: millis(95), p99: millis(99) };
        assert_eq!(figures, expected);
        assert_eq!(measured.figures(Operation::Write), Figures::default());
        for _ in 0..1000 {
            take(1, false).await;
        }
        assert_eq!(measured.figures(Operation::Read).p99, millis(1));
        assert_eq!(measured.figures(Operation::Read).errors, 0);
    }
}
