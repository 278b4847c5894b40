//! The circle: what a listener believes by the word of others, while who they are changes.
//!
//! Three processes: one that listens, and two that take things back. Modelled: commits that are late, or
//! whose answer nobody hears; pushed entries and heartbeats that are lost, late, repeated or overtaken; the
//! register with its candidates, admission, departure, and leases that end; changes of it that fail, or
//! succeed unheard; processes that die and come back in their place; a log that is read late, and in which
//! entries wait for their positions. That positions miss nothing is what the model of the log shows.
//!
//! Where heartbeats are not late, each is heard when it is made, or never: what it says is kept, and says
//! the same whenever it is considered, so a later one says no more. The same goes for what the log answers.
//!
//! Not modelled: how long anything takes (whatever may end does so at any time), more than one heartbeat of
//! a process on its way, entries that count as known because the log was read beyond them, when what is
//! uncertain is forgotten, processes that are not heard by others, stores that are set back.

use stateright::{Model, Property};

use self::{
    listener::{Beat, Pull},
    world::{Change, ENTRIES, LISTENER, PROCESSES, Process, Row, Runs, World, bit},
};

mod listener;
mod world;

pub(crate) const FRESH: &str = "a listener has everything until when it says that it has";

/// What can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A number is given before the store is asked.
    NumberFirst,
    /// What may be in the store is not said to be void.
    UnknownIsNotVoid,
    /// Who comes is admitted by one that is in the circle.
    AdmittedByMember,
    /// Nothing is said of the old circle once the new one may be there.
    SilentWhileItChanges,
    /// A change is believed when the log has been read later than the register.
    LogAfterRegister,
    /// All others must have said what they did.
    AllOthers,
    /// The store lets nobody take anything back who is not in the circle.
    StoreRequires,
    /// Who was not able to renew its lease neither speaks nor believes.
    LeaseIsKept,
    /// A beat says nothing of what came after the one of ours that it echoes.
    EchoTellsWhen,
    /// What waits for a position is not known.
    WaitingCounts,
    /// The log tells what was there when it was asked, not when it answers.
    AskedNotAnswered,
}

/// What can happen to a circle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circle {
    /// Who is in it at first.
    pub(crate) members: Runs,
    /// How often that can change.
    pub(crate) changes: u8,
    /// How much is taken back.
    pub(crate) entries: usize,
    /// Whether one dies, and comes back.
    pub(crate) crashes: bool,
    /// Whether leases end.
    pub(crate) leases: bool,
    /// Whether heartbeats and what the log says arrive late.
    pub(crate) late: bool,
    pub(crate) without: Option<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Begin(usize),
    Commit(usize),
    Answer(usize),
    GiveUp(usize),
    Position,
    Crash(usize),
    Restart(usize),
    LeaseEnds(usize),
    Look(usize),
    Enter(usize),
    Propose(usize, Change),
    Change(usize),
    ChangeUnheard(usize),
    ChangeFails(usize),
    Beat(usize),
    Hear(usize),
    Push(usize),
    Pull,
    PullAnswer,
}

impl Circle {
    pub(crate) fn without(self, rule: Rule) -> Self {
        Self { without: Some(rule), ..self }
    }

    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn may_begin(&self, world: &World) -> bool {
        world.rows.iter().filter(|row| **row != Row::Unwritten).count() < self.entries
    }

    /// A process reads the register, and renews its lease where it is in it.
    fn look(&self, world: &mut World, index: usize) {
        let is_in = world.members & world.run(index) != 0;
        let process = &mut world.processes[index];
        process.epoch = is_in.then_some(world.epoch);
        (process.member, process.over, process.changes) = (is_in, false, None);
        if index == LISTENER {
            world.listener_reads(self);
        }
    }

