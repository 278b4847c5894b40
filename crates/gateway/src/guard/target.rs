//! Finds targets of HTTP/2 that would be cut silently: the parser behind the watch drops what follows a `#`,
//! which is refused in HTTP/1. A request that was cut can no longer be told from a sound one.
//!
//! It follows the compression of heads (RFC 7541) as far as that needs: of the dynamic table it keeps how long
//! entries are, and their text only where it is such a target.

use std::collections::VecDeque;

/// The largest dynamic table: what is agreed on where nothing else is (RFC 9113 §6.5.2).
const LARGEST_TABLE: usize = 4096;

/// The lengths of the names in the static table (RFC 7541, appendix A).
const NAMES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];

/// So many entries of the static table come first that begin with `:`.
const PSEUDO: usize = 14;

/// How many symbols there are with each length, from 5 to 30 bits (RFC 7541, appendix B). The code is
/// canonical: those of one length follow each other.
const COUNTS: [u32; 26] =
    [10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];

/// The symbols of up to 15 bits, in the order of their codes. What is longer is not ASCII, or no target.
const SYMBOLS: &[u8; 95] =
    b"012aceiost %-./3456789=A_bdfghlmnpru:BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz&*,;XZ\
                             !\"()?'+|#>\0$@[]~^}<`{";

/// What stands for a symbol that is longer.
const OTHER: u8 = 0xff;

/// What is remembered of the heads of a connection.
#[derive(Debug, Default)]
pub(super) struct Targets {
    table: VecDeque<Entry>,
    size: usize,
    most: Option<usize>,
    /// Whether a head could not be read. What is behind ends the connection then.
    lost: bool,
    /// Whether the last one said what only the head of a request says: its method, its target and the like.
    asked: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    name: usize,
    value: usize,
    is_path: bool,
    is_pseudo: bool,
    cut: Option<Box<[u8]>>,
}

impl Targets {
    /// Reads a head. Answers what would be left of its target, if it would be cut.
    pub(super) fn read(&mut self, block: &[u8]) -> Option<Box<[u8]>> {
        self.asked = false;
        if self.lost {
            return None;
        }
        let mut cut = None;
        let mut rest = block;
        while !rest.is_empty() {
            match self.field(&mut rest) {
                Some(found) => cut = cut.or(found),
                None => {
                    *self = Self { lost: true, ..Self::default() };
                    return None;
                }
            }
        }
        cut
    }

    /// Whether the last head had a field that stands in no trailers (RFC 9113 §8.1).
    pub(super) const fn asked(&self) -> bool {
        self.asked
    }

    /// Reads a field. `None`: it is none.
    fn field(&mut self, rest: &mut &[u8]) -> Option<Option<Box<[u8]>>> {
        let first = *rest.first()?;
        match first {
            0x80.. => {
                let index = integer(rest, 7)?;
                let entry = match index.checked_sub(NAMES.len() + 1) {
                    Some(at) => self.table.get(at)?,
                    None => {
                        self.asked |= (1..=PSEUDO).contains(&index);
                        return Some(None);
                    }
                };
                self.asked |= entry.is_pseudo;
                Some(entry.cut.clone())
            }
            0x20..=0x3f => {
                self.most = Some(integer(rest, 5)?.min(LARGEST_TABLE));
                self.evict(0);
                Some(None)
            }
            _ => {
                let is_kept = first & 0x40 != 0;
                let index = integer(rest, if is_kept { 6 } else { 4 })?;
                let (name, is_path, is_pseudo) = match index.checked_sub(NAMES.len() + 1) {
                    _ if index == 0 => {
                        let name = text(rest)?;
                        (name.len(), name == b":path", name.first() == Some(&b':'))
                    }
                    None => {
                        let name = usize::from(*NAMES.get(index - 1)?);
                        (name, matches!(index, 4 | 5), index <= PSEUDO)
                    }
                    Some(at) => {
                        let entry = self.table.get(at)?;
                        (entry.name, entry.is_path, entry.is_pseudo)
                    }
                };
                self.asked |= is_pseudo;
                let mut value = text(rest)?;
                let length = value.len();
                let at = value.iter().position(|byte| *byte == b'#').filter(|_| is_path);
                let cut = at.map(|at| {
                    value.truncate(at);
                    value.into_boxed_slice()
                });
                if is_kept {
                    self.keep(Entry { name, value: length, is_path, is_pseudo, cut: cut.clone() });
                }
                Some(cut)
            }
        }
    }

    fn keep(&mut self, entry: Entry) {
        let size = entry.size();
        self.evict(size);
        if size <= self.most() {
            self.size += size;
            self.table.push_front(entry);
        }
    }

    /// Makes room for so many bytes.
    fn evict(&mut self, more: usize) {
        while self.size + more > self.most() {
            let Some(oldest) = self.table.pop_back() else { return };
            self.size -= oldest.size();
        }
    }

    fn most(&self) -> usize {
        self.most.unwrap_or(LARGEST_TABLE)
    }
}

impl Entry {
    const fn size(&self) -> usize {
        self.name + self.value + 32
    }
}

/// A number with a prefix of so many bits (RFC 7541 §5.1).
fn integer(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let (first, mut after) = rest.split_first()?;
    let most = (1_usize << bits) - 1;
    let mut number = usize::from(*first) & most;
    if number == most {
        let mut shift = 0;
        loop {
            let (byte, more) = after.split_first()?;
            after = more;
            number += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 21 {
                return None;
            }
        }
    }
    *rest = after;
    Some(number)
}

