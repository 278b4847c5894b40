//! How an address stands, as far as the node knows: by what became of requests, and by what checks
//! found. Kept in atomics, because all workers learn and ask.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tegata_core::SinceBoot;

/// After so many failures in a row an address is left alone.
const MOST_FAILURES: u32 = 5;

/// It is left alone no longer than this, however often it fails.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// How an address stands. Well, at first.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Failures in a row.
    failures: AtomicU32,
    /// Until when it is left alone, in milliseconds since the start of the machine; 0: it is not.
    until: AtomicU64,
    /// How often it was left alone in a row.
    rests: AtomicU32,
    /// Whether checks found it unwell.
    down: AtomicBool,
    /// What checks found in a row: so many of the same.
    checks: AtomicU32,
    /// How often it was left alone since the start.
    ejected: AtomicU64,
}

/// Leave to send a request to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It is well.
    Well,
    /// It was left alone, and this request is to find out whether it is well again.
    Trial,
    /// It was left alone, and there is nowhere else to go.
    Resort,
}

impl Standing {
    /// Whether requests go there, as far as can be seen without asking for leave.
    pub(crate) fn is_up(&self, now: SinceBoot) -> bool {
        !self.down.load(Relaxed) && self.until.load(Relaxed) <= millis(now)
    }

    /// What a request is that is sent there because there is nowhere else.
    pub(crate) fn last_resort(&self) -> Leave {
        if self.until.load(Relaxed) == 0 { Leave::Well } else { Leave::Resort }
    }

    /// Asks for leave. Of an address that was left alone long enough, one request in `rest` finds out;
    /// the others go elsewhere meanwhile, and nothing depends on that one coming back.
    pub(crate) fn admit(&self, now: SinceBoot, rest: Duration) -> Option<Leave> {
        if self.down.load(Relaxed) {
            return None;
        }
        let until = self.until.load(Relaxed);
        if until == 0 {
            return Some(Leave::Well);
        }
        if until > millis(now) {
            return None;
        }
        let next = millis(SinceBoot(now.0 + rest));
        let taken = self.until.compare_exchange(until, next, Relaxed, Relaxed);
        taken.is_ok().then_some(Leave::Trial)
    }

