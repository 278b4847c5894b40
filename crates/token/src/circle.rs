//! The circle: the processes that may take something back, and what they tell each other while the
//! log cannot be read.
//!
//! A node that cannot read the log does not know what was taken back meanwhile. It knows all the same
//! as soon as everybody who *could* have taken something back says what they did:
//!
//! - Who may is in the **register**, a record of the store. Each process enters it, and is admitted by
//!   one that is in the circle already. A place in it is kept for [`LEASE`] without a sign of life, so
//!   that the store may be away for as long.
//! - Whoever takes something back gives it a number **before** the store is asked, and pushes the entry
//!   under that number.
//! - Everybody says again and again, in a **heartbeat**: up to which number I began, in which circle,
//!   and which of your heartbeats I have heard. So whoever has all entries up to that number, from all
//!   of the circle, knows all that was in the store when it made the heartbeat that was echoed. No
//!   clock of another node is believed, and what is repeated or late says nothing new.
//!
//! Why nobody is missed: a process takes things back only while it is in the circle. To be admitted, it
//! needs one that is in it, which says from then on that the circle is another; or that one of it has
//! fallen silent for good, because its lease is over, or because another process has its place. So
//! when somebody whom a listener does not know takes something back, at least one that the listener
//! does know has ceased to vouch for the circle that it knows, and it needs all of them. A change of
//! the circle is believed when the log has been read later than the register: what those who left had
//! taken back is in it.
//!
//! Whoever answers "taken back" because the store says that it has been, relies on the number that was
//! given before. Whether the one that gave it has heard of its success does not matter: where it does
//! not know, it tells the others that it may be so, and they refuse what it names until they have read
//! the log. And the store itself refuses to take something back for whoever is not in the circle any
//! more, however long that one stood still.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tegata_core::{
    Batch, CommitRefused, Entropy, Expect, Node, NodeId, Realm, Records, SinceBoot, StoreError,
    port::{Change, Page},
    repository,
};

use self::{
    heartbeat::Heartbeat,
    ledger::Ledger,
    peers::Peers,
    register::{KEY, Listed, Me, Member, Register},
    seen::Seen,
};
use crate::revocation::{Entry, KNOWS, View};

mod begun;
mod heartbeat;
mod ledger;
mod peers;
mod register;
mod seen;
mod told;

pub use begun::Begun;
pub(crate) use ledger::LATE;
pub use register::{CIRCLE, CIRCLE_PLACES};
use told::Of;
pub use told::{Heard, Point, Receipt, Sighting, Standing, Stands};

/// For how long a process is in the circle without renewing it: as long as the store may be away
/// without anybody having to do without the others' word.
pub const LEASE: Duration = Duration::from_secs(360);

/// For how long nobody may have seen a process renew its lease, for it to be over everywhere.
const LAPSED: Duration = Duration::from_secs(420);

/// The same for whoever only waits to be admitted, and has nothing to lose.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// How often a lease is renewed.
const RENEWED: Duration = Duration::from_secs(20);

/// Who has given no sign for so long is not admitted: it may have ended.
const HEARD: Duration = Duration::from_secs(5);

/// Of whom nothing was heard for so long, nothing is told.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// How often somebody else may be faster.
const TRIES: u32 = 20;

/// How often heartbeats are made in a small circle, and how much less often for each that is in it.
const BEAT: Duration = Duration::from_millis(500);
const BEAT_EACH: Duration = Duration::from_millis(10);

/// How many messages are said again at once.
const AGAIN: usize = 64;

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
    /// The circle that this process vouches for. `None` while that changes.
    epoch: Option<u64>,
    /// Until when it may say what it did.
    lease: Option<SinceBoot>,
    renewed: Option<SinceBoot>,
    beat: u64,
    ledger: Ledger,
    peers: Peers,
    /// What the register said, and when it had been read.
    read: Option<(Register, SinceBoot)>,
    /// The circle whose word counts: what the log had to say of earlier ones is known.
    current: Option<Register>,
    seen: Seen,
    /// Up to which position somebody waits here for the others to have followed the log.
    awaits: u64,
}

impl Circle {
    /// The circle as a process sees it that has not entered yet.
    ///
    /// `place` is what no two processes use at the same time: when a process with the same comes, the
    /// one before is dead. `name` is what operators call it. `speaks` says whether the others can hear
    /// this one.
    #[must_use]
    pub fn new(node: Node, place: String, name: String, speaks: bool) -> Self {
        let me = Me { place, name, run: node.id(), speaks, knows: KNOWS };
        let state = State {
            standing: Standing::Outside,
            entered: false,
            epoch: None,
            lease: None,
            renewed: None,
            beat: 0,
            ledger: Ledger::default(),
            peers: Peers::default(),
            read: None,
            current: None,
            seen: Seen::default(),
            awaits: 0,
        };
        let looking = futures_util::lock::Mutex::new(());
        Self { node, realm: Realm::default(), me, state: Mutex::new(state), looking }
    }

