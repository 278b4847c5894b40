//! What is said of what others cause: seldom enough, however often they cause it.

use std::{
    fmt,
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Limiter, RateLimit};
use crate::clock::SinceBoot;

/// How many are told apart.
const REMEMBERED: usize = 10_000;

/// Says so much of each, so much of all together, and how much it left out: what somebody causes as often as
/// they like fills no disk, and one network does not hide what others cause.
pub struct Sparing<K> {
    each: Limiter<K>,
    all: Limiter<()>,
    /// `None`: nothing is said at all.
    limits: Option<(RateLimit, RateLimit)>,
    left_out: AtomicU64,
}

impl<K: Clone + Eq + Hash> Sparing<K> {
    /// So much of each, and so much of all, as [`RateLimit`] reads it. What is no rate says nothing.
    #[must_use]
    pub fn new(each: &str, all: &str) -> Self {
        let limits = each.parse().ok().zip(all.parse().ok());
        Self {
            each: Limiter::new(REMEMBERED),
            all: Limiter::new(1),
            limits,
            left_out: AtomicU64::new(0),
        }
    }

    /// Whether this is to be said, and if so, how much was left out since the last that was.
    #[must_use]
    pub fn say(&self, whose: K, now: SinceBoot) -> Option<u64> {
        let says = self.limits.is_some_and(|(each, all)| {
            self.each.count(whose, each, now).passes && self.all.count((), all, now).passes
        });
        if says {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl<K> fmt::Debug for Sparing<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sparing({:?})", self.limits)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: u64) -> SinceBoot {
        SinceBoot(Duration::from_secs(1_000_000 + secs))
    }

    #[test]
    fn who_is_loud_is_heard_seldom_and_hides_nobody() {
        let sparing = Sparing::new("2/m", "100/m");
        let said = (0..10_000).filter_map(|_| sparing.say("loud", at(0))).count();
        assert_eq!(said, 2);
        assert_eq!(sparing.say("quiet", at(0)), Some(9_998));
        assert_eq!(sparing.say("quiet", at(0)), Some(0));
    }

    #[test]
    fn many_together_are_bounded_however_many_they_are() {
        let sparing = Sparing::new("2/m", "100/m");
        let said = |second| (0..50_000).filter_map(|whose| sparing.say(whose, at(second))).count();
        assert_eq!(said(0), 100);
        assert_eq!(said(1), 1);
        assert_eq!(said(61), 100);
    }

    #[test]
    fn what_is_no_rate_says_nothing() {
        assert_eq!(Sparing::new("often", "100/m").say((), at(0)), None);
    }
}
