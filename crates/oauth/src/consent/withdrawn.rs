//! Consents that are taken back: what a client has by them ends, and so does what it was promised and
//! has not fetched yet.
//!
//! Codes and the answers to devices say how often the person had taken something back from the client
//! when they were given. Whoever redeems them requires that it is as often still, in the batch that
//! begins the family: so it begins before, and is found and ended, or it does not begin.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tegata_core::{
    Batch, ClientId, CommitRefused, Event, EventType, Expect, Kind, Lifetime, StoreError, Stored,
    UserId,
    port::{Change, Page},
    repository,
};
use tegata_token::{Holder, Order};

use super::{Consent, TRIES, contended, key};
use crate::provider::Provider;

/// Where it is stored how often consents were taken back.
pub static WITHDRAWALS: Kind =
    Kind { name: "consent_withdrawal", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// How many of a person's sign-ins are looked at together.
const TOGETHER: u32 = 500;

/// How often a person has taken something back from a client. The key is that of the consent.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Withdrawals {
    key: String,
    times: u64,
}

impl Stored for Withdrawals {
    const KIND: &'static Kind = &WITHDRAWALS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

/// The same, as it was read.
#[derive(Debug)]
pub(crate) struct Withdrawn {
    pub(crate) times: u64,
    /// The requirement that it is as often still when a batch is committed.
    pub(crate) unchanged: Change,
}

impl Provider {
    /// How often a person has taken something back from a client.
    pub(crate) async fn withdrawn(
        &self,
        user: &UserId,
        client: &ClientId,
    ) -> Result<Withdrawn, StoreError> {
        let key = key(user, client);
        let found = repository::load::<Withdrawals>(self.records(), self.realm(), &key).await?;
        Ok(match found {
            Some(found) => Withdrawn { times: found.value.times, unchanged: found.require() },
            None => {
                let expect = Expect::Absent;
                Withdrawn {
                    times: 0,
                    unchanged: Change::Require { kind: &WITHDRAWALS, key, expect },
                }
            }
        })
    }

    /// Forgets that a person agreed, then takes back what the client had by it: in this order, so that it
    /// gets nothing new without asking, also by a code or a device that it was allowed before. Answers of
    /// how many sign-ins that was; `None`: they had not agreed, and the client had nothing. `by` is who
    /// asked, for the journal.
    ///
    /// # Errors
    /// What the store says. What was begun is finished by asking again.
    pub async fn take_back_consent(
        &self,
        user: &UserId,
        client: &ClientId,
        by: &str,
    ) -> Result<Option<u64>, StoreError> {
        let had = self.withdraw_consent(user, client, by).await?;
        let order = Order { reason: "consent_withdrawn".to_owned(), actor: by.to_owned() };
        let (realm, holder) = (self.realm(), Holder::User(user.clone()));
        let mut page = Page { after: None, limit: TOGETHER };
        let mut families = 0;
        loop {
            let found = self.families().page(realm, Some(&holder), page.clone()).await?;
            let Some(last) = found.last() else { break };
            page.after = Some(last.id.as_str().to_owned());
            let theirs = found.iter().filter(|it| it.client == *client && it.ended.is_none());
            for family in theirs {
                families += u64::from(self.families().revoke(realm, &family.id, &order).await?);
            }
        }
        Ok((had || families > 0).then_some(families))
    }

    /// Forgets that a person agreed, and counts that it was taken back. Answers whether they had agreed.
    async fn withdraw_consent(
        &self,
        user: &UserId,
        client: &ClientId,
        by: &str,
    ) -> Result<bool, StoreError> {
        let (records, realm, key) = (self.records(), self.realm(), key(user, client));
        for _ in 0..TRIES {
            let found = repository::load::<Consent>(records, realm, &key).await?;
            // Of clients that there are not, nothing is counted: their names are anybody's.
            if found.is_none() && self.clients().load(realm, client).await?.is_none() {
                return Ok(false);
            }
            let before = repository::load::<Withdrawals>(records, realm, &key).await?;
            let times = before.as_ref().map_or(0, |before| before.value.times);
            let next = Withdrawals { key: key.clone(), times: times.saturating_add(1) };
            let counted =
                before.map_or_else(|| next.put(Expect::Absent), |before| before.replace(&next));
            let mut batch = Batch::new(realm.clone()).with(counted);
            if let Some(found) = &found {
                let data = [
                    ("subject", json!(user)),
                    ("change", json!("consent_withdrawn")),
                    ("client_id", json!(client)),
                    ("actor", json!(by)),
                ];
                let event = Event::new(self.node(), realm, EventType::RegistryChanged, data);
                batch = batch.with(found.remove()).journal(&event);
            }
            match records.commit(batch).await {
                Ok(()) => return Ok(found.is_some()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Err(contended())
    }
}
