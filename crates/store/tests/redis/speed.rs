//! How fast a cluster is asked, beside one server.

use std::time::Duration;

use tegata_core::{
    Clock as _, Ephemeral as _, Node, Realm, SystemClock,
    port::{Put, Space, Swap},
};
use tegata_engines::{RedisCluster, RedisServer};
use tegata_store::{ReadsFrom, Redis, RedisConfig, RedisEphemeral};
use tokio::task::JoinSet;

static SESSIONS: Space = Space { name: "session", indexed: false };

const CALLERS: usize = 64;
const EACH: usize = 300;
const ROUNDS: usize = 15;

async fn store(url: &str) -> RedisEphemeral {
    let config = RedisConfig { timeout: Duration::from_secs(20), ..RedisConfig::default() };
    Redis::open(url, config, &Node::start()).await.unwrap().ephemeral(ReadsFrom::Primary)
}

/// Reads, writes and swaps a second, all callers together.
async fn rates(store: &RedisEphemeral) -> [f64; 3] {
    let mut rates = [0.0; 3];
    for (kind, rate) in rates.iter_mut().enumerate() {
        let begun = SystemClock.since_boot();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let store = store.clone();
            callers.spawn(async move {
                let realm = Realm::default();
                for n in 0..EACH {
                    let key = format!("key-{}", (caller * 31 + n) % 1000);
                    let (value, lifetime) = (vec![7; 400], Duration::from_secs(600));
                    let put = Put { key: key.clone(), value, lifetime, index: None };
                    match kind {
                        0 => store.put(&realm, &SESSIONS, put).await.unwrap(),
                        1 => drop(store.get(&realm, &SESSIONS, &key).await.unwrap().unwrap()),
                        _ => {
                            let swapped = store.swap(&realm, &SESSIONS, 1, put).await.unwrap();
                            assert!(matches!(swapped, Swap::Lost(_)));
                        }
                    }
                }
            });
        }
        callers.join_all().await;
        let took = SystemClock.since_boot().since(begun);
        *rate = f64::from(u32::try_from(CALLERS * EACH).unwrap()) / took.as_secs_f64();
    }
    rates
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, when somebody asks"]
async fn how_fast_a_cluster_is_here() {
    let (server, cluster) = (RedisServer::start(), RedisCluster::start());
    let (alone, nodes) = (store(&server.url()).await, store(&cluster.url()).await);
    let mut all = [const { Vec::new() }; 6];
    for _ in 0..ROUNDS {
        let round = [rates(&alone).await, rates(&nodes).await];
        for (rates, rate) in all.iter_mut().zip(round.concat()) {
            rates.push(rate);
        }
    }
    for rates in &mut all {
        rates.sort_unstable_by(f64::total_cmp);
    }
    for (n, what) in ["put", "get", "swap"].iter().enumerate() {
        let middle = |n: usize| all[n][ROUNDS / 2];
        println!(
            "{what}, {CALLERS} callers: {:.0}/s on one server, {:.0}/s on a cluster of six, 1:{:.2}",
            middle(n),
            middle(n + 3),
            middle(n + 3) / middle(n)
        );
    }
}
