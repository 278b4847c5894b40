//! What other stores are still to be told.

use std::{collections::VecDeque, time::Duration};

use tegata_core::{
    Epoch, Timestamp,
    port::{Put, Space, Withdrawal},
};

use super::Name;
use crate::revocation::{CLOCK_ERROR, Entry};

/// Where a nearer store keeps what was taken back of other issuers. It may lose what it holds: only
/// what is there says something.
pub static WITHDRAWN: Space = Space { name: "foreign_withdrawn", indexed: false };

/// How many are told together.
const TOGETHER: usize = 100;

/// Something that was taken back, for the stores that are asked by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub(super) name: Name,
    pub(super) mark: u64,
    pub(super) until: Timestamp,
    /// Where it stands in the log, if that is known.
    pub(super) position: Option<u64>,
}

impl Told {
    /// What stores are told of an entry, where it takes back something of another issuer.
    pub(crate) fn of(entry: &Entry, position: Option<u64>) -> Option<Self> {
        let (name, mark) = Name::taken_back(&entry.target)?;
        Some(Self { name, mark, until: entry.until, position })
    }

    /// For the durable store.
    #[must_use]
    pub fn withdrawal(&self) -> Withdrawal {
        Withdrawal { key: self.name.key(), mark: self.mark, until: self.until }
    }

    /// For a nearer store: a little longer than it is needed, because its clock may be wrong.
    #[must_use]
    pub fn put(&self, now: Timestamp) -> Put {
        let lifetime = self.until.since(now) + CLOCK_ERROR;
        let value = self.mark.to_be_bytes().to_vec();
        Put { key: self.name.key(), value, lifetime, index: None }
    }
}

/// What a value of a nearer store says: up to when something was taken back.
#[must_use]
pub fn mark_of(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// Under which key the durable store says up to which position of the log it was filled. The mark is in
/// the store that it speaks of, so that a store that was emptied does not pass for a full one; and it
/// is of one epoch, because a log that was restored gives positions anew.
#[must_use]
pub fn filled_key(epoch: Epoch) -> String {
    format!("foreign.filled.{epoch}")
}

/// What the durable store is to be told, in the order in which it was learnt.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Told>,
}

impl Outbox {
    /// For how long the durable store says how far it was filled, when nothing new comes.
    pub const FILLED_FOR: Duration = Duration::from_secs(400 * 86_400);

    pub(super) fn push(&mut self, told: Told) {
        self.waiting.push_back(told);
    }

    /// The next that are told together. They wait until they are [`Self::done`].
    pub(super) fn next(&self) -> Vec<Told> {
        self.waiting.iter().take(TOGETHER).copied().collect()
    }

    pub(super) fn done(&mut self, count: usize) {
        self.waiting.drain(..count.min(self.waiting.len()));
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
