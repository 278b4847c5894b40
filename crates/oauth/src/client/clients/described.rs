//! What is kept of clients that describe themselves.

use tegata_core::{CommitRefused, Expect, Realm, StoreError};

use super::{Clients, NotRegistered, TRIES, contended};
use crate::{
    client::Client,
    described::{Described, Refusal},
};

impl Clients {
    /// What is kept of a client that describes itself: from now on `kept`, where it was nothing.
    pub(crate) async fn note(&self, realm: &Realm, kept: &Client) -> Result<Client, StoreError> {
        for _ in 0..TRIES {
            if let Some(found) = self.load(realm, &kept.id).await? {
                return Ok(found.value);
            }
            match self.commit(realm, kept, Expect::Absent, "described_itself").await {
                Ok(()) => return Ok(kept.clone()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    /// Refuses a client that describes itself; `kept` is what is kept of it, where it was nothing.
    pub(crate) async fn refuse(
        &self,
        realm: &Realm,
        kept: Client,
        refusal: Refusal,
    ) -> Result<(), NotRegistered> {
        for _ in 0..TRIES {
            let found = self.load(realm, &kept.id).await?;
            let (before, expect) = match found {
                Some(found) => (found.value, Expect::Version(found.version)),
                None => (kept.clone(), Expect::Absent),
            };
            let Some(described) = &before.described else {
                return Err(NotRegistered::NotDescribed(before.id));
            };
            if described.refused.is_some() {
                return Ok(());
            }
            let described = Some(Described { refused: Some(refusal.clone()) });
            let client = Client { described, ..before };
            match self.commit(realm, &client, expect, "refused").await {
                Ok(()) => return Ok(()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }
}
