//! What runs beside the requests of a server: following the log, reading key rings, cleaning up.

use std::{sync::Arc, time::Duration};

use tegata_core::{
    Log,
    port::{Heard, Sequenced, Topic},
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{compose::Composed, outbox};

/// Starts everything that runs beside the requests. It ends when the set is dropped.
pub(crate) fn start(composed: &Arc<Composed>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(Arc::clone(composed)));
    tasks.spawn(hear(Arc::clone(composed)));
    for log in Log::ALL {
        tasks.spawn(sequence(Arc::clone(composed), log));
    }
    tasks.spawn(publish(Arc::clone(composed)));
    tasks.spawn(read_keys(Arc::clone(composed)));
    tasks.spawn(clean(Arc::clone(composed)));
    tasks
}

fn every(span: Duration) -> tokio::time::Interval {
    let mut ticks = interval(span);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Pulls the revocation log, at least every second.
async fn follow(composed: Arc<Composed>) {
    let mut ticks = every(Duration::from_millis(500));
    loop {
        ticks.tick().await;
        if let Err(error) = composed.view.catch_up(composed.records.as_ref()).await {
            tracing::warn!(%error, "the revocation log cannot be read; the view grows stale");
        }
    }
}

/// Applies what other nodes push.
async fn hear(composed: Arc<Composed>) {
    loop {
        let (revocations, keys) = tokio::join!(
            composed.feed.subscribe(Topic::Revocations),
            composed.feed.subscribe(Topic::Keys)
        );
        let (Ok(mut revocations), Ok(mut keys)) = (revocations, keys) else {
            every(Duration::from_secs(1)).tick().await;
            continue;
        };
        loop {
            tokio::select! {
                heard = revocations.next() => match heard {
                    Some(Heard::Message(message)) => composed.revoker.hear(&message),
                    // The next pull, in half a second at most, brings what was missed.
                    Some(Heard::Gap) => {}
                    None => break,
                },
                heard = keys.next() => match heard {
                    Some(_) => reload(&composed).await,
                    None => break,
                },
            }
        }
    }
}

/// Gives positions to log entries, where the store leaves that to us.
async fn sequence(composed: Arc<Composed>, log: Log) {
    let mut ticks = every(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        match composed.records.sequence(log, composed.node.id()).await {
            Ok(Sequenced::AtCommit) => return,
            Ok(Sequenced::Positioned(_) | Sequenced::NotOurs) => {}
            Err(error) => tracing::warn!(%error, log = log.name(), "a log cannot be sequenced"),
        }
    }
}

/// Publishes the journal.
async fn publish(composed: Arc<Composed>) {
    let mut ticks = every(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let published = outbox::publish(composed.records.as_ref(), composed.feed.as_ref()).await;
        if let Err(error) = published {
            tracing::warn!(%error, "events cannot be published; they wait in the journal");
        }
    }
}

async fn read_keys(composed: Arc<Composed>) {
    let mut ticks = every(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        reload(&composed).await;
    }
}

async fn reload(composed: &Composed) {
    if let Err(error) = composed.keys.reload().await {
        tracing::warn!(%error, "the key rings cannot be read; the keys stay as they were");
    }
}

/// Drops what is dead, once a minute; what costs more, once an hour.
async fn clean(composed: Arc<Composed>) {
    let mut ticks = every(Duration::from_secs(60));
    let mut minutes: u64 = 0;
    loop {
        ticks.tick().await;
        let tokens = &composed.config.tokens;
        composed.view.forget();
        if let Err(error) = composed.ephemeral.sweep().await {
            tracing::warn!(%error, "what has outlived its lifetime cannot be swept");
        }
        if minutes.is_multiple_of(60) {
            let now = composed.node.now();
            // As long as the longest-lived thing that can be taken back, and a day.
            let kept = tokens.refresh_absolute.get() + Duration::from_secs(86_400);
            if let Err(error) = composed.records.purge(now, now - kept).await {
                tracing::warn!(%error, "what is dead cannot be dropped");
            }
            if let Err(error) = composed.keys.tidy().await {
                tracing::warn!(%error, "key rings cannot be tidied");
            }
        }
        minutes = minutes.wrapping_add(1);
    }
}
