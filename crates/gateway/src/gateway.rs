//! The gateway as a whole: its threads, its start and its end.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use parking_lot::Mutex;
use tegata_core::{ClientCertificates, Epoch, Network, Node, Parting, Places, Realm, Secret};
use tegata_mesh::{Scheme, ServiceMap, Upstream};
use tegata_policy::{Forbid, InvalidRules, PolicySet};
use tegata_session::CookieFilter;
use tegata_token::{AccessToken, Usage, Verifier, View};
use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::{mpsc, watch},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    certified::{Certificates, Certified},
    config::{Config, Limits},
    decision_log::DecisionLog,
    dpop::{Dpop, Proofs},
    ext_authz,
    foreign::Foreign,
    gate::{Gate, Gates, Shared, Signer, Ways},
    introspection::{Asking, Introspection},
    key::KeyCheck,
    memory::Memory,
    metrics::Metrics,
    policies::Policies,
    reference::References,
    route::{Ground, Routing},
    session::SessionCheck,
    shed::Load,
    tally::{Sharing, Tally},
    tls::{self, Asks, Identity, TlsRefused},
    upstream::{Balanced, Checks},
    worker::{Handed, Plan, Worker},
};

/// How many accepted connections wait for a worker before no more are accepted.
const WAITING: usize = 1024;

mod door;
pub(crate) mod turned;

/// Whom the gateway asks.
pub struct Parts {
    /// The node that it runs on.
    pub node: Node,
    /// The epoch of the issuer, which the names of internal tokens begin with.
    pub epoch: Epoch,
    /// The services and their routes.
    pub services: ServiceMap,
    /// What is forbidden, whatever a route permits.
    pub forbids: Vec<Forbid>,
    /// Policies that take part.
    pub policies: Policies,
    /// Verifies access tokens.
    pub tokens: Arc<Verifier<AccessToken>>,
    /// What proofs of tokens that are bound to a key are asked for.
    pub dpop: Dpop,
    /// Knows access tokens of other issuers. `None`: they do not count.
    pub foreign: Option<Foreign>,
    /// Knows what has been taken back. Somebody else has it catch up.
    pub revocations: Arc<View>,
    /// Who is asked about a token while that is too old, on routes that are `bounded`. `None`: nobody.
    pub introspection: Option<Arc<dyn Introspection>>,
    /// The realm whose tokens count.
    pub realm: Realm,
    /// The key that signs internal tokens, an ES256 key.
    pub signer: Signer,
    /// Knows session cookies. `None`: they are not looked at.
    pub sessions: Option<Arc<dyn SessionCheck>>,
    /// Knows API keys. `None`: there are none, and what is shown as one is refused.
    pub keys: Option<Arc<dyn KeyCheck>>,
    /// Knows what opaque access tokens stand for. `None`: none are accepted.
    pub references: Option<Arc<dyn References>>,
    /// Knows whom client certificates are of. `None`: they make nobody known.
    pub certificates: Option<Certificates>,
    /// Knows which cookies people agreed to. `None`: all pass.
    pub cookies: Option<CookieFilter>,
    /// Where decisions are recorded. `None`: nowhere.
    pub decisions: Option<DecisionLog>,
    /// How limits are shared with other nodes. `None`: each counts alone.
    pub sharing: Option<Sharing>,
    /// What is counted.
    pub metrics: Metrics,
    /// How tokens are used, where it is noted.
    pub usage: Option<Arc<Usage>>,
    /// Once it has begun, no connection of a client is used again.
    pub parting: Parting,
}

/// Why a gateway does not start, or does not take over a map.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// The rules contradict each other.
    #[error(transparent)]
    Rules(#[from] InvalidRules),
    /// TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsRefused),
    /// Tegata's own pages need TLS, and nobody is trusted to sign their certificate.
    #[error(
        "`{0}` is reached with TLS, and `upstream.ca_file` does not say whose certificates count: \
         name the file"
    )]
    NoAuthority(String),
    /// The system refuses.
    #[error("the gateway cannot start: {0}")]
    Io(#[from] io::Error),
}

