//! How commands reach the servers, whatever shape Redis has.

use redis::{Cmd, RedisResult, Value};
use tegata_core::StoreError;

use super::{
    RedisConfig, RedisRefused,
    address::{Address, Shape},
    cluster::Nodes,
    fault::{Fault, is_unknown_script},
    line::{Lines, Role},
    script::Known,
};

/// The way to the servers.
pub(super) enum Wire {
    /// A server, or the one that Sentinels name; beside it a replica, where there is one.
    Lines { primary: Box<Lines>, replica: Option<Box<Lines>> },
    /// A cluster.
    Cluster(Box<Nodes>),
}

impl Wire {
    /// Connects, and opens as many connections as there are to be.
    pub(super) async fn open(
        address: &Address,
        config: &RedisConfig,
    ) -> Result<Self, RedisRefused> {
        if address.shape == Shape::Cluster {
            return Ok(Self::Cluster(Box::new(Nodes::open(address, config).await?)));
        }
        let primary = Lines::new(address, Role::Primary, config.connections, config)?;
        primary.warm().await.map_err(Fault::of_question)?;
        let replica = match address.shape {
            Shape::Sentinels { .. } => {
                let few = (config.connections / 4).max(1);
                Some(Box::new(Lines::new(address, Role::Replica, few, config)?))
            }
            Shape::Alone | Shape::Cluster => None,
        };
        Ok(Self::Lines { primary: Box::new(primary), replica })
    }

    /// Whether there are replicas to read from.
    pub(super) const fn has_replicas(&self) -> bool {
        !matches!(self, Self::Lines { replica: None, .. })
    }

    /// Asks about a key.
    pub(super) async fn ask(&self, role: Role, key: &[u8], command: &Cmd) -> Result<Value, Fault> {
        self.send(role, key, command).await?.map_err(|error| Fault::answering(&error))
    }

    /// Runs a script about a key.
    pub(super) async fn run(
        &self,
        script: &Known,
        key: &[u8],
        arguments: &[&[u8]],
    ) -> Result<Value, Fault> {
        let command = |verb: &str, script: &str| {
            let mut command = redis::cmd(verb);
            command.arg(script).arg(1).arg(key);
            for argument in arguments {
                command.arg(*argument);
            }
            command
        };
        let known = self.send(Role::Primary, key, &command("EVALSHA", &script.hash)).await?;
        match known {
            // A server that has just started, or was a replica, is told once.
            Err(error) if is_unknown_script(&error) => {
                self.ask(Role::Primary, key, &command("EVAL", &script.text)).await
            }
            other => other.map_err(|error| Fault::answering(&error)),
        }
    }

    async fn send(
        &self,
        role: Role,
        key: &[u8],
        command: &Cmd,
    ) -> Result<RedisResult<Value>, Fault> {
        match (self, role) {
            (Self::Cluster(nodes), role) => nodes.ask(role, key, command).await,
            (Self::Lines { replica: Some(replica), .. }, Role::Replica) => {
                replica.ask(command).await
            }
            (Self::Lines { primary, .. }, _) => primary.ask(command).await,
        }
    }

    /// What every server says of itself that can be reached.
    ///
    /// # Errors
    /// None can be.
    pub(super) async fn servers(&self) -> Result<Vec<Server>, StoreError> {
        let info = redis::cmd("INFO");
        let (primary, replica) = match self {
            Self::Lines { primary, replica } => (primary, replica),
            Self::Cluster(nodes) => return nodes.servers(&info).await,
        };
        let told = primary.ask(&info).await;
        let told = told.and_then(|it| it.map_err(|error| Fault::answering(&error)));
        let mut servers = vec![Server::read(primary.place(), &told.map_err(Fault::of_question)?)];
        if let Some(replica) = replica {
            // That there is none at the moment says nothing of the primary.
            if let Ok(Ok(told)) = replica.ask(&info).await {
                servers.push(Server::read(replica.place(), &told));
            }
        }
        Ok(servers)
    }
}

/// What a server says of itself.
pub(super) struct Server {
    /// Under which address it was reached.
    pub(super) address: (String, u16),
    pub(super) info: String,
}

impl Server {
    /// What it answered to `INFO`.
    pub(super) fn read(address: (String, u16), answer: &Value) -> Self {
        let info = match answer {
            Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::VerbatimString { text, .. } | Value::SimpleString(text) => text.clone(),
            _ => String::new(),
        };
        let mut server = Self { address, info };
        // Behind Sentinels, the address that is known is not its own.
        if let Some(port) = server.get("tcp_port").and_then(|port| port.parse().ok()) {
            server.address.1 = port;
        }
        server
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }
}
