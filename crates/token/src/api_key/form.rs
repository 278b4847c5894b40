//! How a key is written: `sk_<8>.<32>`, letters and digits alone.
//!
//! ```text
//! sk_Zk3vQ0aB.8mN4…20 characters…fPq9Lw1xYz
//!    └─ id ─┘ └── random ──────┘└seal┘└check┘
//!                 20              6     6
//! ```
//!
//! - The *check* is the CRC-32 of all before it, in base 62. Whoever looks for keys that leaked can tell
//!   without asking anybody that a text is one: `sk_[0-9A-Za-z]{8}\.[0-9A-Za-z]{32}`.
//! - The *seal* is made from id and random with a key of the realm, so that nobody but the realm can write a
//!   key that is looked for: of those that somebody makes up, one in 56 billion is.
//! - The random characters are 119 bits.

use std::fmt;

use serde::{Deserialize, Serialize};
use tegata_core::{Entropy, Secret};
use zeroize::Zeroize as _;

/// What every key begins with.
pub const PREFIX: &str = "sk_";

const ID: usize = 8;
const RANDOM: usize = 20;
pub(super) const SEAL: usize = 6;
const CHECK: usize = 6;
/// A key has so many bytes.
pub const LENGTH: usize = PREFIX.len() + ID + 1 + RANDOM + SEAL + CHECK;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The id of a key: eight letters and digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApiKeyId(Box<str>);

/// The text is not a key of this realm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// It has another form.
    #[error("this is not an API key: one is `sk_`, 8 characters, a dot and 32 characters")]
    Form,
    /// It was mistyped, cut, or made up.
    #[error("the API key is damaged: its checksum is another")]
    Check,
    /// It was not made here.
    #[error("the API key is not one of this installation")]
    Seal,
}

/// A text that is no id of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of an API key is 8 letters and digits")]
pub struct NotAnId;

/// A key as it was shown. That it has the form of one says nothing yet.
#[derive(Clone)]
pub struct Shown {
    /// The id that it says it has.
    pub id: ApiKeyId,
    text: Secret<String>,
}

impl ApiKeyId {
    /// Reads an id.
    ///
    /// # Errors
    /// [`NotAnId`].
    pub fn new(text: &str) -> Result<Self, NotAnId> {
        let fits = text.len() == ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        fits.then(|| Self(text.into())).ok_or(NotAnId)
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn generate(entropy: &dyn Entropy) -> Self {
        Self(random(entropy, ID).expose().as_str().into())
    }
}

impl Shown {
    /// Takes a key apart. It has the form of one, and nothing of it was mistyped.
    ///
    /// # Errors
    /// [`NotAKey::Form`] or [`NotAKey::Check`].
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        if text.len() != LENGTH || !text.is_ascii() {
            return Err(NotAKey::Form);
        }
        let body = text.strip_prefix(PREFIX).ok_or(NotAKey::Form)?;
        let (id, rest) = body.split_once('.').ok_or(NotAKey::Form)?;
        let id = ApiKeyId::new(id).map_err(|_| NotAKey::Form)?;
        if !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(NotAKey::Form);
        }
        let (before, check) = text.split_at_checked(LENGTH - CHECK).ok_or(NotAKey::Form)?;
        if base62(u64::from(crc32(before.as_bytes())), CHECK) != check {
            return Err(NotAKey::Check);
        }
        Ok(Self { id, text: Secret::new(text.to_owned()) })
    }

    /// All of it, for a digest.
    pub(super) fn text(&self) -> &[u8] {
        self.text.expose().as_bytes()
    }

    /// What the seal is made of, and the seal.
    pub(super) fn sealed(&self) -> (&[u8], &[u8]) {
        let (before, _) = self.text().split_at_checked(LENGTH - CHECK).unwrap_or_default();
        before.split_at_checked(LENGTH - CHECK - SEAL).unwrap_or_default()
    }
}

/// Whether a text says that it is a key, well-formed or not: then it is nobody else's to see.
#[must_use]
pub fn looks_like_one(text: &[u8]) -> bool {
    let dot = PREFIX.len() + ID;
    text.starts_with(PREFIX.as_bytes()) && text.get(dot).is_none_or(|byte| *byte == b'.')
}

