//! One place for versions, a reason for each dependency, one list of lints.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::Violation;
use crate::workspace::Member;

/// Reads the manifests and checks them.
///
/// # Errors
/// A manifest cannot be read.
pub fn check(root: &Path, members: &[Member]) -> Result<Vec<Violation>> {
    let read = |manifest: &Path| {
        fs::read_to_string(root.join(manifest))
            .with_context(|| format!("`{}` cannot be read", manifest.display()))
    };
    let mut violations = reasons(&read(Path::new("Cargo.toml"))?);
    for member in members {
        violations.extend(inherits(&member.manifest, &read(&member.manifest)?));
    }
    Ok(violations)
}

/// Checks that each crate of others says in the root manifest what it is for.
fn reasons(manifest: &str) -> Vec<Violation> {
    entries(manifest)
        .filter(|(_, table, entry)| {
            *table == "workspace.dependencies" && !entry.contains("path = ")
        })
        .filter(|(_, _, entry)| {
            let reason = entry.split_once(" # ").map_or("", |(_, reason)| reason.trim());
            reason.is_empty()
        })
        .map(|(line, _, entry)| {
            let name = entry.split_once(' ').map_or(entry, |(name, _)| name);
            Violation::at(
                Path::new("Cargo.toml"),
                line,
                format!("`{name}` does not say what it is for"),
                "end the line with ` # ` and its purpose in a few words",
            )
        })
        .collect()
}

/// Checks that a member takes versions and lints from the workspace.
fn inherits(path: &Path, manifest: &str) -> Vec<Violation> {
    let is_ours = |entry: &str| entry.contains("workspace = true");
    let mut violations: Vec<_> = entries(manifest)
        .filter(|(_, table, entry)| table.ends_with("dependencies") && !is_ours(entry))
        .map(|(line, ..)| {
            Violation::at(
                path,
                line,
                "a dependency that is not taken from the workspace",
                "name it in `[workspace.dependencies]` of the root manifest, and write `NAME.workspace = true` here",
            )
        })
        .collect();
    if !entries(manifest).any(|(_, table, entry)| table == "lints" && is_ours(entry)) {
        violations.push(Violation::in_file(
            path,
            "it does not take the lints of the workspace",
            "add `[lints]` with `workspace = true`; a lint is relaxed where it is broken, with a reason",
        ));
    }
    violations
}

/// The entries of a manifest: the number of the line, its table, the line. Entries of several
/// lines are not used here, and would be reported line by line.
fn entries(manifest: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    let mut table = "";
    manifest.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            table = name;
            return None;
        }
        (!line.is_empty() && !line.starts_with('#')).then_some((index + 1, table, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_a_reason_for_each_crate_of_others() {
        let manifest = "[workspace.dependencies]\n# --- ours ---\n\
            tegata-core = { path = \"crates/core\" }\n\
            serde = \"1\" # every stored and spoken form\n\
            left-pad = \"1\"\nis-odd = { version = \"1\", features = [\"a\"] } # \n\
            [profile.dev]\ndebug = false\n";
        let violations = reasons(manifest);
        let places: Vec<_> = violations.iter().map(|v| v.place.as_str()).collect();
        assert_eq!(places, ["Cargo.toml:5", "Cargo.toml:6"]);
        assert!(violations[0].what.contains("`left-pad`"), "{violations:?}");
    }

    #[test]
    fn wants_versions_and_lints_from_the_workspace() {
        let path = Path::new("crates/a/Cargo.toml");
        let good = "[package]\nname = \"a\"\n[dependencies]\nserde.workspace = true\n\
            tokio = { workspace = true, features = [\"fs\"] }\n[lints]\nworkspace = true\n";
        assert_eq!(inherits(path, good), []);

        let versioned = good.replace("serde.workspace = true", "serde = \"1\"");
        assert_eq!(inherits(path, &versioned)[0].place, "crates/a/Cargo.toml:4");

        let target = good.replace("[dependencies]", "[target.'cfg(unix)'.dev-dependencies]");
        let target = target.replace("serde.workspace = true", "serde = \"1\"");
        assert_eq!(inherits(path, &target).len(), 1);

        let lenient = good.replace("[lints]\nworkspace = true\n", "");
        assert_eq!(inherits(path, &lenient).len(), 1);
    }
}
