//! How far an order is that takes long, told to whoever waits for it.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::{Deserialize, Serialize};
use tegata_token::Tally;
use tokio::time::{Interval, interval};

/// How often it is told.
const EVERY: Duration = Duration::from_millis(100);

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnderWay {
    /// How many things are done.
    pub(crate) done: u64,
    /// Of how many; 0 while that is not known.
    pub(crate) of: u64,
}

/// Looks at a tally now and then.
pub(crate) struct Watch<'a> {
    tally: &'a Tally,
    beat: Interval,
    before: UnderWay,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(tally: &'a Tally) -> Self {
        Self { tally, beat: interval(EVERY), before: UnderWay { done: 0, of: 0 } }
    }

    /// Waits until it says something else than before.
    pub(crate) async fn next(&mut self) -> UnderWay {
        loop {
            self.beat.tick().await;
            let (done, of) = self.tally.read();
            let now = UnderWay { done, of };
            if now != self.before {
                self.before = now;
                return now;
            }
        }
    }
}

/// A line on the terminal that says how far an order is. It is drawn once there is something to say,
/// and gone when it is dropped.
pub(crate) struct Bar {
    line: ProgressBar,
    /// What is done to each.
    done: &'static str,
}

impl Bar {
    /// A bar, where somebody looks: at a terminal, and nothing but text is wanted.
    pub(crate) fn on_terminal(done: &'static str) -> Option<Self> {
        io::stderr().is_terminal().then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            Self { line, done }
        })
    }

    /// Draws how far it is.
    pub(crate) fn draw(&self, now: UnderWay) {
        let done = self.done;
        let template = if now.of > 0 {
            format!("{{bar:32}} {{pos}} of {{len}} {done}, {{rate}}, {{eta}} left")
        } else {
            format!("{{spinner}} {{pos}} {done}, {{rate}}")
        };
        // Before anything that draws: the first line looks like the others.
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.line.set_style(style.with_key("rate", rate));
        }
        if now.of > 0 && self.line.length().is_none() {
            self.line.set_length(now.of);
        }
        self.line.set_position(now.done);
    }
}

/// How many there are in a second, without what is behind the point.
fn rate(state: &ProgressState, line: &mut dyn fmt::Write) {
    // Whoever cannot write a line cannot be told so in it.
    let _ = write!(line, "{:.0}/s", state.per_sec());
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}
