//! What the last calls of each operation took.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tegata_core::{Clock, StoreError, port::BoxFuture};

use super::{Figures, Operation};

/// How many calls are remembered of each operation.
const REMEMBERED: usize = 1000;

/// An operation, and what its calls were like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Of {
    /// Its name.
    pub operation: &'static str,
    /// What the last calls were like.
    pub figures: Figures,
    /// All calls since the start.
    pub counts: Counts,
}

/// How many calls there were since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub calls: u64,
    /// Those that the store did not take, or not in time: nothing was done.
    pub unavailable: u64,
    /// Those whose outcome nobody knows.
    pub indeterminate: u64,
}

/// A call that has ended.
#[derive(Clone, Copy)]
struct Call {
    took: Duration,
    failed: bool,
}

#[derive(Default)]
struct Seen {
    last: VecDeque<Call>,
    counts: Counts,
}

/// How a call failed, where it did for want of the store.
pub(super) enum Failed {
    Unavailable,
    Indeterminate,
}

impl Failed {
    pub(super) const fn of(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::Unavailable { .. } | StoreError::Refused { .. } => Some(Self::Unavailable),
            StoreError::Indeterminate { .. } => Some(Self::Indeterminate),
            _ => None,
        }
    }
}

/// The calls of so many operations.
pub(super) struct Spans<const N: usize> {
    clock: Arc<dyn Clock>,
    operations: [(&'static str, Option<Operation>); N],
    seen: [Mutex<Seen>; N],
}

impl<const N: usize> Spans<N> {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        operations: [(&'static str, Option<Operation>); N],
    ) -> Self {
        Self { clock, operations, seen: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Makes a call, and notes how long it took from its very beginning.
    pub(super) async fn measure<'c, T>(
        &self,
        operation: usize,
        call: impl FnOnce() -> BoxFuture<'c, Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.measure_as(operation, call, Failed::of).await
    }

    /// The same of a call that fails in other words.
    pub(super) async fn measure_as<'c, T, E>(
        &self,
        operation: usize,
        call: impl FnOnce() -> BoxFuture<'c, Result<T, E>> + Send,
        failed: impl Fn(&E) -> Option<Failed>,
    ) -> Result<T, E> {
        let began = self.clock.since_boot();
        let outcome = call().await;
        let took = self.clock.since_boot().since(began);
        let failed = outcome.as_ref().err().and_then(failed);
        if let Some(seen) = self.seen.get(operation) {
            let mut seen = seen.lock();
            if seen.last.len() >= REMEMBERED {
                seen.last.pop_front();
            }
            seen.last.push_back(Call { took, failed: failed.is_some() });
            seen.counts.calls += 1;
            match failed {
                Some(Failed::Unavailable) => seen.counts.unavailable += 1,
                Some(Failed::Indeterminate) => seen.counts.indeterminate += 1,
                None => {}
            }
        }
        outcome
    }

    /// What the last calls of a kind were like: a thousand of each operation.
    pub(super) fn figures(&self, kind: Operation) -> Figures {
        let mut calls = Vec::new();
        for ((_, own), seen) in self.operations.iter().zip(&self.seen) {
            if *own == Some(kind) {
                calls.extend(seen.lock().last.iter().copied());
            }
        }
        figures(&calls)
    }

    /// What the last calls of each operation were like.
    pub(super) fn each(&self) -> Vec<Of> {
        let all = self.operations.iter().zip(&self.seen);
        all.map(|((operation, _), seen)| {
            let seen = seen.lock();
            let calls: Vec<_> = seen.last.iter().copied().collect();
            Of { operation, figures: figures(&calls), counts: seen.counts }
        })
        .collect()
    }
}

fn figures(calls: &[Call]) -> Figures {
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
