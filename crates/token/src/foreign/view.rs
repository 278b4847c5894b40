//! What this node knows to be taken back of other issuers.
//!
//! There may be fifty million of them, so they are not held as our own are. What is held is a filter of
//! all, which is wrong once in a thousand times, and exactly those that the durable store has not been
//! told yet. Where the filter says "perhaps", that store is asked.
//!
//! INVARIANT: whatever was applied is in the filter, and either in `fresh` or in the durable store. So a
//! name that the filter does not hold was not taken back, and one that neither `fresh` nor, asked after
//! that, the durable store holds was not either, as far as the view of revocations has followed the log.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use quick_cache::sync::Cache;
use tegata_core::{Node, Records, SinceBoot, StoreError, Timestamp};

use super::{Filter, Name, Names, Outbox, Told, Walk};
use crate::revocation::{Entry, Revoked, View};

/// For how long an answer is kept. It is dropped at once when something of the same kind is learnt.
const KEPT: Duration = Duration::from_secs(60);

/// How many bytes answers may take up, unless something else is said.
pub const REMEMBERED: usize = 100 << 20;

/// How many one takes up at most: its name and what it says, which is of one length, what it takes to find
/// it, and what is remembered of those that had to go.
const ANSWER: usize = 224;

/// Of how many clients and keys it is kept up to when they were taken back.
const SHARED: usize = 1000;

/// How many counters tell that something was learnt. Of names that share one, an answer is asked for
/// once more without need.
const STRIPES: usize = 4096;

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Answers that were given a moment ago.
    Cache,
    /// What is held exactly.
    Memory,
    /// The filter.
    Filter,
    /// A nearer store.
    Redis,
    /// The durable store.
    Durable,
}

impl Layer {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 5] =
        [Self::Cache, Self::Memory, Self::Filter, Self::Redis, Self::Durable];

    /// Its name, in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Memory => "memory",
            Self::Filter => "filter",
            Self::Redis => "redis",
            Self::Durable => "durable",
        }
    }
}

/// What memory says of a token.
#[derive(Debug)]
pub enum Looked {
    /// By what it was taken back, if it was, and who says so.
    Known(Option<Revoked>, Layer),
    /// It may have been taken back by one of these: ask the stores, and then
    /// [note](ForeignView::note) what they answer.
    Ask(Vec<(Name, Revoked)>, Ticket),
}

/// What was known when a question was asked, so that an answer that is overtaken is not kept.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    whole: Name,
    seen: Seen,
}

/// How often something was learnt of what may be each of a token's names.
type Seen = [u64; Names::MOST];

#[derive(Debug, Clone, Copy)]
struct Answer {
    revoked: Option<Revoked>,
    at: SinceBoot,
    seen: Seen,
}

/// Up to when the durable store says that a name was taken back, if it was.
#[derive(Debug, Clone, Copy)]
struct Shared {
    mark: Option<u64>,
    at: SinceBoot,
    seen: u64,
}

/// What was taken back of other issuers, as far as this node knows.
pub struct ForeignView {
    node: Node,
    expected: usize,
    filter: ArcSwap<Filter>,
    learnt: RwLock<Learnt>,
    /// What may have been taken back.
    perhaps: RwLock<HashMap<Name, u64>>,
    has_perhaps: AtomicBool,
    stripes: Box<[AtomicU64]>,
    /// Those that were used longest ago go first.
    answers: Cache<Name, Answer>,
    /// How many bytes they may take up.
    remembered: usize,
    /// Of clients and keys, which many tokens share: one that was taken back is otherwise asked for with
    /// every token of it that is new.
    shared: Cache<Name, Shared>,
    /// Up to which position the durable store has been filled.
    filled: AtomicU64,
}

#[derive(Default)]
struct Learnt {
    /// What the durable store may not have yet.
    fresh: HashMap<Name, Fresh>,
    outbox: Outbox,
    /// The filter that is being made in place of the other, and since when.
    next: Option<(Arc<Filter>, SinceBoot)>,
}

struct Fresh {
    mark: u64,
    until: Timestamp,
    /// How many times it waits to be told.
    waits: u32,
}

