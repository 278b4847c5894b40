//! What the circle does, step by step, on a store that is always there.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use serde::Serialize;
use tegata_core::{
    Batch, BoxFuture, Clock as _, CommitRefused, EventId, Kind, Log, ManualClock, Node, NodeId,
    Realm, Records, SeededEntropy, StoreError, Timestamp, TokenId,
    port::{Append, Page, Pull, Record, Sequenced},
};
use tegata_store::{MemoryFeed, MemoryRecords};
use tegata_token::{
    Circle, Claims, Entry, Revoker, Target, View,
    circle::{Begun, CIRCLE, CIRCLE_PLACES, Heard, LEASE, Receipt, Standing, Stands},
    foreign::{FOREIGN_KEYS, lasting, tell_again},
};

struct Bench {
    clock: Arc<ManualClock>,
    store: Arc<MemoryRecords>,
}

struct Process {
    node: Node,
    circle: Arc<Circle>,
    view: Arc<View>,
    store: Arc<MemoryRecords>,
    revoker: Revoker,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let kinds = [&CIRCLE, &CIRCLE_PLACES, &FOREIGN_KEYS];
        let store = Arc::new(MemoryRecords::new(&kinds, clock.clone()).unwrap());
        Self { clock, store }
    }

    fn process(&self, place: &str, run: u64, speaks: bool) -> Process {
        let node = Node::with(self.clock.clone(), Arc::new(SeededEntropy::new(run)));
        let circle = Circle::new(node.clone(), place.to_owned(), place.to_owned(), speaks);
        self.process_in(node, circle)
    }

    fn process_in(&self, node: Node, circle: Circle) -> Process {
        let circle = Arc::new(circle);
        let (view, feed) = (Arc::new(View::new(node.clone())), Arc::new(MemoryFeed::new(16)));
        let store = self.store.clone();
        let revoker = Revoker::new(node.clone(), store.clone(), feed, view.clone());
        let revoker = revoker.within(circle.clone());
        Process { node, circle, view, store, revoker }
    }

    /// One of a version that knows so much.
    fn process_knowing(&self, place: &str, run: u64, knows: u32) -> Process {
        let node = Node::with(self.clock.clone(), Arc::new(SeededEntropy::new(run)));
        let circle = Circle::new(node.clone(), place.to_owned(), place.to_owned(), true);
        self.process_in(node, circle.knowing(knows))
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

impl Process {
    fn look(&self) -> Standing {
        self.circle.look(self.store.as_ref()).now_or_never().unwrap().unwrap()
    }

    fn pull(&self) {
        self.view.catch_up(self.store.as_ref()).now_or_never().unwrap().unwrap();
    }

    fn stale(&self) -> u64 {
        self.view.staleness().unwrap().as_secs()
    }

    /// Hears the other. Answers whether it is a stranger.
    fn hear(&self, other: &Self) -> bool {
        self.circle.hear(&other.circle.beat(&other.view), &self.view).stranger
    }

    /// Begins to take so much back.
    fn begin(&self, count: u64) -> Option<Begun> {
        self.circle.begin(&self.view, &Realm::default(), &entries(count))
    }

    /// Takes something back in the store.
    fn revoke(&self) -> Result<(), CommitRefused> {
        let batch = Batch::new(Realm::default());
        self.revoker.commit(batch, entries(1)).now_or_never().unwrap()
    }

    /// Takes back a key of another issuer.
    fn revoke_key(&self) -> Result<(), CommitRefused> {
        let batch = Batch::new(Realm::default());
        self.revoker.commit(batch, key_at_another()).now_or_never().unwrap()
    }

    /// Takes so much back, and nobody hears it. Answers whether it may.
    fn take_back(&self, count: u64) -> bool {
        self.begin(count).map(Begun::done).is_some()
    }

    fn stands(&self, receipt: &Receipt) -> Vec<Stands> {
        receipt.points.iter().map(|point| self.circle.stands(receipt, point)).collect()
    }
}

fn entries(count: u64) -> Vec<Entry> {
    let until = Timestamp::from_secs(4_000_000_000);
    let entries = (0..count).map(|n| Entry {
        target: Target::Token(TokenId::new(&format!("1.{n}")).unwrap()),
        places: Vec::new(),
        at: until,
        until,
        reason: "stolen".into(),
        actor: "system".into(),
    });
    entries.collect()
}

/// What older versions do not know.
fn key_at_another() -> Vec<Entry> {
    let (issuer, kid) = ("https://idp.example".to_owned(), "k1".to_owned());
    let all = entries(1).into_iter();
    all.map(|it| Entry {
        target: Target::ForeignKey { issuer: issuer.clone(), kid: kid.clone() },
        ..it
    })
    .collect()
}

/// The store, where something happens before the first commit.
struct Meanwhile {
    store: Arc<MemoryRecords>,
    first: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Records for Meanwhile {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.store.load(realm, kind, key)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        let first = self.first.lock().take();
        if let Some(first) = first {
            first();
        }
        self.store.commit(batch)
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        self.store.pull(log, after, limit)
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.store.find(realm, kind, index, value, page)
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.store.scan(realm, kind, page)
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        self.store.sequence(log, node)
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.purge(now, logs_before)
    }
}

/// Both say something and hear the other, until what was said first has been echoed.
fn talk(one: &Process, other: &Process) {
    for _ in 0..2 {
        other.hear(one);
        one.hear(other);
    }
}

/// Two in the circle, who have read the log since.
fn two(bench: &Bench) -> (Process, Process) {
    let (one, other) = (bench.process("a", 1, true), bench.process("b", 2, true));
    assert_eq!(one.look(), Standing::Member);
    assert_eq!(other.look(), Standing::Candidate);
    assert!(one.hear(&other));
    one.look();
    assert_eq!(other.look(), Standing::Member);
    for process in [&one, &other] {
        bench.wait(1);
        process.pull();
    }
    assert!(!one.hear(&other));
    (one, other)
}

#[test]
fn while_the_log_cannot_be_read_the_word_of_all_others_is_enough() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    bench.wait(100);
    assert_eq!(one.stale(), 101);
    talk(&one, &other);
    assert_eq!(one.stale(), 0);
    // What is echoed is what counts, and not when it arrives.
    let late = other.circle.beat(&other.view);
    bench.wait(30);
    one.circle.hear(&late, &one.view);
    assert_eq!(one.stale(), 30);
    // What was heard already says nothing new.
    for _ in 0..3 {
        bench.wait(1);
        one.circle.hear(&late, &one.view);
    }
    assert_eq!(one.stale(), 33);
}

