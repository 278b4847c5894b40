//! What all workers share: the configuration, the routes, and those who are asked.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tegata_core::{Node, SinceBoot};
use tegata_token::{AccessToken, RealmView, SigningKey, Verifier, View};

use crate::{
    config::Config, decision_log::DecisionLog, limiter::Limiter, metrics::Metrics, route::Routing,
    session::SessionCheck,
};

/// For how long a revocation may be unknown here before routes follow their mode.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(5);

/// The key that signs internal tokens, as it is now.
pub type Signer = Arc<dyn Fn() -> Option<Arc<SigningKey>> + Send + Sync>;

/// What all workers share.
pub(crate) struct Gate {
    pub(crate) config: Config,
    pub(crate) node: Node,
    pub(crate) tokens: Arc<Verifier<AccessToken>>,
    pub(crate) revocations: Arc<View>,
    pub(crate) realm: Arc<RealmView>,
    pub(crate) signer: Signer,
    pub(crate) sessions: Option<Arc<dyn SessionCheck>>,
    pub(crate) routing: ArcSwap<Routing>,
    pub(crate) limiter: Limiter,
    pub(crate) metrics: Metrics,
    pub(crate) decisions: Option<DecisionLog>,
}

impl Gate {
    /// For how long a revocation could have been acknowledged without being known here. `None`:
    /// nothing is known yet.
    pub(crate) fn staleness(&self, kept: &Freshness, now: SinceBoot) -> Option<Duration> {
        // What was learnt then and has been unknown since is never less than what is unknown now,
        // so the view is asked again only where that bound is not good enough.
        let bound = kept.0.get().map(|(at, staleness)| staleness + now.since(at));
        if bound.is_some_and(|bound| bound <= STALE_AFTER) {
            return bound;
        }
        let asked = self.revocations.staleness();
        kept.0.set(asked.map(|staleness| (now, staleness)));
        asked
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// How stale the revocations were when they were last asked about it, and when that was.
#[derive(Debug, Default)]
pub(crate) struct Freshness(std::cell::Cell<Option<(SinceBoot, Duration)>>);
