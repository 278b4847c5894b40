//! An earlier build of the program, for scenarios that upgrade from it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::built_by;
use crate::command;

/// The program that `from` names: a file, or a revision of this repository, which is built.
///
/// # Errors
/// There is no such revision, or it cannot be built.
pub fn program(from: &str, debug: bool) -> Result<PathBuf> {
    let file = Path::new(from);
    if file.is_file() {
        return file.canonicalize().with_context(|| format!("`{from}` cannot be reached"));
    }
    let revision = format!("{from}^{{commit}}");
    let commit =
        command::capture(command::program("git").args(["rev-parse", "--verify", &revision]))
            .with_context(|| {
                format!("`{from}` is neither a program nor a revision of this repository")
            })?;
    let place = command::root().join("target/older");
    let source = place.join(commit.trim());
    if !source.is_dir() {
        unpack(commit.trim(), &source)?;
    }
    let mut cargo = command::cargo();
    cargo.current_dir(&source).env("CARGO_TARGET_DIR", place.join("target"));
    let how: &[&str] = if debug { &[] } else { &["--release"] };
    built_by(cargo, "tegata", how)
}

/// Puts the files of a commit into a directory that is there only when all of them are.
fn unpack(commit: &str, into: &Path) -> Result<()> {
    let part = into.with_extension("part");
    fs::create_dir_all(&part).with_context(|| format!("`{}` cannot be made", part.display()))?;
    let archive = part.with_extension("tar");
    let text = archive.to_string_lossy();
    command::succeed(command::program("git").args(["archive", "--output", &text, commit]))?;
    command::succeed(command::program("tar").current_dir(&part).args(["-xf", &text]))?;
    fs::remove_file(&archive)?;
    fs::rename(&part, into).with_context(|| format!("`{}` cannot be made", into.display()))
}