    fn changes_of(&self, world: &World, index: usize, actions: &mut Vec<Action>) {
        let own = world.run(index);
        let process = world.processes[index];
        if process.again && world.members & bit(index) != 0 {
            actions.push(Action::Propose(index, Change::Replace));
            return;
        }
        if (world.members | world.candidates) & own == 0 {
            actions.push(Action::Enter(index));
            return;
        }
        let is_in = world.members & own != 0;
        let lapsed = world.lapsed(index);
        if lapsed != 0 && (is_in || lapsed == world.members) {
            actions.push(Action::Propose(index, Change::Drop));
        }
        if is_in {
            let candidates = (0..Runs::BITS).map(|it| 1 << it);
            let candidates = candidates.filter(|run| world.candidates & run != 0);
            actions.extend(candidates.map(|run| Action::Propose(index, Change::Admit(run))));
        } else if world.members == 0 || !self.keeps(Rule::AdmittedByMember) {
            actions.push(Action::Propose(index, Change::Admit(own)));
        }
        if is_in && index != LISTENER {
            actions.push(Action::Propose(index, Change::Leave));
        }
    }

    fn of_process(&self, world: &World, index: usize, actions: &mut Vec<Action>) {
        let process = world.processes[index];
        if self.leases && !process.over && world.members & (bit(index) | world.run(index)) != 0 {
            actions.push(Action::LeaseEnds(index));
        }
        if process.dead {
            actions.push(Action::Restart(index));
            return;
        }
        if process.changes.is_some() {
            actions.extend([
                Action::Change(index),
                Action::ChangeUnheard(index),
                Action::ChangeFails(index),
            ]);
        } else {
            actions.push(Action::Look(index));
            if world.epoch < self.changes {
                self.changes_of(world, index, actions);
            }
        }
        if index == LISTENER {
            return;
        }
        let entry = index - 1;
        match world.rows[entry] {
            Row::Unwritten if process.member && self.may_begin(world) => {
                actions.push(Action::Begin(index));
            }
            Row::Running if process.waits => actions.push(Action::GiveUp(index)),
            _ if process.waits => actions.extend([Action::Answer(index), Action::GiveUp(index)]),
            _ => {}
        }
        if self.crashes && !world.crashed {
            actions.push(Action::Crash(index));
        }
        let speaks = !process.over || !self.keeps(Rule::LeaseIsKept);
        if speaks && process.epoch.is_some() {
            actions.push(Action::Beat(index));
        }
    }

    /// A process hears what came of its entry.
    fn answer(&self, world: &mut World, index: usize) {
        let entry = bit(index - 1);
        let is_gone = world.rows[index - 1] == Row::Gone;
        let process = &mut world.processes[index];
        (process.waits, process.begun) = (false, process.begun | entry);
        if is_gone {
            process.void |= entry;
            (process.member, process.epoch) = (false, None);
        } else {
            world.pushed |= entry;
        }
    }

    /// It hears nothing. It says that the entry may be there.
    fn give_up(&self, world: &mut World, index: usize) {
        let entry = bit(index - 1);
        let process = &mut world.processes[index];
        (process.waits, process.begun) = (false, process.begun | entry);
        if self.keeps(Rule::UnknownIsNotVoid) {
            world.pushed |= entry;
        } else {
            process.void |= entry;
        }
    }

    fn begin(&self, world: &mut World, index: usize) {
        world.before[index - 1] = world.durable();
        (world.rows[index - 1], world.by[index - 1]) = (Row::Running, world.run(index));
        let process = &mut world.processes[index];
        process.waits = true;
        if self.keeps(Rule::NumberFirst) {
            process.begun |= bit(index - 1);
        }
    }

    fn commit(&self, world: &mut World, entry: usize) {
        let by = std::mem::take(&mut world.by[entry]);
        let may = world.members & by != 0 || !self.keeps(Rule::StoreRequires);
        world.rows[entry] = if may { Row::Pending } else { Row::Gone };
        if !may {
            world.before[entry] = 0;
        }
    }

