//! A stream: what a receiver has ordered, and how far it was delivered.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tegata_core::{ClientId, Kind, Lifetime, Stored, Timestamp};
use zeroize::Zeroize as _;

use super::{endpoint::Endpoint, kind::SignalKind, subject::Format};

/// Where streams are kept. Their bodies hold what receivers let themselves be shown.
pub static STREAMS: Kind =
    Kind { name: "signal_stream", indexes: &["client"], lifetime: Lifetime::Kept, secret: true };

/// Where it is kept of whom a stream wants to hear, where that is not as for everybody.
pub static STREAM_SUBJECTS: Kind =
    Kind { name: "signal_subject", indexes: &["stream"], lifetime: Lifetime::Kept, secret: false };

/// The way of pushing (RFC 8935).
pub const PUSH: &str = "urn:ietf:rfc:8935";
/// The way of polling (RFC 8936).
pub const POLL: &str = "urn:ietf:rfc:8936";

/// What a receiver has ordered, and how far it was delivered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stream {
    /// Its name.
    pub id: String,
    /// Whose it is.
    pub client: ClientId,
    /// How it is delivered.
    pub delivery: Delivery,
    /// The URIs that were ordered, known or not.
    pub requested: Vec<String>,
    /// What its receiver calls it.
    pub description: Option<String>,
    /// By what people are named.
    pub format: Format,
    /// Whether it flows.
    pub status: Status,
    /// Why, where somebody said so.
    pub reason: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When its receiver was heard of last, to the hour.
    pub active: Timestamp,
    /// When a verification was asked for last.
    pub verified: Option<Timestamp>,
    /// Whether there are [`Wanted`] of it.
    pub has_subjects: bool,
    /// Up to where in the journal all is delivered.
    pub position: u64,
    /// The names of signals beyond that which were acknowledged.
    pub acked: BTreeSet<String>,
    /// What is told of the stream itself.
    pub notices: Vec<Notice>,
    /// How many signals its receiver refused.
    pub refused: u64,
    /// The last of them.
    pub last_refused: Option<RefusedOnce>,
}

/// How a stream is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// We send each signal to its receiver.
    Push {
        /// Where.
        endpoint: Endpoint,
        /// What is shown there, in `Authorization`.
        authorization: Option<Authorization>,
    },
    /// Its receiver asks.
    Poll,
}

/// A value of `Authorization` that a receiver gave us. It is shown to that receiver alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization(String);

impl Authorization {
    /// Reads a value: visible ASCII and spaces, at most 4,096 characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_value = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        ((1..=4096).contains(&text.len()) && is_value).then(|| Self(text.to_owned()))
    }

    /// The value.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Authorization {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(…)")
    }
}

/// Whether a stream flows (SSF 1.0 §8.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It flows.
    Enabled,
    /// It is held back until it flows again.
    Paused,
    /// What happens is not kept for it.
    Disabled,
}

impl Status {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }
}

/// Something that is told of the stream itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its name.
    pub jti: String,
    /// What.
    pub what: Notable,
    /// Since when it is to be told: seconds since 1970.
    pub at: u64,
}

/// What is told of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notable {
    /// That it works, as was asked.
    Verification {
        /// What its receiver knows the question by.
        state: Option<String>,
    },
    /// That we changed its status.
    Updated {
        /// To what.
        status: Status,
        /// Why.
        reason: String,
    },
}

impl Notable {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> SignalKind {
        match self {
            Self::Verification { .. } => SignalKind::Verification,
            Self::Updated { .. } => SignalKind::StreamUpdated,
        }
    }

    /// What belongs to it.
    #[must_use]
    pub fn payload(&self) -> Map<String, Value> {
        let mut payload = Map::new();
        match self {
            Self::Verification { state } => {
                if let Some(state) = state {
                    payload.insert("state".to_owned(), state.as_str().into());
                }
            }
            Self::Updated { status, reason } => {
                payload.insert("status".to_owned(), status.name().into());
                payload.insert("reason".to_owned(), reason.as_str().into());
            }
        }
        payload
    }
}

/// A signal that its receiver could not use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedOnce {
    /// Its name.
    pub jti: String,
    /// What was wrong, in the receiver's word.
    pub err: String,
    /// When.
    pub at: Timestamp,
}

impl Stream {
    /// The kinds that it carries.
    pub fn kinds(&self) -> impl Iterator<Item = SignalKind> {
        SignalKind::TOLD
            .into_iter()
            .filter(|kind| self.requested.iter().any(|uri| uri == kind.uri()))
    }

    /// Whether it carries a kind.
    #[must_use]
    pub fn carries(&self, kind: SignalKind) -> bool {
        self.kinds().any(|own| own == kind)
    }

    /// Where its receiver polls.
    #[must_use]
    pub fn poll_url(&self, issuer: &str) -> String {
        format!("{issuer}/ssf/poll/{}", self.id)
    }

    /// Its configuration, as its receiver is shown it (SSF 1.0 §8.1.1). What we show at its endpoint
    /// is not in it.
    #[must_use]
    pub fn shown(&self, issuer: &str, min_verification: u64, inactivity: u64) -> Value {
        let uris = |kinds: &mut dyn Iterator<Item = SignalKind>| -> Value {
            kinds.map(|kind| Value::from(kind.uri())).collect()
        };
        let delivery = match &self.delivery {
            Delivery::Push { endpoint, .. } => {
                json!({"method": PUSH, "endpoint_url": endpoint.as_str()})
            }
            Delivery::Poll => json!({"method": POLL, "endpoint_url": self.poll_url(issuer)}),
        };
        let mut shown = json!({
            "stream_id": self.id,
            "iss": issuer,
            "aud": self.client,
            "delivery": delivery,
            "events_supported": uris(&mut SignalKind::TOLD.into_iter()),
            "events_requested": self.requested,
            "events_delivered": uris(&mut self.kinds()),
            "min_verification_interval": min_verification,
            "inactivity_timeout": inactivity,
            "format": self.format,
        });
        if let (Some(members), Some(description)) = (shown.as_object_mut(), &self.description) {
            members.insert("description".to_owned(), description.as_str().into());
        }
        shown
    }
}

impl Stored for Stream {
    const KIND: &'static Kind = &STREAMS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.id
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("client", self.client.as_str().to_owned())]
    }
}

/// Whether a stream wants to hear of a person. The person is named by a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The stream and the person.
    pub key: String,
    /// The stream.
    pub stream: String,
    /// Whether it wants to.
    pub wanted: bool,
}

impl Stored for Wanted {
    const KIND: &'static Kind = &STREAM_SUBJECTS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("stream", self.stream.clone())]
    }
}
