//! Listeners on sockets: accepting, TLS, deadlines, and an end that lets requests finish.

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{Router, body::Body, response::IntoResponse as _};
use http::{HeaderValue, Request, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use rustls::pki_types::CertificateDer;
use tegata_core::{OsEntropy, Parting, Places};
use tegata_token::ClientCertificate;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::{
    caller::Peer, certificate::PeerCertificate, limits::Limits, panicked::Panicked,
    problem::Problem, trace,
};
use patient::Patient;

mod patient;

/// How long accepting pauses where the system has no more sockets to give.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// How long somebody may take to ask for something who had connected when it was told to stop. Clients take
/// a connection that was accepted for a promise.
const HURRY: Duration = Duration::from_secs(1);

/// TLS of a listener.
#[derive(Clone)]
pub struct Tls {
    /// What is agreed with clients.
    pub config: Arc<rustls::ServerConfig>,
    /// Is told of each handshake that failed, and why.
    pub failed: Failed,
}

/// Serves a router on listeners until `shutdown`, and then until the requests under way have been
/// answered, [`Limits::drain`] at most. Once `parting` has begun, no connection is used again.
///
/// Without TLS, HTTP/1.1 is spoken; with it, what was agreed in the handshake.
///
/// # Errors
/// What the system says of a listener that cannot be used.
pub async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    limits: Limits,
    tls: Option<Tls>,
    parting: Parting,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let drain = limits.drain;
    let server = Arc::new(Server {
        router,
        tls: tls.map(|tls| (TlsAcceptor::from(tls.config), tls.failed)),
        places: Arc::new(Semaphore::new(limits.connections)),
        of_each: Places::new(limits.connections_each, limits.uncounted_connections.clone()),
        limits,
        parting,
        closed: watch::Sender::new(false),
        cut: watch::Sender::new(false),
    });
    let graceful = Arc::new(GracefulShutdown::new());
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let address = listener.local_addr()?;
        tracing::info!(%address, tls = server.tls.is_some(), "listening");
        accepting.spawn(Arc::clone(&server).accept(listener, Arc::clone(&graceful)));
    }
    let fallen = tokio::select! {
        () = shutdown => false,
        // None ends by itself.
        Some(ended) = accepting.join_next() => ended.is_err(),
    };
    if fallen {
        return Err(io::Error::other("it has panicked"));
    }
    // Listeners are closed first: whoever connects now is to go to another node.
    accepting.shutdown().await;
    server.closed.send_replace(true);
    let Some(graceful) = Arc::into_inner(graceful) else { return Ok(()) };
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were cut that had not ended in time");
    }
    server.cut.send_replace(true);
    Ok(())
}

/// What answers the requests of a connection.
trait Service:
    hyper::service::Service<
        Request<Incoming>,
        Response = axum::response::Response,
        Error = Infallible,
        Future: Send,
    > + Send
    + 'static
{
}

impl<S> Service for S where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = axum::response::Response,
            Error = Infallible,
            Future: Send,
        > + Send
        + 'static
{
}

/// Is told of handshakes that failed.
type Failed = Arc<dyn Fn(IpAddr, &io::Error) + Send + Sync>;

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

struct Server {
    router: Router,
    limits: Limits,
    tls: Option<(TlsAcceptor, Failed)>,
    parting: Parting,
    places: Arc<Semaphore>,
    of_each: Arc<Places>,
    /// Nobody new is let in.
    closed: watch::Sender<bool>,
    /// Whoever is left is cut off, and holds nothing any more that the router holds.
    cut: watch::Sender<bool>,
}

