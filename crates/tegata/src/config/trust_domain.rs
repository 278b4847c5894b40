//! `[[trust_domain]]`: SPIFFE trust domains whose workloads can be clients.

use std::path::PathBuf;

use serde::Deserialize;
use tegata_token::TrustDomain;

use super::{Config, issuer::is_fetched_safely};

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
