//! A provider with a person, some clients and some services.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tegata_core::{
    Batch, BoxFuture, ClientId, Custody, Ephemeral, Epoch, Feed, Kind, ManualClock, Node, Realm,
    Records, Secret, SeededEntropy, SessionId, StoreError, Timestamp,
};
use tegata_identity::{NewUser, Role, User, Username, Users};
use tegata_oauth::{
    Access, Asking, AuthorizationRequest, Client, ClientMetadata, Clients, Config, Delegation,
    GrantType, LiveSessions, Params, Parts, Proven, ProvenClient, Provider, Redirect, Refused,
    Sees, SignedIn, Targets, TokenAnswer,
};
use tegata_store::{
    FileCustody, MemoryEphemeral, MemoryFeed, MemoryRecords, Sealed, sealed::DATA_KEYS,
};
use tegata_token::{
    Algorithm, Binding, DpopNonces, Families, Indexes, Keys, Lifetimes, Pairwise, Revoker, Roots,
    RotationRules, SigningKey, Usage, View,
};

pub(crate) const SECRET: &str = "a client secret of the tests";
/// RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const CALLBACK: &str = "https://app.example/cb";

pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) node: Node,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) users: Users,
    pub(crate) provider: Provider,
    pub(crate) parts: Parts,
    pub(crate) user: User,
    pub(crate) sessions: Arc<Living>,
    pub(crate) services: Arc<Services>,
}

/// Who calls whom, and what is declared of it. A fake.
///
/// `orders` may be called by `machine`; `payments` and `inventory` by `orders` and `batch`, for others
/// too; `vault` by `orders` and `payments`, for others only by a delegation. What they are told of callers' rights
/// is all of them, unless something else is said.
#[derive(Default)]
pub(crate) struct Services(
    pub(crate) Mutex<Vec<Delegation>>,
    pub(crate) Mutex<BTreeMap<String, Sees>>,
);

impl Targets for Services {
    fn access<'a>(
        &'a self,
        _: &'a Realm,
        caller: &'a ClientId,
        target: &'a str,
    ) -> BoxFuture<'a, Result<Access, StoreError>> {
        let access = match (target, caller.as_str()) {
            ("payments" | "inventory", "orders" | "batch") | ("orders", "machine") => {
                Access::Allowed
            }
            ("vault", "orders" | "payments") => Access::InOwnName,
            ("inventory", "payments") => Access::Allowed,
            ("payments" | "inventory" | "orders" | "vault", _) => Access::Forbidden,
            _ => Access::Unknown,
        };
        Box::pin(async move { Ok(access) })
    }

    fn sees<'a>(
        &'a self,
        _: &'a Realm,
        target: &'a str,
    ) -> BoxFuture<'a, Result<Sees, StoreError>> {
        let sees = self.1.lock().unwrap().get(target).cloned().unwrap_or_default();
        Box::pin(async move { Ok(sees) })
    }

    fn delegations<'a>(
        &'a self,
        _: &'a Realm,
        actor: &'a ClientId,
    ) -> BoxFuture<'a, Result<Vec<Delegation>, StoreError>> {
        let all = self.0.lock().unwrap();
        let of_actor = all.iter().filter(|it| it.actor == actor.as_str()).cloned().collect();
        Box::pin(async move { Ok(of_actor) })
    }
}

/// Sessions that live until they are said to have ended. A fake.
#[derive(Default)]
pub(crate) struct Living(pub(crate) Mutex<BTreeSet<SessionId>>);

