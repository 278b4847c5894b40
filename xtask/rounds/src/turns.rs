//! Timing closures in turn.

use std::{hint::black_box, time::Duration};

use crate::{Effort, Table, Unit, median, timed};

/// How long one case has the processor before it is the next one's turn.
const SLICE: Duration = Duration::from_millis(4);

/// How many slices of each case make a round. Their median counts, so that a slice in which
/// somebody else was scheduled does not.
const SLICES: u32 = 15;

/// Cases that do comparable work. The first is the anchor.
pub struct Turns<'a> {
    title: String,
    cases: Vec<Case<'a>>,
}

struct Case<'a> {
    name: String,
    work: Box<dyn FnMut(u32) + 'a>,
    per_slice: u32,
}

impl<'a> Turns<'a> {
    /// Nothing to measure yet.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), cases: Vec::new() }
    }

    /// One more case. What `work` answers is not optimised away.
    #[must_use]
    pub fn case<T>(mut self, name: impl Into<String>, mut work: impl FnMut() -> T + 'a) -> Self {
        let repeated = move |times| {
            for _ in 0..times {
                black_box(work());
            }
        };
        self.cases.push(Case { name: name.into(), work: Box::new(repeated), per_slice: 1 });
        self
    }

    /// Measures all cases, prints how they relate, and answers the figures.
    pub fn measure(mut self, effort: Effort) -> Table {
        for case in &mut self.cases {
            case.calibrate();
        }
        let mut table = Table::new(self.title, Unit::Nanoseconds);
        for _ in 0..effort.rounds {
            let mut took: Vec<Vec<f64>> = vec![Vec::new(); self.cases.len()];
            for _ in 0..SLICES {
                for (case, took) in self.cases.iter_mut().zip(&mut took) {
                    took.push(case.slice());
                }
            }
            for (case, took) in self.cases.iter().zip(took) {
                table.note(&case.name, median(&took));
            }
        }
        table.print();
        table
    }
}

impl Case<'_> {
    /// Finds out how often the work fits into a slice, and warms up meanwhile.
    fn calibrate(&mut self) {
        loop {
            let ((), took) = timed(|| (self.work)(self.per_slice));
            if took >= SLICE / 2 || self.per_slice >= 1 << 30 {
                return;
            }
            self.per_slice *= 2;
        }
    }

    /// Nanoseconds for the work once, in one slice.
    fn slice(&mut self) -> f64 {
        let ((), took) = timed(|| (self.work)(self.per_slice));
        took.as_secs_f64() * 1e9 / f64::from(self.per_slice)
    }
}

impl std::fmt::Debug for Turns<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Turns({}, {} cases)", self.title, self.cases.len())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn gives_every_case_its_turn() {
        let (first, second) = (Cell::new(0_u32), Cell::new(0_u32));
        let count = |cell: &Cell<u32>| cell.set(cell.get().saturating_add(1));
        Turns::new("test")
            .case("first", || count(&first))
            .case("second", || count(&second))
            .measure(Effort { rounds: 1, trial: true });
        assert!(first.get() >= SLICES && second.get() >= SLICES);
    }
}
