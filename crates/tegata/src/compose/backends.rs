//! The adapters that the addresses name, and what stands before them.
//!
//! ```text
//! Records    Cached ─► Sealed ─► Measured ─► SQLite or PostgreSQL
//! Ephemeral  Sealed ─► Apart ─┬► Measured ─► Hedged ─┬► Guarded ─► Redis, the primary
//!                             │                       └► Guarded ─► Redis, a replica
//!                             └► PostgreSQL: what must not be used twice
//!            Sealed ─► Measured ─► SQLite or PostgreSQL, where there is no Redis
//! Backstop   SQLite or PostgreSQL, or Guarded ─► DynamoDB
//! ```

use std::{path::Path, sync::Arc};

use tegata_core::{Backstop, Breaker, BreakerLimits, Ephemeral, Feed, Node, Records};
use tegata_store::{
    Apart, Cached, CachedConfig, Guarded, Hedged, Measured, MeasuredRecords, MemoryEphemeral,
    MemoryFeed, NatsConfig, NatsFeed, Postgres, PostgresConfig, ReadsFrom, Redis, RedisConfig,
    RedisFeed, RedisFeedConfig, Sealed, Sqlite, SqliteConfig,
};

use super::{Startup, kinds};
use crate::{
    circle::Part,
    cluster,
    config::{self, Config, Standby},
};

/// The adapters, and what is to be shown of them.
pub(crate) struct Backends {
    pub(crate) records: Arc<dyn Records>,
    pub(crate) ephemeral: Arc<dyn Ephemeral>,
    pub(crate) feed: Arc<dyn Feed>,
    /// What the store itself remembers of revocations beside the log.
    pub(crate) backstop: Arc<dyn Backstop>,
    /// How quickly what lives for a while is answered.
    pub(crate) measured: Arc<Measured>,
    pub(crate) measured_records: Arc<MeasuredRecords>,
    /// Redis, where there is one.
    pub(crate) redis: Option<Redis>,
    /// What is left alone when it does not answer, by name.
    pub(crate) breakers: Vec<(&'static str, Arc<Breaker>)>,
    /// Whether other processes change what is in the store.
    shared: bool,
    /// Whether the feed reaches other processes.
    told: bool,
}

impl Backends {
    /// Whether this process hears what all others change.
    pub(crate) const fn hears_all(&self) -> bool {
        self.told || !self.shared
    }

    /// Whether other nodes may see what lives for a while here.
    pub(crate) const fn are_shared(&self) -> bool {
        self.shared || self.redis.is_some()
    }

    /// The circle of those who may take things back, where there are others.
    pub(super) fn circle(
        &self,
        config: &Config,
        data: &Path,
        node: &Node,
    ) -> Result<Option<Arc<Part>>, Startup> {
        let name = cluster::name(config, node);
        self.shared.then(|| Part::open(node, data, &name, self.told)).transpose()
    }

