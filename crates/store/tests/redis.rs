//! What Redis does to us when it fails, and what we make of it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "all of this is tests, and what does not hold is to end them"
)]

use std::time::Duration;

use tegata_core::{
    Ephemeral, Node, Realm, StoreError,
    port::{Held, Put, Space},
};
use tegata_engines::{RedisCluster, RedisSentinels, RedisServer, process::free_port};
use tegata_store::{ReadsFrom, Redis, RedisConfig, RedisRefused};
use tokio::time::{interval, timeout};

mod redis {
    mod cluster;
    mod counts;
    mod nodes;
    mod speed;
}

static NOTES: Space = Space { name: "note", indexed: false };

/// How long something may take on a busy machine until the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

async fn opened(url: &str) -> Redis {
    let config = RedisConfig { connections: 4, ..RedisConfig::default() };
    Redis::open(url, config, &Node::start()).await.unwrap()
}

fn note(key: &str) -> Put {
    let lifetime = Duration::from_secs(3600);
    Put { key: key.to_owned(), value: b"noted".to_vec(), lifetime, index: None }
}

async fn written(store: &dyn Ephemeral, key: &str) -> Result<(), StoreError> {
    store.put(&Realm::default(), &NOTES, note(key)).await
}

async fn read(store: &dyn Ephemeral, key: &str) -> Result<Option<Held>, StoreError> {
    store.get(&Realm::default(), &NOTES, key).await
}

