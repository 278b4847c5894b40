//! Certificates from files: those that listeners show, and those of the authorities that sign what
//! clients and services show. Files that change are taken over without a restart.

use std::{fs, path::Path, sync::Arc, time::Duration};

use tegata_gateway::{Gateway, TlsRefused, tls::Identity};
use tegata_token::Authorities;

use crate::{background::Rounds, compose::Composed, config::Config};

/// How often the files are looked at.
const LOOKS: Duration = Duration::from_secs(10);

/// Trusts the authorities that the configuration names to sign certificates of clients.
///
/// # Errors
/// What is wrong with the file, and where it is named.
pub(crate) fn trust(config: &Config, authorities: &Authorities) -> Result<(), String> {
    trust_file(("public", config.public.client_ca_file.as_deref()), authorities)
}

/// Trusts those that it names to say whom a certificate is of by which a caller of services is known.
///
/// # Errors
/// As [`trust`].
pub(crate) fn trust_at_gateway(config: &Config, authorities: &Authorities) -> Result<(), String> {
    trust_file(("gateway", config.gateway.client_ca_file.as_deref()), authorities)
}

fn trust_file(
    (section, file): (&str, Option<&Path>),
    authorities: &Authorities,
) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    let wrong = |why: &dyn std::fmt::Display| {
        format!("[{section}] client_ca_file `{}`: {why}", file.display())
    };
    let pem = fs::read(file).map_err(|error| wrong(&error))?;
    authorities.trust(&pem).map_err(|error| wrong(&error))
}

/// Looks again and again whether the files hold something else.
pub(crate) async fn renew(
    composed: Arc<Composed>,
    identity: Option<Arc<Identity>>,
    gateway: Arc<Gateway>,
) {
    let mut rounds =
        Rounds::every(LOOKS, "a certificate file cannot be used; what it held before still counts");
    loop {
        rounds.next().await;
        let (composed, identity) = (Arc::clone(&composed), identity.clone());
        let gateway = Arc::clone(&gateway);
        // Reading files blocks.
        let looked = tokio::task::spawn_blocking(move || look(&composed, identity, &gateway)).await;
        if let Ok(looked) = looked {
            rounds.ended(&looked);
        }
    }
}

fn look(
    composed: &Composed,
    identity: Option<Arc<Identity>>,
    gateway: &Gateway,
) -> Result<(), String> {
    let told = |section: &'static str, renewed: Result<bool, TlsRefused>| match renewed {
        Ok(true) => {
            tracing::info!(section, "what its files hold now counts from now on");
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(error) => Err(format!("{section} {error}")),
    };
    // Each is looked at, whatever is wrong with another.
    let all = [
        told("[public.tls]", identity.map_or(Ok(false), |identity| identity.renew())),
        told("[gateway.tls]", gateway.renew_certificate()),
        gateway.renew_outward().map(drop),
        trust(&composed.config, &composed.authorities),
        trust_at_gateway(&composed.config, &composed.certificates.authorities),
    ];
    all.into_iter().collect()
}