/// A gateway that serves. Dropping it tells it to stop, and does not wait until it has.
pub struct Gateway {
    gate: Arc<Gates>,
    /// What the routes were made from. Held while something is replaced, so that nothing is lost.
    declared: Mutex<(ServiceMap, Vec<Forbid>, Policies)>,
    addresses: Vec<SocketAddr>,
    /// The certificate that it shows.
    identity: Option<Arc<Identity>>,
    stop: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The workers, until they are to end.
    hands: Mutex<Vec<mpsc::Sender<Handed>>>,
    /// The first thread that ended with a panic.
    fallen: watch::Sender<Option<String>>,
    generation: AtomicU64,
    /// Which services are checked, once there were some.
    checks: Mutex<Option<watch::Sender<Vec<Arc<Balanced>>>>>,
}

/// Tells of a thread that ends with a panic.
struct Falling {
    name: String,
    fallen: watch::Sender<Option<String>>,
}

impl Drop for Falling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = &self.name;
            let what = || Some(format!("the thread `{name}`"));
            self.fallen.send_modify(|fallen| *fallen = fallen.take().or_else(what));
        }
    }
}

impl Gateway {
    /// Serves the connections of `listeners`.
    ///
    /// # Errors
    /// What in the configuration or the parts cannot be used.
    pub fn serve(
        config: Config,
        parts: Parts,
        listeners: Vec<TcpListener>,
    ) -> Result<Self, NotServed> {
        if let Some(public) =
            config.public.as_ref().filter(|public| lacks_authority(&config, public))
        {
            return Err(NotServed::NoAuthority(public.to_string()));
        }
        warn_of_unreachable(&config, &parts.services);
        let identity = config.tls.as_ref().map(Identity::open).transpose()?;
        let asks = match config.client_certificates {
            ClientCertificates::Tls => Asks::Certificates,
            ClientCertificates::Off | ClientCertificates::Header => Asks::Nothing,
        };
        let tls = identity.as_ref().map(|identity| tls::server(identity, asks)).transpose()?;
        let tls = tls.map(TlsAcceptor::from);
        let ways = Ways::open(&config, parts.node.clock(), None)?;
        let declared = (parts.services, parts.forbids, parts.policies);
        let ground = Ground {
            config: &config,
            metrics: &parts.metrics,
            clock: parts.node.clock(),
            outward: ways.outward.as_ref(),
            before: None,
        };
        let rules = (declared.1.clone(), &declared.2);
        let routing = Routing::compile(&declared.0, rules, &ground, 0)?;
        let workers = config.worker_count();
        let shared = Arc::new(Shared {
            realm: parts.revocations.realm(&parts.realm),
            tally: Tally::new(
                config.limits.callers,
                parts.sharing,
                &parts.node,
                parts.metrics.limited.clone(),
            ),
            places: Places::new(config.limits.connections_per_address, uncounted(&config)),
            load: Load::new(workers, Memory::new(config.limits.memory)),
            proofs: Proofs::new(parts.dpop, parts.realm.clone(), &parts.node),
            node: parts.node,
            epoch: parts.epoch,
            tokens: parts.tokens,
            foreign: parts.foreign.map(|foreign| (foreign, parts.metrics.layers())),
            revocations: parts.revocations,
            introspection: parts.introspection.map(Asking::new),
            signer: parts.signer,
            sessions: parts.sessions,
            keys: parts.keys,
            references: parts.references,
            certified: parts.certificates.map(Certified::new),
            cookies: parts.cookies,
            metrics: parts.metrics,
            decisions: parts.decisions,
            usage: parts.usage,
            parting: parts.parting,
            handed_over: AtomicBool::new(false),
            waking: tokio::sync::Mutex::default(),
        });
        let addresses: io::Result<Vec<_>> = listeners.iter().map(TcpListener::local_addr).collect();
        let gate = Gate::new(Arc::new(config), Arc::new(routing), ways, &shared);
        let gateway = Self {
            declared: Mutex::new(declared),
            addresses: addresses?,
            identity,
            stop: watch::Sender::new(false),
            threads: Mutex::default(),
            hands: Mutex::default(),
            fallen: watch::Sender::new(None),
            generation: AtomicU64::new(0),
            checks: Mutex::new(None),
            gate: Arc::new(Gates::new(gate)),
        };
        let plan = Plan { gate: Arc::clone(&gateway.gate), tls };
        // From here on an error drops the gateway, which stops what has been started.
        let mut hands = Vec::new();
        for number in 0..workers {
            hands.push(gateway.start_worker(number, plan.clone())?);
        }
        gateway.gate.metrics.shed().show(&gateway.gate);
        gateway.hands.lock().clone_from(&hands);
        gateway.start_door(listeners, hands)?;
        gateway.share_limits()?;
        gateway.check_services()?;
        Ok(gateway)
    }

