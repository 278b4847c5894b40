//! The circle: the processes that may acknowledge that something was taken back, and what they tell
//! each other while the log cannot be read.
//!
//! A node that cannot read the log does not know what was acknowledged meanwhile. It knows all the
//! same as soon as everybody who *could* have acknowledged something says what they did:
//!
//! - Who may is in the **register**, a record of the store. Each process enters it, and is admitted by
//!   one that is in the circle already. A place in it is kept for [`LEASE`] without a sign of life, so
//!   that the store may be away for as long.
//! - Whoever acknowledges counts it, **before** it answers, and pushes the entry under that number.
//! - Everybody says again and again, in a **heartbeat**: up to which number I acknowledged, in which
//!   epoch of the circle, and which of your heartbeats I have heard. So whoever has all entries up to
//!   that number, from all of the circle, knows all that had been acknowledged when it made the
//!   heartbeat that was echoed. No clock of another node is believed, and what is repeated or late
//!   says nothing new.
//!
//! Why nobody is missed: a process acknowledges only while it is in the circle. To be admitted, it
//! needs one that is in it, which says from then on that the circle is another; or that one of it has
//! fallen silent for good, because its lease is over, or because another process has its place. So
//! when somebody whom a listener does not know acknowledges something, at least one that the listener
//! does know has ceased to vouch for the circle that it knows, and it needs all of them. A change of
//! the circle is believed when the log has been read later than the register: what those who left had
//! acknowledged is in it.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::Duration,
};

use parking_lot::Mutex;
use tegata_core::{
    Batch, CommitRefused, Expect, Node, NodeId, Realm, Records, SinceBoot, StoreError,
    entropy::Entropy, repository,
};

use self::{
    heartbeat::{Heartbeat, Settled},
    peers::Peers,
    register::{KEY, Listed, Me, Register},
};
use crate::revocation::View;

mod heartbeat;
mod peers;
mod register;

pub use register::CIRCLE;

/// For how long a process is in the circle without renewing it: as long as the store may be away
/// without anybody having to do without the others' word.
pub const LEASE: Duration = Duration::from_secs(360);

/// For how long nobody may have seen a process renew its lease, for it to be over everywhere.
const LAPSED: Duration = Duration::from_secs(420);

/// How often a lease is renewed.
const RENEWED: Duration = Duration::from_secs(20);

/// Whoever has not looked for so long does not know who renewed its lease meanwhile.
const LOOKED: Duration = Duration::from_secs(5);

/// How often somebody else may be faster.
const TRIES: u32 = 20;

/// How many numbers are remembered until the log has been read beyond them.
const MARKS: usize = 1000;

/// What a process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not entered the circle.
    Outside,
    /// It has asked to be admitted.
    Candidate,
    /// It may acknowledge that something was taken back.
    Member,
    /// It may not any more: another process has its place, because it runs on a copy of its data
    /// directory.
    Replaced,
    /// It has left.
    Left,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "this process has not entered it",
            Self::Candidate => {
                "this process waits to be admitted by another node; where none runs that was not \
                 ended cleanly, that takes up to seven minutes"
            }
            Self::Member => "this process is in it",
            Self::Replaced => {
                "another process runs on a copy of this data directory; give each its own"
            }
            Self::Left => "this process has left it, because it ends",
        })
    }
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// Somebody of whom the register told.
    Known,
    /// Somebody else: the register is to be looked at.
    Stranger,
    /// This process itself, or nobody.
    Nobody,
}

/// The circle as one process is in it.
pub struct Circle {
    node: Node,
    realm: Realm,
    me: Me,
    state: Mutex<State>,
    /// Looks at the register come one after the other.
    looking: futures_util::lock::Mutex<()>,
}

struct State {
    standing: Standing,
    /// Whether this process has ever been in the register.
    entered: bool,
    /// The epoch that this process vouches for. `None` while that changes.
    epoch: Option<u64>,
    /// Until when it may acknowledge, and say what it did.
    lease: Option<SinceBoot>,
    renewed: Option<SinceBoot>,
    acknowledged: u64,
    beat: u64,
    settled: Settled,
    /// All up to a number had been acknowledged before a moment: until the log has been read later.
    marks: VecDeque<(SinceBoot, u64)>,
    peers: Peers,
    /// What the register said, and when it had been read.
    read: Option<(Register, SinceBoot)>,
    /// The circle whose word counts: what the log had to say of earlier ones is known.
    current: Option<Register>,
    seen: Seen,
}

impl Circle {
    /// The circle as a process sees it that has not entered yet.
    ///
    /// `place` is what no two processes use at the same time: when a process with the same comes, the
    /// one before is dead. `speaks` says whether the others can hear this one.
    #[must_use]
    pub fn new(node: Node, place: String, speaks: bool) -> Self {
        let me = Me { place, run: node.id(), speaks };
        let state = State {
            standing: Standing::Outside,
            entered: false,
            epoch: None,
            lease: None,
            renewed: None,
            acknowledged: 0,
            beat: 0,
            settled: Settled::default(),
            marks: VecDeque::new(),
            peers: Peers::default(),
            read: None,
            current: None,
            seen: Seen::default(),
        };
        let looking = futures_util::lock::Mutex::new(());
        Self { node, realm: Realm::default(), me, state: Mutex::new(state), looking }
    }

