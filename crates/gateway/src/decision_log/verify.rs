//! Whether a log is what was written.

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tegata_core::Timestamp;
use tegata_token::{VerifyingKey, jws::Compact};

use super::{
    Anchor,
    segment::{self, CHECKPOINT, Hash, NOTHING, Own, Statement, Then},
};

/// The longest line that is read, in bytes: far more than a record can be, whose parts are bounded
/// where the gateway reads them. What is longer was not written by it, and fills no memory.
const LONGEST: u64 = 4 * 1024 * 1024;

/// What is known of a log from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The first segment that must be there. Earlier ones may have been deleted on purpose. 0 and 1
    /// are the first of all.
    pub first: u64,
    /// How many records it had at least, and the hash of the last of those, as
    /// [`Verified::checkpoint`] said.
    pub checkpoint: Option<(u64, String)>,
    /// The name that the log must have.
    pub chain: Option<String>,
    /// Where logs were when they were last heard of. What counts is that of the log's name. To be learnt
    /// before the log is read: it goes on meanwhile.
    pub anchors: Vec<Anchor>,
}

/// What a sound log holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// How many segments were read.
    pub segments: u64,
    /// How many records the log has up to its end, those about the log itself and those of segments
    /// before the first that was read included.
    pub records: u64,
    /// How many of those that were read are about requests.
    pub requests: u64,
    /// How many the log itself says it could not take.
    pub lost: u64,
    /// The earliest and the latest time that a record names.
    pub span: Option<(Timestamp, Timestamp)>,
    /// The last checkpoint: how many records the log had, and the hash of the last. To be kept
    /// elsewhere.
    pub checkpoint: Option<(u64, String)>,
    /// How many records stand after the last checkpoint. Nothing vouches for these: they could have been
    /// changed, made up, or followed by more.
    pub unsigned: u64,
    /// The segments that end without a checkpoint, as a crash leaves them: lines could have been cut
    /// off their ends. The last of all, where the log is still written.
    pub open: Vec<u64>,
    /// The name of the log, where it has one.
    pub chain: Option<String>,
    /// Where it was when it was last heard of, which stands in it.
    pub anchor: Option<Anchor>,
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
    /// What should stand there, where that can be said.
    pub expected: Option<String>,
}

/// What is wrong with a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Found {
    /// The line is not what was written, or a line before it is missing.
    #[error("the line was altered, or lines before it were removed, added or moved")]
    Altered,
    /// The line is no line of a log.
    #[error("this is no line of a log of decisions")]
    Malformed,
    /// The line is longer than any that is written.
    #[error("the line is longer than any that is written")]
    TooLong,
    /// A segment begins in the middle of a file.
    #[error("another segment begins here: files were joined")]
    Joined,
    /// The file is another segment than its name says, or of another log.
    #[error("the file is another segment than its name says")]
    Replaced,
    /// Something stands behind what ended the segment.
    #[error("something was added behind the end of the segment")]
    Added,
    /// A checkpoint's signature is wrong, or it states something else than what stands before it.
    #[error("the checkpoint does not vouch for what stands before it")]
    Checkpoint,
    /// A checkpoint is signed with a key that is not known.
    #[error("the checkpoint is signed with the key `{0}`, which is not known here")]
    UnknownKey(String),
    /// The segment is not there.
    #[error("the segment was removed")]
    Removed,
    /// There is nothing.
    #[error("there is no segment of a log of decisions here")]
    Nothing,
    /// The segment ends before its last line does.
    #[error("the segment was cut off")]
    Cut,
    /// The log had more records than this when its checkpoint was kept.
    #[error("the log ends before the known checkpoint, or does not contain it")]
    Shortened,
    /// Another line stood here when the store was last told of the log.
    #[error("another line stood here: this one, or lines before it, were rewritten")]
    Rewritten,
    /// The log has another name than it must have.
    #[error("this is the log of another node")]
    Foreign,
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(io::ErrorKind),
}

