//! How far a round is, for whoever waits for it: a line on the terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use crate::time::Stopwatch;

/// How many letters a whole bar has.
const WHOLE: usize = 30;

/// A line that is drawn again and again, where somebody looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Which round of how many, 0 of 0 where there are none; `None` where nobody looks.
    round: Option<(u64, u64)>,
}

impl Progress {
    /// The line of one of several rounds, drawn only where standard output is a terminal.
    #[must_use]
    pub fn of_round(aloud: bool, number: u64, of: u64) -> Self {
        Self { round: (aloud && io::stdout().is_terminal()).then_some((number, of)) }
    }

    /// The line of what is done once.
    #[must_use]
    pub fn of_one(aloud: bool) -> Self {
        Self::of_round(aloud, 0, 0)
    }

    /// Says that it begins.
    pub fn begin(self) {
        if let Some((number, of)) = self.round {
            draw(&format!("round {number} of {of} …"));
        }
    }

    /// Says how much of something is done, by how long that took.
    pub fn at(self, since: &Stopwatch, done: usize, all: usize, of_what: &str) {
        if let Some(round) = self.round {
            draw(&line(round, since.read(), (done, all), of_what));
        }
    }

    /// Takes the line away.
    pub fn end(self) {
        if self.round.is_some() {
            draw("");
        }
    }
}

fn draw(line: &str) {
    print!("\r\u{1b}[K{line}");
    let _ = io::stdout().flush();
}

/// What the line says.
fn line(
    (number, of): (u64, u64),
    took: Duration,
    (done, all): (usize, usize),
    of_what: &str,
) -> String {
    let all = all.max(1);
    let full = (WHOLE * done.min(all)) / all;
    let bar = format!("{}{}", "█".repeat(full), "░".repeat(WHOLE - full));
    let round = if of > 0 { format!("round {number} of {of} ") } else { String::new() };
    let said = format!("{round}{bar} {done} of {all} {of_what}");
    // What one took says little about the others.
    let left = u32::try_from(done).ok().filter(|done| *done > 1).and_then(|done| {
        let rest = u32::try_from(all.saturating_sub(usize::try_from(done).ok()?)).ok()?;
        Some((took / done).saturating_mul(rest))
    });
    match left {
        Some(left) => {
            format!("{said}, {} min {:02} s left", left.as_secs() / 60, left.as_secs() % 60)
        }
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_is_done_and_how_long_the_rest_takes() {
        let said = |done, all| line((1, 3), Duration::from_secs(90), (done, all), "breaks");
        let none = format!("round 1 of 3 {} 0 of 200 breaks", "░".repeat(30));
        assert_eq!(said(0, 200), none);
        let some = format!("round 1 of 3 {}{} 50 of 200 breaks", "█".repeat(7), "░".repeat(23));
        assert_eq!(said(50, 200), format!("{some}, 4 min 30 s left"));
        assert!(
            said(200, 200).contains(&"█".repeat(30)) && said(200, 200).ends_with("0 min 00 s left")
        );
        let once = line((0, 0), Duration::from_secs(9), (0, 60), "seconds");
        assert_eq!(once, format!("{} 0 of 60 seconds", "░".repeat(30)));
        // Nothing of nothing is no reason to fail, nor is more than all.
        assert!(said(0, 0).contains("0 of 1"));
        assert!(said(7, 5).contains(&"█".repeat(30)));
    }

    #[test]
    fn nobody_who_does_not_look_is_told() {
        assert!(Progress::of_round(false, 1, 1).round.is_none());
        assert!(Progress::default().round.is_none());
    }
}
