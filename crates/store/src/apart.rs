//! Some spaces are kept apart from the others, in a store that loses nothing.
//!
//! Redis answers before its replicas know, so that something was used once can be forgotten when one
//! of them takes over. Where that would let it be used again, it is kept where it cannot be.

use std::sync::Arc;

use tegata_core::{
    Ephemeral, Realm, StoreError,
    port::{BoxFuture, Held, Put, Space, Swap},
};

/// `Ephemeral` of two stores.
pub struct Apart {
    usual: Arc<dyn Ephemeral>,
    apart: Arc<dyn Ephemeral>,
    spaces: Vec<&'static Space>,
}

impl Apart {
    /// Keeps `spaces` in `apart`, and all others in `usual`.
    #[must_use]
    pub fn new(
        usual: Arc<dyn Ephemeral>,
        apart: Arc<dyn Ephemeral>,
        spaces: &[&'static Space],
    ) -> Self {
        Self { usual, apart, spaces: spaces.to_vec() }
    }

    fn of(&self, space: &Space) -> &dyn Ephemeral {
        let is_apart = self.spaces.iter().any(|apart| apart.name == space.name);
        if is_apart { self.apart.as_ref() } else { self.usual.as_ref() }
    }
}

impl Ephemeral for Apart {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.of(space).get(realm, space, key)
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.of(space).recent(realm, space, key)
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.of(space).put(realm, space, put)
    }

    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.of(space).put_all(realm, space, puts)
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.of(space).add(realm, space, put)
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        self.of(space).swap(realm, space, revision, put)
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.of(space).take(realm, space, key)
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        self.of(space).find(realm, space, index, after, limit)
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { Ok(self.usual.sweep().await? + self.apart.sweep().await?) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tegata_core::ManualClock;

    use super::*;
    use crate::MemoryEphemeral;

    static ASSERTIONS: Space = Space { name: "assertion", indexed: false };
    static ATTEMPTS: Space = Space { name: "attempt", indexed: false };

    #[tokio::test]
    async fn what_was_used_is_known_after_the_usual_store_has_forgotten_everything() {
        let store = || Arc::new(MemoryEphemeral::new(Arc::new(ManualClock::default())));
        let (realm, durable) = (Realm::default(), store());
        let put = || Put {
            key: "a".to_owned(),
            value: Vec::new(),
            lifetime: Duration::from_secs(60),
            index: None,
        };
        let apart = Apart::new(store(), durable.clone(), &[&ASSERTIONS]);
        assert!(apart.add(&realm, &ASSERTIONS, put()).await.unwrap());
        assert!(apart.add(&realm, &ATTEMPTS, put()).await.unwrap());
        // A replica took over that knew nothing.
        let apart = Apart::new(store(), durable, &[&ASSERTIONS]);
        assert!(!apart.add(&realm, &ASSERTIONS, put()).await.unwrap());
        assert!(apart.add(&realm, &ATTEMPTS, put()).await.unwrap());
    }
}
