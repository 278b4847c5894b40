//! A connection from a client: its bytes pass the watch over the framing, and whoever takes too
//! long is cut off.

use std::{
    cell::{Cell, OnceCell, RefCell},
    fmt, io,
    net::IpAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use http::{HeaderValue, Uri};
use rustls_pki_types::CertificateDer;
use tegata_token::ClientCertificate;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    guard::{
        Fault, Guard,
        frames::{Flood, Frames, goaway},
    },
    memory::{Charge, Memory},
    refusal::Refused,
    shed::Idle,
    stream::Stream,
    timer::{Deadline, Deadlines},
    tunnel::Tunnel,
};

/// For how long, and for how many bytes, a refused client is listened to after the answer, so that
/// it reads the answer instead of learning that the connection was reset.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 512 * 1024;

/// How long a client that has just connected has to ask for something when the gateway is about to
/// stop.
const HURRY: Duration = Duration::from_secs(1);

/// For how long a client that has just connected is not taken for idle: what it asks for is on its way.
const FRESH: Duration = Duration::from_secs(1);

/// What a connection takes up.
pub(crate) struct Holds {
    pub(crate) memory: Arc<Memory>,
    /// How much of bodies may come with HTTP/2 before somebody takes it.
    pub(crate) window: u32,
    pub(crate) idle: Idle,
}

/// What is known of a connection, beside its bytes.
pub(crate) struct Connection {
    pub(crate) peer: IpAddr,
    /// The peer, as `X-Forwarded-For` has it.
    pub(crate) peer_text: HeaderValue,
    pub(crate) secure: bool,
    /// The certificate that the client has shown in the handshake.
    pub(crate) certificate: OnceCell<ClientCertificate>,
    /// Requests that are not answered to the end.
    in_flight: Cell<u32>,
    /// With HTTP/2: the watch over its frames, which knows what was said of targets.
    frames: RefCell<Option<Box<Frames>>>,
    /// Requests that were handed to the service, and heads that passed the watch.
    taken: Cell<u64>,
    heads: Cell<u64>,
    http2: Cell<bool>,
    /// Whether a part of a request's head has come.
    in_head: Cell<bool>,
    /// Whether something may come from the client that nobody wants any more.
    unwanted: Cell<bool>,
    /// Whether it has been told to ask soon.
    hurried: Cell<bool>,
    /// With HTTP/2: the stream that runs just now.
    stream: RefCell<Option<Rc<Running>>>,
    /// Bytes came behind a request for another protocol, before the answer.
    early: Cell<bool>,
    /// Whether it is being ended for what it said.
    ended: Cell<bool>,
    /// What becomes of the connection once that request is answered.
    tunnel: RefCell<Option<Box<Tunnel>>>,
    /// Whether it is a tunnel from here on.
    tunnelled: Cell<bool>,
    /// Whether the reader waits for the requests in flight to be answered.
    waits: Cell<bool>,
    /// For the rest of the head, for the next request, or for the end of the lingering.
    deadline: Deadline,
    head: Duration,
    idle: Duration,
    holds: Holds,
    /// Since when nothing is asked for, in milliseconds.
    since: Cell<u64>,
    /// Bodies that come with HTTP/2, and what their window counts.
    bodies: Cell<u32>,
    charge: RefCell<Option<Charge>>,
}

impl Connection {
    pub(crate) fn new(
        peer: IpAddr,
        secure: bool,
        deadlines: &Rc<Deadlines>,
        (head, idle): (Duration, Duration),
        holds: Holds,
    ) -> Self {
        let deadline = deadlines.slot();
        // Whoever connects and says nothing is not waited for as one who has been served.
        deadline.arm(head);
        let text = peer.to_canonical().to_string();
        Self {
            peer,
            peer_text: HeaderValue::try_from(text)
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            secure,
            certificate: OnceCell::new(),
            in_flight: Cell::new(0),
            frames: RefCell::default(),
            taken: Cell::new(0),
            heads: Cell::new(0),
            http2: Cell::new(false),
            in_head: Cell::new(false),
            unwanted: Cell::new(false),
            hurried: Cell::new(false),
            stream: RefCell::default(),
            early: Cell::new(false),
            ended: Cell::new(false),
            tunnel: RefCell::default(),
            tunnelled: Cell::new(false),
            waits: Cell::new(false),
            since: Cell::new(deadline.now()),
            deadline,
            head,
            idle,
            holds,
            bodies: Cell::new(0),
            charge: RefCell::default(),
        }
    }

