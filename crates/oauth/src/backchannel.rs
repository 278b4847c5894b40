//! Telling clients that a session they were signed in by has ended (OpenID Connect Back-Channel
//! Logout 1.0).
//!
//! Which clients a session was used at is written when they redeem a code. That it has ended is read
//! from the journal, so nothing that ends a session has to think of it, and nothing is forgotten by
//! a process that dies. What became of each message stays with the record until the session's day is
//! over.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tegata_core::{
    Batch, ClientId, CommitRefused, Event, EventType, Expect, Kind, Lifetime, Log, SessionId,
    StoreError, Stored, Timestamp, TokenId, UserId, Versioned, id::expiry_day, port::Page,
    repository,
};

use crate::{client::Client, provider::Provider};

/// Where it is kept which clients a session was used at.
pub static RELYING_PARTIES: Kind = Kind {
    name: "relying_party",
    indexes: &["session", "state"],
    lifetime: Lifetime::ByDay(expiry_day),
    secret: false,
};

/// Where it is kept up to where the journal was looked through.
pub static LOGOUT_WALKS: Kind =
    Kind { name: "logout_walk", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// How many entries of the journal are read at once.
const BATCH: u32 = 500;
/// How many records are read at once.
const PAGE: u32 = 500;
/// How many are written down at once. A store takes no batch of any size.
const TOGETHER: usize = 500;
/// For how long a logout token can be used (§2.4: two minutes at most).
const LIFETIME: Duration = Duration::from_secs(120);
/// How often a message is sent that does not arrive.
const ATTEMPTS: u32 = 12;
/// How long is waited at most before it is sent again.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The type of the event in a logout token (§2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A client that a session was used at, and whether it was told that the session has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelyingParty {
    key: String,
    /// The session.
    pub session: SessionId,
    /// The client.
    pub client: ClientId,
    /// The person.
    pub user: UserId,
    /// Whether it was told.
    pub told: Told,
}

/// Whether a client was told that a session has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Told {
    /// The session has not ended.
    Lives,
    /// It is to be told.
    Due {
        /// When it is next.
        at: Timestamp,
        /// How often it was tried.
        attempts: u32,
        /// What came of the last attempt.
        #[serde(default)]
        last: Option<String>,
    },
    /// It knows.
    Delivered {
        /// Since when.
        at: Timestamp,
        /// How often it was tried.
        attempts: u32,
    },
    /// It could not be told, and is not tried again.
    Failed {
        /// Since when.
        at: Timestamp,
        /// How often it was tried.
        attempts: u32,
        /// What came of the last attempt.
        why: String,
    },
}

impl Told {
    /// The state in a word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Lives => "lives",
            Self::Due { .. } => "due",
            Self::Delivered { .. } => "delivered",
            Self::Failed { .. } => "failed",
        }
    }
}

/// What came of an attempt to tell a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// It took the message (§2.8: 200 or 204).
    Accepted,
    /// It will never take it, for this reason.
    Refused(String),
    /// It did not arrive, or nobody knows.
    Failed(String),
}

/// A message to a client.
#[derive(Clone)]
pub struct LogoutMessage {
    /// Where it goes.
    pub address: String,
    /// The logout token.
    pub token: String,
}

impl std::fmt::Debug for LogoutMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogoutMessage({})", self.address.split('?').next().unwrap_or_default())
    }
}

#[derive(Serialize, Deserialize)]
struct Walked {
    key: String,
    position: u64,
}

impl Stored for Walked {
    const KIND: &'static Kind = &LOGOUT_WALKS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

impl Stored for RelyingParty {
    const KIND: &'static Kind = &RELYING_PARTIES;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        let session = ("session", self.session.as_str().to_owned());
        vec![session, ("state", self.told.name().to_owned())]
    }
}

impl RelyingParty {
    /// A client that a session is used at.
    #[must_use]
    pub fn new(session: &SessionId, client: &ClientId, user: &UserId) -> Self {
        let (session, client, user) = (session.clone(), client.clone(), user.clone());
        // It begins as the session's id does: with the day after which it can be dropped.
        let key = format!("{session}.{client}");
        Self { key, session, client, user, told: Told::Lives }
    }

    /// The same, told this.
    #[must_use]
    pub fn being(self, told: Told) -> Self {
        Self { told, ..self }
    }

    /// What it is kept under.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// When it is to be told next.
    #[must_use]
    pub const fn due(&self) -> Option<Timestamp> {
        match self.told {
            Told::Due { at, .. } => Some(at),
            Told::Lives | Told::Delivered { .. } | Told::Failed { .. } => None,
        }
    }

