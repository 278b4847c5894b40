use std::{fs, os::unix::fs::PermissionsExt as _};

use rusqlite::Connection;
use tegata_core::{
    Batch, CommitRefused, Expect, Lifetime, Log, ManualClock, Realm, Records,
    port::{Append, Body, Change, Page},
};

use super::{writer::Undone, *};

mod damage;
mod unchanged;

static NOTES: Kind =
    Kind { name: "note", indexes: &["owner"], lifetime: Lifetime::Kept, secret: false };
static NOTES_LATER: Kind =
    Kind { name: "note", indexes: &["owner", "colour"], lifetime: Lifetime::Kept, secret: false };

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tegata.db");
    Place { _directory: directory, path }
}

fn open_with(place: &Place, kind: &'static Kind) -> Result<Sqlite, SqliteRefused> {
    Sqlite::open(&place.path, &SqliteConfig::default(), &[kind], Arc::new(ManualClock::default()))
}

fn open(place: &Place) -> Sqlite {
    open_with(place, &NOTES).unwrap()
}

fn note(kind: &'static Kind, key: &str, size: usize, indexes: &[(&'static str, &str)]) -> Batch {
    let indexes = indexes.iter().map(|(index, value)| (*index, (*value).to_owned())).collect();
    let (expect, body) = (Expect::Any, Body::Plain(vec![7; size]));
    let change = Change::Put { kind, key: key.to_owned(), expect, body, indexes };
    Batch::new(Realm::default()).with(change)
}

async fn exists(sqlite: &Sqlite, key: &str) -> bool {
    sqlite.records().load(&Realm::default(), &NOTES, key).await.unwrap().is_some()
}

/// The writer, held in the middle of a transaction.
struct Held {
    go: std::sync::mpsc::Sender<()>,
    task: tokio::task::JoinHandle<Result<bool, StoreError>>,
}

async fn hold(sqlite: &Sqlite) -> Held {
    let (go, wait) = std::sync::mpsc::channel();
    let (begin, begun) = tokio::sync::oneshot::channel();
    let act = move |_: &mut writer::Tx<'_>| {
        begin.send(()).unwrap();
        Ok::<_, Undone<StoreError>>(wait.recv().is_ok())
    };
    let sqlite = sqlite.clone();
    let task = tokio::spawn(async move { sqlite.0.writer.run(false, act).await });
    begun.await.unwrap();
    Held { go, task }
}

impl Held {
    async fn release(self) {
        self.go.send(()).unwrap();
        assert!(self.task.await.unwrap().unwrap());
    }
}