    /// It answered.
    pub(crate) fn succeeded(&self, leave: Leave) {
        // What was sent before it was left alone says nothing about how it is now.
        if leave != Leave::Well {
            self.until.store(0, Relaxed);
            self.rests.store(0, Relaxed);
            self.failures.store(0, Relaxed);
        } else if self.failures.load(Relaxed) != 0 && self.until.load(Relaxed) == 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// It did not, or with an error. `at_once`: it could not even be reached.
    pub(crate) fn failed(&self, leave: Leave, now: SinceBoot, rest: Duration, at_once: bool) {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        if leave != Leave::Well {
            let until = self.until.load(Relaxed);
            // What was found well meanwhile stays so, and no last resort makes a rest longer that lasts.
            if until == 0 || (leave == Leave::Resort && until > millis(now)) {
                return;
            }
            let rests = self.rests.load(Relaxed).min(8);
            let longer = rest.saturating_mul(1 << rests).min(LONGEST_REST.max(rest));
            let next = millis(SinceBoot(now.0 + longer));
            if self.until.compare_exchange(until, next, Relaxed, Relaxed).is_ok() {
                self.rests.fetch_add(1, Relaxed);
            }
        } else if at_once || failures >= MOST_FAILURES {
            let until = millis(SinceBoot(now.0 + rest));
            if self.until.compare_exchange(0, until, Relaxed, Relaxed).is_ok() {
                self.rests.store(1, Relaxed);
                self.ejected.fetch_add(1, Relaxed);
            }
        }
    }

    /// A check was answered well, or not. Answers whether that brought it back, or took it away.
    pub(crate) fn checked(&self, well: bool, healthy: u32, unhealthy: u32) -> Option<bool> {
        let down = self.down.load(Relaxed);
        if well != down {
            // As it is known.
            self.checks.store(0, Relaxed);
            return None;
        }
        let needed = if well { healthy } else { unhealthy };
        if self.checks.fetch_add(1, Relaxed).saturating_add(1) < needed {
            return None;
        }
        self.checks.store(0, Relaxed);
        self.down.store(!well, Relaxed);
        if well {
            // What it did before it was unwell is over.
            self.until.store(0, Relaxed);
            self.rests.store(0, Relaxed);
            self.failures.store(0, Relaxed);
        } else {
            self.ejected.fetch_add(1, Relaxed);
        }
        Some(well)
    }

    /// Nobody checks it any more.
    pub(crate) fn is_not_checked(&self) {
        self.down.store(false, Relaxed);
        self.checks.store(0, Relaxed);
    }

    /// How often it was left alone since the start.
    pub(crate) fn ejected(&self) -> u64 {
        self.ejected.load(Relaxed)
    }
}

/// Never 0, which means that there is no such time.
fn millis(at: SinceBoot) -> u64 {
    u64::try_from(at.0.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(2);

    fn at(secs: u64) -> SinceBoot {
        SinceBoot(Duration::from_secs(secs))
    }

    #[test]
    fn five_failures_in_a_row_count_and_scattered_ones_do_not() {
        let address = Standing::default();
        for _ in 0..3 {
            for _ in 0..4 {
                address.failed(Leave::Well, at(1), REST, false);
            }
            address.succeeded(Leave::Well);
        }
        assert_eq!(address.admit(at(1), REST), Some(Leave::Well));
        for _ in 0..5 {
            address.failed(Leave::Well, at(1), REST, false);
        }
        assert_eq!(address.admit(at(2), REST), None);
        assert!(!address.is_up(at(2)) && address.ejected() == 1);
        // What was under way when it was left alone changes nothing.
        address.succeeded(Leave::Well);
        address.failed(Leave::Well, at(2), REST, false);
        assert!(!address.is_up(at(2)) && address.is_up(at(3)));
    }

    #[test]
    fn one_request_finds_out_whether_it_is_well_again() {
        let address = Standing::default();
        address.failed(Leave::Well, at(10), REST, true);
        assert_eq!(address.admit(at(11), REST), None);
        assert_eq!(address.admit(at(12), REST), Some(Leave::Trial));
        assert_eq!(address.admit(at(12), REST), None);
        // It never comes back: the next one is sent, two seconds later.
        assert_eq!(address.admit(at(14), REST), Some(Leave::Trial));
        // Whoever fails again and again is asked less and less.
        let mut now = 14;
        for rest in [4, 8, 16, 30, 30] {
            address.failed(Leave::Trial, at(now), REST, true);
            assert_eq!(address.admit(at(now + rest - 1), REST), None, "{rest}");
            now += rest;
            assert_eq!(address.admit(at(now), REST), Some(Leave::Trial), "{rest}");
        }
        address.succeeded(Leave::Trial);
        assert_eq!(address.admit(at(now), REST), Some(Leave::Well));
        address.failed(Leave::Well, at(now), REST, true);
        assert!(address.is_up(at(now + 2)));
    }

    #[test]
    fn last_resorts_make_no_rest_longer_and_what_came_back_stays() {
        let address = Standing::default();
        address.failed(Leave::Well, at(10), REST, true);
        assert_eq!(address.last_resort(), Leave::Resort);
        for _ in 0..9 {
            address.failed(Leave::Resort, at(11), REST, true);
        }
        // Two seconds, as before.
        assert_eq!(address.admit(at(12), REST), Some(Leave::Trial));
        // One answers, and another that was sent before it fails after it.
        address.succeeded(Leave::Resort);
        address.failed(Leave::Trial, at(13), REST, true);
        address.failed(Leave::Resort, at(13), REST, true);
        assert_eq!(address.admit(at(13), REST), Some(Leave::Well));
    }

    #[test]
    fn of_many_at_once_one_finds_out() {
        let address = Standing::default();
        for round in 0..100 {
            address.failed(Leave::Well, at(round * 100), REST, true);
            let trials = AtomicU32::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        if address.admit(at(round * 100 + 50), REST).is_some() {
                            trials.fetch_add(1, Relaxed);
                        }
                    });
                }
            });
            assert_eq!(trials.into_inner(), 1);
            address.succeeded(Leave::Trial);
        }
    }

    #[test]
    fn checks_change_their_mind_after_several_in_a_row() {
        let address = Standing::default();
        let check = |well| address.checked(well, 2, 3);
        assert_eq!([false, false, true, false, false].map(check), [None; 5]);
        assert!(address.is_up(at(1)));
        assert_eq!(check(false), Some(false));
        assert_eq!(address.admit(at(1), REST), None);
        assert_eq!([true, false, true].map(check), [None; 3]);
        assert_eq!(check(true), Some(true));
        assert_eq!(address.admit(at(1), REST), Some(Leave::Well));
    }
}
