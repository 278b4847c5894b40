//! A way to break something, and the rounds of it.

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use tegata_engines::Plan;

use crate::{
    progress::Progress,
    report::{Seen, Summary},
    stage::Stage,
    time::Stopwatch,
};

/// A way to break something.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name: the row of the fault matrix, and what is broken.
    pub name: &'static str,
    /// What is broken, and what must hold nevertheless.
    pub about: &'static str,
    /// How many short rounds a release should see before the one at full length.
    pub often: u64,
    /// How.
    pub breaks: Breaks,
}

/// How many short rounds of most scenarios a release should see.
pub const OFTEN: u64 = 20;

/// How something is broken.
#[derive(Debug, Clone, Copy)]
pub enum Breaks {
    /// An installation, which serves all rounds as long as they hold.
    Installation {
        /// What it is made of.
        plan: fn(&Round) -> Plan,
        /// Breaks it once, and mends it.
        round: fn(&Stage, &Round) -> Result<Seen>,
    },
    /// Something that each round makes for itself.
    Alone(fn(&Round) -> Result<Seen>),
    /// Nothing yet: what is missing for it.
    Missing(&'static str),
}

/// One round.
#[derive(Debug, Clone)]
pub struct Round {
    /// The program.
    pub program: PathBuf,
    /// An older build of it, where one is named: what is upgraded from.
    pub older: Option<PathBuf>,
    /// What its choices begin with.
    pub seed: u64,
    /// For how long something is away, where the scenario does not need longer.
    pub outage: Option<Duration>,
    /// Whether everything has its full length, and there is as much of it as the row asks for.
    pub full: bool,
    /// Whether to be content with what takes no waiting: for a look whether it works at all.
    pub hasty: bool,
    /// Who is told how far it is.
    pub progress: Progress,
}

impl Round {
    /// For how long something is away: what was asked for, or what the row says, or a short while.
    #[must_use]
    pub fn outage(&self, short: u64, full: u64) -> Duration {
        let usual = Duration::from_secs(if self.full { full } else { short });
        self.outage.unwrap_or(usual)
    }

    /// How much of something there is.
    #[must_use]
    pub const fn many(&self, hasty: usize, short: usize, full: usize) -> usize {
        if self.full {
            full
        } else if self.hasty {
            hasty
        } else {
            short
        }
    }
}

/// How rounds are run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The first of them; each that follows has the next seed.
    pub first: Round,
    /// How many short ones.
    pub repeat: u64,
    /// Whether there is one more after them, of full length.
    pub full: bool,
    /// Where pictures go, if anywhere.
    pub pictures: Option<PathBuf>,
    /// Whether lines are said about each round.
    pub aloud: bool,
}

/// Runs all rounds of a scenario, whatever becomes of the first, and sums up.
#[must_use]
pub fn run(scenario: &Scenario, run: &Run) -> Summary {
    let mut summary = Summary::new(scenario.name);
    let mut stage = None;
    if run.aloud {
        println!("{}: {}", scenario.name, scenario.about);
    }
    let rounds = run.repeat + u64::from(run.full);
    for number in 0..rounds {
        let (seed, full) = (run.first.seed.wrapping_add(number), number == run.repeat);
        let progress = Progress::of_round(run.aloud, number + 1, rounds);
        let round = Round { seed, full, progress, ..run.first.clone() };
        let watch = Stopwatch::start();
        progress.begin();
        let seen = guarded(|| once(scenario, &round, &mut stage))
            .unwrap_or_else(|error| Seen { broken: vec![format!("{error:#}")], ..Seen::default() });
        progress.end();
        if run.aloud {
            say(&round, &watch, &seen);
        }
        if let (Some(place), Some(plot)) = (&run.pictures, &seen.plot) {
            let file = place.join(format!("{}.svg", scenario.name));
            let written = fs::create_dir_all(place).and_then(|()| fs::write(&file, plot.svg()));
            if let Err(error) = written {
                eprintln!("warning: `{}` was not written: {error}", file.display());
            }
        }
        summary.add(round.seed, &seen);
        if !seen.broken.is_empty() {
            // What is broken once may be broken for long; the next round shall say for itself.
            stage = None;
        }
    }
    summary
}

fn once(scenario: &Scenario, round: &Round, stage: &mut Option<Stage>) -> Result<Seen> {
    match scenario.breaks {
        Breaks::Installation { plan, round: breaks } => {
            if stage.is_none() {
                *stage = Some(Stage::set(&plan(round))?);
            }
            breaks(stage.as_ref().context("there is no installation")?, round)
        }
        Breaks::Alone(breaks) => breaks(round),
        Breaks::Missing(what) => Err(anyhow!("this scenario needs {what}")),
    }
}

