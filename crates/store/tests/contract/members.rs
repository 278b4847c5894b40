//! The contract of `Members`: every node is a member, and hears what the others say about themselves.
//! When it is heard is up to the adapter, so the clauses wait for it.

use std::time::Duration;

use tegata_core::{
    Members,
    port::{Facts, Member},
};
use tokio::time::timeout;

use super::bed::Bed;

const HANGING: Duration = Duration::from_secs(60);

/// Waits until a node sees the members so.
async fn sees(node: &dyn Members, is_so: impl Fn(&[Member]) -> bool) {
    let mut changes = node.watch();
    let seeing = async {
        while !is_so(&node.members()) {
            changes.next().await.expect("there is more to come");
        }
    };
    timeout(HANGING, seeing).await.expect("it is never seen so");
}

pub(crate) async fn every_node_is_a_member_to_all(bed: &Bed<dyn Members>) {
    for node in &bed.nodes {
        sees(node.as_ref(), |members| {
            members.len() == bed.nodes.len() && members.iter().all(Member::is_alive)
        })
        .await;
    }
    let ids = |node: &dyn Members| node.members().iter().map(|it| it.id).collect::<Vec<_>>();
    for node in &bed.nodes {
        assert_eq!(ids(node.as_ref()), ids(bed.first()), "two nodes order them otherwise");
    }
}

pub(crate) async fn what_a_node_publishes_is_seen_by_all(bed: &Bed<dyn Members>) {
    for (n, said) in (1..).zip(&bed.nodes) {
        let facts = Facts { version: format!("0.{n}.0"), revocations: n << 40, draining: n == 2 };
        said.publish(facts.clone());
        for node in &bed.nodes {
            sees(node.as_ref(), |members| members.iter().any(|it| it.facts == facts)).await;
        }
    }
}

/// `next` may stand in a `select!`, and what changed while nobody waited is told when somebody does.
pub(crate) async fn a_change_is_heard_by_whoever_watches(bed: &Bed<dyn Members>) {
    sees(bed.first(), |members| members.len() == bed.nodes.len()).await;
    let mut changes = bed.first().watch();
    for n in 1..=20 {
        let facts = Facts { revocations: n, ..Facts::default() };
        bed.node(1).publish(facts.clone());
        let hearing = async {
            loop {
                tokio::select! {
                    biased;
                    () = tokio::task::yield_now() => {}
                    members = changes.next() => {
                        let members = members.expect("there is more to come");
                        if members.iter().any(|member| member.facts == facts) {
                            return;
                        }
                    }
                }
            }
        };
        timeout(HANGING, hearing).await.expect("the change is never heard");
    }
}

/// One test for each clause of the contract of `Members`.
macro_rules! members_contract {
    ($adapter:ident, $bed:expr) => {
        mod $adapter {
            use crate::contract::members as clauses;

            clauses! { $bed,
                every_node_is_a_member_to_all
                what_a_node_publishes_is_seen_by_all
                a_change_is_heard_by_whoever_watches
            }
        }
    };
}
