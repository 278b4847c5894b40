//! What a contract is run on: handles of one adapter, its clock, and what must outlive them.

use std::{any::Any, future::Future, sync::Arc};

use tegata_core::{Clock, EventId, ManualClock, NodeId, Realm};
use tokio::{sync::Barrier, task::JoinSet};

/// A place to test an adapter of the port `P`.
pub(crate) struct Bed<P: ?Sized> {
    /// Handles on the same store, as several nodes would have them. At least one.
    pub(crate) nodes: Vec<Arc<P>>,
    /// The clock that they read.
    pub(crate) clock: Arc<ManualClock>,
    /// Whether the adapter seals what it is given, and so takes plain bodies of secret kinds.
    pub(crate) seals: bool,
    keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl<P: ?Sized> Bed<P> {
    /// A bed of these handles, which read `clock`.
    pub(crate) fn new(clock: Arc<ManualClock>, nodes: Vec<Arc<P>>) -> Self {
        assert!(!nodes.is_empty(), "a bed has at least one handle");
        Self { nodes, clock, seals: false, keep: Vec::new() }
    }

    /// A bed of one handle on a new clock.
    pub(crate) fn single(make: impl FnOnce(Arc<dyn Clock>) -> Arc<P>) -> Self {
        let clock = Arc::new(ManualClock::default());
        let handle = make(clock.clone());
        Self::new(clock, vec![handle])
    }

    /// Keeps something alive as long as the bed: a directory, a server.
    pub(crate) fn keeping(mut self, kept: impl Any + Send + Sync) -> Self {
        self.keep.push(Box::new(kept));
        self
    }

    /// Says that the adapter seals what it is given.
    pub(crate) fn sealing(mut self) -> Self {
        self.seals = true;
        self
    }

    /// The first handle.
    pub(crate) fn first(&self) -> &P {
        &self.nodes[0]
    }

    /// The handle of the `n`th client, spread over all of them.
    pub(crate) fn node(&self, n: usize) -> Arc<P> {
        self.nodes[n % self.nodes.len()].clone()
    }

    /// Lets `clients` do the same at once, spread over the handles; answers what each got.
    pub(crate) async fn crowd<F, T>(
        &self,
        clients: usize,
        act: impl Fn(Arc<P>, usize) -> F,
    ) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
        P: Send + Sync + 'static,
    {
        let start = Arc::new(Barrier::new(clients));
        let mut tasks = JoinSet::new();
        for n in 0..clients {
            let (start, action) = (start.clone(), act(self.node(n), n));
            tasks.spawn(async move {
                start.wait().await;
                action.await
            });
        }
        tasks.join_all().await
    }
}

/// The realm of most clauses.
pub(crate) fn realm() -> Realm {
    Realm::default()
}

/// Another realm, whose name begins like the first.
pub(crate) fn other_realm() -> Realm {
    Realm::new("default-2").unwrap()
}

/// The `n`th entry id.
pub(crate) fn id(n: usize) -> EventId {
    EventId((n as u128).to_be_bytes())
}

/// The name of the `n`th node.
pub(crate) fn node_id(n: usize) -> NodeId {
    NodeId(n as u64 + 1)
}

/// One test for each clause, each on a bed of its own.
macro_rules! clauses {
    ($bed:expr, $($clause:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $clause() {
            clauses::$clause(&$bed.await).await;
        }
    )*};
}
