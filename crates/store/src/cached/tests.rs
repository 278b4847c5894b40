use tegata_core::{
    Lifetime, ManualClock,
    port::{Body, Put, Space, Swap},
};
use tokio::sync::{Mutex, Semaphore};

use super::*;
use crate::{MemoryEphemeral, MemoryFeed, MemoryRecords};

static NOTES: Kind = Kind { name: "note", indexes: &[], lifetime: Lifetime::Kept, secret: false };
const MINUTE: Duration = Duration::from_secs(60);

/// A store whose answers can be held up on their way back.
struct Held {
    inner: MemoryRecords,
    lets: Semaphore,
    waiting: Semaphore,
    holds: AtomicBool,
    loads: AtomicU64,
}

impl Records for Held {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            self.loads.fetch_add(1, Ordering::SeqCst);
            let answer = self.inner.load(realm, kind, key).await;
            if self.holds.load(Ordering::SeqCst) {
                self.waiting.add_permits(1);
                self.lets.acquire().await.unwrap().forget();
            }
            answer
        })
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.inner.find(realm, kind, index, value, page)
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.inner.scan(realm, kind, page)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(async move {
            let answer = self.inner.commit(batch).await;
            if self.holds.load(Ordering::SeqCst) {
                self.lets.acquire().await.unwrap().forget();
            }
            answer
        })
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        self.inner.pull(log, after, limit)
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        self.inner.sequence(log, node)
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.purge(now, logs_before)
    }
}

/// Two nodes on one store, one nearer store and one feed, which is carried by hand.
struct World {
    clock: Arc<ManualClock>,
    store: Arc<Held>,
    near: Arc<MemoryEphemeral>,
    nodes: Vec<Arc<Cached>>,
    heard: Mutex<Box<dyn tegata_core::Subscription>>,
}

async fn world(with_near: bool) -> World {
    let clock = Arc::new(ManualClock::default());
    let inner = MemoryRecords::new(&[&NOTES], clock.clone()).unwrap();
    let store = Arc::new(Held {
        inner,
        lets: Semaphore::new(0),
        waiting: Semaphore::new(0),
        holds: AtomicBool::new(false),
        loads: AtomicU64::new(0),
    });
    let near = Arc::new(MemoryEphemeral::new(clock.clone()));
    let feed = Arc::new(MemoryFeed::new(64));
    let heard = Mutex::new(feed.subscribe(Topic::Invalidations).await.unwrap());
    let node = || {
        let near = with_near.then(|| near.clone() as Arc<dyn Ephemeral>);
        let config = CachedConfig::default();
        let (store, feed, clock) = (store.clone(), feed.clone(), clock.clone());
        let cached = Cached::new(store, near, feed, &[&NOTES], config, clock);
        cached.listens(true);
        Arc::new(cached)
    };
    World { nodes: vec![node(), node()], clock, store, near, heard }
}

impl World {
    async fn write(&self, node: usize, value: &str) {
        let stands = self.nodes[node].load(&Realm::default(), &NOTES, "a").await.unwrap();
        let expect = stands.map_or(Expect::Absent, |record| Expect::Version(record.version));
        let (key, body) = ("a".to_owned(), Body::Plain(value.into()));
        let change = Change::Put { kind: &NOTES, key, expect, body, indexes: Vec::new() };
        self.nodes[node].commit(Batch::new(Realm::default()).with(change)).await.unwrap();
    }

    async fn recent(&self, node: usize) -> Option<String> {
        let record = self.nodes[node].recent(&Realm::default(), &NOTES, "a").await.unwrap();
        record.map(|record| match record.body {
            Body::Plain(body) => String::from_utf8(body).unwrap(),
            Body::Sealed(_) => panic!("nothing is sealed here"),
        })
    }

    /// Brings what was published to a node.
    async fn carry(&self, node: usize) {
        let heard = self.heard.lock().await.next().await.unwrap();
        self.nodes[node].hear(&heard);
    }

