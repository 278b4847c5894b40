//! What runs beside the requests of a server: following the log, reading key rings, cleaning up.

use std::{fmt::Display, sync::Arc, time::Duration};

use tegata_core::{
    Log, Subscription,
    port::{Heard, Message, Sequenced, Topic},
};
use tegata_token::{revocation::Snapshots, usage};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use crate::{
    canary, compose::Composed, durable::Follower, foreign::fill, health, history, operate, outbox,
};

/// Starts everything that runs beside the requests. It ends when the set is dropped.
pub(crate) fn start(composed: &Arc<Composed>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(Arc::clone(composed)));
    tasks.spawn(keep_snapshots(Arc::clone(composed)));
    tasks.spawn(tick(Arc::clone(composed)));
    tasks.spawn(hear_revocations(Arc::clone(composed)));
    tasks.spawn(hear_keys(Arc::clone(composed)));
    tasks.spawn(hear_changes(Arc::clone(composed)));
    tasks.spawn(crate::cluster::keep(Arc::clone(composed)));
    for log in Log::ALL {
        tasks.spawn(sequence(Arc::clone(composed), log));
    }
    tasks.spawn(publish(Arc::clone(composed)));
    tasks.spawn(tell_of_use(Arc::clone(composed)));
    tasks.spawn(hear_of_use(Arc::clone(composed)));
    tasks.spawn(canary::sing(Arc::clone(composed)));
    tasks.spawn(record_elsewhere(Arc::clone(composed)));
    tasks.spawn(watch_clock(Arc::clone(composed)));
    tasks.spawn(history::watch(Arc::clone(composed)));
    tasks.spawn(history::elsewhere::tell(Arc::clone(composed)));
    tasks.spawn(read_keys(Arc::clone(composed)));
    tasks.spawn(crate::key_readers::tell(Arc::clone(composed)));
    tasks.spawn(replace_keys(Arc::clone(composed)));
    tasks.spawn(rotate_keys(Arc::clone(composed)));
    tasks.spawn(clean(Arc::clone(composed)));
    fill::start(composed, &mut tasks);
    tasks
}

/// Lets time pass.
pub(crate) async fn pause(span: Duration) {
    let _ = timeout(span, std::future::pending::<()>()).await;
}

pub(crate) fn every(span: Duration) -> Interval {
    let mut ticks = interval(span);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// How long is waited at most before something that fails is tried again, unless it is rarer anyway.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Something that is done again and again. While it fails it is done less often, and the log says
/// when that begins and when it is over, not each time.
pub(crate) struct Rounds {
    ticks: Interval,
    every: Duration,
    pause: Duration,
    fails: &'static str,
    failing: bool,
}

/// What the log is told.
#[derive(Debug, PartialEq, Eq)]
enum Turned {
    Bad,
    Good,
}

impl Rounds {
    /// Every so often. `fails` says what it means when it fails.
    pub(crate) fn every(span: Duration, fails: &'static str) -> Self {
        Self { ticks: every(span), every: span, pause: span, fails, failing: false }
    }

    pub(crate) async fn next(&mut self) {
        self.ticks.tick().await;
    }

    pub(crate) fn ended<T, E: Display>(&mut self, outcome: &Result<T, E>) {
        if self.note(outcome.is_ok()).is_none() {
            return;
        }
        match outcome {
            Err(error) => tracing::warn!(%error, "{}", self.fails),
            Ok(_) => tracing::info!("over: {}", self.fails),
        }
    }

    /// What has turned with this round.
    fn note(&mut self, good: bool) -> Option<Turned> {
        if good {
            self.pause = self.every;
        } else {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE.max(self.every));
            self.ticks.reset_after(self.pause);
        }
        let turned = if good { Turned::Good } else { Turned::Bad };
        let before = std::mem::replace(&mut self.failing, !good);
        (before == good).then_some(turned)
    }
}

