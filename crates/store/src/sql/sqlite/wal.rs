//! Whether the write-ahead log is whole.
//!
//! SQLite reads it up to the first page that does not have its checksum, and takes what follows for the
//! torn end of a write that power failed in. Where a byte was changed, it would so forget, without a
//! word, everything that was acknowledged after it. The two can be told apart, in one of two ways:
//!
//! - How far the log had come is [noted] after each commit. What is missing up to there
//!   was on disk.
//! - Every commit is on disk before the next begins (`synchronous = FULL`), so whatever a failing power
//!   tore belongs to one transaction, and there is at most one commit in it. More of them behind a page
//!   that is not whole were acknowledged, whatever became of the note.
//!
//! The format is that of <https://www.sqlite.org/fileformat2.html#walformat>.

use std::{ffi::OsString, fs, io, path::Path};

use super::noted::{self, Mark};

/// How long the head of the log is.
pub(super) const HEAD: usize = 32;

/// How long the head of each page in it is.
pub(super) const FRAME: usize = 24;

/// How often a log is read that changes meanwhile.
const ATTEMPTS: usize = 5;

/// Where the log is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    /// The first byte of the page that is not whole.
    pub(super) at: usize,
    /// How many transactions there are from there on, at least.
    pub(super) commits: usize,
}

/// The name of the log of a database.
pub(super) fn beside(database: &Path) -> std::path::PathBuf {
    let mut path = OsString::from(database);
    path.push("-wal");
    path.into()
}