impl Found {
    /// The name of what was found, for machines.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Joined => "joined",
            Self::Replaced => "replaced",
            Self::Added => "added",
            Self::Checkpoint => "checkpoint",
            Self::UnknownKey(_) => "unknown_key",
            Self::Removed => "removed",
            Self::Nothing => "nothing",
            Self::Cut => "cut",
            Self::Shortened => "shortened",
            Self::Rewritten => "rewritten",
            Self::Foreign => "foreign",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.what)?;
        match &self.expected {
            Some(expected) => write!(f, "; expected {expected}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Altered {}

/// What is wrong, and what should be there instead.
struct Wrong(Found, Option<String>);

impl Wrong {
    fn expected(self, expected: impl Into<String>) -> Self {
        Self(self.0, Some(expected.into()))
    }
}

impl From<Found> for Wrong {
    fn from(found: Found) -> Self {
        Self(found, None)
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self(Found::Unreadable(error.kind()), None)
    }
}

/// Reads all of a log. `key` finds the key of a checkpoint by its name.
///
/// # Errors
/// The first place that is not what was written.
pub fn verify<'k>(
    directory: &Path,
    key: &dyn Fn(&str) -> Option<&'k VerifyingKey>,
    known: &Known,
) -> Result<Verified, Altered> {
    let whole = |what| Altered { file: directory.into(), line: 0, what, expected: None };
    let segments =
        segment::list(directory).map_err(|error| whole(Found::Unreadable(error.kind())))?;
    let first = known.first.max(1);
    let mut walk = Walk::new(key, known);
    let mut expected = first;
    for found in segments.iter().copied().filter(|segment| *segment >= first) {
        let path = segment::path(directory, expected);
        if found != expected {
            return Err(Altered { file: path, line: 0, what: Found::Removed, expected: None });
        }
        walk.file(&path, Some(found), found == first)?;
        expected += 1;
    }
    if segments.is_empty() {
        let expected = walk.anchor.as_ref().map(told);
        return Err(Altered { expected, ..whole(Found::Nothing) });
    }
    // A log that is written goes on while it is read.
    let mut next = segment::path(directory, expected);
    while walk.then == Then::Next && next.exists() {
        walk.file(&next, Some(expected), false)?;
        expected += 1;
        next = segment::path(directory, expected);
    }
    if let Some(anchor) = walk.ends_before() {
        // The first place where something is missing: a segment, or what stood behind the last line.
        let is_gone = anchor.segment >= expected;
        let last = segment::path(directory, expected.saturating_sub(1));
        return Err(Altered {
            file: if is_gone { next } else { last },
            line: 0,
            what: if is_gone { Found::Removed } else { Found::Shortened },
            expected: Some(told(anchor)),
        });
    }
    if walk.then == Then::Next || expected == first {
        return Err(Altered { file: next, line: 0, what: Found::Removed, expected: None });
    }
    walk.end(&next)
}

/// What must be there.
fn told(anchor: &Anchor) -> String {
    let Anchor { segment, number, hash, at, .. } = anchor;
    format!(
        "at least {number} records, up to segment {segment}, the last with the hash {hash}: so the \
         store was told at {at}"
    )
}

/// Reads one segment by itself, whatever it is called. What stood before it is taken on trust, until
/// its first checkpoint vouches for it; whether another follows is not asked.
///
/// # Errors
/// The first place that is not what was written.
pub fn verify_segment<'k>(
    file: &Path,
    key: &dyn Fn(&str) -> Option<&'k VerifyingKey>,
    known: &Known,
) -> Result<Verified, Altered> {
    let mut walk = Walk::new(key, known);
    walk.file(file, None, true)?;
    walk.end(file)
}

/// How far the reading has come.
struct Walk<'w, 'k> {
    key: &'w dyn Fn(&str) -> Option<&'k VerifyingKey>,
    hash: Hash,
    number: u64,
    /// What must follow.
    then: Then,
    /// A checkpoint that must be come by.
    kept: Option<(u64, String)>,
    known: &'w Known,
    /// Where the log was.
    anchor: Option<Anchor>,
    line: u64,
    found: Verified,
}

/// When a record was made.
#[derive(Deserialize)]
struct Dated {
    at: Option<u64>,
}

