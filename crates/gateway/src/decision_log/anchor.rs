//! Where a log was, kept elsewhere: what was removed from its end, rewritten there, or replaced by an older
//! copy, is found with it.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use tegata_core::Timestamp;

use super::{
    Reader,
    segment::{self, Own},
};

/// The longest line that is read.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Where a log was: after the record that begins a segment, or after a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The name of the log.
    pub chain: String,
    /// The segment.
    pub segment: u64,
    /// How many records the log had.
    pub number: u64,
    /// The hash of the last of them: 64 hexadecimal digits.
    pub hash: String,
    /// When.
    pub at: Timestamp,
}

/// The name of the log in a directory, as its last segment with a name says. `None`: none has one, or can be
/// read.
#[must_use]
pub fn name_in(directory: &Path) -> Option<String> {
    let segments = segment::list(directory).ok()?;
    segments.into_iter().rev().find_map(|segment| {
        let mut reader = Reader::from_segment(directory, Some(segment)).ok()?;
        reader.next().ok().flatten()?.chain
    })
}

/// Whether a log goes on from here: the record that was the last stands where it stood.
///
/// # Errors
/// What the system says of files that are there.
pub(super) fn stands_in(directory: &Path, anchor: &Anchor) -> io::Result<bool> {
    let segments = match segment::list(directory) {
        Ok(segments) => segments,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // It is in the last segment that begins before it, which is one of the last.
    for segment in segments.into_iter().rev() {
        let path = segment::path(directory, segment);
        if !std::fs::metadata(&path)?.is_file() {
            return Ok(false);
        }
        let mut lines = BufReader::new(File::open(path)?);
        let mut text = Vec::new();
        let mut number = None;
        loop {
            text.clear();
            if lines.by_ref().take(LONGEST).read_until(b'\n', &mut text)? == 0 {
                break;
            }
            let is_whole = text.pop() == Some(b'\n');
            let Some((hash, record)) = segment::line(&text).filter(|_| is_whole) else { break };
            let before = match number {
                Some(number) => number,
                None => match serde_json::from_slice(record) {
                    Ok(Own::Begin { number, .. }) => number,
                    _ => break,
                },
            };
            if before >= anchor.number {
                // It begins behind it.
                number = None;
                break;
            }
            if before + 1 == anchor.number {
                return Ok(segment::hex(&hash) == anchor.hash);
            }
            number = Some(before + 1);
        }
        if number.is_some() {
            // It begins before it, and ends before it.
            return Ok(false);
        }
    }
    Ok(false)
}
