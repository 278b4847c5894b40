//! What the tests of feeds share.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tegata_core::{
    EventId, Feed, Node, Subscription,
    port::{Heard, Message, Topic},
};
use tegata_store::{
    NatsConfig, NatsFeed, NatsRefused, RedisFeed, RedisFeedConfig, RedisFeedRefused,
};
use tokio::time::timeout;

/// Longer than anything takes, however busy the machine: only what hangs takes as long.
pub(crate) const HANGING: Duration = Duration::from_secs(60);

/// Limits that let a busy machine take its time to answer.
pub(crate) fn nats_config() -> NatsConfig {
    NatsConfig {
        push: Duration::from_millis(250),
        answer: Duration::from_secs(10),
        connect: Duration::from_secs(10),
        probe: Duration::from_millis(500),
        waiting: 64,
        ..NatsConfig::default()
    }
}

pub(crate) async fn nats(url: &str) -> Result<NatsFeed, NatsRefused> {
    NatsFeed::open(url, nats_config(), &Node::start()).await
}

pub(crate) fn redis_config() -> RedisFeedConfig {
    RedisFeedConfig {
        push: Duration::from_millis(250),
        answer: Duration::from_secs(5),
        connect: Duration::from_secs(10),
        waiting: 64,
        ..RedisFeedConfig::default()
    }
}

pub(crate) async fn redis(url: &str) -> Result<RedisFeed, RedisFeedRefused> {
    RedisFeed::open(url, redis_config(), &Node::start()).await
}

/// The `n`th event.
pub(crate) fn event(n: u32) -> Message {
    let body = format!(r#"{{"type":"TOKEN_REVOKED","n":{n}}}"#);
    Message::event(EventId(u128::from(n).to_be_bytes()), body.into_bytes())
}

pub(crate) fn push(body: &str) -> Message {
    Message::new(Topic::Revocations, body.into())
}

/// Waits until a condition holds.
pub(crate) async fn soon(mut holds: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !holds().await {
            ticks.tick().await;
        }
    };
    timeout(HANGING, waiting).await.expect("it does not come about");
}

/// Publishes until it is answered `Ok`.
pub(crate) async fn insist(feed: &dyn Feed, message: Message) {
    soon(async || {
        let published = timeout(HANGING, feed.publish(message.clone())).await;
        published.expect("publishing hangs").is_ok()
    })
    .await;
}

/// The next thing heard.
pub(crate) async fn next(subscription: &mut dyn Subscription) -> Heard {
    let next = timeout(HANGING, subscription.next()).await.expect("nothing is heard");
    next.expect("the feed is open")
}

/// Hears until a gap; answers what was heard before.
pub(crate) async fn until_gap(subscription: &mut dyn Subscription) -> Vec<Vec<u8>> {
    let mut before = Vec::new();
    loop {
        match next(subscription).await {
            Heard::Gap => return before,
            Heard::Message(body) => before.push(body),
        }
    }
}

/// Hears until a message with this body; answers the others, and whether there was a gap.
pub(crate) async fn until(
    subscription: &mut dyn Subscription,
    body: &str,
) -> (BTreeSet<Vec<u8>>, bool) {
    let (mut others, mut gap) = (BTreeSet::new(), false);
    loop {
        match next(subscription).await {
            Heard::Gap => gap = true,
            Heard::Message(heard) if heard == body.as_bytes() => return (others, gap),
            Heard::Message(heard) => {
                others.insert(heard);
            }
        }
    }
}

/// Publishes a message again and again until the subscription has heard it. Answers whether there
/// was a gap before.
pub(crate) async fn until_carried(
    feed: Arc<dyn Feed>,
    subscription: &mut dyn Subscription,
    body: &str,
) -> bool {
    let message = push(body);
    let repeating = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            // It may be down yet.
            let _refused = timeout(HANGING, feed.publish(message.clone())).await.expect("it hangs");
        }
    };
    tokio::select! {
        heard = until(subscription, body) => heard.1,
        () = repeating => false,
    }
}
