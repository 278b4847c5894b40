//! Tables: one for each kind, and the statements on it.

use std::collections::HashMap;

use rusqlite::{Row, types::FromSql};
use tegata_core::{
    Kind,
    port::{Body, Record},
};

use crate::declared::Declared;

/// The tables of all declared kinds.
pub(super) struct Tables(HashMap<&'static str, Table>);

/// The table of a kind.
///
/// Declared indexes are columns, with an index on (realm, column, key) over the rows that have a
/// value. A row is written by one of two updates: most writes leave all index columns as they are,
/// and an update that names them would write their indexes anew.
pub(super) struct Table {
    pub(super) kind: &'static Kind,
    pub(super) create: String,
    /// Adds the column of an index, and makes the index.
    pub(super) expand: Vec<(&'static str, String, String)>,
    pub(super) by_day: Option<String>,
    pub(super) load: String,
    pub(super) scan: String,
    pub(super) find: HashMap<&'static str, String>,
    /// The version and the index columns.
    pub(super) state: String,
    pub(super) insert: String,
    pub(super) update: String,
    pub(super) update_indexed: String,
    pub(super) remove: String,
    pub(super) purge: String,
}

impl Tables {
    pub(super) fn new(declared: &Declared) -> Self {
        Self(declared.kinds().map(|kind| (kind.name, Table::new(kind))).collect())
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Table> {
        self.0.values()
    }

    /// The table of a kind, if it was declared.
    pub(super) fn of(&self, kind: &Kind) -> Option<&Table> {
        self.0.get(kind.name)
    }
}

impl Table {
    /// Names hold nothing but `a-z` and `_`, which [`Declared`] has checked, so they can stand in
    /// statements. A dot keeps names of indexes apart from names of tables.
    fn new(kind: &'static Kind) -> Self {
        let name = format!("kind_{}", kind.name);
        let all = |each: fn(&str) -> String| kind.indexes.iter().map(|index| each(index)).collect();
        let columns: String = all(|index| format!(", index_{index}"));
        let from = |first: usize| (first..).take(kind.indexes.len());
        let values = from(7).map(|n| format!(", ?{n}")).collect::<String>();
        let sets = kind.indexes.iter().zip(from(6));
        let sets = sets.map(|(index, n)| format!(", index_{index} = ?{n}")).collect::<String>();
        let at = "realm = ?1 AND key = ?2";
        let page = "ORDER BY key LIMIT";
        let update = format!("UPDATE {name} SET version = ?3, sealed = ?4, body = ?5 WHERE {at}");
        Self {
            create: format!(
                "CREATE TABLE IF NOT EXISTS {name} (
                    realm TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, day INTEGER,
                    sealed INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (realm, key)
                ) STRICT, WITHOUT ROWID"
            ),
            expand: kind
                .indexes
                .iter()
                .map(|index| {
                    (
                        *index,
                        format!("ALTER TABLE {name} ADD COLUMN index_{index} TEXT"),
                        format!(
                            "CREATE INDEX IF NOT EXISTS \"{name}.{index}\"
                             ON {name} (realm, index_{index}, key) WHERE index_{index} IS NOT NULL"
                        ),
                    )
                })
                .collect(),
            by_day: matches!(kind.lifetime, tegata_core::Lifetime::ByDay(_)).then(|| {
                format!(
                    "CREATE INDEX IF NOT EXISTS \"{name}..day\" ON {name} (day)
                     WHERE day IS NOT NULL"
                )
            }),
            load: format!("SELECT key, version, sealed, body FROM {name} WHERE {at}"),
            scan: format!(
                "SELECT key, version, sealed, body FROM {name}
                 WHERE realm = ?1 AND key > ?2 {page} ?3"
            ),
            find: kind
                .indexes
                .iter()
                .map(|index| {
                    let find = format!(
                        "SELECT key, version, sealed, body FROM {name}
                         WHERE realm = ?1 AND index_{index} = ?2 AND key > ?3 {page} ?4"
                    );
                    (*index, find)
                })
                .collect(),
            state: format!("SELECT version{columns} FROM {name} WHERE {at}"),
            insert: format!(
                "INSERT INTO {name} (realm, key, version, sealed, body, day{columns})
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6{values})"
            ),
            update_indexed: update.replace(" WHERE", &format!("{sets} WHERE")),
            update,
            remove: format!("DELETE FROM {name} WHERE {at}"),
            purge: format!(
                "DELETE FROM {name} WHERE (realm, key) IN
                     (SELECT realm, key FROM {name} WHERE day < ?1 LIMIT ?2)"
            ),
            kind,
        }
    }
}

/// A record from a row of `load`, `scan` or `find`.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let bytes = row.get(3)?;
    let body = if row.get(2)? { Body::Sealed(bytes) } else { Body::Plain(bytes) };
    Ok(Record { key: row.get(0)?, version: number(row, 1)?, body })
}

/// A number that is never negative.
pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value = <i64 as FromSql>::column_result(row.get_ref(column)?)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// A number as SQLite keeps it. Greater ones than it can keep do not occur in what it answers.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