    /// Since when nothing is asked for, where that is so and it can be ended for another.
    pub(crate) fn idle_since(&self, now: u64) -> Option<u64> {
        let (since, fresh) = (self.since.get(), u64::try_from(FRESH.as_millis()).unwrap_or(0));
        let is_idle = self.in_flight.get() == 0
            && !self.in_head.get()
            && !self.ended.get()
            && !self.tunnelled.get()
            && (self.taken.get() > 0 || now.saturating_sub(since) >= fresh);
        is_idle.then_some(since)
    }

    /// Ends it, though it has been idle for less than it may.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        self.holds.idle.set(false);
        self.deadline.arm(Duration::ZERO);
        self.deadline.wake();
    }

    /// Notes that a body comes, until that is dropped: with HTTP/2, as much of it as the window lets come may
    /// wait here for somebody to take it.
    pub(crate) fn body(self: &Rc<Self>) -> Option<OneBody> {
        if !self.http2.get() {
            return None;
        }
        self.bodies.set(self.bodies.get() + 1);
        let window = usize::try_from(self.holds.window).unwrap_or(usize::MAX);
        let charge = || self.holds.memory.charge(window);
        self.charge.borrow_mut().get_or_insert_with(charge);
        Some(OneBody(Rc::clone(self)))
    }

    /// What counts the bytes that pass.
    pub(crate) const fn memory(&self) -> &Arc<Memory> {
        &self.holds.memory
    }

    /// Takes a request. Answers why it is not to be believed, where its head did not pass the watch as it is.
    pub(crate) fn take(self: &Rc<Self>, target: &Uri) -> (Ticket, Option<Fault>) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.holds.idle.set(false);
        self.taken.set(self.taken.get() + 1);
        self.in_head.set(false);
        self.deadline.disarm();
        let doubt = if self.http2.get() {
            self.was_cut(target).then_some(Fault::TargetByte)
        } else {
            (self.taken.get() > self.heads.get()).then_some(Fault::Unwatched)
        };
        (Ticket(Rc::clone(self)), doubt)
    }

    /// Whether the client has taken too long. Otherwise the task is woken when it has.
    pub(crate) fn is_expired(&self, cx: &Context<'_>) -> bool {
        self.deadline.is_expired(cx)
    }

    /// A deadline for the client to take the next part of an answer. With HTTP/2 alone: there, who
    /// asks for the next part is the client, by opening its window, and nobody notices where it
    /// does not. With HTTP/1 it shows in writes that get stuck.
    pub(crate) fn watch_answer(&self, deadlines: &Rc<Deadlines>) -> Option<Deadline> {
        self.stream.borrow().as_ref().map(|stream| {
            let deadline = deadlines.slot();
            deadline.tell(&stream.stalled, Some(stream.task.clone()));
            deadline
        })
    }

    /// Runs one stream of HTTP/2: a request and its answer. It ends before its time when the client
    /// has not taken the next part of the answer for too long, which resets the stream; others of the
    /// connection go on. It is ended from here because an answer is not asked for its next part while
    /// there is no window, and so cannot end itself.
    pub(crate) async fn run_stream(self: Rc<Self>, stream: impl Future) {
        let mut stream = pin!(stream);
        let mut running = None;
        std::future::poll_fn(|cx| {
            let running = running.get_or_insert_with(|| {
                let (stalled, looks) = (Rc::default(), Cell::new(false));
                Rc::new(Running { stalled, looks, task: cx.waker().clone() })
            });
            if running.stalled.get() {
                return Poll::Ready(());
            }
            let before = self.stream.replace(Some(Rc::clone(running)));
            let mut polled = stream.as_mut().poll(cx);
            if running.looks.take() && polled.is_pending() {
                polled = stream.as_mut().poll(cx);
            }
            self.stream.replace(before);
            polled.map(|_| ())
        })
        .await;
    }

    /// With HTTP/2: lets it be seen whether the request has been taken back already. A stream is asked for its
    /// reset only when its answer is not ready, and a request that came with its reset would be sent on
    /// otherwise (CVE-2023-44487).
    pub(crate) async fn look(&self) {
        let mut looked = false;
        std::future::poll_fn(|_| match &*self.stream.borrow() {
            Some(stream) if !looked => {
                looked = true;
                // It is polled again at once.
                stream.looks.set(true);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
        .await;
    }

    /// Lets a client that has connected and not asked for anything yet ask soon or not at all.
    /// Answers whether there is such a client to be waited for.
    pub(crate) fn hurry(&self) -> bool {
        let is_fresh = self.taken.get() == 0;
        if is_fresh && !self.hurried.replace(true) {
            self.deadline.arm(HURRY.min(self.head));
        }
        is_fresh
    }

    /// Notes the certificate that the client has shown. One that cannot be read is none.
    pub(crate) fn note_certificate(&self, shown: Option<&[CertificateDer<'_>]>) {
        let Some(shown) = shown else { return };
        match ClientCertificate::read(shown) {
            Ok(shown) => drop(self.certificate.set(shown)),
            Err(refused) => tracing::info!(%refused, "a client certificate is passed over"),
        }
    }

    /// An answer begins.
    pub(crate) fn note_answer(&self) {
        if let Some(frames) = &mut *self.frames.borrow_mut() {
            frames.note_answer();
        }
    }

    /// What the client still sends is not wanted: the answer has been given.
    pub(crate) fn note_unwanted(&self) {
        self.unwanted.set(true);
    }

    /// Makes a tunnel of the connection as soon as what has been said is written. `false`: the client has sent
    /// something ahead, which nobody may read one way or the other.
    pub(crate) fn become_tunnel(&self, tunnel: Box<Tunnel>) -> bool {
        if self.early.get() {
            return false;
        }
        self.tunnelled.set(true);
        *self.tunnel.borrow_mut() = Some(tunnel);
        true
    }

    /// The tunnel that it has become.
    pub(crate) fn tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.borrow_mut().take()
    }

    /// Whether there was more of a target than is left of it.
    fn was_cut(&self, target: &Uri) -> bool {
        let mut frames = self.frames.borrow_mut();
        let Some(frames) = frames.as_mut().filter(|frames| frames.has_cut()) else { return false };
        let target = target.path_and_query().map_or("", |target| target.as_str());
        frames.was_cut(target.as_bytes())
    }

    fn note_bytes(&self) {
        // Frames of HTTP/2 are no sign of a request.
        let waited_for = self.in_flight.get() == 0 && !self.hurried.get();
        if waited_for && !self.in_head.get() && !self.http2.get() {
            self.in_head.set(true);
            self.deadline.arm(self.head);
        }
    }
}

/// A stream of HTTP/2 that runs.
struct Running {
    /// Whether the client has not taken the next part of the answer for too long.
    stalled: Rc<Cell<bool>>,
    /// Whether it is to be polled again at once.
    looks: Cell<bool>,
    /// The task that runs it.
    task: Waker,
}

/// A request in flight, until it is dropped.
pub(crate) struct Ticket(Rc<Connection>);

impl Ticket {
    /// Another for the same request: it is over when both are dropped.
    pub(crate) fn again(&self) -> Self {
        self.0.in_flight.set(self.0.in_flight.get() + 1);
        Self(Rc::clone(&self.0))
    }

    pub(crate) const fn connection(&self) -> &Rc<Connection> {
        &self.0
    }
}

/// A body that comes with HTTP/2, until it is dropped.
pub(crate) struct OneBody(Rc<Connection>);

impl Drop for OneBody {
    fn drop(&mut self) {
        self.0.bodies.set(self.0.bodies.get().saturating_sub(1));
        if self.0.bodies.get() == 0 {
            *self.0.charge.borrow_mut() = None;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let connection = &self.0;
        connection.in_flight.set(connection.in_flight.get().saturating_sub(1));
        if connection.in_flight.get() == 0 {
            connection.since.set(connection.deadline.now());
            connection.holds.idle.set(!connection.ended.get());
            // One that is being ended has less time than that.
            if !connection.ended.get() {
                connection.deadline.arm(connection.idle);
            }
            if connection.waits.replace(false) {
                connection.deadline.wake();
            }
        }
    }
}

/// The bytes of a connection.
pub(crate) struct Wire<R> {
    stream: Stream,
    connection: Rc<Connection>,
    guard: Guard,
    /// For the rest of a head that has come in part, with HTTP/2: others may be in flight beside it.
    in_head: Option<Deadline>,
    /// Whether what was written ends with a frame: what writes them flushes when there is no more of one.
    at_boundary: bool,
    refusing: Option<Refusing>,
    /// Since when the client takes nothing.
    stuck: Deadline,
    patience: Duration,
    /// Makes the answer to what the watch refuses.
    refuse: R,
}

/// Leaves the head of an answer, which says how long the body would be (RFC 9110 §9.3.2).
fn cut_body(answer: &mut Vec<u8>) {
    const END: &[u8] = b"\r\n\r\n";
    if let Some(at) = answer.windows(END.len()).position(|four| four == END) {
        answer.truncate(at + END.len());
    }
}

/// What is said to whoever the watch refuses, as soon as it may be.
pub(crate) struct Told(pub(crate) Pin<Box<dyn Future<Output = Vec<u8>>>>);

/// How far the answer to what the watch refuses has come.
enum Refusing {
    Waiting(Fault),
    Recording(Told),
    Writing { answer: Vec<u8>, written: usize },
    Flushing,
    Lingering { read: usize },
    Done,
}

impl<R: Fn(&Refused) -> Told> Wire<R> {
    pub(crate) fn new(
        stream: Stream,
        connection: Rc<Connection>,
        deadlines: &Rc<Deadlines>,
        patience: Duration,
        refuse: R,
    ) -> Self {
        let stuck = deadlines.slot();
        Self {
            stream,
            connection,
            guard: Guard::new(),
            in_head: None,
            at_boundary: true,
            refusing: None,
            stuck,
            patience,
            refuse,
        }
    }

    /// Ends a connection of HTTP/2 that is kept busy for nothing. Its requests end with it.
    fn poll_calm(&mut self, flood: Flood, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tracing::info!(peer = %self.connection.peer, %flood, "a connection is ended");
        let frames = self.connection.frames.borrow();
        let last = frames.as_ref().map_or(0, |frames| frames.last_stream());
        drop(frames);
        self.connection.ended.set(true);
        self.connection.deadline.arm(self.connection.head);
        // It counts and is written down as a request would be. What an answer to one would be, nobody hears.
        drop((self.refuse)(&flood.into()));
        // Within a frame of ours nothing can be said.
        let answer = if self.at_boundary { goaway(flood.code(), last) } else { Vec::new() };
        self.refusing = Some(Refusing::Writing { answer, written: 0 });
        self.poll_refuse(cx)
    }

    /// Answers what the watch refused, and then lets the connection end.
    fn poll_refuse(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let next = match &mut self.refusing {
                None | Some(Refusing::Done) => return Poll::Ready(Ok(())),
                // Within a body, whoever answers its request learns that it ends here.
                Some(Refusing::Waiting(Fault::Chunk)) if self.connection.in_flight.get() > 0 => {
                    self.connection.note_unwanted();
                    Refusing::Done
                }
                // Requests before this one are answered first. The reader comes back then.
                Some(Refusing::Waiting(_)) if self.connection.in_flight.get() > 0 => {
                    self.connection.waits.set(true);
                    return Poll::Pending;
                }
                Some(Refusing::Waiting(fault)) => {
                    self.connection.deadline.arm(self.connection.head);
                    Refusing::Recording((self.refuse)(&(*fault).into()))
                }
                Some(Refusing::Recording(Told(answer))) => {
                    let mut answer = ready!(answer.as_mut().poll(cx));
                    if self.guard.is_head() {
                        cut_body(&mut answer);
                    }
                    Refusing::Writing { answer, written: 0 }
                }
                Some(Refusing::Writing { answer, written }) => match answer.get(*written..) {
                    None | Some([]) => Refusing::Flushing,
                    Some(rest) => {
                        *written += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
                        continue;
                    }
                },
                Some(Refusing::Flushing) => {
                    ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                    ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                    self.connection.deadline.arm(LINGER);
                    Refusing::Lingering { read: 0 }
                }
                Some(Refusing::Lingering { read }) => {
                    ready!(linger(&mut self.stream, read, cx));
                    Refusing::Done
                }
            };
            self.refusing = Some(next);
        }
    }
}

/// Reads what comes and throws it away, until nothing comes any more or it has been enough.
fn linger(stream: &mut Stream, read: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
    let mut scratch = [0; 4096];
    while *read < LINGER_BYTES {
        let mut buf = ReadBuf::new(&mut scratch);
        match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf)) {
            Ok(()) if !buf.filled().is_empty() => *read += buf.filled().len(),
            _ => break,
        }
    }
    Poll::Ready(())
}

