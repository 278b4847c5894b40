//! Watches the bytes of an HTTP/1 connection before they are parsed, and refuses what two parsers
//! could frame differently (RFC 9112 §11.2).
//!
//! The parser behind it repairs some of that: of `Transfer-Encoding` and `Content-Length` it drops
//! one, of two equal lengths it keeps one. A repaired request can no longer be told from a sound
//! one, so the watch stands in front. It follows the framing alone and hands nothing on but what it
//! let pass; what it refuses, it can name, which a parser that stops cannot.
//!
//! It is a state machine over lines: the same bytes in other pieces give the same answer.

use std::fmt;

use tegata_mesh::path;

mod body;
pub mod frames;
mod line;
mod target;

use body::Body;
use line::Field;

/// The largest header block, in bytes.
pub const LARGEST_BLOCK: usize = 32 * 1024;
/// The most header fields.
pub const MOST_FIELDS: usize = 100;
/// The largest value of a header field, in bytes.
pub const LARGEST_VALUE: usize = 8192;
/// The longest name of a header field, in bytes.
pub const LONGEST_NAME: usize = 256;

/// Why bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The request line is not one.
    #[error("the request line is malformed")]
    RequestLine,
    /// The target is longer than 8192 bytes.
    #[error("the target is longer than 8192 bytes")]
    TargetTooLong,
    /// The target holds a byte that must be percent-encoded.
    #[error("the target holds a byte that must be percent-encoded")]
    TargetByte,
    /// Not HTTP/1.0 or HTTP/1.1.
    #[error("the version of HTTP is not 1.0 or 1.1")]
    Version,
    /// A line ends in another way than with CR LF.
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// A field goes on in the next line.
    #[error("a header field is folded over several lines")]
    Folded,
    /// A field's name is not a token.
    #[error("the name of a header field is malformed")]
    FieldName,
    /// A field's value holds a control character.
    #[error("the value of a header field holds a control character")]
    FieldValue,
    /// The header block is larger than 32 KiB, or a name or a value is too large.
    #[error("a header field, or all of them, are too large")]
    FieldsTooLarge,
    /// There are more than 100 fields.
    #[error("there are more than 100 header fields")]
    TooManyFields,
    /// A length that is not a number, or more than one.
    #[error("`Content-Length` is not one number")]
    Length,
    /// A transfer coding other than `chunked`, or more than one, or one with HTTP/1.0.
    #[error("`Transfer-Encoding` is not `chunked`, once, with HTTP/1.1")]
    Coding,
    /// Something came before the answer to a request for another protocol.
    #[error("what follows a request for another protocol must wait for the answer")]
    Early,
    /// Both framings at once.
    #[error("`Content-Length` and `Transfer-Encoding` stand side by side")]
    BothFramings,
    /// It is not what was watched.
    #[error("the request was not framed as it was read")]
    Unwatched,
    /// The body's chunks are malformed.
    #[error("the body's chunks are malformed")]
    Chunk,
}

impl Fault {
    /// The status that answers it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::FieldsTooLarge | Self::TooManyFields => 431,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// A stable name for clients, logs and metrics.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::RequestLine => "request_line_malformed",
            Self::TargetTooLong => "target_too_long",
            Self::TargetByte => "target_illegal_byte",
            Self::Version => "http_version",
            Self::LineEnd => "line_end",
            Self::Folded => "field_folded",
            Self::FieldName => "field_name",
            Self::FieldValue => "field_value",
            Self::FieldsTooLarge => "fields_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::Length => "content_length",
            Self::Coding => "transfer_encoding",
            Self::Early => "sent_early",
            Self::BothFramings | Self::Unwatched => "ambiguous_framing",
            Self::Chunk => "chunk_malformed",
        }
    }
}

/// What was let pass of the bytes that were shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// So many bytes belong to requests that are sound as far as they have come.
    pub sound: usize,
    /// What is wrong with the next.
    pub fault: Fault,
}

