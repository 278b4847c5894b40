//! The contract of `Feed`: each subscriber hears every message, or that it may have missed some.
//! Messages may be repeated and reordered, so the clauses count neither.

use std::collections::BTreeSet;

use tegata_core::{
    EventType, Feed, StoreError, Subscription,
    port::{Heard, Message, Topic},
};

use super::bed::{Bed, id};

/// Hears until the messages and the gaps account for everything up to `last`.
async fn hear_until(subscription: &mut dyn Subscription, last: &[u8]) -> (BTreeSet<Vec<u8>>, bool) {
    let (mut messages, mut gap) = (BTreeSet::new(), false);
    loop {
        match subscription.next().await.expect("the feed is open") {
            Heard::Gap => gap = true,
            Heard::Message(message) => {
                messages.insert(message);
            }
        }
        if messages.contains(last) {
            return (messages, gap);
        }
    }
}

/// Hears until all these messages were heard; fails on a gap.
async fn hear_all(subscription: &mut dyn Subscription, expected: &BTreeSet<Vec<u8>>) {
    let mut messages = BTreeSet::new();
    while messages != *expected {
        match subscription.next().await.expect("the feed is open") {
            Heard::Gap => panic!("a subscriber that keeps up has a gap"),
            Heard::Message(message) => {
                assert!(expected.contains(&message), "heard something that nobody said");
                messages.insert(message);
            }
        }
    }
}

pub(crate) async fn every_subscriber_hears_every_message(bed: &Bed<dyn Feed>) {
    let mut subscriptions = Vec::new();
    for n in 0..8 {
        subscriptions.push(bed.node(n).subscribe(Topic::Revocations).await.unwrap());
    }
    let expected = (0..200_usize).map(|n| n.to_string().into_bytes()).collect::<BTreeSet<_>>();
    let hearers = subscriptions.into_iter().map(|mut subscription| {
        let expected = expected.clone();
        tokio::spawn(async move { hear_all(subscription.as_mut(), &expected).await })
    });
    let hearers = hearers.collect::<Vec<_>>();
    bed.crowd(200, |node, n| async move {
        node.publish(Message::new(Topic::Revocations, n.to_string().into_bytes())).await.unwrap();
    })
    .await;
    for hearer in hearers {
        hearer.await.unwrap();
    }
}

