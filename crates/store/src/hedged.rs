//! A reading that waits for no slow server.
//!
//! Readings that need not be the latest go to replicas. Where one has not answered after a few
//! milliseconds, the next is asked too, at last the primary; the first to have the value wins, and
//! nobody waits for the others. That a replica has nothing is no answer: it may not have heard of it
//! yet, and the primary knows.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tegata_core::{
    Ephemeral, Realm, StoreError,
    port::{BoxFuture, Held, Put, Space, Swap},
};
use tokio::time::timeout;

/// `Ephemeral` with replicas.
pub struct Hedged {
    primary: Arc<dyn Ephemeral>,
    replicas: Vec<Arc<dyn Ephemeral>>,
    after: Duration,
}

impl Hedged {
    /// Asks the next after so long: 5 ms is long for servers in one data centre.
    #[must_use]
    pub fn new(
        primary: Arc<dyn Ephemeral>,
        replicas: Vec<Arc<dyn Ephemeral>>,
        after: Duration,
    ) -> Self {
        Self { primary, replicas, after }
    }

    async fn first(
        &self,
        realm: &Realm,
        space: &'static Space,
        key: &str,
    ) -> Result<Option<Held>, StoreError> {
        let ask = async |number: usize| match self.replicas.get(number) {
            Some(replica) => (replica.recent(realm, space, key).await, false),
            None => (self.primary.get(realm, space, key).await, true),
        };
        let mut asked = FuturesUnordered::new();
        // Dropping what is still under way when this returns is what cancels it.
        let mut next = 0;
        let mut failed = None;
        loop {
            if next <= self.replicas.len() {
                asked.push(ask(next));
                next += 1;
            }
            let answer = if next <= self.replicas.len() {
                match timeout(self.after, asked.next()).await {
                    Ok(answer) => answer,
                    Err(_) => continue,
                }
            } else {
                asked.next().await
            };
            match answer {
                Some((Ok(Some(held)), _)) => return Ok(Some(held)),
                Some((Ok(None), true)) => return Ok(None),
                Some((Ok(None), false)) => {
                    // Only the primary can say that it is not there: the replicas in between are
                    // passed over.
                    next = next.max(self.replicas.len());
                }
                Some((Err(error), _)) => failed = Some(error),
                None => break,
            }
        }
        // All have answered, none with a value, and the primary not at all.
        Err(failed.unwrap_or_else(|| StoreError::Unavailable {
            backend: "the replicas",
            detail: "nobody answered".to_owned(),
        }))
    }
}

impl Ephemeral for Hedged {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.primary.get(realm, space, key)
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.first(realm, space, key))
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.primary.put(realm, space, put)
    }

    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.primary.put_all(realm, space, puts)
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.primary.add(realm, space, put)
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        self.primary.swap(realm, space, revision, put)
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.primary.take(realm, space, key)
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        self.primary.find(realm, space, index, after, limit)
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.primary.sweep()
    }
}

#[cfg(test)]
mod tests;
