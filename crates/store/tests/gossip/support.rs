//! What the tests of gossip share.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tegata_core::{Members, Node, NodeId, Secret, port::Facts};
use tegata_store::{Gossip, GossipConfig};
use tokio::time::timeout;

/// Longer than anything takes, however busy the machine: only what hangs takes as long.
pub(crate) const HANGING: Duration = Duration::from_secs(60);

/// A quick cluster, so that a silence of a second or two is one.
pub(crate) fn config(contacts: &[SocketAddr]) -> GossipConfig {
    GossipConfig {
        contacts: contacts.iter().map(ToString::to_string).collect(),
        interval: Duration::from_millis(50),
        pause: Duration::from_secs(1),
        ..GossipConfig::default()
    }
}

pub(crate) const KEY: Secret<[u8; 32]> = Secret::new([7; 32]);

/// A node of the cluster `shop`.
pub(crate) async fn start(name: &str, config: GossipConfig) -> (Gossip, NodeId) {
    let node = Node::start();
    let started = Gossip::start(config, &KEY, "shop", name, &node, Facts::default()).await;
    (started.unwrap(), node.id())
}

/// The names of those whom a node believes to be there, or suspects.
pub(crate) fn names(gossip: &Gossip, alive: bool) -> BTreeSet<String> {
    let members = gossip.members().into_iter().filter(|member| member.is_alive() == alive);
    members.map(|member| member.name).collect()
}

pub(crate) fn sees(gossip: &Gossip, alive: &[&str], suspected: &[&str]) -> bool {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    names(gossip, true) == set(alive) && names(gossip, false) == set(suspected)
}

/// Waits until a condition holds.
pub(crate) async fn soon(mut holds: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let waiting = async {
        while !holds().await {
            ticks.tick().await;
        }
    };
    timeout(HANGING, waiting).await.expect("it does not come about");
}
