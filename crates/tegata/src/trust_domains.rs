//! The bundles of trust domains: read from files, and asked for where they are published.
//!
//! What was had last counts until another is had, however long that takes.

use std::{fs, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tegata_sdk::Transport;
use tegata_token::{TrustDomains, spiffe::Bundle};

use crate::{
    background::Rounds,
    compose::Composed,
    config::{Config, TrustedDomain},
    published,
    signals::way,
};

/// How often is looked whether a bundle is due.
const LOOKS: Duration = Duration::from_secs(1);
/// How often a file is read.
const READ: Duration = Duration::from_secs(10);
/// How soon a domain is asked again that does not wish otherwise, and that does not answer.
const ASKED: Duration = Duration::from_secs(300);
const ASKED_AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How soon at the most, whatever it wishes: what it takes out of its bundle is not to count for long.
const RAREST: Duration = Duration::from_secs(3600);

/// Trusts the bundles that are in files.
///
/// # Errors
/// What is wrong with a file, and where it is named.
pub(crate) fn read_files(config: &Config, domains: &TrustDomains) -> Result<(), String> {
    for domain in &config.trust_domains {
        if let Some(bytes) = read_file(domain)? {
            domains.trust(&domain.name, parsed(domain, &bytes)?);
        }
    }
    Ok(())
}

fn read_file(domain: &TrustedDomain) -> Result<Option<Vec<u8>>, String> {
    let Some(file) = &domain.bundle_file else { return Ok(None) };
    let wrong = |error| format!("[[trust_domain]] bundle_file `{}`: {error}", file.display());
    fs::read(file).map(Some).map_err(wrong)
}

fn parsed(domain: &TrustedDomain, bytes: &[u8]) -> Result<Bundle, String> {
    Bundle::read(bytes).map_err(|error| format!("[[trust_domain]] `{}`: {error}", domain.name))
}

/// Has the bundles of all domains be those that their files hold, and that they publish.
pub(crate) async fn keep(composed: Arc<Composed>) {
    let transport = match way::to_clients(&composed.config) {
        Ok(transport) if !composed.config.trust_domains.is_empty() => transport,
        // Whoever starts a server is told what is wrong.
        _ => return std::future::pending().await,
    };
    let domains = &composed.config.trust_domains;
    join_all(domains.iter().map(|domain| keep_one(&composed, domain, &transport))).await;
}

async fn keep_one(composed: &Composed, domain: &TrustedDomain, transport: &Transport) {
    let mut rounds =
        Rounds::every(LOOKS, "a trust bundle cannot be had; what was had before counts");
    let (mut last, mut pause, mut looked) = (Vec::new(), ASKED_AFTER_FAILURE, None);
    loop {
        rounds.next().await;
        if looked.is_some_and(|at| composed.node.elapsed(at) < pause) {
            continue;
        }
        let renewed = renew(composed, domain, transport, &mut last).await;
        pause = renewed.as_ref().map_or(pause.min(ASKED_AFTER_FAILURE), |wished| *wished);
        looked = Some(composed.node.since_boot());
        rounds.ended(&renewed);
    }
}

/// Takes over what a domain has for a bundle now, and answers how soon it is to be looked at again.
async fn renew(
    composed: &Composed,
    domain: &TrustedDomain,
    transport: &Transport,
    last: &mut Vec<u8>,
) -> Result<Duration, String> {
    let bytes = match &domain.bundle_endpoint {
        Some(address) => {
            let answer = published::ask(transport, address).await;
            let answer =
                answer.map_err(|error| format!("[[trust_domain]] `{}`: {error}", domain.name))?;
            answer.into_body().to_vec()
        }
        None => {
            let domain = domain.clone();
            // Reading files blocks.
            let read = tokio::task::spawn_blocking(move || read_file(&domain)).await;
            read.map_err(|error| error.to_string())??.unwrap_or_default()
        }
    };
    let bundle = parsed(domain, &bytes)?;
    let pause = match &domain.bundle_endpoint {
        Some(_) => bundle.refresh_hint().unwrap_or(ASKED).clamp(LOOKS, RAREST),
        None => READ,
    };
    if bytes == *last {
        return Ok(pause);
    }
    let keys = bundle.to_string();
    match &domain.bundle_endpoint {
        Some(_) => {
            let renewed = composed.trust_domains.renew(&domain.name, bundle);
            renewed.map_err(|error| format!("[[trust_domain]] `{}`: {error}", domain.name))?;
        }
        None => composed.trust_domains.trust(&domain.name, bundle),
    }
    tracing::info!(trust_domain = %domain.name, keys, "a trust bundle was taken over");
    *last = bytes;
    Ok(pause)
}
