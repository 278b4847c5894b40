//! Everything that CI runs, in the order in which a mistake shows soonest.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;

use crate::{
    command::{self, Stopwatch},
    fuzz, generated, rules, test, workspace,
};

/// A step: its name, and what it does.
type Step = (&'static str, fn() -> Result<()>);

/// The steps before the tests.
const STEPS: &[Step] = &[
    ("format", format),
    ("rules", rules::check),
    ("generated", generated::check),
    ("lints", lints),
    ("fuzz", fuzz::lint),
    ("docs", docs),
    ("features", features),
];

/// Runs the steps and then the tests, and stops at the first that fails. Where the tests ran, the
/// last line is theirs.
///
/// # Errors
/// The step that failed, by name.
pub fn run() -> Result<ExitCode> {
    let mut times = Vec::new();
    for (name, step) in STEPS {
        announce(name);
        let watch = Stopwatch::start();
        let outcome = step();
        times.push((*name, watch.read(), outcome.is_ok()));
        if let Err(error) = outcome {
            summarise(&times);
            return Err(error.context(format!("`{name}` failed, and the tests were not run")));
        }
    }
    announce("test");
    let watch = Stopwatch::start();
    let report = test::execute(&[]);
    times.push(("test", watch.read(), report.is_good()));
    summarise(&times);
    report.explain();
    println!("{}", report.tally);
    Ok(report.code())
}

fn announce(name: &str) {
    println!("== {name}");
}

fn summarise(times: &[(&str, Duration, bool)]) {
    println!();
    for (name, time, good) in times {
        println!(
            "{name:<10} {:>8.1} s  {}",
            time.as_secs_f64(),
            if *good { "ok" } else { "failed" }
        );
    }
}

fn format() -> Result<()> {
    command::succeed(command::cargo().args(["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    let mut cargo = command::cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--all-features", "--locked"]);
    command::succeed(cargo.args(["--", "-D", "warnings"]))
}

/// With private items: whoever works on a crate reads those too, and contents pages link to them.
fn docs() -> Result<()> {
    let mut cargo = command::cargo();
    cargo.args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    cargo.args(["--all-features", "--locked"]);
    let flags = "-D warnings -A rustdoc::private-intra-doc-links";
    command::succeed(cargo.env("RUSTDOCFLAGS", flags))
}

/// Each feature of each crate alone, and none at all: features only add.
fn features() -> Result<()> {
    let members = workspace::members()?;
    let gated: Vec<_> = members.iter().filter(|member| !member.features.is_empty()).collect();
    if gated.is_empty() {
        println!("no crate has features");
    }
    for member in gated {
        let alone = |feature: &str| {
            println!("{}: {}", member.package, if feature.is_empty() { "none" } else { feature });
            let mut cargo = command::cargo();
            cargo.args([
                "check",
                "--locked",
                "--package",
                &member.package,
                "--no-default-features",
            ]);
            command::succeed(cargo.args(["--features", feature]))
        };
        alone("")?;
        member.features.iter().try_for_each(|feature| alone(feature))?;
    }
    Ok(())
}
