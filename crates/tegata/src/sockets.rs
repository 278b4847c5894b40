//! Where the server listens: on sockets of its own, and on those that somebody else has opened, systemd
//! for a unit with a socket, or the server whose place this one takes.

use std::{
    env,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
};

use listenfd::ListenFd;

use crate::{
    command::Failed,
    config::Config,
    run::{Listener, Listeners},
};

/// More than anybody brings.
const MOST: usize = 64;

/// The first descriptor that is brought (`sd_listen_fds(3)`).
const FIRST: usize = 3;

/// A socket that somebody else has opened.
#[derive(Debug)]
pub(crate) struct Brought {
    /// What it is for, where that was said.
    pub(crate) of: Option<Listener>,
    /// Whether its address counts, whatever the configuration says.
    pub(crate) chosen: bool,
    /// As it is called in messages.
    pub(crate) called: String,
    pub(crate) socket: TcpListener,
}

/// The sockets that came with the start: `LISTEN_FDS` of them, for the process `LISTEN_PID`, named
/// `LISTEN_FDNAMES`. What is for another process is left alone. To be called while there is one thread
/// and nothing has been opened.
///
/// # Errors
/// What is wrong with them, and how to mend it.
pub(crate) fn brought() -> Result<Vec<Brought>, String> {
    let text = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
    let (Some(count), Some(pid)) = (text("LISTEN_FDS"), text("LISTEN_PID")) else {
        return Ok(Vec::new());
    };
    if pid.parse() != Ok(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = count.parse::<usize>().ok().filter(|count| *count <= MOST).ok_or_else(|| {
        format!("`LISTEN_FDS` is `{count}`, and not a number up to {MOST}; see what starts this")
    })?;
    let names: Option<Vec<String>> =
        text("LISTEN_FDNAMES").map(|names| names.split(':').map(str::to_owned).collect());
    if let Some(names) = names.as_ref().filter(|names| names.len() != count) {
        let named = names.len();
        return Err(format!(
            "`LISTEN_FDNAMES` names {named} sockets, and `LISTEN_FDS` announces {count}; see what \
             starts this"
        ));
    }
    let mut given = ListenFd::from_env();
    (0..count)
        .map(|index| {
            let called = match names.as_ref().and_then(|names| names.get(index)) {
                Some(name) => format!("the socket `{name}`, descriptor {}", FIRST + index),
                None => format!("the socket with descriptor {}", FIRST + index),
            };
            let socket = given.take_tcp_listener(index).map_err(|error| {
                format!("{called}, which `LISTEN_FDS` announces, is of no use: {error}")
            })?;
            let socket = socket.filter(listens).ok_or_else(|| {
                format!(
                    "{called}, which `LISTEN_FDS` announces, does not listen; have the unit say \
                     `ListenStream=` and `Accept=no`"
                )
            })?;
            let name = names.as_ref().and_then(|names| names.get(index));
            let of = Listener::ALL.into_iter().find(|it| name.is_some_and(|n| n == it.name()));
            Ok(Brought { of, chosen: of.is_some(), called, socket })
        })
        .collect()
}

/// Whether a socket waits for connections.
pub(crate) fn listens(socket: &impl AsFd) -> bool {
    rustix::net::sockopt::socket_acceptconn(socket).unwrap_or(false)
}

/// What is done with sockets that the configuration has no use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Whoever brought them meant something by it.
    Refused,
    /// They are closed: it says something else now than the server before.
    Closed,
}

