use super::*;
use crate::rate::RateLimit;

const ALICE: Name = [1; 16];
const TOGETHER: Way = Way::Together { ahead: 0 };

fn at(millis: u64) -> SinceBoot {
    SinceBoot(Duration::from_millis(1_000_000 + millis))
}

fn quota(limit: &str, burst: Option<u32>) -> Quota {
    let limit: RateLimit = limit.parse().unwrap();
    Quota::new(limit, burst.map(|it| NonZeroU32::new(it).unwrap()))
}

fn nodes(count: u32) -> Way {
    Way::Apart { nodes: NonZeroU32::new(count).unwrap() }
}

fn here(counted: Counted) -> Answer {
    match counted {
        Counted::Here(answer) => answer,
        Counted::Asks(question) => panic!("{question:?}"),
    }
}

fn asks(counted: Counted) -> Question {
    match counted {
        Counted::Asks(question) => question,
        Counted::Here(answer) => panic!("{answer:?}"),
    }
}

/// The store, as the script has it.
#[derive(Default)]
struct Store(HashMap<Name, u64>);

impl Store {
    fn take(&mut self, question: &Question, now: SinceBoot) -> Taken {
        let (now, take) = (nanos(now.0), question.take);
        let (cost, room) = (nanos(take.cost), nanos(take.room));
        let held = self.0.get(&question.name).copied().unwrap_or(0).clamp(now, now + 2 * room);
        let told = now + nanos(take.known);
        let mut whole = held.max(told) + cost * u64::from(take.counted);
        let passes = take.asks && whole + cost - now <= room;
        whole += if passes { cost } else { 0 };
        self.0.insert(question.name, whole);
        let ahead = Duration::from_nanos(whole - now);
        Taken { passes, ahead, forgot: told > held }
    }
}

/// One request on a node, with a store that answers at once.
fn request(ledger: &Ledger, store: &mut Store, quota: Quota, way: Way, now: SinceBoot) -> bool {
    match ledger.count(ALICE, quota, way, now) {
        Counted::Here(answer) => answer.passes,
        Counted::Asks(question) => {
            let taken = store.take(&question, now);
            ledger.answered(question, taken, now).passes
        }
    }
}

/// Tells the store in the share, and ends it.
fn settle(ledgers: &[&Ledger], store: &mut Store, quota: Quota, now: SinceBoot) -> u32 {
    let mut passed = 0;
    for ledger in ledgers {
        for question in ledger.to_tell(usize::MAX, now) {
            let taken = store.take(&question, now);
            ledger.heard(question, taken, now);
        }
        // Others have not been heard of yet.
        passed += u32::from(here(ledger.count(ALICE, quota, nodes(2), now)).passes);
    }
    ledgers.iter().for_each(|ledger| ledger.level());
    passed
}

fn tell(ledger: &Ledger, store: &mut Store, now: SinceBoot) {
    for question in ledger.to_tell(usize::MAX, now) {
        let taken = store.take(&question, now);
        let _ = ledger.answered(question, taken, now);
    }
}

#[test]
fn a_burst_passes_at_once_and_the_limit_after_it() {
    let ledger = Ledger::new(100);
    let quota = quota("60/m", Some(5));
    for left in (0..5).rev() {
        let answer = here(ledger.count(ALICE, quota, Way::Alone, at(0)));
        assert!(answer.passes && answer.remaining == left, "{answer:?}");
    }
    assert_eq!(here(ledger.count(ALICE, quota, Way::Alone, at(0))).seconds(), 1);
    assert_eq!(ledger.look(&ALICE, quota, at(500)).wait, Duration::from_millis(500));
    let passed =
        (0..10_000).filter(|it| here(ledger.count(ALICE, quota, Way::Alone, at(*it * 10))).passes);
    assert_eq!(passed.count(), 99);
    // More at once than regained in the time that the limit speaks of.
    let much = self::quota("1/s", Some(30));
    let all = (0..100).filter(|_| here(ledger.count([2; 16], much, Way::Alone, at(0))).passes);
    assert_eq!(all.count(), 30);
}

