//! Finding the records of one request, while the log may be written, and without looking through all of it.
//!
//! A name is looked for as a member of a record, and never as a text within one: whoever writes a name into a
//! path is not found by it. Of each line that is found it is said whether it is what was written: its hash
//! vouches for it and for the line before. Whether nothing else was altered, [`verify()`](super::verify())
//! says.
//!
//! Names that the gateway gives begin with their moment ([`moment_of`]), so that the segments of that moment
//! are looked through first, and onwards: a record is written when its request has ended. Other names, such as
//! those of traces that somebody else began, are looked for from the newest segment back. Each of the two
//! ends after so many bytes.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::Value;
use tegata_core::Timestamp;

use super::segment::{self, Hash, Own};

/// The longest line that is read, in bytes.
const LONGEST: u64 = 4 * 1024 * 1024;

/// How many records of one name are told.
const MOST: usize = 200;

/// How many times it is told that records were lost.
const MOST_LOST: usize = 10;

/// A record of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The record: a JSON object.
    pub record: Value,
    /// The segment.
    pub segment: u64,
    /// The line of it, from 1.
    pub line: u64,
    /// Whether the line is what was written.
    pub sound: bool,
}

/// Records that were lost, because there was no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Lost {
    /// How many.
    pub count: u64,
    /// When: milliseconds since 1970.
    pub at: u64,
}

/// The stretch of a log in which a name is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// When the request came, where somebody knows: the segments of then are looked through, and those after.
    pub at: Option<Timestamp>,
    /// The newest segment that is looked through, on the way back. `None`: the newest that there is.
    pub from: Option<u64>,
    /// After how many bytes a way ends. The segment that is looked through then is looked through to its end.
    pub bytes: u64,
}

impl Default for Stretch {
    fn default() -> Self {
        Self { at: None, from: None, bytes: BYTES }
    }
}

/// How many bytes are looked through on each way where nothing is said: about an hour of 200 requests in each
/// second.
pub const BYTES: u64 = 512 * 1024 * 1024;

/// How much earlier than its name says a request can have been written down: clocks are set.
const SLACK: u64 = 60_000;

/// What a log knows of a name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    /// The records of that name, in the order in which they were written.
    pub seen: Vec<Seen>,
    /// How many segments were looked through.
    pub segments: u64,
    /// How many there are.
    pub of: u64,
    /// The next segment, on the way back, that was not looked through because enough was. `None`: nothing
    /// that is older is left.
    pub next: Option<u64>,
    /// When the segment that was looked through last was begun.
    pub since: Option<Timestamp>,
    /// When the next segment was begun, on the way onwards from a moment, that was not looked through because
    /// enough was. `None`: nothing that is newer is left.
    pub onwards: Option<Timestamp>,
    /// What the log lost, as far as it was looked through, the latest first.
    pub lost: Vec<Lost>,
    /// Whether there are more records of that name than are told.
    pub more: bool,
}

/// Whether a text can be the name of a request or of a trace: 32 hexadecimal digits, with the dashes of a UUID
/// or without.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let dash = |(place, byte): (usize, u8)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    match text.len() {
        32 => text.bytes().all(|it| it.is_ascii_hexdigit()),
        36 => text.bytes().enumerate().all(dash),
        _ => false,
    }
}

/// Whether a text can be a name that somebody gave a request for decisions: up to 256 visible characters of
/// ASCII, and spaces.
#[must_use]
pub fn is_given(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|it| matches!(it, b' '..=b'~'))
}

/// When a request came, as its name says. Names of others say anything.
#[must_use]
pub fn moment_of(name: &str) -> Option<Timestamp> {
    let millis = name.get(..12).filter(|_| name.len() == 32 && is_name(name))?;
    u64::from_str_radix(millis, 16).ok().map(Timestamp::from_millis)
}

/// Looks for the records of a request: by its name, by that of its trace, or by the one that somebody gave a
/// request for decisions. It ends where its decision is found. What is not there any more when it is
/// opened is passed over: segments may be moved away.
///
/// # Errors
/// The directory, or a segment that is there, cannot be read.
pub fn find(directory: &Path, name: &str, within: &Stretch) -> io::Result<Search> {
    let mut search = Search::default();
    if !is_given(name) {
        return Ok(search);
    }
    let name = Wanted::of(name);
    let mut segments = segment::list(directory)?;
    search.of = u64::try_from(segments.len()).unwrap_or(u64::MAX);
    let mut way = Way { directory, name: &name, search: &mut search, done: BTreeSet::new() };
    // Where somebody says where to look, nothing else is looked through.
    let at = within.at.or_else(|| moment_of(&name.text).filter(|_| within.from.is_none()));
    if let Some(at) = at {
        // The last segment that was begun before then, and what comes after it.
        let early = |number: &u64| {
            let begun = begun(&segment::path(directory, *number));
            begun.is_none_or(|begun| begun.saturating_add(SLACK) < at.millis())
        };
        let first = segments.partition_point(early).saturating_sub(1);
        let onwards = segments.get(first..).unwrap_or_default();
        let left = way.go(onwards.iter().copied(), within.bytes)?;
        if within.at.is_some() {
            let path = left.map(|number| segment::path(directory, number));
            way.search.onwards = path.and_then(|path| begun(&path)).map(Timestamp::from_millis);
        }
    }
    if !way.is_over() && within.at.is_none() {
        if let Some(from) = within.from {
            segments.retain(|number| *number <= from);
        }
        let next = way.go(segments.into_iter().rev(), within.bytes)?;
        way.search.next = next;
    }
    search.seen.sort_unstable_by_key(|seen| (seen.segment, seen.line));
    search.lost.sort_unstable_by_key(|lost| std::cmp::Reverse(lost.at));
    search.lost.truncate(MOST_LOST);
    Ok(search)
}

