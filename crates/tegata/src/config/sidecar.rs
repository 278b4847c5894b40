//! `[sidecar]`: what `tegata sidecar` checks, and where.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use tegata_gateway::sidecar::Place;
use tegata_sdk::Accept;

use super::{Config, Span, issuer::is_fetched_safely};

/// The most credentials that are remembered: some hundred megabytes.
const MOST_ENTRIES: usize = 100_000;

/// A minute: the longest that anything is believed without being asked about.
const LONGEST: Duration = Duration::from_secs(60);

/// A server beside a service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sidecar {
    /// Where it listens: on this machine.
    pub(crate) listen: Places,
    /// Whether it may listen where other machines reach it. Credentials travel there in the clear.
    pub(crate) danger_any_address: bool,
    /// The service that it is beside.
    pub(crate) service: Option<String>,
    /// Names that tokens may be for, beside the service's.
    pub(crate) audience: Vec<String>,
    /// Which tokens count.
    pub(crate) accept: Accepted,
    /// Whose tokens; those of `public.issuer` where nothing is said.
    pub(crate) issuer: Option<String>,
    /// Certificates that sign the issuer's; without it, those that this machine trusts.
    pub(crate) ca_file: Option<PathBuf>,
    /// As which client it is told what is taken back.
    pub(crate) client_id: Option<String>,
    /// The file of that client's secret.
    pub(crate) client_secret_file: Option<PathBuf>,
    /// How many credentials are remembered.
    pub(crate) entries: usize,
    /// For how long.
    pub(crate) lifetime: Span,
    /// For how long it goes on without hearing of the issuer.
    pub(crate) stale: Span,
}

impl Default for Sidecar {
    fn default() -> Self {
        Self {
            listen: Places::default(),
            danger_any_address: false,
            service: None,
            audience: Vec::new(),
            accept: Accepted::default(),
            issuer: None,
            ca_file: None,
            client_id: None,
            client_secret_file: None,
            entries: 1_000,
            lifetime: Span::secs(60),
            stale: Span::secs(10),
        }
    }
}

/// One place, or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a place such as \"127.0.0.1:9010\" or \"unix:/run/tegata/sidecar.sock\", or a list of them"
)]
pub(crate) enum Places {
    One(Place),
    Several(Vec<Place>),
}

impl Places {
    pub(crate) fn all(&self) -> &[Place] {
        match self {
            Self::One(place) => std::slice::from_ref(place),
            Self::Several(places) => places,
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self::One(Place::Port(std::net::SocketAddr::from(([127, 0, 0, 1], 9010))))
    }
}

/// Which tokens count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accepted {
    /// Those of the gateway.
    Internal,
    /// Access tokens.
    Bearer,
    /// Both.
    #[default]
    Either,
}

impl From<Accepted> for Accept {
    fn from(accepted: Accepted) -> Self {
        match accepted {
            Accepted::Internal => Self::Internal,
            Accepted::Bearer => Self::Bearer,
            Accepted::Either => Self::Either,
        }
    }
}

impl Config {
    /// What is wrong with a sidecar.
    pub(super) fn of_sidecar(&self, found: &mut Vec<String>) {
        let sidecar = &self.sidecar;
        let mut wrong = |what: &str| found.push(format!("[sidecar] {what}"));
        if sidecar.listen.all().is_empty() {
            wrong("listen is empty: name at least one place");
        }
        if sidecar.issuer.as_deref().is_some_and(|issuer| {
            !is_fetched_safely(issuer) || issuer.ends_with('/') || issuer.contains(['?', '#', ' '])
        }) {
            wrong(
                "issuer is the address in `iss`: it must begin with `https://`, or lead to this machine, \
                 not end with `/`, and have no query and no fragment",
            );
        }
        let named = [&sidecar.service, &sidecar.client_id];
        if named.into_iter().flatten().chain(&sidecar.audience).any(String::is_empty) {
            wrong("`service`, `client_id` and each `audience` must not be empty");
        }
        if !(1..=MOST_ENTRIES).contains(&sidecar.entries) {
            wrong("entries must be 1 to 100000");
        }
        for (key, span) in [("lifetime", sidecar.lifetime), ("stale", sidecar.stale)] {
            if span.get() < Duration::from_secs(1) || span.get() > LONGEST {
                wrong(&format!(
                    "{key} must be 1 s to 60 s: a session that has ended must not count for longer"
                ));
            }
        }
    }
}
