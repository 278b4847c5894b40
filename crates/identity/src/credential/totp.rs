//! Time-based one-time passwords (RFC 6238): what authenticator apps show, 6 digits for 30 s.
//!
//! The code of the present step counts, and that of the step before, for those who are slow to
//! type (RFC 6238 §5.2). Each step counts once: the record keeps the last that was used, and no
//! step up to it counts again. So somebody who saw a code being typed has no use for it.

use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tegata_core::{Entropy, Secret, Timestamp, secret};

use super::base32;

/// For how many seconds a code is shown.
const PERIOD: u64 = 30;

/// How many digits a code has.
pub(super) const DIGITS: usize = 6;

/// The bytes of a secret: 160 bits, as RFC 4226 §4 recommends.
const LENGTH: usize = 20;

/// What an authenticator app and this program both know.
#[derive(Clone)]
pub struct TotpSecret(Secret<[u8; LENGTH]>);

/// A code, as digits of ASCII.
pub(crate) type Digits = [u8; DIGITS];

/// An authenticator app of a person, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Totp {
    pub(crate) secret: TotpSecret,
    /// Since when.
    pub(crate) added: Timestamp,
    /// The last step that was used. No step up to it counts again.
    pub(crate) used: u64,
}

impl TotpSecret {
    /// A new secret.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; LENGTH];
        entropy.fill(&mut bytes);
        Self(Secret::new(bytes))
    }

    /// Reads a secret in base32. `None`: it is none of ours.
    #[must_use]
    pub fn from_base32(text: &str) -> Option<Self> {
        let bytes = base32::decode(text)?;
        bytes.try_into().ok().map(|bytes| Self(Secret::new(bytes)))
    }

    /// The secret in base32, as people type it into an app.
    #[must_use]
    pub fn to_base32(&self) -> Secret<String> {
        Secret::new(base32::encode(self.0.expose()))
    }

    /// The secret as an address that authenticator apps open, and read from a QR code. `issuer` is
    /// who asks for the codes, `account` whose they are.
    #[must_use]
    pub fn to_uri(&self, issuer: &str, account: &str) -> Secret<String> {
        let (issuer, account) = (percent_encoded(issuer), percent_encoded(account));
        // Apps take these values for granted; SHA-1, because some ignore every other.
        Secret::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1\
             &digits={DIGITS}&period={PERIOD}",
            self.to_base32().expose()
        ))
    }

    /// The code that an app shows at `now`: for whoever plays the app.
    #[must_use]
    pub fn code_at(&self, now: Timestamp) -> String {
        self.code(now.secs() / PERIOD).into_iter().map(char::from).collect()
    }

    /// The step that `code` is of: the present one or the one before, if it is later than `used`.
    /// Every code that could count is compared, whichever it is.
    pub(crate) fn step_of(&self, code: &Digits, now: Timestamp, used: u64) -> Option<u64> {
        let present = now.secs() / PERIOD;
        let mut found = None;
        for step in [present.saturating_sub(1), present] {
            let is_it = secret::matches(&self.code(step), code);
            if is_it && step > used {
                found = Some(step);
            }
        }
        found
    }

    /// The code of a step (RFC 4226 §5.3).
    fn code(&self, step: u64) -> Digits {
        // What makes SHA-1 unfit for signatures, collisions, does not help to guess an HMAC
        // (RFC 6194 §3.3); and it is the one that all apps know.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.expose());
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let at = tag.last().map_or(0, |last| usize::from(last & 0x0f));
        let four = tag.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
        let mut number = u32::from_be_bytes(four) & 0x7fff_ffff;
        let mut digits = [b'0'; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
        digits
    }
}

impl Totp {
    /// The same after `code` was used. `None`: the code does not count.
    pub(crate) fn after(&self, code: &Digits, now: Timestamp) -> Option<Self> {
        let used = self.secret.step_of(code, now, self.used)?;
        Some(Self { used, ..self.clone() })
    }
}

