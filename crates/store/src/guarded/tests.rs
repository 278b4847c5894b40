use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tegata_core::ManualClock;

use super::*;
use crate::MemoryEphemeral;

static CODES: Space = Space { name: "code", indexed: false };
const AWHILE: Duration = Duration::from_secs(30);

/// What the store behind the breaker does.
#[derive(Clone, Copy)]
enum Mood {
    Answers,
    Fails,
    Loses,
    Refuses,
    Hangs,
}

/// A store that is in a mood, and counts who asks.
struct Moody {
    inner: MemoryEphemeral,
    mood: Mutex<Mood>,
    asked: AtomicU32,
}

impl Moody {
    async fn mood(&self) -> Result<(), StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (backend, detail) = ("the store", String::new());
        match *self.mood.lock() {
            Mood::Answers => return Ok(()),
            Mood::Fails => return Err(StoreError::Unavailable { backend, detail }),
            Mood::Loses => return Err(StoreError::Indeterminate { backend, detail }),
            Mood::Refuses => return Err(StoreError::Full { backend, detail }),
            Mood::Hangs => {}
        }
        std::future::pending().await
    }
}

impl Ephemeral for Moody {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            self.mood().await?;
            self.inner.get(realm, space, key).await
        })
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.mood().await?;
            self.inner.put(realm, space, put).await
        })
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.add(realm, space, put)
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        self.inner.swap(realm, space, revision, put)
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.inner.take(realm, space, key)
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        self.inner.find(realm, space, index, after, limit)
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.sweep()
    }
}

struct Place {
    clock: Arc<ManualClock>,
    store: Arc<Moody>,
    guarded: Guarded<Moody>,
}

fn place() -> Place {
    let clock = Arc::new(ManualClock::default());
    let inner = MemoryEphemeral::new(clock.clone());
    let (mood, asked) = (Mutex::new(Mood::Answers), AtomicU32::new(0));
    let store = Arc::new(Moody { inner, mood, asked });
    let limits = BreakerLimits { failures: 5, open_for: AWHILE };
    let (wait, guard) = (Duration::from_millis(20), Arc::clone(&store));
    let guarded = Guarded::new(guard, "the store", wait, limits, clock.clone());
    Place { clock, store, guarded }
}

impl Place {
    async fn get(&self) -> Result<Option<Held>, StoreError> {
        self.guarded.get(&Realm::default(), &CODES, "a").await
    }

    async fn put(&self) -> Result<(), StoreError> {
        let lifetime = Duration::from_secs(60);
        let put = Put { key: "a".to_owned(), value: Vec::new(), lifetime, index: None };
        self.guarded.put(&Realm::default(), &CODES, put).await
    }

    fn turn(&self, mood: Mood) {
        *self.store.mood.lock() = mood;
    }

    fn asked(&self) -> u32 {
        self.store.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn after_five_failures_nobody_asks_until_a_while_is_over_and_then_one_does() {
    let place = place();
    place.turn(Mood::Fails);
    for _ in 0..5 {
        assert!(place.get().await.is_err());
    }
    assert_eq!(place.guarded.breaker().state(), BreakerState::Open);
    for _ in 0..100 {
        let refused = place.get().await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    }
    assert_eq!(place.asked(), 5);
    place.turn(Mood::Answers);
    place.clock.advance(AWHILE);
    assert!(place.get().await.is_ok());
    assert_eq!(place.guarded.breaker().state(), BreakerState::Closed);
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_a_change_that_hangs_may_have_happened() {
    let place = place();
    place.turn(Mood::Hangs);
    assert!(matches!(place.get().await, Err(StoreError::Unavailable { .. })));
    assert!(matches!(place.put().await, Err(StoreError::Indeterminate { .. })));
    for _ in 0..3 {
        assert!(place.get().await.is_err());
    }
    assert_eq!(place.guarded.breaker().state(), BreakerState::Open);
    // What is refused without being asked has certainly not happened.
    assert!(matches!(place.put().await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_a_lost_answer_is_none() {
    let place = place();
    place.turn(Mood::Refuses);
    for _ in 0..10 {
        assert!(matches!(place.put().await, Err(StoreError::Full { .. })));
    }
    assert_eq!(place.guarded.breaker().state(), BreakerState::Closed);
    place.turn(Mood::Loses);
    for _ in 0..5 {
        assert!(place.put().await.is_err());
    }
    assert_eq!(place.guarded.breaker().state(), BreakerState::Open);
}
