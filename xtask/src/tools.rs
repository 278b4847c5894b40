//! Tools that tests need and Debian does not bring: what stands in for DynamoDB.
//!
//! They are installed beneath `target/tools`, in the versions that `xtask/engines/tools` names, and
//! touch nothing else of the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use tegata_engines::dynamodb::{installed, ours};

use crate::{command, parts};

/// A tool: the directory of it, the file that names its versions, and how it is installed.
struct Tool {
    name: &'static str,
    versions: &'static str,
    install: fn(&Path) -> Result<()>,
}

const TOOLS: &[Tool] = &[
    Tool { name: "dynalite", versions: "package-lock.json", install: with_npm },
    Tool { name: "moto", versions: "requirements.txt", install: with_pip },
];

/// What is written beside a tool when it is installed: which versions of what.
const STAMP: &str = "installed";

/// Makes sure that the tools are there, in the right versions.
///
/// # Errors
/// One could not be installed.
pub fn ensure() -> Result<()> {
    for tool in TOOLS {
        let place = installed(tool.name);
        let versions = ours(tool.name).join(tool.versions);
        let read = fs::read_to_string(&versions);
        let wanted = read.with_context(|| format!("`{}` cannot be read", versions.display()))?;
        if fs::read_to_string(place.join(STAMP)).is_ok_and(|stamp| stamp == wanted) {
            continue;
        }
        println!("missing: `{}`, which is installed into `target/tools`", tool.name);
        begin_anew(&place)?;
        (tool.install)(&place).with_context(|| {
            format!("`{}`, which stands in for DynamoDB, cannot be installed", tool.name)
        })?;
        fs::write(place.join(STAMP), wanted)
            .with_context(|| format!("`{}` cannot be written", place.display()))?;
    }
    Ok(())
}

/// An empty directory: what an older version, or half an installation, left there is gone.
fn begin_anew(place: &Path) -> Result<()> {
    let said = || format!("`{}` cannot be made anew", place.display());
    if place.exists() {
        fs::remove_dir_all(place).with_context(said)?;
    }
    fs::create_dir_all(place).with_context(said)
}

fn with_npm(place: &Path) -> Result<()> {
    for file in ["package.json", "package-lock.json"] {
        let from: PathBuf = ours("dynalite").join(file);
        fs::copy(&from, place.join(file))
            .with_context(|| format!("`{}` cannot be copied", from.display()))?;
    }
    let mut npm = Command::new("npm");
    // Nothing that it brings is run while it is installed.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]);
    command::succeed(npm.current_dir(place))
}

fn with_pip(place: &Path) -> Result<()> {
    let mut can = command::program("python3");
    can.args(["-c", "import ensurepip, venv"]);
    if !can.output().is_ok_and(|output| output.status.success()) {
        parts::bring(&["python3-venv"])?;
    }
    let mut venv = command::program("python3");
    command::succeed(venv.args(["-m", "venv"]).arg(place))?;
    let mut pip = command::program(&place.join("bin/python").display().to_string());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    command::succeed(pip.arg("--requirement").arg(ours("moto").join("requirements.txt")))
}
