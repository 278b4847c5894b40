//! Redis: alone, under three Sentinels, and as a cluster of three primaries with a replica each.
//!
//! Every server takes `tester` with the password [`PASSWORD`], and its replicas come as another user, so
//! that replication can be cut without touching anybody else.

use std::{collections::BTreeSet, fs, sync::OnceLock, time::Duration};

use crate::process::{Process, Yard, free_port, listens, program, until};

mod wire;

pub use wire::{Answer, ask};

/// What `tester` proves itself with.
pub const PASSWORD: &str = "of-tests";

/// Whom replicas come as.
const REPLICATOR: &str = "replicator";

/// How long an engine may take to start, or to agree, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a primary may be silent before the others replace it.
const SILENCE_MS: &str = "1000";

/// What every server is told: it keeps nothing on disk, forgets nothing by itself, and can be told
/// everything.
fn settings(port: u16, name: &str) -> String {
    format!(
        "port {port}\nbind 127.0.0.1\nsave \"\"\ndir .\ndbfilename {name}.rdb\n\
         maxmemory-policy noeviction\nenable-debug-command local\n\
         repl-diskless-sync-delay 0\nrepl-ping-replica-period 1\nrepl-timeout 5\n\
         user default off\nuser tester on >{PASSWORD} ~* &* +@all\n\
         user {REPLICATOR} on >{PASSWORD} ~* &* +psync +replconf +ping\n\
         masteruser {REPLICATOR}\nmasterauth {PASSWORD}\n"
    )
}

/// A server process, wherever it belongs.
#[derive(Debug)]
pub struct Node {
    process: Process,
    port: u16,
}

impl Node {
    /// Starts a server on a free port, with what `told` says of it in its settings.
    fn start(yard: &Yard, name: &str, told: impl Fn(u16) -> String) -> Self {
        Self::start_as(yard, name, &[], told)
    }

    fn start_as(yard: &Yard, name: &str, more: &[&str], settings: impl Fn(u16) -> String) -> Self {
        let file = format!("{name}.conf");
        let arguments = [&[file.as_str()][..], more].concat();
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let program = program("redis-server", "redis-server");
        // Between our asking for a free port and its use, another may take it.
        for _ in 0..20 {
            let port = free_port();
            fs::write(yard.path().join(&file), settings(port)).expect("the settings of Redis");
            let process = Process::new(yard, name, &program, arguments.clone());
            let node = Self { process, port };
            if node.launched(yard) {
                return node;
            }
            node.process.kill(yard);
        }
        panic!("Redis finds no port to listen on");
    }

    fn launched(&self, yard: &Yard) -> bool {
        self.process.start(yard, PATIENCE, || {
            listens(self.port) && self.try_ask(&["PING"]).is_some_and(|it| it.is("PONG"))
        })
    }

    /// The port that it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// What it answers to a command of an administrator.
    ///
    /// # Panics
    /// It does not answer, or with an error.
    pub fn ask(&self, command: &[&str]) -> Answer {
        match self.try_ask(command) {
            Some(Answer::Error(error)) => panic!("Redis refuses `{}`: {error}", command.join(" ")),
            Some(answer) => answer,
            None => panic!("Redis does not answer `{}`", command.join(" ")),
        }
    }

    /// As [`Self::ask`]; `None` where it does not answer.
    #[must_use]
    pub fn try_ask(&self, command: &[&str]) -> Option<Answer> {
        ask(self.port, Some(("tester", PASSWORD)), command).ok()
    }

    /// A line of `INFO`, without its name.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<String> {
        let text = self.try_ask(&["INFO"])?.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    }

    /// Whether it is a primary, as far as it knows.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.info("role").is_some_and(|role| role == "master")
    }

    /// Cuts its replicas off, and leaves everybody else alone: what is written from now on, they do
    /// not learn.
    pub fn cut_replication(&self) {
        self.ask(&["ACL", "SETUSER", REPLICATOR, "off"]);
        self.ask(&["CLIENT", "KILL", "TYPE", "replica"]);
    }

    fn follows_in_step(&self) -> bool {
        self.info("master_link_status").is_some_and(|status| status == "up")
    }
}

/// One server.
#[derive(Debug)]
pub struct RedisServer {
    node: Node,
    yard: Yard,
}

