//! Whether a log is what was written.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use tegata_token::{VerifyingKey, jws::Compact};

use super::segment::{self, CHECKPOINT, Hash, NOTHING, Own, Statement, Then};

/// What is known of a log from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The first segment that must be there. Earlier ones may have been deleted on purpose. 0 and 1
    /// are the first of all.
    pub first: u64,
    /// How many records it had at least, and the hash of the last of those, as
    /// [`Verified::checkpoint`] said.
    pub checkpoint: Option<(u64, String)>,
}

/// What a sound log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many segments there are.
    pub segments: u64,
    /// How many records they hold, those about the log itself included.
    pub records: u64,
    /// The last checkpoint: how many records the log had, and the hash of the last. To be kept
    /// elsewhere.
    pub checkpoint: Option<(u64, String)>,
    /// How many records stand after the last checkpoint: these could have been followed by more.
    pub unsigned: u64,
}

/// The first place where a log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Altered {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1. 0: the file as a whole.
    pub line: u64,
    /// What is wrong there.
    pub what: Found,
}

/// What is wrong with a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Found {
    /// The line is not what was written, or a line before it is missing.
    #[error("the line was altered, or lines before it were removed")]
    Altered,
    /// A checkpoint is not signed by a known key, or states something else.
    #[error("the checkpoint does not vouch for what stands before it")]
    Checkpoint,
    /// The segment is not there.
    #[error("the segment was removed")]
    Removed,
    /// The segment ends before its last line.
    #[error("the segment was cut off")]
    Cut,
    /// The log had more records than this when its checkpoint was kept.
    #[error("the log ends before the known checkpoint, or does not contain it")]
    Shortened,
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(io::ErrorKind),
}

impl fmt::Display for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

impl std::error::Error for Altered {}

/// Reads all of a log. `key` finds the key of a checkpoint by its name.
///
/// # Errors
/// The first place that is not what was written.
pub fn verify<'k>(
    directory: &Path,
    key: &dyn Fn(&str) -> Option<&'k VerifyingKey>,
    known: &Known,
) -> Result<Verified, Altered> {
    let unreadable = |error: &io::Error| Found::Unreadable(error.kind());
    let segments = segment::list(directory).map_err(|error| Altered {
        file: directory.into(),
        line: 0,
        what: unreadable(&error),
    })?;
    let mut walk = Walk {
        key,
        hash: NOTHING,
        number: 0,
        checkpoint: None,
        then: Then::Closed,
        kept: known.checkpoint.clone(),
        line: 0,
    };
    let first = known.first.max(1);
    let mut expected = first;
    for found in segments.iter().copied().filter(|segment| *segment >= first) {
        let at = |line, what| Altered { file: segment::path(directory, expected), line, what };
        if found != expected {
            return Err(at(0, Found::Removed));
        }
        let bytes =
            fs::read(segment::path(directory, found)).map_err(|error| at(0, unreadable(&error)))?;
        walk.line = 0;
        walk.segment(&bytes, found, found == first).map_err(|what| at(walk.line, what))?;
        expected += 1;
    }
    let end = |what| Altered { file: segment::path(directory, expected), line: 0, what };
    if walk.then == Then::Next || (expected == first && !segments.is_empty()) {
        return Err(end(Found::Removed));
    }
    if walk.kept.is_some() {
        return Err(end(Found::Shortened));
    }
    let signed = walk.checkpoint.as_ref().map_or(0, |(number, _)| number + 1);
    Ok(Verified {
        segments: expected - first,
        records: walk.number,
        unsigned: walk.number.saturating_sub(signed),
        checkpoint: walk.checkpoint,
    })
}

/// How far the reading has come.
struct Walk<'w, 'k> {
    key: &'w dyn Fn(&str) -> Option<&'k VerifyingKey>,
    hash: Hash,
    number: u64,
    checkpoint: Option<(u64, String)>,
    /// What must follow.
    then: Then,
    /// A checkpoint that must be come by.
    kept: Option<(u64, String)>,
    line: u64,
}

impl Walk<'_, '_> {
    fn segment(&mut self, bytes: &[u8], segment: u64, is_first: bool) -> Result<(), Found> {
        let mut rest = bytes;
        if rest.is_empty() {
            return Err(Found::Cut);
        }
        while !rest.is_empty() {
            self.line += 1;
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return Err(Found::Cut);
            };
            let (text, after) = rest.split_at(end);
            self.take(text, segment, is_first)?;
            rest = after.get(1..).unwrap_or_default();
        }
        Ok(())
    }

    fn take(&mut self, text: &[u8], segment: u64, is_first: bool) -> Result<(), Found> {
        let (hash, record) = segment::line(text).ok_or(Found::Altered)?;
        let own = serde_json::from_slice::<Own>(record).ok();
        if self.line == 1 {
            let Some(Own::Begin { segment: begun, number, .. }) = &own else {
                return Err(Found::Altered);
            };
            if is_first && segment > 1 {
                // The segments before were deleted on purpose, so their hash is taken on trust,
                // until the next checkpoint vouches for what follows.
                self.number = *number;
                self.hash = hash;
            } else if segment::chain(&self.hash, record) != hash {
                return Err(Found::Altered);
            }
            if *begun != segment || *number != self.number {
                return Err(Found::Altered);
            }
        } else {
            if segment::chain(&self.hash, record) != hash || self.then != Then::More {
                return Err(Found::Altered);
            }
            if matches!(own, Some(Own::Begin { .. })) {
                return Err(Found::Altered);
            }
        }
        self.then = Then::More;
        if let Some(Own::Checkpoint { jws }) = &own {
            let statement = self.statement(jws).ok_or(Found::Checkpoint)?;
            let here = statement.segment == segment
                && statement.number == self.number
                && statement.hash == segment::hex(&self.hash);
            if !here {
                return Err(Found::Checkpoint);
            }
            self.then = statement.then;
            self.checkpoint = Some((statement.number, statement.hash));
            if self.kept == self.checkpoint {
                self.kept = None;
            }
        }
        self.hash = hash;
        self.number += 1;
        Ok(())
    }

    fn statement(&self, jws: &str) -> Option<Statement> {
        let compact = Compact::parse(jws).ok()?;
        let key = (self.key)(compact.header.kid.as_deref()?)?;
        let sound = compact.header.typ.as_deref() == Some(CHECKPOINT)
            && compact.header.alg == key.algorithm().name()
            && key.verifies(compact.signed.as_bytes(), &compact.signature);
        serde_json::from_slice(&compact.claims).ok().filter(|_| sound)
    }
}
