//! A cluster that changes under load: replicas are promoted, slots migrate, nodes stand still and die.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tegata_core::{
    Ephemeral, Node, Realm, StoreError,
    port::{Put, Space, Swap},
};
use tegata_engines::{
    RedisCluster,
    process::until,
    redis::{Node as Server, PASSWORD},
};
use tegata_store::{ReadsFrom, Redis, RedisConfig, RedisEphemeral};
use tokio::{task::JoinSet, time::timeout};

static NUMBERS: Space = Space { name: "note", indexed: false };

/// How many call at once.
const CALLERS: usize = 300;

/// How long something may take on a busy machine until the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

async fn opened(cluster: &RedisCluster, timeout: Duration) -> Redis {
    let config = RedisConfig { timeout, connections: 24, ..RedisConfig::default() };
    Redis::open(&cluster.url(), config, &Node::start()).await.unwrap()
}

/// Callers who do not stop before they are told to.
struct Crowd {
    callers: JoinSet<()>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

/// One of them.
struct Caller {
    store: RedisEphemeral,
    key: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

impl Crowd {
    fn of<F>(redis: &Redis, act: impl Fn(Caller) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut callers = JoinSet::new();
        for n in 0..CALLERS {
            let store = redis.ephemeral(ReadsFrom::Primary);
            let (stop, done) = (stop.clone(), done.clone());
            callers.spawn(act(Caller { store, key: format!("caller-{n}"), stop, done }));
        }
        Self { callers, stop, done }
    }

    /// Waits until all have done something more, as far as can be told.
    fn go_on(&self) {
        let enough = self.done.load(Ordering::SeqCst) + 2 * CALLERS;
        let is_done = || self.done.load(Ordering::SeqCst) >= enough;
        assert!(until(PATIENCE, is_done), "nobody goes on");
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
    }
}

impl Caller {
    fn put(&self, number: usize) -> Put {
        let lifetime = Duration::from_secs(3600);
        Put { key: self.key.clone(), value: number.to_string().into(), lifetime, index: None }
    }

    /// What became of an operation. It ends, however it ends.
    async fn ended<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let ended = timeout(PATIENCE, operation).await.unwrap();
        self.done.fetch_add(1, Ordering::SeqCst);
        ended
    }

    /// Counts, all by itself, and each time finds what it left.
    async fn count(self) {
        let realm = Realm::default();
        while !self.stop.load(Ordering::SeqCst) {
            let added = self.store.add(&realm, &NUMBERS, self.put(0));
            assert!(self.ended(added).await.unwrap(), "what was taken is there again");
            for number in 1..=5 {
                let read = self.store.get(&realm, &NUMBERS, &self.key);
                let held = self.ended(read).await.unwrap().unwrap();
                assert_eq!(held.value, (number - 1).to_string().into_bytes());
                let next = self.put(number);
                let swap = self.store.swap(&realm, &NUMBERS, held.revision, next);
                assert!(matches!(self.ended(swap).await.unwrap(), Swap::Won(_)));
            }
            let taken = self.store.take(&realm, &NUMBERS, &self.key);
            assert_eq!(self.ended(taken).await.unwrap().unwrap().value, b"5");
        }
    }

