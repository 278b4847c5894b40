//! Wall time that does not jump with the clock of the machine.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use super::{Clock, SinceBoot, Timestamp};

/// What is corrected without a word: nearly every correction of a time server is smaller.
const SMALL: i64 = 1_000;

/// What is corrected at once. It is as much as verifiers elsewhere put up with.
const CORRECTED: i64 = 30_000;

/// How far two readings may differ that say the same.
const SAME: i64 = 2_000;

/// For how long the clock must say the same before it is believed after all: a machine that began
/// with a wrong time and was then told the right one must come back.
const SETTLED: Duration = Duration::from_secs(30);

/// A clock whose wall time goes on evenly when that of the machine jumps: a jump of more than 30 s is
/// doubted, and time goes on from what it was, measured since boot. The jump is believed when the
/// machine has said the same for 30 s.
///
/// What is issued meanwhile is dated as other nodes date it, and nothing that was taken back is
/// forgotten because it seems to be long dead.
#[derive(Debug)]
pub struct SteadyClock<C> {
    clock: C,
    /// Wall time less time since boot, in milliseconds, as it is believed.
    believed: AtomicI64,
    doubts: AtomicBool,
    /// What the machine says in place of it, and since when.
    said: Mutex<Option<(i64, SinceBoot)>>,
}

impl<C: Clock> SteadyClock<C> {
    /// Believes what the clock says now.
    #[must_use]
    pub fn new(clock: C) -> Self {
        let believed = AtomicI64::new(ahead(clock.now(), clock.since_boot()));
        Self { clock, believed, doubts: AtomicBool::new(false), said: Mutex::new(None) }
    }

    /// What is believed after the machine has said something else.
    fn weigh(&self, said: i64, boot: SinceBoot) -> i64 {
        let mut doubted = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let believed = self.believed.load(Ordering::SeqCst);
        let is_near = (said - believed).abs() <= CORRECTED;
        let is_settled = matches!(*doubted, Some((other, since))
            if (said - other).abs() <= SAME && boot.since(since) >= SETTLED);
        if is_near || is_settled {
            *doubted = None;
            self.believed.store(said, Ordering::SeqCst);
            self.doubts.store(false, Ordering::SeqCst);
            return said;
        }
        if doubted.is_none_or(|(other, _)| (said - other).abs() > SAME) {
            *doubted = Some((said, boot));
        }
        self.doubts.store(true, Ordering::SeqCst);
        believed
    }
}

impl<C: Clock> Clock for SteadyClock<C> {
    fn now(&self) -> Timestamp {
        let (wall, boot) = (self.clock.now(), self.clock.since_boot());
        let (said, believed) = (ahead(wall, boot), self.believed.load(Ordering::SeqCst));
        if (said - believed).abs() <= SMALL && !self.doubts.load(Ordering::SeqCst) {
            return wall;
        }
        let millis = self.weigh(said, boot).saturating_add(millis(boot));
        Timestamp::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    fn since_boot(&self) -> SinceBoot {
        self.clock.since_boot()
    }

    fn jumped(&self) -> Option<i64> {
        let believed = millis_of(self.now());
        let doubted = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, _) = (*doubted)?;
        Some(said.saturating_add(millis(self.clock.since_boot())) - believed)
    }
}

fn ahead(wall: Timestamp, boot: SinceBoot) -> i64 {
    millis_of(wall) - millis(boot)
}

fn millis_of(wall: Timestamp) -> i64 {
    i64::try_from(wall.millis()).unwrap_or(i64::MAX / 2)
}

fn millis(boot: SinceBoot) -> i64 {
    i64::try_from(boot.0.as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    impl Clock for Arc<ManualClock> {
        fn now(&self) -> Timestamp {
            self.as_ref().now()
        }
        fn since_boot(&self) -> SinceBoot {
            self.as_ref().since_boot()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn clocks() -> (Arc<ManualClock>, SteadyClock<Arc<ManualClock>>) {
        let machine = Arc::new(ManualClock::default());
        (Arc::clone(&machine), SteadyClock::new(machine))
    }

    #[test]
    fn a_jump_is_doubted_and_time_goes_on_as_it_was() {
        for minutes in [5, -5] {
            let (machine, steady) = clocks();
            let right = Arc::new(ManualClock::default());
            let jump = |by: i64| {
                let span = Duration::from_secs(300);
                let now = machine.now();
                machine.jump(if by > 0 { now + span } else { now - span });
            };
            jump(minutes);
            for _ in 0..29 {
                assert_eq!(steady.now(), right.now());
                assert_eq!(steady.jumped(), Some(minutes * 60_000));
                machine.advance(SECOND);
                right.advance(SECOND);
            }
            // It was a mistake.
            jump(-minutes);
            assert_eq!(steady.now(), right.now());
            assert_eq!(steady.jumped(), None);
        }
    }

    #[test]
    fn what_the_machine_says_for_long_enough_is_believed() {
        let (machine, steady) = clocks();
        machine.jump(machine.now() + Duration::from_secs(86_400));
        assert_eq!(steady.jumped(), Some(86_400_000));
        machine.advance(Duration::from_secs(29));
        assert!(steady.jumped().is_some());
        machine.advance(SECOND);
        assert_eq!((steady.now(), steady.jumped()), (machine.now(), None));
    }

    #[test]
    fn a_clock_that_cannot_decide_is_never_believed() {
        let (machine, steady) = clocks();
        let right = steady.now();
        for round in 0_u32..100 {
            let hours = Duration::from_secs(3600 * u64::from(1 + round % 3));
            machine.jump(right + SECOND * round + hours);
            assert_eq!(steady.now(), right + SECOND * round);
            machine.advance(SECOND);
        }
        assert!(steady.jumped().is_some());
    }

    #[test]
    fn small_corrections_are_followed_at_once_however_many() {
        let (machine, steady) = clocks();
        for _ in 0..100 {
            machine.jump(machine.now() + Duration::from_millis(900));
            assert_eq!(steady.now(), machine.now());
            machine.jump(machine.now() - Duration::from_secs(29));
            assert_eq!(steady.now(), machine.now());
            assert_eq!(steady.jumped(), None);
        }
    }
}
