//! How a node is at a moment, and how much more is too much.

use std::time::Duration;

use anyhow::Result;
use tegata_engines::TegataNode;

use crate::look;

/// How a node is at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// When, since the beginning.
    pub at: Duration,
    /// Memory in use, in KiB.
    pub memory: u64,
    /// Files and connections that are open.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Lines of its metrics.
    pub metrics: u64,
    /// Connections of clients.
    pub connections: u64,
    /// Requests that services have.
    pub running: u64,
}

/// What is looked at: its name, and where it is.
pub type Measure = (&'static str, fn(&Look) -> u64);

/// All that is looked at.
pub const MEASURES: [Measure; 6] = [
    ("memory, KiB", |look| look.memory),
    ("descriptors", |look| look.descriptors),
    ("threads", |look| look.threads),
    ("metrics", |look| look.metrics),
    ("connections", |look| look.connections),
    ("at services", |look| look.running),
];

impl Look {
    /// How it is now.
    ///
    /// # Errors
    /// It does not run.
    pub fn at(node: &TegataNode, at: Duration) -> Result<Self> {
        let metrics = look::metrics(node)?;
        let number = |name: &str| format!("{:.0}", look::sum(&metrics, name)).parse().unwrap_or(0);
        Ok(Self {
            at,
            memory: look::resident(node)? / 1024,
            descriptors: u64::try_from(look::descriptors(node)?)?,
            threads: u64::try_from(look::threads(node)?)?,
            metrics: u64::try_from(metrics.lines().count())?,
            connections: number("gateway_connections"),
            running: number("gateway_upstream_running"),
        })
    }
}

/// What may grow over the second half of the time. The first is when caches are filled.
#[derive(Debug, Clone, Copy)]
pub struct Level {
    /// Memory, in KiB.
    pub memory: u64,
    /// Everything else, beside a tenth.
    pub others: u64,
}

impl Default for Level {
    /// What is the allocator's, and no more.
    fn default() -> Self {
        Self { memory: 2 * 1024, others: 48 }
    }
}

/// Of how many moments the middle one counts, and how many such there are at least.
const WINDOWS: usize = 10;

/// What is more at the end than it may be.
pub(super) fn grown(looks: &[Look], level: &Level) -> Vec<String> {
    let half = looks.get(looks.len() / 2..).unwrap_or_default();
    if half.len() < 2 * WINDOWS.min(4) {
        return vec![format!("{} looks are too few to know", looks.len())];
    }
    let mut all = Vec::new();
    let more = memory_over(half);
    if more > f64::from(u32::try_from(level.memory).unwrap_or(u32::MAX)) {
        all.push(format!(
            "memory: {:.1} MiB more over the second half, at most {:.1}",
            more / 1024.0,
            look::kib(level.memory)
        ));
    }
    let (before, after) = half.split_at(half.len() / 2);
    for (name, of) in MEASURES.into_iter().skip(1) {
        let most = |looks: &[Look]| looks.iter().map(of).max().unwrap_or_default();
        let (before, after) = (most(before), most(after));
        let may = before + before / 10 + level.others;
        if after > may {
            all.push(format!("{name}: {after} after {before}, at most {may}"));
        }
    }
    all
}

/// How much memory grows over these looks, in KiB: by the slope of what was usual in each of ten parts of them, which
/// is the middle one of the slopes between any two parts (Theil 1950, Sen 1968), so that a part in which much was
/// done says little.
fn memory_over(looks: &[Look]) -> f64 {
    let size = looks.len().div_ceil(WINDOWS).max(1);
    let usual: Vec<(f64, f64)> = looks
        .chunks(size)
        .filter_map(|part| {
            let mut memory: Vec<u64> = part.iter().map(|look| look.memory).collect();
            memory.sort_unstable();
            let middle = f64::from(u32::try_from(*memory.get(memory.len() / 2)?).ok()?);
            Some((part.get(part.len() / 2)?.at.as_secs_f64(), middle))
        })
        .collect();
    let mut slopes: Vec<f64> = usual
        .iter()
        .enumerate()
        .flat_map(|(number, one)| usual.iter().skip(number + 1).map(move |other| (one, other)))
        .filter(|(one, other)| other.0 > one.0)
        .map(|(one, other)| (other.1 - one.1) / (other.0 - one.0))
        .collect();
    slopes.sort_unstable_by(f64::total_cmp);
    let slope = slopes.get(slopes.len() / 2).copied().unwrap_or_default();
    let whole = looks.last().zip(looks.first()).map(|(last, first)| last.at - first.at);
    slope * whole.unwrap_or_default().as_secs_f64()
}

/// What is there afterwards that was not there before, when nobody is there either time.
pub(super) fn left(before: &Look, after: &Look) -> Vec<String> {
    let closed = MEASURES
        .into_iter()
        .filter(|(name, _)| matches!(*name, "descriptors" | "connections" | "at services"));
    closed
        .filter(|(_, of)| of(after) > of(before))
        .map(|(name, of)| format!("{name}: {} are left, {} were there", of(after), of(before)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look each second of half an hour, with so much memory.
    fn looks(memory: impl Fn(u64) -> u64) -> Vec<Look> {
        let look = |second| Look {
            at: Duration::from_secs(second),
            memory: memory(second),
            descriptors: 100 + second % 40,
            connections: 50,
            ..Look::default()
        };
        (0..1800).map(look).collect()
    }

    #[test]
    fn what_is_level_is_level_whatever_happens_in_between() {
        let level = Level::default();
        // Caches that are filled, a node that is busy now and then, and one that has much to do once.
        for memory in [
            (|_| 90_000) as fn(u64) -> u64,
            |second| 60_000 + 40 * second.min(800),
            |second| 90_000 + 9_000 * u64::from(second.is_multiple_of(7)),
            |second| 90_000 + 30_000 * u64::from((1500..1600).contains(&second)),
            |second| 90_000 - second,
        ] {
            assert!(
                grown(&looks(memory), &level).is_empty(),
                "{:?}",
                grown(&looks(memory), &level)
            );
        }
    }

    #[test]
    fn what_grows_is_found_however_slowly() {
        let level = Level::default();
        // Three MiB in the second half, evenly, in steps, and beneath much else.
        for memory in [
            (|second| 90_000 + second * 3 * 1024 / 900) as fn(u64) -> u64,
            |second| 90_000 + second / 90 * 310,
            |second| 90_000 + second * 3 * 1024 / 900 + 4_000 * (second % 3),
        ] {
            let grown = grown(&looks(memory), &level);
            assert!(grown.len() == 1 && grown[0].starts_with("memory: "), "{grown:?}");
        }
        let mut more = looks(|_| 90_000);
        more.iter_mut().for_each(|look| look.connections = 10 * look.at.as_secs());
        assert!(grown(&more, &level)[0].starts_with("connections: "), "{:?}", grown(&more, &level));
        assert!(!grown(&[], &level).is_empty(), "nothing is known of no looks");
    }

    #[test]
    fn what_is_left_open_is_named() {
        let before = Look { descriptors: 40, threads: 9, ..Look::default() };
        assert!(left(&before, &Look { threads: 30, memory: 7, ..before }).is_empty());
        let more = Look { descriptors: 41, connections: 1, running: 2, ..before };
        assert_eq!(left(&before, &more).len(), 3);
    }
}
