//! The choice of cookies, as the browser keeps it:
//!
//! ```text
//! 1.2.1795219200.fa.<43 characters: HMAC>
//! │ │ │          └ what was agreed to: functional, analytics; `-`: nothing
//! │ │ └ on which day, by the second in which it began
//! │ └ the version of the policy
//! └ root secret
//! ```
//!
//! It says nothing about the person, and no more of the time than the day, so that it is no cookie by
//! which anybody could be followed: the exact time stands in the record alone. It is
//! signed, so that nobody can write one: what it says was said to us, and recorded. Whatever is wrong
//! with it, it is no consent.

use std::{fmt, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{Realm, StoreError, Timestamp};

use crate::{
    keys::{self, Keys},
    policy::Agreed,
};

mod kept;

pub use kept::{COOKIE_CONSENTS, Chosen, CookieConsents, KeptConsent};

/// For how long a choice counts: a year.
pub const LIFE: Duration = Duration::from_secs(365 * 86_400);

/// In seconds.
const DAY: u64 = 86_400;

/// How far ahead the clock of the node may have been that made it.
const SKEW: Duration = Duration::from_secs(60);

/// No choice is longer: 5 + 10 + 20 digits, 3 letters, 43 characters, and 4 dots.
const LONGEST: usize = 85;

/// What somebody chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieConsent {
    /// To which version of the policy.
    pub version: u32,
    /// When, in whole seconds. The cookie says the day alone.
    pub at: Timestamp,
    /// What they agreed to.
    pub agreed: Agreed,
}

impl CookieConsent {
    /// The same, as its cookie says it: at the start of its day.
    #[must_use]
    pub const fn of_day(self) -> Self {
        let secs = self.at.secs();
        Self { at: Timestamp::from_secs(secs - secs % DAY), ..self }
    }
}

/// Signs choices, and checks whether it was us who did.
#[derive(Clone)]
pub struct ConsentSeal {
    keys: Keys,
}

impl ConsentSeal {
    /// Signatures under these keys.
    #[must_use]
    pub const fn new(keys: Keys) -> Self {
        Self { keys }
    }

    /// The value of the cookie that says so.
    ///
    /// # Errors
    /// [`StoreError::Misused`] where there is no root secret.
    pub fn seal(&self, realm: &Realm, consent: &CookieConsent) -> Result<String, StoreError> {
        let root = self.keys.newest();
        let key = self.key(root, realm).ok_or_else(|| keys::missing("the choice of cookies"))?;
        let said = said(&consent.of_day());
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&key, said.as_bytes()));
        Ok(format!("{root}.{said}.{mac}"))
    }

    /// What a cookie says, where it was made here, to this version of the policy, and within a year.
    #[must_use]
    pub fn open(
        &self,
        realm: &Realm,
        value: &str,
        version: u32,
        now: Timestamp,
    ) -> Option<CookieConsent> {
        if value.len() > LONGEST {
            return None;
        }
        let (root, rest) = value.split_once('.')?;
        let (said_here, mac) = rest.rsplit_once('.')?;
        let mut parts = said_here.split('.');
        let (of, at, agreed) = (parts.next()?, parts.next()?, parts.next()?);
        let consent = CookieConsent {
            version: of.parse().ok()?,
            at: Timestamp::from_secs(at.parse().ok()?),
            agreed: Agreed::parse(agreed)?,
        };
        let number: u16 = root.parse().ok()?;
        // One choice has one spelling.
        if said(&consent) != said_here || number.to_string() != root {
            return None;
        }
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let key = self.key(number, realm)?;
        hmac::verify(&key, said_here.as_bytes(), &mac).ok()?;
        let is_current = consent.version == version
            && consent.at <= now + SKEW
            && now.secs().saturating_sub(consent.at.secs()) < LIFE.as_secs();
        is_current.then_some(consent)
    }

    fn key(&self, root: u16, realm: &Realm) -> Option<hmac::Key> {
        self.keys.key(root, &[b"cookie-consent", realm.as_str().as_bytes()])
    }
}

