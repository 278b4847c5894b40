//! Of several nodes one delivers signals, and one asks for them. That two do so for a moment does no
//! harm: what is delivered twice has the same name.
//!
//! A lease is renewed, and so gets a new version. Whoever sees the same version for ten seconds by
//! its own clock takes it: no two clocks are compared.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Expect, Kind, Lifetime, NodeId, Realm, Records, SinceBoot, StoreError,
    Stored, repository,
};

use crate::compose::Composed;

/// Where leases are kept.
pub(crate) static LEASES: Kind =
    Kind { name: "signal_lease", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// How often a lease is renewed.
const RENEWED: Duration = Duration::from_secs(3);
/// After how long without, it is somebody else's.
const ENDS: Duration = Duration::from_secs(10);
/// After how long without, it is not ours any more: earlier, so that nobody else has it yet.
const GIVEN_UP: Duration = Duration::from_secs(8);

#[derive(Serialize, Deserialize)]
struct Held {
    key: String,
    by: NodeId,
}

impl Stored for Held {
    const KIND: &'static Kind = &LEASES;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

/// The right to do something, which one node has.
pub(crate) struct Lease {
    what: String,
    renewed: Option<SinceBoot>,
    /// The version of somebody else's, and since when it is seen.
    seen: Option<(u64, SinceBoot)>,
}

impl Lease {
    pub(crate) fn of(what: &str) -> Self {
        Self { what: what.to_owned(), renewed: None, seen: None }
    }

    /// Whether this node has it, taking or renewing it where it is time.
    pub(crate) async fn is_ours(&mut self, composed: &Composed) -> Result<bool, StoreError> {
        // Who shares the store with nobody has nobody to agree with.
        if composed.circle.is_none() {
            return Ok(true);
        }
        let node = &composed.node;
        let age = self.renewed.map(|at| node.elapsed(at));
        if age.is_some_and(|age| age < RENEWED) {
            return Ok(true);
        }
        let records = composed.records.as_ref();
        match self.take(records, &composed.realm, node).await {
            Ok(is_ours) => Ok(is_ours),
            Err(_) if age.is_some_and(|age| age < GIVEN_UP) => Ok(true),
            Err(error) => {
                self.renewed = None;
                Err(error)
            }
        }
    }

    async fn take(
        &mut self,
        records: &dyn Records,
        realm: &Realm,
        node: &tegata_core::Node,
    ) -> Result<bool, StoreError> {
        let began = node.since_boot();
        let found = repository::load::<Held>(records, realm, &self.what).await?;
        let expect = match &found {
            None => Expect::Absent,
            Some(held) if held.value.by == node.id() => Expect::Version(held.version),
            Some(held) => {
                self.renewed = None;
                match self.seen.filter(|(version, _)| *version == held.version) {
                    Some((version, since)) if node.elapsed(since) > ENDS => {
                        Expect::Version(version)
                    }
                    Some(_) => return Ok(false),
                    None => {
                        self.seen = Some((held.version, began));
                        return Ok(false);
                    }
                }
            }
        };
        let held = Held { key: self.what.clone(), by: node.id() };
        match records.commit(Batch::new(realm.clone()).with(held.put(expect))).await {
            Ok(()) => {
                self.renewed = Some(began);
                Ok(true)
            }
            Err(CommitRefused::Conflict { .. }) => {
                self.renewed = None;
                Ok(false)
            }
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tegata_core::{ManualClock, Node, SeededEntropy};
    use tegata_store::MemoryRecords;

    use super::*;

    #[tokio::test]
    async fn one_has_it_and_another_takes_it_when_it_is_silent() {
        let clock = Arc::new(ManualClock::default());
        let records = MemoryRecords::new(&[&LEASES], clock.clone()).unwrap();
        let realm = Realm::default();
        let node = |seed| Node::with(clock.clone(), Arc::new(SeededEntropy::new(seed)));
        let (one, two) = (node(1), node(2));
        let (mut first, mut second) = (Lease::of("push"), Lease::of("push"));
        assert!(first.take(&records, &realm, &one).await.unwrap());
        for _ in 0..10 {
            clock.advance(Duration::from_secs(4));
            assert!(first.take(&records, &realm, &one).await.unwrap());
            assert!(!second.take(&records, &realm, &two).await.unwrap());
        }
        clock.advance(Duration::from_secs(9));
        assert!(!second.take(&records, &realm, &two).await.unwrap());
        clock.advance(Duration::from_secs(2));
        assert!(second.take(&records, &realm, &two).await.unwrap());
        assert!(!first.take(&records, &realm, &one).await.unwrap());
        // Something else is somebody else's.
        assert!(Lease::of("poll").take(&records, &realm, &one).await.unwrap());
    }
}
