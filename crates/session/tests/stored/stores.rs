//! The stores that keep sessions, as installations have them. (In DynamoDB only revocations are kept.)
//!
//! Engines are those of the process. Most tests have a realm of their own in one database, as tenants have in one
//! installation: whatever one looks at, the others must not be there.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tegata_core::{Clock, Custody, Ephemeral, Kind, ManualClock, Node, OsEntropy, Realm, Records};
use tegata_engines::{PostgresServer, RedisCluster, RedisSentinels, RedisServer};
use tegata_session::KINDS;
use tegata_store::{
    FileCustody, MemoryEphemeral, MemoryRecords, Postgres, PostgresConfig, ReadsFrom, Redis,
    RedisConfig, Sealed, Sqlite, SqliteConfig, sealed::DATA_KEYS,
};
use tempfile::TempDir;

/// How long somebody may wait for a connection: how fast the machine is at the moment is not what is tested.
const PATIENCE: Duration = Duration::from_secs(120);

/// A root key that every node of a test knows.
const ROOT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What sessions are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    Sqlite,
    Postgresql,
    /// PostgreSQL, with Redis for what is short-lived.
    Redis,
    RedisSentinels,
    RedisCluster,
}

/// Where one test keeps its sessions. Nodes open it, each with connections of its own.
pub(crate) struct Place {
    store: Store,
    pub(crate) realm: Realm,
    /// The database of PostgreSQL, and what all names in Redis begin with.
    database: Option<String>,
    /// Where the file of SQLite is.
    directory: Option<TempDir>,
}

impl Store {
    /// A realm of its own.
    pub(crate) fn realm(self) -> Place {
        static REALMS: AtomicU64 = AtomicU64::new(0);
        // All are in one.
        static DATABASE: OnceLock<String> = OnceLock::new();
        let name = format!("realm-{}", REALMS.fetch_add(1, Ordering::SeqCst));
        let database = || DATABASE.get_or_init(new_database).clone();
        self.place(Realm::new(&name).unwrap(), database)
    }

    /// An installation of its own, with the realm that there is by default.
    pub(crate) fn installation(self) -> Place {
        self.place(Realm::default(), new_database)
    }

    /// How many sign-ins of one person there are to be: `all`, and a tenth where the same PostgreSQL is asked with
    /// Redis beside it.
    pub(crate) fn sign_ins(self, all: usize) -> usize {
        match self {
            Self::Memory | Self::Sqlite | Self::Postgresql => all,
            Self::Redis | Self::RedisSentinels | Self::RedisCluster => all / 10,
        }
    }

    fn place(self, realm: Realm, database: impl FnOnce() -> String) -> Place {
        let is_in_files = matches!(self, Self::Memory | Self::Sqlite);
        let database = (!is_in_files).then(database);
        let directory = (self == Self::Sqlite).then(|| tempfile::tempdir().unwrap());
        Place { store: self, realm, database, directory }
    }

    /// How often something is tried, by how long it takes here: `many` times in memory.
    pub(crate) fn times(self, many: u64) -> u64 {
        if self == Self::Memory { many } else { many.min(2) }
    }
}

impl Place {
    /// What a node has that begins here at this time: its records, sealed, and what is short-lived.
    pub(crate) async fn open(
        &self,
        clock: &Arc<ManualClock>,
    ) -> (Arc<dyn Records>, Arc<dyn Ephemeral>) {
        let (bare, ephemeral) = self.open_bare(clock.clone()).await;
        let node = Node::with(clock.clone(), Arc::new(OsEntropy));
        let custody = FileCustody::from_text(ROOT_KEY, "the test", &node).unwrap();
        let custody: Arc<dyn Custody> = Arc::new(custody);
        let records = Sealed::open(bare, custody, &node).await.unwrap();
        (Arc::new(records), ephemeral)
    }

    async fn open_bare(&self, clock: Arc<ManualClock>) -> (Arc<dyn Records>, Arc<dyn Ephemeral>) {
        if self.store == Store::Memory {
            let records = MemoryRecords::new(&kinds(), clock.clone()).unwrap();
            return (Arc::new(records), Arc::new(MemoryEphemeral::new(clock)));
        }
        if let Some(directory) = &self.directory {
            let path = directory.path().join("tegata.db");
            let config = SqliteConfig { wait: PATIENCE, ..SqliteConfig::default() };
            let opened = Sqlite::open(&path, &config, &kinds(), clock).unwrap();
            return (Arc::new(opened.records()), Arc::new(opened.ephemeral()));
        }
        let url = self.database.as_deref().unwrap();
        let opened = postgres(url, clock.clone()).await;
        let redis = match self.store {
            Store::Redis => RedisServer::shared().url(),
            Store::RedisSentinels => RedisSentinels::shared().url(),
            Store::RedisCluster => RedisCluster::shared().url(),
            _ => return (Arc::new(opened.records()), Arc::new(opened.ephemeral())),
        };
        let prefix = url.rsplit('/').next().unwrap().to_owned();
        let config = RedisConfig {
            timeout: PATIENCE,
            connect: PATIENCE,
            connections: 2,
            prefix,
            ..RedisConfig::default()
        };
        (Arc::new(opened.records()), open_redis(&redis, config, clock).await)
    }
}

/// What is short-lived, in the Redis at an address.
pub(crate) async fn open_redis(
    url: &str,
    config: RedisConfig,
    clock: Arc<ManualClock>,
) -> Arc<dyn Ephemeral> {
    let node = Node::with(clock, Arc::new(OsEntropy));
    Arc::new(Redis::open(url, config, &node).await.unwrap().ephemeral(ReadsFrom::Primary))
}

async fn postgres(url: &str, clock: Arc<dyn Clock>) -> Postgres {
    let config = PostgresConfig {
        connections: 8,
        patience: PATIENCE,
        connect: PATIENCE,
        statement: PATIENCE,
        silence: PATIENCE,
        ..PostgresConfig::default()
    };
    Postgres::open(url, config, &kinds(), clock).await.unwrap()
}

fn new_database() -> String {
    PostgresServer::shared().database().url()
}

fn kinds() -> Vec<&'static Kind> {
    KINDS.into_iter().chain([&DATA_KEYS]).collect()
}
