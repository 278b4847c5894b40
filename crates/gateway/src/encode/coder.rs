//! Compresses bytes as they come.

use std::io::{Result, Write as _};

use bytes::Bytes;

use super::Coding;

/// What compresses, and what it has made that was not taken yet.
pub(super) enum Coder {
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    /// It has come to its end.
    Over,
}

/// How hard it tries: as hard as pays for answers that are made once and read once.
const GZIP: u32 = 4;
const BROTLI: u32 = 4;
const ZSTD: i32 = 3;

/// How far back it looks for what came before, as a power of two: what each costs in memory grows with it.
const WINDOW: u32 = 17;

/// How much memory what compresses so holds, in bytes: as 200 of them were measured that had taken 300 KB each.
pub(super) const fn holds(coding: Coding) -> usize {
    match coding {
        Coding::Gzip => 400 * 1024,
        Coding::Brotli => 1536 * 1024,
        Coding::Zstd => 1024 * 1024,
    }
}

impl Coder {
    /// `None`: it cannot be begun.
    pub(super) fn new(coding: Coding) -> Option<Self> {
        Some(match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP);
                Self::Gzip(Box::new(flate2::write::GzEncoder::new(Vec::new(), level)))
            }
            Coding::Brotli => {
                let made = brotli::CompressorWriter::new(Vec::new(), 4096, BROTLI, WINDOW);
                Self::Brotli(Box::new(made))
            }
            Coding::Zstd => {
                let mut made = zstd::stream::write::Encoder::new(Vec::new(), ZSTD).ok()?;
                made.window_log(WINDOW).ok()?;
                Self::Zstd(Box::new(made))
            }
        })
    }

    /// Takes bytes, and answers what has come of all so far.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Bytes> {
        match self {
            Self::Gzip(made) => made.write_all(bytes)?,
            Self::Brotli(made) => made.write_all(bytes)?,
            Self::Zstd(made) => made.write_all(bytes)?,
            Self::Over => {}
        }
        Ok(self.take())
    }

    /// Answers all that was held back, so that what was taken can be read.
    pub(super) fn flush(&mut self) -> Result<Bytes> {
        match self {
            Self::Gzip(made) => made.flush()?,
            Self::Brotli(made) => made.flush()?,
            Self::Zstd(made) => made.flush()?,
            Self::Over => {}
        }
        Ok(self.take())
    }

    /// The same, with the end.
    pub(super) fn finish(&mut self) -> Result<Bytes> {
        Ok(Bytes::from(match std::mem::replace(self, Self::Over) {
            Self::Gzip(made) => made.finish()?,
            Self::Brotli(made) => made.into_inner(),
            Self::Zstd(made) => made.finish()?,
            Self::Over => Vec::new(),
        }))
    }

    fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(match self {
            Self::Gzip(made) => made.get_mut(),
            Self::Brotli(made) => made.get_mut(),
            Self::Zstd(made) => made.get_mut(),
            Self::Over => return Bytes::new(),
        }))
    }
}
