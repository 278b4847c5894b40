//! The address of NATS servers, as operators write it for every program that speaks to them.

use std::path::PathBuf;

use async_nats::{ConnectOptions, ServerAddr};
use tegata_core::{Node, Secret};

use super::{NatsConfig, NatsRefused, keeper::Ear};
use crate::{pause::pause, url};

/// Where the servers are, and how to be let in.
pub(super) struct Address {
    servers: Vec<ServerAddr>,
    places: String,
    login: Login,
    tls: bool,
    roots: Option<PathBuf>,
}

enum Login {
    None,
    Token(Secret<String>),
    User { name: String, password: Secret<String> },
}

impl Address {
    /// Reads `nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT][,HOST[:PORT]…]`, or the same with `tls://`,
    /// and `?sslrootcert=FILE` where authorities of one's own have signed the certificates.
    pub(super) fn read(url: &str) -> Result<Self, NatsRefused> {
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme @ ("nats" | "tls"), rest)) => (scheme, rest),
            _ => return refused("it begins neither with `nats://` nor with `tls://`"),
        };
        let tls = scheme == "tls";
        let (login, rest) = match rest.split_once('@') {
            Some((login, rest)) => (Login::read(login)?, rest),
            None => (Login::None, rest),
        };
        let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
        let roots = match query.split_once('=') {
            None if query.is_empty() => None,
            Some(("sslrootcert", file)) if tls => {
                Some(PathBuf::from(url::decoded(file).or_else(refused)?))
            }
            Some(("sslrootcert", _)) => return refused("`sslrootcert` is for `tls://`"),
            _ => return refused("after `?` it may say `sslrootcert=FILE`, and nothing else"),
        };
        if roots.as_ref().is_some_and(|file| !file.is_file()) {
            return refused("`sslrootcert` names no file");
        }
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let mut servers = Vec::new();
        for host in hosts.split(',') {
            let bare = !host.is_empty() && !host.contains(['/', '#', '@', ' ']);
            let server = format!("{scheme}://{host}").parse::<ServerAddr>();
            match server {
                Ok(server) if bare => servers.push(server),
                _ => return refused("what it says where hosts are named is no `HOST:PORT`"),
            }
        }
        if !tls && !servers.iter().all(|server| url::is_here(server.host())) {
            tracing::warn!(
                "the connection to NATS is not encrypted unless the server demands it: events and \
                 passwords can be read on the way; write `tls://`"
            );
        }
        Ok(Self { servers, places: hosts.to_owned(), login, tls, roots })
    }

    /// The servers, without the secret by which they are entered.
    pub(super) fn servers(&self) -> Vec<ServerAddr> {
        self.servers.clone()
    }

    /// As [`Self::servers`], to be shown.
    pub(super) fn places(&self) -> &str {
        &self.places
    }

    /// How to connect. What the connection goes through is told to `ear`.
    pub(super) fn options(&self, config: &NatsConfig, node: &Node, ear: Ear) -> ConnectOptions {
        let node = node.clone();
        let options = ConnectOptions::new()
            .name("tegata")
            .connection_timeout(config.connect)
            .request_timeout(Some(config.answer))
            .ping_interval(config.probe)
            .require_tls(self.tls)
            .max_reconnects(None)
            .reconnect_delay_callback(move |attempts| pause(&node, attempts))
            .event_callback(move |event| {
                ear.hear(&event);
                std::future::ready(())
            });
        let options = match &self.login {
            Login::None => options,
            Login::Token(token) => options.token(token.expose().clone()),
            Login::User { name, password } => {
                options.user_and_password(name.clone(), password.expose().clone())
            }
        };
        match &self.roots {
            Some(file) => options.add_root_certificates(file.clone()),
            None => options,
        }
    }
}

impl Login {
    fn read(text: &str) -> Result<Self, NatsRefused> {
        let secret = |text| url::decoded(text).map(Secret::new).or_else(refused);
        Ok(match text.split_once(':') {
            Some((name, password)) => Self::User {
                name: url::decoded(name).or_else(refused)?,
                password: secret(password)?,
            },
            None if text.is_empty() => Self::None,
            None => Self::Token(secret(text)?),
        })
    }
}

fn refused<T>(detail: &str) -> Result<T, NatsRefused> {
    Err(NatsRefused::Address { detail: detail.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write() {
        let address = Address::read("nats://a%40b:p%3Aq@one:4223,two,[::1]:4224").unwrap();
        let hosts: Vec<_> = address.servers.iter().map(|it| (it.host(), it.port())).collect();
        assert_eq!(hosts, [("one", 4223), ("two", 4222), ("::1", 4224)]);
        let Login::User { name, password } = &address.login else { panic!("no user") };
        assert_eq!((name.as_str(), password.expose().as_str()), ("a@b", "p:q"));
        assert!(!address.tls);

        let address = Address::read("tls://s3cr3t@bus").unwrap();
        assert!(matches!(&address.login, Login::Token(it) if it.expose() == "s3cr3t"));
        assert!(address.tls && address.servers[0].tls_required());
        assert!(matches!(Address::read("nats://bus/").unwrap().login, Login::None));
    }

    #[test]
    fn refuses_what_is_no_address_and_shows_nothing_of_it() {
        for bad in [
            "",
            "hunter2",
            "redis://u:hunter2@bus",
            "ws://u:hunter2@bus",
            "nats://u:hunter2@",
            "nats://u:hunter2@bus,",
            "nats://u:hunter2@bus:hunter2",
            "nats://u:hunter2@bus/path",
            "nats://u:hunter2%zz@bus",
            "nats://u:hunter2@bus?hunter=2",
            "nats://u:hunter2@bus?sslrootcert=/hunter2",
            "tls://u:hunter2@bus?sslrootcert=/none/hunter2",
        ] {
            let error = Address::read(bad).err().unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }
}
