//! How far the write-ahead log had come with the last commit.
//!
//! It stands in a small file beside the database, of which nothing is synchronised: a failing power may
//! take the newest notes with it, and then an older one says less. None ever says too much, because it
//! is written when what it speaks of is on disk.
//!
//! A log is known by its salts, which SQLite draws anew whenever it begins the log again. So a note
//! about a log that has been begun again since, or is gone because all of it was carried over into the
//! database, says nothing.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::wal::{self, FRAME, HEAD, Words, word};

/// What a note begins with.
const NAME: [u8; 8] = *b"tegataW1";

/// How long a note is: the name, the salts, how many pages, and a checksum.
const LENGTH: usize = 32;

/// How often a note is made anew because another process commits meanwhile.
const ATTEMPTS: usize = 8;

/// How far a log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which log.
    pub(super) salts: [u8; 8],
    /// How many of its pages are committed.
    pub(super) frames: u64,
}

/// The name of the note about a database.
pub(super) fn beside(database: &Path) -> PathBuf {
    let mut path = OsString::from(database);
    path.push("-noted");
    path.into()
}

/// What is noted about a database. Whatever is no note of ours says nothing.
pub(super) fn read(database: &Path) -> io::Result<Option<Mark>> {
    match fs::read(beside(database)) {
        Ok(note) => Ok(Mark::read(&note)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Mark {
    fn read(note: &[u8]) -> Option<Self> {
        let (body, sum) = note.split_first_chunk::<{ LENGTH - 8 }>()?;
        let (name, rest) = body.split_first_chunk()?;
        let (salts, rest) = rest.split_first_chunk()?;
        let mark = Self { salts: *salts, frames: u64::from_be_bytes(*rest.first_chunk()?) };
        (*name == NAME && *sum == checksum(body)).then_some(mark)
    }

    fn written(self) -> [u8; LENGTH] {
        let mut note = [0; LENGTH];
        let body = [NAME, self.salts, self.frames.to_be_bytes()].concat();
        let bytes = body.iter().copied().chain(checksum(&body));
        note.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        note
    }
}

/// The sum that the log itself uses: no single bit that is changed leaves it as it is.
fn checksum(body: &[u8]) -> [u8; 8] {
    let (one, two) = Words { big: true }.sum((1, 1), body);
    (u64::from(one) << 32 | u64::from(two)).to_be_bytes()
}

/// Where the writer notes how far the log has come.
pub(super) struct Noted {
    note: File,
    /// The log, where there is one: not on every file system that a database can be on.
    log: Option<File>,
    has_failed: bool,
}

impl Noted {
    /// To be opened when the log is there, so after the first transaction.
    pub(super) fn open(database: &Path) -> io::Result<Self> {
        // What lies beside a database is for whoever may read the database.
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let note = options.open(beside(database))?;
        // INVARIANT: of the files that SQLite locks, none is opened here, since closing it would end the
        // locks of this process. It does not lock its log.
        let log = match File::open(wal::beside(database)) {
            Ok(log) => Some(log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { note, log, has_failed: false })
    }

    /// Notes how far the log has come, to be called when something was committed and before anybody is
    /// told. Where that fails, what is noted is less than could be, and nobody is refused for it.
    pub(super) fn note(&mut self, connection: &Connection) {
        let noted = self.try_note(connection);
        if let Err(error) = &noted
            && !self.has_failed
        {
            tracing::warn!(
                error,
                "how far the write-ahead log has come cannot be noted: damage to its last transaction \
                 would not be noticed"
            );
        }
        self.has_failed = noted.is_err();
    }

    fn try_note(&self, connection: &Connection) -> Result<(), String> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut frames = committed(connection).map_err(|error| error.to_string())?;
        for _ in 0..ATTEMPTS {
            match mark(log, frames) {
                Ok(Some(mark)) => {
                    let written = self.note.write_all_at(&mark.written(), 0);
                    written.map_err(|error| error.to_string())?;
                }
                // Another process has begun the log again.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error.to_string()),
            }
            // Another process may have noted more meanwhile, and so been overwritten: whoever notes
            // last has seen that nothing more was committed.
            let now = committed(connection).map_err(|error| error.to_string())?;
            if now == frames {
                return Ok(());
            }
            frames = now;
        }
        Ok(())
    }
}

/// The mark of a log of which so many pages are committed; `None` where that is not what it holds.
fn mark(log: &File, frames: u64) -> io::Result<Option<Mark>> {
    let (mut head, mut frame) = ([0; HEAD], [0; FRAME]);
    let Some(before) = frames.checked_sub(1) else { return Ok(None) };
    log.read_exact_at(&mut head, 0)?;
    let size = u64::from(word(&head, 8).unwrap_or_default());
    log.read_exact_at(&mut frame, wal::place(before, size))?;
    let (of_log, of_frame) = (head.get(16..24), frame.get(8..16));
    let commits = word(&frame, 4).is_some_and(|pages| pages != 0);
    let salts = of_log.filter(|_| commits && of_log == of_frame);
    let salts = salts.and_then(|salts| salts.try_into().ok());
    Ok(salts.map(|salts| Mark { salts, frames }))
}

/// How many pages of the log are committed, and so on disk: nothing is carried over (`NOOP`).
fn committed(connection: &Connection) -> rusqlite::Result<u64> {
    let mut asked = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    asked.query_row([], |row| row.get::<_, i64>(1)).map(|pages| u64::try_from(pages).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of two pages of 512 bytes, each with these salts and this size of the database.
    fn log(salts: u8, frames: [(u8, u32); 2]) -> Vec<u8> {
        let mut log = [[0_u8; 16], [salts; 16]].concat();
        log[8..12].copy_from_slice(&512_u32.to_be_bytes());
        for (salts, pages) in frames {
            log.extend([[0; 4], pages.to_be_bytes()].concat());
            log.extend([salts; 16]);
            log.extend([0; 512]);
        }
        log
    }

    fn mark(log: &[u8], frames: u64) -> io::Result<Option<Mark>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(log, 0).unwrap();
        super::mark(file.as_file(), frames)
    }

    #[test]
    fn only_what_the_log_holds_is_noted() {
        let whole = log(7, [(7, 1), (7, 3)]);
        let two = Mark { salts: [7; 8], frames: 2 };
        assert_eq!(mark(&whole, 2).unwrap(), Some(two));
        assert_eq!(mark(&whole, 1).unwrap(), Some(Mark { frames: 1, ..two }));
        assert_eq!(mark(&whole, 0).unwrap(), None);
        // Another process began it again between our two looks, or has not committed yet.
        assert_eq!(mark(&log(8, [(8, 1), (7, 3)]), 2).unwrap(), None);
        assert_eq!(mark(&log(7, [(7, 1), (7, 0)]), 2).unwrap(), None);
        assert!(mark(&whole, 3).is_err() && mark(&[], 1).is_err());
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let mark = Mark { salts: [1, 2, 3, 4, 5, 6, 7, 8], frames: 0x0102_0304_0506 };
        let note = mark.written();
        assert_eq!(Mark::read(&note), Some(mark));
        for bit in 0..LENGTH * 8 {
            let mut changed = note;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::read(&changed), None, "bit {bit}");
        }
    }
}
