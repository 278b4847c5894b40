//! Names of cookies, and what servers could take them for.
//!
//! A service must not see a refused cookie under a name that it reads as the refused one. So names are
//! compared by what is left when everything is undone that some server ignores: case, blanks, quotes,
//! percent-encoding, the prefixes that only browsers know, and what PHP makes of `.`, ` ` and `[`.

use std::fmt;

/// The name of a cookie, or what the names of several begin with.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    plain: Vec<u8>,
    is_start: bool,
}

impl Pattern {
    /// Reads a name, or the beginning of names with `*` after it. `None`: it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, is_start) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        let plain = plain(name.as_bytes());
        let is_name = name.bytes().all(|byte| super::is_name_byte(byte) && byte != b'*');
        (is_name && !plain.is_empty()).then(|| Self { text: text.to_owned(), plain, is_start })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The one name that it stands for. `None`: it stands for all that begin so.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        (!self.is_start).then_some(self.text.as_str())
    }

    pub(super) fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// Whether it stands for what a server could take this plain name for.
    pub(super) fn matches(&self, plain: &[u8]) -> bool {
        if self.is_start { plain.starts_with(&self.plain) } else { plain == self.plain }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.text)
    }
}

/// The prefixes that browsers know (RFC 6265bis §4.1.3), in lower case.
const PREFIXES: [&[u8]; 4] = [b"__host-http-", b"__host-", b"__http-", b"__secure-"];

/// What a server could take a name for.
pub(super) fn plain(name: &[u8]) -> Vec<u8> {
    let mut plain = trimmed(decoded(trimmed(name.to_vec())));
    // `a[b]` is an entry of `a`.
    if let Some(at) = plain.iter().skip(1).position(|byte| matches!(byte, b'[' | 0)) {
        plain.truncate(at + 1);
    }
    for byte in &mut plain {
        byte.make_ascii_lowercase();
        if matches!(byte, b'.' | b' ' | b'+' | b'[') {
            *byte = b'_';
        }
    }
    let mut rest = plain.as_slice();
    while let Some(next) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(*prefix)) {
        rest = next;
    }
    let prefixed = plain.len() - rest.len();
    plain.drain(..prefixed);
    plain
}

/// Without blanks, controls and quotes around it. Two blanks are of Latin-1.
fn trimmed(mut name: Vec<u8>) -> Vec<u8> {
    let is_around = |byte: &u8| *byte <= b' ' || matches!(byte, b'"' | b'\'' | 0x7f | 0x85 | 0xa0);
    let end = name.iter().rposition(|byte| !is_around(byte)).map_or(0, |at| at + 1);
    name.truncate(end);
    let start = name.iter().position(|byte| !is_around(byte)).unwrap_or(0);
    name.drain(..start);
    name
}

/// Percent-decoded once, as far as it is encoded.
fn decoded(name: Vec<u8>) -> Vec<u8> {
    if !name.contains(&b'%') {
        return name;
    }
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.as_slice();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let pair = (*byte == b'%').then(|| after.split_first_chunk::<2>()).flatten();
        let byte_of_pair = pair.and_then(|([high, low], beyond)| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
            Some((value, beyond))
        });
        match byte_of_pair {
            Some((value, beyond)) => {
                decoded.push(value);
                rest = beyond;
            }
            None => decoded.push(*byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_server_could_take_it_for() {
        for spelled in [
            "_ga",
            " _ga",
            "_ga\t",
            "_GA",
            "\"_ga\"",
            "%5Fga",
            "_g%61",
            "__Host-_ga",
            "__secure-_GA",
            "__Host-Http-_ga",
            ".ga",
            " .ga ",
            "_ga[x]",
            "_ga%00x",
            "%20_ga",
            "__Secure-__Host-_ga",
        ] {
            assert_eq!(plain(spelled.as_bytes()), b"_ga", "{spelled:?}");
        }
        for spelled in [&b"\xa0_ga\x85"[..], b"\x85 \xa0__Host-_GA\xa0"] {
            assert_eq!(plain(spelled), b"_ga", "{spelled:?}");
        }
        assert_eq!(plain(&[&b"__host-".repeat(10_000)[..], b"_ga"].concat()), b"_ga");
        for other in ["_gat", "ga", "_g", "x_ga", "_ga_", "%255Fga", "-ga", "_ga%", "__ga"] {
            assert_ne!(plain(other.as_bytes()), b"_ga", "{other:?}");
        }
        assert_eq!(plain(b"%zz%5"), b"%zz%5");
        assert_eq!(plain(b" \t\""), b"");
        assert_eq!(plain(b"[a]"), b"_a]");
    }

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        assert_eq!(Pattern::parse("_ga").unwrap().name(), Some("_ga"));
        assert_eq!(Pattern::parse("utm_*").unwrap().name(), None);
        for bad in ["", "*", "a*b", "a**", "a b", "a=b", "é", "\"*", "__Host-*", "a;b"] {
            assert!(Pattern::parse(bad).is_none(), "{bad:?}");
        }
        let starts = Pattern::parse("utm_*").unwrap();
        assert!(starts.matches(b"utm_source") && starts.matches(b"utm_"));
        assert!(!starts.matches(b"utm") && !starts.matches(b"xutm_"));
    }
}
