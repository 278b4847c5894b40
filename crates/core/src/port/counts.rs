//! `Counts`: what several nodes count together, so that a limit is one limit and not one for each of them.

use std::time::Duration;

use super::{BoxFuture, StoreError};
use crate::rate::Name;

/// What is counted under a name, and what is asked about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// In how much time one request is regained.
    pub cost: Duration,
    /// In how much time the whole allowance is: so many times `cost` as requests pass at once.
    pub room: Duration,
    /// How many requests have passed already that the store was not told of. They count whatever it says.
    pub counted: u32,
    /// Whether one more is to be counted, if it passes.
    pub asks: bool,
    /// For how long the allowance will not be whole, as far as was learnt from the store before. A store
    /// that has lost its memory learns it from this.
    pub known: Duration,
}

/// What the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether the one that was asked for passes, and has been counted.
    pub passes: bool,
    /// In how much time the allowance is whole again, by all that was counted.
    pub ahead: Duration,
    /// Whether the store knew less than it was told: it has lost what it had.
    pub forgot: bool,
}

/// Counts that several nodes share, by the generic cell rate algorithm. The store's clock decides, so
/// that it does not matter what those of the nodes say, and what is whole again is forgotten.
pub trait Counts: Send + Sync {
    /// Counts under a name. When the answer is lost, telling the same again with what was to be counted
    /// as [`Take::known`] counts it once.
    fn take<'a>(
        &'a self,
        name: &'a Name,
        take: &'a Take,
    ) -> BoxFuture<'a, Result<Taken, StoreError>>;

    /// How often another server has begun to answer since the start, which may have lost what the one
    /// before was told.
    fn changes(&self) -> u64;
}
