//! What was asked, when, how it was answered, and how long that took.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    http::{Answer, NoAnswer},
    time::Stopwatch,
};

/// How something was answered, as whoever asked sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As it should be.
    Good,
    /// 503 with `Retry-After`: not now, and nothing was done.
    Later,
    /// Any other answer.
    Bad(u16),
    /// Nothing was sent, so another can be asked.
    NotSent,
    /// There is no answer, and it may have been done.
    Lost,
}

impl Outcome {
    /// How an answer is, where this status is good.
    #[must_use]
    pub fn of(asked: &Result<Answer, NoAnswer>, good: u16) -> Self {
        match asked {
            Ok(answer) if answer.status == good => Self::Good,
            Ok(answer) if answer.status == 503 && answer.field("retry-after").is_some() => {
                Self::Later
            }
            Ok(answer) => Self::Bad(answer.status),
            Err(NoAnswer::NotSent(_)) => Self::NotSent,
            Err(NoAnswer::Lost(_)) => Self::Lost,
        }
    }
}

/// One request and its answer.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Which node was asked.
    pub node: usize,
    /// When it was asked, since the beginning.
    pub at: Duration,
    /// How long the answer took.
    pub took: Duration,
    /// The answer.
    pub outcome: Outcome,
}

/// All requests of one kind.
#[derive(Debug)]
pub struct Series {
    /// What they are.
    pub name: &'static str,
    began: Stopwatch,
    samples: Mutex<Vec<Sample>>,
}

impl Series {
    /// None yet, counted from a beginning.
    #[must_use]
    pub const fn new(name: &'static str, began: Stopwatch) -> Self {
        Self { name, began, samples: Mutex::new(Vec::new()) }
    }

    /// The time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.read()
    }

    /// Notes one: makes it, and sees how long it takes.
    pub fn ask(
        &self,
        node: usize,
        good: u16,
        ask: impl FnOnce() -> Result<Answer, NoAnswer>,
    ) -> Result<Answer, NoAnswer> {
        let at = self.began.read();
        let asked = ask();
        self.note(node, at, Outcome::of(&asked, good));
        asked
    }

    /// Notes one that was asked then.
    pub fn note(&self, node: usize, at: Duration, outcome: Outcome) {
        let took = self.began.read().saturating_sub(at);
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push(Sample { node, at, took, outcome });
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long it took from a moment until each of the nodes had answered one well that was asked
    /// after it; `None` where one has not.
    #[must_use]
    pub fn back_after(&self, moment: Duration, nodes: Range<usize>) -> Option<Duration> {
        let all = self.all();
        let first = |node| {
            let good = all.iter().filter(|it| it.node == node && it.outcome == Outcome::Good);
            let ends = good.filter(|it| it.at >= moment).map(|it| it.at + it.took - moment);
            ends.min()
        };
        nodes.map(first).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Those that were asked within a span of time.
    #[must_use]
    pub fn within(&self, from: Duration, to: Duration) -> Samples {
        let all = self.all().into_iter();
        Samples(all.filter(|sample| (from..to).contains(&sample.at)).collect())
    }
}

/// Some of the requests of a kind.
#[derive(Debug, Clone, Default)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many were answered so.
    #[must_use]
    pub fn count(&self, is_so: impl Fn(Outcome) -> bool) -> usize {
        self.0.iter().filter(|sample| is_so(sample.outcome)).count()
    }

    /// The share that was answered well; 1 of none.
    #[must_use]
    pub fn success(&self) -> f64 {
        let good = self.count(|outcome| outcome == Outcome::Good);
        if self.is_empty() { 1.0 } else { share(good, self.len()) }
    }

    /// How long those took that were answered so.
    #[must_use]
    pub fn latencies(&self, is_so: impl Fn(Outcome) -> bool) -> Latencies {
        let chosen = self.0.iter().filter(|sample| is_so(sample.outcome));
        chosen.map(|sample| sample.took).collect()
    }

    /// The longest time from one good answer to the next, between two moments.
    #[must_use]
    pub fn downtime(&self, from: Duration, to: Duration) -> Duration {
        let good = self.0.iter().filter(|sample| sample.outcome == Outcome::Good);
        let mut moments: Vec<Duration> = good.map(|sample| sample.at + sample.took).collect();
        moments.extend([from, to]);
        moments.retain(|moment| (from..=to).contains(moment));
        moments.sort_unstable();
        let pairs = moments.iter().zip(moments.iter().skip(1));
        pairs.map(|(one, next)| next.saturating_sub(*one)).max().unwrap_or_default()
    }
}

/// Durations of one kind, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies(Vec<Duration>);

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(all: I) -> Self {
        let mut all: Vec<Duration> = all.into_iter().collect();
        all.sort_unstable();
        Self(all)
    }
}

impl Latencies {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What so many in a hundred do not exceed (nearest rank); zero of none.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(rank).copied().unwrap_or_default()
    }

    /// The longest; zero of none.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }

    /// These and others.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        self.0.iter().chain(&others.0).copied().collect()
    }
}

/// A share of a whole.
#[must_use]
pub fn share(part: usize, whole: usize) -> f64 {
    let number = |it: usize| f64::from(u32::try_from(it).unwrap_or(u32::MAX));
    number(part) / number(whole.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let all: Latencies = (1..=100).rev().map(MS).collect();
        assert_eq!([all.percentile(50), all.percentile(99), all.max()], [MS(50), MS(99), MS(100)]);
        let one: Latencies = [MS(7)].into_iter().collect();
        assert_eq!([one.percentile(50), one.percentile(99)], [MS(7); 2]);
        assert_eq!(Latencies::default().percentile(99), Duration::ZERO);
    }

    #[test]
    fn downtime_is_the_longest_time_without_a_good_answer() {
        let sample = |at, outcome| Sample { node: 0, at: MS(at), took: MS(0), outcome };
        let good = [10, 20, 90, 95].map(|at| sample(at, Outcome::Good));
        let bad = [30, 50].map(|at| sample(at, Outcome::Later));
        let all = Samples([&good[..], &bad[..]].concat());
        assert_eq!(all.downtime(MS(0), MS(100)), MS(70));
        assert_eq!(all.downtime(MS(0), MS(200)), MS(105));
        assert_eq!(Samples::default().downtime(MS(5), MS(9)), MS(4));
        assert!((all.success() - 4.0 / 6.0).abs() < 1e-9);
    }
}
