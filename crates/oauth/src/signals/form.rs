//! What a receiver says that its stream should be (SSF 1.0 §8.1.1).

use serde_json::{Map, Value};
use tegata_core::Outward;

use super::{
    endpoint::Endpoint,
    stream::{Authorization, Delivery, POLL, PUSH, Stream},
    streams::StreamRefused,
    subject::Format,
};
use crate::client::Client;

/// How many kinds may be ordered, known or not.
const MOST_KINDS: usize = 64;
/// The longest URI and the longest description.
const LONGEST: usize = 512;

/// The members that we say. Whoever says them says what we said.
const OURS: [&str; 6] = [
    "iss",
    "aud",
    "events_supported",
    "events_delivered",
    "min_verification_interval",
    "inactivity_timeout",
];

/// What a receiver says. What it says `null` of, it does not want.
pub(super) struct Form {
    stream_id: Option<String>,
    delivery: Option<Asked>,
    requested: Option<Vec<String>>,
    description: Option<String>,
    format: Option<Format>,
    ours: Vec<(&'static str, Value)>,
}

/// What it says of the delivery.
enum Asked {
    Push { endpoint: Endpoint, authorization: Shown },
    Poll { endpoint: Option<String> },
}

/// What it says of the value that we show at its endpoint.
enum Shown {
    /// Nothing.
    Unsaid,
    Nothing,
    This(Authorization),
}

impl Form {
    pub(super) fn read(
        asked: &Map<String, Value>,
        outward: &Outward,
    ) -> Result<Self, StreamRefused> {
        let invalid = StreamRefused::Invalid;
        let text = |name: &str, rule: &'static str| match asked.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= LONGEST => Ok(Some(text.clone())),
            Some(_) => Err(invalid(rule)),
        };
        let requested = match asked.get("events_requested") {
            None | Some(Value::Null) => None,
            Some(list) => Some(uris(list).ok_or_else(|| {
                invalid("`events_requested` must be a list of at most 64 URIs of 512 bytes each")
            })?),
        };
        let format = match asked.get("format").and_then(Value::as_str) {
            None if asked.get("format").is_none_or(Value::is_null) => None,
            Some("iss_sub") => Some(Format::IssSub),
            Some("email") => Some(Format::Email),
            _ => return Err(invalid("`format` must be `iss_sub` or `email`")),
        };
        let said = |name: &'static str| asked.get(name).map(|value| (name, value.clone()));
        Ok(Self {
            stream_id: text("stream_id", "`stream_id` must be a string")?,
            delivery: match asked.get("delivery") {
                None | Some(Value::Null) => None,
                Some(Value::Object(delivery)) => Some(Asked::read(delivery, outward)?),
                Some(_) => return Err(invalid("`delivery` must be an object")),
            },
            requested,
            description: text("description", "`description` must be a string of 512 bytes")?,
            format,
            ours: OURS.into_iter().filter_map(said).collect(),
        })
    }

    /// Which stream is meant.
    pub(super) fn stream_id(&self) -> Result<&str, StreamRefused> {
        self.stream_id.as_deref().ok_or(StreamRefused::Invalid("`stream_id` is missing"))
    }

    /// Whether what it says of what is ours to say is what we said.
    pub(super) fn check(&self, shown: &Value) -> Result<(), StreamRefused> {
        if self.ours.iter().all(|(name, value)| shown.get(name) == Some(value)) {
            Ok(())
        } else {
            Err(StreamRefused::Invalid("a member that the transmitter supplies was changed"))
        }
    }

