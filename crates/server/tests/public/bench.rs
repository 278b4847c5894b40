//! What the tests of this folder are run on: all of the public listener, in memory, on a clock that
//! stands still.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::Router;
use prometheus_client::registry::Registry;
use tegata_core::{
    Batch, BoxFuture, ClientId, Custody, Ephemeral, Epoch, Kind, Log, ManualClock, Node, Parting,
    Realm, Records, Secret, SeededEntropy, StoreError,
};
use tegata_identity::{
    Breached, Busy, Demand, EmailAddress, Letters, NewUser, Password, PasswordHasher,
    PasswordPolicy, Passwords, RelyingParty, Role, SecondFactors, SignIn, Throttle, User, Username,
    Users, Workers,
    credential::password::{Caps, HasherConfig},
    letters,
};
use tegata_oauth::{
    Access, ClientMetadata, Clients, Delegation, GrantType, Parts, Provider, Sees, Targets,
    signals::{StreamRules, Streams},
};
use tegata_server::{
    Administration, App, BrowserClient, Config, Metrics, NarrowedTokens, NotHeard, RevokedSessions,
    SessionsOfFamilies, SupersededPasswords, Unfinished,
    admin::{self, Asked, Done, Operation},
    router, router_for_gateway,
};
use tegata_session::{
    ConsentSeal, CookieConsents, CookiePolicy, CookieTable, Csrf, Environment, Limits, Origins,
    PolicyRules, Sessions,
};
use tegata_store::{
    FileCustody, MemoryEphemeral, MemoryFeed, MemoryRecords, Sealed, sealed::DATA_KEYS,
};
use tegata_token::{
    Algorithm, DpopNonces, Entry, Families, Indexes, Keys, Lifetimes, Pairwise, Revoker, Roots,
    RotationRules, Target, Usage, View,
};

use super::{
    lookout::Told,
    mailbox::Mailbox,
    recorded::Kept,
    switch::{ALL, Switch},
};

/// The issuer of the tests.
pub(crate) const ISSUER: &str = "http://localhost:8000";
/// Where the clients of the tests are sent back to.
pub(crate) const CALLBACK: &str = "http://127.0.0.1:9999/callback";
/// The secret of the confidential clients.
pub(crate) const SECRET: &str = "a secret of the tests";
/// A password that was stolen somewhere, and one that nobody can tell of whether it was.
pub(crate) const STOLEN: &str = "a phrase that somebody stole";
pub(crate) const UNTOLD: &str = "a phrase that is not looked up";

/// A list that has the one, and cannot be read where it would have the other.
struct Stolen;

impl Breached for Stolen {
    fn has(&self, sha1: &[u8; 20]) -> Result<bool, String> {
        let is = |text: &str| {
            let algorithm = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
            aws_lc_rs::digest::digest(algorithm, text.as_bytes()).as_ref() == sha1
        };
        if is(UNTOLD) { Err("the disk is gone".to_owned()) } else { Ok(is(STOLEN)) }
    }
}

/// Alice's password.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// Where browsers of the tests are.
pub(crate) const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// The verifier and the challenge of RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// See [`VERIFIER`].
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A root key.
pub(crate) const ROOT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The whole listener.
pub(crate) struct Bench {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) realm: Realm,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) view: Arc<View>,
    pub(crate) provider: Provider,
    pub(crate) alice: User,
    pub(crate) users: Users,
    pub(crate) second: SecondFactors,
    pub(crate) router: Router,
    /// What the gateway alone may ask, with [`WAY`].
    pub(crate) behind: Router,
    pub(crate) node: Node,
    pub(crate) letters: Letters,
    pub(crate) passwords: Passwords,
    pub(crate) sessions: Sessions,
    pub(crate) mailbox: Mailbox,
    pub(crate) administered: Arc<Administered>,
    pub(crate) lookout: Arc<Told>,
    pub(crate) parting: Parting,
    /// What decides, for whoever asks over `AuthZEN`.
    pub(crate) policies: Arc<Mutex<Option<Arc<tegata_policy::PolicySet>>>>,
    registry: Registry,
    left: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    keeps: Arc<AtomicBool>,
    /// What the node says besides, where it is asked who refuses something.
    pub(crate) confirmed: Arc<Mutex<serde_json::Value>>,
    /// What was decided.
    pub(crate) decisions: Arc<Kept>,
}

