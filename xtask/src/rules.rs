//! What compilers and linters do not see.
//!
//! | module | keeps |
//! |---|---|
//! | [`layers`] | which of our crates may use which |
//! | [`bans`] | which of our crates may use what of others, and what nobody may use |
//! | [`licences`] | under which licences we take what others made |
//! | [`floors`] | versions below which a crate is known to be bad |
//! | [`manifests`] | a reason for each dependency, one list of lints |
//! | [`sources`] | words and paths that do not belong into a repository |
//!
//! A rule answers [`Violation`]s, and has a test that shows it one. To add a rule: a module here,
//! a line in [`violations`].

use std::{fmt, path::Path, process::ExitCode};

use anyhow::{Result, bail};

use crate::{
    command,
    workspace::{self, Edges},
};

mod bans;
mod floors;
pub mod layers;
mod licences;
mod manifests;
mod sources;

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where: a file, a line of it, a package.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

impl Violation {
    fn new(place: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), mend: mend.into() }
    }

    fn in_file(file: &Path, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(file.display().to_string(), what, mend)
    }

    fn at(file: &Path, line: usize, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(format!("{}:{line}", file.display()), what, mend)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    to mend it: {}", self.place, self.what, self.mend)
    }
}

/// Checks all rules.
///
/// # Errors
/// A rule is broken, or the workspace cannot be read.
pub fn run() -> Result<ExitCode> {
    check().map(|()| ExitCode::SUCCESS)
}

/// Checks all rules.
///
/// # Errors
/// As [`run`].
pub fn check() -> Result<()> {
    let violations = violations()?;
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => {
            println!("all rules hold");
            Ok(())
        }
        1 => bail!("a rule is broken"),
        several => bail!("rules are broken in {several} places"),
    }
}

fn violations() -> Result<Vec<Violation>> {
    let members = workspace::members()?;
    let shipped = workspace::built(None, Edges::Built)?;
    let tested = workspace::built(None, Edges::Tested)?;

    let mut violations = layers::check(&members);
    violations.extend(bans::direct(&members));
    violations.extend(bans::anywhere(&shipped));
    for member in members.iter().filter(|member| layers::is_pure(&member.name)) {
        let linked = workspace::built(Some(&member.package), Edges::Linked)?;
        violations.extend(bans::beneath(member, &linked));
    }
    violations.extend(licences::check(&tested, licences::EXCEPTIONS));
    violations.extend(floors::check(&tested));
    violations.extend(manifests::check(command::root(), &members)?);
    violations.extend(sources::check(command::root())?);
    Ok(violations)
}
