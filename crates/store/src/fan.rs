//! What is heard of a bus, spread to the subscribers of this process: a bounded ring for each topic.

use tegata_core::{
    Subscription,
    port::{BoxFuture, Heard, Topic},
};
use tokio::sync::broadcast;

/// The rings of all topics. Clones are the same rings.
#[derive(Clone)]
pub(crate) struct Fans {
    events: Fan,
    revocations: Fan,
    invalidations: Fan,
    keys: Fan,
    heartbeats: Fan,
    token_updates: Fan,
}

/// The ring of one topic. Whoever falls behind by more than its capacity hears a [`Heard::Gap`] in
/// place of what was missed, so nobody is ever told more old news than it holds.
#[derive(Clone)]
pub(crate) struct Fan(broadcast::Sender<Heard>);

impl Fans {
    /// Rings that keep this many messages each for slow subscribers, at least 1.
    pub(crate) fn new(capacity: usize) -> Self {
        let fan = || Fan(broadcast::Sender::new(capacity.max(1)));
        Self {
            events: fan(),
            revocations: fan(),
            invalidations: fan(),
            keys: fan(),
            heartbeats: fan(),
            token_updates: fan(),
        }
    }

    pub(crate) const fn of(&self, topic: Topic) -> &Fan {
        match topic {
            Topic::Events => &self.events,
            Topic::Revocations => &self.revocations,
            Topic::Invalidations => &self.invalidations,
            Topic::Keys => &self.keys,
            Topic::Heartbeats => &self.heartbeats,
            Topic::TokenUpdates => &self.token_updates,
        }
    }

    /// Tells every subscriber of every topic that messages may have been missed.
    pub(crate) fn gap(&self) {
        for topic in Topic::ALL {
            self.of(topic).say(Heard::Gap);
        }
    }
}

impl Fan {
    pub(crate) fn say(&self, heard: Heard) {
        // That nobody listens is no error.
        let _heard_by = self.0.send(heard);
    }

    /// Hears what is said from now on.
    pub(crate) fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(Listener(self.0.subscribe()))
    }
}

struct Listener(broadcast::Receiver<Heard>);

impl Subscription for Listener {
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>> {
        Box::pin(async move {
            match self.0.recv().await {
                Ok(heard) => Some(heard),
                Err(broadcast::error::RecvError::Lagged(_)) => Some(Heard::Gap),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
    }
}
