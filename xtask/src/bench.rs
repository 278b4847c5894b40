//! The benchmarks of the workspace.

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    command, parts, tools,
    workspace::{self, Member},
};

mod report;

use report::Report;

/// What is asked for.
#[derive(Args)]
pub struct Bench {
    /// Which benchmark; all where none is named
    name: Option<String>,
    /// One small round of each, unoptimised, to see that it works
    #[arg(long)]
    quick: bool,
    /// Writes what was found into the document that tells of it, where there is a place for it
    #[arg(long, conflicts_with = "quick")]
    write: bool,
    /// Measures nothing, and puts together what the last run found
    #[arg(long, conflicts_with = "quick")]
    last: bool,
}

/// The benchmarks that say what they found so that it can be put together, by their names.
const TELLING: [&str; 2] = ["gateway", "revocation"];

/// The variable by which they are told where to.
const FINDINGS: &str = "TEGATA_FINDINGS";

/// Runs every benchmark, or those with this name.
///
/// # Errors
/// There is none of this name, or one failed.
pub fn run(asked: &Bench) -> Result<ExitCode> {
    let name = asked.name.as_deref();
    let members = workspace::members()?;
    let all = benchmarks(&members);
    let listed: Vec<_> =
        all.iter().map(|(package, bench)| format!("{bench} ({package})")).collect();
    if all.is_empty() && name.is_none() {
        println!("the workspace has no benchmark yet: one is `benches/NAME.rs` of a crate");
        return Ok(ExitCode::SUCCESS);
    }
    let mut chosen: Vec<_> =
        all.iter().filter(|(_, bench)| name.is_none_or(|name| name == *bench)).collect();
    if chosen.is_empty() {
        bail!(
            "there is no benchmark `{}`: there is {}",
            name.unwrap_or_default(),
            if listed.is_empty() { "none".to_owned() } else { listed.join(", ") }
        );
    }
    if chosen.iter().any(|(_, bench)| *bench == "tokens") {
        tools::ensure_peer("oidc-provider")?;
    }
    let (telling, silent): (Vec<_>, Vec<_>) =
        chosen.drain(..).partition(|(_, bench)| TELLING.contains(bench));
    if asked.last && telling.is_empty() {
        bail!("only what `{}` found is kept", TELLING.join("`, `"));
    }
    for (package, bench) in silent.into_iter().filter(|_| !asked.last) {
        measure(package, bench, asked.quick)?;
    }
    for name in TELLING {
        let programs: Vec<_> = telling.iter().filter(|(_, bench)| *bench == name).collect();
        if !programs.is_empty() {
            put_together(name, programs.iter().map(|it| it.0), asked)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs one. What it says of its findings goes where [`FINDINGS`] points to.
fn measure(package: &str, bench: &str, quick: bool) -> Result<()> {
    let mut cargo = command::cargo();
    // Without `--bench`, which `cargo bench` adds, it is content with one small round.
    cargo.arg(if quick { "test" } else { "bench" });
    cargo.args(["--locked", "--package", package, "--bench", bench]);
    if TELLING.contains(&bench) {
        cargo.env(FINDINGS, command::root().join("target/bench").join(bench));
    }
    command::succeed(&mut cargo)
}

/// Runs all programs of a benchmark, and puts together what they found.
fn put_together<'a>(
    name: &str,
    packages: impl Iterator<Item = &'a str>,
    asked: &Bench,
) -> Result<()> {
    let place = command::root().join("target/bench").join(name);
    if !asked.last {
        if name == "gateway" {
            parts::ensure(parts::FOR_PROXIES)?;
            tools::ensure_peer("envoy")?;
        } else {
            parts::ensure(parts::FOR_REVOCATION)?;
        }
        if place.exists() {
            fs::remove_dir_all(&place).with_context(|| format!("`{}`", place.display()))?;
        }
        report::begin(&place)?;
        for package in packages {
            measure(package, name, asked.quick)?;
        }
    }
    let options = if asked.quick { " --quick" } else { "" };
    let line = format!("cargo xtask bench {name}{options}");
    let report = Report::read(name, line, &place)?;
    report.keep()?;
    if asked.write {
        report.publish()?;
    }
    match report.missed() {
        0 => println!("all that was wanted at least is so"),
        missed => println!("{missed} figures are worse than they may be"),
    }
    Ok(())
}

/// The benchmarks as pairs of package and name.
fn benchmarks(members: &[Member]) -> Vec<(&str, &str)> {
    let mut all = Vec::new();
    for member in members {
        all.extend(member.benches.iter().map(|bench| (member.package.as_str(), bench.as_str())));
    }
    all
}
