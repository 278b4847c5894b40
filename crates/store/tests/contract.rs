//! The contract of each port, run against every adapter of it.
//!
//! A new adapter adds one line for each port that it implements, and a function that makes the bed
//! that the line names: where the adapter lives, which clock it reads, what must be kept alive
//! while the test runs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this is tests, and what does not hold is to end them"
)]

#[macro_use]
mod contract {
    #[macro_use]
    pub(crate) mod bed;
    #[macro_use]
    pub(crate) mod backstop;
    #[macro_use]
    pub(crate) mod custody;
    #[macro_use]
    pub(crate) mod ephemeral;
    #[macro_use]
    pub(crate) mod feed;
    #[macro_use]
    pub(crate) mod members;
    #[macro_use]
    pub(crate) mod processes;
    #[macro_use]
    pub(crate) mod records;
}

mod memory {
    use std::sync::Arc;

    use tegata_core::{Backstop, Ephemeral, Feed, Members, Node, Records, port::Facts};
    use tegata_store::{Alone, MemoryBackstop, MemoryEphemeral, MemoryFeed, MemoryRecords};

    use crate::contract::{bed::Bed, records::KINDS};

    pub(crate) async fn records() -> Bed<dyn Records> {
        Bed::single(|clock| Arc::new(MemoryRecords::new(KINDS, clock).unwrap()) as Arc<_>)
    }

    pub(crate) async fn ephemeral() -> Bed<dyn Ephemeral> {
        Bed::single(|clock| Arc::new(MemoryEphemeral::new(clock)) as Arc<_>)
    }

    pub(crate) async fn backstop() -> Bed<dyn Backstop> {
        Bed::single(|clock| Arc::new(MemoryBackstop::new(clock)) as Arc<_>)
    }

    pub(crate) async fn feed() -> Bed<dyn Feed> {
        Bed::single(|_| Arc::new(MemoryFeed::new(1024)) as Arc<_>)
    }

    pub(crate) async fn members() -> Bed<dyn Members> {
        Bed::single(|_| Arc::new(Alone::new(&Node::start(), "a", Facts::default())) as Arc<_>)
    }
}

mod sqlite {
    use std::{path::Path, sync::Arc, time::Duration};

    use tegata_core::{Backstop, Ephemeral, ManualClock, Records, SystemClock};
    use tegata_store::{Sqlite, SqliteConfig};

    use crate::contract::{
        bed::Bed,
        processes::{Opened, Place},
        records::KINDS,
    };

    /// Patient, since how fast the machine is at the moment is not what is tested.
    fn config() -> SqliteConfig {
        SqliteConfig { wait: Duration::from_secs(120), ..SqliteConfig::default() }
    }

    /// Two handles on one file. Each has a writer of its own, as two processes would.
    fn bed<P: ?Sized>(port: impl Fn(&Sqlite) -> Arc<P>) -> Bed<P> {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let path = directory.path().join("tegata.db");
        let nodes =
            (0..2).map(|_| port(&Sqlite::open(&path, &config(), KINDS, clock.clone()).unwrap()));
        let nodes = nodes.collect();
        Bed::new(clock, nodes).keeping(directory)
    }

    pub(crate) async fn records() -> Bed<dyn Records> {
        bed(|sqlite| Arc::new(sqlite.records()) as Arc<_>)
    }

    pub(crate) async fn ephemeral() -> Bed<dyn Ephemeral> {
        bed(|sqlite| Arc::new(sqlite.ephemeral()) as Arc<_>)
    }

    pub(crate) async fn backstop() -> Bed<dyn Backstop> {
        bed(|sqlite| Arc::new(sqlite.backstop()) as Arc<_>)
    }

    pub(crate) async fn place() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tegata.db");
        Place::new(path.to_str().unwrap()).keeping(directory)
    }

    pub(crate) async fn open(place: String) -> Opened {
        let clock = Arc::new(SystemClock);
        let sqlite = Sqlite::open(Path::new(&place), &config(), KINDS, clock).unwrap();
        Opened { records: Arc::new(sqlite.records()), ephemeral: Arc::new(sqlite.ephemeral()) }
    }
}

mod sealed {
    use std::sync::Arc;

    use tegata_core::{Clock, Custody, Ephemeral, Feed, Node, Records};
    use tegata_store::{
        FileCustody, MemoryEphemeral, MemoryFeed, MemoryRecords, Sealed, sealed::DATA_KEYS,
    };

    use crate::contract::{bed::Bed, records::KINDS};

