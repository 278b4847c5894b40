//! Bodies on their way, part by part: nothing is collected, and a side that does not take its part
//! holds the other back.

use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tegata_token::{ForeignToken, Verified};

use crate::{
    encode::Encoding,
    gate::Begun,
    memory::Window,
    pace::{Pace, Patience},
    passport::{Caller, Passport},
    phase::identify::is_taken_back,
    timer::{Deadline, Deadlines},
    trailers,
    upstream::Lease,
    wire::{Connection, OneBody, Ticket},
};

/// Why a body did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    /// It is larger than the route allows.
    #[error("the body is larger than the route allows")]
    TooLarge,
    /// The client did not send, for too long.
    #[error("the client did not send its body")]
    ClientSlow,
    /// The client sent something that is not a body, or went away.
    #[error("the client's body broke off")]
    ClientBroke,
    /// The service did not send, for too long.
    #[error("the service did not send its body")]
    ServiceSlow,
    /// The service's body broke off.
    #[error("the service's body broke off")]
    ServiceBroke,
    /// The credential that the body was asked for with has been taken back.
    #[error("the credential was taken back")]
    TakenBack,
}

/// A request's body, on its way to a service.
pub(crate) enum Upload {
    /// There is none.
    Empty,
    /// It comes from the client.
    Stream(Box<Uploading>),
    /// It was made here of what came from the client.
    Whole(Bytes),
}

pub(crate) struct Uploading {
    body: Incoming,
    /// How many bytes may still come.
    left: u64,
    progress: Rc<Progress>,
    deadlines: Rc<Deadlines>,
    pace: Option<Pace>,
    patience: Patience,
    window: Window,
    _counts: Option<OneBody>,
}

/// How far an upload has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) ended: Cell<bool>,
    /// Whether a part was taken since this was last looked at.
    pub(crate) moved: Cell<bool>,
    /// Whether the service has begun to answer, though the body has not ended. It speaks with the client then,
    /// and how much either says is their affair.
    pub(crate) answered: Cell<bool>,
    /// Whether the answer has ended: nobody speaks with the client any more, and nothing counts what it says.
    pub(crate) over: Cell<bool>,
    pub(crate) cut: Cell<Option<Cut>>,
}

impl Upload {
    /// An upload of at most `limit` bytes, and where its progress can be seen.
    pub(crate) fn new(
        body: Incoming,
        limit: u64,
        deadlines: &Rc<Deadlines>,
        patience: Patience,
        connection: &Rc<Connection>,
    ) -> (Self, Rc<Progress>) {
        let progress = Rc::new(Progress::default());
        if body.is_end_stream() {
            progress.ended.set(true);
            return (Self::Empty, progress);
        }
        let uploading = Uploading {
            body,
            left: limit,
            progress: Rc::clone(&progress),
            deadlines: Rc::clone(deadlines),
            pace: None,
            patience,
            window: Window::new(connection.memory()),
            _counts: connection.body(),
        };
        (Self::Stream(Box::new(uploading)), progress)
    }
}

impl Upload {
    /// Whether it has no length that could be told before it is sent.
    pub(crate) fn is_of_unknown_length(&self) -> bool {
        self.size_hint().exact().is_none()
    }
}

impl Uploading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.progress.over.get() {
            return Poll::Ready(Some(Err(Cut::ClientSlow)));
        }
        // The service has not taken what came before: it is waited for, not the client.
        if self.window.poll_room(cx).is_pending() {
            return Poll::Pending;
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let new = || Pace::new(self.patience, &self.deadlines);
            let pace = self.pace.get_or_insert_with(new);
            if self.progress.answered.get() {
                pace.ease();
            }
            if pace.is_spent(cx) {
                return Poll::Ready(Some(Err(Cut::ClientSlow)));
            }
            return Poll::Pending;
        };
        if let Some(pace) = &mut self.pace {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            if pace.moved(data.map_or(0, Bytes::len)) {
                return Poll::Ready(Some(Err(Cut::ClientSlow)));
            }
        }
        Poll::Ready(match frame {
            None => {
                self.progress.ended.set(true);
                None
            }
            Some(Err(_)) => Some(Err(Cut::ClientBroke)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    match self.left.checked_sub(len) {
                        Some(left) => {
                            self.left = left;
                            self.progress.moved.set(true);
                            if self.body.is_end_stream() {
                                self.progress.ended.set(true);
                            }
                            Some(Ok(Frame::data(self.window.pass(data))))
                        }
                        None => Some(Err(Cut::TooLarge)),
                    }
                }
                // Trailers end a body. To a service that speaks HTTP/1 they are not passed on: a field
                // that announces them is for one hop.
                Err(frame) => {
                    self.progress.ended.set(true);
                    match frame.into_trailers().ok().and_then(trailers::clean) {
                        Some(trailers) => Some(Ok(Frame::trailers(trailers))),
                        None => Some(Err(Cut::ClientBroke)),
                    }
                }
            },
        })
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Stream(uploading) => {
                let polled = ready!(uploading.poll(cx));
                if let Some(Err(cut)) = &polled {
                    uploading.progress.cut.set(Some(*cut));
                }
                Poll::Ready(polled)
            }
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(uploading) => uploading.progress.ended.get(),
            Self::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(uploading) => uploading.body.size_hint(),
            Self::Whole(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
        }
    }
}

