//! What can be set: `tegata.toml`, and the environment over it.
//!
//! Every section has safe defaults, so an empty file is a good one. A key that is not known is an
//! error that names the nearest one: a setting that is silently ignored is how limits get lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use http::Uri;
use serde::Deserialize;
use tegata_core::{ClientCertificates, ForwardedBy, Network};
use tegata_gateway::{
    config::{self as gateway, Cors, Deadlines, Services, Tls},
    decision_log::Mode,
};
use tegata_mesh::{DeclaredBff, DeclaredDelegation, DeclaredRoute, DeclaredService};
use tegata_oauth::{
    AssertionAudience, DpopNonce, MutualTls,
    described::{self, HostPattern},
    register::Registration,
};
use tegata_server::{ConsoleAt, admin::SecondFactor, app::Appearance};
use tegata_session::Environment;
use tegata_token::{Algorithm, Scope};

mod audit_log;
mod contradictions;
mod cookies;
mod declared;
mod environment;
mod ext_authz;
mod files;
mod introspection;
mod issuer;
mod listen;
mod load;
mod mail;
mod party;
mod pkcs11;
mod policy;
mod resource;
mod sessions;
mod sidecar;
pub(crate) mod signals;
mod span;
mod trust_domain;

pub(crate) use audit_log::AuditLog;
pub(crate) use cookies::{Consent, CookieForm, Cookies};
pub(crate) use declared::{ClientForm, Declared, Hidden, UserForm, read_secret};
pub(crate) use environment::unheeded;
pub(crate) use ext_authz::ExtAuthz;
pub(crate) use introspection::Introspection;
pub(crate) use issuer::ForeignIssuer;
pub(crate) use listen::Listen;
pub(crate) use load::{BadConfig, Given, Source, from_table, read, read_declared, read_table};
pub(crate) use mail::{Mail, Registration as UserRegistration, TIMEOUT as MAIL_TIMEOUT, Users};
pub(crate) use pkcs11::Pkcs11;
pub(crate) use policy::{Mode as PolicyMode, Policy};
pub(crate) use sessions::Sessions;
pub(crate) use sidecar::Sidecar;
pub(crate) use span::Span;
pub(crate) use trust_domain::TrustedDomain;

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) public: Public,
    pub(crate) gateway: Gateway,
    pub(crate) operations: Operations,
    pub(crate) ext_authz: ExtAuthz,
    pub(crate) store: Store,
    pub(crate) redis: Redis,
    pub(crate) events: Events,
    pub(crate) revocation: Revocation,
    pub(crate) cluster: Cluster,
    pub(crate) keys: Keys,
    pub(crate) tokens: Tokens,
    pub(crate) sessions: Sessions,
    pub(crate) cookies: Cookies,
    pub(crate) consent: Consent,
    pub(crate) observability: Observability,
    pub(crate) audit_log: AuditLog,
    pub(crate) limits: Limits,
    pub(crate) admin: Admin,
    pub(crate) clients: Clients,
    pub(crate) mail: Mail,
    pub(crate) users: Users,
    pub(crate) signals: signals::Signals,
    pub(crate) sidecar: Sidecar,
    pub(crate) policy: Policy,
    pub(crate) issuer: Vec<ForeignIssuer>,
    /// One section for each: the name in the file is of one.
    #[serde(rename = "trust_domain")]
    pub(crate) trust_domains: Vec<TrustedDomain>,
    pub(crate) user: Vec<UserForm>,
    pub(crate) client: Vec<ClientForm>,
    pub(crate) service: Vec<DeclaredService>,
    pub(crate) route: Vec<DeclaredRoute>,
    pub(crate) delegation: Vec<DeclaredDelegation>,
    pub(crate) bff: Vec<DeclaredBff>,
}

/// Administration over HTTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Which administrators must have shown a second factor: `enrolled` or `required`.
    pub(crate) second_factor: SecondFactor,
    /// Where the console is open: `own_origin`, `off`, `danger_shared_origin`.
    pub(crate) console: ConsoleAt,
    /// For how long somebody may look on in the console after they have shown that they are there.
    pub(crate) console_proof: Span,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            second_factor: SecondFactor::default(),
            console: ConsoleAt::default(),
            console_proof: Span::secs(3600),
        }
    }
}

