//! A store that stands in while another does not answer, or has no space left.
//!
//! For what is better kept on one node alone than not at all: how often somebody tried to sign in.
//! What was counted while the other was away stays here and is forgotten; what it knew is missed
//! meanwhile. For everything else, that a store is away is to be said.

use std::sync::Arc;

use tegata_core::{
    Ephemeral, Realm, StoreError,
    port::{BoxFuture, Held, Put, Space, Swap},
};

/// `Ephemeral` with another to stand in.
pub struct Standby {
    usual: Arc<dyn Ephemeral>,
    standby: Arc<dyn Ephemeral>,
}

impl Standby {
    /// Asks `usual`, and `standby` where that does not answer.
    #[must_use]
    pub fn new(usual: Arc<dyn Ephemeral>, standby: Arc<dyn Ephemeral>) -> Self {
        Self { usual, standby }
    }

    async fn either<'a, T>(
        &'a self,
        ask: impl Fn(&'a dyn Ephemeral) -> BoxFuture<'a, Result<T, StoreError>> + Send + Sync,
    ) -> Result<T, StoreError> {
        match ask(self.usual.as_ref()).await {
            Err(
                StoreError::Unavailable { .. }
                | StoreError::Refused { .. }
                | StoreError::Indeterminate { .. }
                | StoreError::Full { .. },
            ) => ask(self.standby.as_ref()).await,
            answer => answer,
        }
    }
}

impl Ephemeral for Standby {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.either(move |store| store.get(realm, space, key)))
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.either(move |store| store.recent(realm, space, key)))
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.either(move |store| store.put(realm, space, put.clone())))
    }

    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.either(move |store| store.put_all(realm, space, puts.clone())))
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.either(move |store| store.add(realm, space, put.clone())))
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(self.either(move |store| store.swap(realm, space, revision, put.clone())))
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(self.either(move |store| store.take(realm, space, key)))
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        Box::pin(self.either(move |store| store.find(realm, space, index, after, limit)))
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let swept = self.standby.sweep().await?;
            Ok(self.usual.sweep().await? + swept)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tegata_core::{BreakerLimits, ManualClock};

    use super::*;
    use crate::{Guarded, MemoryEphemeral};

    static ATTEMPTS: Space = Space { name: "attempt", indexed: false };

    #[tokio::test]
    async fn what_was_counted_while_the_other_was_away_counts_for_as_long() {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryEphemeral::new(clock.clone()));
        let limits = BreakerLimits { failures: 1, open_for: Duration::from_secs(30) };
        let wait = Duration::from_secs(60);
        let usual = Arc::new(Guarded::new(store, "the usual", wait, limits, clock.clone()));
        let standby = Arc::new(MemoryEphemeral::new(clock.clone()));
        let both = Standby::new(usual.clone(), standby);
        let put = |value: &str| Put {
            key: "anna".to_owned(),
            value: value.into(),
            lifetime: Duration::from_secs(600),
            index: None,
        };
        let realm = Realm::default();
        both.put(&realm, &ATTEMPTS, put("1")).await.unwrap();
        usual.breaker().admit().unwrap().failed();
        assert_eq!(both.get(&realm, &ATTEMPTS, "anna").await.unwrap(), None);
        assert!(both.add(&realm, &ATTEMPTS, put("2")).await.unwrap());
        let held = both.get(&realm, &ATTEMPTS, "anna").await.unwrap().unwrap();
        assert_eq!(held.value, b"2");
        let swap = both.swap(&realm, &ATTEMPTS, held.revision, put("3")).await.unwrap();
        assert!(matches!(swap, Swap::Won(_)));
        clock.advance(Duration::from_secs(30));
        assert_eq!(both.get(&realm, &ATTEMPTS, "anna").await.unwrap().unwrap().value, b"1");
    }
}
