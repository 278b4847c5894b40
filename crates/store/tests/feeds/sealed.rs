//! A sealed feed on a bus to which somebody else can write.

use std::sync::Arc;

use tegata_core::{
    Custody, Feed, ManualClock, Node, Records,
    port::{Heard, Message, Topic},
};
use tegata_engines::NatsServer;
use tegata_store::{FileCustody, MemoryFeed, MemoryRecords, Sealed, SealedFeed, sealed::DATA_KEYS};

use super::support::*;

/// An installation: its store, and the root key that belongs to it.
struct Installation {
    records: Arc<dyn Records>,
    custody: Arc<dyn Custody>,
}

impl Installation {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let custody = FileCustody::create(&directory.path().join("root.key"), &Node::start());
        let records = MemoryRecords::new(&[&DATA_KEYS], Arc::new(ManualClock::default())).unwrap();
        Self { records: Arc::new(records), custody: Arc::new(custody.unwrap()) }
    }

    async fn sealed(&self) -> Sealed {
        let node = Node::start();
        let opened = Sealed::open(self.records.clone(), self.custody.clone(), &node).await;
        opened.unwrap()
    }
}

/// What is on the bus, as it is there.
async fn overheard(bus: &dyn Feed, topic: Topic, feed: &SealedFeed, body: &[u8]) -> Vec<u8> {
    let mut ear = bus.subscribe(topic).await.unwrap();
    feed.publish(Message::new(topic, body.to_vec())).await.unwrap();
    match next(ear.as_mut()).await {
        Heard::Message(bytes) => bytes,
        Heard::Gap => panic!("a gap"),
    }
}

#[tokio::test]
async fn what_nodes_say_is_sealed_and_what_outsiders_hear_is_not() {
    let bus: Arc<dyn Feed> = Arc::new(MemoryFeed::new(64));
    let feed = Installation::new().sealed().await.feed(bus.clone());
    let body = b"who was revoked and why";
    for (topic, readable) in [
        (Topic::Revocations, false),
        (Topic::Keys, false),
        (Topic::Events, true),
        (Topic::Invalidations, true),
    ] {
        let bytes = overheard(bus.as_ref(), topic, &feed, body).await;
        assert_eq!(bytes == body, readable, "{topic:?}");
        assert!(readable || !bytes.windows(7).any(|part| part == b"revoked"), "{topic:?}");
    }
}

#[tokio::test]
async fn what_somebody_else_says_is_not_heard() {
    let server = NatsServer::start();
    let bus: Arc<dyn Feed> = Arc::new(nats(&server.url()).await.unwrap());
    let ours = Installation::new();
    let (here, there) =
        (ours.sealed().await.feed(bus.clone()), ours.sealed().await.feed(bus.clone()));
    let theirs = Installation::new().sealed().await.feed(bus.clone());
    let of_another_topic = overheard(bus.as_ref(), Topic::Keys, &here, b"default").await;
    let mut altered = overheard(bus.as_ref(), Topic::Revocations, &here, b"altered").await;
    *altered.last_mut().unwrap() ^= 1;

    let mut heard = there.subscribe(Topic::Revocations).await.unwrap();
    let mut unknown_key = vec![1, 0xff, 0xff, 0xff, 0xff];
    unknown_key.extend([7; 64]);
    let strange = [vec![], b"plain".to_vec(), vec![1], vec![0; 4096], of_another_topic, altered];
    for body in strange.iter().chain([&unknown_key]) {
        bus.publish(Message::new(Topic::Revocations, body.clone())).await.unwrap();
    }
    theirs.publish(push("theirs")).await.unwrap();
    here.publish(push("ours")).await.unwrap();
    let (others, gap) = until(heard.as_mut(), "ours").await;
    assert!(others.is_empty() && !gap, "{others:?}");
    assert_eq!(there.ignored(), 8);
}

/// What is sealed with a data key that was made since is heard, and garbage that names one that does
/// not exist costs no question each.
#[tokio::test]
async fn a_new_data_key_is_heard_and_many_that_do_not_exist_cost_nothing() {
    let ours = Installation::new();
    let bus: Arc<dyn Feed> = Arc::new(MemoryFeed::new(100_000));
    let rotating = ours.sealed().await;
    let (here, there) = (rotating.feed(bus.clone()), ours.sealed().await.feed(bus.clone()));
    let mut heard = there.subscribe(Topic::Revocations).await.unwrap();
    rotating.rotate().await.unwrap();
    here.publish(push("with the second key")).await.unwrap();
    until(heard.as_mut(), "with the second key").await;

    for n in 0..50_000_u32 {
        let garbage = [&[1][..], &(n + 100).to_be_bytes(), &[7; 64]].concat();
        bus.publish(Message::new(Topic::Revocations, garbage)).await.unwrap();
    }
    here.publish(push("after all that")).await.unwrap();
    let (others, _) = until(heard.as_mut(), "after all that").await;
    assert!(others.is_empty());
    assert_eq!(there.ignored(), 50_000);
}

/// Whoever gives up waiting while a message is being opened hears it the next time.
#[tokio::test]
async fn giving_up_while_a_key_is_read_loses_nothing() {
    let ours = Installation::new();
    let bus: Arc<dyn Feed> = Arc::new(MemoryFeed::new(64));
    let rotating = ours.sealed().await;
    let slow: Arc<dyn Records> = Arc::new(tegata_store::Adverse::new(
        ours.records.clone(),
        3,
        tegata_store::Mischief { delay: 50, fail: 0, lose: 0, repeat: 0 },
    ));
    let there = Sealed::open(slow, ours.custody.clone(), &Node::start()).await.unwrap();
    let mut heard = there.feed(bus.clone()).subscribe(Topic::Revocations).await.unwrap();
    rotating.rotate().await.unwrap();
    rotating.feed(bus.clone()).publish(push("slowly")).await.unwrap();
    let mut given_up = 0;
    let said = loop {
        tokio::select! {
            biased;
            next = heard.next() => break next,
            () = tokio::task::yield_now() => given_up += 1,
        }
    };
    assert_eq!(said, Some(Heard::Message(b"slowly".to_vec())), "after {given_up} times");
}
