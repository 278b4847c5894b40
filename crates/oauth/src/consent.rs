//! What people have agreed to: which client may have which scope.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, ClientId, CommitRefused, Expect, Kind, Lifetime, StoreError, Stored, Timestamp, UserId,
    port::Page, repository,
};
use tegata_token::Scope;

use crate::{client::Client, provider::Provider};

pub mod withdrawn;

/// Where consents are stored.
pub static CONSENTS: Kind =
    Kind { name: "consent", indexes: &["user"], lifetime: Lifetime::Kept, secret: false };

/// The scope that has come to stand for more.
const PROFILE: &str = "profile";

/// How often a change that lost a race is tried again.
const TRIES: u32 = 20;

/// A person's consent to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    key: String,
    /// Who agreed.
    pub user: UserId,
    /// To whom.
    pub client: ClientId,
    /// To what.
    pub scope: Scope,
    /// When last.
    pub at: Timestamp,
    /// Whether they were asked when `profile` said what it says now. It stood for a user name and a
    /// language once: whoever agreed to that has not agreed to their name, birthday and picture.
    #[serde(default)]
    whole_profile: bool,
}

impl Stored for Consent {
    const KIND: &'static Kind = &CONSENTS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("user", self.user.as_str().to_owned())]
    }
}

impl Provider {
    /// Whether a person has agreed that a client has this scope. What was said to an earlier client
    /// of the same name was said to somebody else.
    ///
    /// # Errors
    /// What the store says.
    pub async fn has_consent(
        &self,
        user: &UserId,
        client: &Client,
        scope: &Scope,
    ) -> Result<bool, StoreError> {
        let key = key(user, &client.id);
        let found = repository::load::<Consent>(self.records(), self.realm(), &key).await?;
        let counts = |consent: &Consent| {
            consent.at >= client.created
                && consent.scope.covers(scope)
                && (consent.whole_profile || !scope.contains(PROFILE))
        };
        Ok(found.is_some_and(|consent| counts(&consent.value)))
    }

    /// Whether a person has agreed that a client is told all that `profile` says now.
    pub(crate) async fn told_of_whole_profile(
        &self,
        user: &UserId,
        client: &Client,
    ) -> Result<bool, StoreError> {
        let key = key(user, &client.id);
        let found = repository::load::<Consent>(self.records(), self.realm(), &key).await?;
        let counts = |consent: &Consent| {
            let stands = consent.at >= client.created && consent.scope.contains(PROFILE);
            stands && consent.whole_profile
        };
        Ok(!client.asks_consent || found.is_some_and(|found| counts(&found.value)))
    }

    /// Remembers that a person agreed, beside what they agreed to before.
    ///
    /// # Errors
    /// What the store says.
    pub async fn remember_consent(
        &self,
        user: &UserId,
        client: &Client,
        scope: &Scope,
    ) -> Result<(), StoreError> {
        let client = &self.acquainted(client).await?;
        let key = key(user, &client.id);
        for _ in 0..TRIES {
            let found = repository::load::<Consent>(self.records(), self.realm(), &key).await?;
            let expect = found.as_ref().map_or(Expect::Absent, |it| Expect::Version(it.version));
            let found = found.filter(|found| found.value.at >= client.created);
            let (before, whole_profile) = found
                .map(|found| (found.value.scope, found.value.whole_profile))
                .unwrap_or_default();
            // Both are valid scopes, so together they are one.
            let both = Scope::new(&format!("{before} {scope}")).unwrap_or(before);
            let consent = Consent {
                key: key.clone(),
                user: user.clone(),
                client: client.id.clone(),
                scope: both,
                at: self.node().now(),
                whole_profile: whole_profile || scope.contains(PROFILE),
            };
            let batch = Batch::new(self.realm().clone()).with(consent.put(expect));
            match self.records().commit(batch).await {
                Ok(()) => return Ok(()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    /// Consents in a stable order: those of a person, or all.
    ///
    /// # Errors
    /// What the store says.
    pub async fn consents(
        &self,
        user: Option<&UserId>,
        page: Page,
    ) -> Result<Vec<Consent>, StoreError> {
        let (records, realm) = (self.records(), self.realm());
        let found = match user {
            Some(user) => {
                repository::find::<Consent>(records, realm, "user", user.as_str(), page).await?
            }
            None => repository::scan::<Consent>(records, realm, page).await?,
        };
        Ok(found.into_iter().map(|found| found.value).collect())
    }
}

fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "a consent changed faster than it could be written".to_owned(),
    }
}

/// Client ids may be as long as keys, so both are digested.
fn key(user: &UserId, client: &ClientId) -> String {
    let named = format!("{user} {client}");
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, named.as_bytes()).as_ref())
}
