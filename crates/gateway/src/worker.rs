//! One thread with its own runtime, its own connections and its own caches. What happens for a
//! request happens here, on one core.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    convert::Infallible,
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http::{Method, Version, header};
use hyper::service::service_fn;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tegata_core::{
    Place, SinceBoot,
    caught::{Panicked, caught},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    body::Reply,
    config::{Config, Services},
    encode,
    ext_authz::door::Asking,
    gate::{Freshness, Gate, Gates, Seen},
    gateway::turned,
    guard::{Fault, LARGEST_BLOCK},
    memory::{self, CONNECTION, CONNECTION_TLS},
    metrics::OfService,
    passport::Passports,
    phase::{admit, record},
    refusal::{Refusal, Refused},
    shed::{Reason, Seat, Shed},
    stream::Stream,
    timer::Deadlines,
    trace::Names,
    upstream::{Address, Pool, PoolKey},
    wire::{Connection, Holds, Shared, Ticket, Told, Wire},
};

mod aggregate;
mod check;
mod exchange;
mod forward;
mod graphql;
mod send;

/// A connection as it was accepted.
pub(crate) struct Accepted {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    /// Its place among those of its client, and among those of the worker.
    pub(crate) place: Place,
    pub(crate) seat: Seat,
    /// Whether an idle one has to go for it, or it has to.
    pub(crate) instead: bool,
}

/// What a worker is handed.
pub(crate) enum Handed {
    /// A connection of a client.
    Client(Accepted),
    /// One of Envoy, which asks about requests of its own.
    Asking(Asking),
}

/// What one thread has for itself.
pub(crate) struct Worker {
    pub(crate) gate: Arc<Gates>,
    /// The same, as it is at a moment.
    pub(crate) seen: Seen,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) freshness: Freshness,
    pub(crate) passports: Passports,
    pub(crate) names: Names,
    /// What is counted that leads to no service, and what leads to Tegata's own pages.
    pub(crate) here: Arc<OfService>,
    pub(crate) public: Arc<OfService>,
    pub(crate) hsts: Option<http::HeaderValue>,
    /// For answers that are compressed.
    pub(crate) coders: encode::Room,
    pools: RefCell<Pools>,
    turn: Cell<usize>,
    tls: Option<TlsAcceptor>,
    draining: Cell<bool>,
    connections: Cell<usize>,
    number: usize,
    pub(crate) shed: Rc<Shed>,
    /// The connections that there are, and some that there were.
    open: RefCell<Vec<Weak<Connection>>>,
}

/// What workers are made from.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) gate: Arc<Gates>,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// The connections to services.
struct Pools {
    /// How they were made.
    said: Arc<Services>,
    services: Rc<Services>,
    all: HashMap<PoolKey, Rc<Pool>>,
}

impl Pools {
    fn new(said: Arc<Services>) -> Self {
        let services = Rc::new((*said).clone());
        Self { said, services, all: HashMap::new() }
    }
}

/// Spawns the streams of an HTTP/2 connection on the thread's own runtime.
#[derive(Debug, Clone)]
struct Local(Rc<Connection>);

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(self.0.clone().run_stream(future));
    }
}

impl Worker {
    pub(crate) fn new(plan: &Plan, number: usize) -> Rc<Self> {
        let (gate, now) = (&plan.gate, plan.gate.now());
        let config = &now.config;
        let deadlines = Rc::new(Deadlines::default());
        deadlines.see(gate.node.since_boot());
        let hsts = config
            .hsts
            .and_then(|age| http::HeaderValue::try_from(format!("max-age={}", age.as_secs())).ok());
        let passports = Passports::new(gate.node.clone(), gate.epoch, &config.internal);
        passports.use_signer((gate.signer)());
        Rc::new(Self {
            freshness: Freshness::default(),
            passports,
            names: Names::new(&gate.node),
            here: gate.metrics.service("gateway"),
            public: gate.metrics.service("public"),
            hsts,
            coders: encode::Room::new(&gate.load.memory),
            pools: RefCell::new(Pools::new(Arc::clone(&now.ways.services))),
            turn: Cell::new(0),
            tls: plan.tls.clone(),
            draining: Cell::new(false),
            connections: Cell::new(0),
            number,
            shed: Shed::new(&gate.load, number),
            open: RefCell::default(),
            deadlines,
            seen: gate.seen(),
            gate: Arc::clone(gate),
        })
    }

