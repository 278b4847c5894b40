//! What systemd is told of a unit with `Type=notify` (`sd_notify(3)`): that the server is ready, reads its
//! configuration anew, stops, and is alive. Elsewhere nobody is told.

use std::{
    convert::Infallible,
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::background::every;

/// Whoever is told.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that the server is alive.
    alive: Option<Duration>,
}

impl Notify {
    /// As the environment says.
    pub(crate) fn open() -> Self {
        let text = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
        let Some(place) = text("NOTIFY_SOCKET") else { return Self::default() };
        let socket = reach(&place).inspect_err(|error| {
            tracing::warn!(%error, "`NOTIFY_SOCKET` cannot be used; nobody is told how it goes");
        });
        let ours = text("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let span = text("WATCHDOG_USEC").and_then(|span| span.parse().ok()).filter(|_| ours);
        let alive = span.filter(|span| *span > 0).map(Duration::from_micros);
        Self { socket: socket.ok(), alive }
    }

    /// It serves. Whoever is told takes this process for the server from now on.
    pub(crate) fn ready(&self) {
        self.say(&format!("READY=1\nMAINPID={}\nSTATUS=serves", std::process::id()));
    }

    /// It reads its configuration anew, until it is [`ready`](Self::ready).
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// It stops.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=lets requests in flight end");
    }

    /// Does `work`, and says meanwhile again and again that it is alive, where somebody wants to hear it:
    /// from the thread that would do nothing else either, if it stood still.
    pub(crate) async fn alive_during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.keep_alive() => match never {},
        }
    }

    async fn keep_alive(&self) -> Infallible {
        let Some(span) = self.alive else { return std::future::pending().await };
        let mut ticks = every(span / 2);
        loop {
            ticks.tick().await;
            self.say("WATCHDOG=1");
        }
    }

    fn say(&self, text: &str) {
        let Some((socket, place)) = &self.socket else { return };
        // Whoever does not listen is not waited for.
        if let Err(error) = socket.send_to_addr(text.as_bytes(), place) {
            tracing::debug!(%error, "systemd was not told");
        }
    }
}

/// A way to a place: a path, or a name that begins with `@` and is none of a file.
fn reach(place: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match place.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_systemd_understands_under_paths_and_names() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("tegata-test-{}", std::process::id());
        let at_name =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (place, hears) in [(path.display().to_string(), at_path), (format!("@{name}"), at_name)]
        {
            let notify = Notify { socket: Some(reach(&place).unwrap()), alive: None };
            let mut bytes = [0; 256];
            let mut heard = || {
                let read = hears.recv(&mut bytes).unwrap();
                String::from_utf8(bytes[..read].to_vec()).unwrap()
            };
            notify.ready();
            let said = heard();
            assert!(said.starts_with("READY=1\n") && said.contains("\nMAINPID="), "{said}");
            notify.reloading();
            let said = heard();
            let at = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(at.parse::<u64>().unwrap() > 0);
            notify.stopping();
            assert!(heard().starts_with("STOPPING=1\n"));
        }
        // Nobody listens: nothing happens.
        let gone = Notify { socket: Some(reach("/nowhere/at/all").unwrap()), alive: None };
        gone.ready();
        Notify::default().stopping();
    }
}
