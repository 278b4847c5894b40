//! SQLite: the store of a single machine, in one file beside the program.
//!
//! One thread writes, in the order of arrival, and many callers share one transaction and one
//! `fsync` (`sqlite/writer.rs`). A few threads read, each on a connection of its own; in WAL mode they
//! neither wait for the writer nor hold it up, and see everything that was committed before they
//! began. Several processes may use one file at once: whatever a change depends on is read inside
//! the transaction that makes it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tegata_core::{Clock, Kind, StoreError, SystemClock};

use self::{
    connection::{Patience, Turn},
    noted::Noted,
    readers::Readers,
    table::Tables,
    unchanged::Unchanged,
    writer::{Desk, Writer},
};
use crate::declared::Declared;

mod backstop;
mod batch;
mod connection;
mod ephemeral;
mod fault;
mod log;
mod noted;
mod readers;
mod records;
mod schema;
mod table;
mod unchanged;
mod wal;
mod writer;

pub use backstop::SqliteBackstop;
pub use ephemeral::SqliteEphemeral;
pub use records::SqliteRecords;

/// How a database is used.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// How long to wait for another process that is writing, from when a write was asked for. After
    /// it, the answer is [`StoreError::Unavailable`].
    pub wait: Duration,
    /// How many threads read, at least 1.
    pub readers: usize,
    /// How many reads, and how many writes, may wait their turn. Whoever comes then is answered
    /// [`StoreError::Unavailable`] at once.
    pub waiting: usize,
    /// Memory for pages, in KiB, of each connection: one for each reader and one for the writer.
    pub cache_kib: u32,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self { wait: Duration::from_secs(5), readers: 3, waiting: 8192, cache_kib: 16_384 }
    }
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum SqliteRefused {
    /// The file belongs to another program.
    #[error(
        "`{path}` is the database of another program; name a file that does not exist yet, or one \
         that tegata made"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program made or changed it, and this one might misread it.
    #[error(
        "`{path}` was written by a newer tegata (layout {found}, and this program knows layouts up \
         to {known}); start the newer program, or restore a backup made by this one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The layout of the file.
        found: u32,
        /// The newest layout that this program knows.
        known: u32,
    },
    /// Its write-ahead log was changed by something that is not SQLite: a disk, a copy, a hand.
    #[error(
        "`{path}` is damaged at byte {at} or ends there too early, and at least {commits} of the last \
         transactions, which were acknowledged, would be lost: restore a backup, and remove `{noted}` \
         where the backup has none; or give them up with `truncate --size={at} {path} && rm -f \
         {noted}`, and take back again whatever was taken back meanwhile"
    )]
    Damaged {
        /// The write-ahead log.
        path: PathBuf,
        /// Where.
        at: usize,
        /// How many transactions would be lost, at least.
        commits: usize,
        /// What says how far the log had come.
        noted: PathBuf,
    },
    /// The file cannot be made or opened.
    #[error("`{path}` cannot be opened: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database does not answer, or the kinds are declared in a way that the port does not
    /// allow.
    #[error("`{path}` cannot be used: {source}")]
    Store {
        /// The file.
        path: PathBuf,
        /// What the database, or the port, said.
        source: StoreError,
    },
}

/// An open database. Cheap to clone. It closes when the last clone, and the last adapter made from
/// one, is dropped.
#[derive(Clone)]
pub struct Sqlite(Arc<Open>);

struct Open {
    declared: Declared,
    tables: Arc<Tables>,
    clock: Arc<dyn Clock>,
    writer: Writer,
    readers: Readers,
    unchanged: Arc<Unchanged>,
}

impl Sqlite {
    /// Opens a database, or makes it with mode 0600, and brings its tables to what `kinds` declare.
    /// Tables and columns are only ever added, so that the program before this one can still use
    /// them. A new index finds the records that are written from now on.
    ///
    /// Does I/O on the calling thread.
    ///
    /// # Errors
    /// [`SqliteRefused`] says what is wrong with the file, and what to do.
    pub fn open(
        path: &Path,
        config: &SqliteConfig,
        kinds: &[&'static Kind],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SqliteRefused> {
        // What other processes hold is waited for in real time, whatever the records are dated by.
        let patience = Patience::new(Arc::new(SystemClock), config.wait);
        Self::open_with(path, config, kinds, clock, patience)
    }

    fn open_with(
        path: &Path,
        config: &SqliteConfig,
        kinds: &[&'static Kind],
        clock: Arc<dyn Clock>,
        patience: Patience,
    ) -> Result<Self, SqliteRefused> {
        let store = |source| SqliteRefused::Store { path: path.to_owned(), source };
        let declared = Declared::new(kinds).map_err(store)?;
        let tables = Arc::new(Tables::new(&declared));
        let turn = connection::private_file(path)
            .and_then(|_| Turn::open(path, patience.clone()))
            .map_err(|source| SqliteRefused::File { path: path.to_owned(), source })?;
        // SQLite would pass over what is damaged without a word, and over all that follows it.
        let log = wal::beside(path);
        let examined = wal::examine(path);
        let examined = examined.map_err(|source| SqliteRefused::File { path: log.clone(), source });
        if let Some(wal::Damage { at, commits }) = examined? {
            let noted = noted::beside(path);
            return Err(SqliteRefused::Damaged { path: log, at, commits, noted });
        }
        let connection = connection::open(path, config, tables.count()).map_err(store)?;
        schema::prepare(&connection, path, &tables, &turn, &patience)?;
        let readers = (0..config.readers.max(1))
            .map(|_| connection::open(path, config, tables.count()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(store)?;
        let readers = Readers::start(readers, config.waiting).map_err(store)?;
        let watching = connection::open(path, config, 0).map_err(store)?;
        let unchanged = Unchanged::new(watching)
            .map_err(|error| store(fault::fault(&error, "database", "header")))?;
        let unchanged = Arc::new(unchanged);
        let noted = Noted::open(path)
            .map_err(|source| SqliteRefused::File { path: noted::beside(path), source })?;
        let desk = Desk { connection, turn, noted, unchanged: Arc::clone(&unchanged) };
        let writer = Writer::start(desk, patience, config.waiting).map_err(store)?;
        Ok(Self(Arc::new(Open { declared, tables, clock, writer, readers, unchanged })))
    }

    /// The database as `Records`.
    #[must_use]
    pub fn records(&self) -> SqliteRecords {
        SqliteRecords::new(self.clone())
    }

    /// The database as `Ephemeral`.
    #[must_use]
    pub fn ephemeral(&self) -> SqliteEphemeral {
        SqliteEphemeral::new(self.clone())
    }

    /// The database as `Backstop`.
    #[must_use]
    pub fn backstop(&self) -> SqliteBackstop {
        SqliteBackstop::new(self.clone())
    }
}

#[cfg(test)]
mod tests;
