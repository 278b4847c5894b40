//! Putting the parts together: the only place that knows them all.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use prometheus_client::metrics::histogram::Histogram;
use tegata_core::{
    Backstop, Custody, Ephemeral, Epoch, Feed, Kind, Node, Realm, Records, Secret, StoreError,
    port::Vault,
};
use tegata_identity::{
    Demand, HashingPool, Letters, PasswordHasher, PasswordPolicy, Passwords, SecondFactors, SignIn,
    Throttle, Users, Workers,
};
use tegata_oauth::{Clients, Parts, Provider};
use tegata_server::{
    NarrowedTokens, RevokedSessions, SessionsOfFamilies, SessionsOfHolder, SupersededPasswords,
    Unfinished,
};
use tegata_session::{ConsentSeal, CookieConsents, CookieTable, Csrf, Sessions, sessions::Endings};
use tegata_store::{
    Cached, GossipRefused, NatsRefused, PostgresRefused, RedisFeedRefused, RedisRefused,
    RootKeyRefused, SealRefused, Sealed, Standby,
};
use tegata_token::{
    ApiKeys, Authorities, DpopNonces, Families, Indexes, Keys, KeysRefused, Lifetimes, Pairwise,
    ReferenceTokens, Revoker, Roots, RotationRules, TrustDomains, Usage, Uses, View, Withdraw,
    revocation::{LONGEST_ACCESS, Snapshots},
    usage::OwnTokens,
};

use crate::{
    certified::{CERTIFICATES, CertificateRegistry, CertificatesOfHolder},
    circle::{self, Part},
    cluster::Cluster,
    config::{Config, Source, UserRegistration},
    durable::COPIED,
    foreign::Foreign,
    history::{self, History},
    installation::{INSTALLATION, Installation},
    outbox::OUTBOX,
    published::AskedClients,
    registry::{BFFS, DELEGATIONS, ROUTES, Registry, SERVICES},
    supervisor::Supervisor,
};

mod backends;
mod backstop;
mod ground;
mod knowing;
pub(crate) mod names;
pub(crate) mod root_key;

pub(crate) use backends::Backends;
pub(crate) use backstop::Elsewhere;
pub(crate) use ground::Ground;

/// Every kind of record that there is.
pub(crate) fn kinds() -> Vec<&'static Kind> {
    let own: [&'static Kind; 14] = [
        &crate::decisions::ANCHORS,
        &INSTALLATION,
        &OUTBOX,
        &COPIED,
        &crate::health::store::HEALTH,
        &SERVICES,
        &ROUTES,
        &DELEGATIONS,
        &BFFS,
        &CERTIFICATES,
        &crate::policies::POLICY_SETS,
        &crate::policies::POLICY_FILES,
        &crate::signals::lease::LEASES,
        &tegata_store::sealed::DATA_KEYS,
    ];
    own.into_iter()
        .chain(tegata_session::KINDS)
        .chain(tegata_token::KINDS)
        .chain(tegata_oauth::KINDS)
        .chain(tegata_identity::KINDS)
        .collect()
}

