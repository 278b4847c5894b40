//! What this process took back: under which numbers, and what became of it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tegata_core::SinceBoot;

use super::heartbeat::Settled;
use crate::revocation::View;

/// How long after nobody knows what became of a commit it can still come to be: longer than a store
/// works at one statement, also where it waits for a standby.
pub(crate) const LATE: Duration = Duration::from_secs(600);

/// How many numbers are remembered until the log has been read beyond them.
const MARKS: usize = 1000;

/// How many spans of numbers are told of which nothing came. More are learnt of from the log, which nobody
/// reads while the store is away: so that what fails without a pause then is one span.
const VOID: usize = 64;

/// How many messages are kept, for whoever did not hear them.
const KEPT: usize = 1024;

/// What this process took back.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The greatest number that was given.
    pub(super) begun: u64,
    /// When.
    last: SinceBoot,
    /// What is under way, by its first number.
    open: BTreeMap<u64, Open>,
    /// From which number to which nothing came of it. No two of them touch.
    void: BTreeMap<u64, u64>,
    pub(super) settled: Settled,
    /// Nothing up to a number could come to be after a moment: until the log has been read later.
    marks: VecDeque<(SinceBoot, u64)>,
    /// What was said of it, and when.
    said: VecDeque<Kept>,
}

#[derive(Debug)]
struct Open {
    /// When it was begun.
    since: SinceBoot,
    /// Since when nobody knows what became of it.
    unknown: Option<SinceBoot>,
}

/// A message that was sent.
#[derive(Debug)]
struct Kept {
    number: u64,
    at: SinceBoot,
    message: Vec<u8>,
}

impl Ledger {
    /// Gives numbers to `count` entries that are about to be committed; answers the first.
    pub(super) fn begin(&mut self, count: u64, now: SinceBoot) -> u64 {
        let first = self.begun.saturating_add(1);
        self.begun = self.begun.saturating_add(count);
        self.last = now;
        self.open.insert(first, Open { since: now, unknown: None });
        first
    }

    /// The greatest number, if it was given since `moment`.
    pub(super) fn begun_since(&self, moment: SinceBoot) -> Option<u64> {
        (self.begun > 0 && self.last >= moment).then_some(self.begun)
    }

    /// They are in the store.
    pub(super) fn is_done(&mut self, first: u64) {
        self.open.remove(&first);
    }

    /// Nothing came of them, and nothing will.
    pub(super) fn is_void(&mut self, first: u64, count: u64) {
        self.open.remove(&first);
        let (mut from, mut to) = (first, first.saturating_add(count).saturating_sub(1));
        if let Some((before, end)) = self.void.range(..first).next_back()
            && end.saturating_add(1) == first
        {
            from = *before;
            self.void.remove(&from);
        }
        if let Some(end) = self.void.remove(&to.saturating_add(1)) {
            to = end;
        }
        self.void.insert(from, to);
        if self.void.len() > VOID {
            self.void.pop_first();
        }
    }

    /// Nobody knows what came of them, or will.
    pub(super) fn is_unknown(&mut self, first: u64, now: SinceBoot) {
        if let Some(open) = self.open.get_mut(&first) {
            open.unknown = Some(now);
        }
    }

    /// Since when something has been under way of which nobody knows yet what comes of it.
    pub(super) fn under_way_since(&self) -> Option<SinceBoot> {
        let open = self.open.values().filter(|open| open.unknown.is_none());
        open.map(|open| open.since).min()
    }

    /// Keeps what the others were told of an entry.
    pub(super) fn keep(&mut self, number: u64, message: Vec<u8>, now: SinceBoot) {
        self.said.push_back(Kept { number, at: now, message });
        if self.said.len() > KEPT {
            self.said.pop_front();
        }
    }

    /// What is to be said again to somebody who knows all up to `known`, though it was said before
    /// `before`.
    pub(super) fn again(&self, known: u64, before: SinceBoot, most: usize) -> Vec<Vec<u8>> {
        let missed = self.said.iter().filter(|it| it.number > known && it.at < before);
        missed.take(most).map(|it| it.message.clone()).collect()
    }

    /// How long ago each entry was told of whose number is above `from`, up to `to`.
    pub(super) fn ages(&self, from: u64, to: u64, now: SinceBoot) -> Vec<Duration> {
        let of = self.said.iter().filter(|it| it.number > from && it.number <= to);
        of.map(|it| now.since(it.at)).collect()
    }

    pub(super) fn void(&self) -> Vec<(u64, u64)> {
        self.void.iter().map(|(from, to)| (*from, *to)).collect()
    }

    /// Notes how much of it is in the log.
    pub(super) fn settle(&mut self, now: SinceBoot, view: &View) {
        let is_over = |open: &Open| open.unknown.is_some_and(|unknown| now.since(unknown) >= LATE);
        self.open.retain(|_, open| !is_over(open));
        let closed = self.open.keys().next().map_or(self.begun, |first| first.saturating_sub(1));
        let marked = self.marks.back().map_or(self.settled.number, |(_, number)| *number);
        if closed > marked && self.marks.len() < MARKS {
            self.marks.push_back((now, closed));
        }
        while let Some((at, number)) = self.marks.front().copied()
            && view.knows_all_until(at)
        {
            self.settled = Settled { number, position: view.position() };
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_to_nothing_in_any_order_is_told_in_as_few_spans_as_there_are() {
        let mut ledger = Ledger::default();
        for _ in 0..10 {
            ledger.begin(1, SinceBoot::default());
        }
        for number in [3, 1, 5, 2, 8] {
            ledger.is_void(number, 1);
        }
        assert_eq!(ledger.void(), [(1, 3), (5, 5), (8, 8)]);
        // Several at once, between two of them.
        ledger.is_void(6, 2);
        assert_eq!(ledger.void(), [(1, 3), (5, 8)]);
        ledger.is_void(4, 1);
        assert_eq!(ledger.void(), [(1, 8)]);
        // Of more than can be told, those are told that came last.
        for number in 0..100 {
            ledger.is_void(1000 + 2 * number, 1);
        }
        let told = ledger.void();
        assert_eq!(
            (told.len(), told.first(), told.last()),
            (VOID, Some(&(1072, 1072)), Some(&(1198, 1198)))
        );
    }
}
