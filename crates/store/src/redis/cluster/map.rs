//! Which node has which slot, as far as is known: a picture that is replaced as a whole.

use std::{collections::HashMap, sync::Arc};

use super::{
    node::Node,
    slot::SLOTS,
    told::{Range, Told},
};
use crate::redis::address::Place;

/// What is known of the cluster.
pub(super) struct Map {
    told: Told,
    /// The number of the shard that has each slot, from 1; 0 where nobody has.
    slots: Box<[u16]>,
    shards: Vec<Shard>,
    nodes: HashMap<Place, Arc<Node>>,
}

struct Shard {
    primary: Arc<Node>,
    replicas: Vec<Arc<Node>>,
}

impl Map {
    /// Nothing is known.
    pub(super) fn empty() -> Self {
        let slots = vec![0; usize::from(SLOTS)].into_boxed_slice();
        Self { told: Told::default(), slots, shards: Vec::new(), nodes: HashMap::new() }
    }

    /// What was told. `node` finds or makes the node at a place.
    pub(super) fn new(told: Told, mut node: impl FnMut(&Place) -> Arc<Node>) -> Self {
        let mut map = Self::empty();
        let mut node = |place: &Place| {
            let node = map.nodes.entry(place.clone()).or_insert_with(|| node(place));
            Arc::clone(node)
        };
        let mut numbers = HashMap::new();
        for Range { first, last, primary, replicas } in &told.ranges {
            let number = *numbers.entry(primary).or_insert_with(|| {
                let replicas = replicas.iter().map(&mut node).collect();
                map.shards.push(Shard { primary: node(primary), replicas });
                // There are no more ranges than slots, all of which fit.
                u16::try_from(map.shards.len()).unwrap_or_default()
            });
            if let Some(slots) = map.slots.get_mut(usize::from(*first)..=usize::from(*last)) {
                slots.fill(number);
            }
        }
        map.told = told;
        map
    }

    /// Whether this is what was told.
    pub(super) fn says(&self, told: &Told) -> bool {
        self.told.epoch == told.epoch && self.told.ranges == told.ranges
    }

    /// The number of the last election that is known.
    pub(super) const fn epoch(&self) -> u64 {
        self.told.epoch
    }

    /// Who has a slot.
    pub(super) fn primary(&self, slot: u16) -> Option<&Arc<Node>> {
        self.shard(slot).map(|shard| &shard.primary)
    }

    /// Who follows the one that has it.
    pub(super) fn replicas(&self, slot: u16) -> &[Arc<Node>] {
        self.shard(slot).map_or(&[], |shard| &shard.replicas)
    }

    fn shard(&self, slot: u16) -> Option<&Shard> {
        let number = usize::from(*self.slots.get(usize::from(slot))?);
        self.shards.get(number.checked_sub(1)?)
    }

    /// The node at a place.
    pub(super) fn node(&self, place: &Place) -> Option<&Arc<Node>> {
        self.nodes.get(place)
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// All nodes, with whether each has slots.
    pub(super) fn roles(&self) -> impl Iterator<Item = (&Arc<Node>, bool)> {
        let has_slots = |node| self.shards.iter().any(|shard| Arc::ptr_eq(&shard.primary, node));
        self.nodes.values().map(move |node| (node, has_slots(node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::{RedisConfig, address::Address, reach::Access};

    fn at(port: u16) -> Place {
        ("127.0.0.1".to_owned(), port)
    }

    fn range(first: u16, last: u16, primary: u16, replicas: &[u16]) -> Range {
        let replicas = replicas.iter().map(|port| at(*port)).collect();
        Range { first, last, primary: at(primary), replicas }
    }

    fn map(ranges: Vec<Range>) -> Map {
        let access = Access::new(&Address::read("redis-cluster://127.0.0.1").unwrap()).unwrap();
        let (access, config) = (Arc::new(access), RedisConfig::default());
        let told = Told { epoch: 3, is_well: true, ranges };
        let map =
            Map::new(told.clone(), |place| Arc::new(Node::new(&access, place.clone(), 1, &config)));
        assert!(map.says(&told) && !map.says(&Told { epoch: 4, ..told }));
        map
    }

    #[test]
    fn finds_who_has_a_slot() {
        let map = map(vec![
            range(0, 100, 1, &[2, 3]),
            range(200, 200, 4, &[]),
            range(16_000, 16_383, 1, &[2, 3]),
        ]);
        let primary = |slot| map.primary(slot).map(|node| node.place.1);
        let replicas = |slot| map.replicas(slot).iter().map(|it| it.place.1).collect::<Vec<_>>();
        assert_eq!([0, 100, 16_000, 16_383].map(primary), [Some(1); 4]);
        assert_eq!([101, 199, 201, 15_999, u16::MAX].map(primary), [None; 5]);
        assert_eq!((primary(200), replicas(200)), (Some(4), Vec::new()));
        assert_eq!((replicas(0), replicas(101)), (vec![2, 3], Vec::new()));
        assert_eq!(map.roles().filter(|(_, has_slots)| *has_slots).count(), 2);
        assert_eq!(map.nodes().count(), 4);
    }

    #[test]
    fn a_node_has_one_set_of_connections_whatever_it_has() {
        let map = map(vec![range(0, 0, 1, &[2]), range(1, 1, 2, &[1]), range(2, 2, 1, &[])]);
        assert_eq!(map.nodes().count(), 2);
        let same = Arc::ptr_eq(map.primary(0).unwrap(), &map.replicas(1)[0]);
        assert!(same && Arc::ptr_eq(map.primary(0).unwrap(), map.primary(2).unwrap()));
        assert!(Map::empty().primary(0).is_none());
    }
}
