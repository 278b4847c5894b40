//! Identifiers, each its own type: a [`ClientId`] cannot stand where a [`UserId`] is meant.
//!
//! Identifiers that Tegata issues inside tokens ([`TokenId`], [`FamilyId`], [`SessionId`]) begin
//! with the issuer [`Epoch`]. Restoring a backup raises the epoch, so that nothing issued after the
//! backup was taken can be mistaken for something issued after the restore.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, entropy::Entropy};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct InvalidId {
    what: &'static str,
    rule: &'static str,
    text: String,
}

impl InvalidId {
    fn new(what: &'static str, rule: &'static str, text: &str) -> Self {
        // What is echoed is bounded: identifiers arrive from outside.
        let text = text.chars().take(80).collect::<String>().escape_debug().to_string();
        Self { what, rule, text }
    }
}

/// Declares an identifier over a checked string.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            #[doc = concat!("Reads a ", $what, ": ", $rule, ".")]
            ///
            /// # Errors
            /// [`InvalidId`] names the rule that the text breaks.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(InvalidId::new($what, $rule, text)) }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id! {
    /// A realm (tenant). Every stored key and every path is inside one.
    Realm, "realm", "1 to 63 of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit",
    |text| (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-') && !text.ends_with('-')
}

impl Default for Realm {
    /// The realm whose paths have no `/realms/…` prefix.
    fn default() -> Self {
        Self("default".into())
    }
}

/// Bounded printable text without spaces: what ids that others choose may be made of.
fn is_visible(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The characters of identifiers that Tegata makes: base64url and the dots between parts.
fn is_issued(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && Epoch::leading(text).is_some()
}

text_id! {
    /// A person. Never equal to a [`ClientId`]: user ids begin with `usr_`, which client ids must
    /// not (RFC 9700 §4.15: a client must not be able to pass for a resource owner).
    UserId, "user id", "`usr_` and 1 to 60 visible ASCII characters",
    |text| text.strip_prefix("usr_").is_some_and(|rest| is_visible(rest, 60))
}

text_id! {
    /// An OAuth client, or a service where it acts as one.
    ClientId, "client id", "1 to 255 visible ASCII characters, not beginning with `usr_`",
    |text| is_visible(text, 255) && !text.starts_with("usr_")
}

text_id! {
    /// A signing key, as `kid` in headers and in the JWKS.
    KeyId, "key id", "1 to 128 visible ASCII characters",
    |text| is_visible(text, 128)
}

text_id! {
    /// A token: the claim `jti`. Begins with the issuer epoch.
    TokenId, "token id", "an issuer epoch, a dot, and base64url", is_issued
}

text_id! {
    /// A token family, one sign-in's tokens: the claim `fid`. Begins with the issuer epoch, then
    /// the day after which it cannot be alive, which is the partition it is stored in.
    FamilyId, "family id", "an issuer epoch, a day, and base64url, separated by dots",
    |text| is_issued(text) && expiry_day(text).is_some()
}

text_id! {
    /// A session's public handle: the claim `sid`. Built like a [`FamilyId`]; the cookie's value
    /// is something else and cannot be derived from it.
    SessionId, "session id", "an issuer epoch, a day, and base64url, separated by dots",
    |text| is_issued(text) && expiry_day(text).is_some()
}

impl UserId {
    /// A new random user id.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(format!("usr_{}", random_text(entropy)).into())
    }
}

impl TokenId {
    /// A new random token id of this epoch.
    #[must_use]
    pub fn generate(epoch: Epoch, entropy: &dyn Entropy) -> Self {
        Self(format!("{epoch}.{}", random_text(entropy)).into())
    }

    /// A new random token id that names the family of the token, so that whoever has the id alone finds
    /// what is known of it.
    #[must_use]
    pub fn of_family(family: &FamilyId, entropy: &dyn Entropy) -> Self {
        let mut bytes = [0_u8; 9];
        entropy.fill(&mut bytes);
        Self(format!("{family}.{}", URL_SAFE_NO_PAD.encode(bytes)).into())
    }

    /// The family that the id names.
    #[must_use]
    pub fn family(&self) -> Option<FamilyId> {
        self.as_str().rsplit_once('.').and_then(|(family, _)| FamilyId::new(family).ok())
    }
}

impl FamilyId {
    /// A new random family id whose family cannot be alive after `until`.
    #[must_use]
    pub fn generate(epoch: Epoch, until: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(format!("{epoch}.{}.{}", until.day() + 1, random_text(entropy)).into())
    }
}

impl SessionId {
    /// A new random session id whose session cannot be alive after `until`.
    #[must_use]
    pub fn generate(epoch: Epoch, until: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(format!("{epoch}.{}.{}", until.day() + 1, random_text(entropy)).into())
    }
}

