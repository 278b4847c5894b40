//! Connections to a cluster. The driver knows which node holds which key, and follows a failover; but
//! it needs somebody who answers to begin with, so a connection is made when one is needed.

use std::{
    collections::HashMap,
    str::FromStr as _,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use redis::{
    Cmd, IntoConnectionInfo as _, RedisResult, Value,
    cluster::{ClusterClient, ClusterClientBuilder, NodeAddress},
    cluster_async::ClusterConnection,
    cluster_read_routing::RandomReplicaStrategy,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};

use super::{
    RedisConfig, RedisRefused,
    address::{Address, Place, refused},
    door::Door,
    fault::{Fault, is_about_login, text},
    reach::{Access, Role, settings, wire_settings, within},
    wire::{Look, Server},
};

/// Connections to all nodes.
pub(super) struct Nodes {
    client: ClusterClient,
    connections: Vec<Door<ClusterConnection>>,
    /// Asks replicas alone.
    of_replicas: ClusterClient,
    replicas: Door<ClusterConnection>,
    turn: AtomicUsize,
    access: Access,
    places: Vec<Place>,
    connect: Duration,
    timeout: Duration,
}

impl Nodes {
    /// Connections to the nodes, so many that there are about as many to each as there should be.
    /// Nothing is connected yet.
    pub(super) fn new(address: &Address, config: &RedisConfig) -> Result<Self, RedisRefused> {
        let unusable = |error: redis::RedisError| refused(&text(&error));
        let access = Access::new(address)?;
        let client = builder(address, &access, config)?.build().map_err(unusable)?;
        let of_replicas = builder(address, &access, config)?;
        let of_replicas = of_replicas.read_routing_strategy(RandomReplicaStrategy).build();
        let count = config.connections / address.places.len().max(1);
        Ok(Self {
            client,
            connections: (0..count.max(1)).map(|_| Door::new()).collect(),
            of_replicas: of_replicas.map_err(unusable)?,
            replicas: Door::new(),
            turn: AtomicUsize::new(0),
            access,
            places: address.places.clone(),
            connect: config.connect,
            timeout: config.timeout,
        })
    }

    /// Opens all connections, as far as they can be opened.
    ///
    /// # Errors
    /// Why the first one cannot.
    pub(super) async fn warm(&self) -> Result<(), Fault> {
        let patience = self.connect.saturating_mul(4);
        let mut connections = self.connections.iter();
        if let Some(first) = connections.next()
            && let Err(fault) = self.opened(first, &self.client, patience).await
        {
            return Err(self.barred().await.unwrap_or(fault));
        }
        let others = connections.map(|connection| (connection, &self.client));
        let all = others.chain([(&self.replicas, &self.of_replicas)]);
        join_all(all.map(|(door, client)| self.opened(door, client, patience))).await;
        Ok(())
    }

    /// Whether a node is there, and does not let us in: the driver says the same of that as of one
    /// that is away.
    async fn barred(&self) -> Option<Fault> {
        let ask = async |place: &Place| {
            let (client, settings) = (self.access.client(place, 0).ok()?, settings(self.connect));
            let asked = client.get_multiplexed_async_connection_with_config(&settings).await;
            asked.err().filter(is_about_login).map(|error| Fault::Barred(text(&error)))
        };
        join_all(self.places.iter().map(ask)).await.into_iter().flatten().next()
    }

    async fn opened(
        &self,
        door: &Door<ClusterConnection>,
        client: &ClusterClient,
        patience: Duration,
    ) -> Result<ClusterConnection, Fault> {
        let connect = || {
            let (client, limit) = (client.clone(), self.connect.saturating_mul(4));
            async move {
                // It waits for each node that it was told of, then for those that they know.
                let connected = within(limit, client.get_async_connection()).await;
                connected.map_err(|error| Fault::connecting(&error))
            }
        };
        // Once it has been made, it mends itself.
        door.open(|_| true, patience, connect).await
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
            let opened = self.opened(&self.replicas, &self.of_replicas, self.timeout);
            let mut replicas = opened.await?;
            let answer = replicas.route_command(command.clone(), to(SlotAddr::ReplicaRequired));
            return Ok(answer.await.and_then(Value::extract_error));
        }
        self.route(command, to(SlotAddr::Master)).await
    }

    /// What each node answers to `info`, of those that answer.
    ///
    /// # Errors
    /// None does.
    pub(super) async fn look(&self, info: &Cmd) -> Result<Look, Fault> {
        let mut nodes = redis::cmd("CLUSTER");
        nodes.arg("NODES");
        let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        let told = self.route(&nodes, any).await?;
        let told = told.map_err(|error| Fault::answering(&error))?;
        let told: String =
            redis::from_redis_value(told).map_err(|error| Fault::Refused(error.to_string()))?;
        let ask = async |place: Place| {
            let (host, port) = place.clone();
            let to = SingleNodeRoutingInfo::ByAddress { host, port };
            Server::telling(&place, self.route(info, RoutingInfo::SingleNode(to)).await?)
        };
        let known = told.lines().filter(|line| !line.trim().is_empty()).count();
        let answers = join_all(told.lines().filter_map(announced).map(ask)).await;
        let (mut servers, mut fault) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(server) => servers.push(server),
                Err(silent) => fault = Some(silent),
            }
        }
        if servers.is_empty() {
            let none = || Fault::Unsent("the cluster knows no node that is there".to_owned());
            return Err(fault.unwrap_or_else(none));
        }
        let whole = servers.len() == known;
        Ok(Look { servers, whole })
    }

    async fn route(&self, command: &Cmd, to: RoutingInfo) -> Result<RedisResult<Value>, Fault> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let Some(connection) = self.connections.get(turn) else {
            return Err(Fault::Unsent("there is no connection".to_owned()));
        };
        let mut connection = self.opened(connection, &self.client, self.timeout).await?;
        let answer = connection.route_command(command.clone(), to).await;
        Ok(answer.and_then(Value::extract_error))
    }
}

/// What the driver is to know of a cluster.
fn builder(
    address: &Address,
    access: &Access,
    config: &RedisConfig,
) -> Result<ClusterClientBuilder, RedisRefused> {
    let info =
        |place| Ok(access.named(place).into_connection_info()?.set_redis_settings(access.login(0)));
    let infos = address.places.iter().map(info).collect::<RedisResult<Vec<_>>>();
    let infos = infos.map_err(|error| refused(&text(&error)))?;
    let mut builder = ClusterClient::builder(infos)
        .connection_timeout(config.connect)
        .response_timeout(config.timeout)
        .overall_response_timeout(Some(config.timeout))
        .retries(3)
        .min_retry_wait(5)
        .max_retry_wait(50)
        .tcp_settings(wire_settings());
    if let Some(roots) = access.roots() {
        builder = builder.certs(roots);
    }
    // The nodes that these name are told the same.
    if let Some(user) = &address.user {
        builder = builder.username(user);
    }
    if let Some(password) = &address.password {
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
fn announced(line: &str) -> Option<Place> {
    let mut words = line.split(' ').skip(1);
    let (address, flags) = (words.next()?, words.next()?);
    if flags.split(',').any(|flag| matches!(flag, "fail" | "handshake" | "noaddr")) {
        return None;
    }
    let (host, port) = address.split('@').next()?.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

fn node_address(text: &str) -> Result<NodeAddress, RedisRefused> {
    let bad = |_| refused(&format!("`{text}` in `address_map` is not `host:port`"));
    NodeAddress::from_str(text).map_err(bad)
}
