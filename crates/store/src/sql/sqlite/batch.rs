//! A batch, inside the transaction.

use rusqlite::{OptionalExtension as _, params_from_iter, types::ToSqlOutput, types::ValueRef};
use tegata_core::{
    Batch, CommitRefused, Expect, Kind, Realm, StoreError, Timestamp,
    port::{Body, Change},
};

use super::{
    fault, log,
    table::{Table, Tables, number, stored},
    unchanged,
    writer::{Tx, Undone},
};
use crate::declared;

type Applied<T> = Result<T, Undone<CommitRefused>>;

/// A row as a change finds it.
struct State {
    version: u64,
    indexes: Vec<Option<String>>,
}

/// Applies a batch. Where it is refused, what it has done so far is for the caller to undo.
pub(super) fn apply(
    tx: &mut Tx<'_>,
    tables: &Tables,
    now: Timestamp,
    batch: &Batch,
) -> Applied<()> {
    for change in &batch.changes {
        apply_change(tx, tables, &batch.realm, change)?;
        if let Change::Put { kind, key, .. } | Change::Remove { kind, key, .. } = change {
            tx.written.extend(unchanged::written(&batch.realm, kind, key));
        }
    }
    for append in &batch.appends {
        log::append(tx, &batch.realm, now, append)?;
    }
    Ok(())
}

fn apply_change(tx: &Tx<'_>, tables: &Tables, realm: &Realm, change: &Change) -> Applied<()> {
    match change {
        Change::Put { kind, key, expect, body, indexes } => {
            let table = table(tables, kind)?;
            let state = expected(tx, table, realm, key, *expect)?;
            write(tx, table, (realm, key), body, indexes, state.as_ref())?;
        }
        Change::Remove { kind, key, expect } => {
            let table = table(tables, kind)?;
            if expected(tx, table, realm, key, *expect)?.is_some() {
                let mut remove = tx.connection.prepare_cached(&table.remove)?;
                remove.execute((realm.as_str(), key))?;
            }
        }
        Change::Require { kind, key, expect } => {
            expected(tx, table(tables, kind)?, realm, key, *expect)?;
        }
    }
    Ok(())
}

fn table<'t>(tables: &'t Tables, kind: &Kind) -> Applied<&'t Table> {
    let undeclared = || StoreError::Misused { detail: format!("no kind `{}`", kind.name) };
    tables.of(kind).ok_or_else(|| Undone::Refused(undeclared().into()))
}

/// The row under a key, if it is as expected. Nobody can change it before the transaction ends.
fn expected(
    tx: &Tx<'_>,
    table: &Table,
    realm: &Realm,
    key: &str,
    expect: Expect,
) -> Applied<Option<State>> {
    let mut statement = tx.connection.prepare_cached(&table.state)?;
    let state = statement
        .query_row((realm.as_str(), key), |row| {
            let columns = 1..=table.kind.indexes.len();
            let indexes = columns.map(|column| row.get(column)).collect::<Result<_, _>>()?;
            Ok(State { version: number(row, 0)?, indexes })
        })
        .optional()
        .map_err(|error| named(error, table, key))?;
    if declared::met(expect, state.as_ref().map(|state| state.version)) {
        return Ok(state);
    }
    let (kind, key) = (table.kind.name, key.to_owned());
    Err(Undone::Refused(CommitRefused::Conflict { kind, key }))
}

/// What is wrong with one row is said of that row, and the others go on.
fn named(error: rusqlite::Error, table: &Table, key: &str) -> Undone<CommitRefused> {
    if fault::is_of_statement(&error) {
        return Undone::Refused(fault::fault(&error, table.kind.name, key).into());
    }
    Undone::Failed(error)
}

fn write(
    tx: &Tx<'_>,
    table: &Table,
    (realm, key): (&Realm, &str),
    body: &Body,
    indexes: &[(&'static str, String)],
    state: Option<&State>,
) -> rusqlite::Result<()> {
    let columns = table.kind.indexes.iter().map(|index| {
        let value = indexes.iter().find(|(name, _)| name == index);
        value.map(|(_, value)| value.as_str())
    });
    let (sealed, bytes) = match body {
        Body::Plain(bytes) => (0, bytes),
        Body::Sealed(bytes) => (1, bytes),
    };
    let version = state.map_or(1, |state| state.version.saturating_add(1));
    let mut values = vec![
        text(Some(realm.as_str())),
        text(Some(key)),
        ToSqlOutput::from(stored(version)),
        ToSqlOutput::from(sealed),
        ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
    ];
    let sql = match state {
        None => {
            let day = declared::day(table.kind, key);
            values.push(day.map_or(ToSqlOutput::Borrowed(ValueRef::Null), ToSqlOutput::from));
            values.extend(columns.map(text));
            &table.insert
        }
        Some(state) if state.indexes.iter().map(Option::as_deref).eq(columns.clone()) => {
            &table.update
        }
        Some(_) => {
            values.extend(columns.map(text));
            &table.update_indexed
        }
    };
    let mut statement = tx.connection.prepare_cached(sql)?;
    statement.execute(params_from_iter(values)).map(drop)
}

fn text(text: Option<&str>) -> ToSqlOutput<'_> {
    let value = text.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes()));
    ToSqlOutput::Borrowed(value)
}
