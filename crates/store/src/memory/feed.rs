//! `Feed` in memory: a bounded ring for each topic.

use tegata_core::{
    Feed, StoreError, Subscription,
    port::{BoxFuture, Heard, Topic},
};
use tokio::sync::broadcast;

/// A feed inside one process. Whoever falls behind by more than the capacity hears a
/// [`Heard::Gap`] in place of what was missed.
pub struct MemoryFeed {
    events: broadcast::Sender<Vec<u8>>,
    revocations: broadcast::Sender<Vec<u8>>,
    invalidations: broadcast::Sender<Vec<u8>>,
    keys: broadcast::Sender<Vec<u8>>,
}

impl MemoryFeed {
    /// A feed that keeps this many messages of each topic for slow subscribers, at least 1.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let topic = || broadcast::Sender::new(capacity.max(1));
        Self { events: topic(), revocations: topic(), invalidations: topic(), keys: topic() }
    }

    const fn topic(&self, topic: Topic) -> &broadcast::Sender<Vec<u8>> {
        match topic {
            Topic::Events => &self.events,
            Topic::Revocations => &self.revocations,
            Topic::Invalidations => &self.invalidations,
            Topic::Keys => &self.keys,
        }
    }
}

impl Default for MemoryFeed {
    /// 4096 messages of each topic.
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Feed for MemoryFeed {
    fn publish(&self, topic: Topic, message: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            // That nobody listens is no error.
            let _heard_by = self.topic(topic).send(message);
            Ok(())
        })
    }

    fn subscribe(&self, topic: Topic) -> BoxFuture<'_, Result<Box<dyn Subscription>, StoreError>> {
        Box::pin(async move {
            let subscription = MemorySubscription(self.topic(topic).subscribe());
            Ok(Box::new(subscription) as Box<dyn Subscription>)
        })
    }
}

struct MemorySubscription(broadcast::Receiver<Vec<u8>>);

impl Subscription for MemorySubscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>> {
        Box::pin(async move {
            match self.0.recv().await {
                Ok(message) => Some(Heard::Message(message)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some(Heard::Gap),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
    }
}
