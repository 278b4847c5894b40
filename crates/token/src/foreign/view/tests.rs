use std::{sync::atomic::AtomicBool, thread};

use futures_util::FutureExt as _;
use tegata_core::{Batch, EventId, Log, ManualClock, Realm, SeededEntropy, port::Append};
use tegata_store::MemoryRecords;

use super::*;
use crate::{
    Claims,
    revocation::{Entry, Target},
};

const ISSUER: &str = "https://idp.example";

struct Bench {
    clock: Arc<ManualClock>,
    node: Node,
    foreign: Arc<ForeignView>,
    view: View,
}

impl Bench {
    fn of(expected: usize) -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let foreign = Arc::new(ForeignView::new(node.clone(), expected, 0));
        let view = View::new(node.clone()).with_foreign(Realm::default(), Arc::clone(&foreign));
        Self { clock, node, foreign, view }
    }

    fn entry(&self, target: Target) -> Entry {
        let (at, until) = (self.node.now(), self.node.now() + Duration::from_secs(86_400));
        let (reason, actor) = ("test".to_owned(), "system".to_owned());
        Entry { target, places: vec![], at, until, reason, actor }
    }

    fn token(&self, jti: &str) -> Entry {
        self.entry(Target::ForeignToken { issuer: ISSUER.into(), jti: jti.into() })
    }

    fn apply(&self, entry: &Entry) {
        self.view.apply(&Realm::default(), entry);
    }

    fn names(&self, jti: &str, sub: &str) -> Names {
        let (iss, iat) = (ISSUER.to_owned(), self.node.now().secs());
        let (jti, sub, sid) = (jti.to_owned(), sub.to_owned(), Some(format!("s-{sub}")));
        let client_id = Some("web".to_owned());
        let claims = Claims { iss, jti, sub, sid, iat, client_id, ..Claims::default() };
        Names::of(&claims, None, "key-1")
    }

    /// Tells the durable store everything, and so keeps nothing exactly any more.
    fn tell_all(&self) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            let batch = self.foreign.untold();
            if batch.is_empty() {
                return all;
            }
            self.foreign.told(&batch);
            all.extend(batch);
        }
    }
}

fn by(looked: &Looked) -> Option<(Option<Revoked>, Layer)> {
    match looked {
        Looked::Known(revoked, layer) => Some((*revoked, *layer)),
        Looked::Ask(..) => None,
    }
}

#[test]
fn what_is_learnt_is_refused_at_once_and_asked_for_when_it_has_been_told() {
    let bench = Bench::of(1000);
    let names = bench.names("t1", "alice");
    assert_eq!(by(&bench.foreign.look(&names)), Some((None, Layer::Filter)));
    assert_eq!(by(&bench.foreign.look(&names)), Some((None, Layer::Cache)));
    bench.apply(&bench.token("t1"));
    assert_eq!(by(&bench.foreign.look(&names)), Some((Some(Revoked::Token), Layer::Memory)));
    assert_eq!(bench.tell_all().len(), 1);
    let Looked::Ask(held, ticket) = bench.foreign.look(&names) else { panic!("not asked") };
    assert_eq!(held, [(Name::token(ISSUER, "t1"), Revoked::Token)]);
    bench.foreign.note(ticket, Some(Revoked::Token));
    assert_eq!(by(&bench.foreign.look(&names)), Some((Some(Revoked::Token), Layer::Cache)));
    bench.clock.advance(KEPT);
    assert!(by(&bench.foreign.look(&names)).is_none(), "an answer is kept for a minute");
    // Others of the same person have not been taken back.
    let other = bench.names("t2", "alice");
    assert_eq!(by(&bench.foreign.look(&other)), Some((None, Layer::Filter)));
}

