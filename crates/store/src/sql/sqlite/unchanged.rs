//! Records that were read before, for as long as nobody has written anything since.
//!
//! Whether anybody has, in this process or in another, SQLite tells in a few microseconds from memory
//! that all processes share, while asking a reader means waking a thread twice. So this is asked on
//! the caller's thread. After a commit it reads the first page of the file once, which whoever
//! committed has left in memory.

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
    records: HashMap<&'static str, HashMap<String, Arc<Record>>>,
    count: usize,
}

/// As which the watching connection sees the database. Another after every commit of anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(i64);

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
        Ok(Self(Mutex::new(Known { connection, version: Version(0), records, count })))
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
    /// Forgets everything if anything was written. `None`: SQLite does not tell.
    fn look(&mut self) -> Option<Version> {
        let seen = self
            .connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut ask| ask.query_row([], |row| row.get(0)));
        let seen = seen.ok().map(Version);
        if seen != Some(self.version) {
            self.forget();
        }
        self.version = seen?;
        seen
    }

    fn forget(&mut self) {
        self.records.clear();
        self.count = 0;
    }
}

/// What is kept for good is asked for again and again, and seldom written.
const fn is_worth_it(kind: &Kind) -> bool {
    matches!(kind.lifetime, Lifetime::Kept)
}

/// A realm's name has no space.
fn named(realm: &Realm, key: &str) -> String {
    format!("{realm} {key}")
}
