//! The processes, the store, and what is under way between them.

use super::listener::{Beat, Listener};

pub(crate) const ENTRIES: usize = 2;
pub(crate) const PROCESSES: usize = 3;
/// The process that listens. The others take back one entry each.
pub(crate) const LISTENER: usize = 0;

/// A set of entries.
pub(crate) type Set = u8;

/// A set of runs. A process that comes back is another run.
pub(crate) type Runs = u8;

/// An entry on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    #[default]
    Unwritten,
    Running,
    Pending,
    Placed,
    Gone,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) again: bool,
    pub(crate) dead: bool,
    /// Whether it believes to be in the circle.
    pub(crate) member: bool,
    /// The circle that it vouches for.
    pub(crate) epoch: Option<u8>,
    /// Its lease is over.
    pub(crate) over: bool,
    /// How it is about to change the register.
    pub(crate) changes: Option<Change>,
    pub(crate) waits: bool,
    pub(crate) begun: Set,
    pub(crate) void: Set,
}

/// A change of the circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    /// A run comes in the place of the one before.
    Replace,
    Admit(Runs),
    /// Those whose lease is over are dropped. Where nobody remains, a candidate admits itself.
    Drop,
    Leave,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) rows: [Row; ENTRIES],
    /// What was durable when each was written, as long as it waits.
    pub(crate) before: [Set; ENTRIES],
    /// Which run each is of, as long as it is under way.
    pub(crate) by: [Runs; ENTRIES],
    /// The entries that were ever pushed.
    pub(crate) pushed: Set,
    pub(crate) epoch: u8,
    pub(crate) members: Runs,
    pub(crate) candidates: Runs,
    pub(crate) crashed: bool,
    pub(crate) processes: [Process; PROCESSES],
    /// The beat of each that is on its way to the listener.
    pub(crate) beats: [Option<Beat>; PROCESSES],
    pub(crate) listener: Listener,
}

pub(crate) fn bit(index: usize) -> u8 {
    1 << index
}

impl Process {
    pub(crate) fn run(self, index: usize) -> Runs {
        bit(if self.again { index + PROCESSES } else { index })
    }
}

impl World {
    /// A circle of these, whom the listener has heard nothing of.
    pub(crate) fn of(members: Runs) -> Self {
        let mut world = Self { members, ..Self::default() };
        for (index, process) in world.processes.iter_mut().enumerate() {
            process.member = members & bit(index) != 0;
            process.epoch = process.member.then_some(0);
        }
        world.listener.begins(members);
        world
    }

    pub(crate) fn which(&self, of: impl Fn(Row) -> bool) -> Set {
        (0..ENTRIES).filter(|entry| of(self.rows[*entry])).map(bit).sum()
    }

    pub(crate) fn durable(&self) -> Set {
        self.which(|row| matches!(row, Row::Pending | Row::Placed))
    }

    /// What has been written by now, durable or not.
    pub(crate) fn written(&self) -> Set {
        self.which(|row| matches!(row, Row::Running | Row::Pending | Row::Placed))
    }

    pub(crate) fn run(&self, index: usize) -> Runs {
        self.processes[index].run(index)
    }

    /// Whose lease is over, as `index` sees it.
    pub(crate) fn lapsed(&self, index: usize) -> Runs {
        let over = self.processes.iter().enumerate().filter(|(it, of)| of.over && *it != index);
        self.members & over.fold(0, |all, (it, of)| all | bit(it) | of.run(it))
    }

    /// Others had the register in hand when it was changed: what they would write is refused.
    pub(crate) fn changed(&mut self) {
        self.processes.iter_mut().for_each(|process| process.changes = None);
    }

    pub(crate) fn change(&mut self, index: usize, change: Change) {
        match change {
            Change::Replace => {
                self.members = self.members & !bit(index) | self.run(index);
                self.candidates &= !bit(index);
            }
            Change::Admit(run) => {
                self.members |= run;
                self.candidates &= !run;
            }
            Change::Drop => {
                let own = self.run(index);
                self.members &= !self.lapsed(index);
                if self.members == 0 {
                    (self.members, self.candidates) = (own, self.candidates & !own);
                }
            }
            Change::Leave => self.members &= !self.run(index),
        }
        self.epoch += 1;
        self.changed();
    }
}
