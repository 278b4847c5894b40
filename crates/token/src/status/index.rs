//! Giving each token a place of its own, on every node, without asking the store each time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Epoch, Expect, Kind, Lifetime, Node, Realm, Records, StoreError, Stored,
    flight::Flights, id::expiry_day, repository,
};

use super::{LIST_LENGTH, ListId, SLOT_SECS, StatusIndex, permutation::Permutation};
use crate::root::Roots;

/// Where it is recorded which blocks of indexes have been leased: one record for each quarter.
pub static STATUS_BLOCKS: Kind = Kind {
    name: "status_block",
    indexes: &[],
    lifetime: Lifetime::ByDay(expiry_day),
    secret: false,
};

/// How many places a node leases at once.
pub const BLOCK: u32 = 65_536;

#[derive(Serialize, Deserialize)]
struct Leased {
    /// `epoch.day.slot`; the day is two after the quarter's own, when its lists are surely dead.
    key: String,
    /// How many blocks have been leased.
    blocks: u32,
    /// The root secret that the quarter's permutations are made with, whichever is newest later.
    root: u16,
}

impl Stored for Leased {
    const KIND: &'static Kind = &STATUS_BLOCKS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

/// Gives places in status lists. A node leases a block of 65,536 by one compare-and-set and hands
/// it out from memory; what is left of it when the quarter ends is never used.
#[derive(Clone)]
pub struct Indexes {
    lessor: Arc<Lessor>,
    // Callers that run out at the same moment share one lease.
    leasing: Arc<Flights<(Realm, u32), Result<(), StoreError>>>,
}

struct Lessor {
    records: Arc<dyn Records>,
    node: Node,
    epoch: Epoch,
    roots: Roots,
    leases: Mutex<HashMap<Realm, Lease>>,
}

struct Lease {
    slot: u32,
    next: u32,
    end: u32,
    number: u32,
    permutation: Arc<Permutation>,
}

impl Indexes {
    /// For tokens of this epoch. `roots` are those of the purpose `status`.
    #[must_use]
    pub fn new(records: Arc<dyn Records>, node: Node, epoch: Epoch, roots: Roots) -> Self {
        let leases = Mutex::new(HashMap::new());
        let lessor = Arc::new(Lessor { records, node, epoch, roots, leases });
        Self { lessor, leasing: Arc::new(Flights::new()) }
    }

    /// A place that no other token has or will have.
    ///
    /// # Errors
    /// What the store says, when a block must be leased and it does not answer.
    pub async fn next(&self, realm: &Realm) -> Result<StatusIndex, StoreError> {
        loop {
            let slot = ListId::slot_at(self.lessor.node.now());
            if let Some(place) = self.lessor.hand_out(realm, slot) {
                return Ok(place);
            }
            let (lessor, of) = (Arc::clone(&self.lessor), realm.clone());
            let lease = move || async move { lessor.lease(&of, slot).await };
            self.leasing.join((realm.clone(), slot), lease).await?;
        }
    }

    /// The lists on which tokens may be alive that live for `longest` at most: oldest first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn lists(&self, realm: &Realm, longest: Duration) -> Result<Vec<ListId>, StoreError> {
        let Lessor { records, node, epoch, .. } = self.lessor.as_ref();
        let now = node.now();
        let first = ListId::slot_at(now - longest - Duration::from_secs(SLOT_SECS));
        let mut lists = Vec::new();
        for slot in first..=ListId::slot_at(now) {
            let list = ListId { epoch: *epoch, slot, number: 0 };
            if list.closes() + longest <= now {
                continue;
            }
            let found = repository::load::<Leased>(records.as_ref(), realm, &key(list)).await?;
            let blocks = found.map_or(0, |found| found.value.blocks);
            let numbers = 0..blocks.div_ceil(LIST_LENGTH / BLOCK);
            lists.extend(numbers.map(|number| ListId { number, ..list }));
        }
        Ok(lists)
    }
}

/// Where it is recorded what was leased of the quarter that a list is of.
fn key(list: ListId) -> String {
    format!("{}.{}.{}", list.epoch, list.closes().day() + 2, list.slot)
}

impl Lessor {
    fn hand_out(&self, realm: &Realm, slot: u32) -> Option<StatusIndex> {
        let mut leases = self.leases.lock();
        let lease = leases.get_mut(realm).filter(|lease| lease.slot == slot)?;
        let count = lease.next;
        if count >= lease.end {
            return None;
        }
        lease.next += 1;
        let list = ListId { epoch: self.epoch, slot, number: lease.number };
        let index = lease.permutation.place(count);
        Some(StatusIndex { list, index })
    }

    async fn lease(&self, realm: &Realm, slot: u32) -> Result<(), StoreError> {
        let list = ListId { epoch: self.epoch, slot, number: 0 };
        let key = key(list);
        let records = self.records.as_ref();
        let (block, root) = loop {
            let found = repository::load::<Leased>(records, realm, &key).await?;
            let newest = self.roots.newest();
            let (blocks, root) =
                found.as_ref().map_or((0, newest), |found| (found.value.blocks, found.value.root));
            let leased = Leased { key: key.clone(), blocks: blocks + 1, root };
            let expect = found.map_or(Expect::Absent, |found| Expect::Version(found.version));
            match records.commit(Batch::new(realm.clone()).with(leased.put(expect))).await {
                Ok(()) => break (blocks, root),
                Err(CommitRefused::Conflict { .. }) => {}
                // A block whose lease may or may not be ours is left unused: the store will say
                // so to whoever asked, and the next attempt leases another.
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        };
        let per_list = LIST_LENGTH / BLOCK;
        let (number, within) = (block / per_list, block % per_list);
        let list = ListId { number, ..list };
        let name = list.to_string();
        let parts: [&[u8]; 3] = [b"status index", realm.as_str().as_bytes(), name.as_bytes()];
        let key = self.roots.derive(root, &parts).ok_or_else(|| StoreError::Misused {
            detail: "there is no root secret for status lists".to_owned(),
        })?;
        let lease = Lease {
            slot,
            next: within * BLOCK,
            end: (within + 1) * BLOCK,
            number,
            permutation: Arc::new(Permutation::new(&key)),
        };
        self.leases.lock().insert(realm.clone(), lease);
        Ok(())
    }
}

impl std::fmt::Debug for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Indexes(epoch {})", self.lessor.epoch)
    }
}
