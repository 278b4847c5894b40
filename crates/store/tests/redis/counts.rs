//! What nodes count together in Redis, of every shape, and what becomes of it when servers fail.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tegata_core::{
    Counts, Node, Quota,
    port::{Take, Taken},
    rate::{Counted, Ledger, Name, Way},
};
use tegata_engines::{RedisCluster, RedisSentinels, RedisServer};
use tegata_store::RedisCounts;
use tokio::task::JoinSet;

use super::super::{opened, until};

const ALICE: Name = [99; 16];

fn quota(limit: &str) -> Quota {
    Quota::from(limit.parse::<tegata_core::RateLimit>().unwrap())
}

fn take(limit: &str, counted: u32, asks: bool, known: u64) -> Take {
    let quota = quota(limit);
    let known = Duration::from_secs(known);
    Take { cost: quota.cost(), room: quota.room(), counted, asks, known }
}

async fn counts(url: &str) -> RedisCounts {
    opened(url).await.counts()
}

async fn asked(counts: &RedisCounts, name: Name, take: Take) -> Taken {
    counts.take(&name, &take).await.unwrap()
}

/// A node: what it counts, and what it asks. It waits for as long as it takes.
#[derive(Clone)]
struct Counting {
    node: Node,
    ledger: Arc<Ledger>,
    counts: RedisCounts,
}

impl Counting {
    async fn at(url: &str) -> Self {
        let counts = counts(url).await;
        Self { node: Node::start(), ledger: Arc::new(Ledger::new(10_000)), counts }
    }

    async fn request(&self, name: Name, quota: Quota, way: Way) -> bool {
        match self.ledger.count(name, quota, way, self.node.since_boot()) {
            Counted::Here(answer) => answer.passes,
            Counted::Asks(question) => {
                let taken = self.counts.take(&question.name, &question.take).await.unwrap();
                self.ledger.answered(question, taken, self.node.since_boot()).passes
            }
        }
    }

    /// Tells the store of what passed without being asked about.
    async fn tell(&self) {
        for question in self.ledger.to_tell(usize::MAX, self.node.since_boot()) {
            let taken = self.counts.take(&question.name, &question.take).await.unwrap();
            let _ = self.ledger.answered(question, taken, self.node.since_boot());
        }
    }
}