#[test]
fn a_subject_and_a_session_are_taken_back_with_all_that_is_theirs() {
    let bench = Bench::of(1000);
    let (issuer, up_to) = (ISSUER.to_owned(), bench.node.now());
    let (before, other) = (bench.names("t1", "alice"), bench.names("t2", "bob"));
    bench.apply(&bench.entry(Target::ForeignSubject {
        issuer: issuer.clone(),
        sub: "alice".into(),
        up_to,
    }));
    bench.apply(&bench.entry(Target::ForeignSession { issuer, sid: "s-bob".into() }));
    let looked = |names: &Names| by(&bench.foreign.look(names)).unwrap().0;
    assert_eq!(looked(&before), Some(Revoked::Subject));
    assert_eq!(looked(&other), Some(Revoked::Session));
    // What was issued later counts, and the durable store says so where the filter cannot.
    bench.clock.advance(Duration::from_secs(1));
    let after = bench.names("t3", "alice");
    assert!(matches!(bench.foreign.look(&after), Looked::Ask(..)));
    let told = bench.tell_all();
    let withdrawal = told.iter().map(Told::withdrawal).find(|it| it.mark != u64::MAX).unwrap();
    assert!(before.covered(withdrawal.mark) && !after.covered(withdrawal.mark));
}

#[test]
fn a_client_and_a_key_are_taken_back_with_all_that_is_theirs() {
    let bench = Bench::of(1000);
    let (issuer, up_to) = (ISSUER.to_owned(), bench.node.now());
    let before = bench.names("t1", "alice");
    bench.apply(&bench.entry(Target::ForeignClient {
        issuer: issuer.clone(),
        client: "web".into(),
        up_to,
    }));
    let looked = |names: &Names| by(&bench.foreign.look(names)).unwrap().0;
    assert_eq!(looked(&before), Some(Revoked::Client));
    bench.clock.advance(Duration::from_secs(1));
    let after = bench.names("t2", "alice");
    assert!(matches!(bench.foreign.look(&after), Looked::Ask(..)), "the store says up to when");
    // A key signs nothing that counts, whenever that says it was.
    bench.apply(&bench.entry(Target::ForeignKey { issuer, kid: "key-1".into() }));
    assert_eq!(looked(&after), Some(Revoked::Key));
    bench.clock.advance(Duration::from_secs(1000));
    assert_eq!(looked(&bench.names("t3", "bob")), Some(Revoked::Key));
    let elsewhere = Claims { iss: "https://b.example".into(), ..Claims::default() };
    assert_eq!(looked(&Names::of(&elsewhere, Some("web"), "key-1")), None);
}

#[test]
fn a_client_that_was_taken_back_is_not_asked_for_with_each_of_its_new_tokens() {
    let bench = Bench::of(1000);
    let client = |up_to| {
        let (issuer, client) = (ISSUER.to_owned(), "web".to_owned());
        bench.entry(Target::ForeignClient { issuer, client, up_to })
    };
    let (first, old) = (bench.node.now(), bench.names("old", "bob"));
    bench.apply(&client(first));
    bench.tell_all();
    bench.clock.advance(Duration::from_secs(1));
    let one = bench.names("t1", "alice");
    let Looked::Ask(held, ticket) = bench.foreign.look(&one) else { panic!("not asked") };
    assert_eq!(held, [(Name::client(ISSUER, "web"), Revoked::Client)]);
    bench.foreign.note_mark(&ticket, &one, &Name::client(ISSUER, "web"), Some(first.millis()));
    // From now on the mark decides, of others of the client too.
    for (names, revoked) in
        [(&one, None), (&bench.names("t2", "bob"), None), (&old, Some(Revoked::Client))]
    {
        assert_eq!(by(&bench.foreign.look(names)), Some((revoked, Layer::Cache)));
    }
    // Until something is learnt of it, and for a minute at most.
    let Looked::Known(..) = bench.foreign.look(&one) else { panic!("asked") };
    bench.clock.advance(KEPT);
    assert!(by(&bench.foreign.look(&one)).is_none());
    bench.foreign.note_mark(&ticket, &one, &Name::client(ISSUER, "web"), Some(first.millis()));
    bench.apply(&client(bench.node.now()));
    bench.tell_all();
    assert!(by(&bench.foreign.look(&one)).is_none(), "an overtaken mark was believed");
    // What was said before that, and comes after it, is not believed either.
    bench.foreign.note_mark(&ticket, &one, &Name::client(ISSUER, "web"), Some(first.millis()));
    assert!(by(&bench.foreign.look(&one)).is_none(), "an overtaken mark was believed");
    // Of a person nothing is kept so: nobody else has that name.
    bench.foreign.note_mark(&ticket, &one, &Name::subject(ISSUER, "alice"), Some(u64::MAX));
    assert_eq!(bench.foreign.shared.len(), 1);
}