impl<'w, 'k> Walk<'w, 'k> {
    fn new(key: &'w dyn Fn(&str) -> Option<&'k VerifyingKey>, known: &'w Known) -> Self {
        let (found, kept, then) = (Verified::default(), known.checkpoint.clone(), Then::Closed);
        let mut walk =
            Self { key, hash: NOTHING, number: 0, then, kept, known, anchor: None, line: 0, found };
        if let Some(chain) = &known.chain {
            walk.look_for(chain);
        }
        walk
    }

    /// Holds what is read against where the log of this name was.
    fn look_for(&mut self, chain: &str) {
        self.anchor = self.known.anchors.iter().find(|it| it.chain == chain).cloned();
    }

    /// Where the log was, if what was read ends before that.
    fn ends_before(&self) -> Option<&Anchor> {
        self.anchor.as_ref().filter(|anchor| self.number < anchor.number)
    }

    /// Reads a file, which should hold this segment.
    fn file(&mut self, path: &Path, segment: Option<u64>, is_first: bool) -> Result<(), Altered> {
        self.line = 0;
        self.segment(path, segment, is_first).map_err(|Wrong(what, expected)| Altered {
            file: path.into(),
            line: self.line,
            what,
            expected,
        })
    }

    /// What was found, where all that must be there was.
    fn end(self, behind: &Path) -> Result<Verified, Altered> {
        if let Some((number, hash)) = self.kept {
            return Err(Altered {
                file: behind.into(),
                line: 0,
                what: Found::Shortened,
                expected: Some(format!(
                    "a checkpoint after {number} records, with the hash {hash}"
                )),
            });
        }
        let signed = self.found.checkpoint.as_ref().map_or(0, |(number, _)| number + 1);
        let unsigned = self.number.saturating_sub(signed);
        Ok(Verified { records: self.number, unsigned, anchor: self.anchor, ..self.found })
    }

    fn segment(&mut self, path: &Path, segment: Option<u64>, is_first: bool) -> Result<(), Wrong> {
        // A pipe would be waited for without end.
        if !fs::metadata(path)?.is_file() {
            return Err(Found::Unreadable(io::ErrorKind::InvalidInput).into());
        }
        let mut reader = BufReader::new(File::open(path)?);
        let mut text = Vec::new();
        let mut number = segment;
        loop {
            text.clear();
            if reader.by_ref().take(LONGEST).read_until(b'\n', &mut text)? == 0 {
                break;
            }
            self.line += 1;
            if text.pop() != Some(b'\n') {
                // It was taken off what is not whole.
                let length = text.len() + 1;
                if u64::try_from(length).unwrap_or(u64::MAX) >= LONGEST {
                    return Err(
                        Wrong::from(Found::TooLong).expected(format!("less than {LONGEST} bytes"))
                    );
                }
                return Err(Wrong::from(Found::Cut)
                    .expected(format!("the rest of a line of which {length} bytes are there")));
            }
            number = Some(self.take(&text, number, is_first)?);
        }
        let Some(number) = number.filter(|_| self.line > 0) else {
            return Err(Wrong::from(Found::Cut).expected("the record that begins the segment"));
        };
        if self.then == Then::More {
            self.found.open.push(number);
        }
        self.found.segments += 1;
        Ok(())
    }

    /// Reads a line. Answers which segment it is of.
    fn take(&mut self, text: &[u8], segment: Option<u64>, is_first: bool) -> Result<u64, Wrong> {
        let (hash, record) = segment::line(text).ok_or(Found::Malformed)?;
        let own = serde_json::from_slice::<Own>(record).ok();
        let segment = if self.line == 1 {
            self.first_line((hash, record), own.as_ref(), segment, is_first)?
        } else {
            let expected = segment::chain(&self.hash, record);
            if matches!(own, Some(Own::Begin { .. })) {
                return Err(Found::Joined.into());
            }
            if self.then != Then::More {
                return Err(Found::Added.into());
            }
            if expected != hash {
                return Err(differs(&expected, &hash));
            }
            segment.ok_or(Found::Malformed)?
        };
        self.then = Then::More;
        if let Some(Own::Checkpoint { jws }) = &own {
            self.checkpoint(jws, segment)?;
        }
        self.note(record, own.as_ref());
        self.hash = hash;
        self.number += 1;
        if let Some(anchor) = &self.anchor
            && anchor.number == self.number
            && anchor.hash != segment::hex(&hash)
        {
            return Err(Wrong::from(Found::Rewritten).expected(told(anchor)));
        }
        Ok(segment)
    }

