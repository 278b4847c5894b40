//! How often requests are sent again: never more than a share of them, or those who fail would be
//! asked all the more.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::StatusCode;
use tegata_mesh::reach::Retry;

/// What sending again costs; a request earns `budget` of it.
const PRICE: u32 = 100;

/// So many may be sent again at once that others have not earned for long.
const SAVED: u32 = 20 * PRICE;

const FIRST_PAUSE: Duration = Duration::from_millis(25);

const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What may be sent again, of all that is sent to a service by this node.
#[derive(Debug)]
pub(crate) struct Budget {
    rule: Retry,
    balance: AtomicU32,
    spent: AtomicU64,
}

impl Budget {
    pub(crate) fn new(rule: &Retry) -> Self {
        let balance = AtomicU32::new(if rule.budget == 0 { 0 } else { SAVED });
        Self { rule: rule.clone(), balance, spent: AtomicU64::new(0) }
    }

    /// How often a request is sent at most.
    pub(crate) const fn attempts(&self) -> u32 {
        self.rule.attempts
    }

    /// Whether a request that was answered so is sent to another address.
    pub(crate) fn is_of_no_use(&self, status: StatusCode) -> bool {
        self.rule.statuses.contains(&status.as_u16())
    }

    /// A request is sent for the first time.
    pub(crate) fn earn(&self) {
        // Mostly nothing is spent, so that nothing is written.
        if self.balance.load(Relaxed) < SAVED {
            self.balance.fetch_add(self.rule.budget, Relaxed);
        }
    }

    /// Whether anything may be sent again.
    pub(crate) fn is_there(&self) -> bool {
        self.balance.load(Relaxed) >= PRICE
    }

    /// Whether one more may be.
    pub(crate) fn spend(&self) -> bool {
        let less = |balance: u32| balance.checked_sub(PRICE);
        let spent = self.balance.fetch_update(Relaxed, Relaxed, less).is_ok();
        if spent {
            self.spent.fetch_add(1, Relaxed);
        }
        spent
    }

    /// How many were sent again since the start.
    pub(crate) fn spent(&self) -> u64 {
        self.spent.load(Relaxed)
    }
}

/// How long to wait before a request is sent for the `attempt`th time again, from 1: twice as long
/// each time, and up to half of that less, so that not all come back at the same moment.
pub(crate) fn pause(attempt: u32, random: u64) -> Duration {
    let whole =
        FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(8)).min(LONGEST_PAUSE);
    let half = whole / 2;
    let share = u32::try_from(random % 1000).unwrap_or(0);
    half + half * share / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_share_is_sent_again_however_many_at_once() {
        let budget = Budget::new(&Retry::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2500 {
                        budget.earn();
                        budget.spend();
                    }
                });
            }
        });
        // A tenth of 10,000, and what had been saved.
        assert!((1000..=1020).contains(&budget.spent()), "{}", budget.spent());
        let none = Budget::new(&Retry { budget: 0, ..Retry::default() });
        (0..1000).for_each(|_| none.earn());
        assert!(!none.spend() && !none.is_there());
    }

    #[test]
    fn pauses_grow_and_differ() {
        for (attempt, millis) in [(1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (40, 250)] {
            let whole = Duration::from_millis(millis);
            for random in [0, 1, 500, 999, u64::MAX] {
                let pause = pause(attempt, random);
                assert!(pause >= whole / 2 && pause <= whole, "{attempt} {random}");
            }
        }
        assert_ne!(pause(1, 1), pause(1, 900));
    }
}
