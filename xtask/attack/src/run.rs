//! Says a case to a gateway, and judges what comes of it.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    case::{Case, Expect, Places, Say, bytes, frames},
    frames::{Http2, block, flag, frame, kind},
    wire::Way,
};

/// How long a gateway may take to say something.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// Answers with these statuses, at least one, and what else was said, in one text.
    Answers(Vec<u16>, String),
    /// The stream was reset, or the connection ended, with this code.
    Reset(u32),
    /// The connection ended without a word.
    Closed,
    /// Nothing came, and the connection stays open.
    Silence,
}

/// What is wrong with what came of a case; nothing, if nothing is.
///
/// # Errors
/// The case cannot be read, or the gateway not be reached.
pub fn run(case: &Case, address: SocketAddr, places: &Places) -> Result<Vec<String>> {
    run_over(case, Way::clear(address), places)
}

/// The same, in the clear or with TLS.
///
/// # Errors
/// As [`run`].
pub fn run_over(case: &Case, way: Way, places: &Places) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut judge = |version: &str, came: &Came| {
        wrong.extend(judge(case, came).map(|what| format!("{version}: {what}")));
    };
    match &case.say {
        Say::Bytes(text) => judge("HTTP/1.1", &over_http1(way, &bytes(text, places)?)?),
        Say::Frames(text) => judge("HTTP/2", &over_http2(way, &frames(text, places)?)?),
        Say::Request { method, target, fields, body } => {
            let target = bytes(target, places)?;
            let body = body.as_deref().map(|body| bytes(body, places)).transpose()?;
            let fields = fields
                .iter()
                .map(|(name, value)| Ok((name.as_str(), bytes(value, places)?)))
                .collect::<Result<Vec<_>>>()?;
            let mut text = [method.as_bytes(), b" ", &target, b" HTTP/1.1\r\n"].concat();
            let own =
                [("host", places.host.clone().into_bytes()), ("connection", b"close".to_vec())];
            let length = body.as_ref().map(|it| ("content-length", it.len().to_string().into()));
            for (name, value) in own.iter().chain(&fields).chain(&length) {
                text.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
            }
            text.extend(b"\r\n");
            text.extend(body.iter().flatten());
            judge("HTTP/1.1", &over_http1(way, &text)?);
            let mut head: Vec<(&str, &[u8])> = vec![
                (":method", method.as_bytes()),
                (":scheme", way.scheme().as_bytes()),
                (":authority", places.host.as_bytes()),
                (":path", &target),
            ];
            let lower: Vec<_> =
                fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
            head.extend(lower.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
            let ends = if body.is_some() { 0 } else { flag::END_STREAM };
            let mut frames = frame(kind::HEADERS, flag::END_HEADERS | ends, 1, &block(&head));
            if let Some(body) = &body {
                frames.extend(frame(kind::DATA, flag::END_STREAM, 1, body));
            }
            judge("HTTP/2", &over_http2(way, &frames)?);
        }
    }
    Ok(wrong)
}

/// Sends bytes, and reads until the gateway hangs up, or has answered and says nothing more.
fn over_http1(way: Way, bytes: &[u8]) -> Result<Came> {
    let stream = way.connect("http/1.1", PATIENCE);
    let mut stream = stream.context("the gateway cannot be reached")?;
    // A client that was refused may learn so while it writes.
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    let mut said = Vec::new();
    let mut part = [0; 16384];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => said.extend(part.get(..read).unwrap_or_default()),
            Err(error) if is_timeout(&error) => {
                if said.is_empty() {
                    return Ok(Came::Silence);
                }
                break;
            }
            Err(_) => break,
        }
        // What follows an answer on a connection that stays open comes at once.
        stream.set_patience(Duration::from_millis(500))?;
    }
    let text = String::from_utf8_lossy(&said).into_owned();
    let statuses = text.split("HTTP/1.1 ").skip(1).filter_map(|it| it.get(..3)?.parse().ok());
    // What comes before the answer is not one.
    let statuses: Vec<u16> = statuses.filter(|status| *status >= 200).collect();
    Ok(if statuses.is_empty() { Came::Closed } else { Came::Answers(statuses, text) })
}

/// Sends frames after the preface, and reads until the first of their streams is over.
fn over_http2(way: Way, bytes: &[u8]) -> Result<Came> {
    let stream = way.connect("h2", PATIENCE).context("the gateway cannot be reached")?;
    let mut client = Http2::over(stream).begun().context("the gateway cannot be reached")?;
    let _ = client.send(bytes);
    let (mut status, mut text) = (None, String::new());
    loop {
        let frame = match client.hear() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Came::Closed),
            Err(error) if is_timeout(&error) => return Ok(Came::Silence),
            Err(_) => return Ok(Came::Closed),
        };
        match frame.kind {
            kind::GOAWAY | kind::RST_STREAM if frame.error() != Some(0) => {
                return Ok(Came::Reset(frame.error().unwrap_or_default()));
            }
            kind::HEADERS => status = status.or(frame.status()),
            kind::DATA => text += &String::from_utf8_lossy(&frame.payload),
            _ => {}
        }
        if matches!(frame.kind, kind::HEADERS | kind::DATA)
            && frame.flags & flag::END_STREAM != 0
            && let Some(status) = status
        {
            return Ok(Came::Answers(vec![status], text));
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn judge(case: &Case, came: &Came) -> Option<String> {
    let statuses = match came {
        Came::Answers(statuses, _) => statuses.as_slice(),
        _ => &[],
    };
    let held = match (&case.expect, came, statuses) {
        // One request, one answer: who smuggles wants two.
        (Expect::Status(expected), _, [status]) => status == expected,
        (Expect::Served, _, [status]) => (200..300).contains(status),
        (Expect::Statuses(expected), ..) => statuses == expected,
        (Expect::Refused, Came::Answers(..), _) => statuses.iter().all(|status| *status >= 400),
        (Expect::Status(400..=499) | Expect::Refused, Came::Reset(_), _) => true,
        (Expect::Refused, Came::Closed, _) => true,
        _ => false,
    };
    if !held {
        return Some(match came {
            Came::Answers(statuses, _) => format!("answered {statuses:?}, not {:?}", case.expect),
            other => format!("{other:?}, not {:?}", case.expect),
        });
    }
    let Came::Answers(_, text) = came else { return None };
    if let Some(absent) = case.absent.as_ref().filter(|absent| text.contains(absent.as_str())) {
        return Some(format!("`{absent}` came through"));
    }
    let lower = text.to_ascii_lowercase();
    let misses = |present: &&String| !lower.contains(&present.to_ascii_lowercase());
    if let Some(present) = case.present.as_ref().filter(misses) {
        return Some(format!("`{present}` is missing"));
    }
    let problem = case.problem.as_ref()?;
    (!text.contains(&format!("urn:tegata:problem:{problem}\"")))
        .then(|| format!("not refused as `{problem}`: {}", named(text)))
}

/// How the problem was called.
fn named(text: &str) -> &str {
    let name = text.split("urn:tegata:problem:").nth(1).and_then(|rest| rest.split('"').next());
    name.unwrap_or("it has no name")
}
