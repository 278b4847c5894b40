//! How a connection to a server is made: to the one that an address names, to the one that Sentinels
//! name at the moment, or to a node of a cluster. Whoever connects knows that the server has the role
//! that is wanted; a node of a cluster says so itself, whenever it is asked about a key.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue as _,
    IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError,
    RedisResult, TlsCertificates, Value,
    aio::{MultiplexedConnection, SendError},
    cmd,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::time::timeout;

use super::{
    RedisRefused,
    address::{Address, Place, Shape, refused, shown},
    fault::{ends_connection, is_about_login, text},
    sentinel::Sentinels,
};

/// When a silent peer is taken for dead: a second of silence, then five questions, three seconds
/// apart.
fn wire_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(1))
        .with_interval(Duration::from_secs(3))
        .with_retries(5);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(10))
}

/// Which of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Replica,
}

/// Who we are to servers and Sentinels, and whom we trust.
#[derive(Clone)]
pub(super) struct Access {
    tls: bool,
    roots: Option<TlsCertificates>,
    user: Option<String>,
    password: Option<String>,
}

impl Access {
    /// As an address says it.
    ///
    /// # Errors
    /// Those who vouch for the servers cannot be read.
    pub(super) fn new(address: &Address) -> Result<Self, RedisRefused> {
        let roots = match &address.roots {
            None => None,
            Some(file) => {
                let read = fs::read(file);
                let read = read.map_err(|_| refused("`sslrootcert` names no file to be read"))?;
                Some(TlsCertificates { client_tls: None, root_cert: Some(read) })
            }
        };
        let (user, password) = (address.user.clone(), address.password.clone());
        let this = Self { tls: address.tls, roots, user, password };
        for place in &address.places {
            let made = this.client(place, address.database);
            made.map_err(|error| refused(&text(&error)))?;
        }
        Ok(this)
    }

    /// Whom we trust, where it is not whom this machine trusts.
    fn roots(&self) -> Option<TlsCertificates> {
        self.roots.clone()
    }

    /// Who we are, and in which database.
    fn login(&self, database: i64) -> RedisConnectionInfo {
        // RESP3 tells when the other side goes away.
        let login = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        let mut login = login.set_db(database);
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password);
        }
        login
    }

    /// A server, as the driver names it.
    fn named(&self, (host, port): &Place) -> ConnectionAddr {
        match self.tls {
            true => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
            false => ConnectionAddr::Tcp(host.clone(), *port),
        }
    }

    /// What connects to a server or to a Sentinel.
    pub(super) fn client(&self, place: &Place, database: i64) -> RedisResult<Client> {
        let info = self.named(place).into_connection_info()?;
        let info = info.set_redis_settings(self.login(database)).set_tcp_settings(wire_settings());
        match self.roots() {
            Some(roots) => Client::build_with_tls(info, roots),
            None => Client::open(info),
        }
    }
}

/// How long connecting may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// To one server or Sentinel, and as long for its first answer.
    pub(super) connect: Duration,
    /// How long each answer may take on the connection; `None`: whoever asks keeps the time.
    pub(super) answer: Option<Duration>,
}

/// A connection to a server.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) connection: MultiplexedConnection,
    /// Set as soon as the other side has gone, so that nothing is sent into the void.
    pub(super) gone: Arc<AtomicBool>,
    /// Where the server is.
    pub(super) place: Arc<Place>,
    /// Whether it is to lead there whatever role the server has: a node of a cluster.
    is_node: bool,
}

impl Open {
    /// Whether it leads to anybody, as far as is known.
    pub(super) fn is_usable(&self) -> bool {
        !self.gone.load(Ordering::Acquire)
    }

    /// Sends a command, and waits for the answer.
    pub(super) async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = self.connection.send_packed_command(command).await;
        self.noted(answer)
    }

    /// The same for a node that is just being given the key (`ASK`): it takes the command if the one
    /// right before it on this connection says so.
    pub(super) async fn ask_asking(&mut self, command: &Cmd) -> RedisResult<Value> {
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone());
        let answers = self.connection.send_packed_commands(&both, 1, 1).await;
        let none = || RedisError::from((ErrorKind::UnexpectedReturnType, "there is no answer"));
        let answer = answers.and_then(|answers| answers.into_iter().next().ok_or_else(none));
        self.noted(answer)
    }

    /// Leaves the connection for good: nobody answers on it.
    pub(super) fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }

    fn noted(&self, answer: RedisResult<Value>) -> RedisResult<Value> {
        let answer = answer.and_then(Value::extract_error);
        let is_left = |error: &RedisError| {
            // Another connection to the same node would say the same.
            let stays = self.is_node && matches!(error.kind(), ErrorKind::Server(_));
            ends_connection(error) && !stays
        };
        if answer.as_ref().is_err_and(is_left) {
            self.leave();
        }
        answer
    }
}

