//! Which answers are compressed on their way to the client, and what their heads say of it (RFC 9110 §8.4).
//!
//! How long a compressed answer is tells of what is in it. Where a page shows both a secret and what somebody
//! else can have its reader ask for, that somebody learns the secret byte by byte, and TLS hides nothing of it
//! (BREACH). The gateway cannot see what an answer shows, so it compresses answers to requests that nobody is
//! known by; those to others only where their route says that they hold no such secret.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, response};
use http_body::Frame;

use crate::{
    body::Cut,
    head::{Fields, Head, Once},
    memory::{Charge, Memory},
};

mod coder;
mod wishes;

use coder::Coder;
use wishes::Coding;

/// Answers that are shorter gain nothing, in bytes.
const LEAST: u64 = 1024;

/// So many answers are compressed at a time by a thread, as long as there is [memory](Memory) for what does so.
/// Others go as they are.
const MOST_AT_ONCE: usize = 64;

/// How much is compressed before others have a turn, in bytes: at once, and in all.
const PIECE: usize = 16 * 1024;
const TURN: usize = 4 * PIECE;

/// Places for answers that are compressed, of a thread.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    taken: Rc<Cell<usize>>,
    memory: Arc<Memory>,
}

/// What a client would like, where its answer may be compressed at all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    coding: Option<Coding>,
    /// Whether it has an answer already whose validator was weakened.
    has_weak: bool,
}

/// An answer on its way that is compressed.
pub(crate) struct Encoding {
    coder: Coder,
    /// What of a part has not been compressed yet.
    rest: Bytes,
    /// Whether something was taken in and may not have come out yet.
    holds: bool,
    /// Whether whoever sends may wait before it goes on: what it has said is not held back then.
    flushes: bool,
    /// It has come to its end, with what follows it.
    ended: Option<Option<HeaderMap>>,
    _place: Place,
}

/// A place that is taken, until it is dropped.
struct Place {
    room: Room,
    _holds: Charge,
}

impl Wish {
    /// What the client would like; `None`: the answer stays as it is. `is_known`: whether somebody is known to
    /// ask; `said`: what the route says of it.
    pub(crate) fn of(
        head: &Head<'_>,
        fields: &Fields<'_>,
        is_known: bool,
        said: Option<bool>,
    ) -> Option<Self> {
        let shows = is_known
            || fields.has_cookie
            || head.certificate.is_some()
            || head.headers.contains_key("client-cert")
            || !matches!(
                (fields.authorization, fields.dpop, fields.api_key),
                (Once::Absent, Once::Absent, Once::Absent)
            );
        if *head.method == Method::HEAD || !said.unwrap_or(!shows) {
            return None;
        }
        let has_weak = head.headers.get_all(header::IF_NONE_MATCH).iter();
        let has_weak = { has_weak }.any(|line| line.as_bytes().windows(2).any(|two| two == b"W/"));
        Some(Self { coding: Coding::wanted(head.headers), has_weak })
    }

    /// Compresses the answer with this head, if it gains by it, and says so there. `length` is that of its body,
    /// where it is known.
    pub(crate) fn begin(
        self,
        head: &mut response::Parts,
        length: Option<u64>,
        room: &Room,
    ) -> Option<Encoding> {
        let headers = &mut head.headers;
        if head.status == StatusCode::NOT_MODIFIED {
            // It is about the answer that the client has: then it names it as that was named.
            if self.coding.is_some() && self.has_weak {
                weaken(headers);
            }
            return None;
        }
        if length.is_some_and(|length| length < LEAST)
            || !may_change(head.status)
            || !gains(headers)
            || is_bound(headers)
        {
            return None;
        }
        vary(headers);
        let place = self.coding.and_then(|coding| Some((coding, room.take(coding)?)));
        let (coding, place) = place?;
        let coder = Coder::new(coding)?;
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        headers.remove(header::CONTENT_LENGTH);
        // What a part of it is, only the service knows.
        headers.remove(header::ACCEPT_RANGES);
        weaken(headers);
        Some(Encoding {
            coder,
            rest: Bytes::new(),
            holds: false,
            flushes: length.is_none(),
            ended: None,
            _place: place,
        })
    }
}

/// Whether what is sent with a status is a whole answer.
fn may_change(status: StatusCode) -> bool {
    let partial = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::PARTIAL_CONTENT];
    !status.is_informational() && !partial.contains(&status)
}