/// A part of an address, with everything encoded that could end it.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

impl Serialize for TotpSecret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.expose().serialize(to)
    }
}

impl<'de> Deserialize<'de> for TotpSecret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <[u8; LENGTH]>::deserialize(from).map(|bytes| Self(Secret::new(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::SeededEntropy;

    use super::*;

    /// The secret of RFC 6238, appendix B.
    fn published() -> TotpSecret {
        TotpSecret(Secret::new(*b"12345678901234567890"))
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn shown(secret: &TotpSecret, secs: u64) -> Digits {
        secret.code(secs / PERIOD)
    }

    #[test]
    fn makes_the_codes_that_the_standard_makes() {
        // RFC 6238, appendix B; of its eight digits, the last six.
        for (secs, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(published().code_at(at(secs)), code, "{secs}");
        }
    }

    #[test]
    fn takes_the_present_step_and_the_one_before_and_no_other() {
        let (secret, now) = (published(), 1_000_000_000);
        for (shown_at, counts) in [
            (now, true),
            (now - PERIOD, true),
            (now - 2 * PERIOD, false),
            (now - 3 * PERIOD, false),
            (now + PERIOD, false),
            (0, false),
        ] {
            let found = secret.step_of(&shown(&secret, shown_at), at(now), 0);
            assert_eq!(found, counts.then_some(shown_at / PERIOD), "{shown_at}");
        }
    }

    #[test]
    fn a_step_counts_once_and_no_earlier_one_after_it() {
        let (secret, now) = (published(), 1_000_000_000);
        let totp = Totp { secret: secret.clone(), added: at(0), used: 0 };
        let after = totp.after(&shown(&secret, now), at(now)).unwrap();
        for earlier in [now, now - PERIOD] {
            assert!(after.after(&shown(&secret, earlier), at(now)).is_none());
            assert!(after.after(&shown(&secret, earlier), at(now + PERIOD)).is_none());
        }
        let before = totp.after(&shown(&secret, now - PERIOD), at(now)).unwrap();
        assert!(before.after(&shown(&secret, now), at(now)).is_some(), "the next one is not spent");
        // A clock that was set back takes nothing twice.
        assert!(after.after(&shown(&secret, now - 600), at(now - 600)).is_none());
    }

    #[test]
    fn two_people_have_different_codes() {
        let (one, two) = (SeededEntropy::new(1), SeededEntropy::new(2));
        let (one, two) = (TotpSecret::generate(&one), TotpSecret::generate(&two));
        assert_eq!(one.step_of(&shown(&two, 3000), at(3000), 0), None);
    }

    #[test]
    fn apps_are_given_all_they_need() {
        let uri = published().to_uri("Shop: é", "alice@shop.example");
        assert_eq!(
            uri.expose(),
            "otpauth://totp/Shop%3A%20%C3%A9:alice%40shop.example?\
             secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Shop%3A%20%C3%A9&algorithm=SHA1\
             &digits=6&period=30"
        );
        let again = TotpSecret::from_base32("gezd gnbv gy3t qojq gezd gnbv gy3t qojq").unwrap();
        assert_eq!(again.code_at(at(59)), "287082");
        for bad in ["", "GEZDGNBV", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGE", "0189"] {
            assert!(TotpSecret::from_base32(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn never_prints_itself_and_is_stored_as_it_always_was() {
        let totp = Totp { secret: published(), added: at(1), used: 7 };
        let printed = format!("{totp:?}");
        assert!(!printed.contains("49, 50") && printed.contains("TotpSecret(…)"), "{printed}");
        let json = serde_json::to_value(&totp).unwrap();
        assert_eq!(json["secret"][0], 49);
        let back: Totp = serde_json::from_value(json).unwrap();
        assert_eq!((back.secret.code_at(at(59)).as_str(), back.used), ("287082", 7));
    }
}
