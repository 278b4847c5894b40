//! Connections to services: each worker keeps its own, so that nothing is locked and no request
//! crosses a core.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, Uri, Version, header, uri};
use hyper::{body::Incoming, client::conn::http1, ext::Protocol as Tunnelled};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tegata_core::SinceBoot;
use tegata_mesh::{Protocol, Scheme, Upstream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    Address, Claim, Room,
    http2::{Multiplexed, Place},
};
use crate::{
    body::{Progress, Upload},
    config::Services,
    socket::{self, Opening},
    stream::Stream,
    timer::{Deadline, Deadlines},
};

/// The connections to one address.
pub(crate) struct Pool {
    upstream: Upstream,
    /// `Host` for requests to it.
    pub(crate) host: HeaderValue,
    /// The same, for requests over HTTP/2.
    authority: Option<uri::Authority>,
    tls: Option<TlsConnector>,
    /// The name that its certificate has, where it is another than the host.
    server_name: Option<String>,
    idle: RefCell<Vec<Idle>>,
    /// Connections that carry many requests at once.
    shared: RefCell<Vec<Rc<Multiplexed>>>,
    /// Held by whoever opens such a connection: all others wait for a place on it.
    opening: tokio::sync::Mutex<()>,
    /// How many connections there are, idle ones included.
    open: Rc<Cell<usize>>,
    /// How often there should have been one more, and was not.
    failures: Cell<u64>,
    config: Rc<Services>,
    deadlines: Rc<Deadlines>,
}

struct Idle {
    sender: http1::SendRequest<Upload>,
    since: SinceBoot,
}

/// The right to send a request on a connection.
pub(crate) struct Lease {
    pool: Rc<Pool>,
    sender: Sender,
    /// Whether the connection has carried a request before, so that its other end may just have
    /// closed it.
    pub(crate) reused: bool,
    upload: Rc<Progress>,
    now: SinceBoot,
    /// What the request counts as, as long as this is held.
    pub(crate) counts: Option<(Claim, Option<Room>)>,
}

/// How a connection speaks.
enum Sender {
    Http1(http1::SendRequest<Upload>),
    Http2(Place),
}

/// A connection, or a stream of one, that is used for something else than requests. It counts until this is
/// dropped.
pub(crate) struct Held {
    _counts: Option<(Claim, Option<Room>)>,
    _counted: Option<Counted>,
    _place: Option<Place>,
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoConnection {
    /// The address could not be reached.
    Unreachable,
    /// It did not accept in time.
    Late,
    /// There are as many connections as there may be.
    Full,
}

/// Why there is no response.
pub(crate) enum NoResponse {
    /// The connection was closed before the request was sent; here it is.
    NotSent(Box<Request<Upload>>),
    /// The connection was closed, or the response is malformed. The request may have had an effect.
    Broken,
    /// There was no answer in time.
    Late,
}

impl Pool {
    pub(crate) fn new(address: &Address, config: &Rc<Services>, deadlines: &Rc<Deadlines>) -> Self {
        let upstream = &address.upstream;
        let default_port = upstream.port() == upstream.scheme().default_port();
        let authority = upstream.authority();
        let host = match authority.rsplit_once(':') {
            Some((host, _)) if default_port => host,
            _ => &authority,
        };
        let outward = address.outward().filter(|_| upstream.scheme() == Scheme::Https);
        let tls = outward.and_then(|outward| outward.config());
        let tls = tls.map(|config| match upstream.protocol() {
            Protocol::Http1 | Protocol::H2c => config,
            Protocol::H2 => {
                let mut config = rustls::ClientConfig::clone(&config);
                config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
                Arc::new(config)
            }
        });
        Self {
            upstream: upstream.clone(),
            // Hosts of upstreams are names and addresses.
            host: HeaderValue::from_str(host).unwrap_or_else(|_| HeaderValue::from_static("")),
            authority: host.parse().ok(),
            tls: tls.map(TlsConnector::from),
            server_name: outward.and_then(|outward| outward.server_name()).map(str::to_owned),
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: tokio::sync::Mutex::default(),
            open: Rc::default(),
            failures: Cell::new(0),
            config: Rc::clone(config),
            deadlines: Rc::clone(deadlines),
        }
    }

