//! Services and routes as people write them: `[[service]]` and `[[route]]` of the configuration and
//! of files for `tegata apply`. Unknown keys are errors. [`crate::ServiceMap`] checks the rest.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tegata_core::{Hours, MaxAge, Network, RateLimit};

use crate::{
    credentials::Credential,
    delegation::DelegationMode,
    graphql::DeclaredGraphql,
    limit::DeclaredLimit,
    reach::{DeclaredBreaker, Health, Retry},
    sees::DeclaredSees,
    span::Span,
    upstream::Protocol,
    within::DeclaredOutside,
};

/// `[[service]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredService {
    /// Its name, unique.
    pub name: String,
    /// Where it lives: `http://host:port`. Several are balanced.
    pub upstreams: Vec<String>,
    /// Which services may get a token for it.
    #[serde(default)]
    pub callers: Vec<String>,
    /// Who may call it through the gateway: whoever has one of these roles. Empty: everyone who is
    /// signed in. A route that names roles of its own replaces these.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Who decides about tokens for it that speak for somebody else than the client that asks. Not
    /// written where it is what it was before there was a choice: older programs refuse words that they
    /// do not know.
    #[serde(default, skip_serializing_if = "DelegationMode::is_of_callers")]
    pub delegation: DelegationMode,
    /// Whether its addresses are asked how they are. Like all that follows, not written where it is left
    /// out: older programs refuse words that they do not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How many requests it has at a time at most, on each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// How many more wait for one of those to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_waiting: Option<u32>,
    /// When a request is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// When it is left alone, and what is answered meanwhile. Nothing: after five failures, for a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<DeclaredBreaker>,
    /// Certificates that sign those of its addresses, in PEM; in place of the gateway's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The certificate that it is shown, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_file: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
    /// The name that its certificate has, in place of the host of its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The SPIFFE ID that its certificate has, in place of a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// Which version of HTTP it speaks. Not written where it is HTTP/1.1, for the same reason.
    #[serde(default, skip_serializing_if = "Protocol::is_http1")]
    pub protocol: Protocol,
    /// How it is told who calls. Not written where it is a signed token, for the same reason.
    #[serde(default, skip_serializing_if = "IdentityForm::is_token")]
    pub identity: IdentityForm,
    /// What of a caller's rights it is told. Left out: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sees: Option<DeclaredSees>,
    /// How many requests pass to it in all, such as `1000/m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// How many pass to it of each of those who are counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<DeclaredLimit>,
    /// From where the caller has all of its rights, on routes that say nothing of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// When the caller has all of its rights, such as `Mon-Fri 08:00-18:00 +01:00`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<Hours>,
    /// What remains elsewhere and at other times. Left out: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<DeclaredOutside>,
}

/// `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredRoute {
    /// The prefix, on whole segments: `/orders` matches `/orders/1`, never `/ordersx`. Unique.
    pub path: String,
    /// The service that it leads to.
    pub service: String,
    /// Whether the caller must be known.
    #[serde(default)]
    pub auth: AuthMode,
    /// Whether the service sees the path without the prefix.
    #[serde(default = "yes")]
    pub strip_prefix: bool,
    /// Methods that pass. Empty: all but `CONNECT` and `TRACE`.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Scopes that the caller's token must all have, separated by spaces.
    #[serde(default)]
    pub scope: String,
    /// Roles of which the caller must have one; in place of the service's.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What holds while revocations cannot be learnt.
    #[serde(default)]
    pub revocation: RevocationMode,
    /// How many requests of one caller pass, such as `100/m`.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
    /// How strongly the caller must have been authenticated: at one of these levels, or a stronger
    /// one. Not written where nothing is asked for: older programs refuse words that they do not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acr: Vec<String>,
    /// How long ago that may have been, such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<MaxAge>,
    /// How long a request and its answer may take in all, such as `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Whether clients may open WebSockets here.
    #[serde(default, skip_serializing_if = "is_no")]
    pub websocket: bool,
    /// How long a body or a WebSocket may be quiet, such as `10m`, in place of what holds for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Span>,
    /// Whether answers are compressed on their way to the client. Nothing: those to whom nobody is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<bool>,
    /// How many requests pass of each of those who are counted, beside `rate_limit`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<DeclaredLimit>,
    /// With what a caller may say who it is; tokens and session cookies where nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
    /// From where the caller has all of its rights; with `hours` and `outside` in place of the service's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// When the caller has all of its rights, such as `Mon-Fri 08:00-18:00 +01:00`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<Hours>,
    /// What remains elsewhere and at other times. Left out: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<DeclaredOutside>,
    /// What is looked at where its bodies are GraphQL: below `/graphql/` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphql: Option<DeclaredGraphql>,
    /// Who is asked for a permit: what the route says of roles and scopes, policies, or both.
    #[serde(default, skip_serializing_if = "DecideBy::is_table")]
    pub decide_by: DecideBy,
}