#[test]
fn what_was_acknowledged_and_is_not_known_makes_stale() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    bench.wait(10);
    talk(&one, &other);
    assert!(other.take_back(2));
    bench.wait(10);
    talk(&one, &other);
    assert_eq!(one.stale(), 10);
    // When the other has read its entries in the log, and this one has read as far, they are known.
    other.pull();
    one.pull();
    bench.wait(10);
    talk(&one, &other);
    assert_eq!(one.stale(), 0);
}

#[test]
fn a_third_of_whom_one_has_not_heard_is_not_overheard() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    let third = bench.process("c", 3, true);
    assert_eq!(third.look(), Standing::Candidate);
    assert!(!third.take_back(1));
    other.hear(&third);
    // The other admits it, and vouches no more for a circle of two.
    other.look();
    assert_eq!(third.look(), Standing::Member);
    assert!(third.take_back(1));
    bench.wait(10);
    talk(&one, &other);
    assert!(one.stale() >= 10);
    // Having looked, it wants to read the log, and to hear the third.
    one.look();
    bench.wait(10);
    talk(&one, &other);
    assert!(one.stale() >= 20);
    talk(&one, &third);
    third.pull();
    one.pull();
    bench.wait(10);
    talk(&one, &other);
    assert_eq!(one.stale(), 10);
    talk(&one, &third);
    assert_eq!(one.stale(), 0);
}

#[test]
fn a_lease_that_is_not_renewed_ends_what_is_believed_and_then_the_place() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    // One cannot reach the store any more; the other looks every second.
    let wait = |seconds: u64| {
        for _ in 0..seconds {
            bench.wait(1);
            other.look();
            talk(&one, &other);
        }
    };
    wait(LEASE.as_secs() - 5);
    assert_eq!(other.stale(), 0);
    wait(10);
    assert!(other.stale() > 5, "nobody is believed whose lease is over");
    // It is not gone, so it may still take things back, where it reaches the store.
    assert!(one.revoke().is_ok());
    wait(100);
    other.pull();
    bench.wait(1);
    other.pull();
    bench.wait(60);
    drop(other.circle.beat(&other.view));
    assert_eq!(other.stale(), 0, "alone in the circle");
    // Now the store refuses what it takes back, whatever it thinks of itself.
    assert_eq!(one.circle.standing(), Standing::Member);
    let refused = one.revoke().unwrap_err();
    assert!(matches!(refused, CommitRefused::Store(StoreError::Unavailable { .. })), "{refused}");
    // It comes back as a candidate, and is admitted again.
    assert_eq!(one.look(), Standing::Candidate);
    other.hear(&one);
    other.look();
    assert_eq!(one.look(), Standing::Member);
    assert!(one.revoke().is_ok());
}

