//! What the circle does, step by step, on a store that is always there.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tegata_core::{ManualClock, Node, SeededEntropy};
use tegata_store::MemoryRecords;
use tegata_token::{
    Circle, View,
    circle::{LEASE, Speaker, Standing},
};

struct Bench {
    clock: Arc<ManualClock>,
    store: Arc<MemoryRecords>,
}

struct Process {
    circle: Circle,
    view: View,
    store: Arc<MemoryRecords>,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let kinds = [&tegata_token::circle::CIRCLE];
        let store = Arc::new(MemoryRecords::new(&kinds, clock.clone()).unwrap());
        Self { clock, store }
    }

    fn process(&self, place: &str, run: u64, speaks: bool) -> Process {
        let node = Node::with(self.clock.clone(), Arc::new(SeededEntropy::new(run)));
        let circle = Circle::new(node.clone(), place.to_owned(), speaks);
        Process { circle, view: View::new(node), store: self.store.clone() }
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

    fn hear(&self, other: &Self) -> Speaker {
        self.circle.hear(&other.circle.beat(&other.view), &self.view)
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
    assert_eq!(one.hear(&other), Speaker::Stranger);
    one.look();
    assert_eq!(other.look(), Standing::Member);
    for process in [&one, &other] {
        bench.wait(1);
        process.pull();
    }
    assert_eq!(one.hear(&other), Speaker::Known);
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
    assert_eq!(other.circle.acknowledge(2), Some(1));
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
    assert_eq!(third.circle.acknowledge(1), None);
    // The other admits it, and vouches no more for a circle of two.
    other.look();
    assert_eq!(third.look(), Standing::Member);
    assert_eq!(third.circle.acknowledge(1), Some(1));
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
fn a_lease_that_is_not_renewed_ends_what_it_allows_and_then_the_place() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    // One cannot reach the store any more; the other looks every second.
    for second in 0..500 {
        let lasts = second < LEASE.as_secs() - 2;
        if lasts || second > LEASE.as_secs() {
            assert_eq!(one.circle.acknowledge(1).is_some(), lasts, "after {second} s");
        }
        bench.wait(1);
        other.look();
    }
    other.pull();
    bench.wait(1);
    other.pull();
    bench.wait(60);
    drop(other.circle.beat(&other.view));
    assert_eq!(other.stale(), 0, "alone in the circle");
    // It comes back as a candidate, and is admitted again.
    assert_eq!(one.look(), Standing::Candidate);
    other.look();
    assert_eq!(one.look(), Standing::Member);
}

#[test]
fn whoever_was_not_dropped_goes_on_as_soon_as_it_renews_its_lease() {
    let bench = Bench::new();
    let (one, _other) = two(&bench);
    bench.wait(1000);
    assert!(!one.circle.may_acknowledge());
    assert_eq!(one.look(), Standing::Member);
    assert!(one.circle.may_acknowledge());
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
    assert_eq!(one.circle.acknowledge(1), None);
    assert_eq!(copy.look(), Standing::Member, "it is not thrown out again");
    assert_eq!(other.look(), Standing::Member);
}

#[test]
fn whoever_left_acknowledges_nothing_and_is_not_waited_for() {
    let bench = Bench::new();
    let (one, other) = two(&bench);
    other.circle.leave(bench.store.as_ref()).now_or_never().unwrap().unwrap();
    assert_eq!((other.look(), other.circle.acknowledge(1)), (Standing::Left, None));
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
        assert_eq!(one.circle.hear(&bad, &one.view), Speaker::Nobody);
    }
    assert_eq!(one.circle.hear(&one.circle.beat(&one.view), &one.view), Speaker::Nobody);
    assert_eq!(one.circle.hear(&good, &one.view), Speaker::Known);
}
