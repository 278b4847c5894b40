//! Outages, of whatever bus: the server is killed, held, and comes back; callers are told soon, and
//! subscribers hear that they may have missed something.

use std::sync::Arc;

use tegata_core::{Feed, StoreError, port::Topic};
use tegata_engines::{NatsServer, RedisServer};
use tokio::{task::JoinSet, time::timeout};

use super::support::*;

/// A server that can fail, and feeds on it.
trait Bus: Send + Sync {
    fn kill(&self);
    fn launch(&self);
    fn hold(&self);
    fn go_on(&self);
    async fn feed(&self) -> Arc<dyn Feed>;
}

impl Bus for NatsServer {
    fn kill(&self) {
        self.kill();
    }
    fn launch(&self) {
        self.launch();
    }
    fn hold(&self) {
        self.process().hold();
    }
    fn go_on(&self) {
        self.process().go_on();
    }
    async fn feed(&self) -> Arc<dyn Feed> {
        Arc::new(nats(&self.url()).await.unwrap())
    }
}

impl Bus for RedisServer {
    fn kill(&self) {
        self.kill();
    }
    fn launch(&self) {
        self.launch();
    }
    fn hold(&self) {
        self.node().process().hold();
    }
    fn go_on(&self) {
        self.node().process().go_on();
    }
    async fn feed(&self) -> Arc<dyn Feed> {
        Arc::new(redis(&self.url()).await.unwrap())
    }
}

async fn a_server_that_is_gone_is_told_and_found_again(bus: &impl Bus) {
    let (here, there) = (bus.feed().await, bus.feed().await);
    let mut heard = there.subscribe(Topic::Revocations).await.unwrap();
    for round in 0..3 {
        assert!(!until_carried(here.clone(), heard.as_mut(), &format!("before {round}")).await);
        bus.kill();
        soon(async || here.outage().is_some() && there.outage().is_some()).await;
        let outage = here.outage().unwrap();
        assert!(outage.contains("127.0.0.1") && !outage.contains("of-tests"), "{outage}");
        let mut calls = JoinSet::new();
        for n in 0..200 {
            let feed = here.clone();
            let message = if n % 2 == 0 { push("while it is down") } else { event(n) };
            calls.spawn(async move { timeout(HANGING, feed.publish(message)).await });
        }
        for answer in calls.join_all().await {
            let answer = answer.expect("publishing hangs");
            assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
        }
        assert!(here.subscribe(Topic::Invalidations).await.is_err());
        bus.launch();
        soon(async || here.outage().is_none() && there.outage().is_none()).await;
        // The gap is before whatever is heard again.
        assert!(until_carried(here.clone(), heard.as_mut(), &format!("after {round}")).await);
        insist(here.as_ref(), event(1000 + round)).await;
    }
}

async fn a_server_that_is_silent_is_told_and_found_again(bus: &impl Bus) {
    let (here, there) = (bus.feed().await, bus.feed().await);
    let mut heard = there.subscribe(Topic::Revocations).await.unwrap();
    assert!(!until_carried(here.clone(), heard.as_mut(), "before").await);
    bus.hold();
    soon(async || {
        let pushed = timeout(HANGING, here.publish(push("into silence"))).await;
        pushed.expect("publishing hangs").is_err() && here.outage().is_some()
    })
    .await;
    let kept = timeout(HANGING, here.publish(event(1))).await.expect("publishing hangs");
    assert!(matches!(kept, Err(StoreError::Unavailable { .. })), "{kept:?}");
    soon(async || there.outage().is_some()).await;
    bus.go_on();
    // What is heard before that may be heard before the gap.
    soon(async || here.outage().is_none() && there.outage().is_none()).await;
    assert!(until_carried(here.clone(), heard.as_mut(), "after").await);
    insist(here.as_ref(), event(1)).await;
}

async fn a_node_starts_while_the_server_is_gone(bus: &impl Bus) {
    bus.kill();
    let feed = timeout(HANGING, bus.feed()).await.expect("opening hangs");
    assert!(feed.outage().is_some());
    assert!(matches!(feed.publish(event(1)).await, Err(StoreError::Unavailable { .. })));
    let subscribed = feed.subscribe(Topic::Revocations).await.map(drop);
    assert!(matches!(subscribed, Err(StoreError::Unavailable { .. })), "{subscribed:?}");
    bus.launch();
    soon(async || feed.outage().is_none()).await;
    insist(feed.as_ref(), event(1)).await;
    let mut heard = feed.subscribe(Topic::Revocations).await.unwrap();
    until_carried(feed.clone(), heard.as_mut(), "at last").await;
}

/// Whoever does not listen hears that something was missed, and then no more than what the ring of
/// its process holds.
async fn a_slow_subscriber_hears_a_gap_and_little_old_news(bus: &impl Bus) {
    let (here, there) = (bus.feed().await, bus.feed().await);
    let mut slow = there.subscribe(Topic::Revocations).await.unwrap();
    let mut quick = there.subscribe(Topic::Revocations).await.unwrap();
    for n in 0..1000 {
        insist(here.as_ref(), push(&n.to_string())).await;
        until(quick.as_mut(), &n.to_string()).await;
    }
    let before = until_gap(slow.as_mut()).await;
    assert!(before.is_empty(), "{} old messages before the gap", before.len());
    let (rest, _) = until(slow.as_mut(), "999").await;
    assert!(rest.len() < 128, "{} old messages after the gap", rest.len());
}

/// One test for each clause, for one bus.
macro_rules! outages {
    ($bus:ident, $start:expr, $($clause:ident)*) => {
        mod $bus {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $clause() {
                    super::$clause(&$start).await;
                }
            )*
        }
    };
}

outages! { of_nats, NatsServer::start(),
    a_server_that_is_gone_is_told_and_found_again
    a_server_that_is_silent_is_told_and_found_again
    a_node_starts_while_the_server_is_gone
    a_slow_subscriber_hears_a_gap_and_little_old_news
}

outages! { of_redis, RedisServer::start(),
    a_server_that_is_gone_is_told_and_found_again
    a_server_that_is_silent_is_told_and_found_again
    a_node_starts_while_the_server_is_gone
    a_slow_subscriber_hears_a_gap_and_little_old_news
}
