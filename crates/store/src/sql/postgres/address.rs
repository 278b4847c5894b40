//! The address of a database, as operators write it for every program that speaks to PostgreSQL.

use std::{io, str::FromStr as _, time::Duration};

use tokio::{net::lookup_host, time::timeout};
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    PostgresConfig, PostgresRefused,
    door::Door,
    tls::{self, Trust},
};
use crate::url;

/// Where the database is and how to connect to it.
#[derive(Clone)]
pub(super) struct Address {
    config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// How long each address that a host has may take to be connected to.
    pub(super) each: Duration,
}

impl Address {
    /// Reads an address. Files that it names are read now.
    pub(super) fn read(url: &str, limits: &PostgresConfig) -> Result<Self, PostgresRefused> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return refused("it does not begin with `postgres://`");
        }
        let (url, trust) = take_trust(url)?;
        let mut config = Config::from_str(&url).or_else(|error| refused(error_text(&error)))?;
        // What the driver does not know about TLS is decided by the verifier.
        let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
            && config.get_hostaddrs().is_empty();
        config.ssl_mode(match trust.mode() {
            // As in libpq, a socket of the machine itself has no TLS.
            _ if local => SslMode::Disable,
            tls::Mode::Disable => SslMode::Disable,
            tls::Mode::Prefer => SslMode::Prefer,
            tls::Mode::Require | tls::Mode::VerifyCa | tls::Mode::VerifyFull => SslMode::Require,
        });
        if trust.mode().is_blind() && !config.get_hosts().iter().all(is_here) {
            tracing::warn!(
                "the connection to PostgreSQL does not prove whom it reaches: set \
                 `sslmode=verify-full` and `sslrootcert`"
            );
        }
        let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
        if hosts == 0 && addresses == 0 {
            return refused("it names no host");
        }
        if hosts > 0 && addresses > 0 && hosts != addresses {
            return refused(format!("it has {hosts} hosts, and {addresses} in `hostaddr`"));
        }
        if config.get_ports().len() > 1 && config.get_ports().len() != hosts.max(addresses) {
            return refused("it has neither one port nor one for each host");
        }
        if config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return refused(
                "`target_session_attrs` asks for a replica, and what a replica answers \
                 may be out of date: remove it",
            );
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if loses_commits(config.get_options().unwrap_or_default()) {
            return refused(
                "`options` weakens `synchronous_commit`, so acknowledged changes could \
                 be lost: remove it",
            );
        }
        if config.get_application_name().is_none() {
            config.application_name("tegata");
        }
        let each = config.get_connect_timeout().copied().unwrap_or(limits.connect);
        config.connect_timeout(each);
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(limits.statement);
        }
        // The driver's defaults would notice a silent peer after two hours.
        config.keepalives_idle(config.get_keepalives_idle().min(Duration::from_secs(10)));
        config.keepalives_interval(
            config.get_keepalives_interval().unwrap_or(Duration::from_secs(2)),
        );
        config.keepalives_retries(config.get_keepalives_retries().unwrap_or(3));
        let tls = MakeRustlsConnect::new(tls::client(&trust)?);
        Ok(Self { config, tls, each })
    }

    /// How many hosts there are.
    pub(super) fn hosts(&self) -> usize {
        self.config.get_hosts().len().max(self.config.get_hostaddrs().len())
    }

    /// The addresses of one of the hosts.
    pub(super) async fn doors(&self, at: usize) -> io::Result<Vec<Door>> {
        let port = self.port(at);
        if let Some(address) = self.config.get_hostaddrs().get(at) {
            return Ok(vec![Door::Tcp((*address, port).into())]);
        }
        match self.config.get_hosts().get(at) {
            Some(Host::Unix(directory)) => Ok(vec![Door::Unix(directory.clone(), port)]),
            Some(Host::Tcp(name)) => {
                let found = timeout(self.each, lookup_host((name.as_str(), port))).await;
                Ok(found.map_err(io::Error::from)??.map(Door::Tcp).collect())
            }
            None => Ok(Vec::new()),
        }
    }

    /// How to connect to one address of one of the hosts, and to no other.
    pub(super) fn through(&self, door: &Door, at: usize) -> Config {
        let (all, mut one) = (&self.config, Config::new());
        all.get_user().map(|user| one.user(user));
        all.get_password().map(|password| one.password(password));
        all.get_dbname().map(|name| one.dbname(name));
        all.get_options().map(|options| one.options(options));
        all.get_application_name().map(|name| one.application_name(name));
        all.get_connect_timeout().map(|span| one.connect_timeout(*span));
        all.get_tcp_user_timeout().map(|span| one.tcp_user_timeout(*span));
        all.get_keepalives_interval().map(|span| one.keepalives_interval(span));
        all.get_keepalives_retries().map(|count| one.keepalives_retries(count));
        one.keepalives(all.get_keepalives())
            .keepalives_idle(all.get_keepalives_idle())
            .ssl_mode(all.get_ssl_mode())
            .ssl_negotiation(all.get_ssl_negotiation())
            .channel_binding(all.get_channel_binding())
            .target_session_attrs(all.get_target_session_attrs())
            .port(self.port(at));
        match (door, all.get_hosts().get(at)) {
            (Door::Unix(directory, _), _) => one.host_path(directory),
            // The name is what the certificate is for.
            (Door::Tcp(address), Some(Host::Tcp(name))) => one.hostaddr(address.ip()).host(name),
            (Door::Tcp(address), _) => one.hostaddr(address.ip()),
        };
        one
    }

    fn port(&self, at: usize) -> u16 {
        let ports = self.config.get_ports();
        ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432)
    }
}