/// Pulls the revocation log, at least every second.
async fn follow(composed: Arc<Composed>) {
    let fails = "the revocation log cannot be read; the view grows stale";
    let mut rounds = Rounds::every(Duration::from_millis(500), fails);
    loop {
        rounds.next().await;
        rounds.ended(&composed.view.catch_up(composed.records.as_ref()).await);
    }
}

/// Keeps what the log says in the form that nodes begin with, whenever it has grown enough.
async fn keep_snapshots(composed: Arc<Composed>) {
    let fails =
        "no snapshot of what was taken back can be kept; nodes that start read the log for longer";
    let snapshots = Snapshots::new(composed.node.clone());
    let mut rounds = Rounds::every(Duration::from_secs(60), fails);
    loop {
        rounds.next().await;
        let kept = snapshots.keep(&composed.view, composed.records.as_ref()).await;
        // That none was due says nothing.
        if !matches!(kept, Ok(false)) {
            rounds.ended(&kept);
        }
    }
}

/// Shows that this process runs, whatever the store does.
async fn tick(composed: Arc<Composed>) {
    let mut ticks = every(Duration::from_millis(250));
    loop {
        ticks.tick().await;
        composed.view.tick();
    }
}

/// Tells the others how tokens are used.
async fn tell_of_use(composed: Arc<Composed>) {
    let fails = "how tokens are used cannot be told to other nodes";
    let mut rounds = Rounds::every(usage::FLUSHED, fails);
    loop {
        rounds.next().await;
        let mut told = Ok(());
        for message in composed.usage.flush() {
            // What is lost is told again.
            told =
                told.and(composed.feed.publish(Message::new(Topic::TokenUpdates, message)).await);
        }
        rounds.ended(&told);
    }
}

/// Hears how tokens are used elsewhere.
async fn hear_of_use(composed: Arc<Composed>) {
    loop {
        let mut updates = subscribe(&composed, Topic::TokenUpdates).await;
        while let Some(heard) = updates.next().await {
            if let Heard::Message(message) = heard {
                composed.usage.hear(&message);
            }
        }
    }
}

/// Applies the revocations that other nodes push.
async fn hear_revocations(composed: Arc<Composed>) {
    loop {
        let mut revocations = subscribe(&composed, Topic::Revocations).await;
        while let Some(heard) = revocations.next().await {
            match heard {
                Heard::Message(message) => {
                    composed.revoker.hear(&message);
                    if let Some(part) = &composed.circle {
                        part.nudge();
                    }
                }
                // The next pull, in half a second at most, brings what was missed.
                Heard::Gap => {}
            }
        }
    }
}

/// Drops what other nodes changed. While that is not heard, nothing near is believed.
async fn hear_changes(composed: Arc<Composed>) {
    let hears = || composed.backends.hears_all() && composed.feed.outage().is_none();
    loop {
        let mut changes = subscribe(&composed, Topic::Invalidations).await;
        let mut heard_so_far = hears();
        composed.cached.listens(heard_so_far);
        let mut ticks = every(Duration::from_millis(250));
        loop {
            tokio::select! {
                heard = changes.next() => match heard {
                    Some(heard) => composed.cached.hear(&heard),
                    None => break,
                },
                _ = ticks.tick() => {
                    if hears() != heard_so_far {
                        heard_so_far = !heard_so_far;
                        composed.cached.listens(heard_so_far);
                    }
                }
            }
        }
        composed.cached.listens(false);
    }
}

/// How often the key rings are read at most, however often somebody says that they changed.
const KEYS_APART: Duration = Duration::from_millis(250);

/// Reads the key rings when another node says that they changed.
async fn hear_keys(composed: Arc<Composed>) {
    loop {
        let keys = subscribe(&composed, Topic::Keys).await;
        at_most_every(KEYS_APART, keys, || reload(Arc::clone(&composed))).await;
    }
}