    fn after(&self, attempt: Attempt, now: Timestamp) -> Self {
        let Told::Due { attempts, .. } = self.told else { return self.clone() };
        let attempts = attempts.saturating_add(1);
        let told = match attempt {
            Attempt::Accepted => Told::Delivered { at: now, attempts },
            Attempt::Refused(why) => Told::Failed { at: now, attempts, why },
            Attempt::Failed(why) if attempts >= ATTEMPTS => Told::Failed { at: now, attempts, why },
            Attempt::Failed(why) => {
                let pause = Duration::from_secs(1 << attempts.min(9)).min(LONGEST_PAUSE);
                Told::Due { at: now + pause, attempts, last: Some(why) }
            }
        };
        self.clone().being(told)
    }
}

impl Provider {
    /// Looks on through the journal for sessions that have ended, and writes down who is to be told.
    /// Answers them, and whether there is more to look through. Of two nodes that do so at once, one
    /// does it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn find_logouts(&self) -> Result<(Vec<RelyingParty>, bool), StoreError> {
        let (realm, records) = (self.realm(), self.records());
        let found = repository::load::<Walked>(records, realm, "journal").await?;
        let (after, expect) = found.map_or((0, Expect::Absent), |found| {
            (found.value.position, Expect::Version(found.version))
        });
        let pull = records.pull(Log::Journal, after, BATCH).await?;
        let mut walk = Walk { reached: after, due: BTreeMap::new(), more: false };
        for entry in &pull.entries {
            let event = serde_json::from_slice::<Event>(&entry.body).ok();
            let session = event.as_ref().and_then(|event| ended_session(event, self));
            let parties = match session {
                Some(session) => self.relying_parties(&session).await?,
                None => Vec::new(),
            };
            if !walk.take_in(parties) {
                break;
            }
            walk.reached = entry.position;
        }
        if pull.entries.is_empty() {
            // What was trimmed away is older than anybody waits for.
            walk.reached = pull.tail.saturating_sub(1).max(after);
        }
        if walk.reached == after && walk.due.is_empty() {
            return Ok((Vec::new(), false));
        }
        let progress = Walked { key: "journal".to_owned(), position: walk.reached };
        let mut batch = Batch::new(realm.clone()).with(progress.put(expect));
        let mut told = Vec::with_capacity(walk.due.len());
        for found in walk.due.into_values() {
            let at = self.node().now();
            let next = found.value.clone().being(Told::Due { at, attempts: 0, last: None });
            batch = batch.with(found.replace(&next));
            told.push(next);
        }
        match records.commit(batch).await {
            Ok(()) => Ok((told, walk.more || walk.reached < pull.head)),
            // Somebody else was faster, or a client has signed in once more: another time.
            Err(CommitRefused::Conflict { .. }) => Ok((Vec::new(), true)),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }

    /// The clients that a session was used at, and that do not know yet that it has ended.
    async fn relying_parties(
        &self,
        session: &str,
    ) -> Result<Vec<Versioned<RelyingParty>>, StoreError> {
        let (mut all, mut page): (Vec<Versioned<RelyingParty>>, _) =
            (Vec::new(), Page { after: None, limit: PAGE });
        loop {
            let found = repository::find::<RelyingParty>(
                self.records(),
                self.realm(),
                "session",
                session,
                page.clone(),
            )
            .await?;
            let Some(last) = found.last() else { return Ok(all) };
            page.after = Some(last.value.key.clone());
            all.extend(found.into_iter().filter(|found| found.value.told == Told::Lives));
            if all.len() > TOGETHER {
                return Ok(all);
            }
        }
    }

    /// Those that are to be told, in pages: what was left when a process ended.
    ///
    /// # Errors
    /// What the store says.
    pub async fn due_logouts(
        &self,
        after: Option<String>,
    ) -> Result<Vec<RelyingParty>, StoreError> {
        self.logouts("due", after).await
    }

    /// Those with this state ([`Told::name`]), in pages.
    ///
    /// # Errors
    /// What the store says.
    pub async fn logouts(
        &self,
        state: &str,
        after: Option<String>,
    ) -> Result<Vec<RelyingParty>, StoreError> {
        let page = Page { after, limit: PAGE };
        let found =
            repository::find::<RelyingParty>(self.records(), self.realm(), "state", state, page);
        Ok(found.await?.into_iter().map(|found| found.value).collect())
    }

    /// The message for a client. `None`: it is not registered any more, or not with an address.
    ///
    /// # Errors
    /// What the store says; that nothing can be signed.
    pub async fn logout_message(
        &self,
        party: &RelyingParty,
    ) -> Result<Option<LogoutMessage>, crate::Refused> {
        let found = self.clients().load(self.realm(), &party.client).await?;
        let Some(client) = found.map(|found| found.value) else { return Ok(None) };
        let Some(address) = client.backchannel_logout_uri.clone() else { return Ok(None) };
        let token = self.logout_token(&client, party).await?;
        Ok(Some(LogoutMessage { address, token }))
    }