    /// The same, of a version that knows other kinds of targets: no more may be said than is so.
    #[must_use]
    pub const fn knowing(mut self, knows: u32) -> Self {
        self.me.knows = knows;
        self
    }

    /// A name for a place, where it has none yet.
    #[must_use]
    pub fn name_place(entropy: &dyn Entropy) -> String {
        format!("{}{}", NodeId::generate(entropy), NodeId::generate(entropy))
    }

    /// The changes after which nobody is in the circle: for whoever knows that no process runs. One that
    /// does all the same takes nothing back any more.
    ///
    /// # Errors
    /// What the store says.
    pub async fn disbanded(
        records: &dyn Records,
        realm: &Realm,
    ) -> Result<Vec<Change>, StoreError> {
        let expect = Expect::Any;
        let register = Change::Remove { kind: &CIRCLE, key: KEY.to_owned(), expect };
        let page = Page { after: None, limit: u32::MAX };
        let places = records.scan(realm, &CIRCLE_PLACES, page).await?;
        let places = places.into_iter().map(|place| {
            let key = place.key;
            Change::Remove { kind: &CIRCLE_PLACES, key, expect }
        });
        Ok(std::iter::once(register).chain(places).collect())
    }

    /// What this process may do at the moment.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.state.lock().standing
    }

    /// Looks at the register: enters it, admits others, renews the lease, and drops whose lease is
    /// over. To be called at least every second, and whenever a stranger is heard. Whoever comes while
    /// somebody looks does not wait.
    ///
    /// # Errors
    /// What the store says. Then everything stays as it was, as far as anybody knows.
    pub async fn look(&self, records: &dyn Records) -> Result<Standing, StoreError> {
        let Some(_only) = self.looking.try_lock() else { return Ok(self.standing()) };
        for _ in 0..TRIES {
            let (register, expect) = self.load(records).await?;
            let loaded = self.node.since_boot();
            let next = self.state.lock().next(&self.me, &register, self.node.entropy(), loaded);
            let Some(next) = next else { return Ok(self.standing()) };
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
        Err(contended())
    }

    /// Leaves the circle. Nothing is taken back afterwards.
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
        if !entered {
            return Ok(());
        }
        for _ in 0..TRIES {
            let (register, expect) = self.load(records).await?;
            let left = register.left(&self.me);
            let next = left.named_after(&register, fresh(self.node.entropy()));
            if next == register || self.commit(records, &register, &next, expect).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Gives numbers to entries that are about to be committed. `None`: this process may not take
    /// anything back.
    #[must_use]
    pub fn begin(
        self: &Arc<Self>,
        view: &Arc<View>,
        realm: &Realm,
        entries: &[Entry],
    ) -> Option<Begun> {
        let mut state = self.state.lock();
        if state.standing != Standing::Member {
            return None;
        }
        let now = self.node.since_boot();
        let first = state.ledger.begin(u64::try_from(entries.len()).ok()?, now);
        let (circle, view) = (Arc::clone(self), Arc::clone(view));
        let (realm, entries) = (realm.clone(), entries.to_vec());
        Some(Begun { circle, view, realm, entries, first, open: true })
    }

    /// Which other processes that are in the circle, or want to be, run a version that does not know what is
    /// known [since](crate::revocation::Target::known_since) this number, by their names; and what a batch must
    /// require, so that this is still so when it is committed.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn ignorant(
        &self,
        records: &dyn Records,
        since: u32,
    ) -> Result<(Vec<String>, Change), StoreError> {
        let (register, expect) = self.load(records).await?;
        let others = register.all().filter(|member| member.run != self.me.run);
        let ignorant = others.filter(|member| member.knows < since);
        Ok((ignorant.map(|member| member.name.clone()).collect(), register::unchanged(expect)))
    }

    /// Notes that the store does not know this process to be in the circle.
    pub(crate) fn is_out(&self) {
        let mut state = self.state.lock();
        if state.standing == Standing::Member {
            state.standing = Standing::Outside;
            state.epoch = None;
        }
    }

    /// How long after a heartbeat the next is to be made.
    #[must_use]
    pub fn pause(&self) -> Duration {
        let state = self.state.lock();
        let members = state.read.as_ref().map_or(0, |(register, _)| register.circle().count());
        BEAT.max(BEAT_EACH * u32::try_from(members).unwrap_or(u32::MAX))
    }

    /// What is to be told to all others now.
    #[must_use]
    pub fn beat(&self, view: &View) -> Vec<u8> {
        let mut state = self.state.lock();
        // INVARIANT: the time is asked for under the lock. Otherwise what was begun after it would
        // count as begun before.
        let now = self.node.since_boot();
        state.beat += 1;
        state.ledger.settle(now, view);
        let beat = state.beat;
        state.peers.made(beat, now);
        let epoch = state.epoch.filter(|_| self.me.speaks && state.may_speak(now));
        let heartbeat = Heartbeat {
            by: self.me.run,
            beat,
            epoch,
            begun: state.ledger.begun,
            void: state.ledger.void(),
            settled: state.ledger.settled,
            heard: state.peers.echoes(SinceBoot(now.0.saturating_sub(FORGOTTEN))),
            position: view.position(),
            awaits: state.awaits,
        };
        state.vouch(&self.me, view, now);
        heartbeat.to_bytes()
    }

    /// What is to be pushed again, because somebody in the circle has not heard it.
    #[must_use]
    pub fn repeats(&self) -> Vec<Vec<u8>> {
        let state = self.state.lock();
        let Some((register, _)) = &state.read else { return Vec::new() };
        let others = register.circle().filter(|it| it.run != self.me.run && it.speaks);
        let known = others.map(|it| state.peers.confirmed(it.run)).min().unwrap_or(u64::MAX);
        let before = SinceBoot(self.node.since_boot().0.saturating_sub(BEAT * 2));
        state.ledger.again(known, before, AGAIN)
    }

    /// Hears what another process tells. A message that is none is ignored.
    pub fn hear(&self, message: &[u8], view: &View) -> Heard {
        let heartbeat = Heartbeat::from_bytes(message).filter(|it| it.by != self.me.run);
        let Some(heartbeat) = heartbeat else { return Heard::default() };
        let mut state = self.state.lock();
        let now = self.node.since_boot();
        let news = state.peers.hear(self.me.run, &heartbeat, now);
        state.vouch(&self.me, view, now);
        let Some((from, to)) = news else { return Heard::default() };
        let known = state.read.as_ref();
        let known = known.is_some_and(|(it, _)| it.circle().any(|it| it.run == heartbeat.by));
        Heard {
            stranger: !known,
            awaited: known && heartbeat.awaits > view.position(),
            confirmed: state.ledger.ages(from, to, now),
        }
    }

    /// Notes that the entry that `by` took back under `number` is known here.
    pub(crate) fn learn(&self, by: NodeId, number: u64, view: &View) {
        if by == self.me.run {
            return;
        }
        let mut state = self.state.lock();
        let now = self.node.since_boot();
        state.peers.learn(by, number);
        state.vouch(&self.me, view, now);
    }

    /// What was taken back here since `began`, and who is to know it: all who are in the circle now.
    /// Whoever is admitted later has read it in the log. `None`: that was nothing. Of what had been
    /// taken back before, perhaps elsewhere, [`Self::receipt_of_log`] is the receipt.
    #[must_use]
    pub fn receipt(&self, began: SinceBoot) -> Option<Receipt> {
        let state = self.state.lock();
        let number = state.ledger.begun_since(began)?;
        Some(Receipt { of: Of::Number(number), points: state.others(self.me.run) })
    }

    /// What the log says up to `position`, whoever took it back, and who is to know it: as
    /// [`Self::receipt`].
    #[must_use]
    pub fn receipt_of_log(&self, position: u64) -> Receipt {
        let state = self.state.lock();
        Receipt { of: Of::Position(position), points: state.others(self.me.run) }
    }

    /// Asks the others, in heartbeats, to follow the log up to this position and to say so.
    pub fn await_log(&self, position: u64) {
        let mut state = self.state.lock();
        state.awaits = state.awaits.max(position);
    }

    /// All other processes in the circle, as this one hears them.
    #[must_use]
    pub fn sighted(&self) -> Vec<Sighting> {
        let (state, now) = (self.state.lock(), self.node.since_boot());
        let sighted = |it: Point| Sighting {
            position: state.peers.position(it.run),
            heard: state.peers.heard(it.run).map(|at| now.since(at)),
            name: it.name,
        };
        state.others(self.me.run).into_iter().map(sighted).collect()
    }

    /// How a process stands to what it is to know.
    #[must_use]
    pub fn stands(&self, receipt: &Receipt, point: &Point) -> Stands {
        let state = self.state.lock();
        let read = state.read.as_ref();
        let knows = match receipt.of {
            Of::Number(number) => state.peers.confirmed(point.run) >= number,
            Of::Position(position) => state.peers.position(point.run) >= position,
        };
        if knows {
            Stands::Confirmed
        } else if read.is_some_and(|(it, _)| it.circle().all(|it| it.run != point.run)) {
            Stands::Gone
        } else {
            Stands::Pending
        }
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
        if next.epoch != register.epoch {
            // INVARIANT: nothing is said of the old circle once the new one may be there.
            self.state.lock().epoch = None;
        }
        let changes = next.changes_from(register, expect);
        let batch = changes.into_iter().fold(Batch::new(self.realm.clone()), Batch::with);
        match records.commit(batch).await {
            Ok(()) => Ok(true),
            Err(CommitRefused::Conflict { .. }) => Ok(false),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }
}

impl State {
    /// All in the circle but `me`.
    fn others(&self, me: NodeId) -> Vec<Point> {
        let circle = self.read.iter().flat_map(|(register, _)| register.circle());
        let others = circle.filter(|it| it.run != me);
        others.map(|it| Point { run: it.run, name: it.name.clone() }).collect()
    }

    /// The register as it should be. `None`: this process has no more to do with it.
    fn next(
        &mut self,
        me: &Me,
        register: &Register,
        entropy: &dyn Entropy,
        now: SinceBoot,
    ) -> Option<Register> {
        let listed = register.listed(me);
        if self.entered && listed == Listed::Replaced {
            self.standing = Standing::Replaced;
            self.epoch = None;
        }
        if matches!(self.standing, Standing::Left | Standing::Replaced) {
            return None;
        }
        if self.standing == Standing::Member && listed != Listed::Member {
            self.standing = Standing::Outside;
            self.epoch = None;
        }
        self.seen.look(register, now);
        let entered = register.entered(me, fresh(entropy)).without(|it| self.is_over(me, it));
        let mut next =
            entered.admitted(me, |it| self.is_there(it, now)).named_after(register, fresh(entropy));
        let is_due = self.renewed.is_none_or(|renewed| now.since(renewed) >= RENEWED);
        if is_due || listed == Listed::Candidate {
            next = next.renewed(me);
        }
        Some(next)
    }

    /// Whether somebody else has given no sign of life for so long that its lease is over.
    fn is_over(&self, me: &Me, member: &Member) -> bool {
        let most = if member.admitted { LAPSED } else { GIVEN_UP };
        member.run != me.run && self.seen.still(member.run) >= most
    }

    /// Whether a candidate seems to be there still: it is heard, or writes to the register again and
    /// again. One that nobody hears is not waited for.
    fn is_there(&self, candidate: &Member, now: SinceBoot) -> bool {
        let heard = self.peers.heard(candidate.run);
        !candidate.speaks
            || heard.is_some_and(|heard| now.since(heard) < HEARD)
            || self.seen.has_renewed(candidate.run, HEARD)
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

    /// Tells the view until when it knows everything, as the others vouch for it.
    fn vouch(&mut self, me: &Me, view: &View, now: SinceBoot) {
        let Some((register, read)) = &self.read else { return };
        let is_current = self.current.as_ref().is_some_and(|it| it.epoch == register.epoch);
        if !is_current && view.knows_all_until(*read) {
            let all = register.all().map(|member| member.run).collect::<Vec<_>>();
            self.peers.begin_anew(&all, SinceBoot(now.0.saturating_sub(FORGOTTEN)));
            self.current = Some(register.clone());
        }
        let Some(current) = &self.current else { return };
        // INVARIANT: whoever is not heard believes nobody either. A circle with one of these in it is
        // taken to be believed by nobody, so that others may enter it by themselves.
        if !me.speaks || self.epoch != Some(current.epoch) || !self.may_speak(now) {
            return;
        }
        let circle = current.circle().map(|member| member.run).collect::<Vec<_>>();
        let (epoch, position) = (current.epoch, view.position());
        // What is under way here may be in the store, though it is not known here yet.
        let own = self.ledger.under_way_since().map_or(now, |since| since.min(now));
        if let Some(until) = self.peers.vouched(me.run, &circle, epoch, position, own) {
            view.vouch(until);
        }
    }
}

impl fmt::Debug for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Circle({:?}, {:?})", self.me.run, self.standing())
    }
}

fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "others changed who is in the circle again and again".to_owned(),
    }
}

/// A number by chance.
fn fresh(entropy: &dyn Entropy) -> u64 {
    NodeId::generate(entropy).0
}
