//! How other systems are reached: TLS by the certificates of the system, or those that were named.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tegata_core::{Network, Outward};
use tegata_sdk::{Transport, TransportLimits};
use tegata_session::Environment;

use crate::{command::Failed, compose::Composed, config::Config};

/// Where systems keep the certificates of the authorities that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",             // SUSE
    "/etc/ssl/cert.pem",                  // Alpine, macOS
];

/// To addresses that receivers name.
pub(super) fn outward(composed: &Composed, outward: Outward) -> Result<Transport, Failed> {
    // A receiver chooses its address, and so could have us keep as many connections as it likes.
    let limits =
        TransportLimits { timeout: Duration::from_secs(10), idle: 0, open: 100, answer: 64 * 1024 };
    Ok(with_tls(ca_file(composed), Transport::new(limits))?.only_to(outward))
}

/// To addresses that clients register. In development, clients are on this machine too.
pub(crate) fn to_clients(config: &Config) -> Result<Transport, Failed> {
    let clients = &config.clients;
    let mut reach = clients.reach.clone();
    if config.public.environment == Environment::Development {
        reach.extend(Network::loopback());
    }
    let limits =
        TransportLimits { timeout: Duration::from_secs(5), idle: 0, open: 100, answer: 256 * 1024 };
    let named = ("[clients]", clients.ca_file.as_deref());
    Ok(with_tls(named, Transport::new(limits))?.only_to(Outward::new(reach)))
}

/// To transmitters that are configured. `timeout` is for one request.
pub(super) fn configured(composed: &Composed, timeout: Duration) -> Result<Transport, Failed> {
    let limits = TransportLimits { timeout, idle: 1, open: 10, answer: 1 << 20 };
    with_tls(ca_file(composed), Transport::new(limits))
}

fn ca_file(composed: &Composed) -> (&'static str, Option<&Path>) {
    ("[signals]", composed.config.signals.ca_file.as_deref())
}

fn with_tls(
    (section, named): (&str, Option<&Path>),
    transport: Transport,
) -> Result<Transport, Failed> {
    let system = || SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.is_file());
    let usage = |path: &Path, error: &dyn std::fmt::Display| {
        Failed::Usage(format!("{section} ca_file `{}`: {error}", path.display()))
    };
    match named {
        Some(path) => {
            let tls = tegata_gateway::tls::client(path).map_err(|error| usage(path, &error))?;
            Ok(transport.with_tls(tls))
        }
        None => Ok(match system().map(|path| (tegata_gateway::tls::client(&path), path)) {
            Some((Ok(tls), _)) => transport.with_tls(tls),
            Some((Err(error), path)) => {
                tracing::warn!(%error, path = %path.display(), "nobody is reached over TLS");
                transport
            }
            // Whoever is called over TLS is told that there is none.
            None => transport,
        }),
    }
}
