//! What applications keep with a session.
//!
//! Each keeps its own: a value has an owner beside its name, and nobody reads or changes those of
//! another. Values are in the session's record, so that they are sealed as it is, go with it from one
//! cookie to the next, and are gone when it ends. A write is a comparison of the whole record, so of
//! many who write at once none loses what it wrote to another name.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{Realm, SessionId, StoreError};

use super::Sessions;
use crate::session::Session;

/// The longest value.
const LONGEST: usize = 2_048;

/// The most that an owner keeps with a session: names and values together.
const MOST_OF_ONE: usize = 4_096;

/// The most values that an owner keeps with a session.
const MOST_NAMES: usize = 32;

/// The most that all owners keep with a session: it is read with every request.
const MOST: usize = 16_384;

/// The longest name of a value.
const LONGEST_NAME: usize = 64;

/// Whose value it is, and what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// Whose.
    pub owner: &'a str,
    /// What it is called: 1 to 64 of `a-z`, `0-9`, `_`, `-` and `.`.
    pub name: &'a str,
}

/// A value as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// The value.
    pub value: String,
    /// What tells it from any other: to be named by whoever wants to replace just this.
    pub version: String,
}

/// What must be there for a value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there.
    Anything,
    /// Nothing.
    Absent,
    /// Something.
    Present,
    /// One of these versions.
    Version(Vec<String>),
}

/// Why a value was not kept with a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataRefused {
    /// There is no such session, or it has ended.
    #[error("there is no such session")]
    NoSession,
    /// The name is empty, too long, or not made of `a-z`, `0-9`, `_`, `-` and `.`.
    #[error("the name of session data is 1 to 64 of `a-z`, `0-9`, `_`, `-` and `.`")]
    Name,
    /// There would be too much.
    #[error(
        "a value is at most {LONGEST} bytes, and a session keeps at most {MOST_NAMES} values and \
         {MOST_OF_ONE} bytes of one client, and {MOST} bytes of all: remove some, or keep it elsewhere"
    )]
    TooMuch,
    /// Something else is there than was expected.
    #[error("what is kept is not what `If-Match` or `If-None-Match` names: read it again")]
    Overtaken,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sessions {
    /// What an owner keeps with a session. `None`: there is no such session, or it has ended.
    ///
    /// # Errors
    /// What the store says.
    pub async fn data(
        &self,
        realm: &Realm,
        sid: &SessionId,
        owner: &str,
    ) -> Result<Option<BTreeMap<String, Kept>>, StoreError> {
        let Some(session) = self.find(realm, sid).await? else { return Ok(None) };
        let own = session.data.iter().filter_map(|(key, value)| {
            let (_, name) = key.rsplit_once('/').filter(|(of, _)| *of == owner)?;
            Some((name.to_owned(), Kept::new(value)))
        });
        Ok(Some(own.collect()))
    }

    /// Keeps a value with a session, or removes it with `None`. The cookie's value stays the same, and
    /// the session is not used by it. Answers what is there now.
    ///
    /// # Errors
    /// [`DataRefused`].
    pub async fn set_data(
        &self,
        realm: &Realm,
        sid: &SessionId,
        name: Name<'_>,
        value: Option<&str>,
        expected: &Expected,
    ) -> Result<Option<Kept>, DataRefused> {
        let key = name.key().ok_or(DataRefused::Name)?;
        if value.is_some_and(|value| value.len() > LONGEST) {
            return Err(DataRefused::TooMuch);
        }
        // Nothing is kept with what has gone unused for too long.
        self.find(realm, sid).await?.ok_or(DataRefused::NoSession)?;
        let kept = self
            .change(realm, sid, |session| {
                if !expected.is_met(session.data.get(&key)) {
                    return Err(DataRefused::Overtaken);
                }
                match value {
                    Some(value) => session.data.insert(key.clone(), value.to_owned()),
                    None => session.data.remove(&key),
                };
                if fits(session, name.owner) { Ok(()) } else { Err(DataRefused::TooMuch) }
            })
            .await?;
        if kept { Ok(value.map(Kept::new)) } else { Err(DataRefused::NoSession) }
    }
}

/// Whether there is not too much of this owner, nor of all.
fn fits(session: &Session, owner: &str) -> bool {
    let size = |(key, value): (&String, &String)| key.len() + value.len();
    let is_own = |key: &str| key.rsplit_once('/').is_some_and(|(of, _)| of == owner);
    let own = || session.data.iter().filter(|(key, _)| is_own(key));
    let of_one: usize = own().map(|(key, value)| key.len() - owner.len() - 1 + value.len()).sum();
    let of_all: usize = session.data.iter().map(size).sum();
    own().count() <= MOST_NAMES && of_one <= MOST_OF_ONE && of_all <= MOST
}

impl Name<'_> {
    /// The key in the record. A name has no `/`, so an owner may have some.
    fn key(&self) -> Option<String> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.')
        };
        let Self { owner, name } = self;
        let is_name = (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed);
        is_name.then(|| format!("{owner}/{name}"))
    }
}

impl Kept {
    fn new(value: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, value.as_bytes());
        // The same value is the same version, whoever wrote it.
        let version = digest.as_ref().get(..16).unwrap_or_default();
        Self { value: value.to_owned(), version: URL_SAFE_NO_PAD.encode(version) }
    }
}

impl Expected {
    fn is_met(&self, there: Option<&String>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => there.is_none(),
            Self::Present => there.is_some(),
            Self::Version(versions) => {
                there.is_some_and(|value| versions.contains(&Kept::new(value).version))
            }
        }
    }
}

impl std::fmt::Debug for Kept {
    /// Without the value: what it is only its application knows.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("version", &self.version).finish_non_exhaustive()
    }
}