    /// Two handles on one store in memory, with one root key.
    async fn handles(clock: Arc<dyn Clock>) -> Vec<Sealed> {
        let kinds = [KINDS, &[&DATA_KEYS]].concat();
        let inner = Arc::new(MemoryRecords::new(&kinds, clock).unwrap());
        let directory = tempfile::tempdir().unwrap();
        let root = FileCustody::create(&directory.path().join("root.key"), &Node::start());
        let root: Arc<dyn Custody> = Arc::new(root.unwrap());
        let mut handles = Vec::new();
        for _ in 0..2 {
            let opened = Sealed::open(inner.clone(), root.clone(), &Node::start()).await;
            handles.push(opened.unwrap());
        }
        handles
    }

    pub(crate) async fn records() -> Bed<dyn Records> {
        let clock = Arc::new(tegata_core::ManualClock::default());
        let handles = handles(clock.clone()).await.into_iter();
        Bed::new(clock, handles.map(|sealed| Arc::new(sealed) as Arc<_>).collect()).sealing()
    }

    pub(crate) async fn ephemeral() -> Bed<dyn Ephemeral> {
        let clock = Arc::new(tegata_core::ManualClock::default());
        let inner = Arc::new(MemoryEphemeral::new(clock.clone()));
        let handles = handles(clock.clone()).await.into_iter();
        let handles = handles.map(|sealed| Arc::new(sealed.ephemeral(inner.clone())) as Arc<_>);
        Bed::new(clock, handles.collect())
    }

    pub(crate) async fn feed() -> Bed<dyn Feed> {
        let clock = Arc::new(tegata_core::ManualClock::default());
        let inner = Arc::new(MemoryFeed::new(1024));
        let handles = handles(clock.clone()).await.into_iter();
        let handles = handles.map(|sealed| Arc::new(sealed.feed(inner.clone())) as Arc<_>);
        Bed::new(clock, handles.collect())
    }

    pub(crate) async fn custody() -> Bed<dyn Custody> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.key");
        FileCustody::create(&path, &Node::start()).unwrap();
        let open = || Arc::new(FileCustody::open(&path, &Node::start()).unwrap()) as Arc<_>;
        Bed::new(Arc::default(), vec![open(), open()]).keeping(directory)
    }
}

mod adverse {
    use std::sync::Arc;

    use tegata_core::{Ephemeral, Feed, ManualClock, Records};
    use tegata_store::{Adverse, MemoryEphemeral, MemoryFeed, MemoryRecords, Mischief};

    use crate::contract::{bed::Bed, records::KINDS};

    /// Two handles on one adapter, each adverse in its own way.
    fn bed<A, P: ?Sized>(
        make: impl FnOnce(Arc<ManualClock>) -> A,
        port: impl Fn(Adverse<A>) -> Arc<P>,
    ) -> Bed<P> {
        let clock = Arc::new(ManualClock::default());
        let inner = Arc::new(make(clock.clone()));
        let handle = |seed| port(Adverse::new(inner.clone(), seed, Mischief::delays()));
        Bed::new(clock, vec![handle(1), handle(2)])
    }

    pub(crate) async fn records() -> Bed<dyn Records> {
        bed(
            |clock| MemoryRecords::new(KINDS, clock).unwrap(),
            |adverse| Arc::new(adverse) as Arc<_>,
        )
    }

    pub(crate) async fn ephemeral() -> Bed<dyn Ephemeral> {
        bed(|clock| MemoryEphemeral::new(clock), |adverse| Arc::new(adverse) as Arc<_>)
    }

    pub(crate) async fn feed() -> Bed<dyn Feed> {
        bed(|_| MemoryFeed::new(1024), |adverse| Arc::new(adverse) as Arc<_>)
    }
}

mod gossip {
    use std::{sync::Arc, time::Duration};

    use tegata_core::{Members, Node, Secret, port::Facts};
    use tegata_store::{Gossip, GossipConfig};

    use crate::contract::bed::Bed;

    /// Three nodes, of which the others know the first. A busy machine may hold them up.
    pub(crate) async fn members() -> Bed<dyn Members> {
        let mut nodes = Vec::<Arc<dyn Members>>::new();
        let mut contacts = Vec::new();
        for name in ["a", "b", "c"] {
            let config = GossipConfig {
                contacts: contacts.clone(),
                interval: Duration::from_millis(50),
                pause: Duration::from_secs(30),
                ..GossipConfig::default()
            };
            let (key, facts) = (Secret::new([7; 32]), Facts::default());
            let started = Gossip::start(config, &key, "shop", name, &Node::start(), facts).await;
            let started = started.unwrap();
            contacts = vec![started.address().to_string()];
            nodes.push(Arc::new(started));
        }
        Bed::new(Arc::default(), nodes)
    }
}