/// Looks at a request line that came in another way as if it came with HTTP/1.
pub(crate) fn check_line(line: &[u8]) -> Result<(), Fault> {
    // A long one comes in parts, and what is wrong with the first is said before how long it is.
    line::begins_request(line.get(..path::LONGEST).unwrap_or(line))?;
    line::request(line).map(|_| ())
}

/// The watch over one connection.
pub struct Guard {
    state: State,
    /// A line that is not complete yet.
    partial: Vec<u8>,
    /// How many requests' heads have passed.
    heads: u64,
    /// Whether the request that is being read has the method `HEAD`.
    is_head: bool,
}

enum State {
    /// Before a request; so many empty lines were skipped (RFC 9112 §2.2).
    Before(u8),
    /// Among the header fields.
    Fields(Head),
    Body(Body),
    /// A request has asked for a WebSocket: what follows has a meaning only once it is answered.
    Asked,
    /// The connection speaks HTTP/2, whose frames carry their lengths.
    Off,
}

/// What the head says of the framing.
#[derive(Default)]
struct Head {
    http_10: bool,
    bytes: usize,
    fields: usize,
    length: Option<u64>,
    chunked: bool,
    /// Whether it asks for a WebSocket.
    asks: bool,
}

impl Guard {
    /// A watch over a connection of which nothing has been read.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Before(0), partial: Vec::new(), heads: 0, is_head: false }
    }

    /// How many requests' heads have passed.
    #[must_use]
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the request that was begun last has the method `HEAD`, so that no answer to it has a body.
    pub(crate) const fn is_head(&self) -> bool {
        self.is_head
    }

    /// Whether the connection speaks HTTP/2.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        matches!(self.state, State::Off)
    }

    /// The request for another protocol has been answered, and the connection stays what it was.
    pub(crate) fn resume(&mut self) {
        if matches!(self.state, State::Asked) {
            self.state = State::Before(0);
        }
    }

    /// Takes the next bytes. After a refusal it takes no more. Answers how many of them it has looked at: all,
    /// unless it is off.
    ///
    /// # Errors
    /// What is wrong, and how many of the bytes come before the request that it is wrong with.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let mut rest = bytes;
        // Where the request begins that is being read, as far as it begins in these bytes.
        let mut sound = 0;
        while !rest.is_empty() {
            let refuse = |fault| Refused { sound, fault };
            match &mut self.state {
                State::Off => return Ok(bytes.len() - rest.len()),
                State::Asked => return Err(refuse(Fault::Early)),
                State::Body(body) if body.is_data() => {
                    rest = body.skip(rest);
                    if body.is_over() {
                        self.state = State::Before(0);
                        sound = bytes.len() - rest.len();
                    }
                }
                State::Before(_) | State::Fields(_) | State::Body(_) => {
                    let in_body = matches!(self.state, State::Body(_));
                    let refuse = |fault| refuse(if in_body { Fault::Chunk } else { fault });
                    let (line, after) = match self.line(rest).map_err(refuse)? {
                        Some((len, after)) => (len, after),
                        None => return Ok(bytes.len()),
                    };
                    // The line is in `partial`, or begins `rest`.
                    let whole = std::mem::take(&mut self.partial);
                    let text = if whole.is_empty() { rest.get(..line) } else { whole.get(..) };
                    let ended = self.take_line(text.unwrap_or_default()).map_err(refuse)?;
                    rest = after;
                    if ended {
                        sound = bytes.len() - rest.len();
                    }
                    self.partial = whole;
                    self.partial.clear();
                }
            }
        }
        Ok(bytes.len())
    }

    /// Finds the end of the next line. `None`: it is not there yet, and what is was set aside.
    /// Otherwise the length of the line without its end, and what follows it; where a part of the
    /// line had been set aside, all of it now is.
    fn line<'b>(&mut self, rest: &'b [u8]) -> Result<Option<(usize, &'b [u8])>, Fault> {
        if matches!(self.state, State::Before(_)) {
            // Known before anything of the line is refused.
            self.is_head = self.partial.iter().chain(rest).take(5).eq(b"HEAD ");
        }
        let Some(end) = memchr::memchr(b'\n', rest) else {
            self.set_aside(rest)?;
            return Ok(None);
        };
        let (line, after) = (rest.get(..end).unwrap_or_default(), rest.get(end + 1..));
        let after = after.unwrap_or_default();
        if self.partial.is_empty() {
            let line = line.strip_suffix(b"\r").ok_or(Fault::LineEnd)?;
            return Ok(Some((line.len(), after)));
        }
        self.set_aside(line)?;
        if self.partial.pop() != Some(b'\r') {
            return Err(Fault::LineEnd);
        }
        Ok(Some((self.partial.len(), after)))
    }

    /// Keeps the beginning of a line, as long as it can still become a line that passes.
    fn set_aside(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let (longest, fault) = match &self.state {
            State::Before(_) => (path::LONGEST + 64, Fault::TargetTooLong),
            State::Fields(head) => (
                (LARGEST_VALUE + LONGEST_NAME + 16).min(LARGEST_BLOCK.saturating_sub(head.bytes)),
                Fault::FieldsTooLarge,
            ),
            State::Body(_) | State::Asked | State::Off => (body::LONGEST_LINE, Fault::Chunk),
        };
        if self.partial.len() + bytes.len() > longest {
            return Err(fault);
        }
        self.partial.extend_from_slice(bytes);
        match &self.state {
            State::Before(_) => line::begins_request(&self.partial),
            State::Fields(_) => line::begins_field(&self.partial),
            State::Body(_) | State::Asked | State::Off => Ok(()),
        }
    }

    /// Takes a complete line. Answers whether a request ended with it.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, Fault> {
        match &mut self.state {
            State::Before(skipped) => {
                if line.is_empty() {
                    *skipped += 1;
                    return if *skipped > 2 { Err(Fault::RequestLine) } else { Ok(true) };
                }
                if line == b"PRI * HTTP/2.0" && self.heads == 0 {
                    self.state = State::Off;
                    return Ok(false);
                }
                let http_10 = line::request(line)?;
                self.state = State::Fields(Head { http_10, ..Head::default() });
                Ok(false)
            }
            State::Fields(head) if line.is_empty() => {
                let body = head.framing()?;
                self.heads += 1;
                let (over, asks) = (body.is_over(), head.asks);
                self.state = match (over, asks) {
                    (true, true) => State::Asked,
                    (true, false) => State::Before(0),
                    (false, _) => State::Body(body),
                };
                Ok(over)
            }
            State::Fields(head) => head.field(line).map(|()| false),
            State::Body(body) => {
                body.line(line)?;
                let over = body.is_over();
                if over {
                    self.state = State::Before(0);
                }
                Ok(over)
            }
            State::Asked | State::Off => Ok(false),
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guard({} heads)", self.heads)
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.bytes += line.len() + 2;
        self.fields += 1;
        if self.fields > MOST_FIELDS {
            return Err(Fault::TooManyFields);
        }
        if self.bytes > LARGEST_BLOCK {
            return Err(Fault::FieldsTooLarge);
        }
        let Field { name, value } = line::field(line)?;
        if value.len() > LARGEST_VALUE {
            return Err(Fault::FieldsTooLarge);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = line::length(value).ok_or(Fault::Length)?;
            if self.length.replace(length).is_some() {
                return Err(Fault::Length);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let known = value.eq_ignore_ascii_case(b"chunked");
            if !known || self.http_10 || self.chunked {
                return Err(Fault::Coding);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.asks |= value.eq_ignore_ascii_case(b"websocket");
        }
        Ok(())
    }

    fn framing(&self) -> Result<Body, Fault> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Fault::BothFramings),
            (_, true) => Ok(Body::chunked()),
            (length, false) => Ok(Body::of(length.unwrap_or(0))),
        }
    }
}

#[cfg(test)]
mod tests;