/// Acts on what is heard: at once, but never twice within `span`, so that what is said in between
/// is acted on together. Ends with the feed.
async fn at_most_every<F: Future<Output = ()> + Send>(
    span: Duration,
    mut subscription: Box<dyn Subscription>,
    act: impl Fn() -> F + Send,
) {
    let mut ticks = every(span);
    let mut due = false;
    loop {
        tokio::select! {
            heard = subscription.next() => match heard {
                Some(_) => due = true,
                None => return,
            },
            _ = ticks.tick(), if due => {
                due = false;
                act().await;
            }
        }
    }
}

/// A subscription, as soon as there can be one.
pub(crate) async fn subscribe(composed: &Composed, topic: Topic) -> Box<dyn Subscription> {
    let mut ticks = every(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        if let Ok(subscription) = composed.feed.subscribe(topic).await {
            return subscription;
        }
    }
}

/// Gives positions to log entries, where the store leaves that to us.
async fn sequence(composed: Arc<Composed>, log: Log) {
    let fails = match log {
        Log::Journal => "the journal cannot be sequenced; events are late",
        Log::Revocations => "the revocation log cannot be sequenced; other nodes learn late",
    };
    let mut rounds = Rounds::every(Duration::from_millis(20), fails);
    loop {
        rounds.next().await;
        let sequenced = composed.records.sequence(log, composed.node.id()).await;
        if matches!(sequenced, Ok(Sequenced::AtCommit)) {
            return;
        }
        rounds.ended(&sequenced);
    }
}

/// Publishes the journal.
async fn publish(composed: Arc<Composed>) {
    let fails = "events cannot be published; they wait in the journal";
    let mut rounds = Rounds::every(Duration::from_millis(100), fails);
    loop {
        rounds.next().await;
        let published = outbox::publish(composed.records.as_ref(), composed.feed.as_ref()).await;
        rounds.ended(&published);
    }
}

/// Records revocations in their second home, where that is elsewhere than in the store.
async fn record_elsewhere(composed: Arc<Composed>) {
    let Some(elsewhere) = &composed.elsewhere else { return };
    let mut follower = Follower::new(
        composed.node.clone(),
        elsewhere.name.clone(),
        Arc::clone(&composed.backstop),
        Arc::clone(&elsewhere.standing),
    );
    let fails = "revocations cannot be recorded in their second home; they wait in the log";
    let mut rounds = Rounds::every(Duration::from_millis(250), fails);
    loop {
        rounds.next().await;
        let mut followed = Ok(true);
        while let Ok(true) = followed {
            let head = composed.view.position();
            followed = follower.follow(composed.records.as_ref(), head).await;
        }
        rounds.ended(&followed);
    }
}

/// Looks at the clock, so that what is wrong with it is noticed also while nobody asks what time it is.
/// While the store says another time, nothing is issued.
async fn watch_clock(composed: Arc<Composed>) {
    let mut rounds = Rounds::every(Duration::from_secs(1), "the node is not ready");
    loop {
        rounds.next().await;
        let on_time = health::on_time(&composed);
        let wrong = on_time.as_ref().err().filter(|(reason, _)| *reason == "clock_wrong");
        composed.keys.withhold(wrong.map(|(_, detail)| detail.clone()));
        rounds.ended(&on_time.map_err(|(_, detail)| detail));
    }
}

async fn read_keys(composed: Arc<Composed>) {
    let mut rounds = Rounds::every(Duration::from_secs(5), KEYS_STAY);
    loop {
        rounds.next().await;
        rounds.ended(&composed.keys.reload().await);
    }
}

/// Reads the key rings as soon as it is known that one of their keys was taken back, however it came to
/// be known: what it signs from then on nobody accepts.
async fn replace_keys(composed: Arc<Composed>) {
    let (known, news) = (composed.view.realm(&composed.realm), Arc::new(Notify::new()));
    let told = Arc::clone(&news);
    composed.view.listen(move || told.notify_one());
    loop {
        news.notified().await;
        let keys = composed.keys.now();
        let mut in_use = keys.list().filter(|(.., state)| state.is_published());
        if in_use.any(|(kid, ..)| known.key_revoked(kid.as_str())) {
            reload(Arc::clone(&composed)).await;
        }
    }
}

