//! The log of revocations on PostgreSQL: two nodes that write, one of which positions what was written, and
//! one that reads.
//!
//! Modelled: transactions that commit in another order than they began, late, or not at all, also after
//! their writer has given up or died; answers that are lost; the sequencer's lease, the lock under which
//! positions are given, and its holder's death in the middle; a failover to the standby; a reader whose
//! answers are late or lost. Not modelled: that entries are trimmed, limits on how many are taken at once,
//! repeated deliveries, and the mark below which nothing is pending any more.

use stateright::{Model, Property};

pub(crate) const DURABLE: &str = "what was acknowledged is in the log";
pub(crate) const FRESH: &str = "a reader has everything until when it says that it has";
pub(crate) const CURSOR: &str = "a reader has every entry up to its position";
pub(crate) const ORDER: &str = "no position is given twice";

/// How many entries there are. The first writer writes two, the other one.
const ENTRIES: usize = 3;
const ALL: Set = 0b111;
const WRITERS: usize = 2;

/// A set of entries.
type Set = u8;

/// What can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nothing is acknowledged before it is committed.
    AnswerAfterCommit,
    /// Nothing counts as committed before a standby has it.
    StandbyHasItFirst,
    /// Positions are given by a sequencer, not taken by the writer.
    PositionsAreGiven,
    /// Who gives positions has them locked, whatever it believes of its lease.
    OnePositionsAtATime,
    /// A pull says since when something has been waiting for a position.
    WaitingCounts,
    /// It says so of the moment at which it read the entries.
    OneSnapshot,
}

#[derive(Default)]
pub(crate) struct Log {
    without: Option<Rule>,
}

/// An entry on its way into the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Row {
    #[default]
    Unwritten,
    /// Its transaction is open, and seen by nobody.
    Running,
    /// It is committed, and has no position.
    Pending,
    At(u8),
    /// Nothing came of it.
    Gone,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Entry {
    row: Row,
    /// What was durable when it was written.
    before: Set,
    /// The position that its writer took itself, where writers do.
    taken: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Writer {
    dead: bool,
    /// The entry whose answer it waits for.
    waits: Option<u8>,
    /// It gives positions: the greatest that there was when it had the lock.
    gives: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Reader {
    position: u8,
    known: Set,
    /// It says that it has all that was durable when this was.
    claim: Set,
    pull: Option<Pull>,
}

/// An answer on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pull {
    entries: Set,
    head: u8,
    claim: Set,
    /// Whether it is known how long the oldest has been waiting.
    complete: bool,
}

/// What went wrong. One thing does, besides answers that are lost and leases that end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Fault {
    #[default]
    None,
    Crash,
    /// One died while it gave positions.
    Orphaned,
    Failover,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    entries: [Entry; ENTRIES],
    /// What the standby has. Only where it has it later.
    copied: Set,
    acknowledged: Set,
    writers: [Writer; WRITERS],
    /// Who has the lease to give positions.
    holder: Option<u8>,
    reader: Reader,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Write(u8),
    Commit(u8),
    Abort(u8),
    Answer(u8),
    LoseAnswer(u8),
    Crash(u8),
    Restart(u8),
    LeaseEnds,
    Lock(u8),
    Position(u8),
    Copy,
    Failover,
    Pull,
    PullWaiting,
    PullAnswer,
    LosePull,
}

fn bit(entry: usize) -> Set {
    1 << entry
}

impl World {
    fn which(&self, of: impl Fn(Row) -> bool) -> Set {
        let of = self.entries.iter().enumerate().filter(|(_, entry)| of(entry.row));
        of.map(|(index, _)| bit(index)).sum()
    }

    fn durable(&self) -> Set {
        self.which(|row| matches!(row, Row::Pending | Row::At(_)))
    }

    /// The greatest position.
    fn head(&self) -> u8 {
        let positions = self.entries.iter().map(|entry| match entry.row {
            Row::At(position) => position,
            _ => 0,
        });
        positions.max().unwrap_or_default()
    }

    fn from(&self, after: u8) -> Set {
        self.which(|row| matches!(row, Row::At(position) if position > after))
    }

