//! A circuit breaker: who does not answer is left alone for a while, and then asked once.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::clock::{Clock, SinceBoot};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct BreakerLimits {
    /// So many failures in a row open it. 0 counts as 1.
    pub failures: u32,
    /// For so long nobody is let through; then one is, to see.
    pub open_for: Duration,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(30) }
    }
}

/// What a breaker does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everybody is let through.
    Closed,
    /// Nobody is let through.
    Open,
    /// One is let through, and everybody else waits for what becomes of it.
    HalfOpen,
}

impl BreakerState {
    /// The state in a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker is open: the other side was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it failed several times in a row and is left alone for another {} ms", .again_in.as_millis())]
pub struct BreakerOpen {
    /// How long until somebody is let through again. Zero while somebody is.
    pub again_in: Duration,
}

/// Stands before something that may fail. Opens after several failures in a row, lets one caller
/// through after a while, and closes when that one succeeds. While all is well, nobody waits for
/// anybody.
pub struct Breaker {
    limits: BreakerLimits,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    /// The round in which it is closed and has seen no failure; [`UNQUIET`] otherwise.
    // INVARIANT: it is written by whoever holds `inner`, and says what stands there.
    quiet: AtomicU64,
}

const UNQUIET: u64 = u64::MAX;

struct Inner {
    phase: Phase,
    // Raised at every change of phase, so that what began before cannot decide about what is now.
    round: u64,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed { failures: u32 },
    Open { since: SinceBoot },
    HalfOpen,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(limits: BreakerLimits, clock: Arc<dyn Clock>) -> Self {
        let inner = Inner { phase: Phase::Closed { failures: 0 }, round: 0 };
        Self { limits, clock, inner: Mutex::new(inner), quiet: AtomicU64::new(0) }
    }

    /// Asks to be let through. Whoever is says afterwards how it went; a permit that is dropped
    /// without a word (its caller went away) tells nothing.
    ///
    /// # Errors
    /// [`BreakerOpen`].
    pub fn admit(&self) -> Result<Permit<'_>, BreakerOpen> {
        let quiet = self.quiet.load(Ordering::Acquire);
        if quiet != UNQUIET {
            return Ok(Permit { breaker: self, round: quiet, probing: false });
        }
        let mut inner = self.inner.lock();
        let probing = match inner.phase {
            Phase::Closed { .. } => false,
            Phase::HalfOpen => return Err(BreakerOpen { again_in: Duration::ZERO }),
            Phase::Open { since } => {
                let waited = self.clock.since_boot().since(since);
                if waited < self.limits.open_for {
                    return Err(BreakerOpen { again_in: self.limits.open_for - waited });
                }
                inner.turn(Phase::HalfOpen);
                true
            }
        };
        Ok(Permit { breaker: self, round: inner.round, probing })
    }

    /// Says that the other side has been seen to be there again: the next caller is let through,
    /// however long ago it failed.
    pub fn seen_again(&self) {
        let now = self.clock.since_boot();
        let mut inner = self.inner.lock();
        if let Phase::Open { since } = &mut inner.phase {
            *since = SinceBoot(now.0.saturating_sub(self.limits.open_for)).min(*since);
        }
    }

    /// What it does at the moment.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.inner.lock().phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen => BreakerState::HalfOpen,
        }
    }
}

impl Inner {
    fn turn(&mut self, phase: Phase) {
        self.phase = phase;
        self.round += 1;
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Breaker({})", self.state().name())
    }
}

/// Leave to ask the other side once.
#[derive(Debug)]
#[must_use = "say how it went: a breaker that hears nothing never opens"]
pub struct Permit<'b> {
    breaker: &'b Breaker,
    round: u64,
    probing: bool,
}

impl Permit<'_> {
    /// The other side answered.
    pub fn succeeded(mut self) {
        let probing = std::mem::take(&mut self.probing);
        if self.breaker.quiet.load(Ordering::Acquire) == self.round {
            return;
        }
        let mut inner = self.breaker.inner.lock();
        if inner.round != self.round {
            return;
        }
        match &mut inner.phase {
            Phase::Closed { failures } => *failures = 0,
            _ if probing => inner.turn(Phase::Closed { failures: 0 }),
            _ => return,
        }
        self.breaker.quiet.store(inner.round, Ordering::Release);
    }

    /// The other side did not answer, or only that it cannot.
    pub fn failed(mut self) {
        let probing = std::mem::take(&mut self.probing);
        let now = self.breaker.clock.since_boot();
        let mut inner = self.breaker.inner.lock();
        if inner.round != self.round {
            return;
        }
        match &mut inner.phase {
            Phase::Closed { failures } => {
                self.breaker.quiet.store(UNQUIET, Ordering::Release);
                *failures += 1;
                if *failures >= self.breaker.limits.failures {
                    inner.turn(Phase::Open { since: now });
                }
            }
            _ if probing => inner.turn(Phase::Open { since: now }),
            _ => {}
        }
    }
}

