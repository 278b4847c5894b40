//! The streams of a realm: what their receivers do with them (SSF 1.0 §8.1).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tegata_core::{
    Batch, ClientId, CommitRefused, Event, EventId, EventType, Expect, Log, Outward, Records,
    StoreError, Stored as _, Versioned, port::Page, repository,
};

use super::{
    form::Form,
    stream::{Delivery, Status, Stream},
    subject::Format,
};
use crate::{client::Client, provider::Provider};

/// How often a change that lost a race is tried again.
pub(super) const TRIES: u32 = 20;
/// How exactly it is kept when a receiver was heard of last.
pub(super) const ACTIVE_TO: Duration = Duration::from_secs(3600);

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
            format: Format::IssSub,
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
        // Of many who ask at once, all may have seen room: whoever made it too many takes it back.
        if self.of_client(&client.id).await?.len() > room {
            self.delete(&client.id, &stream.id).await?;
            return Err(StreamRefused::TooMany);
        }
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
            if self.remove(&found).await? {
                return Ok(());
            }
        }
        Err(contended().into())
    }

    /// Removes all streams of a client that is gone, so that nobody who is given its name has them.
    /// Answers how many.
    ///
    /// # Errors
    /// What the store says.
    pub async fn delete_all(&self, client: &ClientId) -> Result<u64, StreamRefused> {
        let mut count = 0;
        loop {
            let streams = self.of_client(client).await?;
            if streams.is_empty() {
                return Ok(count);
            }
            for stream in streams {
                match self.delete(client, &stream.id).await {
                    Ok(()) => count += 1,
                    Err(StreamRefused::Unknown) => {}
                    Err(refused) => return Err(refused),
                }
            }
        }
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

    /// Removes a stream as it was read. Answers whether it was still so.
    pub(super) async fn remove(&self, found: &Versioned<Stream>) -> Result<bool, StreamRefused> {
        self.forget_people(&found.value).await?;
        let event = self.event(&found.value, "stream_removed");
        let batch = self.batch().with(found.remove()).journal(&event);
        match self.records().commit(batch).await {
            Ok(()) => Ok(true),
            Err(CommitRefused::Conflict { .. }) => Ok(false),
            Err(CommitRefused::Store(error)) => Err(error.into()),
        }
    }

    /// Changes a stream as its receiver asks, which is a sign of life.
    pub(super) async fn edit(
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

    /// The end of the journal.
    async fn head(&self) -> Result<u64, StoreError> {
        Ok(self.records().pull(Log::Journal, u64::MAX >> 1, 1).await?.head)
    }

    pub(super) fn event(&self, stream: &Stream, change: &'static str) -> Event {
        let data = [
            ("subject", json!(stream.id)),
            ("change", json!(change)),
            ("actor", json!(stream.client)),
        ];
        let (node, realm) = (self.provider.node(), self.provider.realm());
        Event::new(node, realm, EventType::RegistryChanged, data)
    }

    pub(super) fn batch(&self) -> Batch {
        Batch::new(self.provider.realm().clone())
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StreamRefused> {
        self.records().commit(batch).await.map_err(|refused| match refused {
            CommitRefused::Conflict { .. } => contended().into(),
            CommitRefused::Store(error) => error.into(),
        })
    }
}

pub(super) fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "a stream changed faster than it could be written".to_owned(),
    }
}
