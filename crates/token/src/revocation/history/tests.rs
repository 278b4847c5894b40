use std::sync::Arc;

use proptest::prelude::*;
use tegata_core::{Batch, Clock as _, Epoch, EventId, ManualClock, SeededEntropy, port::Append};
use tegata_store::MemoryRecords;

use super::*;
use crate::{StatusIndex, Target};

/// A quarter begins with it.
const BEGAN: Timestamp = Timestamp::from_secs(1_767_225_600);

struct Bench {
    clock: Arc<ManualClock>,
    records: MemoryRecords,
    entropy: SeededEntropy,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(BEGAN));
        let records = MemoryRecords::new(&[], clock.clone()).unwrap();
        Self { clock, records, entropy: SeededEntropy::new(1) }
    }

    /// Takes places back by a clock that says this.
    async fn take_back(&self, realm: &Realm, at: Timestamp, places: Vec<StatusIndex>) {
        self.take_back_at(realm, (at, at), places).await;
    }

    /// The same, written down by a clock that says something else.
    async fn take_back_at(
        &self,
        realm: &Realm,
        (at, written): (Timestamp, Timestamp),
        places: Vec<StatusIndex>,
    ) {
        self.clock.jump(written);
        let entry = Entry {
            target: Target::Token("1.x".parse().unwrap()),
            places,
            at,
            until: at + Duration::from_secs(1800),
            reason: "test".into(),
            actor: "system".into(),
        };
        let id = EventId::generate(&self.entropy);
        let append = Append { log: Log::Revocations, id, body: entry.to_bytes() };
        self.records.commit(Batch::new(realm.clone()).append(append)).await.unwrap();
    }

    async fn read(&self, list: ListId, now: Timestamp) -> Result<History, Unknowable> {
        let mut history = History::of(Realm::default(), list);
        history.read(&self.records, now).await.map(|()| history)
    }
}

/// A list of the quarter that is so many after the first.
fn list(quarter: u32, number: u32) -> ListId {
    ListId { epoch: Epoch::FIRST, slot: ListId::slot_at(BEGAN) + quarter, number }
}

fn secs(secs: u64) -> Timestamp {
    BEGAN + Duration::from_secs(secs)
}

fn set(history: &History, list: ListId, at: Timestamp) -> Vec<u32> {
    history.bits(list, at).unwrap().places().collect()
}

#[tokio::test]
async fn a_list_stands_as_it_stood() {
    let bench = Bench::new();
    let (own, other) = (Realm::default(), "other".parse().unwrap());
    let place = |list, index| StatusIndex { list, index };
    let (first, second) = (list(0, 0), list(0, 1));
    bench.take_back(&own, secs(10), vec![place(first, 5), place(second, 6)]).await;
    bench.take_back(&other, secs(11), vec![place(first, 7)]).await;
    bench.take_back(&own, secs(901), vec![place(first, 8), place(list(1, 0), 9)]).await;

    let settled = secs(901) + SETTLED;
    let history = bench.read(first, settled).await.unwrap();
    for (at, expected) in [(0, vec![]), (9, vec![]), (10, vec![5]), (900, vec![5])] {
        assert_eq!(set(&history, first, secs(at)), expected, "{at}");
    }
    assert_eq!(set(&history, first, secs(901)), [5, 8]);
    assert_eq!(set(&history, second, secs(901)), [6]);
    // In its first second and not before, and of no other quarter than was read.
    assert_eq!(set(&history, first, secs(10) + Duration::from_millis(999)), [5]);
    assert!(history.bits(list(1, 0), secs(901)).is_none());
    // What may still become known of is not said.
    assert!(history.bits(first, secs(901) + Duration::from_millis(1)).is_none());
    assert!(!history.covers(secs(902)));
}

#[tokio::test]
async fn what_was_read_is_read_on_from_where_it_ended() {
    let bench = Bench::new();
    let own = Realm::default();
    let place = |index| vec![StatusIndex { list: list(0, 0), index }];
    bench.take_back(&own, secs(1), place(1)).await;
    let mut history = bench.read(list(0, 0), secs(1) + SETTLED).await.unwrap();
    bench.take_back(&own, secs(600), place(2)).await;
    assert!(!history.covers(secs(600)));
    history.read(&bench.records, secs(700) + SETTLED).await.unwrap();
    assert_eq!(set(&history, list(0, 0), secs(700)), [1, 2]);
    assert_eq!((history.read, history.places.len()), (2, 2));
    // When the lists are dead for certain, there is no more to know.
    for _ in 1..PAGE {
        bench.take_back(&own, secs(900 + 2 * 86_400), vec![]).await;
    }
    history.read(&bench.records, secs(700) + SETTLED).await.unwrap();
    assert!(!history.covers(secs(2 * 86_400)));
    for _ in 0..PAGE {
        bench.take_back(&own, secs(900 + 2 * 86_400), vec![]).await;
    }
    history.read(&bench.records, secs(700) + SETTLED).await.unwrap();
    assert!(history.covers(Timestamp::from_millis(u64::MAX)));
}

