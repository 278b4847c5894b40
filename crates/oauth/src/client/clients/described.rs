//! What is kept of clients that describe themselves.

use tegata_core::{Batch, CommitRefused, Expect, Realm, StoreError, Stored as _, port::Change};

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

    /// Refuses a client that describes itself, with what must change in the same moment, by a batch that
    /// `commit` commits; `kept` is what is kept of it, where it was nothing. One that is refused already
    /// stays so, with its first reason.
    ///
    /// # Errors
    /// [`NotRegistered::Overtaken`] where something of it has changed since it was read.
    pub(crate) async fn refuse_by<F>(
        &self,
        realm: &Realm,
        kept: Client,
        refusal: Refusal,
        besides: Vec<Change>,
        commit: impl FnOnce(Batch) -> F,
    ) -> Result<(), NotRegistered>
    where
        F: Future<Output = Result<(), CommitRefused>>,
    {
        let found = self.load(realm, &kept.id).await?;
        let (before, expect) = match found {
            Some(found) => (found.value, Expect::Version(found.version)),
            None => (kept, Expect::Absent),
        };
        let Some(described) = &before.described else {
            return Err(NotRegistered::NotDescribed(before.id));
        };
        let refusal = described.refused.clone().unwrap_or(refusal);
        let described = Some(Described { refused: Some(refusal), ..described.clone() });
        let client = Client { described, ..before };
        let event = self.event(realm, &client.id, "refused");
        let batch = Batch::new(realm.clone()).with(client.put(expect)).journal(&event);
        match commit(besides.into_iter().fold(batch, Batch::with)).await {
            Ok(()) => Ok(()),
            Err(CommitRefused::Conflict { .. }) => Err(NotRegistered::Overtaken(client.id)),
            Err(CommitRefused::Store(error)) => Err(error.into()),
        }
    }
}