#[test]
fn an_answer_that_was_overtaken_is_never_given() {
    let bench = Bench::of(1000);
    let names = bench.names("t1", "alice");
    // Somebody else's name makes the filter say "perhaps", and the stores are asked.
    bench.apply(&bench.token("t1"));
    bench.tell_all();
    let Looked::Ask(_, ticket) = bench.foreign.look(&names) else { panic!("not asked") };
    // They were asked before this; their answer comes after it.
    let (issuer, up_to) = (ISSUER.to_owned(), bench.node.now());
    bench.apply(&bench.entry(Target::ForeignSubject { issuer, sub: "alice".into(), up_to }));
    bench.foreign.note(ticket, None);
    assert_eq!(by(&bench.foreign.look(&names)), Some((Some(Revoked::Subject), Layer::Memory)));
    bench.tell_all();
    assert!(by(&bench.foreign.look(&names)).is_none(), "the overtaken answer was given");
}

#[test]
fn what_waits_to_be_told_more_than_once_is_held_until_the_last_time() {
    let bench = Bench::of(1000);
    // Pushed, and then read from the log.
    bench.foreign.learn(&bench.token("t1"), None);
    bench.foreign.learn(&bench.token("t1"), Some(7));
    let batch = bench.foreign.untold();
    assert_eq!(batch.len(), 2);
    let names = bench.names("t1", "alice");
    assert_eq!(bench.foreign.told(&batch[..1]), None);
    assert_eq!(by(&bench.foreign.look(&names)), Some((Some(Revoked::Token), Layer::Memory)));
    assert_eq!(bench.foreign.told(&batch[1..]), Some(7));
    assert!(by(&bench.foreign.look(&names)).is_none());
    // What the durable store has is not told again.
    bench.foreign.learn(&bench.token("t0"), Some(6));
    assert!(bench.foreign.untold().is_empty());
    assert!(by(&bench.foreign.look(&bench.names("t0", "bob"))).is_none(), "the filter has it");
}

#[test]
fn what_may_have_been_taken_back_is_refused_until_it_is_known() {
    let bench = Bench::of(1000);
    let names = bench.names("t1", "alice");
    assert_eq!(by(&bench.foreign.look(&names)), Some((None, Layer::Filter)));
    bench.view.apply_perhaps(&Realm::default(), &bench.token("t1"));
    assert_eq!(by(&bench.foreign.look(&names)), Some((Some(Revoked::Token), Layer::Memory)));
    bench.foreign.forget_perhaps();
    assert_eq!(by(&bench.foreign.look(&names)), Some((None, Layer::Cache)));
}

#[test]
fn another_realm_has_its_own() {
    let bench = Bench::of(1000);
    bench.view.apply(&Realm::new("other").unwrap(), &bench.token("t1"));
    assert_eq!(by(&bench.foreign.look(&bench.names("t1", "alice"))), Some((None, Layer::Filter)));
}

/// A store with a log that grows.
struct Journal(MemoryRecords, Node);

impl Journal {
    fn of(bench: &Bench) -> Self {
        let clock = Arc::clone(bench.node.clock());
        Self(MemoryRecords::new(&[], clock).unwrap(), bench.node.clone())
    }

    fn append(&self, entry: &Entry) {
        let id = EventId::generate(self.1.entropy());
        let append = Append { log: Log::Revocations, id, body: entry.to_bytes() };
        let batch = Batch::new(Realm::default()).append(append);
        self.0.commit(batch).now_or_never().unwrap().unwrap();
    }
}

