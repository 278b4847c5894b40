//! The provider of one realm: what its parts are.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use tegata_core::{
    BoxFuture, ClientId, Ephemeral, Epoch, Node, Realm, Records, SessionId, StoreError,
};
use tegata_identity::Demand;
use tegata_token::{
    AccessToken, Algorithm, ApiKeys, Authorities, DpopNonces, Expected, ExpectedAudience, Families,
    Indexes, InternalToken, Keys, ListId, Memory, Pairwise, ReferenceTokens, Revoker, Scope,
    TransactionToken, TrustDomains, Usage, Uses, Verifier,
};

use crate::{
    authenticate::AssertionAudience,
    client::Clients,
    delegation::Delegation,
    described::{self, Documents},
    dpop::DpopNonce,
    mtls::MutualTls,
    register::Registration,
    remote::Published,
    sees::Sees,
};

/// What can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// The issuer identifier: an `https` URL without query or fragment (RFC 8414 §2); `http` on a
    /// loopback address.
    pub issuer: String,
    /// The audience of access tokens where nothing else is asked for: the gateway's.
    pub audience: String,
    /// How long a code can be redeemed: 60 s.
    pub code_lifetime: Duration,
    /// How long a pushed request waits for its browser: 60 s.
    pub pushed_lifetime: Duration,
    /// How long an authorization request may take a person: 1,800 s.
    pub request_lifetime: Duration,
    /// How long an access token of a client lives: 900 s.
    pub access_lifetime: Duration,
    /// How long a token for one service lives: 60 s.
    pub service_lifetime: Duration,
    /// The same where it is bound to the client's certificate: 300 s.
    pub bound_service_lifetime: Duration,
    /// How long a token that was exchanged lives at most: 300 s.
    pub exchanged_lifetime: Duration,
    /// How many actors a chain may have, and how many workloads may ask for a transaction token one
    /// after the other: 4.
    pub longest_chain: usize,
    /// How long a transaction token lives at most: 60 s.
    pub transaction_lifetime: Duration,
    /// The audience of transaction tokens: the name of the domain in which they count.
    pub trust_domain: String,
    /// How long verifiers may keep the key set: 300 s.
    pub jwks_max_age: Duration,
    /// Who may register clients.
    pub registration: Registration,
    /// What clients may ask for that were not declared.
    pub registration_scope: Scope,
    /// Which clients may describe themselves at the address that they are called by: none.
    pub described: Option<described::Rules>,
    /// The types of authorization details that services understand (RFC 9396 §10): none.
    pub details_types: BTreeSet<String>,
    /// Whether DPoP proofs must carry a nonce, where the client's registration does not say it.
    pub dpop_nonce: DpopNonce,
    /// Whether certificates of clients are seen, and where: nowhere.
    pub mtls: Option<MutualTls>,
    /// What assertions of clients name as their audience: the issuer.
    pub assertion_audience: AssertionAudience,
    /// Of whom a second factor is demanded: of nobody.
    pub second_factor: Demand,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issuer: "http://localhost:8000".to_owned(),
            audience: "http://localhost:8080".to_owned(),
            code_lifetime: Duration::from_secs(60),
            pushed_lifetime: Duration::from_secs(60),
            request_lifetime: Duration::from_secs(1800),
            access_lifetime: Duration::from_secs(900),
            service_lifetime: Duration::from_secs(60),
            bound_service_lifetime: Duration::from_secs(300),
            exchanged_lifetime: Duration::from_secs(300),
            longest_chain: 4,
            transaction_lifetime: Duration::from_secs(60),
            trust_domain: "localhost".to_owned(),
            jwks_max_age: Duration::from_secs(300),
            registration: Registration::Off,
            registration_scope: Scope::default(),
            described: None,
            details_types: BTreeSet::new(),
            dpop_nonce: DpopNonce::default(),
            mtls: None,
            assertion_audience: AssertionAudience::default(),
            second_factor: Demand::default(),
        }
    }
}

/// What a caller may ask for at a target service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The target does not exist.
    Unknown,
    /// The caller is not among those that may call it.
    Forbidden,
    /// It may call it.
    Allowed,
    /// It may call it, for others only where a delegation says so.
    InOwnName,
}

/// Whoever knows the services and who may call them.
pub trait Targets: Send + Sync {
    /// What `caller` may ask for at the service `target`.
    fn access<'a>(
        &'a self,
        realm: &'a Realm,
        caller: &'a ClientId,
        target: &'a str,
    ) -> BoxFuture<'a, Result<Access, StoreError>>;

    /// What of somebody's rights the service `target` is told.
    fn sees<'a>(
        &'a self,
        realm: &'a Realm,
        target: &'a str,
    ) -> BoxFuture<'a, Result<Sees, StoreError>>;

    /// What is declared of an actor: the latest, for it decides.
    fn delegations<'a>(
        &'a self,
        realm: &'a Realm,
        actor: &'a ClientId,
    ) -> BoxFuture<'a, Result<Vec<Delegation>, StoreError>>;
}

/// Whoever knows which sessions live.
pub trait LiveSessions: Send + Sync {
    /// Whether a session lives. Asked for a refresh, which is using it, it lives on.
    fn lives<'a>(
        &'a self,
        realm: &'a Realm,
        session: &'a SessionId,
        asking: Asking,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;
}

/// What is asked about a family for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// To refresh it.
    Refresh,
    /// To say whether it counts.
    Introspect,
}

