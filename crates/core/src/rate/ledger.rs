//! What is counted here, by names of one length, and of that what other nodes are to know.
//!
//! Nothing here waits. Who counts is answered at once where that can be said from what is known here;
//! otherwise the answer is a [`Question`] for the store that the nodes share, and whoever asks it says
//! what became of it. What is admitted without a question stands in the ledger until the store was told.
//!
//! What the store said last is kept as a moment on this node's clock. It is told again with every
//! question: a store that comes back without its memory learns from those who ask it, and what nobody
//! knows whether it was counted is counted once.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

use super::{Answer, Quota, SHARDS, make_room, nanos};
use crate::{
    clock::SinceBoot,
    port::{Take, Taken},
};

/// Under which name something is counted: a keyed hash of whose it is, so that it says nothing, and has
/// one length however long that was.
pub type Name = [u8; 16];

/// How it is counted at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nobody else counts.
    Alone,
    /// Others count, too. So many pass before the store has been told.
    Together {
        /// How many; [`u32::MAX`]: whatever comes, and nothing is asked.
        ahead: u32,
    },
    /// Others count, too, and the store is away: each has its share of what is left.
    Apart {
        /// Among how many it is divided.
        nodes: NonZeroU32,
    },
}

/// What counting came to.
#[derive(Debug)]
pub enum Counted {
    /// It is decided.
    Here(Answer),
    /// The store is to be asked.
    Asks(Question),
}

/// What the store is to be asked or told. Whoever has it says what became of it, by
/// [`Ledger::answered`] and its likes, or [`Ledger::lost`].
#[derive(Debug)]
#[must_use = "what it took with it is missing until somebody says what became of it"]
pub struct Question {
    /// About which name.
    pub name: Name,
    /// What is asked.
    pub take: Take,
    quota: Quota,
    sent: u64,
}

/// What is known of a name. All moments are nanoseconds since boot, of when the allowance is whole.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// By which it is decided: in its share, each request counts for all nodes.
    whole: u64,
    /// By what passed here and what the store said.
    real: u64,
    /// By what the store said, and what it may have been told.
    known: u64,
    /// How many passed that the store was not told of, and how many it is being told of.
    owed: u32,
    flying: u32,
    /// How many passed since the store answered last, because it was late.
    unsure: u32,
    /// Whether it waits to be told.
    waits: bool,
    /// Whether the shares have ended since the store decided last: others may have told it more than it has
    /// said here.
    unsettled: bool,
    quota: Quota,
}

impl Entry {
    const fn new(quota: Quota, now: u64) -> Self {
        Self {
            whole: now,
            real: now,
            known: now,
            owed: 0,
            flying: 0,
            unsure: 0,
            waits: false,
            unsettled: false,
            quota,
        }
    }

    const fn pending(&self) -> u32 {
        self.owed.saturating_add(self.flying)
    }

    /// What of the requests that passed here still counts and has not been told: taken with the question.
    fn take(&mut self, asks: bool, name: Name, now: u64) -> Question {
        let cost = self.quota.cost_nanos();
        let told = self.known.max(now).saturating_add(cost.saturating_mul(self.flying.into()));
        let untold = self.real.saturating_sub(told).div_ceil(cost);
        let counted = u32::try_from(untold).unwrap_or(u32::MAX).min(self.owed);
        self.owed = 0;
        self.flying = self.flying.saturating_add(counted);
        let known = Duration::from_nanos(self.known.saturating_sub(now));
        let (cost, room) = (self.quota.cost(), self.quota.room());
        let take = Take { cost, room, counted, asks, known };
        Question { name, take, quota: self.quota, sent: now }
    }

    /// A limit may be another one than when it was counted: nobody waits for what it was before.
    fn cut(&mut self, most: u64) {
        self.whole = self.whole.min(most);
        self.real = self.real.min(most);
        self.known = self.known.min(most);
    }

    /// Nobody knows whether it was counted: it is told as what was known.
    fn fold(&mut self, counted: u32, sent: u64) {
        let cost = self.quota.cost_nanos();
        self.known = self.known.max(sent).saturating_add(cost.saturating_mul(counted.into()));
    }
}

/// A part of the names, with those that the store is to be told of.
#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<Name, Entry>,
    queue: VecDeque<Name>,
}

impl Shard {
    fn entry(&mut self, name: Name, quota: Quota, now: u64, most: usize) -> &mut Entry {
        if self.entries.len() >= most && !self.entries.contains_key(&name) {
            make_room(&mut self.entries, |entry| entry.whole, now);
            // Those that are forgotten wait for nothing.
            if self.queue.len() > 2 * most {
                let entries = &self.entries;
                self.queue.retain(|name| entries.get(name).is_some_and(|entry| entry.waits));
            }
        }
        let entry = self.entries.entry(name).or_insert_with(|| Entry::new(quota, now));
        entry.quota = quota;
        entry
    }

    fn line_up(&mut self, name: Name) {
        if let Some(entry) = self.entries.get_mut(&name)
            && !std::mem::replace(&mut entry.waits, true)
        {
            self.queue.push_back(name);
        }
    }
}

