//! What the listeners count.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tegata_core::SinceBoot;
use tegata_session::Verdict;

mod exchanged;
mod letters;
mod living;
mod logouts;
mod signals;
mod validated;

pub use exchanged::{Exchanged, Exchanges};
pub use letters::Letters;
pub use living::Living;
pub use logouts::Logouts;
pub use signals::Signals;
pub use validated::Validated;

/// The metrics of the public listener. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
    errors: Family<Failed, Counter>,
    durations: Family<By, Histogram>,
    // Only counts upwards; a counter would be shown as `user_auth_method_total`.
    methods: Family<By, Gauge>,
    issued: Family<Issued, Counter>,
    session_errors: Family<SessionFailed, Counter>,
    tokens: Validated,
    sessions: Validated,
    living: Living,
    exchanges: Exchanges,
    signals: Signals,
    logouts: Logouts,
    letters: Letters,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    method: &'static str,
    error_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Issued {
    service: &'static str,
    token_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionFailed {
    service: &'static str,
    error_type: &'static str,
}

/// How somebody proves something, as the label `method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// A person, by password.
    Password,
    /// A person, by a code after that.
    Code,
    /// A person, by a passkey.
    Passkey,
    /// A person, by a code from a mail.
    Mail,
    /// A script of ours, by the cookie of its refresh token.
    Cookie,
    /// A client, with this grant type.
    Grant(&'static str),
}

impl Method {
    /// All of them.
    fn all() -> impl Iterator<Item = Self> {
        let grants = tegata_oauth::GrantType::ALL.into_iter();
        let grants = grants.map(|grant| Self::of_grant(Some(grant.name())));
        let own = [Self::Password, Self::Code, Self::Passkey, Self::Mail, Self::Cookie];
        own.into_iter().chain(grants).chain([Self::of_grant(None)])
    }

    /// The method of a token request.
    pub(crate) fn of_grant(grant_type: Option<&str>) -> Self {
        let known = tegata_oauth::GrantType::ALL.into_iter().map(tegata_oauth::GrantType::name);
        let known = known.into_iter().find(|name| Some(*name) == grant_type);
        // The last part of a URN is its name; whatever is unknown is one label, not many.
        Self::Grant(known.map_or("other", |name| name.rsplit(':').next().unwrap_or(name)))
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Code => "code",
            Self::Passkey => "passkey",
            Self::Mail => "mail",
            Self::Cookie => "cookie",
            Self::Grant(name) => name,
        }
    }
}

