//! The benchmarks of the workspace.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{
    command, tools,
    workspace::{self, Member},
};

/// Runs every benchmark, or those with this name.
///
/// # Errors
/// There is none of this name, or one failed.
pub fn run(name: Option<&str>) -> Result<ExitCode> {
    let members = workspace::members()?;
    let all = benchmarks(&members);
    let listed: Vec<_> =
        all.iter().map(|(package, bench)| format!("{bench} ({package})")).collect();
    if all.is_empty() && name.is_none() {
        println!("the workspace has no benchmark yet: one is `benches/NAME.rs` of a crate");
        return Ok(ExitCode::SUCCESS);
    }
    let chosen: Vec<_> =
        all.iter().filter(|(_, bench)| name.is_none_or(|name| name == *bench)).collect();
    if chosen.is_empty() {
        bail!(
            "there is no benchmark `{}`: there is {}",
            name.unwrap_or_default(),
            if listed.is_empty() { "none".to_owned() } else { listed.join(", ") }
        );
    }
    if chosen.iter().any(|(_, bench)| *bench == "tokens") {
        tools::ensure_peers()?;
    }
    for (package, bench) in chosen {
        let mut cargo = command::cargo();
        cargo.args(["bench", "--locked", "--package", package, "--bench", bench]);
        command::succeed(&mut cargo)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The benchmarks as pairs of package and name.
fn benchmarks(members: &[Member]) -> Vec<(&str, &str)> {
    let mut all = Vec::new();
    for member in members {
        all.extend(member.benches.iter().map(|bench| (member.package.as_str(), bench.as_str())));
    }
    all
}