/// What the gateway shows.
pub(crate) const WAY: &str = "the secret of the gateway";

/// Does nothing of what administrators ask for, and notes who asked for what. A fake.
#[derive(Default)]
pub(crate) struct Administered(
    pub(crate) Mutex<Vec<(Operation, String)>>,
    /// What it answers where it was told, instead of what it was sent.
    pub(crate) Mutex<Vec<(Operation, Result<serde_json::Value, admin::Refused>)>>,
    /// The version of all that it answers. Whoever names another changes nothing; what is changed has the
    /// next.
    pub(crate) AtomicU64,
);

impl Administered {
    /// What it is told to answer is that from now on.
    pub(crate) fn tell(&self, operation: Operation, told: serde_json::Value) {
        let mut all = self.1.lock().unwrap();
        all.retain(|(known, _)| *known != operation);
        all.push((operation, Ok(told)));
    }
}

/// Where this is named, it panics, as what has a defect does.
pub(crate) const PANICS: &str = "panics00";

impl Administration for Administered {
    fn perform(&self, asked: Asked) -> BoxFuture<'_, Result<Done, admin::Refused>> {
        let actor = asked.by.who.as_str().to_owned();
        assert!(asked.named.iter().all(|name| name != PANICS), "secret-of-a-caller");
        if let Some(versions) = &asked.versions {
            let now = self.2.load(Ordering::SeqCst);
            if !versions.contains(&now) {
                return Box::pin(std::future::ready(Err(admin::Refused::Overtaken)));
            }
            self.2.store(now + 1, Ordering::SeqCst);
        }
        self.0.lock().unwrap().push((asked.operation, actor));
        let told = self.1.lock().unwrap();
        let told = told.iter().find(|(operation, _)| *operation == asked.operation);
        if let Some((_, told)) = told {
            let version = self.2.load(Ordering::SeqCst);
            let done = told.clone().map(|told| Done::with(told).of_version(version));
            return Box::pin(std::future::ready(done));
        }
        let done = Done { location: Some("/new".to_owned()), ..Done::with(asked.body.into()) };
        Box::pin(async move { Ok(done.of_version(7)) })
    }
}

/// The only node there is, which says also what it is told to. A fake.
struct OneNode(Arc<Mutex<serde_json::Value>>);

impl tegata_server::Confirm for OneNode {
    fn confirmed(
        &self,
        _: tegata_core::SinceBoot,
        taken: tegata_token::revocation::Taken,
    ) -> BoxFuture<'_, serde_json::Value> {
        let taken = format!("{taken:?}");
        let mut told = serde_json::json!({
            "by": ["this"], "after_ms": 1, "taken": taken
        });
        if let Some(more) = self.0.lock().unwrap().as_object() {
            told.as_object_mut().unwrap().extend(more.clone());
        }
        Box::pin(std::future::ready(told))
    }
}

/// Hears one transmitter, `known`, which says what it wants to be answered. A fake.
struct Hearing;

impl tegata_server::Inlet for Hearing {
    fn hear<'a>(
        &'a self,
        name: &'a str,
        authorization: Option<&'a [u8]>,
        signal: &'a str,
    ) -> BoxFuture<'a, Result<(), NotHeard>> {
        let refused = |code| {
            let description = "\"as it says\"".to_owned();
            Err(NotHeard::Refused { code, description })
        };
        let away = StoreError::Unavailable { backend: "the store", detail: "away".into() };
        let answer = match (name, authorization, signal) {
            ("known", Some(b"Bearer shown"), "good") => Ok(()),
            ("known", Some(b"Bearer shown"), "away") => Err(away.into()),
            ("known", Some(b"Bearer shown"), _) => refused("invalid_key"),
            ("known", ..) => refused("authentication_failed"),
            _ => Err(NotHeard::Unknown),
        };
        Box::pin(async move { answer })
    }
}

