//! What is known of the others: what they acknowledged, and since when they have said so.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tegata_core::{NodeId, SinceBoot};

use super::heartbeat::{Echo, Heartbeat, Settled};

/// Of how many processes something is kept.
const MOST: usize = 1000;

/// How many numbers are kept that came before a smaller one. What is beyond is in the log.
const BEYOND: usize = 10_000;

/// How many positions are kept that the log has not been read to.
const AHEAD: usize = 64;

/// How many of our own heartbeats are remembered: a minute's.
const SENT: usize = 120;

/// The others, by process.
#[derive(Debug, Default)]
pub(super) struct Peers {
    of: HashMap<NodeId, Peer>,
    /// When our last heartbeats were made.
    sent: VecDeque<(u64, SinceBoot)>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Everything that it acknowledged up to this number is known.
    known: u64,
    /// Greater numbers that are known.
    beyond: BTreeSet<u64>,
    /// What it said to be in the log beyond where that has been read.
    ahead: Vec<Settled>,
    /// The number of its latest heartbeat.
    beat: u64,
    said: Option<Said>,
    /// Everything that it had acknowledged at this moment is known, as long as the circle is what it
    /// was.
    vouched: Option<SinceBoot>,
}

/// What it said last.
#[derive(Debug, Clone, Copy)]
struct Said {
    epoch: u64,
    acknowledged: u64,
    /// It said so after this moment.
    after: SinceBoot,
}

impl Peers {
    /// Notes that our heartbeat `beat` is made now.
    pub(super) fn made(&mut self, beat: u64, now: SinceBoot) {
        self.sent.push_back((beat, now));
        if self.sent.len() > SENT {
            self.sent.pop_front();
        }
    }

    /// Hears a heartbeat. What is not newer than the last is ignored.
    pub(super) fn hear(&mut self, me: NodeId, heartbeat: &Heartbeat) {
        if !self.of.contains_key(&heartbeat.by) && self.of.len() >= MOST {
            return;
        }
        let peer = self.of.entry(heartbeat.by).or_default();
        if heartbeat.beat <= peer.beat {
            return;
        }
        peer.beat = heartbeat.beat;
        if heartbeat.settled.number > peer.known && peer.ahead.len() < AHEAD {
            peer.ahead.push(heartbeat.settled);
        }
        let echo = heartbeat.heard.iter().find(|echo| echo.of == me);
        let after = echo.and_then(|echo| self.sent.iter().find(|(beat, _)| *beat == echo.beat));
        // What says nothing of the circle takes back what was said of it.
        peer.said = heartbeat.epoch.and_then(|epoch| {
            let acknowledged = heartbeat.acknowledged;
            after.map(|(_, after)| Said { epoch, acknowledged, after: *after })
        });
    }

    /// Notes that what a process acknowledged under this number is known.
    pub(super) fn learn(&mut self, by: NodeId, number: u64) {
        if !self.of.contains_key(&by) && self.of.len() >= MOST {
            return;
        }
        let peer = self.of.entry(by).or_default();
        if number > peer.known && peer.beyond.len() < BEYOND {
            peer.beyond.insert(number);
        }
    }

    /// The moment at which everything was known that anybody in `circle` but `me` had acknowledged.
    /// `None`: there was none since the circle is what it is. The log has been read up to `position`.
    pub(super) fn vouched(
        &mut self,
        me: NodeId,
        circle: &[NodeId],
        epoch: u64,
        position: u64,
        now: SinceBoot,
    ) -> Option<SinceBoot> {
        self.of.values_mut().for_each(|peer| peer.settle(position));
        let mut earliest = now;
        for run in circle.iter().filter(|run| **run != me) {
            earliest = earliest.min(self.of.get_mut(run)?.vouches(epoch)?);
        }
        Some(earliest)
    }

    /// Forgets what vouched for a circle that is no more, and processes that are neither in
    /// `register` nor heard of for as long as we remember.
    pub(super) fn begin_anew(&mut self, register: &[NodeId]) {
        let oldest = self.sent.front().map_or(SinceBoot::default(), |(_, at)| *at);
        self.of.retain(|run, peer| {
            peer.vouched = None;
            register.contains(run) || peer.said.is_some_and(|said| said.after >= oldest)
        });
    }

    /// What we tell the others that we heard.
    pub(super) fn echoes(&self) -> Vec<Echo> {
        let of = self.of.iter();
        of.map(|(of, peer)| Echo { of: *of, beat: peer.beat, known: peer.known }).collect()
    }
}

impl Peer {
    /// Takes as known what is in the log up to where it has been read, and what follows on it.
    fn settle(&mut self, position: u64) {
        let read = self.ahead.iter().filter(|settled| settled.position <= position);
        let read = read.map(|settled| settled.number).max().unwrap_or_default();
        self.known = self.known.max(read);
        self.ahead.retain(|settled| settled.position > position);
        self.beyond = self.beyond.split_off(&self.known.saturating_add(1));
        while self.beyond.first() == Some(&self.known.saturating_add(1)) {
            self.beyond.pop_first();
            self.known = self.known.saturating_add(1);
        }
    }

    /// The latest moment at which everything was known that it had acknowledged.
    fn vouches(&mut self, epoch: u64) -> Option<SinceBoot> {
        if let Some(said) = self.said
            && said.epoch == epoch
            && said.acknowledged <= self.known
        {
            self.vouched = self.vouched.max(Some(said.after));
        }
        self.vouched
    }
}
