//! The table of a kind: its columns, and the functions that change it.
//!
//! A function carries a fingerprint of its text in its name. So two releases whose kinds differ can
//! work on one database at once, each with its own functions, and none replaces what another uses.

use std::{collections::HashMap, fmt::Write as _};

use aws_lc_rs::digest::{SHA256, digest};
use tegata_core::{Kind, Lifetime, StoreError};

use crate::declared::{self, Declared};

/// The tables of all kinds.
pub(super) struct Tables {
    pub(super) declared: Declared,
    tables: HashMap<&'static str, Table>,
}

impl Tables {
    pub(super) fn new(kinds: &[&'static Kind]) -> Result<Self, StoreError> {
        let declared = Declared::new(kinds)?;
        let tables = declared.kinds().map(|kind| (kind.name, Table::new(kind))).collect();
        Ok(Self { declared, tables })
    }

    pub(super) fn of(&self, kind: &Kind) -> Result<&Table, StoreError> {
        let table = self.tables.get(kind.name);
        table.ok_or_else(|| StoreError::Misused { detail: format!("no table `{}`", kind.name) })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }
}

/// The table of one kind.
pub(super) struct Table {
    pub(super) kind: &'static Kind,
    /// Its name, without the schema.
    pub(super) name: String,
    pub(super) load: String,
    pub(super) scan: String,
    pub(super) put: Function,
    pub(super) remove: Function,
    pub(super) require: Function,
    finds: Vec<(&'static str, String)>,
}

/// A function in the database.
pub(super) struct Function {
    /// Its name, without the schema.
    pub(super) name: String,
    /// The statement that makes it.
    pub(super) make: String,
}

impl Table {
    fn new(kind: &'static Kind) -> Self {
        let name = format!("r_{}", kind.name);
        let fields = "key, version, sealed, body";
        let day = if by_day(kind) { " AND day = $3" } else { "" };
        let load = format!("SELECT {fields} FROM tegata.{name} WHERE realm = $1 AND key = $2{day}");
        let scan = format!(
            "SELECT {fields} FROM tegata.{name} WHERE realm = $1 AND key > $2 \
             ORDER BY key LIMIT $3"
        );
        let find = |index: &&'static str| {
            let find = format!(
                "SELECT {fields} FROM tegata.{name} WHERE realm = $1 AND i_{index} = $2 \
                 AND key > $3 ORDER BY key LIMIT $4"
            );
            (*index, find)
        };
        let finds = kind.indexes.iter().map(find).collect();
        let (put, remove, require) = (put(kind), remove(kind), require(kind));
        Self { kind, name, load, scan, put, remove, require, finds }
    }

    /// Whether it has a partition for each day.
    pub(super) fn by_day(&self) -> bool {
        by_day(self.kind)
    }

    /// The day of a key, as the column holds it.
    pub(super) fn day(&self, key: &str) -> Option<i32> {
        declared::day(self.kind, key).and_then(|day| i32::try_from(day).ok())
    }

    /// The statement that finds by an index.
    pub(super) fn find(&self, index: &str) -> Option<&str> {
        let find = self.finds.iter().find(|(name, _)| *name == index);
        find.map(|(_, sql)| sql.as_str())
    }

    /// The statement that makes the table, without its indexes.
    pub(super) fn make(&self) -> String {
        let (name, kind) = (&self.name, self.kind);
        let mut columns = String::new();
        for index in kind.indexes {
            let _ = write!(columns, "i_{index} text COLLATE \"C\", ");
        }
        let (day, key, rest) = match by_day(kind) {
            true => ("day integer NOT NULL, ", ", day", "PARTITION BY RANGE (day)"),
            false => ("", "", "WITH (fillfactor = 80)"),
        };
        format!(
            "CREATE TABLE tegata.{name} (realm text COLLATE \"C\" NOT NULL, \
             key text COLLATE \"C\" NOT NULL, {day}version bigint NOT NULL, \
             sealed boolean NOT NULL, body bytea NOT NULL, {columns}\
             PRIMARY KEY (realm, key{key})) {rest}"
        )
    }

