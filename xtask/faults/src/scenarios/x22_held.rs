//! Connections that are held while nodes stop and begin: streams of HTTP/2, and WebSockets. Whoever has one is
//! told before it ends, so that nothing that was taken is lost, and goes on elsewhere.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use tegata_attack::{
    frames::{Frame, Http2, block, fields, flag, frame, kind},
    wire::Wire,
};
use tegata_engines::TegataNode;

use crate::{
    http::way,
    report::Seen,
    series::{Outcome, Series},
    stage::{Access, PATIENCE},
    time::{Ending, Stopwatch, until},
};

/// How many requests are under way at once on a connection of HTTP/2.
const STREAMS: usize = 4;

/// Nothing was done about the stream (RFC 9113 §7).
const REFUSED_STREAM: u32 = 7;

/// The example of RFC 6455 §1.3, and what proves that it was understood.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Frames of a WebSocket, whole ones (RFC 6455 §5.2).
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// Who goes away (RFC 6455 §7.4.1).
const GOING_AWAY: u16 = 1001;

/// Which nodes can be asked, each with the port of its gateway, the one first that is next.
pub(super) type Whom<'w> = &'w (dyn Fn() -> Vec<(usize, u16)> + Sync);

/// What is held, and how it goes.
pub(super) struct Held {
    /// Whether gateways speak TLS.
    secure: bool,
    streams: Series,
    messages: Series,
    /// How often somebody was told that a connection ends, and asked another node where nothing was done.
    goaways: AtomicUsize,
    closes: AtomicUsize,
    elsewhere: AtomicUsize,
}

/// What ends a connection that is held.
enum End {
    /// Whoever has it was told.
    Told,
    /// There was no word of it.
    Cut,
}

impl Held {
    pub(super) fn new(watch: Stopwatch, secure: bool) -> Self {
        Self {
            secure,
            streams: Series::new("calls, streams of HTTP/2 that is held", watch),
            messages: Series::new("messages on WebSockets that are held", watch),
            goaways: AtomicUsize::new(0),
            closes: AtomicUsize::new(0),
            elsewhere: AtomicUsize::new(0),
        }
    }

    pub(super) fn all(&self) -> [&Series; 2] {
        [&self.streams, &self.messages]
    }

    pub(super) fn elsewhere(&self) -> usize {
        self.elsewhere.load(Ordering::Relaxed)
    }

    /// Calls over HTTP/2, several at once, on one connection for as long as it lasts.
    pub(super) fn call(&self, whom: Whom<'_>, access: &Access, ending: &Ending, pace: Duration) {
        while !ending.is_over() {
            for (node, port) in whom() {
                let connected = way(port, self.secure).connect("h2", PATIENCE);
                match connected.and_then(|stream| Http2::over(stream).begun()) {
                    Ok(mut connection) => {
                        self.call_on((node, &mut connection), access, ending, pace);
                        break;
                    }
                    Err(_) => self.note_elsewhere(),
                }
            }
        }
    }

