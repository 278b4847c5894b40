//! A whole installation on this machine: engines, nodes, and what breaks the ways between them.

use std::path::{Path, PathBuf};

use crate::{
    dynamodb::{DynamoKind, DynamoServer},
    echo::EchoServer,
    ether::Ether,
    nats::NatsServer,
    postgres::{PostgresDatabase, PostgresServer},
    proxy::{Mode, Proxy},
    redis::{RedisCluster, RedisSentinels, RedisServer},
    tegata::{Own, Shared, TegataNode, root_key},
};

/// Which Redis there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedisKind {
    /// None.
    #[default]
    None,
    /// One server.
    Alone,
    /// A primary and two replicas under three Sentinels.
    Sentinels,
    /// Three primaries with a replica each.
    Cluster,
}

/// How nodes hear of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventsKind {
    /// Not at all: each has its own.
    #[default]
    Memory,
    /// Through NATS.
    Nats,
    /// Through the Redis that there is.
    Redis,
}

/// What nodes depend on, beside PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dependencies {
    /// Which Redis.
    pub redis: RedisKind,
    /// Which events.
    pub events: EventsKind,
}

/// How the installation is made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program.
    pub program: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// What they depend on.
    pub dependencies: Dependencies,
    /// Whether what is taken back is recorded in a DynamoDB too.
    pub dynamodb: bool,
    /// Whether nodes also hear each other directly.
    pub hear: bool,
    /// Nodes whose clocks can be told another time.
    pub own_clocks: Vec<usize>,
    /// What all of them find in their environments.
    pub environment: Vec<(String, String)>,
    /// More of the configuration of every node: whole sections, other than those that follow from the rest.
    pub more: String,
}

impl Plan {
    /// So many nodes on PostgreSQL alone.
    #[must_use]
    pub fn new(program: &Path, nodes: usize) -> Self {
        let program = program.to_owned();
        let dependencies = Dependencies::default();
        let (own_clocks, environment) = (Vec::new(), Vec::new());
        let more = String::new();
        let (dynamodb, hear) = (false, false);
        Self { program, nodes, dependencies, dynamodb, hear, own_clocks, environment, more }
    }
}

/// A node, and its own ways to what it depends on.
#[derive(Debug)]
pub struct Member {
    /// The node.
    pub node: TegataNode,
    /// Its way to PostgreSQL.
    pub postgres: Proxy,
    /// Its ways to the servers of Redis, in the order in which [`Redis::ports`] names them.
    pub redis: Vec<Proxy>,
    /// Its way to NATS.
    pub nats: Option<Proxy>,
    /// Its way to DynamoDB.
    pub dynamodb: Option<Proxy>,
}

impl Member {
    /// Makes all its ways be so.
    pub fn set_all(&self, mode: Mode) {
        let ways = std::iter::once(&self.postgres).chain(&self.redis).chain(&self.nats);
        let ways = ways.chain(&self.dynamodb);
        ways.for_each(|way| way.set(mode));
    }
}

/// The Redis of an installation.
#[derive(Debug)]
pub enum Redis {
    /// One server.
    Alone(RedisServer),
    /// Under Sentinels.
    Sentinels(RedisSentinels),
    /// A cluster.
    Cluster(RedisCluster),
}

impl Redis {
    fn start(kind: RedisKind) -> Option<Self> {
        match kind {
            RedisKind::None => None,
            RedisKind::Alone => Some(Self::Alone(RedisServer::start())),
            RedisKind::Sentinels => Some(Self::Sentinels(RedisSentinels::start())),
            RedisKind::Cluster => Some(Self::Cluster(RedisCluster::start())),
        }
    }

    /// The ports of all servers; Sentinels come last.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        match self {
            Self::Alone(server) => vec![server.node().port()],
            Self::Sentinels(all) => {
                all.nodes().iter().chain(all.sentinels()).map(|node| node.port()).collect()
            }
            Self::Cluster(all) => all.nodes().iter().map(|node| node.port()).collect(),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Alone(server) => server.url(),
            Self::Sentinels(all) => all.url(),
            Self::Cluster(all) => all.url(),
        }
    }

    /// The address with other ports, and what maps those that servers announce to them.
    fn through(&self, ways: &[Proxy]) -> (String, String) {
        let ports = self.ports();
        let pairs = || ports.iter().zip(ways.iter().map(Proxy::port));
        let mut url = self.url();
        for (port, way) in pairs() {
            url = url.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{way}"));
        }
        let one = |(port, way): (&u16, u16)| format!("\"127.0.0.1:{port}\" = \"127.0.0.1:{way}\"");
        let map = pairs().map(one).collect::<Vec<_>>().join(", ");
        (url, map)
    }
}

/// The installation. It is gone when this is.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    redis: Option<Redis>,
    nats: Option<NatsServer>,
    dynamodb: Option<DynamoServer>,
    ether: Option<Ether>,
    postgres: PostgresServer,
    database: String,
    echo: EchoServer,
    front_public: Proxy,
    front_gateway: Proxy,
    shared: Shared,
}

impl Cluster {
    /// What the table of DynamoDB is called.
    pub const TABLE: &str = "revocations";

