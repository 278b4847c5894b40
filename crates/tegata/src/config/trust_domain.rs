//! `[[trust_domain]]`: SPIFFE trust domains whose workloads can be clients.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use tegata_token::TrustDomain;

use super::{Config, Span, issuer::is_fetched_safely};

/// The shortest time for which a bundle may count.
const LEAST_AGE: Duration = Duration::from_secs(60);

/// A trust domain, and where its bundle comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustedDomain {
    /// Its name.
    pub(crate) name: TrustDomain,
    /// The file that its bundle is in.
    pub(crate) bundle_file: Option<PathBuf>,
    /// In its place: the address where it publishes its bundle.
    pub(crate) bundle_endpoint: Option<String>,
    /// For how long what it published counts while it cannot be asked.
    #[serde(default = "a_day")]
    pub(crate) bundle_max_age: Span,
}

const fn a_day() -> Span {
    Span::secs(86_400)
}

impl Config {
    /// What is wrong with trust domains.
    pub(super) fn of_trust_domains(&self, found: &mut Vec<String>) {
        for (at, domain) in self.trust_domains.iter().enumerate() {
            let mut wrong =
                |what: &str| found.push(format!("[[trust_domain]] `{}`: {what}", domain.name));
            if domain.bundle_file.is_some() == domain.bundle_endpoint.is_some() {
                wrong("say one of `bundle_file` and `bundle_endpoint`: where its keys come from");
            }
            if domain.bundle_endpoint.as_deref().is_some_and(|uri| !is_fetched_safely(uri)) {
                wrong("`bundle_endpoint` must begin with `https://`, or lead to this machine");
            }
            if domain.bundle_max_age.get() < LEAST_AGE {
                wrong("`bundle_max_age` must not be less than a minute");
            }
            if self.trust_domains.iter().skip(at + 1).any(|next| next.name == domain.name) {
                wrong("it stands twice: the keys of one domain come from one place");
            }
        }
    }

    /// Whether the workloads of a domain can be clients.
    pub(super) fn trusts(&self, name: &TrustDomain) -> bool {
        self.trust_domains.iter().any(|domain| domain.name == *name)
    }
}