fn store_error(committed: Result<(), CommitRefused>) -> StoreError {
    match committed {
        Err(CommitRefused::Store(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let place = place();
    let first = open(&place);
    let entry = Append { log: Log::Journal, id: tegata_core::EventId([1; 16]), body: vec![] };
    first.records().commit(note(&NOTES, "kept", 1, &[]).append(entry)).await.unwrap();
    drop(first);
    let second = open(&place);
    assert!(exists(&second, "kept").await);
    assert_eq!(second.records().pull(Log::Journal, 0, 1).await.unwrap().head, 1);
    let mode = fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others can read the database");
}

#[tokio::test]
async fn waits_a_bounded_time_for_another_writer() {
    let place = place();
    let config = SqliteConfig { wait: Duration::from_millis(20), ..SqliteConfig::default() };
    let clock = Arc::new(ManualClock::default());
    let sqlite = Sqlite::open(&place.path, &config, &[&NOTES], clock).unwrap();
    let other = Connection::open(&place.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store_error(sqlite.records().commit(note(&NOTES, "a", 1, &[])).await);
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    assert!(
        !exists(&sqlite, "a").await,
        "a reader waits for a writer, or a refused write is there"
    );
    other.execute_batch("ROLLBACK").unwrap();
    sqlite.records().commit(note(&NOTES, "a", 1, &[])).await.unwrap();
    assert!(exists(&sqlite, "a").await);
}

/// A database for whose turn others are waited for by a clock that the test moves.
struct Waiting {
    _place: Place,
    clock: Arc<ManualClock>,
    sqlite: Sqlite,
    other: Connection,
    turn: fs::File,
}

type Committing = tokio::task::JoinHandle<Result<(), CommitRefused>>;

impl Waiting {
    fn new() -> Self {
        let (place, clock) = (place(), Arc::new(ManualClock::default()));
        let patience = Patience::new(clock.clone(), Duration::from_secs(5));
        let config = SqliteConfig::default();
        let sqlite = Sqlite::open_with(&place.path, &config, &[&NOTES], clock.clone(), patience);
        let other = Connection::open(&place.path).unwrap();
        let turn = connection::private_file(&place.path.with_extension("db-turn")).unwrap();
        Self { _place: place, clock, sqlite: sqlite.unwrap(), other, turn }
    }

    fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// Asks for a write, which waits in the queue behind so many.
    async fn commit(&self, key: &'static str, behind: usize) -> Committing {
        let records = self.sqlite.records();
        let task = tokio::spawn(async move { records.commit(note(&NOTES, key, 1, &[])).await });
        while self.sqlite.0.writer.waiting() <= behind {
            tokio::task::yield_now().await;
        }
        task
    }
}

/// Only what hangs takes as long.
async fn ended(task: Committing) -> Result<(), CommitRefused> {
    tokio::time::timeout(Duration::from_secs(60), task).await.expect("it waits on").unwrap()
}

#[tokio::test]
async fn each_waits_from_when_it_asked() {
    let world = Waiting::new();
    let held = hold(&world.sqlite).await;
    world.turn.lock().unwrap();
    let early = world.commit("early", 0).await;
    world.pass(3);
    let late = world.commit("late", 1).await;
    held.release().await;
    world.pass(2);
    let refused = store_error(ended(early).await);
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    // Who was in one group with it still has three seconds.
    world.turn.unlock().unwrap();
    ended(late).await.unwrap();
    assert!(exists(&world.sqlite, "late").await && !exists(&world.sqlite, "early").await);
}

#[tokio::test]
async fn nobody_waits_anew_for_the_turn_the_transaction_or_those_before() {
    let world = Waiting::new();
    let held = hold(&world.sqlite).await;
    world.turn.lock().unwrap();
    let first = world.commit("first", 0).await;
    held.release().await;
    while world.sqlite.0.writer.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    // This one is behind a group that fails.
    let second = world.commit("second", 0).await;
    world.other.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.pass(4);
    world.turn.unlock().unwrap();
    world.pass(1);
    for task in [first, second] {
        let refused = store_error(ended(task).await);
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_is_recovered_from_without_a_restart() {
    let place = place();
    let sqlite = open(&place);
    let records = sqlite.records();
    records.commit(note(&NOTES, "before", 100, &[])).await.unwrap();
    // A limit on pages is reached in the same way as the end of the disk.
    let limit = async |pages: i64| {
        let set = move |tx: &mut writer::Tx<'_>| {
            Ok::<_, Undone<StoreError>>(tx.connection.pragma_update(
                None,
                "max_page_count",
                pages,
            )?)
        };
        sqlite.0.writer.run(false, set).await.unwrap();
    };
    limit(1).await;
    let refused = store_error(records.commit(note(&NOTES, "large", 1 << 20, &[])).await);
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(!exists(&sqlite, "large").await);
    assert!(exists(&sqlite, "before").await, "reading needs no space");
    limit(1 << 30).await;
    records.commit(note(&NOTES, "large", 1 << 20, &[])).await.unwrap();
    assert!(exists(&sqlite, "large").await);
}

#[tokio::test]
async fn names_the_record_that_is_damaged() {
    let place = place();
    let sqlite = open(&place);
    sqlite.records().commit(note(&NOTES, "bent", 1, &[])).await.unwrap();
    let other = Connection::open(&place.path).unwrap();
    other.execute("UPDATE kind_note SET version = -5", []).unwrap();
    let read = sqlite.records().load(&Realm::default(), &NOTES, "bent").await;
    assert!(
        matches!(&read, Err(StoreError::Corrupt { kind: "note", key, .. }) if key == "bent"),
        "{read:?}"
    );
    let written = store_error(sqlite.records().commit(note(&NOTES, "bent", 1, &[])).await);
    assert!(
        matches!(&written, StoreError::Corrupt { kind: "note", key, .. } if key == "bent"),
        "{written}"
    );
    sqlite.records().commit(note(&NOTES, "straight", 1, &[])).await.unwrap();
}

#[tokio::test]
async fn damaged_pages_are_refused_and_never_guessed_at() {
    let place = place();
    let sqlite = open(&place);
    for n in 0..200 {
        sqlite.records().commit(note(&NOTES, &format!("note-{n}"), 900, &[])).await.unwrap();
    }
    drop(sqlite);
    // Whoever opens next finds all in the file itself.
    let other = Connection::open(&place.path).unwrap();
    other.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let size = |pragma| other.query_row(pragma, [], |row| row.get::<_, i64>(0)).unwrap();
    let root = size("SELECT rootpage FROM sqlite_schema WHERE name = 'kind_note'");
    let page = usize::try_from(size("PRAGMA page_size")).unwrap();
    drop(other);
    let mut bytes = fs::read(&place.path).unwrap();
    let start = (usize::try_from(root).unwrap() - 1) * page;
    bytes[start..start + page].fill(0xa5);
    fs::write(&place.path, bytes).unwrap();

    let sqlite = open(&place);
    let read = sqlite.records().load(&Realm::default(), &NOTES, "note-7").await;
    assert!(matches!(read, Err(StoreError::Corrupt { kind: "note", .. })), "{read:?}");
    let page = Page { after: None, limit: 9 };
    let scanned = sqlite.records().scan(&Realm::default(), &NOTES, page).await;
    assert!(matches!(scanned, Err(StoreError::Corrupt { kind: "note", .. })), "{scanned:?}");
    let written = store_error(sqlite.records().commit(note(&NOTES, "note-7", 1, &[])).await);
    assert!(matches!(written, StoreError::Corrupt { .. }), "{written}");
}

#[test]
fn leaves_files_of_other_programs_alone() {
    let place = place();
    let other = Connection::open(&place.path).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(other);
    let before = fs::read(&place.path).unwrap();
    let refused = open_with(&place, &NOTES).err().unwrap();
    assert!(matches!(refused, SqliteRefused::Foreign { .. }), "{refused}");
    assert_eq!(fs::read(&place.path).unwrap(), before);

    fs::write(&place.path, "this is a letter to my aunt, and not a database at all").unwrap();
    let before = fs::read(&place.path).unwrap();
    let refused = open_with(&place, &NOTES).err().unwrap().to_string();
    assert!(refused.contains("file is not a database"), "{refused}");
    assert_eq!(fs::read(&place.path).unwrap(), before);
}

#[test]
fn refuses_what_a_newer_program_made() {
    let place = place();
    drop(open(&place));
    let other = Connection::open(&place.path).unwrap();
    other.execute("UPDATE tegata_schema SET version = 2 WHERE name = 'layout'", []).unwrap();
    drop(other);
    let refused = open_with(&place, &NOTES).err().unwrap();
    assert!(matches!(refused, SqliteRefused::Newer { found: 2, known: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("start the newer program"));
}

/// During an upgrade the program before and the program after use one file.
#[tokio::test]
async fn an_index_is_added_and_the_program_before_goes_on() {
    let place = place();
    let before = open(&place);
    before.records().commit(note(&NOTES, "old", 1, &[("owner", "anna")])).await.unwrap();
    let after = open_with(&place, &NOTES_LATER).unwrap();
    let both = [("owner", "anna"), ("colour", "red")];
    after.records().commit(note(&NOTES_LATER, "new", 1, &both)).await.unwrap();
    before.records().commit(note(&NOTES, "late", 1, &[("owner", "anna")])).await.unwrap();

    let (realm, page) = (Realm::default(), Page { after: None, limit: 9 });
    let (before, after) = (before.records(), after.records());
    let found = before.find(&realm, &NOTES, "owner", "anna", page.clone()).await.unwrap();
    assert_eq!(found.len(), 3);
    let found = after.find(&realm, &NOTES_LATER, "colour", "red", page).await.unwrap();
    assert_eq!(found.len(), 1);
}

/// Sharing a transaction must not mean sharing a fate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_in_a_group_takes_nobody_along() {
    let place = place();
    let sqlite = open(&place);
    // The writer is held, so that all of them end up in one transaction.
    let held = hold(&sqlite).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100_u8 {
        let records = sqlite.records();
        tasks.spawn(async move {
            let doomed = n % 2 == 1;
            let expect = if doomed { Expect::Version(9) } else { Expect::Absent };
            let key = format!("note-{n}");
            let change = Change::Require { kind: &NOTES, key: key.clone(), expect };
            let id = tegata_core::EventId([n; 16]);
            let batch = note(&NOTES, &format!("first-{n}"), 1, &[]).with(change);
            let append = Append { log: Log::Journal, id, body: vec![n] };
            let committed = records.commit(batch.append(append)).await;
            assert_eq!(committed.is_err(), doomed, "{committed:?}");
        });
    }
    while sqlite.0.writer.waiting() < 100 {
        tokio::task::yield_now().await;
    }
    held.release().await;
    tasks.join_all().await;
    for n in 0..100 {
        assert_eq!(exists(&sqlite, &format!("first-{n}")).await, n % 2 == 0);
    }
    let pull = sqlite.records().pull(Log::Journal, 0, 200).await.unwrap();
    let positions = pull.entries.iter().map(|entry| entry.position).collect::<Vec<_>>();
    assert_eq!(positions, (1..=50).collect::<Vec<_>>());
    assert!(pull.entries.iter().all(|entry| entry.body[0] % 2 == 0));
}

#[tokio::test]
async fn refuses_at_once_when_too_many_wait() {
    let place = place();
    let config = SqliteConfig { waiting: 2, ..SqliteConfig::default() };
    let clock = Arc::new(ManualClock::default());
    let sqlite = Sqlite::open(&place.path, &config, &[&NOTES], clock).unwrap();
    let held = hold(&sqlite).await;
    let records = sqlite.records();
    let mut queued = tokio::task::JoinSet::new();
    for n in 0..2 {
        let records = records.clone();
        queued.spawn(async move { records.commit(note(&NOTES, &n.to_string(), 1, &[])).await });
    }
    while sqlite.0.writer.waiting() < 2 {
        tokio::task::yield_now().await;
    }
    let refused = store_error(records.commit(note(&NOTES, "third", 1, &[])).await);
    assert!(refused.to_string().contains("too many writes are waiting"), "{refused}");
    held.release().await;
    assert!(queued.join_all().await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_refusal_gives_back_the_positions_that_it_took() {
    let place = place();
    let sqlite = open(&place);
    let entry =
        |n: u8| Append { log: Log::Journal, id: tegata_core::EventId([n; 16]), body: Vec::new() };
    let held = hold(&sqlite).await;
    let (refused, late) = (sqlite.clone(), sqlite.clone());
    let act = move |tx: &mut writer::Tx<'_>| {
        log::append(tx, &Realm::default(), tegata_core::Timestamp::default(), &entry(1))?;
        let detail = "after it has appended".to_owned();
        Err::<(), _>(Undone::Refused(StoreError::Misused { detail }))
    };
    let refused = tokio::spawn(async move { refused.0.writer.run(true, act).await });
    while sqlite.0.writer.waiting() < 1 {
        tokio::task::yield_now().await;
    }
    let batch = Batch::new(Realm::default()).append(entry(2));
    let late = tokio::spawn(async move { late.records().commit(batch).await });
    while sqlite.0.writer.waiting() < 2 {
        tokio::task::yield_now().await;
    }
    held.release().await;
    assert!(refused.await.unwrap().is_err() && late.await.unwrap().is_ok());
    let pull = sqlite.records().pull(Log::Journal, 0, 9).await.unwrap();
    assert_eq!((pull.head, pull.entries.len()), (1, 1));
    assert_eq!(pull.entries[0].position, 1);
}
