//! `Feed`: every node soon hears it.

use serde::Deserialize;

use super::{BoxFuture, StoreError};
use crate::id::EventId;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Events of the journal, for whoever subscribes outside.
    Events,
    /// Entries of the revocation log, applied at once by every verifier.
    Revocations,
    /// Keys that caches must drop.
    Invalidations,
    /// Changes of key rings.
    Keys,
    /// What nodes vouch for, again and again.
    Heartbeats,
    /// How tokens are used.
    TokenUpdates,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Events,
        Self::Revocations,
        Self::Invalidations,
        Self::Keys,
        Self::Heartbeats,
        Self::TokenUpdates,
    ];

    /// The name on the bus. Those of events and invalidations are a promise to whoever subscribes
    /// outside.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "auth-events",
            Self::Revocations => "auth-revocations",
            Self::Invalidations => "cache-invalidation",
            Self::Keys => "auth-keys",
            Self::Heartbeats => "auth-heartbeats",
            Self::TokenUpdates => "token_update",
        }
    }
}

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is about.
    pub topic: Topic,
    /// Which kind it is of, where hearers outside choose by that: the type of an event. 1 to 64 of
    /// `A-Z`, `0-9` and `_`.
    pub kind: Option<String>,
    /// What tells that it is said again. A bus that can drops what it has heard under the same id.
    pub id: Option<EventId>,
    /// What it says.
    pub body: Vec<u8>,
}

impl Message {
    /// A message to the other nodes.
    #[must_use]
    pub const fn new(topic: Topic, body: Vec<u8>) -> Self {
        Self { topic, kind: None, id: None, body }
    }

    /// An event of the journal, as it stands there. Whatever its body says, it can be published:
    /// where that names no type, the message is of no kind.
    #[must_use]
    pub fn event(id: EventId, body: Vec<u8>) -> Self {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            kind: String,
        }
        // A type that only a newer release knows is published, too.
        let typed = serde_json::from_slice::<Typed>(&body).ok();
        let kind = typed.map(|typed| typed.kind).filter(|kind| is_kind(kind));
        Self { topic: Topic::Events, kind, id: Some(id), body }
    }

    /// Its name on the bus, such as `auth-events.TOKEN_REVOKED`: that of its topic, and after a dot
    /// its kind, if it is of one.
    ///
    /// # Errors
    /// [`StoreError::Misused`]: the kind is none.
    pub fn name(&self) -> Result<String, StoreError> {
        match &self.kind {
            None => Ok(self.topic.name().to_owned()),
            Some(kind) if is_kind(kind) => Ok(format!("{}.{kind}", self.topic.name())),
            Some(_) => {
                let detail = "the kind of a message is 1 to 64 of `A-Z`, `0-9` and `_`".to_owned();
                Err(StoreError::Misused { detail })
            }
        }
    }
}

/// Whether a text can be the kind of a message: names on every bus are made of such.
fn is_kind(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The body of a message.
    Message(Vec<u8>),
    /// Messages may have been missed: whoever cares must look at the log itself.
    Gap,
}

/// Messages for every node. They may be lost, repeated and reordered, so a message carries all that
/// its hearer needs, and is never the only way to learn something.
pub trait Feed: Send + Sync {
    /// Sends a message to every subscriber, on this node too. It answers soon, however the bus
    /// fares: somebody may be waiting for the answer to a revocation.
    ///
    /// `Ok` means of an event that the bus has confirmed to keep it, where it is one that keeps
    /// anything, and of anything else that it was handed over.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Hears what is published from now on.
    fn subscribe(&self, topic: Topic) -> BoxFuture<'_, Result<Box<dyn Subscription>, StoreError>>;

    /// Why nothing can be published at the moment, for operators: in the words of a message, without
    /// secrets. `None` while all is well, as far as this node knows.
    fn outage(&self) -> Option<String>;
}

/// The hearing end of a [`Feed`].
pub trait Subscription: Send {
    /// The next thing heard. `None`: the feed has been closed. Giving up waiting loses nothing, so
    /// this may stand in a `select!`.
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>>;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Event, EventType, Node, Realm};

    #[test]
    fn an_event_is_published_under_its_type() {
        let event = Event::new(&Node::for_tests(1), &Realm::default(), EventType::TokenRevoked, []);
        let message = Message::event(event.id, event.to_json());
        assert_eq!(message.name().unwrap(), "auth-events.TOKEN_REVOKED");
        assert_eq!(message.id, Some(event.id));
    }

    #[test]
    fn an_event_names_no_place_but_its_own() {
        for kind in ["", "a", "A.B", "A>", "*", "A B", "A\r\nPUB x", "É", &"A".repeat(65)] {
            let body = json!({ "type": kind }).to_string().into_bytes();
            let message = Message::event(EventId([1; 16]), body.clone());
            assert_eq!(message.name().unwrap(), "auth-events", "{kind:?}");
            let made = Message { kind: Some(kind.to_owned()), ..message };
            assert!(matches!(made.name(), Err(StoreError::Misused { .. })), "{kind:?}");
        }
        for body in ["", "{}", "[]", r#"{"type":7}"#] {
            let message = Message::event(EventId([1; 16]), body.into());
            assert_eq!(message.name().unwrap(), "auth-events");
        }
        // One that a newer release has added.
        let newer = Message::event(EventId([1; 16]), br#"{"type":"RISK_ELEVATED_2"}"#.to_vec());
        assert_eq!(newer.name().unwrap(), "auth-events.RISK_ELEVATED_2");
    }
}
