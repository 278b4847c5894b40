//! `tegata sidecar`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use http::Uri;
use tegata_core::{Node, Secret};
use tegata_gateway::sidecar::{self, NotListening, Place};
use tegata_sdk::{
    Authenticator, Credential, KeySource, Memory, Provider, Revocations, Transport,
    TransportLimits, WhenStale,
    authenticate::{KeyRules, memo::MemoLimits},
};

use super::{Context, Failed, read_secret};
use crate::{
    config::{Config, Sidecar as Set},
    foreign::system_roots,
    logging,
    run::Stop,
    supervisor::{Supervisor, Weight},
};

/// What is asked of the issuer: small, soon, over few connections.
const LIMITS: TransportLimits =
    TransportLimits { timeout: Duration::from_secs(3), idle: 2, open: 4, answer: 1 << 20 };

/// How far the issuer's clock may differ.
const LEEWAY: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct Sidecar {
    /// The service that it is beside, in place of the configuration's.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Whose tokens count.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Where to listen: `127.0.0.1:9010`, or `unix:/run/tegata/sidecar.sock`. May be given more than once.
    #[arg(long, value_name = "PLACE")]
    listen: Vec<Place>,
    /// As which client it is told what is taken back.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The file of that client's secret.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
}

impl Sidecar {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let (mut config, _) = context.load()?;
        let set = &mut config.sidecar;
        set.service = self.service.or(set.service.take());
        set.issuer = self.issuer.or(set.issuer.take());
        set.client_id = self.client_id.or(set.client_id.take());
        set.client_secret_file = self.client_secret_file.or(set.client_secret_file.take());
        if let Some(contradiction) = config.contradictions().into_iter().next() {
            return Err(Failed::Usage(contradiction));
        }
        let set = &config.sidecar;
        let places = if self.listen.is_empty() { set.listen.all() } else { &self.listen };
        logging::start(&config.observability)?;
        let issuer = Issuer::of(&config)?;
        let (sidecar, revocations) = issuer.sidecar(set)?;
        let mut listeners = Vec::with_capacity(places.len());
        for place in places {
            listeners.push(sidecar::bind(place, set.danger_any_address).await?);
        }
        let mut stop = Stop::listen()?;
        let supervisor = Arc::new(Supervisor::new(issuer.node.clone()));
        let mut tasks = supervisor.tasks();
        tasks.keep("follow_revocations", Weight::Essential, move || revocations.clone().follow());
        for place in places {
            tracing::info!(%place, service = issuer.service, issuer = issuer.name, "listening");
        }
        tracing::info!("started");
        let mut over = None;
        let stopped = async {
            tokio::select! {
                _ = stop.asked() => {}
                why = supervisor.ends() => over = Some(why),
            }
        };
        let served = sidecar.serve(listeners, stopped).await;
        drop(tasks);
        // Its sockets stay where they are, and the next start replaces them: what stands at a path by now
        // may be another's, which was started before this one had ended.
        served.map_err(|error| Failed::Operation(format!("a listener: {error}")))?;
        over.map_or(Ok(()), |why| Err(Failed::Operation(why)))
    }
}

/// The issuer, and who asks it.
struct Issuer {
    name: String,
    service: String,
    client_id: String,
    secret: Secret<String>,
    transport: Transport,
    node: Node,
}

impl Issuer {
    fn of(config: &Config) -> Result<Self, Failed> {
        let set = &config.sidecar;
        let needed = |key: &str, flag: &str| {
            Failed::Usage(format!("[sidecar] `{key}` is missing; set it, or give `--{flag}`"))
        };
        let name = set.issuer.clone().unwrap_or_else(|| config.issuer());
        let service = set.service.clone().ok_or_else(|| needed("service", "service"))?;
        let client_id = set.client_id.clone().ok_or_else(|| needed("client_id", "client-id"))?;
        let file = set.client_secret_file.as_ref();
        let file = file.ok_or_else(|| needed("client_secret_file", "client-secret-file"))?;
        let secret = Secret::new(read_secret(Some(file), "the client's secret")?);
        let mut transport = Transport::new(LIMITS);
        if let Some(roots) = set.ca_file.as_deref().or(system_roots()) {
            let tls = tegata_gateway::tls::client(roots)
                .map_err(|error| Failed::Usage(format!("[sidecar] ca_file: {error}")))?;
            transport = transport.with_tls(tls);
        }
        Ok(Self { name, service, client_id, secret, transport, node: Node::start() })
    }

    fn at(&self, path: &str) -> Result<Uri, Failed> {
        let address = format!("{}{path}", self.name);
        let wrong = |error| Failed::Usage(format!("[sidecar] issuer `{}`: {error}", self.name));
        address.parse().map_err(wrong)
    }

    /// The sidecar, and what is to be followed for it.
    fn sidecar(&self, set: &Set) -> Result<(sidecar::Sidecar, Revocations), Failed> {
        let (node, transport) = (self.node.clone(), self.transport.clone());
        let jwks = self.at("/.well-known/jwks.json")?;
        let rules = KeyRules::default();
        let keys = KeySource::fetched(jwks, transport.clone(), node.clone(), rules);
        let secret = Secret::new(self.secret.expose().clone());
        let credential = Credential::secret(&self.client_id, secret);
        let provider =
            Provider::new(self.at("/oauth2/token")?, credential, transport, node.clone());
        let endpoint = self.at("/oauth2/revocations")?;
        let revocations = Revocations::of(&self.name, endpoint, provider, keys.clone());
        let bound = set.stale.get();
        let when_stale = match set.danger_long_stale {
            true => WhenStale::DangerWithin(bound),
            false => WhenStale::Within(bound),
        };
        let authenticator = Authenticator::of(&self.service)
            .trusting(&self.name, keys)
            .refusing(&revocations, when_stale)
            .accepting(set.accept.into())
            .leeway(LEEWAY)
            // The sidecar remembers by itself, and no credential.
            .remembering(Memory { tokens: 0, ..Memory::default() });
        let authenticator =
            set.audience.iter().fold(authenticator, |it, name| it.for_audience(name));
        let limits = MemoLimits { entries: set.entries, lifetime: set.lifetime.get() };
        let authenticator = authenticator.on(node);
        let sidecar = sidecar::Sidecar::new(authenticator, revocations.clone(), bound, limits);
        Ok((sidecar, revocations))
    }
}

impl From<NotListening> for Failed {
    fn from(error: NotListening) -> Self {
        Self::Usage(format!("[sidecar] listen: {error}"))
    }
}
