//! Where Redis is: one server, or the one that Sentinels name as the primary at the moment.

use std::{fs, time::Duration};

use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value,
    aio::MultiplexedConnection, cmd, io::tcp::TcpSettings,
};
use tokio::time::timeout;

use super::{RedisFeedConfig, RedisFeedRefused};
use crate::url::{decoded, is_here};

/// Where the server is that takes what is written.
pub(super) struct Address {
    place: Place,
    places: String,
}

enum Place {
    Server(Client),
    Sentinels { sentinels: Vec<Client>, name: String, login: RedisConnectionInfo },
}

impl Address {
    pub(super) fn read(url: &str) -> Result<Self, RedisFeedRefused> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return refused("it begins neither with `redis://` nor with `rediss://`");
        };
        match scheme {
            "redis" | "rediss" => Self::server(url, scheme == "rediss"),
            "redis-sentinel" => Self::sentinels(rest),
            "redis-cluster" => refused(
                "a Redis Cluster keeps the streams of an event on different servers; use a Redis of \
                 its own for events, or `nats://`, while everything else stays on the cluster",
            ),
            _ => refused("it begins neither with `redis://` nor with `rediss://`"),
        }
    }

    fn server(url: &str, tls: bool) -> Result<Self, RedisFeedRefused> {
        if url.contains('#') {
            return refused("it ends in a fragment (`#…`): a server is trusted by its certificate");
        }
        let (url, query) = url.split_once('?').unwrap_or((url, ""));
        let roots = match query.split_once('=') {
            None if query.is_empty() => None,
            Some(("sslrootcert", file)) if tls => {
                let file = decoded(file).or_else(refused)?;
                let read = fs::read(file).or_else(|_| refused("`sslrootcert` names no file"))?;
                Some(read)
            }
            Some(("sslrootcert", _)) => return refused("`sslrootcert` is for `rediss://`"),
            _ => return refused("after `?` it may say `sslrootcert=FILE`, and nothing else"),
        };
        let info = url.into_connection_info().or_else(|_| refused("it is not of that form"))?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let places = info.addr().to_string();
        if let ConnectionAddr::Tcp(host, _) = info.addr()
            && !is_here(host)
        {
            warn_plain();
        }
        let client = match roots {
            None => Client::open(info),
            Some(roots) => {
                let trusted = TlsCertificates { client_tls: None, root_cert: Some(roots) };
                Client::build_with_tls(info, trusted)
            }
        };
        let client = client.or_else(|_| refused("`sslrootcert` holds no certificates"))?;
        Ok(Self { place: Place::Server(client), places })
    }

    fn sentinels(rest: &str) -> Result<Self, RedisFeedRefused> {
        let (login, rest) = match rest.split_once('@') {
            Some((login, rest)) => (read_login(login)?, rest),
            None => (RedisConnectionInfo::default(), rest),
        };
        let Some((hosts, path)) = rest.split_once('/') else {
            return refused("it does not end in `/NAME`, by which the Sentinels know the primary");
        };
        let (name, database) = path.split_once('/').unwrap_or((path, "0"));
        let name = decoded(name).or_else(refused)?;
        if name.is_empty() {
            return refused("it does not end in `/NAME`, by which the Sentinels know the primary");
        }
        let database =
            database.parse().or_else(|_| refused("the number of its database is none"))?;
        let mut sentinels = Vec::new();
        let mut here = true;
        for place in hosts.split(',') {
            let (host, port) = read_place(place)?;
            here &= is_here(&host);
            // A Sentinel has no databases.
            let client = client(host, port, login.clone());
            sentinels.push(client.or_else(|_| refused("a Sentinel that it names cannot be one"))?);
        }
        if !here {
            warn_plain();
        }
        let login = login.set_db(database);
        let places = format!("{hosts}/{name}");
        Ok(Self { place: Place::Sentinels { sentinels, name, login }, places })
    }

    /// Where it is, to be shown.
    pub(super) fn places(&self) -> &str {
        &self.places
    }

    /// Why nobody is there.
    pub(super) fn silence(&self, error: &RedisError) -> String {
        format!("no primary answers at `{}`: {error}", self.places)
    }

    /// A connection to the primary.
    pub(super) async fn connect(
        &self,
        limits: &RedisFeedConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let mut connection = match &self.place {
            Place::Server(client) => open(client, limits.connect).await?,
            Place::Sentinels { sentinels, name, login } => {
                let (host, port) = primary(sentinels, name, limits).await?;
                let client = client(host, port, login.clone())?;
                open(&client, limits.connect).await?
            }
        };
        check_primary(&mut connection, limits.answer).await?;
        Ok(connection)
    }
}

