//! Who is known to this node, and what follows from what it hears. No I/O: time is told to it.
//!
//! - Of a node, the record with the greatest heartbeat and the greatest revision counts; both are raised
//!   by that node alone.
//! - A node is believed to be there once it has spoken to us, or once its heartbeat was seen to grow:
//!   what others remember is no sign of life.
//! - Only who is believed to be there is passed on, so that the dead are not told about in circles.
//! - Who is suspected is spoken to now and then, so that the two sides of a cut network find each other
//!   when it heals.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tegata_core::{
    Entropy, NodeId, SinceBoot, Timestamp,
    port::{Facts, Member, Standing},
};

use super::{GossipConfig, suspicion::Arrivals, wire::Record};

/// How many nodes are spoken to at once.
const FANOUT: usize = 3;
/// How many nodes are known at most. A cluster has far fewer.
const MOST: usize = 1000;
/// How long somebody of whom others have told is given to show that it lives.
const PROOF: Duration = Duration::from_secs(60);

pub(super) struct Table {
    me: Record,
    others: BTreeMap<NodeId, Known>,
    interval: Duration,
    pause: Duration,
    threshold: f64,
    forgotten: Duration,
    /// When the others were judged last.
    judged: Option<SinceBoot>,
}

struct Known {
    record: Record,
    life: Life,
}

enum Life {
    /// Others have told of it.
    Unproven {
        told: SinceBoot,
    },
    Alive(Arrivals),
    Suspected {
        since: Timestamp,
        from: SinceBoot,
    },
}

impl Table {
    pub(super) const fn new(me: Record, config: &GossipConfig) -> Self {
        Self {
            me,
            others: BTreeMap::new(),
            interval: config.interval,
            pause: config.pause,
            threshold: config.threshold,
            forgotten: config.forgotten,
            judged: None,
        }
    }

    /// This node lives.
    pub(super) const fn beat(&mut self) {
        self.me.heartbeat = self.me.heartbeat.saturating_add(1);
    }

    /// This node says something else about itself.
    pub(super) fn publish(&mut self, facts: Facts) {
        self.me.publish(facts);
    }

    /// Somebody has said this; the first record is its own.
    pub(super) fn hear(&mut self, now: SinceBoot, records: Vec<Record>) {
        for (n, record) in records.into_iter().enumerate() {
            self.learn(now, record, n == 0);
        }
    }

    fn learn(&mut self, now: SinceBoot, record: Record, by_itself: bool) {
        if record.id == self.me.id {
            return;
        }
        let alive = || Life::Alive(Arrivals::first(now, self.interval));
        let Some(known) = self.others.get_mut(&record.id) else {
            if self.others.len() < MOST {
                let life = if by_itself { alive() } else { Life::Unproven { told: now } };
                self.others.insert(record.id, Known { record, life });
            }
            return;
        };
        if record.revision > known.record.revision {
            known.record.revision = record.revision;
            known.record.facts = record.facts;
        }
        if record.heartbeat > known.record.heartbeat {
            known.record.heartbeat = record.heartbeat;
            match &mut known.life {
                Life::Alive(arrivals) => arrivals.hear(now),
                life => *life = alive(),
            }
        }
    }

    /// Decides whom to suspect and whom to forget. To be asked every interval.
    pub(super) fn judge(&mut self, now: SinceBoot, wall: Timestamp) {
        // Whoever could not listen, because the process was held or the machine slept, has no reason to
        // doubt the others.
        let slept = self.judged.is_some_and(|then| now.since(then) > self.interval + self.pause);
        self.judged = Some(now);
        for known in self.others.values_mut() {
            if let Life::Alive(arrivals) = &mut known.life {
                if slept {
                    arrivals.excuse(now);
                } else if arrivals.phi(now, self.pause) > self.threshold {
                    known.life = Life::Suspected { since: wall, from: now };
                }
            }
        }
        let started = |known: &Known| (known.record.address, known.record.since);
        let alive = self.others.values().filter(|known| known.is_alive()).map(started);
        let mut latest = BTreeMap::from([(self.me.address, self.me.since)]);
        for (address, since) in alive {
            let entry = latest.entry(address).or_insert(since);
            *entry = since.max(*entry);
        }
        let forgotten = self.forgotten;
        self.others.retain(|_, known| match &known.life {
            Life::Alive(_) => true,
            Life::Unproven { told } => now.since(*told) <= PROOF,
            // Who has started anew at its place is not missed.
            Life::Suspected { from, .. } => {
                let next = latest.get(&known.record.address);
                now.since(*from) <= forgotten && next.is_none_or(|next| *next <= known.record.since)
            }
        });
    }

    /// What there is to say: about this node first, then about others, in an order by chance, since
    /// there may not be room for all.
    pub(super) fn news(&self, entropy: &dyn Entropy) -> impl Iterator<Item = &Record> {
        let alive = self.others.values().filter(|known| known.is_alive());
        let mut others = alive.map(|known| &known.record).collect::<Vec<_>>();
        shuffle(entropy, &mut others);
        std::iter::once(&self.me).chain(others)
    }

    /// Whom to speak to now: a few who are there or may be, one who is suspected, and one of the first
    /// contacts, where it is not among those; all of them while nobody is there.
    pub(super) fn targets(
        &self,
        entropy: &dyn Entropy,
        contacts: &[SocketAddr],
    ) -> Vec<SocketAddr> {
        let of = |suspected: bool| {
            let those = self.others.values();
            let those = those.filter(|it| matches!(it.life, Life::Suspected { .. }) == suspected);
            let mut those = those.map(|known| known.record.address).collect::<Vec<_>>();
            // Who we were before we started anew was heard at our place.
            those.retain(|address| *address != self.me.address);
            shuffle(entropy, &mut those);
            those
        };
        let there = of(false);
        let mut strange = contacts.to_vec();
        strange.retain(|contact| !there.contains(contact) && *contact != self.me.address);
        shuffle(entropy, &mut strange);
        strange.truncate(if there.is_empty() { usize::MAX } else { 1 });
        let mut targets = there;
        targets.truncate(FANOUT);
        targets.extend(of(true).first());
        targets.extend(strange);
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    /// Who is a member, the eldest first.
    pub(super) fn members(&self) -> Vec<Member> {
        let others = self.others.values().filter_map(|known| {
            let standing = match known.life {
                Life::Unproven { .. } => return None,
                Life::Alive(_) => Standing::Alive,
                Life::Suspected { since, .. } => Standing::Suspected { since },
            };
            Some(member(&known.record, standing))
        });
        let mut members = others.chain([member(&self.me, Standing::Alive)]).collect::<Vec<_>>();
        members.sort_by_key(|member| (member.since, member.id));
        members
    }
}

impl Known {
    const fn is_alive(&self) -> bool {
        matches!(self.life, Life::Alive(_))
    }
}

fn member(record: &Record, standing: Standing) -> Member {
    Member {
        id: record.id,
        name: record.name.clone(),
        address: Some(record.address),
        since: record.since,
        standing,
        facts: record.facts.clone(),
    }
}

/// Puts things into an order by chance (Fisher and Yates). That some orders are likelier than others by
/// 2⁻³² does not matter here.
fn shuffle<T>(entropy: &dyn Entropy, things: &mut [T]) {
    for last in (1..things.len()).rev() {
        let mut drawn = [0; 4];
        entropy.fill(&mut drawn);
        let drawn = usize::try_from(u32::from_be_bytes(drawn)).unwrap_or(0);
        things.swap(drawn % (last + 1), last);
    }
}

#[cfg(test)]
mod tests;