/// How clients register or describe themselves, and how they are reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Clients {
    /// Who may register clients: `off`, `token`, `open`.
    pub(crate) registration: Registration,
    /// What clients that register themselves may ask people for, separated by spaces.
    pub(crate) registration_scope: Scope,
    /// Whether clients may describe themselves at the address that they are called by.
    pub(crate) metadata_documents: bool,
    /// The hosts at which they may; any, where none is named.
    pub(crate) metadata_document_hosts: Vec<HostPattern>,
    /// What assertions of clients name as their audience: `issuer`, `danger_issuer_or_endpoint`.
    pub(crate) assertion_audience: AssertionAudience,
    /// Networks in which addresses of clients may lie, beside the internet.
    pub(crate) reach: Vec<Network>,
    /// Certificates that sign those of clients; the system's where nothing is said.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            registration: Registration::Off,
            registration_scope: Scope::new("openid profile email offline_access")
                .unwrap_or_default(),
            metadata_documents: false,
            metadata_document_hosts: Vec::new(),
            assertion_audience: AssertionAudience::Issuer,
            reach: Vec::new(),
            ca_file: None,
        }
    }
}

/// Where people and clients come.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Public {
    /// Where it listens.
    pub(crate) listen: Listen,
    /// The issuer identifier; `http://localhost:PORT` if it is missing, which only development may.
    pub(crate) issuer: Option<String>,
    /// The domain that passkeys are made for; the issuer's host if it is missing.
    pub(crate) rp_id: Option<String>,
    /// Which cookies are set: `development`, `staging`, `production`.
    pub(crate) environment: Environment,
    /// Networks of proxies in front of it, which are believed about the address of the client.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Which header those proxies write the address into: `x-forwarded-for` or `forwarded`.
    pub(crate) forwarded_by: ForwardedBy,
    /// Its certificate; without one, HTTP is spoken in the clear.
    pub(crate) tls: Option<Tls>,
    /// How it learns of certificates of clients: `off`, `tls` or `header`.
    pub(crate) client_certificates: ClientCertificates,
    /// Where it listens beside that, with the same certificate, and asks clients for theirs.
    pub(crate) mtls_listen: Option<Listen>,
    /// Under which address clients reach that; the issuer's with the port of `mtls_listen` if nothing
    /// is said.
    pub(crate) mtls_url: Option<String>,
    /// Certificates of the authorities that sign those of clients.
    pub(crate) client_ca_file: Option<PathBuf>,
    /// The name below every page and in its title.
    pub(crate) brand: String,
    /// A style sheet for the pages, which comes after their own.
    pub(crate) theme_file: Option<PathBuf>,
}

impl Default for Public {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(8000),
            issuer: None,
            rp_id: None,
            environment: Environment::Development,
            trusted_proxies: Vec::new(),
            forwarded_by: ForwardedBy::default(),
            tls: None,
            client_certificates: ClientCertificates::default(),
            mtls_listen: None,
            mtls_url: None,
            client_ca_file: None,
            brand: Appearance::default().brand,
            theme_file: None,
        }
    }
}

