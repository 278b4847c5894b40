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
    /// Measures this row alone, as `G16`: a part of the benchmark `revocation`
    #[arg(long, value_name = "ROW", conflicts_with_all = ["write", "last"])]
    only: Option<String>,
    /// Writes what was found into the document that tells of it, where there is a place for it
    #[arg(long, conflicts_with = "quick")]
    write: bool,
    /// Measures nothing, and puts together what the last run found
    #[arg(long, conflicts_with = "quick")]
    last: bool,
}

/// The benchmarks that say what they found so that it can be put together, by their names.
const TELLING: [&str; 2] = ["gateway", "revocation"];

/// The rows of that, by the benchmark and the package of the program that measures them.
const ROWS: [(&str, &str, &[&str]); 3] = [
    ("revocation", "tegata-token", &["G13", "G18", "check", "flat"]),
    (
        "revocation",
        "tegata",
        &["C1", "C3", "G14", "G15", "G16", "G17", "G18", "G21", "G22", "X4", "lease"],
    ),
    ("gateway", "tegata", &["G1", "G2", "G3", "G4", "G5"]),
];

/// The variable by which they are told where to.
const FINDINGS: &str = "TEGATA_FINDINGS";

/// Runs every benchmark, or those with this name.
///
/// # Errors
/// There is none of this name, or one failed.
pub fn run(asked: &Bench) -> Result<ExitCode> {
    let name = asked.name.as_deref();
    if let Some(row) = &asked.only {
        check_row(name, row)?;
    }
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
        measure(package, bench, asked)?;
    }
    for name in TELLING {
        let measures =
            |package: &str| asked.only.as_deref().is_none_or(|row| has_row((name, package), row));
        let programs: Vec<_> =
            telling.iter().filter(|(package, bench)| *bench == name && measures(package)).collect();
        if !programs.is_empty() {
            put_together(name, programs.iter().map(|it| it.0), asked)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a program measures a row.
fn has_row((bench, package): (&str, &str), row: &str) -> bool {
    ROWS.iter().any(|(name, of, rows)| (*name, *of) == (bench, package) && rows.contains(&row))
}

/// Whether there is such a row to measure alone.
fn check_row(name: Option<&str>, row: &str) -> Result<()> {
    let Some(name) = name.filter(|name| TELLING.contains(name)) else {
        bail!("one row alone is measured of `{}`: name it", TELLING.join("`, `"));
    };
    let own = || ROWS.iter().filter(|(bench, ..)| *bench == name);
    if !own().any(|(_, _, rows)| rows.contains(&row)) {
        let mut rows: Vec<_> = own().flat_map(|(_, _, rows)| rows.iter().copied()).collect();
        rows.sort_unstable();
        rows.dedup();
        bail!("there is no row `{row}`: there is {}", rows.join(", "));
    }
    Ok(())
}

/// What the findings of a run are kept as: those of one row do not take the place of all.
fn kept_as(bench: &str, asked: &Bench) -> String {
    asked.only.as_ref().map_or_else(|| bench.to_owned(), |row| format!("{bench}-{row}"))
}

/// Runs one. What it says of its findings goes where [`FINDINGS`] points to.
fn measure(package: &str, bench: &str, asked: &Bench) -> Result<()> {
    let mut cargo = command::cargo();
    // Without `--bench`, which `cargo bench` adds, it is content with one small round.
    cargo.arg(if asked.quick { "test" } else { "bench" });
    cargo.args(["--locked", "--package", package, "--bench", bench]);
    if TELLING.contains(&bench) {
        cargo.env(FINDINGS, command::root().join("target/bench").join(kept_as(bench, asked)));
    }
    if let Some(row) = &asked.only {
        cargo.args(["--", "--only", row]);
    }
    command::succeed(&mut cargo)
}

/// Runs all programs of a benchmark, and puts together what they found.
fn put_together<'a>(
    name: &str,
    packages: impl Iterator<Item = &'a str>,
    asked: &Bench,
) -> Result<()> {
    let kept_as = kept_as(name, asked);
    let place = command::root().join("target/bench").join(&kept_as);
    if !asked.last {
        if name == "gateway" {
            parts::ensure(parts::FOR_PROXIES)?;
            tools::ensure_peer("envoy")?;
            // It brings `jose`.
            tools::ensure_peer("oidc-provider")?;
        } else {
            parts::ensure(parts::FOR_REVOCATION)?;
        }
        if place.exists() {
            fs::remove_dir_all(&place).with_context(|| format!("`{}`", place.display()))?;
        }
        report::begin(&place)?;
        for package in packages {
            measure(package, name, asked)?;
        }
    }
    let quick = if asked.quick { " --quick" } else { "" };
    let only = asked.only.as_ref().map_or(String::new(), |row| format!(" --only {row}"));
    let line = format!("cargo xtask bench {name}{quick}{only}");
    let report = Report::read(&kept_as, line, &place)?;
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        bench: Bench,
    }

    fn typed(line: &str) -> Option<Bench> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Typed::try_parse_from(words).ok().map(|typed| typed.bench)
    }

    #[test]
    fn one_row_is_measured_alone_and_takes_the_place_of_nothing() {
        let asked = typed("revocation --only G16 --quick").unwrap();
        assert_eq!((asked.only.as_deref(), asked.quick), (Some("G16"), true));
        assert_eq!(kept_as("revocation", &asked), "revocation-G16");
        assert_eq!(kept_as("revocation", &typed("revocation").unwrap()), "revocation");
        // The document has room for all rows of one run, and what the last run found is all there is.
        for wrong in ["revocation --only G16 --write", "revocation --only G16 --last", "--only"] {
            assert!(typed(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_row_that_nothing_measures_is_named_together_with_those_that_are_there() {
        assert!(check_row(Some("revocation"), "G16").is_ok());
        let has_row = |package, row| has_row(("revocation", package), row);
        assert!(has_row("tegata", "G16") && !has_row("tegata-token", "G16"));
        assert!(has_row("tegata", "G18") && has_row("tegata-token", "G18"));
        assert!(check_row(Some("gateway"), "G1").is_ok());
        assert!(check_row(Some("gateway"), "G16").unwrap_err().to_string().contains("G1, G2"));
        let unknown = check_row(Some("revocation"), "G99").unwrap_err().to_string();
        assert!(
            unknown.contains("`G99`") && unknown.contains("C1, C3, G13, G14, G15, G16"),
            "{unknown}"
        );
        for name in [None, Some("tokens")] {
            assert!(check_row(name, "G16").unwrap_err().to_string().contains("`revocation`"));
        }
    }
}