mod nats {
    use std::{sync::Arc, time::Duration};

    use tegata_core::{Feed, Node};
    use tegata_engines::NatsServer;
    use tegata_store::{NatsConfig, NatsFeed};

    use crate::contract::bed::Bed;

    /// Two handles on one server, each with a connection of its own. Patient, as the machine may be
    /// busy.
    pub(crate) async fn feed() -> Bed<dyn Feed> {
        let server = NatsServer::start();
        let patience = Duration::from_secs(60);
        let config = NatsConfig {
            push: patience,
            answer: patience,
            connect: patience,
            ..Default::default()
        };
        let config = NatsConfig { probe: patience, ..config };
        let mut handles = Vec::new();
        for _ in 0..2 {
            let opened = NatsFeed::open(&server.url(), config.clone(), &Node::start()).await;
            handles.push(Arc::new(opened.unwrap()) as Arc<_>);
        }
        Bed::new(Arc::default(), handles).keeping(server)
    }
}

mod redis_streams {
    use std::{sync::Arc, time::Duration};

    use tegata_core::{Feed, Node};
    use tegata_engines::{RedisSentinels, RedisServer};
    use tegata_store::{RedisFeed, RedisFeedConfig};

    use crate::contract::bed::Bed;

    /// Two handles at one address, each with connections of its own.
    async fn handles(url: &str) -> Vec<Arc<dyn Feed>> {
        let patience = Duration::from_secs(60);
        let config = RedisFeedConfig {
            push: patience,
            answer: patience,
            connect: patience,
            ..RedisFeedConfig::default()
        };
        let mut handles = Vec::new();
        for _ in 0..2 {
            let opened = RedisFeed::open(url, config.clone(), &Node::start()).await;
            handles.push(Arc::new(opened.unwrap()) as Arc<_>);
        }
        handles
    }

    pub(crate) async fn feed() -> Bed<dyn Feed> {
        let server = RedisServer::start();
        Bed::new(Arc::default(), handles(&server.url()).await).keeping(server)
    }

    pub(crate) async fn feed_under_sentinels() -> Bed<dyn Feed> {
        let sentinels = RedisSentinels::start();
        Bed::new(Arc::default(), handles(&sentinels.url()).await).keeping(sentinels)
    }
}

#[cfg(feature = "dynamodb")]
mod dynamodb {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use tegata_core::{Backstop, ManualClock, Secret};
    use tegata_engines::{DynamoKind, DynamoServer};
    use tegata_store::{DynamoBackstop, DynamoConfig, dynamodb::DynamoKeys};

    use crate::contract::bed::Bed;

    /// Two handles on a table of their own, each with connections of its own. Patient, as the machine
    /// may be busy.
    pub(crate) async fn backstop(kind: DynamoKind) -> Bed<dyn Backstop> {
        static BEDS: AtomicU32 = AtomicU32::new(0);
        let table = format!("bed-{}", BEDS.fetch_add(1, Ordering::SeqCst));
        let url = DynamoServer::shared(kind).url(&table);
        let patience = Duration::from_secs(60);
        let keys = DynamoKeys::Given { id: "tester".into(), secret: Secret::new("none".into()) };
        let config = DynamoConfig { connect: patience, call: patience, keys };
        let clock = Arc::new(ManualClock::default());
        let mut nodes = Vec::new();
        for _ in 0..2 {
            let opened = DynamoBackstop::open(&url, config.clone(), clock.clone()).await;
            nodes.push(Arc::new(opened.unwrap()) as Arc<_>);
        }
        Bed::new(clock, nodes)
    }
}

mod postgres {
    use std::{sync::Arc, time::Duration};

    use tegata_core::{Backstop, Clock, Ephemeral, ManualClock, Records, SystemClock};
    use tegata_engines::PostgresServer;
    use tegata_store::{Postgres, PostgresConfig};

    use crate::contract::{
        bed::Bed,
        processes::{Opened, Place},
        records::KINDS,
    };

    /// Patient: hundreds wait for a few connections here, on a machine that may be busy.
    async fn opened(url: &str, clock: Arc<dyn Clock>) -> Postgres {
        let config = PostgresConfig {
            connections: 8,
            patience: Duration::from_secs(120),
            connect: Duration::from_secs(60),
            statement: Duration::from_secs(120),
            silence: Duration::from_secs(60),
            ..PostgresConfig::default()
        };
        Postgres::open(url, config, KINDS, clock).await.unwrap()
    }