/// Where requests to services come.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Gateway {
    /// Where it listens.
    pub(crate) listen: Listen,
    /// What access tokens are for; `http://localhost:PORT` if it is missing.
    pub(crate) audience: Option<String>,
    /// How many threads serve connections; 0: one for each core.
    pub(crate) workers: usize,
    /// Its certificate; without one, HTTP is spoken in the clear.
    pub(crate) tls: Option<Tls>,
    /// The names under which it may be asked, without ports; empty: under any.
    pub(crate) hosts: Vec<String>,
    /// Networks of proxies in front of it, which are believed about the address of the client.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Which header those proxies write the address into: `x-forwarded-for` or `forwarded`.
    pub(crate) forwarded_by: ForwardedBy,
    /// How it learns of certificates of clients: `off`, `tls` or `header`.
    pub(crate) client_certificates: ClientCertificates,
    /// Certificates of the authorities that sign those by which callers are known, where a route says so.
    pub(crate) client_ca_file: Option<PathBuf>,
    /// Which scripts of other origins may call.
    pub(crate) cors: Cors,
    /// Whether answers may be compressed.
    pub(crate) compression: bool,
    /// How much passes.
    pub(crate) limits: gateway::Limits,
    /// How long it waits.
    pub(crate) deadlines: Deadlines,
    /// How services are reached.
    pub(crate) upstream: Services,
    /// What follows when a decision of the gateway cannot be recorded: `best_effort` or `required`; what
    /// `[audit_log]` says where nothing is said.
    pub(crate) decisions: Option<Mode>,
    /// Who is asked about tokens while revocations cannot be learnt.
    pub(crate) introspection: Introspection,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(8080),
            audience: None,
            workers: 0,
            tls: None,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_by: ForwardedBy::default(),
            client_certificates: ClientCertificates::default(),
            client_ca_file: None,
            cors: Cors::default(),
            compression: true,
            limits: gateway::Limits::default(),
            deadlines: Deadlines::default(),
            upstream: Services::default(),
            decisions: None,
            introspection: Introspection::default(),
        }
    }
}

/// Where operators look.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Operations {
    /// Where it listens. Not for the internet.
    pub(crate) listen: Listen,
    /// For how long everything is still served after SIGTERM, while it says that it is not ready.
    pub(crate) linger: Span,
}

impl Default for Operations {
    fn default() -> Self {
        Self { listen: Listen::loopback(9000), linger: Span::secs(3) }
    }
}

/// Where things are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// `sqlite://FILE`, relative to the data directory, or `postgres://user@host/database`.
    pub(crate) url: Hidden,
    /// The file that it is in, in place of `url`.
    pub(crate) url_file: Option<PathBuf>,
    /// The directory of the database, the root key, the administration socket and the logs;
    /// relative to the configuration file.
    pub(crate) data_dir: PathBuf,
    /// How many connections to PostgreSQL there are at most.
    pub(crate) connections: usize,
    /// Whether a PostgreSQL is refused that acknowledges what no standby has.
    pub(crate) synchronous_standby: Standby,
}

/// Whether there must be a standby that has everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standby {
    /// A server without one is used, too.
    #[default]
    Optional,
    /// It is refused.
    Required,
}

impl Default for Store {
    fn default() -> Self {
        let url = Hidden::new("sqlite://tegata.db".to_owned());
        let synchronous_standby = Standby::default();
        let data_dir = PathBuf::from(".");
        Self { url, url_file: None, data_dir, connections: 16, synchronous_standby }
    }
}

/// What is kept for a while, where several nodes share it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Redis {
    /// `redis://…`, `redis-sentinel://…`, `redis-cluster://…`, and the same with `rediss`. Without
    /// it, the store keeps it.
    pub(crate) url: Option<Hidden>,
    /// The file that it is in, in place of `url`.
    pub(crate) url_file: Option<PathBuf>,
    /// How many connections are opened at the start.
    pub(crate) connections: usize,
    /// How long a command may take.
    pub(crate) timeout: Span,
    /// After how long a reading that need not be the latest is asked of the next server too.
    pub(crate) hedge_after: Span,
    /// So many failures in a row, and Redis is left alone for a while.
    pub(crate) failures: u32,
    /// For how long, unless it is seen to be there again before.
    pub(crate) open_for: Span,
    /// What all keys begin with.
    pub(crate) prefix: String,
    /// Under which address a node of the cluster is reached that announces another.
    pub(crate) address_map: BTreeMap<String, String>,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            connections: 20,
            timeout: Span::millis(250),
            hedge_after: Span::millis(5),
            failures: 5,
            open_for: Span::secs(30),
            prefix: "tegata".to_owned(),
            address_map: BTreeMap::new(),
        }
    }
}

/// How nodes hear of each other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Events {
    /// `memory:`, for one node.
    pub(crate) url: Hidden,
    /// The file that it is in, in place of `url`.
    pub(crate) url_file: Option<PathBuf>,
}