impl LiveSessions for Living {
    fn lives<'a>(
        &'a self,
        _: &'a Realm,
        session: &'a SessionId,
        _: Asking,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let has_ended = self.0.lock().unwrap().contains(session);
        Box::pin(async move { Ok(!has_ended) })
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let ephemeral = Arc::new(MemoryEphemeral::new(clock.clone()));
        Self::on(clock, ephemeral).await
    }

    /// The same with values with a lifetime in this store.
    pub(crate) async fn on(clock: Arc<ManualClock>, ephemeral: Arc<dyn Ephemeral>) -> Self {
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(7)));
        let realm = Realm::default();
        let kinds: Vec<&'static Kind> = tegata_token::KINDS
            .into_iter()
            .chain(tegata_oauth::KINDS)
            .chain(tegata_identity::KINDS)
            .chain([&DATA_KEYS])
            .collect();
        let bare: Arc<dyn Records> = Arc::new(MemoryRecords::new(&kinds, clock.clone()).unwrap());
        let root = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let custody: Arc<dyn Custody> =
            Arc::new(FileCustody::from_text(root, "the test", &node).unwrap());
        let records: Arc<dyn Records> = Arc::new(Sealed::open(bare, custody, &node).await.unwrap());
        let feed: Arc<dyn Feed> = Arc::new(MemoryFeed::new(256));
        let view = Arc::new(View::new(node.clone()));
        let revoker = Revoker::new(node.clone(), records.clone(), feed.clone(), view);
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
            &[Algorithm::Es256, Algorithm::EdDsa],
        )
        .await
        .unwrap();
        let clients = Clients::new(node.clone(), records.clone(), roots("client-secret").await);
        let users = Users::new(node.clone(), records.clone());
        let new = NewUser {
            profile: tegata_identity::Profile::default(),
            username: Username::new("alice").unwrap(),
            email: None,
            roles: BTreeSet::from([Role::new("customer").unwrap()]),
            locale: None,
            password: None,
        };
        let user = users.register(&realm, new, "test").await.unwrap();
        let config = Config {
            issuer: "https://issuer.example".into(),
            audience: "https://api.example".into(),
            trust_domain: "shop.example".into(),
            details_types: BTreeSet::from(["payment".to_owned(), "account".to_owned()]),
            ..Config::default()
        };
        let sessions = Arc::new(Living::default());
        let services = Arc::new(Services::default());
        let dpop_nonces = DpopNonces::new(&roots("dpop-nonce").await, &realm).unwrap();
        let pairwise = Arc::new(Pairwise::new(&roots("pairwise").await, &realm).unwrap());
        let references = tegata_token::ReferenceTokens::new(
            node.clone(),
            realm.clone(),
            ephemeral.clone(),
            &roots("reference-token").await,
        );
        let references = references.unwrap();
        let api_keys = tegata_token::ApiKeys::new(
            node.clone(),
            (Epoch::FIRST, realm.clone()),
            records.clone(),
            &roots("api-key").await,
            revoker.clone(),
        );
        let api_keys = api_keys.unwrap();
        let parts = Parts {
            node: node.clone(),
            realm,
            epoch: Epoch::FIRST,
            records: records.clone(),
            ephemeral,
            clients,
            families,
            sessions: sessions.clone(),
            indexes,
            keys,
            revoker,
            published: Arc::new(tegata_oauth::remote::NothingPublished),
            targets: services.clone(),
            pairwise,
            dpop_nonces,
            usage: Arc::new(Usage::new(node.clone())),
            authorities: Arc::default(),
            trust_domains: Arc::default(),
            api_keys,
            key_uses: Arc::default(),
            references,
        };
        let provider = Provider::new(config, parts.clone());
        Self { clock, node, records, users, provider, parts, user, sessions, services }
    }

    /// The provider of another node, with a handle of its own on the values with a lifetime.
    pub(crate) fn elsewhere(&self, ephemeral: Arc<dyn Ephemeral>) -> Provider {
        let parts = Parts { ephemeral, ..self.parts.clone() };
        Provider::new(self.provider.config().clone(), parts)
    }

    /// The provider of another node, which hears of nothing that is taken back.
    pub(crate) fn deaf(&self) -> Provider {
        Provider::new(self.provider.config().clone(), self.deaf_parts())
    }

    pub(crate) fn deaf_parts(&self) -> Parts {
        let (node, records) = (self.node.clone(), self.records.clone());
        let view = Arc::new(View::new(node.clone()));
        let revoker = Revoker::new(node, records, Arc::new(MemoryFeed::new(1)), view);
        Parts { revoker, ..self.parts.clone() }
    }

    /// A client with these grants. Its tokens are signed fast.
    pub(crate) async fn client(
        &self,
        id: &str,
        grants: &[GrantType],
        change: impl FnOnce(&mut ClientMetadata),
    ) -> Client {
        let mut metadata = ClientMetadata {
            client_id: id.into(),
            grant_types: Some(grants.iter().copied().collect()),
            redirect_uris: vec![CALLBACK.into()],
            scope: "openid profile orders.read payments.write offline_access".into(),
            access_token_signed_response_alg: Some(Algorithm::Es256),
            id_token_signed_response_alg: Some(Algorithm::Es256),
            ..ClientMetadata::default()
        };
        change(&mut metadata);
        let secret = Secret::new(SECRET.to_owned());
        let secret = (!metadata.public && metadata.jwks.is_none()).then_some(&secret);
        let realm = self.provider.realm();
        self.provider.clients().declare(realm, &metadata, secret).await.unwrap().client
    }

    /// A client that has just proven itself.
    pub(crate) async fn proven(&self, client: &Client) -> ProvenClient {
        self.named(client.id.as_str()).await
    }

    /// The same, by its name.
    pub(crate) async fn named(&self, client: &str) -> ProvenClient {
        let id = client.parse().unwrap();
        self.provider.registered(&id).await.unwrap().unwrap()
    }

    /// The client of most tests: code and refresh.
    pub(crate) async fn web(&self) -> Client {
        let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
        self.client("web", &grants, |_| {}).await
    }

    pub(crate) fn signed_in(&self) -> SignedIn {
        let now = self.node.now();
        SignedIn {
            user: self.user.id.clone(),
            session: SessionId::generate(Epoch::FIRST, now, self.node.entropy()),
            session_ends: now + std::time::Duration::from_secs(86_400),
            auth_time: now,
            acr: "aal1".into(),
            amr: vec!["pwd".into()],
            factors: Vec::new(),
        }
    }

    pub(crate) async fn request(&self, changes: &[(&str, &str)]) -> AuthorizationRequest {
        self.provider.authorization_request(&asked(changes)).await.unwrap().0
    }

    /// A code for the request of `changes`, as the browser brings it to the client.
    pub(crate) async fn code(&self, changes: &[(&str, &str)]) -> String {
        self.code_for(&self.signed_in(), changes).await
    }

    pub(crate) async fn code_for(&self, who: &SignedIn, changes: &[(&str, &str)]) -> String {
        query(self.grant(&self.request(changes).await, who).await.address(), "code")
    }

    /// The answer to a request that somebody has agreed to.
    pub(crate) async fn grant(&self, request: &AuthorizationRequest, who: &SignedIn) -> Redirect {
        let (provider, asked) = (&self.provider, request.asked_of_person());
        let client = provider.clients().load(provider.realm(), &request.client).await.unwrap();
        let client = client.unwrap().value;
        provider.remember_consent(&who.user, &client, &asked).await.unwrap();
        provider.grant_code(request, &client, who).await.unwrap()
    }

    pub(crate) async fn redeem(
        &self,
        client: &Client,
        code: &str,
        changes: &[(&str, &str)],
    ) -> Result<TokenAnswer, Refused> {
        let mut all = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        all.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        all.extend(changes);
        self.provider
            .token(&self.proven(client).await, &params(&all), &place(), Proven::default())
            .await
    }

    pub(crate) async fn refresh(
        &self,
        client: &Client,
        token: &str,
    ) -> Result<TokenAnswer, Refused> {
        let all = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.provider
            .token(&self.proven(client).await, &params(&all), &place(), Proven::default())
            .await
    }

    pub(crate) async fn is_active(&self, token: &str) -> bool {
        let asking = self
            .client("inspector", &[GrantType::ClientCredentials], |it| it.may_introspect = true)
            .await;
        let answer = self.provider.introspect(&asking, &params(&[("token", token)])).await.unwrap();
        answer["active"] == true
    }

    pub(crate) async fn commit(&self, batch: Batch) {
        self.records.commit(batch).await.unwrap();
    }
}