    /// Two handles on one database, each with connections of its own.
    async fn bed<P: ?Sized>(port: impl Fn(&Postgres) -> Arc<P>) -> Bed<P> {
        let url = PostgresServer::shared().database().url();
        let clock = Arc::new(ManualClock::default());
        let nodes = [opened(&url, clock.clone()).await, opened(&url, clock.clone()).await];
        Bed::new(clock, nodes.iter().map(port).collect())
    }

    pub(crate) async fn records() -> Bed<dyn Records> {
        bed(|postgres| Arc::new(postgres.records()) as Arc<_>).await
    }

    pub(crate) async fn ephemeral() -> Bed<dyn Ephemeral> {
        bed(|postgres| Arc::new(postgres.ephemeral()) as Arc<_>).await
    }

    pub(crate) async fn backstop() -> Bed<dyn Backstop> {
        bed(|postgres| Arc::new(postgres.backstop()) as Arc<_>).await
    }

    pub(crate) async fn place() -> Place {
        Place::new(&PostgresServer::shared().database().url())
    }

    pub(crate) async fn open(place: String) -> Opened {
        let postgres = opened(&place, Arc::new(SystemClock)).await;
        Opened { records: Arc::new(postgres.records()), ephemeral: Arc::new(postgres.ephemeral()) }
    }
}

mod redis {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use tegata_core::{Clock, Ephemeral, ManualClock, Node, OsEntropy, SystemClock};
    use tegata_engines::{PostgresServer, RedisCluster, RedisSentinels, RedisServer};
    use tegata_store::{ReadsFrom, Redis, RedisConfig};

    use crate::contract::{
        bed::Bed,
        processes::{Opened, Place},
    };

    /// Patient, since the machine may be busy.
    async fn opened(url: &str, prefix: &str, clock: Arc<dyn Clock>) -> Arc<dyn Ephemeral> {
        let config = RedisConfig {
            timeout: Duration::from_secs(60),
            connect: Duration::from_secs(60),
            connections: 4,
            prefix: prefix.to_owned(),
            ..RedisConfig::default()
        };
        let redis = Redis::open(url, config, &Node::with(clock, Arc::new(OsEntropy))).await;
        Arc::new(redis.unwrap().ephemeral(ReadsFrom::Primary))
    }

    /// Two handles, each with connections of its own.
    async fn bed(url: &str) -> Bed<dyn Ephemeral> {
        static BEDS: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("bed-{}", BEDS.fetch_add(1, Ordering::SeqCst));
        let clock = Arc::new(ManualClock::default());
        let mut nodes = Vec::new();
        for _ in 0..2 {
            nodes.push(opened(url, &prefix, clock.clone()).await);
        }
        Bed::new(clock, nodes)
    }

    pub(crate) async fn alone() -> Bed<dyn Ephemeral> {
        bed(&RedisServer::shared().url()).await
    }

    pub(crate) async fn sentinels() -> Bed<dyn Ephemeral> {
        bed(&RedisSentinels::shared().url()).await
    }

    pub(crate) async fn cluster() -> Bed<dyn Ephemeral> {
        bed(&RedisCluster::shared().url()).await
    }

    /// A database, for what is durable, and a cluster.
    pub(crate) async fn place() -> Place {
        let database = PostgresServer::shared().database().url();
        Place::new(&format!("{database} {}", RedisCluster::shared().url()))
    }

    pub(crate) async fn open(place: String) -> Opened {
        let (database, cluster) = place.split_once(' ').unwrap();
        let opened = crate::postgres::open(database.to_owned()).await;
        // Every database has a name of its own.
        let prefix = database.rsplit('/').next().unwrap();
        let ephemeral = self::opened(cluster, prefix, Arc::new(SystemClock)).await;
        Opened { ephemeral, ..opened }
    }
}

mod decorated {
    use std::{sync::Arc, time::Duration};

    use tegata_core::{Backstop, BreakerLimits, Clock, Ephemeral, ManualClock, Records};
    use tegata_store::{
        Batched, Cached, CachedConfig, Guarded, Hedged, MemoryBackstop, MemoryEphemeral,
        MemoryFeed, MemoryRecords,
    };

    use crate::contract::{
        bed::Bed,
        records::{KINDS, NOTES},
    };

    fn guarded<P: ?Sized>(inner: Arc<P>, clock: Arc<dyn Clock>) -> Guarded<P> {
        Guarded::new(inner, "memory", Duration::from_secs(60), BreakerLimits::default(), clock)
    }

