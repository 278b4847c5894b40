//! HTTP/1.1 as a client: pooled connections, a deadline for every request, bounded answers.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tegata_core::Outward;
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    sync::Semaphore,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

pub mod freshness;

/// The TLS that [`Transport::with_tls`] takes its configuration from.
pub use tokio_rustls::rustls;

/// With so many origins, those that nobody uses are forgotten.
const MOST_POOLS: usize = 64;

/// How much a [`Transport`] may use.
#[derive(Debug, Clone, Copy)]
pub struct TransportLimits {
    /// For one request, from asking for a connection to the last byte of the answer.
    pub timeout: Duration,
    /// Idle connections kept for each origin.
    pub idle: usize,
    /// Open connections for each origin; who needs another waits.
    pub open: usize,
    /// Bytes of an answer's body.
    pub answer: usize,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(1), idle: 20, open: 30, answer: 8 << 20 }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportFailed {
    /// The address is not one that can be called.
    #[error("`{0}` is not an address: give one such as `https://orders.example/path`")]
    Address(String),
    /// The address begins with `http:` and is not on this machine.
    #[error(
        "`{0}` would be called without TLS, and tokens would travel in the clear: \
         use `https`, or allow it with `danger_plain_http` where the network encrypts"
    )]
    PlainHttp(String),
    /// The address begins with `https:` and nobody said whom to trust.
    #[error("`{0}` needs TLS: give the transport a configuration with `with_tls`")]
    NoTls(String),
    /// No connection was made, so nothing was asked.
    #[error("`{origin}` cannot be reached: {reason}")]
    Unreachable {
        /// Scheme, host and port.
        origin: String,
        /// What the system says.
        reason: String,
    },
    /// Too many are asked already: nothing was sent.
    #[error("`{origin}` is not asked now: too many requests are under way, or went out lately")]
    Crowded {
        /// Scheme, host and port.
        origin: String,
    },
    /// The time was up. Whether the request was worked on is not known.
    #[error("`{origin}` did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// Scheme, host and port.
        origin: String,
        /// The limit.
        after: Duration,
    },
    /// The connection broke. Whether the request was worked on is not known.
    #[error("`{origin}` broke off: {reason}")]
    Broken {
        /// Scheme, host and port.
        origin: String,
        /// What happened.
        reason: String,
    },
    /// The answer is longer than its limit.
    #[error("the answer of `{origin}` is longer than {limit} bytes")]
    TooLong {
        /// Scheme, host and port.
        origin: String,
        /// The limit.
        limit: usize,
    },
}

impl TransportFailed {
    /// Whether the other side certainly did nothing, so that any request may be repeated.
    #[must_use]
    pub const fn was_not_sent(&self) -> bool {
        !matches!(self, Self::Timeout { .. } | Self::Broken { .. } | Self::TooLong { .. })
    }

    /// Whether another attempt could end otherwise.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Crowded { .. }
                | Self::Timeout { .. }
                | Self::Broken { .. }
        )
    }
}

/// Whoever says whether another request may go out now: for addresses that somebody else names.
pub trait Gate: Send + Sync {
    /// Lets a request to a host go out. It is under way until what this answers is dropped. `None`: too
    /// many are.
    fn admit(&self, host: &str) -> Option<Box<dyn Send>>;
}

/// Sends requests. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Transport {
    pools: Arc<Mutex<HashMap<Origin, Arc<Pool>>>>,
    tls: Option<TlsConnector>,
    plain_http: bool,
    outward: Option<Arc<Outward>>,
    gate: Option<Arc<dyn Gate>>,
    socket: Option<Arc<Path>>,
    limits: TransportLimits,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Origin {
    tls: bool,
    host: String,
    port: u16,
}

struct Pool {
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    permits: Semaphore,
}

impl Transport {
    /// A transport that speaks plain HTTP with this machine, and nothing else.
    #[must_use]
    pub fn new(limits: TransportLimits) -> Self {
        let (tls, outward, gate, socket) = (None, None, None, None);
        Self { pools: Arc::default(), tls, plain_http: false, outward, gate, socket, limits }
    }