    fn loads(&self) -> u64 {
        self.store.loads.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test]
async fn what_was_read_is_answered_from_here_for_a_minute() {
    let world = world(false).await;
    world.write(0, "one").await;
    assert_eq!(world.recent(0).await.unwrap(), "one");
    world.loads();
    for _ in 0..100 {
        assert_eq!(world.recent(0).await.unwrap(), "one");
    }
    assert_eq!(world.loads(), 0);
    world.clock.advance(MINUTE);
    assert_eq!(world.recent(0).await.unwrap(), "one");
    assert_eq!(world.loads(), 1);
    // That something is not there is not kept.
    assert_eq!(world.nodes[0].recent(&Realm::default(), &NOTES, "b").await.unwrap(), None);
}

#[tokio::test]
async fn a_change_is_seen_here_at_once_and_elsewhere_when_it_is_heard() {
    for near in [false, true] {
        let world = world(near).await;
        world.write(0, "one").await;
        assert_eq!(world.recent(1).await.unwrap(), "one");
        world.carry(1).await;
        assert_eq!(world.recent(1).await.unwrap(), "one");
        world.write(0, "two").await;
        assert_eq!(world.recent(0).await.unwrap(), "two");
        world.carry(1).await;
        assert_eq!(world.recent(1).await.unwrap(), "two", "with a nearer store: {near}");
        // What decides never waits for that.
        world.write(0, "three").await;
        let loaded = world.nodes[1].load(&Realm::default(), &NOTES, "a").await.unwrap().unwrap();
        assert_eq!(loaded.body, Body::Plain(b"three".to_vec()));
    }
}

#[tokio::test]
async fn an_answer_that_comes_after_a_change_is_not_kept() {
    let world = world(false).await;
    world.write(0, "old").await;
    world.carry(1).await;
    world.store.holds.store(true, Ordering::SeqCst);
    let node = world.nodes[1].clone();
    let reading =
        tokio::spawn(async move { node.recent(&Realm::default(), &NOTES, "a").await.unwrap() });
    world.store.waiting.acquire().await.unwrap().forget();
    // While the old answer is on its way, the record changes, and the node hears of it.
    world.store.holds.store(false, Ordering::SeqCst);
    world.write(0, "new").await;
    world.carry(1).await;
    world.store.lets.add_permits(1);
    reading.await.unwrap();
    assert_eq!(world.recent(1).await.unwrap(), "new");
}

#[tokio::test]
async fn a_nearer_store_that_lags_behind_what_was_heard_counts_for_nothing() {
    let world = world(true).await;
    world.write(0, "old").await;
    world.carry(1).await;
    let key = "note/a";
    let lagging = world.near.get(&Realm::default(), &NEAR, key).await.unwrap().unwrap();
    world.write(0, "new").await;
    world.carry(1).await;
    // A replica that has not heard of the new one yet answers as before.
    let (key, value) = (key.to_owned(), lagging.value);
    let put = Put { key, value, lifetime: MINUTE, index: None };
    world.near.put(&Realm::default(), &NEAR, put).await.unwrap();
    assert_eq!(world.recent(1).await.unwrap(), "new");
    assert_eq!(world.recent(0).await.unwrap(), "new");
}

#[tokio::test]
async fn an_older_version_never_replaces_a_newer_one_in_the_nearer_store() {
    let world = world(true).await;
    world.write(0, "one").await;
    let old = world.nodes[0].load(&Realm::default(), &NOTES, "a").await.unwrap().unwrap();
    world.write(0, "two").await;
    world.nodes[1].near.as_ref().unwrap().write(&Realm::default(), &NOTES, &old).await;
    let near = world.nodes[1].near.as_ref().unwrap();
    let (copy, _) = near.read(&Realm::default(), &NOTES, "a").await.unwrap();
    assert_eq!(copy.version, 2);
}

#[tokio::test]
async fn while_the_feed_is_not_heard_nothing_of_this_process_answers() {
    let world = world(false).await;
    world.write(0, "one").await;
    assert_eq!(world.recent(1).await.unwrap(), "one");
    world.nodes[1].listens(false);
    world.write(0, "two").await;
    assert_eq!(world.recent(1).await.unwrap(), "two");
    world.write(0, "three").await;
    assert_eq!(world.recent(1).await.unwrap(), "three");
    world.nodes[1].listens(true);
    assert_eq!(world.recent(1).await.unwrap(), "three");
    world.loads();
    assert_eq!(world.recent(1).await.unwrap(), "three");
    assert_eq!(world.loads(), 0);
    // After a gap, everything is asked anew.
    world.nodes[1].hear(&Heard::Gap);
    assert_eq!(world.recent(1).await.unwrap(), "three");
    assert_eq!(world.loads(), 1);
}

#[tokio::test]
async fn whoever_lost_a_race_finds_the_winner() {
    let world = world(false).await;
    world.write(0, "one").await;
    assert_eq!(world.recent(1).await.unwrap(), "one");
    world.write(0, "two").await;
    // Node 1 has not heard of it, and acts on what it has.
    let (key, body) = ("a".to_owned(), Body::Plain(b"mine".to_vec()));
    let expect = Expect::Version(1);
    let change = Change::Put { kind: &NOTES, key, expect, body, indexes: Vec::new() };
    let batch = Batch::new(Realm::default()).with(change);
    assert!(matches!(world.nodes[1].commit(batch).await, Err(CommitRefused::Conflict { .. })));
    assert_eq!(world.recent(1).await.unwrap(), "two");
}

#[tokio::test]
async fn whoever_goes_away_while_a_change_is_made_leaves_nothing_old_behind() {
    let world = world(false).await;
    world.write(0, "one").await;
    world.carry(1).await;
    for node in 0..2 {
        assert_eq!(world.recent(node).await.unwrap(), "one");
    }
    let (key, body) = ("a".to_owned(), Body::Plain(b"two".to_vec()));
    let expect = Expect::Version(1);
    let change = Change::Put { kind: &NOTES, key, expect, body, indexes: Vec::new() };
    world.store.holds.store(true, Ordering::SeqCst);
    let mut commit = world.nodes[0].commit(Batch::new(Realm::default()).with(change));
    // It is done in the store, and whoever ordered it does not wait for the answer.
    assert!(futures_util::future::poll_immediate(&mut commit).await.is_none());
    world.store.holds.store(false, Ordering::SeqCst);
    assert_eq!(world.recent(0).await.unwrap(), "one", "the answer is still on its way");
    drop(commit);
    assert_eq!(world.recent(0).await.unwrap(), "two");
    world.carry(1).await;
    assert_eq!(world.recent(1).await.unwrap(), "two");
}

#[tokio::test]
async fn a_copy_from_the_future_counts_for_nothing() {
    let world = world(true).await;
    world.clock.advance(MINUTE);
    world.write(0, "one").await;
    world.clock.jump(world.clock.now() - MINUTE);
    world.nodes[1].recent(&Realm::default(), &NOTES, "a").await.unwrap();
    assert_eq!(world.nodes[1].hits(), Hits { own: 0, near: 0, store: 1 });
}

#[tokio::test]
async fn a_copy_grows_no_younger_on_its_way() {
    let world = world(true).await;
    world.write(0, "one").await;
    world.clock.advance(MINUTE / 2);
    assert_eq!(world.recent(1).await.unwrap(), "one");
    assert_eq!(world.nodes[1].hits().near, 1);
    // Half of its minute was over when it came here.
    world.clock.advance(MINUTE / 2);
    assert_eq!(world.recent(1).await.unwrap(), "one");
    assert_eq!(world.nodes[1].hits(), Hits { own: 0, near: 1, store: 1 });
}

#[tokio::test]
async fn a_nearer_store_that_is_away_is_passed_by() {
    struct Away;
    fn away<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
        let detail = "away".to_owned();
        Box::pin(async { Err(StoreError::Unavailable { backend: "Redis", detail }) })
    }
    impl Ephemeral for Away {
        fn get<'a>(
            &'a self,
            _: &'a Realm,
            _: &'static Space,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<tegata_core::port::Held>, StoreError>> {
            away()
        }
        fn put<'a>(
            &'a self,
            _: &'a Realm,
            _: &'static Space,
            _: Put,
        ) -> BoxFuture<'a, Result<(), StoreError>> {
            away()
        }
        fn add<'a>(
            &'a self,
            _: &'a Realm,
            _: &'static Space,
            _: Put,
        ) -> BoxFuture<'a, Result<bool, StoreError>> {
            away()
        }
        fn swap<'a>(
            &'a self,
            _: &'a Realm,
            _: &'static Space,
            _: u64,
            _: Put,
        ) -> BoxFuture<'a, Result<Swap, StoreError>> {
            away()
        }
        fn take<'a>(
            &'a self,
            _: &'a Realm,
            _: &'static Space,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<tegata_core::port::Held>, StoreError>> {
            away()
        }
        fn find<'a>(
            &'a self,
            _: &'a Realm,
            _: &'static Space,
            _: &'a str,
            _: Option<&'a str>,
            _: u32,
        ) -> BoxFuture<'a, Result<Vec<(String, tegata_core::port::Held)>, StoreError>> {
            away()
        }
        fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
            away()
        }
    }
    let mut world = world(false).await;
    let feed = Arc::new(MemoryFeed::new(64));
    let config = CachedConfig::default();
    let (store, clock) = (world.store.clone(), world.clock.clone());
    let cached = Cached::new(store, Some(Arc::new(Away)), feed, &[&NOTES], config, clock);
    cached.listens(true);
    world.nodes[0] = Arc::new(cached);
    world.write(0, "one").await;
    assert_eq!(world.recent(0).await.unwrap(), "one");
}
