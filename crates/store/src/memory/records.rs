//! `Records` in memory: one lock, ordered maps, and a list that undoes a batch.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use parking_lot::Mutex;
use tegata_core::{
    Batch, Clock, CommitRefused, Expect, Kind, Log, Realm, Records, StoreError, Timestamp,
    id::NodeId,
    port::{Body, BoxFuture, Change, Page, Pull, Record, Sequenced},
};

use self::log::Entries;
use crate::declared::{self, Declared};

mod log;

/// Records in memory. Commits are atomic, visible at once, and end with the process.
pub struct MemoryRecords {
    declared: Declared,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tables: HashMap<&'static str, Table>,
    journal: Entries,
    revocations: Entries,
}

#[derive(Default)]
struct Table {
    rows: BTreeMap<(Realm, String), Row>,
    /// Realm, index, value and key of every row that an index finds.
    indexed: BTreeSet<(Realm, &'static str, String, String)>,
}

#[derive(Clone)]
struct Row {
    version: u64,
    body: Body,
    indexes: Vec<(&'static str, String)>,
}

/// What stood under a key before a batch changed it.
type Undo = (&'static Kind, String, Option<Row>);

impl MemoryRecords {
    /// An empty store of these kinds.
    ///
    /// # Errors
    /// [`StoreError::Misused`] where a kind or an index has a name that the port does not allow.
    pub fn new(kinds: &[&'static Kind], clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self { declared: Declared::new(kinds)?, clock, state: Mutex::default() })
    }

    fn commit_now(&self, batch: Batch) -> Result<(), CommitRefused> {
        self.declared.batch(&batch)?;
        let Batch { realm, changes, appends } = batch;
        let mut state = self.state.lock();
        let mut undo = Vec::with_capacity(changes.len());
        for change in changes {
            if let Err(conflict) = state.apply(&realm, change, &mut undo) {
                while let Some((kind, key, before)) = undo.pop() {
                    state.table(kind).set(&realm, &key, before);
                }
                return Err(conflict);
            }
        }
        let now = self.clock.now();
        for append in appends {
            state.log(append.log).append(&realm, now, append);
        }
        Ok(())
    }
}

impl State {
    fn table(&mut self, kind: &'static Kind) -> &mut Table {
        self.tables.entry(kind.name).or_default()
    }

    fn log(&mut self, log: Log) -> &mut Entries {
        match log {
            Log::Journal => &mut self.journal,
            Log::Revocations => &mut self.revocations,
        }
    }

    fn apply(
        &mut self,
        realm: &Realm,
        change: Change,
        undo: &mut Vec<Undo>,
    ) -> Result<(), CommitRefused> {
        match change {
            Change::Put { kind, key, expect, body, indexes } => {
                let version = self.expected(realm, kind, &key, expect)?.unwrap_or(0);
                let row = Row { version: version + 1, body, indexes };
                let before = self.table(kind).set(realm, &key, Some(row));
                undo.push((kind, key, before));
            }
            Change::Remove { kind, key, expect } => {
                self.expected(realm, kind, &key, expect)?;
                let before = self.table(kind).set(realm, &key, None);
                undo.push((kind, key, before));
            }
            Change::Require { kind, key, expect } => {
                self.expected(realm, kind, &key, expect)?;
            }
        }
        Ok(())
    }

    /// The version under a key, if it is as expected.
    fn expected(
        &mut self,
        realm: &Realm,
        kind: &'static Kind,
        key: &str,
        expect: Expect,
    ) -> Result<Option<u64>, CommitRefused> {
        let at = (realm.clone(), key.to_owned());
        let version = self.table(kind).rows.get(&at).map(|row| row.version);
        if declared::met(expect, version) {
            return Ok(version);
        }
        Err(CommitRefused::Conflict { kind: kind.name, key: at.1 })
    }
}

impl Table {
    /// Puts or removes a row, with its index entries; answers what was there.
    fn set(&mut self, realm: &Realm, key: &str, row: Option<Row>) -> Option<Row> {
        let entry = |(index, value): &(&'static str, String)| {
            (realm.clone(), *index, value.clone(), key.to_owned())
        };
        let at = (realm.clone(), key.to_owned());
        let before = self.rows.remove(&at);
        for indexed in before.iter().flat_map(|row| &row.indexes) {
            self.indexed.remove(&entry(indexed));
        }
        if let Some(row) = row {
            self.indexed.extend(row.indexes.iter().map(entry));
            self.rows.insert(at, row);
        }
        before
    }

    fn record(&self, realm: &Realm, key: &str) -> Option<Record> {
        let row = self.rows.get(&(realm.clone(), key.to_owned()))?;
        Some(Record { key: key.to_owned(), version: row.version, body: row.body.clone() })
    }

    fn find(&self, realm: &Realm, index: &'static str, value: &str, page: &Page) -> Vec<Record> {
        let after = page.after.clone().unwrap_or_default();
        let start = (realm.clone(), index, value.to_owned(), after);
        self.indexed
            .range((Bound::Excluded(start), Bound::Unbounded))
            .take_while(|(of, name, found, _)| of == realm && *name == index && found == value)
            .filter_map(|(_, _, _, key)| self.record(realm, key))
            .take(declared::count(page.limit))
            .collect()
    }

    fn scan(&self, realm: &Realm, page: &Page) -> Vec<Record> {
        let start = (realm.clone(), page.after.clone().unwrap_or_default());
        self.rows
            .range((Bound::Excluded(start), Bound::Unbounded))
            .take_while(|((of, _), _)| of == realm)
            .filter_map(|((_, key), _)| self.record(realm, key))
            .take(declared::count(page.limit))
            .collect()
    }

    /// Drops the rows whose day is before `today`; answers how many.
    fn purge(&mut self, kind: &'static Kind, today: u32) -> u64 {
        let dead = |key: &str| declared::day(kind, key).is_some_and(|day| day < today);
        let keys = self.rows.keys().filter(|(_, key)| dead(key)).cloned().collect::<Vec<_>>();
        keys.into_iter().fold(0, |gone, (realm, key)| {
            self.set(&realm, &key, None);
            gone + 1
        })
    }
}

impl Records for MemoryRecords {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            self.declared.load(kind, key)?;
            Ok(self.state.lock().table(kind).record(realm, key))
        })
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            self.declared.find(kind, index, value)?;
            Ok(self.state.lock().table(kind).find(realm, index, value, &page))
        })
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            self.declared.kind(kind)?;
            Ok(self.state.lock().table(kind).scan(realm, &page))
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(async move { self.commit_now(batch) })
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        Box::pin(async move { Ok(self.state.lock().log(log).pull(after, limit)) })
    }

    fn sequence(&self, _: Log, _: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        Box::pin(async { Ok(Sequenced::AtCommit) })
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut state = self.state.lock();
            let mut gone = 0;
            for kind in self.declared.kinds() {
                gone += state.table(kind).purge(kind, now.day());
            }
            for log in Log::ALL {
                gone += state.log(log).trim(logs_before);
            }
            Ok(gone)
        })
    }
}