    /// Where it listens, in the order of the listeners.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers Envoy on these listeners, too, which asks before it lets a request pass. Whoever asks is believed
    /// about clients, so nobody else may reach them, or know the secret.
    ///
    /// # Errors
    /// What the system says.
    pub fn answer_envoy(
        &self,
        listeners: Vec<TcpListener>,
        secret: Option<Secret<String>>,
    ) -> io::Result<()> {
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let (stop, hands) = (self.stop.subscribe(), self.hands.lock().clone());
        self.start("gateway-envoy".to_owned(), move |runtime| {
            runtime.block_on(ext_authz::door::keep(listeners, hands, secret.map(Arc::new), stop));
        })
    }

    /// Takes over another map. Requests that have been decided go on as they were. A service that
    /// cannot be reached as things are is no reason to refuse the others.
    ///
    /// # Errors
    /// Why the map cannot be used; then the one before stays.
    pub fn replace(&self, services: &ServiceMap, forbids: Vec<Forbid>) -> Result<(), NotServed> {
        self.take_over(services, forbids, None)
    }

    /// The same, and takes over other policies in the same moment: no request is decided by the map of one
    /// and the policies of another.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub fn decide_by(
        &self,
        services: &ServiceMap,
        forbids: Vec<Forbid>,
        policies: Policies,
    ) -> Result<(), NotServed> {
        self.take_over(services, forbids, Some(policies))
    }

    fn take_over(
        &self,
        services: &ServiceMap,
        forbids: Vec<Forbid>,
        policies: Option<Policies>,
    ) -> Result<(), NotServed> {
        let mut declared = self.declared.lock();
        let policies = policies.unwrap_or_else(|| declared.2.clone());
        let now = self.gate.now();
        warn_of_unreachable(&now.config, services);
        let rules = (forbids.as_slice(), &policies);
        let routing = self.compile(services, rules, &now.config, &now.ways)?;
        let (config, ways) = (Arc::clone(&now.config), now.ways.clone());
        self.gate.replace(Gate::new(config, Arc::new(routing), ways, &now.shared));
        *declared = (services.clone(), forbids, policies);
        self.check_services()?;
        Ok(())
    }

    /// What decides about requests now, for whoever asks without one.
    #[must_use]
    pub fn policy_set(&self) -> Arc<PolicySet> {
        Arc::clone(self.gate.now().routing.policy())
    }

    /// Takes over what the files hold now that say how services are reached with TLS, and answers which
    /// services that concerns. Blocks.
    ///
    /// # Errors
    /// What is wrong with files: what they held before counts. The other services are looked at all the
    /// same.
    pub fn renew_outward(&self) -> Result<Vec<String>, String> {
        let gate = self.gate.now();
        let of_all = gate.ways.outward.as_ref();
        let shared = of_all.iter().map(|outward| ("upstream.ca_file", outward.renew()));
        let own = gate.routing.services().filter_map(|service| {
            let outward = service.addresses().first()?.outward()?;
            let is_shared = of_all.is_some_and(|it| outward.is(it));
            (!is_shared).then(|| (&*service.name, outward.renew()))
        });
        let (mut renewed, mut wrong) = (Vec::new(), Vec::new());
        for (name, looked) in shared.chain(own) {
            match looked {
                Ok(true) => renewed.push(name.to_owned()),
                Ok(false) => {}
                Err(error) => wrong.push(format!("`{name}`: {error}")),
            }
        }
        for service in &renewed {
            tracing::info!(service, "it is reached with renewed certificates from now on");
        }
        if wrong.is_empty() { Ok(renewed) } else { Err(wrong.join("; ")) }
    }

    /// Starts the thread that tells the store which nodes share how often callers came.
    fn share_limits(&self) -> io::Result<()> {
        if !self.gate.tally.is_shared() {
            return Ok(());
        }
        let (gate, stop) = (Arc::clone(&self.gate), self.stop.subscribe());
        self.start("gateway-limits".to_owned(), move |runtime| {
            runtime.block_on(gate.tally.keep(&gate, stop));
        })
    }

    /// Has the services checked that say so.
    fn check_services(&self) -> io::Result<()> {
        let gate = self.gate.now();
        let all = gate.routing.services();
        let checked: Vec<_> = all.filter(|it| it.reach.health.is_some()).map(Arc::clone).collect();
        let mut checks = self.checks.lock();
        if checks.is_none() && checked.is_empty() {
            return Ok(());
        }
        if let Some(checks) = checks.as_ref() {
            checks.send_replace(checked);
            return Ok(());
        }
        let (tell, told) = watch::channel(checked);
        let (gate, stop) = (Arc::clone(&self.gate), self.stop.subscribe());
        self.start("gateway-checks".to_owned(), move |runtime| {
            runtime.block_on(Checks::new(gate).run(told, stop));
        })?;
        *checks = Some(tell);
        Ok(())
    }

    /// Takes over from `config` what can change while it serves: the names of hosts, trusted proxies,
    /// cross-origin callers, limits other than how many callers are remembered, deadlines, and how services
    /// are reached. All of it is there for the next request, and each request that has begun keeps what it
    /// began with. Of the rest, what it was started with stays. Blocks, for it reads
    /// [`ca_file`](crate::config::Services::ca_file).
    ///
    /// # Errors
    /// Why it cannot be used; then everything stays as it was.
    pub fn reconfigure(&self, config: &Config) -> Result<(), NotServed> {
        let declared = self.declared.lock();
        let now = self.gate.now();
        let config = changed(&now.config, config);
        if let Some(public) = config.public.as_ref().filter(|it| lacks_authority(&config, it)) {
            return Err(NotServed::NoAuthority(public.to_string()));
        }
        warn_of_unreachable(&config, &declared.0);
        let ways = Ways::open(&config, now.node.clock(), Some(&now.ways))?;
        let routing = self.compile(&declared.0, (&declared.1, &declared.2), &config, &ways)?;
        now.places.allow(config.limits.connections_per_address, uncounted(&config));
        if config.limits.memory != now.config.limits.memory {
            now.load.memory.allow(config.limits.memory);
        }
        self.gate.replace(Gate::new(Arc::new(config), Arc::new(routing), ways, &now.shared));
        self.check_services()?;
        Ok(())
    }

    fn compile(
        &self,
        services: &ServiceMap,
        (forbids, policies): (&[Forbid], &Policies),
        config: &Config,
        ways: &Ways,
    ) -> Result<Routing, InvalidRules> {
        let generation = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        // What was learnt of services is kept.
        let now = self.gate.now();
        let ground = Ground {
            config,
            metrics: &now.metrics,
            clock: now.node.clock(),
            outward: ways.outward.as_ref(),
            before: Some(&now.routing),
        };
        Routing::compile(services, (forbids.to_vec(), policies), &ground, generation)
    }

    /// Takes over the certificate that the files hold now, and answers whether that is another than
    /// before. Blocks.
    ///
    /// # Errors
    /// What is wrong with the files: then the certificate from before stays.
    pub fn renew_certificate(&self) -> Result<bool, TlsRefused> {
        self.identity.as_ref().map_or(Ok(false), |identity| identity.renew())
    }

    /// Answers when a thread of the gateway, or of its decision log, has ended with a panic, and which:
    /// from then on some connections are not served, or decisions not recorded, until it is started anew.
    pub async fn fallen(&self) -> String {
        let thread = async {
            let mut fallen = self.fallen.subscribe();
            let thread = fallen.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
            match thread {
                Some(thread) => thread,
                None => std::future::pending().await,
            }
        };
        let log = async {
            match &self.gate.decisions {
                Some(log) => log.fallen().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            thread = thread => thread,
            () = log => "the thread `decision-log`".to_owned(),
        }
    }

    /// Another process is to listen where it does, and takes its place. From now on `/health` does not say
    /// that it is about to stop: to whoever looks, it is not.
    pub fn hand_over(&self) {
        self.gate.handed_over.store(true, Ordering::Release);
    }

    /// Accepts no more, lets requests in flight end, closes what is idle, and answers when all of it
    /// is done, or after `deadlines.drain`. What was decided is written by then. Blocks.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
        self.hands.lock().clear();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the gateway ended with a panic");
            }
        }
        // Whoever has the data directory next goes on where the log ends, so nothing may come after.
        if let Some(log) = &self.gate.decisions {
            log.close();
        }
    }

    fn start_worker(&self, number: usize, plan: Plan) -> io::Result<mpsc::Sender<Handed>> {
        let (hand, accepted) = mpsc::channel(WAITING);
        let stop = self.stop.subscribe();
        self.start(format!("gateway-{number}"), move |runtime| {
            runtime.block_on(Worker::new(&plan, number).run(accepted, stop));
        })?;
        Ok(hand)
    }

    /// Starts the thread that accepts connections and hands them to the workers in turn. In turn,
    /// because connections live long: who happens to be idle when one comes says little about who
    /// will be. (Sharing the port, the kernel spreads 64 connections over 2 threads as unevenly as a
    /// coin does.)
    fn start_door(
        &self,
        listeners: Vec<TcpListener>,
        hands: Vec<mpsc::Sender<Handed>>,
    ) -> io::Result<()> {
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let stop = self.stop.subscribe();
        let (gate, secure) = (Arc::clone(&self.gate), self.identity.is_some());
        self.start("gateway-door".to_owned(), move |runtime| {
            let hands = door::Hands::new(&gate, secure, hands);
            runtime.block_on(door::keep(listeners, hands, stop));
        })
    }

    /// Starts a thread with a runtime of its own.
    fn start(
        &self,
        name: String,
        run: impl FnOnce(LocalRuntime) + Send + 'static,
    ) -> io::Result<()> {
        let (ready, started) = std::sync::mpsc::channel();
        let falling = Falling { name: name.clone(), fallen: self.fallen.clone() };
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _falling = falling;
            let mut builder = Builder::new_current_thread();
            match builder.enable_io().enable_time().build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    // Whoever started it waits for this word.
                    let _ = ready.send(Ok(()));
                    run(runtime);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
        self.threads.lock().push(thread);
        started.recv().map_err(io::Error::other)?
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({:?})", self.addresses)
    }
}

