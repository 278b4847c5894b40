//! What keeping a session costs: `get` and `put` through the whole stack, against bare `GET` and
//! `SET` on the same Redis, in the same run; a record that is near; and whether the floor holds
//! while a primary of a cluster is killed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark is run by hand, and read"
)]

use std::{sync::Arc, time::Duration};

use redis::aio::MultiplexedConnection;
use tegata_core::{
    Batch, BreakerLimits, Custody, Ephemeral, Expect, Kind, Lifetime, Node, Realm, Records,
    port::{Body, Change, Put, Space},
};
use tegata_engines::{RedisCluster, RedisServer};
use tegata_rounds::{Effort, Table, Unit, median, percentile};
use tegata_store::{
    Cached, CachedConfig, FileCustody, Guarded, Hedged, Measured, MemoryFeed, MemoryRecords,
    ReadsFrom, Redis, RedisConfig, Sealed, sealed::DATA_KEYS,
};
use tokio::task::JoinSet;

static SESSIONS: Space = Space { name: "session", indexed: false };
static RECORDS: Kind =
    Kind { name: "session", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// As long as a session is, sealed.
const LENGTH: usize = 400;
const CLIENTS: usize = 64;
const KEYS: usize = 1000;

fn main() {
    let effort = Effort::asked();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let key = directory.path().join("root.key");
        FileCustody::create(&key, &Node::start()).unwrap();
        let server = RedisServer::start();
        measure(effort, &server, Arc::new(FileCustody::open(&key, &Node::start()).unwrap())).await;
        near(effort).await;
        let custody = Arc::new(FileCustody::open(&key, &Node::start()).unwrap());
        floor(effort, custody).await;
    });
}

/// All that stands before Redis in the program, apart from what is kept near.
async fn stack(url: &str, custody: Arc<dyn Custody>) -> Arc<dyn Ephemeral> {
    let node = Node::start();
    let clock = Arc::clone(node.clock());
    let records = MemoryRecords::new(&[&DATA_KEYS], Arc::clone(&clock)).unwrap();
    let sealed = Sealed::open(Arc::new(records), custody, &node).await.unwrap();
    let redis = Redis::open(url, RedisConfig::default(), &node).await.unwrap();
    let guarded = |from| {
        let (limits, wait) = (BreakerLimits::default(), Duration::from_secs(1));
        let inner = Arc::new(redis.ephemeral(from));
        Arc::new(Guarded::new(inner, "Redis", wait, limits, Arc::clone(&clock)))
    };
    let (primary, replica) = (guarded(ReadsFrom::Primary), guarded(ReadsFrom::Replica));
    let hedged = Hedged::new(primary, vec![replica], Duration::from_millis(5));
    let measured = Measured::new(Arc::new(hedged), Arc::clone(&clock));
    Arc::new(sealed.ephemeral(Arc::new(measured)))
}

/// The same without batching.
async fn unbatched(url: &str) -> Arc<dyn Ephemeral> {
    let config = RedisConfig { prefix: "bare".to_owned(), ..RedisConfig::default() };
    let redis = Redis::open(url, config, &Node::start()).await.unwrap();
    Arc::new(redis.ephemeral(ReadsFrom::Primary))
}

/// What is measured, one after the other in every round.
#[derive(Clone)]
enum Work {
    RawGet(MultiplexedConnection),
    RawSet(MultiplexedConnection),
    Get(Arc<dyn Ephemeral>),
    Put(Arc<dyn Ephemeral>),
}

impl Work {
    async fn once(&mut self, key: &str) {
        let realm = Realm::default();
        match self {
            Self::RawGet(connection) => {
                let _: Vec<u8> = redis::cmd("GET").arg(key).query_async(connection).await.unwrap();
            }
            Self::RawSet(connection) => {
                let mut set = redis::cmd("SET");
                set.arg(key).arg(&[7_u8; LENGTH][..]).arg("PX").arg(600_000);
                let () = set.query_async(connection).await.unwrap();
            }
            Self::Get(store) => {
                store.recent(&realm, &SESSIONS, key).await.unwrap().unwrap();
            }
            Self::Put(store) => put(store.as_ref(), key).await.unwrap(),
        }
    }

    /// How many operations a second so many clients get, and the times of each, in seconds.
    async fn crowd(&self, clients: usize, each: usize) -> (f64, Vec<f64>) {
        let begin = watch();
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let mut work = self.clone();
            tasks.spawn(async move {
                let mut times = Vec::with_capacity(each);
                for n in 0..each {
                    let begin = watch();
                    work.once(&format!("key-{}", (client * 31 + n) % KEYS)).await;
                    times.push(begin().as_secs_f64());
                }
                times
            });
        }
        let times: Vec<f64> = tasks.join_all().await.into_iter().flatten().collect();
        (times.len() as f64 / begin().as_secs_f64(), times)
    }
}

async fn put(store: &dyn Ephemeral, key: &str) -> Result<(), tegata_core::StoreError> {
    let (key, value) = (key.to_owned(), vec![7; LENGTH]);
    let put = Put { key, value, lifetime: Duration::from_secs(600), index: None };
    store.put(&Realm::default(), &SESSIONS, put).await
}