/// Counts, by name, in a bounded map.
#[derive(Debug)]
pub struct Ledger {
    shards: Vec<Mutex<Shard>>,
    per_shard: usize,
    hasher: RandomState,
    turn: AtomicUsize,
}

impl Ledger {
    /// One that remembers at most about `capacity` names.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            per_shard: capacity.div_ceil(SHARDS).max(1),
            hasher: RandomState::new(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Counts a request.
    pub fn count(&self, name: Name, quota: Quota, way: Way, now: SinceBoot) -> Counted {
        let now = nanos(now.0);
        let Some(mut shard) = self.shard(&name) else {
            return Counted::Here(refused(quota, quota.room_nanos()));
        };
        let cost = quota.cost_nanos();
        let (step, at_least_one) = match way {
            Way::Alone | Way::Together { .. } => (cost, false),
            // Who has a share of less than one has one, so that nobody is locked out.
            Way::Apart { nodes } => (cost.saturating_mul(u64::from(nodes.get())), true),
        };
        let room = quota.room_nanos();
        let whole = shard.entries.get_mut(&name).map_or(now, |entry| {
            entry.cut(now + 2 * room);
            entry.whole.max(now)
        });
        let after = whole.saturating_add(step);
        if after - now > room && !(at_least_one && whole == now) {
            return Counted::Here(refused(quota, after - now - room));
        }
        let entry = shard.entry(name, quota, now, self.per_shard);
        if let Way::Together { ahead } = way
            && (entry.pending().saturating_add(entry.unsure) >= ahead
                || (entry.unsettled && ahead < u32::MAX))
        {
            return Counted::Asks(entry.take(true, name, now));
        }
        entry.whole = after;
        if way != Way::Alone {
            entry.real = entry.real.max(now) + cost;
            entry.owed = entry.owed.saturating_add(1);
            shard.line_up(name);
        }
        Counted::Here(passed(quota, after - now, step))
    }

    /// What counting would answer, as far as is known here. Counts nothing.
    #[must_use]
    pub fn look(&self, name: &Name, quota: Quota, now: SinceBoot) -> Answer {
        let now = nanos(now.0);
        let known = self.shard(name).and_then(|shard| shard.entries.get(name).copied());
        let (cost, room) = (quota.cost_nanos(), quota.room_nanos());
        let whole = known.map_or(now, |entry| entry.whole.clamp(now, now + 2 * room));
        if whole + cost - now > room {
            return refused(quota, whole + cost - now - room);
        }
        passed(quota, whole - now, cost)
    }

    /// The store has answered: what it said of all nodes counts from now on.
    pub fn answered(&self, question: Question, taken: Taken, now: SinceBoot) -> Answer {
        self.learn(question, taken, true, now)
    }

    /// The store was told, while each node has its share: it may not have heard of the others' yet, so
    /// that nobody has more for it. [`Self::level`] ends that.
    pub fn heard(&self, question: Question, taken: Taken, now: SinceBoot) {
        let _ = self.learn(question, taken, false, now);
    }

    /// The shares have ended: from now on what the store said decides, of all that it was told. What it said
    /// was before it had heard of all nodes, so that it is asked once more before anything passes ahead of it.
    pub fn level(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            for entry in shard.entries.values_mut() {
                entry.unsettled = true;
                if entry.owed == 0 {
                    entry.whole = entry.real;
                }
            }
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "what is asked ends once")]
    fn learn(&self, question: Question, taken: Taken, decides: bool, now: SinceBoot) -> Answer {
        let Question { name, take, quota, sent } = question;
        let now = nanos(now.0);
        let (cost, room) = (quota.cost_nanos(), quota.room_nanos());
        let Some(mut shard) = self.shard(&name) else { return refused(quota, room) };
        let entry = shard.entry(name, quota, now, self.per_shard);
        entry.flying = entry.flying.saturating_sub(take.counted);
        entry.unsure = 0;
        // Counted from when it was sent, so that this is never later than what the store has, and may
        // be told to it again.
        entry.cut(now + 2 * room);
        entry.known = entry.known.max(sent.saturating_add(nanos(taken.ahead)));
        let pending = cost.saturating_mul(entry.pending().into());
        entry.real = entry.known.max(now).saturating_add(pending);
        entry.whole = if decides { entry.real } else { entry.whole.max(entry.real) };
        entry.unsettled &= !decides;
        let ahead = entry.whole - now;
        if taken.passes {
            return passed(quota, ahead, cost);
        }
        refused(quota, (ahead + cost).saturating_sub(room).max(1))
    }