/// Makes the next keys sign when the current ones have done so for long enough.
async fn rotate_keys(composed: Arc<Composed>) {
    let span = composed.config.keys.rotate_every.get();
    if span.is_zero() {
        return;
    }
    let looked = (span / 10).clamp(Duration::from_secs(1), Duration::from_secs(60));
    let mut rounds = Rounds::every(looked, "signing keys that are due cannot be rotated");
    loop {
        rounds.next().await;
        rounds.ended(&operate::rotate_due(&composed).await);
    }
}

const KEYS_STAY: &str = "the key rings cannot be read; the keys stay as they were";

async fn reload(composed: Arc<Composed>) {
    if let Err(error) = composed.keys.reload().await {
        tracing::warn!(%error, "{KEYS_STAY}");
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
        // It is in memory, and does not fail.
        let _ = composed.standby.sweep().await;
        if let Err(error) = composed.ephemeral.sweep().await {
            tracing::warn!(%error, "what has outlived its lifetime cannot be swept");
        }
        minutes = minutes.wrapping_add(1);
        // What is dropped is gone for all nodes: by no clock that nothing was compared with yet.
        if minutes.is_multiple_of(60) && health::on_time(&composed).is_ok() {
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
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tegata_core::{Feed as _, port::Message};
    use tegata_store::MemoryFeed;

    use super::*;

    /// Says something 1000 times, and answers how often it was acted on when the last was said.
    async fn acted_on(span: Duration) -> u32 {
        let feed = MemoryFeed::new(16);
        let heard = feed.subscribe(Topic::Keys).await.unwrap();
        let (acted, news) = (AtomicU32::new(0), || Message::new(Topic::Keys, vec![]));
        let acting = at_most_every(span, heard, || {
            acted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(())
        });
        let saying = async {
            for _ in 0..1000 {
                feed.publish(news()).await.unwrap();
                tokio::task::yield_now().await;
            }
            let before = acted.load(Ordering::SeqCst);
            feed.publish(news()).await.unwrap();
            // The last is acted on, unless that is long to come.
            while span < Duration::from_secs(1) && acted.load(Ordering::SeqCst) == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { () = acting => {} () = saying => {} }
        acted.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn what_is_said_again_and_again_is_acted_on_rarely_and_to_the_last() {
        assert_eq!(acted_on(Duration::from_secs(3600)).await, 1);
        assert!(acted_on(Duration::from_millis(1)).await >= 2);
    }

    #[tokio::test]
    async fn an_outage_is_told_twice_and_not_every_round() {
        let mut rounds = Rounds::every(Duration::from_millis(20), "it fails");
        assert_eq!(rounds.note(true), None);
        assert_eq!(rounds.note(false), Some(Turned::Bad));
        for _ in 0..1000 {
            assert_eq!(rounds.note(false), None);
        }
        assert_eq!(rounds.note(true), Some(Turned::Good));
        assert_eq!(rounds.note(true), None);
    }

    #[tokio::test]
    async fn what_fails_is_tried_less_often_until_it_works() {
        let mut rounds = Rounds::every(Duration::from_millis(20), "it fails");
        let mut pauses = vec![];
        for _ in 0..7 {
            rounds.note(false);
            pauses.push(rounds.pause.as_millis());
        }
        assert_eq!(pauses, [40, 80, 160, 320, 640, 1000, 1000]);
        rounds.note(true);
        assert_eq!(rounds.pause, Duration::from_millis(20));
        // What is rare anyway stays as it is.
        let mut rare = Rounds::every(Duration::from_secs(5), "it fails");
        rare.note(false);
        assert_eq!(rare.pause, Duration::from_secs(5));
    }
}
