//! Measuring things in turn, so that their ratios mean something on a machine that is never quiet.
//!
//! Absolute times move by a quarter from one run to the next. What is compared is therefore measured
//! in one run, in short slices that take turns, and what is quoted is the ratio to the first case,
//! the *anchor*: usually the least that the work could cost.
//!
//! | module | subject |
//! |---|---|
//! | [`finding`] | what was found about a goal, for people and machines |
//! | [`only`] | one thing of a benchmark, and nothing else |
//! | [`table`] | figures of several rounds, and their ratios |
//! | [`turns`] | timing closures in turn |

pub mod finding;
pub mod only;
pub mod table;
pub mod turns;

pub use finding::{Finding, Findings};
pub use only::Only;
pub use table::{Better, Table, Unit, median, percentile};
pub use turns::Turns;

use std::{env, time::Duration};

use tegata_core::{Clock as _, SystemClock};

/// How thorough a benchmark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// How many rounds are measured, each of which gives one ratio.
    pub rounds: u32,
    /// Whether this is only to see that the benchmark runs: then setups may be small.
    pub trial: bool,
}

impl Effort {
    /// Seven rounds under `cargo bench`, which says so with `--bench`; otherwise one, as a trial.
    #[must_use]
    pub fn asked() -> Self {
        let measured = env::args().any(|argument| argument == "--bench");
        if measured { Self { rounds: 7, trial: false } } else { Self { rounds: 1, trial: true } }
    }

    /// `whole`, or `small` in a trial.
    #[must_use]
    pub const fn size(self, whole: usize, small: usize) -> usize {
        if self.trial { small } else { whole }
    }
}

/// How long `work` takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = SystemClock.since_boot();
    let done = work();
    (done, SystemClock.since_boot().since(begin))
}