impl ForeignView {
    /// A view that knows nothing, for so many names. `filled` is the position up to which the durable
    /// store has been filled.
    #[must_use]
    pub fn new(node: Node, expected: usize, filled: u64) -> Self {
        Self {
            node,
            expected,
            filter: ArcSwap::from_pointee(Filter::new(expected)),
            learnt: RwLock::default(),
            perhaps: RwLock::default(),
            has_perhaps: AtomicBool::new(false),
            stripes: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            answers: answers(REMEMBERED),
            remembered: REMEMBERED,
            shared: Cache::new(SHARED),
            filled: AtomicU64::new(filled),
        }
    }

    /// The same, with room for answers of a moment ago in so many bytes.
    #[must_use]
    pub fn remembering(self, bytes: usize) -> Self {
        Self { answers: answers(bytes), remembered: bytes, ..self }
    }

    /// How many bytes answers of a moment ago take up, with what it takes to find them, and how many they
    /// may.
    #[must_use]
    pub fn remembered(&self) -> (usize, usize) {
        (self.answers.memory_used().total(), self.remembered)
    }

    /// What is known of a token without asking anybody.
    #[must_use]
    pub fn look(&self, names: &Names) -> Looked {
        if let Some(by) = self.perhaps_by(names) {
            return Looked::Known(Some(by), Layer::Memory);
        }
        // INVARIANT: before anything is looked up. What is learnt later has another number then, and
        // an answer that does not know of it is not kept.
        let ticket = Ticket { whole: *names.whole(), seen: self.seen(names) };
        if let Some(answer) = self.answers.get(names.whole())
            && answer.seen == ticket.seen
            && self.node.elapsed(answer.at) < KEPT
        {
            return Looked::Known(answer.revoked, Layer::Cache);
        }
        if let Some(by) = self.fresh_by(names) {
            return Looked::Known(Some(by), Layer::Memory);
        }
        let filter = self.filter.load();
        let (mut held, mut remembered) = (Vec::new(), false);
        for ((name, by), seen) in names.all().zip(ticket.seen) {
            if !filter.may_hold(&name) {
                continue;
            }
            match self.shared_mark(&name, by, seen) {
                None => held.push((name, by)),
                Some(Shared { mark: Some(mark), .. }) if names.covered(mark) => {
                    return Looked::Known(Some(by), Layer::Cache);
                }
                Some(_) => remembered = true,
            }
        }
        if !held.is_empty() {
            return Looked::Ask(held, ticket);
        }
        if remembered {
            return Looked::Known(None, Layer::Cache);
        }
        self.note(ticket, None);
        Looked::Known(None, Layer::Filter)
    }

    /// Keeps up to when the durable store said that one of a token's names was taken back, if it was: of
    /// names that many tokens share.
    pub fn note_mark(&self, ticket: &Ticket, names: &Names, name: &Name, mark: Option<u64>) {
        let of = names.all().zip(ticket.seen).find(|((one, _), _)| one == name);
        let Some((_, seen)) = of.filter(|((_, by), _)| is_shared(*by)) else { return };
        self.shared.insert(*name, Shared { mark, at: self.node.since_boot(), seen });
    }

    /// What was said of such a name a moment ago, unless something of the kind was learnt since.
    fn shared_mark(&self, name: &Name, by: Revoked, seen: u64) -> Option<Shared> {
        let said = is_shared(by).then(|| self.shared.get(name)).flatten()?;
        (said.seen == seen && self.node.elapsed(said.at) < KEPT).then_some(said)
    }

    /// Keeps what the stores answered. Where something of the kind was learnt in the meantime, it is
    /// never answered again.
    pub fn note(&self, ticket: Ticket, revoked: Option<Revoked>) {
        let answer = Answer { revoked, at: self.node.since_boot(), seen: ticket.seen };
        self.answers.insert(ticket.whole, answer);
    }