impl Server {
    async fn accept(self: Arc<Self>, listener: TcpListener, graceful: Arc<GracefulShutdown>) {
        let mut pause = tokio::time::interval(EXHAUSTED);
        loop {
            // A connection that has no place waits in the system's queue.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Whoever has taken all that it may takes no place from the others by waiting.
                    let Some(its) = self.of_each.take(peer.ip()) else { continue };
                    let (server, watcher) = (Arc::clone(&self), graceful.watcher());
                    tokio::spawn(async move {
                        let mut cut = server.cut.subscribe();
                        tokio::select! {
                            () = server.connection(stream, peer, watcher) => {}
                            () = async { drop(cut.wait_for(|cut| *cut).await) } => {}
                        }
                        drop((place, its));
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    pause.reset();
                    pause.tick().await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Answers are small and whole: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let Some((tls, failed)) = &self.tls else {
            return self.http1(stream, |asked| self.service(peer, None, asked), watcher).await;
        };
        let handshake = tokio::time::timeout(self.limits.header_time, tls.accept(stream));
        let shaken = handshake.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = match shaken {
            Ok(stream) => stream,
            Err(error) => return failed(peer.ip(), &error),
        };
        let session = stream.get_ref().1;
        let shown = certificate(session.peer_certificates());
        let service = |asked| self.service(peer, shown, asked);
        if session.alpn_protocol() == Some(b"h2") {
            self.http2(stream, service(Arc::default()), watcher).await;
        } else {
            self.http1(stream, service, watcher).await;
        }
    }

    /// `service` makes what answers, and says there that something was asked for.
    async fn http1<S, A>(
        &self,
        stream: S,
        service: impl FnOnce(Arc<AtomicBool>) -> A,
        watcher: Watcher,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        A: Service,
    {
        let asked = Arc::new(AtomicBool::new(false));
        let mut closed = self.closed.subscribe();
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_time)
            // Twice what is allowed: what is a little too large is refused with a word about it.
            .max_headers(2 * self.limits.header_fields)
            .max_buf_size(2 * (self.limits.header_block + self.limits.target))
            .serve_connection(self.patient(stream), service(Arc::clone(&asked)));
        let mut connection = pin!(connection);
        tokio::select! {
            result = connection.as_mut() => return ended(result),
            () = async { drop(closed.wait_for(|closed| *closed).await) } => {}
        }
        // Whoever has not asked for anything yet asks now, or not at all.
        let first = poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if asked.load(Ordering::Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Ok(Some(result)) = tokio::time::timeout(HURRY, first).await {
            return ended(result);
        }
        connection.as_mut().graceful_shutdown();
        ended(connection.await);
        // Until here, it is waited for.
        drop(watcher);
    }

    async fn http2<S>(&self, stream: S, service: impl Service, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(100)
            .max_header_list_size(u32::try_from(self.limits.header_block).unwrap_or(u32::MAX))
            // A peer that does not answer is not there any more.
            .keep_alive_interval(self.limits.header_time)
            .keep_alive_timeout(self.limits.header_time)
            .serve_connection(self.patient(stream), service);
        ended(watcher.watch(connection).await);
    }

    /// A stream whose client may take only so long for the next part of an answer.
    fn patient<S>(&self, stream: S) -> TokioIo<Patient<S>> {
        TokioIo::new(Patient::new(stream, self.limits.write_time))
    }

    fn service(
        &self,
        peer: SocketAddr,
        certificate: Option<PeerCertificate>,
        asked: Arc<AtomicBool>,
    ) -> impl Service + use<> {
        let (router, parting) = (self.router.clone(), self.parting.clone());
        hyper::service::service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer.ip()));
            if let Some(shown) = certificate.clone() {
                request.extensions_mut().insert(shown);
            }
            let (router, parting) = (router.clone(), parting.clone());
            async move {
                let is_alone = request.version() <= Version::HTTP_11;
                let has_body = !request.body().is_end_stream();
                let mut answer = if names_one_host(&request) {
                    router.oneshot(request).await?
                } else {
                    let detail = "the request does not name one host";
                    let problem = Problem::new(StatusCode::BAD_REQUEST, detail);
                    trace::signed(problem.into_response(), &OsEntropy)
                };
                // What is left of a body that nobody reads any more is taken for no request.
                let is_left = has_body && answer.extensions().get::<Panicked>().is_some();
                if is_alone && (is_left || parting.has_begun()) {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok(answer)
            }
        })
    }
}

/// The certificate that a client showed in the handshake. One that cannot be read is none.
fn certificate(shown: Option<&[CertificateDer<'_>]>) -> Option<PeerCertificate> {
    match ClientCertificate::read(shown?) {
        Ok(shown) => Some(PeerCertificate(Arc::new(shown))),
        Err(refused) => {
            tracing::info!(%refused, "a client certificate is passed over");
            None
        }
    }
}

/// RFC 9112 §3.2: of two hosts, two servers could take different ones; HTTP/1.1 has one in any case.
fn names_one_host<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() != Version::HTTP_11)
}

/// Connections end in many ways, most of them the other side's.
fn ended(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke");
    }
}

#[cfg(test)]
mod tests;
