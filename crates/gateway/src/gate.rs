//! What all workers share: those who are asked, and beside them what can be replaced while requests are
//! served, the configuration and the routes.

use std::{
    cell::RefCell,
    fmt,
    ops::Deref,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};
use tegata_core::{Clock, Epoch, Node, Parting, Places, Proxies, SinceBoot};
use tegata_mesh::{Reach, Scheme, reach};
use tegata_session::CookieFilter;
use tegata_token::{
    AccessToken, RealmView, SigningKey, Usage, Verifier, View, revocation::MOST_STALE,
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    certified::Certified,
    config::{Config, Services},
    decision_log::DecisionLog,
    dpop::Proofs,
    foreign::Foreign,
    introspection::Asking,
    key::KeyCheck,
    metrics::{Layers, Metrics},
    reference::References,
    route::Routing,
    session::SessionCheck,
    shed::Load,
    tally::Tally,
    tls::{Outward, TlsRefused},
    upstream::Balanced,
};

/// How often it is looked whether the log has been read.
const LOOKED: Duration = Duration::from_millis(2);

/// How long requests wait for that at most.
const WAKING: Duration = Duration::from_secs(1);

/// The key that signs internal tokens, as it is now.
pub type Signer = Arc<dyn Fn() -> Option<Arc<SigningKey>> + Send + Sync>;

/// The gate as it is at a moment. A request keeps to the end the one that it began with, so that what is
/// replaced meanwhile never meets it halfway.
pub(crate) struct Gate {
    pub(crate) config: Arc<Config>,
    pub(crate) proxies: Proxies,
    pub(crate) routing: Arc<Routing>,
    pub(crate) ways: Ways,
    pub(crate) shared: Arc<Shared>,
}

/// How services are reached that say nothing of their own.
#[derive(Clone)]
pub(crate) struct Ways {
    /// How connections to them are made: the same for as long as nothing of it is another.
    pub(crate) services: Arc<Services>,
    /// Where Tegata's own pages are, where they are somewhere.
    pub(crate) public: Option<Arc<Balanced>>,
    /// TLS toward them, where the configuration says whose certificates count.
    pub(crate) outward: Option<Arc<Outward>>,
}

/// The gate as it is now, and what of it stays.
pub(crate) struct Gates {
    shared: Arc<Shared>,
    now: Arc<ArcSwap<Gate>>,
}

/// The gate as a request began with it. A thread counts by itself who holds it: what all threads count
/// together, each would have to fetch from another core for every request.
pub(crate) type Begun = Rc<Arc<Gate>>;

/// What a thread last saw of the gate. Looking again costs it a read.
pub(crate) struct Seen {
    cache: RefCell<Cache<Arc<ArcSwap<Gate>>, Arc<Gate>>>,
    begun: RefCell<Begun>,
}

/// What all workers share, and what stays as it is while they serve.
pub(crate) struct Shared {
    pub(crate) node: Node,
    pub(crate) epoch: Epoch,
    pub(crate) tokens: Arc<Verifier<AccessToken>>,
    /// Judges the proofs of tokens that are bound to a key.
    pub(crate) proofs: Proofs,
    /// Those of others, where they count, with what is counted of them.
    pub(crate) foreign: Option<(Foreign, Layers)>,
    pub(crate) revocations: Arc<View>,
    pub(crate) realm: Arc<RealmView>,
    /// Who is asked about tokens while revocations cannot be learnt, where somebody is.
    pub(crate) introspection: Option<Asking>,
    pub(crate) signer: Signer,
    pub(crate) sessions: Option<Arc<dyn SessionCheck>>,
    /// Knows API keys.
    pub(crate) keys: Option<Arc<dyn KeyCheck>>,
    /// Knows what opaque tokens stand for.
    pub(crate) references: Option<Arc<dyn References>>,
    /// Knows whom client certificates are of.
    pub(crate) certified: Option<Certified>,
    /// Knows which cookies people agreed to.
    pub(crate) cookies: Option<CookieFilter>,
    pub(crate) tally: Tally,
    pub(crate) places: Arc<Places>,
    /// What the workers carry.
    pub(crate) load: Arc<Load>,
    pub(crate) metrics: Metrics,
    pub(crate) decisions: Option<DecisionLog>,
    /// How tokens are used, where it is noted.
    pub(crate) usage: Option<Arc<Usage>>,
    /// Whether no connection is used again, because the process is about to stop.
    pub(crate) parting: Parting,
    /// Another process takes its place, so nobody needs to go elsewhere.
    pub(crate) handed_over: AtomicBool,
    /// Who looks whether the log has been read since this process stood still.
    pub(crate) waking: tokio::sync::Mutex<()>,
}