/// Whether a host is this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => url::is_here(name),
    }
}

/// Takes the parameters about TLS out of a URL, since the driver knows only some of their values.
fn take_trust(url: &str) -> Result<(String, Trust), PostgresRefused> {
    let mut trust = Trust::default();
    let after_password = url.find('@').unwrap_or(0);
    let query = url.get(after_password..).and_then(|rest| rest.find('?'));
    let Some((base, query)) = query.and_then(|at| url.split_at_checked(after_password + at)) else {
        return Ok((url.to_owned(), trust));
    };
    let mut kept = Vec::new();
    for parameter in query.trim_start_matches('?').split('&').filter(|part| !part.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = || url::decoded(value).or_else(refused);
        match name {
            "sslmode" => trust.mode = Some(tls::Mode::read(&value()?)?),
            "sslrootcert" => trust.roots = Some(value()?),
            "sslcert" => trust.certificate = Some(value()?),
            "sslkey" => trust.key = Some(value()?),
            _ => kept.push(parameter),
        }
    }
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    Ok((format!("{base}{query}"), trust))
}

/// Whether `options` asks for a weaker `synchronous_commit` than ours. Stronger is welcome.
fn loses_commits(options: &str) -> bool {
    let after = options.split_once("synchronous_commit").map(|(_, after)| after);
    after.is_some_and(|after| {
        let value = after.trim_start_matches(|c: char| c == '=' || c.is_whitespace());
        let value = value.split_whitespace().next().unwrap_or_default();
        !["on", "remote_apply"].contains(&value) || loses_commits(after)
    })
}