/// A new key with this id. `seal` seals what it is given.
pub(super) fn write(
    id: &ApiKeyId,
    entropy: &dyn Entropy,
    seal: impl FnOnce(&[u8]) -> String,
) -> Secret<String> {
    let mut text = String::with_capacity(LENGTH);
    text.push_str(PREFIX);
    text.push_str(id.as_str());
    text.push('.');
    text.push_str(random(entropy, RANDOM).expose());
    let seal = seal(text.as_bytes());
    text.push_str(&seal);
    let check = base62(u64::from(crc32(text.as_bytes())), CHECK);
    text.push_str(&check);
    Secret::new(text)
}

/// A seal of a digest.
pub(super) fn seal_of(digest: &[u8]) -> String {
    let number = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    base62(number, SEAL)
}

/// So many random letters and digits, each as likely as another.
fn random(entropy: &dyn Entropy, length: usize) -> Secret<String> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0_u8; 32];
    while text.len() < length {
        entropy.fill(&mut bytes);
        // 248 is four times 62: whatever is above would make the first letters likelier.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        for digit in fair.filter_map(|byte| DIGITS.get(usize::from(byte % 62))) {
            if text.len() < length {
                text.push(char::from(*digit));
            }
        }
    }
    bytes.zeroize();
    Secret::new(text)
}

/// The last digits of a number.
fn base62(mut number: u64, length: usize) -> String {
    let mut digits = vec!['0'; length];
    for digit in digits.iter_mut().rev() {
        let at = usize::try_from(number % 62).unwrap_or_default();
        *digit = DIGITS.get(at).map_or('0', |digit| char::from(*digit));
        number /= 62;
    }
    digits.into_iter().collect()
}

/// The checksum of IEEE 802.3, as zip has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown({})", self.id)
    }
}

impl TryFrom<String> for ApiKeyId {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Self, NotAnId> {
        Self::new(&text)
    }
}

impl From<ApiKeyId> for String {
    fn from(id: ApiKeyId) -> Self {
        id.0.into()
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::SeededEntropy;

    use super::*;

    fn made() -> String {
        let entropy = SeededEntropy::new(7);
        let id = ApiKeyId::generate(&entropy);
        write(&id, &entropy, |_| seal_of(&[1; 32])).expose().clone()
    }

    #[test]
    fn the_checksum_is_the_one_that_everybody_knows() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(base62(u64::from(u32::MAX), 6), "4gfFC3");
        assert_eq!(base62(0, 6), "000000");
    }

    #[test]
    fn a_key_has_one_form_and_no_change_of_a_letter_passes() {
        let key = made();
        assert_eq!(key.len(), LENGTH);
        assert_eq!(LENGTH, 3 + 8 + 1 + 32);
        let shown = Shown::parse(&key).unwrap();
        assert_eq!(shown.id.as_str(), &key[3..11]);
        assert!(!format!("{shown:?}").contains(&key[12..]));
        for at in 0..key.len() {
            let mut other = key.clone().into_bytes();
            other[at] = if other[at] == b'x' { b'y' } else { b'x' };
            assert!(Shown::parse(std::str::from_utf8(&other).unwrap()).is_err(), "{at}");
        }
        for bad in
            ["", "sk_", "sk_.", &key[1..], &key[..43], &format!("{key}0"), &format!(" {key}")]
        {
            assert_eq!(Shown::parse(bad).unwrap_err(), NotAKey::Form, "{bad:?}");
        }
        assert!(Shown::parse(&"ü".repeat(22)).is_err());
    }

    #[test]
    fn what_says_that_it_is_a_key_is_taken_for_one_though_it_is_damaged() {
        let key = made();
        assert!(looks_like_one(key.as_bytes()) && looks_like_one(&key.as_bytes()[..20]));
        assert!(looks_like_one(b"sk_abc"));
        assert!(!looks_like_one(b"sk_live_51HxABCDEF") && !looks_like_one(b"other"));
    }
}
