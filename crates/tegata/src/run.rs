//! Running: everything that listens, on sockets that are bound already.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use tegata_core::{
    BoxFuture, ClientCertificates, ForwardedBy, Network, Parting, Proxies, Secret, SinceBoot,
};
use tegata_gateway::{
    DecisionLog, Gateway, SessionCheck, Sharing,
    introspection::Introspection,
    tls::{Asks, Identity},
};
use tegata_mesh::{DeclaredBff, DeclaredRoute, DeclaredService, ServiceMap, Upstream};
use tegata_oauth::DpopNonce;
use tegata_server::{App, BrowserClient, Confirm, Inlet, Operations, Tls};
use tegata_session::{CookieFilter, CookieName, Environment, Origins};
use tegata_token::{
    AccessToken, Algorithm, Expected, ExpectedAudience, Memory, Scope, Verifier, revocation::Taken,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{
    admin,
    api::Api,
    appearance, background, certificates, circle,
    command::Failed,
    compose::Composed,
    config::{self, Config, ExtAuthz, Span},
    cookie_door::CookieDoor,
    decisions, gauges, health,
    introspection::Others,
    key_door::KeyDoor,
    logouts, lookout, mail,
    reference_door::ReferenceDoor,
    signals,
    supervisor::{Tasks, Weight},
    trust_domains,
};

/// For how long browsers remember to come with TLS alone: a year.
const HSTS: Duration = Duration::from_secs(365 * 86_400);

/// Sockets that are bound.
#[derive(Default)]
pub(crate) struct Listeners {
    pub(crate) public: Vec<TcpListener>,
    /// Of the same, where certificates are asked for.
    pub(crate) mtls: Vec<TcpListener>,
    pub(crate) gateway: Vec<TcpListener>,
    pub(crate) operations: Vec<TcpListener>,
    /// Where Envoy asks.
    pub(crate) ext_authz: Vec<TcpListener>,
    /// For which of them somebody else chose the addresses: whoever takes them over keeps to that.
    pub(crate) chosen: BTreeSet<Listener>,
}

/// What listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Listener {
    Public,
    Mtls,
    Gateway,
    Operations,
    #[serde(rename = "ext_authz")]
    ExtAuthz,
}

impl Listener {
    pub(crate) const ALL: [Self; 5] =
        [Self::Public, Self::Mtls, Self::Gateway, Self::Operations, Self::ExtAuthz];

    /// As sockets from outside are named.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Mtls => "mtls",
            Self::Gateway => "gateway",
            Self::Operations => "operations",
            Self::ExtAuthz => "ext_authz",
        }
    }

    /// The setting that says where it listens.
    pub(crate) const fn setting(self) -> &'static str {
        match self {
            Self::Public => "[public] listen",
            Self::Mtls => "[public] mtls_listen",
            Self::Gateway => "[gateway] listen",
            Self::Operations => "[operations] listen",
            Self::ExtAuthz => "[ext_authz] listen",
        }
    }
}

impl Listeners {
    /// The sockets of one of them.
    pub(crate) const fn of(&self, listener: Listener) -> &Vec<TcpListener> {
        match listener {
            Listener::Public => &self.public,
            Listener::Mtls => &self.mtls,
            Listener::Gateway => &self.gateway,
            Listener::Operations => &self.operations,
            Listener::ExtAuthz => &self.ext_authz,
        }
    }

    pub(crate) const fn of_mut(&mut self, listener: Listener) -> &mut Vec<TcpListener> {
        match listener {
            Listener::Public => &mut self.public,
            Listener::Mtls => &mut self.mtls,
            Listener::Gateway => &mut self.gateway,
            Listener::Operations => &mut self.operations,
            Listener::ExtAuthz => &mut self.ext_authz,
        }
    }

    /// The same sockets once more: they stay open until both are closed, and who comes waits meanwhile.
    pub(crate) fn kept(&self) -> io::Result<Self> {
        let mut kept = Self { chosen: self.chosen.clone(), ..Self::default() };
        for listener in Listener::ALL {
            let sockets: io::Result<_> =
                self.of(listener).iter().map(TcpListener::try_clone).collect();
            *kept.of_mut(listener) = sockets?;
        }
        Ok(kept)
    }