#[tokio::test]
async fn one_clock_that_is_ahead_hides_nothing_that_comes_after_it() {
    let bench = Bench::new();
    let own = Realm::default();
    let place = |index| vec![StatusIndex { list: list(0, 0), index }];
    bench.take_back(&own, secs(1), place(1)).await;
    bench.take_back_at(&own, (secs(2), secs(30 * 86_400)), place(2)).await;
    bench.take_back(&own, secs(3), place(3)).await;
    let history = bench.read(list(0, 0), secs(700) + SETTLED).await;
    if let Ok(history) = &history {
        assert_eq!(set(history, list(0, 0), secs(700)), [1, 2, 3]);
    } else {
        assert_eq!(history.map(drop), Err(Unknowable::Disordered));
    }
    // What was begun before it is read on beyond it.
    let bench = Bench::new();
    bench.take_back(&own, secs(1), place(1)).await;
    let mut history = bench.read(list(0, 0), secs(700) + SETTLED).await.unwrap();
    bench.take_back_at(&own, (secs(2), secs(30 * 86_400)), place(2)).await;
    bench.take_back(&own, secs(3), place(3)).await;
    history.read(&bench.records, secs(700) + SETTLED).await.unwrap();
    assert_eq!(set(&history, list(0, 0), secs(700)), [1, 2, 3]);
}

#[tokio::test]
async fn nothing_is_said_of_what_was_trimmed_away() {
    let bench = Bench::new();
    let own = Realm::default();
    let day = 86_400;
    for days in 0..10 {
        bench.take_back(&own, secs(days * day), vec![]).await;
    }
    let quarter = |secs: u64| list(u32::try_from(secs / SLOT_SECS).unwrap(), 0);
    let now = secs(10 * day);
    assert!(bench.read(quarter(0), now).await.is_ok());
    bench.records.purge(now, secs(3 * day)).await.unwrap();
    // The oldest that is left is of the fourth day.
    for forgotten in [0, day, 3 * day - SLOT_SECS, 3 * day, 3 * day + 1100] {
        let read = bench.read(quarter(forgotten), now).await.map(drop);
        assert_eq!(read, Err(Unknowable::Forgotten), "{forgotten}");
    }
    for known in [3 * day + 3 * SLOT_SECS, 9 * day] {
        bench.read(quarter(known), now).await.unwrap();
    }
    // And where nothing is left, nothing is known of any.
    bench.records.purge(now, now).await.unwrap();
    assert_eq!(bench.read(quarter(9 * day), now).await.map(drop), Err(Unknowable::Forgotten));
}

#[tokio::test]
async fn no_more_is_read_than_is_worth_it() {
    let bench = Bench::new();
    let own = Realm::default();
    let places: Vec<_> = (0..64).map(|index| StatusIndex { list: list(0, 0), index }).collect();
    for _ in 0..=MOST_PLACES / 64 {
        bench.take_back(&own, secs(1), places.clone()).await;
    }
    let now = secs(1) + SETTLED;
    assert_eq!(bench.read(list(0, 0), now).await.map(drop), Err(Unknowable::TooMuch));
    // Another quarter is none the worse for it.
    bench.take_back(&own, secs(2 * 86_400), vec![]).await;
    bench.read(list(200, 0), secs(3 * 86_400)).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However wrong the clocks of those that took something back were: what is found by halving is
    /// what stands in the log.
    #[test]
    fn finds_whatever_the_log_says(
        errors in prop::collection::vec(0_u64..=600, 400),
        quarter in 0_u32..40,
        trimmed in 0_u64..20_000,
        wrong in 0_usize..400,
        by in prop::sample::select(vec![0_i64, -86_400, -20_000, -2_000, 2_000, 20_000, 86_400]),
        asked in 0_u64..40_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            let mut all = Vec::new();
            for (index, error) in (0_u32..).zip(&errors) {
                // Behind by up to five minutes, or ahead.
                let truth = 300 + u64::from(index) * 90;
                let at = secs(truth + error - 300);
                // Of a token that was issued within the last hour, by a clock that was wrong too.
                let issued = truth.saturating_sub(error * 6);
                let list = list(u32::try_from(issued / SLOT_SECS).unwrap(), 0);
                // One was written down by a clock that was wrong by any time.
                let by = if index as usize == wrong { by } else { 0 };
                let written = Timestamp::from_secs(at.secs().saturating_add_signed(by));
                let place = StatusIndex { list, index };
                bench.take_back_at(&Realm::default(), (at, written), vec![place]).await;
                all.push((list, index, at));
            }
            let now = secs(40_000) + SETTLED;
            bench.records.purge(now, secs(trimmed)).await.unwrap();
            let (list, at) = (list(quarter, 0), secs(asked));
            let mut history = History::of(Realm::default(), list);
            match history.read(&bench.records, now).await {
                Ok(()) => {
                    let so = |it: &&(ListId, u32, Timestamp)| it.0 == list && it.2 <= at;
                    let expected: Vec<_> = all.iter().filter(so).map(|it| it.1).collect();
                    assert_eq!(set(&history, list, at), expected);
                }
                Err(Unknowable::Disordered) => assert!(by.abs() > 1200, "{by}"),
                Err(refused) => {
                    assert_eq!(refused, Unknowable::Forgotten);
                    assert!(secs(u64::from(quarter) * SLOT_SECS) < secs(trimmed + 3600));
                }
            }
            assert!(bench.clock.now() >= BEGAN);
        });
    }
}
