//! The bundles of trust domains: read from files, and asked for where they are published.
//!
//! What was had last counts until another is had: from a file however long that takes, from elsewhere for
//! `bundle_max_age`. Whoever keeps a node from asking cannot keep a key alive that the domain took out.

use std::{fmt::Display, fs, sync::Arc, time::Duration};

use bytes::Bytes;
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
            let bundle = Bundle::read(&bytes).map_err(|error| of(domain, &error))?;
            domains.trust(&domain.name, bundle);
        }
    }
    Ok(())
}

fn read_file(domain: &TrustedDomain) -> Result<Option<Vec<u8>>, String> {
    let Some(file) = &domain.bundle_file else { return Ok(None) };
    let wrong = |error| format!("[[trust_domain]] bundle_file `{}`: {error}", file.display());
    fs::read(file).map(Some).map_err(wrong)
}

/// What is wrong with a domain.
fn of(domain: &TrustedDomain, error: &dyn Display) -> String {
    format!("[[trust_domain]] `{}`: {error}", domain.name)
}

/// What a domain was found to have, and how soon it is to be looked at again.
#[derive(Default)]
struct Had {
    bytes: Bytes,
    pause: Duration,
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
    let fails = match &domain.bundle_endpoint {
        Some(_) => "a trust bundle cannot be had; what was had before counts for `bundle_max_age`",
        None => "a trust bundle cannot be had; what was had before counts",
    };
    let mut rounds = Rounds::every(LOOKS, fails);
    let (mut last, mut pause, mut looked) = (Had::default(), ASKED_AFTER_FAILURE, None);
    loop {
        rounds.next().await;
        if looked.is_some_and(|at| composed.node.elapsed(at) < pause) {
            continue;
        }
        let renewed = renew(composed, domain, transport, &mut last).await;
        pause = if renewed.is_ok() { last.pause } else { pause.min(ASKED_AFTER_FAILURE) };
        looked = Some(composed.node.since_boot());
        rounds.ended(&renewed);
    }
}

/// Takes over what a domain has for a bundle now.
async fn renew(
    composed: &Composed,
    domain: &TrustedDomain,
    transport: &Transport,
    last: &mut Had,
) -> Result<(), String> {
    let bytes = match &domain.bundle_endpoint {
        Some(address) => {
            let answer = published::ask(transport, address).await;
            answer.map_err(|error| of(domain, &error))?.into_body()
        }
        None => {
            let domain = domain.clone();
            let read = blocking(move || read_file(&domain)).await?;
            read?.unwrap_or_default().into()
        }
    };
    let domains = &composed.trust_domains;
    let until = composed.node.now() + domain.bundle_max_age.get();
    if bytes == last.bytes {
        if domain.bundle_endpoint.is_some() {
            domains.confirm(&domain.name, until);
        }
        return Ok(());
    }
    let bundle = {
        let bytes = bytes.clone();
        blocking(move || Bundle::read(&bytes)).await?.map_err(|error| of(domain, &error))?
    };
    let keys = bundle.to_string();
    let pause = match &domain.bundle_endpoint {
        Some(_) => {
            let rarest = RAREST.min(domain.bundle_max_age.get() / 2);
            let wished = bundle.refresh_hint().unwrap_or(ASKED).clamp(LOOKS, rarest);
            domains.renew(&domain.name, bundle, until).map_err(|error| of(domain, &error))?;
            wished
        }
        None => {
            domains.trust(&domain.name, bundle);
            READ
        }
    };
    tracing::info!(trust_domain = %domain.name, keys, "a trust bundle was taken over");
    *last = Had { bytes, pause };
    Ok(())
}

/// Reads what takes its time, where nobody waits for it.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())
}
