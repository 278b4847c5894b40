//! The tables: made when the database is opened, and only ever added to.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    SqliteRefused,
    connection::{self, Patience, Turn},
    fault,
    table::Tables,
};

/// Marks the file as ours: `TGTA`.
const APPLICATION_ID: i32 = 0x5447_5441;

/// The layout of what [`FIXED`] makes, and of the columns that every kind has. A newer one could be
/// misread by this program.
const LAYOUT: u32 = 1;

/// The tables that do not depend on kinds.
const FIXED: &str = "
    CREATE TABLE IF NOT EXISTS tegata_schema (
        name TEXT PRIMARY KEY, version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE IF NOT EXISTS tegata_counter (
        name TEXT PRIMARY KEY, value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE IF NOT EXISTS log_journal (
        position INTEGER PRIMARY KEY, realm TEXT NOT NULL, id BLOB NOT NULL, at INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX IF NOT EXISTS \"log_journal.id\" ON log_journal (id, realm);

    CREATE TABLE IF NOT EXISTS log_revocations (
        position INTEGER PRIMARY KEY, realm TEXT NOT NULL, id BLOB NOT NULL, at INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX IF NOT EXISTS \"log_revocations.id\" ON log_revocations (id, realm);

    CREATE TABLE IF NOT EXISTS ephemeral (
        realm TEXT NOT NULL, space TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL,
        until INTEGER NOT NULL, until_quarter INTEGER NOT NULL, found_by TEXT, value BLOB NOT NULL,
        PRIMARY KEY (realm, space, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS \"ephemeral.found_by\" ON ephemeral (realm, space, found_by, key)
        WHERE found_by IS NOT NULL;
    CREATE INDEX IF NOT EXISTS \"ephemeral.until_quarter\" ON ephemeral (until_quarter);

    CREATE TABLE IF NOT EXISTS backstop (
        realm TEXT NOT NULL, key TEXT NOT NULL, mark BLOB NOT NULL, until INTEGER NOT NULL,
        PRIMARY KEY (realm, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS \"backstop.until\" ON backstop (until);
";

/// Checks that the database is ours and not newer than this program, and adds what is missing.
pub(super) fn prepare(
    connection: &Connection,
    path: &Path,
    tables: &Tables,
    turn: &Turn,
    patience: &Patience,
) -> Result<(), SqliteRefused> {
    let store = |error: rusqlite::Error| SqliteRefused::Store {
        path: path.to_owned(),
        source: fault::fault(&error, "database", "schema"),
    };
    // Asked twice: before anything is changed, and again when no other process can change it.
    let foreign = || SqliteRefused::Foreign { path: path.to_owned() };
    if !is_ours(connection).map_err(store)? {
        return Err(foreign());
    }
    let since = patience.now();
    connection::write_ahead(connection, patience, since).map_err(store)?;
    turn.begin(connection, since).map_err(store)?;
    // Dropping the connection undoes what an early return leaves behind.
    if !is_ours(connection).map_err(store)? {
        return Err(foreign());
    }
    let found = layout(connection).map_err(store)?;
    if found > LAYOUT {
        return Err(SqliteRefused::Newer { path: path.to_owned(), found, known: LAYOUT });
    }
    expand(connection, tables).map_err(store)?;
    connection.execute_batch("COMMIT").map_err(store)
}

/// Whether this program made the database, or nobody has put anything into it yet.
fn is_ours(connection: &Connection) -> rusqlite::Result<bool> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let things: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(id == APPLICATION_ID || (id == 0 && things == 0))
}

/// The layout of the database; 0 where it is empty.
fn layout(connection: &Connection) -> rusqlite::Result<u32> {
    if !connection.table_exists(None, "tegata_schema")? {
        return Ok(0);
    }
    let layout = "SELECT version FROM tegata_schema WHERE name = 'layout'";
    Ok(connection.query_row(layout, [], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn expand(connection: &Connection, tables: &Tables) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute_batch(FIXED)?;
    for table in tables.iter() {
        connection.execute_batch(&table.create)?;
        for (index, column, create) in &table.expand {
            let (name, index) = (format!("kind_{}", table.kind.name), format!("index_{index}"));
            if !connection.column_exists(None, name.as_str(), index.as_str())? {
                connection.execute_batch(column)?;
            }
            connection.execute_batch(create)?;
        }
        if let Some(by_day) = &table.by_day {
            connection.execute_batch(by_day)?;
        }
    }
    let record = "INSERT INTO tegata_schema VALUES ('layout', ?1)
                  ON CONFLICT (name) DO UPDATE SET version = excluded.version";
    connection.execute(record, [LAYOUT]).map(drop)
}
