//! What cargo knows of the workspace: our crates and their manifests, and the graph that is built.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::command;

/// The target whose graph is judged: what the released binary is built for.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// One of our crates.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its directory's name, by which people call it: `token`.
    pub name: String,
    /// Its package's name: `tegata-token`.
    pub package: String,
    /// What it is, in a sentence.
    pub description: String,
    /// Its manifest, from the root of the repository.
    pub manifest: PathBuf,
    /// What it depends on directly.
    pub dependencies: Vec<Dependency>,
    /// Its features without `default`.
    pub features: Vec<String>,
    /// Names of its benchmarks.
    pub benches: Vec<String>,
}

/// A line of a manifest's dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The package.
    pub package: String,
    /// Whether it is for tests, examples and benchmarks alone.
    pub dev: bool,
}

/// A package that takes part in a build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Built {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence as an SPDX expression; empty where it declares none.
    pub licence: String,
    /// Whether it is one of ours.
    pub ours: bool,
}

/// Our crates, in the order of their directories.
///
/// # Errors
/// Cargo does not answer, or its lock file is out of date.
pub fn members() -> Result<Vec<Member>> {
    let mut cargo = command::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--no-deps"]);
    read(&command::capture(&mut cargo)?, command::root())
}

/// Which dependencies a build follows.
#[derive(Debug, Clone, Copy)]
pub enum Edges {
    /// What is linked into the program.
    Linked,
    /// What is linked, and what runs while building.
    Built,
    /// All of it, tests too.
    Tested,
}

/// The packages that are built for [`TARGET`], of one package or of the whole workspace. The lock
/// file would answer more: it also holds options that nobody turned on.
///
/// # Errors
/// Cargo does not answer, or its lock file is out of date.
pub fn built(package: Option<&str>, edges: Edges) -> Result<Vec<Built>> {
    let edges = match edges {
        Edges::Linked => "normal",
        Edges::Built => "normal,build",
        Edges::Tested => "normal,build,dev",
    };
    let mut cargo = command::cargo();
    cargo.args(["tree", "--locked", "--all-features", "--target", TARGET, "--edges", edges]);
    cargo.args(["--prefix", "none", "--format", "{p}|{l}"]);
    match package {
        Some(package) => cargo.args(["--package", package]),
        None => cargo.arg("--workspace"),
    };
    Ok(read_tree(&command::capture(&mut cargo)?))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    description: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Line>,
    features: std::collections::BTreeMap<String, Vec<String>>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

fn read(metadata: &str, root: &Path) -> Result<Vec<Member>> {
    let metadata: Metadata = serde_json::from_str(metadata)
        .context("what `cargo metadata` printed is not understood")?;
    let mut members: Vec<_> =
        metadata.packages.into_iter().map(|package| member(package, root)).collect();
    members.sort_by(|a, b| a.manifest.cmp(&b.manifest));
    Ok(members)
}

fn member(package: Package, root: &Path) -> Member {
    let manifest = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
    let directory = manifest.parent().and_then(Path::file_name);
    let is_bench = |target: &Target| target.kind.iter().any(|kind| kind == "bench");
    Member {
        name: directory.map_or_else(|| package.name.clone(), |d| d.to_string_lossy().into_owned()),
        description: package.description.unwrap_or_default(),
        manifest: manifest.to_owned(),
        dependencies: package
            .dependencies
            .into_iter()
            .map(|line| Dependency { package: line.name, dev: line.kind.as_deref() == Some("dev") })
            .collect(),
        features: package.features.into_keys().filter(|name| name != "default").collect(),
        benches: package.targets.into_iter().filter(is_bench).map(|target| target.name).collect(),
        package: package.name,
    }
}

/// Reads lines like `serde v1.0.228 (proc-macro)|MIT OR Apache-2.0`. A package from a path, which
/// is one of ours, has it in brackets.
fn read_tree(tree: &str) -> Vec<Built> {
    let mut packages: Vec<_> = tree
        .lines()
        .filter_map(|line| {
            let (package, licence) = line.split_once('|')?;
            let mut words = package.split(' ');
            let (name, version) = (words.next()?, words.next()?);
            let ours = words.any(|word| word.starts_with("(/"));
            Some(Built {
                name: name.to_owned(),
                version: version.trim_start_matches('v').to_owned(),
                licence: licence.trim_end_matches(" (*)").to_owned(),
                ours,
            })
        })
        .collect();
    packages.sort();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_members_with_their_kinds_of_dependencies() {
        let metadata = r#"{"packages": [{
            "name": "tegata-token", "description": "Tokens.",
            "manifest_path": "/r/crates/token/Cargo.toml",
            "dependencies": [{"name": "tegata-core", "kind": null}, {"name": "cc", "kind": "build"},
                {"name": "tegata-store", "kind": "dev"}],
            "features": {"default": [], "pkcs11": []},
            "targets": [{"name": "tegata_token", "kind": ["lib"]}, {"name": "verify", "kind": ["bench"]}]
        }]}"#;
        let members = read(metadata, Path::new("/r")).unwrap();
        let token = &members[0];
        assert_eq!((token.name.as_str(), token.package.as_str()), ("token", "tegata-token"));
        assert_eq!(token.manifest, Path::new("crates/token/Cargo.toml"));
        let dev: Vec<_> = token.dependencies.iter().map(|d| (d.package.as_str(), d.dev)).collect();
        assert_eq!(dev, [("tegata-core", false), ("cc", false), ("tegata-store", true)]);
        assert_eq!(token.features, ["pkcs11"]);
        assert_eq!(token.benches, ["verify"]);
    }

    #[test]
    fn reads_the_tree_once_per_package() {
        let tree = "tegata-core v0.1.0 (/r/crates/core)|Apache-2.0\n\
            serde v1.0.1|MIT OR Apache-2.0\n\nserde_derive v1.0.1 (proc-macro)|MIT\n\
            serde v1.0.1|MIT OR Apache-2.0\nbare v2.0.0|\n";
        let read = read_tree(tree);
        let names: Vec<_> = read.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["bare", "serde", "serde_derive", "tegata-core"]);
        assert_eq!((read[1].version.as_str(), read[1].ours), ("1.0.1", false));
        assert_eq!((read[0].licence.as_str(), read[3].ours), ("", true));
    }
}