/// A text, compressed or not (RFC 7541 §5.2).
fn text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let is_compressed = rest.first()? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(if is_compressed { decompressed(bytes) } else { bytes.to_vec() })
}

/// The text of a compressed one, where [`OTHER`] stands for what is in no target. What is behind judges whether
/// it was compressed as it must be.
fn decompressed(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let mut bytes = bytes.iter();
    // Bits that have come, at the upper end.
    let (mut window, mut have) = (0_u64, 0_u32);
    loop {
        while have <= 56 {
            let Some(byte) = bytes.next() else { break };
            window |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        let Some((length, symbol)) = symbol(window).filter(|(length, _)| *length <= have) else {
            return text;
        };
        text.push(symbol);
        window <<= length;
        have -= length;
    }
}

/// The symbol that these bits begin with, and its length.
fn symbol(window: u64) -> Option<(u32, u8)> {
    let (mut first, mut before) = (0_u64, 0_u64);
    for (length, count) in (5..).zip(COUNTS) {
        let offset = (window >> (64 - length)) - first;
        if offset < u64::from(count) {
            let at = usize::try_from(before + offset).ok()?;
            return Some((length, SYMBOLS.get(at).copied().unwrap_or(OTHER)));
        }
        first = (first + u64::from(count)) << 1;
        before += u64::from(count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace()
            .flat_map(|word| word.as_bytes().chunks(2))
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    fn literal(first: u8, name: Option<&str>, value: &[u8]) -> Vec<u8> {
        let mut block = vec![first];
        for text in name.map(str::as_bytes).into_iter().chain([value]) {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text);
        }
        block
    }

    #[test]
    fn the_code_is_that_of_the_standard() {
        assert_eq!(COUNTS.iter().sum::<u32>(), 257);
        // RFC 7541, appendix C.4 and C.6.
        for (compressed, text) in [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            ("25a8 49e9 5bb8 e8b4 bf", "custom-value"),
            (
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            ("9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3", "https://www.example.com"),
        ] {
            assert_eq!(decompressed(&hex(compressed)), text.as_bytes());
        }
        // `#` is 12 bits, `/` six: `/#` is 0110 0011 1111 1110 10, filled up with ones.
        assert_eq!(decompressed(&hex("63fe bf")), b"/#");
    }

    #[test]
    fn follows_the_examples_of_the_standard() {
        // RFC 7541, appendix C.4: three requests with one table.
        let mut targets = Targets::default();
        for (block, size) in [
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", 57),
            ("8286 84be 5886 a8eb 1064 9cbf", 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", 164),
        ] {
            assert_eq!(targets.read(&hex(block)), None);
            assert_eq!((targets.size, targets.lost), (size, false));
        }
    }

    #[test]
    fn a_target_that_would_be_cut_is_found_however_it_is_said() {
        let path = b"/a#b";
        for block in [
            literal(0x04, None, path),
            literal(0x14, None, path),
            literal(0x45, None, path),
            literal(0x00, Some(":path"), path),
            hex("04 83 63fe bf"),
        ] {
            let found = Targets::default().read(&block).unwrap();
            assert!(matches!(&*found, b"/a" | b"/"), "{found:?}");
        }
        // And where the table says it later.
        let mut targets = Targets::default();
        assert!(targets.read(&literal(0x44, None, path)).is_some());
        assert!(targets.read(&[0xbe]).is_some());
        // Its name alone is taken from there.
        assert_eq!(targets.read(&literal(0x7e, None, b"/fine")), None);
        assert!(targets.read(&[0xbf]).is_some());
        assert_eq!(targets.read(&[0xbe]), None);
        // What is forgotten is gone.
        assert_eq!(targets.read(&[0x20]), None);
        assert_eq!((targets.read(&[0xbe]), targets.lost), (None, true));
        // Other fields may say what they like.
        assert_eq!(Targets::default().read(&literal(0x00, Some("referer"), b"a#b")), None);
    }

    #[test]
    fn what_only_a_request_says_is_found_however_it_is_said() {
        let mut targets = Targets::default();
        for (block, asked) in [
            (vec![0x82], true),
            (vec![0x8e], true),
            (vec![0x8f], false),
            (literal(0x02, None, b"PUT"), true),
            (literal(0x50, None, b"x"), false),
            (literal(0x00, Some(":authority"), b"a"), true),
            (literal(0x00, Some("authority"), b":a"), false),
            (literal(0x40, Some(":odd"), b"a"), true),
            (vec![0xbe], true),
            (literal(0x7e, None, b"b"), true),
            (literal(0x40, Some("even"), b"a"), false),
            (vec![0xbe], false),
            (vec![0xbf], true),
            (vec![0x8f, 0xbf], true),
        ] {
            targets.read(&block);
            assert_eq!((targets.asked(), targets.lost), (asked, false), "{block:x?}");
        }
    }

    #[test]
    fn what_is_no_head_is_let_pass_to_who_refuses_it() {
        for block in [
            &[0xff][..],
            &[0x00, 0x85],
            &[0xc0],
            &[0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x80 | 127],
        ] {
            let mut targets = Targets::default();
            assert_eq!(targets.read(block), None);
            assert!(targets.lost);
        }
        let mut targets = Targets::default();
        targets.read(&literal(0x40, Some("x"), &[b'x'; 100]));
        for _ in 0..10_000 {
            targets.read(&[&[0x40, 1, b'y', 127, 1], &[b'z'; 128][..]].concat());
        }
        assert!(targets.size <= LARGEST_TABLE && !targets.lost);
    }
}
