//! Typed documents on [`Records`]: the one place where domain types become bytes.
//!
//! A body is a byte that says the version of the type's form, then MessagePack with named fields.
//! Fields may be added (with a default) without raising the version, so that two releases can work
//! on one store at once; a change that an older release would misread raises it.

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroize as _;

use crate::{
    id::Realm,
    port::{Body, Change, Expect, Kind, Page, Record, Records, Reread, Stamp, StoreError},
};

/// A type that is stored as a record.
pub trait Stored: Serialize + DeserializeOwned + Send + Sync {
    /// Where.
    const KIND: &'static Kind;
    /// The version of its form.
    const FORM: u8;

    /// Its key.
    fn key(&self) -> &str;

    /// Values of the indexes that [`Self::KIND`] declares.
    fn indexes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The change that writes it, if the store holds what is expected.
    fn put(&self, expect: Expect) -> Change {
        Change::Put {
            kind: Self::KIND,
            key: self.key().to_owned(),
            expect,
            body: Body::Plain(encode(Self::FORM, self)),
            indexes: self.indexes(),
        }
    }
}

/// A value and the version of the record that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The version to expect when it is written back.
    pub version: u64,
}

impl<T: Stored> Versioned<T> {
    /// The change that writes `next` in place of this, if nobody was faster.
    pub fn replace(&self, next: &T) -> Change {
        next.put(Expect::Version(self.version))
    }

    /// The requirement that nobody changes this before the batch is committed.
    pub fn require(&self) -> Change {
        Change::Require {
            kind: T::KIND,
            key: self.value.key().to_owned(),
            expect: Expect::Version(self.version),
        }
    }

    /// The change that removes this, if nobody was faster.
    pub fn remove(&self) -> Change {
        Change::Remove {
            kind: T::KIND,
            key: self.value.key().to_owned(),
            expect: Expect::Version(self.version),
        }
    }
}

/// Reads the `T` with this key.
///
/// # Errors
/// What the store says, and [`StoreError::Corrupt`] where the body is not a `T`.
pub async fn load<T: Stored>(
    records: &dyn Records,
    realm: &Realm,
    key: &str,
) -> Result<Option<Versioned<T>>, StoreError> {
    records.load(realm, T::KIND, key).await?.map(decode).transpose()
}

/// What a `T` is, for whoever may have read it before.
#[derive(Debug)]
pub enum Again<T> {
    /// What it was when it had the stamp that was shown.
    Same,
    /// This, with its stamp, where the store gives any.
    Is(Versioned<T>, Option<Stamp>),
    /// There is none.
    Absent,
}

/// As [`load`], for whoever has kept what it read when it had the stamp `known`.
///
/// # Errors
/// As [`load`].
pub async fn reread<T: Stored>(
    records: &dyn Records,
    realm: &Realm,
    key: &str,
    known: Option<&Stamp>,
) -> Result<Again<T>, StoreError> {
    Ok(match records.reread(realm, T::KIND, key, known).await? {
        Reread::Same => Again::Same,
        Reread::Is(record, stamp) => Again::Is(decode(record)?, stamp),
        Reread::Absent => Again::Absent,
    })
}

/// Reads the `T` with this key, where it need not be the latest: see [`Records::recent`].
///
/// # Errors
/// As [`load`].
pub async fn recent<T: Stored>(
    records: &dyn Records,
    realm: &Realm,
    key: &str,
) -> Result<Option<Versioned<T>>, StoreError> {
    records.recent(realm, T::KIND, key).await?.map(decode).transpose()
}

/// Reads the `T`s whose index has this value.
///
/// # Errors
/// As [`load`].
pub async fn find<T: Stored>(
    records: &dyn Records,
    realm: &Realm,
    index: &'static str,
    value: &str,
    page: Page,
) -> Result<Vec<Versioned<T>>, StoreError> {
    records.find(realm, T::KIND, index, value, page).await?.into_iter().map(decode).collect()
}

/// Reads `T`s in order of keys.
///
/// # Errors
/// As [`load`].
pub async fn scan<T: Stored>(
    records: &dyn Records,
    realm: &Realm,
    page: Page,
) -> Result<Vec<Versioned<T>>, StoreError> {
    records.scan(realm, T::KIND, page).await?.into_iter().map(decode).collect()
}

/// A value as bytes, with the version of its form in front.
pub fn encode<T: Serialize + ?Sized>(form: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![form];
    // Writing to memory does not fail, and stored types hold nothing that MessagePack cannot.
    let written = rmp_serde::encode::write_named(&mut bytes, value);
    debug_assert!(written.is_ok(), "a stored type has no MessagePack form");
    bytes
}

/// A value from bytes that [`encode`] made with the same `form`; otherwise what is wrong with them.
///
/// # Errors
/// A text for operators that holds nothing of the bytes.
pub fn decode_bytes<T: DeserializeOwned>(form: u8, bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((found, body)) if *found == form => {
            rmp_serde::from_slice(body).map_err(|_| "its body is not what it should be".to_owned())
        }
        Some((found, _)) => {
            Err(format!("its form is version {found}, and this program reads version {form}"))
        }
        None => Err("it is empty".to_owned()),
    }
}

/// Reads a record. Of what is secret, no second copy stays behind.
fn decode<T: Stored>(mut record: Record) -> Result<Versioned<T>, StoreError> {
    let value = match &mut record.body {
        Body::Plain(bytes) => {
            let value = decode_bytes(T::FORM, bytes);
            if T::KIND.secret {
                bytes.zeroize();
            }
            value
        }
        Body::Sealed(_) => Err("it is sealed, and this program was not given its key".to_owned()),
    };
    let value = value.map_err(|detail| StoreError::Corrupt {
        backend: "the record store",
        kind: T::KIND.name,
        key: record.key,
        detail,
    })?;
    Ok(Versioned { value, version: record.version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Lifetime;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Note {
        key: String,
        #[serde(default)]
        text: String,
    }

    static NOTES: Kind =
        Kind { name: "note", indexes: &[], lifetime: Lifetime::Kept, secret: false };

    impl Stored for Note {
        const KIND: &'static Kind = &NOTES;
        const FORM: u8 = 1;
        fn key(&self) -> &str {
            &self.key
        }
    }

    fn record(body: Vec<u8>) -> Record {
        Record { key: "k".into(), version: 4, body: Body::Plain(body) }
    }

    #[test]
    fn reads_back_what_it_wrote_and_forms_with_fewer_or_more_fields() {
        let note = Note { key: "k".into(), text: "hello".into() };
        let read = decode::<Note>(record(encode(1, &note))).unwrap();
        assert_eq!((read.value, read.version), (note, 4));

        #[derive(Serialize)]
        struct Newer<'a> {
            key: &'a str,
            added: u8,
        }
        let newer = decode::<Note>(record(encode(1, &Newer { key: "k", added: 1 }))).unwrap();
        assert_eq!(newer.value, Note { key: "k".into(), text: String::new() });
    }

    #[test]
    fn names_the_record_that_is_damaged_and_shows_nothing_of_it() {
        for body in [vec![], vec![2, 0x80], vec![1, 0xc1], b"\x01secret".to_vec()] {
            let error = decode::<Note>(record(body)).unwrap_err();
            assert!(matches!(&error, StoreError::Corrupt { kind: "note", key, .. } if key == "k"));
            assert!(!error.to_string().contains("secret"));
        }
    }
}
