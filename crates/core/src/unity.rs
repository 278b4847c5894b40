//! Whether the cluster is whole: what nodes hear of each other, held against what the store knows.
//!
//! Every node renews a lease in the durable store. A node whose lease is fresh runs; if it is not
//! heard nevertheless, the network is cut between it and us, while both of us reach the store. A node
//! that has died is missing, too, until its lease is not fresh any more; [`Watch`] waits that long
//! before it speaks of a partition.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    clock::SinceBoot,
    id::NodeId,
    port::{Member, Standing},
};

/// A lease that a node holds in the durable store, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is.
    pub node: NodeId,
    /// What operators call that node.
    pub name: String,
    /// How long ago it was renewed.
    pub age: Duration,
}

/// Whether the cluster is whole, as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unity {
    /// Every node that runs is heard.
    Whole,
    /// Nodes run that are not heard.
    Partitioned {
        /// Which, in the order of their ids.
        missing: Vec<Missing>,
    },
    /// No other node runs, as far as the store and this node know.
    Alone,
}

/// A node that runs and is not heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub node: NodeId,
    /// What operators call it.
    pub name: String,
    /// How long ago it renewed its lease, by which it is known to run.
    pub renewed: Duration,
    /// Whether it has been heard before.
    pub heard_before: bool,
}

impl Unity {
    /// What `me` thinks at this moment. Leases that are older than `fresh` count for nothing.
    #[must_use]
    pub fn of(me: NodeId, leases: &[Lease], fresh: Duration, members: &[Member]) -> Self {
        let others = || members.iter().filter(|member| member.id != me);
        let runs = |lease: &&Lease| lease.node != me && lease.age <= fresh;
        let mut missing = BTreeMap::new();
        let mut anybody = others().any(Member::is_alive);
        for lease in leases.iter().filter(runs) {
            anybody = true;
            let member = others().find(|member| member.id == lease.node);
            if member.is_some_and(Member::is_alive) {
                continue;
            }
            let heard_before =
                member.is_some_and(|member| matches!(member.standing, Standing::Suspected { .. }));
            let name = lease.name.clone();
            let missed = Missing { node: lease.node, name, renewed: lease.age, heard_before };
            missing.insert(lease.node, missed);
        }
        match (missing.is_empty(), anybody) {
            (false, _) => Self::Partitioned { missing: missing.into_values().collect() },
            (true, true) => Self::Whole,
            (true, false) => Self::Alone,
        }
    }
}

