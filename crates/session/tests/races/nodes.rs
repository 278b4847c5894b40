//! Two nodes on one store.

use std::{future::Future, sync::Arc, time::Duration};

use tegata_core::ManualClock;
use tokio::{sync::Barrier, task::JoinSet};

use super::{stores::Store, world::World};

/// Two nodes at one place.
pub(crate) struct Nodes {
    pub(crate) both: [Arc<World>; 2],
    clock: Arc<ManualClock>,
}

impl Nodes {
    /// Two processes on one store.
    pub(crate) async fn on(store: Store) -> Self {
        let (place, clock) = (Arc::new(store.realm()), Arc::default());
        let both = [
            Arc::new(World::at(&place, &clock, 1).await),
            Arc::new(World::at(&place, &clock, 2).await),
        ];
        Self { both, clock }
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Lets `clients` do the same at once, in turn at one node and at the other; answers what each got.
    pub(crate) async fn crowd<F, T>(
        &self,
        clients: usize,
        act: impl Fn(Arc<World>, usize) -> F,
    ) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let start = Arc::new(Barrier::new(clients));
        let mut tasks = JoinSet::new();
        for n in 0..clients {
            let [first, second] = &self.both;
            let node = if n % 2 == 0 { first } else { second };
            let (start, action) = (start.clone(), act(node.clone(), n));
            tasks.spawn(async move {
                start.wait().await;
                action.await
            });
        }
        tasks.join_all().await
    }
}
