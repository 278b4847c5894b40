//! `Records`: durable documents, atomic batches, positioned logs.

use std::time::Duration;

use super::{BoxFuture, StoreError};
use crate::{
    clock::Timestamp,
    id::{EventId, NodeId, Realm},
    journal::Event,
};

/// A kind of record, declared once by the domain crate that owns it. Each kind has its own table;
/// each index is a column of it.
#[derive(Debug)]
pub struct Kind {
    /// The table's name: `a-z` and `_`, at most 40 characters. Never reused for something else.
    pub name: &'static str,
    /// The declared indexes, each a name of `a-z` and `_`. What changes often is not indexed.
    pub indexes: &'static [&'static str],
    /// When records of this kind may be dropped.
    pub lifetime: Lifetime,
    /// Whether bodies hold keys or credentials. Adapters take such bodies only sealed, so that
    /// forgetting to encrypt is an error at the first write and not a leak years later.
    pub secret: bool,
}

/// When records of a kind may be dropped.
#[derive(Debug, Clone, Copy)]
pub enum Lifetime {
    /// Never, until they are removed.
    Kept,
    /// From the day that their key names, counted from 1970-01-01. Such kinds are stored in
    /// partitions by day, and a past day is dropped whole.
    ByDay(fn(&str) -> Option<u32>),
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: String,
    /// How often it has been written; the first write makes version 1.
    pub version: u64,
    /// What was written.
    pub body: Body,
}

/// The bytes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// As the domain wrote them.
    Plain(Vec<u8>),
    /// Encrypted, by the decorator that envelopes what is stored.
    Sealed(Vec<u8>),
}

/// What a store holds of a record, byte for byte, for whoever keeps what it made of it. It says nothing:
/// only stores that are sealed give any.
#[derive(Clone, PartialEq, Eq)]
pub struct Stamp {
    version: u64,
    sealed: Vec<u8>,
}

impl Stamp {
    /// The stamp of a record as the store holds it, which is sealed. `None`: it is not, and what it says
    /// would stay in memory.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        let Body::Sealed(sealed) = &record.body else { return None };
        Some(Self { version: record.version, sealed: sealed.clone() })
    }

    /// Whether a record is, byte for byte, the one that this was made of.
    #[must_use]
    pub fn is_of(&self, record: &Record) -> bool {
        let Body::Sealed(sealed) = &record.body else { return false };
        self.version == record.version && self.sealed == *sealed
    }
}

impl std::fmt::Debug for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stamp(version {})", self.version)
    }
}

/// What a record is, for whoever may have read it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reread {
    /// What it was when it had the stamp that was shown.
    Same,
    /// This, with its stamp, where the store gives any.
    Is(Record, Option<Stamp>),
    /// There is none.
    Absent,
}

/// What a change requires of the record as it stands when the batch is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is none with this key.
    Absent,
    /// Its version is this one.
    Version(u64),
    /// Whatever is there, or nothing.
    Any,
}

/// One change of a [`Batch`].
#[derive(Debug, Clone)]
pub enum Change {
    /// Writes a record. Its version becomes 1, or one more than before.
    Put {
        /// Which kind.
        kind: &'static Kind,
        /// Under which key: 1 to 255 bytes, none of them NUL.
        key: String,
        /// What must be there.
        expect: Expect,
        /// The new body.
        body: Body,
        /// Values of declared indexes, each like a key, at most one for each index. An index
        /// without a value does not find the record.
        indexes: Vec<(&'static str, String)>,
    },
    /// Removes a record. Removing what is not there is no error under [`Expect::Any`].
    Remove {
        /// Which kind.
        kind: &'static Kind,
        /// Which key.
        key: String,
        /// What must be there.
        expect: Expect,
    },
    /// Changes nothing, but requires something; the required record cannot change before the batch
    /// is committed.
    Require {
        /// Which kind.
        kind: &'static Kind,
        /// Which key.
        key: String,
        /// What must be there.
        expect: Expect,
    },
}

/// The logs that a batch can append to. The third log, of decisions, is not written through a
/// port: it is a file of each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Log {
    /// State changes, as events: the outbox.
    Journal,
    /// Revocations: small, pulled by every verifier.
    Revocations,
}

impl Log {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Journal, Self::Revocations];

    /// The name of its table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Revocations => "revocations",
        }
    }
}

/// An entry to append. It gets its position later, from the sequencer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// To which log.
    pub log: Log,
    /// By which a repeated delivery is recognised. A second append of the same id to the same log
    /// in the same realm is no error and changes nothing, until the first has been trimmed away.
    pub id: EventId,
    /// The entry.
    pub body: Vec<u8>,
}