/// A response's body, on its way to the client.
pub(crate) struct Reply {
    from: From,
    /// What is left of a part, which is handed on in pieces where `taken` looks at each.
    rest: Bytes,
    /// For the client to take the next piece, where that would not be noticed otherwise.
    taken: Option<Pace>,
    /// Says that the response is over when it is dropped.
    _ticket: Ticket,
}

enum From {
    /// The gateway itself.
    Here(Option<Bytes>),
    /// A service.
    Service(Box<Downloading>),
}

struct Downloading {
    body: Incoming,
    /// The connection, to be kept when the body has ended.
    lease: Option<Lease>,
    deadlines: Rc<Deadlines>,
    deadline: Option<Deadline>,
    /// Until when the next part may come, while it is waited for.
    until: u64,
    patience: Duration,
    /// When all of it must be over, whatever comes.
    whole: Option<Deadline>,
    watch: Option<Watch>,
    /// What compresses it.
    encoding: Option<Box<Encoding>>,
    window: Window,
}

/// Looks, while a body comes, whether whoever asked for it may still have it: a stream can go on for days.
pub(crate) struct Watch {
    pub(crate) gate: Begun,
    pub(crate) passport: Rc<Passport>,
    /// When it was looked last, in milliseconds.
    looked: u64,
    asked: Rc<Asked>,
}

/// What stores say of a token of another issuer, where memory alone does not know.
#[derive(Default)]
struct Asked {
    is_under_way: Cell<bool>,
    taken_back: Cell<bool>,
}

/// How often that is looked at, in milliseconds. What is over before is not looked at.
const LOOKED: u64 = 500;

impl Watch {
    pub(crate) fn new(gate: &Begun, passport: &Rc<Passport>, deadlines: &Deadlines) -> Self {
        let (gate, passport) = (Rc::clone(gate), Rc::clone(passport));
        Self { gate, passport, looked: deadlines.now(), asked: Rc::default() }
    }

    fn is_taken_back(&mut self, now: u64) -> bool {
        if now.saturating_sub(self.looked) < LOOKED {
            return false;
        }
        self.looked = now;
        match &self.passport.caller {
            Caller::Foreign(token) => {
                // Whoever takes it back elsewhere may not say so here: its end is then all that is known.
                let ended = token.claims().exp <= self.gate.node.now().secs();
                ended || self.is_foreign_taken_back(token)
            }
            caller => is_taken_back(caller, &self.gate),
        }
    }

    fn is_foreign_taken_back(&self, token: &Arc<Verified<ForeignToken>>) -> bool {
        let Some((foreign, _)) = &self.gate.foreign else { return true };
        let known = token.names().map(|names| foreign.known(names));
        // What may be in a store, and nobody remembers: whoever reads is not waited for, and a store that
        // does not answer ends nothing that it let begin.
        if known == Some(None) && !self.asked.is_under_way.replace(true) {
            let (gate, token) = (Rc::clone(&self.gate), Arc::clone(token));
            let asked = Rc::clone(&self.asked);
            tokio::task::spawn_local(async move {
                if let (Some((foreign, layers)), Some(names)) = (&gate.foreign, token.names()) {
                    let found = foreign.check(names, &gate.node, layers).await;
                    asked.taken_back.set(matches!(found, Ok((Some(_), _))));
                }
                asked.is_under_way.set(false);
            });
        }
        known == Some(Some(true)) || self.asked.taken_back.get()
    }
}

impl Reply {
    /// A body that is here already.
    pub(crate) fn here(
        bytes: Bytes,
        ticket: Ticket,
        deadlines: &Rc<Deadlines>,
        patience: Patience,
    ) -> Self {
        Self::new(From::Here(Some(bytes)), ticket, deadlines, patience)
    }

    /// A body that comes from a service. `lease` is given back when it has ended.
    pub(crate) fn from_service(
        body: Incoming,
        lease: Lease,
        ticket: Ticket,
        deadlines: &Rc<Deadlines>,
        (service, client): (Duration, Patience),
        watch: Option<Watch>,
    ) -> Self {
        let mut downloading = Downloading {
            body,
            lease: Some(lease),
            deadlines: Rc::clone(deadlines),
            deadline: None,
            until: 0,
            patience: service,
            whole: None,
            watch,
            encoding: None,
            window: Window::new(ticket.connection().memory()),
        };
        downloading.note_end();
        Self::new(From::Service(Box::new(downloading)), ticket, deadlines, client)
    }