/// The parameters of an authorization request of `web`, with these besides or instead.
pub(crate) fn asked(changes: &[(&str, &str)]) -> Params {
    let mut all = vec![
        ("client_id", "web"),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid orders.read"),
        ("state", "s t&ate"),
        ("nonce", "n"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    all.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    all.extend(changes);
    params(&all)
}

/// A key of a client, and the change that registers it.
pub(crate) fn client_key() -> (SigningKey, impl FnOnce(&mut ClientMetadata)) {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let jwks = serde_json::json!({"keys": [key.jwk()]});
    (key, move |client| client.jwks = serde_json::from_value(jwks).unwrap())
}

pub(crate) fn place() -> Binding {
    Binding::Network { network: "192.0.2.0/24".into(), agent: "Firefox/Linux".into() }
}

pub(crate) fn params(pairs: &[(&str, &str)]) -> Params {
    Params::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
        .unwrap()
}

/// A parameter of a redirect, still encoded.
pub(crate) fn query(address: &str, name: &str) -> String {
    let (_, query) = address.split_once('?').unwrap();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned()).next().unwrap()
}

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The error code that a client is told.
pub(crate) fn error(refused: Refused) -> &'static str {
    match refused {
        Refused::OAuth(error) => error.code.name(),
        Refused::Store(error) => panic!("{error}"),
    }
}

pub(crate) fn after(clock: &ManualClock, secs: u64) -> Timestamp {
    clock.advance(std::time::Duration::from_secs(secs));
    tegata_core::Clock::now(clock)
}
