//! How slowly a body may move: whoever is waited for has so much patience, spends it while nothing comes, and
//! earns it back with what comes. A quiet while is forgiven and a slow line served, while a byte every few
//! seconds, which would hold a place at a service for ever, runs out of it.
//!
//! Time counts while this side of the exchange alone is waited for: who waits for news is not slow.

use std::{rc::Rc, task::Context, time::Duration};

use crate::timer::{Deadline, Deadlines};

/// What a body may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For how long nothing may come.
    pub(crate) quiet: Duration,
    /// How many bytes each second earn their waiting. 0: any byte earns all of it.
    pub(crate) rate: u64,
}

/// How much patience is left.
#[derive(Debug)]
pub(crate) struct Pace {
    patience: Patience,
    deadline: Deadline,
    /// What is left, in milliseconds, and since when it is spent.
    left: u64,
    since: Option<u64>,
}

impl Patience {
    fn most(&self) -> u64 {
        u64::try_from(self.quiet.as_millis()).unwrap_or(u64::MAX)
    }

    /// What so many bytes earn.
    fn earned(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        bytes.saturating_mul(1000).checked_div(self.rate).unwrap_or_else(|| self.most())
    }
}

impl Pace {
    pub(crate) fn new(patience: Patience, deadlines: &Rc<Deadlines>) -> Self {
        Self::with(patience, deadlines.slot())
    }

    /// With this deadline, for whoever is told of it.
    pub(crate) fn with(patience: Patience, deadline: Deadline) -> Self {
        Self { left: patience.most(), patience, deadline, since: None }
    }

    /// From now on any byte earns all of the patience.
    pub(crate) const fn ease(&mut self) {
        self.patience.rate = 0;
    }

    /// Nothing has come. Whether it has taken too long; otherwise the task is woken when it has.
    pub(crate) fn is_spent(&mut self, cx: &Context<'_>) -> bool {
        if self.since.is_none() {
            self.spend();
        }
        self.deadline.is_expired(cx)
    }

    /// So many bytes have come. Whether they came too late.
    pub(crate) fn moved(&mut self, bytes: usize) -> bool {
        let is_late = self.rest();
        let earned = self.patience.earned(bytes);
        self.left = self.left.saturating_add(earned).min(self.patience.most());
        is_late
    }

    /// So many bytes are to be taken, for which there is the time that they earn: never more than as much
    /// again.
    pub(crate) fn hand(&mut self, bytes: usize) {
        self.rest();
        let most = self.patience.most();
        self.left =
            self.left.saturating_add(self.patience.earned(bytes)).min(most.saturating_mul(2));
        self.spend();
    }

    /// Nobody is waited for any more. Whether it was for too long: what comes just before somebody looks at the
    /// clock comes too late all the same.
    pub(crate) fn rest(&mut self) -> bool {
        let Some(since) = self.since.take() else { return false };
        let spent = self.deadline.now().saturating_sub(since);
        let is_late = spent > self.left;
        self.left = self.left.saturating_sub(spent).min(self.patience.most());
        self.deadline.disarm();
        is_late
    }

    fn spend(&mut self) {
        self.since = Some(self.deadline.now());
        self.deadline.arm(Duration::from_millis(self.left));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tegata_core::SinceBoot;

    use super::*;

    /// How many seconds pass until it is spent, if `each` comes every second.
    fn lasts(rate: u64, mut each: impl FnMut(u64) -> usize) -> Option<u64> {
        let deadlines = Rc::new(Deadlines::default());
        let mut pace = Pace::new(Patience { quiet: Duration::from_secs(30), rate }, &deadlines);
        let cx = Context::from_waker(Waker::noop());
        (0..10_000).find(|second| {
            deadlines.tick(SinceBoot(Duration::from_secs(*second)));
            let bytes = each(*second);
            let is_late = bytes > 0 && pace.moved(bytes);
            is_late || pace.is_spent(&cx)
        })
    }

    #[test]
    fn quiet_is_forgiven_and_dribbling_is_not() {
        assert_eq!(lasts(240, |_| 0), Some(30));
        assert_eq!(lasts(240, |_| 1), Some(31));
        assert_eq!(lasts(240, |at| usize::from(at % 7 == 0)), Some(31));
        assert_eq!(lasts(240, |_| 240), None);
        assert_eq!(lasts(240, |at| if at % 25 == 0 { 6000 } else { 0 }), None);
        // Much at first is no licence for later.
        assert!(lasts(240, |at| if at < 5 { 100_000_000 } else { 1 }).unwrap() < 40);
        // Without a rate, quiet alone counts.
        assert_eq!(lasts(0, |at| usize::from(at % 29 == 0)), None);
        assert_eq!(lasts(0, |at| usize::from(at == 0)), Some(30));
    }

    #[test]
    fn what_always_comes_just_before_the_clock_is_looked_at_comes_too_late() {
        let deadlines = Rc::new(Deadlines::default());
        let mut pace =
            Pace::new(Patience { quiet: Duration::from_secs(30), rate: 240 }, &deadlines);
        let cx = Context::from_waker(Waker::noop());
        let late = (0..1000).find(|turn| {
            assert!(!pace.is_spent(&cx));
            deadlines.see(SinceBoot(Duration::from_millis(turn * 200)));
            pace.moved(1)
        });
        assert!(late.is_some_and(|turn| (150..160).contains(&turn)), "{late:?}");
    }

    #[test]
    fn who_is_not_waited_for_spends_nothing() {
        let deadlines = Rc::new(Deadlines::default());
        let mut pace =
            Pace::new(Patience { quiet: Duration::from_secs(30), rate: 240 }, &deadlines);
        let cx = Context::from_waker(Waker::noop());
        for second in 0..1000 {
            deadlines.tick(SinceBoot(Duration::from_secs(second)));
            pace.hand(1);
            pace.rest();
        }
        pace.hand(1);
        deadlines.tick(SinceBoot(Duration::from_secs(1028)));
        assert!(!pace.is_spent(&cx));
        deadlines.tick(SinceBoot(Duration::from_secs(1031)));
        assert!(pace.is_spent(&cx));
    }

    #[test]
    fn a_large_part_has_twice_as_long_and_no_more() {
        let deadlines = Rc::new(Deadlines::default());
        let mut pace =
            Pace::new(Patience { quiet: Duration::from_secs(30), rate: 240 }, &deadlines);
        let cx = Context::from_waker(Waker::noop());
        pace.hand(100_000_000);
        deadlines.tick(SinceBoot(Duration::from_secs(59)));
        assert!(!pace.is_spent(&cx));
        deadlines.tick(SinceBoot(Duration::from_secs(60)));
        assert!(pace.is_spent(&cx));
    }
}
