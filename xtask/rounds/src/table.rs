//! Figures of several rounds, and their ratios to the anchor's.

use std::fmt::Write as _;

/// What the figures of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Time for one operation.
    Nanoseconds,
    /// Operations in a second.
    PerSecond,
    /// Memory.
    Mebibytes,
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Smaller ratios are better: times, memory.
    Smaller,
    /// Greater ratios are better: rates.
    Greater,
}

impl Unit {
    /// Which way is good.
    #[must_use]
    pub const fn better(self) -> Better {
        match self {
            Self::Nanoseconds | Self::Mebibytes => Better::Smaller,
            Self::PerSecond => Better::Greater,
        }
    }

    fn show(self, figure: f64) -> String {
        match self {
            Self::Nanoseconds if figure >= 1e9 => format!("{:.2} s", figure / 1e9),
            Self::Nanoseconds if figure >= 1e6 => format!("{:.1} ms", figure / 1e6),
            Self::Nanoseconds if figure >= 1e4 => format!("{:.1} µs", figure / 1e3),
            Self::Nanoseconds if figure >= 1e3 => format!("{:.2} µs", figure / 1e3),
            Self::Nanoseconds => format!("{figure:.0} ns"),
            Self::PerSecond => format!("{figure:.0}/s"),
            Self::Mebibytes => format!("{figure:.1} MiB"),
        }
    }
}

/// Figures of several rounds. The row that is noted first is the anchor.
#[derive(Debug)]
pub struct Table {
    title: String,
    unit: Unit,
    rows: Vec<(String, Vec<f64>)>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(title: impl Into<String>, unit: Unit) -> Self {
        Self { title: title.into(), unit, rows: Vec::new() }
    }

    /// Notes the next round's figure of a row.
    pub fn note(&mut self, row: &str, figure: f64) {
        match self.rows.iter_mut().find(|(name, _)| name == row) {
            Some((_, figures)) => figures.push(figure),
            None => self.rows.push((row.to_owned(), vec![figure])),
        }
    }

    /// The table as text: for each row the median of its ratios to the anchor in the same round, the
    /// smallest and the greatest of them, and the median of the figures themselves.
    #[must_use]
    pub fn text(&self) -> String {
        let good = match self.unit.better() {
            Better::Smaller => "smaller is better",
            Better::Greater => "greater is better",
        };
        let rounds = self.rows.first().map_or(0, |(_, figures)| figures.len());
        let mut text = format!("\n{} ({rounds} rounds, {good})\n", self.title);
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let anchors = self.rows.first().map_or(&[][..], |(_, figures)| figures);
        for (index, (name, figures)) in self.rows.iter().enumerate() {
            let ratios: Vec<f64> =
                figures.iter().zip(anchors).map(|(figure, anchor)| figure / anchor).collect();
            let absolute = self.unit.show(median(figures));
            let ratio = if index == 0 {
                "1".to_owned()
            } else {
                let [least, middle, most] =
                    [0.0, 0.5, 1.0].map(|share| short(percentile(&ratios, share)));
                format!("{middle} ({least}..{most})")
            };
            let _ = writeln!(text, "  {name:<width$}  {ratio:<26} {absolute:>10}");
        }
        text
    }

    /// The figures of a row, by rounds; none where there is no such row.
    #[must_use]
    pub fn figures(&self, row: &str) -> &[f64] {
        self.rows.iter().find(|(name, _)| name == row).map_or(&[], |(_, figures)| figures)
    }

    /// The ratios of one row to another, by rounds.
    #[must_use]
    pub fn ratios(&self, row: &str, anchor: &str) -> Vec<f64> {
        let pairs = self.figures(row).iter().zip(self.figures(anchor));
        pairs.map(|(figure, anchor)| figure / anchor).collect()
    }

    /// Prints the table.
    #[expect(clippy::print_stdout, reason = "a benchmark is run to be read")]
    pub fn print(&self) {
        print!("{}", self.text());
    }
}

/// A ratio with three digits that count.
pub(crate) fn short(ratio: f64) -> String {
    let digits = if ratio >= 100.0 {
        0
    } else if ratio >= 10.0 {
        1
    } else if ratio >= 1.0 {
        2
    } else if ratio >= 0.1 {
        3
    } else {
        5
    };
    format!("{ratio:.digits$}")
}

/// The figure in the middle; 0 of none.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    percentile(figures, 0.5)
}

/// The figure that `share` of the others do not exceed: 0 is the smallest, 1 the greatest. 0 of none.
#[must_use]
pub fn percentile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the place is between 0 and the length"
    )]
    let place = (sorted.len().saturating_sub(1) as f64 * share.clamp(0.0, 1.0)).round() as usize;
    sorted.get(place).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_within_rounds_and_not_between_them() {
        let mut table = Table::new("walking", Unit::Nanoseconds);
        // The machine halves its speed: every ratio stays what it was.
        for round in [1.0, 2.0, 2.0, 4.0, 8.0] {
            table.note("plain", 100.0 * round);
            table.note("with luggage", 150.0 * round);
        }
        let text = table.text();
        assert!(text.contains("walking (5 rounds, smaller is better)"), "{text}");
        assert!(text.contains("plain         1 "), "{text}");
        assert!(text.contains("with luggage  1.50 (1.50..1.50)"), "{text}");
        assert!(text.contains("300 ns"), "{text}");
        assert_eq!(table.ratios("with luggage", "plain"), [1.5; 5]);
        assert!(table.ratios("with luggage", "nobody").is_empty());
    }

    #[test]
    fn knows_percentiles() {
        let figures: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&figures, 0.0).to_string(), "0");
        assert_eq!(median(&figures).to_string(), "50");
        assert_eq!(percentile(&figures, 0.99).to_string(), "99");
        assert_eq!(percentile(&figures, 1.0).to_string(), "100");
        assert_eq!(median(&[]).to_string(), "0");
    }
}