impl RedisServer {
    /// The server that the tests of one process share. Each takes a prefix of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// An empty server.
    #[must_use]
    pub fn start() -> Self {
        Self::told("")
    }

    /// An empty server with other settings, each on a line: `maxmemory-policy allkeys-lru`.
    #[must_use]
    pub fn told(more: &str) -> Self {
        let yard = Yard::new("redis");
        let node = Node::start(&yard, "redis", |port| settings(port, "redis") + more);
        Self { node, yard }
    }

    /// The server itself.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Its address, as the configuration names it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.node.port)
    }

    /// Its address through something else at another port of this machine.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        format!("redis://tester:{PASSWORD}@127.0.0.1:{port}")
    }

    /// Kills it. Nothing of what it held is left.
    pub fn kill(&self) {
        self.node.process.kill(&self.yard);
    }

    /// Starts it again after [`Self::kill`], empty.
    pub fn launch(&self) {
        // The port may be held for a moment by connections of the one before.
        let launched = (0..50).any(|_| self.node.launched(&self.yard));
        assert!(launched, "Redis does not start again: {}", self.node.process.said());
    }
}

/// A primary and two replicas, watched by three Sentinels, which name it [`Self::NAME`].
#[derive(Debug)]
pub struct RedisSentinels {
    nodes: Vec<Node>,
    sentinels: Vec<Node>,
    yard: Yard,
}

impl RedisSentinels {
    /// What Sentinels call the primary.
    pub const NAME: &str = "tegata";

    /// Those that the tests of one process share. Each takes a prefix of its own, and none breaks
    /// anything: so Sentinels wait long before they take a server for dead, as it seems to be on a busy
    /// machine, and nothing is lost to a failover that nobody asked for.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisSentinels> = OnceLock::new();
        SHARED.get_or_init(|| {
            let this = Self::start();
            let patience = PATIENCE.as_millis().to_string();
            for sentinel in &this.sentinels {
                let own = Self::NAME;
                sentinel.ask(&["SENTINEL", "SET", own, "down-after-milliseconds", &patience]);
            }
            this
        })
    }

    /// All of them, in step.
    #[must_use]
    pub fn start() -> Self {
        let yard = Yard::new("sentinels");
        let primary = Node::start(&yard, "redis-0", |port| settings(port, "redis-0"));
        let port = primary.port.to_string();
        let mut nodes = vec![primary];
        for n in 1..3 {
            let name = format!("redis-{n}");
            nodes.push(Node::start(&yard, &name, |own| {
                settings(own, &name) + &format!("replicaof 127.0.0.1 {port}\n")
            }));
        }
        let mut sentinels = Vec::new();
        for n in 0..3 {
            sentinels.push(Self::sentinel(&yard, n, &port));
        }
        let this = Self { nodes, sentinels, yard };
        assert!(until(PATIENCE, || this.agree()), "the Sentinels do not find each other");
        this
    }

    fn sentinel(yard: &Yard, n: usize, primary: &str) -> Node {
        let own = Self::NAME;
        Node::start_as(yard, &format!("sentinel-{n}"), &["--sentinel"], |port| {
            format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor {own} 127.0.0.1 {primary} 2\n\
                 sentinel auth-user {own} tester\nsentinel auth-pass {own} {PASSWORD}\n\
                 sentinel down-after-milliseconds {own} {SILENCE_MS}\n\
                 sentinel failover-timeout {own} 5000\nsentinel parallel-syncs {own} 2\n\
                 user default off\nuser tester on >{PASSWORD} ~* &* +@all\n\
                 sentinel sentinel-user tester\nsentinel sentinel-pass {PASSWORD}\n"
            )
        })
    }

    fn agree(&self) -> bool {
        let replicas = self.nodes.iter().skip(1).all(Node::follows_in_step);
        replicas
            && self.sentinels.iter().all(|sentinel| {
                let quorum = sentinel.try_ask(&["SENTINEL", "CKQUORUM", Self::NAME]);
                let known = sentinel.try_ask(&["SENTINEL", "MASTER", Self::NAME]);
                let known = known.map(|answer| answer.fields()).unwrap_or_default();
                let count =
                    |name: &str| known.iter().find(|(n, _)| n == name).map(|it| it.1.clone());
                quorum.is_some_and(|it| it.text().starts_with("OK 3"))
                    && count("num-slaves").is_some_and(|it| it == "2")
                    && count("num-other-sentinels").is_some_and(|it| it == "2")
            })
    }

    /// The servers. The first one began as the primary.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The Sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[Node] {
        &self.sentinels
    }

    /// The server that is the primary at the moment, as far as the Sentinels agree.
    #[must_use]
    pub fn primary(&self) -> Option<&Node> {
        let mut named = self.sentinels.iter().map(|sentinel| {
            let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::NAME];
            let port = sentinel.try_ask(&command)?.list().get(1)?.text();
            self.nodes.iter().find(|node| node.port.to_string() == port)
        });
        let first = named.next()??;
        named.all(|node| node.is_some_and(|it| it.port == first.port)).then_some(first)
    }

    /// Their address, as the configuration names it.
    #[must_use]
    pub fn url(&self) -> String {
        let places = self.sentinels.iter().map(|it| format!("127.0.0.1:{}", it.port));
        let places = places.collect::<Vec<_>>().join(",");
        format!("redis-sentinel://tester:{PASSWORD}@{places}/{}", Self::NAME)
    }

    /// Kills a server or a Sentinel.
    pub fn kill(&self, node: &Node) {
        node.process.kill(&self.yard);
    }

    /// Starts one again after [`Self::kill`].
    pub fn launch(&self, node: &Node) {
        let launched = (0..50).any(|_| node.launched(&self.yard));
        assert!(launched, "Redis does not start again: {}", node.process.said());
    }

    /// Kills the primary, and waits until another is.
    pub fn fail_over(&self) {
        let old = self.primary().expect("a primary");
        self.kill(old);
        let other = || self.primary().is_some_and(|it| it.port != old.port && it.is_primary());
        assert!(until(PATIENCE, other), "no replica was promoted");
    }
}

