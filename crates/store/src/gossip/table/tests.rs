//! A cluster in which time and the network are made up: every run repeats from its seed.

use std::collections::BTreeSet;

use tegata_core::{ManualClock, Node, SeededEntropy, clock::Clock as _};

use super::*;
use crate::gossip::{
    seal::ROOM,
    wire::{self, Sort},
};

const INTERVAL: Duration = Duration::from_millis(500);

struct World {
    clock: std::sync::Arc<ManualClock>,
    chance: SeededEntropy,
    nodes: Vec<One>,
    /// Of 1000 datagrams, how many are lost.
    loss: u32,
    /// Which nodes are on the other side of a cut.
    cut: BTreeSet<usize>,
}

struct One {
    node: Node,
    table: Table,
    up: bool,
}

fn place(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(n + 1).unwrap()))
}

impl World {
    fn of(count: usize, seed: u64) -> Self {
        let (clock, chance) =
            (std::sync::Arc::new(ManualClock::default()), SeededEntropy::new(seed));
        let mut world = Self { clock, chance, nodes: vec![], loss: 0, cut: BTreeSet::new() };
        for n in 0..count {
            let one = world.begin(n);
            world.nodes.push(one);
        }
        world
    }

    /// A new process at the place of the `n`th node.
    fn begin(&self, n: usize) -> One {
        let mut seed = [0; 8];
        self.chance.fill(&mut seed);
        let entropy = SeededEntropy::new(u64::from_be_bytes(seed));
        let node = Node::with(self.clock.clone(), std::sync::Arc::new(entropy));
        let me = Record::of(&node, &format!("node-{n}"), place(n), Facts::default());
        One { table: Table::new(me, &GossipConfig::default()), node, up: true }
    }

    fn carries(&self, from: usize, to: usize) -> bool {
        let mut drawn = [0; 4];
        self.chance.fill(&mut drawn);
        let lost = u32::from_be_bytes(drawn) % 1000 < self.loss;
        let whole = self.cut.contains(&from) == self.cut.contains(&to);
        self.nodes[from].up && self.nodes[to].up && whole && !lost
    }

    fn say(&mut self, sort: Sort, from: usize, to: usize) {
        if !self.carries(from, to) {
            return;
        }
        let speaker = &self.nodes[from];
        let said = wire::write(sort, speaker.table.news(speaker.node.entropy()), ROOM);
        let (_, records) = wire::read(&said).unwrap();
        let now = self.clock.since_boot();
        self.nodes[to].table.hear(now, records);
        if sort == Sort::Question {
            self.say(Sort::Answer, to, from);
        }
    }

    fn round(&mut self) {
        self.clock.advance(INTERVAL);
        for n in 0..self.nodes.len() {
            let (now, wall) = (self.clock.since_boot(), self.clock.now());
            let one = &mut self.nodes[n];
            if !one.up {
                continue;
            }
            one.table.beat();
            one.table.judge(now, wall);
            // All know the first as a contact.
            let targets = one.table.targets(one.node.entropy(), &[place(0)]);
            assert!(!targets.contains(&place(n)), "it speaks to itself");
            for target in targets {
                self.say(Sort::Question, n, usize::from(target.port()) - 1);
            }
        }
    }

    /// How many rounds it takes until something is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> u32 {
        for round in 0..2000 {
            if is_so(self) {
                return round;
            }
            self.round();
        }
        panic!("it does not come about: {what}");
    }

    /// Whom the `n`th node believes to be there, by place.
    fn alive(&self, n: usize) -> BTreeSet<usize> {
        self.members(n, true)
    }

    fn suspected(&self, n: usize) -> BTreeSet<usize> {
        self.members(n, false)
    }

    fn members(&self, n: usize, alive: bool) -> BTreeSet<usize> {
        let members = self.nodes[n].table.members().into_iter();
        let members = members.filter(|member| member.is_alive() == alive);
        members.map(|member| usize::from(member.address.unwrap().port()) - 1).collect()
    }

    fn all_see(&self, of: &BTreeSet<usize>) -> bool {
        of.iter().all(|n| self.alive(*n) == *of)
    }

    fn all(&self) -> BTreeSet<usize> {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].up).collect()
    }
}

