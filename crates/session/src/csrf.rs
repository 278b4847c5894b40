//! Tokens that only our own pages know: a request that carries one was made by them.
//!
//! A token is an HMAC over what it belongs to, masked anew for every answer:
//!
//! ```text
//! 1.<86 characters: mask ‖ (HMAC xor mask)>
//! └ root secret
//! ```
//!
//! The mask makes every answer's token look different, so that its letters cannot be guessed one by
//! one from the length of compressed answers (BREACH). Nothing is stored: any node checks what any
//! other gave.
//!
//! Before sign-in there is no session for a token to belong to. The sign-in form's token belongs to
//! a random cookie instead, so that nobody can make another's browser sign in to an account of the
//! attacker's. Whoever could plant a cookie in that browser could plant one whose token they were
//! given; the `__Host-` prefix keeps even neighbouring subdomains from that.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{Entropy, Realm, Secret, SessionId, StoreError};

use crate::keys::{self, Keys};

mod presence;

/// The length of an HMAC-SHA-256, and of a mask.
const LENGTH: usize = 32;

/// Makes and checks CSRF tokens.
#[derive(Debug, Clone)]
pub struct Csrf {
    keys: Keys,
}

/// A CSRF token, as it is given out: in a `<meta>` tag, a form's hidden field, a JSON answer.
#[derive(Clone, PartialEq, Eq)]
pub struct CsrfToken(String);

/// What a form before sign-in needs.
#[derive(Debug, Clone)]
pub struct FormTicket {
    /// The value of the cookie. A browser that has one keeps it, or its other tabs would lose
    /// theirs.
    pub cookie: Secret<String>,
    /// The hidden field.
    pub token: CsrfToken,
}

impl Csrf {
    /// Tokens under these keys.
    #[must_use]
    pub const fn new(keys: Keys) -> Self {
        Self { keys }
    }

    /// A token for the scripts of a session.
    ///
    /// # Errors
    /// [`StoreError::Misused`] where there is no root secret.
    pub fn of_session(
        &self,
        realm: &Realm,
        sid: &SessionId,
        entropy: &dyn Entropy,
    ) -> Result<CsrfToken, StoreError> {
        self.make(b"csrf-session", realm, sid.as_str(), entropy)
    }

    /// Whether a token was made for this session, of whatever generation.
    #[must_use]
    pub fn is_of_session(&self, realm: &Realm, sid: &SessionId, token: &str) -> bool {
        self.check(b"csrf-session", realm, sid.as_str(), token)
    }

    /// A token for the forms of our own pages in a session. It is another than that of scripts
    /// ([`Self::of_session`]): whatever page of the origin may ask for that one, and none for this.
    ///
    /// # Errors
    /// As [`Self::of_session`].
    pub fn of_page(
        &self,
        realm: &Realm,
        sid: &SessionId,
        entropy: &dyn Entropy,
    ) -> Result<CsrfToken, StoreError> {
        self.make(b"csrf-page", realm, sid.as_str(), entropy)
    }

    /// Whether a token was made for the forms of this session, of whatever generation.
    #[must_use]
    pub fn is_of_page(&self, realm: &Realm, sid: &SessionId, token: &str) -> bool {
        self.check(b"csrf-page", realm, sid.as_str(), token)
    }

    /// A cookie and a token for a form before sign-in. `cookie` is the one that the browser sent,
    /// which is kept if it can be one of ours.
    ///
    /// # Errors
    /// As [`Self::of_session`].
    pub fn of_form(
        &self,
        realm: &Realm,
        cookie: Option<&str>,
        entropy: &dyn Entropy,
    ) -> Result<FormTicket, StoreError> {
        let cookie = cookie.filter(|it| is_ticket(it)).map_or_else(
            || {
                let mut bytes = [0_u8; LENGTH];
                entropy.fill(&mut bytes);
                URL_SAFE_NO_PAD.encode(bytes)
            },
            str::to_owned,
        );
        let token = self.make(b"csrf-form", realm, &cookie, entropy)?;
        Ok(FormTicket { cookie: Secret::new(cookie), token })
    }

    /// Whether a form's token was made for the cookie that came with it.
    #[must_use]
    pub fn is_of_form(&self, realm: &Realm, cookie: &str, token: &str) -> bool {
        is_ticket(cookie) && self.check(b"csrf-form", realm, cookie, token)
    }