/// Three primaries with a replica each.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
    yard: Yard,
}

impl RedisCluster {
    /// The one that the tests of one process share. Each takes a prefix of its own, and none breaks
    /// anything: so its nodes wait long before they take each other for dead, as they seem to be on a
    /// busy machine, and nothing is lost to a failover that nobody asked for.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisCluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            let this = Self::start();
            let patience = PATIENCE.as_millis().to_string();
            for node in &this.nodes {
                node.ask(&["CONFIG", "SET", "cluster-node-timeout", &patience]);
            }
            this.settle();
            this
        })
    }

    /// All of them, in step.
    #[must_use]
    pub fn start() -> Self {
        let yard = Yard::new("cluster");
        let mut nodes = Vec::new();
        for n in 0..6 {
            let name = format!("redis-{n}");
            // A replica takes over however little it has: what it lacks, Tegata must know.
            nodes.push(Node::start(&yard, &name, |port| {
                let bus = free_port();
                settings(port, &name)
                    + &format!(
                        "cluster-enabled yes\ncluster-config-file nodes-{n}.conf\n\
                         cluster-port {bus}\ncluster-node-timeout {SILENCE_MS}\n\
                         cluster-replica-validity-factor 0\n\
                         cluster-require-full-coverage no\n"
                    )
            }));
        }
        let this = Self { nodes, yard };
        this.join();
        this
    }

    fn join(&self) {
        let bounds = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        let (primaries, replicas) = self.nodes.split_at(3);
        for (node, (first, last)) in primaries.iter().zip(bounds) {
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        for (n, node) in self.nodes.iter().enumerate() {
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        }
        let first = primaries.first().expect("a node");
        for node in self.nodes.iter().skip(1) {
            let bus = node.ask(&["CONFIG", "GET", "cluster-port"]).fields();
            let bus = bus.first().map(|(_, bus)| bus.clone()).unwrap_or_default();
            first.ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), &bus]);
        }
        let met = || {
            self.nodes.iter().all(|node| {
                let known = node.ask(&["CLUSTER", "NODES"]).text();
                known.lines().filter(|line| !line.contains("handshake")).count() == 6
            })
        };
        assert!(until(PATIENCE, met), "the nodes of the cluster do not meet");
        for (replica, primary) in replicas.iter().zip(primaries) {
            let id = primary.ask(&["CLUSTER", "MYID"]).text();
            // Who has heard of the other, but not of its slots, may be refused.
            let told = || {
                let answer = replica.try_ask(&["CLUSTER", "REPLICATE", &id]);
                answer.is_some_and(|answer| answer.is("OK"))
            };
            assert!(until(PATIENCE, told), "a replica does not follow");
        }
        self.settle();
    }

    /// Waits until all that run agree that all is well, know each other, and every replica is in step.
    pub fn settle(&self) {
        let running = || self.nodes.iter().filter(|node| node.process.id().is_some());
        let agree = || {
            running().all(|node| {
                let state = node.try_ask(&["CLUSTER", "INFO"]).map(|it| it.text());
                let state = state.unwrap_or_default();
                state.contains("cluster_state:ok")
                    && state.contains("cluster_slots_ok:16384")
                    && Self::told(node) == running().map(Node::port).collect()
            }) && running().filter(|node| !node.is_primary()).all(Node::follows_in_step)
                && self.primaries().len() == 3
        };
        assert!(until(PATIENCE, agree), "the cluster does not settle");
    }

    /// The ports of those whom a node names when it is asked who has which slots. A replica is named
    /// when it is known how far it has come.
    fn told(node: &Node) -> BTreeSet<u16> {
        let ranges = node.try_ask(&["CLUSTER", "SLOTS"]).map(|it| it.list()).unwrap_or_default();
        let nodes = ranges.iter().flat_map(|range| range.list().into_iter().skip(2));
        nodes.filter_map(|node| node.list().get(1)?.text().parse().ok()).collect()
    }

    /// Its servers. The first three began as primaries, the others as their replicas in turn.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The servers that are primaries at the moment.
    #[must_use]
    pub fn primaries(&self) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.is_primary()).collect()
    }

    /// The replica that follows a primary, if one does.
    #[must_use]
    pub fn replica_of(&self, primary: &Node) -> Option<&Node> {
        let port = primary.port.to_string();
        self.nodes.iter().find(|node| {
            !node.is_primary() && node.info("master_port").is_some_and(|it| it == port)
        })
    }

    /// Its address, as the configuration names it.
    #[must_use]
    pub fn url(&self) -> String {
        let places = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        format!("redis-cluster://tester:{PASSWORD}@{}", places.collect::<Vec<_>>().join(","))
    }

    /// Kills a server.
    pub fn kill(&self, node: &Node) {
        node.process.kill(&self.yard);
    }

    /// Starts one again after [`Self::kill`].
    pub fn launch(&self, node: &Node) {
        let launched = (0..50).any(|_| node.launched(&self.yard));
        assert!(launched, "Redis does not start again: {}", node.process.said());
    }

    /// Kills a primary, and waits until its replica has taken over.
    pub fn fail_over(&self, primary: &Node) {
        let replica = self.replica_of(primary).expect("a replica");
        self.kill(primary);
        assert!(until(PATIENCE, || replica.is_primary()), "the replica does not take over");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_empty_after_it_was_killed() {
        let server = RedisServer::start();
        server.node().ask(&["SET", "a", "b"]);
        assert_eq!(server.node().ask(&["GET", "a"]).text(), "b");
        server.kill();
        assert!(server.node().try_ask(&["PING"]).is_none());
        server.launch();
        assert_eq!(server.node().ask(&["GET", "a"]), Answer::Nothing);
    }

    #[test]
    fn a_replica_of_a_cluster_takes_over_without_what_it_did_not_learn() {
        let cluster = RedisCluster::start();
        let primary = &cluster.nodes()[0];
        let slot = |key: &str| primary.ask(&["CLUSTER", "KEYSLOT", key]).text();
        let key =
            (0..).map(|n| format!("k{n}")).find(|key| slot(key).parse::<u32>().unwrap() < 5461);
        let key = key.unwrap();
        primary.cut_replication();
        primary.ask(&["SET", &key, "b"]);
        let replica = cluster.replica_of(primary).unwrap();
        cluster.fail_over(primary);
        assert_eq!(replica.ask(&["GET", &key]), Answer::Nothing);
        cluster.launch(primary);
        // It finds out that it is no primary any more, and what only it knew is gone.
        assert!(until(PATIENCE, || !primary.is_primary()));
        cluster.settle();
    }

    #[test]
    fn sentinels_promote_a_replica() {
        let sentinels = RedisSentinels::start();
        let before = sentinels.primary().unwrap().port();
        sentinels.fail_over();
        assert_ne!(sentinels.primary().unwrap().port(), before);
    }
}
