//! The data keys of a store: made once, opened at start, added to by rotation.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;
use tegata_core::{
    Batch, CommitRefused, Custody, CustodyRefused, Expect, Node, Realm, Records, Secret,
    StoreError,
    port::{self, Body, Change, Page, Record},
};
use zeroize::Zeroizing;

use super::{
    DATA_KEYS, SealRefused,
    envelope::{self, DataKey, Place},
};

/// The data keys, by number. There is at least one.
pub(super) struct Keys {
    records: Arc<dyn Records>,
    custody: Arc<dyn Custody>,
    node: Node,
    ring: RwLock<Ring>,
}

struct Ring {
    newest: Arc<DataKey>,
    older: BTreeMap<u32, Arc<DataKey>>,
}

impl Keys {
    /// Opens the data keys, or makes the first. Of two processes that find none, both end with the
    /// same key.
    pub(super) async fn open(
        records: Arc<dyn Records>,
        custody: Arc<dyn Custody>,
        node: Node,
    ) -> Result<Self, SealRefused> {
        let ring = match read_all(records.as_ref(), custody.as_ref()).await? {
            Some(ring) => ring,
            None => {
                tracing::info!("the store has no data key yet; making the first");
                make(records.as_ref(), custody.as_ref(), &node, 1).await?;
                let made = read_all(records.as_ref(), custody.as_ref()).await?;
                made.ok_or_else(|| lost("the first data key is gone as soon as it was made"))?
            }
        };
        Ok(Self { records, custody, node, ring: RwLock::new(ring) })
    }

    /// Makes a data key after the newest; answers the number of the newest there is then. Where
    /// another node was faster, that is the other's.
    pub(super) async fn rotate(&self) -> Result<u32, SealRefused> {
        let newest = self.reread().await?;
        make(self.records.as_ref(), self.custody.as_ref(), &self.node, newest.saturating_add(1))
            .await?;
        self.reread().await
    }

    async fn reread(&self) -> Result<u32, SealRefused> {
        let ring = read_all(self.records.as_ref(), self.custody.as_ref()).await?;
        let ring = ring.ok_or_else(|| lost("the data keys are gone"))?;
        let newest = ring.newest.number;
        *self.ring.write() = ring;
        Ok(newest)
    }

    pub(super) fn seal(&self, place: &Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let key = self.ring.read().newest.clone();
        key.seal(&self.node, place, plain)
    }

    pub(super) async fn unseal(
        &self,
        place: &Place<'_>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let number = envelope::number(place, sealed)?;
        if let Some(key) = self.known(number) {
            return key.open(place, sealed);
        }
        // Another node has rotated, or somebody has altered the number. The one record that would
        // hold the key tells which.
        let found = self.records.load(&home(), &DATA_KEYS, &name(number)).await?;
        let Some(record) = found else {
            return Err(place.corrupt("the data key that it names does not exist"));
        };
        let opened = open(self.custody.as_ref(), &record).await;
        let key = opened.map_err(|refused| match refused {
            SealRefused::Store(error) => error,
            SealRefused::OtherRoot { .. } => {
                place.corrupt("the root key does not open its data key")
            }
            SealRefused::Custody(refused) => {
                StoreError::Unavailable { backend: "the sealed store", detail: refused.to_string() }
            }
        })?;
        let opened = key.open(place, sealed)?;
        self.ring.write().add(key);
        Ok(opened)
    }

    pub(super) const fn node(&self) -> &Node {
        &self.node
    }

    /// Opens what anybody may have sent. `Ok(None)`: it is not ours.
    ///
    /// Whoever sends garbage must not make us ask the store for each piece of it. So what names a
    /// data key that is not known makes us read the keys again only if `may_read` says so, and one
    /// that is then not among them is not ours.
    pub(super) async fn unseal_heard(
        &self,
        place: &Place<'_>,
        sealed: &[u8],
        may_read: impl FnOnce() -> bool + Send,
    ) -> Result<Option<Vec<u8>>, SealRefused> {
        let Ok(number) = envelope::number(place, sealed) else { return Ok(None) };
        let mut key = self.known(number);
        if key.is_none() && may_read() {
            self.reread().await?;
            key = self.known(number);
        }
        Ok(key.and_then(|key| key.open(place, sealed).ok()))
    }

    fn known(&self, number: u32) -> Option<Arc<DataKey>> {
        let ring = self.ring.read();
        if ring.newest.number == number {
            return Some(ring.newest.clone());
        }
        ring.older.get(&number).cloned()
    }
}

impl Ring {
    fn add(&mut self, key: Arc<DataKey>) {
        if key.number > self.newest.number {
            let older = std::mem::replace(&mut self.newest, key);
            self.older.insert(older.number, older);
        } else if key.number < self.newest.number {
            self.older.insert(key.number, key);
        }
    }
}