/// What a provider is made of.
#[derive(Clone)]
pub struct Parts {
    /// The node.
    pub node: Node,
    /// The realm.
    pub realm: Realm,
    /// The issuer epoch.
    pub epoch: Epoch,
    /// Where records are.
    pub records: Arc<dyn Records>,
    /// Where values with a lifetime are.
    pub ephemeral: Arc<dyn Ephemeral>,
    /// The clients.
    pub clients: Clients,
    /// The families.
    pub families: Families,
    /// The sessions that families end with.
    pub sessions: Arc<dyn LiveSessions>,
    /// The places in status lists.
    pub indexes: Indexes,
    /// The realm's keys.
    pub keys: Keys,
    /// What takes things back.
    pub revoker: Revoker,
    /// The services.
    pub targets: Arc<dyn Targets>,
    /// What clients publish.
    pub published: Arc<dyn Published>,
    /// What pairwise clients call people.
    pub pairwise: Arc<Pairwise>,
    /// The nonces of DPoP proofs.
    pub dpop_nonces: DpopNonces,
    /// Where it is noted what tokens were made of, and how they are used.
    pub usage: Arc<Usage>,
    /// Whose signature on a client's certificate counts.
    pub authorities: Arc<Authorities>,
    /// The trust domains whose workloads can prove themselves by SVIDs.
    pub trust_domains: Arc<TrustDomains>,
    /// The API keys.
    pub api_keys: ApiKeys,
    /// Where it is noted that they were used.
    pub key_uses: Arc<Uses>,
    /// What opaque access tokens stand for.
    pub references: ReferenceTokens,
}

/// The provider of one realm.
#[derive(Clone)]
pub struct Provider {
    config: Arc<Config>,
    parts: Arc<Parts>,
    verifier: Arc<Verifier<AccessToken>>,
    internal: Arc<Verifier<InternalToken>>,
    transactions: Arc<Verifier<TransactionToken>>,
    documents: Arc<Documents>,
}

impl Provider {
    /// A provider of these parts.
    #[must_use]
    pub fn new(config: Config, parts: Parts) -> Self {
        let expected = Expected {
            issuer: config.issuer.clone(),
            // Introspection, userinfo and exchange answer for every audience of this issuer.
            audience: ExpectedAudience::DangerAny,
            // A token may be issued for the next second, right after a kill switch.
            leeway: Duration::from_secs(1),
        };
        let clock = parts.node.clock();
        let memory = Memory::default();
        let verifier = Verifier::new(expected.clone(), &memory, Arc::clone(clock));
        let verifier = Arc::new(verifier.since(parts.epoch).revealing(Arc::clone(&parts.pairwise)));
        let internal = Arc::new(
            Verifier::new(expected.clone(), &memory, Arc::clone(clock)).since(parts.epoch),
        );
        let audience = ExpectedAudience::OneOf(vec![config.trust_domain.clone()]);
        let expected = Expected { audience, ..expected };
        let transactions =
            Arc::new(Verifier::new(expected, &memory, Arc::clone(clock)).since(parts.epoch));
        let listening = (Arc::clone(&verifier), Arc::clone(&internal), Arc::clone(&transactions));
        parts.keys.listen(move |keys| {
            listening.0.use_keys(keys.clone());
            listening.1.use_keys(keys.clone());
            listening.2.use_keys(keys.clone());
        });
        let (config, parts) = (Arc::new(config), Arc::new(parts));
        let documents = Arc::new(Documents::new());
        Self { config, parts, verifier, internal, transactions, documents }
    }

    /// What was set.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &Realm {
        &self.parts.realm
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.parts.node
    }

    /// The clients.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.parts.clients
    }

    /// The families.
    #[must_use]
    pub fn families(&self) -> &Families {
        &self.parts.families
    }

    pub(crate) fn sessions(&self) -> &dyn LiveSessions {
        self.parts.sessions.as_ref()
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.parts.keys
    }

    /// What there are keys to sign with.
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let keys = self.keys().now();
        Algorithm::ALL.into_iter().filter(|it| keys.signer(*it).is_some()).collect()
    }

    /// What takes things back.
    #[must_use]
    pub fn revoker(&self) -> &Revoker {
        &self.parts.revoker
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.parts.epoch
    }

    pub(crate) fn records(&self) -> &dyn Records {
        self.parts.records.as_ref()
    }

    pub(crate) fn ephemeral(&self) -> &dyn Ephemeral {
        self.parts.ephemeral.as_ref()
    }

    /// The status lists on which tokens may be alive that live for `longest` at most.
    ///
    /// # Errors
    /// What the store says.
    pub async fn status_lists(&self, longest: Duration) -> Result<Vec<ListId>, StoreError> {
        self.parts.indexes.lists(self.realm(), longest).await
    }

    pub(crate) fn indexes(&self) -> &Indexes {
        &self.parts.indexes
    }

    pub(crate) fn published(&self) -> &dyn Published {
        self.parts.published.as_ref()
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    pub(crate) fn targets(&self) -> &dyn Targets {
        self.parts.targets.as_ref()
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.parts.usage
    }

    pub(crate) fn pairwise(&self) -> &Pairwise {
        &self.parts.pairwise
    }

    pub(crate) fn internal_verifier(&self) -> &Verifier<InternalToken> {
        &self.internal
    }

    pub(crate) fn transaction_verifier(&self) -> &Verifier<TransactionToken> {
        &self.transactions
    }

    pub(crate) fn verifier(&self) -> &Verifier<AccessToken> {
        &self.verifier
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.config.issuer)
    }
}
