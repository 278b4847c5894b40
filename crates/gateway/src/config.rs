//! `[gateway]` of the configuration. What is left out is safe.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use tegata_core::{ClientCertificates, ForwardedBy, Network, RateLimit};
use tegata_mesh::Upstream;
use tegata_token::ProtectedResource;

mod span;

/// How the gateway behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// How many threads serve connections. 0: one for each core.
    pub workers: usize,
    /// The certificate; without one, HTTP is served in the clear.
    pub tls: Option<Tls>,
    /// The names under which it may be asked, without ports. Empty: under any name.
    pub hosts: Vec<String>,
    /// Proxies in front of it, which are believed about the address of the client.
    pub trusted_proxies: Vec<Network>,
    /// Which header those proxies write the address into.
    pub forwarded_by: ForwardedBy,
    /// How it learns of certificates of clients.
    pub client_certificates: ClientCertificates,
    /// Whether a `traceparent` from outside is taken over. Otherwise every request starts a trace.
    pub keep_traceparent: bool,
    /// For how long browsers remember to come with TLS alone; `None` says nothing about it.
    #[serde(with = "span::optional")]
    pub hsts: Option<Duration>,
    /// Where Tegata's own pages and endpoints are. Without it, they are not reachable here.
    pub public: Option<Upstream>,
    /// What the gateway proves itself with there, as `X-Internal-Gateway`: so that nobody else is
    /// believed about who asks.
    #[serde(skip)]
    pub public_secret: Option<HeaderValue>,
    /// What leads there: prefixes on whole segments.
    pub public_paths: Vec<String>,
    /// Cookies that no service sees, because whoever has one is the user, or could be followed by it.
    pub private_cookies: Vec<String>,
    /// What it is to clients that look for it (RFC 9728). Without it, it does not describe itself.
    #[serde(skip)]
    pub resource: Option<ProtectedResource>,
    /// Which scripts of other origins may call.
    pub cors: Cors,
    /// Whether answers may be compressed; routes say which.
    pub compression: bool,
    /// How much passes.
    pub limits: Limits,
    /// How long it waits.
    pub deadlines: Deadlines,
    /// How services are reached.
    pub upstream: Services,
    /// The internal tokens that services are given.
    pub internal: Internal,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, the server's own first.
    pub certificate_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// Cross-origin resource sharing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins that may call with the user's credentials. Empty: none, and what services say about
    /// it passes.
    pub origins: Vec<String>,
}

/// How much passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests of one address. `None`: any number.
    pub per_address: Option<RateLimit>,
    /// Requests of one user or client. `None`: any number.
    pub per_user: Option<RateLimit>,
    /// Requests with one API key. `None`: any number.
    pub per_key: Option<RateLimit>,
    /// Attempts of one address to sign in. `None`: as many as `per_address` lets pass; the public
    /// listener still has its own limit.
    pub sign_in: Option<RateLimit>,
    /// Networks whose requests are not counted.
    pub exempt: Vec<Network>,
    /// How many callers are remembered.
    pub callers: usize,
    /// How long a request waits for the store that nodes share to count it. Then a few pass meanwhile.
    #[serde(with = "span")]
    pub store_wait: Duration,
    /// Among how many nodes a limit is divided while that store is away, where nobody knows how many
    /// there are.
    pub nodes: NonZeroU32,
    /// The largest body, in bytes.
    pub body: u64,
    /// The largest body of a route, in bytes, by its prefix, in place of `body`.
    pub body_of: BTreeMap<String, u64>,
    /// How many bytes of a body each second earn the client their waiting: it may be silent for
    /// `deadlines.client` in all, and has that again with what it sends or takes. 0: any byte is enough.
    pub body_rate: u64,
    /// The same for a route, by its prefix, in place of `body_rate`: where bodies are conversations.
    pub body_rate_of: BTreeMap<String, u64>,
    /// Connections from clients, each worker. For more, those are closed on which nothing is asked for; where
    /// there are none, they are answered 503.
    pub connections: usize,
    /// Requests in flight, on all workers: whose answer has not begun, and for a second at most. 0: 4096 for
    /// each worker. An eighth is kept for Tegata's own pages. More are answered 503.
    pub requests: u32,
    /// What the process may hold, in bytes, with connections and what passes on them: the less is left, the
    /// less of each body is under way, and where nothing is, requests are answered 503. 0: half of what the
    /// machine has, or its control group.
    pub memory: u64,
    /// Connections from one address, on all workers. More are closed at once.
    pub connections_per_address: usize,
    /// Networks whose connections are not counted, beside those of trusted proxies: this machine,
    /// where a proxy may be that nobody has named and that brings everybody.
    pub connections_exempt: Vec<Network>,
}

/// How long the gateway waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// For a whole request head, and for a TLS handshake.
    #[serde(with = "span")]
    pub head: Duration,
    /// For the next request of a connection.
    #[serde(with = "span")]
    pub idle: Duration,
    /// For the next part of a body to come from the client, or to be taken by it.
    #[serde(with = "span")]
    pub client: Duration,
    /// For requests in flight when it is told to stop.
    #[serde(with = "span")]
    pub drain: Duration,
}