/// Services that everybody may call. A fake.
struct Anything;

impl Targets for Anything {
    fn access<'a>(
        &'a self,
        _: &'a Realm,
        _: &'a ClientId,
        target: &'a str,
    ) -> BoxFuture<'a, Result<Access, StoreError>> {
        let access = if target == "orders" { Access::Allowed } else { Access::Unknown };
        Box::pin(async move { Ok(access) })
    }

    fn sees<'a>(&'a self, _: &'a Realm, _: &'a str) -> BoxFuture<'a, Result<Sees, StoreError>> {
        Box::pin(async { Ok(Sees::default()) })
    }

    fn delegations<'a>(
        &'a self,
        _: &'a Realm,
        _: &'a ClientId,
    ) -> BoxFuture<'a, Result<Vec<Delegation>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// A worker that works at once, on the caller's thread.
struct Inline;

impl Workers for Inline {
    fn submit(&self, job: tegata_identity::workers::Job) -> Result<(), Busy> {
        job();
        Ok(())
    }
}

impl Bench {
    /// A listener in development.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A listener whose configuration is edited.
    pub(crate) async fn with(edit: impl FnOnce(&mut Config)) -> Self {
        Self::of(Demand::Nobody, edit).await
    }

    /// A listener that demands a second factor of some.
    pub(crate) async fn demanding(demand: Demand) -> Self {
        Self::of(demand, |_| {}).await
    }

