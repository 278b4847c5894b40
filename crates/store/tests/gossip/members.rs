//! Nodes that find each other, miss each other, and know when the network is cut.

use std::time::Duration;

use tegata_core::{
    Clock as _, Members as _, NodeId, SystemClock, Unity,
    port::Facts,
    unity::{Lease, Watch},
};
use tegata_store::{Gossip, GossipConfig};

use super::{support::*, wire::Wire};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_find_each_other_and_miss_who_is_gone() {
    let (a, _) = start("a", config(&[])).await;
    let (b, _) = start("b", config(&[a.address()])).await;
    let (c, _) = start("c", config(&[a.address()])).await;
    for node in [&a, &b, &c] {
        soon(async || sees(node, &["a", "b", "c"], &[])).await;
    }
    drop(c);
    for node in [&a, &b] {
        soon(async || sees(node, &["a", "b"], &["c"])).await;
    }
    // Another one at the place of the first contact finds the others again.
    let place = a.bound();
    drop(a);
    soon(async || names(&b, false).contains("a")).await;
    let again = || start("a again", GossipConfig { listen: place, ..config(&[b.address()]) });
    let (a, _) = again().await;
    soon(async || sees(&a, &["a again", "b"], &[])).await;
    soon(async || sees(&b, &["a again", "b"], &["c"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_says_about_itself_is_heard_by_all() {
    let (a, id) = start("a", config(&[])).await;
    let (b, _) = start("b", config(&[a.address()])).await;
    let (c, _) = start("c", config(&[b.address()])).await;
    soon(async || sees(&c, &["a", "b", "c"], &[])).await;
    let mut changes = c.watch();
    for n in 1..=5 {
        let facts = Facts { version: format!("0.{n}.0"), revocations: n << 33, draining: n == 5 };
        a.publish(facts.clone());
        assert_eq!(a.address(), a.bound());
        let heard = async {
            loop {
                let members = changes.next().await.unwrap();
                if members.iter().any(|member| member.id == id && member.facts == facts) {
                    return;
                }
            }
        };
        tokio::time::timeout(HANGING, heard).await.expect("it is not heard");
    }
}

/// A node behind a wire.
struct Behind {
    gossip: Gossip,
    id: NodeId,
    name: &'static str,
    wire: Wire,
}

impl Behind {
    async fn start(name: &'static str, contacts: &[&Self]) -> Self {
        let wire = Wire::new().await;
        let contacts = contacts.iter().map(|it| it.gossip.address()).collect::<Vec<_>>();
        let config = GossipConfig { advertise: Some(wire.address()), ..config(&contacts) };
        let (gossip, id) = start(name, config).await;
        wire.leads_to(gossip.bound());
        Self { gossip, id, name, wire }
    }

    /// Cuts the network between two nodes, in both directions.
    fn cut(&self, other: &Self) {
        self.wire.cut(other.gossip.bound());
        other.wire.cut(self.gossip.bound());
    }

    fn lease(&self) -> Lease {
        Lease { node: self.id, name: self.name.to_owned(), age: Duration::ZERO }
    }

    /// Waits until this node thinks so of the cluster. All renew their leases: all reach the store.
    async fn thinks(&self, leases: &[Lease], is_so: impl Fn(&Unity) -> bool) -> Unity {
        let mut watch = Watch::new(self.id, Duration::from_millis(500), Duration::from_millis(500));
        let mut last = Unity::Alone;
        soon(async || {
            last = watch.observe(SystemClock.since_boot(), leases, &self.gossip.members());
            is_so(&last)
        })
        .await;
        last
    }
}

fn missing(unity: &Unity) -> Vec<NodeId> {
    match unity {
        Unity::Partitioned { missing } => missing.iter().map(|it| it.node).collect(),
        Unity::Whole | Unity::Alone => vec![],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_are_cut_apart_know_it_and_when_it_is_over() {
    let a = Behind::start("a", &[]).await;
    let b = Behind::start("b", &[&a]).await;
    let leases = [a.lease(), b.lease()];
    for round in 0..2 {
        for node in [&a, &b] {
            soon(async || sees(&node.gossip, &["a", "b"], &[])).await;
            node.thinks(&leases, |unity| *unity == Unity::Whole).await;
        }
        a.cut(&b);
        let thought = a.thinks(&leases, |unity| missing(unity) == [b.id]).await;
        let said = thought.to_string();
        assert!(said.contains("`b`") && said.contains("is not heard any more"), "{round}: {said}");
        b.thinks(&leases, |unity| missing(unity) == [a.id]).await;
        // What dies does not hold a lease for long: then the other is alone, and not cut off.
        a.thinks(&leases[..1], |unity| *unity == Unity::Alone).await;
        a.wire.mend();
        b.wire.mend();
    }
}

/// As long as somebody hears both, both are heard: gossip goes around a cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_one_only_where_nobody_is_between() {
    let a = Behind::start("a", &[]).await;
    let b = Behind::start("b", &[&a]).await;
    let c = Behind::start("c", &[&a]).await;
    let leases = [a.lease(), b.lease(), c.lease()];
    for node in [&a, &b, &c] {
        soon(async || sees(&node.gossip, &["a", "b", "c"], &[])).await;
    }
    c.cut(&a);
    c.cut(&b);
    for (node, expected) in [(&a, vec![c.id]), (&b, vec![c.id])] {
        node.thinks(&leases, |unity| missing(unity) == expected).await;
    }
    c.thinks(&leases, |unity| missing(unity).len() == 2).await;
    // One of the two ways is mended: a and c do not hear each other, and b tells each of the other.
    b.wire.mend();
    for wire in [&a.wire, &c.wire] {
        wire.mend();
    }
    a.cut(&c);
    for node in [&a, &b, &c] {
        soon(async || sees(&node.gossip, &["a", "b", "c"], &[])).await;
        node.thinks(&leases, |unity| *unity == Unity::Whole).await;
    }
}
