//! Whether the servers are those of before, and fit to be relied upon.
//!
//! A replica that took over may lack what its primary had acknowledged, and a server that was
//! restarted has nothing. Both answer as if nothing had happened. So all are asked again and again
//! who they are; that somebody answers as a primary who did not before is told to whoever must fill
//! it anew.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tegata_core::Breaker;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    RedisRefused,
    address::shown,
    fault::Fault,
    wire::{Look, Server, Wire},
};

/// How many primaries are remembered that were there once.
const REMEMBERED: usize = 1024;

/// How the servers stood when they were last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Why nobody answers, if nobody does.
    pub unreachable: Option<String>,
    /// What is wrong with a server that forgets values when its memory is full, or does not say
    /// whether it does, and how to mend it.
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
    /// Looks once, and refuses what cannot be relied upon; then goes on looking. That nobody answers
    /// is no refusal.
    pub(super) async fn open(wire: &Arc<Wire>, every: Duration) -> Result<Self, RedisRefused> {
        let (mut standing, mut known) = (Standing::default(), BTreeSet::new());
        match wire.look().await {
            Ok(look) => {
                if let Some(unfit) = look.servers.iter().find_map(unfit) {
                    return Err(unfit);
                }
                known = primaries(&look.servers);
            }
            Err(Fault::Barred(detail)) => return Err(RedisRefused::Login { detail }),
            Err(fault) => {
                let why = fault.of_question().to_string();
                tracing::warn!("Redis does not answer; going on without it until it does: {why}");
                standing.unreachable = Some(why);
            }
        }
        let seen = Arc::new(Mutex::new(standing));
        let changes = watch::Sender::new(0);
        let breakers = Arc::default();
        let looker = Looker {
            wire: Arc::clone(wire),
            known,
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
            let look = self.wire.look().await;
            if look.is_ok() {
                // Whoever gave up on them because of their silence need not wait any longer.
                self.breakers.lock().iter().for_each(|breaker| breaker.seen_again());
            }
            let mut standing = self.seen.lock();
            let before = standing.clone();
            if note(&mut standing, &mut self.known, look) {
                tracing::warn!(
                    "another Redis answers than before, or one without its memory: what the one \
                     before had confirmed may be gone"
                );
                self.changes.send_replace(standing.changes);
            }
            if before.unreachable.is_some() && standing.unreachable.is_none() {
                tracing::info!("Redis answers again");
            }
            if let Some(evicts) = standing.evicts.as_ref().filter(|_| before.evicts.is_none()) {
                tracing::error!("{evicts}");
            }
        }
    }
}

/// Takes down what was seen. Answers whether somebody answers who did not before.
fn note(standing: &mut Standing, known: &mut BTreeSet<String>, look: Result<Look, Fault>) -> bool {
    let Look { servers, whole } = match look {
        Ok(look) => look,
        Err(fault) => {
            standing.unreachable = Some(fault.of_question().to_string());
            return false;
        }
    };
    standing.unreachable = None;
    standing.evicts = servers.iter().find_map(unfit).map(|refused| refused.to_string());
    let primaries = primaries(&servers);
    // The first that are seen at all took nobody's place.
    let first = known.is_empty();
    let new = primaries.difference(known).count() > 0;
    // One that is away for a moment is not forgotten: when it comes back as it was, it has kept
    // everything. One that was replaced is: when it comes back, it lacks what its successor took.
    if new && (whole || known.len() > REMEMBERED) {
        *known = primaries;
    } else if new {
        known.extend(primaries);
    }
    if new && !first {
        standing.changes += 1;
    }
    new && !first
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

/// Why a server cannot be relied upon.
fn unfit(server: &Server) -> Option<RedisRefused> {
    let (host, port) = server.address.clone();
    let name = format!("Redis at {}", shown(&server.address));
    match server.get("maxmemory_policy") {
        Some("noeviction") => None,
        Some(policy) => {
            let policy = policy.to_owned();
            Some(RedisRefused::Evicts { server: name, host, port, policy })
        }
        None => Some(RedisRefused::Unsaid { server: name }),
    }
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

    fn look(servers: Vec<Server>, whole: bool) -> Result<Look, Fault> {
        Ok(Look { servers, whole })
    }

    #[test]
    fn a_change_is_a_primary_that_was_none_before() {
        let mut known = BTreeSet::new();
        let mut standing = Standing::default();
        let mut note = |servers| note(&mut standing, &mut known, servers);
        // Those that are there first are no change, however late they come.
        assert!(!note(Err(Fault::Unsent("away".to_owned()))));
        assert!(!note(look(vec![server("a", "master"), server("b", "slave")], true)));
        assert!(!note(look(vec![server("a", "master"), server("b", "slave")], true)));
        // One that cannot be seen is no change, and neither is that it comes back as it was.
        assert!(!note(Err(Fault::Lost("away".to_owned()))));
        assert!(!note(look(vec![server("b", "slave")], false)));
        assert!(!note(look(vec![server("a", "master"), server("b", "slave")], true)));
        assert!(note(look(vec![server("b", "master")], true)));
        assert!(!note(look(vec![server("b", "master"), server("a", "slave")], true)));
        // The old one, restarted, is a stranger.
        assert!(note(look(vec![server("c", "master")], true)));
        assert_eq!(standing, Standing { changes: 2, ..Standing::default() });
    }

    #[test]
    fn one_that_was_away_while_another_was_replaced_is_no_change() {
        let mut known = BTreeSet::new();
        let mut standing = Standing::default();
        let mut note = |servers| note(&mut standing, &mut known, servers);
        assert!(!note(look(vec![server("a", "master"), server("b", "master")], true)));
        assert!(note(look(vec![server("c", "master")], false)));
        assert!(!note(look(vec![server("b", "master"), server("c", "master")], true)));
        // Of very many, those are forgotten that are away.
        for n in 0..3 * REMEMBERED {
            assert!(note(look(vec![server(&format!("n{n}"), "master")], false)));
        }
        assert!(known.len() <= REMEMBERED + 1, "{}", known.len());
    }

    #[test]
    fn says_which_server_evicts_and_how_to_mend_it() {
        let info = "role:master\r\nmaxmemory_policy:allkeys-lru\r\n".to_owned();
        let server = Server { address: ("10.0.0.1".to_owned(), 6380), info };
        let said = unfit(&server).unwrap().to_string();
        assert!(said.contains("redis-cli -h 10.0.0.1 -p 6380 CONFIG SET"), "{said}");
        assert!(said.contains("allkeys-lru"), "{said}");
    }

    #[test]
    fn says_which_server_does_not_say_whether_it_evicts() {
        let server = Server { address: ("::1".to_owned(), 6380), info: String::new() };
        let said = unfit(&server).unwrap().to_string();
        assert!(said.contains("Redis at [::1]:6380") && said.contains("+info"), "{said}");
    }
}