    async fn of(demand: Demand, edit: impl FnOnce(&mut Config)) -> Self {
        let clock = Arc::new(ManualClock::default());
        let decisions = Arc::new(Kept::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let left = Arc::new(AtomicUsize::new(ALL));
        let calls = Arc::new(AtomicUsize::new(0));
        let keeps = Arc::new(AtomicBool::new(false));
        let realm = Realm::default();
        let kinds: Vec<&'static Kind> = [&DATA_KEYS]
            .into_iter()
            .chain(tegata_token::KINDS)
            .chain(tegata_session::KINDS)
            .chain(tegata_oauth::KINDS)
            .chain(tegata_identity::KINDS)
            .collect();
        let bare: Arc<dyn Records> = Arc::new(MemoryRecords::new(&kinds, clock.clone()).unwrap());
        let custody = FileCustody::from_text(ROOT_KEY, "the test", &node).unwrap();
        let custody: Arc<dyn Custody> = Arc::new(custody);
        let switch: Arc<dyn Records> = Arc::new(Switch::new(bare, &left, &calls));
        let records: Arc<dyn Records> =
            Arc::new(Sealed::open(switch, custody, &node).await.unwrap());
        let ephemeral: Arc<dyn Ephemeral> = Arc::new(MemoryEphemeral::new(clock.clone()));
        let ephemeral: Arc<dyn Ephemeral> =
            Arc::new(Switch::new(ephemeral, &left, &calls).keeping(&keeps));

        let view = Arc::new(View::new(node.clone()));
        let feed = Arc::new(MemoryFeed::new(1024));
        let revoker = Revoker::new(node.clone(), records.clone(), feed.clone(), Arc::clone(&view));
        let roots =
            async |purpose| Roots::open(records.as_ref(), &node, &realm, purpose).await.unwrap();
        let indexes =
            Indexes::new(records.clone(), node.clone(), Epoch::FIRST, roots("status").await);
        let families = Families::new(
            node.clone(),
            Epoch::FIRST,
            records.clone(),
            roots("refresh").await,
            indexes.clone(),
            revoker.clone(),
            Lifetimes::default(),
        );
        let keys = Keys::open(
            node.clone(),
            realm.clone(),
            records.clone(),
            feed,
            revoker.clone(),
            RotationRules::default(),
            // RSA keys take long to make.
            &[Algorithm::Es256],
        )
        .await
        .unwrap();
        let clients = Clients::new(node.clone(), records.clone(), roots("client-secret").await);
        let endings = Arc::new(RevokedSessions::new(revoker.clone(), Duration::from_secs(3660)));
        let session_keys = tegata_session::Keys::of_root(Secret::new([3; 32]));
        let sessions = Sessions::new(
            node.clone(),
            Epoch::FIRST,
            records.clone(),
            ephemeral.clone(),
            session_keys.clone(),
            endings.clone(),
            Limits::default(),
        );
        let dpop_nonces = DpopNonces::new(&roots("dpop-nonce").await, &realm).unwrap();
        let pairwise = Arc::new(Pairwise::new(&roots("pairwise").await, &realm).unwrap());
        let references = tegata_token::ReferenceTokens::new(
            node.clone(),
            realm.clone(),
            ephemeral.clone(),
            &roots("reference-token").await,
        );
        let api_keys = tegata_token::ApiKeys::new(
            node.clone(),
            (Epoch::FIRST, realm.clone()),
            records.clone(),
            &roots("api-key").await,
            revoker.clone(),
        );
        let provider = Provider::new(
            tegata_oauth::Config { second_factor: demand.clone(), ..Default::default() },
            Parts {
                node: node.clone(),
                realm: realm.clone(),
                epoch: Epoch::FIRST,
                records: records.clone(),
                ephemeral: ephemeral.clone(),
                clients,
                families,
                sessions: Arc::new(SessionsOfFamilies(sessions.clone())),
                indexes,
                keys,
                revoker: revoker.clone(),
                published: Arc::new(tegata_oauth::remote::NothingPublished),
                targets: Arc::new(Anything),
                pairwise,
                dpop_nonces,
                usage: Arc::new(Usage::new(node.clone())),
                authorities: Arc::default(),
                trust_domains: Arc::default(),
                api_keys: api_keys.unwrap(),
                key_uses: Arc::default(),
                references: references.unwrap(),
            },
        );
        let hasher = HasherConfig { memory_kib: 8, passes: 1, lanes: 1, caps: Caps::default() };
        let hasher = Arc::new(PasswordHasher::new(hasher, node.entropy()).unwrap());
        let users = Users::new(node.clone(), records.clone());
        let alice = register(&users, &hasher, &node, &realm, "alice").await;
        register(&users, &hasher, &node, &realm, "bob").await;
        let throttle = Throttle::new(
            node.clone(),
            ephemeral.clone(),
            tegata_identity::throttle::Config::default(),
        );
        let party = RelyingParty::new("localhost", &[ISSUER], &Secret::new([4; 32])).unwrap();
        let day = Duration::from_secs(86_400);
        let (revokes, families) = (revoker.clone(), provider.families().clone());
        let narrowed = NarrowedTokens::new(revokes, families, day, node.clone());
        let second = SecondFactors::new(node.clone(), records.clone(), ephemeral.clone())
            .with_passkeys(party)
            .making_known(Arc::new(narrowed))
            .demanding(demand)
            .telling(Epoch::FIRST);
        let superseded = SupersededPasswords::new(revoker.clone(), day, node.clone());
        let passwords = Passwords::new(
            node.clone(),
            records.clone(),
            Arc::clone(&hasher),
            Arc::new(Inline),
            PasswordPolicy::default(),
        )
        .telling(Arc::new(superseded))
        .refusing(Arc::new(Stolen));
        let set = letters::Config {
            registration: true,
            roles: vec![Role::new("customer").unwrap()],
            sign_in: true,
        };
        let letters = Letters::new(
            set,
            letters::Parts {
                epoch: Epoch::FIRST,
                keys: keys_of_letters(),
                users: users.clone(),
                passwords: passwords.clone(),
                second: second.clone(),
                throttle: throttle.clone(),
            },
        );
        let sign_in = SignIn::new(second.clone(), throttle, hasher, Arc::new(Inline));
        let browser = BrowserClient { algorithm: Algorithm::Es256, ..BrowserClient::default() };
        let mut config = Config { browser, mail: true, ..Config::default() };
        edit(&mut config);
        let cookies = CookieTable::new(config.environment, None).unwrap();
        let policy = CookiePolicy::new(&cookies, &PolicyRules::of(config.environment)).unwrap();
        let cookie_consents = CookieConsents::new(
            node.clone(),
            Epoch::FIRST,
            records.clone(),
            ConsentSeal::new(session_keys.clone()),
            Arc::new(policy),
            Duration::from_secs(730 * 86_400),
        );
        let allowed = ["https://app.example.com"];
        let administered = Arc::new(Administered::default());
        let (lookout, parting) = (Arc::new(Told::default()), Parting::default());
        let mut registry = Registry::default();
        let confirmed = Arc::new(Mutex::new(serde_json::Value::Null));
        let app = App::new(
            config,
            tegata_server::Parts {
                provider: provider.clone(),
                epoch: Epoch::FIRST,
                users: users.clone(),
                sign_in,
                passwords: passwords.clone(),
                letters: letters.clone(),
                sessions: sessions.clone(),
                endings,
                csrf: Csrf::new(session_keys),
                cookies,
                cookie_consents,
                origins: Origins::new(ISSUER, &allowed).unwrap(),
                confirm: Arc::new(OneNode(Arc::clone(&confirmed))),
                unfinished: Unfinished::default(),
                administration: administered.clone(),
                streams: Streams::new(provider.clone(), StreamRules::default()),
                inlet: Arc::new(Hearing),
                metrics: Metrics::register(&mut registry),
                lookout: Arc::clone(&lookout) as Arc<dyn tegata_server::Lookout>,
                parting: parting.clone(),
                decisions: Some(Arc::clone(&decisions) as Arc<dyn tegata_server::Decisions>),
            },
        )
        .unwrap();
        let policies = Arc::new(Mutex::new(None));
        let decides = Arc::clone(&policies);
        let app = app.deciding_by(Arc::new(move || decides.lock().unwrap().clone()));
        let bench = Self {
            policies,
            clock,
            realm,
            records,
            view,
            provider,
            alice,
            users,
            second,
            behind: router_for_gateway(app.clone(), Secret::new(WAY.to_owned())),
            router: router(app),
            node,
            letters,
            passwords,
            sessions,
            mailbox: Mailbox::default(),
            administered,
            lookout,
            parting,
            registry,
            left,
            calls,
            keeps,
            confirmed,
            decisions,
        };
        bench.register_clients().await;
        bench.catch_up().await;
        bench
    }

    /// A listener as it is in production.
    pub(crate) async fn in_production() -> Self {
        Self::with(|config| config.environment = Environment::Production).await
    }

    async fn register_clients(&self) {
        let code = [GrantType::AuthorizationCode, GrantType::RefreshToken];
        let web = ClientMetadata {
            client_id: "web".into(),
            client_name: Some("Example Web".into()),
            grant_types: Some(code.into()),
            redirect_uris: vec![CALLBACK.into()],
            post_logout_redirect_uris: vec!["https://web.example/bye".into()],
            scope: "openid profile email offline_access orders.read".into(),
            ..ClientMetadata::default()
        };
        self.declare(web.clone()).await;
        self.declare(ClientMetadata {
            client_id: "other".into(),
            client_name: Some("Another".into()),
            redirect_uris: vec!["https://other.example/callback".into()],
            ..web.clone()
        })
        .await;
        self.declare(ClientMetadata {
            client_id: "spa".into(),
            client_name: Some("A public client".into()),
            public: true,
            asks_consent: Some(false),
            ..web.clone()
        })
        .await;
        self.declare(ClientMetadata {
            client_id: "service".into(),
            grant_types: Some([GrantType::ClientCredentials].into()),
            redirect_uris: vec![],
            may_introspect: true,
            scope: "orders.read".into(),
            ..web
        })
        .await;
    }

    /// Registers a client, with ES256 and the secret of the tests.
    pub(crate) async fn declare(&self, metadata: ClientMetadata) {
        let metadata = ClientMetadata {
            access_token_signed_response_alg: Some(Algorithm::Es256),
            id_token_signed_response_alg: Some(Algorithm::Es256),
            ..metadata
        };
        let secret = (!metadata.public).then(|| Secret::new(SECRET.to_owned()));
        self.provider.clients().declare(&self.realm, &metadata, secret.as_ref()).await.unwrap();
    }

    /// The person of this name.
    pub(crate) async fn user(&self, name: &str) -> User {
        let name = Username::new(name).unwrap();
        self.users.by_username(&self.realm, &name).await.unwrap().unwrap()
    }

    /// Takes back everything that alice has up to now.
    pub(crate) async fn take_back_alice(&self) {
        let (now, sub) = (self.node.now(), self.alice.id.to_string());
        let entry = Entry {
            target: Target::Subject { sub, up_to: now, tokens_only: false },
            places: Vec::new(),
            at: now,
            until: now + Duration::from_secs(86_400),
            reason: "stolen".into(),
            actor: "system".into(),
        };
        let batch = Batch::new(self.realm.clone());
        self.provider.revoker().commit(batch, vec![entry]).await.unwrap();
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Takes the stores away, or brings them back.
    pub(crate) fn take_away(&self, away: bool) {
        self.take_away_after(if away { 0 } else { ALL });
    }

    /// Takes the stores away when they have been asked so many things more.
    pub(crate) fn take_away_after(&self, calls: usize) {
        self.left.store(calls, Ordering::SeqCst);
    }

    /// Lets the store let go of no request that waits, or do so again.
    pub(crate) fn keep_requests(&self, keeps: bool) {
        self.keeps.store(keeps, Ordering::SeqCst);
    }

    /// How often the stores were asked for something.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// What the metric of this name and these labels says.
    pub(crate) fn counted(&self, metric: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(metric));
        line.map_or(0, |count| count.trim().parse().unwrap())
    }

    /// Reads the revocation log, as a node does every second.
    pub(crate) async fn catch_up(&self) {
        self.records.sequence(Log::Revocations, self.node.id()).await.unwrap();
        self.view.catch_up(self.records.as_ref()).await.unwrap();
    }
}

/// What links of mail are made with.
fn keys_of_letters() -> letters::Keys {
    letters::Keys::new(|parts| {
        let root = hmac::Key::new(hmac::HMAC_SHA256, &[5; 32]);
        let mut context = hmac::Context::with_key(&root);
        for part in parts {
            context.update(&u32::try_from(part.len()).unwrap().to_be_bytes());
            context.update(part);
        }
        Some(hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref()))
    })
}

async fn register(
    users: &Users,
    hasher: &PasswordHasher,
    node: &Node,
    realm: &Realm,
    name: &str,
) -> User {
    let typed = Password::new(PASSWORD.to_owned()).unwrap();
    let new = NewUser {
        profile: tegata_identity::Profile::default(),
        username: Username::new(name).unwrap(),
        email: Some(EmailAddress::new(&format!("{name}@people.example")).unwrap()),
        roles: BTreeSet::from([Role::new("customer").unwrap()]),
        locale: None,
        password: Some(hasher.hash(&typed, node.entropy()).unwrap()),
    };
    users.register(realm, new, "test").await.unwrap()
}