    /// A name for a place, where it has none yet.
    #[must_use]
    pub fn name_place(entropy: &dyn Entropy) -> String {
        format!("{}{}", NodeId::generate(entropy), NodeId::generate(entropy))
    }

    /// What this process may do at the moment.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.state.lock().standing
    }

    /// Looks at the register: enters it, admits others, renews the lease, and drops whose lease is
    /// over. To be called at least every second, and whenever a [`Speaker::Stranger`] is heard.
    ///
    /// # Errors
    /// What the store says. Then everything stays as it was, as far as anybody knows.
    pub async fn look(&self, records: &dyn Records) -> Result<Standing, StoreError> {
        let _only = self.looking.lock().await;
        for _ in 0..TRIES {
            let (register, expect) = self.load(records).await?;
            let loaded = self.node.since_boot();
            let Some(next) = self.state.lock().next(&self.me, &register, loaded) else {
                return Ok(self.standing());
            };
            if next == register {
                self.state.lock().read(&self.me, register, loaded);
                return Ok(self.standing());
            }
            if self.commit(records, &register, &next, expect).await? {
                let committed = self.node.since_boot();
                let mut state = self.state.lock();
                state.entered = true;
                // Nobody can have seen it earlier than it was written.
                state.lease = Some(SinceBoot(loaded.0 + LEASE));
                state.renewed = Some(loaded);
                state.read(&self.me, next, committed);
                return Ok(state.standing);
            }
        }
        Err(StoreError::Unavailable {
            backend: "the record store",
            detail: "others changed who is in the circle again and again".to_owned(),
        })
    }

    /// Leaves the circle. Nothing is acknowledged afterwards.
    ///
    /// # Errors
    /// What the store says. Then the place stays taken until the lease is over, or until a process
    /// comes to it.
    pub async fn leave(&self, records: &dyn Records) -> Result<(), StoreError> {
        let _only = self.looking.lock().await;
        let entered = {
            let mut state = self.state.lock();
            state.standing = Standing::Left;
            state.epoch = None;
            state.entered
        };
        for _ in 0..TRIES {
            if !entered {
                return Ok(());
            }
            let (register, expect) = self.load(records).await?;
            let next = register.left(&self.me);
            if next == register || self.commit(records, &register, &next, expect).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Counts `count` entries that are durable as acknowledged, and answers the number of the first.
    /// To be called before anybody is told. `None`: this process may not acknowledge anything.
    #[must_use]
    pub fn acknowledge(&self, count: usize) -> Option<u64> {
        let now = self.node.since_boot();
        let mut state = self.state.lock();
        if !state.may_speak(now) {
            return None;
        }
        let first = state.acknowledged.saturating_add(1);
        state.acknowledged = state.acknowledged.saturating_add(u64::try_from(count).ok()?);
        Some(first)
    }

    /// Whether something can be acknowledged now.
    #[must_use]
    pub fn may_acknowledge(&self) -> bool {
        self.state.lock().may_speak(self.node.since_boot())
    }

    /// What is to be told to all others now. To be called every half second.
    #[must_use]
    pub fn beat(&self, view: &View) -> Vec<u8> {
        let now = self.node.since_boot();
        let mut state = self.state.lock();
        state.beat += 1;
        state.settle(now, view);
        let beat = state.beat;
        state.peers.made(beat, now);
        let epoch = state.epoch.filter(|_| self.me.speaks && state.may_speak(now));
        let heartbeat = Heartbeat {
            by: self.me.run,
            beat,
            epoch,
            acknowledged: state.acknowledged,
            settled: state.settled,
            heard: state.peers.echoes(),
        };
        state.vouch(&self.me, view, now);
        heartbeat.to_bytes()
    }

    /// Hears what another process tells. A message that is none is ignored.
    pub fn hear(&self, message: &[u8], view: &View) -> Speaker {
        let heartbeat = Heartbeat::from_bytes(message).filter(|it| it.by != self.me.run);
        let Some(heartbeat) = heartbeat else { return Speaker::Nobody };
        let now = self.node.since_boot();
        let mut state = self.state.lock();
        state.peers.hear(self.me.run, &heartbeat);
        state.vouch(&self.me, view, now);
        let read = state.read.as_ref();
        let known = read.is_some_and(|(it, _)| it.circle().any(|run| run == heartbeat.by));
        if known { Speaker::Known } else { Speaker::Stranger }
    }

    /// Notes that the entry that `by` acknowledged under `number` is known here.
    pub(crate) fn learn(&self, by: NodeId, number: u64, view: &View) {
        if by == self.me.run {
            return;
        }
        let now = self.node.since_boot();
        let mut state = self.state.lock();
        state.peers.learn(by, number);
        state.vouch(&self.me, view, now);
    }

    async fn load(&self, records: &dyn Records) -> Result<(Register, Expect), StoreError> {
        let found = repository::load::<Register>(records, &self.realm, KEY).await?;
        Ok(match found {
            Some(found) => (found.value, Expect::Version(found.version)),
            None => (Register::default(), Expect::Absent),
        })
    }

    /// Writes the next register. Answers whether nobody was faster.
    async fn commit(
        &self,
        records: &dyn Records,
        register: &Register,
        next: &Register,
        expect: Expect,
    ) -> Result<bool, StoreError> {
        use tegata_core::Stored as _;
        if next.epoch != register.epoch {
            // INVARIANT: nothing is said of the old circle once the new one may be there.
            self.state.lock().epoch = None;
        }
        let batch = Batch::new(self.realm.clone()).with(next.put(expect));
        match records.commit(batch).await {
            Ok(()) => Ok(true),
            Err(CommitRefused::Conflict { .. }) => Ok(false),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }
}

impl State {
    /// The register as it should be. `None`: this process has no more to do with it.
    fn next(&mut self, me: &Me, register: &Register, now: SinceBoot) -> Option<Register> {
        if self.entered && register.listed(me) == Listed::Replaced {
            self.standing = Standing::Replaced;
            self.epoch = None;
        }
        if matches!(self.standing, Standing::Left | Standing::Replaced) {
            return None;
        }
        self.seen.look(register, now);
        let is_over = |member: &register::Member| {
            member.run != me.run && self.seen.has_lapsed(member.run, now)
        };
        let mut next = register.entered(me).without(is_over).admitted(me);
        if self.renewed.is_none_or(|renewed| now.since(renewed) >= RENEWED) {
            next = next.renewed(me);
        }
        Some(next)
    }

    /// Takes note of what the register said when it was read.
    fn read(&mut self, me: &Me, register: Register, read: SinceBoot) {
        if self.standing == Standing::Left {
            return;
        }
        self.standing = match register.listed(me) {
            Listed::Member => Standing::Member,
            Listed::Candidate => Standing::Candidate,
            Listed::Nowhere => Standing::Outside,
            Listed::Replaced => Standing::Replaced,
        };
        self.epoch = (self.standing == Standing::Member).then_some(register.epoch);
        // What was read first is waited for: else a register that is renewed often would never count.
        match &mut self.read {
            Some((known, _)) if known.epoch == register.epoch => *known = register,
            known => *known = Some((register, read)),
        }
    }

    fn may_speak(&self, now: SinceBoot) -> bool {
        self.standing == Standing::Member && self.lease.is_some_and(|until| now < until)
    }

    /// Notes how much of what was acknowledged is in the log.
    fn settle(&mut self, now: SinceBoot, view: &View) {
        let marked = self.marks.back().map_or(self.settled.number, |(_, number)| *number);
        if self.acknowledged > marked && self.marks.len() < MARKS {
            self.marks.push_back((now, self.acknowledged));
        }
        while let Some((at, number)) = self.marks.front().copied()
            && view.knows_all_until(at)
        {
            self.settled = Settled { number, position: view.position() };
            self.marks.pop_front();
        }
    }

    /// Tells the view until when it knows everything, as the others vouch for it.
    fn vouch(&mut self, me: &Me, view: &View, now: SinceBoot) {
        let Some((register, read)) = &self.read else { return };
        let is_current = self.current.as_ref().is_some_and(|it| it.epoch == register.epoch);
        if !is_current && view.knows_all_until(*read) {
            let all = register.all().map(|member| member.run).collect::<Vec<_>>();
            self.peers.begin_anew(&all);
            self.current = Some(register.clone());
        }
        let Some(current) = &self.current else { return };
        // INVARIANT: whoever is not heard believes nobody either. A circle with one of these in it is
        // taken to be believed by nobody, so that others may enter it by themselves.
        if !me.speaks {
            return;
        }
        if self.epoch != Some(current.epoch) || !self.may_speak(now) {
            return;
        }
        let circle = current.circle().collect::<Vec<_>>();
        let (epoch, position) = (current.epoch, view.position());
        if let Some(until) = self.peers.vouched(me.run, &circle, epoch, position, now) {
            view.vouch(until);
        }
    }
}

/// When each process was seen to renew its lease. What its clock says does not matter.
#[derive(Debug, Default)]
struct Seen {
    renewed: HashMap<NodeId, (u64, SinceBoot)>,
    looked: Option<SinceBoot>,
}

impl Seen {
    fn look(&mut self, register: &Register, now: SinceBoot) {
        // Who was not looked at may have renewed its lease all the same.
        if self.looked.is_none_or(|looked| now.since(looked) > LOOKED) {
            self.renewed.clear();
        }
        self.looked = Some(now);
        self.renewed.retain(|run, _| register.all().any(|member| member.run == *run));
        for member in register.all() {
            let seen = self.renewed.entry(member.run).or_insert((member.renewed, now));
            if seen.0 != member.renewed {
                *seen = (member.renewed, now);
            }
        }
    }

    fn has_lapsed(&self, run: NodeId, now: SinceBoot) -> bool {
        self.renewed.get(&run).is_some_and(|(_, since)| now.since(*since) >= LAPSED)
    }
}

impl fmt::Debug for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Circle({:?}, {:?})", self.me.run, self.standing())
    }
}
