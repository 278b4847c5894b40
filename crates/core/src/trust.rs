//! Whether the wall clock can be believed.
//!
//! What tokens say is wall time, so a node whose clock is minutes off issues what others refuse, or
//! what lives too long. Two things tell: the store's own clock, where it has one, and the time since
//! boot, which nobody sets. Once the wall clock has moved against that by more than
//! [`WRONG`], it is not believed until the store agrees with it, or, where no store says, until
//! it has kept step for [`STEADY`]: a laptop that was asleep must come back.

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{SinceBoot, Timestamp};

/// How far the wall clock may be off: as much as tokens are given for it.
pub const WRONG: Duration = Duration::from_secs(30);

/// A smaller jump is worth a warning.
pub const JUMP: Duration = Duration::from_secs(2);

/// For how long a clock that jumped must keep step to be believed without the store.
pub const STEADY: Duration = Duration::from_secs(30);

/// What a look at the clock found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It keeps step.
    Steady,
    /// It has jumped by so much since the last look.
    Jumped(Duration),
}

/// Watches the wall clock of a node.
#[derive(Debug, Default)]
pub struct Trust(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Wall time at the boot of the machine, in milliseconds, by the last look.
    boot: Option<i128>,
    /// Since when it has kept step, after a jump too great to be believed.
    doubted: Option<SinceBoot>,
    /// By how much the store says that it is off.
    apart: Option<Duration>,
}

impl Trust {
    /// Looks at the clock. `apart`: by how much it differs from the store's, where the store has
    /// just said.
    pub fn look(&self, now: Timestamp, since_boot: SinceBoot, apart: Option<Duration>) -> Look {
        let mut state = self.0.lock();
        let millis = i128::try_from(since_boot.0.as_millis()).unwrap_or(i128::MAX);
        let boot = i128::from(now.millis()) - millis;
        let before = state.boot.replace(boot).unwrap_or(boot);
        let jump = u64::try_from((boot - before).unsigned_abs()).unwrap_or(u64::MAX);
        let jump = Duration::from_millis(jump);
        state.apart = apart;
        if jump > WRONG {
            state.doubted = Some(since_boot);
        }
        let agreed = apart.is_some_and(|apart| apart <= WRONG);
        let steady = state.doubted.is_some_and(|since| since_boot.since(since) >= STEADY);
        if agreed || (apart.is_none() && steady) {
            state.doubted = None;
        }
        if jump > JUMP { Look::Jumped(jump) } else { Look::Steady }
    }

    /// Why the wall clock is not believed, for operators. `None`: it is.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let state = self.0.lock();
        match (state.apart, state.doubted) {
            (Some(apart), _) if apart > WRONG => Some(format!(
                "the clock of this machine and that of the store are {} s apart: set the one that \
                 is wrong",
                apart.as_secs()
            )),
            (None, Some(_)) => Some(
                "the clock of this machine has jumped, and the store cannot be asked: it is \
                 believed again when it has kept step for 30 s"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};

    const SECOND: Duration = Duration::from_secs(1);

    struct Desk {
        clock: ManualClock,
        trust: Trust,
    }

    impl Desk {
        fn new() -> Self {
            let desk = Self { clock: ManualClock::default(), trust: Trust::default() };
            desk.look(None);
            desk
        }

        fn look(&self, apart: Option<u64>) -> Look {
            let apart = apart.map(Duration::from_secs);
            self.trust.look(self.clock.now(), self.clock.since_boot(), apart)
        }

        fn pass(&self, seconds: u64, apart: Option<u64>) {
            for _ in 0..seconds {
                self.clock.advance(SECOND);
                assert_eq!(self.look(apart), Look::Steady);
            }
        }

        fn jump(&self, ahead: bool, by: Duration) {
            let now = self.clock.now();
            self.clock.jump(if ahead { now + by } else { now - by });
        }
    }

    #[test]
    fn a_clock_that_jumps_is_doubted_until_the_store_agrees() {
        for ahead in [true, false] {
            let desk = Desk::new();
            desk.pass(10, Some(0));
            desk.jump(ahead, 300 * SECOND);
            assert_eq!(desk.look(Some(300)), Look::Jumped(300 * SECOND));
            assert!(desk.trust.doubt().unwrap().contains("300 s apart"));
            // However long it stays so.
            desk.pass(100, Some(300));
            assert!(desk.trust.doubt().is_some());
            desk.jump(!ahead, 300 * SECOND);
            assert_eq!(desk.look(Some(0)), Look::Jumped(300 * SECOND));
            assert_eq!(desk.trust.doubt(), None);
        }
    }

    #[test]
    fn without_a_store_it_is_believed_when_it_has_kept_step() {
        let desk = Desk::new();
        desk.jump(true, 3600 * SECOND);
        desk.look(None);
        desk.pass(29, None);
        assert!(desk.trust.doubt().is_some());
        desk.pass(1, None);
        assert_eq!(desk.trust.doubt(), None);
    }

    #[test]
    fn a_clock_that_is_wrong_from_the_start_is_doubted() {
        let desk = Desk::new();
        desk.look(Some(31));
        assert!(desk.trust.doubt().is_some());
        desk.look(Some(30));
        assert_eq!(desk.trust.doubt(), None);
    }

    #[test]
    fn a_small_jump_is_told_and_believed_and_sleep_is_no_jump() {
        let desk = Desk::new();
        desk.jump(true, 3 * SECOND);
        assert_eq!(desk.look(None), Look::Jumped(3 * SECOND));
        assert_eq!(desk.trust.doubt(), None);
        // While a machine sleeps, both clocks go on.
        desk.clock.advance(3600 * SECOND);
        assert_eq!(desk.look(None), Look::Steady);
        assert_eq!(desk.trust.doubt(), None);
    }

    #[test]
    fn the_store_that_goes_away_after_a_jump_helps_nobody() {
        let desk = Desk::new();
        desk.jump(true, 300 * SECOND);
        desk.look(Some(300));
        desk.pass(5, None);
        assert!(desk.trust.doubt().is_some());
        desk.pass(25, None);
        assert_eq!(desk.trust.doubt(), None);
        desk.pass(1, Some(300));
        assert!(desk.trust.doubt().is_some());
    }
}
