//! The second durable home of revocations: what the log has gained is recorded there, at least once.
//!
//! All nodes look, and one of them records: whose name stands beside the position that was reached.
//! Another takes its place when something has been waiting for [`TURN`] while nothing moved. Neither
//! needs a clock that others agree with, and should two record the same, nothing is different: a
//! withdrawal only grows. The position moves when the other home has acknowledged what lies before
//! it, and not sooner.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_core::{
    Backstop, Batch, CommitRefused, Expect, Kind, Lifetime, Log, Node, Realm, Records, SinceBoot,
    StoreError, Stored, Versioned,
    port::{Positioned, Withdrawal},
    repository,
};
use tegata_token::Entry;

/// Where it is kept how far revocations have been recorded elsewhere.
pub(crate) static COPIED: Kind =
    Kind { name: "durable", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// How many entries are recorded at once, at the most.
const MOST: u32 = 64;

/// How long something waits for the node whose turn it is, before another takes it.
const TURN: Duration = Duration::from_secs(5);

/// For how long after its end a withdrawal is recorded all the same: a clock that jumped ahead and
/// came back has skipped none.
const LATE: Duration = Duration::from_secs(86_400);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Copied {
    /// Which home.
    home: String,
    /// Everything up to here is there.
    position: u64,
    /// Whose turn it is.
    node: String,
}

impl Stored for Copied {
    const KIND: &'static Kind = &COPIED;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.home
    }
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("the log cannot be followed: {0}")]
    Log(#[source] StoreError),
    #[error(transparent)]
    Home(StoreError),
}

/// How the other home stands, for whoever watches.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    position: AtomicU64,
    errors: AtomicU64,
    /// Up to which position something waits, and since when.
    waiting: Mutex<Option<(u64, SinceBoot)>>,
    /// Why the last round of this node failed, if it did.
    why: Mutex<Option<String>>,
}

impl Standing {
    /// The position up to which everything is there, as far as this node knows.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// How many rounds of this node have failed.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// For how long the oldest has been waiting.
    pub(crate) fn behind(&self, now: SinceBoot) -> Duration {
        self.waiting.lock().map_or(Duration::ZERO, |(_, since)| now.since(since))
    }

    /// Why the last round failed.
    pub(crate) fn why(&self) -> Option<String> {
        self.why.lock().clone()
    }

    /// Notes how far the log goes, and how far the other home has it.
    fn saw(&self, head: u64, position: u64, now: SinceBoot) {
        self.position.store(position, Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        if waiting.is_none_or(|(up_to, _)| position >= up_to) {
            *waiting = (head > position).then_some((head, now));
        }
    }
}

/// Follows the log, on behalf of another home.
pub(crate) struct Follower {
    node: Node,
    home: String,
    backstop: Arc<dyn Backstop>,
    standing: Arc<Standing>,
    /// How many entries are recorded at once: fewer after a failure, so that where only some of many
    /// are taken, those are not taken again and again and the others never.
    size: u32,
    /// The version of the position that was seen last while something waited, and since when.
    unmoved: Option<(u64, SinceBoot)>,
}

impl Follower {
    /// On behalf of `home`, which is what its position is kept under.
    pub(crate) fn new(
        node: Node,
        home: String,
        backstop: Arc<dyn Backstop>,
        standing: Arc<Standing>,
    ) -> Self {
        Self { node, home, backstop, standing, size: MOST, unmoved: None }
    }

    /// Records what the log has gained, as far as a batch goes, where it is this node's turn. Answers
    /// whether there may be more. `head` is how far this node knows the log.
    pub(crate) async fn follow(
        &mut self,
        records: &dyn Records,
        head: u64,
    ) -> Result<bool, Stopped> {
        let outcome = self.round(records, head).await;
        match &outcome {
            Ok(_) => *self.standing.why.lock() = None,
            Err(stopped) => {
                self.standing.errors.fetch_add(1, Ordering::Relaxed);
                *self.standing.why.lock() = Some(stopped.to_string());
            }
        }
        outcome
    }

    async fn round(&mut self, records: &dyn Records, head: u64) -> Result<bool, Stopped> {
        let realm = Realm::default();
        let found = repository::load::<Copied>(records, &realm, &self.home).await;
        let found = found.map_err(Stopped::Log)?;
        let (after, expect) = found.as_ref().map_or((0, Expect::Absent), |found| {
            (found.value.position, Expect::Version(found.version))
        });
        self.standing.saw(head, after, self.node.since_boot());
        if !self.is_ours(found.as_ref(), head) {
            return Ok(false);
        }
        let pull = records.pull(Log::Revocations, after, self.size).await.map_err(Stopped::Log)?;
        // What was trimmed away before it was recorded can name nothing that lives.
        let last = pull.entries.last().map(|entry| entry.position);
        let reached = last.unwrap_or_else(|| pull.tail.saturating_sub(1).max(after));
        if reached == after {
            return Ok(false);
        }
        match self.record(&pull.entries).await {
            Ok(()) => self.size = (self.size * 2).min(MOST),
            Err(stopped) => {
                self.size = (self.size / 2).max(1);
                return Err(stopped);
            }
        }
        let node = self.node.id().to_string();
        let copied = Copied { home: self.home.clone(), position: reached, node };
        match records.commit(Batch::new(realm).with(copied.put(expect))).await {
            Ok(()) => self.standing.saw(pull.head, reached, self.node.since_boot()),
            // Whoever was faster has recorded the same.
            Err(CommitRefused::Conflict { .. }) => {}
            Err(CommitRefused::Store(error)) => return Err(Stopped::Log(error)),
        }
        Ok(reached < pull.head)
    }

    /// Whether it is this node's turn.
    fn is_ours(&mut self, found: Option<&Versioned<Copied>>, head: u64) -> bool {
        let own = self.node.id().to_string();
        let Some(other) = found.filter(|found| found.value.node != own) else { return true };
        if head <= other.value.position {
            self.unmoved = None;
            return false;
        }
        let now = self.node.since_boot();
        match self.unmoved {
            Some((version, since)) if version == other.version => now.since(since) >= TURN,
            _ => {
                self.unmoved = Some((other.version, now));
                false
            }
        }
    }

    async fn record(&self, entries: &[Positioned]) -> Result<(), Stopped> {
        let long_past = self.node.now() - LATE;
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let end = rest.iter().position(|entry| entry.realm != first.realm);
            let (of_realm, others) = rest.split_at(end.unwrap_or(rest.len()));
            rest = others;
            let mut alive = Vec::with_capacity(of_realm.len());
            for entry in of_realm {
                let one = withdrawal(entry).map_err(Stopped::Log)?;
                if one.until >= long_past {
                    alive.push(one);
                }
            }
            if !alive.is_empty() {
                let recorded = self.backstop.record(&first.realm, &alive).await;
                recorded.map_err(Stopped::Home)?;
            }
        }
        Ok(())
    }
}

/// What an entry says. Nobody goes past one that cannot be read: a newer release may have written it,
/// and whoever knows that release will record it.
fn withdrawal(entry: &Positioned) -> Result<Withdrawal, StoreError> {
    let read = Entry::from_bytes(&entry.body).map_err(|detail| StoreError::Corrupt {
        backend: "the record store",
        kind: Log::Revocations.name(),
        key: entry.position.to_string(),
        detail,
    });
    read.map(|entry| entry.withdrawal())
}

#[cfg(test)]
mod tests;
