//! One other issuer: its keys, and the verifier that uses them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tegata_core::{BoxFuture, Node};
use tegata_gateway::IssuerKeys;
use tegata_sdk::{RemoteIssuer, RemoteKeys, Transport, TransportLimits, authenticate::KeyRules};
use tegata_token::{
    Expected, ExpectedAudience, ForeignRules, ForeignToken, KeySet, Memory, Verifier,
};
use tokio::runtime::Handle;

use super::system_roots;
use crate::{compose::Startup, config};

/// How far the clock of another issuer may differ from ours.
const LEEWAY: Duration = Duration::from_secs(30);

/// What is fetched of an issuer: small, soon, over few connections.
const LIMITS: TransportLimits =
    TransportLimits { timeout: Duration::from_secs(3), idle: 1, open: 2, answer: 1 << 20 };

/// Another issuer whose access tokens count. Whoever looks for one of its keys shares it.
pub(crate) struct Issuer {
    pub(crate) tokens: Arc<Verifier<ForeignToken>>,
    keys: RemoteKeys,
    /// Which keys the verifier has.
    applied: AtomicU64,
    has_some: AtomicBool,
    /// Where connections live: they must outlast whoever asked first.
    runtime: Handle,
}

impl Issuer {
    /// An issuer as it is configured. Nobody is asked yet.
    pub(super) fn open(
        set: &config::ForeignIssuer,
        audience: &str,
        node: &Node,
    ) -> Result<Arc<Self>, Startup> {
        let name = &set.issuer;
        let wrong = |error: &dyn fmt::Display| {
            Startup::Configuration(format!("[[issuer]] `{name}`: {error}"))
        };
        let jwks_uri = set.jwks_uri.as_ref().map(|uri| uri.parse()).transpose();
        let of = RemoteIssuer {
            issuer: name.clone(),
            jwks_uri: jwks_uri.map_err(|error| wrong(&error))?,
            algorithms: set.algorithms.clone(),
            rules: KeyRules { kept_for: set.keys_max_age.get(), ..KeyRules::default() },
        };
        let mut transport = Transport::new(LIMITS);
        if let Some(roots) = set.ca_file.as_deref().or(system_roots()) {
            let tls = tegata_gateway::tls::client(roots).map_err(|error| wrong(&error))?;
            transport = transport.with_tls(tls);
        }
        let audiences = match set.audience.as_slice() {
            [] => vec![audience.to_owned()],
            named => named.to_vec(),
        };
        let expected = Expected {
            issuer: name.clone(),
            audience: ExpectedAudience::OneOf(audiences),
            leeway: LEEWAY,
        };
        let named = |claim: &String| Some(claim.clone()).filter(|claim| !claim.is_empty());
        let rules = ForeignRules {
            kinds: set.typ.clone(),
            algorithms: set.algorithms.clone(),
            longest: set.longest_life.get(),
            scope: named(&set.scope_claim),
            roles: named(&set.roles_claim),
        };
        let clock = Arc::clone(node.clock());
        let tokens = Verifier::of_another(expected, rules, &Memory::default(), clock);
        Ok(Arc::new(Self {
            tokens: Arc::new(tokens),
            keys: RemoteKeys::new(of, transport, node.clone()),
            applied: AtomicU64::new(0),
            has_some: AtomicBool::new(false),
            runtime: Handle::current(),
        }))
    }

    /// Its identifier.
    pub(crate) fn name(&self) -> &str {
        self.tokens.issuer()
    }

    /// Gives the verifier the keys that count now. Asks the issuer where that is due.
    pub(crate) async fn refresh(&self) -> Result<(), String> {
        match self.keys.current().await {
            Ok((version, set)) => {
                if self.applied.swap(version, Ordering::AcqRel) != version {
                    self.tokens.use_keys(set);
                }
                self.has_some.store(true, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                self.has_some.store(false, Ordering::Release);
                self.applied.store(0, Ordering::Release);
                self.tokens.use_keys(KeySet::default());
                Err(error.to_string())
            }
        }
    }

    fn has_some(&self) -> bool {
        self.has_some.load(Ordering::Acquire)
    }

    /// What is wrong with it.
    pub(crate) fn trouble(&self) -> Option<String> {
        let name = self.name();
        if !self.has_some() {
            return Some(format!(
                "the keys of `{name}` cannot be fetched, so no token of it counts"
            ));
        }
        self.keys.is_failing().then(|| {
            format!("the keys of `{name}` cannot be fetched; those of before count for a while")
        })
    }
}

impl IssuerKeys for Sought {
    fn has_some(&self) -> bool {
        self.0.has_some()
    }

    fn look_for<'a>(&'a self, kid: &'a str) -> BoxFuture<'a, bool> {
        let (this, kid) = (Arc::clone(&self.0), kid.to_owned());
        let looking = self.0.runtime.spawn(async move {
            let found = this.keys.look_for(&kid).await;
            if found {
                // What is wrong with it, whoever refreshes them all will say.
                let _ = this.refresh().await;
            }
            found
        });
        Box::pin(async move { looking.await.unwrap_or(false) })
    }
}

/// An issuer, as whoever lacks one of its keys sees it.
pub(super) struct Sought(pub(super) Arc<Issuer>);

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({})", self.name())
    }
}
