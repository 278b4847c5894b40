//! A plot of what happened in each of the last seconds.

use std::fmt::Write as _;

use crate::lookout::Beat;

/// How many seconds are shown.
pub(super) const SECONDS: usize = 120;

/// How wide and how high the plot is, in its own units.
const WIDTH: usize = 600;
const HEIGHT: usize = 120;

/// Two lines over the same time.
pub(super) struct Plot {
    pub(super) sign_ins: String,
    pub(super) refusals: String,
    /// What the upper edge stands for.
    pub(super) top: u64,
    pub(super) last: Beat,
    /// The most of either in one second.
    pub(super) most: u64,
}

impl Plot {
    pub(super) fn of(beats: &[Beat]) -> Self {
        let shown = beats.get(beats.len().saturating_sub(SECONDS)..).unwrap_or_default();
        let most = shown.iter().map(|beat| beat.sign_ins.max(beat.refusals)).max().unwrap_or(0);
        let top = nice(most);
        Self {
            sign_ins: line(shown, top, |beat| beat.sign_ins),
            refusals: line(shown, top, |beat| beat.refusals),
            top,
            last: shown.last().copied().unwrap_or_default(),
            most,
        }
    }
}

/// The next number that people like to see at an edge.
fn nice(most: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for step in [1, 2, 5] {
            let edge = unit.saturating_mul(step);
            if edge >= most.max(4) || edge == u64::MAX {
                return edge;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// The path of a line that ends at the right edge.
fn line(beats: &[Beat], top: u64, of: impl Fn(&Beat) -> u64) -> String {
    let step = WIDTH / (SECONDS - 1);
    let left = WIDTH.saturating_sub(step * beats.len().saturating_sub(1));
    let mut path = String::new();
    for (place, beat) in beats.iter().enumerate() {
        let high = u64::try_from(HEIGHT).unwrap_or_default().saturating_mul(of(beat).min(top));
        let y = u64::try_from(HEIGHT).unwrap_or_default().saturating_sub(high / top.max(1));
        let word = if place == 0 { 'M' } else { 'L' };
        // A text takes whatever is written into it.
        let _ = write!(path, "{word}{} {y}", left + step * place);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_a_number_that_people_read() {
        for (most, edge) in [(0, 5), (4, 5), (5, 5), (6, 10), (11, 20), (21, 50), (501, 1000)] {
            assert_eq!(nice(most), edge, "{most}");
        }
        assert_eq!(nice(u64::MAX), u64::MAX);
    }

    #[test]
    fn lines_end_at_the_right_and_stay_within() {
        let beats: Vec<_> = (0..200).map(|n| Beat { sign_ins: n % 7, refusals: n % 3 }).collect();
        let plot = Plot::of(&beats);
        assert!(
            plot.sign_ins.starts_with("M5 ") && plot.sign_ins.contains("L600 "),
            "{}",
            plot.sign_ins
        );
        assert_eq!((plot.most, plot.top), (6, 10));
        assert_eq!(Plot::of(&[]).sign_ins, "");
        assert_eq!(Plot::of(&[Beat::default()]).refusals, "M600 120");
    }
}