impl DeclaredRoute {
    /// A route with all that may be left out left out.
    #[must_use]
    pub fn new(path: &str, service: &str) -> Self {
        Self {
            path: path.to_owned(),
            service: service.to_owned(),
            auth: AuthMode::default(),
            strip_prefix: yes(),
            methods: Vec::new(),
            scope: String::new(),
            roles: Vec::new(),
            revocation: RevocationMode::default(),
            rate_limit: None,
            acr: Vec::new(),
            max_age: None,
            timeout: None,
            websocket: false,
            idle_timeout: None,
            compress: None,
            rate_limits: Vec::new(),
            credentials: Vec::new(),
            networks: Vec::new(),
            hours: Vec::new(),
            outside: None,
            graphql: None,
            decide_by: DecideBy::Table,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde shows what it asks about")]
const fn is_no(word: &bool) -> bool {
    !*word
}

const fn yes() -> bool {
    true
}

/// How the gateway tells a service who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityForm {
    /// With a token for this service alone, which it can verify, and with what headers say.
    #[default]
    Token,
    /// With headers alone: whoever reaches it past the gateway can say the same.
    Headers,
}

impl IdentityForm {
    /// Whether it is [`Self::Token`].
    #[must_use]
    pub fn is_token(&self) -> bool {
        *self == Self::Token
    }
}

/// Whether a route's caller must be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Without valid credentials nothing passes.
    #[default]
    Required,
    /// Without credentials the request passes as nobody's; invalid ones are refused.
    Optional,
    /// Credentials are not looked at.
    None,
}

/// Who is asked for a permit on a route. What a policy forbids is refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecideBy {
    /// The roles and scopes of the route.
    #[default]
    Table,
    /// A policy has to permit it; the roles of the service do not count.
    Policies,
    /// The roles and scopes of the route, and a policy besides.
    Both,
}

impl DecideBy {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde shows what it asks about")]
    const fn is_table(&self) -> bool {
        matches!(self, Self::Table)
    }
}

/// What holds while revocations cannot be learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevocationMode {
    /// Nothing passes.
    Strict,
    /// Only tokens that are fresh or about to expire pass.
    #[default]
    Bounded,
    /// Tokens pass until they expire, and each decision is marked.
    Available,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_safe() {
        let route: DeclaredRoute =
            serde_json::from_str(r#"{"path": "/orders", "service": "orders"}"#).unwrap();
        assert_eq!(route.auth, AuthMode::Required);
        assert_eq!(route.revocation, RevocationMode::Bounded);
        assert!(route.strip_prefix && route.methods.is_empty() && route.rate_limit.is_none());
        assert!(route.acr.is_empty() && route.max_age.is_none());
        // What older programs do not know is not written without need.
        let written = serde_json::to_value(&route).unwrap();
        for word in [
            "acr",
            "max_age",
            "websocket",
            "idle_timeout",
            "compress",
            "rate_limits",
            "credentials",
            "decide_by",
        ] {
            assert!(written.get(word).is_none(), "{word}");
        }
        let service: DeclaredService =
            serde_json::from_str(r#"{"name": "a", "upstreams": []}"#).unwrap();
        assert_eq!(service.protocol, Protocol::Http1);
        assert!(serde_json::to_value(&service).unwrap().get("protocol").is_none());
    }

    #[test]
    fn what_is_asked_of_the_sign_in_is_kept_as_it_was_written() {
        let text = r#"{"path": "/pay", "service": "pay", "acr": ["aal2"], "max_age": "300s"}"#;
        let route: DeclaredRoute = serde_json::from_str(text).unwrap();
        assert_eq!(route.max_age.map(MaxAge::secs), Some(300));
        let again = serde_json::to_value(&route).unwrap();
        assert_eq!(serde_json::from_value::<DeclaredRoute>(again).unwrap(), route);
        let with = |age| serde_json::from_str::<DeclaredRoute>(&text.replace(r#""300s""#, age));
        for bad in [r#"300"#, r#"-300"#, r#""-5m""#, r#""0s""#, r#""5""#, "[]"] {
            assert!(with(bad).is_err(), "{bad}");
        }
        assert_eq!(with("null").unwrap().max_age, None);
    }

    #[test]
    fn refuses_keys_and_words_that_it_does_not_know() {
        for bad in [
            r#"{"path": "/a", "service": "a", "role": ["admin"]}"#,
            r#"{"path": "/a", "service": "a", "auth": "off"}"#,
            r#"{"path": "/a", "service": "a", "auth": "Required"}"#,
            r#"{"path": "/a", "service": "a", "revocation": "open"}"#,
            r#"{"path": "/a", "service": "a", "rate_limit": "100"}"#,
            r#"{"path": "/a", "service": "a", "websocket": "yes"}"#,
            r#"{"path": "/a", "service": "a", "idle_timeout": "0s"}"#,
            r#"{"path": "/a", "service": "a", "idle_timeout": 60}"#,
            r#"{"path": "/a", "service": "a", "credentials": ["cookie"]}"#,
            r#"{"path": "/a", "service": "a", "credentials": "key"}"#,
            r#"{"path": "/a"}"#,
            r#"{"path": "/a", "service": "a", "compress": "gzip"}"#,
            r#"{"path": "/a", "service": "a", "decide_by": "cedar"}"#,
        ] {
            assert!(serde_json::from_str::<DeclaredRoute>(bad).is_err(), "{bad}");
        }
        let service = r#"{"name": "a", "upstreams": [], "roles": [], "auth": "none"}"#;
        assert!(serde_json::from_str::<DeclaredService>(service).is_err());
    }

    #[test]
    fn a_breaker_is_a_table_or_is_none_and_is_written_as_it_was() {
        let with = |breaker: &str| {
            let text = format!(r#"{{"name": "a", "upstreams": [], "breaker": {breaker}}}"#);
            serde_json::from_str::<DeclaredService>(&text)
        };
        for (text, written) in [
            ("false", "false"),
            ("true", "true"),
            ("{}", r#"{"failures":5,"open_for":"1m"}"#),
            (r#"{"failures": 2}"#, r#"{"failures":2,"open_for":"1m"}"#),
        ] {
            let again = serde_json::to_value(with(text).unwrap()).unwrap();
            assert_eq!(again["breaker"].to_string(), written);
        }
        assert_eq!(with("null").unwrap().breaker, None);
        for bad in ["0", r#""off""#, "[]", r#"{"failure": 2}"#, r#"{"open_for": "never"}"#] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }
}
