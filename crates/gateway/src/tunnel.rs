//! What passes once a service has agreed to a WebSocket: bytes, in both directions, until one side ends it, or
//! whoever opened it may no longer have it.
//!
//! A direction holds no more than was read at once and not taken yet, so each side can hold the other back, and
//! a socket on which nothing happens holds nothing.

use std::{
    future::{pending, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tegata_mesh::RevocationMode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    passport::Passport, phase::identify::still_counts, timer::Deadline, upstream::Held,
    wire::Ticket, worker::Worker,
};

mod frames;

use frames::Frames;

/// How often it is looked whether whoever opened it may still have it.
const LOOKED: Duration = Duration::from_millis(500);

/// How long one side has to go once the other has gone or has been told to.
const PARTING: Duration = Duration::from_secs(2);

/// How much is read at once.
const AT_ONCE: usize = 16 * 1024;

/// A tunnel that is to be opened.
pub(crate) struct Tunnel {
    /// The service's side.
    pub(crate) service: OnUpgrade,
    /// Its place among the connections to the service.
    pub(crate) held: Held,
    pub(crate) passport: Option<Rc<Passport>>,
    pub(crate) revocation: RevocationMode,
    /// How long nothing may pass.
    pub(crate) idle: Duration,
    /// For the client to be there, and the service.
    pub(crate) patience: Duration,
    pub(crate) ticket: Ticket,
}

/// Why a tunnel ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// One of the sides went.
    Gone,
    /// Nothing passed for too long, or somebody does not go.
    Quiet,
    /// The credential has ended or was taken back.
    Denied,
    /// The gateway is about to stop.
    Stopping,
}

impl End {
    /// What both sides are told (RFC 6455 §7.4.1).
    const fn code(self) -> Option<u16> {
        match self {
            Self::Gone => None,
            Self::Quiet | Self::Stopping => Some(1001),
            Self::Denied => Some(1008),
        }
    }
}

impl Tunnel {
    /// Carries bytes between the client and the service until it is over.
    pub(crate) async fn run<C>(self, worker: &Worker, client: C)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { service, held: _held, passport, revocation, idle, patience, ticket } = self;
        let deadline = worker.deadlines.slot();
        deadline.arm(patience);
        let Some(Ok(service)) = until(&deadline, service).await else { return };
        let mut pipe = Pipe {
            client,
            service: TokioIo::new(service),
            up: Flow::default(),
            down: Flow::default(),
        };
        deadline.arm(idle);
        let mut watch = pin!(watch(worker, passport.as_deref(), revocation));
        let end = poll_fn(|cx| {
            if let Poll::Ready(end) = watch.as_mut().poll(cx) {
                return Poll::Ready(end);
            }
            match pipe.poll(cx) {
                Carried::Over => return Poll::Ready(End::Gone),
                Carried::HalfOver => deadline.arm(PARTING.min(idle)),
                Carried::Moved => deadline.arm(idle),
                Carried::Nothing => {}
            }
            if deadline.is_expired(cx) { Poll::Ready(End::Quiet) } else { Poll::Pending }
        })
        .await;
        ticket.connection().note_unwanted();
        deadline.arm(PARTING);
        let mask = {
            let mut mask = [0; 4];
            worker.gate.node.entropy().fill(&mut mask);
            mask
        };
        // Whoever does not listen any more is not waited for.
        let _ = until(&deadline, pipe.close(end.code(), mask)).await;
    }
}