/// Why the parts could not be put together: what, where, and how to mend it. One line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Startup {
    #[error("{0}")]
    Configuration(String),
    #[error(transparent)]
    RootKey(#[from] RootKeyRefused),
    #[cfg(feature = "pkcs11")]
    #[error("[keys.pkcs11] {0}")]
    Token(#[from] tegata_store::Pkcs11Refused),
    #[error("`{place}`: {source}")]
    Seal {
        place: String,
        #[source]
        source: SealRefused,
    },
    #[error(transparent)]
    Sqlite(#[from] tegata_store::SqliteRefused),
    #[error("[store] {0}")]
    Postgres(#[from] PostgresRefused),
    #[error("[cluster] {0}")]
    Gossip(#[from] GossipRefused),
    #[error("[redis] {0}")]
    Redis(#[from] RedisRefused),
    #[error("[events] {0}")]
    Nats(#[from] NatsRefused),
    #[error("[events] {0}")]
    Streams(#[from] RedisFeedRefused),
    #[cfg(feature = "dynamodb")]
    #[error("[revocation] {0}")]
    Dynamo(#[from] tegata_store::DynamoRefused),
    #[error(transparent)]
    Keys(#[from] KeysRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "[store] what was taken back before this start has not been entered into the revocation \
         log after {} s, so nothing can be judged; see whether another node on this database \
         hangs, then start again",
        .0.as_secs()
    )]
    Behind(Duration),
    #[error("[store] {0}")]
    SetBack(String),
    #[error(
        "`{}` cannot be read, so nobody knows whether the store is older than it was; if no backup was \
         brought back, remove the file, or else run `tegata restore --declare`",
        .0.display()
    )]
    SeenDamaged(PathBuf),
    #[error("`{}` is in use by another process; stop it, or use its administration socket", .0.display())]
    InUse(PathBuf),
    #[error("`{}`: {source}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Startup {
    /// Whether the store could not be reached, and nothing else is wrong as far as anybody knows.
    pub(crate) const fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::Unavailable { .. })
                | Self::Keys(KeysRefused::Store(StoreError::Unavailable { .. }))
                | Self::Seal { source: SealRefused::Store(StoreError::Unavailable { .. }), .. }
                | Self::Postgres(PostgresRefused::Store(StoreError::Unavailable { .. }))
        )
    }
}

/// A data directory that this process alone uses, until this and all its clones are dropped.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: Arc<File>,
}

impl DataDir {
    /// Takes a data directory, made where there is none.
    pub(crate) fn take(path: &Path) -> Result<Self, Startup> {
        let file = |source| Startup::File { path: path.to_owned(), source };
        // What is in it is the server's alone.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("tegata.lock"))
            .map_err(file)?;
        // Whoever can open it can lock it, and so keep every server from starting.
        lock.set_permissions(fs::Permissions::from_mode(0o600)).map_err(file)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(Startup::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(file(source)),
        }
    }

    /// Whether no process has a data directory, or there is none.
    pub(crate) fn is_free(path: &Path) -> bool {
        let lock = File::options().write(true).open(path.join("tegata.lock"));
        lock.map_or(true, |lock| lock.try_lock().is_ok())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The parts of the default realm, put together.
pub(crate) struct Composed {
    pub(crate) config: Config,
    pub(crate) node: Node,
    pub(crate) realm: Realm,
    pub(crate) epoch: Epoch,
    /// The root key.
    pub(crate) custody: Arc<dyn Custody>,
    /// What was seen of the store.
    pub(crate) history: Arc<History>,
    /// Watches over what runs beside the requests.
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) ephemeral: Arc<dyn Ephemeral>,
    pub(crate) feed: Arc<dyn Feed>,
    pub(crate) cached: Arc<Cached>,
    pub(crate) backends: Backends,
    /// The second durable home of revocations.
    pub(crate) backstop: Arc<dyn Backstop>,
    /// What is recorded there by following the log, where it is elsewhere than in the store.
    pub(crate) elsewhere: Option<Elsewhere>,
    /// What counts attempts while Redis is away.
    pub(crate) standby: Arc<dyn Ephemeral>,
    pub(crate) cluster: Cluster,
    /// What names of those whose requests are counted are hashed with, where nodes count together.
    pub(crate) limit_names: Option<Secret<[u8; 32]>>,
    /// What is done to its end though whoever asked for it goes away.
    pub(crate) unfinished: Unfinished,
    /// Who else may take things back, where others share the store.
    pub(crate) circle: Option<Arc<Part>>,
    /// How tokens are used.
    pub(crate) usage: Arc<Usage>,
    /// How long changes of permissions take until all nodes enforce them.
    pub(crate) permission_propagation: Histogram,
    pub(crate) view: Arc<View>,
    /// Other issuers whose tokens count, where there are some.
    pub(crate) foreign: Option<Arc<Foreign>>,
    /// Told when a nearer store lacks something.
    pub(crate) refill: tokio::sync::Notify,
    pub(crate) revoker: Revoker,
    pub(crate) keys: Keys,
    pub(crate) families: Families,
    pub(crate) clients: Clients,
    pub(crate) users: Users,
    pub(crate) passwords: Passwords,
    pub(crate) sign_in: SignIn,
    pub(crate) letters: Letters,
    pub(crate) sessions: Sessions,
    pub(crate) endings: Arc<dyn Endings>,
    pub(crate) csrf: Csrf,
    pub(crate) cookies: CookieTable,
    /// Which cookies people agreed to.
    pub(crate) cookie_consents: CookieConsents,
    pub(crate) provider: Provider,
    /// What pairwise clients call people.
    pub(crate) pairwise: Arc<Pairwise>,
    pub(crate) dpop_nonces: DpopNonces,
    /// Whose signature on a client's certificate counts.
    pub(crate) authorities: Arc<Authorities>,
    /// The trust domains whose workloads can be clients.
    pub(crate) trust_domains: Arc<TrustDomains>,
    /// Whom client certificates at the gateway are of.
    pub(crate) certificates: Arc<CertificateRegistry>,
    pub(crate) registry: Registry,
    /// By what requests are decided, beside what routes say.
    pub(crate) policies: crate::policies::Policies,
    pub(crate) api_keys: ApiKeys,
    /// When they were used.
    pub(crate) key_uses: Arc<Uses>,
    /// What opaque access tokens stand for.
    pub(crate) references: ReferenceTokens,
    pub(crate) withdraw: Withdraw,
    /// The log of decisions, as long as this process serves.
    pub(crate) decisions: std::sync::OnceLock<tegata_gateway::DecisionLog>,
    pub(crate) data: DataDir,
}

/// Where the data directory of a configuration is.
pub(crate) fn data_dir(config: &Config, source: &Source) -> PathBuf {
    source.data_dir.clone().unwrap_or_else(|| source.base.join(&config.store.data_dir))
}

/// Refuses a data directory that is not there. Only what serves makes one: for a command, it is a
/// name that was mistyped.
pub(crate) fn check_data_dir(config: &Config, source: &Source) -> Result<(), Startup> {
    let path = data_dir(config, source);
    if path.is_dir() {
        return Ok(());
    }
    Err(Startup::Configuration(format!(
        "there is no data directory `{}`; mend its name, or make it with `tegata init`",
        path.display()
    )))
}

/// What the parts stand on, whatever becomes of the store: the root key, and the data directory.
#[derive(Clone)]
pub(crate) struct Footing {
    pub(crate) node: Node,
    custody: Arc<dyn Custody>,
    vault: Option<Arc<dyn Vault>>,
    data: DataDir,
}

impl Footing {
    /// Opens the root key, and takes the data directory.
    pub(crate) async fn take(config: &Config, source: &Source) -> Result<Self, Startup> {
        let node = Node::start();
        let place = data_dir(config, source);
        // Without its root key, nothing is made there either.
        let (custody, vault) = root_key::open(config, &place, &node).await?;
        let data = DataDir::take(&place)?;
        Ok(Self { node, custody, vault, data })
    }
}

/// Puts the parts together.
pub(crate) async fn compose(config: Config, source: &Source) -> Result<Composed, Startup> {
    let footing = Footing::take(&config, source).await?;
    compose_on(&footing, config).await
}

/// Puts the parts together on a footing, which can be tried several times. Who drops this midway leaves what a
/// process leaves that is killed then.
pub(crate) async fn compose_on(footing: &Footing, config: Config) -> Result<Composed, Startup> {
    let Footing { node, custody, vault, data } = footing.clone();
    let realm = Realm::default();
    let mut bare = backends::open(&config, data.path(), &node).await?;
    // Whoever asks it, of tokens of other issuers, fills it with what it asks for.
    let (backstop, elsewhere) = backstop::open(&config, &mut bare, &node, false).await?;

    let place = store_name(&config);
    let sealed = Sealed::open(Arc::clone(&bare.records), Arc::clone(&custody), &node)
        .await
        .map_err(|source| Startup::Seal { place, source })?;
    let feed = bare.sealed_feed(&sealed);
    let ephemeral: Arc<dyn Ephemeral> = Arc::new(sealed.ephemeral(Arc::clone(&bare.ephemeral)));
    let cached = Arc::new(backends::cached(Arc::new(sealed), &ephemeral, &bare, &feed, &node));
    let records: Arc<dyn Records> = Arc::clone(&cached) as Arc<_>;
    let installation = Installation::open(records.as_ref(), &node).await?;
    let history = History::open(data.path(), &installation, records.as_ref()).await?;
    let (epoch, history) = (installation.epoch, Arc::new(history));
    let supervisor = Arc::new(Supervisor::new(node.clone()));
    if elsewhere.is_some() {
        history::elsewhere::check(&installation, records.as_ref(), backstop.as_ref(), &node)
            .await?;
    }

    let near = bare.redis.as_ref().map(|_| Arc::clone(&ephemeral));
    let durable = Arc::clone(&backstop);
    let foreign = Foreign::open(&config, &node, (&realm, epoch), near, durable).await?;
    let snapshots = Snapshots::new(node.clone());
    let mut view = View::new(node.clone()).of_epoch(epoch).with_snapshots(snapshots.clone());
    if let Some(foreign) = &foreign {
        view = view.with_foreign(realm.clone(), Arc::clone(&foreign.view));
    }
    let view = Arc::new(view);
    knowing::begin_with_what_was_kept(&view, &snapshots, records.as_ref()).await;
    // Nothing is judged before everything that was taken back is known.
    knowing::know_what_was_taken_back(&view, records.as_ref(), &node, knowing::PATIENCE).await?;
    let circle = bare.circle(&config, data.path(), &node)?;
    let mut revoker =
        Revoker::new(node.clone(), Arc::clone(&records), Arc::clone(&feed), Arc::clone(&view));
    if let Some(part) = &circle {
        revoker = revoker.within(Arc::clone(&part.circle));
    }

    let roots = async |purpose: &str| Roots::open(records.as_ref(), &node, &realm, purpose).await;
    let lifetimes = Lifetimes {
        access: config.tokens.access_lifetime.get(),
        idle: config.tokens.refresh_lifetime.get(),
        absolute: config.tokens.refresh_absolute.get(),
        window: config.tokens.reuse_window.get(),
    };
    let indexes = Indexes::new(Arc::clone(&records), node.clone(), epoch, roots("status").await?);
    let families = Families::new(
        node.clone(),
        epoch,
        Arc::clone(&records),
        roots("refresh").await?,
        indexes.clone(),
        revoker.clone(),
        lifetimes.clone(),
    );
    let rules = RotationRules {
        published_for: config.keys.jwks_max_age.get(),
        // Tokens of before a change of `access_lifetime` may live longer than those of today.
        verifies_for: LONGEST_ACCESS + Duration::from_secs(60),
        signs_for: Some(config.keys.rotate_every.get()).filter(|span| !span.is_zero()),
    };
    let keys = Keys::open(
        node.clone(),
        realm.clone(),
        Arc::clone(&records),
        Arc::clone(&feed),
        revoker.clone(),
        rules,
        root_key::rings(&config, vault),
    )
    .await?;
    let cluster = Cluster::join(&config, &node, &roots("gossip").await?).await?;
    let limit_names = match &bare.redis {
        Some(_) => {
            let roots = roots("rate-limits").await?;
            let key = roots.secret(roots.newest(), &[b"names"]);
            Some(key.ok_or_else(|| no_root("rate limits"))?)
        }
        None => None,
    };
    let clients = Clients::new(node.clone(), Arc::clone(&records), roots("client-secret").await?)
        .without(names::taken(&config));
    let registry = Registry::new(node.clone(), Arc::clone(&records), &config.trust_domain());
    let policies = crate::policies::Policies::new(
        (node.clone(), realm.clone(), epoch),
        Arc::clone(&records),
        data.path().to_owned(),
    );
    let session_keys = session_keys(roots("session").await?);
    let endings: Arc<dyn Endings> =
        Arc::new(RevokedSessions::new(revoker.clone(), lifetimes.access));
    let sessions = Sessions::new(
        node.clone(),
        epoch,
        Arc::clone(&records),
        Arc::clone(&ephemeral),
        session_keys,
        Arc::clone(&endings),
        config.sessions.limits(),
    );
    let to_clients = crate::signals::way::to_clients(&config)
        .map_err(|failed| Startup::Configuration(failed.why()))?;
    let dpop_nonces = dpop_nonces(&roots("dpop-nonce").await?, &realm)?;
    let pairwise = Pairwise::new(&roots("pairwise").await?, &realm);
    let pairwise = Arc::new(pairwise.ok_or_else(|| no_root("names of people"))?);
    let api_keys = ApiKeys::new(
        node.clone(),
        (epoch, realm.clone()),
        Arc::clone(&records),
        &roots("api-key").await?,
        revoker.clone(),
    );
    let longest =
        config.tokens.service_lifetime.get().max(config.tokens.bound_service_lifetime.get());
    let api_keys = api_keys.ok_or_else(|| no_root("API keys"))?.with_tokens_of(longest);
    let references = ReferenceTokens::new(
        node.clone(),
        realm.clone(),
        Arc::clone(&ephemeral),
        &roots("reference-token").await?,
    );
    let references = references.ok_or_else(|| no_root("opaque tokens"))?;
    let usage = Arc::new(Usage::new(node.clone()));
    // Whoever serves says whom they trust.
    let authorities = Arc::new(Authorities::default());
    let trust_domains = config.trust_domains.iter().map(|domain| domain.name.clone());
    let trust_domains = Arc::new(TrustDomains::new(trust_domains));
    let key_uses = Arc::<Uses>::default();
    let provider = Provider::new(
        tegata_oauth::Config { second_factor: demand(&config)?, ..provider_config(&config) },
        Parts {
            node: node.clone(),
            realm: realm.clone(),
            epoch,
            records: Arc::clone(&records),
            ephemeral: Arc::clone(&ephemeral),
            clients: clients.clone(),
            families: families.clone(),
            sessions: Arc::new(SessionsOfFamilies(sessions.clone())),
            indexes,
            keys: keys.clone(),
            revoker: revoker.clone(),
            targets: Arc::new(registry.clone()),
            published: Arc::new(AskedClients::new(to_clients, node.clone())),
            pairwise: Arc::clone(&pairwise),
            dpop_nonces: dpop_nonces.clone(),
            usage: Arc::clone(&usage),
            authorities: Arc::clone(&authorities),
            trust_domains: Arc::clone(&trust_domains),
            api_keys: api_keys.clone(),
            key_uses: Arc::clone(&key_uses),
            references: references.clone(),
        },
    );

    let longest = lifetimes.absolute.max(config.sessions.absolute());
    let narrowed = NarrowedTokens::new(revoker.clone(), families.clone(), longest, node.clone());
    let narrowed = Arc::new(narrowed);
    let users = Users::new(node.clone(), Arc::clone(&records)).telling(Arc::clone(&narrowed) as _);
    let hasher = PasswordHasher::new(
        tegata_identity::credential::password::HasherConfig::default(),
        node.entropy(),
    );
    let hasher = Arc::new(hasher.map_err(|error| Startup::Configuration(error.to_string()))?);
    let pool =
        HashingPool::start(tegata_identity::workers::Config::default(), Arc::clone(node.clock()));
    let pool: Arc<dyn Workers> = Arc::new(pool.map_err(|error| {
        Startup::Configuration(format!(
            "the threads that hash passwords cannot be started: {error}"
        ))
    })?);
    let passwords = Passwords::new(
        node.clone(),
        Arc::clone(&records),
        Arc::clone(&hasher),
        Arc::clone(&pool),
        PasswordPolicy::default(),
    );
    let superseded = SupersededPasswords::new(revoker.clone(), longest, node.clone());
    let mut passwords = passwords.telling(Arc::new(superseded));
    if let Some(path) = &config.users.breached_passwords {
        let list = crate::breached::List::open(path);
        let list = list.map_err(|error| Startup::Configuration(format!("[users] {error}")))?;
        passwords = passwords.refusing(Arc::new(list));
    }
    let standby = backends::standby(&node);
    let throttle = Throttle::new(
        node.clone(),
        // Attempts are counted whatever is away.
        Arc::new(Standby::new(Arc::clone(&ephemeral), Arc::clone(&standby))),
        tegata_identity::throttle::Config {
            danger_exempt_loopback: config.limits.danger_exempt_loopback,
            ..tegata_identity::throttle::Config::default()
        },
    );
    let second = SecondFactors::new(node.clone(), Arc::clone(&records), Arc::clone(&ephemeral))
        .demanding(demand(&config)?)
        .making_known(narrowed);
    let second = if config.has_mail() { second.telling(epoch) } else { second };
    let challenges = roots("passkey-challenge").await?;
    let challenges = challenges.secret(challenges.newest(), &[b"passkey challenge"]);
    let challenges = challenges.ok_or_else(|| no_root("challenges of passkeys"))?;
    let party = config.relying_party(&challenges);
    let second = match party.map_err(|error| Startup::Configuration(error.to_string()))? {
        Some(party) => second.with_passkeys(party),
        None => second,
    };
    let letters = letters(
        &config,
        tegata_identity::letters::Parts {
            epoch,
            keys: letter_keys(roots("letter").await?),
            users: users.clone(),
            passwords: passwords.clone(),
            second: second.clone(),
            throttle: throttle.clone(),
        },
    )?;
    let sign_in = SignIn::new(second, throttle, hasher, pool);

    let csrf = Csrf::new(self::session_keys(roots("csrf").await?));
    let (cookies, policy) = config.cookies().map_err(Startup::Configuration)?;
    let cookie_consents = CookieConsents::new(
        node.clone(),
        epoch,
        Arc::clone(&records),
        ConsentSeal::new(self::session_keys(roots("cookie-consent").await?)),
        Arc::new(policy),
        config.consent.kept.get(),
    );
    let certificates = CertificateRegistry::new(
        node.clone(),
        Arc::clone(&records),
        clients.clone(),
        realm.clone(),
    );
    let withdraw = Withdraw::new()
        .with(Arc::new(CertificatesOfHolder(Arc::clone(&certificates))))
        .with(Arc::new(SessionsOfHolder(sessions.clone())))
        .with(Arc::new(families.clone()))
        .with(Arc::new(api_keys.clone()))
        .with(Arc::new(OwnTokens::new(node.clone(), Arc::clone(&usage), revoker.clone())));
    Ok(Composed {
        config,
        node,
        realm,
        epoch,
        custody,
        history,
        supervisor,
        records,
        ephemeral,
        feed,
        cached,
        backends: bare,
        backstop,
        elsewhere,
        standby,
        cluster,
        limit_names,
        unfinished: Unfinished::default(),
        circle,
        permission_propagation: circle::durations(),
        usage,
        view,
        foreign,
        refill: tokio::sync::Notify::new(),
        revoker,
        keys,
        families,
        clients,
        users,
        passwords,
        sign_in,
        letters,
        sessions,
        endings,
        csrf,
        cookies,
        cookie_consents,
        provider,
        pairwise,
        dpop_nonces,
        authorities,
        trust_domains,
        certificates,
        registry,
        policies,
        api_keys,
        key_uses,
        references,
        withdraw,
        decisions: std::sync::OnceLock::new(),
        data,
    })
}

fn provider_config(config: &Config) -> tegata_oauth::Config {
    tegata_oauth::Config {
        issuer: config.issuer(),
        audience: config.audience(),
        code_lifetime: config.tokens.code_lifetime.get(),
        pushed_lifetime: config.tokens.pushed_lifetime.get(),
        details_types: config.tokens.authorization_details_types.clone(),
        access_lifetime: config.tokens.access_lifetime.get(),
        service_lifetime: config.tokens.service_lifetime.get(),
        bound_service_lifetime: config.tokens.bound_service_lifetime.get(),
        exchanged_lifetime: config.tokens.exchanged_lifetime.get(),
        longest_chain: config.tokens.longest_chain,
        transaction_lifetime: config.tokens.transaction_lifetime.get(),
        trust_domain: config.trust_domain(),
        jwks_max_age: config.keys.jwks_max_age.get(),
        registration: config.clients.registration,
        registration_scope: config.clients.registration_scope.clone(),
        described: config.described(),
        dpop_nonce: config.tokens.dpop_nonce,
        mtls: config.mtls(),
        assertion_audience: config.clients.assertion_audience,
        ..tegata_oauth::Config::default()
    }
}

fn demand(config: &Config) -> Result<Demand, Startup> {
    config.demand().map_err(|error| Startup::Configuration(format!("[users] {error}")))
}

fn dpop_nonces(roots: &Roots, realm: &Realm) -> Result<DpopNonces, Startup> {
    Ok(DpopNonces::new(roots, realm).ok_or_else(|| no_root("nonces"))?)
}

fn no_root(what: &str) -> StoreError {
    StoreError::Misused { detail: format!("there is no root secret for {what}") }
}

fn letters(config: &Config, parts: tegata_identity::letters::Parts) -> Result<Letters, Startup> {
    let roles = config.registration_roles();
    let set = tegata_identity::letters::Config {
        registration: config.users.registration == UserRegistration::Open,
        roles: roles.map_err(|error| Startup::Configuration(format!("[users] {error}")))?,
        sign_in: config.users.sign_in_by_mail,
    };
    Ok(Letters::new(set, parts))
}

fn letter_keys(roots: Roots) -> tegata_identity::letters::Keys {
    tegata_identity::letters::Keys::new(move |parts| roots.derive(roots.newest(), parts))
}

fn session_keys(roots: Roots) -> tegata_session::Keys {
    tegata_session::Keys::new(roots.newest(), move |number, parts| roots.derive(number, parts))
}

/// The store, without what must not be shown.
pub(crate) fn store_name(config: &Config) -> String {
    let url = config.store.url.expose();
    match url.split_once("://") {
        Some(("sqlite", _)) => url.to_owned(),
        Some((scheme, rest)) => {
            let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
            format!("{scheme}://{}", place.split('?').next().unwrap_or_default())
        }
        None => "the store".to_owned(),
    }
}

/// Parts in a new directory, with keys that are made fast.
#[cfg(test)]
pub(crate) async fn for_tests(place: &Path) -> Composed {
    for_tests_with(place, Config::default()).await
}

/// The same, with other settings.
#[cfg(test)]
pub(crate) async fn for_tests_with(place: &Path, mut config: Config) -> Composed {
    config.keys.algorithms = vec![tegata_token::Algorithm::Es256];
    let source = Source { file: None, base: place.to_owned(), data_dir: None };
    let key = place.join("root.key");
    if !key.exists() {
        tegata_store::FileCustody::create(&key, &Node::start()).unwrap();
    }
    compose(config, &source).await.unwrap()
}
