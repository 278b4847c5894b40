//! Status lists: one bit for each token, so that a verifier knows exactly what has been revoked
//! (IETF Token Status List).
//!
//! A token carries its list and its index. Lists are made for an issuer epoch and a quarter of an
//! hour; each holds 2^20 tokens, and busy quarters have several. A list dies when every
//! token of its quarter surely has, so memory stays constant for ever and nothing has to be cleaned.

use std::fmt;

use serde::{Deserialize, Serialize};
use tegata_core::{Epoch, Timestamp};

mod bits;
mod index;
mod permutation;

pub use bits::StatusBits;
pub use index::{BLOCK, Indexes, STATUS_BLOCKS};

/// How long tokens are put on the same list: a quarter of an hour.
pub const SLOT_SECS: u64 = 900;

/// How many tokens a list holds: 2^20.
pub const LIST_LENGTH: u32 = 1 << 20;

/// The name of a list: issuer epoch, quarter of an hour since 1970, number within the quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListId {
    /// The issuer epoch.
    pub epoch: Epoch,
    /// Quarters of an hour since 1970.
    pub slot: u32,
    /// From 0, one more when the one before is full.
    pub number: u32,
}

impl ListId {
    /// The quarter that `at` is in.
    #[must_use]
    pub fn slot_at(at: Timestamp) -> u32 {
        u32::try_from(at.secs() / SLOT_SECS).unwrap_or(u32::MAX)
    }

    /// When the quarter ends. No token is put on the list afterwards.
    #[must_use]
    pub fn closes(self) -> Timestamp {
        Timestamp::from_secs((u64::from(self.slot) + 1).saturating_mul(SLOT_SECS))
    }

    /// Reads `epoch.slot.number`, as in the last part of a list's address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (slot, number) = text.split_once('.').and_then(|(_, rest)| rest.split_once('.'))?;
        let id = Self {
            epoch: Epoch::leading(text)?,
            slot: slot.parse().ok()?,
            number: number.parse().ok()?,
        };
        // Only the one spelling that `Display` writes.
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for ListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.slot, self.number)
    }
}

/// A token's place: a bit of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StatusIndex {
    /// Which list.
    pub list: ListId,
    /// Which bit: less than [`LIST_LENGTH`].
    pub index: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_name() {
        let id = ListId { epoch: Epoch(2), slot: 1_963_361, number: 3 };
        assert_eq!(ListId::parse(&id.to_string()), Some(id));
        for bad in
            ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.02.3", "1.2.+3", "1.2.-3", "1..3", "a.b.c"]
        {
            assert_eq!(ListId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_quarter_closes_when_the_next_begins() {
        let at = Timestamp::from_secs(1_767_225_600 + 899);
        let slot = ListId::slot_at(at);
        let id = ListId { epoch: Epoch::FIRST, slot, number: 0 };
        assert_eq!(id.closes(), Timestamp::from_secs(1_767_225_600 + 900));
        assert_eq!(ListId::slot_at(id.closes()), slot + 1);
    }
}