    /// What listens where, for administrators.
    fn named(&self) -> Vec<(&'static str, String)> {
        let told =
            Listener::ALL.into_iter().map(|it| (it.name(), self.of(it))).map(|(name, sockets)| {
                let addresses =
                    sockets.iter().filter_map(|it| Some(it.local_addr().ok()?.to_string()));
                (name, addresses.collect::<Vec<_>>().join(" "))
            });
        told.filter(|(_, addresses)| !addresses.is_empty()).collect()
    }
}

/// Whether rate limits count what comes from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loopback {
    Counted,
    Exempt,
}

impl Loopback {
    /// The networks that are not counted.
    fn uncounted(self) -> Vec<Network> {
        match self {
            Self::Counted => Vec::new(),
            Self::Exempt => Network::loopback().to_vec(),
        }
    }
}

/// Everything that runs. It ends when this is dropped, and without haste when it is told to stop.
pub(crate) struct Running {
    composed: Arc<Composed>,
    gateway: Arc<Gateway>,
    loopback: Loopback,
    /// Has the gateway given what is declared.
    look: tokio::sync::mpsc::Sender<admin::Look>,
    /// For how long it goes on after it said that it stops.
    linger: Span,
    /// Begun first: whoever is served is asked to go elsewhere.
    parting: Parting,
    /// Begun with it, where nobody takes the place of this process: then it is not ready any more.
    leaving: Parting,
    /// Told then: nobody new is let in from outside.
    closing: watch::Sender<bool>,
    /// Told when the gateway has ended: what was open for it ends too.
    stopping: watch::Sender<bool>,
    servers: Tasks,
    /// Ended last: what is still answered is written down.
    log: DecisionLog,
    /// How long all that takes at most.
    drain: Duration,
    _background: Tasks,
}

