//! Other issuers whose access tokens count: put together, and kept up to date.

use std::{path::Path, sync::Arc};

use tegata_core::{Backstop, Ephemeral, Epoch, Node, Realm};
use tegata_token::{ForeignView, foreign::filled_key};

use crate::{compose::Startup, config::Config};

pub(crate) mod fill;
mod issuer;

pub(crate) use issuer::Issuer;

/// The other issuers, and what is known to be taken back of them.
pub(crate) struct Foreign {
    pub(crate) realm: Realm,
    pub(crate) issuers: Vec<Arc<Issuer>>,
    pub(crate) view: Arc<ForeignView>,
    /// A nearer store, where there is one.
    pub(crate) near: Option<Arc<dyn Ephemeral>>,
    pub(crate) durable: Arc<dyn Backstop>,
    /// Where the durable store says how far it was filled.
    filled: String,
}

impl Foreign {
    /// Puts together what the configuration names. `None`: it names no other issuer.
    pub(crate) async fn open(
        config: &Config,
        node: &Node,
        (realm, epoch): (&Realm, Epoch),
        near: Option<Arc<dyn Ephemeral>>,
        durable: Arc<dyn Backstop>,
    ) -> Result<Option<Arc<Self>>, Startup> {
        if config.issuer.is_empty() {
            return Ok(None);
        }
        let audience = config.audience();
        let issuers = config.issuer.iter().map(|set| Issuer::open(set, &audience, node));
        let issuers = issuers.collect::<Result<Vec<_>, _>>()?;
        let filled = filled_key(epoch);
        // Where it does not say, everything is held here until it has been told.
        let known = durable.withdrawn(realm, &filled).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the durable store does not say what it holds of other issuers");
            None
        });
        let expected = config.issuer.iter().map(|set| set.tokens).sum();
        let position = known.map_or(0, |known| known.mark);
        let view = ForeignView::new(node.clone(), expected, position);
        let view = Arc::new(view.remembering(config.revocation.cache));
        let realm = realm.clone();
        Ok(Some(Arc::new(Self { realm, issuers, view, near, durable, filled })))
    }

    /// For the gateway.
    pub(crate) fn for_gateway(&self) -> tegata_gateway::Foreign {
        let issuers = self.issuers.iter().map(|issuer| tegata_gateway::ForeignIssuer {
            tokens: Arc::clone(&issuer.tokens),
            keys: Arc::new(issuer::Sought(Arc::clone(issuer))),
        });
        tegata_gateway::Foreign {
            issuers: issuers.collect(),
            view: Arc::clone(&self.view),
            near: self.near.clone(),
            durable: Arc::clone(&self.durable),
            realm: self.realm.clone(),
        }
    }

    /// The names of the issuers.
    pub(crate) fn names(&self) -> Vec<String> {
        self.issuers.iter().map(|issuer| format!("`{}`", issuer.name())).collect()
    }

    /// The issuer of this name.
    pub(crate) fn issuer(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.name() == name)
    }
}

/// Where systems keep the certificates of the authorities that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",             // SUSE
    "/etc/ssl/cert.pem",                  // Alpine, macOS
];

/// The file of those whom this machine trusts.
pub(crate) fn system_roots() -> Option<&'static Path> {
    SYSTEM_ROOTS.into_iter().map(Path::new).find(|path| path.exists())
}