/// Ends when whoever opened the tunnel may no longer have it.
async fn watch(worker: &Worker, passport: Option<&Passport>, revocation: RevocationMode) -> End {
    let deadline = worker.deadlines.slot();
    loop {
        deadline.arm(LOOKED);
        poll_fn(|cx| {
            let expired = deadline.is_expired(cx);
            if expired || worker.is_draining() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if worker.is_draining() {
            return End::Stopping;
        }
        let Some(passport) = passport else { continue };
        let gate = &worker.gate.now();
        if passport.caller.claims().exp <= gate.node.now().secs() {
            return End::Denied;
        }
        let (now, who) = (gate.node.since_boot(), (&passport.caller, None));
        // As a request would be: also where it cannot be learnt.
        if still_counts(who, revocation, gate, &worker.freshness, now).await.is_err() {
            return End::Denied;
        }
    }
}

async fn until<F: Future>(deadline: &Deadline, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if deadline.is_expired(cx) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Both sides and what is under way between them.
struct Pipe<C, S> {
    client: C,
    service: S,
    up: Flow,
    down: Flow,
}

/// What a look at both directions came to.
enum Carried {
    Nothing,
    Moved,
    /// One side has nothing more to say.
    HalfOver,
    Over,
}

/// One direction.
#[derive(Default)]
struct Flow {
    /// Read, and not taken yet.
    waiting: Vec<u8>,
    /// Where the frames that were passed on end.
    frames: Frames,
    unflushed: bool,
    ended: bool,
    shut: bool,
}

impl<C, S> Pipe<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Carried {
        let up = self.up.carry(&mut self.client, &mut self.service, cx);
        let down = self.down.carry(&mut self.service, &mut self.client, cx);
        match (up, down) {
            (Err(_), _) | (_, Err(_)) => Carried::Over,
            _ if self.up.shut && self.down.shut => Carried::Over,
            (Ok(up), Ok(down)) if up || down => {
                if self.up.shut || self.down.shut {
                    Carried::HalfOver
                } else {
                    Carried::Moved
                }
            }
            _ => Carried::Nothing,
        }
    }

    /// Tells both sides why, where a frame can be put between others, and hangs up.
    async fn close(mut self, code: Option<u16>, mask: [u8; 4]) -> io::Result<()> {
        if let Some(code) = code {
            let told = self.down.tell(&mut self.client, &frames::close(code, None)).await;
            let also = self.up.tell(&mut self.service, &frames::close(code, Some(mask))).await;
            told.and(also)?;
        }
        let service = poll_fn(|cx| Pin::new(&mut self.service).poll_shutdown(cx)).await;
        drop(self.service);
        // This waits for the client to read what it was told.
        let client = poll_fn(|cx| Pin::new(&mut self.client).poll_shutdown(cx)).await;
        client.and(service)
    }
}

impl Flow {
    /// Passes on what there is. Answers whether there was anything.
    fn carry<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> io::Result<bool>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut moved = false;
        let mut room = [0; AT_ONCE];
        loop {
            while !self.waiting.is_empty() {
                let Poll::Ready(written) = Pin::new(&mut *to).poll_write(cx, &self.waiting) else {
                    return Ok(moved);
                };
                let written = written?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                moved = true;
                self.unflushed = true;
                self.frames.pass(self.waiting.get(..written).unwrap_or_default());
                self.waiting.drain(..written);
            }
            if self.ended {
                if !self.shut {
                    let Poll::Ready(shut) = Pin::new(&mut *to).poll_shutdown(cx) else {
                        return Ok(moved);
                    };
                    shut?;
                    (self.shut, moved) = (true, true);
                }
                return Ok(moved);
            }
            let mut read = ReadBuf::new(&mut room);
            let Poll::Ready(came) = Pin::new(&mut *from).poll_read(cx, &mut read) else {
                if self.waiting.capacity() > 0 {
                    self.waiting = Vec::new();
                }
                if self.unflushed && Pin::new(&mut *to).poll_flush(cx)?.is_ready() {
                    self.unflushed = false;
                }
                return Ok(moved);
            };
            came?;
            if read.filled().is_empty() {
                self.ended = true;
            }
            self.waiting.extend_from_slice(read.filled());
        }
    }

    /// Puts a frame behind those that have passed, where the last of them is whole and nothing ended it.
    async fn tell<W: AsyncWrite + Unpin>(&mut self, to: &mut W, frame: &[u8]) -> io::Result<()> {
        if !self.frames.is_between() || !self.waiting.is_empty() || self.shut {
            return Ok(());
        }
        let mut rest = frame;
        while !rest.is_empty() {
            let written = poll_fn(|cx| Pin::new(&mut *to).poll_write(cx, rest)).await?;
            if written == 0 {
                return pending().await;
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        poll_fn(|cx| Pin::new(&mut *to).poll_flush(cx)).await
    }
}
