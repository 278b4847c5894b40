//! What was acknowledged is there, or the database is not opened; and it is opened after everything
//! that may lawfully happen to its files.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The files of a database that nobody has open, by the ends of their names.
#[derive(Clone)]
struct Files(BTreeMap<&'static str, Vec<u8>>);

/// In the order in which a killed process leaves what it wrote: the note is written last.
const ENDS: [&str; 3] = ["-noted", "", "-wal"];

impl Files {
    /// As they are left by a process that is killed now.
    fn of(place: &Place) -> Self {
        let read = |end: &'static str| Some((end, fs::read(beside(place, end)).ok()?));
        Self(ENDS.into_iter().filter_map(read).collect())
    }

    /// Puts them down where nothing else is.
    fn put(&self) -> Place {
        let place = place();
        for (end, bytes) in &self.0 {
            fs::write(beside(&place, end), bytes).unwrap();
        }
        place
    }

    fn with(&self, end: &'static str, bytes: &[u8]) -> Self {
        let mut files = self.clone();
        files.0.insert(end, bytes.to_vec());
        files
    }

    fn without(&self, end: &str) -> Self {
        let mut files = self.clone();
        files.0.remove(end);
        files
    }

    fn get(&self, end: &str) -> &[u8] {
        self.0.get(end).map_or(&[], Vec::as_slice)
    }

    /// How many of the notes `0`, `1`, … are there when they are opened. `Err` says why they are not.
    async fn opened(&self) -> Result<usize, String> {
        let place = self.put();
        let sqlite = open_with(&place, &NOTES).map_err(|refused| refused.to_string())?;
        let page = Page { after: None, limit: 10_000 };
        let there = sqlite.records().scan(&Realm::default(), &NOTES, page).await;
        let there = there.map_err(|error| error.to_string())?;
        let mut keys: Vec<usize> = there.iter().map(|note| note.key.parse().unwrap()).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..keys.len()).collect::<Vec<_>>(), "something is left out");
        Ok(keys.len())
    }
}

fn beside(place: &Place, end: &str) -> PathBuf {
    let mut path = place.path.clone().into_os_string();
    path.push(end);
    path.into()
}

async fn write(sqlite: &Sqlite, number: usize) {
    let size = 300 + number * 2711 % 9000;
    let batch = note(&NOTES, &number.to_string(), size, &[("owner", "anna")]);
    sqlite.records().commit(batch).await.unwrap();
}

/// Where the last transaction in a log begins.
fn last(log: &[u8], before: &[u8]) -> usize {
    (0..log.len()).find(|at| before.get(*at) != log.get(*at)).unwrap_or(log.len())
}

/// Some that are spread over all.
fn some(from: usize, to: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| from + (to - from) * n / count)
}

#[tokio::test]
async fn a_bit_that_is_changed_in_the_last_transaction_is_noticed() {
    let alive = place();
    let sqlite = open(&alive);
    for number in 0..6 {
        write(&sqlite, number).await;
    }
    let before = Files::of(&alive);
    write(&sqlite, 6).await;
    let files = Files::of(&alive);
    let log = files.get("-wal");
    let begin = last(log, before.get("-wal"));
    assert!(log.len() - begin > 2 * 4096, "{begin}");
    for at in some(begin, log.len(), 1000) {
        let mut changed = log.to_vec();
        changed[at] ^= 1 << (at % 8);
        let refused = files.with("-wal", &changed).opened().await;
        let said = refused.expect_err(&format!("byte {at} of {begin} to {}", log.len()));
        assert!(said.contains("-wal` is damaged at byte "), "{said}");
        assert!(said.contains(" 1 of the last transactions, which were acknowledged"), "{said}");
    }
}