/// Whether it is of a type that becomes shorter.
fn gains(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return false };
    let value = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let Ok(value) = std::str::from_utf8(value.trim_ascii()) else { return false };
    let value = value.to_ascii_lowercase();
    let Some((kind, form)) = value.split_once('/') else { return false };
    match kind {
        "text" => true,
        // Its messages have their own compression.
        "application" if form.starts_with("grpc") => false,
        "application" => {
            matches!(
                form,
                "graphql-response"
                    | "javascript"
                    | "json"
                    | "json-seq"
                    | "ld"
                    | "manifest"
                    | "ndjson"
                    | "rtf"
                    | "sql"
                    | "vnd.ms-fontobject"
                    | "wasm"
                    | "x-javascript"
                    | "x-ndjson"
                    | "xml"
                    | "yaml"
            ) || ends_in_text(form)
        }
        "image" => matches!(form, "bmp" | "svg+xml" | "vnd.microsoft.icon" | "x-icon"),
        "font" => matches!(form, "otf" | "ttf" | "collection"),
        "model" | "message" | "multipart" | "audio" | "video" => false,
        _ => ends_in_text(form),
    }
}

/// RFC 6839 and what came after it.
fn ends_in_text(form: &str) -> bool {
    ["+json", "+json-seq", "+xml", "+yaml"].iter().any(|end| form.ends_with(end))
}

/// Whether the answer says that it must arrive as it is, or says something of its bytes that would not be so any
/// more.
fn is_bound(headers: &HeaderMap) -> bool {
    static OF_BYTES: [&str; 6] =
        ["content-digest", "digest", "repr-digest", "content-md5", "signature", "signature-input"];
    let has_no_transform = || {
        let lines = headers.get_all(header::CACHE_CONTROL).iter();
        { lines }.any(|line| {
            let mut words = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            words.any(|word| word.eq_ignore_ascii_case(b"no-transform"))
        })
    };
    headers.contains_key(header::CONTENT_ENCODING)
        || headers.contains_key(header::CONTENT_RANGE)
        || headers.contains_key(header::SET_COOKIE)
        || OF_BYTES.iter().any(|name| headers.contains_key(*name))
        || has_no_transform()
}

/// Another wish would have had another answer (RFC 9110 §12.5.5).
fn vary(headers: &mut HeaderMap) {
    let is_named = headers.get_all(header::VARY).iter().any(|line| {
        let mut names = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
    });
    if !is_named {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// The same meaning in other bytes is all that is left of a strong validator (RFC 9110 §8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG) else { return };
    if tag.as_bytes().starts_with(b"W/") {
        return;
    }
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) => drop(headers.insert(header::ETAG, weak)),
        Err(_) => drop(headers.remove(header::ETAG)),
    }
}

impl Room {
    pub(crate) fn new(memory: &Arc<Memory>) -> Self {
        Self { taken: Rc::default(), memory: Arc::clone(memory) }
    }

    /// A place for what compresses so. `None`: there is none, or no memory. A longer answer is better than one
    /// for which others are refused.
    fn take(&self, coding: Coding) -> Option<Place> {
        let taken = self.taken.get();
        (taken < MOST_AT_ONCE && !self.memory.is_half_full()).then(|| {
            self.taken.set(taken + 1);
            Place { room: self.clone(), _holds: self.memory.charge(coder::holds(coding)) }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let taken = &self.room.taken;
        taken.set(taken.get().saturating_sub(1));
    }
}

impl Encoding {
    /// The next part, made of what `next` has. Nothing is asked for before what came has been handed on.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let mut taken = 0;
        loop {
            if let Some(trailers) = &mut self.ended {
                return Poll::Ready(trailers.take().map(Frame::trailers).map(Ok));
            }
            if !self.rest.is_empty() {
                if taken >= TURN {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let piece = self.rest.split_to(self.rest.len().min(PIECE));
                taken += piece.len();
                self.holds = true;
                match self.coder.write(&piece) {
                    Ok(made) if made.is_empty() => continue,
                    made => return Poll::Ready(Some(part(made))),
                }
            }
            let frame = match next(cx) {
                Poll::Pending if self.holds && self.flushes => {
                    self.holds = false;
                    return match self.coder.flush() {
                        Ok(made) if made.is_empty() => Poll::Pending,
                        made => Poll::Ready(Some(part(made))),
                    };
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(cut))) => return Poll::Ready(Some(Err(cut))),
                Poll::Ready(Some(Ok(frame))) => Some(frame),
                Poll::Ready(None) => None,
            };
            match frame.map(Frame::into_data) {
                Some(Ok(data)) => self.rest = data,
                end => {
                    let trailers = end.and_then(Result::err);
                    self.ended = Some(trailers.and_then(|frame| frame.into_trailers().ok()));
                    return Poll::Ready(Some(part(self.coder.finish())));
                }
            }
        }
    }

    /// Whether there is nothing left to come.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.ended, Some(None))
    }
}

fn part(made: std::io::Result<Bytes>) -> Result<Frame<Bytes>, Cut> {
    made.map(Frame::data).map_err(|_| Cut::ServiceBroke)
}

#[cfg(test)]
mod tests;
