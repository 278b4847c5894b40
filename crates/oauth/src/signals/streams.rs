//! The streams of a realm: what their receivers do with them (SSF 1.0 §8.1).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tegata_core::{
    Batch, ClientId, CommitRefused, Event, EventId, EventType, Expect, Log, Outward, Records,
    StoreError, Stored as _, Versioned,
    port::{Change, Page},
    repository,
};

use super::{
    form::Form,
    stream::{Delivery, Notable, Notice, Status, Stream, Wanted},
    subject::{Named, Person},
};
use crate::{client::Client, provider::Provider};

/// How often a change that lost a race is tried again.
pub(super) const TRIES: u32 = 20;
/// How exactly it is kept when a receiver was heard of last.
pub(super) const ACTIVE_TO: Duration = Duration::from_secs(3600);
/// How many notices of a stream wait at most.
const NOTICES: usize = 16;
/// The longest state of a verification.
const LONGEST_STATE: usize = 1024;
/// How many people a stream may name.
const SUBJECTS: u32 = 10_000;

/// Whom a new stream is about (SSF 1.0 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DefaultSubjects {
    /// Everybody, but for those who are removed.
    #[default]
    All,
    /// Nobody, but for those who are added.
    None,
}

/// What streams may be.
#[derive(Debug, Clone)]
pub struct StreamRules {
    /// Which addresses signals may be sent to.
    pub outward: Outward,
    /// Whom a new stream is about.
    pub default_subjects: DefaultSubjects,
    /// How many streams a client may have: 10.
    pub most: u32,
    /// The time between two verifications of a stream: 10 s.
    pub min_verification: Duration,
    /// For how long a receiver may be silent before its stream is paused: 30 days.
    pub inactivity: Duration,
}

impl Default for StreamRules {
    fn default() -> Self {
        Self {
            outward: Outward::default(),
            default_subjects: DefaultSubjects::All,
            most: 10,
            min_verification: Duration::from_secs(10),
            inactivity: Duration::from_secs(30 * 86_400),
        }
    }
}