/// Starts everything that listens and everything that runs beside it.
pub(crate) async fn start(
    composed: Arc<Composed>,
    listeners: Listeners,
    loopback: Loopback,
    ordered: tokio::sync::mpsc::Sender<admin::Ask>,
) -> Result<Running, Failed> {
    crate::compose::names::check(&composed).await?;
    let (found, health) = watch::channel(gauges::health::Found::new());
    let (registry, metrics, gateway_metrics) = gauges::register(&composed, health.clone());
    let ear = Arc::new(signals::Ear::open(&composed, metrics.signals().clone())?);
    let (look, looks) = tokio::sync::mpsc::channel(16);
    let parting = Parting::default();
    let counts = (metrics.clone(), gateway_metrics.clone());
    let tower = Arc::new(lookout::Tower::new(&composed, health, counts, listeners.named()));
    let log = decisions::open(&composed).await?;
    // A process serves once.
    let _ = composed.decisions.set(log.lent(composed.config.records_of_issuance()));
    let outer = public(&composed, &metrics, &ear, &look, (&tower, &parting, &log), loopback)?;
    let behind = outer.behind(gateway_as_proxy());
    let inner = inner()?;
    let way = Way {
        address: inner.local_addr().map_err(|error| Failed::Operation(error.to_string()))?,
        secret: secret(&composed),
    };
    let counts = (gateway_metrics.clone(), &metrics);
    let of_gateway = log.lent(composed.config.records_of_verification());
    let gateway =
        gateway(&composed, counts, &listeners, &way, loopback, (&parting, of_gateway)).await?;
    let socket = admin::bind(composed.data.path()).map_err(|error| {
        let path = admin::socket(composed.data.path());
        Failed::Usage(format!("`{}`: {error}", path.display()))
    })?;
    let (closing, closed) = watch::channel(false);
    let (stopping, stopped) = watch::channel(false);
    let leaving = Parting::default();
    let checks = health::checks(&composed, leaving.clone());
    let operations = tegata_server::operations::router(Operations {
        registry: Arc::new(registry),
        checks: Arc::clone(&checks),
    });
    let mut servers = composed.supervisor.tasks();
    let limits = outer.config().limits.clone();
    let drain = limits.drain;
    let identity = composed.config.public.tls.as_ref().map(Identity::open).transpose();
    let identity = identity.map_err(|error| Failed::Usage(format!("[public.tls] {error}")))?;
    certificates::trust(&composed.config, &composed.authorities).map_err(Failed::Usage)?;
    trust_domains::read_files(&composed.config, &composed.trust_domains).map_err(Failed::Usage)?;
    let asks = match composed.config.public.client_certificates {
        ClientCertificates::Tls => Asks::Certificates,
        ClientCertificates::Off | ClientCertificates::Header => Asks::Nothing,
    };
    let (handshakes, clock) = (gateway_metrics.handshakes().clone(), composed.node.clone());
    let failed = Arc::new(move |peer, error: &io::Error| {
        handshakes.failed("public", peer, clock.since_boot(), error);
    });
    let shown = |config| Tls { config, failed: Arc::clone(&failed) as _ };
    let (tls, mtls) = (tls(identity.as_ref(), asks)?, tls(identity.as_ref(), Asks::Certificates)?);
    let asking = tegata_server::router(outer.asking_for_certificates());
    let behind = tegata_server::router_for_gateway(behind, way.secret);
    for (router, sockets, tls, parting, mut stopped) in [
        (tegata_server::router(outer), listeners.public, tls, parting.clone(), closed.clone()),
        (asking, listeners.mtls, mtls, parting.clone(), closed),
        (behind, vec![inner], None, Parting::default(), stopped.clone()),
        // Whoever looks must see that it is not ready, until the end.
        (operations, listeners.operations, None, Parting::default(), stopped),
    ] {
        let (limits, tls) = (limits.clone(), tls.map(&shown));
        let sockets = sockets.into_iter().map(into_tokio).collect::<Result<Vec<_>, _>>()?;
        let supervisor = Arc::clone(&composed.supervisor);
        servers.once("listener", async move {
            // An error here is that the handle is gone, which is a stop too.
            let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
            let served = tegata_server::serve(sockets, router, limits, tls, parting, stop).await;
            if let Err(error) = served {
                supervisor.give_up(format!("a listener ended: {error}"));
            }
        });
    }
    let mut beside = background::start(&composed);
    let (streams, counts) = (signals::streams(&composed), metrics.signals().clone());
    signals::start(&mut beside, &composed, &ear, streams, counts)?;
    logouts::start(&mut beside, &composed, metrics.logouts().clone())?;
    mail::start(&mut beside, &composed, metrics.letters().clone())?;
    beside.keep("look_at_health", Weight::Helpful, move || {
        gauges::health::look(Arc::clone(&checks), found.clone())
    });
    beside.keep("lookout", Weight::Helpful, move || lookout::keep(Arc::clone(&tower)));
    let (all, socket) = (Arc::clone(&composed), Arc::new(socket));
    let given_map = look.clone();
    beside.keep("administration", Weight::Essential, move || {
        admin::serve(Arc::clone(&socket), Arc::clone(&all), look.clone(), ordered.clone())
    });
    let (all, told) = (Arc::clone(&composed), log.clone());
    beside.keep("tell_of_decisions", Weight::Helpful, move || {
        decisions::tell(Arc::clone(&all), told.clone())
    });
    let (all, of) = (Arc::clone(&composed), Arc::clone(&gateway));
    beside.keep("renew_certificates", Weight::Helpful, move || {
        certificates::renew(Arc::clone(&all), identity.clone(), Arc::clone(&of))
    });
    let (all, of) = (Arc::clone(&composed), Arc::clone(&gateway));
    let looks = Arc::new(tokio::sync::Mutex::new(looks));
    beside.keep("remap", Weight::Essential, move || {
        remap(Arc::clone(&all), Arc::clone(&of), Arc::clone(&looks))
    });
    let (supervisor, of) = (Arc::clone(&composed.supervisor), Arc::clone(&gateway));
    beside.once("watch_gateway", async move {
        let what = of.fallen().await;
        supervisor.give_up(format!("{what} of the gateway has panicked"));
    });
    Ok(Running {
        look: given_map,
        loopback,
        linger: composed.config.operations.linger,
        log,
        composed,
        gateway,
        parting,
        leaving,
        closing,
        stopping,
        servers,
        drain,
        _background: beside,
    })
}