/// Changes and log entries that happen together or not at all.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The realm of all of it.
    pub realm: Realm,
    /// Applied in order.
    pub changes: Vec<Change>,
    /// Appended in order.
    pub appends: Vec<Append>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub const fn new(realm: Realm) -> Self {
        Self { realm, changes: Vec::new(), appends: Vec::new() }
    }

    /// Adds a change.
    #[must_use]
    pub fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// Adds an event of the journal.
    #[must_use]
    pub fn journal(self, event: &Event) -> Self {
        self.append(Append { log: Log::Journal, id: event.id, body: event.to_json() })
    }

    /// Adds a log entry.
    #[must_use]
    pub fn append(mut self, append: Append) -> Self {
        self.appends.push(append);
        self
    }
}

/// Why a batch was not committed. Nothing of it happened, except under
/// [`StoreError::Indeterminate`], where nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitRefused {
    /// An expectation was not met: somebody else was first.
    #[error("`{kind}` at `{key}` is not as expected")]
    Conflict {
        /// Of which kind.
        kind: &'static str,
        /// With which key.
        key: String,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A piece of a listing: records with greater keys than `after`, in the order of keys.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The last key that is already known.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// A log entry with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positioned {
    /// Dense from 1, in an order that never changes and never has something inserted before what
    /// has been read.
    pub position: u64,
    /// The entry's id.
    pub id: EventId,
    /// The realm of its batch.
    pub realm: Realm,
    /// When its batch was committed, by the clock of whoever wrote it. Informative.
    pub at: Timestamp,
    /// The entry.
    pub body: Vec<u8>,
}

/// What a log holds after a position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pull {
    /// In order of position, without a gap, beginning after the position asked for. Empty for
    /// whoever is behind `tail`, so that nobody takes what is left for all there was.
    pub entries: Vec<Positioned>,
    /// The greatest position there is.
    pub head: u64,
    /// The smallest position that has not been trimmed away; whoever is behind it needs a snapshot.
    pub tail: u64,
    /// How long the oldest committed entry without a position has been waiting. Read at the same
    /// instant as the entries, so `entries` + this age leave nothing unaccounted for.
    pub waiting: Duration,
    /// What the store's own clock said at that instant, where it has one of its own.
    pub clock: Option<Timestamp>,
}

/// What a run of the sequencer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequenced {
    /// This node holds the lease, and gave positions to so many entries.
    Positioned(u64),
    /// Another node holds the lease.
    NotOurs,
    /// The backend gives positions when it commits; there is nothing to do.
    AtCommit,
}

/// Durable documents by key and declared index, atomic batches, positioned logs.
///
/// - A committed batch survives the loss of power. It is visible to every later read, from every
///   node, at once: there are no stale reads, except by [`Self::recent`].
/// - Two batches that expect the same version cannot both be committed, whoever commits them.
/// - Positions are given, not taken: an entry with a smaller position never appears after one with
///   a greater position has been read.
pub trait Records: Send + Sync {
    /// The record with this key.
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>>;

    /// As [`Self::load`], where it need not be the latest: a cache may answer that has not heard of
    /// a change yet. Whoever asks so decides nothing that a later change forbids, or looks again.
    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.load(realm, kind, key)
    }

    /// As [`Self::load`], for whoever has kept what it made of the record when it had the stamp `known`:
    /// where the store holds the very same now, it need not be opened and read again.
    fn reread<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
        _known: Option<&'a Stamp>,
    ) -> BoxFuture<'a, Result<Reread, StoreError>> {
        Box::pin(async move {
            let found = self.load(realm, kind, key).await?;
            Ok(found.map_or(Reread::Absent, |record| Reread::Is(record, None)))
        })
    }

    /// Records whose `index` has this value, in order of keys.
    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>>;

    /// All records of a kind, in order of keys.
    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>>;

    /// Commits a batch. When this answers `Ok`, it is durable.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>>;

    /// What `log` holds after position `after`, over all realms: at most `limit` entries.
    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>>;

    /// Gives positions to committed entries that have none, if `node` holds or can take the lease.
    /// To be called at least every 20 ms by every node.
    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>>;

    /// Drops what is dead: whole days of kinds with [`Lifetime::ByDay`] that are before the day of
    /// `now`, and log entries written before `logs_before` that no younger entry stands before.
    /// Answers how many records and entries went.
    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>>;
}