/// How services are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// To be connected.
    #[serde(with = "span")]
    pub connect: Duration,
    /// To answer with a head.
    #[serde(with = "span")]
    pub answer: Duration,
    /// To send the next part of a body.
    #[serde(with = "span")]
    pub pause: Duration,
    /// For how long a connection without requests is kept.
    #[serde(with = "span")]
    pub idle: Duration,
    /// Connections to one address, each worker. Requests beyond that are refused.
    pub connections: usize,
    /// For how long an address that could not be reached is passed over.
    #[serde(with = "span")]
    pub avoid: Duration,
    /// Certificates that sign those of services, in PEM. Needed for addresses with `https`.
    pub ca_file: Option<PathBuf>,
}

/// Internal tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Internal {
    /// Who issues them: the claim `iss`.
    pub issuer: String,
    /// How long one lives: at most 300 s, which greater values are cut to.
    #[serde(with = "span")]
    pub lifetime: Duration,
    /// How many are kept, each worker.
    pub kept: NonZeroUsize,
}

impl Config {
    /// Binds the listeners.
    ///
    /// # Errors
    /// What the system says, with the address.
    pub fn bind(&self) -> io::Result<Vec<std::net::TcpListener>> {
        let bind = |address: &SocketAddr| {
            std::net::TcpListener::bind(address).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on `{address}`: {error}"))
            })
        };
        self.listen.iter().map(bind).collect()
    }

    /// Whether a path leads to Tegata's own pages and endpoints, where these are somewhere.
    pub(crate) fn is_public(&self, path: &str) -> bool {
        self.public_paths.iter().any(|prefix| {
            let rest = path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    pub(crate) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            count => count,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            workers: 0,
            tls: None,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_by: ForwardedBy::default(),
            client_certificates: ClientCertificates::default(),
            keep_traceparent: true,
            hsts: None,
            public: None,
            public_secret: None,
            public_paths: texts(&[
                "/.well-known",
                "/access/v1",
                "/api/auth",
                "/api/consent",
                "/assets/tegata",
                "/login",
                "/oauth2",
                "/realms",
            ]),
            private_cookies: texts(&[
                "session_id",
                "__Host-session_id",
                "__Secure-session_id",
                "csrf_token",
                "__Host-csrf_token",
                "refresh_token",
                "__Host-refresh_token",
                "__Secure-refresh_token",
                "cookie_consent",
            ]),
            resource: None,
            cors: Cors::default(),
            compression: true,
            limits: Limits::default(),
            deadlines: Deadlines::default(),
            upstream: Services::default(),
            internal: Internal::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_address: "1000/h".parse().ok(),
            per_user: None,
            per_key: None,
            sign_in: "5/m".parse().ok(),
            exempt: Vec::new(),
            callers: 100_000,
            store_wait: Duration::from_millis(5),
            nodes: NonZeroU32::MIN.saturating_add(1),
            body: 100 * 1024 * 1024,
            body_of: BTreeMap::new(),
            body_rate: 240,
            body_rate_of: BTreeMap::new(),
            connections: 10_000,
            requests: 0,
            memory: 0,
            connections_per_address: 1000,
            connections_exempt: Network::loopback().to_vec(),
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            client: Duration::from_secs(30),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Services {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            answer: Duration::from_secs(30),
            pause: Duration::from_secs(60),
            // Below the 5 s after which widespread servers hang up, so that they rarely do so first.
            idle: Duration::from_secs(4),
            connections: 512,
            avoid: Duration::from_secs(2),
            ca_file: None,
        }
    }
}

impl Default for Internal {
    fn default() -> Self {
        // Of a caller, one for each service. Where there is no room for those who come again and again, each of
        // their requests has one signed anew.
        let kept = NonZeroUsize::MIN.saturating_add(9_999);
        Self { issuer: "tegata-gateway".to_owned(), lifetime: Duration::from_secs(300), kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_what_is_unknown_is_an_error() {
        let empty: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, Config::default());
        assert_eq!(empty.limits.per_address.map(|rate| rate.to_string()), Some("1000/h".into()));
        assert_eq!(empty.internal.kept.get(), 10_000);
        assert!(empty.trusted_proxies.is_empty() && empty.limits.exempt.is_empty());
        for bad in [
            r#"{"trusted_proxy": []}"#,
            r#"{"deadlines": {"header": "1s"}}"#,
            r#"{"limits": {"per_address": "many"}}"#,
            r#"{"trusted_proxies": ["everybody"]}"#,
            r#"{"tls": {"certificate_file": "a"}}"#,
        ] {
            assert!(serde_json::from_str::<Config>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_texts_with_a_unit() {
        let read = |text: &str| {
            let json = format!(r#"{{"deadlines": {{"head": {text}}}}}"#);
            serde_json::from_str::<Config>(&json).map(|config| config.deadlines.head)
        };
        for (text, millis) in
            [("\"10s\"", 10_000), ("\"250ms\"", 250), ("\"2m\"", 120_000), ("\"1h\"", 3_600_000)]
        {
            assert_eq!(read(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for bad in ["10", "\"10\"", "\"s\"", "\"-1s\"", "\"+1s\"", "\"1 s\"", "\"1.5s\"", "\"0s\""]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn is_read_as_it_was_written() {
        let json = serde_json::to_string(&Config::default()).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), Config::default());
    }
}
