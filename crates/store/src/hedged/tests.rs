use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tegata_core::ManualClock;
use tokio::sync::Notify;

use super::*;
use crate::MemoryEphemeral;

static NOTES: Space = Space { name: "note", indexed: false };

/// A server that answers when it is let, and counts who still waits for it.
struct Slow {
    inner: Arc<MemoryEphemeral>,
    lets: Notify,
    at_once: Mutex<bool>,
    waiting: AtomicUsize,
    asked: AtomicUsize,
}

/// Somebody who waits, until they go away.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Slow {
    fn new(at_once: bool) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::new(MemoryEphemeral::new(Arc::new(ManualClock::default()))),
            lets: Notify::new(),
            at_once: Mutex::new(at_once),
            waiting: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        })
    }

    async fn hold(self: Arc<Self>, value: &str) -> Arc<Self> {
        let lifetime = Duration::from_secs(60);
        let put = Put { key: "a".to_owned(), value: value.into(), lifetime, index: None };
        self.inner.put(&Realm::default(), &NOTES, put).await.unwrap();
        self
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Ephemeral for Slow {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let _waits = Waits(&self.waiting);
            if !*self.at_once.lock() {
                self.lets.notified().await;
            }
            self.inner.get(realm, space, key).await
        })
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.put(realm, space, put)
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

async fn recent(primary: &Arc<Slow>, replicas: &[&Arc<Slow>]) -> Option<String> {
    let replicas = replicas.iter().map(|it| Arc::clone(it) as Arc<dyn Ephemeral>).collect();
    let primary = Arc::clone(primary) as Arc<dyn Ephemeral>;
    let hedged = Hedged::new(primary, replicas, Duration::from_millis(5));
    let held = hedged.recent(&Realm::default(), &NOTES, "a").await.unwrap();
    held.map(|held| String::from_utf8(held.value).unwrap())
}

#[tokio::test]
async fn a_replica_that_answers_spares_all_others() {
    let primary = Slow::new(true).hold("of the primary").await;
    let replica = Slow::new(true).hold("of the replica").await;
    assert_eq!(recent(&primary, &[&replica, &primary]).await.unwrap(), "of the replica");
    assert_eq!(primary.asked(), 0);
}

#[tokio::test]
async fn the_first_answer_wins_and_the_others_are_given_up() {
    let primary = Slow::new(false).hold("of the primary").await;
    let slow = Slow::new(false).hold("of the slow one").await;
    let fast = Slow::new(true).hold("of the fast one").await;
    assert_eq!(recent(&primary, &[&slow, &fast]).await.unwrap(), "of the fast one");
    assert_eq!((slow.asked(), primary.asked()), (1, 0));
    assert_eq!(slow.waiting.load(Ordering::SeqCst), 0, "nobody waits for the slow one any more");
}

#[tokio::test]
async fn what_a_replica_has_not_is_asked_of_the_primary() {
    let (empty, never) = (Slow::new(true), Slow::new(true));
    let primary = Slow::new(true).hold("of the primary").await;
    assert_eq!(recent(&primary, &[&empty, &never]).await.unwrap(), "of the primary");
    assert_eq!(never.asked(), 0);
    let gone = Slow::new(true);
    assert_eq!(recent(&gone, &[&empty]).await, None);
}

#[tokio::test]
async fn nobody_is_spared_when_all_replicas_hang() {
    let primary = Slow::new(true).hold("of the primary").await;
    let (one, two) = (Slow::new(false), Slow::new(false));
    assert_eq!(recent(&primary, &[&one, &two]).await.unwrap(), "of the primary");
}
