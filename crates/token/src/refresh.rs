//! The refresh token: key number ‖ family ‖ generation ‖ HMAC.
//!
//! It is never stored. Whoever has the family's record and the root secret can make it again, which
//! is how a client that lost an answer gets the *same* token. The key of the HMAC is derived from
//! the root secret, the realm, the family and the family's own salt.
//!
//! ```text
//! rt_1.1.20781.ZGVtbyBkZW1vIGRlbW8.5.<43 characters>
//!    │ └── family ─────────────┘ │ └ HMAC-SHA-256
//!    └ root secret               └ generation
//! ```

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{FamilyId, Realm, Secret};

use crate::root::Roots;

/// The longest text that is looked at.
const LONGEST: usize = 256;

/// A refresh token as it was presented: nothing of it is believed yet.
#[derive(Clone)]
pub struct Presented {
    root: u16,
    /// The family that it says it is of.
    pub family: FamilyId,
    /// The generation that it says it is.
    pub generation: u32,
    mac: Vec<u8>,
}

/// The text is not a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a refresh token")]
pub struct NotARefreshToken;

impl Presented {
    /// Takes a refresh token apart.
    ///
    /// # Errors
    /// [`NotARefreshToken`], whatever is wrong with it. There is only one way to write a token:
    /// leading zeros, padding and stray bits are refused.
    pub fn parse(text: &str) -> Result<Self, NotARefreshToken> {
        let body = text.strip_prefix("rt_").filter(|_| text.len() <= LONGEST);
        let (root, rest) = body.and_then(|body| body.split_once('.')).ok_or(NotARefreshToken)?;
        let (rest, mac) = rest.rsplit_once('.').ok_or(NotARefreshToken)?;
        let (family, generation) = rest.rsplit_once('.').ok_or(NotARefreshToken)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| NotARefreshToken)?;
        Ok(Self {
            root: canonical(root)?.try_into().map_err(|_| NotARefreshToken)?,
            family: FamilyId::new(family).map_err(|_| NotARefreshToken)?,
            generation: canonical(generation)?,
            mac,
        })
    }

    /// Whether this is the token that [`make`] makes for the same family and generation. The
    /// comparison takes the same time wherever it differs.
    #[must_use]
    pub fn is_genuine(&self, roots: &Roots, realm: &Realm, salt: &[u8]) -> bool {
        family_key(roots, self.root, realm, &self.family, salt).is_some_and(|key| {
            hmac::verify(&key, &message(&self.family, self.generation), &self.mac).is_ok()
        })
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({}, generation {})", self.family, self.generation)
    }
}

/// The refresh token of a family's generation, made with the newest root secret. `None` only if
/// there is no root secret.
#[must_use]
pub fn make(
    roots: &Roots,
    realm: &Realm,
    family: &FamilyId,
    salt: &[u8],
    generation: u32,
) -> Option<Secret<String>> {
    let root = roots.newest();
    let key = family_key(roots, root, realm, family, salt)?;
    let mac = hmac::sign(&key, &message(family, generation));
    let mac = URL_SAFE_NO_PAD.encode(mac.as_ref());
    Some(Secret::new(format!("rt_{root}.{family}.{generation}.{mac}")))
}

fn family_key(
    roots: &Roots,
    root: u16,
    realm: &Realm,
    family: &FamilyId,
    salt: &[u8],
) -> Option<hmac::Key> {
    roots.derive(root, &[b"refresh", realm.as_str().as_bytes(), family.as_str().as_bytes(), salt])
}

fn message(family: &FamilyId, generation: u32) -> Vec<u8> {
    [&generation.to_be_bytes()[..], family.as_str().as_bytes()].concat()
}

fn canonical(digits: &str) -> Result<u32, NotARefreshToken> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = plain && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().map_err(|_| NotARefreshToken) } else { Err(NotARefreshToken) }
}

#[cfg(test)]
mod tests {
    use tegata_core::{Epoch, SeededEntropy, Timestamp};

    use super::*;

    fn family(seed: u64) -> FamilyId {
        FamilyId::generate(Epoch::FIRST, Timestamp::from_secs(1), &SeededEntropy::new(seed))
    }

    fn token(roots: &Roots, family: &FamilyId, salt: &[u8], generation: u32) -> String {
        make(roots, &Realm::default(), family, salt, generation).unwrap().expose().clone()
    }

    #[test]
    fn is_made_again_the_same_and_recognised() {
        let (roots, family) = (Roots::for_tests(1), family(1));
        let text = token(&roots, &family, b"salt", 7);
        assert_eq!(text, token(&roots, &family, b"salt", 7));
        let presented = Presented::parse(&text).unwrap();
        assert_eq!((&presented.family, presented.generation), (&family, 7));
        assert!(presented.is_genuine(&roots, &Realm::default(), b"salt"));
    }

    #[test]
    fn is_of_use_in_no_other_realm_family_salt_generation_or_installation() {
        let (roots, own) = (Roots::for_tests(1), family(1));
        let text = token(&roots, &own, b"salt", 7);
        let genuine = |text: &str, roots: &Roots, realm: &Realm, salt: &[u8]| {
            Presented::parse(text).is_ok_and(|it| it.is_genuine(roots, realm, salt))
        };
        let default = Realm::default();
        assert!(genuine(&text, &roots, &default, b"salt"));
        assert!(!genuine(&text, &Roots::for_tests(2), &default, b"salt"));
        assert!(!genuine(&text, &roots, &Realm::new("other").unwrap(), b"salt"));
        assert!(!genuine(&text, &roots, &default, b"other"));
        assert!(!genuine(&text.replace(".7.", ".8."), &roots, &default, b"salt"));
        assert!(!genuine(&text.replace("rt_1.", "rt_2."), &roots, &default, b"salt"));
        let other = text.replace(own.as_str(), family(2).as_str());
        assert!(!genuine(&other, &roots, &default, b"salt"));
        for at in 3..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(!genuine(&altered, &roots, &default, b"salt"), "altered at {at}");
        }
    }

    #[test]
    fn has_only_one_spelling() {
        let roots = Roots::for_tests(1);
        let text = token(&roots, &family(1), b"salt", 7);
        for bad in [
            String::new(),
            "rt_".into(),
            text.replace("rt_", "RT_"),
            text.replace("rt_1.", "rt_01."),
            text.replace(".7.", ".07."),
            text.replace(".7.", ".+7."),
            text.replace(".7.", ".4294967296."),
            format!("{text}="),
            format!("{text} "),
            format!(" {text}"),
            format!("{text}.x"),
            "rt_".to_owned() + &"1.".repeat(200),
            "rt_1.1.1.é.1.AA".into(),
        ] {
            assert!(Presented::parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn never_prints_its_mac() {
        let text = token(&Roots::for_tests(1), &family(1), b"salt", 7);
        let (_, mac) = text.rsplit_once('.').unwrap();
        assert!(!format!("{:?}", Presented::parse(&text).unwrap()).contains(mac));
    }
}