    fn first_line(
        &mut self,
        (hash, record): (Hash, &[u8]),
        own: Option<&Own>,
        segment: Option<u64>,
        is_first: bool,
    ) -> Result<u64, Wrong> {
        let Some(Own::Begin { segment: begun, number, chain, .. }) = own else {
            return Err(Wrong::from(Found::Malformed).expected("the record that begins a segment"));
        };
        let segment = segment.unwrap_or(*begun);
        if *begun != segment {
            return Err(Wrong::from(Found::Replaced)
                .expected(format!("segment {segment}, and this is {begun}")));
        }
        if let Some(chain) = chain {
            if let Some(must) = self.known.chain.as_ref().filter(|must| *must != chain) {
                let told = format!("the log `{}`, and this is `{}`", plain(must), plain(chain));
                return Err(Wrong::from(Found::Foreign).expected(told));
            }
            if self.found.chain.as_ref() != Some(chain) {
                self.look_for(chain);
                self.found.chain = Some(chain.clone());
            }
        }
        if is_first && segment > 1 {
            // The segments before were deleted on purpose, or are not looked at, so their hash is
            // taken on trust, until the next checkpoint vouches for what follows.
            self.number = *number;
            return Ok(segment);
        }
        let expected = segment::chain(&self.hash, record);
        if expected != hash {
            return Err(differs(&expected, &hash));
        }
        if *number != self.number {
            return Err(Wrong::from(Found::Altered)
                .expected(format!("{} records before it, and it says {number}", self.number)));
        }
        Ok(segment)
    }

    fn checkpoint(&mut self, jws: &str, segment: u64) -> Result<(), Wrong> {
        let statement = self.statement(jws)?;
        let hash = segment::hex(&self.hash);
        let here = statement.segment == segment
            && statement.number == self.number
            && statement.hash == hash;
        if !here {
            let signed = format!(
                "segment {segment}, {} records and the hash {hash}; signed were segment {}, {} and {}",
                self.number, statement.segment, statement.number, statement.hash
            );
            return Err(Wrong::from(Found::Checkpoint).expected(signed));
        }
        self.then = statement.then;
        self.found.checkpoint = Some((statement.number, statement.hash));
        if self.kept == self.found.checkpoint {
            self.kept = None;
        }
        Ok(())
    }

    /// What a checkpoint says, if it is signed with a known key.
    fn statement(&self, jws: &str) -> Result<Statement, Found> {
        let compact = Compact::parse(jws).map_err(|_| Found::Checkpoint)?;
        let kid = compact.header.kid.as_deref().ok_or(Found::Checkpoint)?;
        let key = (self.key)(kid).ok_or_else(|| Found::UnknownKey(plain(kid)))?;
        let sound = compact.header.typ.as_deref() == Some(CHECKPOINT)
            && compact.header.alg == key.algorithm().name()
            && key.verifies(compact.signed.as_bytes(), &compact.signature);
        let statement = serde_json::from_slice(&compact.claims).ok().filter(|_| sound);
        statement.ok_or(Found::Checkpoint)
    }

    fn note(&mut self, record: &[u8], own: Option<&Own>) {
        match own {
            None => self.found.requests += 1,
            Some(Own::Lost { count, .. }) => {
                self.found.lost = self.found.lost.saturating_add(*count);
            }
            Some(Own::Begin { .. } | Own::Checkpoint { .. }) => {}
        }
        let at = serde_json::from_slice::<Dated>(record).ok().and_then(|dated| dated.at);
        if let Some(at) = at.map(Timestamp::from_millis) {
            let (from, to) = self.found.span.unwrap_or((at, at));
            self.found.span = Some((from.min(at), to.max(at)));
        }
    }
}

fn differs(expected: &Hash, found: &Hash) -> Wrong {
    let (expected, found) = (segment::hex(expected), segment::hex(found));
    Wrong::from(Found::Altered).expected(format!("the hash {expected}, and it has {found}"))
}

/// The name of a key, as far as it is one: whoever writes a log chooses it.
fn plain(kid: &str) -> String {
    kid.chars().filter(char::is_ascii_graphic).take(64).collect()
}
