//! The one normalisation of request targets.
//!
//! Whoever decides about a path and whoever serves it must read it alike; each difference between
//! the two has been somebody's bypass (CVE-2019-9901, CVE-2021-32777, CVE-2026-26205,
//! CVE-2026-42274, CVE-2026-48020). So a target is normalised here once, the result is both
//! authorised and forwarded, and whatever two readers could understand differently is refused
//! instead of being repaired.

use std::{borrow::Cow, fmt};

/// The longest target, path and query together, in bytes.
pub const LONGEST: usize = 8192;

/// A request target in origin form (RFC 9112 §3.2.1): a normalised path, and the query as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    path: NormalPath<'a>,
    query: Option<&'a str>,
}

/// A path in its one form. Only this module makes one.
///
/// It begins with `/`; unreserved characters are not percent-encoded; escapes have upper-case
/// digits and together decode to UTF-8; there are no dot segments, no empty segments (a trailing
/// slash excepted), no parameters, and no escapes of slashes, controls or escapes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NormalPath<'a>(Cow<'a, str>);

/// Why a target is refused. The texts tell the client nothing that it did not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathRefused {
    /// More than [`LONGEST`] bytes, as it came or normalised.
    #[error("the target is longer than 8192 bytes")]
    TooLong,
    /// It does not begin with `/`.
    #[error("the target does not begin with `/`")]
    NotAbsolute,
    /// A byte that must not stand in a target: a space, `#`, or one outside ASCII.
    #[error("the target holds a byte that must be percent-encoded")]
    IllegalByte,
    /// `%` without two hexadecimal digits.
    #[error("the path holds `%` without two hexadecimal digits")]
    MalformedEscape,
    /// NUL, encoded or not.
    #[error("the path holds a NUL")]
    Nul,
    /// A control character, encoded or not.
    #[error("the target holds a control character")]
    Control,
    /// `%2F`: one reader sees a separator, another does not.
    #[error("the path holds an encoded slash")]
    EncodedSlash,
    /// `\` or `%5C`, which some readers take for `/`.
    #[error("the path holds a backslash")]
    Backslash,
    /// An escape of an escape, such as `%252E`.
    #[error("the path is percent-encoded twice")]
    DoubleEncoding,
    /// The escapes are not UTF-8; overlong forms belong here.
    #[error("the path's escapes are not UTF-8")]
    NotUtf8,
    /// `.` or `..`, however encoded, also with more dots or spaces.
    #[error("the path holds a dot segment")]
    DotSegment,
    /// `//`.
    #[error("the path holds an empty segment")]
    EmptySegment,
    /// `;`, behind which some servers drop the rest of a segment before they look at it.
    #[error("the path holds `;`")]
    Parameters,
}

impl PathRefused {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::TooLong => "target_too_long",
            Self::NotAbsolute => "path_not_absolute",
            Self::IllegalByte => "target_illegal_byte",
            Self::MalformedEscape => "path_malformed_escape",
            Self::Nul => "path_nul",
            Self::Control => "target_control",
            Self::EncodedSlash => "path_encoded_slash",
            Self::Backslash => "path_backslash",
            Self::DoubleEncoding => "path_double_encoding",
            Self::NotUtf8 => "path_not_utf8",
            Self::DotSegment => "path_dot_segment",
            Self::EmptySegment => "path_empty_segment",
            Self::Parameters => "path_parameters",
        }
    }
}

impl<'a> Target<'a> {
    /// Reads and normalises a target. Copies nothing where the path is in its normal form already.
    ///
    /// # Errors
    /// What makes the target ambiguous or malformed.
    pub fn parse(target: &'a [u8]) -> Result<Self, PathRefused> {
        if target.len() > LONGEST {
            return Err(PathRefused::TooLong);
        }
        let question = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
        let (path, rest) = target.split_at(question);
        let path = NormalPath(normalise(path)?);
        // Escaping makes a path longer, and what is forwarded has the same bound.
        if path.as_str().len() + rest.len() > LONGEST {
            return Err(PathRefused::TooLong);
        }
        let query = match rest.split_first() {
            Some((_, query)) => Some(legal_query(query)?),
            None => None,
        };
        Ok(Self { path, query })
    }

    /// The path to authorise and to forward.
    #[must_use]
    pub const fn path(&self) -> &NormalPath<'a> {
        &self.path
    }

    /// What follows the first `?`, unchanged, without the `?`.
    #[must_use]
    pub const fn query(&self) -> Option<&'a str> {
        self.query
    }
}

impl NormalPath<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands between the slashes. A trailing slash yields an empty last segment; the path
    /// `/` yields one empty segment.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }
}

impl fmt::Display for NormalPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What becomes of a byte of a path that is not part of an escape.
enum Byte {
    /// It stays.
    Plain,
    /// It is written as an escape: characters that browsers send raw though RFC 3986 §2 does not
    /// allow them. Encoding them changes nothing for who reads the path, and gives it one form.
    Escaped,
    Refused(PathRefused),
}

