//! The fuzz targets: `fuzz/fuzz_targets/NAME.rs`, one per parser.
//!
//! They run on the stable toolchain. The flags are those that `cargo fuzz run --sanitizer none`
//! sets: coverage counters for libFuzzer, and every check that a debug build has. The layout is
//! that of `cargo fuzz`, so that it works too, for whoever has it and a nightly toolchain.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command,
    parts::{self, FOR_FUZZING},
    workspace::TARGET,
};

/// What makes a build one for libFuzzer.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// Bounds of one run: longer input is refused before it is parsed, and a parser that takes a
/// second or half a gibibyte for less has a defect.
const BOUNDS: &[&str] =
    &["-max_len=65536", "-timeout=1", "-rss_limit_mb=512", "-print_final_stats=1"];

/// Lists the targets.
///
/// # Errors
/// `fuzz/fuzz_targets` cannot be read.
pub fn list() -> Result<ExitCode> {
    for target in targets(&directory())? {
        println!("{target}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs targets in turn, each for `seconds`; all, where none is named. The run ends at the first input
/// that breaks a target, and says where it was kept.
///
/// # Errors
/// There is no such target, it cannot be built, or an input breaks it.
pub fn run(named: &[String], seconds: u32) -> Result<ExitCode> {
    for name in built(named)? {
        println!("== {name}, for {seconds} s");
        command::succeed(&mut trial(&name, seconds)?)
            .with_context(|| format!("an input breaks `{name}`: it is in `fuzz/artifacts/{name}`, and belongs into a test"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The targets of these names, or all, built together.
fn built(named: &[String]) -> Result<Vec<String>> {
    let all = targets(&directory())?;
    if let Some(other) = named.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target `{other}`: there is {}", all.join(", "));
    }
    let chosen = if named.is_empty() { all } else { named.to_vec() };
    parts::ensure(FOR_FUZZING)?;
    same_versions()?;
    command::succeed(&mut build(&chosen))?;
    Ok(chosen)
}

/// Compiles the targets, and lints them by what clippy and the compiler warn of by themselves. They are
/// not part of the workspace, nor are its lints theirs; they are linked only where somebody runs them.
///
/// # Errors
/// One does not compile, or has a warning.
pub fn lint() -> Result<()> {
    same_versions()?;
    let mut cargo = command::cargo();
    cargo.args(["clippy", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target"]);
    // A library that is there already is not compiled, and nothing is linked to it here. What changes
    // with every run would have all of them compiled anew.
    cargo.env("CUSTOM_LIBFUZZER_PATH", directory().join("Cargo.toml"));
    command::succeed(cargo.args(["--", "-D", "warnings"]))
}

/// Gives the targets the same versions as the workspace; cargo adds what only they use.
fn same_versions() -> Result<()> {
    let (own, theirs) = (command::root().join("Cargo.lock"), directory().join("Cargo.lock"));
    let changed = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    if changed(&theirs).is_some_and(|theirs| changed(&own).is_some_and(|own| theirs >= own)) {
        return Ok(());
    }
    fs::copy(own, theirs).map(|_| ()).context("`Cargo.lock` cannot be copied to `fuzz`")
}

fn directory() -> PathBuf {
    command::root().join("fuzz")
}

/// The names of the targets, in order.
fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let sources = fuzz.join("fuzz_targets");
    let entries = fs::read_dir(&sources)
        .with_context(|| format!("`{}` cannot be read", sources.display()))?;
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

fn build(targets: &[String]) -> Command {
    let mut cargo = command::cargo();
    // A target triple keeps the flags away from build scripts and macros.
    cargo.args(["build", "--release", "--target", TARGET]);
    cargo.args(["--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz"]);
    for target in targets {
        cargo.args(["--bin", target]);
    }
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    cargo
}

/// The program of a target.
fn program_of(target: &str) -> PathBuf {
    command::root().join("target/fuzz").join(TARGET).join("release").join(target)
}

/// Where a target has its inputs of a kind.
fn under(kind: &str, target: &str) -> PathBuf {
    directory().join(kind).join(target)
}

/// A run of a target over the inputs that are in the repository (`fuzz/seeds`), and over what it found before
/// and finds now, which git leaves out (`fuzz/corpus`, `fuzz/artifacts`).
fn trial(target: &str, seconds: u32) -> Result<Command> {
    let under = |kind: &str| under(kind, target);
    for kind in ["corpus", "artifacts"] {
        fs::create_dir_all(under(kind))
            .with_context(|| format!("`{}` cannot be made", under(kind).display()))?;
    }
    let mut run = command::program(&program_of(target).to_string_lossy());
    run.args(BOUNDS).arg(format!("-max_total_time={seconds}"));
    if !command::on_terminal() {
        run.arg("-verbosity=0");
    }
    run.arg(format!("-artifact_prefix={}/", under("artifacts").display()));
    run.arg(under("corpus"));
    if under("seeds").is_dir() {
        run.arg(under("seeds"));
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_a_program_of_the_fuzz_package() {
        let manifest = fs::read_to_string(directory().join("Cargo.toml")).unwrap();
        let targets = targets(&directory()).unwrap();
        for target in &targets {
            let path = format!("path = \"fuzz_targets/{target}.rs\"");
            assert!(manifest.contains(&path), "`fuzz/Cargo.toml` has no `[[bin]]` with {path}");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), targets.len());
    }

    #[test]
    fn what_is_found_is_left_out_of_the_repository_and_seeds_are_not() {
        let ignored = fs::read_to_string(command::root().join(".gitignore")).unwrap();
        let ignored: Vec<_> = ignored.lines().collect();
        for kind in ["corpus", "artifacts", "Cargo.lock"] {
            assert!(ignored.contains(&format!("/fuzz/{kind}").as_str()), "{kind}");
        }
        assert!(!ignored.iter().any(|line| line.contains("seeds")));
        for target in targets(&directory()).unwrap() {
            assert!(under("seeds", &target).is_dir(), "`{target}` has no inputs to begin with");
        }
    }

    #[test]
    fn builds_with_coverage_and_with_every_check() {
        let name = "id".to_owned();
        let build = build(&[name]);
        assert!(command::line_of(&build).ends_with("--bin id"));
        let flags = build.get_envs().find(|(key, _)| *key == "CARGO_ENCODED_RUSTFLAGS").unwrap().1;
        let flags = flags.unwrap().to_string_lossy();
        for needed in ["inline-8bit-counters", "-Cdebug-assertions", "-Coverflow-checks"] {
            assert!(flags.contains(needed), "{needed}");
        }
    }
}