/// Looks for damage in the log of a database, to be called before the database is opened.
///
/// # Errors
/// The log cannot be read.
pub(super) fn examine(database: &Path) -> io::Result<Option<Damage>> {
    let path = beside(database);
    // The note first: the log may go further than the note, and never less far.
    let read = || Ok::<_, io::Error>((noted::read(database)?, read(&path)?));
    let mut before = read()?;
    for _ in 0..ATTEMPTS {
        let Some(damage) = damage(&before.1, before.0) else { return Ok(None) };
        // Another process may be writing. Who writes knows how far the log goes without reading it,
        // so only what stands still is judged.
        let again = read()?;
        if again == before {
            return Ok(Some(damage));
        }
        before = again;
    }
    Ok(None)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn damage(log: &[u8], noted: Option<Mark>) -> Option<Damage> {
    let (head, frames) = log.split_at_checked(HEAD)?;
    let noted_of = |salts: &[u8]| match noted {
        Some(mark) if mark.salts == salts => mark.frames,
        _ => 0,
    };
    if head.iter().all(|byte| *byte == 0) {
        // It was made longer and never written, or what is noted of it would not be there.
        let first = frames.get(8..16).map_or(0, noted_of);
        return (first > 0).then_some(Damage { at: 0, commits: 1 });
    }
    let size = usize::try_from(word(head, 8)?).ok()?;
    let words = Words { big: word(head, 0)? & 1 == 1 };
    let sum = words.sum((0, 0), head.get(..24)?);
    let is_sound = (word(head, 24)?, word(head, 28)?) == sum
        && (512..=65_536).contains(&size)
        && size.is_power_of_two();
    if !is_sound {
        // It is written and synchronised before anything else.
        return (!frames.is_empty()).then_some(Damage { at: 0, commits: 1 });
    }
    let salts = head.get(16..24)?;
    let found = walk(frames, salts, size, words, sum)?;
    let is_lost = found.committed < noted_of(salts);
    let damage = Damage { at: HEAD + found.whole * (FRAME + size), commits: found.behind };
    if is_lost {
        return Some(Damage { commits: found.behind.max(1), ..damage });
    }
    (found.behind > 1).then_some(damage)
}

/// What a log holds, counted in pages.
struct Found {
    /// How many are whole, from the first.
    whole: usize,
    /// Up to which of them everything is committed.
    committed: u64,
    /// How many commits there are behind them.
    behind: usize,
}

fn walk(
    mut frames: &[u8],
    salts: &[u8],
    size: usize,
    words: Words,
    mut sum: (u32, u32),
) -> Option<Found> {
    let mut found = Found { whole: 0, committed: 0, behind: 0 };
    let mut is_whole = true;
    while let Some((frame, further)) = frames.split_at_checked(FRAME + size) {
        let ours = frame.get(8..16)? == salts;
        let commits = word(frame, 4)? != 0;
        if is_whole {
            sum = words.sum(words.sum(sum, frame.get(..8)?), frame.get(FRAME..)?);
            is_whole = ours && (word(frame, 16)?, word(frame, 20)?) == sum;
        }
        if is_whole {
            found.whole += 1;
            if commits {
                found.committed = u64::try_from(found.whole).ok()?;
            }
        } else {
            found.behind += usize::from(ours && commits);
        }
        frames = further;
    }
    Some(found)
}

/// Where a page of the log begins that so many others of this size are before.
pub(super) const fn place(before: u64, size: u64) -> u64 {
    32 + before * (24 + size)
}

/// A number of the log's own, which are in network order.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// The order of bytes in which a log counts its checksums: that of the machine which made it.
#[derive(Clone, Copy)]
pub(super) struct Words {
    pub(super) big: bool,
}

impl Words {
    /// Counts on.
    pub(super) fn sum(self, (mut one, mut two): (u32, u32), bytes: &[u8]) -> (u32, u32) {
        let (words, _) = bytes.as_chunks::<4>();
        let read = |word: &[u8; 4]| {
            if self.big { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) }
        };
        let (pairs, _) = words.as_chunks::<2>();
        for [first, second] in pairs {
            one = one.wrapping_add(read(first)).wrapping_add(two);
            two = two.wrapping_add(read(second)).wrapping_add(one);
        }
        (one, two)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rusqlite::Connection;

    use super::*;

    /// A database as a killed process leaves it, after so many transactions, and its log.
    fn left_behind(transactions: usize) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let (alive, dead) = (directory.path().join("alive.db"), directory.path().join("dead.db"));
        let connection = Connection::open(&alive).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE a (b BLOB)").unwrap();
        for _ in 0..transactions {
            connection.execute_batch("INSERT INTO a VALUES (randomblob(9000))").unwrap();
        }
        fs::copy(&alive, &dead).unwrap();
        fs::copy(beside(&alive), beside(&dead)).unwrap();
        let log = fs::read(beside(&dead)).unwrap();
        (directory, dead, log)
    }

    #[test]
    fn a_log_that_is_whole_is_not_damaged() {
        let (_directory, database, log) = left_behind(3);
        assert!(log.len() > 5 * 4096);
        assert_eq!(examine(&database).unwrap(), None);
        fs::remove_file(beside(&database)).unwrap();
        assert_eq!(examine(&database).unwrap(), None);
    }

    #[test]
    fn a_bit_that_is_changed_anywhere_but_in_the_last_transaction_is_found() {
        let (_directory, database, log) = left_behind(4);
        // The last transaction: three pages, or a few more.
        let last = log.len() - 5 * (4096 + FRAME);
        for at in (0..last).step_by(97) {
            let mut changed = log.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(beside(&database), &changed).unwrap();
            let found = examine(&database).unwrap();
            let found = found.unwrap_or_else(|| panic!("byte {at} of {}", log.len()));
            assert!(found.at <= at && at < found.at + FRAME + 4096, "{found:?} {at}");
        }
    }

    #[test]
    fn what_a_failing_power_tears_is_no_damage() {
        let (_directory, database, log) = left_behind(4);
        let page = 4096 + FRAME;
        let torn: Vec<Vec<u8>> = (1..3 * page)
            .step_by(501)
            .map(|short| log[..log.len() - short].to_vec())
            .chain((1..=3).map(|pages| {
                // A page of the last transaction was not written, those after it were.
                let (mut torn, at) = (log.clone(), log.len() - pages * page);
                torn[at..at + page].fill(0);
                torn
            }))
            .chain([Vec::new(), vec![0; HEAD], vec![0; 9000], log[..20].to_vec()])
            .collect();
        for torn in torn {
            fs::write(beside(&database), &torn).unwrap();
            assert_eq!(examine(&database).unwrap(), None, "{} B", torn.len());
        }
    }

    #[test]
    fn pages_of_a_log_before_this_one_are_not_of_this_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE a (b BLOB)").unwrap();
        for _ in 0..9 {
            connection.execute_batch("INSERT INTO a VALUES (randomblob(9000))").unwrap();
        }
        connection.execute_batch("PRAGMA wal_checkpoint(RESTART)").unwrap_or_default();
        connection.execute_batch("INSERT INTO a VALUES (1)").unwrap();
        assert_eq!(examine(&path).unwrap(), None);
    }
}
