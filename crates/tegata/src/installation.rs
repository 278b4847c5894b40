//! What an installation is: its issuer epoch, kept in its store.

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Epoch, Expect, Kind, Lifetime, Node, Realm, Records, StoreError, Stored,
    Timestamp, Versioned, repository,
};

/// Where it is kept: one record.
pub(crate) static INSTALLATION: Kind =
    Kind { name: "installation", indexes: &[], lifetime: Lifetime::Kept, secret: false };

const KEY: &str = "this";

/// An installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installation {
    key: String,
    /// The issuer epoch: raised by every restore of a backup.
    pub(crate) epoch: Epoch,
    /// When it was made, which tells it from others.
    pub(crate) made: Timestamp,
}

impl Stored for Installation {
    const KIND: &'static Kind = &INSTALLATION;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

impl Installation {
    /// The installation in a store, made where there is none.
    pub(crate) async fn open(records: &dyn Records, node: &Node) -> Result<Self, StoreError> {
        let realm = Realm::default();
        loop {
            if let Some(found) = Self::find(records).await? {
                return Ok(found.value);
            }
            let fresh = Self { key: KEY.to_owned(), epoch: Epoch::FIRST, made: node.now() };
            let batch = Batch::new(realm.clone()).with(fresh.put(Expect::Absent));
            match records.commit(batch).await {
                Ok(()) | Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
    }

    /// The same in a later epoch.
    pub(crate) fn in_epoch(&self, epoch: Epoch) -> Self {
        Self { epoch, ..self.clone() }
    }

    /// The installation in a store, if there is one.
    pub(crate) async fn find(records: &dyn Records) -> Result<Option<Versioned<Self>>, StoreError> {
        repository::load::<Self>(records, &Realm::default(), KEY).await
    }
}
