//! What a round saw, what did not hold, and how a table says it.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use crate::{ledger::Checked, plot::Plot, series::Latencies};

/// A number that a scenario is about.
#[derive(Debug, Clone)]
pub struct Number {
    /// What it is.
    pub name: &'static str,
    /// What was measured.
    pub values: Latencies,
    /// What the longest may be, where that is a promise.
    pub most: Option<Duration>,
}

/// A count or a share that a scenario is about.
#[derive(Debug, Clone)]
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// Of how many.
    pub good: usize,
    /// How many there were.
    pub all: usize,
}

/// What a round saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What did not hold.
    pub broken: Vec<String>,
    /// Promises, and looks at them.
    pub checked: Checked,
    /// Durations.
    pub numbers: Vec<Number>,
    /// Counts.
    pub facts: Vec<Fact>,
    /// The longest time without a good answer, of what the scenario says must go on.
    pub downtime: Option<Duration>,
    /// A picture of it.
    pub plot: Option<Plot>,
    /// More, in a few words.
    pub saw: String,
}

impl Seen {
    /// With durations that nothing was promised about.
    pub fn number(&mut self, name: &'static str, values: Latencies) {
        self.numbers.push(Number { name, values, most: None });
    }

    /// With durations that are promised not to exceed something; they break it where they do.
    pub fn promised(&mut self, name: &'static str, values: Latencies, most: Duration) {
        if values.max() > most {
            self.broken.push(format!("{name}: {} is more than {}", ms(values.max()), ms(most)));
        }
        self.numbers.push(Number { name, values, most: Some(most) });
    }

    /// With a count.
    pub fn fact(&mut self, name: &'static str, good: usize, all: usize) {
        self.facts.push(Fact { name, good, all });
    }

    /// What did not hold, where it does not.
    pub fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(what());
        }
    }
}

/// All rounds of a scenario.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Which scenario.
    pub name: String,
    /// How many rounds held.
    pub held: usize,
    /// The seeds of those that did not, and why.
    pub broke: Vec<(u64, Vec<String>)>,
    /// Promises and looks, of all rounds.
    pub checked: Checked,
    numbers: Vec<Number>,
    facts: Vec<Fact>,
    downtime: Option<Duration>,
}

impl Summary {
    /// Nothing yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// One more round.
    pub fn add(&mut self, seed: u64, seen: &Seen) {
        if seen.broken.is_empty() {
            self.held += 1;
        } else {
            self.broke.push((seed, seen.broken.clone()));
        }
        self.checked.promises += seen.checked.promises;
        self.checked.looks += seen.checked.looks;
        self.downtime = self.downtime.max(seen.downtime);
        for new in &seen.numbers {
            match self.numbers.iter_mut().find(|it| it.name == new.name) {
                Some(old) => old.values = old.values.and(&new.values),
                None => self.numbers.push(new.clone()),
            }
        }
        for new in &seen.facts {
            match self.facts.iter_mut().find(|it| it.name == new.name) {
                Some(old) => {
                    old.good += new.good;
                    old.all += new.all;
                }
                None => self.facts.push(new.clone()),
            }
        }
    }

    /// Whether every round held, and there was one.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broke.is_empty() && self.held > 0
    }

    /// For machines.
    #[must_use]
    pub fn json(&self) -> Value {
        let millis = |span: Duration| span.as_secs_f64() * 1000.0;
        let number = |it: &Number| {
            json!({
                "name": it.name, "count": it.values.len(),
                "p50_ms": millis(it.values.percentile(50)),
                "p99_ms": millis(it.values.percentile(99)), "max_ms": millis(it.values.max()),
                "promised_ms": it.most.map(millis),
            })
        };
        let fact = |it: &Fact| json!({ "name": it.name, "good": it.good, "all": it.all });
        let broke = |it: &(u64, Vec<String>)| json!({ "seed": it.0, "what": it.1 });
        json!({
            "scenario": self.name, "rounds": self.held + self.broke.len(), "held": self.held,
            "broke": self.broke.iter().map(broke).collect::<Vec<_>>(),
            "promises": self.checked.promises, "looks": self.checked.looks,
            "downtime_ms": self.downtime.map(millis),
            "numbers": self.numbers.iter().map(number).collect::<Vec<_>>(),
            "facts": self.facts.iter().map(fact).collect::<Vec<_>>(),
        })
    }

    /// The table of several scenarios, with what was measured in each.
    #[must_use]
    pub fn table(all: &[Self]) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{:<22} {:>6} {:>5} {:>6} {:>9} {:>9} {:>9}",
            "SCENARIO", "ROUNDS", "HELD", "BROKE", "PROMISES", "CHECKED", "DOWNTIME"
        );
        for it in all {
            let downtime = it.downtime.map_or_else(|| "-".to_owned(), ms);
            let _ = writeln!(
                text,
                "{:<22} {:>6} {:>5} {:>6} {:>9} {:>9} {downtime:>9}",
                it.name,
                it.held + it.broke.len(),
                it.held,
                it.broke.len(),
                it.checked.promises,
                it.checked.looks
            );
            for number in &it.numbers {
                let values = &number.values;
                let most =
                    number.most.map_or_else(String::new, |it| format!("  at most {}", ms(it)));
                let _ = writeln!(
                    text,
                    "  {:<48} {:>8}  p50 {:>9}  p99 {:>9}  max {:>9}{most}",
                    number.name,
                    values.len(),
                    ms(values.percentile(50)),
                    ms(values.percentile(99)),
                    ms(values.max())
                );
            }
            for fact in &it.facts {
                let _ = writeln!(text, "  {:<48} {:>8}  of {}", fact.name, fact.good, fact.all);
            }
        }
        text
    }
}

/// A duration, as short as it can be said.
#[must_use]
pub fn ms(span: Duration) -> String {
    if span >= Duration::from_secs(10) {
        format!("{:.1} s", span.as_secs_f64())
    } else {
        format!("{:.1} ms", span.as_secs_f64() * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_round_is_enough_and_none_at_all_is_not() {
        let mut summary = Summary::new("a");
        assert!(!summary.is_good());
        summary.add(1, &Seen::default());
        assert!(summary.is_good());
        let mut late = Seen::default();
        let values: Latencies = [Duration::from_millis(600)].into_iter().collect();
        late.promised("answered 503", values, Duration::from_millis(500));
        summary.add(2, &late);
        assert!(!summary.is_good());
        let table = Summary::table(&[summary.clone()]);
        assert!(table.contains("600.0 ms  at most 500.0 ms"), "{table}");
        assert_eq!(summary.json()["broke"][0]["seed"], 2);
    }
}