    /// What was durable when the oldest was written that has no position.
    fn waiting(&self) -> Set {
        let pending = self.entries.iter().filter(|entry| entry.row == Row::Pending);
        pending.fold(Set::MAX, |all, entry| all & entry.before)
    }

    /// The next entry of a writer.
    fn next_of(&self, writer: usize) -> Option<usize> {
        let own = (0..ENTRIES).filter(|entry| entry % WRITERS == writer);
        own.into_iter().find(|entry| self.entries[*entry].row == Row::Unwritten)
    }

    fn give_positions(&mut self, after: u8) {
        let pending = self.entries.iter_mut().filter(|entry| entry.row == Row::Pending);
        for (position, entry) in (after + 1..).zip(pending) {
            *entry = Entry { row: Row::At(position), ..Entry::default() };
        }
    }

    /// Every connection breaks; what the standby does not have is gone.
    fn fail_over(&mut self, later: bool) {
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let copied = !later || self.copied & bit(index) != 0;
            let lost = match entry.row {
                Row::Running => true,
                Row::Pending | Row::At(_) => !copied,
                Row::Unwritten | Row::Gone => false,
            };
            if lost {
                *entry = Entry { row: Row::Gone, ..Entry::default() };
            }
        }
        for writer in &mut self.writers {
            (writer.waits, writer.gives) = (None, None);
        }
        self.reader.pull = None;
        self.fault = Fault::Failover;
    }
}