    /// A connection that is ready, or a new one. With `fresh`, a new one.
    pub(crate) async fn lease(
        self: &Rc<Self>,
        upload: &Rc<Progress>,
        now: SinceBoot,
        fresh: bool,
    ) -> Result<Lease, NoConnection> {
        // What is seldom waited for has room of its own: each request would carry it otherwise.
        if !self.upstream.protocol().is_http1() {
            return match self.shared_place(upload, now) {
                Some(lease) => Ok(lease),
                None => Box::pin(self.lease_shared(upload, now)).await,
            };
        }
        if !fresh && let Some(sender) = self.take_idle() {
            return Ok(self.leased(Sender::Http1(sender), true, upload, now));
        }
        // Seldom needed, and large: every request would have room for it.
        Box::pin(self.open_one(upload, now)).await
    }

    /// A place on a connection that carries many requests, where one is free.
    fn shared_place(self: &Rc<Self>, upload: &Rc<Progress>, now: SinceBoot) -> Option<Lease> {
        let place = self.shared.borrow().iter().find_map(Multiplexed::place)?;
        place.note(now);
        // Whatever was not sent on it comes back, so that its age is no excuse for what was.
        Some(self.leased(Sender::Http2(place), false, upload, now))
    }

    /// A place on a connection that carries many requests, or on a new one. One opens it for all who wait: they
    /// would each open one of their own otherwise, and use one.
    async fn lease_shared(
        self: &Rc<Self>,
        upload: &Rc<Progress>,
        now: SinceBoot,
    ) -> Result<Lease, NoConnection> {
        let failures = self.failures.get();
        let opening = self.opening.lock().await;
        if let Some(lease) = self.shared_place(upload, now) {
            return Ok(lease);
        }
        // The service may have chosen HTTP/1.1.
        if let Some(sender) = self.take_idle() {
            return Ok(self.leased(Sender::Http1(sender), true, upload, now));
        }
        if self.failures.get() != failures {
            // Whoever was waited for could not reach it, and nobody else can.
            return Err(NoConnection::Unreachable);
        }
        let lease = Box::pin(self.open_one(upload, now)).await;
        drop(opening);
        lease
    }

    /// A new connection.
    async fn open_one(
        self: &Rc<Self>,
        upload: &Rc<Progress>,
        now: SinceBoot,
    ) -> Result<Lease, NoConnection> {
        if self.open.get() >= self.config.connections {
            return Err(NoConnection::Full);
        }
        // Counted from the beginning, so that many that connect at once keep the limit too.
        let counted = Counted::new(self);
        let deadline = self.deadlines.slot();
        deadline.arm(self.config.connect);
        let connected = async {
            match self.connect().await? {
                (stream, true) => self.shake_framed(stream, counted, now).await,
                (stream, false) => self.shake(stream, counted).await.map(Sender::Http1),
            }
        };
        match within(Some(&deadline), pin!(connected)).await {
            Some(Ok(sender)) => Ok(self.leased(sender, false, upload, now)),
            // Nothing was learnt of the address: it is this side that has nothing left to reach it with.
            Some(Err(error)) if is_scarce(&error) => Err(NoConnection::Full),
            failed => {
                self.failures.set(self.failures.get() + 1);
                Err(if failed.is_some() { NoConnection::Unreachable } else { NoConnection::Late })
            }
        }
    }

    /// Closes connections that have been idle for too long, or whose other end is gone. Answers whether
    /// there is anything left to remember of the address.
    pub(crate) fn tidy(&self, now: SinceBoot) -> bool {
        let kept = self.config.idle;
        self.idle
            .borrow_mut()
            .retain(|idle| !idle.sender.is_closed() && now.since(idle.since) < kept);
        self.shared.borrow_mut().retain(|shared| shared.is_kept(now, kept));
        self.open.get() > 0
    }