impl Drop for Permit<'_> {
    /// A probe that nobody heard of again makes room for the next one.
    fn drop(&mut self) {
        if !self.probing {
            return;
        }
        let now = self.breaker.clock.since_boot();
        let since = SinceBoot(now.0.saturating_sub(self.breaker.limits.open_for));
        let mut inner = self.breaker.inner.lock();
        if inner.round == self.round {
            inner.turn(Phase::Open { since });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const AWHILE: Duration = Duration::from_secs(30);

    fn breaker() -> (Arc<ManualClock>, Breaker) {
        let clock = Arc::new(ManualClock::default());
        (clock.clone(), Breaker::new(BreakerLimits::default(), clock))
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.admit().unwrap().failed();
        }
    }

    #[test]
    fn opens_after_failures_in_a_row_and_not_after_scattered_ones() {
        let (_, breaker) = breaker();
        fail(&breaker, 4);
        breaker.admit().unwrap().succeeded();
        fail(&breaker, 4);
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, 1);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.admit().unwrap_err().again_in, AWHILE);
    }

    #[test]
    fn lets_one_through_after_a_while_and_closes_when_it_succeeds() {
        let (clock, breaker) = breaker();
        fail(&breaker, 5);
        clock.advance(AWHILE - Duration::from_millis(1));
        assert_eq!(breaker.admit().unwrap_err().again_in, Duration::from_millis(1));
        clock.advance(Duration::from_millis(1));
        let probe = breaker.admit().unwrap();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.admit().is_err());
        probe.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, 4);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn whoever_is_seen_again_is_asked_once_before_the_time_is_over() {
        let (clock, breaker) = breaker();
        clock.advance(2 * AWHILE);
        breaker.seen_again();
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, 5);
        assert!(breaker.admit().is_err());
        breaker.seen_again();
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_err());
        probe.failed();
        assert_eq!(breaker.admit().unwrap_err().again_in, AWHILE);
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_the_whole_time_again() {
        let (clock, breaker) = breaker();
        fail(&breaker, 5);
        clock.advance(AWHILE);
        breaker.admit().unwrap().failed();
        assert_eq!(breaker.admit().unwrap_err().again_in, AWHILE);
    }

    #[test]
    fn a_probe_that_is_abandoned_makes_room_for_the_next() {
        let (clock, breaker) = breaker();
        fail(&breaker, 5);
        clock.advance(AWHILE);
        drop(breaker.admit().unwrap());
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn many_at_once_see_one_probe_and_no_failure_is_lost() {
        let (clock, breaker) = breaker();
        for _ in 0..200 {
            let permits: Vec<_> = (0..5).map(|_| breaker.admit().unwrap()).collect();
            std::thread::scope(|scope| {
                for permit in permits {
                    scope.spawn(move || permit.failed());
                }
            });
            assert_eq!(breaker.state(), BreakerState::Open);
            clock.advance(AWHILE);
            let admitted = std::sync::Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| admitted.lock().unwrap().extend(breaker.admit().ok()));
                }
            });
            let mut admitted = admitted.into_inner().unwrap();
            assert_eq!(admitted.len(), 1);
            admitted.pop().unwrap().succeeded();
            assert_eq!(breaker.state(), BreakerState::Closed);
            // A success takes the failures before it back, and the short way knows it.
            fail(&breaker, 4);
            breaker.admit().unwrap().succeeded();
        }
    }

    #[test]
    fn what_began_before_it_opened_decides_nothing_afterwards() {
        let (clock, breaker) = breaker();
        let (slow, slower) = (breaker.admit().unwrap(), breaker.admit().unwrap());
        fail(&breaker, 5);
        slow.succeeded();
        assert_eq!(breaker.state(), BreakerState::Open);
        clock.advance(AWHILE);
        let probe = breaker.admit().unwrap();
        slower.failed();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        probe.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
