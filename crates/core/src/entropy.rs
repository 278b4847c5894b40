//! Randomness, as a parameter.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where random bytes come from.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// The random source of the operating system. The only one that keys and tokens are made with.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
        let filled = getrandom::fill(bytes);
        if filled.is_err() {
            // Without randomness nothing that follows is safe, and there is nothing to answer.
            std::process::abort();
        }
    }
}

/// A repeatable sequence from a seed. For tests and simulations: **not** random.
#[derive(Debug)]
pub struct SeededEntropy {
    state: AtomicU64,
}

impl SeededEntropy {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64 (Steele, Lea, Flood 2014).
            let state = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
            let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            for (to, from) in chunk.iter_mut().zip((z ^ (z >> 31)).to_le_bytes()) {
                *to = from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        let draw = |entropy: &dyn Entropy| {
            let mut bytes = [0_u8; 20];
            entropy.fill(&mut bytes);
            bytes
        };
        assert_eq!(draw(&SeededEntropy::new(5)), draw(&SeededEntropy::new(5)));
        assert_ne!(draw(&SeededEntropy::new(5)), draw(&SeededEntropy::new(6)));
        assert_ne!(draw(&OsEntropy), draw(&OsEntropy));
    }
}
