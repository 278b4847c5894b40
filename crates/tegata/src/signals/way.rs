//! How other systems are reached: TLS by the certificates of the system, or those that were named.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tegata_core::Outward;
use tegata_sdk::{Transport, TransportLimits};

use crate::{command::Failed, compose::Composed};

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
    Ok(with_tls(composed, Transport::new(limits))?.only_to(outward))
}

/// To transmitters that are configured. `timeout` is for one request.
pub(super) fn configured(composed: &Composed, timeout: Duration) -> Result<Transport, Failed> {
    let limits = TransportLimits { timeout, idle: 1, open: 10, answer: 1 << 20 };
    with_tls(composed, Transport::new(limits))
}

fn with_tls(composed: &Composed, transport: Transport) -> Result<Transport, Failed> {
    let named = composed.config.signals.ca_file.clone();
    let system = || SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.is_file());
    let usage = |path: &Path, error: &dyn std::fmt::Display| {
        Failed::Usage(format!("[signals] ca_file `{}`: {error}", path.display()))
    };
    match named {
        Some(path) => {
            let tls = tegata_gateway::tls::client(&path).map_err(|error| usage(&path, &error))?;
            Ok(transport.with_tls(tls))
        }
        None => Ok(match system().map(|path| (tegata_gateway::tls::client(&path), path)) {
            Some((Ok(tls), _)) => transport.with_tls(tls),
            Some((Err(error), path)) => {
                tracing::warn!(%error, path = %path.display(), "signals go nowhere over TLS");
                transport
            }
            // Whoever is called over TLS is told that there is none.
            None => transport,
        }),
    }
}
