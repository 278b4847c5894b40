//! Connections to services: each worker keeps its own, so that nothing is locked and no request
//! crosses a core.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tegata_core::SinceBoot;
use tegata_mesh::{Scheme, Upstream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Address, Claim, Room};
use crate::{
    body::{Progress, Upload},
    config::Services,
    stream::Stream,
    timer::{Deadline, Deadlines},
};

/// The connections to one address.
pub(crate) struct Pool {
    upstream: Upstream,
    /// `Host` for requests to it.
    pub(crate) host: HeaderValue,
    tls: Option<TlsConnector>,
    /// The name that its certificate has, where it is another than the host.
    server_name: Option<String>,
    idle: RefCell<Vec<Idle>>,
    /// How many connections there are, idle ones included.
    open: Cell<usize>,
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
    sender: http1::SendRequest<Upload>,
    /// Whether the connection has carried a request before, so that its other end may just have
    /// closed it.
    pub(crate) reused: bool,
    upload: Rc<Progress>,
    now: SinceBoot,
    /// What the request counts as, as long as this is held.
    pub(crate) counts: Option<(Claim, Option<Room>)>,
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
        Self {
            upstream: upstream.clone(),
            // Hosts of upstreams are names and addresses.
            host: HeaderValue::from_str(host).unwrap_or_else(|_| HeaderValue::from_static("")),
            tls: outward.and_then(|outward| outward.config()).map(TlsConnector::from),
            server_name: outward.and_then(|outward| outward.server_name()).map(str::to_owned),
            idle: RefCell::default(),
            open: Cell::new(0),
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
        if !fresh && let Some(sender) = self.take_idle() {
            return Ok(self.leased(sender, true, upload, now));
        }
        if self.open.get() >= self.config.connections {
            return Err(NoConnection::Full);
        }
        // Counted from the beginning, so that many that connect at once keep the limit too.
        let counted = Counted::new(self);
        let deadline = self.deadlines.slot();
        deadline.arm(self.config.connect);
        let connected = within(&deadline, self.connect()).await;
        match connected {
            Some(Ok(stream)) => {
                let sender = self.shake(stream, counted).await?;
                Ok(self.leased(sender, false, upload, now))
            }
            Some(Err(_)) => Err(NoConnection::Unreachable),
            None => Err(NoConnection::Late),
        }
    }

    /// Closes connections that have been idle for too long, or whose other end is gone. Answers whether
    /// there is anything left to remember of the address.
    pub(crate) fn tidy(&self, now: SinceBoot) -> bool {
        let kept = self.config.idle;
        self.idle
            .borrow_mut()
            .retain(|idle| !idle.sender.is_closed() && now.since(idle.since) < kept);
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
        sender: http1::SendRequest<Upload>,
        reused: bool,
        upload: &Rc<Progress>,
        now: SinceBoot,
    ) -> Lease {
        let (pool, upload) = (Rc::clone(self), Rc::clone(upload));
        Lease { pool, sender, reused, upload, now, counts: None }
    }

    async fn connect(&self) -> io::Result<Stream> {
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
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(stream)) };
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = tls.connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    async fn shake(
        &self,
        stream: Stream,
        counted: Counted,
    ) -> Result<http1::SendRequest<Upload>, NoConnection> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(LARGEST_BUFFER).max_headers(MOST_FIELDS);
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|_| NoConnection::Unreachable)?;
        tokio::task::spawn_local(async move {
            let _counted = counted;
            // How it ends is told to whoever waits for the response.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// Of what a service sends faster than the client takes it, and of its response's head.
const LARGEST_BUFFER: usize = 128 * 1024;

/// Of a response's head.
const MOST_FIELDS: usize = 256;

impl Lease {
    /// Sends a request and waits for the head of the response: for `patience` since the service last took
    /// a part of the body, and less than twice as long.
    pub(crate) async fn send(
        &mut self,
        request: Request<Upload>,
        patience: Duration,
    ) -> Result<Response<Incoming>, NoResponse> {
        let deadline = self.pool.deadlines.slot();
        deadline.arm(patience);
        let mut sending = pin!(self.sender.try_send_request(request));
        let answered = loop {
            match within(&deadline, sending.as_mut()).await {
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

    /// Keeps the connection for the next request, if this one is over in both directions.
    pub(crate) fn give_back(self) {
        if self.upload.ended.get() && !self.sender.is_closed() {
            self.pool.idle.borrow_mut().push(Idle { sender: self.sender, since: self.now });
        }
    }
}

/// Waits for `future` as long as `deadline` lets it.
pub(crate) async fn within<F: Future>(deadline: &Deadline, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if deadline.is_expired(cx) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// A connection that counts, until it is dropped.
struct Counted(Rc<Pool>);

impl Counted {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.open.set(pool.open.get() + 1);
        Self(Rc::clone(pool))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({}, {} open)", self.upstream, self.open.get())
    }
}