    /// Leaves out a body that is here, and answers how long it would have been: an answer to `HEAD` says that
    /// alone (RFC 9110 §9.3.2). What a service answers to it has none.
    pub(crate) fn leave_out(&mut self) -> Option<usize> {
        match &mut self.from {
            From::Here(bytes) => bytes.take().map(|bytes| bytes.len()),
            From::Service(_) => None,
        }
    }

    /// Cuts the body off when `whole` expires.
    pub(crate) fn end_by(&mut self, whole: Option<Deadline>) {
        if let From::Service(downloading) = &mut self.from {
            downloading.whole = whole;
        }
    }

    /// Compresses the body on its way.
    pub(crate) fn encode(&mut self, encoding: Option<Encoding>) {
        if let From::Service(downloading) = &mut self.from {
            downloading.encoding = encoding.map(Box::new);
        }
    }

    fn new(from: From, ticket: Ticket, deadlines: &Rc<Deadlines>, patience: Patience) -> Self {
        let deadline = ticket.connection().watch_answer(deadlines);
        let taken = deadline.map(|deadline| {
            let mut taken = Pace::with(patience, deadline);
            taken.hand(0);
            taken
        });
        Self { from, rest: Bytes::new(), taken, _ticket: ticket }
    }
}

/// How much of an answer is handed on at once, where it is watched how it is taken: as much as a frame holds.
const PIECE: usize = 16 * 1024;

impl Downloading {
    fn poll_encoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Some(mut encoding) = self.encoding.take() else { return self.poll(cx) };
        let polled = encoding.poll(cx, |cx| self.poll(cx));
        self.encoding = Some(encoding);
        polled
    }

    fn is_over(&self) -> bool {
        match &self.encoding {
            Some(encoding) => encoding.is_over(),
            None => self.body.is_end_stream(),
        }
    }

    fn note_end(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.whole.as_ref().is_some_and(|whole| whole.is_expired(cx)) {
            return Poll::Ready(Some(Err(Cut::ServiceSlow)));
        }
        let now = self.deadlines.now();
        if self.watch.as_mut().is_some_and(|watch| watch.is_taken_back(now)) {
            return Poll::Ready(Some(Err(Cut::TakenBack)));
        }
        // The client has not taken what came before; that it does is looked at elsewhere.
        if self.window.poll_room(cx).is_pending() {
            return Poll::Pending;
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let patience = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX);
            let deadline = self.deadline.get_or_insert_with(|| self.deadlines.slot());
            if !deadline.is_armed() {
                self.until = now.saturating_add(patience);
            }
            if self.until <= now {
                return Poll::Ready(Some(Err(Cut::ServiceSlow)));
            }
            let left = self.until - now;
            let next = if self.watch.is_some() { left.min(LOOKED) } else { left };
            deadline.arm(Duration::from_millis(next));
            // It has not: this has it woken when it does.
            let _ = deadline.is_expired(cx);
            return Poll::Pending;
        };
        if let Some(deadline) = &self.deadline {
            deadline.disarm();
        }
        Poll::Ready(match frame {
            None => {
                self.end();
                None
            }
            Some(Ok(frame)) => {
                self.note_end();
                match frame.into_data() {
                    Ok(data) => Some(Ok(Frame::data(self.window.pass(data)))),
                    Err(frame) => match frame.into_trailers().ok().and_then(trailers::clean) {
                        Some(trailers) => Some(Ok(Frame::trailers(trailers))),
                        None => Some(Err(Cut::ServiceBroke)),
                    },
                }
            }
            Some(Err(_)) => Some(Err(Cut::ServiceBroke)),
        })
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let reply = &mut *self;
        if reply.taken.as_mut().is_some_and(Pace::rest) {
            return Poll::Ready(Some(Err(Cut::ClientSlow)));
        }
        let polled = if reply.rest.is_empty() {
            match &mut reply.from {
                From::Here(bytes) => Poll::Ready(bytes.take().map(Frame::data).map(Ok)),
                From::Service(downloading) => downloading.poll_encoded(cx),
            }
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut reply.rest)))))
        };
        let Some(taken) = &mut reply.taken else { return polled };
        match polled {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(mut data) => {
                    if data.len() > PIECE {
                        reply.rest = data.split_off(PIECE);
                    }
                    taken.hand(data.len());
                    Frame::data(data)
                }
                Err(trailers) => trailers,
            }))),
            // The service is waited for, not the client; or it is over.
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
            && match &self.from {
                From::Here(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
                From::Service(downloading) => downloading.is_over(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        if !self.rest.is_empty() {
            return SizeHint::default();
        }
        match &self.from {
            From::Here(bytes) => SizeHint::with_exact(
                u64::try_from(bytes.as_ref().map_or(0, Bytes::len)).unwrap_or(u64::MAX),
            ),
            From::Service(downloading) if downloading.encoding.is_some() => SizeHint::default(),
            From::Service(downloading) => downloading.body.size_hint(),
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