/// Whoever asks while the filter is made anew is never told that something was not taken back that was.
fn churn(many: u64, expected: usize, seed: u64) {
    let bench = Bench::of(expected);
    let log = Journal::of(&bench);
    let (learnt, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let name = |number: u64| Name::token(ISSUER, &number.to_string());
    let pull = || bench.view.catch_up(&log.0).now_or_never().unwrap().unwrap();
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut asked, mut walk) = (0_u64, seed);
            while !over.load(Ordering::Acquire) {
                let known = learnt.load(Ordering::Acquire);
                for _ in 0..1000 {
                    walk = walk.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let number = (walk >> 33) % known.max(1);
                    let held = bench.foreign.filter.load().may_hold(&name(number));
                    assert!(held || known == 0, "seed {seed}: {number} of {known} was forgotten");
                    asked += 1;
                }
            }
            asked
        });
        let mut renewed = 0;
        for number in 0..many {
            let entry = bench.token(&number.to_string());
            log.append(&entry);
            // Of every other one it is heard before it is read.
            if number % 2 == 0 {
                bench.apply(&entry);
            }
            if number % 100 == 99 {
                pull();
                bench.tell_all();
                bench.clock.advance(Duration::from_millis(1));
                learnt.store(number + 1, Ordering::Release);
                let made = bench.foreign.renew(&bench.view, &log.0).now_or_never().unwrap();
                renewed += u32::from(made.unwrap());
            }
        }
        over.store(true, Ordering::Release);
        let asked = asking.join().unwrap();
        println!("seed {seed}: {asked} questions while {many} were learnt, {renewed} times anew");
        assert!(asked > 0 && renewed >= 4, "it was made anew {renewed} times");
    });
    let (count, capacity) = bench.foreign.fullness();
    assert!(count <= capacity, "{count} of {capacity}");
    let forgotten = (0..many).filter(|it| !bench.foreign.filter.load().may_hold(&name(*it)));
    assert_eq!(forgotten.count(), 0);
    let wrong = (many..2 * many).filter(|it| bench.foreign.filter.load().may_hold(&name(*it)));
    let wrong = u64::try_from(wrong.count()).unwrap();
    println!("{wrong} wrong of {many}, {count} of {capacity}");
    // One in a thousand, with room for chance where there are few.
    assert!(wrong <= many / 1000 + 50, "{wrong} wrong of {many}");
}

#[test]
fn a_filter_that_is_made_anew_forgets_nothing_of_what_is_learnt_meanwhile() {
    churn(30_000, 1024, 7);
}

#[test]
#[ignore = "takes minutes in a release build, and does what the one before does ten million times"]
fn ten_million_are_learnt_and_none_is_forgotten() {
    churn(10_000_000, 100_000, 20_261_122);
}

#[test]
fn the_dead_make_room_for_others() {
    let bench = Bench::of(1024);
    let log = Journal::of(&bench);
    let pull = || bench.view.catch_up(&log.0).now_or_never().unwrap().unwrap();
    for number in 0..1200_u32 {
        let entry = bench.token(&number.to_string());
        log.append(&entry);
    }
    pull();
    bench.clock.advance(Duration::from_secs(2 * 86_400));
    pull();
    let (_, before) = bench.foreign.fullness();
    while !bench.foreign.renew(&bench.view, &log.0).now_or_never().unwrap().unwrap() {
        bench.clock.advance(Duration::from_millis(1));
        pull();
    }
    assert_eq!(bench.foreign.fullness(), (0, before));
}

#[test]
fn answers_take_up_no_more_than_they_may_and_the_latest_are_there() {
    // Room is made by doubling, so that what it comes to depends on where that ends.
    for bytes in [1, 2, 3, 5, 6, 7, 9, 11, 13, 15].map(|megabytes| megabytes << 20) {
        let node = Node::with(Arc::new(ManualClock::default()), Arc::new(SeededEntropy::new(1)));
        let foreign = ForeignView::new(node, 100, 0).remembering(bytes);
        let name = |n: usize| Name::token(ISSUER, &n.to_string());
        // Three times as many as there is room for, and some of them again and again.
        let many = 3 * bytes / ANSWER;
        for n in 0..many {
            let ticket = Ticket { whole: name(n), seen: Seen::default() };
            foreign.note(ticket, None);
            let _ = foreign.answers.get(&name(n / 2));
        }
        let (used, most) = foreign.remembered();
        assert_eq!(most, bytes);
        assert!(used <= most && used > most / 4 * 3, "{used} of {most}");
        // Its parts are of one size, so that there may be a few more of them.
        assert!(foreign.answers.len() <= bytes / ANSWER + 64);
        assert!(foreign.answers.get(&name(many - 1)).is_some());
    }
}
