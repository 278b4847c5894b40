//! Where a body ends.

use super::{Fault, line};

/// The longest line between chunks, in bytes.
pub(super) const LONGEST_LINE: usize = 8192;
/// The largest trailer section, in bytes.
const LARGEST_TRAILERS: usize = 16 * 1024;

/// What is left of a body.
pub(super) enum Body {
    /// So many bytes, and then the request is over.
    Length(u64),
    /// The line with the size of a chunk.
    Size,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The end of the line after a chunk.
    ChunkEnd,
    /// The trailers; so many bytes have passed.
    Trailers(usize),
}

impl Body {
    pub(super) const fn of(length: u64) -> Self {
        Self::Length(length)
    }

    pub(super) const fn chunked() -> Self {
        Self::Size
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Whether data comes next, not a line.
    pub(super) const fn is_data(&self) -> bool {
        matches!(self, Self::Length(_) | Self::Chunk(_))
    }

    /// Skips data; what is left is not data of this body or chunk.
    pub(super) fn skip<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let left = match self {
            Self::Length(left) | Self::Chunk(left) => left,
            _ => return bytes,
        };
        let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(*left);
        *left -= here;
        let rest = usize::try_from(here).ok().and_then(|here| bytes.get(here..));
        if matches!(self, Self::Chunk(0)) {
            *self = Self::ChunkEnd;
        }
        rest.unwrap_or_default()
    }

    /// Takes a line between chunks (RFC 9112 §7.1).
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        *self = match self {
            Self::Size => match size(line)? {
                0 => Self::Trailers(0),
                size => Self::Chunk(size),
            },
            Self::ChunkEnd if line.is_empty() => Self::Size,
            Self::Trailers(_) if line.is_empty() => Self::Length(0),
            Self::Trailers(bytes) => {
                line::field(line).map_err(|_| Fault::Chunk)?;
                let bytes = *bytes + line.len();
                if bytes > LARGEST_TRAILERS {
                    return Err(Fault::Chunk);
                }
                Self::Trailers(bytes)
            }
            Self::ChunkEnd | Self::Length(_) | Self::Chunk(_) => return Err(Fault::Chunk),
        };
        Ok(())
    }
}

/// The size of a chunk. Extensions are skipped, as long as they are short and printable: what they
/// mean is between neighbours (RFC 9112 §7.1.1), and they are not passed on.
fn size(line: &[u8]) -> Result<u64, Fault> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    let printable = extension.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e));
    if !(1..=15).contains(&digits.len()) || extension.len() > 256 || !printable {
        return Err(Fault::Chunk);
    }
    digits.iter().try_fold(0, |size: u64, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(Fault::Chunk)?;
        Ok(size * 16 + u64::from(digit))
    })
}
