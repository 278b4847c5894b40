//! Connections that carry many requests at once.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Poll, Waker},
};

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tegata_core::SinceBoot;

use crate::{body::Upload, stream::Stream};

/// How many requests one connection carries at once, where the service would take more: what is lost with a
/// connection stays bounded, and so does what waits behind one that is slow.
const MOST_STREAMS: usize = 128;

/// What stands for the number of requests that a service takes until it has said so: none that anybody says.
const UNSAID: usize = 0xfeed_face;

/// How much of a service's answer is taken ahead of the client.
const WINDOW: u32 = 128 * 1024;

/// The same of all answers of a connection: as much as all of them together, so that clients that do not read
/// hold back no others.
const WHOLE_WINDOW: u32 = 128 * WINDOW;

/// What runs a connection, until it ends: then nothing that waits on it may be left waiting.
type Io = Rc<RefCell<Option<http2::Connection<TokioIo<Stream>, Upload, OnThread>>>>;

/// A connection.
pub(super) struct Multiplexed {
    sender: http2::SendRequest<Upload>,
    /// Until it ends.
    io: Io,
    streams: Cell<usize>,
    /// No more requests are sent on it.
    retired: Cell<bool>,
    since: Cell<SinceBoot>,
}

/// A place for one request on a connection, until it is dropped.
pub(super) struct Place {
    pub(super) on: Rc<Multiplexed>,
}

/// Spawns on the thread's own runtime what a connection consists of, and tells whoever waits to see what came
/// of it whenever something did.
#[derive(Debug, Clone, Default)]
pub(super) struct OnThread(Rc<RefCell<Vec<Waker>>>);

impl<F: Future + 'static> hyper::rt::Executor<F> for OnThread {
    fn execute(&self, future: F) {
        let waiting = Rc::clone(&self.0);
        tokio::task::spawn_local(async move {
            let mut future = pin!(future);
            std::future::poll_fn(|cx| {
                let polled = future.as_mut().poll(cx).map(|_| ());
                // INVARIANT: waking runs nothing here, so nobody else borrows the list meanwhile.
                waiting.borrow_mut().drain(..).for_each(Waker::wake);
                polled
            })
            .await;
        });
    }
}

impl Multiplexed {
    /// Shakes hands, and waits for what the service says first: how much it takes (RFC 9113 §3.4). Before that,
    /// requests could be too many. `counted` is dropped when the connection ends.
    ///
    /// # Errors
    /// The service does not speak HTTP/2.
    pub(super) async fn shake<T: 'static>(
        stream: Stream,
        counted: T,
        now: SinceBoot,
    ) -> io::Result<Rc<Self>> {
        let spawns = OnThread::default();
        let mut builder = http2::Builder::new(spawns.clone());
        builder
            .initial_max_send_streams(UNSAID)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WHOLE_WINDOW)
            .max_header_list_size(64 * 1024)
            .max_send_buf_size(128 * 1024);
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(io::Error::other)?;
        let io: Io = Rc::new(RefCell::new(Some(connection)));
        let (running, waiting) = (Rc::clone(&io), spawns.clone());
        tokio::task::spawn_local(async move {
            let _counted = counted;
            // How it ends is told to whoever waits for a response.
            std::future::poll_fn(|cx| {
                let mut running = running.borrow_mut();
                let polled = running.as_mut().map(|connection| Pin::new(connection).poll(cx));
                match polled {
                    Some(Poll::Pending) => Poll::Pending,
                    Some(Poll::Ready(_)) | None => {
                        *running = None;
                        waiting.0.borrow_mut().drain(..).for_each(Waker::wake);
                        Poll::Ready(())
                    }
                }
            })
            .await;
        });
        std::future::poll_fn(|cx| {
            let said = io.borrow().as_ref().map(http2::Connection::current_max_send_streams);
            match said {
                None => Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted))),
                Some(UNSAID) => {
                    spawns.0.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                }
                Some(_) => Poll::Ready(Ok(())),
            }
        })
        .await?;
        Ok(Rc::new(Self {
            sender,
            io,
            streams: Cell::new(0),
            retired: Cell::new(false),
            since: Cell::new(now),
        }))
    }

    /// A place on it, where there is one.
    pub(super) fn place(self: &Rc<Self>) -> Option<Place> {
        let free = !self.is_over() && self.streams.get() < self.most();
        free.then(|| {
            self.streams.set(self.streams.get() + 1);
            Place { on: Rc::clone(self) }
        })
    }

    /// How many requests it may carry: what the service says, and never none, because a request that is
    /// refused for that is better off than one that is never sent.
    fn most(&self) -> usize {
        let io = self.io.borrow();
        let said = io.as_ref().map_or(1, http2::Connection::current_max_send_streams);
        said.clamp(1, MOST_STREAMS)
    }

    /// Whether the service takes sockets (RFC 8441 §3).
    pub(super) fn takes_sockets(&self) -> bool {
        let io = self.io.borrow();
        io.as_ref().is_some_and(http2::Connection::is_extended_connect_protocol_enabled)
    }

    pub(super) fn sender(&self) -> http2::SendRequest<Upload> {
        self.sender.clone()
    }

    /// Lets what it carries end, and takes nothing more.
    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    fn is_over(&self) -> bool {
        self.retired.get() || self.sender.is_closed() || self.io.borrow().is_none()
    }

    /// Whether it is to be kept: it carries something, or did so lately.
    pub(super) fn is_kept(&self, now: SinceBoot, idle: std::time::Duration) -> bool {
        !self.is_over() && (self.streams.get() > 0 || now.since(self.since.get()) < idle)
    }
}

impl Place {
    /// Notes when it was last of use.
    pub(super) fn note(&self, now: SinceBoot) {
        self.on.since.set(now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.on.streams.set(self.on.streams.get().saturating_sub(1));
    }
}
