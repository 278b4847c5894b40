//! The session cookie's value: root number ‖ sid ‖ generation ‖ HMAC.
//!
//! ```text
//! 1.1.20781.ZGVtbyBkZW1vIGRlbW8.5.<43 characters>
//! │ └── sid ────────────────┘ │ └ HMAC-SHA-256: 256 bits
//! └ root secret               └ generation
//! ```
//!
//! Nothing of it is stored, not even a hash. The key of the HMAC is derived from the root secret,
//! the realm, the sid and the session's own salt, so that
//!
//! - whoever knows the sid, which is public, can derive nothing;
//! - whoever reads the stored sessions (a backup, a replica) can derive nothing either: the root
//!   secret is not among them. A stored hash protects a value against the same reader, and no more;
//! - whoever has both makes the same value again. That is what lets every answer of a rotation
//!   repeat the same `Set-Cookie`, which a stored hash alone could not.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{Realm, Secret, SessionId};

use crate::keys::Keys;

/// The longest text that is looked at.
const LONGEST: usize = 256;

/// A cookie's value as it was presented: nothing of it is believed yet.
#[derive(Clone)]
pub struct Value {
    root: u16,
    /// The session that it says it is of.
    pub sid: SessionId,
    /// The generation that it says it is.
    pub generation: u32,
    mac: Vec<u8>,
}

/// The text is not the value of a session cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a session")]
pub struct NotASession;

impl Value {
    /// Takes a value apart.
    ///
    /// # Errors
    /// [`NotASession`], whatever is wrong with it. There is only one way to write a value: leading
    /// zeros, padding and stray bits are refused.
    pub fn parse(text: &str) -> Result<Self, NotASession> {
        if text.len() > LONGEST {
            return Err(NotASession);
        }
        let (root, rest) = text.split_once('.').ok_or(NotASession)?;
        let (rest, mac) = rest.rsplit_once('.').ok_or(NotASession)?;
        let (sid, generation) = rest.rsplit_once('.').ok_or(NotASession)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| NotASession)?;
        Ok(Self {
            root: canonical(root)?.try_into().map_err(|_| NotASession)?,
            sid: SessionId::new(sid).map_err(|_| NotASession)?,
            generation: canonical(generation)?,
            mac,
        })
    }

    /// Whether this is the value that [`make`] makes for the same session and generation. The
    /// comparison takes the same time wherever it differs.
    #[must_use]
    pub fn is_genuine(&self, keys: &Keys, realm: &Realm, salt: &[u8]) -> bool {
        session_key(keys, self.root, realm, &self.sid, salt).is_some_and(|key| {
            hmac::verify(&key, &message(&self.sid, self.generation), &self.mac).is_ok()
        })
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({}, generation {})", self.sid, self.generation)
    }
}

/// The value of a session's generation, made with the newest root secret. `None` only if there is
/// no root secret.
#[must_use]
pub fn make(
    keys: &Keys,
    realm: &Realm,
    sid: &SessionId,
    salt: &[u8],
    generation: u32,
) -> Option<Secret<String>> {
    let root = keys.newest();
    let key = session_key(keys, root, realm, sid, salt)?;
    let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&key, &message(sid, generation)).as_ref());
    Some(Secret::new(format!("{root}.{sid}.{generation}.{mac}")))
}

fn session_key(
    keys: &Keys,
    root: u16,
    realm: &Realm,
    sid: &SessionId,
    salt: &[u8],
) -> Option<hmac::Key> {
    keys.key(root, &[b"session", realm.as_str().as_bytes(), sid.as_str().as_bytes(), salt])
}

fn message(sid: &SessionId, generation: u32) -> Vec<u8> {
    [&generation.to_be_bytes()[..], sid.as_str().as_bytes()].concat()
}

fn canonical(digits: &str) -> Result<u32, NotASession> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = plain && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().map_err(|_| NotASession) } else { Err(NotASession) }
}

#[cfg(test)]
mod tests {
    use tegata_core::{Epoch, SeededEntropy, Timestamp};

    use super::*;

    fn keys(seed: u8) -> Keys {
        Keys::of_root(Secret::new([seed; 32]))
    }

    fn sid(seed: u64) -> SessionId {
        SessionId::generate(Epoch::FIRST, Timestamp::from_secs(1), &SeededEntropy::new(seed))
    }

    fn value(keys: &Keys, sid: &SessionId, salt: &[u8], generation: u32) -> String {
        make(keys, &Realm::default(), sid, salt, generation).unwrap().expose().clone()
    }

    #[test]
    fn is_made_again_the_same_and_recognised() {
        let (keys, sid) = (keys(1), sid(1));
        let text = value(&keys, &sid, b"salt", 7);
        assert_eq!(text, value(&keys, &sid, b"salt", 7));
        let presented = Value::parse(&text).unwrap();
        assert_eq!((&presented.sid, presented.generation), (&sid, 7));
        assert!(presented.is_genuine(&keys, &Realm::default(), b"salt"));
    }

    #[test]
    fn is_of_use_in_no_other_realm_session_salt_generation_or_installation() {
        let (own, sid_1) = (keys(1), sid(1));
        let text = value(&own, &sid_1, b"salt", 7);
        let genuine = |text: &str, keys: &Keys, realm: &Realm, salt: &[u8]| {
            Value::parse(text).is_ok_and(|it| it.is_genuine(keys, realm, salt))
        };
        let default = Realm::default();
        assert!(genuine(&text, &own, &default, b"salt"));
        assert!(!genuine(&text, &keys(2), &default, b"salt"));
        assert!(!genuine(&text, &own, &Realm::new("other").unwrap(), b"salt"));
        assert!(!genuine(&text, &own, &default, b"other"));
        assert!(!genuine(&text.replace(".7.", ".8."), &own, &default, b"salt"));
        assert!(!genuine(&text.replacen("1.", "2.", 1), &own, &default, b"salt"));
        assert!(!genuine(&text.replace(sid_1.as_str(), sid(2).as_str()), &own, &default, b"salt"));
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(!genuine(&altered, &own, &default, b"salt"), "altered at {at}");
        }
    }

    #[test]
    fn has_only_one_spelling() {
        let text = value(&keys(1), &sid(1), b"salt", 7);
        for bad in [
            String::new(),
            ".".into(),
            "1.1.1.a.7".into(),
            sid(1).to_string(),
            format!("0{text}"),
            format!("+{text}"),
            text.replace(".7.", ".07."),
            text.replace(".7.", ".4294967296."),
            format!("{text}="),
            format!("\"{text}\""),
            format!("{text} "),
            format!("{text}.x"),
            "1.".repeat(200),
            "1.1.1.é.1.AA".into(),
        ] {
            let read = Value::parse(&bad);
            let genuine = read.is_ok_and(|it| it.is_genuine(&keys(1), &Realm::default(), b"salt"));
            assert!(!genuine, "{bad:?}");
        }
    }

    #[test]
    fn never_prints_its_mac() {
        let text = value(&keys(1), &sid(1), b"salt", 7);
        let (_, mac) = text.rsplit_once('.').unwrap();
        assert!(!format!("{:?}", Value::parse(&text).unwrap()).contains(mac));
    }
}