/// What is signed.
fn said(consent: &CookieConsent) -> String {
    format!("{}.{}.{}", consent.version, consent.at.secs(), consent.agreed)
}

impl fmt::Debug for ConsentSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsentSeal({:?})", self.keys)
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::Secret;

    use super::*;
    use crate::policy::Category;

    /// A day begins.
    const NOW: Timestamp = Timestamp::from_secs(1_795_219_200);

    fn seal(seed: u8) -> ConsentSeal {
        ConsentSeal::new(Keys::of_root(Secret::new([seed; 32])))
    }

    fn consent() -> CookieConsent {
        let agreed = Agreed::NOTHING.with(Category::Functional).with(Category::Analytics);
        CookieConsent { version: 2, at: NOW, agreed }
    }

    fn value() -> String {
        seal(1).seal(&Realm::default(), &consent()).unwrap()
    }

    fn open(value: &str) -> Option<CookieConsent> {
        seal(1).open(&Realm::default(), value, 2, NOW)
    }

    #[test]
    fn is_read_as_it_was_written_and_names_nobody() {
        let later = CookieConsent { at: NOW + Duration::from_secs(86_399), ..consent() };
        let (one, two) = (value(), seal(1).seal(&Realm::default(), &later).unwrap());
        assert_eq!(open(&one), Some(consent()));
        assert!(one.starts_with("1.2.1795219200.fa."), "{one}");
        assert_eq!(one, two, "whoever chose alike on one day has the same cookie");
    }

    #[test]
    fn any_change_makes_it_no_consent() {
        let value = value();
        for at in 0..value.len() {
            let mut altered = value.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(open(&altered), None, "altered at {at}");
        }
        for cut in 0..value.len() {
            assert_eq!(open(&value[..cut]), None, "cut at {cut}");
        }
        let (said, mac) = value.rsplit_once('.').unwrap();
        for forged in [
            format!("{value}A"),
            format!("{value}="),
            format!("0{value}"),
            format!("+{value}"),
            format!("\"{value}\""),
            format!("{said}m.{mac}"),
            format!("1.2.01795219200.fa.{mac}"),
            format!("1.2.1795219200.af.{mac}"),
            format!("1.2.1795219200.fa.x.{mac}"),
            format!("1.02.1795219200.fa.{mac}"),
            "1.2.1795219200.fam.".to_owned(),
            format!("1.2.{}.fa.{mac}", u128::MAX),
            "x".repeat(10_000),
            String::new(),
        ] {
            assert_eq!(open(&forged), None, "{forged}");
        }
    }

    #[test]
    fn is_of_one_installation_one_realm_and_one_purpose() {
        let value = value();
        let realm = Realm::default();
        assert_eq!(seal(2).open(&realm, &value, 2, NOW), None);
        assert_eq!(seal(1).open(&Realm::new("other").unwrap(), &value, 2, NOW), None);
    }

    #[test]
    fn counts_for_its_version_and_for_a_year() {
        let (realm, value) = (Realm::default(), value());
        for version in [0, 1, 3, u32::MAX] {
            assert_eq!(seal(1).open(&realm, &value, version, NOW), None, "{version}");
        }
        let last = NOW + (LIFE - Duration::from_secs(1));
        assert!(seal(1).open(&realm, &value, 2, last).is_some());
        assert_eq!(seal(1).open(&realm, &value, 2, NOW + LIFE), None);
        let before = |secs| Timestamp::from_secs(NOW.secs() - secs);
        assert!(seal(1).open(&realm, &value, 2, before(60)).is_some());
        assert_eq!(seal(1).open(&realm, &value, 2, before(61)), None);
    }

    #[test]
    fn the_longest_choice_can_be_read() {
        let agreed = Category::CHOSEN.into_iter().fold(Agreed::NOTHING, Agreed::with);
        let at = Timestamp::from_secs(99_999_964_800);
        let consent = CookieConsent { version: u32::MAX, at, agreed };
        let value = seal(1).seal(&Realm::default(), &consent).unwrap();
        assert_eq!(seal(1).open(&Realm::default(), &value, u32::MAX, at), Some(consent));
    }
}
