//! Reading a log line by line, from a position, while it may still be written: for whoever hands its records
//! on. Every line is held against the hash before it; signatures are for [`verify()`](super::verify()).

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use super::segment::{self, Hash, NOTHING, Own};

/// The longest line that is read, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// A place in a log: after so many records, the last of which has this hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// How many records stand before it.
    pub number: u64,
    /// The hash of the last of them; 64 zeros before the first.
    pub hash: String,
}

impl Position {
    /// Before the first record.
    #[must_use]
    pub fn start() -> Self {
        Self { number: 0, hash: segment::hex(&NOTHING) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a position is a number, `:` and a hash of 64 hexadecimal digits";
        let (number, hash) = text.split_once(':').ok_or(FORM)?;
        let hash = segment::unhex(hash.to_ascii_lowercase().as_bytes()).ok_or(FORM)?;
        Ok(Self { number: number.parse().map_err(|_| FORM)?, hash: segment::hex(&hash) })
    }
}

/// One record with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name of the log, where its segment has one.
    pub chain: Option<String>,
    /// The segment.
    pub segment: u64,
    /// Which record of the log it is, from 1.
    pub number: u64,
    /// Its hash.
    pub hash: String,
    /// A JSON object.
    pub record: String,
}

impl Entry {
    /// The place after it.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { number: self.number, hash: self.hash.clone() }
    }
}

/// Why no more is read.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The system refuses.
    #[error("`{}` cannot be read: {error}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// There is no segment.
    #[error("there is no segment of a log of decisions in `{}`", .0.display())]
    Nothing(PathBuf),
    /// The line is not what was written.
    #[error("`{}`:{line}: the line is not what was written, or lines before it are missing", .path.display())]
    Altered {
        /// Where.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// A segment is missing.
    #[error("`{}` is missing", .0.display())]
    Removed(PathBuf),
    /// What stands at the position is not what stood there, or the log ends before it.
    #[error(
        "the log does not contain the position {0}: it was cut off or rewritten, or is another"
    )]
    Elsewhere(Position),
    /// What follows the position is not there any more.
    #[error(
        "the records {after} to {before} are not here any more; `--first {segment}` begins behind them"
    )]
    Gone {
        /// The first that is missing.
        after: u64,
        /// The last that is missing.
        before: u64,
        /// The first segment that is there.
        segment: u64,
    },
}

/// Reads a log.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    lines: BufReader<File>,
    /// What has been read of a line that is not whole yet.
    part: Vec<u8>,
    segment: u64,
    line: u64,
    chain: Option<String>,
    number: u64,
    hash: Hash,
    /// Whether the hash before the next line is taken on trust: what came before is not looked at.
    trusts: bool,
}