/// Waits until something is so, looking every 20 ms.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(20));
    let waited = timeout(PATIENCE, async {
        while !is_so().await {
            ticks.tick().await;
        }
    });
    assert!(waited.await.is_ok(), "it never came to be that {what}");
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_with_the_command_that_mends_it() {
    let server = RedisServer::told("maxmemory-policy allkeys-lru\n");
    let open = async || {
        let config = RedisConfig::default();
        Redis::open(&server.url(), config, &Node::start()).await
    };
    let refused = open().await.unwrap_err();
    assert!(matches!(refused, RedisRefused::Evicts { .. }), "{refused:?}");
    let said = refused.to_string();
    let mend = format!("-p {} CONFIG SET maxmemory-policy noeviction", server.node().port());
    assert!(said.contains(&mend) && !said.contains(tegata_engines::redis::PASSWORD), "{said}");
    // What it says to do helps.
    server.node().ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    let redis = open().await.unwrap();
    // And one that begins to evict later is seen.
    server.node().ask(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    until("the change is seen", async || {
        redis.standing().evicts.is_some_and(|it| it.contains("volatile-ttl"))
    })
    .await;
}

#[tokio::test]
async fn a_replica_of_a_cluster_that_evicts_is_refused_too() {
    let cluster = RedisCluster::start();
    let replica = cluster.replica_of(&cluster.nodes()[0]).unwrap();
    replica.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
    let config = RedisConfig::default();
    let opened = Redis::open(&cluster.url(), config, &Node::start()).await;
    let said = opened.unwrap_err().to_string();
    assert!(said.contains(&format!("-p {} ", replica.port())), "{said}");
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let server = RedisServer::start();
    let url = format!("redis://tester:hunter2@127.0.0.1:{}", server.node().port());
    let config = RedisConfig::default();
    let opened = Redis::open(&url, config, &Node::start()).await;
    let refused = opened.unwrap_err();
    assert!(matches!(refused, RedisRefused::Login { .. }), "{refused:?}");
    let said = refused.to_string();
    assert!(said.contains("Redis") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_wrong_password_is_said_by_sentinels_and_by_a_cluster_too() {
    let (sentinels, cluster) = (RedisSentinels::start(), RedisCluster::start());
    // One that is silent does not hide what the others say.
    sentinels.sentinels()[0].process().hold();
    cluster.kill(&cluster.nodes()[5]);
    for url in [sentinels.url(), cluster.url()] {
        let url = url.replace(tegata_engines::redis::PASSWORD, "hunter2");
        let opened = Redis::open(&url, RedisConfig::default(), &Node::start()).await;
        let refused = opened.unwrap_err();
        assert!(matches!(refused, RedisRefused::Login { .. }), "{refused:?}");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
}

#[tokio::test]
async fn servers_that_do_not_say_whether_they_evict_are_refused_with_what_mends_it() {
    let (server, cluster) = (RedisServer::start(), RedisCluster::start());
    let nodes = cluster.nodes().iter().chain([server.node()]).collect::<Vec<_>>();
    for url in [server.url(), cluster.url()] {
        let redis = opened(&url).await;
        for node in &nodes {
            node.ask(&["ACL", "SETUSER", "tester", "-info"]);
        }
        until("it is seen", async || {
            redis.standing().evicts.is_some_and(|it| it.contains("+info"))
        })
        .await;
        let refused = Redis::open(&url, RedisConfig::default(), &Node::start()).await.unwrap_err();
        assert!(matches!(refused, RedisRefused::Unsaid { .. }), "{refused:?}");
        for node in &nodes {
            node.ask(&["ACL", "SETUSER", "tester", "+info"]);
        }
        until("it is mended", async || redis.standing().evicts.is_none()).await;
    }
}

/// Nobody is there when the node starts: it starts, says so soon, and goes on when they come.
async fn starts_without(url: &str, come: impl FnOnce()) -> Redis {
    let redis = timeout(PATIENCE, opened(url)).await.unwrap();
    assert!(redis.standing().unreachable.is_some());
    let store = redis.ephemeral(ReadsFrom::Primary);
    for _ in 0..5 {
        let failed = timeout(Duration::from_secs(20), written(&store, "a")).await.unwrap();
        let failed = failed.unwrap_err();
        assert!(matches!(failed, StoreError::Unavailable { .. }), "{failed:?}");
        assert!(!failed.to_string().contains(tegata_engines::redis::PASSWORD), "{failed}");
    }
    come();
    until("they are found", async || written(&store, "a").await.is_ok()).await;
    until("they are seen", async || redis.standing().unreachable.is_none()).await;
    // The first whom it sees took nobody's place.
    assert_eq!(redis.standing().changes, 0);
    redis
}

#[tokio::test]
async fn a_node_starts_while_a_server_is_away() {
    let server = RedisServer::start();
    server.kill();
    starts_without(&server.url(), || server.launch()).await;
}

#[tokio::test]
async fn a_node_starts_while_a_server_is_silent() {
    let server = RedisServer::start();
    server.node().process().hold();
    starts_without(&server.url(), || server.node().process().go_on()).await;
}

#[tokio::test]
async fn a_node_starts_while_sentinels_are_away() {
    let sentinels = RedisSentinels::start();
    sentinels.sentinels().iter().for_each(|it| sentinels.kill(it));
    let come = || sentinels.sentinels().iter().for_each(|it| sentinels.launch(it));
    starts_without(&sentinels.url(), come).await;
}

#[tokio::test]
async fn a_node_starts_while_a_cluster_is_away_and_finds_it_again_later() {
    let cluster = RedisCluster::start();
    let kill = || cluster.nodes().iter().for_each(|it| cluster.kill(it));
    let launch = || {
        cluster.nodes().iter().for_each(|it| cluster.launch(it));
        cluster.settle();
    };
    kill();
    let redis = starts_without(&cluster.url(), launch).await;
    let store = redis.ephemeral(ReadsFrom::Primary);
    kill();
    until("it is seen", async || redis.standing().unreachable.is_some()).await;
    launch();
    until("it is found again", async || written(&store, "b").await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_comes_later_and_evicts_is_seen() {
    let server = RedisServer::told("maxmemory-policy allkeys-lru\n");
    server.kill();
    let redis = starts_without(&server.url(), || server.launch()).await;
    let said = redis.standing().evicts.unwrap();
    assert!(said.contains("allkeys-lru"), "{said}");
}

#[tokio::test]
async fn a_cluster_whose_node_vanishes_with_a_command_never_says_that_nothing_happened() {
    let cluster = RedisCluster::start();
    let redis = opened(&cluster.url()).await;
    let store = redis.ephemeral(ReadsFrom::Primary);
    let primary = &cluster.nodes()[0];
    let key = key_on_first(&cluster);
    written(&store, &key).await.unwrap();
    // It has the command, and goes away before it has answered.
    primary.process().hold();
    let (failed, ()) = tokio::join!(written(&store, &key), async {
        tokio::task::yield_now().await;
        cluster.kill(primary);
    });
    let failed = failed.unwrap_err();
    assert!(matches!(failed, StoreError::Indeterminate { .. }), "{failed:?}");
    // Nor does a refusal, which may be the answer to another attempt.
    let other = &cluster.nodes()[1];
    other.ask(&["ACL", "SETUSER", "tester", "-set"]);
    until("it is refused", async || match written(&store, "key-on-second").await {
        Err(StoreError::Indeterminate { .. }) => true,
        Err(failed) => panic!("{failed:?}"),
        Ok(()) => {
            cluster.nodes().iter().filter(|it| it.process().id().is_some()).for_each(|node| {
                node.ask(&["ACL", "SETUSER", "tester", "-set"]);
            });
            false
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_gone_is_said_soon_and_found_again_without_its_memory() {
    let server = RedisServer::start();
    let redis = opened(&server.url()).await;
    let store = redis.ephemeral(ReadsFrom::Primary);
    written(&store, "a").await.unwrap();
    let mut changes = redis.changes();
    server.kill();
    for _ in 0..20 {
        // Nothing waits for what is not there: not even a busy machine takes this long.
        let soon = Duration::from_secs(20);
        let failed = timeout(soon, read(&store, "a")).await.unwrap().unwrap_err();
        assert!(matches!(failed, StoreError::Unavailable { .. }), "{failed:?}");
    }
    until("it is seen", async || redis.standing().unreachable.is_some()).await;
    server.launch();
    until("it is found", async || written(&store, "b").await.is_ok()).await;
    assert_eq!(read(&store, "a").await.unwrap(), None);
    // Who depends on what it held is told.
    timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    assert_eq!(redis.standing().changes, 1);
    assert_eq!(redis.standing().unreachable, None);
}

#[tokio::test]
async fn a_server_that_hangs_does_not_hang_us() {
    let server = RedisServer::start();
    let redis = opened(&server.url()).await;
    let store = redis.ephemeral(ReadsFrom::Primary);
    written(&store, "a").await.unwrap();
    server.node().process().hold();
    let soon = Duration::from_secs(20);
    let failed = timeout(soon, written(&store, "b")).await.unwrap().unwrap_err();
    // It was sent, and may be done later.
    assert!(matches!(failed, StoreError::Indeterminate { .. }), "{failed:?}");
    server.node().process().go_on();
    until("it goes on", async || read(&store, "a").await.is_ok_and(|it| it.is_some())).await;
    // The same process with the same memory is no change.
    assert_eq!(redis.standing().changes, 0);
}

#[tokio::test]
async fn a_promoted_replica_is_found_through_the_sentinels_and_told_of() {
    let sentinels = RedisSentinels::start();
    let redis = opened(&sentinels.url()).await;
    let store = redis.ephemeral(ReadsFrom::Primary);
    written(&store, "a").await.unwrap();
    let mut changes = redis.changes();
    sentinels.fail_over();
    until("the new primary is found", async || written(&store, "b").await.is_ok()).await;
    timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_primary_that_hangs_is_left_for_the_one_that_replaced_it() {
    let sentinels = RedisSentinels::start();
    let redis = opened(&sentinels.url()).await;
    let store = redis.ephemeral(ReadsFrom::Primary);
    written(&store, "a").await.unwrap();
    let old = sentinels.primary().unwrap();
    // Its connections stay open, and nothing comes back on them.
    old.process().hold();
    until("the new primary is found", async || written(&store, "b").await.is_ok()).await;
    old.process().go_on();
    // When it wakes, it still takes itself for the primary for a moment; nobody asks it, on whatever
    // connection.
    until("it follows", async || {
        for _ in 0..4 * 32 {
            if let Ok(read) = read(&store, "b").await {
                assert!(read.is_some(), "the primary of before was asked");
            }
        }
        !old.is_primary()
    })
    .await;
    until("all is well", async || read(&store, "b").await.is_ok_and(|it| it.is_some())).await;
}

#[tokio::test]
async fn a_sentinel_that_is_silent_keeps_nobody_away() {
    let sentinels = RedisSentinels::start();
    let redis = opened(&sentinels.url()).await;
    let store = redis.ephemeral(ReadsFrom::Primary);
    written(&store, "a").await.unwrap();
    let primary = sentinels.primary().unwrap();
    let first = sentinels.sentinels()[0].process();
    first.hold();
    sentinels.kill(primary);
    until("the new primary is found", async || written(&store, "b").await.is_ok()).await;
    // A node that starts meanwhile finds it, too.
    let later = opened(&sentinels.url()).await;
    assert_eq!(later.standing().unreachable, None);
    until("it reads", async || {
        read(&later.ephemeral(ReadsFrom::Primary), "b").await.is_ok_and(|it| it.is_some())
    })
    .await;
    first.go_on();
}

/// Has the first Sentinel name another server, as one does that was cut off before a failover.
fn mislead(sentinels: &RedisSentinels, port: u16) {
    let first = &sentinels.sentinels()[0];
    first.ask(&["SENTINEL", "REMOVE", RedisSentinels::NAME]);
    first.ask(&["SENTINEL", "MONITOR", RedisSentinels::NAME, "127.0.0.1", &port.to_string(), "2"]);
}

#[tokio::test]
async fn a_sentinel_that_names_a_primary_that_is_gone_keeps_nobody_away() {
    let sentinels = RedisSentinels::start();
    mislead(&sentinels, free_port());
    let redis = opened(&sentinels.url()).await;
    assert_eq!(redis.standing().unreachable, None);
    written(&redis.ephemeral(ReadsFrom::Primary), "a").await.unwrap();
}

#[tokio::test]
async fn a_primary_of_before_that_was_cut_off_with_its_sentinel_is_not_taken_for_the_primary() {
    let (sentinels, stale) = (RedisSentinels::start(), RedisServer::start());
    sentinels.fail_over();
    mislead(&sentinels, stale.node().port());
    // Both say that they are primaries, and each of many connections knows which one is.
    for _ in 0..10 {
        let redis = opened(&sentinels.url()).await;
        let store = redis.ephemeral(ReadsFrom::Primary);
        for n in 0..4 * 32 {
            written(&store, &n.to_string()).await.unwrap();
        }
    }
    assert!(stale.node().ask(&["KEYS", "*"]).list().is_empty());
}

#[tokio::test]
async fn one_behind_sentinels_that_evicts_is_named_as_it_is_reached() {
    let sentinels = RedisSentinels::start();
    let primary = sentinels.primary().unwrap();
    primary.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let url = sentinels.url().replace("127.0.0.1", "localhost");
    let opened = Redis::open(&url, RedisConfig::default(), &Node::start()).await;
    let said = opened.unwrap_err().to_string();
    assert!(said.contains(&format!("-h 127.0.0.1 -p {} ", primary.port())), "{said}");
}

#[tokio::test]
async fn a_server_is_trusted_by_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let _server = RedisServer::told(&format!(
        "tls-port {port}\ntls-cert-file {certificate}\ntls-key-file {key}\ntls-auth-clients no\n"
    ));
    let password = tegata_engines::redis::PASSWORD;
    let at = format!("rediss://tester:{password}@localhost:{port}");
    let redis = opened(&format!("{at}?sslrootcert={certificate}")).await;
    written(&redis.ephemeral(ReadsFrom::Primary), "a").await.unwrap();
    // One whom nobody vouches for is not spoken to.
    let doubting = opened(&at).await;
    assert!(doubting.standing().unreachable.is_some());
}

/// A key whose value lies on the first node of a cluster.
fn key_on_first(cluster: &RedisCluster) -> String {
    let lies_on_first = |key: &String| {
        let name = format!("tegata{{}}:v:note:default:{key}");
        let slot = cluster.nodes()[0].ask(&["CLUSTER", "KEYSLOT", &name]).text();
        slot.parse::<u32>().unwrap() < 5461
    };
    (0..).map(|n| format!("key-{n}")).find(lies_on_first).unwrap()
}

#[tokio::test]
async fn a_failover_that_drops_writes_is_told_of_and_the_cluster_goes_on() {
    let cluster = RedisCluster::start();
    let redis = opened(&cluster.url()).await;
    let store = redis.ephemeral(ReadsFrom::Primary);
    let primary = &cluster.nodes()[0];
    let key = key_on_first(&cluster);
    written(&store, &key).await.unwrap();
    let mut changes = redis.changes();
    primary.cut_replication();
    // Acknowledged, and known to the primary alone.
    written(&store, &key).await.unwrap();
    let before = read(&store, &key).await.unwrap().unwrap().revision;
    cluster.fail_over(primary);
    timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    let mut after = None;
    until("the replica is asked", async || match read(&store, &key).await {
        Ok(read) => {
            after = read;
            true
        }
        Err(_) => false,
    })
    .await;
    assert_ne!(after.map(|held| held.revision), Some(before), "the write was not lost");
    until("it takes writes", async || written(&store, &key).await.is_ok()).await;
}

#[tokio::test]
async fn what_need_not_be_the_latest_is_read_from_replicas() {
    let cluster = RedisCluster::start();
    // Only what never answers is late.
    let timeout = Duration::from_secs(20);
    let config = RedisConfig { connections: 4, timeout, ..RedisConfig::default() };
    let redis = Redis::open(&cluster.url(), config, &Node::start()).await.unwrap();
    let (store, replicas) =
        (redis.ephemeral(ReadsFrom::Primary), redis.ephemeral(ReadsFrom::Replica));
    let primary = &cluster.nodes()[0];
    let key = key_on_first(&cluster);
    written(&store, &key).await.unwrap();
    let recent = async || replicas.recent(&Realm::default(), &NOTES, &key).await;
    until("the replica has it", async || recent().await.is_ok_and(|it| it.is_some())).await;
    // The primary hangs, and the replica answers all the same.
    primary.process().hold();
    let answered = recent().await;
    primary.process().go_on();
    assert!(answered.unwrap().is_some());
}
