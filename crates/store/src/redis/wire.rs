//! How commands reach the servers, whatever shape Redis has.

use std::sync::Arc;

use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::time::timeout;

use super::{
    RedisConfig, RedisRefused,
    address::{Address, Place, Shape},
    cluster::Nodes,
    fault::{Fault, is_about_login, is_unknown_script},
    line::Lines,
    reach::{Reach, Role},
    script::Known,
};

/// Whether a command may be sent once more where nobody knows what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It changes nothing, or nothing more the second time.
    Yes,
    /// The second time could undo what others made of the first, or answer something else.
    No,
}

/// The way to the servers.
pub(super) enum Wire {
    /// A server, or the one that Sentinels name; beside it a replica, where there is one.
    Lines { primary: Box<Lines>, replica: Option<Box<Lines>> },
    /// A cluster.
    Cluster(Box<Nodes>),
}

impl Wire {
    /// Opens as many connections as there are to be, as far as anybody answers: the others are made
    /// when they are needed.
    ///
    /// # Errors
    /// What no waiting mends: the address cannot be used, or somebody does not let us in.
    pub(super) async fn open(
        address: &Address,
        config: &RedisConfig,
    ) -> Result<Self, RedisRefused> {
        let wire = if address.shape == Shape::Cluster {
            Self::Cluster(Box::new(Nodes::new(address, config)?))
        } else {
            let reach = Arc::new(Reach::new(address)?);
            let primary = Lines::new(&reach, Role::Primary, config.connections, config);
            let few = (config.connections / 4).max(1);
            let replica = matches!(address.shape, Shape::Sentinels { .. })
                .then(|| Box::new(Lines::new(&reach, Role::Replica, few, config)));
            Self::Lines { primary: Box::new(primary), replica }
        };
        let warmed = match &wire {
            Self::Cluster(nodes) => nodes.warm().await,
            Self::Lines { primary, replica } => {
                let warmed = primary.warm().await;
                if let (Ok(()), Some(replica)) = (&warmed, replica) {
                    // That there is none, or it is late, keeps nobody.
                    let _warmed = timeout(config.connect, replica.warm()).await;
                }
                warmed
            }
        };
        match warmed {
            Err(Fault::Barred(detail)) => Err(RedisRefused::Login { detail }),
            _ => Ok(wire),
        }
    }

    /// Whether there are replicas to read from.
    pub(super) const fn has_replicas(&self) -> bool {
        !matches!(self, Self::Lines { replica: None, .. })
    }

    /// Asks about a key, and changes nothing.
    pub(super) async fn ask(&self, role: Role, key: &[u8], command: &Cmd) -> Result<Value, Fault> {
        self.send(role, Again::Yes, key, command).await?.map_err(|error| self.fault(&error))
    }

    /// Changes what is under a key.
    pub(super) async fn change(&self, key: &[u8], command: &Cmd) -> Result<Value, Fault> {
        let sent = self.send(Role::Primary, Again::No, key, command).await?;
        sent.map_err(|error| self.fault(&error))
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
        let send = async |verb: &str, it: &str| {
            self.send(Role::Primary, script.again, key, &command(verb, it)).await
        };
        let ran = match send("EVALSHA", &script.hash).await? {
            // A server that has just started, or was a replica, is told once.
            Err(error) if is_unknown_script(&error) => send("EVAL", &script.text).await?,
            other => other,
        };
        ran.map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &RedisError) -> Fault {
        match self {
            Self::Lines { .. } => Fault::answering(error),
            Self::Cluster(_) => Fault::answering_on_cluster(error),
        }
    }

    async fn send(
        &self,
        role: Role,
        again: Again,
        key: &[u8],
        command: &Cmd,
    ) -> Result<RedisResult<Value>, Fault> {
        match (self, role) {
            (Self::Cluster(nodes), role) => nodes.ask(role, again, key, command).await,
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
    pub(super) async fn look(&self) -> Result<Look, Fault> {
        let info = redis::cmd("INFO");
        let (primary, replica) = match self {
            Self::Lines { primary, replica } => (primary, replica),
            Self::Cluster(nodes) => return nodes.look(&info).await,
        };
        let (told, place) = primary.ask_someone(&info).await?;
        let mut servers = vec![Server::telling(&place, told)?];
        if let Some(replica) = replica {
            // That there is none at the moment says nothing of the primary.
            if let Ok((told, place)) = replica.ask_someone(&info).await {
                servers.extend(Server::telling(&place, told));
            }
        }
        Ok(Look { servers, whole: true })
    }
}

/// What was seen of the servers.
pub(super) struct Look {
    pub(super) servers: Vec<Server>,
    /// Whether all that can be primaries have answered.
    pub(super) whole: bool,
}

/// What a server says of itself.
pub(super) struct Server {
    /// Under which address it was reached.
    pub(super) address: Place,
    pub(super) info: String,
}

impl Server {
    /// What it answered to `INFO`. One that does not let us ask says nothing.
    pub(super) fn telling(place: &Place, answer: RedisResult<Value>) -> Result<Self, Fault> {
        let info = match answer {
            Ok(Value::BulkString(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Ok(Value::VerbatimString { text, .. } | Value::SimpleString(text)) => text,
            Ok(_) => String::new(),
            Err(error) if is_about_login(&error) => String::new(),
            Err(error) => return Err(Fault::answering(&error)),
        };
        Ok(Self { address: place.clone(), info })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }
}