#[tokio::test]
async fn whatever_bit_is_changed_all_is_there_or_nothing_is_opened() {
    let alive = place();
    let sqlite = open(&alive);
    for number in 0..5 {
        write(&sqlite, number).await;
    }
    let files = Files::of(&alive);
    let mut refused = 0;
    for end in ["-wal", "-noted"] {
        let bytes = files.get(end);
        for at in some(0, bytes.len(), bytes.len().min(600)) {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << (at * 5 % 8);
            match files.with(end, &changed).opened().await {
                Ok(there) => assert_eq!(there, 5, "byte {at} of `{end}`"),
                Err(said) => {
                    assert!(end == "-wal" && said.contains("is damaged at byte"), "{said}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 500);
}

#[tokio::test]
async fn a_log_that_was_cut_off_is_noticed() {
    let alive = place();
    let sqlite = open(&alive);
    for number in 0..4 {
        write(&sqlite, number).await;
    }
    let files = Files::of(&alive);
    let log = files.get("-wal");
    for end in some(wal::HEAD, log.len(), 40) {
        let said = files.with("-wal", &log[..end]).opened().await.unwrap_err();
        assert!(said.contains("is damaged at byte"), "{said}");
    }
    let mut zeroed = log.to_vec();
    zeroed[..wal::HEAD].fill(0);
    let said = files.with("-wal", &zeroed).opened().await.unwrap_err();
    assert!(said.contains("is damaged at byte 0 "), "{said}");
}

/// A failing power takes any of the newest notes with it, and a process is killed at any moment.
#[tokio::test]
async fn a_note_that_is_older_than_its_log_says_less() {
    let alive = place();
    let sqlite = open(&alive);
    let other = Connection::open(&alive.path).unwrap();
    let mut all = vec![Files::of(&alive)];
    for number in 0..24 {
        write(&sqlite, number).await;
        all.push(Files::of(&alive));
        // The log is begun again, is carried over in part, and goes on.
        match number % 8 {
            3 => other.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap_or_default(),
            5 => other.execute_batch("PRAGMA wal_checkpoint(RESTART)").unwrap_or_default(),
            7 => other.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap_or_default(),
            _ => continue,
        }
        all.push(Files::of(&alive));
    }
    let begun = all.iter().filter_map(|files| Some(files.get("-wal").get(..wal::HEAD)?.to_vec()));
    assert!(begun.collect::<BTreeSet<_>>().len() > 3, "the log was never begun again");
    for (when, files) in all.iter().enumerate() {
        let there = files.opened().await.unwrap();
        for older in all[..=when].iter().step_by(3) {
            let noted = files.with("-noted", older.get("-noted"));
            assert_eq!(noted.opened().await, Ok(there), "a note of then makes {when} refused");
        }
        assert_eq!(files.without("-noted").opened().await, Ok(there));
    }
}

#[tokio::test]
async fn a_log_that_is_older_than_its_note_has_lost_what_was_acknowledged() {
    let alive = place();
    let sqlite = open(&alive);
    let mut all = Vec::new();
    for number in 0..6 {
        write(&sqlite, number).await;
        all.push(Files::of(&alive));
    }
    for (count, files) in all[..5].iter().enumerate() {
        // A backup that is put back, and the note is of the database that it replaces.
        let put_back = files.with("-noted", all[5].get("-noted"));
        let said = put_back.opened().await.unwrap_err();
        assert!(said.contains("-noted`"), "{said}");
        assert_eq!(put_back.without("-noted").opened().await, Ok(count + 1));
        // As the manual says: with its own note.
        assert_eq!(files.opened().await, Ok(count + 1));
    }
}

#[tokio::test]
async fn what_is_no_note_about_this_log_says_nothing() {
    let (alive, other) = (place(), place());
    let (sqlite, stranger) = (open(&alive), open(&other));
    for number in 0..9 {
        write(&stranger, number).await;
    }
    for number in 0..3 {
        write(&sqlite, number).await;
    }
    let files = Files::of(&alive);
    let own = files.get("-noted").to_vec();
    let longer = [own.as_slice(), b"and more"].concat();
    let mut false_sum = own.clone();
    false_sum[20] ^= 0x40;
    let theirs = Files::of(&other);
    for strange in
        [&[][..], &[0; 32], &[0xff; 32], &own[..31], &longer, &false_sum, theirs.get("-noted")]
    {
        assert_eq!(files.with("-noted", strange).opened().await, Ok(3));
    }
    // The note has been used until now.
    let log = files.get("-wal");
    let said = files.with("-wal", &log[..log.len() - 1]).opened().await.unwrap_err();
    assert!(said.contains("is damaged"), "{said}");
}

#[tokio::test]
async fn a_note_whose_log_is_gone_or_another_says_nothing() {
    let alive = place();
    let sqlite = open(&alive);
    for number in 0..3 {
        write(&sqlite, number).await;
    }
    let noted = Files::of(&alive).get("-noted").to_vec();
    drop(sqlite);
    // Whoever is alone when it closes the database carries all over, and the log is gone.
    while beside(&alive, "-wal").exists() {
        let other = Connection::open(&alive.path).unwrap();
        let _busy = other.query_row("SELECT count(*) FROM kind_note", [], |_| Ok(()));
    }
    let files = Files::of(&alive).with("-noted", &noted);
    assert_eq!(files.opened().await, Ok(3));
    assert_eq!(files.with("-wal", b"").opened().await, Ok(3));
    let zeroed = vec![0; 3 * 4120];
    assert_eq!(files.with("-wal", &zeroed[..wal::HEAD]).opened().await, Ok(3));
    assert_eq!(files.with("-wal", &zeroed).opened().await, Ok(3));
}

#[tokio::test]
async fn what_was_written_and_never_committed_is_not_missed() {
    let alive = place();
    let sqlite = open(&alive);
    for number in 0..3 {
        write(&sqlite, number).await;
    }
    let before = Files::of(&alive);
    // More than the memory for pages holds, so some of it reaches the log before it is given up.
    let spill = |tx: &mut writer::Tx<'_>| {
        tx.connection.execute_batch(
            "PRAGMA cache_size = 10;
             CREATE TABLE large (a BLOB);
             WITH n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 200)
             INSERT INTO large SELECT randomblob(5000) FROM n;",
        )?;
        let detail = "after it has written".to_owned();
        Err::<(), _>(Undone::Refused(StoreError::Misused { detail }))
    };
    sqlite.0.writer.run(true, spill).await.unwrap_err();
    let spilled = Files::of(&alive);
    assert!(spilled.get("-wal").len() > before.get("-wal").len() + 100_000);
    assert_eq!(spilled.opened().await, Ok(3));
    write(&sqlite, 3).await;
    assert_eq!(Files::of(&alive).opened().await, Ok(4));
}

#[tokio::test]
async fn who_gives_up_what_is_damaged_has_what_was_there_before() {
    let alive = place();
    let sqlite = open(&alive);
    for number in 0..9 {
        write(&sqlite, number).await;
    }
    let files = Files::of(&alive);
    for middle in [files.get("-wal").len() / 2, files.get("-wal").len() - 9] {
        let mut log = files.get("-wal").to_vec();
        log[middle] ^= 1;
        let dead = files.with("-wal", &log).put();
        let Err(refused) = open_with(&dead, &NOTES) else { panic!("it was opened") };
        let said = refused.to_string();
        let SqliteRefused::Damaged { at, commits, path, noted } = refused else { panic!("{said}") };
        assert!(at <= middle && commits > 0, "{said}");
        let (log, note) = (path.display(), noted.display());
        assert!(said.contains(&format!("`truncate --size={at} {log} && rm -f {note}`")), "{said}");
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(at as u64).unwrap();
        fs::remove_file(&noted).unwrap();
        let sqlite = open(&dead);
        assert!(exists(&sqlite, "0").await && !exists(&sqlite, "8").await);
        // And goes on from there.
        write(&sqlite, 10).await;
        assert!(Files::of(&dead).put().path.exists() && exists(&sqlite, "10").await);
        let again = Files::of(&dead).put();
        assert!(exists(&open(&again), "10").await);
    }
}

/// Whoever looks while others write, carry over and begin anew sees no damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_being_written_is_not_damaged() {
    let alive = place();
    let (over, ended) = tokio::sync::watch::channel(false);
    let mut writers = tokio::task::JoinSet::new();
    let both = [open(&alive), open(&alive)];
    for (key, sqlite) in ["one", "other"].into_iter().zip(both.clone()) {
        let ended = ended.clone();
        writers.spawn(async move {
            while !*ended.borrow() {
                // Now and then, others write for longer than it waits.
                let _busy = sqlite.records().commit(note(&NOTES, key, 3000, &[])).await;
            }
        });
    }
    let looks = tokio::task::spawn_blocking({
        let path = alive.path.clone();
        move || {
            let other = Connection::open(&path).unwrap();
            let mut begun = BTreeSet::new();
            for look in 0.. {
                assert_eq!(wal::examine(&path).unwrap(), None, "look {look}");
                if look % 5 == 0 {
                    let _busy = other.execute_batch("PRAGMA wal_checkpoint(RESTART)");
                }
                begun.extend(noted::read(&path).unwrap().map(|mark| mark.salts));
                if look > 200 && begun.len() > 5 {
                    return;
                }
            }
        }
    });
    looks.await.unwrap();
    over.send_replace(true);
    writers.join_all().await;
    // The last note of all is about the last commit of all, whichever of the two made it.
    let other = Connection::open(&alive.path).unwrap();
    let ask = "PRAGMA wal_checkpoint(NOOP)";
    let committed: i64 = other.query_row(ask, [], |row| row.get(1)).unwrap();
    let log = fs::read(beside(&alive, "-wal")).unwrap();
    drop(both);
    let noted = noted::read(&alive.path).unwrap().unwrap();
    assert_eq!((noted.frames, &noted.salts[..]), (committed.cast_unsigned(), &log[16..24]));
}