#[test]
fn whoever_was_not_dropped_goes_on_as_soon_as_it_renews_its_lease() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    bench.wait(1000);
    talk(&one, &other);
    assert!(one.stale() > 1000);
    assert_eq!((one.look(), other.look()), (Standing::Member, Standing::Member));
    talk(&one, &other);
    assert_eq!(one.stale(), 0);
}

#[test]
fn what_not_all_can_read_is_not_written_and_the_answer_names_who_cannot() {
    let bench = Bench::new();
    let one = bench.process("a", 1, true);
    assert_eq!(one.look(), Standing::Member);
    assert!(one.revoke_key().is_ok(), "it is alone");
    let old = bench.process_knowing("b", 2, 0);
    // Also of one that only wants to be in the circle.
    assert_eq!(old.look(), Standing::Candidate);
    let refused = |who: &Process| {
        let why = who.revoke_key().unwrap_err().to_string();
        assert!(why.contains("older version") && why.contains(": b "), "{why}");
        let target = &key_at_another()[0].target;
        let why = who.revoker.unreadable(target).now_or_never().unwrap().unwrap().unwrap();
        assert!(why.contains(": b "), "{why}");
    };
    refused(&one);
    one.hear(&old);
    one.look();
    assert_eq!(old.look(), Standing::Member);
    refused(&one);
    // What all know is written.
    assert!(one.revoke().is_ok());
    one.pull();
    assert_eq!(one.view.position(), 2, "this, and what was written while it was alone");
    // It is updated, in its place.
    drop(old);
    let new = bench.process("b", 3, true);
    assert_eq!(new.look(), Standing::Member);
    assert!(one.revoke_key().is_ok() && new.revoke_key().is_ok());
}

#[test]
fn what_the_log_has_said_is_said_again_whoever_came_meanwhile() {
    let bench = Bench::new();
    let one = bench.process("a", 1, true);
    assert_eq!(one.look(), Standing::Member);
    let at = one.node.now();
    let (entry, held) = lasting(key_at_another().remove(0), at);
    let batch = Batch::new(Realm::default()).with(held.unwrap());
    one.revoker.commit(batch, vec![entry]).now_or_never().unwrap().unwrap();
    // One that would stop at it has come since. That nothing could be dropped any more helps nobody.
    let old = bench.process_knowing("b", 2, 0);
    assert_eq!(old.look(), Standing::Candidate);
    assert!(one.revoke_key().is_err());
    let kept = Duration::from_secs(31 * 86_400);
    let later = (&Realm::default(), at + kept);
    let told = tell_again(&one.revoker, bench.store.as_ref(), later, kept);
    assert_eq!(told.now_or_never().unwrap(), Ok(1));
}

#[test]
fn whoever_cannot_read_it_and_comes_meanwhile_is_not_passed_over() {
    let bench = Bench::new();
    let one = bench.process("a", 1, true);
    assert_eq!(one.look(), Standing::Member);
    // It comes after the register was read, and before the store is given the entry.
    let old = bench.process_knowing("b", 2, 0);
    let records = Arc::new(Meanwhile {
        store: bench.store.clone(),
        first: Mutex::new(Some(Box::new(move || assert_eq!(old.look(), Standing::Candidate)))),
    });
    let (node, feed) = (one.node.clone(), Arc::new(MemoryFeed::new(16)));
    let revoker = Revoker::new(node, records, feed, one.view.clone()).within(one.circle.clone());
    let batch = Batch::new(Realm::default());
    let refused = revoker.commit(batch, key_at_another()).now_or_never().unwrap().unwrap_err();
    assert!(refused.to_string().contains(": b "), "{refused}");
    one.pull();
    assert_eq!(one.view.position(), 0, "nothing was written");
    // Nobody waits for what was begun and not written.
    bench.wait(10);
    one.pull();
    assert!(one.revoke().is_ok());
}