/// The bytes of a connection, for whoever reads requests from it, or for the tunnel that it becomes.
pub(crate) struct Shared<R> {
    wire: Rc<RefCell<Wire<R>>>,
    for_tunnel: bool,
}

impl<R> Shared<R> {
    /// For whoever reads requests, and for the tunnel.
    pub(crate) fn new(wire: Wire<R>) -> (Self, Self) {
        let wire = Rc::new(RefCell::new(wire));
        (Self { wire: Rc::clone(&wire), for_tunnel: false }, Self { wire, for_tunnel: true })
    }
}

// INVARIANT: a wire calls nobody who holds it.
impl<R: Fn(&Refused) -> Told + Unpin> AsyncRead for Shared<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.wire.borrow_mut();
        match (wire.connection.tunnelled.get(), self.for_tunnel) {
            // What comes from here on is no request.
            (true, false) => Poll::Pending,
            (true, true) => Pin::new(&mut wire.stream).poll_read(cx, buf),
            (false, _) => Pin::new(&mut *wire).poll_read(cx, buf),
        }
    }
}

impl<R: Unpin> AsyncWrite for Shared<R> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.wire.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.wire.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire.borrow_mut()).poll_shutdown(cx)
    }
}

impl<R: Fn(&Refused) -> Told + Unpin> AsyncRead for Wire<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.refusing.is_some() {
            return wire.poll_refuse(cx);
        }
        let before = buf.filled().len();
        if Pin::new(&mut wire.stream).poll_read(cx, buf)?.is_pending() {
            let in_head = wire.in_head.as_ref();
            if in_head.is_some_and(|it| it.is_armed() && it.is_expired(cx)) {
                return wire.poll_calm(Flood::Head, cx);
            }
            return Poll::Pending;
        }
        let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) else {
            return Poll::Ready(Ok(()));
        };
        wire.connection.note_bytes();
        if wire.connection.in_flight.get() == 0 {
            wire.guard.resume();
        }
        let fed = wire.guard.feed(bytes);
        wire.connection.heads.set(wire.guard.heads());
        wire.connection.http2.set(wire.guard.is_off());
        let refused = match fed {
            Ok(_) if !wire.guard.is_off() => return Poll::Ready(Ok(())),
            Ok(looked_at) => {
                let rest = bytes.get(looked_at..).unwrap_or_default();
                let Err(flood) = wire.feed_frames(rest) else { return Poll::Ready(Ok(())) };
                buf.set_filled(before);
                return wire.poll_calm(flood, cx);
            }
            Err(refused) => refused,
        };
        wire.refusing = Some(Refusing::Waiting(refused.fault));
        wire.connection.early.set(refused.fault == Fault::Early);
        buf.set_filled(before + refused.sound);
        if refused.sound == 0 { wire.poll_refuse(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl<R> Wire<R> {
    /// Shows bytes to the watch over frames.
    fn feed_frames(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        let now = self.stuck.now();
        let mut frames = self.connection.frames.borrow_mut();
        let frames = frames.get_or_insert_with(|| Box::new(Frames::new(now)));
        let before = frames.heads();
        frames.feed(bytes, now)?;
        if frames.is_in_head() {
            let in_head = self.in_head.get_or_insert_with(|| self.stuck.another());
            // Each has its own time.
            if !in_head.is_armed() || frames.heads() != before {
                in_head.arm(self.connection.head);
            }
        } else if let Some(in_head) = &self.in_head {
            in_head.disarm();
        }
        Ok(())
    }

    fn note_written(&mut self, polled: &Poll<io::Result<usize>>) {
        if let Some(frames) = &mut *self.connection.frames.borrow_mut() {
            self.at_boundary = false;
            if let Poll::Ready(Ok(written)) = polled {
                frames.note_sent(u64::try_from(*written).unwrap_or(u64::MAX));
            }
        }
    }
}

impl<R: Unpin> Wire<R> {
    /// Cuts off a client that takes nothing.
    fn watch_write<T>(
        &mut self,
        cx: &Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stuck.disarm();
            return polled;
        }
        if !self.stuck.is_armed() {
            self.stuck.arm(self.patience);
        }
        if self.stuck.is_expired(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<R: Unpin> AsyncWrite for Wire<R> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let polled = Pin::new(&mut wire.stream).poll_write(cx, bytes);
        wire.note_written(&polled);
        wire.watch_write(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let polled = Pin::new(&mut wire.stream).poll_write_vectored(cx, slices);
        wire.note_written(&polled);
        wire.watch_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        wire.at_boundary = true;
        let polled = Pin::new(&mut wire.stream).poll_flush(cx);
        wire.watch_write(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        match &mut wire.refusing {
            Some(Refusing::Lingering { read }) => {
                ready!(linger(&mut wire.stream, read, cx));
                wire.refusing = Some(Refusing::Done);
                Poll::Ready(Ok(()))
            }
            Some(Refusing::Recording(_) | Refusing::Writing { .. } | Refusing::Flushing) => {
                wire_end(cx, wire)
            }
            _ => {
                ready!(Pin::new(&mut wire.stream).poll_shutdown(cx))?;
                if wire.connection.unwanted.replace(false) {
                    wire.connection.deadline.arm(LINGER);
                    wire.refusing = Some(Refusing::Lingering { read: 0 });
                    return Pin::new(wire).poll_shutdown(cx);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

fn wire_end<R>(cx: &mut Context<'_>, wire: &mut Wire<R>) -> Poll<io::Result<()>> {
    Pin::new(&mut wire.stream).poll_shutdown(cx)
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.peer)
    }
}
