//! A batch as one statement.
//!
//! Each change is a call of its table's function, which answers whether it found what it expects;
//! `CASE` calls them one after the other. Where the first finds something else, nothing has been
//! changed and the statement simply says so. Where a later one does, it raises an error, which
//! undoes the others.
//!
//! INVARIANT: the level `read committed` is enough, because no decision is taken on what a snapshot
//! shows: a version is compared by the `UPDATE`, `DELETE` or `SELECT … FOR SHARE` that has locked
//! the row, and compared anew after waiting for somebody else; that a key is free is decided by its
//! unique index, which knows of rows that no snapshot shows yet. What a batch requires is locked
//! until it is committed, so of two batches each of which requires what the other changes, one
//! waits for the other and then finds its requirement broken.

use std::fmt::Write as _;

use tegata_core::{
    Batch, CommitRefused, Expect, Kind, Log, StoreError, Timestamp,
    port::{Append, Body, Change},
};

use super::{
    BACKEND, Inner,
    fault::Fault,
    logs::signed,
    param::{Param, bytes, flag, many_bytes, maybe_text, number, small, text},
    table::{Table, Tables},
};

/// How often a batch is tried before its caller is told that others were in the way.
const ATTEMPTS: u32 = 5;

/// The most changes of one batch, and the most values that a statement can have.
const MOST_CHANGES: usize = 2000;
const MOST_VALUES: usize = 65_535;

impl Inner {
    /// Commits a batch.
    pub(super) async fn commit(&self, batch: Batch) -> Result<(), CommitRefused> {
        self.tables.declared.batch(&batch)?;
        let plan = Plan::new(&self.tables, &batch, self.clock.now())?;
        if plan.steps == 0 {
            return Ok(());
        }
        let (kind, key) = plan.changes.first().map_or(("log", ""), |change| named(change));
        let mut attempt = 1;
        loop {
            match self.pool.ask(&plan.sql, &plan.params).await {
                Ok(rows) => {
                    let answer = rows.first().and_then(|row| row.try_get::<_, i32>(0).ok());
                    return plan.judge(answer);
                }
                Err(Fault::Refused { code, message, .. }) if code.code() == "TG001" => {
                    return plan.judge(message.parse().ok());
                }
                Err(fault) if attempt < ATTEMPTS && fault.is_collision() => {}
                Err(fault) if attempt < ATTEMPTS && fault.is_missing_partition() => {
                    self.add_days(&plan.days).await?;
                }
                Err(fault) => return Err(fault.of_writing(kind, key).into()),
            }
            attempt += 1;
        }
    }

    /// Makes the partitions that a batch needs.
    async fn add_days(&self, days: &[(&Table, i32)]) -> Result<(), StoreError> {
        for (table, wanted) in days {
            let params = [text(&table.name), small(*wanted)];
            let made = self.pool.ask("SELECT tegata.add_day($1, $2)", &params).await;
            // Nothing of the batch has happened, whatever became of this.
            made.map_err(|fault| fault.of_reading(table.kind.name, ""))?;
        }
        Ok(())
    }
}

/// What a batch asks of the database.
struct Plan<'a> {
    sql: String,
    params: Vec<Param<'a>>,
    /// The changes that are asked for, by their number.
    changes: Vec<&'a Change>,
    /// The partitions that they need.
    days: Vec<(&'a Table, i32)>,
    /// How many functions are called.
    steps: usize,
}

impl<'a> Plan<'a> {
    fn new(tables: &'a Tables, batch: &'a Batch, now: Timestamp) -> Result<Self, StoreError> {
        within("changes", batch.changes.len(), MOST_CHANGES)?;
        let mut plan = Self {
            sql: "SELECT CASE".to_owned(),
            params: vec![text(batch.realm.as_str())],
            changes: Vec::with_capacity(batch.changes.len()),
            days: Vec::new(),
            steps: 0,
        };
        // All batches take their locks in the same order, so that none wait for each other in a
        // circle. Changes of the same record stay in theirs, and others do not meet.
        let mut changes = batch.changes.iter().collect::<Vec<_>>();
        changes.sort_by_key(|change| named(change));
        for change in changes {
            plan.change(tables, change)?;
        }
        for log in Log::ALL {
            plan.append(log, &batch.appends, now);
        }
        plan.sql.push_str(" ELSE -1 END");
        within("values", plan.params.len(), MOST_VALUES)?;
        Ok(plan)
    }