async fn measure(effort: Effort, server: &RedisServer, custody: Arc<dyn Custody>) {
    let store = stack(&server.url(), custody).await;
    let client = redis::Client::open(server.url()).unwrap();
    let raw = client.get_multiplexed_async_connection().await.unwrap();
    for n in 0..KEYS {
        put(store.as_ref(), &format!("key-{n}")).await.unwrap();
    }
    Work::RawSet(raw.clone()).crowd(1, KEYS).await;
    let reads = [
        ("GET, bare", Work::RawGet(raw.clone())),
        ("get, through the stack", Work::Get(Arc::clone(&store))),
    ];
    let adapter = unbatched(&server.url()).await;
    let writes = [
        ("SET, bare", Work::RawSet(raw)),
        ("put, through the stack", Work::Put(store)),
        ("put, the adapter alone", Work::Put(adapter)),
    ];
    let mut times = [
        Table::new("read a session of 400 bytes, one client: middle time", Unit::Nanoseconds),
        Table::new("write a session of 400 bytes, one client: middle time", Unit::Nanoseconds),
    ];
    let mut rates = [
        Table::new("read, 64 clients: how many in a second", Unit::PerSecond),
        Table::new("write, 64 clients: how many in a second", Unit::PerSecond),
    ];
    for _ in 0..effort.rounds {
        for (cases, (times, rates)) in
            [&reads[..], &writes[..]].into_iter().zip(times.iter_mut().zip(&mut rates))
        {
            for (name, work) in cases {
                let (_, took) = work.crowd(1, effort.size(2000, 10)).await;
                times.note(name, median(&took) * 1e9);
                let (rate, _) = work.crowd(CLIENTS, effort.size(1000, 2)).await;
                rates.note(name, rate);
            }
        }
    }
    times.iter().chain(&rates).for_each(Table::print);
}

/// A record that this process keeps, against one that it must ask for.
async fn near(effort: Effort) {
    let node = Node::start();
    let clock = Arc::clone(node.clock());
    let inner = Arc::new(MemoryRecords::new(&[&RECORDS], Arc::clone(&clock)).unwrap());
    let (feed, config) = (Arc::new(MemoryFeed::new(64)), CachedConfig::default());
    let cached = Cached::new(inner, None, feed, &[&RECORDS], config, clock);
    cached.listens(true);
    let realm = Realm::default();
    for n in 0..KEYS {
        let (key, body) = (format!("key-{n}"), Body::Plain(vec![7; LENGTH]));
        let change =
            Change::Put { kind: &RECORDS, key, expect: Expect::Any, body, indexes: Vec::new() };
        cached.commit(Batch::new(realm.clone()).with(change)).await.unwrap();
    }
    let mut took = Vec::new();
    for round in 0..effort.size(200_000, 100) {
        let key = format!("key-{}", round % KEYS);
        let begin = watch();
        cached.recent(&realm, &RECORDS, &key).await.unwrap().unwrap();
        took.push(begin().as_secs_f64() * 1e9);
    }
    println!(
        "\na session that this process keeps: p50 {:.0} ns, p99 {:.0} ns (the floor: 1,000 ns)",
        median(&took),
        percentile(&took, 0.99)
    );
}

/// A thousand reads and writes a second, while a primary of the cluster is killed.
async fn floor(effort: Effort, custody: Arc<dyn Custody>) {
    let cluster = RedisCluster::start();
    let store = stack(&cluster.url(), custody).await;
    for n in 0..KEYS {
        put(store.as_ref(), &format!("key-{n}")).await.unwrap();
    }
    let seconds = effort.size(15, 2);
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let mut asked = JoinSet::new();
    let realm = Realm::default();
    for tick in 0..seconds * 100 {
        ticks.tick().await;
        if tick == seconds * 30 {
            let primary = cluster.primaries().first().copied().unwrap();
            primary.process().hold();
            cluster.kill(primary);
        }
        for n in 0..10 {
            let (store, realm) = (Arc::clone(&store), realm.clone());
            asked.spawn(async move {
                let key = format!("key-{}", (tick * 10 + n) % KEYS);
                let begin = watch();
                let read = store.recent(&realm, &SESSIONS, &key).await;
                (read.is_ok_and(|held| held.is_some()), begin().as_secs_f64())
            });
        }
    }
    let all = asked.join_all().await;
    let good = all.iter().filter(|(good, _)| *good).count();
    let took: Vec<f64> = all.iter().map(|(_, took)| took * 1e3).collect();
    println!(
        "\n1,000 reads a second for {seconds} s, a primary killed after a third: {good} of {} \
         answered, p50 {:.2} ms, p99 {:.2} ms, longest {:.0} ms (the floor: p99 10 ms)",
        all.len(),
        median(&took),
        percentile(&took, 0.99),
        percentile(&took, 1.0)
    );
}

/// Starts a watch; asked, it says how long ago that was.
fn watch() -> impl Fn() -> Duration {
    let node = Node::start();
    let begin = node.since_boot();
    move || node.elapsed(begin)
}
