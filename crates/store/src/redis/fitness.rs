//! Whether the servers are those of before, and fit to be relied upon.
//!
//! A replica that took over may lack what its primary had acknowledged, and a server that was
//! restarted has nothing. Both answer as if nothing had happened. So all are asked again and again
//! who they are; that somebody answers as a primary who did not before is told to whoever must fill
//! it anew.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tegata_core::{Breaker, StoreError};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    RedisRefused,
    wire::{Server, Wire},
};

/// How the servers stood when they were last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Why nobody answers, if nobody does.
    pub unreachable: Option<String>,
    /// What is wrong with a server that forgets values when its memory is full, and how to mend it.
    pub evicts: Option<String>,
    /// How often another server has begun to answer since the start.
    pub changes: u64,
}

/// Looks at the servers for as long as it lives.
pub(super) struct Fitness {
    seen: Arc<Mutex<Standing>>,
    changes: watch::Sender<u64>,
    breakers: Arc<Mutex<Vec<Arc<Breaker>>>>,
    looking: JoinHandle<()>,
}

impl Fitness {
    /// Looks once, and refuses what cannot be relied upon; then goes on looking.
    pub(super) async fn open(wire: &Arc<Wire>, every: Duration) -> Result<Self, RedisRefused> {
        let servers = wire.servers().await?;
        if let Some(evicting) = servers.iter().find_map(evicts) {
            return Err(evicting);
        }
        let seen = Arc::new(Mutex::new(Standing::default()));
        let changes = watch::Sender::new(0);
        let breakers = Arc::default();
        let looker = Looker {
            wire: Arc::clone(wire),
            known: primaries(&servers),
            seen: Arc::clone(&seen),
            changes: changes.clone(),
            breakers: Arc::clone(&breakers),
        };
        let looking = tokio::spawn(looker.look(every));
        Ok(Self { seen, changes, breakers, looking })
    }

    pub(super) fn standing(&self) -> Standing {
        self.seen.lock().clone()
    }

    pub(super) fn when_seen_again(&self, breaker: Arc<Breaker>) {
        self.breakers.lock().push(breaker);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Drop for Fitness {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

struct Looker {
    wire: Arc<Wire>,
    known: BTreeSet<String>,
    seen: Arc<Mutex<Standing>>,
    changes: watch::Sender<u64>,
    breakers: Arc<Mutex<Vec<Arc<Breaker>>>>,
}

impl Looker {
    async fn look(mut self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let servers = self.wire.servers().await;
            if servers.is_ok() {
                // Whoever gave up on them because of their silence need not wait any longer.
                self.breakers.lock().iter().for_each(|breaker| breaker.seen_again());
            }
            let mut standing = self.seen.lock();
            if note(&mut standing, &mut self.known, servers) {
                tracing::warn!(
                    "another Redis answers than before, or one without its memory: what was in \
                     it is filled anew"
                );
                self.changes.send_replace(standing.changes);
            }
        }
    }
}

/// Takes down what was seen. Answers whether somebody answers who did not before.
fn note(
    standing: &mut Standing,
    known: &mut BTreeSet<String>,
    servers: Result<Vec<Server>, StoreError>,
) -> bool {
    let servers = match servers {
        Ok(servers) => servers,
        Err(error) => {
            standing.unreachable = Some(error.to_string());
            return false;
        }
    };
    standing.unreachable = None;
    standing.evicts = servers.iter().find_map(evicts).map(|refused| refused.to_string());
    let primaries = primaries(&servers);
    // One that is away for a moment is not forgotten: when it comes back as it was, it has kept
    // everything.
    let new = primaries.difference(known).count() > 0;
    if new {
        *known = primaries;
        standing.changes += 1;
    }
    new
}

fn primaries(servers: &[Server]) -> BTreeSet<String> {
    let primaries = servers.iter().filter(|server| server.is("role", "master"));
    let identity = |server: &Server| {
        let part = |name: &str| server.get(name).unwrap_or_default().to_owned();
        // A restart changes the first, and whose memory it continues the second.
        format!("{} {}", part("run_id"), part("master_replid"))
    };
    primaries.map(identity).collect()
}

fn evicts(server: &Server) -> Option<RedisRefused> {
    let policy = server.get("maxmemory_policy").filter(|policy| *policy != "noeviction")?;
    let (host, port) = server.address.clone();
    Some(RedisRefused::Evicts {
        server: format!("Redis at {host}:{port}"),
        host,
        port,
        policy: policy.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(run: &str, role: &str) -> Server {
        let info = format!(
            "run_id:{run}\r\nrole:{role}\r\nmaster_replid:x\r\nmaxmemory_policy:noeviction\r\n"
        );
        Server { address: ("a".to_owned(), 1), info }
    }

    #[test]
    fn a_change_is_a_primary_that_was_none_before() {
        let (a, b) = (server("a", "master"), server("b", "slave"));
        let mut known = primaries(&[a, b]);
        let mut standing = Standing::default();
        let mut note = |servers| note(&mut standing, &mut known, servers);
        assert!(!note(Ok(vec![server("a", "master"), server("b", "slave")])));
        // One that cannot be seen is no change, and neither is that it comes back as it was.
        let away = StoreError::Unavailable { backend: "Redis", detail: "away".into() };
        assert!(!note(Err(away)));
        assert!(!note(Ok(vec![server("b", "slave")])));
        assert!(!note(Ok(vec![server("a", "master"), server("b", "slave")])));
        assert!(note(Ok(vec![server("b", "master")])));
        assert!(!note(Ok(vec![server("b", "master"), server("a", "slave")])));
        // The old one, restarted, is a stranger.
        assert!(note(Ok(vec![server("c", "master")])));
        assert_eq!(standing, Standing { changes: 2, ..Standing::default() });
    }

    #[test]
    fn says_which_server_evicts_and_how_to_mend_it() {
        let info = "role:master\r\nmaxmemory_policy:allkeys-lru\r\n".to_owned();
        let server = Server { address: ("10.0.0.1".to_owned(), 6380), info };
        let said = evicts(&server).unwrap().to_string();
        assert!(said.contains("redis-cli -h 10.0.0.1 -p 6380 CONFIG SET"), "{said}");
        assert!(said.contains("allkeys-lru"), "{said}");
    }
}