    fn make(
        &self,
        purpose: &[u8],
        realm: &Realm,
        owner: &str,
        entropy: &dyn Entropy,
    ) -> Result<CsrfToken, StoreError> {
        let root = self.keys.newest();
        let key = self.key(root, purpose, realm).ok_or_else(|| keys::missing("CSRF tokens"))?;
        let mac = hmac::sign(&key, owner.as_bytes());
        let mut mask = [0_u8; LENGTH];
        entropy.fill(&mut mask);
        let masked = mac.as_ref().iter().zip(mask).map(|(byte, mask)| byte ^ mask);
        let bytes: Vec<u8> = mask.into_iter().chain(masked).collect();
        Ok(CsrfToken(format!("{root}.{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    fn check(&self, purpose: &[u8], realm: &Realm, owner: &str, token: &str) -> bool {
        let Some((root, mac)) = unmask(token) else { return false };
        self.key(root, purpose, realm)
            .is_some_and(|key| hmac::verify(&key, owner.as_bytes(), &mac).is_ok())
    }

    fn key(&self, root: u16, purpose: &[u8], realm: &Realm) -> Option<hmac::Key> {
        self.keys.key(root, &[purpose, realm.as_str().as_bytes()])
    }
}

/// The root number and the HMAC of a token.
fn unmask(token: &str) -> Option<(u16, Vec<u8>)> {
    // Five digits, a dot, and 64 bytes as base64url: whatever is longer is not looked at.
    let (root, body) = token.split_once('.').filter(|_| token.len() <= 5 + 1 + 86)?;
    let canonical = root.bytes().all(|byte| byte.is_ascii_digit()) && !root.starts_with('0');
    let root = root.parse().ok().filter(|_| canonical)?;
    let bytes = URL_SAFE_NO_PAD.decode(body).ok()?;
    let (mask, masked) = bytes.split_at_checked(LENGTH).filter(|(_, it)| it.len() == LENGTH)?;
    Some((root, mask.iter().zip(masked).map(|(mask, byte)| mask ^ byte).collect()))
}

/// Whether a cookie can be one of ours: 256 bits as base64url.
fn is_ticket(cookie: &str) -> bool {
    URL_SAFE_NO_PAD.decode(cookie).is_ok_and(|bytes| bytes.len() == LENGTH)
}

impl CsrfToken {
    /// The token, as it is written into pages and answers.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CsrfToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::{Epoch, SeededEntropy, Timestamp};

    use super::*;

    fn csrf(seed: u8) -> Csrf {
        Csrf::new(Keys::of_root(Secret::new([seed; 32])))
    }

    fn sid(seed: u64) -> SessionId {
        SessionId::generate(Epoch::FIRST, Timestamp::from_secs(1), &SeededEntropy::new(seed))
    }

    #[test]
    fn is_good_for_its_session_alone() {
        let (realm, entropy) = (Realm::default(), SeededEntropy::new(1));
        let token = csrf(1).of_session(&realm, &sid(1), &entropy).unwrap();
        assert!(csrf(1).is_of_session(&realm, &sid(1), token.as_str()));
        assert!(!csrf(1).is_of_session(&realm, &sid(2), token.as_str()));
        assert!(!csrf(1).is_of_session(&Realm::new("other").unwrap(), &sid(1), token.as_str()));
        assert!(!csrf(2).is_of_session(&realm, &sid(1), token.as_str()));
        assert!(!csrf(1).is_of_form(&realm, sid(1).as_str(), token.as_str()));
    }

    #[test]
    fn what_scripts_are_given_is_of_no_use_for_forms() {
        let (realm, entropy) = (Realm::default(), SeededEntropy::new(7));
        let script = csrf(1).of_session(&realm, &sid(1), &entropy).unwrap();
        let page = csrf(1).of_page(&realm, &sid(1), &entropy).unwrap();
        assert!(csrf(1).is_of_page(&realm, &sid(1), page.as_str()));
        assert!(!csrf(1).is_of_page(&realm, &sid(1), script.as_str()));
        assert!(!csrf(1).is_of_session(&realm, &sid(1), page.as_str()));
        assert!(!csrf(1).is_of_page(&realm, &sid(2), page.as_str()));
    }

    #[test]
    fn no_two_answers_share_more_of_it_than_chance() {
        let (realm, entropy) = (Realm::default(), SeededEntropy::new(2));
        let make = || csrf(1).of_session(&realm, &sid(1), &entropy).unwrap().0;
        let (one, two) = (make(), make());
        let same = one.bytes().zip(two.bytes()).skip(2).filter(|(a, b)| a == b).count();
        assert!(same < 10, "{same} of 86 characters are the same");
        for token in [one, two] {
            assert!(csrf(1).is_of_session(&realm, &sid(1), &token));
        }
    }

    #[test]
    fn any_change_makes_it_worthless() {
        let (realm, entropy) = (Realm::default(), SeededEntropy::new(3));
        let token = csrf(1).of_session(&realm, &sid(1), &entropy).unwrap().0;
        for at in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(!csrf(1).is_of_session(&realm, &sid(1), &altered), "altered at {at}");
        }
        let zeros = format!("1.{}", "A".repeat(86));
        for bad in ["", ".", "1.", "1.AAAA", &zeros, &format!("0{token}"), &format!("{token}=")] {
            assert!(!csrf(1).is_of_session(&realm, &sid(1), bad), "{bad}");
        }
    }

    #[test]
    fn a_form_belongs_to_the_cookie_it_was_given_with() {
        let (realm, entropy) = (Realm::default(), SeededEntropy::new(4));
        let mine = csrf(1).of_form(&realm, None, &entropy).unwrap();
        let theirs = csrf(1).of_form(&realm, None, &entropy).unwrap();
        let check = |cookie: &FormTicket, token: &FormTicket| {
            csrf(1).is_of_form(&realm, cookie.cookie.expose(), token.token.as_str())
        };
        assert!(check(&mine, &mine) && check(&theirs, &theirs));
        assert!(!check(&mine, &theirs) && !check(&theirs, &mine));
        let again = csrf(1).of_form(&realm, Some(mine.cookie.expose()), &entropy).unwrap();
        assert!(check(&mine, &again), "a second tab keeps the first one's cookie");
    }

    #[test]
    fn takes_no_cookie_for_a_form_that_it_did_not_make_the_like_of() {
        let (realm, entropy) = (Realm::default(), SeededEntropy::new(5));
        for cookie in ["", "a", "null", &"A".repeat(42), &"A".repeat(44), &"é".repeat(43)] {
            let ticket = csrf(1).of_form(&realm, Some(cookie), &entropy).unwrap();
            assert_ne!(ticket.cookie.expose(), cookie);
            assert!(!csrf(1).is_of_form(&realm, cookie, ticket.token.as_str()));
        }
    }

    #[test]
    fn never_prints_itself() {
        let ticket = csrf(1).of_form(&Realm::default(), None, &SeededEntropy::new(6)).unwrap();
        let printed = format!("{ticket:?}");
        assert!(!printed.contains(ticket.token.as_str()), "{printed}");
        assert!(!printed.contains(ticket.cookie.expose()), "{printed}");
    }
}