    /// A process says what it did, and that it has heard the beat that the listener makes now. Had it
    /// heard an earlier one, it would say the same of less.
    fn beat(&self, world: &mut World, index: usize) {
        let Process { epoch, begun, void, .. } = world.processes[index];
        let Some(epoch) = epoch else { return };
        let after = self.keeps(Rule::EchoTellsWhen).then(|| world.durable());
        let beat = Beat { run: world.run(index), epoch, begun, void, after };
        if self.late {
            world.beats[index] = Some(beat);
        } else {
            world.listener_hears(index, beat);
        }
    }
}

impl Model for Circle {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::of(self.members)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for index in 0..PROCESSES {
            self.of_process(world, index, actions);
            actions.extend(world.beats[index].map(|_| Action::Hear(index)));
        }
        for entry in 0..ENTRIES {
            if world.rows[entry] == Row::Running {
                actions.push(Action::Commit(entry));
            }
            if world.pushed & !world.listener.known & bit(entry) != 0 {
                actions.push(Action::Push(entry));
            }
        }
        if world.which(|row| row == Row::Pending) != 0 {
            actions.push(Action::Position);
        }
        actions.push(match world.listener.pull {
            None => Action::Pull,
            Some(_) => Action::PullAnswer,
        });
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Begin(index) => self.begin(&mut next, index),
            Action::Commit(entry) => self.commit(&mut next, entry),
            Action::Answer(index) => self.answer(&mut next, index),
            Action::GiveUp(index) => self.give_up(&mut next, index),
            Action::Position => {
                for entry in 0..ENTRIES {
                    if next.rows[entry] == Row::Pending {
                        (next.rows[entry], next.before[entry]) = (Row::Placed, 0);
                    }
                }
            }
            Action::Crash(index) => {
                let Process { again, over, .. } = next.processes[index];
                let dead = Process { again, over, dead: true, ..Process::default() };
                (next.processes[index], next.crashed) = (dead, true);
            }
            Action::Restart(index) => {
                next.processes[index] = Process { again: true, ..Process::default() };
            }
            Action::LeaseEnds(index) => next.processes[index].over = true,
            Action::Look(index) => self.look(&mut next, index),
            Action::Enter(index) => {
                next.candidates |= next.run(index);
                next.changed();
            }
            Action::Propose(index, change) => {
                let process = &mut next.processes[index];
                process.changes = Some(change);
                if self.keeps(Rule::SilentWhileItChanges) {
                    process.epoch = None;
                }
            }
            Action::Change(index) | Action::ChangeUnheard(index) => {
                let change = next.processes[index].changes?;
                next.change(index, change);
                if action == Action::Change(index) {
                    self.look(&mut next, index);
                }
            }
            Action::ChangeFails(index) => next.processes[index].changes = None,
            Action::Beat(index) => self.beat(&mut next, index),
            Action::Hear(index) => {
                let beat = next.beats[index].take()?;
                next.listener_hears(index, beat);
            }
            Action::Push(entry) => next.listener.learns(bit(entry)),
            Action::Pull => {
                next.listener.pull = Some(Pull::of(self, &next));
                if !self.late {
                    next.listener_has_read(self);
                }
            }
            Action::PullAnswer => next.listener_has_read(self),
        }
        next.vouch(self);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FRESH, |_, world: &World| {
                world.listener.claim & !world.listener.applied == 0
            }),
            Property::sometimes(
                "the word of others tells what the log does not",
                |it, world: &World| {
                    let claim = world.listener.claim & world.which(|row| row == Row::Pending);
                    claim.count_ones() as usize == it.entries
                },
            ),
            Property::sometimes("all changes of the circle are believed", |it, world: &World| {
                world.listener.believes(it.changes) && world.listener.claim != 0
            }),
            Property::sometimes("the store refuses who is not in it", |_, world: &World| {
                world.rows.contains(&Row::Gone)
            }),
            Property::sometimes("what the scene is for happens", |it, world: &World| {
                let again = |it: &Process| it.again && it.begun != 0;
                let again = world.processes.iter().any(again) && world.listener.claim != 0;
                let over = world.processes.iter().any(|it| it.over);
                (again || !it.crashes) && (over && world.listener.believes(1) || !it.leases)
            }),
        ]
    }
}