/// Engines fail by panicking, which says why; a round that panics is a round that broke.
fn guarded(work: impl FnOnce() -> Result<Seen> + Send) -> Result<Seen> {
    let ended = thread::scope(|scope| scope.spawn(work).join());
    ended.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("it ended in a panic: {}", said.unwrap_or("(nothing was said)")))
    })
}

/// How much of what did not hold in a round is said.
const SHOWN: usize = 12;

fn say(round: &Round, watch: &Stopwatch, seen: &Seen) {
    let (seed, seconds) = (round.seed, watch.read().as_secs_f64());
    let length = if round.full { "at full length, " } else { "" };
    if seen.broken.is_empty() {
        println!("seed {seed:<6} {seconds:>7.1} s  held   {length}{}", seen.saw);
        return;
    }
    println!("seed {seed:<6} {seconds:>7.1} s  BROKE  {length}{}", seen.saw);
    for what in seen.broken.iter().take(SHOWN) {
        println!("{:22}- {what}", "");
    }
    if let Some(more) = seen.broken.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        println!("{:22}- and {more} more", "");
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{bail, ensure};

    use super::*;

    const ALONE: Scenario =
        Scenario { name: "a", about: "b", often: OFTEN, breaks: Breaks::Missing("all") };

    fn first(seed: u64) -> Round {
        let (program, progress) = (PathBuf::new(), Progress::default());
        Round { program, older: None, seed, outage: None, full: false, hasty: true, progress }
    }

    fn rounds(breaks: fn(&Round) -> Result<Seen>, seed: u64, repeat: u64) -> Summary {
        let scenario = Scenario { breaks: Breaks::Alone(breaks), ..ALONE };
        let first = first(seed);
        run(&scenario, &Run { first, repeat, full: false, pictures: None, aloud: false })
    }

    #[test]
    fn the_one_at_full_length_comes_after_the_short_ones() {
        fn length(round: &Round) -> Result<Seen> {
            Ok(Seen { broken: vec![format!("{:?}", round.outage(8, 300))], ..Seen::default() })
        }
        let scenario = Scenario { breaks: Breaks::Alone(length), ..ALONE };
        let first = first(5);
        let run_of =
            |full| Run { first: first.clone(), repeat: 2, full, pictures: None, aloud: false };
        let said = |full| -> Vec<(u64, String)> {
            let broke = run(&scenario, &run_of(full)).broke;
            broke.into_iter().map(|(seed, said)| (seed, said.join(""))).collect()
        };
        let (short, long) = ("8s".to_owned(), "300s".to_owned());
        assert_eq!(said(false), [(5, short.clone()), (6, short.clone())]);
        assert_eq!(said(true), [(5, short.clone()), (6, short), (7, long)]);
    }

    #[test]
    fn one_broken_round_is_enough_to_fail_and_does_not_end_the_others() {
        let fragile = |round: &Round| {
            ensure!(round.seed != 7, "it was lost");
            Ok(Seen::default())
        };
        let summary = rounds(fragile, 5, 4);
        assert_eq!((summary.held, summary.broke.len()), (3, 1));
        assert_eq!(summary.broke[0], (7, vec!["it was lost".to_owned()]));
        assert!(rounds(fragile, 8, 3).is_good());
    }

    #[test]
    fn no_round_at_all_is_a_failure() {
        assert!(!rounds(|_| Ok(Seen::default()), 1, 0).is_good());
    }

    #[test]
    fn an_engine_that_gives_up_breaks_its_round() {
        fn gives_up(round: &Round) -> Result<Seen> {
            if round.seed == 0 { bail!("never") } else { panic!("no port to listen on") }
        }
        let said = rounds(gives_up, 1, 1).broke[0].1.join("");
        assert!(said.contains("no port to listen on"), "{said}");
    }

    #[test]
    fn what_was_asked_for_stands_over_every_length() {
        let mut round = Round {
            program: PathBuf::new(),
            older: None,
            seed: 1,
            outage: None,
            full: false,
            hasty: false,
            progress: Progress::default(),
        };
        assert_eq!(round.outage(8, 300), Duration::from_secs(8));
        round.full = true;
        assert_eq!(round.outage(8, 300), Duration::from_secs(300));
        round.outage = Some(Duration::from_secs(2));
        assert_eq!(round.outage(8, 300), Duration::from_secs(2));
    }
}