impl Metrics {
    /// Metrics that are shown with `registry`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        // 1 ms to 8 s: from a signature to a queue of password hashes.
        let durations = Family::<By, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 2.0, 14))
        });
        let own = Self {
            requests: Family::default(),
            errors: Family::default(),
            durations,
            methods: Family::default(),
            issued: Family::default(),
            session_errors: Family::default(),
            tokens: Validated::default(),
            sessions: Validated::default(),
            living: Living::default(),
            exchanges: Exchanges::default(),
            signals: Signals::default(),
            logouts: Logouts::default(),
            letters: Letters::default(),
        };
        let count = &own.requests;
        registry.register("auth_requests", "Requests that prove something", count.clone());
        let count = &own.errors;
        registry.register("auth_errors", "Requests that proved nothing, and why", count.clone());
        let help = "How long requests that prove something take";
        registry.register("auth_request_duration_seconds", help, own.durations.clone());
        let help = "How people and clients prove who they are";
        registry.register("user_auth_method", help, own.methods.clone());
        registry.register("token_issued", "Tokens that were issued", own.issued.clone());
        let help = "Session cookies that were not served, and why";
        registry.register("session_errors", help, own.session_errors.clone());
        own.signals.register(registry);
        own.logouts.register(registry);
        own.letters.register(registry);
        own.begin();
        own
    }

    /// Begins all that can be counted at 0: what is not there has no rate, so that the first of its kind
    /// would be missed.
    fn begin(&self) {
        for method in Method::all().map(Method::label) {
            for result in ["success", "failure"] {
                drop(self.requests.get_or_create(&Answered { method, result }));
            }
            // What else a caller can do wrong is theirs, and shows when it happens.
            for error_type in ["server_error", "temporarily_unavailable"] {
                drop(self.errors.get_or_create(&Failed { method, error_type }));
            }
            drop(self.durations.get_or_create(&By { method }));
            drop(self.methods.get_or_create(&By { method }));
        }
        for error_type in ["invalid_credentials", "too_many_attempts"] {
            drop(
                self.errors.get_or_create(&Failed { method: Method::Password.label(), error_type }),
            );
        }
        for token_type in ["access", "refresh", "id", "transaction"] {
            drop(self.issued.get_or_create(&Issued { service: "provider", token_type }));
        }
        for service in ["provider", "gateway"] {
            for error_type in Verdict::NAMES {
                drop(self.session_errors.get_or_create(&SessionFailed { service, error_type }));
            }
        }
        for error_type in ["csrf", "not_entitled", "temporarily_unavailable"] {
            drop(
                self.session_errors
                    .get_or_create(&SessionFailed { service: "gateway", error_type }),
            );
        }
    }

    /// Counts a request that proved something, or why it did not.
    pub(crate) fn proved(&self, method: Method, took: Duration, outcome: Result<(), &'static str>) {
        let (method, result) =
            (method.label(), if outcome.is_ok() { "success" } else { "failure" });
        self.requests.get_or_create(&Answered { method, result }).inc();
        self.durations.get_or_create(&By { method }).observe(took.as_secs_f64());
        match outcome {
            Ok(()) => {
                self.methods.get_or_create(&By { method }).inc();
            }
            Err(error_type) => {
                self.errors.get_or_create(&Failed { method, error_type }).inc();
            }
        }
    }

    /// How often people proved who they are, of those that began by it.
    #[must_use]
    pub fn sign_ins(&self) -> u64 {
        let first = [Method::Password, Method::Passkey, Method::Mail];
        first.into_iter().map(|method| self.answered(method, "success")).sum()
    }

    /// How often nothing was proved, and how many session cookies were not served.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        let unproven: u64 = Method::all().map(|method| self.answered(method, "failure")).sum();
        let of = |error_type| SessionFailed { service: "provider", error_type };
        let cookies =
            Verdict::NAMES.into_iter().map(|it| self.session_errors.get_or_create(&of(it)).get());
        unproven + cookies.sum::<u64>()
    }

    fn answered(&self, method: Method, result: &'static str) -> u64 {
        self.requests.get_or_create(&Answered { method: method.label(), result }).get()
    }

    /// The access tokens that live.
    #[must_use]
    pub const fn living(&self) -> &Living {
        &self.living
    }

    /// How often services exchanged tokens. Others tell services about callers too, so it is shown
    /// together.
    #[must_use]
    pub const fn exchanges(&self) -> &Exchanges {
        &self.exchanges
    }

    /// How long it took to find out whether a token counts that introspection or userinfo was asked about.
    /// Shown together with that of the gateway, as the next.
    #[must_use]
    pub const fn tokens(&self) -> &Validated {
        &self.tokens
    }

    /// How long it took to find out whom a session cookie stands for.
    #[must_use]
    pub const fn sessions(&self) -> &Validated {
        &self.sessions
    }

    /// The signals that were delivered and heard.
    #[must_use]
    pub const fn signals(&self) -> &Signals {
        &self.signals
    }

    /// The messages to clients that a session has ended.
    #[must_use]
    pub const fn logouts(&self) -> &Logouts {
        &self.logouts
    }

    /// The counts of mail to people.
    #[must_use]
    pub const fn letters(&self) -> &Letters {
        &self.letters
    }

    /// Counts an access token.
    pub(crate) fn issued_access(&self, now: SinceBoot, expires_in: u64) {
        self.issued("access");
        self.living.issued(now, expires_in);
    }

    /// Counts an exchange by a client that has proved who it is, for what it asked for.
    pub(crate) fn exchanged<'a>(
        &self,
        client: &str,
        targets: impl Iterator<Item = &'a str>,
        outcome: Result<(), &'static str>,
    ) {
        self.exchanges.count(client, targets, outcome);
    }

    /// Counts a token of a kind.
    pub(crate) fn issued(&self, token_type: &'static str) {
        self.issued.get_or_create(&Issued { service: "provider", token_type }).inc();
    }

    /// Counts a session cookie that was not served, at the `provider` or at the `gateway`.
    pub fn session_refused(&self, service: &'static str, error_type: &'static str) {
        let labels = SessionFailed { service, error_type };
        self.session_errors.get_or_create(&labels).inc();
    }
}
