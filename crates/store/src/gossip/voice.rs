//! The one task that speaks and listens.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tegata_core::{
    Node,
    port::{Facts, Member},
};
use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    Strangers,
    seal::{LONGEST, ROOM, Seal, Unheard},
    table::Table,
    wire::{self, Sort},
};
use crate::pause::wait;

/// How long not to listen when the system says that it cannot.
const AFTER_AN_ERROR: Duration = Duration::from_millis(20);

pub(super) struct Voice {
    pub(super) node: Node,
    pub(super) socket: UdpSocket,
    pub(super) seal: Seal,
    pub(super) table: Table,
    pub(super) contacts: Arc<Mutex<Vec<SocketAddr>>>,
    pub(super) said: watch::Receiver<Facts>,
    pub(super) members: watch::Sender<Vec<Member>>,
    pub(super) strangers: Arc<Strangers>,
}

impl Voice {
    /// Speaks and listens until nobody wants to know any more.
    pub(super) async fn speak(mut self, every: Duration) {
        let mut rounds = interval(every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A byte more than anybody says: what fills it was too long.
        let mut heard = vec![0; LONGEST + 1];
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut heard) => {
                    match received {
                        Ok((length, from)) => {
                            self.hear(heard.get(..length).unwrap_or_default(), from).await;
                        }
                        // It passes, as a lack of memory does, or it does not: then the others will
                        // miss us.
                        Err(_) => wait(AFTER_AN_ERROR).await,
                    }
                }
                _ = rounds.tick() => self.round().await,
                changed = self.said.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let facts = self.said.borrow_and_update().clone();
                    self.table.publish(facts);
                }
            }
            let members = self.table.members();
            self.members.send_if_modified(|known| {
                let changed = *known != members;
                *known = members;
                changed
            });
        }
    }

    async fn round(&mut self) {
        self.table.beat();
        self.table.judge(self.node.since_boot(), self.node.now());
        let contacts = self.contacts.lock().clone();
        for target in self.table.targets(self.node.entropy(), &contacts) {
            self.say(Sort::Question, target).await;
        }
    }

    async fn hear(&mut self, datagram: &[u8], from: SocketAddr) {
        let said = match self.seal.open(self.node.now(), datagram) {
            Ok(said) => said,
            Err(Unheard::Echo) => return,
            Err(Unheard::Foreign) => {
                count(
                    &self.strangers.foreign,
                    from,
                    "it is not sealed with the key of this cluster",
                );
                return;
            }
            Err(Unheard::Stale) => {
                let why = "it is from another time: see whether the clocks of both nodes are right";
                count(&self.strangers.stale, from, why);
                return;
            }
        };
        // One that is sealed and cannot be read is of another release.
        let Some((sort, records)) = wire::read(&said) else { return };
        self.table.hear(self.node.since_boot(), records);
        if sort == Sort::Question {
            self.say(Sort::Answer, from).await;
        }
    }

    async fn say(&mut self, sort: Sort, to: SocketAddr) {
        let said = wire::write(sort, self.table.news(self.node.entropy()), ROOM);
        if let Some(datagram) = self.seal.seal(self.node.now(), &said) {
            // Whoever is not there does not hear it: that is how it is noticed.
            let _unsent = self.socket.send_to(&datagram, to).await;
        }
    }
}

/// Counts what is not heard, and says so at its 1st, 2nd, 4th, 8th … time.
fn count(times: &std::sync::atomic::AtomicU64, from: SocketAddr, why: &str) {
    let times = times.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    if times.is_power_of_two() {
        tracing::warn!(
            "a datagram from {from} is ignored, the {times}. of its kind, because {why}"
        );
    }
}
