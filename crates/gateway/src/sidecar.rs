//! Sessions and tokens, checked beside a service of any language: over loopback or a Unix socket.
//!
//! A service, or the proxy in front of it, hands on the headers of a request as they are, to `/check`, and
//! is told whose it is, or what to answer. What decides is the SDK's [`Authenticator`]; what is taken back
//! is pushed to it ([`Revocations`]), and asked about at every check, remembered or not.
//!
//! While nothing is heard from the issuer, checks go on with what is known for as long as the
//! authenticator was told; then they are answered 503. Nothing that cannot be judged passes.

use std::{convert::Infallible, fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tegata_sdk::{
    Authenticator, Revocations,
    authenticate::memo::{Memo, MemoLimits},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::JoinSet,
};

pub use self::listen::{NotListening, Place, bind};
use self::metrics::Counted;

mod answer;
mod listen;
mod metrics;

/// How long a client may take for a request's head, and between two requests.
const HEAD: Duration = Duration::from_secs(30);

/// The most header fields of a request, and the most bytes of its head.
const FIELDS: usize = 128;
const LARGEST_HEAD: usize = 64 * 1024;

/// The longest header value that is looked at, as at the gateway.
const LONGEST_VALUE: usize = 8_192;

/// How many connections there are at a time; others wait in the system's queue.
const CONNECTIONS: usize = 1_024;

/// How long requests under way may take when it is told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// How long accepting pauses where the system has no more sockets to give.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// A sidecar. Cheap to clone; clones know the same.
#[derive(Clone)]
pub struct Sidecar(Arc<Inner>);

struct Inner {
    authenticator: Authenticator,
    revocations: Revocations,
    /// For how long it goes on without having heard of the issuer.
    bound: Duration,
    memo: Memo,
    counted: Counted,
}

/// Where a sidecar listens.
#[derive(Debug)]
pub enum Listening {
    /// On a port.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

impl Sidecar {
    /// A sidecar that asks `authenticator`, which refuses what `revocations` say, within `bound`.
    #[must_use]
    pub fn new(
        authenticator: Authenticator,
        revocations: Revocations,
        bound: Duration,
        limits: MemoLimits,
    ) -> Self {
        let memo = Memo::new(limits, authenticator.node().entropy());
        let counted = Counted::new(authenticator.service());
        Self(Arc::new(Inner { authenticator, revocations, bound, memo, counted }))
    }

    /// Answers on these listeners until `shutdown`, and then until what is under way is answered, 2 s at
    /// most.
    ///
    /// # Errors
    /// What the system says of a listener.
    pub async fn serve(
        self,
        listeners: Vec<Listening>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let graceful = Arc::new(GracefulShutdown::new());
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let (sidecar, graceful) = (self.clone(), Arc::clone(&graceful));
            accepting.spawn(sidecar.accept(listener, Arc::clone(&places), graceful));
        }
        shutdown.await;
        accepting.shutdown().await;
        let Some(graceful) = Arc::into_inner(graceful) else { return Ok(()) };
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("connections were cut that had not ended in time");
        }
        Ok(())
    }

    async fn accept(
        self,
        listener: Listening,
        places: Arc<Semaphore>,
        graceful: Arc<GracefulShutdown>,
    ) {
        let mut pause = tokio::time::interval(EXHAUSTED);
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (sidecar, watcher) = (self.clone(), graceful.watcher());
            let accepted = match &listener {
                Listening::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    // Answers are small and whole: nothing is gained by waiting for more.
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(async move {
                        sidecar.converse(stream, watcher).await;
                        drop(place);
                    });
                }),
                Listening::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(async move {
                        sidecar.converse(stream, watcher).await;
                        drop(place);
                    });
                }),
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "a connection was not accepted");
                pause.reset();
                pause.tick().await;
            }
        }
    }

    async fn converse<S>(self, stream: S, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(move |request: Request<Incoming>| {
            let sidecar = self.clone();
            async move { Ok::<Response<Full<Bytes>>, Infallible>(sidecar.answer(&request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_headers(FIELDS)
            .max_buf_size(LARGEST_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Whether it has heard of the issuer lately enough to answer.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.revocations.staleness().is_some_and(|age| age <= self.0.bound)
    }
}

impl fmt::Debug for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sidecar({:?})", self.0.authenticator)
    }
}
