//! The form of what is sealed, and the keys that do it.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the form: 1 |
//! | 4 | the number of the data key, greatest byte first |
//! | 16 | a random salt |
//! | as many as were written | AES-256-GCM |
//! | 16 | its tag |
//!
//! The key of each write is HKDF-Expand with SHA-256 (RFC 5869 §2.3, one block) of the data key
//! over salt and place; each part of the place is preceded by its length, so that no two places
//! read the same. The nonce is zero, because a key seals one message: two writes of one place meet
//! with a probability below 2⁻⁶⁴ even after 2³² of them. The bytes before the ciphertext are its
//! associated data.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use tegata_core::{EventId, Log, Node, Realm, StoreError, port::Topic};
use zeroize::Zeroizing;

const FORM: u8 = 1;
const NUMBER_LEN: usize = 4;
const SALT_LEN: usize = 16;
const HEADER_LEN: usize = 1 + NUMBER_LEN + SALT_LEN;

/// A data key, ready to derive from.
pub(super) struct DataKey {
    pub(super) number: u32,
    key: hmac::Key,
}

/// Where something is stored. What was sealed for one place opens at no other.
pub(super) struct Place<'a> {
    scope: &'static str,
    realm: &'a str,
    name: &'static str,
    key: Key<'a>,
}

enum Key<'a> {
    Text(&'a str),
    Entry(EventId),
}

impl<'a> Place<'a> {
    pub(super) fn record(realm: &'a Realm, kind: &'static str, key: &'a str) -> Self {
        Self { scope: "record", realm: realm.as_str(), name: kind, key: Key::Text(key) }
    }

    pub(super) fn value(realm: &'a Realm, space: &'static str, key: &'a str) -> Self {
        Self { scope: "value", realm: realm.as_str(), name: space, key: Key::Text(key) }
    }

    pub(super) fn log(realm: &'a Realm, log: Log, id: EventId) -> Self {
        Self { scope: "log", realm: realm.as_str(), name: log.name(), key: Key::Entry(id) }
    }

    /// A message on a feed. It belongs to no realm: what it says names one.
    pub(super) const fn message(topic: Topic) -> Self {
        Self { scope: "message", realm: "", name: topic.name(), key: Key::Text("") }
    }

    /// What stands at this place is not what was written there.
    pub(super) fn corrupt(&self, detail: &str) -> StoreError {
        let key = match &self.key {
            Key::Text(text) => (*text).to_owned(),
            Key::Entry(id) => id.to_string(),
        };
        let (backend, detail) = ("the sealed store", detail.to_owned());
        StoreError::Corrupt { backend, kind: self.name, key, detail }
    }

    fn parts(&self) -> [&[u8]; 4] {
        let key = match &self.key {
            Key::Text(text) => text.as_bytes(),
            Key::Entry(id) => &id.0,
        };
        [self.scope.as_bytes(), self.realm.as_bytes(), self.name.as_bytes(), key]
    }
}

impl DataKey {
    pub(super) fn new(number: u32, bytes: &[u8; 32]) -> Self {
        Self { number, key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    /// Seals bytes for a place.
    pub(super) fn seal(
        &self,
        node: &Node,
        place: &Place<'_>,
        plain: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let mut salt = [0; SALT_LEN];
        node.entropy().fill(&mut salt);
        let header = [&[FORM], self.number.to_be_bytes().as_slice(), &salt].concat();
        let mut body = plain.to_vec();
        let tag = self
            .derive(&salt, place)
            .and_then(|key| {
                let header = Aad::from(header.as_slice());
                key.seal_in_place_separate_tag(nonce(), header, &mut body).ok()
            })
            .ok_or_else(|| StoreError::Misused { detail: "a body is too large to seal".into() })?;
        Ok([header.as_slice(), &body, tag.as_ref()].concat())
    }

    /// Opens what [`Self::seal`] made for the same place.
    pub(super) fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let altered = || place.corrupt("it was altered, or was sealed for another place or store");
        let (header, body) = sealed.split_first_chunk::<HEADER_LEN>().ok_or_else(altered)?;
        let salt = header.last_chunk::<SALT_LEN>().ok_or_else(altered)?;
        let mut opened = body.to_vec();
        let length = self
            .derive(salt, place)
            .and_then(|key| {
                let plain = key.open_in_place(nonce(), Aad::from(header), &mut opened).ok()?;
                Some(plain.len())
            })
            .ok_or_else(altered)?;
        opened.truncate(length);
        Ok(opened)
    }

    /// The key of one write.
    fn derive(&self, salt: &[u8; SALT_LEN], place: &Place<'_>) -> Option<LessSafeKey> {
        let mut info = hmac::Context::with_key(&self.key);
        info.update(b"tegata sealed 1");
        info.update(salt);
        for part in place.parts() {
            info.update(&u32::try_from(part.len()).ok()?.to_be_bytes());
            info.update(part);
        }
        info.update(&[1]); // the number of the only block (RFC 5869 §2.3)
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(info.sign().as_ref());
        UnboundKey::new(&AES_256_GCM, key.as_slice()).ok().map(LessSafeKey::new)
    }
}

/// The number of the data key that sealed these bytes.
pub(super) fn number(place: &Place<'_>, sealed: &[u8]) -> Result<u32, StoreError> {
    match sealed.split_first() {
        Some((&FORM, rest)) => rest
            .first_chunk::<NUMBER_LEN>()
            .map(|number| u32::from_be_bytes(*number))
            .ok_or_else(|| place.corrupt("it is cut short")),
        Some((form, _)) => {
            let known = "and this program reads form 1";
            Err(place.corrupt(&format!("it is sealed in form {form}, {known}")))
        }
        None => Err(place.corrupt("it is empty")),
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_places_read_the_same() {
        let realm = |name| Realm::new(name).unwrap();
        let (a, ab, abc) = (realm("a"), realm("ab"), realm("abc"));
        let id = EventId(*b"sixteen bytes :)");
        let places = [
            Place::record(&ab, "cd", "e"),
            Place::record(&a, "bcd", "e"),
            Place::record(&abc, "d", "e"),
            Place::record(&ab, "c", "de"),
            Place::record(&ab, "cde", ""),
            Place::value(&ab, "cd", "e"),
            Place::record(&ab, "journal", "sixteen bytes :)"),
            Place::value(&ab, "journal", "sixteen bytes :)"),
            Place::log(&ab, Log::Journal, id),
            Place::log(&ab, Log::Revocations, id),
            Place::message(Topic::Revocations),
            Place::message(Topic::Keys),
        ];
        let (node, key) = (Node::start(), DataKey::new(1, &[7; 32]));
        for (n, place) in places.iter().enumerate() {
            let sealed = key.seal(&node, place, b"body").unwrap();
            for (m, other) in places.iter().enumerate() {
                assert_eq!(key.open(other, &sealed).is_ok(), n == m, "place {n} opens at {m}");
            }
        }
    }

    #[test]
    fn another_data_key_opens_nothing() {
        let (node, realm) = (Node::start(), Realm::default());
        let place = Place::record(&realm, "note", "key");
        let sealed = DataKey::new(1, &[7; 32]).seal(&node, &place, b"body").unwrap();
        assert!(DataKey::new(1, &[8; 32]).open(&place, &sealed).is_err());
    }
}