const fn classify(byte: u8) -> Byte {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Byte::Plain,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' => Byte::Plain,
        b':' | b'@' | b'/' => Byte::Plain,
        b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => Byte::Escaped,
        b';' => Byte::Refused(PathRefused::Parameters),
        b'\\' => Byte::Refused(PathRefused::Backslash),
        0 => Byte::Refused(PathRefused::Nul),
        1..=0x1f | 0x7f => Byte::Refused(PathRefused::Control),
        _ => Byte::Refused(PathRefused::IllegalByte),
    }
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn normalise(path: &[u8]) -> Result<Cow<'_, str>, PathRefused> {
    if path.first() != Some(&b'/') {
        return Err(PathRefused::NotAbsolute);
    }
    let plain = path.iter().all(|byte| matches!(classify(*byte), Byte::Plain));
    let normal = if plain {
        Cow::Borrowed(std::str::from_utf8(path).map_err(|_| PathRefused::NotUtf8)?)
    } else {
        Cow::Owned(rewrite(path)?)
    };
    check_segments(&normal)?;
    Ok(normal)
}

/// Decodes what is unreserved, and writes everything else in one way.
fn rewrite(path: &[u8]) -> Result<String, PathRefused> {
    let mut normal = String::with_capacity(path.len() + 16);
    // What the escapes say, for the check of UTF-8: decoding the whole path, because a plain byte
    // between two escapes ends a sequence.
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        let (byte, plain) = if byte == b'%' {
            let value = escape(bytes.next(), bytes.next())?;
            (value, is_unreserved(value))
        } else {
            match classify(byte) {
                Byte::Plain => (byte, true),
                Byte::Escaped => (byte, false),
                Byte::Refused(reason) => return Err(reason),
            }
        };
        decoded.push(byte);
        if plain {
            normal.push(char::from(byte));
        } else {
            push_escape(&mut normal, byte);
        }
    }
    let text = std::str::from_utf8(&decoded).map_err(|_| PathRefused::NotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(PathRefused::Control); // the controls beyond ASCII, U+0080 to U+009F
    }
    // On the result, not on the input: `%25%32%65` becomes `%252e` only by being decoded.
    if escapes_twice(normal.as_bytes()) {
        return Err(PathRefused::DoubleEncoding);
    }
    Ok(normal)
}

/// The byte that an escape stands for, unless it must not stand in a path.
fn escape(high: Option<u8>, low: Option<u8>) -> Result<u8, PathRefused> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
        return Err(PathRefused::MalformedEscape);
    };
    match u8::try_from(high * 16 + low).unwrap_or_default() {
        0 => Err(PathRefused::Nul),
        1..=0x1f | 0x7f => Err(PathRefused::Control),
        b'/' => Err(PathRefused::EncodedSlash),
        b'\\' => Err(PathRefused::Backslash),
        b';' => Err(PathRefused::Parameters),
        byte => Ok(byte),
    }
}

fn push_escape(text: &mut String, byte: u8) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    text.push('%');
    text.push(digit(byte >> 4));
    text.push(digit(byte & 15));
}

/// Whether a second decoding would find an escape: `%25` and two hexadecimal digits, or `%25u` and
/// four, as in the `%uXXXX` of old servers. Before anything else (`100%25`) it is a percent sign.
fn escapes_twice(normal: &[u8]) -> bool {
    let hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    let escaped = |window: &[u8]| match window {
        [b'%', b'2', b'5', rest @ ..] => hex(rest),
        _ => false,
    };
    let old = |window: &[u8]| match window {
        [b'%', b'2', b'5', b'u' | b'U', rest @ ..] => hex(rest),
        _ => false,
    };
    normal.windows(5).any(escaped) || normal.windows(8).any(old)
}

fn check_segments(normal: &str) -> Result<(), PathRefused> {
    let mut segments = normal.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(PathRefused::EmptySegment);
        }
        if is_dots(segment) {
            return Err(PathRefused::DotSegment);
        }
    }
    Ok(())
}

/// Whether a segment is made of dots, and perhaps spaces: some file systems drop trailing dots and
/// spaces, so that `..%20` climbs like `..`.
fn is_dots(segment: &str) -> bool {
    let (mut rest, mut dots) = (segment, false);
    loop {
        rest = match (rest.strip_prefix('.'), rest.strip_prefix("%20")) {
            (Some(after), _) => {
                dots = true;
                after
            }
            (None, Some(after)) => after,
            (None, None) => return dots && rest.is_empty(),
        };
    }
}

/// The query, if a server may be sent it: visible ASCII without `#`.
fn legal_query(query: &[u8]) -> Result<&str, PathRefused> {
    for byte in query {
        match byte {
            0..=0x1f | 0x7f => return Err(PathRefused::Control),
            b' ' | b'#' | 0x80.. => return Err(PathRefused::IllegalByte),
            _ => {}
        }
    }
    std::str::from_utf8(query).map_err(|_| PathRefused::NotUtf8)
}

#[cfg(test)]
mod tests;
