//! Two nodes on one store.

use std::{any::Any, future::Future, sync::Arc, time::Duration};

use tegata_core::{
    Clock, Custody, Ephemeral, Kind, ManualClock, Node, OsEntropy, Records, SeededEntropy,
};
use tegata_engines::{PostgresServer, RedisCluster, RedisServer};
use tegata_session::KINDS;
use tegata_store::{
    FileCustody, Postgres, PostgresConfig, ReadsFrom, Redis, RedisConfig, Sealed, Sqlite,
    SqliteConfig, sealed::DATA_KEYS,
};
use tokio::{sync::Barrier, task::JoinSet};

use super::world::World;

/// How long somebody may wait for a connection: how fast the machine is at the moment is not what is tested.
const PATIENCE: Duration = Duration::from_secs(120);

/// A root key that both nodes know.
const ROOT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Two nodes, and what must outlive them.
pub(crate) struct Nodes {
    pub(crate) both: [Arc<World>; 2],
    clock: Arc<ManualClock>,
    _keep: Box<dyn Any + Send + Sync>,
}

impl Nodes {
    /// Two processes with one file.
    pub(crate) async fn on_sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tegata.db");
        Self::of(directory, async |clock: Arc<ManualClock>| {
            let config = SqliteConfig { wait: PATIENCE, ..SqliteConfig::default() };
            let opened = Sqlite::open(&path, &config, &kinds(), clock).unwrap();
            (Arc::new(opened.records()) as _, Arc::new(opened.ephemeral()) as _)
        })
        .await
    }

    pub(crate) async fn on_postgresql() -> Self {
        let database = PostgresServer::shared().database();
        let url = database.url();
        Self::of(database, async |clock: Arc<ManualClock>| {
            let opened = postgres(&url, clock).await;
            (Arc::new(opened.records()) as _, Arc::new(opened.ephemeral()) as _)
        })
        .await
    }

    pub(crate) async fn on_postgresql_with_redis() -> Self {
        Self::with_redis(&RedisServer::shared().url()).await
    }

    pub(crate) async fn on_postgresql_with_a_redis_cluster() -> Self {
        Self::with_redis(&RedisCluster::shared().url()).await
    }

    async fn with_redis(redis: &str) -> Self {
        let database = PostgresServer::shared().database();
        let url = database.url();
        Self::of(database, async |clock: Arc<ManualClock>| {
            let records = postgres(&url, clock.clone()).await.records();
            let config = RedisConfig {
                timeout: PATIENCE,
                connect: PATIENCE,
                // Every database has a name of its own.
                prefix: url.rsplit('/').next().unwrap().to_owned(),
                ..RedisConfig::default()
            };
            let node = Node::with(clock, Arc::new(OsEntropy));
            let opened = Redis::open(redis, config, &node).await.unwrap();
            (Arc::new(records) as _, Arc::new(opened.ephemeral(ReadsFrom::Primary)) as _)
        })
        .await
    }

    async fn of(
        keep: impl Any + Send + Sync,
        open: impl AsyncFn(Arc<ManualClock>) -> (Arc<dyn Records>, Arc<dyn Ephemeral>),
    ) -> Self {
        let clock = Arc::new(ManualClock::default());
        let mut both = Vec::new();
        for seed in 1..=2 {
            let (bare, ephemeral) = open(clock.clone()).await;
            let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(seed)));
            let custody = FileCustody::from_text(ROOT_KEY, "the test", &node).unwrap();
            let custody: Arc<dyn Custody> = Arc::new(custody);
            let records = Arc::new(Sealed::open(bare, custody, &node).await.unwrap());
            both.push(Arc::new(World::on(records, ephemeral, clock.clone(), seed)));
        }
        let both = both.try_into().unwrap_or_else(|_| panic!("there are two"));
        Self { both, clock, _keep: Box::new(keep) }
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Lets `clients` do the same at once, in turn at one node and at the other; answers what each got.
    pub(crate) async fn crowd<F, T>(
        &self,
        clients: usize,
        act: impl Fn(Arc<World>, usize) -> F,
    ) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let start = Arc::new(Barrier::new(clients));
        let mut tasks = JoinSet::new();
        for n in 0..clients {
            let [first, second] = &self.both;
            let node = if n % 2 == 0 { first } else { second };
            let (start, action) = (start.clone(), act(node.clone(), n));
            tasks.spawn(async move {
                start.wait().await;
                action.await
            });
        }
        tasks.join_all().await
    }
}

fn kinds() -> Vec<&'static Kind> {
    KINDS.into_iter().chain([&DATA_KEYS]).collect()
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
