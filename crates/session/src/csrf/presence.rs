//! Proofs of presence: a person showed a moment ago who they are, for one thing that they were asked.
//!
//! A form of ours tells what page sent it, and not who sits there: whatever script runs on our own origin
//! may send it in the person's name. So what lasts (a device, a client) asks for something that no script
//! has, a password or a second factor, and this stands for it on the way from one page to the next:
//!
//! ```text
//! 1.1767225900.<43 characters: HMAC over end, session and thing>
//! │ └ when it ends, in seconds
//! └ root secret
//! ```
//!
//! It is no secret: nobody else's session may show it, for nothing else, and for minutes only.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{Realm, SessionId, StoreError, Timestamp};

use super::Csrf;
use crate::keys;

const PURPOSE: &[u8] = b"presence";

/// What is longer is not looked at: five digits, twenty, 43 letters, and two dots.
const LONGEST: usize = 5 + 1 + 20 + 1 + 43;

impl Csrf {
    /// What stands for a proof that the person of a session gave for `thing`, from `now` on for `life`.
    ///
    /// # Errors
    /// [`StoreError::Misused`] where there is no root secret.
    pub fn present_for(
        &self,
        realm: &Realm,
        sid: &SessionId,
        thing: &str,
        (now, life): (Timestamp, Duration),
    ) -> Result<String, StoreError> {
        let (root, end) = (self.keys.newest(), (now + life).secs());
        let key = self.key(root, PURPOSE, realm).ok_or_else(|| keys::missing("presence"))?;
        let mac = hmac::sign(&key, &message(end, sid, thing));
        Ok(format!("{root}.{end}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref())))
    }

    /// Whether the person of a session proved who they are for `thing`, and it still counts.
    #[must_use]
    pub fn is_present_for(
        &self,
        realm: &Realm,
        sid: &SessionId,
        thing: &str,
        (shown, now): (&str, Timestamp),
    ) -> bool {
        let read = || {
            let mut parts = Some(shown).filter(|it| it.len() <= LONGEST)?.splitn(3, '.');
            let (root, end) = (parts.next()?.parse().ok()?, parts.next()?.parse::<u64>().ok()?);
            let mac = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
            Some((self.key(root, PURPOSE, realm)?, end, mac))
        };
        read().is_some_and(|(key, end, mac)| {
            now.secs() < end && hmac::verify(&key, &message(end, sid, thing), &mac).is_ok()
        })
    }
}

/// INVARIANT: no two things give the same bytes; the identifier of a session has no zero byte.
fn message(end: u64, sid: &SessionId, thing: &str) -> Vec<u8> {
    [&end.to_be_bytes()[..], sid.as_str().as_bytes(), &[0], thing.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use tegata_core::{Epoch, Secret, SeededEntropy};

    use super::*;
    use crate::keys::Keys;

    const LIFE: Duration = Duration::from_secs(300);

    fn csrf(seed: u8) -> Csrf {
        Csrf::new(Keys::of_root(Secret::new([seed; 32])))
    }

    fn sid(seed: u64) -> SessionId {
        SessionId::generate(Epoch::FIRST, Timestamp::from_secs(1), &SeededEntropy::new(seed))
    }

    #[test]
    fn counts_for_one_thing_of_one_session_and_for_minutes() {
        let (realm, now) = (Realm::default(), Timestamp::from_secs(1_000));
        let shown = csrf(1).present_for(&realm, &sid(1), "request a", (now, LIFE)).unwrap();
        let counts = |csrf: &Csrf, realm: &Realm, sid: &SessionId, thing: &str, at: u64| {
            csrf.is_present_for(realm, sid, thing, (&shown, Timestamp::from_secs(at)))
        };
        assert!(counts(&csrf(1), &realm, &sid(1), "request a", 1_000));
        assert!(counts(&csrf(1), &realm, &sid(1), "request a", 1_299));
        assert!(!counts(&csrf(1), &realm, &sid(1), "request a", 1_300));
        assert!(!counts(&csrf(1), &realm, &sid(1), "request b", 1_000));
        assert!(!counts(&csrf(1), &realm, &sid(1), "device a", 1_000));
        assert!(!counts(&csrf(1), &realm, &sid(2), "request a", 1_000));
        assert!(!counts(&csrf(2), &realm, &sid(1), "request a", 1_000));
        assert!(!counts(&csrf(1), &Realm::new("other").unwrap(), &sid(1), "request a", 1_000));
    }

    #[test]
    fn any_change_makes_it_worthless() {
        let (realm, now) = (Realm::default(), Timestamp::from_secs(1_000));
        let shown = csrf(1).present_for(&realm, &sid(1), "thing", (now, LIFE)).unwrap();
        let counts = |shown: &str| csrf(1).is_present_for(&realm, &sid(1), "thing", (shown, now));
        assert!(counts(&shown));
        for at in 0..shown.len() {
            let mut altered = shown.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            assert!(!counts(&String::from_utf8(altered).unwrap()), "altered at {at}");
        }
        let mac = shown.rsplit_once('.').unwrap().1;
        let later = format!("1.9999999999.{mac}");
        let long = format!("{shown}{}", "A".repeat(100));
        for bad in ["", ".", "..", "1.", "1.1300", "1.1300.", &later, &long, "2.1300.AAAA"] {
            assert!(!counts(bad), "{bad}");
        }
    }
}