impl Running {
    /// Takes over what of `config` can change while it runs; the rest of it must be what it was started
    /// with. Nothing is changed where something cannot be used.
    pub(crate) async fn reconfigure(&mut self, config: &Config) -> Result<(), String> {
        let new = settings(config, self.loopback);
        let gateway = Arc::clone(&self.gateway);
        // Reading files blocks.
        let done = tokio::task::spawn_blocking(move || gateway.reconfigure(&new)).await;
        let done = done.map_err(|error| error.to_string())?;
        done.map_err(|error| format!("[gateway] {error}"))?;
        self.linger = config.operations.linger;
        Ok(())
    }

    /// Has the gateway given what is declared.
    pub(crate) async fn give_map(&self) -> Result<(), String> {
        admin::give_map(&self.look).await
    }

    /// Goes on for a while, so that balancers notice and clients leave; then accepts no more, lets
    /// requests in flight end, and answers when all of it has ended. Whoever stopped it by hand does
    /// not wait for balancers.
    pub(crate) async fn stop(mut self, asked: Asked) {
        if asked == Asked::Next {
            self.gateway.hand_over();
        } else {
            self.leaving.begin();
        }
        self.parting.begin();
        self.composed.cluster.leave(&self.composed);
        if asked != Asked::Hand {
            background::pause(self.linger.get()).await;
        }
        let closed = self.composed.node.since_boot();
        self.closing.send_replace(true);
        let gateway = Arc::clone(&self.gateway);
        // What it still carries may need the pages behind it, so those end after it. Waiting for
        // its threads blocks, so it is done on one that may.
        let _ = tokio::task::spawn_blocking(move || gateway.shutdown()).await;
        self.stopping.send_replace(true);
        self.servers.ended().await;
        // Whoever ordered it may have gone, and is told nothing of it.
        let left = self.drain.saturating_sub(self.composed.node.elapsed(closed));
        for (what, many) in self.composed.unfinished.ended(left).await {
            tracing::warn!(what, many, "cut off: it had not ended in time; order it again");
        }
        // Whoever tried to sign in at the end stands in the journal, too.
        if let Err(error) = background::write_failures(&self.composed).await {
            tracing::warn!(%error, "the last attempts to sign in are not written down");
        }
        decisions::end(&self.composed, self.log).await;
        circle::leave(&self.composed).await;
        // A socket that is left behind is replaced at the next start; removing it is a courtesy.
        let _ = std::fs::remove_file(admin::socket(self.composed.data.path()));
    }
}

/// What the public listener says of what was taken back.
struct Confirmed(Arc<Composed>);

impl Confirm for Confirmed {
    fn confirmed(&self, began: SinceBoot, taken: Taken) -> BoxFuture<'_, serde_json::Value> {
        let asks = circle::Asks::Anybody;
        Box::pin(async move { circle::confirm(&self.0, asks, began, taken).await.json() })
    }
}

/// The gateway, as the public listener sees it: a proxy that says who asks.
fn gateway_as_proxy() -> Proxies {
    let trusted = Network::loopback().to_vec();
    Proxies { trusted, forwarded_by: ForwardedBy::XForwardedFor }
}