    /// Changes a stream where something is said.
    pub(super) fn update(&self, stream: &mut Stream, client: &Client) -> Result<(), StreamRefused> {
        if let Some(asked) = &self.delivery {
            stream.delivery = asked.delivery(stream)?;
        }
        if let Some(requested) = &self.requested {
            stream.requested.clone_from(requested);
        }
        if let Some(description) = &self.description {
            stream.description = Some(description.clone());
        }
        if let Some(format) = self.format {
            // An address of mail is told to those who may ask for it.
            if format == Format::Email && !client.scope.contains("email") {
                return Err(StreamRefused::Invalid(
                    "`format` is `email`, and the client is not registered for the scope `email`",
                ));
            }
            if format != stream.format && stream.has_subjects {
                return Err(StreamRefused::Invalid(
                    "`format` cannot be changed once people were added or removed; make another \
                     stream",
                ));
            }
            stream.format = format;
        }
        Ok(())
    }

    /// Changes a stream to what is said.
    pub(super) fn replace(
        &self,
        stream: &mut Stream,
        client: &Client,
    ) -> Result<(), StreamRefused> {
        if self.delivery.is_none() {
            stream.delivery = Delivery::Poll;
        }
        stream.requested.clear();
        stream.description = None;
        if self.format.is_none() && !stream.has_subjects {
            stream.format = Format::IssSub;
        }
        self.update(stream, client)
    }
}

impl Asked {
    fn read(delivery: &Map<String, Value>, outward: &Outward) -> Result<Self, StreamRefused> {
        let invalid = StreamRefused::Invalid;
        let endpoint = match delivery.get("endpoint_url") {
            None | Some(Value::Null) => None,
            Some(Value::String(endpoint)) => Some(endpoint),
            Some(_) => return Err(invalid("`endpoint_url` must be a string")),
        };
        match delivery.get("method").and_then(Value::as_str) {
            Some(PUSH) => {
                let endpoint = endpoint.ok_or(invalid("`endpoint_url` is missing"))?;
                let authorization = match delivery.get("authorization_header") {
                    None => Shown::Unsaid,
                    Some(Value::Null) => Shown::Nothing,
                    Some(Value::String(text)) => {
                        Shown::This(Authorization::new(text).ok_or(invalid(
                            "`authorization_header` must be visible ASCII, at most 4096 characters",
                        ))?)
                    }
                    Some(_) => return Err(invalid("`authorization_header` must be a string")),
                };
                let endpoint = Endpoint::new(endpoint, outward).map_err(invalid)?;
                Ok(Self::Push { endpoint, authorization })
            }
            Some(POLL) => Ok(Self::Poll { endpoint: endpoint.cloned() }),
            _ => Err(invalid("`method` must be `urn:ietf:rfc:8935` or `urn:ietf:rfc:8936`")),
        }
    }

    /// The delivery of a stream that had another. What was to be shown at an endpoint is kept where
    /// nothing is said, since nobody can read it back, but never taken to another endpoint.
    fn delivery(&self, stream: &Stream) -> Result<Delivery, StreamRefused> {
        match self {
            Self::Poll { endpoint } => {
                let is_ours = |url: &String| url.ends_with(&format!("/ssf/poll/{}", stream.id));
                if endpoint.as_ref().is_some_and(|url| !is_ours(url)) {
                    return Err(StreamRefused::Invalid(
                        "`endpoint_url` of a stream that is polled is the transmitter's to say",
                    ));
                }
                Ok(Delivery::Poll)
            }
            Self::Push { endpoint, authorization } => {
                let authorization = match (authorization, &stream.delivery) {
                    (Shown::This(value), _) => Some(value.clone()),
                    (Shown::Unsaid, Delivery::Push { endpoint: before, authorization })
                        if before == endpoint =>
                    {
                        authorization.clone()
                    }
                    _ => None,
                };
                Ok(Delivery::Push { endpoint: endpoint.clone(), authorization })
            }
        }
    }
}

fn uris(list: &Value) -> Option<Vec<String>> {
    let list = list.as_array().filter(|list| list.len() <= MOST_KINDS)?;
    let uri = |value: &Value| value.as_str().filter(|uri| uri.len() <= LONGEST).map(str::to_owned);
    list.iter().map(uri).collect()
}