#[test]
fn whoever_cannot_read_it_and_comes_later_stops_at_it() {
    let bench = Bench::new();
    let one = bench.process("a", 1, true);
    assert_eq!(one.look(), Standing::Member);
    // As a version reads it that does not know what it takes back: of a newer one.
    #[derive(Serialize)]
    enum Newer {
        Planet { name: String },
    }
    #[derive(Serialize)]
    struct NewerEntry {
        target: Newer,
        places: Vec<u8>,
        at: Timestamp,
        until: Timestamp,
        reason: String,
        actor: String,
    }
    let (at, until) = (Timestamp::from_secs(1), Timestamp::from_secs(4_000_000_000));
    let (target, places) = (Newer::Planet { name: "mars".into() }, vec![]);
    let (reason, actor) = ("stolen".into(), "system".into());
    let newer = NewerEntry { target, places, at, until, reason, actor };
    let body = tegata_core::repository::encode(1, &newer);
    let id = EventId([7; 16]);
    let append = Append { log: Log::Revocations, id, body };
    let batch = Batch::new(Realm::default()).append(append);
    bench.store.commit(batch).now_or_never().unwrap().unwrap();
    assert!(one.revoke().is_ok());
    let read = one.view.catch_up(bench.store.as_ref()).now_or_never().unwrap();
    assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
    assert!(one.view.stopped().unwrap().contains("newer version"));
    // It knows nothing of what came after, and never says that it does.
    assert_eq!((one.view.position(), one.view.staleness()), (0, None));
}

#[test]
fn a_circle_with_a_command_in_it_is_believed_by_nobody() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    let command = bench.process("c", 3, false);
    command.look();
    other.look();
    assert_eq!(command.look(), Standing::Member);
    for process in [&one, &other, &command] {
        process.look();
        bench.wait(1);
        process.pull();
    }
    bench.wait(10);
    talk(&one, &other);
    talk(&one, &command);
    talk(&command, &other);
    assert!(one.stale() >= 10);
    assert!(command.stale() >= 10, "it does not believe either");
    // So whoever comes need not be admitted by anybody: not one of them may be left.
    assert_eq!(bench.process("d", 4, true).look(), Standing::Member);
}

#[test]
fn a_copy_of_a_data_directory_takes_the_place_of_the_original() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    let copy = bench.process("a", 9, true);
    assert_eq!(copy.look(), Standing::Member);
    assert_eq!(one.look(), Standing::Replaced);
    assert!(!one.take_back(1));
    assert_eq!(copy.look(), Standing::Member, "it is not thrown out again");
    assert_eq!(other.look(), Standing::Member);
}

#[test]
fn whoever_left_acknowledges_nothing_and_is_not_waited_for() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    other.circle.leave(bench.store.as_ref()).now_or_never().unwrap().unwrap();
    assert_eq!((other.look(), other.take_back(1)), (Standing::Left, false));
    one.look();
    bench.wait(1);
    one.pull();
    bench.wait(10);
    drop(one.circle.beat(&one.view));
    assert_eq!(one.stale(), 0);
}

#[test]
fn what_is_no_heartbeat_is_ignored() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    let good = other.circle.beat(&other.view);
    for bad in [vec![], vec![1], vec![0xdd; 100], good[..good.len() - 1].to_vec(), vec![1; 70_000]]
    {
        assert_eq!(one.circle.hear(&bad, &one.view), Heard::default());
    }
    assert_eq!(one.circle.hear(&one.circle.beat(&one.view), &one.view), Heard::default());
}

#[test]
fn what_is_under_way_is_counted_and_what_nothing_came_of_is_not_waited_for() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    let begun = other.begin(3).unwrap();
    bench.wait(10);
    talk(&one, &other);
    assert_eq!(one.stale(), 11, "it may be in the store by now");
    begun.void();
    bench.wait(10);
    talk(&one, &other);
    assert_eq!(one.stale(), 0);
}

#[test]
fn what_nobody_knows_is_refused_until_the_log_tells() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    // Whoever wanted it went away; the others hear of it with the next heartbeats.
    drop(other.begin(1).unwrap());
    let claims = Claims { jti: "1.0".into(), ..Claims::default() };
    let refuses = || one.view.realm(&Realm::default()).check_claims(&claims, None, "").is_some();
    bench.wait(10);
    talk(&one, &other);
    assert_eq!((one.stale(), refuses()), (11, false));
    bench.wait(2);
    for message in other.circle.repeats() {
        one.revoker.hear(&message);
    }
    talk(&one, &other);
    assert_eq!((one.stale(), refuses()), (0, true));
    // Only a log that was read so late that it would be there says that it is not.
    for (minutes, refused) in [(5, true), (4, true), (2, false)] {
        bench.wait(minutes * 60);
        one.pull();
        assert_eq!(refuses(), refused, "{minutes} min later");
    }
}

