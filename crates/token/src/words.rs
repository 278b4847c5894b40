//! Words of bits that several set at once, and their bytes: packed, to be told and kept.

use std::{
    io::{Read as _, Write as _},
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

/// The words from the lowest byte on.
pub(crate) fn bytes(words: &[AtomicU64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.load(Ordering::Acquire).to_le_bytes()).collect()
}

/// The same as zlib.
pub(crate) fn packed(words: &[AtomicU64], effort: Compression) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), effort);
    // Writing to memory does not fail.
    let written = encoder.write_all(&bytes(words)).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

/// The same as base64url of it.
pub(crate) fn text(words: &[AtomicU64], effort: Compression) -> String {
    URL_SAFE_NO_PAD.encode(packed(words, effort))
}

/// Reads so many words from what [`text`] wrote. `None`: it is another number of them, or none.
pub(crate) fn read(text: &str, count: usize) -> Option<Vec<u64>> {
    let packed = URL_SAFE_NO_PAD.decode(text).ok()?;
    let length = count.checked_mul(size_of::<u64>())?;
    let mut bytes = Vec::with_capacity(length);
    // What unpacks to more is not unpacked further.
    let more = u64::try_from(length).ok()? + 1;
    ZlibDecoder::new(packed.as_slice()).take(more).read_to_end(&mut bytes).ok()?;
    let (words, rest) = bytes.as_chunks::<8>();
    let is_whole = words.len() == count && rest.is_empty();
    is_whole.then(|| words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}
