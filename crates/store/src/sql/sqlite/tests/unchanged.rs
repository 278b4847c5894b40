//! What was read before is known, and never for longer than it is so.

use tegata_core::port::Record;
use tokio::task::JoinSet;

use super::{super::unchanged::Recalled, *};

static BY_DAY: Kind =
    Kind { name: "by_day", indexes: &[], lifetime: Lifetime::ByDay(|_| Some(1)), secret: false };

fn open_both(place: &Place) -> Sqlite {
    let (config, clock) = (SqliteConfig::default(), Arc::new(ManualClock::default()));
    Sqlite::open(&place.path, &config, &[&NOTES, &BY_DAY], clock).unwrap()
}

fn number(key: &str, number: u64) -> Batch {
    let (expect, body) = (Expect::Any, Body::Plain(number.to_be_bytes().to_vec()));
    let change =
        Change::Put { kind: &NOTES, key: key.to_owned(), expect, body, indexes: Vec::new() };
    Batch::new(Realm::default()).with(change)
}

fn of(record: &Record) -> u64 {
    let Body::Plain(body) = &record.body else { panic!("{record:?}") };
    u64::from_be_bytes(body.as_slice().try_into().unwrap())
}

async fn read(sqlite: &Sqlite, key: &str) -> Option<u64> {
    let found = sqlite.records().load(&Realm::default(), &NOTES, key).await.unwrap();
    found.as_ref().map(of)
}

fn known(sqlite: &Sqlite, kind: &'static Kind, key: &str) -> Option<u64> {
    match sqlite.0.unchanged.recall(&Realm::default(), kind, key) {
        Recalled::Is(record) => Some(of(&record)),
        Recalled::AsOf(_) | Recalled::Unknown => None,
    }
}

#[tokio::test]
async fn what_was_read_is_known_until_anybody_writes_anything() {
    let place = place();
    let (one, other) = (open_both(&place), open_both(&place));
    one.records().commit(number("a", 1)).await.unwrap();
    assert_eq!(known(&one, &NOTES, "a"), None);
    assert_eq!(read(&one, "a").await, Some(1));
    assert_eq!(known(&one, &NOTES, "a"), Some(1));
    for (turn, writer) in [&one, &other].into_iter().cycle().take(20).enumerate() {
        let turn = u64::try_from(turn).unwrap() + 2;
        writer.records().commit(number("a", turn)).await.unwrap();
        assert_eq!(known(&one, &NOTES, "a"), None);
        assert_eq!((read(&one, "a").await, read(&other, "a").await), (Some(turn), Some(turn)));
        assert_eq!(known(&one, &NOTES, "a"), Some(turn));
    }
    let removal = Change::Remove { kind: &NOTES, key: "a".to_owned(), expect: Expect::Version(21) };
    other.records().commit(Batch::new(Realm::default()).with(removal)).await.unwrap();
    assert_eq!(read(&one, "a").await, None);
}

#[tokio::test]
async fn what_the_own_writer_leaves_alone_is_known_on() {
    let place = place();
    let (one, other) = (open_both(&place), open_both(&place));
    for (key, turn) in [("a", 1), ("b", 1), ("a", 2)] {
        one.records().commit(number(key, turn)).await.unwrap();
        read(&one, "b").await;
    }
    assert_eq!((known(&one, &NOTES, "b"), known(&one, &NOTES, "a")), (Some(1), None));
    let removal = Change::Remove { kind: &NOTES, key: "b".to_owned(), expect: Expect::Any };
    one.records().commit(Batch::new(Realm::default()).with(removal)).await.unwrap();
    assert_eq!(known(&one, &NOTES, "b"), None);
    one.records().commit(number("b", 2)).await.unwrap();
    read(&one, "b").await;
    // What others write is not told, so nothing of before is known, whoever commits afterwards.
    other.records().commit(number("b", 3)).await.unwrap();
    one.records().commit(number("a", 3)).await.unwrap();
    assert_eq!((known(&one, &NOTES, "b"), read(&one, "b").await), (None, Some(3)));
}

#[tokio::test]
async fn what_was_read_before_another_process_committed_is_not_remembered_while_the_own_commits() {
    let place = place();
    let (one, other) = (open_both(&place), open_both(&place));
    let (realm, unchanged) = (Realm::default(), &one.0.unchanged);
    for refuses in [false, true] {
        one.records().commit(number("a", 1)).await.unwrap();
        let Recalled::AsOf(version) = unchanged.recall(&realm, &NOTES, "a") else { panic!() };
        let before = one.records().load(&realm, &NOTES, "a").await.unwrap().unwrap();
        other.records().commit(number("a", 2)).await.unwrap();
        unchanged.begin(false);
        unchanged.remember(version, &realm, &NOTES, &before);
        assert!(known(&one, &NOTES, "a").is_none());
        match refuses {
            true => unchanged.end_unsure(),
            false => unchanged.end(&[], || true),
        }
        unchanged.remember(version, &realm, &NOTES, &before);
        assert_eq!((known(&one, &NOTES, "a"), read(&one, "a").await), (None, Some(2)));
    }
}