/// The public listener.
fn public(
    composed: &Arc<Composed>,
    metrics: &tegata_server::Metrics,
    ear: &Arc<signals::Ear>,
    look: &tokio::sync::mpsc::Sender<admin::Look>,
    (tower, parting, log): (&Arc<lookout::Tower>, &Parting, &DecisionLog),
    loopback: Loopback,
) -> Result<App, Failed> {
    let set = &composed.config.public;
    let (trusted, forwarded_by) = (set.trusted_proxies.clone(), set.forwarded_by);
    let bringing_many = Network::loopback().into_iter().chain(trusted.iter().copied());
    let limits = tegata_server::Limits {
        uncounted: loopback.uncounted(),
        uncounted_connections: bringing_many.collect(),
        ..tegata_server::Limits::default()
    };
    let config = tegata_server::Config {
        environment: set.environment,
        proxies: Proxies { trusted, forwarded_by },
        client_certificates: set.client_certificates,
        limits,
        mail: composed.config.has_mail(),
        asks_for_cookies: composed.config.shows_banner(composed.cookie_consents.policy()),
        appearance: appearance::read(set).map_err(Failed::Usage)?,
        administrators: composed.config.admin.second_factor,
        approval_proof: composed.config.sessions.approval_proof,
        // Where a proxy in front makes the two one, the gateway's services are there, too.
        shares_origin: composed.config.issuer() == composed.config.audience(),
        page_tokens: composed.config.tokens.for_pages,
        console: composed.config.admin.console,
        console_proof: composed.config.admin.console_proof.get(),
        browser: BrowserClient {
            algorithm: composed.config.keys.usual(false),
            ..BrowserClient::default()
        },
        ..tegata_server::Config::default()
    };
    let parts = tegata_server::app::Parts {
        provider: composed.provider.clone(),
        epoch: composed.epoch,
        users: composed.users.clone(),
        sign_in: composed.sign_in.clone(),
        passwords: composed.passwords.clone(),
        letters: composed.letters.clone(),
        sessions: composed.sessions.clone(),
        endings: Arc::clone(&composed.endings),
        csrf: composed.csrf.clone(),
        cookies: composed.cookies.clone(),
        cookie_consents: composed.cookie_consents.clone(),
        origins: origins(composed)?,
        confirm: Arc::new(Confirmed(Arc::clone(composed))),
        unfinished: composed.unfinished.clone(),
        administration: Arc::new(Api::new(Arc::clone(composed), look.clone())),
        streams: signals::streams(composed),
        inlet: Arc::clone(ear) as Arc<dyn Inlet>,
        metrics: metrics.clone(),
        lookout: Arc::clone(tower) as Arc<dyn tegata_server::Lookout>,
        parting: parting.clone(),
        decisions: Some(Arc::new(decisions::Written::into(
            log,
            composed.config.records_of_issuance(),
        ))),
    };
    let app = App::new(config, parts).map_err(|error| Failed::Usage(error.to_string()))?;
    // Weakly: what listens goes on for a moment longer than what it is made of.
    let of = Arc::downgrade(composed);
    Ok(app.deciding_by(Arc::new(move || of.upgrade()?.policies.set())))
}

/// Where the gateway reaches the public listener: on this machine, in the clear, so that it needs no
/// name that a certificate would have to have.
fn inner() -> Result<TcpListener, Failed> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| {
        Failed::Operation(format!("the way from the gateway to the public listener: {error}"))
    })
}

/// The way from the gateway to the public listener.
struct Way {
    address: SocketAddr,
    /// What the gateway shows there. Everybody on this machine can connect to the address, and
    /// nobody else may say on whose behalf.
    secret: Secret<String>,
}

fn secret(composed: &Composed) -> Secret<String> {
    let mut bytes = [0_u8; 32];
    composed.node.entropy().fill(&mut bytes);
    Secret::new(URL_SAFE_NO_PAD.encode(bytes))
}

/// What the gateway is told of the configuration.
fn settings(config: &Config, loopback: Loopback) -> tegata_gateway::Config {
    let set = &config.gateway;
    let mut limits = set.limits.clone();
    limits.exempt.extend(loopback.uncounted());
    tegata_gateway::Config {
        workers: set.workers,
        tls: set.tls.clone(),
        hosts: set.hosts.clone(),
        trusted_proxies: set.trusted_proxies.clone(),
        forwarded_by: set.forwarded_by,
        client_certificates: set.client_certificates,
        cors: set.cors.clone(),
        compression: set.compression,
        limits,
        deadlines: set.deadlines.clone(),
        upstream: set.upstream.clone(),
        ..tegata_gateway::Config::default()
    }
}