#[test]
fn all_find_each_other_although_they_know_one() {
    for (count, most) in [(2, 30), (3, 30), (10, 40), (40, 100)] {
        for seed in 0..3 {
            let mut world = World::of(count, seed);
            world.loss = 200;
            let all = world.all();
            let rounds = world.until("all see all", |world| world.all_see(&all));
            assert!(rounds <= most, "{count} nodes, seed {seed}: {rounds} rounds");
        }
    }
}

#[test]
fn nobody_is_suspected_because_messages_are_lost() {
    for (count, loss) in [(2, 100), (3, 200), (10, 300)] {
        let mut world = World::of(count, 7);
        world.loss = loss;
        let all = world.all();
        world.until("all see all", |world| world.all_see(&all));
        for _ in 0..300 {
            world.round();
            assert!(world.all_see(&all), "{count} nodes, {loss} of 1000 lost");
        }
    }
}

#[test]
fn who_dies_is_suspected_by_all_and_then_forgotten() {
    for seed in 0..2 {
        let mut world = World::of(8, seed);
        let all = world.all();
        world.until("all see all", |world| world.all_see(&all));
        (0..50).for_each(|_| world.round());
        world.nodes[3].up = false;
        let rest = world.all();
        let rounds = world.until("it is suspected", |world| world.all_see(&rest));
        assert!(rounds <= 30, "{rounds} rounds of half a second");
        assert!(rest.iter().all(|n| world.suspected(*n) == BTreeSet::from([3])));
        // A newcomer is not told about the dead.
        let newcomer = world.nodes.len();
        let one = world.begin(newcomer);
        world.nodes.push(one);
        let living = world.all();
        world.until("it is one of them", |world| world.all_see(&living));
        (0..100).for_each(|_| world.round());
        assert!(world.suspected(newcomer).is_empty());
        world.until("it is forgotten", |world| {
            living.iter().all(|n| world.suspected(*n).is_empty())
        });
        (0..100).for_each(|_| world.round());
        assert!(world.all_see(&living) && living.iter().all(|n| world.suspected(*n).is_empty()));
    }
}

#[test]
fn both_sides_of_a_cut_go_on_and_find_each_other_again() {
    for seed in 0..10 {
        let mut world = World::of(7, seed);
        let all = world.all();
        world.until("all see all", |world| world.all_see(&all));
        (0..50).for_each(|_| world.round());
        world.cut = BTreeSet::from([4, 5, 6]);
        let (here, there) = (BTreeSet::from([0, 1, 2, 3]), BTreeSet::from([4, 5, 6]));
        let rounds = world
            .until("each side is by itself", |world| world.all_see(&here) && world.all_see(&there));
        assert!(rounds <= 40, "{rounds} rounds");
        assert!(here.iter().all(|n| world.suspected(*n) == there));
        assert!(there.iter().all(|n| world.suspected(*n) == here));
        world.cut.clear();
        let rounds = world.until("all see all again", |world| world.all_see(&all));
        assert!(rounds <= 10, "{rounds} rounds");
    }
}

/// Also when the two sides have forgotten each other: the first contacts remain.
#[test]
fn a_cut_that_lasted_long_heals_too() {
    let mut world = World::of(5, 1);
    let all = world.all();
    world.until("all see all", |world| world.all_see(&all));
    world.cut = BTreeSet::from([3, 4]);
    world.until("they forget each other", |world| {
        (0..5).all(|n| world.suspected(n).is_empty() && world.alive(n).len() < 5)
    });
    world.cut.clear();
    world.until("all see all again", |world| world.all_see(&all));
}