    /// The same over a Unix socket: whatever host an address names, whoever listens there is asked. For
    /// addresses that begin with `http:`.
    #[must_use]
    pub fn over_socket(mut self, path: PathBuf) -> Self {
        self.socket = Some(path.into());
        self.pools = Arc::default();
        self
    }

    /// The same under other limits, with connections of its own.
    #[must_use]
    pub fn within(&self, limits: TransportLimits) -> Self {
        Self { pools: Arc::default(), limits, ..self.clone() }
    }

    /// The same, and `https:` under this configuration, which says whom to trust and holds the
    /// client's own certificate where it has one.
    #[must_use]
    pub fn with_tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(TlsConnector::from(config));
        self.pools = Arc::default();
        self
    }

    /// The same, and `http:` with every host: whoever listens on the way reads the tokens.
    #[must_use]
    pub const fn danger_plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// The same, calling these addresses alone: for addresses that somebody else names. What a name
    /// leads to is looked at each time that a connection is made, and what was looked at is what is
    /// called.
    #[must_use]
    pub fn only_to(mut self, outward: Outward) -> Self {
        self.outward = Some(Arc::new(outward));
        self.pools = Arc::default();
        self
    }

    /// The same, sending no more than a gate lets out.
    #[must_use]
    pub fn gated(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Sends a request, whose address is absolute, and reads the whole answer. Redirects are
    /// answers like any other.
    ///
    /// # Errors
    /// [`TransportFailed`].
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportFailed> {
        let origin = self.origin(request.uri())?;
        let request = in_origin_form(request, &origin)?;
        let crowded = || TransportFailed::Crowded { origin: origin.to_string() };
        let gate = self.gate.as_ref();
        let _place = gate.map(|gate| gate.admit(&origin.host).ok_or_else(crowded)).transpose()?;
        let after = self.limits.timeout;
        tokio::time::timeout(after, self.exchange(&origin, request))
            .await
            .unwrap_or_else(|_| Err(TransportFailed::Timeout { origin: origin.to_string(), after }))
    }

    fn origin(&self, uri: &Uri) -> Result<Origin, TransportFailed> {
        let address = || TransportFailed::Address(uri.to_string());
        let (scheme, authority) =
            (uri.scheme_str().ok_or_else(address)?, uri.authority().ok_or_else(address)?);
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(address()),
        };
        if authority.as_str().contains('@') {
            return Err(address());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let origin = Origin { tls, host, port };
        if tls && self.tls.is_none() {
            return Err(TransportFailed::NoTls(origin.to_string()));
        }
        let stays_here = self.socket.is_some() || is_this_machine(&origin.host);
        if !tls && !self.plain_http && !stays_here {
            return Err(TransportFailed::PlainHttp(origin.to_string()));
        }
        Ok(origin)
    }

    async fn exchange(
        &self,
        origin: &Origin,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, TransportFailed> {
        let pool = self.pool(origin);
        let broken =
            |reason: String| TransportFailed::Broken { origin: origin.to_string(), reason };
        let _permit =
            pool.permits.acquire().await.map_err(|_| broken("it is closed".to_owned()))?;
        loop {
            let (mut sender, reused) = match pool.take() {
                Some(sender) => (sender, true),
                None => (self.connect(origin).await?, false),
            };
            if sender.ready().await.is_err() {
                if reused {
                    continue;
                }
                return Err(broken("it hung up".to_owned()));
            }
            let response = match sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => match error.take_message() {
                    // The other side had closed the idle connection, and nothing was sent.
                    Some(unsent) if reused => {
                        request = unsent;
                        continue;
                    }
                    _ => return Err(broken(error.into_error().to_string())),
                },
            };
            let (head, body) = response.into_parts();
            let limit = self.limits.answer;
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    TransportFailed::TooLong { origin: origin.to_string(), limit }
                } else {
                    broken(error.to_string())
                }
            })?;
            pool.put_back(sender, self.limits.idle);
            return Ok(Response::from_parts(head, body.to_bytes()));
        }
    }

    fn pool(&self, origin: &Origin) -> Arc<Pool> {
        let mut pools = self.pools.lock();
        if let Some(pool) = pools.get(origin) {
            return Arc::clone(pool);
        }
        // Whoever is called once is not kept in mind for ever.
        if pools.len() >= MOST_POOLS {
            pools.retain(|_, pool| Arc::strong_count(pool) > 1 || pool.has_idle());
        }
        let pool =
            Pool { idle: Mutex::default(), permits: Semaphore::new(self.limits.open.max(1)) };
        Arc::clone(pools.entry(origin.clone()).or_insert(Arc::new(pool)))
    }

    async fn connect(&self, origin: &Origin) -> Result<SendRequest<Full<Bytes>>, TransportFailed> {
        let failed = |error: &dyn fmt::Display| TransportFailed::Unreachable {
            origin: origin.to_string(),
            reason: error.to_string(),
        };
        if let Some(path) = self.socket.as_deref().filter(|_| !origin.tls) {
            let stream = UnixStream::connect(path).await.map_err(|error| failed(&error))?;
            return start(stream).await.map_err(|error| failed(&error));
        }
        let named = (origin.host.as_str(), origin.port);
        let stream = match &self.outward {
            None => TcpStream::connect(named).await,
            Some(outward) => {
                let found = lookup_host(named).await.map_err(|error| failed(&error))?;
                let admitted: Vec<_> = found.filter(|it| outward.admits(it.ip())).collect();
                if admitted.is_empty() {
                    return Err(failed(&"it leads to no address that may be called from here"));
                }
                TcpStream::connect(admitted.as_slice()).await
            }
        };
        let stream = stream.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        match &self.tls {
            Some(tls) if origin.tls => {
                let name =
                    ServerName::try_from(origin.host.clone()).map_err(|error| failed(&error))?;
                let stream = tls.connect(name, stream).await.map_err(|error| failed(&error))?;
                start(stream).await.map_err(|error| failed(&error))
            }
            _ => start(stream).await.map_err(|error| failed(&error)),
        }
    }

    /// Closes idle connections; those in use close when they are done.
    pub fn close_idle(&self) {
        self.pools.lock().clear();
    }
}