/// How many of the requests of 64 clients at once pass, who go to both nodes in turn.
async fn crowd(nodes: &[Counting], name: Name, quota: Quota, way: Way) -> u32 {
    let mut clients = JoinSet::new();
    for client in 0..64 {
        let nodes = nodes.to_vec();
        clients.spawn(async move {
            let mut passed = 0;
            for turn in 0..20 {
                let node = &nodes[(client + turn) % nodes.len()];
                passed += u32::from(node.request(name, quota, way).await);
            }
            passed
        });
    }
    clients.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_of_two_nodes_have_one_allowance_on_every_shape_of_redis() {
    let (alone, sentinels) = (RedisServer::start(), RedisSentinels::start());
    let cluster = RedisCluster::start();
    for url in [alone.url(), sentinels.url(), cluster.url()] {
        let nodes = [Counting::at(&url).await, Counting::at(&url).await];
        for (number, (limit, ahead)) in
            [("100/d", 0), ("100/d", 2), ("400/d", 10)].iter().enumerate()
        {
            let name = [u8::try_from(number).unwrap() + 10; 16];
            let quota = quota(limit);
            let count = quota.limit.count().get();
            let passed = crowd(&nodes, name, quota, Way::Together { ahead: *ahead }).await;
            assert!((count..=count + 2 * ahead).contains(&passed), "{passed} of {limit} at {url}");
        }
    }
}

#[tokio::test]
async fn each_name_is_counted_alone_and_forgotten_when_it_is_whole() {
    let server = RedisServer::start();
    let counts = counts(&server.url()).await;
    for name in 0..10 {
        assert!(asked(&counts, [name; 16], take("1/d", 0, true, 0)).await.passes);
        assert!(!asked(&counts, [name; 16], take("1/d", 0, true, 0)).await.passes);
    }
    // A day, and a second for clocks that do not agree.
    for key in server.node().ask(&["KEYS", "*:c:*"]).list().iter().map(|key| key.text()) {
        let lives: u64 = server.node().ask(&["PTTL", &key]).text().parse().unwrap();
        assert!((86_000_000..=86_401_001).contains(&lives), "{lives}");
    }
    let short = asked(&counts, ALICE, take("1000/s", 0, true, 0)).await;
    assert!(short.passes && short.ahead <= Duration::from_millis(1), "{short:?}");
    until("it is forgotten", async || server.node().ask(&["DBSIZE"]).text() == "10").await;
    // Who asks for nothing leaves nothing.
    let looked = asked(&counts, ALICE, take("5/m", 0, false, 0)).await;
    assert_eq!(looked, Taken { passes: false, ahead: Duration::ZERO, forgot: false });
    assert_eq!(server.node().ask(&["DBSIZE"]).text(), "10");
}

#[tokio::test]
async fn what_has_passed_counts_whatever_is_left_and_not_without_end() {
    let server = RedisServer::start();
    let counts = counts(&server.url()).await;
    let told = asked(&counts, ALICE, take("10/d", 12, true, 0)).await;
    assert!(!told.passes && told.ahead > Duration::from_secs(86_400), "{told:?}");
    // Twice the allowance, however much there was.
    let told = asked(&counts, ALICE, take("10/d", 1_000_000, false, 1_000_000_000)).await;
    assert!(told.ahead <= Duration::from_secs(2 * 86_400), "{told:?}");
}

#[tokio::test]
async fn a_clock_of_a_server_that_is_set_back_locks_nobody_out_for_long() {
    let server = RedisServer::start();
    let counts = counts(&server.url()).await;
    let asks = || take("10/m", 0, true, 0);
    assert!(asked(&counts, ALICE, asks()).await.passes);
    let key = server.node().ask(&["KEYS", "*:c:*"]).list()[0].text();
    // As if what is written there were an hour ahead, and in no form of ours.
    let ahead = Node::start().now().millis() * 1000 + 3_600_000_000;
    server.node().ask(&["SET", &key, &ahead.to_string()]);
    let taken = asked(&counts, ALICE, asks()).await;
    assert!(!taken.passes && taken.ahead <= Duration::from_secs(120), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_comes_back_gives_nobody_a_second_allowance() {
    let server = RedisServer::start();
    let nodes = [Counting::at(&server.url()).await, Counting::at(&server.url()).await];
    let (quota, together) = (quota("100/d"), Way::Together { ahead: 0 });
    let apart = Way::Apart { nodes: NonZeroU32::new(2).unwrap() };
    let mut passed = 0;
    for turn in 0..60 {
        passed += u32::from(nodes[turn % 2].request(ALICE, quota, together).await);
    }
    assert_eq!(passed, 60);
    server.kill();
    for turn in 0..200 {
        passed += u32::from(nodes[turn % 2].request(ALICE, quota, apart).await);
    }
    assert!((98..=100).contains(&passed), "{passed}");
    // It comes back with nothing.
    server.launch();
    for node in &nodes {
        node.ledger.tell_all(node.node.since_boot());
        until("it answers", async || {
            node.counts.take(&[9; 16], &take("1/s", 0, false, 0)).await.is_ok()
        })
        .await;
        node.tell().await;
    }
    for turn in 0..100 {
        passed += u32::from(nodes[turn % 2].request(ALICE, quota, together).await);
    }
    // Nor does one that never saw her give her one.
    let third = Counting::at(&server.url()).await;
    passed += u32::from(third.request(ALICE, quota, together).await);
    assert!((98..=105).contains(&passed), "{passed}");
}

#[tokio::test]
async fn memory_that_was_lost_is_seen_and_told_again() {
    let server = RedisServer::start();
    let nodes = [Counting::at(&server.url()).await, Counting::at(&server.url()).await];
    let (quota, way) = (quota("10/d"), Way::Together { ahead: 0 });
    while nodes[0].request(ALICE, quota, way).await {}
    server.node().ask(&["FLUSHALL"]);
    nodes[0].ledger.tell_one(nodes[0].node.since_boot());
    let question = nodes[0].ledger.to_tell(1, nodes[0].node.since_boot()).pop().unwrap();
    assert!(nodes[0].counts.take(&ALICE, &question.take).await.unwrap().forgot);
    assert!(!nodes[1].request(ALICE, quota, way).await);
    assert!(!nodes[0].counts.take(&ALICE, &question.take).await.unwrap().forgot);
}