    fn call_on(
        &self,
        (node, connection): (usize, &mut Http2<Wire>),
        access: &Access,
        ending: &Ending,
        pace: Duration,
    ) {
        let bearer = format!("Bearer {}", access.token);
        let mut head = fields("GET", "/bounded/x");
        head.push(("authorization", bearer.as_bytes()));
        let head = block(&head);
        let mut next = 1;
        while !ending.pass(pace) {
            let mut open: Vec<(u32, Duration)> = Vec::new();
            let mut bytes = Vec::new();
            for _ in 0..STREAMS {
                let flags = flag::END_HEADERS | flag::END_STREAM;
                bytes.extend(frame(kind::HEADERS, flags, next, &head));
                open.push((next, self.streams.now()));
                next += 2;
            }
            // Whoever hung up meanwhile has said before what it had not taken.
            let _ = connection.send(&bytes);
            let mut is_told = false;
            while !open.is_empty() {
                let Ok(Some(heard)) = connection.hear() else {
                    let lost = open.drain(..);
                    lost.for_each(|(_, at)| self.streams.note(node, at, Outcome::Lost));
                    return;
                };
                is_told |= heard.kind == kind::GOAWAY;
                self.heard(node, connection, &mut open, &heard);
            }
            if is_told {
                self.goaways.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    fn heard(
        &self,
        node: usize,
        connection: &mut Http2<Wire>,
        open: &mut Vec<(u32, Duration)>,
        heard: &Frame,
    ) {
        let is_ack = heard.flags & flag::ACK != 0;
        let ended =
            matches!(heard.kind, kind::HEADERS | kind::DATA) && heard.flags & flag::END_STREAM != 0;
        let mut over = |stream: u32, outcome| {
            if let Some(at) = open.iter().position(|(known, _)| *known == stream) {
                self.streams.note(node, open.swap_remove(at).1, outcome);
            }
        };
        let answer = match heard.kind {
            kind::SETTINGS if !is_ack => Some(frame(kind::SETTINGS, flag::ACK, 0, &[])),
            kind::PING if !is_ack => Some(frame(kind::PING, flag::ACK, 0, &heard.payload)),
            kind::DATA if !heard.payload.is_empty() => {
                let length = u32::try_from(heard.payload.len()).unwrap_or_default();
                Some(frame(kind::WINDOW_UPDATE, 0, 0, &length.to_be_bytes()))
            }
            kind::RST_STREAM if heard.error() == Some(REFUSED_STREAM) => {
                open.retain(|(stream, _)| *stream != heard.stream);
                self.note_elsewhere();
                None
            }
            kind::RST_STREAM => {
                over(heard.stream, Outcome::Lost);
                None
            }
            kind::HEADERS => {
                if let Some(status) = heard.status().filter(|status| *status != 200) {
                    over(heard.stream, Outcome::Bad(status));
                }
                None
            }
            kind::GOAWAY if heard.error() == Some(0) => {
                // What came after the last one that it names was not looked at (RFC 9113 §6.8).
                let last = heard.payload.first_chunk::<4>().map(|it| u32::from_be_bytes(*it));
                let last = last.unwrap_or_default() & 0x7fff_ffff;
                let before = open.len();
                open.retain(|(stream, _)| *stream <= last);
                (open.len()..before).for_each(|_| self.note_elsewhere());
                None
            }
            kind::GOAWAY => {
                open.drain(..).for_each(|(_, at)| self.streams.note(node, at, Outcome::Lost));
                None
            }
            _ => None,
        };
        if ended && let Some(at) = open.iter().position(|(known, _)| *known == heard.stream) {
            self.streams.note(node, open.swap_remove(at).1, Outcome::Good);
        }
        // Whoever hung up is heard to have.
        let _ = answer.map(|bytes| connection.send(&bytes));
    }

    /// Talks over a WebSocket for as long as it lasts, and over another then.
    pub(super) fn talk(&self, whom: Whom<'_>, access: &Access, ending: &Ending, pace: Duration) {
        while !ending.is_over() {
            let at = self.messages.now();
            let mut refused = None;
            for (node, port) in whom() {
                match opened((port, self.secure), &access.token) {
                    Ok((101, mut socket)) => {
                        refused = None;
                        match self.talk_on((node, &mut socket), ending, pace) {
                            Some(End::Told) => drop(self.closes.fetch_add(1, Ordering::Relaxed)),
                            Some(End::Cut) => {
                                self.messages.note(node, self.messages.now(), Outcome::Lost);
                            }
                            None => {}
                        }
                        break;
                    }
                    // It is about to stop: nothing was opened, and another can be asked.
                    Ok((503, _)) => self.note_elsewhere(),
                    Ok((status, _)) => refused = Some((node, Outcome::Bad(status))),
                    Err(_) => self.note_elsewhere(),
                }
            }
            if let Some((node, outcome)) = refused {
                self.messages.note(node, at, outcome);
            }
        }
    }

    /// `None`: it was given up here.
    fn talk_on(
        &self,
        (node, socket): (usize, &mut BufReader<Wire>),
        ending: &Ending,
        pace: Duration,
    ) -> Option<End> {
        for number in 0_u64.. {
            if ending.pass(pace) {
                let _ = socket.get_ref().socket().shutdown(Shutdown::Both);
                return None;
            }
            let (at, text) = (self.messages.now(), number.to_string());
            // Whoever has closed it has said so before.
            let _ = socket.get_mut().write_all(&message(TEXT, text.as_bytes(), true));
            match hear(socket) {
                Ok((TEXT, said)) if said == text.as_bytes() => {
                    self.messages.note(node, at, Outcome::Good);
                }
                // What was said then is said again on the next.
                Ok((CLOSE, code)) if code.starts_with(&GOING_AWAY.to_be_bytes()) => {
                    let _ = socket.get_mut().write_all(&message(CLOSE, &code, true));
                    return Some(End::Told);
                }
                _ => return Some(End::Cut),
            }
        }
        None
    }

    fn note_elsewhere(&self) {
        self.elsewhere.fetch_add(1, Ordering::Relaxed);
    }

    /// Says how it went. `ends`: whether connections had to end.
    pub(super) fn judge(&self, seen: &mut Seen, ends: bool) {
        let (goaways, closes) =
            (self.goaways.load(Ordering::Relaxed), self.closes.load(Ordering::Relaxed));
        for series in self.all() {
            let all = series.all();
            let bad: Vec<_> = all.iter().filter(|it| it.outcome != Outcome::Good).collect();
            seen.fact(series.name, all.len() - bad.len(), all.len());
            seen.must(bad.is_empty() && !all.is_empty(), || {
                let few: Vec<_> = bad.iter().map(|it| (it.node, it.outcome)).take(4).collect();
                format!("{}: {} of {} failed: {few:?}", series.name, bad.len(), all.len())
            });
        }
        seen.must((goaways > 0) == ends && (closes > 0) == ends, || {
            format!("HTTP/2 was told to go {goaways} times, WebSockets {closes} times")
        });
        seen.saw.push_str(&format!(
            ", {goaways} connections of HTTP/2 and {closes} WebSockets told to go on elsewhere"
        ));
    }
}

/// The service behind the WebSockets, which says again what it is told. It ends with the process.
pub(super) fn live() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who goes away has had enough.
            thread::spawn(move || serve(stream));
        }
    });
    Ok(port)
}

