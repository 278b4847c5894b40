//! How quickly a store answers, and how often it does not.
//!
//! The last thousand calls of each kind are remembered, so the figures are those of the last
//! moments under load, and of the last hours where little happens.

use std::{sync::Arc, time::Duration};

use tegata_core::{
    Clock, Ephemeral, Realm, StoreError,
    port::{BoxFuture, Held, Put, Space, Swap},
};

mod records;
mod spans;

pub use records::MeasuredRecords;
use spans::Spans;
pub use spans::{Counts, Of};

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
    spans: Spans<8>,
}

/// What is asked of it, and whether that changes anything.
const OPERATIONS: [(&str, Option<Operation>); 8] = [
    ("get", Some(Operation::Read)),
    ("recent", Some(Operation::Read)),
    ("find", Some(Operation::Read)),
    ("put", Some(Operation::Write)),
    ("put_all", Some(Operation::Write)),
    ("add", Some(Operation::Write)),
    ("swap", Some(Operation::Write)),
    ("take", Some(Operation::Write)),
];

const GET: usize = 0;
const RECENT: usize = 1;
const FIND: usize = 2;
const PUT: usize = 3;
const PUT_ALL: usize = 4;
const ADD: usize = 5;
const SWAP: usize = 6;
const TAKE: usize = 7;

impl Measured {
    /// Measures a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Ephemeral>, clock: Arc<dyn Clock>) -> Self {
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

impl Ephemeral for Measured {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.spans.measure(GET, move || self.inner.get(realm, space, key)))
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.spans.measure(RECENT, move || self.inner.recent(realm, space, key)))
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.spans.measure(PUT, move || self.inner.put(realm, space, put)))
    }

    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.spans.measure(PUT_ALL, move || self.inner.put_all(realm, space, puts)))
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.spans.measure(ADD, move || self.inner.add(realm, space, put)))
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(self.spans.measure(SWAP, move || self.inner.swap(realm, space, revision, put)))
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.spans.measure(TAKE, move || self.inner.take(realm, space, key)))
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        Box::pin(
            self.spans.measure(FIND, move || self.inner.find(realm, space, index, after, limit)),
        )
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
        let taking = async |at: usize, millis: u64, fails: bool| {
            let (clock, took) = (clock.clone(), Duration::from_millis(millis));
            let call: BoxFuture<'_, _> = Box::pin(async move {
                clock.advance(took);
                let detail = String::new();
                if fails { Err(StoreError::Unavailable { backend: "it", detail }) } else { Ok(()) }
            });
            let _ = measured.spans.measure(at, || call).await;
        };
        let take = |millis, fails| taking(GET, millis, fails);
        for millis in 1..=100 {
            take(millis, millis == 7).await;
        }
        let figures = measured.figures(Operation::Read);
        let millis = Duration::from_millis;
        let expected =
            Figures { calls: 100, errors: 1, p50: millis(50), p95: millis(95), p99: millis(99) };
        assert_eq!(figures, expected);
        assert_eq!(measured.figures(Operation::Write), Figures::default());
        taking(TAKE, 30, false).await;
        let each = measured.each();
        let of = |name| each.iter().find(|of| of.operation == name).unwrap();
        assert_eq!(of("get").figures, expected);
        assert_eq!(of("get").counts, Counts { calls: 100, unavailable: 1, indeterminate: 0 });
        assert_eq!(of("take").figures.p99, millis(30));
        assert_eq!(measured.figures(Operation::Write).p99, millis(30));
        assert_eq!(of("put").figures, Figures::default());
        for _ in 0..1000 {
            take(1, false).await;
        }
        assert_eq!(measured.figures(Operation::Read).p99, millis(1));
        assert_eq!(measured.figures(Operation::Read).errors, 0);
    }
}
