//! Going over the records of letters and orders, a page at a time. One that cannot be read holds up no
//! other.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tegata_core::{
    Realm, Records, StoreError, Stored, Versioned,
    port::Page,
    repository::{find, scan},
};

/// How many are read at once.
const MOST: u32 = 100;

/// How many records that cannot be read are known as such.
const KNOWN: usize = 1_000;

/// Which records were said to be unreadable: each is said once.
#[derive(Clone, Default)]
pub(super) struct Unread(Arc<Mutex<BTreeSet<String>>>);

impl Unread {
    /// Whether it is the first time that this one cannot be read.
    fn is_news(&self, key: &str) -> bool {
        let mut known = self.0.lock();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(key.to_owned())
    }
}

/// How far somebody has come who goes over records in the order of their keys.
#[derive(Debug)]
pub struct Walk {
    /// Those whose index has this value; `None`: all.
    of: Option<(&'static str, &'static str)>,
    after: Option<String>,
    limit: u32,
}

impl Walk {
    /// Over all records of a kind.
    pub(super) const fn all() -> Self {
        Self { of: None, after: None, limit: MOST }
    }

    /// Over those whose index has this value.
    pub(super) const fn of(index: &'static str, value: &'static str) -> Self {
        Self { of: Some((index, value)), after: None, limit: MOST }
    }

    /// The next of them, and at least one; `None`: that was all.
    pub(super) async fn next<T: Stored>(
        &mut self,
        records: &dyn Records,
        realm: &Realm,
        unread: &Unread,
    ) -> Result<Option<Vec<Versioned<T>>>, StoreError> {
        loop {
            let page = Page { after: self.after.clone(), limit: self.limit };
            let found = match self.of {
                Some((index, value)) => find::<T>(records, realm, index, value, page).await,
                None => scan::<T>(records, realm, page).await,
            };
            match found {
                Ok(found) => {
                    let Some(last) = found.last() else { return Ok(None) };
                    self.after = Some(last.value.key().to_owned());
                    return Ok(Some(found));
                }
                // Which one it is, is found among ever fewer.
                Err(StoreError::Corrupt { .. }) if self.limit > 1 => self.limit /= 2,
                Err(error) => self.skip(error, unread)?,
            }
        }
    }

    /// Goes on behind the one record that was read, which cannot be.
    fn skip(&mut self, error: StoreError, unread: &Unread) -> Result<(), StoreError> {
        let StoreError::Corrupt { key, .. } = &error else { return Err(error) };
        if self.after.as_ref().is_some_and(|after| after >= key) {
            return Err(error);
        }
        if unread.is_news(key) {
            tracing::warn!(%error, "a letter, or what somebody asked for, is left out");
        }
        (self.after, self.limit) = (Some(key.clone()), MOST);
        Ok(())
    }
}
