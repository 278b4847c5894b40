//! The logs. Positions are given by the transaction that appends: SQLite lets one of them write at
//! a time, so the order of positions is the order of commits, and a reader's snapshot holds every
//! position up to its head.

use std::time::Duration;

use rusqlite::{Connection, Row};
use tegata_core::{
    EventId, Log, Realm, Timestamp,
    port::{Append, Positioned, Pull},
};

use super::{
    table::{number, stored},
    writer::{Count, Tx, read_counter, write_counter},
};

/// The statements of a log, and the names of its counters.
struct Sql {
    count: Count,
    head: &'static str,
    trimmed: &'static str,
    append: &'static str,
    pull: &'static str,
    oldest: &'static str,
    trim: &'static str,
}

const JOURNAL: Sql = Sql {
    count: Count::Journal,
    head: "journal",
    trimmed: "journal_trimmed",
    append: "INSERT INTO log_journal (position, realm, id, at, body) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id, realm) DO NOTHING",
    pull: "SELECT position, realm, id, at, body FROM log_journal
           WHERE position > ?1 ORDER BY position LIMIT ?2",
    oldest: "SELECT position, at FROM log_journal ORDER BY position LIMIT ?1",
    trim: "DELETE FROM log_journal WHERE position <= ?1",
};

const REVOCATIONS: Sql = Sql {
    count: Count::Revocations,
    head: "revocations",
    trimmed: "revocations_trimmed",
    append: "INSERT INTO log_revocations (position, realm, id, at, body)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id, realm) DO NOTHING",
    pull: "SELECT position, realm, id, at, body FROM log_revocations
           WHERE position > ?1 ORDER BY position LIMIT ?2",
    oldest: "SELECT position, at FROM log_revocations ORDER BY position LIMIT ?1",
    trim: "DELETE FROM log_revocations WHERE position <= ?1",
};

const fn sql(log: Log) -> &'static Sql {
    match log {
        Log::Journal => &JOURNAL,
        Log::Revocations => &REVOCATIONS,
    }
}

/// Appends an entry at the next position, unless one with its id is there.
pub(super) fn append(
    tx: &mut Tx<'_>,
    realm: &Realm,
    at: Timestamp,
    append: &Append,
) -> rusqlite::Result<()> {
    let sql = sql(append.log);
    let position = tx.count(sql.count)? + 1;
    let mut statement = tx.connection.prepare_cached(sql.append)?;
    let entry = (stored(position), realm.as_str(), append.id.0, stored(at.millis()), &append.body);
    // INVARIANT: an entry that is there already takes no position, or positions would have gaps.
    if statement.execute(entry)? == 1 {
        tx.count_to(sql.count, position);
    }
    Ok(())
}

/// What the log holds after a position, at one instant.
pub(super) fn pull(
    connection: &Connection,
    log: Log,
    after: u64,
    limit: u32,
) -> rusqlite::Result<Pull> {
    let sql = sql(log);
    let snapshot = connection.unchecked_transaction()?;
    let head = read_counter(&snapshot, sql.head)?;
    let tail = read_counter(&snapshot, sql.trimmed)? + 1;
    let entries = if after.saturating_add(1) < tail {
        Vec::new()
    } else {
        let mut statement = snapshot.prepare_cached(sql.pull)?;
        let rows = statement.query_map((stored(after), limit), positioned)?;
        rows.collect::<Result<_, _>>()?
    };
    Ok(Pull { entries, head, tail, waiting: Duration::ZERO, clock: None })
}

fn positioned(row: &Row<'_>) -> rusqlite::Result<Positioned> {
    let realm = row.get_ref(1)?.as_str()?;
    let realm = Realm::new(realm).map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(1, kind, Box::new(error))
    })?;
    Ok(Positioned {
        position: number(row, 0)?,
        realm,
        id: EventId(row.get(2)?),
        at: Timestamp::from_millis(number(row, 3)?),
        body: row.get(4)?,
    })
}

/// Drops up to `most` entries from the front that were written before `before`; answers how many.
pub(super) fn trim(tx: &Tx<'_>, log: Log, before: Timestamp, most: u32) -> rusqlite::Result<u64> {
    let sql = sql(log);
    let mut statement = tx.connection.prepare_cached(sql.oldest)?;
    let mut rows = statement.query([most])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        if number(row, 1)? >= before.millis() {
            break;
        }
        last = Some(number(row, 0)?);
    }
    let Some(last) = last else { return Ok(0) };
    let gone = tx.connection.prepare_cached(sql.trim)?.execute([stored(last)])?;
    write_counter(tx.connection, sql.trimmed, last)?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}
