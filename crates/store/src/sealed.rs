//! What is stored is encrypted: decorators that seal on the way in and open on the way out.
//!
//! Data keys encrypt what is stored. They are kept beside it, as records of the kind [`DATA_KEYS`],
//! wrapped with the root key that a [`Custody`] holds: whoever has the store and not the root key
//! can read no body. Every write has a key of its own, derived from the data key, a random salt and
//! the place it belongs to, so what was sealed for one place opens at no other. The
//! form of the bytes is in `sealed/envelope.rs`.
//!
//! What stays readable in the store: keys of records, values of declared indexes, versions, times,
//! and lengths. An index over something personal shows it to whoever has the store. An older state
//! of one place that somebody puts back there opens: that is what backups do, and what positions
//! and issuer epochs are for.

use std::sync::Arc;

use tegata_core::{
    Batch, CommitRefused, Custody, CustodyRefused, Ephemeral, Feed, Kind, Lifetime, Log, Node,
    Realm, Records, StoreError, Timestamp,
    id::NodeId,
    port::{Body, BoxFuture, Change, Page, Pull, Record, Reread, Sequenced, Stamp},
};
use zeroize::Zeroize as _;

use self::{envelope::Place, keys::Keys};

mod envelope;
mod ephemeral;
mod feed;
mod keys;
mod rewrap;

pub use ephemeral::SealedEphemeral;
pub use feed::SealedFeed;
pub use rewrap::rewrap;

/// Where wrapped data keys are kept. To be among the kinds that the store is opened with.
pub static DATA_KEYS: Kind =
    Kind { name: "data_key", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// Why a store was not opened for sealing.
#[derive(Debug, thiserror::Error)]
pub enum SealRefused {
    /// The root key does not open a data key that is there.
    #[error(
        "the root key does not open data key {number} of the store: it is not the key that the \
         store was made with, or the store was altered; start with the root key that belongs to \
         this store, since without it nothing in the store can be read"
    )]
    OtherRoot {
        /// Which data key.
        number: u32,
    },
    /// The root key cannot be used.
    #[error(transparent)]
    Custody(CustodyRefused),
    /// The store does not answer, or a record of a data key is not one.
    #[error(transparent)]
    Store(StoreError),
}

/// `Records` that are sealed. Bodies and log entries are encrypted; callers see them as they wrote
/// them. A body that was altered, was moved from another place, or was never sealed, is answered
/// [`StoreError::Corrupt`].
pub struct Sealed {
    inner: Arc<dyn Records>,
    keys: Arc<Keys>,
}

impl Sealed {
    /// Opens the data keys of a store, or makes the first one where it has none.
    ///
    /// # Errors
    /// [`SealRefused`]; in particular, a store with data keys is never given a new one because the
    /// root key does not fit.
    pub async fn open(
        inner: Arc<dyn Records>,
        custody: Arc<dyn Custody>,
        node: &Node,
    ) -> Result<Self, SealRefused> {
        let keys = Keys::open(inner.clone(), custody, node.clone()).await?;
        Ok(Self { inner, keys: Arc::new(keys) })
    }

    /// Seals a store of values with the same data keys.
    #[must_use]
    pub fn ephemeral(&self, inner: Arc<dyn Ephemeral>) -> SealedEphemeral {
        SealedEphemeral::new(inner, self.keys.clone())
    }

    /// Seals what nodes tell each other on a feed with the same data keys.
    #[must_use]
    pub fn feed(&self, inner: Arc<dyn Feed>) -> SealedFeed {
        SealedFeed::new(inner, self.keys.clone())
    }

    /// Makes a new data key, which is used for everything written from now on by this node, and by
    /// the others as soon as they read something sealed with it. Older keys go on opening what they
    /// sealed. Answers its number.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn rotate(&self) -> Result<u32, SealRefused> {
        self.keys.rotate().await
    }

    fn seal(&self, mut batch: Batch) -> Result<Batch, StoreError> {
        for change in &mut batch.changes {
            let (Change::Put { kind, .. }
            | Change::Remove { kind, .. }
            | Change::Require { kind, .. }) = change;
            if kind.name == DATA_KEYS.name {
                return misused("data keys are changed by rotation alone");
            }
            if let Change::Put { kind, key, body, .. } = change {
                let Body::Plain(plain) = body else {
                    return misused("a body that is sealed already cannot be sealed again");
                };
                let place = Place::record(&batch.realm, kind.name, key);
                let sealed = self.keys.seal(&place, plain)?;
                if kind.secret {
                    plain.zeroize();
                }
                *body = Body::Sealed(sealed);
            }
        }
        for append in &mut batch.appends {
            let place = Place::log(&batch.realm, append.log, append.id);
            append.body = self.keys.seal(&place, &append.body)?;
        }
        Ok(batch)
    }

    async fn unseal(
        &self,
        realm: &Realm,
        kind: &'static Kind,
        record: Record,
    ) -> Result<Record, StoreError> {
        let place = Place::record(realm, kind.name, &record.key);
        let Body::Sealed(sealed) = &record.body else {
            // Taken as it is, it would be a way to write into the store without the root key.
            return Err(place.corrupt("it is not sealed, though this store is"));
        };
        let body = Body::Plain(self.keys.unseal(&place, sealed).await?);
        Ok(Record { body, ..record })
    }

    async fn unseal_all(
        &self,
        realm: &Realm,
        kind: &'static Kind,
        records: Vec<Record>,
    ) -> Result<Vec<Record>, StoreError> {
        let mut opened = Vec::with_capacity(records.len());
        for record in records {
            opened.push(self.unseal(realm, kind, record).await?);
        }
        Ok(opened)
    }
}

fn misused<T>(detail: &str) -> Result<T, StoreError> {
    Err(StoreError::Misused { detail: detail.to_owned() })
}

impl Records for Sealed {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            match self.inner.load(realm, kind, key).await? {
                Some(record) => self.unseal(realm, kind, record).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn reread<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
        known: Option<&'a Stamp>,
    ) -> BoxFuture<'a, Result<Reread, StoreError>> {
        Box::pin(async move {
            let Some(record) = self.inner.load(realm, kind, key).await? else {
                return Ok(Reread::Absent);
            };
            // Each write is sealed under a key of its own: the same bytes say the same.
            if known.is_some_and(|known| known.is_of(&record)) {
                return Ok(Reread::Same);
            }
            let stamp = Stamp::of(&record);
            Ok(Reread::Is(self.unseal(realm, kind, record).await?, stamp))
        })
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            match self.inner.recent(realm, kind, key).await? {
                Some(record) => self.unseal(realm, kind, record).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.find(realm, kind, index, value, page).await?;
            self.unseal_all(realm, kind, found).await
        })
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let scanned = self.inner.scan(realm, kind, page).await?;
            self.unseal_all(realm, kind, scanned).await
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(async move { self.inner.commit(self.seal(batch)?).await })
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        Box::pin(async move {
            let mut pull = self.inner.pull(log, after, limit).await?;
            for entry in &mut pull.entries {
                let place = Place::log(&entry.realm, log, entry.id);
                entry.body = self.keys.unseal(&place, &entry.body).await?;
            }
            Ok(pull)
        })
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        self.inner.sequence(log, node)
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.purge(now, logs_before)
    }
}

#[cfg(test)]
mod tests;
