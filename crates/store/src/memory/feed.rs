//! `Feed` in memory: a bounded ring for each topic.

use tegata_core::{
    Feed, StoreError, Subscription,
    port::{BoxFuture, Heard, Message, Topic},
};

use crate::fan::Fans;

/// A feed inside one process. Whoever falls behind by more than the capacity hears a
/// [`Heard::Gap`] in place of what was missed.
pub struct MemoryFeed(Fans);

impl MemoryFeed {
    /// A feed that keeps this many messages of each topic for slow subscribers, at least 1.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Fans::new(capacity))
    }
}

impl Default for MemoryFeed {
    /// 4096 messages of each topic.
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Feed for MemoryFeed {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            message.name()?;
            self.0.of(message.topic).say(Heard::Message(message.body));
            Ok(())
        })
    }

    fn subscribe(&self, topic: Topic) -> BoxFuture<'_, Result<Box<dyn Subscription>, StoreError>> {
        Box::pin(async move { Ok(self.0.of(topic).subscribe()) })
    }

    fn outage(&self) -> Option<String> {
        None
    }
}
