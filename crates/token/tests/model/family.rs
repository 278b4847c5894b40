//! A family of refresh tokens: two tabs of one browser refresh at two nodes, and somebody takes the family
//! back at one of them.
//!
//! Modelled: records that are loaded before others change them, commits by compare-and-set that are late,
//! or whose answer nobody hears, so that the same token is presented again; nodes that die with all that
//! was under way; a failover; the window in which the one before is answered once more. Not modelled: who
//! presents a token, and permissions that change; `tests/interleavings.rs` walks those with the real code.

use stateright::{Model, Property};

pub(crate) const ONE: &str = "a generation has one successor";
pub(crate) const ENDED: &str = "what was acknowledged as ended stays ended";
pub(crate) const SERVED: &str = "nothing is served that was asked for after that";

const CLIENTS: usize = 2;
const NODES: usize = 2;
/// The client by whose node the family is taken back.
const REVOKER: usize = CLIENTS;
/// How often a token can be spent.
const MOST: u8 = 2;

/// What can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A commit is refused where the record is not the one that was loaded.
    Compares,
    /// The record is read where it is decided, not from a copy.
    NoCopyIsRead,
    /// Nothing counts as committed before a standby has it.
    StandbyHasItFirst,
    /// It is acknowledged when it is committed.
    AnswerAfterCommit,
}

#[derive(Default)]
pub(crate) struct Family {
    without: Option<Rule>,
}