/// Listens as `config` says: on what was brought, and beside that on sockets of its own. Where sockets are
/// named after a listener, that one has them alone.
pub(crate) fn listeners(
    config: &Config,
    mut brought: Vec<Brought>,
    rest: Rest,
) -> Result<Listeners, Failed> {
    let mut all = Listeners::default();
    for listener in Listener::ALL {
        let is_its = |it: &Brought| it.chosen && it.of == Some(listener);
        let (chosen, others): (Vec<_>, Vec<_>) = brought.into_iter().partition(is_its);
        brought = others;
        let addresses = addresses(config, listener);
        if let (Some(first), None) = (chosen.first(), addresses) {
            let (called, setting) = (&first.called, listener.setting());
            return Err(Failed::Usage(format!(
                "{called} is brought, and {setting} is not set; set it to the same address"
            )));
        }
        if !chosen.is_empty() {
            all.chosen.insert(listener);
            all.of_mut(listener).extend(chosen.into_iter().map(|it| it.socket));
            continue;
        }
        for address in addresses.unwrap_or_default() {
            let found = brought.iter().position(|it| {
                it.of.is_none_or(|of| of == listener) && is_at(&it.socket, *address, it.of)
            });
            let socket = match found {
                Some(found) => brought.swap_remove(found).socket,
                None => bind(listener, *address)?,
            };
            all.of_mut(listener).push(socket);
        }
    }
    match brought.first() {
        Some(first) if rest == Rest::Refused => {
            let address = first.socket.local_addr().map(|it| it.to_string()).unwrap_or_default();
            let called = &first.called;
            Err(Failed::Usage(format!(
                "{called} listens on `{address}` for nothing: name it `public`, `mtls`, `gateway`, \
                 `operations` or `ext_authz` with `FileDescriptorName=`, or set that address in the configuration"
            )))
        }
        _ => Ok(all),
    }
}

fn addresses(config: &Config, listener: Listener) -> Option<&[SocketAddr]> {
    Some(match listener {
        Listener::Public => config.public.listen.addresses(),
        Listener::Mtls => config.public.mtls_listen.as_ref()?.addresses(),
        Listener::Gateway => config.gateway.listen.addresses(),
        Listener::Operations => config.operations.listen.addresses(),
        Listener::ExtAuthz => config.ext_authz.listen.as_ref()?.addresses(),
    })
}

/// Whether a socket is where `address` says. Where the port is the system's choice, one that was chosen for
/// the same listener is as good as any.
fn is_at(socket: &TcpListener, address: SocketAddr, of: Option<Listener>) -> bool {
    socket.local_addr().is_ok_and(|own| {
        own == address || (of.is_some() && address.port() == 0 && own.ip() == address.ip())
    })
}

fn bind(listener: Listener, address: SocketAddr) -> Result<TcpListener, Failed> {
    TcpListener::bind(address).map_err(|error| {
        Failed::Usage(format!("{} `{address}` cannot be used: {error}", listener.setting()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brought(of: Option<Listener>, chosen: bool) -> Brought {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        Brought { of, chosen, called: "the socket `x`".to_owned(), socket }
    }

    fn config(toml: &str) -> Config {
        toml::from_str(toml).unwrap()
    }

    const FREE: &str = "[public]\nlisten = \"127.0.0.1:0\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n\
        [operations]\nlisten = \"127.0.0.1:0\"\n";

    #[test]
    fn each_listener_has_what_is_named_after_it_or_where_it_is_to_listen() {
        let named = brought(Some(Listener::Gateway), true);
        let gateway = named.socket.local_addr().unwrap();
        let placed = brought(None, false);
        let public = placed.socket.local_addr().unwrap();
        let set = FREE.replacen("127.0.0.1:0", &public.to_string(), 1);
        let all = listeners(&config(&set), vec![named, placed], Rest::Refused).unwrap();
        let at = |it: &[TcpListener]| it[0].local_addr().unwrap();
        assert_eq!((at(&all.public), at(&all.gateway)), (public, gateway));
        assert_eq!((all.gateway.len(), all.operations.len(), all.mtls.len()), (1, 1, 0));
        assert!(all.chosen.contains(&Listener::Gateway) && all.chosen.len() == 1);
    }

    #[test]
    fn what_is_for_nothing_is_refused_by_name_or_closed_where_the_server_before_had_it() {
        let refused = listeners(&config(FREE), vec![brought(None, false)], Rest::Refused);
        assert!(refused.is_err_and(|error| error.why().contains("for nothing")));
        let mtls = vec![brought(Some(Listener::Mtls), true)];
        let refused = listeners(&config(FREE), mtls, Rest::Closed);
        assert!(refused.is_err_and(|error| error.why().contains("mtls_listen")));
        let before = brought(Some(Listener::Public), false);
        let port = before.socket.local_addr().unwrap();
        let elsewhere = config(&FREE.replacen("127.0.0.1:0", "127.0.0.2:0", 1));
        let all = listeners(&elsewhere, vec![before], Rest::Closed).unwrap();
        assert_ne!(all.public[0].local_addr().unwrap(), port);
        assert!(TcpListener::bind(port).is_ok());
    }
}
