//! The other nodes: who is heard, who runs, and whether that is the same.
//!
//! Every node renews a lease in the store, and hears the others by gossip. Who renews its lease and is
//! not heard is cut off from here: the network is broken between us, while both of us reach the
//! store.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tegata_core::{
    Members, Node, NodeId, SinceBoot, Unity,
    port::{Facts, Put, Space},
    unity::{Lease, Watch},
};
use tegata_store::{Alone, Gossip, GossipConfig};
use tegata_token::Roots;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    compose::{Composed, Startup},
    config::Config,
};

/// Where nodes renew their leases.
pub(crate) static NODES: Space = Space { name: "node", indexed: true };

/// The one index value of [`NODES`].
const ALL: &str = "all";

/// How often a lease is renewed, and for how long it is kept.
const RENEWED: Duration = Duration::from_secs(1);
const KEPT: Duration = Duration::from_secs(30);

/// A lease that was not renewed for so long is no sign of life.
const FRESH: Duration = Duration::from_secs(4);

/// How long a node must be missing to be called cut off.
const SETTLE: Duration = Duration::from_secs(6);

/// How many nodes are looked at.
const MOST: u32 = 1000;

/// The cluster, as this node sees it.
pub(crate) struct Cluster {
    members: Arc<dyn Members>,
    name: String,
    /// Whether it hears others at all.
    hears: bool,
    /// Whether this node is about to end.
    draining: AtomicBool,
    unity: Mutex<Unity>,
}

impl Cluster {
    /// Begins to speak and to hear, where that is configured.
    pub(crate) async fn join(config: &Config, node: &Node, roots: &Roots) -> Result<Self, Startup> {
        let set = &config.cluster;
        let name = name(config, node);
        let facts = facts(0, false);
        let members: Arc<dyn Members> = match set.listen {
            None => Arc::new(Alone::new(node, &name, facts)),
            Some(listen) => {
                let limits = GossipConfig {
                    listen,
                    advertise: set.advertise,
                    contacts: set.seeds.clone(),
                    ..GossipConfig::default()
                };
                let key = roots.secret(roots.newest(), &[b"gossip"]);
                let key = key.ok_or_else(|| tegata_core::StoreError::Misused {
                    detail: "there is no secret to speak to other nodes with".to_owned(),
                })?;
                let issuer = config.issuer();
                Arc::new(Gossip::start(limits, &key, &issuer, &name, node, facts).await?)
            }
        };
        let (hears, unity) = (set.listen.is_some(), Mutex::new(Unity::Alone));
        Ok(Self { members, name, hears, draining: AtomicBool::new(false), unity })
    }

    /// What operators call this node.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether this node hears others at all.
    pub(crate) const fn hears(&self) -> bool {
        self.hears
    }

    /// Which nodes run that are not heard, in words.
    pub(crate) fn partition(&self) -> Option<String> {
        let unity = self.unity();
        matches!(*unity, Unity::Partitioned { .. }).then(|| unity.to_string())
    }

    /// How many nodes are heard, and how many were. `None`: this node hears none.
    pub(crate) fn counted(&self) -> Option<(i64, i64)> {
        if !self.hears {
            return None;
        }
        let members = self.members.members();
        let count = |alive: bool| {
            let count = members.iter().filter(|member| member.is_alive() == alive).count();
            i64::try_from(count).unwrap_or(i64::MAX)
        };
        Some((count(true), count(false)))
    }

