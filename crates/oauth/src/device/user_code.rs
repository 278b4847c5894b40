//! The codes that devices show and people type.

use std::fmt;

use serde::{Deserialize, Serialize};
use tegata_core::Entropy;

/// Letters that are not taken for each other, and make no words (RFC 8628 §6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// How many of them a code has: 34.5 bits, of which few can be tried.
const LENGTH: usize = 8;

/// A code that a device shows, in its one form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserCode(String);

impl UserCode {
    /// Reads a code as somebody typed it: in any case, with spaces and hyphens anywhere or nowhere.
    #[must_use]
    pub fn read(typed: &str) -> Option<Self> {
        if typed.len() > 64 {
            return None;
        }
        let told = |c: &char| !c.is_whitespace() && !matches!(c, '-' | '‐' | '‑' | '–' | '−');
        let code: String = typed.chars().filter(told).map(|c| c.to_ascii_uppercase()).collect();
        let is_one = code.len() == LENGTH && code.bytes().all(|byte| LETTERS.contains(&byte));
        is_one.then_some(Self(code))
    }

    /// A new code.
    pub(super) fn generate(entropy: &dyn Entropy) -> Self {
        let mut code = String::with_capacity(LENGTH);
        while code.len() < LENGTH {
            let mut bytes = [0_u8; LENGTH];
            entropy.fill(&mut bytes);
            // Of 240 values each letter has twelve; the others would favour some.
            let even = bytes.into_iter().filter(|byte| *byte < 240);
            let letters = even.filter_map(|byte| LETTERS.get(usize::from(byte) % LETTERS.len()));
            code.extend(letters.take(LENGTH - code.len()).map(|letter| char::from(*letter)));
        }
        Self(code)
    }

    /// What stores name it by.
    pub(super) fn name(&self) -> String {
        super::digest_of(&self.0)
    }
}

impl fmt::Display for UserCode {
    /// In two halves, as devices show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.0.split_at_checked(LENGTH / 2).unwrap_or((&self.0, ""));
        write!(f, "{first}-{second}")
    }
}

impl fmt::Debug for UserCode {
    /// Whoever knows it can answer: not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::SeededEntropy;

    use super::*;

    #[test]
    fn is_read_however_it_is_typed() {
        let code = UserCode::read("WDJB-MJHT").unwrap();
        for typed in ["wdjbmjht", " wDjB mJhT ", "WDJBMJHT", "w-d-j-b-m-j-h-t", "wdjb–mjht"] {
            assert_eq!(UserCode::read(typed).as_ref(), Some(&code), "{typed}");
        }
        assert_eq!(code.to_string(), "WDJB-MJHT");
        for typed in ["", "WDJB-MJH", "WDJB-MJHTT", "WDJB-MJHA", "WDJB_MJHT", "ＷDJBMJHT"] {
            assert!(UserCode::read(typed).is_none(), "{typed}");
        }
        assert!(UserCode::read(&"-".repeat(100_000)).is_none());
    }

    #[test]
    fn every_letter_is_as_likely_as_any() {
        let entropy = SeededEntropy::new(1);
        let mut counts = [0_u32; 26];
        for _ in 0..10_000 {
            let code = UserCode::generate(&entropy);
            assert_eq!(UserCode::read(&code.to_string()), Some(code.clone()));
            code.0.bytes().for_each(|byte| counts[usize::from(byte - b'A')] += 1);
        }
        let used: Vec<_> = counts.into_iter().filter(|count| *count > 0).collect();
        assert_eq!(used.len(), LETTERS.len());
        // 4,000 of each are expected, with a standard deviation of 62.
        assert!(used.iter().all(|count| (3_700..4_300).contains(count)), "{used:?}");
    }
}