    /// Learns an entry, from the log where it has a position.
    pub(crate) fn learn(&self, entry: &Entry, position: Option<u64>) {
        let Some(told) = Told::of(entry, position) else { return };
        let mut learnt = self.learnt.write();
        // INVARIANT: in `fresh` before it counts as learnt, and out of it only when the durable store
        // has it.
        if position.is_none_or(|position| position > self.filled.load(Ordering::Acquire)) {
            let none = Fresh { mark: 0, until: told.until, waits: 0 };
            let fresh = learnt.fresh.entry(told.name).or_insert(none);
            fresh.mark = fresh.mark.max(told.mark);
            fresh.until = fresh.until.max(told.until);
            fresh.waits += 1;
            learnt.outbox.push(told);
        }
        self.filter.load().insert(&told.name);
        if let Some((next, _)) = &learnt.next {
            next.insert(&told.name);
        }
        self.stripe(&told.name).fetch_add(1, Ordering::AcqRel);
        drop(learnt);
    }

    pub(crate) fn learn_perhaps(&self, entry: &Entry) {
        let Some(told) = Told::of(entry, None) else { return };
        let mut perhaps = self.perhaps.write();
        let mark = perhaps.entry(told.name).or_default();
        *mark = told.mark.max(*mark);
        self.has_perhaps.store(true, Ordering::Release);
    }

    pub(crate) fn forget_perhaps(&self) {
        let mut perhaps = self.perhaps.write();
        self.has_perhaps.store(false, Ordering::Release);
        perhaps.clear();
    }

    /// What the durable store is to be told next.
    #[must_use]
    pub fn untold(&self) -> Vec<Told> {
        self.learnt.read().outbox.next()
    }

    /// Takes down that the durable store has what [`Self::untold`] answered. Answers up to which
    /// position of the log it has everything by now, where that has changed.
    pub fn told(&self, batch: &[Told]) -> Option<u64> {
        let mut learnt = self.learnt.write();
        learnt.outbox.done(batch.len());
        for told in batch {
            let Some(fresh) = learnt.fresh.get_mut(&told.name) else { continue };
            fresh.waits = fresh.waits.saturating_sub(1);
            if fresh.waits == 0 {
                learnt.fresh.remove(&told.name);
            }
        }
        if learnt.outbox.len() == 0 {
            learnt.fresh.shrink_to(1024);
        }
        // They are told in the order of the log, so everything before was told too.
        let filled = batch.iter().filter_map(|told| told.position).max()?;
        let before = self.filled.fetch_max(filled, Ordering::AcqRel);
        (filled > before).then_some(filled)
    }

    /// Up to which position of the log the durable store has been told everything.
    #[must_use]
    pub fn filled(&self) -> u64 {
        self.filled.load(Ordering::Acquire)
    }

    /// Takes down how far the log has been followed, where the durable store has been told all of it:
    /// most entries are about tokens of ours. Answers the position, where it is `apart` from the last.
    pub fn filled_up_to(&self, view: &View, apart: u64) -> Option<u64> {
        // INVARIANT: before the outbox. What stands in the log up to here has been put into it.
        let position = view.position();
        let learnt = self.learnt.read();
        if learnt.outbox.len() > 0 || position < self.filled().saturating_add(apart) {
            return None;
        }
        self.filled.fetch_max(position, Ordering::AcqRel);
        Some(position)
    }

    /// The filter, as it is at the moment.
    pub(crate) fn filter(&self) -> Arc<Filter> {
        self.filter.load_full()
    }

    /// Goes on with what a filter holds beside what this one does. `false`: they are of different sizes.
    ///
    /// INVARIANT: what is held is not let go of, not even for as long as it takes to learn it again.
    pub(crate) fn begin_with(&self, filter: Filter) -> bool {
        let mut nobody_learns = self.learnt.write();
        // What is being made in its place may lack what only the other filter holds: it is begun again.
        nobody_learns.next = None;
        let held = self.filter.load();
        let joined = held.count() > 0;
        if joined && !held.join(&filter) {
            return false;
        }
        if !joined {
            self.filter.store(Arc::new(filter));
        }
        // After the filter, as when one name is learnt: what was answered before is asked for again.
        for stripe in &self.stripes {
            stripe.fetch_add(1, Ordering::AcqRel);
        }
        drop(nobody_learns);
        true
    }

    /// How many names the filter holds, and for how many it was made.
    #[must_use]
    pub fn fullness(&self) -> (usize, usize) {
        let filter = self.filter.load();
        (filter.count(), filter.capacity())
    }