impl Default for Transport {
    fn default() -> Self {
        Self::new(TransportLimits::default())
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl Pool {
    /// A connection that was open when it was last looked at.
    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock();
        while let Some(sender) = idle.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Whether a connection waits that is still open.
    fn has_idle(&self) -> bool {
        let mut idle = self.idle.lock();
        idle.retain(|sender| !sender.is_closed());
        !idle.is_empty()
    }

    fn put_back(&self, sender: SendRequest<Full<Bytes>>, most: usize) {
        let mut idle = self.idle.lock();
        if idle.len() < most && !sender.is_closed() {
            idle.push(sender);
        }
    }
}

async fn start<S>(stream: S) -> hyper::Result<SendRequest<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the sender is dropped or the other side hangs up. What goes wrong with a request is
    // told to the request.
    tokio::spawn(connection);
    Ok(sender)
}

/// RFC 9112 §3.2.1: toward an origin server the target is the path, and `Host` says the rest.
fn in_origin_form(
    request: Request<Bytes>,
    origin: &Origin,
) -> Result<Request<Full<Bytes>>, TransportFailed> {
    let (mut head, body) = request.into_parts();
    let address = || TransportFailed::Address(origin.to_string());
    let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
    let host = HeaderValue::try_from(host.unwrap_or_default()).map_err(|_| address())?;
    head.headers.insert(header::HOST, host);
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    head.uri = Uri::try_from(path).map_err(|_| address())?;
    Ok(Request::from_parts(head, Full::new(body)))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