impl Log {
    pub(crate) fn without(rule: Rule) -> Self {
        Self { without: Some(rule) }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn writer_actions(&self, world: &World, index: u8, actions: &mut Vec<Action>) {
        let writer = world.writers[usize::from(index)];
        if writer.dead {
            actions.push(Action::Restart(index));
            return;
        }
        match writer.waits.map(|entry| world.entries[usize::from(entry)].row) {
            None => actions.extend(world.next_of(index.into()).map(|_| Action::Write(index))),
            Some(Row::Running) if self.keeps(Rule::AnswerAfterCommit) => {
                actions.push(Action::LoseAnswer(index));
            }
            Some(_) => actions.extend([Action::Answer(index), Action::LoseAnswer(index)]),
        }
        if world.fault == Fault::None {
            actions.push(Action::Crash(index));
        }
        if writer.gives.is_some() {
            actions.push(Action::Position(index));
            return;
        }
        let may = world.holder.is_none_or(|holder| holder == index);
        let free = world.writers.iter().all(|it| it.gives.is_none());
        let given = self.keeps(Rule::PositionsAreGiven);
        if given && may && (free || !self.keeps(Rule::OnePositionsAtATime)) {
            actions.push(Action::Lock(index));
        }
    }

    fn write(&self, world: &mut World, writer: u8) {
        let before = world.durable();
        let Some(entry) = world.next_of(writer.into()) else { return };
        let taken = world.entries.iter().map(|entry| entry.taken).max().unwrap_or_default() + 1;
        let taken = if self.keeps(Rule::PositionsAreGiven) { 0 } else { taken };
        world.entries[entry] = Entry { row: Row::Running, before, taken };
        world.writers[usize::from(writer)].waits = u8::try_from(entry).ok();
    }

    fn answer(&self, world: &mut World, writer: u8) {
        let Some(entry) = world.writers[usize::from(writer)].waits.take() else { return };
        if world.entries[usize::from(entry)].row != Row::Gone {
            world.acknowledged |= bit(entry.into());
        }
    }

    fn pull(&self, world: &mut World) {
        let entries = world.from(world.reader.position);
        let complete = self.keeps(Rule::OneSnapshot);
        let claim = world.durable();
        let waiting =
            if complete && self.keeps(Rule::WaitingCounts) { world.waiting() } else { claim };
        let pull = Pull { entries, head: world.head(), claim: claim & waiting, complete };
        world.reader.pull = Some(pull);
    }
}

impl Model for Log {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::default()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for index in 0..2 {
            self.writer_actions(world, index, actions);
        }
        for (index, entry) in (0..).zip(&world.entries) {
            if entry.row == Row::Running {
                actions.extend([Action::Commit(index), Action::Abort(index)]);
            }
        }
        if world.holder.is_some() {
            actions.push(Action::LeaseEnds);
        }
        if !self.keeps(Rule::StandbyHasItFirst) && world.copied != world.durable() {
            actions.push(Action::Copy);
        }
        if world.fault == Fault::None {
            actions.push(Action::Failover);
        }
        match world.reader.pull {
            None => actions.push(Action::Pull),
            Some(pull) if pull.complete => {
                actions.extend([Action::PullAnswer, Action::LosePull]);
            }
            Some(_) => actions.push(Action::PullWaiting),
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Write(writer) => self.write(&mut next, writer),
            Action::Commit(index) => {
                let entry = &mut next.entries[usize::from(index)];
                let taken = entry.taken;
                entry.row = if taken == 0 { Row::Pending } else { Row::At(taken) };
            }
            Action::Abort(index) => {
                next.entries[usize::from(index)] = Entry { row: Row::Gone, ..Entry::default() };
            }
            Action::Answer(writer) => self.answer(&mut next, writer),
            Action::LoseAnswer(writer) => {
                next.writers[usize::from(writer)].waits = None;
            }
            Action::Crash(index) => {
                let writer = &mut next.writers[usize::from(index)];
                let gives = writer.gives.is_some();
                next.fault = if gives { Fault::Orphaned } else { Fault::Crash };
                *writer = Writer { dead: true, ..Writer::default() };
            }
            Action::Restart(index) => next.writers[usize::from(index)].dead = false,
            Action::LeaseEnds => next.holder = None,
            Action::Lock(index) => {
                next.writers[usize::from(index)].gives = Some(next.head());
                next.holder = Some(index);
            }
            Action::Position(index) => {
                let after = next.writers[usize::from(index)].gives.take()?;
                next.give_positions(after);
            }
            Action::Copy => next.copied = next.durable(),
            Action::Failover => next.fail_over(!self.keeps(Rule::StandbyHasItFirst)),
            Action::Pull => self.pull(&mut next),
            Action::PullWaiting => {
                let waiting = next.waiting();
                let pull = next.reader.pull.as_mut()?;
                (pull.claim, pull.complete) = (pull.claim & waiting, true);
            }
            Action::PullAnswer => {
                let pull = next.reader.pull.take()?;
                next.reader.known |= pull.entries;
                next.reader.position = next.reader.position.max(pull.head);
                // What was known until a moment is known until all earlier ones.
                next.reader.claim |= pull.claim;
            }
            Action::LosePull => next.reader.pull = None,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(DURABLE, |_, world: &World| {
                world.acknowledged & !world.durable() == 0
            }),
            Property::always(FRESH, |_, world: &World| {
                world.reader.claim & !world.reader.known == 0
            }),
            Property::always(CURSOR, |_, world: &World| {
                let passed = world.which(
                    |row| matches!(row, Row::At(position) if position <= world.reader.position),
                );
                passed & !world.reader.known == 0
            }),
            Property::always(ORDER, |_, world: &World| {
                (1..=3).all(|it| world.which(|row| row == Row::At(it)).count_ones() <= 1)
            }),
            Property::sometimes("everything is acknowledged and read", |_, world: &World| {
                world.acknowledged == ALL && world.reader.claim == ALL
            }),
            Property::sometimes("one dies while it gives positions", |_, world: &World| {
                world.fault == Fault::Orphaned && world.reader.known == ALL
            }),
            Property::sometimes("the store fails over in between", |_, world: &World| {
                world.fault == Fault::Failover && world.acknowledged.count_ones() == 2
            }),
            Property::sometimes("an answer is lost, and the entry read", |_, world: &World| {
                let silent = world.writers.iter().all(|it| it.waits.is_none());
                silent && world.reader.known & !world.acknowledged != 0
            }),
            Property::sometimes("a reader waits for a position", |_, world: &World| {
                world.reader.pull.is_some_and(|it| it.claim & !world.reader.claim != 0)
                    && world.which(|row| row == Row::Pending) != 0
            }),
        ]
    }
}