    /// Among how many nodes a limit is divided: those that are heard, and those that were a moment ago.
    /// `None`: this node hears none.
    pub(crate) fn sharing(&self) -> Option<NonZeroU32> {
        let count = self.hears.then(|| self.members.members().len())?;
        NonZeroU32::new(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Tells the others that this node is about to end.
    pub(crate) fn leave(&self, composed: &Composed) {
        self.draining.store(true, Ordering::SeqCst);
        self.tell(composed);
    }

    /// Tells the others about this node.
    fn tell(&self, composed: &Composed) {
        let draining = self.draining.load(Ordering::SeqCst);
        self.members.publish(facts(composed.view.position(), draining));
    }

    fn unity(&self) -> std::sync::MutexGuard<'_, Unity> {
        self.unity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What operators call a node.
pub(crate) fn name(config: &Config, node: &Node) -> String {
    config.cluster.name.clone().unwrap_or_else(|| node.id().to_string())
}

/// The names of the other nodes of which somebody heard within seconds, or that are about to be missed.
pub(crate) async fn others(composed: &Composed) -> Vec<String> {
    let (store, realm, own) = (&composed.ephemeral, &composed.realm, composed.node.id());
    if !composed.cluster.hears {
        return Vec::new();
    }
    let mut names: Vec<String> = match store.find(realm, &NODES, ALL, None, MOST).await {
        Ok(found) => {
            let others = found.into_iter().filter(|(key, _)| *key != own.to_string());
            others.filter_map(|(_, held)| String::from_utf8(held.value).ok()).collect()
        }
        // Nobody reads leases at the moment: those that are heard.
        Err(_) => {
            let heard = composed.cluster.members.members().into_iter();
            heard.filter(|it| it.id != own).map(|it| it.name).collect()
        }
    };
    // A lease of before this node was started anew is its own.
    names.retain(|name| *name != composed.cluster.name);
    names.sort_unstable();
    names.dedup();
    names
}

fn facts(revocations: u64, draining: bool) -> Facts {
    Facts { version: env!("CARGO_PKG_VERSION").to_owned(), revocations, draining }
}

/// Renews the lease, tells the others about this node, and looks whether all that run are heard.
pub(crate) async fn keep(composed: Arc<Composed>) {
    let cluster = &composed.cluster;
    let mut watch = Watch::new(composed.node.id(), FRESH, SETTLE);
    let mut seen = Seen::default();
    let mut ticks = interval(RENEWED);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if !cluster.hears {
        return;
    }
    loop {
        ticks.tick().await;
        cluster.tell(&composed);
        // While the store is away, nobody knows who runs, and what was thought last stays.
        let Some(leases) = renew(&composed, &mut seen).await else { continue };
        let members = cluster.members.members();
        let unity = watch.observe(composed.node.since_boot(), &leases, &members);
        let before = std::mem::replace(&mut *cluster.unity(), unity.clone());
        match (&before, &unity) {
            (Unity::Partitioned { .. }, Unity::Partitioned { .. }) => {}
            (_, Unity::Partitioned { .. }) => tracing::warn!(%unity, "the cluster is not whole"),
            (Unity::Partitioned { .. }, _) => tracing::info!("the cluster is whole again"),
            _ => {}
        }
    }
}

/// Renews this node's lease, and answers everybody's.
async fn renew(composed: &Composed, seen: &mut Seen) -> Option<Vec<Lease>> {
    let (store, realm, node) = (&composed.ephemeral, &composed.realm, &composed.node);
    let put = Put {
        key: node.id().to_string(),
        value: composed.cluster.name.clone().into_bytes(),
        lifetime: KEPT,
        index: Some(ALL.to_owned()),
    };
    store.put(realm, &NODES, put).await.ok()?;
    let found = store.find(realm, &NODES, ALL, None, MOST).await.ok()?;
    let now = node.since_boot();
    seen.0.retain(|node, _| found.iter().any(|(key, _)| *key == node.to_string()));
    let leases = found.into_iter().filter_map(|(key, held)| {
        let node = NodeId(u64::from_str_radix(&key, 16).ok()?);
        let name = String::from_utf8(held.value).ok()?;
        Some(Lease { node, name, age: seen.age(node, held.revision, now) })
    });
    Some(leases.collect())
}

/// When each lease was seen to be renewed. What its node's clock says does not matter.
#[derive(Default)]
struct Seen(HashMap<NodeId, (u64, SinceBoot)>);

impl Seen {
    /// How long ago a lease was renewed, as far as could be seen from here.
    fn age(&mut self, node: NodeId, revision: u64, now: SinceBoot) -> Duration {
        let renewed = self.0.entry(node).or_insert((revision, now));
        if renewed.0 != revision {
            *renewed = (revision, now);
        }
        now.since(renewed.1)
    }
}