    /// The feed as the parts of this program use it: what leaves the process is sealed where nobody
    /// else is to read or say it.
    pub(super) fn sealed_feed(&self, sealed: &Sealed) -> Arc<dyn Feed> {
        if self.told {
            Arc::new(sealed.feed(Arc::clone(&self.feed)))
        } else {
            Arc::clone(&self.feed)
        }
    }
}

/// Opens what the configuration names.
pub(super) async fn open(config: &Config, data: &Path, node: &Node) -> Result<Backends, Startup> {
    let (feed, told) = feed(config, node).await?;
    let Durable { records, ephemeral: own, backstop, shared } = durable(config, data, node).await?;
    let clock = Arc::clone(node.clock());
    let measured_records = Arc::new(MeasuredRecords::new(records, Arc::clone(&clock)));
    let records = Arc::clone(&measured_records) as Arc<_>;
    let Some(url) = &config.redis.url else {
        let measured = Arc::new(Measured::new(own, clock));
        let ephemeral = Arc::clone(&measured) as Arc<_>;
        let (redis, breakers) = (None, Vec::new());
        return Ok(Backends {
            records,
            ephemeral,
            feed,
            backstop,
            measured,
            measured_records,
            redis,
            breakers,
            shared,
            told,
        });
    };
    let redis = redis(url, &config.redis, node).await?;
    let guarded = |from| {
        let set = &config.redis;
        let limits = BreakerLimits { failures: set.failures, open_for: set.open_for.get() };
        let inner = Arc::new(redis.ephemeral(from));
        // The adapter keeps the time itself; this is for what it cannot see.
        let wait = set.timeout.get() * 4;
        Arc::new(Guarded::new(inner, "Redis", wait, limits, Arc::clone(&clock)))
    };
    let (primary, replica) = (guarded(ReadsFrom::Primary), guarded(ReadsFrom::Replica));
    let breakers = vec![
        ("redis", Arc::clone(primary.breaker())),
        ("redis-replica", Arc::clone(replica.breaker())),
    ];
    for (_, breaker) in &breakers {
        redis.when_seen_again(Arc::clone(breaker));
    }
    // Where there is no replica, asking the same server twice helps nobody.
    let store: Arc<dyn Ephemeral> = match redis.has_replicas() {
        true => Arc::new(Hedged::new(primary, vec![replica], config.redis.hedge_after.get())),
        false => primary,
    };
    let measured = Arc::new(Measured::new(store, clock));
    let apart = [
        &tegata_oauth::authenticate::ASSERTIONS,
        &tegata_oauth::request::PUSHED,
        &tegata_oauth::dpop::PROOFS,
        // Whoever signed in from home is not locked out by others (SP 800-63B-4 §3.2.2).
        &tegata_identity::throttle::REMEMBERED,
        // Not every passkey counts, so this alone keeps what one signed from being shown again.
        &tegata_identity::sign_in::USED,
        &cluster::NODES,
    ];
    let ephemeral = Arc::new(Apart::new(Arc::clone(&measured) as Arc<_>, own, &apart));
    let redis = Some(redis);
    Ok(Backends {
        records,
        ephemeral,
        feed,
        backstop,
        measured,
        measured_records,
        redis,
        breakers,
        shared,
        told,
    })
}

/// Sessions and their people are kept near: they are read with every request of a browser.
pub(super) fn cached(
    records: Arc<dyn Records>,
    ephemeral: &Arc<dyn Ephemeral>,
    backends: &Backends,
    feed: &Arc<dyn Feed>,
    node: &Node,
) -> Cached {
    // Only Redis is nearer than the store.
    let near = backends.redis.as_ref().map(|_| Arc::clone(ephemeral));
    let (feed, clock) = (Arc::clone(feed), Arc::clone(node.clock()));
    let kinds = &[&tegata_session::SESSIONS, &tegata_identity::user::USER_KIND];
    Cached::new(records, near, feed, kinds, CachedConfig::default(), clock)
}

/// What counts attempts to sign in while Redis is away.
pub(super) fn standby(node: &Node) -> Arc<dyn Ephemeral> {
    Arc::new(MemoryEphemeral::new(Arc::clone(node.clock())))
}

/// The feed that the configuration names, and whether it reaches other processes.
async fn feed(config: &Config, node: &Node) -> Result<(Arc<dyn Feed>, bool), Startup> {
    let url = config.events.url.expose();
    let scheme = url.split_once("://").map_or(url, |(scheme, _)| scheme);
    Ok(match scheme {
        "memory:" => (Arc::new(MemoryFeed::new(4096)), false),
        "nats" | "tls" => (Arc::new(NatsFeed::open(url, NatsConfig::default(), node).await?), true),
        "redis" | "rediss" | "redis-sentinel" | "rediss-sentinel" | "redis-cluster"
        | "rediss-cluster" => {
            (Arc::new(RedisFeed::open(url, RedisFeedConfig::default(), node).await?), true)
        }
        _ => {
            return Err(Startup::Configuration(format!(
                "[events] {} is not supported; write `memory:`, `nats://…` or `redis://…`",
                self::scheme(url)
            )));
        }
    })
}

async fn redis(url: &config::Hidden, set: &config::Redis, node: &Node) -> Result<Redis, Startup> {
    let limits = RedisConfig {
        connections: set.connections,
        timeout: set.timeout.get(),
        prefix: set.prefix.clone(),
        address_map: set.address_map.clone().into_iter().collect(),
        ..RedisConfig::default()
    };
    Ok(Redis::open(url.expose(), limits, node).await?)
}

/// The records of the store that the configuration names, and nothing beside it.
pub(super) async fn records(
    config: &Config,
    data: &Path,
    node: &Node,
) -> Result<Arc<dyn Records>, Startup> {
    Ok(durable(config, data, node).await?.records)
}

/// The store, with its own place for what lives for a while.
struct Durable {
    records: Arc<dyn Records>,
    ephemeral: Arc<dyn Ephemeral>,
    backstop: Arc<dyn Backstop>,
    /// Whether others share it.
    shared: bool,
}

/// The store that the configuration names.
async fn durable(config: &Config, data: &Path, node: &Node) -> Result<Durable, Startup> {
    let url = config.store.url.expose();
    let clock = Arc::clone(node.clock());
    if let Some(file) = url.strip_prefix("sqlite://") {
        let settings = SqliteConfig::default();
        let opened = Sqlite::open(&data.join(file), &settings, &kinds(), clock)?;
        return Ok(Durable {
            records: Arc::new(opened.records()),
            ephemeral: Arc::new(opened.ephemeral()),
            backstop: Arc::new(opened.backstop()),
            // The data directory is this process's alone.
            shared: false,
        });
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let connections = config.store.connections;
        let needs_standby = config.store.synchronous_standby == Standby::Required;
        let settings = PostgresConfig { connections, needs_standby, ..PostgresConfig::default() };
        let opened = Postgres::open(url, settings, &kinds(), clock).await?;
        return Ok(Durable {
            records: Arc::new(opened.records()),
            ephemeral: Arc::new(opened.ephemeral()),
            backstop: Arc::new(opened.backstop()),
            shared: true,
        });
    }
    Err(Startup::Configuration(format!(
        "[store] {} is not supported; write `sqlite://FILE` or `postgres://…`",
        scheme(url)
    )))
}

/// What may be said of an address that may hold a password.
pub(super) fn scheme(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, _)) => format!("url `{scheme}://…`"),
        None => "url".to_owned(),
    }
}