/// The day (since 1970-01-01) from which a record with this key is dead, for keys of the form
/// `epoch.day.random`. Given to [`crate::Lifetime::ByDay`].
#[must_use]
pub fn expiry_day(key: &str) -> Option<u32> {
    let mut parts = key.split('.');
    let (_, day, rest) = (parts.next()?, parts.next()?, parts.next()?);
    if rest.is_empty() || !day.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    day.parse().ok().filter(|day| *day < 10_000_000)
}

/// 128 random bits as base64url, the random part of every id that Tegata makes.
fn random_text(entropy: &dyn Entropy) -> String {
    let mut bytes = [0_u8; 16];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The issuer epoch: a number that starts at 1 and that every restore of a backup raises, to the time
/// of the restore in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The first epoch of an installation.
    pub const FIRST: Self = Self(1);

    /// The epoch that an issued identifier begins with.
    #[must_use]
    pub fn leading(text: &str) -> Option<Self> {
        let (epoch, rest) = text.split_once('.')?;
        let canonical = !epoch.starts_with('0') && epoch.bytes().all(|b| b.is_ascii_digit());
        if rest.is_empty() || !canonical { None } else { epoch.parse().ok().map(Self) }
    }

    /// The epoch that begins at `now`, after this one.
    ///
    /// It is a time and no count. The same backup may be brought back twice, and a count would give the
    /// second life the epoch of the first, whose tokens would count again.
    #[must_use]
    pub fn after(self, now: Timestamp) -> Self {
        let now = u32::try_from(now.secs()).unwrap_or(u32::MAX);
        Self(now.max(self.0.saturating_add(1)))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One running node, new at every start: 64 random bits, printed as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl NodeId {
    /// A new random node id.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0_u8; 8];
        entropy.fill(&mut bytes);
        Self(u64::from_be_bytes(bytes))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// One entry of a log: 128 random bits, by which a repeated delivery is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// A new random entry id.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0_u8; 16];
        entropy.fill(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for EventId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        URL_SAFE_NO_PAD
            .decode(&text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| InvalidId::new("event id", "22 characters of base64url", &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn refuses_realms_that_could_leave_their_path() {
        for bad in ["", "..", "a/b", "A", "-a", "a-", "é", &"a".repeat(64)] {
            assert!(Realm::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Realm::new("acme-1").unwrap().as_str(), "acme-1");
    }

    #[test]
    fn keeps_clients_and_people_in_different_namespaces() {
        let user = UserId::generate(&SeededEntropy::new(1));
        assert!(ClientId::new(user.as_str()).is_err());
        assert!(UserId::new("checkout").is_err());
    }

    #[test]
    fn no_two_restores_of_one_backup_begin_the_same_epoch() {
        let first = Epoch::FIRST.after(Timestamp::from_secs(1_800_000_000));
        assert_eq!(first, Epoch(1_800_000_000));
        assert_eq!(Epoch::FIRST.after(Timestamp::from_secs(1_800_000_001)), Epoch(1_800_000_001));
        // A clock that was set back raises it all the same.
        assert_eq!(first.after(Timestamp::from_secs(7)), Epoch(1_800_000_001));
        assert_eq!(Epoch(u32::MAX).after(Timestamp::from_secs(u64::MAX / 1000)), Epoch(u32::MAX));
    }

    #[test]
    fn a_token_of_a_family_names_it_and_no_other_token_names_one() {
        let entropy = SeededEntropy::new(7);
        let family = FamilyId::generate(Epoch(3), Timestamp::from_secs(86_400 * 20_000), &entropy);
        let (one, two) =
            (TokenId::of_family(&family, &entropy), TokenId::of_family(&family, &entropy));
        assert_ne!(one, two);
        assert_eq!(TokenId::new(one.as_str()).unwrap().family().as_ref(), Some(&family));
        assert_eq!(Epoch::leading(one.as_str()), Some(Epoch(3)));
        assert_eq!(TokenId::generate(Epoch(3), &entropy).family(), None);
        assert_eq!(TokenId::new(family.as_str()).unwrap().family(), None);
    }

    #[test]
    fn issued_ids_begin_with_their_epoch_and_day() {
        let entropy = SeededEntropy::new(7);
        let family = FamilyId::generate(Epoch(3), Timestamp::from_secs(86_400 * 20_000), &entropy);
        assert_eq!(Epoch::leading(family.as_str()), Some(Epoch(3)));
        assert_eq!(expiry_day(family.as_str()), Some(20_001));
        assert_eq!(FamilyId::new(family.as_str()).unwrap(), family);
        for bad in
            ["x", "1.", "1.x.y", "01.5.abc", "1.5.", "1.5", "-1.5.a", "1.5.a/b", "1.99999999999.a"]
        {
            assert!(FamilyId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_bounds_and_escapes_what_it_echoes() {
        let error = Realm::new(&"\n".repeat(500)).unwrap_err().to_string();
        assert!(error.len() < 400 && !error.contains('\n'), "{error}");
    }
}
