//! Whether the write-ahead log is whole.
//!
//! SQLite reads it up to the first page that does not have its checksum, and takes what follows for the
//! torn end of a write that power failed in. Where a byte was changed in the middle, it would so
//! forget, without a word, everything that was acknowledged after it. The two can be told apart: every
//! commit is on disk before the next begins (`synchronous = FULL`), so whatever a failing power tore
//! belongs to one transaction, and there is at most one commit in it. More of them behind a page that
//! is not whole were acknowledged.
//!
//! The format is that of <https://www.sqlite.org/fileformat2.html#walformat>.

use std::{ffi::OsString, fs, io, path::Path};

/// How long the head of the log is.
const HEAD: usize = 32;

/// How long the head of each page in it is.
const FRAME: usize = 24;

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
    let mut before = read(&path)?;
    for _ in 0..ATTEMPTS {
        let Some(damage) = damage(&before) else { return Ok(None) };
        // Another process may be writing. Who writes knows how far the log goes without reading it,
        // so only what stands still is judged.
        let again = read(&path)?;
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

fn damage(log: &[u8]) -> Option<Damage> {
    let (head, mut rest) = log.split_at_checked(HEAD)?;
    if head.iter().all(|byte| *byte == 0) {
        // It was made longer and never written.
        return None;
    }
    let size = usize::try_from(word(head, 8)?).ok()?;
    let words = Words { big: word(head, 0)? & 1 == 1 };
    let mut sum = words.sum((0, 0), head.get(..24)?);
    let is_sound = (word(head, 24)?, word(head, 28)?) == sum
        && (512..=65_536).contains(&size)
        && size.is_power_of_two();
    if !is_sound {
        // It is written and synchronised before anything else.
        return (!rest.is_empty()).then_some(Damage { at: 0, commits: 1 });
    }
    let salts = head.get(16..24)?;
    let mut at = HEAD;
    let mut damage: Option<Damage> = None;
    while let Some((frame, further)) = rest.split_at_checked(FRAME + size) {
        let ours = frame.get(8..16)? == salts;
        if let Some(damage) = &mut damage {
            damage.commits += usize::from(ours && word(frame, 4)? != 0);
        } else {
            sum = words.sum(words.sum(sum, frame.get(..8)?), frame.get(FRAME..)?);
            if !ours || (word(frame, 16)?, word(frame, 20)?) != sum {
                let commits = usize::from(ours && word(frame, 4)? != 0);
                damage = Some(Damage { at, commits });
            }
        }
        at += FRAME + size;
        rest = further;
    }
    damage.filter(|damage| damage.commits > 1)
}

/// A number of the log's own, which are in network order.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// The order of bytes in which a log counts its checksums: that of the machine which made it.
#[derive(Clone, Copy)]
struct Words {
    big: bool,
}

impl Words {
    fn sum(self, (mut one, mut two): (u32, u32), bytes: &[u8]) -> (u32, u32) {
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
