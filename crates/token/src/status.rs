//! Status lists: one bit for each token, so that a verifier knows exactly what has been revoked
//! (IETF Token Status List).
//!
//! A token carries its list and its index. Lists are made for an issuer epoch and a quarter of an
//! hour; each holds 2^20 tokens, and busy quarters have several. A list dies when every
//! token of its quarter surely has, so memory stays constant for ever and nothing has to be cleaned.

use std::{fmt, hash::Hasher};

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

/// Finds lists by their names. These are made by the issuer, and others choose none of those that are kept:
/// so this need not be slow to be safe, and it is asked for each token that is judged.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ListHasher(u64);

impl Hasher for ListHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0.rotate_left(26) ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        // The lowest bits choose the place, and depend on the lowest alone.
        self.0 ^ (self.0 >> 32)
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
    fn lists_that_are_kept_together_are_not_found_in_one_place() {
        use std::hash::{BuildHasher as _, BuildHasherDefault};

        let hashes = BuildHasherDefault::<ListHasher>::default();
        let slots = 1_963_361..1_963_371;
        let lists = slots
            .flat_map(|slot| (0..128).map(move |number| ListId { epoch: Epoch(1), slot, number }));
        // As a table of twice as many places, and the marks in it, tell them apart.
        let mut places = [0_u32; 2048];
        let mut marks = [0_u32; 128];
        for list in lists {
            let hash = hashes.hash_one(list);
            places[usize::try_from(hash % 2048).unwrap()] += 1;
            marks[usize::try_from(hash >> 57).unwrap()] += 1;
        }
        assert!(places.iter().max() < Some(&8), "{:?}", places.iter().max());
        assert!(marks.iter().max() < Some(&40), "{:?}", marks.iter().max());
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