    /// The connection that was used last, so that those that are not needed become old.
    fn take_idle(&self) -> Option<http1::SendRequest<Upload>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.sender.is_closed());
        let ready = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        Some(idle.swap_remove(ready).sender)
    }

    fn leased(
        self: &Rc<Self>,
        sender: Sender,
        reused: bool,
        upload: &Rc<Progress>,
        now: SinceBoot,
    ) -> Lease {
        let (pool, upload) = (Rc::clone(self), Rc::clone(upload));
        Lease { pool, sender, reused, upload, now, counts: None }
    }

    /// Connects, and finds out whether HTTP/2 is spoken.
    async fn connect(&self) -> io::Result<(Stream, bool)> {
        // INVARIANT: what is declared with TLS is not reached without.
        if self.upstream.scheme() == Scheme::Https && self.tls.is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (host, port) = (self.upstream.host(), self.upstream.port());
        let stream = match host.parse::<IpAddr>() {
            Ok(address) => TcpStream::connect(SocketAddr::new(address, port)).await?,
            Err(_) => TcpStream::connect((host, port)).await?,
        };
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok((Stream::Plain(stream), self.upstream.protocol() == Protocol::H2c));
        };
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = tls.connect(name, stream).await?;
        let framed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Stream::Tls(Box::new(stream.into())), framed))
    }

    async fn shake_framed(
        self: &Rc<Self>,
        stream: Stream,
        counted: Counted,
        now: SinceBoot,
    ) -> io::Result<Sender> {
        let shared = Multiplexed::shake(stream, counted, now).await?;
        let place = shared.place().ok_or(io::ErrorKind::ConnectionAborted)?;
        self.shared.borrow_mut().push(shared);
        Ok(Sender::Http2(place))
    }

    async fn shake(
        &self,
        stream: Stream,
        counted: Counted,
    ) -> io::Result<http1::SendRequest<Upload>> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(LARGEST_BUFFER).max_headers(MOST_FIELDS);
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(io::Error::other)?;
        tokio::task::spawn_local(async move {
            let _counted = counted;
            // How it ends is told to whoever waits for the response.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}

/// Of what a service sends faster than the client takes it, and of its response's head.
const LARGEST_BUFFER: usize = 128 * 1024;

/// Of a response's head.
const MOST_FIELDS: usize = 256;

impl Lease {
    /// Writes into a request where it goes, in the words of the version that is spoken there.
    pub(crate) fn address(&self, request: &mut Request<Upload>) {
        match &self.sender {
            Sender::Http1(_) => {
                request.headers_mut().insert(header::HOST, self.pool.host.clone());
                if !self.pool.upstream.protocol().is_http1() {
                    words_of_http1(request);
                }
            }
            Sender::Http2(_) => self.pool.words_of_http2(request),
        }
    }

    /// Sends a request and waits for the head of the response: for `patience` since the service last took
    /// a part of the body, and less than twice as long.
    pub(crate) async fn send(
        &mut self,
        request: Request<Upload>,
        patience: Duration,
    ) -> Result<Response<Incoming>, NoResponse> {
        let deadline = self.pool.deadlines.slot();
        deadline.arm(patience);
        let sending = match &mut self.sender {
            Sender::Http1(sender) => Either::Left(sender.try_send_request(request)),
            Sender::Http2(place) => {
                let mut sender = place.on.sender();
                Either::Right(async move { sender.try_send_request(request).await })
            }
        };
        let mut sending = pin!(sending);
        let answered = loop {
            match within(Some(&deadline), sending.as_mut()).await {
                None if self.upload.moved.take() => deadline.arm(patience),
                answered => break answered,
            }
        };
        match answered {
            None => Err(NoResponse::Late),
            Some(Ok(response)) => Ok(response),
            Some(Err(mut refused)) => Err(match refused.take_message() {
                Some(request) => NoResponse::NotSent(Box::new(request)),
                None => NoResponse::Broken,
            }),
        }
    }

    /// Takes no more requests on a connection that carries many: its other end may be gone without a word, and
    /// others need not find out the same way.
    pub(crate) fn retire(&self) {
        if let Sender::Http2(place) = &self.sender {
            place.on.retire();
        }
    }

    /// Keeps the connection for the next request, if this one is over in both directions.
    pub(crate) fn give_back(self) {
        self.upload.over.set(true);
        match self.sender {
            Sender::Http1(sender) if self.upload.ended.get() && !sender.is_closed() => {
                self.pool.idle.borrow_mut().push(Idle { sender, since: self.now });
            }
            // The others on it go on.
            Sender::Http1(_) | Sender::Http2(_) => {}
        }
    }

    /// Whether the service may be asked for a socket on it.
    pub(crate) fn takes_sockets(&self) -> bool {
        match &self.sender {
            Sender::Http1(_) => true,
            Sender::Http2(place) => place.on.takes_sockets(),
        }
    }

    /// Keeps it for something else than requests.
    pub(crate) fn hold(self) -> Held {
        let (_counted, _place) = match self.sender {
            // The task that counted it ends when the connection becomes a tunnel.
            Sender::Http1(_) => (Some(Counted::new(&self.pool)), None),
            Sender::Http2(place) => (None, Some(place)),
        };
        Held { _counts: self.counts, _counted, _place }
    }
}

impl Pool {
    /// RFC 9113 §8.3.1: scheme and authority stand beside the path, and nothing is said of the connection.
    fn words_of_http2(&self, request: &mut Request<Upload>) {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(match self.upstream.scheme() {
            Scheme::Http => uri::Scheme::HTTP,
            Scheme::Https => uri::Scheme::HTTPS,
        });
        parts.authority = self.authority.clone();
        parts.path_and_query = request.uri().path_and_query().cloned();
        // Of parts that are each sound; otherwise it stays what no service is asked for.
        if let Ok(target) = Uri::from_parts(parts) {
            *request.uri_mut() = target;
        }
        *request.version_mut() = Version::HTTP_2;
        let opens = request.extensions().get::<Opening>().is_some();
        if opens {
            *request.method_mut() = Method::CONNECT;
            request.extensions_mut().insert(Tunnelled::from_static("websocket"));
        }
        let headers = request.headers_mut();
        for name in [header::HOST, header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING] {
            headers.remove(name);
        }
        if opens {
            headers.remove(header::SEC_WEBSOCKET_KEY);
        }
    }
}

/// The same request for a service that could have spoken HTTP/2 and does not, perhaps after one that does.
fn words_of_http1(request: &mut Request<Upload>) {
    if let Some(target) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(target);
    }
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().remove(header::TE);
    request.extensions_mut().remove::<Tunnelled>();
    if let Some(Opening { key }) = request.extensions().get::<Opening>().cloned() {
        *request.method_mut() = Method::GET;
        socket::ask(request.headers_mut(), &key);
    } else if hyper::body::Body::size_hint(request.body()).exact().is_none() {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
    }
}

/// Whether the system gives this process no descriptor or buffer.
fn is_scarce(error: &io::Error) -> bool {
    const SCARCE: [i32; 4] = [12, 23, 24, 105]; // ENOMEM, ENFILE, EMFILE, ENOBUFS
    error.raw_os_error().is_some_and(|error| SCARCE.contains(&error))
}

/// Waits for `future` as long as `deadline`, if there is one, lets it. It stays where it is: what is handed on by
/// value has room wherever it was.
pub(crate) fn within<'d, F: Future>(
    deadline: Option<&'d Deadline>,
    mut future: Pin<&'d mut F>,
) -> impl Future<Output = Option<F::Output>> {
    std::future::poll_fn(move |cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if deadline.is_some_and(|it| it.is_expired(cx)) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
}

/// A connection that counts, until it is dropped.
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.open.set(pool.open.get() + 1);
        Self(Rc::clone(&pool.open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({}, {} open)", self.upstream, self.open.get())
    }
}