    /// The store did not answer in time, and it is not known to be away. A few pass meanwhile, `ahead` or
    /// one: what it answers counts as soon as it does.
    #[expect(clippy::needless_pass_by_value, reason = "what is asked ends once")]
    pub fn unanswered(&self, question: Question, ahead: u32, now: SinceBoot) -> Answer {
        let Question { name, take, quota, sent } = question;
        let now = nanos(now.0);
        let (cost, room) = (quota.cost_nanos(), quota.room_nanos());
        let Some(mut shard) = self.shard(&name) else { return refused(quota, room) };
        let entry = shard.entry(name, quota, now, self.per_shard);
        entry.flying = entry.flying.saturating_sub(take.counted);
        entry.fold(take.counted, sent);
        let after = entry.whole.clamp(now, now + 2 * room) + cost;
        let answer = if after - now > room {
            refused(quota, after - now - room)
        } else if entry.pending().saturating_add(entry.unsure) >= ahead.max(1) {
            refused(quota, cost.min(SOON))
        } else {
            entry.unsure += 1;
            // It may have been counted with what was asked.
            entry.fold(1, now);
            (entry.whole, entry.real) = (after, entry.real.max(now) + cost);
            passed(quota, after - now, cost)
        };
        shard.line_up(name);
        answer
    }

    /// The store did not take it: what was to be told is still to be told.
    #[expect(clippy::needless_pass_by_value, reason = "what is asked ends once")]
    pub fn untaken(&self, question: Question) {
        self.returned(&question, |entry| {
            entry.owed = entry.owed.saturating_add(question.take.counted);
        });
    }

    /// The store may have taken it or not.
    #[expect(clippy::needless_pass_by_value, reason = "what is asked ends once")]
    pub fn lost(&self, question: Question) {
        self.returned(&question, |entry| entry.fold(question.take.counted, question.sent));
    }

    fn returned(&self, question: &Question, keep: impl Fn(&mut Entry)) {
        let Some(mut shard) = self.shard(&question.name) else { return };
        let Some(entry) = shard.entries.get_mut(&question.name) else { return };
        entry.flying = entry.flying.saturating_sub(question.take.counted);
        keep(entry);
        shard.line_up(question.name);
    }

    /// What the store is to be told of, at most about so many.
    pub fn to_tell(&self, most: usize, now: SinceBoot) -> Vec<Question> {
        let now = nanos(now.0);
        let mut all = Vec::new();
        for _ in 0..SHARDS {
            let Some(mut shard) = self.next_shard() else { break };
            while all.len() < most
                && let Some(name) = shard.queue.pop_front()
            {
                let Some(entry) = shard.entries.get_mut(&name) else { continue };
                entry.waits = false;
                let question = entry.take(false, name, now);
                if question.take.counted > 0 || !question.take.known.is_zero() {
                    all.push(question);
                }
            }
        }
        all
    }

    /// How many wait to be told.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().queue.len()).sum()
    }

    /// Whether so many wait to be told that it takes long.
    #[must_use]
    pub fn lags(&self) -> bool {
        self.waiting() > LAGS
    }

    /// The store is to be told of all that is known here: it may have lost its memory.
    pub fn tell_all(&self, now: SinceBoot) {
        let now = nanos(now.0);
        for shard in &self.shards {
            let mut shard = shard.lock();
            let known = shard.entries.iter().filter(|(_, it)| it.known > now || it.owed > 0);
            for name in known.map(|(name, _)| *name).collect::<Vec<_>>() {
                shard.line_up(name);
            }
        }
    }

    /// The store is to be told of one of those that it should know best, to see whether it still does.
    pub fn tell_one(&self, now: SinceBoot) {
        let now = nanos(now.0);
        for _ in 0..SHARDS {
            let Some(mut shard) = self.next_shard() else { return };
            let known = shard.entries.iter().filter(|(_, entry)| entry.known > now);
            let best = known.max_by_key(|(_, entry)| entry.known).map(|(name, _)| *name);
            if let Some(name) = best {
                return shard.line_up(name);
            }
        }
    }

    /// How many names are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries.len()).sum()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what is whole again. To be called now and then.
    pub fn forget(&self, now: SinceBoot) {
        let now = nanos(now.0);
        for shard in &self.shards {
            let entries = &mut shard.lock().entries;
            entries.retain(|_, it| it.whole.max(it.known) > now || it.flying > 0);
        }
    }

    fn shard(&self, name: &Name) -> Option<MutexGuard<'_, Shard>> {
        let place = usize::try_from(self.hasher.hash_one(name)).unwrap_or(0) % SHARDS;
        self.shards.get(place).map(Mutex::lock)
    }

    fn next_shard(&self) -> Option<MutexGuard<'_, Shard>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % SHARDS;
        self.shards.get(turn).map(Mutex::lock)
    }
}

/// How many wait to be told at any time.
const LAGS: usize = 4096;

/// When it is worth to try again while the store is late, in nanoseconds.
const SOON: u64 = 1_000_000_000;

fn passed(quota: Quota, ahead: u64, step: u64) -> Answer {
    let remaining = quota.room_nanos().saturating_sub(ahead) / step;
    let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
    Answer { passes: true, remaining, wait: Duration::from_nanos(ahead), limit: quota.limit }
}

fn refused(quota: Quota, wait: u64) -> Answer {
    Answer::refused(quota.limit, wait)
}

#[cfg(test)]
mod tests;
