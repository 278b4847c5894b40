//! The bits of one list.

use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Compression;

use super::LIST_LENGTH;
use crate::words;

/// How many words the bits of a list are.
const WORDS: usize = LIST_LENGTH as usize / 64;

/// One bit for each place of a list: set when its token is revoked. 128 KiB. Bits are only ever
/// set; reading one takes no lock.
#[derive(Debug)]
pub struct StatusBits(Box<[AtomicU64]>);

impl StatusBits {
    /// A list in which nothing is revoked.
    #[must_use]
    pub fn new() -> Self {
        Self((0..WORDS).map(|_| AtomicU64::new(0)).collect())
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
        words::bytes(&self.0)
    }

    /// The bits as a status list token in CBOR carries them: zlib (Token Status List §4.1, §4.3).
    #[must_use]
    pub fn to_zlib(&self) -> Vec<u8> {
        words::packed(&self.0, Compression::best())
    }

    /// The bits as a status list token in JSON carries them: the same as base64url (§4.2).
    #[must_use]
    pub fn to_lst(&self) -> String {
        words::text(&self.0, Compression::best())
    }

    /// The same where all lists are packed while somebody waits: a sixth longer, and made in a twentieth of
    /// the time. With the other, 50 million tokens take so long that whoever is told is told too late.
    #[must_use]
    pub fn to_lst_soon(&self) -> String {
        words::text(&self.0, Compression::new(5))
    }

    /// Reads what [`Self::to_lst`] wrote. `None`: it is not the bits of one of our lists.
    #[must_use]
    pub fn from_lst(text: &str) -> Option<Self> {
        let read = words::read(text, WORDS)?;
        Some(Self(read.into_iter().map(AtomicU64::new).collect()))
    }

    /// Marks what another list marks. Answers whether anything was not marked before.
    pub fn add(&self, other: &Self) -> bool {
        let mut news = false;
        for (own, other) in self.0.iter().zip(&other.0) {
            let more = other.load(Ordering::Acquire);
            news |= more & !own.fetch_or(more, Ordering::AcqRel) != 0;
        }
        news
    }

    /// The places that are revoked, in order.
    pub fn places(&self) -> impl Iterator<Item = u32> + '_ {
        (0..LIST_LENGTH).step_by(64).zip(&self.0).flat_map(|(first, word)| {
            let mut left = word.load(Ordering::Acquire);
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(first + bit)
            })
        })
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
    use std::io::Write as _;

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use flate2::write::ZlibEncoder;

    use super::*;

    /// How many bytes the bits of a list are.
    const BYTES: usize = WORDS * 8;

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
    fn what_a_list_carries_is_read_as_it_was_written() {
        let bits = StatusBits::new();
        let all = [0, 63, 64, 700_001, LIST_LENGTH - 1];
        assert!(all.iter().all(|index| bits.revoke(*index)));
        let soon = StatusBits::from_lst(&bits.to_lst_soon()).unwrap();
        assert_eq!(soon.places().collect::<Vec<_>>(), all);
        let read = StatusBits::from_lst(&bits.to_lst()).unwrap();
        assert_eq!(read.places().collect::<Vec<_>>(), all);
        let other = StatusBits::new();
        assert!(other.add(&read) && !other.add(&read));
        assert_eq!(other.places().collect::<Vec<_>>(), all);
    }

    #[test]
    fn what_unpacks_to_anything_else_is_no_list() {
        let packed = |bytes: &[u8]| {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            URL_SAFE_NO_PAD.encode(encoder.finish().unwrap())
        };
        assert!(StatusBits::from_lst(&packed(&[0; BYTES])).is_some());
        for length in [0, 1, BYTES - 1, BYTES + 1, 64 << 20] {
            assert!(StatusBits::from_lst(&packed(&vec![0; length])).is_none(), "{length}");
        }
        assert!(StatusBits::from_lst("").is_none() && StatusBits::from_lst("e30=").is_none());
    }

    #[test]
    fn a_place_outside_the_list_is_refused() {
        let bits = StatusBits::new();
        assert!(bits.is_revoked(LIST_LENGTH) && !bits.revoke(LIST_LENGTH));
        assert!(bits.is_revoked(u32::MAX) && !bits.revoke(u32::MAX));
    }
}
