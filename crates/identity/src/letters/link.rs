//! The text of a link, and of a code that people type.

use std::{fmt, sync::Arc};

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{Epoch, Realm, Secret, StoreError};
use unicode_normalization::UnicodeNormalization as _;

use super::Derive;

/// The bytes of an HMAC that stand in a link: 128 bits.
const SHOWN: usize = 16;

/// The longest link that is looked at.
const LONGEST: usize = 128;

/// The characters of a code: 50 bits.
const CODE: usize = 10;

/// Digits and letters that nobody takes for another (Crockford's base 32).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What links and codes are made with: keys derived from a root secret, which stays with its owner.
#[derive(Clone)]
pub struct Keys(Arc<Derive>);

impl Keys {
    /// Keys that `derive` makes of parts; no two lists of parts may give the same key.
    pub fn new(derive: impl Fn(&[&[u8]]) -> Option<hmac::Key> + Send + Sync + 'static) -> Self {
        Self(Arc::new(derive))
    }

    /// What the link of the letter with this key carries.
    ///
    /// # Errors
    /// There is no root secret.
    pub fn link(&self, realm: &Realm, key: &str) -> Result<Secret<String>, StoreError> {
        let tag = self.tag(b"link", realm, key)?;
        let shown = tag.as_ref().get(..SHOWN).unwrap_or_default();
        Ok(Secret::new(format!("{key}.{}", URL_SAFE_NO_PAD.encode(shown))))
    }

    /// The key of the letter whose link this is. `None`: it is none of ours, or of another epoch.
    ///
    /// # Errors
    /// There is no root secret.
    pub fn read(
        &self,
        realm: &Realm,
        epoch: Epoch,
        typed: &str,
    ) -> Result<Option<String>, StoreError> {
        let typed = typed.trim();
        if typed.len() > LONGEST {
            return Ok(None);
        }
        let Some((key, shown)) = typed.rsplit_once('.') else { return Ok(None) };
        let tag = self.tag(b"link", realm, key)?;
        let shown = URL_SAFE_NO_PAD.decode(shown).unwrap_or_default();
        let expected = tag.as_ref().get(..SHOWN).unwrap_or_default();
        let ours = constant_time::verify_slices_are_equal(expected, &shown).is_ok();
        let current = Epoch::leading(key) == Some(epoch);
        Ok((ours && current).then(|| key.to_owned()))
    }

    /// The code of the letter with this key.
    ///
    /// # Errors
    /// There is no root secret.
    pub fn code(&self, realm: &Realm, key: &str) -> Result<Secret<String>, StoreError> {
        let tag = self.tag(b"code", realm, key)?;
        // Each byte gives five bits: 256 is a multiple of 32, so each character is as likely.
        let of = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).copied().map_or('0', char::from);
        Ok(Secret::new(tag.as_ref().iter().take(CODE).map(of).collect()))
    }

    fn tag(&self, purpose: &[u8], realm: &Realm, key: &str) -> Result<hmac::Tag, StoreError> {
        let derived = (self.0)(&[b"letter", purpose, realm.as_str().as_bytes()]);
        let missing = || StoreError::Misused { detail: "there is no root secret for links".into() };
        Ok(hmac::sign(&derived.ok_or_else(missing)?, key.as_bytes()))
    }
}

/// A code as somebody typed it, in its one form. What cannot be one is an empty text.
#[must_use]
pub fn one_form(typed: &str) -> Secret<String> {
    let form = |c: char| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let typed = if typed.len() > LONGEST { "" } else { typed };
    Secret::new(typed.nfkc().filter(|c| !c.is_whitespace() && *c != '-').map(form).collect())
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn keys(seed: u8) -> Keys {
        Keys::new(move |parts| {
            let root = hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]);
            let mut context = hmac::Context::with_key(&root);
            parts.iter().for_each(|part| {
                context.update(&[u8::try_from(part.len()).unwrap()]);
                context.update(part);
            });
            Some(hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref()))
        })
    }

    const KEY: &str = "1.20000.AAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_link_is_good_in_its_realm_and_epoch_and_unaltered() {
        let (realm, link) = (Realm::default(), keys(1).link(&Realm::default(), KEY).unwrap());
        let read = |keys: &Keys, epoch, text: &str| keys.read(&realm, epoch, text).unwrap();
        assert_eq!(read(&keys(1), Epoch::FIRST, link.expose()).as_deref(), Some(KEY));
        let broken = format!(" {}\r\n", link.expose());
        assert_eq!(read(&keys(1), Epoch::FIRST, &broken).as_deref(), Some(KEY));
        assert_eq!(read(&keys(2), Epoch::FIRST, link.expose()), None);
        assert_eq!(read(&keys(1), Epoch(2), link.expose()), None);
        let other = Realm::new("other").unwrap();
        assert_eq!(keys(1).read(&other, Epoch::FIRST, link.expose()).unwrap(), None);
        for at in 0..link.expose().len() {
            let mut altered = link.expose().clone().into_bytes();
            altered[at] = if altered[at] == b'B' { b'C' } else { b'B' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(read(&keys(1), Epoch::FIRST, &altered), None, "altered at {at}");
        }
        for bad in ["", ".", KEY, &format!("{KEY}."), &"a.".repeat(100)] {
            assert_eq!(read(&keys(1), Epoch::FIRST, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code = keys(1).code(&Realm::default(), KEY).unwrap();
        assert_eq!(code.expose().len(), CODE);
        let (one, two) = code.expose().split_at(5);
        let spoken = format!(" {}-{} ", one.to_lowercase(), two);
        assert_eq!(one_form(&spoken).expose(), code.expose());
        assert_eq!(one_form("oil").expose(), "011");
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,200}") {
            prop_assert_eq!(keys(1).read(&Realm::default(), Epoch::FIRST, &text).unwrap(), None);
            let _ = one_form(&text);
        }
    }
}