/// Data keys belong to no realm; they are kept in the one that always exists.
pub(super) fn home() -> Realm {
    Realm::default()
}

/// The key of the record of a data key, so that the order of keys is that of numbers.
fn name(number: u32) -> String {
    format!("{number:010}")
}

/// What a data key is wrapped for. The number is part of it, so that the wrapped forms of two data
/// keys cannot change places.
fn context(number: u32) -> Vec<u8> {
    format!("tegata data key {number}").into_bytes()
}

fn lost(detail: &str) -> SealRefused {
    let (backend, detail) = ("the sealed store", detail.to_owned());
    SealRefused::Store(StoreError::Unavailable { backend, detail })
}

/// All data keys of the store, if there are any.
async fn read_all(
    records: &dyn Records,
    custody: &dyn Custody,
) -> Result<Option<Ring>, SealRefused> {
    let mut ring = None::<Ring>;
    let mut after = None;
    loop {
        let page = Page { after, limit: 100 };
        let found = records.scan(&home(), &DATA_KEYS, page).await.map_err(SealRefused::Store)?;
        let Some(last) = found.last() else {
            return Ok(ring);
        };
        after = Some(last.key.clone());
        for record in &found {
            let key = open(custody, record).await?;
            match &mut ring {
                Some(ring) => ring.add(key),
                None => ring = Some(Ring { newest: key, older: BTreeMap::new() }),
            }
        }
    }
}

/// The data key of a record.
async fn open(custody: &dyn Custody, record: &Record) -> Result<Arc<DataKey>, SealRefused> {
    let wrapped = Wrapped::of(record)?;
    let number = wrapped.number;
    let key = custody.unwrap(wrapped.bytes, &wrapped.context()).await;
    let key = key.map_err(|refused| match refused {
        CustodyRefused::NotOurs => SealRefused::OtherRoot { number },
        CustodyRefused::KeptElsewhere { .. } | CustodyRefused::Unavailable { .. } => {
            SealRefused::Custody(refused)
        }
    })?;
    Ok(Arc::new(DataKey::new(number, key.expose())))
}

/// A data key as it is stored.
pub(super) struct Wrapped<'r> {
    number: u32,
    bytes: &'r [u8],
}

impl<'r> Wrapped<'r> {
    /// The wrapped key of a record.
    pub(super) fn of(record: &'r Record) -> Result<Self, SealRefused> {
        let corrupt = |detail: &str| {
            SealRefused::Store(StoreError::Corrupt {
                backend: "the sealed store",
                kind: DATA_KEYS.name,
                key: record.key.clone(),
                detail: detail.to_owned(),
            })
        };
        let number = record.key.parse().map_err(|_| corrupt("its key is not a number"))?;
        let Body::Plain(bytes) = &record.body else {
            return Err(corrupt("a wrapped key is kept as it is, and this one is sealed"));
        };
        Ok(Self { number, bytes })
    }

    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// What it is wrapped for.
    pub(super) fn context(&self) -> Vec<u8> {
        context(self.number)
    }

    /// The key, where this root key has wrapped it.
    pub(super) async fn opens_with(
        &self,
        custody: &dyn Custody,
    ) -> Result<Option<port::DataKey>, SealRefused> {
        match custody.unwrap(self.bytes, &self.context()).await {
            Ok(key) => Ok(Some(key)),
            Err(CustodyRefused::NotOurs | CustodyRefused::KeptElsewhere { .. }) => Ok(None),
            Err(refused) => Err(SealRefused::Custody(refused)),
        }
    }
}

/// Makes the data key with this number, unless there is one.
async fn make(
    records: &dyn Records,
    custody: &dyn Custody,
    node: &Node,
    number: u32,
) -> Result<(), SealRefused> {
    let mut bytes = Zeroizing::new([0; 32]);
    node.entropy().fill(bytes.as_mut_slice());
    let key = Secret::new(*bytes);
    let wrapped = custody.wrap(&key, &context(number)).await.map_err(SealRefused::Custody)?;
    let put = Change::Put {
        kind: &DATA_KEYS,
        key: name(number),
        expect: Expect::Absent,
        body: Body::Plain(wrapped),
        indexes: Vec::new(),
    };
    match records.commit(Batch::new(home()).with(put)).await {
        // Whoever made it, and whether ours was committed, is told by reading it.
        Ok(())
        | Err(
            CommitRefused::Conflict { .. } | CommitRefused::Store(StoreError::Indeterminate { .. }),
        ) => Ok(()),
        Err(CommitRefused::Store(error)) => Err(SealRefused::Store(error)),
    }
}
