//! A client of HTTP/2 that sends what it likes. It compresses nothing and lets nothing be compressed,
//! so that each frame stands for itself.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The first bytes of a client (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub mod kind {
    #![allow(missing_docs, reason = "the names are those of the standard")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    #![allow(missing_docs, reason = "the names are those of the standard")]
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a `RST_STREAM` or a `GOAWAY`.
    #[must_use]
    pub fn error(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        number(self.payload.get(at..at + 4)?)
    }

    /// The status of an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        if self.kind != kind::HEADERS {
            return None;
        }
        // Changes of the size of the table come first.
        let mut rest = self.payload.as_slice();
        while let Some((0x20..=0x3f, after)) = rest.split_first() {
            rest = after;
        }
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        let (first, rest) = rest.split_first()?;
        match first {
            0x88..=0x8e => INDEXED.get(usize::from(first - 0x88)).copied(),
            // A literal with the name `:status`, indexed or not.
            0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e => digits(rest),
            _ => None,
        }
    }
}

/// A status as a literal: three digits, compressed or not.
fn digits(literal: &[u8]) -> Option<u16> {
    let (length, rest) = literal.split_first()?;
    let bytes = rest.get(..usize::from(length & 0x7f))?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(bytes).ok()?.parse().ok();
    }
    // RFC 7541, appendix B: 0, 1 and 2 have five bits, the other digits six.
    let all = bytes.iter().fold(0_u64, |all, byte| (all << 8) | u64::from(*byte));
    let mut left = bytes.len() * 8;
    let mut status = 0;
    for _ in 0..3 {
        let five = (all >> left.checked_sub(5)?) & 31;
        let digit = if five < 3 {
            left -= 5;
            five
        } else {
            left = left.checked_sub(6)?;
            ((all >> left) & 63).checked_sub(22)?
        };
        status = status * 10 + u16::try_from(digit).ok()?;
    }
    Some(status)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// A frame as it is sent.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = length.get(1..).unwrap_or_default().to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block: every field a literal that is not indexed (RFC 7541 §6.2.2).
#[must_use]
pub fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value] {
            length(&mut block, text.len());
            block.extend(text);
        }
    }
    block
}

/// A length with a prefix of seven bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).unwrap_or_default());
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap_or_default());
}

/// The fields of a request.
#[must_use]
pub fn fields<'f>(method: &'f str, path: &'f str) -> Vec<(&'f str, &'f [u8])> {
    vec![
        (":method", method.as_bytes()),
        (":scheme", b"http"),
        (":authority", b"gateway.example"),
        (":path", path.as_bytes()),
    ]
}

/// The head of a request, in one frame.
#[must_use]
pub fn request(method: &str, path: &str, stream: u32, ends: bool) -> Vec<u8> {
    let flags = flag::END_HEADERS | if ends { flag::END_STREAM } else { 0 };
    frame(kind::HEADERS, flags, stream, &block(&fields(method, path)))
}

/// A connection.
#[derive(Debug)]
pub struct Http2<S = TcpStream> {
    /// Its bytes.
    pub stream: S,
    read: Vec<u8>,
}

impl Http2 {
    /// Connects, and sends the preface with settings that let nothing be compressed.
    ///
    /// # Errors
    /// It cannot be connected.
    pub fn to(address: SocketAddr) -> io::Result<Self> {
        Self::of(TcpStream::connect(address)?)?.begun()
    }

    /// A connection on which nothing has been sent.
    ///
    /// # Errors
    /// The socket takes no options.
    pub fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self::over(stream))
    }
}

impl<S: io::Read + io::Write> Http2<S> {
    /// The same over any bytes.
    pub const fn over(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Sends the preface, with settings that let nothing be compressed.
    ///
    /// # Errors
    /// The other end has hung up.
    pub fn begun(mut self) -> io::Result<Self> {
        self.send(PREFACE)?;
        self.send(&frame(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]))?;
        Ok(self)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The other end has hung up, or takes nothing.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame; `None`: the other end has hung up.
    ///
    /// # Errors
    /// Nothing came in time. What came in part is kept.
    pub fn hear(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(Some(frame));
            }
            let mut bytes = [0; 16384];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(read) => self.read.extend(bytes.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// A frame that has come in full.
    fn take(&mut self) -> Option<Frame> {
        let (head, rest) = self.read.split_first_chunk::<9>()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).ok()?;
        let payload = rest.get(..length)?.to_vec();
        let stream = u32::from_be_bytes(*stream) & 0x7fff_ffff;
        let frame = Frame { kind: *kind, flags: *flags, stream, payload };
        self.read.drain(..9 + length);
        Some(frame)
    }

    /// The frames until one that is looked for, it included; or until the other end hangs up.
    ///
    /// # Errors
    /// It did not come in time.
    pub fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> io::Result<Option<Frame>> {
        while let Some(frame) = self.hear()? {
            if wanted(&frame) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        let head = |payload: &[u8]| Frame {
            kind: kind::HEADERS,
            flags: 4,
            stream: 1,
            payload: payload.to_vec(),
        };
        for (payload, status) in [
            (&b"\x88"[..], 200),
            (b"\x20\x8c\x00", 400),
            (b"\x48\x03404", 404),
            // 302 and 408, compressed (RFC 7541, appendix C.6.1).
            (b"\x48\x82\x64\x02", 302),
            (b"\x08\x83\x68\x0f\x7f", 408),
        ] {
            assert_eq!(head(payload).status(), Some(status), "{payload:?}");
        }
        assert_eq!(head(b"").status(), None);
    }

    #[test]
    fn lengths_have_the_form_of_hpack() {
        let mut bytes = Vec::new();
        length(&mut bytes, 1337);
        assert_eq!(bytes, [127, 0xba, 9]);
    }
}
