//! Records that were read before, for as long as nobody else has written anything since, and this process
//! has not written them.
//!
//! Whether anybody has written, in this process or in another, SQLite tells in a few microseconds from
//! memory that all processes share, while asking a reader means waking a thread twice. So this is asked on
//! the caller's thread. After a commit it reads the first page of the file once, which whoever
//! committed has left in memory.
//!
//! What the own writer commits, it says: [`Unchanged::begin`] before and [`Unchanged::end`] after, so that
//! sessions and codes that are written all the time do not make forgotten who the clients are. That
//! nobody else has committed in between, SQLite tells the writer's connection, which does not count its own
//! commits.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rusqlite::Connection;
use tegata_core::{
    Kind, Lifetime, Realm,
    port::{Body, Record},
};

/// How many records are remembered.
const MOST: usize = 1024;

/// Nothing longer is remembered.
const LONGEST: usize = 16 * 1024;

/// What was read, and a connection that reads nothing and is told of all changes.
pub(super) struct Unchanged(Mutex<Known>);

struct Known {
    connection: Connection,
    version: Version,
    /// Whether the own writer is about to commit, or has, and has not said yet what.
    commits: bool,
    records: HashMap<&'static str, HashMap<String, Arc<Record>>>,
    count: usize,
}

/// As which a connection sees the database. Another after every commit of anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(i64);

/// As which no connection sees the database.
const UNSEEN: Version = Version(-1);

/// What is known of a record.
pub(super) enum Recalled {
    /// It is this.
    Is(Arc<Record>),
    /// It must be read. What is found then may be [remembered](Unchanged::remember) as of this
    /// version.
    AsOf(Version),
    /// It must be read.
    Unknown,
}

impl Unchanged {
    /// Nothing yet. `connection` must be used for nothing else: it sees no change of its own.
    pub(super) fn new(connection: Connection) -> rusqlite::Result<Self> {
        // Where it is not told at once, a reader is asked.
        connection.busy_timeout(Duration::ZERO)?;
        let (records, count) = Default::default();
        let (version, commits) = (UNSEEN, false);
        Ok(Self(Mutex::new(Known { connection, version, commits, records, count })))
    }

    /// The own writer is about to commit, and nobody else can until it has. `alone`: nobody else has
    /// committed since it said so last.
    pub(super) fn begin(&self, alone: bool) {
        let mut known = self.0.lock();
        if !alone {
            known.lose();
            known.version = known.seen().unwrap_or(UNSEEN);
        }
        known.commits = true;
    }

    /// The own writer has committed, and written these records. `alone` is asked afterwards: whether
    /// nobody else has committed since the transaction began.
    pub(super) fn end(&self, written: &[Written], alone: impl FnOnce() -> bool) {
        let mut known = self.0.lock();
        known.commits = false;
        let seen = known.seen();
        // INVARIANT: it is asked after the version was seen. Otherwise that could be another's.
        match seen.filter(|_| alone()) {
            Some(version) => {
                written.iter().for_each(|(kind, name)| known.forget_one(kind, name));
                known.version = version;
            }
            None => known.lose(),
        }
    }

    /// The own writer could not commit, or does not know whether it did.
    pub(super) fn end_unsure(&self) {
        let mut known = self.0.lock();
        known.commits = false;
        known.lose();
    }

    /// What was read before, if it still is so: whatever was committed before this is called is seen.
    pub(super) fn recall(&self, realm: &Realm, kind: &'static Kind, key: &str) -> Recalled {
        if !is_worth_it(kind) {
            return Recalled::Unknown;
        }
        // Whoever would have to wait here asks a reader.
        let Some(mut known) = self.0.try_lock() else { return Recalled::Unknown };
        let Some(version) = known.look() else { return Recalled::Unknown };
        let of_kind = known.records.get(kind.name);
        match of_kind.and_then(|records| records.get(&named(realm, key))) {
            Some(record) => Recalled::Is(Arc::clone(record)),
            None => Recalled::AsOf(version),
        }
    }

    /// Remembers what was read after the database had been seen as of this version.
    pub(super) fn remember(
        &self,
        version: Version,
        realm: &Realm,
        kind: &'static Kind,
        record: &Record,
    ) {
        let (Body::Plain(body) | Body::Sealed(body)) = &record.body;
        if body.len() > LONGEST {
            return;
        }
        let Some(mut known) = self.0.try_lock() else { return };
        // What was read may be older than what was seen since.
        if known.version != version {
            return;
        }
        if known.count >= MOST {
            known.forget();
        }
        let of_kind = known.records.entry(kind.name).or_default();
        if of_kind.insert(named(realm, &record.key), Arc::new(record.clone())).is_none() {
            known.count += 1;
        }
    }
}

impl Known {
    /// Forgets everything if anything was written. `None`: SQLite does not tell, or the own writer has not
    /// said yet what it was.
    fn look(&mut self) -> Option<Version> {
        let seen = self.seen();
        if seen == Some(self.version) {
            return seen;
        }
        if self.commits {
            return None;
        }
        self.lose();
        self.version = seen?;
        seen
    }

    fn seen(&self) -> Option<Version> {
        version(&self.connection).ok()
    }

    /// Forgets everything, and with it as of when it was: what is being read cannot be remembered.
    fn lose(&mut self) {
        self.records.clear();
        self.count = 0;
        self.version = UNSEEN;
    }

    fn forget_one(&mut self, kind: &str, name: &str) {
        if self.records.get_mut(kind).is_some_and(|of_kind| of_kind.remove(name).is_some()) {
            self.count -= 1;
        }
    }

    fn forget(&mut self) {
        self.records.clear();
        self.count = 0;
    }
}

/// As which a connection sees the database.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<Version> {
    let mut ask = connection.prepare_cached("PRAGMA data_version")?;
    ask.query_row([], |row| row.get(0).map(Version))
}

/// A record that was written or removed: its kind, and its name among them.
pub(super) type Written = (&'static str, String);

/// A record of this key that is about to be written, where it may be remembered.
pub(super) fn written(realm: &Realm, kind: &'static Kind, key: &str) -> Option<Written> {
    is_worth_it(kind).then(|| (kind.name, named(realm, key)))
}

/// What is kept for good is asked for again and again, and seldom written.
const fn is_worth_it(kind: &Kind) -> bool {
    matches!(kind.lifetime, Lifetime::Kept)
}

/// A realm's name has no space.
fn named(realm: &Realm, key: &str) -> String {
    format!("{realm} {key}")
}