    /// Two handles on one adapter, each behind all that can stand before it.
    pub(crate) async fn records() -> Bed<dyn Records> {
        let clock = Arc::new(ManualClock::default());
        let inner = Arc::new(MemoryRecords::new(KINDS, clock.clone()).unwrap());
        let (near, feed) = (Arc::new(MemoryEphemeral::new(clock.clone())), MemoryFeed::new(64));
        let feed = Arc::new(feed);
        let handle = || {
            let guarded = Arc::new(guarded(inner.clone(), clock.clone()));
            let (near, feed, clock) = (near.clone(), feed.clone(), clock.clone());
            let config = CachedConfig::default();
            let cached = Cached::new(guarded, Some(near), feed, &[&NOTES], config, clock);
            cached.listens(true);
            Arc::new(cached) as Arc<dyn Records>
        };
        Bed::new(clock.clone(), vec![handle(), handle()])
    }

    pub(crate) async fn backstop() -> Bed<dyn Backstop> {
        let clock = Arc::new(ManualClock::default());
        let inner = Arc::new(MemoryBackstop::new(clock.clone()));
        let handle = || Arc::new(guarded(inner.clone(), clock.clone())) as Arc<dyn Backstop>;
        Bed::new(clock.clone(), vec![handle(), handle()])
    }

    pub(crate) async fn ephemeral() -> Bed<dyn Ephemeral> {
        let clock = Arc::new(ManualClock::default());
        let inner: Arc<dyn Ephemeral> = Arc::new(MemoryEphemeral::new(clock.clone()));
        let handle = || {
            let guarded = Arc::new(guarded(inner.clone(), clock.clone()));
            let hedged = Hedged::new(guarded, vec![inner.clone()], Duration::from_millis(5));
            Arc::new(Batched::new(Arc::new(hedged))) as Arc<dyn Ephemeral>
        };
        Bed::new(clock.clone(), vec![handle(), handle()])
    }
}

records_contract!(memory_records, crate::memory::records());
ephemeral_contract!(memory_ephemeral, crate::memory::ephemeral());
backstop_contract!(memory_backstop, crate::memory::backstop());
feed_contract!(memory_feed, crate::memory::feed());
members_contract!(memory_members, crate::memory::members());

records_contract!(sqlite_records, crate::sqlite::records());
ephemeral_contract!(sqlite_ephemeral, crate::sqlite::ephemeral());
backstop_contract!(sqlite_backstop, crate::sqlite::backstop());
processes_contract!(sqlite_processes, crate::sqlite::place(), crate::sqlite::open);

records_contract!(postgres_records, crate::postgres::records());
ephemeral_contract!(postgres_ephemeral, crate::postgres::ephemeral());
backstop_contract!(postgres_backstop, crate::postgres::backstop());
processes_contract!(postgres_processes, crate::postgres::place(), crate::postgres::open);

ephemeral_contract!(redis_ephemeral, crate::redis::alone());
ephemeral_contract!(redis_sentinels_ephemeral, crate::redis::sentinels());
ephemeral_contract!(redis_cluster_ephemeral, crate::redis::cluster());
processes_contract!(redis_cluster_processes, crate::redis::place(), crate::redis::open);

records_contract!(sealed_records, crate::sealed::records());
ephemeral_contract!(sealed_ephemeral, crate::sealed::ephemeral());
feed_contract!(sealed_feed, crate::sealed::feed());
custody_contract!(file_custody, crate::sealed::custody());

#[cfg(feature = "dynamodb")]
backstop_contract!(
    dynalite_backstop,
    crate::dynamodb::backstop(tegata_engines::DynamoKind::Dynalite)
);
#[cfg(feature = "dynamodb")]
backstop_contract!(moto_backstop, crate::dynamodb::backstop(tegata_engines::DynamoKind::Moto));

records_contract!(decorated_records, crate::decorated::records());
ephemeral_contract!(decorated_ephemeral, crate::decorated::ephemeral());
backstop_contract!(decorated_backstop, crate::decorated::backstop());

feed_contract!(nats_feed, crate::nats::feed());

members_contract!(gossip_members, crate::gossip::members());

feed_contract!(redis_feed, crate::redis_streams::feed());
feed_contract!(redis_sentinels_feed, crate::redis_streams::feed_under_sentinels());

records_contract!(adverse_records, crate::adverse::records());
ephemeral_contract!(adverse_ephemeral, crate::adverse::ephemeral());
feed_contract!(adverse_feed, crate::adverse::feed());
