//! How far an order has come that takes back many things.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How many things an order has taken back so far: counted by what carries it out, read by whoever
/// waits for it.
#[derive(Debug, Default)]
pub struct Tally {
    is_watched: AtomicBool,
    done: AtomicU64,
    expected: AtomicU64,
}

impl Tally {
    /// A tally that somebody looks at while the order is carried out: then it is worth to count
    /// beforehand how many there are.
    #[must_use]
    pub fn watched() -> Self {
        Self { is_watched: AtomicBool::new(true), ..Self::default() }
    }

    /// Whether somebody looks at it.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Relaxed)
    }

    /// Notes that there are this many more to take back.
    pub fn expect(&self, more: u64) {
        self.expected.fetch_add(more, Relaxed);
    }

    /// Notes that this many more are taken back.
    pub fn add(&self, more: u64) {
        self.done.fetch_add(more, Relaxed);
    }

    /// How many are taken back, and of how many: 0 while nobody has counted them. What is begun
    /// meanwhile is not among those that were counted.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.expected.load(Relaxed))
    }
}
