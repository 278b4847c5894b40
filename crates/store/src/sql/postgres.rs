//! PostgreSQL 13 and later, for `Records`, `Ephemeral` and `Backstop`.
//!
//! | file | subject |
//! |---|---|
//! | `address`, `tls` | where the database is, and how it proves that it is the right one |
//! | `pool`, `lease`, `session`, `param` | bounded connections; one statement with its values and deadline |
//! | `silence`, `door` | whether a server that does not answer is still there |
//! | `fault` | what the server or the network says, as a [`StoreError`] |
//! | `schema`, `table`, `migrations/` | the fixed tables, and one table for each kind |
//! | `commit` | a batch as one statement |
//! | `records`, `logs`, `ephemeral`, `backstop` | the ports |
//!
//! INVARIANT: every question and every change is *one statement*, and so one implicit transaction.
//! No transaction stays open when its caller goes away, there is no `COMMIT` that could have become
//! a `ROLLBACK` unnoticed, and a commit costs one round trip. What needs more than one step is a
//! function in the database.

use std::{fmt, sync::Arc, time::Duration};

use tegata_core::{Clock, Kind, StoreError};

use self::{address::Address, pool::Pool, table::Tables};

mod address;
mod backstop;
mod commit;
mod door;
mod ephemeral;
mod fault;
mod lease;
mod logs;
mod param;
mod pool;
mod records;
mod schema;
mod session;
mod silence;
mod table;
mod tls;

pub use backstop::PostgresBackstop;
pub use ephemeral::PostgresEphemeral;
pub use records::PostgresRecords;

/// What errors name as the backend.
const BACKEND: &str = "PostgreSQL";

/// Limits toward the database. The defaults suit a server in the same data centre.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// How many connections there are at most. Where the server takes fewer, calls share those that
    /// it takes.
    pub connections: usize,
    /// How many calls may wait for a connection. One more is refused at once.
    pub waiting: usize,
    /// How long a call waits for a connection. While the server does not answer, this is how long a
    /// call takes to say so; when it is known to be gone, calls say so at once.
    pub patience: Duration,
    /// How long it may take to connect to one address, where the database's own does not say it with
    /// `connect_timeout`.
    pub connect: Duration,
    /// How long a statement may take. The server gives up a little earlier than we do, so that it
    /// can say that nothing happened.
    pub statement: Duration,
    /// After how long a server counts as silent, of which nothing at all is heard although it is asked
    /// for a sign of life and its connections stay open. Whoever waits is told then, and does not wait
    /// for as long as a statement may take. A statement that is slow while the server answers anybody
    /// else is waited for.
    pub silence: Duration,
    /// How often a server that is gone is tried again.
    pub probe: Duration,
    /// Whether a server is refused that acknowledges what no standby has: where another takes over that
    /// does, too.
    pub needs_standby: bool,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            connections: 16,
            waiting: 512,
            patience: Duration::from_millis(400),
            connect: Duration::from_secs(1),
            statement: Duration::from_secs(5),
            silence: Duration::from_millis(360),
            probe: Duration::from_millis(250),
            needs_standby: false,
        }
    }
}

/// Why a database was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresRefused {
    /// The address cannot be used as it is written.
    #[error("the address of the database cannot be used: {detail}")]
    Address {
        /// Which part, and why. Holds neither the password nor the address itself.
        detail: String,
    },
    /// The database was changed by a newer release in a way that this one does not understand.
    #[error(
        "the database has schema {found}, which needs a release that knows schema {oldest} or \
         later, and this one knows {known}: run the newer release, or restore a backup from before"
    )]
    Newer {
        /// The schema of the database.
        found: u32,
        /// The oldest schema whose releases can work with it.
        oldest: u32,
        /// The schema of this release.
        known: u32,
    },
    /// The server or the database is of a kind that does not keep the promises of the ports.
    #[error("the database cannot be used: {detail}")]
    Unfit {
        /// What is wrong, and how to mend it.
        detail: String,
    },
    /// It did not answer, or the kinds are not well-formed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A database. Cheap to clone; clones, and the ports that it gives, share its connections.
#[derive(Clone)]
pub struct Postgres(Arc<Inner>);

struct Inner {
    pool: Pool,
    tables: Tables,
    clock: Arc<dyn Clock>,
}

impl Postgres {
    /// Opens a database, and makes or completes its tables: several nodes may do so at once.
    ///
    /// `url` is `postgres://user:password@host:port/database?…` with the parameters of libpq that
    /// matter here: `sslmode`, `sslrootcert` (a file or `system`), `sslcert`, `sslkey`, several
    /// hosts, `application_name`, `connect_timeout`, `keepalives…`. Only a server that takes writes
    /// is connected to: a replica would answer with what was true a while ago. A pooler in between
    /// must give each connection a session of its own.
    ///
    /// # Errors
    /// [`PostgresRefused`] says what cannot be used, and why.
    pub async fn open(
        url: &str,
        config: PostgresConfig,
        kinds: &[&'static Kind],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PostgresRefused> {
        let tables = Tables::new(kinds)?;
        let address = Address::read(url, &config)?;
        schema::prepare(&address, &config, &tables).await?;
        let pool = Pool::new(address, config);
        Ok(Self(Arc::new(Inner { pool, tables, clock })))
    }

    /// Its port `Records`.
    #[must_use]
    pub fn records(&self) -> PostgresRecords {
        PostgresRecords(self.0.clone())
    }

    /// Its port `Ephemeral`.
    #[must_use]
    pub fn ephemeral(&self) -> PostgresEphemeral {
        PostgresEphemeral(self.0.clone())
    }

    /// Its port `Backstop`.
    #[must_use]
    pub fn backstop(&self) -> PostgresBackstop {
        PostgresBackstop(self.0.clone())
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Postgres")
    }
}
