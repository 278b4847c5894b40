//! Uses something for long, in every way that it is used, and looks whether it grows. What is done is in
//! `tegata-faults`.

use std::{fmt::Write as _, fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tegata_faults::soak::{self, Level, Look, MEASURES};

use crate::{command, faults};

/// What is asked for.
#[derive(Args)]
pub struct Soak {
    /// What is used: `gateway`
    #[arg(value_parser = ["gateway"])]
    what: String,
    /// For how long
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// The program, where it is built already
    #[arg(long, conflicts_with = "debug")]
    program: Option<PathBuf>,
    /// Builds the program without optimising it
    #[arg(long)]
    debug: bool,
}

/// How often settings change meanwhile.
const RELOAD: Duration = Duration::from_secs(10);

/// Uses it, and says how it was every so often.
///
/// # Errors
/// It cannot be started, or something that should have been answered was not.
pub fn run(asked: &Soak) -> Result<ExitCode> {
    let program = match &asked.program {
        Some(program) => program.canonicalize().with_context(|| program.display().to_string())?,
        None => faults::program(asked.debug)?,
    };
    let span = Duration::from_secs(asked.minutes * 60);
    let level = Level::default();
    let seen = soak::run(&soak::Soak { program, span, reload: RELOAD, level, aloud: true })?;
    let file = command::root().join("target/soak").join(format!("{}.csv", asked.what));
    if let Some(place) = file.parent() {
        fs::create_dir_all(place)?;
    }
    fs::write(&file, table(&seen.looks))?;
    seen.done.iter().for_each(|(name, many)| println!("{many:>10}  {name}"));
    println!("every look is in `{}`", file.display());
    seen.failed.iter().for_each(|what| println!("FAILED {what}"));
    seen.grew.iter().for_each(|what| println!("GREW   {what}"));
    if !seen.failed.is_empty() {
        bail!("something that should have been answered was not");
    }
    if let Some((name, _)) = seen.done.iter().find(|(_, many)| *many == 0) {
        bail!("there were no {name}, so that nothing is shown of them");
    }
    println!("{}", if seen.grew.is_empty() { "level" } else { "it grows" });
    Ok(if seen.grew.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All looks, as a table for machines.
fn table(looks: &[Look]) -> String {
    let names = MEASURES.map(|it| it.0.replace(", ", "_").replace(' ', "_")).join(",");
    let mut text = format!("second,{names}\n");
    for look in looks {
        let values = MEASURES.map(|it| (it.1)(look).to_string()).join(",");
        let _ = writeln!(text, "{},{values}", look.at.as_secs());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_is_a_line() {
        let look =
            Look { at: Duration::from_secs(7), memory: 90, connections: 5, ..Look::default() };
        let said = "second,memory_KiB,descriptors,threads,metrics,connections,at_services\n\
                    7,90,0,0,0,5,0\n";
        assert_eq!(table(&[look]), said);
    }
}
