//! Stores that two processes have opened.

use std::{sync::Arc, time::Duration};

use tegata_core::{
    Custody, Ephemeral, Kind, ManualClock, Node, Records, SeededEntropy, SystemClock,
};
use tegata_store::{
    FileCustody, Postgres, PostgresConfig, Sealed, Sqlite, SqliteConfig, sealed::DATA_KEYS,
};

/// Everybody waits for a connection until they have one.
const PATIENCE: Duration = Duration::from_secs(120);

/// A root key that both processes know.
const ROOT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A store, on a clock that stands still.
pub(crate) struct Stores {
    pub(crate) node: Node,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) ephemeral: Arc<dyn Ephemeral>,
}

impl Stores {
    /// Opens what is at `place`. `seed`: what is random in this process.
    pub(crate) async fn open(place: &str, seed: u64) -> Self {
        let kinds: Vec<&'static Kind> =
            tegata_identity::KINDS.into_iter().chain([&DATA_KEYS]).collect();
        let (store, ephemeral): (Arc<dyn Records>, Arc<dyn Ephemeral>) = match place
            .strip_prefix("sqlite:")
        {
            Some(path) => {
                let config = SqliteConfig { waiting: 20_000, ..SqliteConfig::default() };
                let clock = Arc::new(SystemClock);
                let opened = Sqlite::open(path.as_ref(), &config, &kinds, clock).unwrap();
                (Arc::new(opened.records()), Arc::new(opened.ephemeral()))
            }
            None => {
                let config =
                    PostgresConfig { waiting: 20_000, patience: PATIENCE, ..Default::default() };
                let clock = Arc::new(SystemClock);
                let opened = Postgres::open(place, config, &kinds, clock).await.unwrap();
                (Arc::new(opened.records()), Arc::new(opened.ephemeral()))
            }
        };
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock, Arc::new(SeededEntropy::new(seed)));
        let custody = FileCustody::from_text(ROOT_KEY, "the test", &node).unwrap();
        let custody: Arc<dyn Custody> = Arc::new(custody);
        let records: Arc<dyn Records> =
            Arc::new(Sealed::open(store, custody, &node).await.unwrap());
        Self { node, records, ephemeral }
    }
}