/// What the store has. No two versions of it are alike, so there is no number for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Record {
    generation: u8,
    ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum At {
    #[default]
    Start,
    Loaded(Record),
    /// The commit is asked for, and nobody knows what comes of it.
    Asked,
    Done,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Client {
    /// The generation whose token it holds.
    holds: u8,
    at: At,
    /// It asked after the end was acknowledged by its node.
    after: bool,
    /// What the store has still to do for it: what was loaded, and whether that is to be ended.
    commit: Option<(Record, bool)>,
    /// What came of that, until it is heard. `None`: it was refused.
    came: Option<Option<Record>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    record: Record,
    copy: Record,
    /// The window in which the one before is answered again is over.
    late: bool,
    clients: [Client; CLIENTS + 1],
    /// How many successors each generation has.
    successors: [u8; MOST as usize],
    acknowledged: [bool; NODES],
    served_after: bool,
    /// One node has died, or the store has failed over.
    fault: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Load(usize),
    Decide(usize),
    Commit(usize),
    Answer(usize),
    LoseAnswer(usize),
    Again(usize),
    Copy,
    Crash(usize),
    Failover,
    WindowEnds,
}

impl World {
    fn serve(&mut self, index: usize, generation: u8) {
        self.served_after |= self.clients[index].after;
        self.clients[index].holds = generation;
        self.clients[index].at = At::Done;
    }

    fn lose(&mut self, index: usize) {
        let Client { holds, commit, .. } = self.clients[index];
        self.clients[index] = Client { holds, commit, ..Client::default() };
    }
}

impl Family {
    pub(crate) fn without(rule: Rule) -> Self {
        Self { without: Some(rule) }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// What a node makes of the record that it loaded.
    fn decide(&self, world: &mut World, index: usize) {
        let At::Loaded(record) = world.clients[index].at else { return };
        let presented = world.clients[index].holds;
        let ends = if record.ended {
            // Whoever takes it back once more is told that it is.
            world.acknowledged[index % NODES] |= index == REVOKER;
            world.clients[index].at = At::Done;
            return;
        } else if index == REVOKER {
            true
        } else if presented + 1 == record.generation && !world.late {
            world.serve(index, record.generation);
            return;
        } else {
            presented != record.generation
        };
        if !ends && record.generation == MOST {
            world.clients[index].at = At::Done;
            return;
        }
        (world.clients[index].at, world.clients[index].commit) = (At::Asked, Some((record, ends)));
    }

    fn commit(&self, world: &mut World, index: usize) {
        let Some((loaded, ends)) = world.clients[index].commit.take() else { return };
        let heard = world.clients[index].at == At::Asked;
        let wins = loaded == world.record || !self.keeps(Rule::Compares);
        if wins {
            world.record = Record { ended: ends, ..loaded };
            if !ends {
                world.successors[usize::from(loaded.generation)] += 1;
                (world.record.generation, world.late) = (loaded.generation + 1, false);
            }
        }
        if heard {
            world.clients[index].came = Some(wins.then_some(world.record));
        }
        if self.keeps(Rule::StandbyHasItFirst) && self.keeps(Rule::NoCopyIsRead) {
            world.copy = world.record;
        }
    }

    fn answer(&self, world: &mut World, index: usize) {
        match world.clients[index].came.take() {
            Some(None) => world.clients[index].at = At::Start,
            Some(Some(record)) if index != REVOKER && !record.ended => {
                world.serve(index, record.generation);
            }
            _ => {
                world.clients[index].at = At::Done;
                if index == REVOKER {
                    world.acknowledged[index % NODES] = true;
                }
            }
        }
    }

    /// Whether its answer can come now.
    fn is_heard(&self, client: &Client, index: usize) -> bool {
        let early = index == REVOKER && !self.keeps(Rule::AnswerAfterCommit);
        client.at == At::Asked && (client.came.is_some() || early)
    }
}

impl Model for Family {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::default()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (index, client) in world.clients.iter().enumerate() {
            match client.at {
                // A commit that is still under way counts for what it is; one at a time is enough.
                At::Start if client.commit.is_none() => actions.push(Action::Load(index)),
                At::Loaded(_) => actions.push(Action::Decide(index)),
                At::Asked => actions.push(Action::LoseAnswer(index)),
                At::Done if index != REVOKER && client.holds < MOST => {
                    actions.push(Action::Again(index));
                }
                _ => {}
            }
            if client.commit.is_some() {
                actions.push(Action::Commit(index));
            }
            if self.is_heard(client, index) {
                actions.push(Action::Answer(index));
            }
        }
        if world.copy != world.record {
            actions.push(Action::Copy);
        }
        if !world.fault {
            actions.extend([Action::Crash(0), Action::Crash(1), Action::Failover]);
        }
        if !world.late && world.record.generation > 0 {
            actions.push(Action::WindowEnds);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Load(index) => {
                let copies = !self.keeps(Rule::NoCopyIsRead);
                let record = if copies { next.copy } else { next.record };
                next.clients[index].at = At::Loaded(record);
                next.clients[index].after = next.acknowledged[index % NODES];
            }
            Action::Decide(index) => self.decide(&mut next, index),
            Action::Commit(index) => self.commit(&mut next, index),
            Action::Answer(index) => self.answer(&mut next, index),
            Action::LoseAnswer(index) => next.lose(index),
            Action::Again(index) => next.clients[index].at = At::Start,
            Action::Copy => next.copy = next.record,
            Action::Crash(node) => {
                (node..=CLIENTS).step_by(NODES).for_each(|index| next.lose(index));
                next.fault = true;
            }
            Action::Failover => {
                for index in 0..=CLIENTS {
                    next.lose(index);
                    next.clients[index].commit = None;
                }
                next.fault = true;
                if !self.keeps(Rule::StandbyHasItFirst) {
                    next.record = next.copy;
                }
            }
            Action::WindowEnds => next.late = true,
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE, |_, world: &World| world.successors.iter().all(|it| *it <= 1)),
            Property::always(ENDED, |_, world: &World| {
                world.record.ended || world.acknowledged.iter().all(|it| !it)
            }),
            Property::always(SERVED, |_, world: &World| !world.served_after),
            Property::sometimes("all have the newest", |_, world: &World| {
                world.clients[..CLIENTS].iter().all(|client| client.holds == MOST)
            }),
            Property::sometimes("who comes too late ends it", |_, world: &World| {
                let holds = |it: &Client| it.at == At::Done && it.holds == 0;
                world.record.ended
                    && world.clients[REVOKER] == Client::default()
                    && world.clients[..CLIENTS].iter().any(holds)
            }),
            Property::sometimes("it is acknowledged after a fault", |_, world: &World| {
                world.fault && world.acknowledged.contains(&true)
            }),
        ]
    }
}
