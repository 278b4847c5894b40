//! Scenarios that break something on purpose, and count what did not hold.
//!
//! Most of them are in `tegata-faults`: they break an installation that runs. To add one: a module
//! beneath `xtask/faults/src/scenarios`, and a line in its `SCENARIOS`. What breaks less than a whole
//! installation is beneath this one.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;
use tegata_faults::{Breaks, OFTEN, Progress, Round, Run, SCENARIOS, Scenario, report::Summary};

use crate::{command, parts, tools};

mod older;
mod sqlite_kill;

/// What is asked for.
#[derive(Args)]
pub struct Faults {
    /// Which scenarios, by their names or the beginnings of them: `x5`
    scenarios: Vec<String>,
    /// All that there are
    #[arg(long)]
    all: bool,
    /// Lists them, and those that are missing, and runs nothing
    #[arg(long)]
    list: bool,
    /// What the scenarios' choices begin with; the same seed makes the same choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many short rounds; 3 where nothing is said, with `--full` as many as the fault matrix says
    #[arg(long)]
    repeat: Option<u64>,
    /// One round more, with outages as long as the fault matrix says, and as much of everything
    #[arg(long)]
    full: bool,
    /// For how long something is away, in seconds
    #[arg(long, value_name = "SECONDS")]
    outage: Option<u64>,
    /// An earlier build, for scenarios that upgrade: a revision, which is built, or a program
    #[arg(long, value_name = "REVISION|PROGRAM")]
    from: Option<String>,
    /// Builds the program without optimising it
    #[arg(long)]
    debug: bool,
    /// How the results are written: `text` or `json`
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How the results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

const SQLITE_KILL: Scenario = Scenario {
    name: "sqlite-kill",
    about: "a process that writes to SQLite is killed (SIGKILL): no acknowledged batch is lost, \
            and none is there in part",
    often: OFTEN,
    breaks: Breaks::Alone(sqlite_kill::round),
};

/// The scenario that needs an earlier build.
const UPGRADE: &str = "x22-upgrade";

fn every() -> Vec<&'static Scenario> {
    SCENARIOS.iter().chain(std::iter::once(&SQLITE_KILL)).collect()
}

/// Runs scenarios, or lists all of them.
///
/// # Errors
/// There is no such scenario, or the program cannot be built.
pub fn run(asked: &Faults) -> Result<ExitCode> {
    if asked.list || (asked.scenarios.is_empty() && !asked.all) {
        list(&every());
        return Ok(ExitCode::SUCCESS);
    }
    let mut chosen = choose(&every(), &asked.scenarios, asked.all)?;
    if asked.all && asked.from.is_none() {
        // What machines read is on standard output.
        eprintln!("{UPGRADE} is left out: `--from REVISION` names what is upgraded from");
        chosen.retain(|scenario| scenario.name != UPGRADE);
    }
    parts::ensure(parts::FOR_TESTS)?;
    tools::ensure()?;
    let run = Run {
        first: Round {
            program: program(asked.debug)?,
            older: asked
                .from
                .as_deref()
                .map(|from| older::program(from, asked.debug))
                .transpose()?,
            seed: asked.seed,
            outage: asked.outage.map(Duration::from_secs),
            full: false,
            hasty: false,
            progress: Progress::default(),
        },
        repeat: asked.repeat.unwrap_or(3),
        full: asked.full,
        pictures: Some(command::root().join("target/faults")),
        aloud: asked.format == Format::Text,
    };
    let often = |scenario: &Scenario| match asked.repeat {
        None if asked.full => scenario.often,
        _ => run.repeat,
    };
    let rounds = |scenario: &&Scenario| {
        tegata_faults::run(scenario, &Run { repeat: often(scenario), ..run.clone() })
    };
    let summaries: Vec<Summary> = chosen.iter().map(rounds).collect();
    match asked.format {
        Format::Text => {
            println!("\n{}", Summary::table(&summaries));
            println!("pictures are in `target/faults`");
        }
        Format::Json => {
            let all: Vec<Value> = summaries.iter().map(Summary::json).collect();
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
    }
    let good = summaries.iter().all(Summary::is_good);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Those that were named.
fn choose<'s>(every: &[&'s Scenario], names: &[String], all: bool) -> Result<Vec<&'s Scenario>> {
    let can_run = |scenario: &&&Scenario| !matches!(scenario.breaks, Breaks::Missing(_));
    if all {
        return Ok(every.iter().filter(can_run).copied().collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let exact: Vec<_> = every.iter().filter(|it| it.name == name).collect();
        let begin = format!("{name}-");
        let beginning = every.iter().filter(|it| it.name.starts_with(&begin)).collect();
        let found = if exact.is_empty() { beginning } else { exact };
        if found.is_empty() {
            bail!("there is no scenario `{name}`: `cargo xtask faults` lists what there is");
        }
        if let [one] = found[..]
            && let Breaks::Missing(what) = one.breaks
        {
            bail!("scenario `{}` cannot run yet: it needs {what}", one.name);
        }
        chosen.extend(found.into_iter().filter(can_run).copied());
    }
    Ok(chosen)
}

fn list(scenarios: &[&Scenario]) {
    for scenario in scenarios {
        match scenario.breaks {
            Breaks::Missing(what) => println!("{:<24} (needs {what})", scenario.name),
            _ => println!("{:<24} {}", scenario.name, scenario.about),
        }
    }
}

/// Builds the program, and answers where it is.
///
/// # Errors
/// It cannot be built.
pub fn program(debug: bool) -> Result<PathBuf> {
    built("tegata", if debug { &[] } else { &["--release"] })
}

/// Builds a program of the workspace, and answers where it is.
///
/// # Errors
/// It cannot be built.
pub fn built(package: &str, how: &[&str]) -> Result<PathBuf> {
    built_by(command::cargo(), package, how)
}

/// The same, by a cargo that is set to its place.
fn built_by(mut cargo: Command, package: &str, how: &[&str]) -> Result<PathBuf> {
    cargo.args(["build", "--locked", "--package", package]).args(how);
    let messages = command::capture(cargo.args(["--message-format", "json-render-diagnostics"]))?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .with_context(|| format!("cargo did not say where it put `{package}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Vec<&'static str> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let chosen = choose(&every(), &names, false).unwrap();
        chosen.iter().map(|scenario| scenario.name).collect()
    }

    #[test]
    fn a_row_stands_for_all_its_scenarios_and_no_other_row() {
        assert_eq!(chosen(&["sqlite-kill"]), ["sqlite-kill"]);
        let fifth = chosen(&["x5"]);
        assert!(fifth.len() > 1 && fifth.iter().all(|name| name.starts_with("x5-")), "{fifth:?}");
    }

    #[test]
    fn names_what_it_does_not_know() {
        let unknown = choose(&every(), &["flood".to_owned()], false).unwrap_err().to_string();
        assert!(unknown.contains("`flood`"), "{unknown}");
    }

    #[test]
    fn says_what_is_missing_for_a_scenario() {
        let missing = Breaks::Missing("DynamoDB");
        let missing = Scenario { name: "x9-away", about: "", often: 0, breaks: missing };
        let said = choose(&[&missing], &["x9".to_owned()], false).unwrap_err().to_string();
        assert!(said.contains("needs DynamoDB"), "{said}");
        assert!(choose(&[&missing], &[], true).unwrap().is_empty());
    }
}