/// What was, with what of `new` can change while it serves. Whoever adds a setting says here which it is.
fn changed(was: &Config, new: &Config) -> Config {
    let new = new.clone();
    Config {
        listen: was.listen.clone(),
        workers: was.workers,
        tls: was.tls.clone(),
        hosts: new.hosts,
        trusted_proxies: new.trusted_proxies,
        forwarded_by: new.forwarded_by,
        client_certificates: was.client_certificates,
        keep_traceparent: new.keep_traceparent,
        hsts: was.hsts,
        public: was.public.clone(),
        public_secret: was.public_secret.clone(),
        public_paths: was.public_paths.clone(),
        private_cookies: was.private_cookies.clone(),
        resource: was.resource.clone(),
        cors: new.cors,
        compression: new.compression,
        limits: Limits { callers: was.limits.callers, ..new.limits },
        deadlines: new.deadlines,
        upstream: new.upstream,
        internal: was.internal.clone(),
    }
}

/// The networks whose connections are not counted.
fn uncounted(config: &Config) -> Vec<Network> {
    [config.limits.connections_exempt.as_slice(), &config.trusted_proxies].concat()
}

/// Whether an address is reached with TLS, and nobody is trusted to sign its certificate.
fn lacks_authority(config: &Config, upstream: &Upstream) -> bool {
    upstream.scheme() == Scheme::Https && config.upstream.ca_file.is_none()
}

/// Says which services will not be reached. Their requests are answered 502.
fn warn_of_unreachable(config: &Config, services: &ServiceMap) {
    for service in services.services() {
        // Of files of their own is said what is wrong with them.
        let own = service.reach.outward.ca_file.is_some();
        let all = service.upstreams.iter().filter(|_| !own);
        for upstream in all.filter(|it| lacks_authority(config, it)) {
            tracing::warn!(service = service.name.as_str(), %upstream,
                "it is reached with TLS, and `upstream.ca_file` does not say whose certificates \
                 count; until it does, its requests are answered 502");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_is_told_of_and_one_that_ends_is_not() {
        let fallen = watch::Sender::new(None);
        let run = |name: &str, panics: bool| {
            let falling = Falling { name: name.to_owned(), fallen: fallen.clone() };
            let thread = std::thread::spawn(move || {
                let _falling = falling;
                assert!(!panics, "it was told to");
            });
            assert_eq!(thread.join().is_err(), panics);
        };
        run("one", false);
        assert_eq!(*fallen.borrow(), None);
        run("two", true);
        run("three", true);
        assert_eq!(fallen.borrow().as_deref(), Some("the thread `two`"));
    }
}
