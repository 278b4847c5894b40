//! Connections: how the file is made and with which settings it is used.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tegata_core::{Clock, SinceBoot, StoreError};

use super::{SqliteConfig, fault};

/// Pages in the WAL at which the writer carries them over into the file: 32 MiB.
const CHECKPOINT_PAGES: u32 = 8192;

/// How long to wait between two attempts to get a lock that another process holds.
const ATTEMPT: Duration = Duration::from_micros(200);

/// Opens a file, and makes it if it is not there, readable by nobody else. SQLite gives the files
/// that it makes beside a database the mode of the database.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// Opens a connection.
pub(super) fn open(
    path: &Path,
    config: &SqliteConfig,
    tables: usize,
) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let configured = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(config.wait)?;
        // Each table has some ten statements; all of them stay prepared.
        connection.set_prepared_statement_cache_capacity(64 + 12 * tables);
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -i64::from(config.cache_kib))?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "trusted_schema", "OFF")?;
        connection.pragma_update(None, "cell_size_check", "ON")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        // Otherwise a statement that compares or limits is prepared anew for each value that it is given.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    });
    configured.map_err(|error| fault::fault(&error, "database", "header"))
}

/// How long other processes are waited for.
#[derive(Clone)]
pub(super) struct Patience {
    clock: Arc<dyn Clock>,
    wait: Duration,
}

impl Patience {
    pub(super) fn new(clock: Arc<dyn Clock>, wait: Duration) -> Self {
        Self { clock, wait }
    }

    pub(super) fn now(&self) -> SinceBoot {
        self.clock.since_boot()
    }

    /// Whether whoever waits since then has waited for long enough.
    pub(super) fn is_over(&self, since: SinceBoot) -> bool {
        self.now().since(since) >= self.wait
    }

    /// Tries until nobody else holds the lock, or whoever waits since then has waited for long
    /// enough.
    fn attempt<T>(
        &self,
        since: SinceBoot,
        act: impl Fn() -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        loop {
            match act() {
                Err(error) if fault::is_busy(&error) && !self.is_over(since) => {
                    std::thread::park_timeout(ATTEMPT);
                }
                done => return done,
            }
        }
    }
}

/// Turns on the write-ahead log. It stays on: the file remembers it.
pub(super) fn write_ahead(
    connection: &Connection,
    patience: &Patience,
    since: SinceBoot,
) -> rusqlite::Result<()> {
    patience.attempt(since, || connection.pragma_update(None, "journal_mode", "WAL"))
}

/// Lets processes write by turns.
///
/// SQLite gives its lock to whoever asks when it is free. A process that commits all the time frees
/// it for an instant only, and on a busy machine the others are asleep at that instant for seconds.
/// So whoever wants to write first takes the turn, a lock on a file beside the database, and keeps
/// it until the transaction has begun: while it waits, nobody who came later can begin before it.
/// The turn is about fairness alone. What is written depends on SQLite's own lock.
pub(super) struct Turn {
    file: File,
    patience: Patience,
}

impl Turn {
    pub(super) fn open(database: &Path, patience: Patience) -> io::Result<Self> {
        let mut path = OsString::from(database);
        path.push("-turn");
        Ok(Self { file: private_file(Path::new(&path))?, patience })
    }

    /// Begins a transaction that writes, for somebody who waits since then.
    pub(super) fn begin(&self, connection: &Connection, since: SinceBoot) -> rusqlite::Result<()> {
        // Waiting is done here, where it is fair.
        connection.busy_timeout(Duration::ZERO)?;
        let _turn = self.take(since)?;
        let begin = || connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop);
        self.patience.attempt(since, begin)
    }

    fn take(&self, since: SinceBoot) -> rusqlite::Result<Taken<'_>> {
        self.patience.attempt(since, || match self.file.try_lock() {
            Ok(()) => Ok(Taken(&self.file)),
            Err(_) => Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                Some("another process has the turn".to_owned()),
            )),
        })
    }
}

/// The turn, until it is dropped.
struct Taken<'a>(&'a File);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        // The system frees it at the latest when the file is closed.
        let _freed = self.0.unlock();
    }
}