    /// The name of an index, and what follows `CREATE INDEX` and the name.
    pub(super) fn index(&self, index: &str) -> (String, String) {
        let short = |text: &str| text.chars().take(24).collect::<String>();
        let whole = format!("{} {index}", self.name);
        let name = format!("{}_{}_{}", short(&self.name), short(index), fingerprint(&whole));
        let on =
            format!("ON tegata.{} (realm, i_{index}, key) WHERE i_{index} IS NOT NULL", self.name);
        (name, on)
    }
}

fn by_day(kind: &Kind) -> bool {
    matches!(kind.lifetime, Lifetime::ByDay(_))
}

/// The arguments that all functions of a kind begin with, and the condition and the columns that
/// belong to them.
fn address(kind: &Kind) -> (&'static str, &'static str, &'static str) {
    match by_day(kind) {
        true => (
            "in_realm text, in_key text, in_day integer, expected bigint",
            "r.realm = in_realm AND r.key = in_key AND r.day = in_day",
            "realm, key, day",
        ),
        false => (
            "in_realm text, in_key text, expected bigint",
            "r.realm = in_realm AND r.key = in_key",
            "realm, key",
        ),
    }
}

/// `expected` is the version, 0 for none, NULL for any. The answer tells whether it was met; where
/// it was not, nothing was changed.
fn put(kind: &Kind) -> Function {
    let (arguments, condition, key) = address(kind);
    let table = format!("tegata.r_{}", kind.name);
    let (mut taken, mut columns, mut values, mut set) =
        (String::new(), String::new(), String::new(), String::new());
    for index in kind.indexes {
        let _ = write!(taken, ", in_i_{index} text");
        let _ = write!(columns, ", i_{index}");
        let _ = write!(values, ", in_i_{index}");
        let _ = write!(set, ", i_{index} = in_i_{index}");
    }
    let row = if by_day(kind) { "in_realm, in_key, in_day" } else { "in_realm, in_key" };
    let insert = format!(
        "INSERT INTO {table} AS r ({key}, version, sealed, body{columns}) \
         VALUES ({row}, 1, in_sealed, in_body{values}) ON CONFLICT ({key})"
    );
    let update = format!("SET version = r.version + 1, sealed = in_sealed, body = in_body{set}");
    Function::new(
        "put",
        kind,
        &format!("{arguments}, in_sealed boolean, in_body bytea{taken}"),
        &format!(
            "IF expected > 0 THEN \
                 UPDATE {table} r {update} WHERE {condition} AND r.version = expected; \
             ELSIF expected = 0 THEN \
                 {insert} DO NOTHING; \
             ELSIF expected IS NULL THEN \
                 {insert} DO UPDATE {update}; \
             ELSE \
                 RETURN false; \
             END IF; \
             RETURN FOUND;"
        ),
    )
}

/// As `put`; removing what is not there is no failure where anything is expected.
fn remove(kind: &Kind) -> Function {
    let (arguments, condition, _) = address(kind);
    let table = format!("tegata.r_{}", kind.name);
    Function::new(
        "remove",
        kind,
        arguments,
        &format!(
            "DELETE FROM {table} r WHERE {condition} \
                 AND (expected IS NULL OR r.version = expected); \
             RETURN FOUND OR expected IS NULL;"
        ),
    )
}

/// Requires a version, or that there is none, until the batch is committed. What is there is held
/// by a lock on its row. What is not there has no row, so one is put there and taken away again:
/// until we have committed, others who would insert the key wait for us.
fn require(kind: &Kind) -> Function {
    let (arguments, condition, key) = address(kind);
    let table = format!("tegata.r_{}", kind.name);
    let row = if by_day(kind) { "in_realm, in_key, in_day" } else { "in_realm, in_key" };
    Function::new(
        "require",
        kind,
        arguments,
        &format!(
            "IF expected = 0 THEN \
                 INSERT INTO {table} ({key}, version, sealed, body) \
                     VALUES ({row}, 1, false, '') ON CONFLICT DO NOTHING; \
                 IF NOT FOUND THEN RETURN false; END IF; \
                 DELETE FROM {table} r WHERE {condition}; \
             ELSE \
                 PERFORM FROM {table} r WHERE {condition} AND r.version = expected FOR SHARE; \
             END IF; \
             RETURN FOUND;"
        ),
    )
}

impl Function {
    fn new(verb: &str, kind: &Kind, arguments: &str, body: &str) -> Self {
        let fingerprint = fingerprint(&format!("{arguments} {body}"));
        let name = format!("{verb}_{}_{fingerprint}", kind.name);
        let make = format!(
            "CREATE OR REPLACE FUNCTION tegata.{name}({arguments}) RETURNS boolean \
             LANGUAGE plpgsql AS $body$ BEGIN {body} END $body$"
        );
        Self { name, make }
    }
}

/// Eight hexadecimal digits that tell texts apart.
fn fingerprint(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
