//! A count that forgets slowly, and what it allows.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};
use tegata_core::{
    Timestamp,
    port::Put,
    repository::{decode_bytes, encode},
};

/// The version of a tally's stored form.
const FORM: u8 = 1;

/// The longest that a tally is kept.
const LONGEST_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// How many attempts pass: `burst` at once, then none for `pause`, then `burst` again, then none for
/// twice as long, and so on. One attempt is forgotten for each `forgets` that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many at once; 0 counts as 1.
    pub burst: u32,
    /// The first pause.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long it takes to forget one.
    pub forgets: Duration,
}

impl Limit {
    /// The same for so many networks together.
    pub(super) const fn times(self, networks: NonZeroU32) -> Self {
        let burst = self.burst.saturating_mul(networks.get());
        let forgets = self.forgets.checked_div(networks.get());
        Self {
            burst,
            forgets: match forgets {
                Some(forgets) => forgets,
                None => self.forgets,
            },
            ..self
        }
    }
}

/// The attempts counted under one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// How many are not forgotten.
    count: u32,
    /// When the last was made.
    last: Timestamp,
    /// Until when forgetting has been reckoned.
    reckoned: Timestamp,
}

impl Tally {
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        decode_bytes(FORM, value).ok()
    }

    /// One attempt more, or how long to wait for it.
    pub(super) fn counted(self, limit: &Limit, now: Timestamp) -> Result<Self, Duration> {
        let tally = self.reckoned_at(limit, now);
        let wait = tally.wait(limit, now);
        if wait > Duration::ZERO {
            return Err(wait.max(Duration::from_secs(1)));
        }
        Ok(Self { count: tally.count.saturating_add(1), last: now, ..tally })
    }

    /// One attempt less.
    pub(super) const fn given_back(self) -> Self {
        Self { count: self.count.saturating_sub(1), ..self }
    }

    /// The write that keeps this until all of it is forgotten.
    pub(super) fn put(self, key: &str, limit: &Limit, now: Timestamp) -> Put {
        let forgotten = limit.forgets.saturating_mul(self.count.saturating_add(1));
        let lifetime =
            (forgotten + self.wait(limit, now)).clamp(Duration::from_secs(1), LONGEST_KEPT);
        Put { key: key.to_owned(), value: encode(FORM, &self), lifetime, index: None }
    }

    /// Forgets what has had its time.
    fn reckoned_at(self, limit: &Limit, now: Timestamp) -> Self {
        if self.count == 0 {
            return Self { reckoned: now, ..self };
        }
        let each = limit.forgets.as_millis().max(1);
        let forgotten = now.since(self.reckoned).as_millis() / each;
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX).min(self.count);
        // A clock that went back forgets nothing and waits no longer than the longest pause.
        let last = self.last.min(now + limit.longest_pause);
        let reckoned = self.reckoned + limit.forgets.saturating_mul(forgotten);
        Self { count: self.count - forgotten, last, reckoned: reckoned.min(now) }
    }

    /// How long to wait before the next attempt.
    fn wait(&self, limit: &Limit, now: Timestamp) -> Duration {
        let burst = limit.burst.max(1);
        if self.count == 0 || !self.count.is_multiple_of(burst) {
            return Duration::ZERO;
        }
        let doublings = (self.count / burst - 1).min(30);
        let pause = limit.pause.saturating_mul(1 << doublings).min(limit.longest_pause);
        let forgets_in = (self.reckoned + limit.forgets).since(now);
        (self.last + pause).since(now).min(forgets_in)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Limit = Limit {
        burst: 5,
        pause: Duration::from_secs(60),
        longest_pause: Duration::from_secs(900),
        forgets: Duration::from_secs(3600),
    };

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (mut tally, mut now, mut pauses) = (Tally::default(), 0, Vec::new());
        for _ in 0..7 {
            for _ in 0..5 {
                tally = tally.counted(&LIMIT, at(now)).unwrap();
            }
            let wait = tally.counted(&LIMIT, at(now)).unwrap_err();
            pauses.push(wait.as_secs());
            assert!(tally.counted(&LIMIT, at(now + wait.as_secs() - 1)).is_err());
            now += wait.as_secs();
        }
        assert_eq!(pauses, [60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn slow_attempts_never_wait_and_leave_nothing() {
        let mut tally = Tally::default();
        for hour in 0..100 {
            tally = tally.counted(&LIMIT, at(hour * 3600)).unwrap();
        }
        assert_eq!(tally.count, 1);
    }

    #[test]
    fn a_pause_ends_early_when_one_is_forgotten() {
        let steady = Limit { forgets: Duration::from_secs(10), ..LIMIT };
        let mut tally = Tally::default();
        for _ in 0..5 {
            tally = tally.counted(&steady, at(0)).unwrap();
        }
        assert_eq!(tally.counted(&steady, at(0)), Err(Duration::from_secs(10)));
        tally = tally.counted(&steady, at(10)).unwrap();
        assert_eq!(tally.counted(&steady, at(10)), Err(Duration::from_secs(10)));
    }

    #[test]
    fn what_is_given_back_can_be_used_again() {
        let mut tally = Tally::default();
        for _ in 0..5 {
            tally = tally.counted(&LIMIT, at(0)).unwrap();
        }
        assert!(tally.counted(&LIMIT, at(0)).is_err());
        assert!(tally.given_back().counted(&LIMIT, at(0)).is_ok());
        assert_eq!(Tally::default().given_back(), Tally::default());
    }

    #[test]
    fn a_clock_that_went_back_does_not_lock_for_long() {
        let mut tally = Tally::default();
        for _ in 0..5 {
            tally = tally.counted(&LIMIT, at(10_000_000)).unwrap();
        }
        let wait = tally.counted(&LIMIT, at(0)).unwrap_err();
        assert!(wait <= LIMIT.longest_pause + LIMIT.pause, "{wait:?}");
    }

    proptest! {
        /// However attempts are spread, no more pass than a burst for each pause and one for each
        /// that is forgotten.
        #[test]
        fn bounds_what_passes(gaps in proptest::collection::vec(0_u64..200, 1..300)) {
            let (mut tally, mut now, mut passed) = (Tally::default(), 0, 0_u64);
            for gap in gaps {
                now += gap;
                if let Ok(next) = tally.counted(&LIMIT, at(now)) {
                    tally = next;
                    passed += 1;
                }
            }
            let mut allowed = 5;
            let mut until = 0;
            for pause in [60, 120, 240, 480].into_iter().chain(std::iter::repeat(900)) {
                until += pause;
                if until > now { break }
                allowed += 5;
            }
            prop_assert!(passed <= allowed + now / 3600 * 6, "{passed} of {allowed} in {now} s");
        }

        #[test]
        fn reads_back_what_it_wrote(count in any::<u32>(), millis in any::<u32>()) {
            let moment = Timestamp::from_millis(millis.into());
            let tally = Tally { count, last: moment, reckoned: moment };
            let put = tally.put("k", &LIMIT, moment);
            prop_assert_eq!(Tally::read(&put.value), Some(tally));
            prop_assert!(put.lifetime >= Duration::from_secs(1) && put.lifetime <= LONGEST_KEPT);
        }

        #[test]
        fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(tally) = Tally::read(&bytes) {
                let _ = tally.counted(&LIMIT, at(0)).map(|tally| tally.put("k", &LIMIT, at(0)));
            }
        }
    }
}