#[tokio::test]
async fn what_is_committed_is_not_known_as_it_was_before_its_writer_has_said_so() {
    let place = place();
    let (one, other) = (open_both(&place), open_both(&place));
    let unchanged = &one.0.unchanged;
    one.records().commit(number("a", 1)).await.unwrap();
    assert_eq!((read(&one, "a").await, known(&one, &NOTES, "a")), (Some(1), Some(1)));
    unchanged.begin(true);
    assert_eq!(known(&one, &NOTES, "a"), Some(1));
    // As the own writer would.
    other.records().commit(number("a", 2)).await.unwrap();
    assert!(matches!(unchanged.recall(&Realm::default(), &NOTES, "a"), Recalled::Unknown));
    assert_eq!(read(&one, "a").await, Some(2));
    let written = super::super::unchanged::written(&Realm::default(), &NOTES, "a");
    unchanged.end(&[written.unwrap()], || true);
    assert_eq!((known(&one, &NOTES, "a"), read(&one, "a").await), (None, Some(2)));
    // Where somebody else may have committed too, nothing is known.
    unchanged.begin(true);
    unchanged.end(&[], || false);
    assert_eq!(known(&one, &NOTES, "a"), None);
}

#[tokio::test]
async fn what_was_read_before_a_change_is_not_remembered_after_it() {
    let place = place();
    let sqlite = open_both(&place);
    let realm = Realm::default();
    sqlite.records().commit(number("a", 1)).await.unwrap();
    let Recalled::AsOf(version) = sqlite.0.unchanged.recall(&realm, &NOTES, "a") else { panic!() };
    let before = sqlite.records().load(&realm, &NOTES, "a").await.unwrap().unwrap();
    sqlite.records().commit(number("a", 2)).await.unwrap();
    // Another read has seen the change meanwhile.
    assert_eq!(read(&sqlite, "b").await, None);
    sqlite.0.unchanged.remember(version, &realm, &NOTES, &before);
    assert_eq!(read(&sqlite, "a").await, Some(2));
}

#[tokio::test]
async fn realms_and_kinds_are_apart_and_what_goes_by_day_or_is_long_is_read_each_time() {
    let place = place();
    let sqlite = open_both(&place);
    let records = sqlite.records();
    records.commit(number("a", 1)).await.unwrap();
    assert_eq!(read(&sqlite, "a").await, Some(1));
    assert!(records.load(&Realm::new("other").unwrap(), &NOTES, "a").await.unwrap().is_none());
    records.commit(note(&BY_DAY, "a", 8, &[])).await.unwrap();
    assert!(records.load(&Realm::default(), &BY_DAY, "a").await.unwrap().is_some());
    assert_eq!(known(&sqlite, &BY_DAY, "a"), None);
    records.commit(note(&NOTES, "long", 100_000, &[])).await.unwrap();
    assert!(records.load(&Realm::default(), &NOTES, "long").await.unwrap().is_some());
    assert_eq!(known(&sqlite, &NOTES, "long"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_reads_less_than_what_was_committed_before() {
    const WRITES: u64 = 300;
    let place = place();
    let both = [open_both(&place), open_both(&place)];
    for key in ["a", "b"] {
        both[0].records().commit(number(key, 0)).await.unwrap();
    }
    let (told, committed) = tokio::sync::watch::channel(0);
    let mut readers = JoinSet::new();
    for sqlite in both.clone().into_iter().cycle().take(6) {
        let committed = committed.clone();
        readers.spawn(async move {
            let mut reads = 0_u64;
            loop {
                let least: u64 = *committed.borrow();
                // The turns go to both in turn.
                for (of_key, key) in (0..).zip(["a", "b"]) {
                    let least = least.saturating_sub(u64::from(least % 2 != of_key));
                    let found = read(&sqlite, key).await.unwrap();
                    assert!(found >= least, "{found} was read after {least} was committed");
                }
                reads += 1;
                if least == WRITES {
                    return reads;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for turn in 1..=WRITES {
        let writer = &both[usize::from(turn % 3 == 0)];
        let key = if turn % 2 == 0 { "a" } else { "b" };
        writer.records().commit(number(key, turn)).await.unwrap();
        told.send(turn).unwrap();
    }
    assert!(readers.join_all().await.into_iter().all(|reads| reads > 0));
}