#[test]
fn who_starts_anew_takes_the_place_of_who_it_was() {
    let mut world = World::of(4, 1);
    let all = world.all();
    world.until("all see all", |world| world.all_see(&all));
    let former = world.nodes[2].node.id();
    world.nodes[2] = world.begin(2);
    let latter = world.nodes[2].node.id();
    world.until("the former one is gone", |world| {
        (0..4).all(|n| {
            let members = world.nodes[n].table.members();
            let ids = members.iter().map(|member| member.id).collect::<BTreeSet<_>>();
            ids.contains(&latter) && !ids.contains(&former) && ids.len() == 4
        })
    });
}

#[test]
fn what_is_said_again_changes_nothing() {
    let mut world = World::of(3, 1);
    let all = world.all();
    world.until("all see all", |world| world.all_see(&all));
    let mut recorded = Vec::new();
    for _ in 0..40 {
        let one = &world.nodes[2];
        recorded.push(wire::write(Sort::Answer, one.table.news(one.node.entropy()), ROOM));
        world.round();
    }
    let facts = Facts { version: "2".into(), revocations: 9, draining: true };
    world.nodes[2].table.publish(facts.clone());
    (0..10).for_each(|_| world.round());
    world.nodes[2].up = false;
    let rest = world.all();
    world.until("it is suspected", |world| world.all_see(&rest));
    for _ in 0..10 {
        for said in &recorded {
            let (_, records) = wire::read(said).unwrap();
            let now = world.clock.since_boot();
            world.nodes[0].table.hear(now, records);
        }
        world.round();
        assert_eq!(world.suspected(0), BTreeSet::from([2]), "the dead live by what they once said");
        let members = world.nodes[0].table.members();
        let dead = members.iter().find(|member| !member.is_alive()).unwrap();
        assert_eq!(dead.facts, facts);
    }
}

#[test]
fn what_others_remember_is_no_sign_of_life() {
    let mut world = World::of(3, 1);
    let dead = world.begin(9);
    let told = Record { heartbeat: 1000, ..dead.table.me };
    let id = told.id;
    for _ in 0..20 {
        let now = world.clock.since_boot();
        let speaker = world.nodes[1].table.me.clone();
        world.nodes[0].table.hear(now, vec![speaker, told.clone()]);
        assert!(!world.nodes[0].table.members().iter().any(|member| member.id == id));
        assert!(!world.nodes[0].table.news(&world.chance).any(|record| record.id == id));
        world.clock.advance(INTERVAL);
    }
    // It does live: it is heard of again, a heartbeat later.
    let now = world.clock.since_boot();
    let speaker = world.nodes[1].table.me.clone();
    world.nodes[0].table.hear(now, vec![speaker, Record { heartbeat: 1001, ..told }]);
    assert!(world.nodes[0].table.members().iter().any(|member| member.id == id));
}

#[test]
fn whoever_slept_suspects_nobody() {
    let mut world = World::of(3, 1);
    let all = world.all();
    world.until("all see all", |world| world.all_see(&all));
    // All sleep, as the machines of a laptop or of a paused process do.
    world.clock.advance(Duration::from_secs(3600));
    for _ in 0..20 {
        world.round();
        assert!(world.all_see(&all));
    }
}

#[test]
fn nobody_is_told_who_it_is_by_others() {
    let mut world = World::of(2, 1);
    let me = world.nodes[0].table.me.clone();
    let speaker = world.nodes[1].table.me.clone();
    let lie = Record { heartbeat: u64::MAX, revision: u64::MAX, name: "liar".into(), ..me.clone() };
    let now = world.clock.since_boot();
    world.nodes[0].table.hear(now, vec![speaker, lie]);
    assert_eq!(world.nodes[0].table.me, me);
    assert_eq!(world.nodes[0].table.members().len(), 2);
}

#[test]
fn no_more_are_known_than_there_is_room_for() {
    let mut world = World::of(1, 1);
    let now = world.clock.since_boot();
    let record = world.nodes[0].table.me.clone();
    for id in 0..5000 {
        world.nodes[0].table.hear(now, vec![Record { id: NodeId(id), ..record.clone() }]);
    }
    assert_eq!(world.nodes[0].table.others.len(), MOST);
}