pub(crate) async fn whoever_falls_behind_hears_a_gap(bed: &Bed<dyn Feed>) {
    let mut slow = bed.first().subscribe(Topic::Events).await.unwrap();
    let count = 20_000_u32;
    for n in 0..count {
        bed.first().publish(Message::new(Topic::Events, n.to_be_bytes().to_vec())).await.unwrap();
    }
    // The last message is said until it is heard, since what is published may be held up.
    let feed = bed.node(0);
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let repeats = tokio::spawn(async move {
        while stopped.try_recv().is_err() {
            feed.publish(Message::new(Topic::Events, b"last".to_vec())).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let (messages, gap) = hear_until(slow.as_mut(), b"last").await;
    stop.send(()).unwrap();
    repeats.await.unwrap();
    let heard_all = (0..count).all(|n| messages.contains(n.to_be_bytes().as_slice()));
    assert!(gap || heard_all, "messages were missed and nothing tells");
}

pub(crate) async fn topics_are_apart(bed: &Bed<dyn Feed>) {
    let mut subscriptions = Vec::new();
    for topic in Topic::ALL {
        subscriptions.push((topic, bed.first().subscribe(topic).await.unwrap()));
    }
    for topic in Topic::ALL {
        let message = Message::new(topic, topic.name().as_bytes().to_vec());
        bed.node(1).publish(message).await.unwrap();
    }
    for (topic, mut subscription) in subscriptions {
        let expected = BTreeSet::from([topic.name().as_bytes().to_vec()]);
        hear_all(subscription.as_mut(), &expected).await;
    }
}

pub(crate) async fn messages_of_any_content_arrive_whole(bed: &Bed<dyn Feed>) {
    let mut subscription = bed.first().subscribe(Topic::Keys).await.unwrap();
    let messages = BTreeSet::from([vec![], vec![0, 0xff, b'\r', b'\n'], vec![7; 65_536]]);
    for message in &messages {
        bed.first().publish(Message::new(Topic::Keys, message.clone())).await.unwrap();
    }
    hear_all(subscription.as_mut(), &messages).await;
}

pub(crate) async fn nobody_needs_to_listen(bed: &Bed<dyn Feed>) {
    bed.first().publish(Message::new(Topic::Events, b"unheard".to_vec())).await.unwrap();
    drop(bed.first().subscribe(Topic::Events).await.unwrap());
    bed.first().publish(Message::new(Topic::Events, b"unheard".to_vec())).await.unwrap();
}

/// Events are heard whatever their type, and one whose type nobody can tell, too.
pub(crate) async fn events_of_every_type_are_heard(bed: &Bed<dyn Feed>) {
    let mut subscription = bed.first().subscribe(Topic::Events).await.unwrap();
    let types =
        [EventType::TokenRevoked.name(), EventType::KeyRotated.name(), "OF_A_NEWER_RELEASE"];
    let bodies = types.map(|name| format!(r#"{{"type":"{name}"}}"#).into_bytes());
    let bodies = bodies.into_iter().chain([b"{}".to_vec()]).collect::<BTreeSet<_>>();
    for (n, body) in bodies.iter().enumerate() {
        bed.node(n).publish(Message::event(id(n), body.clone())).await.unwrap();
    }
    hear_all(subscription.as_mut(), &bodies).await;
}

/// Whoever lost the answer says it again: that is no error, and is heard at least once.
pub(crate) async fn an_event_may_be_said_again(bed: &Bed<dyn Feed>) {
    let mut subscription = bed.first().subscribe(Topic::Events).await.unwrap();
    let body = br#"{"type":"TOKEN_REVOKED"}"#.to_vec();
    for n in 0..5 {
        bed.node(n).publish(Message::event(id(1), body.clone())).await.unwrap();
    }
    hear_all(subscription.as_mut(), &BTreeSet::from([body])).await;
}

/// The kind of a message is part of a name on the bus, and must not be able to name something else.
pub(crate) async fn a_kind_that_is_none_is_refused(bed: &Bed<dyn Feed>) {
    for kind in ["", "lower", "A.B", "*", ">", "A B", "A\r\nB", "A\0"] {
        let message = Message {
            kind: Some(kind.to_owned()),
            ..Message::new(Topic::Events, b"anything".to_vec())
        };
        let refused = bed.first().publish(message).await;
        assert!(matches!(refused, Err(StoreError::Misused { .. })), "{kind:?}: {refused:?}");
    }
}

pub(crate) async fn all_is_well_and_says_so(bed: &Bed<dyn Feed>) {
    assert_eq!(bed.first().outage(), None);
}

/// `next` may stand in a `select!`: giving up waiting loses nothing.
pub(crate) async fn giving_up_waiting_loses_nothing(bed: &Bed<dyn Feed>) {
    let mut subscription = bed.first().subscribe(Topic::Keys).await.unwrap();
    let expected = (0..50_u8).map(|n| vec![n]).collect::<BTreeSet<_>>();
    for message in &expected {
        bed.first().publish(Message::new(Topic::Keys, message.clone())).await.unwrap();
    }
    let mut heard = BTreeSet::new();
    while heard != expected {
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            next = subscription.next() => match next.expect("the feed is open") {
                Heard::Gap => panic!("a subscriber that keeps up has a gap"),
                Heard::Message(message) => { heard.insert(message); }
            }
        }
    }
}

/// One test for each clause of the contract of `Feed`.
macro_rules! feed_contract {
    ($adapter:ident, $bed:expr) => {
        mod $adapter {
            use crate::contract::feed as clauses;

            clauses! { $bed,
                every_subscriber_hears_every_message
                whoever_falls_behind_hears_a_gap
                topics_are_apart
                messages_of_any_content_arrive_whole
                nobody_needs_to_listen
                events_of_every_type_are_heard
                an_event_may_be_said_again
                a_kind_that_is_none_is_refused
                all_is_well_and_says_so
                giving_up_waiting_loses_nothing
            }
        }
    };
}