impl fmt::Display for Unity {
    /// `partitioned: \`b\` (00…02) renewed its lease 2 s ago and is not heard any more`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Alone => f.write_str("alone"),
            Self::Partitioned { missing } => {
                f.write_str("partitioned: ")?;
                for (n, node) in missing.iter().enumerate() {
                    let comma = if n == 0 { "" } else { "; " };
                    write!(f, "{comma}{node}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heard = if self.heard_before { "is not heard any more" } else { "was never heard" };
        let renewed = self.renewed.as_secs();
        write!(f, "`{}` ({}) renewed its lease {renewed} s ago and {heard}", self.name, self.node)
    }
}

/// Watches the unity of the cluster, and speaks of a partition only when the same nodes have been
/// missing for a while: nodes that have just started or died are not cut off.
#[derive(Debug)]
pub struct Watch {
    me: NodeId,
    fresh: Duration,
    settle: Duration,
    missing: BTreeMap<NodeId, SinceBoot>,
}

impl Watch {
    /// A watch of `me`. Leases are fresh for `fresh`, and a node is cut off when it has been missing
    /// for longer than that, and for `settle` at least.
    #[must_use]
    pub fn new(me: NodeId, fresh: Duration, settle: Duration) -> Self {
        // INVARIANT: whoever dies loses its lease before it counts as cut off.
        Self { me, fresh, settle: settle.max(fresh), missing: BTreeMap::new() }
    }

    /// What is to be thought now. To be asked again and again, more often than leases grow stale.
    pub fn observe(&mut self, now: SinceBoot, leases: &[Lease], members: &[Member]) -> Unity {
        let seen = match Unity::of(self.me, leases, self.fresh, members) {
            Unity::Partitioned { missing } => missing,
            settled => {
                self.missing.clear();
                return settled;
            }
        };
        self.missing.retain(|node, _| seen.iter().any(|missing| missing.node == *node));
        let mut missing = Vec::new();
        for node in seen {
            let first = *self.missing.entry(node.node).or_insert(now);
            if now.since(first) > self.settle {
                missing.push(node);
            }
        }
        if missing.is_empty() { Unity::Whole } else { Unity::Partitioned { missing } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, port::Facts};

    const ME: NodeId = NodeId(1);
    const FRESH: Duration = Duration::from_secs(5);

    fn lease(node: u64, secs: u64) -> Lease {
        Lease { node: NodeId(node), name: format!("node-{node}"), age: Duration::from_secs(secs) }
    }

    fn member(node: u64, alive: bool) -> Member {
        let suspected = Standing::Suspected { since: Timestamp::default() };
        Member {
            id: NodeId(node),
            name: format!("node-{node}"),
            address: None,
            since: Timestamp::default(),
            standing: if alive { Standing::Alive } else { suspected },
            facts: Facts::default(),
        }
    }

    fn missing(unity: &Unity) -> Vec<u64> {
        match unity {
            Unity::Partitioned { missing } => missing.iter().map(|it| it.node.0).collect(),
            Unity::Whole | Unity::Alone => Vec::new(),
        }
    }

    #[test]
    fn is_whole_when_everybody_who_runs_is_heard() {
        let leases = [lease(1, 0), lease(2, 1), lease(3, 5)];
        let members = [member(1, true), member(2, true), member(3, true)];
        assert_eq!(Unity::of(ME, &leases, FRESH, &members), Unity::Whole);
        // One whose lease we have not read yet, or that does not reach the store.
        let members = [&members[..], &[member(4, true)]].concat();
        assert_eq!(Unity::of(ME, &leases, FRESH, &members), Unity::Whole);
        assert_eq!(Unity::of(ME, &leases[..1], FRESH, &members), Unity::Whole);
    }

    #[test]
    fn is_alone_when_nobody_else_runs() {
        // Our own lease may be missing, and those of the dead remain for a while.
        for leases in [vec![], vec![lease(1, 0)], vec![lease(1, 0), lease(2, 6), lease(3, 600)]] {
            for members in [vec![], vec![member(1, true)], vec![member(1, true), member(2, false)]]
            {
                assert_eq!(Unity::of(ME, &leases, FRESH, &members), Unity::Alone);
            }
        }
    }

    #[test]
    fn names_who_runs_and_is_not_heard() {
        let leases = [lease(3, 2), lease(1, 0), lease(2, 1), lease(4, 0), lease(5, 9)];
        let members = [member(1, true), member(2, true), member(3, false), member(5, false)];
        let unity = Unity::of(ME, &leases, FRESH, &members);
        assert_eq!(missing(&unity), [3, 4]);
        assert_eq!(
            unity.to_string(),
            "partitioned: `node-3` (0000000000000003) renewed its lease 2 s ago and is not heard any \
             more; `node-4` (0000000000000004) renewed its lease 0 s ago and was never heard"
        );
    }

    #[test]
    fn whoever_starts_or_dies_is_not_cut_off() {
        let at = |secs| SinceBoot(Duration::from_secs(secs));
        let mut watch = Watch::new(ME, FRESH, Duration::from_secs(1));
        // Node 2 has taken its lease, and we hear of it a little later.
        let members = [member(1, true)];
        assert_eq!(watch.observe(at(0), &[lease(1, 0), lease(2, 0)], &members), Unity::Whole);
        let members = [member(1, true), member(2, true)];
        assert_eq!(watch.observe(at(1), &[lease(1, 0), lease(2, 1)], &members), Unity::Whole);
        // It dies: it is suspected before its lease is over.
        let members = [member(1, true), member(2, false)];
        for secs in 2..=6 {
            let leases = [lease(1, 0), lease(2, secs - 1)];
            assert_eq!(watch.observe(at(secs), &leases, &members), Unity::Whole);
        }
        assert_eq!(watch.observe(at(7), &[lease(1, 0), lease(2, 6)], &members), Unity::Alone);
    }

    #[test]
    fn a_cut_that_lasts_is_a_partition_until_it_heals() {
        let at = |secs| SinceBoot(Duration::from_secs(secs));
        let leases = [lease(1, 0), lease(2, 1), lease(3, 1)];
        let cut = [member(1, true), member(2, false), member(3, true)];
        let mut watch = Watch::new(ME, FRESH, Duration::from_secs(1));
        for secs in 0..=5 {
            assert_eq!(watch.observe(at(secs), &leases, &cut), Unity::Whole, "after {secs} s");
        }
        for secs in 6..60 {
            assert_eq!(missing(&watch.observe(at(secs), &leases, &cut)), [2], "after {secs} s");
        }
        let healed = [member(1, true), member(2, true), member(3, true)];
        assert_eq!(watch.observe(at(60), &leases, &healed), Unity::Whole);
        // The next cut is counted from its own beginning.
        assert_eq!(watch.observe(at(61), &leases, &cut), Unity::Whole);
        assert_eq!(missing(&watch.observe(at(70), &leases, &cut)), [2]);
    }
}
