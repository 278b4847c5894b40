//! What the listener of the circle knows, and what it believes.

use super::{
    Circle, Rule,
    world::{ENTRIES, LISTENER, Row, Runs, Set, World, bit},
};

/// What a process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Beat {
    pub(crate) run: Runs,
    pub(crate) epoch: u8,
    pub(crate) begun: Set,
    pub(crate) void: Set,
    /// When the beat was made that it echoes. `None`: it is taken for said the moment it is heard.
    pub(crate) after: Option<Set>,
}

/// A register that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Read {
    epoch: u8,
    members: Runs,
}

/// An answer of the log on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pull {
    entries: Set,
    claim: Set,
    /// Whether it says everything that was there when the register was read.
    later: bool,
}

/// What is known of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Peer {
    run: Runs,
    said: Option<(u8, Set, Set)>,
    /// All that it had taken back at this moment is known.
    vouched: Option<Set>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Listener {
    /// What it refuses.
    pub(crate) applied: Set,
    /// The numbers that it knows.
    pub(crate) known: Set,
    /// It says that it has all that was durable when this was.
    pub(crate) claim: Set,
    pub(crate) pull: Option<Pull>,
    read: Read,
    /// What had been written when the register was read, as long as the log has not been read later.
    older: Option<Set>,
    /// The circle whose word counts.
    current: Read,
    peers: [Peer; ENTRIES],
}

impl Listener {
    pub(crate) fn begins(&mut self, members: Runs) {
        self.read.members = members;
        self.current.members = members;
    }

    pub(crate) fn believes(&self, epoch: u8) -> bool {
        self.current.epoch == epoch
    }

    /// An entry is pushed.
    pub(crate) fn learns(&mut self, entry: Set) {
        self.applied |= entry;
        self.known |= entry;
    }

    fn believe(&mut self) {
        self.older = None;
        self.current = self.read;
        self.peers.iter_mut().for_each(|peer| peer.vouched = None);
    }

    /// Until when everything is known that others took back. `missing` of them may be silent.
    fn word_of_others(&mut self, now: Set, missing: usize) -> Option<Set> {
        let Self { current, known, peers, .. } = self;
        for peer in peers.iter_mut() {
            if let Some((epoch, begun, after)) = peer.said
                && epoch == current.epoch
                && begun & !*known == 0
            {
                peer.vouched = Some(peer.vouched.unwrap_or_default() | after);
            }
        }
        let others = (0..Runs::BITS).map(|it| 1 << it).filter(|run| current.members & run != 0);
        let others = others.filter(|run| *run != bit(LISTENER));
        let word = |run| peers.iter().find(|peer| peer.run == run).and_then(|peer| peer.vouched);
        let (said, silent): (Vec<_>, Vec<_>) = others.map(word).partition(Option::is_some);
        (silent.len() <= missing).then(|| said.into_iter().flatten().fold(now, |a, b| a & b))
    }
}

impl Pull {
    /// What the log says now.
    pub(crate) fn of(circle: &Circle, world: &World) -> Self {
        let entries = world.which(|row| row == Row::Placed);
        let pending = world.which(|row| row == Row::Pending);
        let waiting = (0..ENTRIES).filter(|it| pending & bit(*it) != 0);
        let waiting = waiting.fold(Set::MAX, |all, entry| all & world.before[entry]);
        let waiting = if circle.keeps(Rule::WaitingCounts) { waiting } else { Set::MAX };
        let later = world.listener.older.is_none_or(|older| pending & older == 0);
        Self { entries, claim: world.durable() & waiting, later }
    }
}

impl World {
    pub(crate) fn listener_reads(&mut self, circle: &Circle) {
        let written = self.written();
        let read = Read { epoch: self.epoch, members: self.members };
        let listener = &mut self.listener;
        if listener.read.epoch == read.epoch {
            return;
        }
        (listener.read, listener.older) = (read, Some(written));
        if let Some(pull) = &mut listener.pull {
            pull.later = false;
        }
        if !circle.keeps(Rule::LogAfterRegister) {
            listener.believe();
        }
    }

    pub(crate) fn listener_has_read(&mut self, circle: &Circle) {
        let Some(pull) = self.listener.pull.take() else { return };
        self.listener.applied |= pull.entries;
        self.listener.claim |= pull.claim;
        if !circle.keeps(Rule::AskedNotAnswered) {
            self.listener.claim |= self.durable();
        }
        if pull.later && self.listener.older.is_some() {
            self.listener.believe();
        }
    }

    pub(crate) fn listener_hears(&mut self, index: usize, beat: Beat) {
        let now = self.durable();
        let listener = &mut self.listener;
        listener.known |= beat.void;
        let Some(peer) = listener.peers.get_mut(index - 1) else { return };
        if peer.run != beat.run {
            *peer = Peer { run: beat.run, ..Peer::default() };
        }
        peer.said = Some((beat.epoch, beat.begun, beat.after.unwrap_or(now)));
    }

    /// The listener considers what it has heard.
    pub(crate) fn vouch(&mut self, circle: &Circle) {
        let now = self.durable();
        let own = self.processes[LISTENER];
        let is_kept = !own.over || !circle.keeps(Rule::LeaseIsKept);
        if own.epoch != Some(self.listener.current.epoch) || !is_kept {
            return;
        }
        let missing = usize::from(!circle.keeps(Rule::AllOthers));
        if let Some(until) = self.listener.word_of_others(now, missing) {
            self.listener.claim |= until;
        }
    }
}