#[test]
fn two_ledgers_and_a_store_have_one_allowance() {
    for ahead in [0, 2] {
        let (one, two, mut store) = (Ledger::new(100), Ledger::new(100), Store::default());
        let (quota, way) = (quota("100/h", None), Way::Together { ahead });
        let mut passed = 0;
        for turn in 0..400 {
            let ledger = if turn % 2 == 0 { &one } else { &two };
            passed += u32::from(request(ledger, &mut store, quota, way, at(turn)));
        }
        assert!((100..=100 + 2 * ahead).contains(&passed), "{passed} with {ahead} ahead");
        tell(&one, &mut store, at(400));
        tell(&two, &mut store, at(400));
        assert!(!request(&Ledger::new(1), &mut store, quota, TOGETHER, at(400)));
    }
}

#[test]
fn who_is_known_to_be_over_the_limit_costs_no_question() {
    let (ledger, mut store) = (Ledger::new(100), Store::default());
    let quota = quota("5/h", None);
    while request(&ledger, &mut store, quota, TOGETHER, at(0)) {}
    for _ in 0..1000 {
        assert!(!here(ledger.count(ALICE, quota, TOGETHER, at(1))).passes);
    }
    assert!(asks(ledger.count(ALICE, quota, TOGETHER, at(720_001))).take.asks);
}

#[test]
fn far_from_the_limit_nothing_is_asked_and_all_is_told() {
    let (ledger, mut store) = (Ledger::new(100), Store::default());
    let (quota, way) = (quota("1000/h", None), Way::Together { ahead: 25 });
    for _ in 0..25 {
        assert!(here(ledger.count(ALICE, quota, way, at(0))).passes);
    }
    let question = asks(ledger.count(ALICE, quota, way, at(0)));
    assert_eq!(question.take.counted, 25);
    let taken = store.take(&question, at(1));
    let answer = ledger.answered(question, taken, at(2));
    assert!(answer.passes && answer.remaining == 974, "{answer:?}");
    for told in [3, 1, 4] {
        for _ in 0..told {
            assert!(here(ledger.count(ALICE, quota, way, at(3))).passes);
        }
        assert_eq!(ledger.waiting(), 1);
        let questions = ledger.to_tell(100, at(3));
        assert_eq!(questions.iter().map(|it| it.take.counted).collect::<Vec<_>>(), [told]);
        for question in questions {
            let taken = store.take(&question, at(3));
            let _ = ledger.answered(question, taken, at(3));
        }
        assert_eq!(ledger.waiting(), 0);
    }
    assert_eq!(ledger.look(&ALICE, quota, at(3)).remaining, 966);
}

#[test]
fn each_has_its_share_while_the_store_is_away() {
    for (limit, each) in [("100/h", 50), ("5/m", 2), ("1/m", 1)] {
        let ledgers = [Ledger::new(100), Ledger::new(100)];
        for ledger in &ledgers {
            let count = || here(ledger.count(ALICE, quota(limit, None), nodes(2), at(0))).passes;
            assert_eq!((0..1000).filter(|_| count()).count(), each, "{limit}");
        }
    }
    // Of what is left, not of the whole.
    let (ledger, mut store) = (Ledger::new(100), Store::default());
    let quota = quota("100/h", None);
    for _ in 0..80 {
        assert!(request(&ledger, &mut store, quota, TOGETHER, at(0)));
    }
    let count = || here(ledger.count(ALICE, quota, nodes(2), at(0))).passes;
    assert_eq!((0..1000).filter(|_| count()).count(), 10);
}

#[test]
fn a_share_comes_back_as_slowly_as_it_should() {
    let ledger = Ledger::new(100);
    let quota = quota("60/m", None);
    let passed = (0..600_000)
        .step_by(50)
        .filter(|it| here(ledger.count(ALICE, quota, nodes(3), at(*it))).passes);
    // A third of 60, and a third of what ten minutes bring.
    assert_eq!(passed.count(), 220 - 1);
}

#[test]
fn a_store_that_lost_its_memory_learns_it_from_who_asks() {
    let (one, two, mut store) = (Ledger::new(100), Ledger::new(100), Store::default());
    let quota = quota("100/h", None);
    while request(&one, &mut store, quota, TOGETHER, at(0)) {}
    store.0.clear();
    one.tell_one(at(10));
    let question = one.to_tell(1, at(10)).pop().unwrap();
    assert!(store.take(&question, at(10)).forgot);
    assert!(!request(&two, &mut store, quota, TOGETHER, at(11)));
    assert!(!request(&one, &mut store, quota, TOGETHER, at(11)));
}