    /// Serves connections until it is told to stop, and then until those that are in use have ended,
    /// or it has been long enough.
    pub(crate) async fn run(
        self: Rc<Self>,
        mut accepted: mpsc::Receiver<Handed>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut length = tick_length(&self.seen.now().config);
        let mut ticks = every(length);
        let (mut open, mut until) = (true, None);
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {
                    self.tick();
                    let now = tick_length(&self.seen.now().config);
                    if now != length {
                        (length, ticks) = (now, every(now));
                    }
                }
                // What came in before the door was closed is still served when it is.
                accepted = accepted.recv(), if open => match accepted {
                    Some(Handed::Client(accepted)) => self.accept(accepted),
                    Some(Handed::Asking(asking)) => self.listen_to(asking),
                    None => {
                        open = false;
                        until = until.or_else(|| Some(self.drain()));
                    }
                },
                many = self.gate.load.asked(self.number) => {
                    self.end_idle(many);
                }
                // Whoever could tell it to stop is gone: it stops.
                _ = stop.wait_for(|stop| *stop), if until.is_none() => until = Some(self.drain()),
            }
            let Some(until) = until else { continue };
            let is_done = !open && self.connections.get() == 0;
            if is_done || self.gate.node.since_boot() >= until {
                break;
            }
        }
    }

    /// Closes so many connections on which nothing is asked for, those first that have been so for longest.
    /// Answers whether there were any.
    fn end_idle(&self, many: usize) -> bool {
        let now = self.deadlines.now();
        let all = self.open.borrow();
        let idle = all.iter().filter_map(Weak::upgrade);
        let mut idle: Vec<_> = idle.filter_map(|it| Some((it.idle_since(now)?, it))).collect();
        drop(all);
        idle.sort_unstable_by_key(|(since, _)| *since);
        idle.iter().take(many).for_each(|(_, connection)| connection.end());
        many > 0 && !idle.is_empty()
    }

    /// Remembers a connection, and none that has ended for long.
    fn note_open(&self, connection: &Rc<Connection>) {
        let mut open = self.open.borrow_mut();
        if open.len() > 64 && open.len() > 2 * self.connections.get() {
            open.retain(|it| it.strong_count() > 0);
        }
        open.push(Rc::downgrade(connection));
    }

    /// Whether it has been told to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether clients are to go elsewhere.
    pub(crate) fn is_parting(&self) -> bool {
        self.is_draining() || self.gate.parting.has_begun()
    }

    /// The connections to an address.
    pub(crate) fn pool(&self, address: &Address) -> Rc<Pool> {
        let (mut pools, key) = (self.pools.borrow_mut(), address.pool_key());
        if let Some(pool) = pools.all.get(&key) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Pool::new(address, &pools.services, &self.deadlines));
        pools.all.insert(key, Rc::clone(&pool));
        pool
    }

    /// Reaches services from now on as `gate` says. Where that is otherwise than before, connections
    /// are opened anew; whoever uses one ends on it.
    fn reach_as(&self, gate: &Gate) {
        let mut pools = self.pools.borrow_mut();
        if !Arc::ptr_eq(&pools.said, &gate.ways.services) {
            *pools = Pools::new(Arc::clone(&gate.ways.services));
        }
    }

    /// Whose turn it is.
    pub(crate) fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    fn tick(&self) {
        let now = self.gate.node.since_boot();
        self.deadlines.tick(now);
        self.shed.pass_time(now);
        self.gate.load.memory.tell();
        self.passports.use_signer((self.gate.signer)());
        // Whoever holds one is about to connect.
        self.reach_as(&self.seen.now());
        self.pools.borrow_mut().all.retain(|_, pool| pool.tidy(now) || Rc::strong_count(pool) > 1);
    }

    /// Lets connections end when they are not in use. Answers when those that are will be cut.
    fn drain(&self) -> SinceBoot {
        self.draining.set(true);
        self.deadlines.wake_all();
        SinceBoot(self.gate.node.since_boot().0 + self.seen.now().config.deadlines.drain)
    }

    fn accept(self: &Rc<Self>, accepted: Accepted) {
        let Accepted { stream, peer, place, seat, instead } = accepted;
        let (taken, _) = self.gate.load.of(self.number);
        let beyond = taken.saturating_sub(self.seen.now().config.limits.connections);
        // Some more at once, so that not every one that comes has all looked at.
        let spare = beyond.max(usize::from(instead));
        let has_gone = spare == 0 || self.end_idle(spare.max(taken / 64));
        let counted = (Open::new(self), place);
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _counted = counted;
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            let Ok(stream) = stream else { return };
            // Answers are written whole; waiting for more to send would only delay them.
            let _ = stream.set_nodelay(true);
            if has_gone {
                worker.serve(stream, peer, seat).await;
            } else {
                // Room of its own: every connection would have it otherwise, as long as it lasts.
                Box::pin(worker.turn_away(stream, seat)).await;
            }
        });
    }

    /// Tells a client that there is no room for it.
    async fn turn_away(&self, stream: TcpStream, _seat: Seat) {
        self.gate.metrics.shed().count(Reason::Connections);
        if self.tls.is_some() {
            return;
        }
        let own = (&self.names, &*self.here);
        turned::excuse(stream, self.next_turn(), own, self.hsts.as_ref()).await;
    }

    async fn serve(self: Rc<Self>, stream: TcpStream, peer: SocketAddr, seat: Seat) {
        // A connection keeps the times that it began with; each of its requests has those of then.
        let config = self.seen.now().config.deadlines.clone();
        // Its time begins now, not when time was last looked at.
        self.deadlines.see(self.gate.node.since_boot());
        let secure = self.tls.is_some();
        let waits = (config.head, config.idle);
        let memory = &self.gate.load.memory;
        let _charge = memory.charge(if secure { CONNECTION_TLS } else { CONNECTION });
        let window = memory.whole_window();
        let holds = Holds { memory: Arc::clone(memory), window, idle: seat.idle() };
        let connection = Connection::new(peer.ip(), secure, &self.deadlines, waits, holds);
        let connection = Rc::new(connection);
        self.note_open(&connection);
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            // What is over when the connection begins, or begins when it is over, has room of its own: while it
            // is idle, it would keep that, too.
            Some(tls) => match Box::pin(self.shake(tls.accept(stream), &connection)).await {
                Some(stream) => {
                    connection.note_certificate(stream.get_ref().1.peer_certificates());
                    Stream::Tls(Box::new(stream.into()))
                }
                None => return,
            },
        };
        let refusing = Rc::clone(&self);
        let refuse = move |refused: &Refused| refusing.written(refused, peer.ip());
        let wire =
            Wire::new(stream, Rc::clone(&connection), &self.deadlines, config.client, refuse);
        let (worker, of) = (Rc::clone(&self), Rc::clone(&connection));
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            // Taken now, not when the answer is first asked for: the reader looks at it in between.
            let (worker, taken) = (Rc::clone(&worker), of.take(request.uri()));
            let of = Rc::clone(&of);
            async move {
                of.look().await;
                let answer = exchanged(worker, taken, request).await;
                of.note_answer();
                Ok::<_, Infallible>(answer)
            }
        });
        let http = http_builder(Local(connection.clone()), window);
        let (wire, left) = Shared::new(wire);
        let mut serving = pin!(http.serve_connection(TokioIo::new(wire), service));
        let mut told = false;
        let served = std::future::poll_fn(|cx| {
            if connection.is_expired(cx) {
                return Poll::Ready(false);
            }
            // What came in before the door was closed is served.
            if self.is_draining() && !told && !connection.hurry() {
                told = true;
                serving.as_mut().graceful_shutdown();
            }
            // How a connection ends concerns its client alone.
            serving.as_mut().poll(cx).map(|served| served.is_ok())
        })
        .await;
        if let Some(tunnel) = connection.tunnel().filter(|_| served) {
            Box::pin(tunnel.run(&self, left)).await;
        }
    }

    /// A TLS handshake, unless the client takes too long. Why there was none is counted.
    async fn shake<S>(
        &self,
        handshake: impl Future<Output = io::Result<S>>,
        connection: &Connection,
    ) -> Option<S> {
        let mut handshake = pin!(handshake);
        let shaken = std::future::poll_fn(|cx| match handshake.as_mut().poll(cx) {
            Poll::Ready(shaken) => Poll::Ready(Some(shaken)),
            Poll::Pending if connection.is_expired(cx) => {
                Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
            }
            // That it is stopped is no failure of the client's.
            Poll::Pending if self.is_draining() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let now = self.gate.node.since_boot();
        let handshakes = self.gate.metrics.handshakes();
        shaken.inspect_err(|error| handshakes.failed("gateway", connection.peer, now, error)).ok()
    }

    /// A refusal as HTTP/1 writes it, for requests of which no more can be understood. They count
    /// and are written down like others.
    fn written(&self, refused: &Refusal, peer: IpAddr) -> Told {
        let name = self.names.next();
        admit::count_unread(&self.seen.now(), peer, self.gate.node.since_boot());
        let recording = record::unread(&self.seen.now(), &name, peer, refused, &self.here);
        let answer = refused.written(name.as_str(), self.hsts.as_ref());
        let hsts = self.hsts.clone();
        Told(match recording {
            None => Box::pin(std::future::ready(answer)),
            Some(recording) => Box::pin(async move {
                match recording.await {
                    Ok(()) => answer,
                    Err(unrecorded) => unrecorded.written(name.as_str(), hsts.as_ref()),
                }
            }),
        })
    }
}

/// One request and its answer, with room of their own: a connection would keep it while it is idle.
fn exchanged(
    worker: Rc<Worker>,
    taken: (Ticket, Option<Fault>),
    request: http::Request<hyper::body::Incoming>,
) -> impl Future<Output = http::Response<Reply>> {
    Box::pin(async move {
        let version = request.version();
        // With HTTP/1 its own side of the connection leaves it out.
        let is_bare = *request.method() == Method::HEAD && is_framed(version);
        let (name, ticket) = (worker.names.next(), taken.0.again());
        let answered = caught(worker.exchange(taken, name, request)).await;
        let mut response =
            answered.unwrap_or_else(|Panicked| worker.failed(name, version, &ticket));
        if is_bare && let Some(length) = response.body_mut().leave_out() {
            response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        response
    })
}

fn every(span: Duration) -> Interval {
    let mut ticks = interval(span);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// How often deadlines are looked at: often enough for the shortest of them.
fn tick_length(config: &Config) -> Duration {
    let (client, service) = (&config.deadlines, &config.upstream);
    let all = [
        client.head,
        client.idle,
        client.client,
        client.drain,
        service.connect,
        service.answer,
        service.pause,
        service.idle,
    ];
    let shortest = all.into_iter().min().unwrap_or_default();
    (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(250))
}

fn http_builder(local: Local, window: u32) -> auto::Builder<Local> {
    let mut builder = auto::Builder::new(local);
    // The watch over the framing lets heads pass that are as large as they may be; with what comes
    // behind them, they fit.
    builder.http1().max_buf_size(128 * 1024).header_read_timeout(None);
    builder
        .http2()
        // WebSockets come with it (RFC 8441 §3).
        .enable_connect_protocol()
        .max_concurrent_streams(100)
        // Who makes the gateway reset them costs services as much as who resets them (CVE-2025-8671).
        .max_local_error_reset_streams(100)
        .max_header_list_size(u32::try_from(LARGEST_BLOCK).unwrap_or(u32::MAX))
        .initial_stream_window_size(memory::WINDOW)
        .initial_connection_window_size(window)
        .max_send_buf_size(128 * 1024);
    builder
}

/// Whether a request came with frames, whose streams end one by one.
pub(crate) const fn is_framed(version: Version) -> bool {
    matches!(version, Version::HTTP_2)
}

/// An open connection, until it is dropped.
struct Open(Rc<Worker>);

impl Open {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get().saturating_sub(1));
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Worker({} connections)", self.connections.get())
    }
}