/// The gateway.
async fn gateway(
    composed: &Arc<Composed>,
    (metrics, refusals): (tegata_gateway::Metrics, &tegata_server::Metrics),
    listeners: &Listeners,
    way: &Way,
    loopback: Loopback,
    (parting, decisions): (&Parting, DecisionLog),
) -> Result<Arc<Gateway>, Failed> {
    let usage = |error: &dyn std::fmt::Display| Failed::Usage(format!("[gateway] {error}"));
    let set = &composed.config.gateway;
    let mut config = settings(&composed.config, loopback);
    let upstream = format!("http://{}", way.address).parse::<Upstream>();
    config.public = Some(upstream.map_err(|error| usage(&error))?);
    let mut secret = HeaderValue::from_str(way.secret.expose()).map_err(|error| usage(&error))?;
    secret.set_sensitive(true);
    config.public_secret = Some(secret);
    config.resource = Some(composed.config.resource().map_err(|error| usage(&error))?);
    config.internal.issuer = composed.config.issuer();
    let in_development = composed.config.public.environment == Environment::Development;
    config.hsts = (!in_development).then_some(HSTS);
    let expected = Expected {
        issuer: composed.config.issuer(),
        audience: ExpectedAudience::OneOf(vec![composed.config.audience()]),
        leeway: Duration::from_secs(1),
    };
    let clock = Arc::clone(composed.node.clock());
    let tokens = Verifier::<AccessToken>::new(expected, &Memory::default(), clock);
    let tokens = tokens.since(composed.epoch).revealing(Arc::clone(&composed.pairwise));
    let tokens = Arc::new(tokens);
    let listening = Arc::clone(&tokens);
    composed.keys.listen(move |keys| listening.use_keys(keys.clone()));
    let keys = composed.keys.clone();
    let scope = Scope::new(&BrowserClient::default().scope).map_err(|error| usage(&error))?;
    let door: Arc<dyn SessionCheck> =
        Arc::new(CookieDoor::new(composed, scope, origins(composed)?, refusals.clone()));
    let signer: tegata_gateway::Signer = Arc::new(move || {
        let withheld = keys.withheld().is_some();
        keys.now().signer(Algorithm::Es256).filter(|_| !withheld)
    });
    let certificates = certificates_of(composed).await.map_err(|error| usage(&error))?;
    let deciding = composed.policies.look().await.map_err(Failed::Operation)?;
    let parts = tegata_gateway::gateway::Parts {
        node: composed.node.clone(),
        epoch: composed.epoch,
        services: composed.registry.map(&composed.realm).await.map_err(|error| usage(&error))?,
        forbids: Vec::new(),
        policies: deciding.policies,
        tokens,
        dpop: tegata_gateway::Dpop {
            nonces: composed.dpop_nonces.clone(),
            required: composed.config.tokens.dpop_nonce == DpopNonce::Required,
            shared: composed.backends.are_shared().then(|| Arc::clone(&composed.ephemeral)),
            since: None,
        },
        foreign: composed.foreign.as_ref().map(|foreign| foreign.for_gateway()),
        revocations: Arc::clone(&composed.view),
        introspection: Others::open(&set.introspection, &composed.node)
            .map_err(|error| usage(&error))?
            .map(|others| others as Arc<dyn Introspection>),
        realm: composed.realm.clone(),
        signer,
        sessions: Some(door),
        keys: Some(Arc::new(KeyDoor::new(composed))),
        references: Some(Arc::new(ReferenceDoor::new(composed))),
        certificates,
        cookies: Some(CookieFilter::new(
            Arc::clone(composed.cookie_consents.policy()),
            composed.cookie_consents.seal().clone(),
            composed.realm.clone(),
            composed.cookies.cookie(CookieName::Consent),
        )),
        decisions: Some(decisions),
        metrics,
        usage: Some(Arc::clone(&composed.usage)),
        sharing: sharing(composed),
        parting: parting.clone(),
    };
    let sockets: Result<Vec<_>, _> = listeners.gateway.iter().map(TcpListener::try_clone).collect();
    let sockets = sockets.map_err(|error| usage(&error))?;
    let served = Gateway::serve(config, parts, sockets).map_err(|error| usage(&error))?;
    answer_envoy(&composed.config.ext_authz, &served, &listeners.ext_authz)?;
    let served = Arc::new(served);
    let asked = Arc::downgrade(&served);
    composed.policies.ask(move || Some(asked.upgrade()?.policy_set()));
    Ok(served)
}

/// Has the gateway answer Envoy, where that was said.
fn answer_envoy(
    set: &ExtAuthz,
    gateway: &Gateway,
    listeners: &[TcpListener],
) -> Result<(), Failed> {
    if listeners.is_empty() {
        return Ok(());
    }
    let usage = |error: &dyn std::fmt::Display| Failed::Usage(format!("[ext_authz] {error}"));
    let secret = set.secret_file.as_ref().map(|file| config::read_secret(Path::new(""), file));
    let secret = secret.transpose().map_err(|error| usage(&error))?;
    if secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
        return Err(usage(&"the file of `secret_file` is empty"));
    }
    let sockets: Result<Vec<_>, _> = listeners.iter().map(TcpListener::try_clone).collect();
    let sockets = sockets.map_err(|error| usage(&error))?;
    gateway.answer_envoy(sockets, secret).map_err(|error| usage(&error))
}