#[test]
fn what_passed_in_the_share_counts_when_the_store_is_back() {
    let (one, two, mut store) = (Ledger::new(100), Ledger::new(100), Store::default());
    let quota = quota("100/h", None);
    for ledger in [&one, &two] {
        let count = || here(ledger.count(ALICE, quota, nodes(2), at(0))).passes;
        assert_eq!((0..1000).filter(|_| count()).count(), 50);
    }
    assert_eq!(settle(&[&one, &two], &mut store, quota, at(100)), 0);
    assert!(!request(&one, &mut store, quota, TOGETHER, at(101)));
    // It did not stay away from what came back meanwhile.
    assert!(request(&two, &mut store, quota, TOGETHER, at(36_101)));
    // Who was alone in using a share has the rest when it is over.
    let (one, two, mut store) = (Ledger::new(100), Ledger::new(100), Store::default());
    while here(one.count(ALICE, quota, nodes(2), at(0))).passes {}
    assert_eq!(settle(&[&one, &two], &mut store, quota, at(0)), 1);
    let mut passed = 0;
    while request(&one, &mut store, quota, TOGETHER, at(0)) {
        passed += 1;
    }
    tell(&two, &mut store, at(0));
    assert_eq!((passed, request(&one, &mut store, quota, TOGETHER, at(1))), (50, false));
    // What was counted an hour ago is not held against anybody.
    let later = Ledger::new(100);
    while here(later.count(ALICE, quota, nodes(2), at(0))).passes {}
    assert!(later.to_tell(10, at(3_600_001)).is_empty());
}

#[test]
fn what_is_left_of_the_shares_is_left_once_and_not_on_every_node() {
    // Far from the limit each node may let one pass before the store knows of it.
    let way = Way::Together { ahead: 1 };
    for (limit, passed) in [("10/h", 9_u32), ("11/h", 10), ("20/h", 19)] {
        let (one, two, mut store) = (Ledger::new(100), Ledger::new(100), Store::default());
        let quota = quota(limit, None);
        // While the store is away, all but one pass on one node, which then tells it: the other has heard of
        // nothing.
        let mut sum = u32::from(request(&two, &mut store, quota, nodes(2), at(0)));
        for question in two.to_tell(usize::MAX, at(1)) {
            let taken = store.take(&question, at(1));
            two.heard(question, taken, at(1));
        }
        while sum < passed {
            assert!(here(one.count(ALICE, quota, nodes(1), at(1))).passes);
            sum += 1;
        }
        for question in one.to_tell(usize::MAX, at(1)) {
            let taken = store.take(&question, at(1));
            one.heard(question, taken, at(1));
        }
        [&one, &two].iter().for_each(|ledger| ledger.level());
        // One is left for all, and none that passed ahead makes it two.
        for ledger in [&two, &one, &two] {
            sum += u32::from(request(ledger, &mut store, quota, way, at(2)));
        }
        assert_eq!(sum, passed + 1, "{limit}");
        // Whoever merely notes a request asks nobody.
        let noted = two.count(ALICE, quota, Way::Together { ahead: u32::MAX }, at(2));
        assert!(matches!(noted, Counted::Here(_)));
    }
}

#[test]
fn after_the_shares_the_store_is_asked_until_it_has_said_something() {
    let (ledger, mut store) = (Ledger::new(100), Store::default());
    let (quota, way) = (quota("100/h", None), Way::Together { ahead: 5 });
    assert!(here(ledger.count(ALICE, quota, nodes(2), at(0))).passes);
    let told = ledger.to_tell(usize::MAX, at(0)).swap_remove(0);
    let taken = store.take(&told, at(0));
    ledger.heard(told, taken, at(0));
    ledger.level();
    // It is late once, and once does not answer at all: it is asked again.
    let question = asks(ledger.count(ALICE, quota, way, at(1)));
    assert!(ledger.unanswered(question, 5, at(1)).passes);
    ledger.untaken(asks(ledger.count(ALICE, quota, way, at(2))));
    let question = asks(ledger.count(ALICE, quota, way, at(3)));
    let taken = store.take(&question, at(3));
    assert!(ledger.answered(question, taken, at(3)).passes);
    assert!(here(ledger.count(ALICE, quota, way, at(4))).passes);
}

