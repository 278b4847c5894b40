//! Connections to one server: the one that an address names, or the one that Sentinels name at the
//! moment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ProtocolVersion, PushInfo, PushKind, RedisResult, Value,
    aio::{MultiplexedConnection, SendError},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::time::timeout;

use super::{
    RedisConfig, RedisRefused,
    address::{Address, Shape},
    fault::{Fault, ends_connection, text},
};

/// When a silent peer is taken for dead: a second of silence, then five questions, three seconds
/// apart.
pub(super) fn wire_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(1))
        .with_interval(Duration::from_secs(3))
        .with_retries(5);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(10))
}

/// How many commands in a row take the same connection: what is sent at the same time is written
/// together, and answered together.
const TOGETHER: usize = 32;

/// Which of the servers that Sentinels watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Replica,
}

/// Where connections come from.
enum Source {
    Server(Client),
    // It asks one Sentinel after the other, and remembers which answered.
    Sentinels(tokio::sync::Mutex<SentinelClient>),
}

/// Connections that lead to the same server. They are made when they are needed, and anew when they
/// break.
pub(super) struct Lines {
    source: Source,
    lines: Vec<Line>,
    turn: AtomicUsize,
    place: (String, u16),
    connect: Duration,
    timeout: Duration,
}

#[derive(Default)]
struct Line {
    open: Mutex<Option<Open>>,
    opening: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    // Set as soon as the other side has gone, so that nothing is sent into the void.
    gone: Arc<AtomicBool>,
}

impl Lines {
    /// Lines to what the address names. Nothing is connected yet.
    pub(super) fn new(
        address: &Address,
        role: Role,
        count: usize,
        config: &RedisConfig,
    ) -> Result<Self, RedisRefused> {
        let refused = |error: redis::RedisError| RedisRefused::Address { detail: text(&error) };
        let source = match &address.shape {
            Shape::Sentinels { name } => {
                let role = match role {
                    Role::Primary => SentinelServerType::Master,
                    Role::Replica => SentinelServerType::Replica,
                };
                let client = sentinels(address, name, role).map_err(refused)?;
                Source::Sentinels(tokio::sync::Mutex::new(client))
            }
            Shape::Alone | Shape::Cluster => {
                let infos = address.infos().map_err(refused)?;
                let info = infos.into_iter().next();
                let info = info.map(|info| info.set_tcp_settings(wire_settings()));
                let info = info.ok_or_else(|| RedisRefused::Address {
                    detail: "it names no host".to_owned(),
                })?;
                Source::Server(Client::open(info).map_err(refused)?)
            }
        };
        Ok(Self {
            source,
            lines: (0..count.max(1)).map(|_| Line::default()).collect(),
            turn: AtomicUsize::new(0),
            place: address.places.first().cloned().unwrap_or_default(),
            connect: config.connect,
            timeout: config.timeout,
        })
    }

    /// Where they lead, as the address says it.
    pub(super) fn place(&self) -> (String, u16) {
        self.place.clone()
    }

    /// Opens all lines.
    pub(super) async fn warm(&self) -> Result<(), Fault> {
        for line in &self.lines {
            self.opened(line).await?;
        }
        Ok(())
    }

    /// Sends a command, and waits for the answer.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<RedisResult<Value>, Fault> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) / TOGETHER % self.lines.len();
        let Some(line) = self.lines.get(turn) else {
            return Err(Fault::Unsent("there is no connection".to_owned()));
        };
        let Open { mut connection, gone } = self.opened(line).await?;
        let answer = connection.send_packed_command(command).await;
        let answer = answer.and_then(Value::extract_error);
        if answer.as_ref().is_err_and(ends_connection) {
            gone.store(true, Ordering::Release);
        }
        Ok(answer)
    }

    /// The connection of a line: the one it has, or a new one that all who wait for it share.
    async fn opened(&self, line: &Line) -> Result<Open, Fault> {
        if let Some(open) = line.usable() {
            return Ok(open);
        }
        let _one_at_a_time = line.opening.lock().await;
        if let Some(open) = line.usable() {
            return Ok(open);
        }
        let connected = timeout(self.connect, self.connect()).await;
        let open = match connected {
            Ok(Ok(open)) => open,
            Ok(Err(error)) => return Err(Fault::Unsent(text(&error))),
            Err(_) => {
                let waited = self.connect.as_millis();
                return Err(Fault::Unsent(format!("no connection after {waited} ms")));
            }
        };
        *line.open.lock() = Some(open.clone());
        Ok(open)
    }

    async fn connect(&self) -> RedisResult<Open> {
        let gone = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&gone);
        let hear = move |push: PushInfo| -> Result<(), SendError> {
            if push.kind == PushKind::Disconnection {
                ends.store(true, Ordering::Release);
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(hear);
        let connection = match &self.source {
            Source::Server(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await?
            }
            Source::Sentinels(client) => {
                let mut client = client.lock().await;
                let named = client.async_get_client().await?;
                drop(client);
                named.get_multiplexed_async_connection_with_config(&config).await?
            }
        };
        Ok(Open { connection, gone })
    }
}

impl Line {
    fn usable(&self) -> Option<Open> {
        self.open.lock().as_ref().filter(|open| !open.gone.load(Ordering::Acquire)).cloned()
    }
}

fn sentinels(
    address: &Address,
    name: &str,
    role: SentinelServerType,
) -> RedisResult<SentinelClient> {
    let mut builder = SentinelClientBuilder::new(address.addresses(), name, role)?
        .set_client_to_redis_db(address.database())
        .set_client_to_redis_protocol(ProtocolVersion::RESP3)
        .set_client_to_redis_tcp_settings(wire_settings())
        .set_client_to_sentinel_tcp_settings(wire_settings());
    // Sentinels and servers of one deployment share their users.
    if let (Some(user), _) = address.user() {
        builder = builder.set_client_to_redis_username(user).set_client_to_sentinel_username(user);
    }
    if let (_, Some(password)) = address.user() {
        builder = builder
            .set_client_to_redis_password(password)
            .set_client_to_sentinel_password(password);
    }
    if address.tls {
        builder = builder
            .set_client_to_redis_tls_mode(redis::TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(redis::TlsMode::Secure);
    }
    builder.build()
}
