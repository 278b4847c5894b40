//! The address of a database, as operators write it for every program that speaks to PostgreSQL.

use std::{str::FromStr as _, time::Duration};

use tokio::{net::lookup_host, time::timeout};
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    PostgresConfig, PostgresRefused,
    tls::{self, Trust},
};
use crate::url;

/// Where the database is and how to connect to it.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// How long each address that a host has may take to be connected to.
    each: Duration,
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

    /// How long connecting may take at most: every address has its time, so that one that is dead
    /// does not take the time of the next.
    pub(super) async fn patience(&self) -> Duration {
        let mut addresses = self.config.get_hostaddrs().len();
        if addresses == 0 {
            for (at, host) in self.config.get_hosts().iter().enumerate() {
                addresses += self.count(host, self.port(at)).await;
            }
        }
        self.each.saturating_mul(u32::try_from(addresses.max(1)).unwrap_or(u32::MAX))
    }

    /// How many addresses a host has.
    async fn count(&self, host: &Host, port: u16) -> usize {
        let Host::Tcp(name) = host else { return 1 };
        match timeout(self.each, lookup_host((name.as_str(), port))).await {
            Ok(Ok(found)) => found.count().max(1),
            // The driver asks again, and says what is wrong.
            Ok(Err(_)) | Err(_) => 1,
        }
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

    #[tokio::test]
    async fn every_address_has_the_time_that_was_asked_for() {
        let patience = async |url: &str| {
            let address = Address::read(url, &PostgresConfig::default()).unwrap();
            assert_eq!(address.config.get_connect_timeout(), Some(&address.each));
            address.patience().await.as_secs()
        };
        let ours = PostgresConfig::default().connect.as_secs();
        assert_eq!(patience("postgres://u@127.0.0.1/d").await, ours);
        assert_eq!(patience("postgres://u@%2Frun%2Fpostgresql/d").await, ours);
        assert_eq!(patience("postgres://u@127.0.0.1/d?connect_timeout=10").await, 10);
        assert_eq!(patience("postgres://u@127.0.0.1,127.0.0.2/d?connect_timeout=10").await, 20);
        assert_eq!(patience("postgres://u@db/d?hostaddr=127.0.0.1&connect_timeout=3").await, 3);
        let named = lookup_host(("localhost", 5432)).await.unwrap().count() as u64;
        assert_eq!(patience("postgres://u@localhost/d?connect_timeout=10").await, 10 * named);
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