/// A name, as it is looked for.
struct Wanted {
    text: String,
    /// As it stands in a record: JSON escapes quotes.
    escaped: Vec<u8>,
}

impl Wanted {
    fn of(name: &str) -> Self {
        // Ours are in lower case; others stand as they were sent.
        let is_ours = name.len() == 32 && is_name(name);
        let text = if is_ours { name.to_ascii_lowercase() } else { name.to_owned() };
        // A text always has a JSON form.
        let escaped = serde_json::to_vec(&text).unwrap_or_default();
        Self { text, escaped }
    }
}

/// A way through segments.
struct Way<'w> {
    directory: &'w Path,
    name: &'w Wanted,
    search: &'w mut Search,
    /// What was looked through.
    done: BTreeSet<u64>,
}

impl Way<'_> {
    /// Looks through these segments, in this order. Answers the first that was left because enough was looked
    /// through.
    fn go(&mut self, segments: impl Iterator<Item = u64>, most: u64) -> io::Result<Option<u64>> {
        let mut bytes = 0_u64;
        for number in segments {
            if self.is_over() {
                break;
            }
            if bytes >= most {
                return Ok(Some(number));
            }
            let path = segment::path(self.directory, number);
            if self.done.insert(number) {
                match look(&path, number, self.name, self.search) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                self.search.segments += 1;
                // What is not there any more has no size.
                bytes = bytes.saturating_add(std::fs::metadata(&path).map_or(0, |it| it.len()));
            }
            self.search.since = begun(&path).map(Timestamp::from_millis);
        }
        Ok(None)
    }

    /// Whether nothing more is looked for: its decision was found. Of an answer, it stands further up. A name
    /// that others choose, of a trace for example, ends nothing: somebody could have used it again.
    fn is_over(&self) -> bool {
        let text = |seen: &Seen, member: &str| {
            seen.record.get(member).and_then(Value::as_str).map(str::to_owned)
        };
        let decides = |seen: &Seen| {
            text(seen, "result").as_deref() != Some("answer")
                && text(seen, "request").as_deref() == Some(&self.name.text)
        };
        self.search.more || self.search.seen.iter().any(decides)
    }
}

/// When a segment was begun, as its first line says: milliseconds since 1970.
fn begun(path: &Path) -> Option<u64> {
    let mut lines = Lines::open(path, 4096).ok()?;
    let (_, text) = segment::line(lines.next().ok()??.text)?;
    match serde_json::from_slice(text) {
        Ok(Own::Begin { at, .. }) => Some(at),
        _ => None,
    }
}

/// Looks through one segment.
fn look(path: &Path, number: u64, name: &Wanted, search: &mut Search) -> io::Result<()> {
    let mut lines = Lines::open(path, 256 * 1024)?;
    let (finder, own) = (Finder::new(&name.escaped), Finder::new(br#"{"log":"lost""#));
    // No record of a request is the first line of a segment.
    let (mut hash, mut found): (Option<Hash>, Vec<Seen>) = (None, Vec::new());
    while let Some(line) = lines.next()? {
        let read = segment::line(line.text);
        if let Some((own_hash, text)) = read {
            if finder.find(text).is_some()
                && let Some(record) = is_of(text, name)
            {
                let sound = hash.is_some_and(|last| segment::chain(&last, text) == own_hash);
                found.push(Seen { record, segment: number, line: line.number, sound });
                search.more |= search.seen.len() + found.len() >= MOST;
            } else if text.starts_with(own.needle())
                && let Ok(Own::Lost { count, at }) = serde_json::from_slice(text)
            {
                search.lost.push(Lost { count, at });
            }
        }
        hash = read.map(|(hash, _)| hash);
        if search.more {
            break;
        }
    }
    search.seen.append(&mut found);
    Ok(())
}

/// A record, if it is one of this name.
fn is_of(text: &[u8], name: &Wanted) -> Option<Value> {
    let record: Value = serde_json::from_slice(text).ok()?;
    let is = |member: &str| record.get(member).and_then(Value::as_str) == Some(&name.text);
    let is_it = is("request") || is("trace") || is("named");
    (record.get("log").is_none() && is_it).then_some(record)
}

/// The whole lines of a file. One that is being written is none yet; one that is longer than any is passed over.
struct Lines {
    file: BufReader<File>,
    text: Vec<u8>,
    number: u64,
}

struct Line<'l> {
    text: &'l [u8],
    number: u64,
}

impl Lines {
    fn open(path: &Path, buffer: usize) -> io::Result<Self> {
        // Whoever opens a pipe waits for somebody to write.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a segment is no file"));
        }
        let file = File::open(path)?;
        Ok(Self { file: BufReader::with_capacity(buffer, file), text: Vec::new(), number: 0 })
    }

    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.text.clear();
        let read = (&mut self.file).take(LONGEST).read_until(b'\n', &mut self.text)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.text.last() == Some(&b'\n') {
            self.text.pop();
        } else if u64::try_from(read).is_ok_and(|read| read == LONGEST) {
            self.text.clear();
            self.file.skip_until(b'\n')?;
        } else {
            return Ok(None);
        }
        Ok(Some(Line { text: &self.text, number: self.number }))
    }
}