#[test]
fn what_may_have_been_told_is_told_once() {
    for arrived in [false, true] {
        let (ledger, mut store) = (Ledger::new(100), Store::default());
        let (quota, way) = (quota("100/h", None), Way::Together { ahead: 10 });
        for _ in 0..10 {
            assert!(here(ledger.count(ALICE, quota, way, at(0))).passes);
        }
        for _ in 0..5 {
            for question in ledger.to_tell(10, at(1)) {
                if arrived {
                    let _ = store.take(&question, at(1));
                }
                ledger.lost(question);
            }
        }
        tell(&ledger, &mut store, at(1));
        assert_eq!(ledger.look(&ALICE, quota, at(1)).remaining, 90, "{arrived}");
    }
}

#[test]
fn what_was_not_taken_is_told_again() {
    let (ledger, mut store) = (Ledger::new(100), Store::default());
    let (quota, way) = (quota("100/h", None), Way::Together { ahead: 10 });
    for _ in 0..10 {
        assert!(here(ledger.count(ALICE, quota, way, at(0))).passes);
    }
    for _ in 0..3 {
        let questions = ledger.to_tell(10, at(1));
        assert_eq!(questions.iter().map(|it| it.take.counted).sum::<u32>(), 10);
        questions.into_iter().for_each(|it| ledger.untaken(it));
    }
    tell(&ledger, &mut store, at(1));
    assert!(here(ledger.count(ALICE, quota, way, at(1))).passes);
    assert_eq!(ledger.look(&ALICE, quota, at(1)).remaining, 89);
}

#[test]
fn a_store_that_is_late_lets_few_pass() {
    let ledger = Ledger::new(100);
    let quota = quota("100/h", None);
    for (ahead, passes) in [(0, 1), (3, 3)] {
        let name = [u8::try_from(ahead).unwrap(); 16];
        let passed = (0..50).filter(|_| {
            match ledger.count(name, quota, Way::Together { ahead: 0 }, at(0)) {
                Counted::Here(answer) => answer.passes,
                Counted::Asks(question) => ledger.unanswered(question, ahead, at(5)).passes,
            }
        });
        assert_eq!(passed.count(), passes);
        // Nothing of that is lost on the store, whether it had it or not.
        let told = ledger.to_tell(10, at(6));
        let told: Vec<_> = told.iter().filter(|it| it.name == name).collect();
        let cost = quota.cost() * u32::try_from(passes).unwrap();
        assert_eq!(told[0].take.known, cost - Duration::from_millis(1));
    }
}

#[test]
fn a_limit_that_becomes_another_makes_nobody_wait_for_what_it_was() {
    for way in [Way::Alone, nodes(2)] {
        let ledger = Ledger::new(100);
        while here(ledger.count(ALICE, quota("1000/d", None), way, at(0))).passes {}
        let after = here(ledger.count(ALICE, quota("5/m", None), way, at(0)));
        assert!(!after.passes && after.seconds() <= 2 * 60, "{after:?}");
        assert!(here(ledger.count(ALICE, quota("5/m", None), way, at(130_000))).passes);
    }
}

#[test]
fn a_flood_of_names_stays_within_memory() {
    let ledger = Ledger::new(640);
    let quota = quota("100/h", None);
    let greedy = [7; 16];
    while here(ledger.count(greedy, quota, nodes(2), at(0))).passes {}
    for number in 0..200_000_u128 {
        let _ = ledger.count((number + 1).to_be_bytes(), quota, nodes(2), at(0));
    }
    // Nobody was told anything: those who were forgotten do not wait for it.
    assert!(ledger.len() <= 704 && ledger.waiting() <= 2 * 704 + SHARDS, "{}", ledger.waiting());
    assert!(!here(ledger.count(greedy, quota, nodes(2), at(0))).passes);
    assert!(ledger.to_tell(usize::MAX, at(0)).len() <= 704);
    ledger.forget(at(3_600_001));
    assert!(ledger.len() <= 704, "what is on its way is remembered");
}