    /// A logout token (§2.4). It has no `nonce`, so that it can be taken for no ID token.
    async fn logout_token(
        &self,
        client: &Client,
        party: &RelyingParty,
    ) -> Result<String, crate::Refused> {
        let now = self.node().now().secs();
        let claims = json!({
            "iss": self.issuer(),
            "sub": self.subject_for(client, party.user.as_str()),
            "aud": client.id,
            "iat": now,
            "exp": now + LIFETIME.as_secs(),
            "jti": TokenId::generate(self.epoch(), self.node().entropy()),
            "events": {EVENT: {}},
            "sid": self.session_for(client, party.session.as_str()),
        });
        self.sign(client.id_token_alg, "logout+jwt", claims.to_string().as_bytes()).await
    }

    /// Has a client told that its session has ended already: it was signed in while that happened, after
    /// the journal was looked through.
    pub(crate) async fn tell_late(&self, party: &RelyingParty) -> Result<(), StoreError> {
        let (realm, records) = (self.realm(), self.records());
        let found = repository::load::<RelyingParty>(records, realm, &party.key).await?;
        let Some(found) = found.filter(|found| found.value.told == Told::Lives) else {
            return Ok(());
        };
        let at = self.node().now();
        let next = found.value.clone().being(Told::Due { at, attempts: 0, last: None });
        match records.commit(Batch::new(realm.clone()).with(found.replace(&next))).await {
            // Whoever was faster has seen that it ended.
            Ok(()) | Err(CommitRefused::Conflict { .. }) => Ok(()),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }

    /// Writes down what came of an attempt. Answers when the next one is due, if there is one.
    ///
    /// # Errors
    /// What the store says.
    pub async fn note_logout(
        &self,
        party: &RelyingParty,
        attempt: Attempt,
    ) -> Result<Option<RelyingParty>, StoreError> {
        let (realm, records) = (self.realm(), self.records());
        let found = repository::load::<RelyingParty>(records, realm, &party.key).await?;
        // Another node has told it meanwhile.
        let Some(found) = found.filter(|found| found.value.due().is_some()) else {
            return Ok(None);
        };
        let next = found.value.after(attempt, self.node().now());
        let batch = Batch::new(realm.clone()).with(found.replace(&next));
        match records.commit(batch).await {
            Ok(()) => Ok(next.due().is_some().then_some(next)),
            // Somebody else tells it too, and has written down what came of that.
            Err(CommitRefused::Conflict { .. }) => Ok(None),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }
}

/// What was found in the journal, as much as is written down at once.
struct Walk {
    /// Up to where everybody is found.
    reached: u64,
    /// Who is to be told, by their keys: a session that ends in several ways ends once.
    due: BTreeMap<String, Versioned<RelyingParty>>,
    more: bool,
}

impl Walk {
    /// Takes in those of one session. Answers whether these were all; a session that was used at more
    /// clients than are written down at once is looked at again.
    fn take_in(&mut self, parties: Vec<Versioned<RelyingParty>>) -> bool {
        let together = self.due.len() + parties.len();
        if together > TOGETHER {
            self.more = true;
            if !self.due.is_empty() {
                return false;
            }
        }
        let first = parties.into_iter().take(TOGETHER);
        self.due.extend(first.map(|party| (party.value.key.clone(), party)));
        together <= TOGETHER
    }
}

/// The session that an event says has ended.
fn ended_session(event: &Event, provider: &Provider) -> Option<String> {
    let ended = event.kind == EventType::SessionEnded && event.realm == *provider.realm();
    let session = event.data.get("session_id").filter(|_| ended)?;
    session.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due() -> RelyingParty {
        let (session, client) = ("1.20000.abc".parse().unwrap(), "web".parse().unwrap());
        let party = RelyingParty::new(&session, &client, &"usr_1".parse().unwrap());
        let told = Told::Due { at: Timestamp::default(), attempts: 0, last: None };
        party.being(told)
    }

    #[test]
    fn a_client_that_does_not_answer_is_tried_less_and_less_often_and_then_not_any_more() {
        let mut party = due();
        let (mut now, mut pauses) = (Timestamp::from_secs(1_000_000), Vec::new());
        while let Some(_at) = party.due() {
            party = party.after(Attempt::Failed("away".to_owned()), now);
            if let Some(at) = party.due() {
                pauses.push(at.since(now).as_secs());
                now = at;
            }
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(party.told.name(), "failed");
    }

    #[test]
    fn who_refuses_is_not_asked_again_and_who_knows_is_left_alone() {
        let now = Timestamp::from_secs(1_000_000);
        let refused = due().after(Attempt::Refused("it answers 400".to_owned()), now);
        assert!(matches!(&refused.told, Told::Failed { attempts: 1, .. }));
        let known = due().after(Attempt::Accepted, now);
        assert_eq!(known.told, Told::Delivered { at: now, attempts: 1 });
        assert_eq!(known.after(Attempt::Failed("late".to_owned()), now), known);
    }

    #[test]
    fn the_record_goes_with_its_session() {
        let party = due();
        assert_eq!(expiry_day(party.key()), Some(20_000));
    }
}
