//! What many write at once is written together.
//!
//! Callers that write at the same time are joined: the first begins, and whoever comes while it is
//! under way goes with the next, at most a hundred together. Nobody waits for company, so a lonely
//! write costs nothing; under load, a hundred writes cost about as much as one. For stores where that
//! is so: a client of Redis that many share writes together what they write at once anyway.

use std::{collections::VecDeque, sync::Arc};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tegata_core::{
    Ephemeral, Realm, StoreError,
    port::{BoxFuture, Held, Put, Space, Swap},
};
use tokio::sync::oneshot;

/// How many values are written together at most.
const TOGETHER: usize = 100;

/// `Ephemeral` that writes together what many put at once. Cheap to clone; clones write together.
#[derive(Clone)]
pub struct Batched(Arc<Inner>);

struct Inner {
    store: Arc<dyn Ephemeral>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    puts: VecDeque<One>,
    /// Whether somebody is writing, who then writes what waits.
    writing: bool,
}

struct One {
    realm: Realm,
    space: &'static Space,
    put: Put,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Batched {
    /// Batches what is put into `inner`.
    #[must_use]
    pub fn new(store: Arc<dyn Ephemeral>) -> Self {
        Self(Arc::new(Inner { store, waiting: Mutex::default() }))
    }
}

impl Inner {
    /// Writes what waits until nothing does.
    async fn write_all(self: Arc<Self>) {
        let mut leaving = Leaving { inner: &self, in_haste: true };
        while let Some(together) = self.next() {
            let Some(first) = together.first() else { continue };
            let (realm, space) = (first.realm.clone(), first.space);
            let puts = together.iter().map(|one| one.put.clone()).collect();
            let outcome = self.store.put_all(&realm, space, puts).await;
            let alone = outcome.is_err() && together.len() > 1;
            let told = together.into_iter().map(async |One { put, done, .. }| {
                // What failed for one of them says nothing of the others. Written again, a value is
                // as it was.
                let own = match alone {
                    true => self.store.put(&realm, space, put).await,
                    false => outcome.clone(),
                };
                // Whoever has gone away does not want to know.
                let _ = done.send(own);
            });
            join_all(told).await;
        }
        leaving.in_haste = false;
    }

    /// The next that are written together: of one realm and space, in the order in which they came.
    fn next(&self) -> Option<Vec<One>> {
        let mut waiting = self.waiting.lock();
        let Some(first) = waiting.puts.pop_front() else {
            waiting.writing = false;
            return None;
        };
        let mut together = vec![first];
        while together.len() < TOGETHER {
            let fits = |one: &One| {
                together.first().is_some_and(|first| {
                    first.realm == one.realm
                        && std::ptr::eq(first.space, one.space)
                        // Two writes of one key would have no order.
                        && together.iter().all(|other| other.put.key != one.put.key)
                })
            };
            if !waiting.puts.front().is_some_and(fits) {
                break;
            }
            together.extend(waiting.puts.pop_front());
        }
        Some(together)
    }

    /// Lets a value wait to be written. Answers whether nobody is writing yet.
    fn wait(&self, one: One) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.puts.push_back(one);
        !std::mem::replace(&mut waiting.writing, true)
    }
}

/// Where the writer ends before nothing waits any more, whoever waits is told, and the next one can
/// begin.
struct Leaving<'a> {
    inner: &'a Inner,
    in_haste: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if self.in_haste {
            let mut waiting = self.inner.waiting.lock();
            waiting.writing = false;
            waiting.puts.clear();
        }
    }
}

impl std::fmt::Debug for Batched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batched({} waiting)", self.0.waiting.lock().puts.len())
    }
}

impl Ephemeral for Batched {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.0.store.get(realm, space, key)
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.0.store.recent(realm, space, key)
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let (done, told) = oneshot::channel();
            if self.0.wait(One { realm: realm.clone(), space, put, done }) {
                tokio::spawn(Arc::clone(&self.0).write_all());
            }
            // The writer is gone only with the runtime.
            told.await.unwrap_or_else(|_| {
                let detail = "the program is stopping".to_owned();
                Err(StoreError::Indeterminate { backend: "the batch", detail })
            })
        })
    }

    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.store.put_all(realm, space, puts)
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.0.store.add(realm, space, put)
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        self.0.store.swap(realm, space, revision, put)
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.0.store.take(realm, space, key)
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        self.0.store.find(realm, space, index, after, limit)
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.0.store.sweep()
    }
}

#[cfg(test)]
mod tests;