impl Reader {
    /// Begins with a segment, or with the first that there is.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn from_segment(directory: &Path, first: Option<u64>) -> Result<Self, Stopped> {
        let segments = list(directory)?;
        let nothing = || Stopped::Nothing(directory.to_owned());
        let segment = match first {
            Some(first) => segments.iter().copied().find(|it| *it >= first).ok_or_else(nothing)?,
            None => *segments.first().ok_or_else(nothing)?,
        };
        if let Some(first) = first.filter(|first| *first != segment && *first > 0) {
            return Err(Stopped::Removed(segment::path(directory, first)));
        }
        Self::at_segment(directory, segment)
    }

    /// Goes on after a position.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn after(directory: &Path, position: &Position) -> Result<Self, Stopped> {
        if position.number == 0 {
            let reader = Self::from_segment(directory, None)?;
            return match reader.segment {
                1 => Ok(reader),
                segment => Err(reader.gone(0, segment)?),
            };
        }
        let segments = list(directory)?;
        let Some(first) = segments.first().copied() else {
            return Err(Stopped::Elsewhere(position.clone()));
        };
        for segment in segments.into_iter().rev() {
            let mut reader = Self::at_segment(directory, segment)?;
            let Some(mut entry) = reader.next()? else { continue };
            if entry.number > position.number {
                if segment == first {
                    return match entry.number.checked_sub(1) {
                        // It is the place before the first line that is left, and that line vouches for it.
                        Some(before) if before == position.number => {
                            Self::behind(directory, segment, position)
                        }
                        _ => Err(reader.gone(position.number, segment)?),
                    };
                }
                continue;
            }
            while entry.number < position.number {
                entry = reader.next()?.ok_or_else(|| Stopped::Elsewhere(position.clone()))?;
            }
            if entry.hash != position.hash {
                return Err(Stopped::Elsewhere(position.clone()));
            }
            return Ok(reader);
        }
        Err(Stopped::Elsewhere(position.clone()))
    }

    /// Begins with a segment that follows a position, whose hash is known.
    fn behind(directory: &Path, segment: u64, position: &Position) -> Result<Self, Stopped> {
        let mut reader = Self::at_segment(directory, segment)?;
        reader.hash = segment::unhex(position.hash.as_bytes()).unwrap_or(NOTHING);
        (reader.number, reader.trusts) = (position.number, false);
        Ok(reader)
    }

    fn gone(mut self, position: u64, segment: u64) -> Result<Stopped, Stopped> {
        let first = self.number;
        let before = match first {
            0 => self.next()?.map_or(0, |entry| entry.number.saturating_sub(1)),
            read => read.saturating_sub(1),
        };
        Ok(Stopped::Gone { after: position + 1, before, segment })
    }

    fn at_segment(directory: &Path, segment: u64) -> Result<Self, Stopped> {
        Ok(Self {
            directory: directory.to_owned(),
            lines: open(&segment::path(directory, segment))?,
            part: Vec::new(),
            segment,
            line: 0,
            chain: None,
            number: 0,
            hash: NOTHING,
            trusts: segment > 1,
        })
    }

    /// Where it has come to.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { number: self.number, hash: segment::hex(&self.hash) }
    }

    /// The next record. `None`: there is none yet.
    ///
    /// # Errors
    /// [`Stopped`]. What was answered before stays good.
    #[expect(clippy::should_implement_trait, reason = "it goes on after `None`, and can fail")]
    pub fn next(&mut self) -> Result<Option<Entry>, Stopped> {
        loop {
            if self.read_line()? {
                return self.take().map(Some);
            }
            let next = segment::path(&self.directory, self.segment + 1);
            if !next.exists() {
                let later = list(&self.directory)?.last().is_some_and(|last| *last > self.segment);
                return if later && !next.exists() {
                    Err(Stopped::Removed(next))
                } else {
                    Ok(None)
                };
            }
            // Whoever began the next had ended this one: what is there now is all.
            if self.read_line()? {
                return self.take().map(Some);
            }
            // What is left of a line that a crash tore is cut off, and the next segment says so.
            self.part.clear();
            self.lines = open(&next)?;
            self.segment += 1;
            self.line = 0;
        }
    }

    /// Reads on to the end of a line, if it is there.
    fn read_line(&mut self) -> Result<bool, Stopped> {
        if self.part.last() == Some(&b'\n') {
            self.part.clear();
        }
        let left = LONGEST.saturating_sub(self.part.len());
        let limit = u64::try_from(left).unwrap_or(u64::MAX);
        let read = self.lines.by_ref().take(limit).read_until(b'\n', &mut self.part);
        let path = segment::path(&self.directory, self.segment);
        read.map_err(|error| Stopped::Io { path: path.clone(), error })?;
        let is_whole = self.part.last() == Some(&b'\n');
        if !is_whole && self.part.len() >= LONGEST {
            return Err(Stopped::Altered { path, line: self.line + 1 });
        }
        Ok(is_whole)
    }

    /// The record of a line that has been read.
    fn take(&mut self) -> Result<Entry, Stopped> {
        self.line += 1;
        let altered = || Stopped::Altered {
            path: segment::path(&self.directory, self.segment),
            line: self.line,
        };
        let text = self.part.strip_suffix(b"\n").unwrap_or(&self.part);
        let (hash, record) = segment::line(text).ok_or_else(altered)?;
        if self.line == 1 {
            let begin = serde_json::from_slice(record).ok();
            let Some(Own::Begin { segment, number, chain, .. }) = begin else {
                return Err(altered());
            };
            if segment != self.segment || (!self.trusts && number != self.number) {
                return Err(altered());
            }
            (self.number, self.chain) = (number, chain);
        }
        if !self.trusts && segment::chain(&self.hash, record) != hash {
            return Err(altered());
        }
        let record = String::from_utf8(record.to_vec()).map_err(|_| altered())?;
        self.trusts = false;
        self.hash = hash;
        self.number += 1;
        Ok(Entry {
            chain: self.chain.clone(),
            segment: self.segment,
            number: self.number,
            hash: segment::hex(&hash),
            record,
        })
    }
}

fn list(directory: &Path) -> Result<Vec<u64>, Stopped> {
    let failed = |error| Stopped::Io { path: directory.to_owned(), error };
    segment::list(directory).map_err(failed)
}

fn open(path: &Path) -> Result<BufReader<File>, Stopped> {
    let failed = |error| Stopped::Io { path: path.to_owned(), error };
    // A pipe would be waited for without end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    Ok(BufReader::new(File::open(path).map_err(failed)?))
}