    fn change(&mut self, tables: &'a Tables, change: &'a Change) -> Result<(), StoreError> {
        let (function, kind, key, expect) = match change {
            Change::Put { kind, key, expect, .. } => (Verb::Put, *kind, key, *expect),
            // Where nothing is expected, nothing is there to be removed.
            Change::Remove { kind, key, expect: Expect::Absent } => {
                (Verb::Require, *kind, key, Expect::Absent)
            }
            Change::Remove { kind, key, expect } => (Verb::Remove, *kind, key, *expect),
            Change::Require { kind, key, expect } => (Verb::Require, *kind, key, *expect),
        };
        let table = tables.of(kind)?;
        let of_day = table.day(key);
        // A key without a day cannot be written, so nothing is there and nothing will be.
        let never = table.by_day() && of_day.is_none();
        if (never && expect == Expect::Absent)
            || (function == Verb::Require && expect == Expect::Any)
        {
            return Ok(());
        }
        let mut params = vec![text(key)];
        if table.by_day() {
            params.push(small(of_day));
            self.days.extend(of_day.map(|day| (table, day)));
        }
        params.push(expected(expect));
        if let Change::Put { body, indexes, .. } = change {
            let (sealed, content) = match body {
                Body::Plain(content) => (false, content),
                Body::Sealed(content) => (true, content),
            };
            params.extend([flag(sealed), bytes(content)]);
            for index in kind.indexes {
                let value = indexes.iter().find(|(name, _)| name == index);
                params.push(maybe_text(value.map(|(_, value)| value.as_str())));
            }
        }
        let function = match function {
            Verb::Put => &table.put,
            Verb::Remove => &table.remove,
            Verb::Require => &table.require,
        };
        self.changes.push(change);
        self.call(&function.name, params);
        Ok(())
    }

    fn append(&mut self, log: Log, appends: &'a [Append], now: Timestamp) {
        let entries = appends.iter().filter(|append| append.log == log).collect::<Vec<_>>();
        if entries.is_empty() {
            return;
        }
        let ids = entries.iter().map(|entry| entry.id.0.as_slice()).collect();
        let bodies = entries.iter().map(|entry| entry.body.as_slice()).collect();
        let params = vec![number(signed(now.millis())), many_bytes(ids), many_bytes(bodies)];
        self.call(&format!("append_{}", log.name()), params);
    }

    /// Adds a call of a function with the realm and `params`.
    fn call(&mut self, function: &str, params: Vec<Param<'a>>) {
        let _ = write!(self.sql, " WHEN NOT tegata.{function}($1");
        for param in params {
            self.params.push(param);
            let _ = write!(self.sql, ", ${}", self.params.len());
        }
        let _ = match self.steps {
            0 => write!(self.sql, ") THEN 0"),
            step => write!(self.sql, ") THEN tegata.refuse({step})"),
        };
        self.steps += 1;
    }

    /// What the number of the first unmet change means: -1 is none.
    fn judge(&self, answer: Option<i32>) -> Result<(), CommitRefused> {
        if answer == Some(-1) {
            return Ok(());
        }
        let unmet = answer.and_then(|number| usize::try_from(number).ok());
        match unmet.and_then(|number| self.changes.get(number)) {
            Some(change) => {
                let (kind, key) = named(change);
                Err(CommitRefused::Conflict { kind, key: key.to_owned() })
            }
            None => {
                let detail = "a commit was answered with something that is no answer".to_owned();
                Err(StoreError::Indeterminate { backend: BACKEND, detail }.into())
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Put,
    Remove,
    Require,
}

fn within(what: &str, count: usize, most: usize) -> Result<(), StoreError> {
    if count <= most {
        return Ok(());
    }
    Err(StoreError::Misused {
        detail: format!("a batch has {count} {what}, and {most} are allowed"),
    })
}

fn named(change: &Change) -> (&'static str, &str) {
    let (Change::Put { kind, key, .. }
    | Change::Remove { kind, key, .. }
    | Change::Require { kind, key, .. }) = change;
    let kind: &'static Kind = kind;
    (kind.name, key)
}

/// What a function takes for an expectation: a version, 0 for none, NULL for any. A version that no
/// record can have becomes one that none has.
fn expected<'a>(expect: Expect) -> Param<'a> {
    match expect {
        Expect::Any => number(None),
        Expect::Absent => number(0),
        Expect::Version(0) => number(-1),
        Expect::Version(version) => number(i64::try_from(version).unwrap_or(-1)),
    }
}