/// Declares it, and waits until it can be reached at all of these gateways.
pub(super) fn declare(
    node: &TegataNode,
    live: u16,
    access: &Access,
    (gateways, secure): (&[u16], bool),
) -> Result<()> {
    let declared = format!(
        "[[service]]\nname = \"live\"\nupstreams = [\"http://127.0.0.1:{live}\"]\n\
         [[route]]\npath = \"/live\"\nservice = \"live\"\nwebsocket = true\n"
    );
    fs::write(node.directory().join("live.toml"), declared)?;
    node.command(&["apply", "live.toml"]);
    for gateway in gateways {
        let opens =
            || opened((*gateway, secure), &access.token).is_ok_and(|(status, _)| status == 101);
        ensure!(until(PATIENCE, opens).is_some(), "no WebSocket is opened at {gateway}");
    }
    Ok(())
}

fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut socket = BufReader::new(stream);
    while line(&mut socket)?.is_some_and(|line| !line.is_empty()) {}
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {PROOF}\r\n\r\n"
    );
    socket.get_ref().write_all(head.as_bytes())?;
    loop {
        let (kind, said) = hear(&mut socket)?;
        socket.get_ref().write_all(&message(kind, &said, false))?;
        if kind == CLOSE {
            return Ok(());
        }
    }
}

/// Asks for a WebSocket. Answers the status with the connection.
fn opened((port, secure): (u16, bool), token: &str) -> io::Result<(u16, BufReader<Wire>)> {
    let stream = way(port, secure).connect("http/1.1", PATIENCE)?;
    let head = format!(
        "GET /live/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    let mut socket = BufReader::new(stream);
    socket.get_mut().write_all(head.as_bytes())?;
    let first = line(&mut socket)?.unwrap_or_default();
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
    while line(&mut socket)?.is_some_and(|line| !line.is_empty()) {}
    Ok((status, socket))
}

fn line(socket: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = socket.read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}

/// A short message in one frame, which clients mask.
fn message(kind: u8, said: &[u8], masks: bool) -> Vec<u8> {
    let length = u8::try_from(said.len().min(125)).unwrap_or_default();
    let said = said.get(..usize::from(length)).unwrap_or_default();
    let mut bytes = vec![kind, length | if masks { 0x80 } else { 0 }];
    if masks {
        const MASK: [u8; 4] = [1, 2, 3, 4];
        bytes.extend(MASK);
        bytes.extend(said.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        bytes.extend(said);
    }
    bytes
}

/// The next message, which is a short one.
fn hear(socket: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    socket.read_exact(&mut head)?;
    let [kind, length] = head;
    let mut mask = [0; 4];
    if length & 0x80 != 0 {
        socket.read_exact(&mut mask)?;
    }
    let mut said = vec![0; usize::from(length & 0x7f)];
    socket.read_exact(&mut said)?;
    said.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok((kind, said))
}
