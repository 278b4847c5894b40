//! The form of a segment: its name, its lines, and the records that the log itself writes.

use std::{
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

/// A hash of the chain.
pub(super) type Hash = [u8; 32];

/// What stands before the first record.
pub(super) const NOTHING: Hash = [0; 32];

/// The `typ` of a checkpoint's signature.
pub(super) const CHECKPOINT: &str = "tegata-decisions+jwt";

/// A record of the log about itself. Records about requests have no member `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "log", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Own {
    /// The first record of a segment.
    Begin {
        /// The segment.
        segment: u64,
        /// How many records the log has before this one.
        number: u64,
        /// The node that writes it.
        node: String,
        /// When: milliseconds since 1970.
        at: u64,
        /// How many bytes of an unfinished line were cut off the segment before.
        #[serde(default, skip_serializing_if = "is_zero")]
        torn: u64,
        /// The name of the log, which tells it from those of other nodes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        chain: Option<String>,
    },
    /// Records were lost because there was no room.
    Lost {
        /// How many.
        count: u64,
        /// When: milliseconds since 1970.
        at: u64,
    },
    /// What stands before this is vouched for.
    Checkpoint {
        /// A JWS over [`Statement`].
        jws: String,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    /// The segment.
    pub(super) segment: u64,
    /// How many records the log has before the checkpoint.
    pub(super) number: u64,
    /// The hash of the last of them.
    pub(super) hash: String,
    /// When: milliseconds since 1970.
    pub(super) at: u64,
    /// What follows: more of this segment, the next segment, or nothing.
    pub(super) then: Then,
}

/// What follows a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Then {
    /// More of the segment.
    More,
    /// The next segment.
    Next,
    /// Nothing: the log was closed. A later start begins the next segment.
    Closed,
}

/// The hash of a record that follows `before`.
pub(super) fn chain(before: &Hash, record: &[u8]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(before);
    context.update(record);
    let mut hash = NOTHING;
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// A hash in hexadecimal.
pub(super) fn hex(hash: &Hash) -> String {
    digits(hash).into_iter().map(char::from).collect()
}

/// Appends a hash in hexadecimal.
pub(super) fn write_hex(out: &mut Vec<u8>, hash: &Hash) {
    out.extend_from_slice(&digits(hash));
}

fn digits(hash: &Hash) -> [u8; 64] {
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
    let mut digits = [0; 64];
    for (two, byte) in digits.chunks_exact_mut(2).zip(hash) {
        two.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

/// Reads what [`hex`] wrote: lower case, and nothing else.
pub(super) fn unhex(text: &[u8]) -> Option<Hash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 64 {
        return None;
    }
    let mut hash = NOTHING;
    for (place, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
        *place = match pair {
            [high, low] => digit(*high)? << 4 | digit(*low)?,
            _ => return None,
        };
    }
    Some(hash)
}

/// A line: its hash and its record.
pub(super) fn line(text: &[u8]) -> Option<(Hash, &[u8])> {
    let (hash, rest) = text.split_at_checked(64)?;
    Some((unhex(hash)?, rest.strip_prefix(b" ")?))
}

/// The file of a segment.
pub(super) fn path(directory: &Path, segment: u64) -> PathBuf {
    directory.join(format!("{segment:010}.log"))
}

/// The numbers of the segments in a directory, in order.
pub(super) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        // One segment has one name.
        segments.extend(number.filter(|number| path(Path::new(""), *number).as_os_str() == name));
    }
    segments.sort_unstable();
    Ok(segments)
}
