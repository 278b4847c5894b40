//! What is known of the others: what they took back, and since when they have said so.

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
    /// Everything that it took back up to this number is known.
    known: u64,
    /// Greater numbers that are known.
    beyond: BTreeSet<u64>,
    /// What it said to be in the log beyond where that has been read.
    ahead: Vec<Settled>,
    /// The number of its latest heartbeat.
    beat: u64,
    /// When that was heard.
    heard: SinceBoot,
    /// All of ours that it knows.
    confirmed: u64,
    /// How far it has followed the log.
    position: u64,
    said: Option<Said>,
    /// Everything that it had taken back at this moment is known, as long as the circle is what it
    /// was.
    vouched: Option<SinceBoot>,
}

/// What it said last.
#[derive(Debug, Clone, Copy)]
struct Said {
    epoch: u64,
    begun: u64,
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

    /// Hears a heartbeat. What is not newer than the last is ignored. Answers how much of ours it did
    /// not know before, and does now: the numbers between.
    pub(super) fn hear(
        &mut self,
        me: NodeId,
        heartbeat: &Heartbeat,
        now: SinceBoot,
    ) -> Option<(u64, u64)> {
        if !self.of.contains_key(&heartbeat.by) && self.of.len() >= MOST {
            return None;
        }
        let peer = self.of.entry(heartbeat.by).or_default();
        if heartbeat.beat <= peer.beat {
            return None;
        }
        (peer.beat, peer.heard) = (heartbeat.beat, now);
        peer.position = peer.position.max(heartbeat.position);
        for (first, last) in &heartbeat.void {
            // One may begin far below: it grows as long as nothing comes of anything.
            let span = (*first).max(peer.known.saturating_add(1))..=*last;
            span.take(BEYOND.saturating_sub(peer.beyond.len())).for_each(|number| {
                peer.beyond.insert(number);
            });
        }
        if heartbeat.settled.number > peer.known && peer.ahead.len() < AHEAD {
            peer.ahead.push(heartbeat.settled);
        }
        let echo = heartbeat.heard.iter().find(|echo| echo.of == me);
        let after = echo.and_then(|echo| self.sent.iter().find(|(beat, _)| *beat == echo.beat));
        // What says nothing of the circle takes back what was said of it.
        peer.said = heartbeat.epoch.and_then(|epoch| {
            let begun = heartbeat.begun;
            after.map(|(_, after)| Said { epoch, begun, after: *after })
        });
        let confirmed = echo.map_or(peer.confirmed, |echo| echo.known.max(peer.confirmed));
        Some((std::mem::replace(&mut peer.confirmed, confirmed), confirmed))
    }

    /// When a process was last heard.
    pub(super) fn heard(&self, run: NodeId) -> Option<SinceBoot> {
        self.of.get(&run).filter(|peer| peer.beat > 0).map(|peer| peer.heard)
    }

    /// Up to which number a process knows what we took back.
    pub(super) fn confirmed(&self, run: NodeId) -> u64 {
        self.of.get(&run).map_or(0, |peer| peer.confirmed)
    }

    /// Up to which position a process refuses what the log says.
    pub(super) fn position(&self, run: NodeId) -> u64 {
        self.of.get(&run).map_or(0, |peer| peer.position)
    }

    /// Notes that what a process took back under this number is known.
    pub(super) fn learn(&mut self, by: NodeId, number: u64) {
        if !self.of.contains_key(&by) && self.of.len() >= MOST {
            return;
        }
        let peer = self.of.entry(by).or_default();
        if number > peer.known && peer.beyond.len() < BEYOND {
            peer.beyond.insert(number);
        }
    }

    /// The moment at which everything was known that anybody in `circle` but `me` had taken back.
    /// `None`: there was none since the circle is what it is. The log has been read up to `position`.
    /// Of `me`, everything was known at `own`.
    pub(super) fn vouched(
        &mut self,
        me: NodeId,
        circle: &[NodeId],
        epoch: u64,
        position: u64,
        own: SinceBoot,
    ) -> Option<SinceBoot> {
        self.of.values_mut().for_each(|peer| peer.settle(position));
        let mut earliest = own;
        for run in circle.iter().filter(|run| **run != me) {
            earliest = earliest.min(self.of.get_mut(run)?.vouches(epoch)?);
        }
        Some(earliest)
    }

    /// Forgets what vouched for a circle that is no more, and processes that are neither in
    /// `register` nor heard of since `oldest`.
    pub(super) fn begin_anew(&mut self, register: &[NodeId], oldest: SinceBoot) {
        self.of.retain(|run, peer| {
            peer.vouched = None;
            register.contains(run) || peer.heard >= oldest
        });
    }

    /// What we tell the others that we heard since `oldest`.
    pub(super) fn echoes(&self, oldest: SinceBoot) -> Vec<Echo> {
        let of = self.of.iter().filter(|(_, peer)| peer.heard >= oldest);
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

    /// The latest moment at which everything was known that it had taken back.
    fn vouches(&mut self, epoch: u64) -> Option<SinceBoot> {
        if let Some(said) = self.said
            && said.epoch == epoch
            && said.begun <= self.known
        {
            self.vouched = self.vouched.max(Some(said.after));
        }
        self.vouched
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ledger::Ledger, *};

    /// A node whose store is away is asked to take things back, as fast as it can say no, eight at a time
    /// and answered in any order. Whoever hears it knows at each heartbeat that there was nothing.
    #[test]
    fn however_much_fails_between_two_heartbeats_its_maker_is_believed() {
        let (me, other, now) =
            (NodeId(1), NodeId(2), |beat| SinceBoot(std::time::Duration::from_millis(500 * beat)));
        let (mut theirs, mut ours) = (Ledger::default(), Peers::default());
        for beat in 1..=6 {
            for _ in 0..600 {
                let mut under_way: Vec<u64> = (0..8).map(|_| theirs.begin(1, now(beat))).collect();
                under_way.swap(1, 6);
                under_way.reverse();
                under_way.into_iter().for_each(|number| theirs.is_void(number, 1));
            }
            ours.made(beat, now(beat));
            let heartbeat = Heartbeat {
                by: other,
                beat,
                epoch: Some(7),
                begun: theirs.begun,
                void: theirs.void(),
                settled: theirs.settled,
                heard: vec![Echo { of: me, beat, known: 0 }],
                position: 0,
                awaits: 0,
            };
            ours.hear(me, &heartbeat, now(beat));
            // As soon as it was made, however many numbers were given since the log was read.
            let vouched = ours.vouched(me, &[me, other], 7, 0, now(beat));
            assert_eq!(vouched, Some(now(beat)), "heartbeat {beat}, {} numbers", theirs.begun);
        }
    }
}