fn error_text(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

fn refused<T>(detail: impl Into<String>) -> Result<T, PostgresRefused> {
    Err(PostgresRefused::Address { detail: detail.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Config, String> {
        let address = Address::read(url, &PostgresConfig::default());
        address.map(|address| address.config).map_err(|refused| refused.to_string())
    }

    #[test]
    fn connects_only_to_servers_that_take_writes() {
        let config = read("postgres://u@db/d").unwrap();
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let config = read("postgres://u@db/d?target_session_attrs=any").unwrap();
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let replica = read("postgres://u@db/d?target_session_attrs=read-only").unwrap_err();
        assert!(replica.contains("replica"), "{replica}");
    }

    /// All addresses of a database, with how each is connected to.
    async fn ways(url: &str) -> Vec<(Door, Config)> {
        let address = Address::read(url, &PostgresConfig::default()).unwrap();
        let mut ways = Vec::new();
        for at in 0..address.hosts() {
            let doors = address.doors(at).await.unwrap();
            ways.extend(doors.into_iter().map(|door| (door.clone(), address.through(&door, at))));
        }
        ways
    }

    #[tokio::test]
    async fn every_address_of_every_host_is_a_door_of_its_own() {
        let tcp = |address: &str| Door::Tcp(address.parse().unwrap());
        let doors =
            async |url: &str| ways(url).await.into_iter().map(|(door, _)| door).collect::<Vec<_>>();
        let unix = Door::Unix("/run/postgresql".into(), 5432);
        assert_eq!(doors("postgres://u@%2Frun%2Fpostgresql/d").await, [unix]);
        assert_eq!(
            doors("postgres://u@127.0.0.1:1,127.0.0.2:2/d").await,
            [tcp("127.0.0.1:1"), tcp("127.0.0.2:2")]
        );
        assert_eq!(doors("postgres://u@db/d?hostaddr=127.0.0.3").await, [tcp("127.0.0.3:5432")]);
        let named = lookup_host(("localhost", 5432)).await.unwrap().map(Door::Tcp);
        assert_eq!(doors("postgres://u@localhost/d").await, named.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn through_a_door_all_is_as_the_address_says() {
        let url = "postgres://u:p@127.0.0.1:7,127.0.0.2:8/d?hostaddr=127.0.0.1,127.0.0.2&options=-ca=b\
                   &application_name=x&connect_timeout=10&tcp_user_timeout=7&keepalives=0\
                   &keepalives_idle=3&keepalives_interval=4&keepalives_retries=5\
                   &channel_binding=require&sslmode=require";
        let all = read(url).unwrap();
        for (at, (_, one)) in ways(url).await.into_iter().enumerate() {
            assert_eq!(one.get_password(), all.get_password());
            assert_eq!(one.get_hosts(), [all.get_hosts()[at].clone()]);
            assert_eq!(one.get_hostaddrs(), [all.get_hostaddrs()[at]]);
            assert_eq!(one.get_ports(), [all.get_ports()[at]]);
            // What there is beside, whatever the driver may add to it.
            let beside = |config: &Config| {
                let text = format!("{config:?}");
                let (before, hosts) = text.split_once("host: [").unwrap();
                let (_, after) = hosts.split_once("connect_timeout").unwrap();
                format!("{before}{after}")
            };
            assert_eq!(beside(&one), beside(&all));
        }
    }

    #[test]
    fn refuses_hosts_that_do_not_belong_together() {
        for bad in [
            "postgres://u@/d",
            "postgres://u@a,b/d?hostaddr=127.0.0.1",
            "postgres://u@a:1,b:2,c/d?port=1,2",
        ] {
            let refused = read(bad).unwrap_err();
            assert!(refused.contains("host"), "{refused}");
        }
    }

    #[test]
    fn refuses_to_lose_what_it_acknowledged() {
        for bad in ["off", "local", "remote_write", ""] {
            let url = format!("postgres://u@db/d?options=-csynchronous_commit%3D{bad}");
            assert!(read(&url).unwrap_err().contains("synchronous_commit"), "{bad}");
            let url = format!(
                "postgres://u@db/d?options=-csynchronous_commit=on%20-csynchronous_commit={bad}"
            );
            assert!(read(&url).unwrap_err().contains("synchronous_commit"), "{bad}");
        }
        read("postgres://u@db/d?options=-csynchronous_commit%3Dremote_apply").unwrap();
        read("postgres://u@db/d?options=-cgeqo%3Doff").unwrap();
    }

    #[test]
    fn reads_the_words_of_libpq_about_tls() {
        for (mode, expected) in [
            ("disable", SslMode::Disable),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
        ] {
            let config = read(&format!("postgres://u:p%3F@db/d?sslmode={mode}&application_name=x"));
            let config = config.unwrap();
            assert_eq!(config.get_ssl_mode(), expected);
            assert_eq!(config.get_application_name(), Some("x"));
            assert_eq!(config.get_password(), Some(&b"p?"[..]));
        }
        assert_eq!(read("postgres://u@db/d").unwrap().get_ssl_mode(), SslMode::Prefer);
        let socket = read("postgres://u@%2Frun%2Fpostgresql/d?sslmode=require").unwrap();
        assert_eq!(socket.get_ssl_mode(), SslMode::Disable);
        for bad in [
            "sslmode=verify",
            "sslmode=allow",
            "sslmode=",
            "sslmode=%zz",
            "sslmode=require&sslrootcert=/none",
        ] {
            read(&format!("postgres://u@db/d?{bad}")).unwrap_err();
        }
    }

    #[test]
    fn an_error_shows_nothing_of_the_address() {
        for bad in [
            "mysql://u:hunter2@db/d",
            "postgres://u:hunter2@db/d?hunter=2",
            "postgres://u:hunter2@db:hunter2/d",
            "postgres://u:hunter2@db/d?sslmode=hunter2%",
        ] {
            let error = read(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
