//! What certainly has not been taken back: a Bloom filter.
//!
//! Its bits only ever turn on, so whoever reads while others write may miss what is being written and
//! nothing else. It is wrong once in a thousand times when it is full: with 14.4 bits and ten probes
//! for each name, 50 million names fit into 90 MB.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use flate2::Compression;
use serde::{Deserialize, Serialize};

use super::Name;
use crate::words;

/// Tenths of bits for each name.
const TENTHS: usize = 144;

/// How many bits each name sets.
const PROBES: u64 = 10;

/// How many words are kept together: 128 KiB.
const PART: usize = 16 * 1024;

/// Some of the bits of a filter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FilterPart {
    /// For how many names the filter was made.
    pub(crate) capacity: usize,
    /// How many it held.
    count: usize,
    /// Which part this is.
    number: usize,
    /// The words, from the lowest byte on, as base64url of zlib.
    packed: String,
}

/// A Bloom filter of names.
pub struct Filter {
    words: Box<[AtomicU64]>,
    capacity: usize,
    count: AtomicUsize,
}

impl Filter {
    /// An empty filter for so many names.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1024);
        let words = capacity.div_ceil(10).saturating_mul(TENTHS).div_ceil(64);
        let words = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { words, capacity, count: AtomicUsize::new(0) }
    }

    /// Adds a name.
    pub fn insert(&self, name: &Name) {
        let mut new = false;
        for (word, bit) in self.probes(name) {
            new |= word.fetch_or(bit, Ordering::Release) & bit == 0;
        }
        if new {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a name may have been added. `false` is certain.
    #[must_use]
    pub fn may_hold(&self, name: &Name) -> bool {
        self.probes(name).all(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    /// For how many names it was made.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// About how many names it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How much memory it takes, in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }

    /// Its bits, in parts of so many bytes before they are packed.
    pub(crate) fn parts(&self) -> impl Iterator<Item = FilterPart> + '_ {
        let of = |(number, words): (usize, &[AtomicU64])| {
            let (capacity, count) = (self.capacity, self.count());
            let packed = words::text(words, Compression::fast());
            FilterPart { capacity, count, number, packed }
        };
        self.words.chunks(PART).enumerate().map(of)
    }

    /// Takes over what [`Self::parts`] said of a filter of this size. `None`: it was of another, or cannot
    /// be read; then part of it may have been taken over, which does no harm.
    pub(crate) fn add(&self, part: &FilterPart) -> Option<()> {
        if part.capacity != self.capacity {
            return None;
        }
        let words = self.words.chunks(PART).nth(part.number)?;
        for (word, more) in words.iter().zip(words::read(&part.packed, words.len())?) {
            word.fetch_or(more, Ordering::AcqRel);
        }
        self.count.fetch_max(part.count, Ordering::Relaxed);
        Some(())
    }

    /// Takes over what another of this size holds. Answers whether it is of this size.
    pub(crate) fn join(&self, other: &Self) -> bool {
        if other.capacity != self.capacity {
            return false;
        }
        for (word, other) in self.words.iter().zip(&other.words) {
            word.fetch_or(other.load(Ordering::Acquire), Ordering::AcqRel);
        }
        // About as many: what both hold, and that is nearly all, counts once.
        self.count.fetch_max(other.count(), Ordering::Relaxed);
        true
    }

    /// The bits of a name (Kirsch and Mitzenmacher: two hashes make all of them).
    fn probes(&self, name: &Name) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let (first, second) = name.hashes();
        let bits = u128::try_from(self.words.len()).unwrap_or(1) * 64;
        (0..PROBES).filter_map(move |probe| {
            // A cubic term keeps names apart whose hashes have something in common.
            let turn = probe.wrapping_mul(probe).wrapping_mul(probe).wrapping_sub(probe) / 6;
            let hash = first.wrapping_add(probe.wrapping_mul(second)).wrapping_add(turn);
            let bit = u64::try_from((u128::from(hash) * bits) >> 64).unwrap_or_default();
            let word = self.words.get(usize::try_from(bit / 64).unwrap_or_default())?;
            Some((word, 1 << (bit % 64)))
        })
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} of {})", self.count(), self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> Name {
        Name::token("https://idp.example", &number.to_string())
    }

    #[test]
    fn knows_all_it_holds_and_is_seldom_wrong_about_the_rest() {
        let many = 100_000_u64;
        let filter = Filter::new(usize::try_from(many).unwrap());
        (0..many).for_each(|number| filter.insert(&name(number)));
        assert!((0..many).all(|number| filter.may_hold(&name(number))));
        let wrong = (many..2 * many).filter(|number| filter.may_hold(&name(*number))).count();
        // 0.1 %, with room for chance: five standard deviations.
        assert!(wrong <= 150, "{wrong} of {many}");
        assert!(filter.count() >= 99_800, "{filter:?}");
    }

    #[test]
    fn fifty_million_names_fit_into_ninety_megabytes() {
        let tenth = Filter::new(5_000_000);
        assert!(tenth.size() <= 9_000_000, "{}", tenth.size());
    }
}
