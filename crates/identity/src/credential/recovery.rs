//! Recovery codes: what somebody wrote down for the day on which the authenticator is gone.
//!
//! They are look-up secrets (SP 800-63B-4 §3.1.2): ten, of 80 random bits each, shown once. Kept
//! are their digests under a key of the person's own, in a record that is sealed. Each works once.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{Entropy, Secret, secret};
use zeroize::Zeroizing;

use super::base32;

/// How many are made at once.
pub const MADE: usize = 10;

/// The random bytes of one.
const BYTES: usize = 10;

/// The letters of one: each is five bits. Those that look like others are left out (Crockford).
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// How many letters one has.
pub(super) const LENGTH: usize = BYTES * 8 / 5;

/// The codes of a person that are left, as they are kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecoveryCodes {
    key: [u8; 32],
    digests: Vec<[u8; 32]>,
}

/// New codes, to be shown once.
#[derive(Debug)]
pub struct NewCodes(Vec<Secret<String>>);

impl NewCodes {
    /// The codes, each in groups of four.
    pub fn shown(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|code| code.expose().as_str())
    }
}

impl RecoveryCodes {
    /// New codes, and what is kept of them.
    pub(crate) fn make(entropy: &dyn Entropy) -> (Self, NewCodes) {
        let mut made = Self { key: [0; 32], digests: Vec::with_capacity(MADE) };
        entropy.fill(&mut made.key);
        let mut shown = Vec::with_capacity(MADE);
        for _ in 0..MADE {
            let mut bytes = Zeroizing::new([0_u8; BYTES]);
            entropy.fill(bytes.as_mut_slice());
            let letters: Vec<u8> = base32::fives(bytes.as_slice()).map(letter).collect();
            made.digests.push(made.digest(&letters));
            let groups = letters.chunks(4).map(String::from_utf8_lossy);
            shown.push(Secret::new(groups.collect::<Vec<_>>().join("-")));
        }
        (made, NewCodes(shown))
    }

    /// How many are left.
    pub(crate) const fn left(&self) -> usize {
        self.digests.len()
    }

    /// The same without `code`. `None`: it is not among them. All are compared, whichever it is.
    pub(crate) fn without(&self, code: &str) -> Option<Self> {
        let digest = self.digest(code.as_bytes());
        let others = self.digests.iter().filter(|kept| !secret::matches(kept.as_slice(), &digest));
        let left = Self { key: self.key, digests: others.copied().collect() };
        (left.left() < self.left()).then_some(left)
    }

    /// By what these are told from those that take their place. No code has such letters.
    pub(crate) fn name(&self) -> String {
        let digest = self.digest(b"these");
        URL_SAFE_NO_PAD.encode(digest.get(..9).unwrap_or_default())
    }

    fn digest(&self, code: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.key), code);
        tag.as_ref().try_into().unwrap_or_default()
    }
}

impl fmt::Debug for RecoveryCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryCodes({} left)", self.left())
    }
}

/// The one form of a code as it was typed: without hyphens, in lower case, with the letters that
/// were meant. `None`: it can be none.
pub(super) fn one_form(typed: &str) -> Option<String> {
    let meant = |c: char| match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    };
    let code: String = typed.chars().filter(|c| *c != '-').map(meant).collect();
    let is_code = code.len() == LENGTH && code.bytes().all(|byte| LETTERS.contains(&byte));
    is_code.then_some(code)
}

fn letter(five: u8) -> u8 {
    LETTERS.get(usize::from(five)).copied().unwrap_or(b'0')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tegata_core::SeededEntropy;

    use super::*;

    fn made() -> (RecoveryCodes, Vec<String>) {
        let (kept, shown) = RecoveryCodes::make(&SeededEntropy::new(1));
        (kept, shown.shown().map(str::to_owned).collect())
    }

    #[test]
    fn ten_different_codes_are_made_that_are_easy_to_type() {
        let (kept, shown) = made();
        assert_eq!((kept.left(), shown.iter().collect::<BTreeSet<_>>().len()), (MADE, MADE));
        for code in &shown {
            assert_eq!(code.len(), 19, "{code}");
            assert!(code.split('-').all(|group| group.len() == 4), "{code}");
            assert!(!code.contains(['i', 'l', 'o', 'u']), "{code}");
        }
    }

    #[test]
    fn each_works_once() {
        let (mut kept, shown) = made();
        for (used, code) in shown.iter().enumerate() {
            let form = one_form(code).unwrap();
            kept = kept.without(&form).unwrap();
            assert_eq!(kept.left(), MADE - 1 - used);
            assert!(kept.without(&form).is_none(), "{code}");
        }
    }

    #[test]
    fn is_read_as_people_type_it() {
        assert_eq!(one_form("0O1I-LABC-DEFG-HJKM").as_deref(), Some("00111abcdefghjkm"));
        for bad in ["", "0123", "0123-4567-89ab-cdeu", "0123-4567-89ab-cdefg", "é123456789abcdef"]
        {
            assert_eq!(one_form(bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_of_a_code_is_kept_or_printed() {
        let (kept, shown) = made();
        let json = serde_json::to_string(&kept).unwrap();
        let printed = format!("{kept:?} {:?}", RecoveryCodes::make(&SeededEntropy::new(1)).1);
        for code in shown {
            assert!(!json.contains(&code) && !printed.contains(&code), "{code}");
        }
        // Another's codes are of no use, though they are the same: the key is another.
        let other = RecoveryCodes { key: [9; 32], ..kept };
        assert!(other.without(&one_form(&made().1[0]).unwrap()).is_none());
    }
}
