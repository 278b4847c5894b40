//! Who is not of the cluster is neither heard nor answered.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tegata_core::{
    ManualClock, Members as _, Node, OsEntropy, Secret, SystemClock, clock::Clock as _, port::Facts,
};
use tegata_store::{Alone, Gossip, GossipConfig, GossipRefused};
use tokio::net::UdpSocket;

use super::support::*;

async fn with_key(key: u8, cluster: &str, contact: SocketAddr) -> Gossip {
    let (node, facts) = (Node::start(), Facts::default());
    let key = Secret::new([key; 32]);
    Gossip::start(config(&[contact]), &key, cluster, "stranger", &node, facts).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_another_key_is_never_heard() {
    let (a, _) = start("a", config(&[])).await;
    let (b, _) = start("b", config(&[a.address()])).await;
    let strangers =
        [with_key(8, "shop", a.address()).await, with_key(7, "bank", a.address()).await];
    soon(async || a.foreign() > 40 && sees(&a, &["a", "b"], &[])).await;
    soon(async || sees(&b, &["a", "b"], &[])).await;
    for stranger in &strangers {
        assert!(sees(stranger, &["stranger"], &[]));
        assert_eq!(stranger.foreign(), 0, "a stranger was answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_counted_and_stops_nothing() {
    let (a, _) = start("a", config(&[])).await;
    let (b, _) = start("b", config(&[a.address()])).await;
    soon(async || sees(&a, &["a", "b"], &[])).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let sizes = [0, 1, 64, 65, 66, 1232, 1233, 60_000];
    let mut sent = 0;
    while a.foreign() < 2000 {
        let garbage = vec![u8::try_from(sent % 3).unwrap(); sizes[sent % sizes.len()]];
        stranger.send_to(&garbage, a.address()).await.unwrap();
        sent += 1;
        if sent % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    soon(async || sees(&a, &["a", "b"], &[]) && sees(&b, &["a", "b"], &[])).await;
    let mut answer = [0; 2048];
    assert!(stranger.try_recv(&mut answer).is_err(), "a stranger was answered");
}

/// It has the key, and what it says is from another time, as what is recorded and played again is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_wrong_is_told_apart() {
    let (a, _) = start("a", config(&[])).await;
    let clock = Arc::new(ManualClock::at(SystemClock.now() - Duration::from_secs(3600)));
    let node = Node::with(clock, Arc::new(OsEntropy));
    let late = config(&[a.address()]);
    let late = Gossip::start(late, &KEY, "shop", "late", &node, Facts::default()).await.unwrap();
    soon(async || a.stale() > 10).await;
    assert!(sees(&a, &["a"], &[]) && sees(&late, &["late"], &[]));
    assert_eq!(a.foreign(), 0);
}

#[tokio::test]
async fn where_nobody_can_be_heard_is_refused_with_how_to_mend_it() {
    let (node, facts) = (Node::start(), Facts::default());
    let (taken, _) = start("a", config(&[])).await;
    let config = GossipConfig { listen: taken.bound(), ..GossipConfig::default() };
    let refused = Gossip::start(config, &KEY, "shop", "b", &node, facts.clone()).await.err();
    assert!(matches!(refused, Some(GossipRefused::Listen { .. })), "{refused:?}");

    let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let config = GossipConfig { listen: anywhere, ..GossipConfig::default() };
    let refused =
        Gossip::start(config.clone(), &KEY, "shop", "b", &node, facts.clone()).await.err();
    assert!(matches!(refused, Some(GossipRefused::Anywhere { .. })), "{refused:?}");
    let config = GossipConfig { advertise: Some(([127, 0, 0, 1], 9).into()), ..config };
    Gossip::start(config, &KEY, "shop", "b", &node, facts).await.unwrap();
}

#[tokio::test]
async fn who_is_alone_hears_itself() {
    let node = Node::for_tests(1);
    let alone = Alone::new(&node, "a", Facts::default());
    let mut changes = alone.watch();
    let facts = Facts { version: "1".into(), revocations: 7, draining: false };
    alone.publish(facts.clone());
    let members = changes.next().await.unwrap();
    assert_eq!(members, alone.members());
    assert!(members.len() == 1 && members[0].facts == facts && members[0].is_alive());
}