/// Asks whether a server is there and takes what is written.
pub(super) async fn check_primary(
    connection: &mut MultiplexedConnection,
    patience: Duration,
) -> RedisResult<()> {
    let role = within(patience, cmd("ROLE").query_async::<Value>(connection)).await;
    match role {
        Ok(Value::Array(said)) => match said.first().map(String::from_redis_value_ref) {
            Some(Ok(role)) if role == "master" => Ok(()),
            _ => Err((ErrorKind::Client, "it is a replica, and takes nothing").into()),
        },
        Ok(_) => Ok(()),
        // Whoever may not ask learns it when writing.
        Err(error) if super::is_about_login(&error) => {
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
        Err(_elapsed) => Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))),
    }
}

/// Where the first Sentinel that answers says that the primary is.
async fn primary(
    sentinels: &[Client],
    name: &str,
    limits: &RedisFeedConfig,
) -> RedisResult<(String, u16)> {
    let mut fault = RedisError::from((ErrorKind::EmptySentinelList, "no Sentinel is named"));
    for sentinel in sentinels {
        let asked = async {
            let mut connection = open(sentinel, limits.connect).await?;
            let mut question = cmd("SENTINEL");
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
            let answer = question.query_async::<Option<(String, u16)>>(&mut connection);
            within(limits.answer, answer).await
        };
        match asked.await {
            Ok(Some(place)) => return Ok(place),
            Ok(None) => {
                let detail =
                    (ErrorKind::MasterNameNotFoundBySentinel, "no Sentinel knows this name");
                fault = detail.into();
            }
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

fn client(host: String, port: u16, login: RedisConnectionInfo) -> RedisResult<Client> {
    let info = ConnectionAddr::Tcp(host, port).into_connection_info()?.set_redis_settings(login);
    Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

async fn open(client: &Client, patience: Duration) -> RedisResult<MultiplexedConnection> {
    // Answers have limits of their own, by what is asked.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

fn read_login(text: &str) -> Result<RedisConnectionInfo, RedisFeedRefused> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let (user, password) = (decoded(user).or_else(refused)?, decoded(password).or_else(refused)?);
    let login = RedisConnectionInfo::default();
    let login = if user.is_empty() { login } else { login.set_username(user) };
    Ok(if password.is_empty() { login } else { login.set_password(password) })
}

fn read_place(text: &str) -> Result<(String, u16), RedisFeedRefused> {
    let bad = "what it says where Sentinels are named is no `HOST:PORT`";
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') || text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let (host, port) = match port {
        // The colon was one of an address of version 6.
        Some(port) if port.ends_with(']') => (text, None),
        port => (host, port),
    };
    let port = port.map_or(Ok(26379), |port| port.parse().or_else(|_| refused(bad)))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(['/', ' ', '@', '#', '?']) {
        return refused(bad);
    }
    Ok((host.to_owned(), port))
}

fn warn_plain() {
    tracing::warn!(
        "the connection to Redis is not encrypted: events and passwords can be read on the way; \
         write `rediss://`, or keep the network to yourself"
    );
}

fn refused<T>(detail: &str) -> Result<T, RedisFeedRefused> {
    Err(RedisFeedRefused::Address { detail: detail.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write() {
        for (url, places) in [
            ("redis://u:p@cache", "cache:6379"),
            ("redis://cache:7000/3", "cache:7000"),
            ("rediss://u:p@cache:6380/0", "cache:6380"),
            ("redis-sentinel://u:p@one,two:5,[::1]:7/main", "one,two:5,[::1]:7/main"),
            ("redis-sentinel://one/main/2", "one/main"),
        ] {
            assert_eq!(Address::read(url).map_err(|it| it.to_string()).unwrap().places(), places);
        }
        let place = |text| read_place(text).unwrap();
        assert_eq!(place("one"), ("one".to_owned(), 26379));
        assert_eq!(place("[::1]:7"), ("::1".to_owned(), 7));
        assert_eq!(place("[::1]"), ("::1".to_owned(), 26379));
        let login = read_login("a%40b:p%3Aq").unwrap();
        assert_eq!((login.username(), login.password()), (Some("a@b"), Some("p:q")));
    }

    #[test]
    fn refuses_what_is_no_address_and_shows_nothing_of_it() {
        for bad in [
            "",
            "hunter2",
            "nats://u:hunter2@bus",
            "redis://u:hunter2@",
            "redis://u:hunter2@cache/hunter2",
            "redis://u:hunter2@cache?hunter=2",
            "rediss://u:hunter2@cache/#insecure",
            "rediss://u:hunter2@cache?sslrootcert=/none/hunter2",
            "redis-sentinel://u:hunter2@one,two",
            "redis-sentinel://u:hunter2@one,/main",
            "redis-sentinel://u:hunter2@one:hunter2/main",
            "redis-sentinel://u:hunter2@one/main/hunter2",
            "redis-sentinel://u:hunter2%zz@one/main",
            "redis-cluster://u:hunter2@one,two",
        ] {
            let error = Address::read(bad).err().unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }
}
