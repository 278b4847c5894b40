//! Redis: `Ephemeral` on a server alone, on a primary that Sentinels watch, and on a cluster; and in
//! [`feed`], `Feed` on streams.
//!
//! Redis replicates after it has answered, so what it acknowledged can be lost when a replica takes
//! over. Nothing here promises more than `Ephemeral` does, and whoever depends on more hears of it:
//! [`Redis::changes`] tells when another server answers than before.

use std::{fmt, sync::Arc, time::Duration};

use tegata_core::{Breaker, Node};

mod address;
mod cluster;
mod counts;
mod door;
mod ephemeral;
mod fault;
pub mod feed;
mod fitness;
mod held;
mod line;
mod reach;
mod script;
mod sentinel;
mod wire;

pub use address::Address as RedisAddress;
pub use counts::RedisCounts;
pub use ephemeral::{ReadsFrom, RedisEphemeral};
use fitness::Fitness;
pub use fitness::Standing;
use wire::Wire;

/// What errors name as the backend.
const BACKEND: &str = "Redis";

/// Limits toward Redis. The defaults suit servers in the same data centre.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// How many connections there are to the servers, all of them opened at the start if the servers
    /// are there. Commands of many callers share one.
    pub connections: usize,
    /// How long a command may take, with all that is tried for it.
    pub timeout: Duration,
    /// How long it may take to connect to a server or a Sentinel.
    pub connect: Duration,
    /// How often the servers are looked at: whether they are those of before, and fit.
    pub look: Duration,
    /// What all names of keys begin with.
    pub prefix: String,
    /// Addresses that the nodes of a cluster announce, and under which each is reached instead.
    pub address_map: Vec<(String, String)>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            connections: 20,
            timeout: Duration::from_millis(250),
            connect: Duration::from_secs(1),
            look: Duration::from_millis(500),
            prefix: "tegata".to_owned(),
            address_map: Vec::new(),
        }
    }
}

/// Why Redis was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisRefused {
    /// The address cannot be used as it is written.
    #[error("the address of Redis cannot be used: {detail}")]
    Address {
        /// Which part, and why. Holds neither the password nor the address itself.
        detail: String,
    },
    /// A server forgets what it was told to keep.
    #[error(
        "{server} forgets values when its memory is full (`maxmemory-policy` is `{policy}`), and \
         with them what is being signed in and what was spent: run `redis-cli -h {host} -p {port} \
         CONFIG SET maxmemory-policy noeviction`, and write it into its `redis.conf`"
    )]
    Evicts {
        /// Which server.
        server: String,
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// Its policy.
        policy: String,
    },
    /// A server does not say whether it forgets what it was told to keep.
    #[error(
        "{server} does not say whether it forgets values when its memory is full (`maxmemory_policy` \
         in what it answers to `INFO`): if the user in the address of Redis may not ask, run `ACL \
         SETUSER USER +info` there; if it is a proxy, write the address of what is behind it"
    )]
    Unsaid {
        /// Which server.
        server: String,
    },
    /// A server or a Sentinel does not let us in.
    #[error(
        "Redis refuses the user and password in its address: {detail}; write those of a user whom \
         the servers, and the Sentinels where there are some, let in"
    )]
    Login {
        /// What it said.
        detail: String,
    },
}

/// A Redis, of whatever shape. Cheap to clone; clones, and the ports that it gives, share its
/// connections.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    wire: Arc<Wire>,
    fitness: Fitness,
    prefix: String,
    node: Node,
}

impl Redis {
    /// Connects to what the address names, and looks whether it can be relied upon. That nobody
    /// answers is no refusal: everything fails until somebody does, [`Redis::standing`] says so, and
    /// whether it can be relied upon is seen then.
    ///
    /// - `redis://[user:password@]host[:6379][/database]`: a server alone;
    /// - `redis-sentinel://[user:password@]host[:26379],…/name`: the primary that Sentinels call so;
    /// - `redis-cluster://[user:password@]host[:6379],…`: a cluster, found through any of its nodes.
    ///
    /// `rediss://`, `rediss-sentinel://` and `rediss-cluster://` are the same over TLS. They may
    /// end in `?sslrootcert=FILE`, where others vouch for the servers than those whom this machine
    /// trusts.
    ///
    /// # Errors
    /// [`RedisRefused`] says what no waiting mends, and how to mend it.
    pub async fn open(url: &str, config: RedisConfig, node: &Node) -> Result<Self, RedisRefused> {
        let address = RedisAddress::read(url)?;
        let wire = Arc::new(Wire::open(&address, &config).await?);
        let fitness = Fitness::open(&wire, config.look).await?;
        Ok(Self(Arc::new(Inner { wire, fitness, prefix: config.prefix, node: node.clone() })))
    }

    /// Its port `Ephemeral`, which reads from where it is told.
    #[must_use]
    pub fn ephemeral(&self, from: ReadsFrom) -> RedisEphemeral {
        RedisEphemeral::new(Arc::clone(&self.0), from)
    }

    /// Its port `Counts`.
    #[must_use]
    pub fn counts(&self) -> RedisCounts {
        RedisCounts::new(Arc::clone(&self.0))
    }

    /// Whether there may be replicas to read from.
    #[must_use]
    pub fn has_replicas(&self) -> bool {
        self.0.wire.has_replicas()
    }

    /// How the servers stood when they were last looked at.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.0.fitness.standing()
    }

    /// Lets a breaker know when the servers are seen again after nobody answered.
    pub fn when_seen_again(&self, breaker: Arc<Breaker>) {
        self.0.fitness.when_seen_again(breaker);
    }

    /// Hears how often another server has begun to answer, or one came back without its memory: what
    /// the one before had confirmed may be gone.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.fitness.changes()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redis")
    }
}
