//! Finding a request in a log of many segments, without looking through all of them.

use std::{fs, sync::Arc, time::Duration};

use tegata_core::{ManualClock, Node, SeededEntropy, Timestamp};
use tegata_gateway::{
    DecisionLog, Signer,
    decision_log::{self, Outcome, Record, Search, Stretch, Walk, find, is_given, is_name},
};
use tegata_token::{Algorithm, SigningKey};

/// A log of thirty days, a segment or two each, with one request an hour.
struct Month {
    directory: tempfile::TempDir,
    begun: Timestamp,
}

/// The name of the request of an hour, as the gateway gives it.
fn name(at: Timestamp) -> String {
    format!("{:012x}{:020x}", at.millis(), 7)
}

fn record<'r>(at: Timestamp, request: &'r str, trace: Option<&'r str>) -> Record<'r> {
    Record {
        at,
        request,
        trace,
        client: [192, 0, 2, 1].into(),
        subject: None,
        jti: None,
        sid: None,
        method: "GET",
        path: "/orders/1",
        service: Some("orders"),
        route: Some("/orders"),
        operation: "",
        result: Outcome::Allow,
        reason: None,
        rule: None,
        policies: &[],
        policy_set: None,
        risk: None,
        unchecked: false,
        status: Some(200),
        micros: Some(120),
        walk: Walk::default(),
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const HOURS: u32 = 24 * 30;

/// A name that others give: that of a trace, of which nobody knows when it was.
const TRACE: &str = "f0af7651916cd43dd8448eb211c80319";
const UUID: &str = "BFE9eb29-ab87-4ca3-be83-a1d5d8305716";

impl Month {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
        let signer: Signer = Arc::new(move || Some(Arc::clone(&key)));
        let config =
            decision_log::Config { segment: 4000, ..decision_log::Config::at(directory.path()) };
        let begun = node.now();
        // Each day is a process of its own, so that segments begin when they do.
        for _ in 0..HOURS / 24 {
            let log = DecisionLog::open(&config, &node, Arc::clone(&signer)).unwrap();
            for _ in 0..24 {
                let (at, own) = (node.now(), name(node.now()));
                let first = at == begun;
                let trace = first.then_some(TRACE);
                let walk = Walk { named: first.then_some(UUID), ..Walk::default() };
                assert!(log.append(&Record { walk, ..record(at, &own, trace) }));
                clock.advance(HOUR);
            }
            log.close();
        }
        Self { directory, begun }
    }

    fn hour(&self, hour: u32) -> String {
        name(self.begun + HOUR * hour)
    }

    fn find(&self, name: &str, within: Stretch) -> Search {
        find(self.directory.path(), name, &within).unwrap()
    }
}

const NARROW: Stretch = Stretch { at: None, from: None, bytes: 1 };

#[test]
fn a_name_of_ours_says_where_its_record_is() {
    let month = Month::new();
    for hour in [0, 1, 23, 24, 300, HOURS - 1] {
        let found = month.find(&month.hour(hour), Stretch { bytes: 20_000, ..NARROW });
        assert_eq!(found.seen.len(), 1, "{hour}: {found:?}");
        assert!(found.seen[0].sound && found.segments < 6, "{hour}: {}", found.segments);
    }
    // A clock that was set back by less than a minute moves nothing out of sight.
    let late = name(month.begun + HOUR * 24 + Duration::from_secs(30));
    assert!(month.find(&late, NARROW).segments > 0);
}

#[test]
fn a_name_of_others_is_looked_for_from_the_newest_on_and_only_so_far() {
    let month = Month::new();
    let first = month.find(TRACE, NARROW);
    assert!(first.seen.is_empty() && first.of > 30);
    assert!(first.segments <= 2, "{}", first.segments);
    // Going on where it ended, it is found in the end, and every segment is looked through.
    let (mut from, mut rounds) = (first.next, 0);
    let found = loop {
        let found = month.find(TRACE, Stretch { from, ..NARROW });
        rounds += 1;
        if !found.seen.is_empty() {
            break found;
        }
        assert!(found.next < from && found.since.is_some(), "{found:?}");
        from = found.next;
    };
    assert!(rounds > 25 && found.next.is_none());
    assert_eq!(found.seen[0].record["request"], *month.hour(0));
    // With all that may be looked through, once is enough.
    assert_eq!(month.find(TRACE, Stretch::default()).seen, found.seen);
    // Whoever knows when it was says so.
    let at = Some(month.begun + HOUR);
    let there = month.find(TRACE, Stretch { at, bytes: 8000, ..NARROW });
    assert_eq!(there.seen, found.seen);
    // And is told where that ended, too, where it was not then.
    let at = Some(month.begun + HOUR * 100);
    let elsewhere = month.find(TRACE, Stretch { at, ..NARROW });
    assert!(elsewhere.seen.is_empty() && elsewhere.onwards > at, "{elsewhere:?}");
    assert!(elsewhere.next.is_none());
    let all = month.find(TRACE, Stretch { at, ..Stretch::default() });
    assert!(all.seen.is_empty() && all.onwards.is_none());
}

#[test]
fn a_name_that_an_application_gave_is_found_as_it_was_given() {
    let month = Month::new();
    let found = month.find(UUID, Stretch::default());
    assert_eq!(found.seen.len(), 1);
    assert!(month.find(&UUID.to_lowercase(), Stretch::default()).seen.is_empty());
    assert!(is_name(UUID) && is_given("of mine; \"1\"") && !is_given("") && !is_given("é"));
    for strange in ["{", "\"", "\\", "\"request\":\"", "orders", "192.0.2.1", "a\"b"] {
        assert!(month.find(strange, Stretch::default()).seen.is_empty(), "{strange}");
    }
}

#[test]
fn nobody_hides_a_request_behind_a_trace_of_its_name() {
    let month = Month::new();
    // Somebody begins a trace with the name of a request, later.
    let target = month.hour(5);
    let node = Node::for_tests(1);
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let signer: Signer = Arc::new(move || Some(Arc::clone(&key)));
    let config = decision_log::Config::at(month.directory.path());
    let log = DecisionLog::open(&config, &node, signer).unwrap();
    assert!(log.append(&record(node.now(), TRACE, Some(&target))));
    log.close();
    let found = month.find(&target, Stretch::default());
    assert!(found.seen.iter().any(|seen| seen.record["request"] == *target), "{found:?}");
}

#[test]
fn what_is_moved_away_or_damaged_is_passed_over() {
    let month = Month::new();
    let files = || {
        let mut all: Vec<_> =
            fs::read_dir(month.directory.path()).unwrap().map(|it| it.unwrap().path()).collect();
        all.sort();
        all
    };
    fs::remove_file(&files()[3]).unwrap();
    fs::write(&files()[4], "no segment\n").unwrap();
    fs::write(&files()[5], "").unwrap();
    for hour in [0, 400, HOURS - 1] {
        assert_eq!(month.find(&month.hour(hour), Stretch::default()).seen.len(), 1, "{hour}");
    }
    let nothing = tempfile::tempdir().unwrap();
    let found = find(nothing.path(), &month.hour(0), &Stretch::default()).unwrap();
    assert_eq!((found.segments, found.of), (0, 0));
}
