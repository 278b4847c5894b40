//! The outbox: events of the journal, published in their order, at least once.

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Expect, Feed, Kind, Lifetime, Log, Realm, Records, StoreError, Stored,
    port::Message, repository,
};

/// Where it is kept how far the journal has been published.
pub(crate) static OUTBOX: Kind =
    Kind { name: "outbox", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// How many events are published before the progress is written.
const BATCH: u32 = 500;

#[derive(Serialize, Deserialize)]
struct Published {
    key: String,
    position: u64,
}

impl Stored for Published {
    const KIND: &'static Kind = &OUTBOX;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

/// Publishes what the journal has gained, and answers how much that was. Of two nodes that do so at
/// once, both may publish the same; the event's `id` tells.
pub(crate) async fn publish(records: &dyn Records, feed: &dyn Feed) -> Result<usize, StoreError> {
    let realm = Realm::default();
    let found = repository::load::<Published>(records, &realm, "journal").await?;
    let (after, expect) = found.map_or((0, Expect::Absent), |found| {
        (found.value.position, Expect::Version(found.version))
    });
    let pull = records.pull(Log::Journal, after, BATCH).await?;
    // What was trimmed away before it was published is older than anybody waits for.
    let last = pull.entries.last().map(|entry| entry.position);
    let reached = last.unwrap_or_else(|| pull.tail.saturating_sub(1).max(after));
    for entry in &pull.entries {
        feed.publish(Message::event(entry.id, entry.body.clone())).await?;
    }
    if reached > after {
        let progress = Published { key: "journal".to_owned(), position: reached };
        match records.commit(Batch::new(realm).with(progress.put(expect))).await {
            // Whoever was faster has published the same.
            Ok(()) | Err(CommitRefused::Conflict { .. }) => {}
            Err(CommitRefused::Store(error)) => return Err(error),
        }
    }
    Ok(pull.entries.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tegata_core::{
        Event, EventType, ManualClock, Node,
        port::{Heard, Topic},
    };
    use tegata_store::{MemoryFeed, MemoryRecords};

    use super::*;

    #[tokio::test]
    async fn events_are_published_once_and_in_order_while_nothing_fails() {
        let node = Node::for_tests(1);
        let clock = Arc::new(ManualClock::default());
        let records = MemoryRecords::new(&[&OUTBOX], clock).unwrap();
        let feed = MemoryFeed::new(64);
        let mut heard = feed.subscribe(Topic::Events).await.unwrap();
        let realm = Realm::default();
        for number in 0..5 {
            let data = [("number", number.into())];
            let event = Event::new(&node, &realm, EventType::RegistryChanged, data);
            records.commit(Batch::new(realm.clone()).journal(&event)).await.unwrap();
        }
        assert_eq!(publish(&records, &feed).await.unwrap(), 5);
        assert_eq!(publish(&records, &feed).await.unwrap(), 0);
        for number in 0..5 {
            let Some(Heard::Message(body)) = heard.next().await else { panic!("nothing heard") };
            let event: Event = serde_json::from_slice(&body).unwrap();
            assert_eq!(event.data["number"], number);
        }
    }
}