/// How limits are shared with other nodes, where there is a Redis that they could share.
fn sharing(composed: &Arc<Composed>) -> Option<Sharing> {
    let (redis, key) = (composed.backends.redis.as_ref()?, composed.limit_names.clone()?);
    let of = Arc::clone(composed);
    let nodes = Arc::new(move || of.cluster.sharing());
    Some(Sharing { counts: Arc::new(redis.counts()), key, nodes })
}

/// Whom client certificates are of, where the configuration says who answers for them.
async fn certificates_of(
    composed: &Composed,
) -> Result<Option<tegata_gateway::Certificates>, String> {
    if composed.config.gateway.client_ca_file.is_none() {
        return Ok(None);
    }
    let known = &composed.certificates;
    certificates::trust_at_gateway(&composed.config, &known.authorities)?;
    known.look().await.map_err(|error| error.to_string())?;
    let (authorities, clients) = (Arc::clone(&known.authorities), Arc::clone(known) as Arc<_>);
    Ok(Some(tegata_gateway::Certificates { authorities, clients }))
}

/// Gives the gateway the map anew when services or routes have changed: at once where it is asked to
/// look, and within a second where another node changed them.
async fn remap(
    composed: Arc<Composed>,
    gateway: Arc<Gateway>,
    looks: Arc<tokio::sync::Mutex<tokio::sync::mpsc::Receiver<admin::Look>>>,
) {
    let mut looks = looks.lock().await;
    let mut known = None;
    let mut warned = None;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        let look = tokio::select! {
            _ = ticks.tick() => None,
            Some(look) = looks.recv() => Some(look),
        };
        let given = give_map(&composed, &gateway, &mut known).await;
        let wrong = given.as_ref().err().cloned();
        if wrong != warned
            && let Some(error) = &wrong
        {
            tracing::warn!(%error, "the gateway keeps the map it has");
        }
        warned = wrong;
        if let Some(look) = look {
            // Whoever asked may have gone.
            let _ = look.send(given);
        }
    }
}

/// What was declared when the gateway was given its map, and the version of the policies.
type Known = Option<((Vec<DeclaredService>, Vec<DeclaredRoute>, Vec<DeclaredBff>), u64)>;

/// Gives the gateway the map, where it is another than the one before. What failed is tried again.
async fn give_map(composed: &Composed, gateway: &Gateway, known: &mut Known) -> Result<(), String> {
    let (realm, registry) = (&composed.realm, &composed.registry);
    let declared =
        tokio::try_join!(registry.services(realm), registry.routes(realm), registry.bffs(realm));
    let declared = declared.map_err(|error| error.to_string())?;
    let deciding = composed.policies.look().await?;
    let declared = (declared, deciding.version);
    if known.as_ref() == Some(&declared) {
        return Ok(());
    }
    let (services, routes, bffs) = &declared.0;
    let map = ServiceMap::check(services, routes);
    let map = map.and_then(|map| map.with_bffs(bffs)).map_err(|error| error.to_string())?;
    let taken = gateway.decide_by(&map, Vec::new(), deciding.policies);
    taken.map_err(|error| error.to_string())?;
    *known = Some(declared);
    Ok(())
}

/// The origins whose pages may change something: our own, under both addresses.
fn origins(composed: &Composed) -> Result<Origins, Failed> {
    let (own, gateway) = (composed.config.issuer(), composed.config.audience());
    let allowed: Vec<&str> = (own != gateway).then_some(gateway.as_str()).into_iter().collect();
    Origins::new(&own, &allowed).map_err(|error| Failed::Usage(format!("[public] issuer: {error}")))
}

/// The TLS of a listener that shows this certificate, if it has one.
fn tls(
    identity: Option<&Arc<Identity>>,
    asks: Asks,
) -> Result<Option<Arc<rustls::ServerConfig>>, Failed> {
    let tls = identity.map(|identity| tegata_gateway::tls::server(identity, asks)).transpose();
    tls.map_err(|error| Failed::Usage(format!("[public.tls] {error}")))
}

