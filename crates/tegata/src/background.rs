//! What runs beside the requests of a server: following the log, reading key rings, cleaning up.

use std::{fmt::Display, sync::Arc, time::Duration};

use tegata_core::{
    Batch, BoxFuture, CommitRefused, Log, StoreError, Subscription, Timestamp,
    port::{Heard, Message, Sequenced, Topic},
};
use tegata_token::{foreign, revocation::Snapshots, usage};
use tokio::{
    sync::Notify,
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use crate::{
    canary,
    compose::Composed,
    durable::Follower,
    foreign::fill,
    health, history, key_door, operate, outbox,
    supervisor::{Tasks, Weight},
};

/// Starts everything that runs beside the requests. It ends when the tasks are dropped.
pub(crate) fn start(composed: &Arc<Composed>) -> Tasks {
    let mut tasks = composed.supervisor.tasks();
    let mut keep = |name, weight, task: fn(Arc<Composed>) -> BoxFuture<'static, ()>| {
        let composed = Arc::clone(composed);
        tasks.keep(name, weight, move || task(Arc::clone(&composed)));
    };
    // Without these, the node would serve what was taken back, or could not know that it does.
    keep("follow_revocations", Weight::Essential, |it| Box::pin(follow(it)));
    keep("tick", Weight::Essential, |it| Box::pin(tick(it)));
    keep("hear_revocations", Weight::Essential, |it| Box::pin(hear_revocations(it)));
    keep("hear_changes", Weight::Essential, |it| Box::pin(hear_changes(it)));
    keep("sequence_journal", Weight::Essential, |it| Box::pin(sequence(it, Log::Journal)));
    keep("sequence_revocations", Weight::Essential, |it| Box::pin(sequence(it, Log::Revocations)));
    keep("watch_clock", Weight::Essential, |it| Box::pin(watch_clock(it)));
    keep("watch_history", Weight::Essential, |it| Box::pin(history::watch(it)));
    keep("read_keys", Weight::Essential, |it| Box::pin(read_keys(it)));
    keep("replace_keys", Weight::Essential, |it| Box::pin(replace_keys(it)));
    keep("record_elsewhere", Weight::Essential, |it| Box::pin(record_elsewhere(it)));
    // Others stand in for these, or what they do can wait.
    keep("publish_events", Weight::Helpful, |it| Box::pin(publish(it)));
    keep("keep_snapshots", Weight::Helpful, |it| Box::pin(keep_snapshots(it)));
    keep("hear_keys", Weight::Helpful, |it| Box::pin(hear_keys(it)));
    keep("cluster", Weight::Helpful, |it| Box::pin(crate::cluster::keep(it)));
    keep("answer_nodes", Weight::Helpful, |it| Box::pin(operate::others::answer(it)));
    keep("tell_of_use", Weight::Helpful, |it| Box::pin(tell_of_use(it)));
    keep("hear_of_use", Weight::Helpful, |it| Box::pin(hear_of_use(it)));
    keep("tell_of_failures", Weight::Helpful, |it| Box::pin(tell_of_failures(it)));
    keep("canary", Weight::Helpful, |it| Box::pin(canary::sing(it)));
    keep("history_elsewhere", Weight::Helpful, |it| Box::pin(history::elsewhere::tell(it)));
    keep("tell_of_readers", Weight::Helpful, |it| Box::pin(crate::key_readers::tell(it)));
    keep("rotate_keys", Weight::Helpful, |it| Box::pin(rotate_keys(it)));
    keep("ask_signers", Weight::Helpful, |it| Box::pin(ask_signers(it)));
    keep("write_key_uses", Weight::Helpful, |it| Box::pin(write_key_uses(it)));
    keep("clean", Weight::Helpful, |it| Box::pin(clean(it)));
    keep("read_certificates", Weight::Helpful, |it| Box::pin(crate::certified::follow(it)));
    keep("keep_trust_bundles", Weight::Helpful, |it| Box::pin(crate::trust_domains::keep(it)));
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

/// Writes down when API keys were used.
async fn write_key_uses(composed: Arc<Composed>) {
    let fails = "it cannot be written down when API keys were used";
    let mut rounds = Rounds::every(key_door::WRITTEN, fails);
    loop {
        rounds.next().await;
        rounds.ended(&key_door::write_uses(&composed).await);
    }
}

/// How many events of failed attempts go into the journal at once.
const TOGETHER: usize = 100;

/// Writes down which attempts to sign in failed.
async fn tell_of_failures(composed: Arc<Composed>) {
    let fails = "attempts to sign in that failed cannot be written down; some of them wait";
    let mut rounds = Rounds::every(Duration::from_millis(500), fails);
    loop {
        rounds.next().await;
        rounds.ended(&write_failures(&composed).await);
    }
}

/// Writes those that wait.
pub(crate) async fn write_failures(composed: &Composed) -> Result<(), CommitRefused> {
    let failures = composed.sign_in.throttle().failures();
    let mut events = failures.take();
    while let Some((realm, _)) = events.first() {
        let batch = Batch::new(realm.clone());
        let same = events.iter().take(TOGETHER).take_while(|(of, _)| of == realm);
        let (count, batch) =
            same.fold((0, batch), |(count, batch), (_, event)| (count + 1, batch.journal(event)));
        let committed = composed.records.commit(batch).await;
        // What may have been written is not written twice.
        let untouched =
            matches!(committed, Err(CommitRefused::Store(StoreError::Unavailable { .. })));
        if !untouched {
            events.drain(..count);
        }
        if committed.is_err() {
            failures.put_back(events);
            return committed;
        }
    }
    Ok(())
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

/// Has nothing near be believed once nobody hears what changes, however that came about.
struct Hearing(Arc<Composed>);

impl Drop for Hearing {
    fn drop(&mut self) {
        self.0.cached.listens(false);
    }
}

/// Drops what other nodes changed. While that is not heard, nothing near is believed.
async fn hear_changes(composed: Arc<Composed>) {
    let _hearing = Hearing(Arc::clone(&composed));
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
    // What was learnt before, too.
    news.notify_one();
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
    let minute = Duration::from_secs(60);
    let span = composed.config.keys.rotate_every.get();
    // Where none is ever due by itself, the place of one that was taken back is filled all the same.
    let looked =
        if span.is_zero() { minute } else { (span / 10).clamp(Duration::from_secs(1), minute) };
    let mut rounds = Rounds::every(looked, "signing keys that are due cannot be rotated");
    loop {
        rounds.next().await;
        rounds.ended(&operate::rotate_due(&composed).await);
    }
}

/// Asks keys in a token that did not sign a moment ago whether they do again: nobody else asks them as
/// long as that is known.
async fn ask_signers(composed: Arc<Composed>) {
    let mut ticks = every(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        let keys = composed.keys.now();
        for key in keys.signers().filter(|key| key.trouble().is_some()) {
            // What comes of it is known to the key.
            let _ = key.look().await;
        }
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
            drop_older(&composed, now, kept).await;
            if let Err(error) = composed.keys.tidy().await {
                tracing::warn!(%error, "key rings cannot be tidied");
            }
        }
    }
}

/// Drops what is dead, and of the log what is older than so much.
async fn drop_older(composed: &Composed, now: Timestamp, kept: Duration) {
    let (records, at) = (composed.records.as_ref(), (&composed.realm, now));
    // INVARIANT: before anything is dropped.
    if let Err(error) = foreign::tell_again(&composed.revoker, records, at, kept).await {
        let why = "the log cannot be told again which keys of other issuers were taken back, so nothing \
                   of it is dropped";
        tracing::warn!(%error, "{why}");
        return;
    }
    if let Err(error) = records.purge(now, now - kept).await {
        tracing::warn!(%error, "what is dead cannot be dropped");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tegata_core::{Feed as _, Secret, port::Message};
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
    async fn attempts_that_failed_come_into_the_journal() {
        let place = tempfile::tempdir().unwrap();
        let composed = crate::compose::for_tests(place.path()).await;
        let (realm, from) = (&composed.realm, [192, 0, 2, 1].into());
        for _ in 0..3 {
            let password = Secret::new("hunter3".to_owned());
            composed.sign_in.by_password(realm, "hunter2", password, from).await.unwrap_err();
        }
        let written = async || {
            write_failures(&composed).await.unwrap();
            composed.records.sequence(Log::Journal, composed.node.id()).await.unwrap();
            let pull = composed.records.pull(Log::Journal, 0, 1000).await.unwrap();
            let texts = pull.entries.iter().map(|it| String::from_utf8_lossy(&it.body));
            let failed = texts.filter(|it| it.contains("SIGN_IN_FAILED"));
            failed.map(|it| it.into_owned()).collect::<Vec<_>>()
        };
        let events = written().await;
        assert_eq!(events.len(), 3);
        assert!(events.iter().all(|it| it.contains("192.0.2.1") && !it.contains("hunter")));
        // Nothing is written twice.
        assert_eq!(written().await, events);
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