    /// Starts everything; answers when all nodes are ready.
    ///
    /// # Panics
    /// Something does not start, and says why.
    #[must_use]
    pub fn start(plan: &Plan) -> Self {
        let postgres = PostgresServer::listening("", |_| {});
        let database = postgres.database().name().to_owned();
        let dependencies = plan.dependencies;
        let redis = Redis::start(dependencies.redis);
        let nats = (dependencies.events == EventsKind::Nats).then(NatsServer::start);
        let dynamodb = plan.dynamodb.then(|| DynamoServer::start(DynamoKind::Dynalite));
        let ether = plan.hear.then(|| Ether::between(plan.nodes));
        let (front_public, front_gateway) = (Proxy::among(&[]), Proxy::among(&[]));
        let shared = Shared {
            root_key: root_key(&plan.program),
            program: plan.program.clone(),
            issuer: format!("http://localhost:{}", front_public.port()),
            audience: format!("http://localhost:{}", front_gateway.port()),
        };
        let mut cluster = Self {
            members: Vec::new(),
            redis,
            nats,
            dynamodb,
            ether,
            postgres,
            database,
            echo: EchoServer::start(),
            front_public,
            front_gateway,
            shared,
        };
        for n in 0..plan.nodes {
            let member = cluster.join(n, plan);
            cluster.members.push(member);
        }
        let ports = |which: fn(&TegataNode) -> u16| -> Vec<u16> {
            cluster.members.iter().map(|member| which(&member.node)).collect()
        };
        cluster.front_public.lead_to(&ports(|node| node.ports().public));
        cluster.front_gateway.lead_to(&ports(|node| node.ports().gateway));
        cluster
    }

    fn join(&self, n: usize, plan: &Plan) -> Member {
        let (dependencies, own_clock) = (plan.dependencies, plan.own_clocks.contains(&n));
        let mut environment = plan.environment.clone();
        let postgres = Proxy::before(self.postgres.port());
        let database = self.postgres.named(&self.database);
        let store = database.url_at("127.0.0.1", postgres.port());
        let redis: Vec<Proxy> =
            self.redis.iter().flat_map(Redis::ports).map(Proxy::before).collect();
        let nats = self.nats.as_ref().map(|nats| Proxy::before(nats.port()));
        let mut more = plan.more.clone();
        let mut events = self.nats.as_ref().zip(nats.as_ref()).map(|it| it.0.url_at(it.1.port()));
        if let Some(server) = &self.redis {
            let (url, map) = server.through(&redis);
            more += &format!("[redis]\nurl = \"{url}\"\naddress_map = {{ {map} }}\n");
            if dependencies.events == EventsKind::Redis {
                events = Some(url);
            }
        }
        let dynamodb = self.dynamodb.as_ref().map(|server| Proxy::before(server.port()));
        if let Some((server, way)) = self.dynamodb.as_ref().zip(dynamodb.as_ref()) {
            let url = server.url_at(Self::TABLE, way.port());
            more += &format!("[revocation]\ndurable = \"{url}\"\n");
            // It takes any key.
            for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
                environment.push((name.to_owned(), "of-tests".to_owned()));
            }
        }
        more.extend(self.ether.as_ref().map(|ether| ether.section(n)));
        let own = Own { store, events, more, environment, own_clock };
        let node = TegataNode::start(&format!("node-{n}"), &self.shared, &own);
        Member { node, postgres, redis, nats, dynamodb }
    }

    /// The nodes with their ways.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One of the nodes.
    ///
    /// # Panics
    /// There are not so many.
    #[must_use]
    pub fn member(&self, n: usize) -> &Member {
        self.members.get(n).expect("a node of the installation")
    }

    /// PostgreSQL.
    #[must_use]
    pub const fn postgres(&self) -> &PostgresServer {
        &self.postgres
    }

    /// The database of the nodes.
    #[must_use]
    pub fn database(&self) -> PostgresDatabase<'_> {
        self.postgres.named(&self.database)
    }

    /// Redis, where there is one.
    #[must_use]
    pub const fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    /// NATS, where it carries the events.
    #[must_use]
    pub const fn nats(&self) -> Option<&NatsServer> {
        self.nats.as_ref()
    }

    /// DynamoDB, where there is one.
    #[must_use]
    pub const fn dynamodb(&self) -> Option<&DynamoServer> {
        self.dynamodb.as_ref()
    }

    /// What nodes hear each other through, where they do so directly.
    #[must_use]
    pub const fn ether(&self) -> Option<&Ether> {
        self.ether.as_ref()
    }

    /// The service behind the gateways.
    #[must_use]
    pub const fn echo(&self) -> &EchoServer {
        &self.echo
    }

    /// The issuer identifier: an address that leads to the public listener of any node.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// The way to the public listeners that the issuer identifier names.
    #[must_use]
    pub const fn front(&self) -> &Proxy {
        &self.front_public
    }

    /// What access tokens are for: an address that leads to the gateway of any node.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.shared.audience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_own_ways_to_every_server_of_redis() {
        let redis = Redis::Sentinels(RedisSentinels::start());
        let ways: Vec<Proxy> = redis.ports().into_iter().map(Proxy::before).collect();
        let (url, map) = redis.through(&ways);
        for (port, way) in redis.ports().into_iter().zip(&ways) {
            assert!(!url.contains(&port.to_string()), "{url}");
            let pair = format!("\"127.0.0.1:{port}\" = \"127.0.0.1:{}\"", way.port());
            assert!(map.contains(&pair), "{map}");
        }
        // Servers are found through Sentinels, so those are what the address names.
        for sentinel in ways.iter().skip(3) {
            assert!(url.contains(&format!("127.0.0.1:{}", sentinel.port())), "{url}");
        }
    }
}
