//! Words and paths that do not belong into a repository, and names that say nothing.

use std::{fs, path::Path};

use anyhow::Result;

use super::Violation;
use crate::command;

/// Files larger than this are data.
const LONGEST: u64 = 1 << 20;

/// Words with which people put off what they mean to do. Spelled in halves, so that this file does
/// not hold them.
const PUT_OFF: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Directories of one machine.
const OF_A_MACHINE: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];

/// Names of files and directories that say nothing about what is inside.
const EMPTY_NAMES: [&str; 4] = ["common", "utils", "helpers", "types"];

/// Checks the files that are in the repository, or would be with the next commit.
///
/// # Errors
/// Git does not answer.
pub fn check(root: &Path) -> Result<Vec<Violation>> {
    let mut git = command::program("git");
    // Whoever owns the checkout: a listing is all that is asked for.
    git.args(["-c", "safe.directory=*"]);
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listing = command::capture(&mut git)?;
    let mut violations = Vec::new();
    for file in listing.split('\0').filter(|file| !file.is_empty()) {
        let (path, on_disk) = (Path::new(file), root.join(file));
        violations.extend(check_name(path));
        let is_text = !file.ends_with("Cargo.lock")
            && fs::metadata(&on_disk).is_ok_and(|m| m.is_file() && m.len() <= LONGEST);
        // What is no UTF-8 is no source.
        if let Some(text) = is_text.then(|| fs::read_to_string(&on_disk).ok()).flatten() {
            violations.extend(check_text(path, &text));
        }
    }
    Ok(violations)
}

fn check_name(path: &Path) -> Option<Violation> {
    if path.extension().is_none_or(|extension| extension != "rs") {
        return None;
    }
    if path.file_stem().is_some_and(|stem| stem == "mod") {
        return Some(Violation::in_file(
            path,
            "modules are not called `mod.rs`",
            "move `a/mod.rs` to `a.rs`, beside `a/`",
        ));
    }
    let empty = path
        .iter()
        .filter_map(|part| part.to_str())
        .map(|part| part.trim_end_matches(".rs"))
        .find(|part| EMPTY_NAMES.contains(part))?;
    Some(Violation::in_file(
        path,
        format!("`{empty}` does not say what is inside"),
        "put each thing beside what it serves, or name the file after its one idea",
    ))
}

fn check_text(path: &Path, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(word) = PUT_OFF.iter().find(|word| has_word(line, word)) {
            violations.push(Violation::at(
                path,
                index + 1,
                format!("`{word}` puts something off"),
                "do it, or leave it out and say in the document what is not there",
            ));
        }
        if let Some(directory) = OF_A_MACHINE.iter().find(|d| has_path(line, d)) {
            violations.push(Violation::at(
                path,
                index + 1,
                format!("`{directory}` is a directory of one machine"),
                "name the path from the root of the repository, or take it from an argument",
            ));
        }
    }
    violations
}

/// Whether a word stands in a line by itself.
fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(inside) && !after.is_some_and(inside)
    })
}

/// Whether an absolute path in a line begins with this directory. In the middle of a path or of a
/// URL it is somebody else's.
fn has_path(line: &str, directory: &str) -> bool {
    line.match_indices(directory).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "./_-*~}>".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_say_nothing() {
        for bad in [
            "crates/a/src/utils.rs",
            "crates/a/src/types.rs",
            "crates/a/tests/common/node.rs",
            "crates/a/src/grant/mod.rs",
        ] {
            assert!(check_name(Path::new(bad)).is_some(), "{bad}");
        }
        for good in ["crates/a/src/grant.rs", "docs/types.md", "crates/a/src/commons.rs"] {
            assert_eq!(check_name(Path::new(good)), None, "{good}");
        }
    }

    #[test]
    fn refuses_what_is_put_off() {
        for word in PUT_OFF {
            let violations =
                check_text(Path::new("a.rs"), &format!("fn a() {{}}\n// {word}: later\n"));
            assert_eq!(violations.len(), 1, "{word}");
            assert_eq!(violations[0].place, "a.rs:2");
            assert_eq!(check_text(Path::new("a.rs"), &format!("mktemp {word}{word}\n")), []);
        }
    }

    #[test]
    fn refuses_paths_of_a_machine() {
        for directory in OF_A_MACHINE {
            for line in [
                format!("cd {directory}x"),
                format!("\"{directory}x\""),
                format!("PATH=a:{directory}x"),
            ] {
                assert_eq!(check_text(Path::new("run"), &line).len(), 1, "{line}");
            }
            for line in [format!("https://example.com{directory}x"), format!("target{directory}x")]
            {
                assert_eq!(check_text(Path::new("run"), &line), [], "{line}");
            }
        }
    }
}
