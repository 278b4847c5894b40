//! The bits of one list.

use std::sync::atomic::{AtomicU64, Ordering};

use super::LIST_LENGTH;

/// One bit for each place of a list: set when its token is revoked. 128 KiB. Bits are only ever
/// set; reading one takes no lock.
#[derive(Debug)]
pub struct StatusBits(Box<[AtomicU64]>);

impl StatusBits {
    /// A list in which nothing is revoked.
    #[must_use]
    pub fn new() -> Self {
        let words = LIST_LENGTH / 64;
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// Marks a place as revoked. Answers whether it was not before. A place that no list has is
    /// not marked.
    pub fn revoke(&self, index: u32) -> bool {
        let bit = 1_u64 << (index % 64);
        self.word(index).is_some_and(|word| word.fetch_or(bit, Ordering::AcqRel) & bit == 0)
    }

    /// Whether the token at this place is revoked. A place that no list has counts as revoked:
    /// nothing honest points there.
    #[must_use]
    pub fn is_revoked(&self, index: u32) -> bool {
        let bit = 1_u64 << (index % 64);
        self.word(index).is_none_or(|word| word.load(Ordering::Acquire) & bit != 0)
    }

    /// How many places are revoked.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.load(Ordering::Acquire).count_ones()).sum()
    }

    /// The bits in the order of the Token Status List: place 0 is the lowest bit of byte 0 (§4.1).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.load(Ordering::Acquire).to_le_bytes()).collect()
    }

    fn word(&self, index: u32) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(index / 64).ok()?)
    }
}

impl Default for StatusBits {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_one_place_and_no_other() {
        let bits = StatusBits::new();
        for index in [0, 1, 63, 64, 65, LIST_LENGTH - 1] {
            assert!(!bits.is_revoked(index));
            assert!(bits.revoke(index) && !bits.revoke(index));
            assert!(bits.is_revoked(index));
        }
        assert_eq!(bits.count(), 6);
        assert!(!bits.is_revoked(2) && !bits.is_revoked(66));
        assert_eq!(bits.to_bytes().len(), 131_072);
        assert_eq!(bits.to_bytes()[0], 0b11);
    }

    #[test]
    fn a_place_outside_the_list_is_refused() {
        let bits = StatusBits::new();
        assert!(bits.is_revoked(LIST_LENGTH) && !bits.revoke(LIST_LENGTH));
        assert!(bits.is_revoked(u32::MAX) && !bits.revoke(u32::MAX));
    }
}
