//! Nonces that a server asks proofs to carry (RFC 9449 §8, §9): then a proof cannot have been made
//! long before it is shown. None is stored: a nonce is a keyed digest of the window of time that it
//! was given in, which every node of an installation can make again.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{Realm, Secret, Timestamp, secret};

use crate::root::Roots;

/// How long a nonce is the one that is given out. It counts for as long again.
const SPAN: Duration = Duration::from_secs(300);

/// How much of the digest a nonce shows.
const LENGTH: usize = 24;

/// The nonces of a realm.
#[derive(Clone)]
pub struct DpopNonces(hmac::Key);

/// How far a nonce is through its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceAge {
    /// It is the one that is given out.
    Current,
    /// It counts still, and whoever has it should be given the current one.
    Ending,
}

impl DpopNonces {
    /// The nonces of a realm, with the newest of the root secrets of the purpose `dpop-nonce`.
    /// `None`: there is none.
    #[must_use]
    pub fn new(roots: &Roots, realm: &Realm) -> Option<Self> {
        let parts: [&[u8]; 2] = [b"dpop nonce", realm.as_str().as_bytes()];
        roots.secret(roots.newest(), &parts).map(|secret| Self::under(&secret))
    }

    /// The nonces under a secret, which whoever knows it can make.
    #[must_use]
    pub fn under(secret: &Secret<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// The nonce to give out.
    #[must_use]
    pub fn current(&self, now: Timestamp) -> String {
        self.of(window(now))
    }

    /// Whether a nonce counts. `None`: it is too old, or was never given out here.
    #[must_use]
    pub fn age(&self, nonce: &str, now: Timestamp) -> Option<NonceAge> {
        let window = window(now);
        let is = |of: u64| secret::matches(self.of(of).as_bytes(), nonce.as_bytes());
        // Another node's clock may be in the next window already.
        if is(window) || is(window + 1) {
            return Some(NonceAge::Current);
        }
        window.checked_sub(1).filter(|before| is(*before)).map(|_| NonceAge::Ending)
    }

    fn of(&self, window: u64) -> String {
        let tag = hmac::sign(&self.0, &window.to_be_bytes());
        URL_SAFE_NO_PAD.encode(tag.as_ref().get(..LENGTH).unwrap_or_default())
    }
}

fn window(now: Timestamp) -> u64 {
    now.secs() / SPAN.as_secs()
}

impl std::fmt::Debug for DpopNonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DpopNonces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces(seed: u8) -> DpopNonces {
        DpopNonces::new(&Roots::for_tests(seed), &Realm::default()).unwrap()
    }

    #[test]
    fn counts_in_its_window_and_in_the_next_and_then_no_more() {
        let nonces = nonces(1);
        let at = |secs: u64| Timestamp::from_secs(300 * 1000 + secs);
        let nonce = nonces.current(at(10));
        assert_eq!(nonces.age(&nonce, at(0)), Some(NonceAge::Current));
        assert_eq!(nonces.age(&nonce, at(299)), Some(NonceAge::Current));
        assert_eq!(nonces.age(&nonce, at(300)), Some(NonceAge::Ending));
        assert_eq!(nonces.age(&nonce, at(599)), Some(NonceAge::Ending));
        assert_eq!(nonces.age(&nonce, at(600)), None);
        assert_ne!(nonces.current(at(300)), nonce);
    }

    #[test]
    fn a_node_whose_clock_is_behind_takes_what_another_gave() {
        let nonces = nonces(1);
        let ahead = nonces.current(Timestamp::from_secs(300 * 1000));
        let behind = Timestamp::from_secs(300 * 1000 - 1);
        assert_eq!(nonces.age(&ahead, behind), Some(NonceAge::Current));
    }

    #[test]
    fn those_of_another_installation_and_other_texts_do_not_count() {
        let now = Timestamp::from_secs(1_767_225_600);
        let theirs = nonces(2).current(now);
        assert_eq!(nonces(1).age(&theirs, now), None);
        let own = nonces(1).current(now);
        for bad in ["", "a", &own[1..], &format!("{own}="), &own.to_ascii_lowercase()] {
            assert_eq!(nonces(1).age(bad, now), None, "{bad}");
        }
    }
}