/// The way to a server.
pub(super) struct Reach {
    access: Arc<Access>,
    database: i64,
    whom: Whom,
    places: String,
}

/// To which.
enum Whom {
    Server(Place),
    Sentinels(Sentinels),
    Node(Place),
}

impl Reach {
    /// As an address says it that is no cluster's. Nothing is connected yet.
    pub(super) fn new(address: &Address) -> Result<Self, RedisRefused> {
        let access = Arc::new(Access::new(address)?);
        let whom = match &address.shape {
            Shape::Sentinels { name } => {
                let sentinels = Sentinels::new(&access, &address.places, name);
                Whom::Sentinels(sentinels.map_err(|error| refused(&text(&error)))?)
            }
            Shape::Alone | Shape::Cluster => {
                let place = address.places.first().cloned();
                Whom::Server(place.ok_or_else(|| refused("it names no host"))?)
            }
        };
        Ok(Self { access, database: address.database, whom, places: address.to_string() })
    }

    /// The way to a node of a cluster.
    pub(super) fn node(access: &Arc<Access>, place: Place) -> Self {
        let places = shown(&place);
        Self { access: Arc::clone(access), database: 0, whom: Whom::Node(place), places }
    }

    /// Where they are, to be shown.
    pub(super) fn places(&self) -> &str {
        &self.places
    }

    /// A connection to a server of that role; to a node of a cluster, one that answers as it does.
    pub(super) async fn connect(&self, role: Role, limits: Limits) -> RedisResult<Open> {
        let checked = |place| checked(&self.access, self.database, role, place, limits);
        let mut open = match &self.whom {
            Whom::Server(place) => checked(place.clone()).await?,
            Whom::Sentinels(sentinels) => sentinels.find(role, limits.connect, checked).await?,
            Whom::Node(place) => {
                let mut open = dial(&self.access, self.database, place.clone(), limits).await?;
                open.is_node = true;
                if role == Role::Replica {
                    read_only(&mut open.connection, limits.connect).await?;
                }
                open
            }
        };
        if let Some(answer) = limits.answer {
            open.connection.set_response_timeout(answer);
        }
        Ok(open)
    }
}

/// A connection to a server that has the role.
async fn checked(
    access: &Access,
    database: i64,
    role: Role,
    place: Place,
    limits: Limits,
) -> RedisResult<Open> {
    let mut open = dial(access, database, place, limits).await?;
    check(&mut open.connection, role, limits.connect).await?;
    Ok(open)
}

/// A connection to a server, whatever it is.
async fn dial(access: &Access, database: i64, place: Place, limits: Limits) -> RedisResult<Open> {
    let gone = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&gone);
    let hear = move |push: PushInfo| -> Result<(), SendError> {
        if push.kind == PushKind::Disconnection {
            ends.store(true, Ordering::Release);
        }
        Ok(())
    };
    let config = settings(limits.connect).set_push_sender(hear);
    let client = access.client(&place, database)?;
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let connection = within(limits.connect, connecting).await?;
    Ok(Open { connection, gone, place: Arc::new(place), is_node: false })
}

/// Has a replica of a cluster answer questions itself.
async fn read_only(connection: &mut MultiplexedConnection, patience: Duration) -> RedisResult<()> {
    let said = within(patience, cmd("READONLY").query_async::<Value>(connection)).await;
    match said {
        // Whoever may not say so is sent to the primary with each question.
        Err(error) if !is_about_login(&error) => Err(error),
        _ => Ok(()),
    }
}

/// A connection on which whoever asks keeps the time.
pub(super) fn settings(connect: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(connect)).set_response_timeout(None)
}

/// Asks whether a server is there, and has the role.
pub(super) async fn check(
    connection: &mut MultiplexedConnection,
    wanted: Role,
    patience: Duration,
) -> RedisResult<()> {
    let role = within(patience, cmd("ROLE").query_async::<Value>(connection)).await;
    match role {
        Ok(Value::Array(said)) => {
            let said = said.first().and_then(|it| String::from_redis_value_ref(it).ok());
            match (wanted, said.as_deref()) {
                (Role::Primary, Some("master")) | (Role::Replica, Some("slave")) => Ok(()),
                (Role::Primary, _) => {
                    Err((ErrorKind::Client, "it is a replica, and takes nothing").into())
                }
                (Role::Replica, _) => Err((ErrorKind::Client, "it is no replica").into()),
            }
        }
        Ok(_) => Ok(()),
        // Whoever may not ask learns it when writing.
        Err(error) if is_about_login(&error) => {
            within(patience, cmd("PING").query_async::<Value>(connection)).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

/// An answer, in time.
pub(super) async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    match timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(RedisError::from(io::Error::from(io::ErrorKind::TimedOut))),
    }
}
