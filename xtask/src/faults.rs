//! Scenarios that break something on purpose, and count what did not hold.
//!
//! A scenario makes its choices from a seed, so that what one run found, another finds again. To
//! add one: a module beneath this one with the function that runs a round, and a line in
//! [`SCENARIOS`].

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::command::Stopwatch;

mod sqlite_kill;

/// A way to break something.
struct Scenario {
    name: &'static str,
    /// What is broken, and what must hold nevertheless.
    about: &'static str,
    /// Breaks it once, with choices from a seed. Answers what it saw, in a few words; an error is
    /// something that did not hold.
    round: fn(seed: u64) -> Result<String>,
}

const SCENARIOS: &[Scenario] = &[Scenario {
    name: "sqlite-kill",
    about: "a process that writes to SQLite is killed (SIGKILL): no acknowledged batch is lost, \
            and none is there in part",
    round: sqlite_kill::round,
}];

/// Runs the rounds of a scenario, or lists all of them.
///
/// # Errors
/// There is no such scenario.
pub fn run(name: Option<&str>, seed: u64, repeat: u32) -> Result<ExitCode> {
    let Some(name) = name else {
        list(SCENARIOS);
        return Ok(ExitCode::SUCCESS);
    };
    match SCENARIOS.iter().find(|scenario| scenario.name == name) {
        Some(scenario) => Ok(rounds(scenario, seed, repeat)),
        None => bail!("there is no scenario `{name}`: `cargo xtask faults` lists what there is"),
    }
}

fn list(scenarios: &[Scenario]) {
    for scenario in scenarios {
        println!("{:<16} {}", scenario.name, scenario.about);
    }
}

/// Runs all rounds, whatever becomes of the first, and sums up.
fn rounds(scenario: &Scenario, seed: u64, repeat: u32) -> ExitCode {
    println!("{}: {}", scenario.name, scenario.about);
    let (mut held, mut broke) = (0_u32, 0_u32);
    for round in 0..repeat {
        let seed = seed.wrapping_add(u64::from(round));
        let watch = Stopwatch::start();
        let outcome = (scenario.round)(seed);
        let seconds = watch.read().as_secs_f64();
        match outcome {
            Ok(saw) => {
                held += 1;
                println!("seed {seed:<6} {seconds:>7.2} s  held   {saw}");
            }
            Err(error) => {
                broke += 1;
                println!("seed {seed:<6} {seconds:>7.2} s  BROKE  {error:#}");
            }
        }
    }
    println!("{held} rounds held, {broke} broke");
    if broke == 0 && held > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(round: fn(u64) -> Result<String>) -> Scenario {
        Scenario { name: "a", about: "b", round }
    }

    #[test]
    fn one_broken_round_is_enough_to_fail() {
        let fragile =
            scenario(|seed| if seed == 7 { bail!("it was lost") } else { Ok(String::new()) });
        assert_eq!(rounds(&fragile, 5, 3), ExitCode::FAILURE);
        assert_eq!(rounds(&fragile, 8, 3), ExitCode::SUCCESS);
    }

    #[test]
    fn no_round_at_all_is_a_failure() {
        assert_eq!(rounds(&scenario(|_| Ok(String::new())), 1, 0), ExitCode::FAILURE);
    }

    #[test]
    fn names_what_it_does_not_know() {
        assert!(run(Some("flood"), 1, 1).unwrap_err().to_string().contains("`flood`"));
    }
}
