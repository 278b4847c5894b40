//! Challenges that passkeys sign, so that what they signed cannot have been made before, for another
//! page, or for another step.
//!
//! None is stored when it is given out: everybody may ask for one. A challenge is the time, something
//! random, and a keyed digest of both and of what it is for, which every node of an installation can
//! make again. That it was used is kept, by whoever takes what was signed.

use std::time::Duration;

use aws_lc_rs::hmac;
use tegata_core::{Entropy, Realm, Secret, Timestamp};

/// How long a challenge counts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

/// How far the clocks of two nodes may be apart.
pub(crate) const CLOCKS_APART: Duration = Duration::from_secs(120);

const TIME: usize = 8;
const RANDOM: usize = 16;
const TAG: usize = 32;

/// Makes challenges, and knows them again.
#[derive(Clone)]
pub(super) struct Challenges(hmac::Key);

/// What a challenge is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// To sign in with the passkey alone, in this browser.
    Alone { browser: &'a str },
    /// To follow a password: the sign-in, and the browser.
    Second { sign_in: &'a str, browser: &'a str },
    /// To show once more who somebody is, in this session.
    Again { session: &'a str },
}

impl Challenges {
    pub(super) fn under(secret: &Secret<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    pub(super) fn make(
        &self,
        realm: &Realm,
        purpose: &Purpose<'_>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Vec<u8> {
        let mut random = [0; RANDOM];
        entropy.fill(&mut random);
        let open = [now.millis().to_be_bytes().as_slice(), &random].concat();
        let tag = hmac::sign(&self.0, &message(realm, purpose, &open));
        [open.as_slice(), tag.as_ref()].concat()
    }

    /// Whether a challenge was made here for this, and not long ago.
    pub(super) fn knows(
        &self,
        challenge: &[u8],
        realm: &Realm,
        purpose: &Purpose<'_>,
        now: Timestamp,
    ) -> bool {
        let Some((open, tag)) = challenge.split_at_checked(TIME + RANDOM) else { return false };
        if tag.len() != TAG || hmac::verify(&self.0, &message(realm, purpose, open), tag).is_err() {
            return false;
        }
        let made = open.first_chunk::<TIME>().copied().map(u64::from_be_bytes);
        let made = Timestamp::from_millis(made.unwrap_or_default());
        // Another node's clock may be ahead of this one's.
        now.since(made) < LIFETIME && made.since(now) <= CLOCKS_APART
    }
}

/// What is digested: each part after its length, so that none runs into the next.
fn message(realm: &Realm, purpose: &Purpose<'_>, open: &[u8]) -> Vec<u8> {
    let parts = match purpose {
        Purpose::Alone { browser } => vec!["alone", browser],
        Purpose::Second { sign_in, browser } => vec!["second", sign_in, browser],
        Purpose::Again { session } => vec!["again", session],
    };
    let parts = [realm.as_str()].into_iter().chain(parts).map(str::as_bytes).chain([open]);
    let length = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes();
    parts.flat_map(|part| [length(part).as_slice(), part].concat()).collect()
}

#[cfg(test)]
mod tests {
    use tegata_core::SeededEntropy;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

    fn challenges(seed: u8) -> Challenges {
        Challenges::under(&Secret::new([seed; 32]))
    }

    #[test]
    fn counts_for_what_it_was_made_for_and_for_five_minutes() {
        let (one, realm, entropy) = (challenges(1), Realm::default(), SeededEntropy::new(1));
        let here = Purpose::Alone { browser: "b" };
        let made = one.make(&realm, &here, NOW, &entropy);
        let at = |secs: u64| Timestamp::from_secs(NOW.secs() + secs);
        assert!(one.knows(&made, &realm, &here, NOW));
        assert!(one.knows(&made, &realm, &here, at(299)));
        assert!(!one.knows(&made, &realm, &here, at(300)));
        // A node whose clock is behind, and one that is too far behind.
        assert!(one.knows(&made, &realm, &here, NOW - CLOCKS_APART));
        let long_before = NOW - CLOCKS_APART - Duration::from_secs(1);
        assert!(!one.knows(&made, &realm, &here, long_before));
        for other in [
            Purpose::Alone { browser: "c" },
            Purpose::Again { session: "b" },
            Purpose::Second { sign_in: "b", browser: "" },
            Purpose::Second { sign_in: "", browser: "b" },
        ] {
            assert!(!one.knows(&made, &realm, &other, NOW), "{other:?}");
        }
        assert!(!one.knows(&made, &Realm::new("other").unwrap(), &here, NOW));
        assert!(!challenges(2).knows(&made, &realm, &here, NOW));
    }

    #[test]
    fn no_two_are_the_same_and_any_change_makes_one_worthless() {
        let (one, realm, entropy) = (challenges(1), Realm::default(), SeededEntropy::new(1));
        let here = Purpose::Alone { browser: "b" };
        let made = one.make(&realm, &here, NOW, &entropy);
        assert_ne!(made, one.make(&realm, &here, NOW, &entropy));
        for at in 0..made.len() {
            let mut altered = made.clone();
            altered[at] ^= 1;
            assert!(!one.knows(&altered, &realm, &here, NOW), "altered at {at}");
            assert!(!one.knows(&made[..at], &realm, &here, NOW), "cut at {at}");
        }
        assert!(!one.knows(&[made, vec![0]].concat(), &realm, &here, NOW));
    }
}