impl Default for Events {
    fn default() -> Self {
        Self { url: Hidden::new("memory:".to_owned()), url_file: None }
    }
}

/// What has been taken back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Revocation {
    /// Its second durable home: `store`, or `dynamodb://TABLE?region=…`.
    pub(crate) durable: Hidden,
    /// How often it is measured how long a change of permissions takes to be known everywhere; 0 is
    /// never.
    pub(crate) canary: Span,
    /// How many bytes of memory answers about tokens of other issuers may take up that are kept for a
    /// minute.
    pub(crate) cache: usize,
}

impl Default for Revocation {
    fn default() -> Self {
        let (durable, canary) = (Hidden::new("store".to_owned()), Span::secs(10));
        Self { durable, canary, cache: tegata_token::foreign::REMEMBERED }
    }
}

/// Who else there is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cluster {
    /// Where this node hears the others, over UDP. Without it, it hears none.
    pub(crate) listen: Option<SocketAddr>,
    /// Where the others reach that, if it is not the same.
    pub(crate) advertise: Option<SocketAddr>,
    /// Whom to speak to first: some of the others, `HOST:PORT`.
    pub(crate) seeds: Vec<String>,
    /// What operators call this node; its number where it has no name.
    pub(crate) name: Option<String>,
}

/// The root key and the signing keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keys {
    /// The file of the root key, relative to the data directory; `root.key` where it has no name.
    pub(crate) root_key_file: Option<PathBuf>,
    /// The root key itself, base64: for the environment, never for a file.
    pub(crate) root_key: Option<Hidden>,
    /// The token that the root key is in, in place of both.
    pub(crate) pkcs11: Option<Pkcs11>,
    /// The algorithms that there are keys for.
    pub(crate) algorithms: Vec<Algorithm>,
    /// How long verifiers may keep the key set.
    pub(crate) jwks_max_age: Span,
    /// How long a key signs before the next one does. Zero: until somebody asks.
    pub(crate) rotate_every: Span,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            root_key_file: None,
            root_key: None,
            pkcs11: None,
            algorithms: Algorithm::ALL.to_vec(),
            jwks_max_age: Span::secs(300),
            rotate_every: Span::secs(30 * 86_400),
        }
    }
}

impl Keys {
    /// The file of the root key, where it is in one.
    pub(crate) fn root_key_file(&self) -> &Path {
        self.root_key_file.as_deref().unwrap_or(Path::new("root.key"))
    }

    /// What tokens are signed with where nobody says otherwise: what every verifier must know
    /// (`OpenID Connect Core` §15.1), or else the first that there are keys for.
    pub(crate) fn usual(&self, fapi: bool) -> Algorithm {
        if fapi {
            // FAPI 2.0 §5.4.1 rules RS256 out; there always is an ES256 key.
            let allowed = self.algorithms.iter().find(|it| **it != Algorithm::Rs256);
            return allowed.copied().unwrap_or(Algorithm::Es256);
        }
        let required = Some(&Algorithm::Rs256).filter(|it| self.algorithms.contains(it));
        required.or(self.algorithms.first()).copied().unwrap_or(Algorithm::Rs256)
    }
}

