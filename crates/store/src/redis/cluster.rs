//! Connections to a cluster. The driver knows which node holds which key, and follows a failover.

use std::{
    collections::HashMap,
    str::FromStr as _,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use redis::{
    Cmd, RedisResult, Value,
    cluster::{ClusterClient, ClusterClientBuilder, NodeAddress},
    cluster_async::ClusterConnection,
    cluster_read_routing::RandomReplicaStrategy,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};

use tegata_core::StoreError;

use super::{
    RedisConfig, RedisRefused,
    address::Address,
    fault::{Fault, text},
    line::{Role, wire_settings},
    wire::Server,
};

/// Connections to all nodes.
pub(super) struct Nodes {
    connections: Vec<ClusterConnection>,
    /// Asks replicas alone.
    replicas: ClusterConnection,
    turn: AtomicUsize,
}

impl Nodes {
    /// Connects to the nodes, so often that there are about as many connections as there should be.
    pub(super) async fn open(
        address: &Address,
        config: &RedisConfig,
    ) -> Result<Self, RedisRefused> {
        let refused = |error: redis::RedisError| RedisRefused::Address { detail: text(&error) };
        let client = builder(address, config)?.build().map_err(refused)?;
        let of_replicas = builder(address, config)?.read_routing_strategy(RandomReplicaStrategy);
        let of_replicas = of_replicas.build().map_err(refused)?;
        let connect = async |client: &ClusterClient| {
            let connection = client.get_async_connection().await;
            connection.map_err(|error| Fault::Unsent(text(&error)).of_question())
        };
        let (first, replicas) = (connect(&client).await?, connect(&of_replicas).await?);
        let mut connections = vec![first];
        let nodes = address.places.len().max(1);
        for _ in 1..(config.connections / nodes).max(1) {
            connections.push(connect(&client).await?);
        }
        Ok(Self { connections, replicas, turn: AtomicUsize::new(0) })
    }

    /// Sends a command about a key to the node that holds it, or to a replica of it.
    pub(super) async fn ask(
        &self,
        role: Role,
        key: &[u8],
        command: &Cmd,
    ) -> Result<RedisResult<Value>, Fault> {
        let to = |holder| {
            RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(Route::with_key(
                key, holder,
            )))
        };
        if role == Role::Replica {
            let mut replicas = self.replicas.clone();
            let answer = replicas.route_command(command.clone(), to(SlotAddr::ReplicaRequired));
            return Ok(answer.await.and_then(Value::extract_error));
        }
        self.route(command, to(SlotAddr::Master)).await
    }

    /// What each node answers to `info`, of those that answer.
    ///
    /// # Errors
    /// None does.
    pub(super) async fn servers(&self, info: &Cmd) -> Result<Vec<Server>, StoreError> {
        let mut nodes = redis::cmd("CLUSTER");
        nodes.arg("NODES");
        let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        let told = self.route(&nodes, any).await;
        let told = told.and_then(|it| it.map_err(|error| Fault::answering(&error)));
        let told: String = redis::from_redis_value(told.map_err(Fault::of_question)?)
            .map_err(|error| Fault::Refused(error.to_string()).of_question())?;
        let ask = async |(host, port): (String, u16)| {
            let to = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port };
            let answer = self.route(info, RoutingInfo::SingleNode(to)).await;
            answer.ok()?.ok().map(|answer| Server::read((host, port), &answer))
        };
        let answers = join_all(told.lines().filter_map(announced).map(ask)).await;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn route(&self, command: &Cmd, to: RoutingInfo) -> Result<RedisResult<Value>, Fault> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let Some(connection) = self.connections.get(turn) else {
            return Err(Fault::Unsent("there is no connection".to_owned()));
        };
        let answer = connection.clone().route_command(command.clone(), to).await;
        Ok(answer.and_then(Value::extract_error))
    }
}

/// What the driver is to know of a cluster.
fn builder(address: &Address, config: &RedisConfig) -> Result<ClusterClientBuilder, RedisRefused> {
    let infos = address.infos();
    let infos = infos.map_err(|error| RedisRefused::Address { detail: text(&error) })?;
    let (user, password) = address.user();
    let mut builder = ClusterClient::builder(infos)
        .connection_timeout(config.connect)
        .response_timeout(config.timeout)
        .overall_response_timeout(Some(config.timeout))
        .retries(3)
        .min_retry_wait(5)
        .max_retry_wait(50)
        .tcp_settings(wire_settings());
    if let Some(user) = user {
        builder = builder.username(user);
    }
    if let Some(password) = password {
        builder = builder.password(password);
    }
    let mut map = HashMap::new();
    for (announced, reached) in &config.address_map {
        map.insert(node_address(announced)?, node_address(reached)?);
    }
    if !map.is_empty() {
        builder = builder.node_address_map(map);
    }
    Ok(builder)
}

/// The address in a line of `CLUSTER NODES`: `id host:port@bus[,name] flags …`. `None`: the node is
/// known to be gone.
fn announced(line: &str) -> Option<(String, u16)> {
    let mut words = line.split(' ').skip(1);
    let (address, flags) = (words.next()?, words.next()?);
    if flags.split(',').any(|flag| matches!(flag, "fail" | "handshake" | "noaddr")) {
        return None;
    }
    let (host, port) = address.split('@').next()?.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

fn node_address(text: &str) -> Result<NodeAddress, RedisRefused> {
    NodeAddress::from_str(text).map_err(|_| RedisRefused::Address {
        detail: format!("`{text}` in `address_map` is not `host:port`"),
    })
}
