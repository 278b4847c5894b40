//! A keyed permutation of the places of a list, so that a token's index does not tell how many
//! tokens were issued before it, or that two tokens were issued one after the other.

use aws_lc_rs::hmac;

/// Half of the 20 bits of an index.
const HALF: u32 = 10;
const HALVES: usize = 1 << HALF;
const MASK: u32 = (1 << HALF) - 1;

/// A Feistel network of four rounds over 2 × 10 bits, whose round functions are tables filled by
/// the key: the construction of Luby and Rackoff with the random functions written out.
pub(super) struct Permutation(Box<[[u16; HALVES]; 4]>);

impl Permutation {
    /// The permutation that belongs to `key`.
    pub(super) fn new(key: &hmac::Key) -> Self {
        let mut rounds = Box::new([[0_u16; HALVES]; 4]);
        for (round, table) in (0_u32..).zip(rounds.iter_mut()) {
            for (block, entries) in (0_u32..).zip(table.chunks_mut(16)) {
                let message = [round.to_be_bytes(), block.to_be_bytes()].concat();
                let tag = hmac::sign(key, &message);
                for (entry, bytes) in entries.iter_mut().zip(tag.as_ref().chunks_exact(2)) {
                    if let [high, low] = bytes {
                        *entry = u16::from_be_bytes([*high, *low]) & 0x3ff;
                    }
                }
            }
        }
        Self(rounds)
    }

    /// Where the token with this count is put: a number of 20 bits for a number of 20 bits.
    pub(super) fn place(&self, count: u32) -> u32 {
        let (mut left, mut right) = ((count >> HALF) & MASK, count & MASK);
        for table in self.0.iter() {
            let mixed = usize::try_from(right).ok().and_then(|at| table.get(at)).copied();
            (left, right) = (right, left ^ u32::from(mixed.unwrap_or_default()));
        }
        (left << HALF) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::LIST_LENGTH;

    fn permutation(seed: u8) -> Permutation {
        Permutation::new(&hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]))
    }

    #[test]
    fn uses_every_place_once() {
        let permutation = permutation(1);
        let mut used = vec![false; LIST_LENGTH as usize];
        for count in 0..LIST_LENGTH {
            let place = permutation.place(count) as usize;
            assert!(!used[place]);
            used[place] = true;
        }
    }

    #[test]
    fn neighbours_are_not_neighbours_and_keys_differ() {
        let (one, two) = (permutation(1), permutation(2));
        let near = (0..10_000).filter(|n| one.place(*n).abs_diff(one.place(n + 1)) < 1000).count();
        // Expected by chance: 10,000 × 2,000 / 2^20, some 19.
        assert!(near < 60, "{near}");
        let same = (0..10_000).filter(|n| one.place(*n) == two.place(*n)).count();
        assert!(same < 5, "{same}");
    }
}