    /// Does all that one can do, and minds no failure.
    async fn try_all(self) {
        let realm = Realm::default();
        while !self.stop.load(Ordering::SeqCst) {
            let mut revision = 0;
            let put = self.store.put(&realm, &NUMBERS, self.put(0));
            let mut failed = self.ended(put).await.is_err();
            match self.ended(self.store.get(&realm, &NUMBERS, &self.key)).await {
                Ok(held) => revision = held.map_or(0, |held| held.revision),
                Err(_) => failed = true,
            }
            let swap = self.store.swap(&realm, &NUMBERS, revision, self.put(1));
            failed |= self.ended(swap).await.is_err();
            failed |= self.ended(self.store.take(&realm, &NUMBERS, &self.key)).await.is_err();
            failed |= self.ended(self.store.add(&realm, &NUMBERS, self.put(2))).await.is_err();
            if failed {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Passes over every connection to every primary, several times.
async fn every_connection_works(redis: &Redis) {
    let store = redis.ephemeral(ReadsFrom::Primary);
    for n in 0..3 * 4 * 32 * 3 {
        let put = Put {
            key: format!("after-{n}"),
            value: vec![7],
            lifetime: Duration::from_secs(60),
            index: None,
        };
        store.put(&Realm::default(), &NUMBERS, put).await.unwrap();
        let read = store.get(&Realm::default(), &NUMBERS, &format!("after-{n}")).await;
        assert_eq!(read.unwrap().unwrap().value, [7]);
    }
}

/// Has a replica take its primary's place.
fn promote(cluster: &RedisCluster, replica: &Server, how: &[&str]) {
    let command = [&["CLUSTER", "FAILOVER"][..], how].concat();
    let promoted = (0..10).any(|_| {
        let _refused = replica.try_ask(&command);
        until(PATIENCE / 10, || replica.is_primary())
    });
    assert!(promoted, "the replica does not take over");
    cluster.settle();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_is_lost_while_replicas_are_promoted() {
    let cluster = RedisCluster::start();
    let redis = opened(&cluster, PATIENCE / 2).await;
    let crowd = Crowd::of(&redis, Caller::count);
    crowd.go_on();
    for _ in 0..3 {
        for primary in cluster.primaries() {
            promote(&cluster, cluster.replica_of(primary).unwrap(), &[]);
            crowd.go_on();
        }
    }
    crowd.end().await;
    every_connection_works(&redis).await;
}

/// Gives all keys of a slot, and then the slot, to another primary.
fn migrate(crowd: &Crowd, slot: &str, from: &Server, to: &Server) {
    let id = |server: &Server| server.ask(&["CLUSTER", "MYID"]).text();
    let (giver, taker) = (id(from), id(to));
    to.ask(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &giver]);
    from.ask(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &taker]);
    crowd.go_on();
    let empty = || {
        let keys = from.ask(&["CLUSTER", "GETKEYSINSLOT", slot, "100"]).list();
        for key in &keys {
            let (port, key) = (to.port().to_string(), key.text());
            let to = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000"];
            let who = ["AUTH2", "tester", PASSWORD, "KEYS", &key];
            from.ask(&[&to[..], &who[..]].concat());
        }
        keys.is_empty()
    };
    assert!(until(PATIENCE, empty), "the slot does not become empty");
    // All of it is asked for elsewhere now.
    crowd.go_on();
    to.ask(&["CLUSTER", "SETSLOT", slot, "NODE", &taker]);
    from.ask(&["CLUSTER", "SETSLOT", slot, "NODE", &taker]);
    crowd.go_on();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_is_lost_while_slots_migrate() {
    let cluster = RedisCluster::start();
    let redis = opened(&cluster, PATIENCE / 2).await;
    let crowd = Crowd::of(&redis, Caller::count);
    crowd.go_on();
    let [first, second, _] = cluster.primaries()[..] else { panic!("three primaries") };
    let slots = (0..CALLERS).map(|n| {
        let name = format!("tegata{{}}:v:note:default:caller-{n}");
        first.ask(&["CLUSTER", "KEYSLOT", &name]).text()
    });
    let ours = slots.filter(|slot| slot.parse::<u32>().unwrap() < 5461).take(8).collect::<Vec<_>>();
    for slot in &ours {
        migrate(&crowd, slot, first, second);
    }
    cluster.settle();
    for slot in &ours {
        migrate(&crowd, slot, second, first);
    }
    crowd.end().await;
    cluster.settle();
    every_connection_works(&redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_nodes_every_command_ends_and_all_works_afterwards() {
    let cluster = RedisCluster::start();
    let redis = opened(&cluster, Duration::from_secs(2)).await;
    let crowd = Crowd::of(&redis, Caller::try_all);
    crowd.go_on();
    // Without asking anybody.
    for primary in cluster.primaries() {
        promote(&cluster, cluster.replica_of(primary).unwrap(), &["TAKEOVER"]);
        crowd.go_on();
    }
    for _ in 0..2 {
        let killed = cluster.primaries()[0];
        cluster.fail_over(killed);
        crowd.go_on();
        cluster.launch(killed);
        cluster.settle();
        crowd.go_on();
    }
    // One stands still, is replaced, and does not know it when it goes on.
    let held = cluster.primaries()[1];
    let replica = cluster.replica_of(held).unwrap();
    held.process().hold();
    assert!(until(PATIENCE, || replica.is_primary()), "the replica does not take over");
    crowd.go_on();
    held.process().go_on();
    cluster.settle();
    // All at once: half of all nodes die, and come back.
    for node in cluster.primaries() {
        cluster.kill(node);
    }
    crowd.go_on();
    for node in cluster.nodes().iter().filter(|node| node.process().id().is_none()) {
        cluster.launch(node);
    }
    cluster.settle();
    crowd.end().await;
    every_connection_works(&redis).await;
}
