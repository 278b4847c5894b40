//! The node that code runs on: its name, its clocks, its randomness.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    clock::{
        Clock, Hybrid, HybridClock, ManualClock, SinceBoot, SteadyClock, SystemClock, Timestamp,
    },
    entropy::{Entropy, OsEntropy, SeededEntropy},
    id::NodeId,
};

/// One running node. Cheap to clone; the parts that need time or randomness hold one.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    id: NodeId,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    hybrid: HybridClock,
}

impl Node {
    /// A node on the clocks and the randomness of the operating system. Its wall time does not jump
    /// with theirs.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Arc::new(SteadyClock::new(SystemClock)), Arc::new(OsEntropy))
    }

    /// A node on given clocks and randomness.
    #[must_use]
    pub fn with(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let id = NodeId::generate(entropy.as_ref());
        Self(Arc::new(Inner { id, clock, entropy, hybrid: HybridClock::new() }))
    }

    /// A node whose time stands at 2026-01-01 and whose randomness repeats. For tests.
    #[must_use]
    pub fn for_tests(seed: u64) -> Self {
        Self::with(Arc::new(ManualClock::default()), Arc::new(SeededEntropy::new(seed)))
    }

    /// The node's name, new at every start.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// Wall time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Time since boot.
    #[must_use]
    pub fn since_boot(&self) -> SinceBoot {
        self.0.clock.since_boot()
    }

    /// How long ago `earlier` was.
    #[must_use]
    pub fn elapsed(&self, earlier: SinceBoot) -> Duration {
        self.since_boot().since(earlier)
    }

    /// A reading of the hybrid clock, greater than all before.
    #[must_use]
    pub fn tick(&self) -> Hybrid {
        self.0.hybrid.tick(self.0.clock.as_ref())
    }

    /// Hears another node's hybrid reading; see [`HybridClock::hear`].
    pub fn hear(&self, other: Hybrid) -> bool {
        self.0.hybrid.hear(self.0.clock.as_ref(), other)
    }

    /// The randomness.
    #[must_use]
    pub fn entropy(&self) -> &dyn Entropy {
        self.0.entropy.as_ref()
    }

    /// The clocks.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.0.id)
    }
}
