//! What was found about a goal, for people and for whoever collects it.

use std::{env, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    only::Only,
    table::{Better, percentile, short},
};

/// The variable that names the directory where findings are collected.
pub const COLLECTED: &str = "TEGATA_FINDINGS";

/// What was found about one thing.
#[derive(Debug, Clone)]
pub struct Finding {
    id: &'static str,
    what: String,
    unit: &'static str,
    values: Vec<f64>,
    better: Better,
    limits: [Option<f64>; 3],
    at: Option<f64>,
    checked: Option<(u64, u64)>,
    seen: String,
}

impl Finding {
    /// A finding about a goal, by the name that the goal has: one figure, or one for each round.
    #[must_use]
    pub fn new(id: &'static str, what: impl Into<String>, unit: &'static str) -> Self {
        Self {
            id,
            what: what.into(),
            unit,
            values: Vec::new(),
            better: Better::Smaller,
            limits: [None; 3],
            at: None,
            checked: None,
            seen: String::new(),
        }
    }

    /// With its figures, of one round each.
    #[must_use]
    pub fn values(mut self, values: impl IntoIterator<Item = f64>) -> Self {
        self.values.extend(values);
        self
    }

    /// Of which greater ones are better.
    #[must_use]
    pub const fn greater(mut self) -> Self {
        self.better = Better::Greater;
        self
    }

    /// With what no release may be worse than, what is wanted, and what is thought to be possible.
    #[must_use]
    pub const fn limits(mut self, gate: f64, goal: f64, moonshot: f64) -> Self {
        self.limits = [Some(gate), Some(goal), Some(moonshot)];
        self
    }

    /// As a point of a line: how many there were of what could matter.
    #[must_use]
    pub const fn at(mut self, many: f64) -> Self {
        self.at = Some(many);
        self
    }

    /// With how many answers were looked at, and how many of them were wrong.
    #[must_use]
    pub const fn checked(mut self, wrong: u64, of: u64) -> Self {
        self.checked = Some((wrong, of));
        self
    }

    /// With the figures behind it, in words.
    #[must_use]
    pub fn seen(mut self, seen: impl Into<String>) -> Self {
        self.seen = seen.into();
        self
    }

    /// The figure in the middle.
    #[must_use]
    pub fn middle(&self) -> f64 {
        percentile(&self.values, 0.5)
    }

    /// How far it came. `None` where nothing is wanted.
    #[must_use]
    pub fn verdict(&self) -> Option<&'static str> {
        let middle = self.middle();
        let holds = |limit: Option<f64>| match self.better {
            Better::Smaller => limit.map(|limit| middle <= limit),
            Better::Greater => limit.map(|limit| middle >= limit),
        };
        let [gate, goal, moonshot] = self.limits.map(holds);
        Some(match (gate?, goal?, moonshot?) {
            (_, _, true) => "moonshot",
            (_, true, _) => "goal",
            (true, ..) => "gate",
            _ => "missed",
        })
    }

    fn text(&self) -> String {
        let [least, middle, most] =
            [0.0, 0.5, 1.0].map(|share| short(percentile(&self.values, share)));
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        let range =
            if self.values.len() > 1 { format!(" ({least}..{most})") } else { String::new() };
        let verdict = self.verdict().map_or(String::new(), |verdict| format!("  [{verdict}]"));
        let checked =
            self.checked.map_or(String::new(), |(wrong, of)| format!("  {wrong} of {of} wrong"));
        let seen = if self.seen.is_empty() { "" } else { &format!("  {}", self.seen) };
        format!("{:<4} {}: {middle}{range}{unit}{verdict}{checked}{seen}", self.id, self.what)
    }

    fn json(&self) -> Value {
        let [gate, goal, moonshot] = self.limits;
        json!({
            "id": self.id, "what": self.what, "unit": self.unit,
            "rounds": self.values.len(), "median": self.middle(),
            "min": percentile(&self.values, 0.0), "max": percentile(&self.values, 1.0),
            "greater_is_better": self.better == Better::Greater,
            "gate": gate, "goal": goal, "moonshot": moonshot, "verdict": self.verdict(),
            "at": self.at, "wrong": self.checked.map(|it| it.0),
            "checked": self.checked.map(|it| it.1), "seen": self.seen,
        })
    }
}

/// Findings of one program.
#[derive(Debug, Default)]
pub struct Findings {
    all: Vec<Finding>,
    only: Only,
}

impl Findings {
    /// Nothing yet. Nothing is kept but what is asked for.
    #[must_use]
    pub const fn of(only: Only) -> Self {
        Self { all: Vec::new(), only }
    }

    /// Prints a finding and keeps it, where it is asked for.
    ///
    /// # Panics
    /// An answer was wrong: then no figure counts.
    #[expect(clippy::print_stdout, reason = "a benchmark is run to be read")]
    #[expect(clippy::panic, reason = "the figures of something that answers wrongly mean nothing")]
    pub fn note(&mut self, finding: Finding) {
        let is_asked_for = self.only.wants(&[finding.id]);
        if is_asked_for {
            println!("{}", finding.text());
        }
        if let Some((wrong @ 1.., of)) = finding.checked {
            panic!("{}: {wrong} of {of} answers were wrong", finding.what);
        }
        if is_asked_for {
            self.all.push(finding);
        }
    }

    /// Writes them as JSON into the directory that [`COLLECTED`] names, where it names one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn tell(&self, name: &str) -> std::io::Result<()> {
        let Some(directory) = env::var_os(COLLECTED) else { return Ok(()) };
        let all: Vec<Value> = self.all.iter().map(Finding::json).collect();
        let text = format!("{:#}\n", Value::Array(all));
        fs::create_dir_all(&directory)?;
        fs::write(Path::new(&directory).join(format!("{name}.json")), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_it_came() {
        let rate = |value| Finding::new("G1", "rate", "").values([value]).greater();
        let verdict = |value| rate(value).limits(0.9, 0.97, 0.99).verdict();
        assert_eq!(verdict(0.89), Some("missed"));
        assert_eq!(verdict(0.9), Some("gate"));
        assert_eq!(verdict(0.98), Some("goal"));
        assert_eq!(verdict(1.2), Some("moonshot"));
        assert_eq!(rate(1.0).verdict(), None);
        let time = Finding::new("G2", "time", "").values([3.0, 1.0, 2.0]).limits(4.0, 2.0, 1.0);
        assert_eq!(time.verdict(), Some("goal"));
        assert!(time.text().contains("2.00 (1.00..3.00)"), "{}", time.text());
        // Nothing is no success.
        assert_eq!(
            Finding::new("G3", "no", "").greater().limits(1.0, 2.0, 3.0).verdict(),
            Some("missed")
        );
    }

    #[test]
    #[should_panic(expected = "1 of 7 answers were wrong")]
    fn wrong_answers_have_no_speed() {
        Findings::default().note(Finding::new("G1", "rate", "").values([1.0]).checked(1, 7));
    }
}