fn into_tokio(listener: TcpListener) -> Result<tokio::net::TcpListener, Failed> {
    let failed = |error: io::Error| Failed::Operation(format!("a listener: {error}"));
    listener.set_nonblocking(true).map_err(failed)?;
    tokio::net::TcpListener::from_std(listener).map_err(failed)
}

/// By whom it was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Somebody at a terminal, by SIGINT.
    Hand,
    /// What keeps it running, by SIGTERM.
    Supervisor,
    /// Another process, which takes its place.
    Next,
}

/// What tells the server to stop: SIGINT or SIGTERM, and that the terminal it was started in is gone.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    has_terminal: bool,
    /// Heard and passed over: a file that may not grow is an error of the write, not the end.
    _too_large: Signal,
}

impl Stop {
    /// To be called before anybody is told that the server has started: a signal must never find
    /// nobody listening.
    pub(crate) fn listen() -> Result<Self, Failed> {
        let listen =
            |kind| signal(kind).map_err(|error| Failed::Operation(format!("signals: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            has_terminal: io::stdin().is_terminal(),
            _too_large: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Waits until something is asked for.
    pub(crate) async fn heard(&mut self) -> Heard {
        tokio::select! {
            _ = self.interrupt.recv() => Heard::Stop(Asked::Hand),
            _ = self.terminate.recv() => Heard::Stop(Asked::Supervisor),
            _ = self.hang_up.recv() => {
                // It is gone, then; elsewhere, whoever changes a setting sends it.
                if self.has_terminal { Heard::Stop(Asked::Hand) } else { Heard::Reload }
            }
        }
    }

    /// Waits until it is to stop, where no configuration is read anew.
    pub(crate) async fn asked(&mut self) -> Asked {
        loop {
            match self.heard().await {
                Heard::Stop(asked) => return asked,
                Heard::Reload => tracing::info!("SIGHUP changes nothing now"),
            }
        }
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Stop(Asked),
    /// To read the configuration anew.
    Reload,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::compose;

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_stops_it_waits_for_what_was_begun_though_whoever_ordered_it_has_gone() {
        let place = tempfile::tempdir().unwrap();
        let composed = Arc::new(compose::for_tests(place.path()).await);
        let bind = || vec![TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()];
        let (public, gateway, operations) = (bind(), bind(), bind());
        let address = public[0].local_addr().unwrap();
        let listeners = Listeners { public, gateway, operations, ..Listeners::default() };
        let asks = tokio::sync::mpsc::channel(1).0;
        let running =
            start(Arc::clone(&composed), listeners, Loopback::Exempt, asks).await.unwrap();
        let under_way = composed.unfinished.begin("a thing");
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        tokio::spawn(async move {
            // It goes on for a while after nobody new is let in.
            while tokio::net::TcpStream::connect(address).await.is_ok() {
                background::pause(Duration::from_millis(5)).await;
            }
            background::pause(Duration::from_millis(500)).await;
            is_done.store(true, Ordering::SeqCst);
            drop(under_way);
        });
        running.stop(Asked::Hand).await;
        assert!(done.load(Ordering::SeqCst), "it ended before what was under way");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_of_the_decision_log_is_written_once_it_has_stopped() {
        let place = tempfile::tempdir().unwrap();
        let composed = Arc::new(compose::for_tests(place.path()).await);
        let gateway = vec![TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()];
        let listeners = Listeners { gateway, ..Listeners::default() };
        let asks = tokio::sync::mpsc::channel(1).0;
        let running =
            start(Arc::clone(&composed), listeners, Loopback::Exempt, asks).await.unwrap();
        // Somebody has it for longer, as tasks that are told to end do.
        let gateway = Arc::clone(&running.gateway);
        let written = || {
            let files = std::fs::read_dir(composed.data.path().join("decisions")).unwrap();
            let files = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
            files.collect::<Vec<_>>()
        };
        running.stop(Asked::Hand).await;
        let before = written();
        let kept = Arc::downgrade(&gateway);
        drop(gateway);
        while kept.strong_count() > 0 {
            background::pause(Duration::from_millis(5)).await;
        }
        assert!(before == written(), "it was written to after it had stopped");
    }
}