/// Why something was not done with a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamRefused {
    /// The request breaks a rule.
    #[error("{0}")]
    Invalid(&'static str),
    /// This client has no such stream.
    #[error("this client has no such stream")]
    Unknown,
    /// It has as many as it may.
    #[error("this client has as many streams as it may have; remove or change one")]
    TooMany,
    /// It asks more often than it may.
    #[error("this is asked more often than it may be")]
    TooSoon(Duration),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The streams of a realm.
#[derive(Debug, Clone)]
pub struct Streams {
    pub(super) provider: Provider,
    pub(super) rules: StreamRules,
}

impl Streams {
    /// The streams of this provider.
    #[must_use]
    pub const fn new(provider: Provider, rules: StreamRules) -> Self {
        Self { provider, rules }
    }

    /// What the transmitter says of itself (SSF 1.0 §7.1).
    #[must_use]
    pub fn metadata(&self) -> Value {
        let issuer = self.provider.issuer();
        let at = |path: &str| format!("{issuer}{path}");
        json!({
            "spec_version": "1_0",
            "issuer": issuer,
            "jwks_uri": at("/.well-known/jwks.json"),
            "delivery_methods_supported": [super::stream::PUSH, super::stream::POLL],
            "configuration_endpoint": at("/ssf/streams"),
            "status_endpoint": at("/ssf/status"),
            "add_subject_endpoint": at("/ssf/subjects:add"),
            "remove_subject_endpoint": at("/ssf/subjects:remove"),
            "verification_endpoint": at("/ssf/verify"),
            "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}],
            "default_subjects": self.rules.default_subjects,
        })
    }

    /// A stream, as its receiver is shown it.
    #[must_use]
    pub fn shown(&self, stream: &Stream) -> Value {
        let (verification, inactivity) = (self.rules.min_verification, self.rules.inactivity);
        stream.shown(self.provider.issuer(), verification.as_secs(), inactivity.as_secs())
    }

    /// Makes a stream of a client. What happens from now on is told on it.
    ///
    /// # Errors
    /// [`StreamRefused::Invalid`], [`StreamRefused::TooMany`]; what the store says.
    pub async fn create(
        &self,
        client: &Client,
        asked: &Map<String, Value>,
    ) -> Result<Stream, StreamRefused> {
        let form = Form::read(asked, &self.rules.outward)?;
        let room = usize::try_from(self.rules.most).unwrap_or(usize::MAX);
        if self.of_client(&client.id).await?.len() >= room {
            return Err(StreamRefused::TooMany);
        }
        let node = self.provider.node();
        let now = node.now();
        let mut stream = Stream {
            id: EventId::generate(node.entropy()).to_string(),
            client: client.id.clone(),
            delivery: Delivery::Poll,
            requested: Vec::new(),
            description: None,
            format: super::subject::Format::IssSub,
            status: Status::Enabled,
            reason: None,
            created: now,
            active: now,
            verified: None,
            has_subjects: false,
            position: self.head().await?,
            acked: std::collections::BTreeSet::new(),
            notices: Vec::new(),
            refused: 0,
            last_refused: None,
        };
        form.replace(&mut stream, client)?;
        let event = self.event(&stream, "stream_registered");
        let batch = self.batch().with(stream.put(Expect::Absent)).journal(&event);
        self.commit(batch).await?;
        Ok(stream)
    }

    /// The streams of a client, in order of their names.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of_client(&self, client: &ClientId) -> Result<Vec<Stream>, StoreError> {
        let page = Page { after: None, limit: self.rules.most.saturating_add(100) };
        let (realm, client) = (self.provider.realm(), client.as_str());
        let found =
            repository::find::<Stream>(self.records(), realm, "client", client, page).await?;
        Ok(found.into_iter().map(|found| found.value).collect())
    }

    /// All streams after a name, in order of their names.
    ///
    /// # Errors
    /// What the store says.
    pub async fn page(&self, after: Option<String>) -> Result<Vec<Stream>, StoreError> {
        let page = Page { after, limit: 500 };
        let found = repository::scan::<Stream>(self.records(), self.provider.realm(), page).await?;
        Ok(found.into_iter().map(|found| found.value).collect())
    }

    /// A stream of a client.
    ///
    /// # Errors
    /// [`StreamRefused::Unknown`]; what the store says.
    pub async fn of(&self, client: &ClientId, id: &str) -> Result<Stream, StreamRefused> {
        Ok(self.owned(client, id).await?.value)
    }

    /// Changes what is said of a stream, and leaves the rest.
    ///
    /// # Errors
    /// [`StreamRefused`].
    pub async fn update(
        &self,
        client: &Client,
        asked: &Map<String, Value>,
    ) -> Result<Stream, StreamRefused> {
        let form = Form::read(asked, &self.rules.outward)?;
        self.edit(client, form.stream_id()?, "stream_changed", |stream| {
            form.check(&self.shown(stream))?;
            form.update(stream, client)
        })
        .await
    }

    /// Changes a stream to what is said; what is not said, it has no more.
    ///
    /// # Errors
    /// [`StreamRefused`].
    pub async fn replace(
        &self,
        client: &Client,
        asked: &Map<String, Value>,
    ) -> Result<Stream, StreamRefused> {
        let form = Form::read(asked, &self.rules.outward)?;
        self.edit(client, form.stream_id()?, "stream_changed", |stream| {
            form.check(&self.shown(stream))?;
            form.replace(stream, client)
        })
        .await
    }

    /// Removes a stream.
    ///
    /// # Errors
    /// [`StreamRefused::Unknown`]; what the store says.
    pub async fn delete(&self, client: &ClientId, id: &str) -> Result<(), StreamRefused> {
        for _ in 0..TRIES {
            let found = self.owned(client, id).await?;
            self.forget_subjects(&found.value).await?;
            let event = self.event(&found.value, "stream_removed");
            let batch = self.batch().with(found.remove()).journal(&event);
            match self.records().commit(batch).await {
                Ok(()) => return Ok(()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }

    /// Lets a stream flow, holds it back or stops it. What happened while it was disabled is not
    /// told afterwards.
    ///
    /// # Errors
    /// [`StreamRefused`].
    pub async fn set_status(
        &self,
        client: &Client,
        id: &str,
        status: Status,
        reason: Option<&str>,
    ) -> Result<Stream, StreamRefused> {
        if reason.is_some_and(|reason| reason.len() > 1024) {
            return Err(StreamRefused::Invalid("`reason` must be at most 1024 bytes long"));
        }
        let head = self.head().await?;
        self.edit(client, id, "stream_changed", |stream| {
            if stream.status == Status::Disabled && status != Status::Disabled {
                stream.position = stream.position.max(head);
                stream.acked.clear();
            }
            (stream.status, stream.reason) = (status, reason.map(str::to_owned));
            Ok(())
        })
        .await
    }

    /// Orders a verification (SSF 1.0 §8.1.4.2).
    ///
    /// # Errors
    /// [`StreamRefused`].
    pub async fn verify(
        &self,
        client: &Client,
        id: &str,
        state: Option<&str>,
    ) -> Result<Stream, StreamRefused> {
        if state.is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(StreamRefused::Invalid("`state` must be at most 1024 bytes long"));
        }
        let (node, apart) = (self.provider.node(), self.rules.min_verification);
        let now = node.now();
        self.edit(client, id, "stream_verification", |stream| {
            let since = stream.verified.map(|at| now.since(at));
            if let Some(since) = since.filter(|since| *since < apart) {
                return Err(StreamRefused::TooSoon(apart.saturating_sub(since)));
            }
            if stream.notices.len() >= NOTICES {
                return Err(StreamRefused::TooSoon(apart));
            }
            stream.verified = Some(now);
            let state = state.map(str::to_owned);
            stream.notices.push(self.notice(stream, Notable::Verification { state }));
            Ok(())
        })
        .await
    }

    /// Notes whether a stream wants to hear of a person. Whether there is such a person is not told.
    ///
    /// # Errors
    /// [`StreamRefused`].
    pub async fn want(
        &self,
        client: &Client,
        id: &str,
        subject: &Map<String, Value>,
        wanted: bool,
    ) -> Result<(), StreamRefused> {
        let invalid = StreamRefused::Invalid(
            "`subject` must name a person by `iss_sub` or `email`, as the stream's signals do",
        );
        let named = Named::read(subject).filter(|it| it.session.is_none() && !it.other);
        let [person] = &named.ok_or_else(|| invalid.clone())?.person[..] else {
            return Err(invalid);
        };
        let known_by = match person {
            Person::IssSub { .. } => super::subject::Format::IssSub,
            Person::Email(_) => super::subject::Format::Email,
            Person::Account(_) => return Err(invalid),
        };
        let stream = self.of(&client.id, id).await?;
        if stream.format != known_by {
            return Err(invalid);
        }
        let page = Page { after: None, limit: SUBJECTS + 1 };
        let realm = self.provider.realm();
        let all = repository::find::<Wanted>(self.records(), realm, "stream", id, page).await?;
        if all.len() > usize::try_from(SUBJECTS).unwrap_or(usize::MAX) {
            return Err(StreamRefused::Invalid("the stream names as many people as it may"));
        }
        let key = subject_key(id, person);
        let wanted = Wanted { key, stream: id.to_owned(), wanted };
        self.commit(self.batch().with(wanted.put(Expect::Any))).await?;
        // Only now is it looked for: a stream that has subjects looks for each person.
        self.edit(client, id, "stream_changed", |stream| {
            stream.has_subjects = true;
            Ok(())
        })
        .await
        .map(|_| ())
    }

    /// Pauses a stream whose receiver has not been heard of for long, and says so on it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn pause_if_silent(&self, stream: &Stream) -> Result<(), StoreError> {
        let silent = self.provider.node().now().since(stream.active) > self.rules.inactivity;
        if stream.status != Status::Enabled || !silent {
            return Ok(());
        }
        let Some(found) = self.load(&stream.id).await? else { return Ok(()) };
        let mut next = found.value.clone();
        let reason = "inactivity".to_owned();
        (next.status, next.reason) = (Status::Paused, Some(reason.clone()));
        next.notices.push(self.notice(stream, Notable::Updated { status: Status::Paused, reason }));
        let event = self.event(&next, "stream_paused");
        let batch = self.batch().with(found.replace(&next)).journal(&event);
        match self.records().commit(batch).await {
            // Whoever changed it was there.
            Ok(()) | Err(CommitRefused::Conflict { .. }) => Ok(()),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }

    /// The stream of this name, whosever it is.
    pub(super) async fn load(&self, id: &str) -> Result<Option<Versioned<Stream>>, StoreError> {
        repository::load(self.records(), self.provider.realm(), id).await
    }

    pub(super) fn records(&self) -> &dyn Records {
        self.provider.records()
    }

    /// A stream of a client. One of another is as if it were not there.
    async fn owned(&self, client: &ClientId, id: &str) -> Result<Versioned<Stream>, StreamRefused> {
        // What cannot be a name is none.
        if id.is_empty() || id.len() > 64 || id.contains('\0') {
            return Err(StreamRefused::Unknown);
        }
        let found = self.load(id).await?.filter(|found| found.value.client == *client);
        found.ok_or(StreamRefused::Unknown)
    }

    /// Changes a stream as its receiver asks, which is a sign of life.
    async fn edit(
        &self,
        client: &Client,
        id: &str,
        change: &'static str,
        edit: impl Fn(&mut Stream) -> Result<(), StreamRefused>,
    ) -> Result<Stream, StreamRefused> {
        for _ in 0..TRIES {
            let found = self.owned(&client.id, id).await?;
            let mut next = found.value.clone();
            edit(&mut next)?;
            next.active = self.provider.node().now();
            let event = self.event(&next, change);
            let batch = self.batch().with(found.replace(&next)).journal(&event);
            match self.records().commit(batch).await {
                Ok(()) => return Ok(next),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }

    async fn forget_subjects(&self, stream: &Stream) -> Result<(), StreamRefused> {
        let (realm, page) = (self.provider.realm(), Page { after: None, limit: 500 });
        loop {
            let page = page.clone();
            let found =
                repository::find::<Wanted>(self.records(), realm, "stream", &stream.id, page);
            let found = found.await?;
            if found.is_empty() {
                return Ok(());
            }
            let remove = |found: Versioned<Wanted>| Change::Remove {
                kind: &super::stream::STREAM_SUBJECTS,
                key: found.value.key,
                expect: Expect::Any,
            };
            let mut batch = self.batch();
            batch.changes.extend(found.into_iter().map(remove));
            self.commit(batch).await?;
        }
    }

    fn notice(&self, stream: &Stream, what: Notable) -> Notice {
        let node = self.provider.node();
        let jti = format!("{}.{}", stream.id, EventId::generate(node.entropy()));
        Notice { jti, what, at: node.now().secs() }
    }

    /// The end of the journal.
    async fn head(&self) -> Result<u64, StoreError> {
        Ok(self.records().pull(Log::Journal, u64::MAX >> 1, 1).await?.head)
    }

    fn event(&self, stream: &Stream, change: &'static str) -> Event {
        let data = [
            ("subject", json!(stream.id)),
            ("change", json!(change)),
            ("actor", json!(stream.client)),
        ];
        let (node, realm) = (self.provider.node(), self.provider.realm());
        Event::new(node, realm, EventType::RegistryChanged, data)
    }

    fn batch(&self) -> Batch {
        Batch::new(self.provider.realm().clone())
    }

    async fn commit(&self, batch: Batch) -> Result<(), StreamRefused> {
        self.records().commit(batch).await.map_err(|refused| match refused {
            CommitRefused::Conflict { .. } => contended().into(),
            CommitRefused::Store(error) => error.into(),
        })
    }
}

/// Under which key it is kept whether a stream wants to hear of a person.
pub(super) fn subject_key(stream: &str, person: &Person) -> String {
    format!("{stream}.{}", person.digest())
}

pub(super) fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "a stream changed faster than it could be written".to_owned(),
    }
}
