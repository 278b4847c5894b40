//! `Feed`: every node soon hears it.

use super::{BoxFuture, StoreError};

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
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Events, Self::Revocations, Self::Invalidations, Self::Keys];

    /// The name on the bus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "auth-events",
            Self::Revocations => "revocations",
            Self::Invalidations => "cache-invalidation",
            Self::Keys => "keys",
        }
    }
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Vec<u8>),
    /// Messages may have been missed: whoever cares must look at the log itself.
    Gap,
}

/// Messages for every node. They may be lost, repeated and reordered, so a message carries all that
/// its hearer needs, and is never the only way to learn something.
pub trait Feed: Send + Sync {
    /// Sends a message to every subscriber, on this node too.
    fn publish(&self, topic: Topic, message: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Hears what is published from now on.
    fn subscribe(&self, topic: Topic) -> BoxFuture<'_, Result<Box<dyn Subscription>, StoreError>>;
}

/// The hearing end of a [`Feed`].
pub trait Subscription: Send {
    /// The next thing heard. `None`: the feed has been closed. Giving up waiting loses nothing, so
    /// this may stand in a `select!`.
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>>;
}