    /// How many names the durable store has not been told yet.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.learnt.read().outbox.len()
    }

    /// Makes another filter where this one is full: a larger one, or, where many of its names are dead,
    /// one of the same size. To be called now and then; answers whether there is a new one. Meanwhile
    /// both are in memory.
    ///
    /// # Errors
    /// What the store says. The next call goes on.
    pub async fn renew(&self, view: &View, records: &dyn Records) -> Result<bool, StoreError> {
        let begun = || self.learnt.read().next.clone();
        if begun().is_none() {
            let (count, capacity) = self.fullness();
            if count < capacity {
                return Ok(false);
            }
            self.begin(self.count(view, records).await?);
        }
        let Some((next, since)) = begun() else { return Ok(false) };
        // INVARIANT: what was applied before `next` was there is in the log up to here; what is applied
        // later goes into both.
        if !view.knows_all_until(since) {
            return Ok(false);
        }
        let mut walk = view.foreign_walk();
        let now = self.node.now();
        view.judge_at(now);
        while let Some(part) = walk.next(records, now).await? {
            part.iter().for_each(|told| next.insert(&told.name));
        }
        self.finish();
        Ok(true)
    }

    async fn count(&self, view: &View, records: &dyn Records) -> Result<usize, StoreError> {
        let (mut walk, mut alive): (Walk, usize) = (view.foreign_walk(), 0);
        while let Some(part) = walk.next(records, self.node.now()).await? {
            alive += part.len();
        }
        Ok(alive)
    }

    /// Lets everything that is learnt from now on go into a second filter too.
    fn begin(&self, alive: usize) {
        let mut capacity = self.expected;
        // Room for a quarter more.
        while capacity / 5 * 4 < alive {
            capacity = capacity.saturating_mul(2);
        }
        let filter = Arc::new(Filter::new(capacity));
        // Nobody is learning while this is held.
        let mut learnt = self.learnt.write();
        learnt.next = Some((filter, self.node.since_boot()));
    }

    fn finish(&self) {
        let mut learnt = self.learnt.write();
        if let Some((filter, _)) = learnt.next.take() {
            self.filter.store(filter);
        }
    }

    pub(crate) fn forget(&self, is_kept: impl Fn(Timestamp) -> bool) {
        self.learnt.write().fresh.retain(|_, fresh| is_kept(fresh.until));
    }

    fn perhaps_by(&self, names: &Names) -> Option<Revoked> {
        if !self.has_perhaps.load(Ordering::Acquire) {
            return None;
        }
        let perhaps = self.perhaps.read();
        names.all().find_map(|(name, by)| {
            perhaps.get(&name).is_some_and(|mark| names.covered(*mark)).then_some(by)
        })
    }

    fn fresh_by(&self, names: &Names) -> Option<Revoked> {
        let learnt = self.learnt.read();
        if learnt.fresh.is_empty() {
            return None;
        }
        names.all().find_map(|(name, by)| {
            learnt.fresh.get(&name).is_some_and(|it| names.covered(it.mark)).then_some(by)
        })
    }

    /// How often something was learnt of the kinds that the names of a token belong to.
    fn seen(&self, names: &Names) -> Seen {
        let mut seen = Seen::default();
        for (place, (name, _)) in seen.iter_mut().zip(names.all()) {
            *place = self.stripe(&name).load(Ordering::Acquire);
        }
        seen
    }

    fn stripe(&self, name: &Name) -> &AtomicU64 {
        static NOWHERE: AtomicU64 = AtomicU64::new(0);
        let stripe = usize::try_from(name.hashes().0 % 4096).unwrap_or_default();
        self.stripes.get(stripe).unwrap_or(&NOWHERE)
    }
}

/// Room for as many answers as fit into so many bytes.
fn answers(bytes: usize) -> Cache<Name, Answer> {
    Cache::new((bytes / ANSWER).max(1))
}

/// Whether many tokens have one such name.
const fn is_shared(by: Revoked) -> bool {
    matches!(by, Revoked::Client | Revoked::Key)
}

impl std::fmt::Debug for ForeignView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ForeignView({:?})", self.filter.load())
    }
}

#[cfg(test)]
mod tests;
