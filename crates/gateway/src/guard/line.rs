//! Lines of a head: the request line and the header fields.

use tegata_mesh::path;

use super::{Fault, LONGEST_NAME};

/// A header field of a line.
pub(super) struct Field<'l> {
    pub(super) name: &'l [u8],
    /// Without the white space around it.
    pub(super) value: &'l [u8],
}

/// A request line: a method, a target and a version, one space between them. Answers whether the
/// version is HTTP/1.0.
pub(super) fn request(line: &[u8]) -> Result<bool, Fault> {
    let space = line.iter().position(|byte| *byte == b' ').ok_or(Fault::RequestLine)?;
    let (method, rest) = line.split_at(space);
    let rest = rest.get(1..).unwrap_or_default();
    if !(1..=32).contains(&method.len()) || !are_token(method) {
        return Err(Fault::RequestLine);
    }
    let space = rest.iter().rposition(|byte| *byte == b' ').ok_or(Fault::RequestLine)?;
    let (target, version) = rest.split_at(space);
    if target.len() > path::LONGEST {
        return Err(Fault::TargetTooLong);
    }
    if target.is_empty() || target.contains(&b' ') {
        return Err(Fault::RequestLine);
    }
    check_target(target)?;
    // Whatever else is no target would be refused by the parser behind this, without a word.
    if target.first() != Some(&b'/') && http::Uri::try_from(target).is_err() {
        return Err(Fault::RequestLine);
    }
    match version {
        b" HTTP/1.1" => Ok(false),
        b" HTTP/1.0" => Ok(true),
        [b' ', b'H', b'T', b'T', b'P', b'/', ..] => Err(Fault::Version),
        _ => Err(Fault::RequestLine),
    }
}

/// The beginning of a request line, whose end has not come yet: the parser behind the watch sees it
/// too, and would refuse it without a word.
pub(super) fn begins_request(line: &[u8]) -> Result<(), Fault> {
    // What ends the line may have come, but for its last byte.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    if method.len() > 32 || !are_token(method) {
        return Err(Fault::RequestLine);
    }
    let Some(target) = words.next() else { return Ok(()) };
    if method.is_empty() || (target.is_empty() && words.next().is_some()) {
        return Err(Fault::RequestLine);
    }
    check_target(target)
}

/// Refuses the bytes that a parser of URIs would drop silently (`#`) or stop at.
fn check_target(target: &[u8]) -> Result<(), Fault> {
    let illegal = |byte: &u8| !matches!(byte, 0x21..=0x7e) || b"#<>`".contains(byte);
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    let query = parts.nth(1).unwrap_or_default();
    if target.iter().any(illegal) || query.contains(&b'"') {
        return Err(Fault::TargetByte);
    }
    Ok(())
}

/// The beginning of a header field, whose end has not come yet.
pub(super) fn begins_field(line: &[u8]) -> Result<(), Fault> {
    if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        return Err(Fault::Folded);
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut parts = line.splitn(2, |byte| *byte == b':');
    let (name, value) = (parts.next().unwrap_or_default(), parts.next());
    if (name.is_empty() && value.is_some()) || !are_token(name) {
        return Err(Fault::FieldName);
    }
    if has_control(value.unwrap_or_default()) {
        return Err(Fault::FieldValue);
    }
    Ok(())
}

/// A header field. Folding (RFC 9112 §5.2) and white space before the colon (§5.1) are refused.
pub(super) fn field(line: &[u8]) -> Result<Field<'_>, Fault> {
    if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        return Err(Fault::Folded);
    }
    let colon = memchr::memchr(b':', line).ok_or(Fault::FieldName)?;
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !are_token(name) {
        return Err(Fault::FieldName);
    }
    if name.len() > LONGEST_NAME {
        return Err(Fault::FieldsTooLarge);
    }
    let value = value.get(1..).unwrap_or_default();
    if has_control(value) {
        return Err(Fault::FieldValue);
    }
    Ok(Field { name, value: trim(value) })
}

/// Whether there is a control character other than a tab. All bytes are looked at, whatever is found: without a
/// choice at each, many are looked at together.
fn has_control(bytes: &[u8]) -> bool {
    let is_control = |byte: u8| ((byte < 32) & (byte != b'\t')) | (byte == 127);
    bytes.iter().fold(false, |found, byte| found | is_control(*byte))
}

/// Whether all bytes may stand in a token.
fn are_token(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_token(*byte))
}

/// A length: digits alone, no sign, no list.
pub(super) fn length(value: &[u8]) -> Option<u64> {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |number, byte| number * 10 + u64::from(byte - b'0')))
}

/// Without spaces and tabs at the ends.
fn trim(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let first = value.iter().position(is_text).unwrap_or(value.len());
    let last = value.iter().rposition(is_text).map_or(first, |last| last + 1);
    value.get(first..last).unwrap_or_default()
}

/// `tchar` (RFC 9110 §5.6.2).
const fn is_token(byte: u8) -> bool {
    byte < 128 && TOKEN >> byte & 1 == 1
}

/// All of `tchar`, a bit each.
const TOKEN: u128 = {
    let (mut bits, mut byte) = (0, 0);
    while byte < 128 {
        if is_tchar(byte) {
            bits |= 1 << byte;
        }
        byte += 1;
    }
    bits
};

const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