impl Ways {
    /// Reads the file that says whose certificates count, if there is one. What is as it was `before`
    /// stays the same, with what has been learnt. Blocks.
    pub(crate) fn open(
        config: &Config,
        clock: &Arc<dyn Clock>,
        before: Option<&Self>,
    ) -> Result<Self, TlsRefused> {
        let services = &config.upstream;
        let as_before = before.map(|it| &it.services).filter(|it| ***it == *services);
        let outward = services.ca_file.as_ref().map(|file| {
            let said = reach::Outward::default();
            let kept = before.and_then(|it| it.outward.as_ref());
            let kept = kept.filter(|it| it.is_of(&said, Some(file))).map(Arc::clone);
            let outward = kept.unwrap_or_else(|| Arc::new(Outward::new(&said, Some(file))));
            outward.renew().map(|_| outward)
        });
        let outward = outward.transpose()?;
        let public = config.public.as_ref().map(|public| {
            let outward = outward.as_ref().filter(|_| public.scheme() == Scheme::Https);
            let (upstreams, how) = (std::slice::from_ref(public), (services.avoid, clock));
            let before = before.and_then(|it| it.public.as_ref());
            Balanced::new("public", upstreams, &Reach::default(), outward, how, before)
        });
        let services = as_before.map_or_else(|| Arc::new(services.clone()), Arc::clone);
        Ok(Self { services, public, outward })
    }
}

impl Gate {
    /// The same, with something replaced.
    pub(crate) fn new(
        config: Arc<Config>,
        routing: Arc<Routing>,
        ways: Ways,
        shared: &Arc<Shared>,
    ) -> Self {
        let (trusted, forwarded_by) = (config.trusted_proxies.clone(), config.forwarded_by);
        let proxies = Proxies { trusted, forwarded_by };
        Self { config, proxies, routing, ways, shared: Arc::clone(shared) }
    }
}

impl Gates {
    pub(crate) fn new(first: Gate) -> Self {
        let shared = Arc::clone(&first.shared);
        Self { shared, now: Arc::new(ArcSwap::from_pointee(first)) }
    }

    /// What the thread that asks sees of it from now on.
    pub(crate) fn seen(&self) -> Seen {
        let mut cache = Cache::new(Arc::clone(&self.now));
        let begun = Rc::new(Arc::clone(cache.load()));
        Seen { cache: RefCell::new(cache), begun: RefCell::new(begun) }
    }

    /// As it is now.
    pub(crate) fn now(&self) -> Arc<Gate> {
        self.now.load_full()
    }

    /// Has the next requests find this one.
    pub(crate) fn replace(&self, gate: Gate) {
        self.now.store(Arc::new(gate));
    }
}

impl Seen {
    /// As it is now, for one request.
    pub(crate) fn now(&self) -> Begun {
        let (mut cache, mut begun) = (self.cache.borrow_mut(), self.begun.borrow_mut());
        let now = cache.load();
        if !Arc::ptr_eq(now, &begun) {
            *begun = Rc::new(Arc::clone(now));
        }
        Rc::clone(&begun)
    }
}

impl Deref for Gate {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Deref for Gates {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    /// For how long a revocation could have been acknowledged without being known here. `None`:
    /// nothing is known yet.
    pub(crate) fn staleness(&self, kept: &Freshness, now: SinceBoot) -> Option<Duration> {
        // What was learnt then and has been unknown since is never less than what is unknown now,
        // so the view is asked again only where that bound is not good enough.
        let bound = kept.0.get().map(|(at, staleness)| staleness + now.since(at));
        if bound.is_some_and(|bound| bound <= MOST_STALE) {
            return bound;
        }
        let asked = self.revocations.staleness();
        kept.0.set(asked.map(|staleness| (now, staleness)));
        asked
    }
}

impl Shared {
    /// Waits for what can be known in a moment, where this process has stood still: then nobody has
    /// tried to read the log for a while, and what is known is old for no other reason.
    pub(crate) async fn wake(&self) {
        let woken = async {
            // One looks for all who wait.
            let _one = self.waking.lock().await;
            let mut ticks = interval(LOOKED);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while self.revocations.has_stood_still() {
                ticks.tick().await;
            }
        };
        // Then routes follow their mode.
        let _ = timeout(WAKING, woken).await;
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// How stale the revocations were when they were last asked about it, and when that was.
#[derive(Debug, Default)]
pub(crate) struct Freshness(std::cell::Cell<Option<(SinceBoot, Duration)>>);