/// How long tokens live.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tokens {
    /// An access token.
    pub(crate) access_lifetime: Span,
    /// A refresh token that is not used.
    pub(crate) refresh_lifetime: Span,
    /// All refresh tokens of one sign-in.
    pub(crate) refresh_absolute: Span,
    /// For how long a lost answer to a refresh is given again; `0s` turns it off.
    pub(crate) reuse_window: Span,
    /// An authorization code.
    pub(crate) code_lifetime: Span,
    /// A pushed authorization request.
    pub(crate) pushed_lifetime: Span,
    /// A token of one service for another.
    pub(crate) service_lifetime: Span,
    /// The same, bound to a certificate.
    pub(crate) bound_service_lifetime: Span,
    /// A token that was exchanged.
    pub(crate) exchanged_lifetime: Span,
    /// How many actors a token may name, one acting for the other.
    pub(crate) longest_chain: usize,
    /// A transaction token.
    pub(crate) transaction_lifetime: Span,
    /// What transaction tokens are for; the issuer's host if it is missing.
    pub(crate) trust_domain: Option<String>,
    /// The types of authorization details that services understand.
    pub(crate) authorization_details_types: BTreeSet<String>,
    /// Whether DPoP proofs must carry a nonce: `offered` or `required`.
    pub(crate) dpop_nonce: DpopNonce,
    /// Whether pages of our own origin are given access tokens.
    pub(crate) for_pages: bool,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            access_lifetime: Span::secs(900),
            refresh_lifetime: Span::secs(604_800),
            refresh_absolute: Span::secs(30 * 86_400),
            reuse_window: Span::secs(10),
            code_lifetime: Span::secs(60),
            pushed_lifetime: Span::secs(60),
            service_lifetime: Span::secs(60),
            bound_service_lifetime: Span::secs(300),
            exchanged_lifetime: Span::secs(300),
            longest_chain: 4,
            transaction_lifetime: Span::secs(60),
            trust_domain: None,
            authorization_details_types: BTreeSet::new(),
            dpop_nonce: DpopNonce::Offered,
            for_pages: true,
        }
    }
}

/// Rate limits.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Whether attempts to sign in from this machine are not counted. For demonstrations: behind a
    /// proxy on the same machine everybody comes from there.
    pub(crate) danger_exempt_loopback: bool,
}

/// What the program says of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Observability {
    /// `text` or `json`.
    pub(crate) log: LogForm,
    /// `error`, `warn`, `info`, `debug`, or directives such as `info,tegata_oauth=debug`.
    pub(crate) level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogForm {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

impl Default for Observability {
    fn default() -> Self {
        Self { log: LogForm::Text, level: "info".to_owned() }
    }
}

impl Config {
    /// The issuer identifier.
    pub(crate) fn issuer(&self) -> String {
        let default = || format!("http://localhost:{}", self.public.listen.port());
        self.public.issuer.clone().unwrap_or_else(default)
    }

    /// What access tokens are for.
    pub(crate) fn audience(&self) -> String {
        let default = || format!("http://localhost:{}", self.gateway.listen.port());
        self.gateway.audience.clone().unwrap_or_else(default)
    }

    /// What transaction tokens are for: the name of the domain in which they count.
    pub(crate) fn trust_domain(&self) -> String {
        let issuer = self.issuer();
        let host = || issuer.parse::<Uri>().ok()?.host().map(str::to_owned);
        self.tokens.trust_domain.clone().or_else(host).unwrap_or(issuer.clone())
    }

    /// Which clients may describe themselves. In development, they are on this machine too.
    pub(crate) fn described(&self) -> Option<described::Rules> {
        self.clients.metadata_documents.then(|| described::Rules {
            hosts: self.clients.metadata_document_hosts.clone(),
            local: self.public.environment == Environment::Development,
        })
    }

    /// Whether the endpoints for clients see certificates, and where.
    pub(crate) fn mtls(&self) -> Option<MutualTls> {
        let public = &self.public;
        let elsewhere = self.gateway.client_certificates != ClientCertificates::Off;
        let are_seen = public.client_certificates != ClientCertificates::Off
            || public.mtls_listen.is_some()
            || (elsewhere && public.mtls_url.is_some());
        are_seen.then(|| MutualTls { at: self.mtls_url() })
    }

    /// Where the endpoints are that ask for certificates, if not where the others are.
    pub(crate) fn mtls_url(&self) -> Option<String> {
        let derived = || {
            let port = self.public.mtls_listen.as_ref()?.port();
            let issuer = self.issuer().parse::<Uri>().ok()?;
            Some(format!("https://{}:{port}", issuer.host()?))
        };
        self.public.mtls_url.clone().or_else(derived)
    }
}

/// Whether an issuer is on this machine.
pub(crate) fn is_loopback(issuer: &str) -> bool {
    ["http://localhost", "http://127.0.0.1", "http://[::1]"].iter().any(|prefix| {
        issuer
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}

#[cfg(test)]
mod tests;