#[test]
fn whoever_waits_hears_who_knows() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    let began = bench.clock.since_boot();
    assert!(one.take_back(1));
    let receipt = one.circle.receipt(began).unwrap();
    assert_eq!(receipt.points.len(), 1);
    talk(&one, &other);
    assert_eq!(one.stands(&receipt), [Stands::Pending]);
    talk(&one, &other);
    one.pull();
    other.pull();
    bench.wait(1);
    one.pull();
    other.pull();
    talk(&one, &other);
    assert_eq!(one.stands(&receipt), [Stands::Confirmed]);
    // Of what was taken back before, this says nothing: it may have been elsewhere.
    assert_eq!(one.circle.receipt(bench.clock.since_boot()), None);
    // Whoever is out of the circle is not waited for.
    assert!(one.take_back(1));
    let receipt = one.circle.receipt(began).unwrap();
    other.circle.leave(bench.store.as_ref()).now_or_never().unwrap().unwrap();
    one.look();
    assert_eq!(one.stands(&receipt), [Stands::Gone]);
}

#[test]
fn what_another_took_back_is_confirmed_by_who_has_followed_the_log() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    let third = bench.process("c", 3, true);
    assert_eq!(third.look(), Standing::Candidate);
    one.hear(&third);
    one.look();
    assert_eq!(third.look(), Standing::Member);
    // The third takes something back, of which only the first reads in the log.
    third.revoke().unwrap();
    third.pull();
    one.pull();
    let receipt = one.circle.receipt_of_log(one.view.position());
    one.circle.await_log(one.view.position());
    let stands = || {
        let mut stand: Vec<_> =
            receipt.points.iter().map(|it| (&it.name, one.circle.stands(&receipt, it))).collect();
        stand.sort_by_key(|(name, _)| *name);
        stand.into_iter().map(|(_, stand)| stand).collect::<Vec<_>>()
    };
    // That both have all that this process took back says nothing.
    assert_eq!(stands(), [Stands::Pending, Stands::Pending]);
    let hear =
        |from: &Process, to: &Process| to.circle.hear(&from.circle.beat(&from.view), &to.view);
    hear(&other, &one);
    hear(&third, &one);
    assert_eq!(stands(), [Stands::Pending, Stands::Confirmed]);
    // Who lacks it hears that somebody waits, and who has it is left alone.
    assert!(hear(&one, &other).awaited);
    assert!(!hear(&one, &third).awaited);
    other.pull();
    // Who is asked by somebody whom it does not know reads nothing for it.
    let stranger = bench.process("d", 4, true);
    stranger.circle.await_log(u64::MAX);
    assert!(!hear(&stranger, &other).awaited);
    assert!(!hear(&one, &other).awaited);
    // What it had said before stays what it was.
    assert_eq!(stands(), [Stands::Pending, Stands::Confirmed]);
    hear(&other, &one);
    assert_eq!(stands(), [Stands::Confirmed, Stands::Confirmed]);
}

#[test]
fn a_candidate_that_has_gone_is_not_admitted_and_one_that_is_not_heard_is() {
    let bench = Bench::new();
    let one = bench.process("a", 1, true);
    assert_eq!(one.look(), Standing::Member);
    let (gone, there) = (bench.process("b", 2, true), bench.process("c", 3, true));
    assert_eq!(gone.look(), Standing::Candidate);
    for _ in 0..3 {
        assert_eq!(there.look(), Standing::Candidate);
        bench.wait(1);
    }
    one.look();
    assert_eq!(there.look(), Standing::Candidate, "it may have gone by now, too");
    one.look();
    assert_eq!(there.look(), Standing::Member);
    assert!(!gone.take_back(1));
    // After a while, who has gone is forgotten, and nobody had to wait for it.
    one.pull();
    for _ in 0..70 {
        bench.wait(1);
        one.look();
        one.pull();
        talk(&one, &there);
    }
    assert_eq!(one.stale(), 0);
    assert_eq!(gone.look(), Standing::Candidate);
}
