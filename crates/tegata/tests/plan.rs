//! The guide to `tegata plan`, played as it is written: its files, its commands, and what they answer.

#![cfg(test)]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The blocks of the guide whose fence begins with `language`: the rest of the fence, and the text.
fn blocks(language: &str) -> Vec<(String, String)> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/plan.md");
    let guide = fs::read_to_string(guide).unwrap();
    // Every second part is within fences.
    let fenced = guide.split("\n```").skip(1).step_by(2);
    let found = fenced.filter_map(|block| block.strip_prefix(language)?.split_once('\n'));
    found.map(|(name, text)| (name.trim().to_owned(), text.to_owned())).collect()
}

fn run(place: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tegata"))
        .args(arguments)
        .current_dir(place.path())
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Compares what was said with what the guide shows, in which `…` stands for any lines.
fn compare(command: &str, shown: &[&str], said: &str) {
    let mut left = said.lines();
    let mut may_skip = false;
    for line in shown {
        if *line == "…" {
            may_skip = true;
            continue;
        }
        let found = if may_skip { left.find(|it| it == line) } else { left.next() };
        assert_eq!(found, Some(*line), "`{command}` says:\n{said}");
        may_skip = false;
    }
    assert!(may_skip || left.next().is_none(), "`{command}` says more:\n{said}");
}

#[test]
fn the_guide_to_planning_is_true() {
    let place = tempfile::tempdir().unwrap();
    for (name, text) in blocks("toml") {
        fs::write(place.path().join(name), text).unwrap();
    }
    let mut played = 0;
    for (_, block) in blocks("console") {
        for part in format!("\n{block}").split("\n$ ").skip(1) {
            let mut lines = part.lines();
            let command = lines.next().unwrap();
            let output = run(&place, &command.split(' ').skip(1).collect::<Vec<_>>());
            let shown: Vec<&str> = lines.collect();
            if shown.is_empty() {
                assert!(output.status.success(), "`{command}`: {}", said(&output));
            } else {
                compare(command, &shown, &said(&output));
            }
            played += 1;
        }
    }
    assert!(played >= 9, "the guide has {played} commands");
    assert!(place.path().join("plan.html").exists());
}

#[test]
fn whatever_is_wrong_is_one_line_that_says_what_and_where() {
    let place = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("unknown.toml", "[prices]\nnode = 100\nnod = 3\n"),
        ("text.toml", "[prices]\nnode = \"much\"\n"),
        ("nan.toml", "[figures]\nnode_cores = nan\n"),
        ("broken.toml", "[prices\n"),
    ] {
        fs::write(place.path().join(name), text).unwrap();
    }
    for (arguments, code, words) in [
        ("--users 0", 2, ["--users", "100G"]),
        ("--users -5", 2, ["--users", "`-5`"]),
        ("--users NaN", 2, ["--users", "`NaN`"]),
        ("--users 99999999999999999999999999", 2, ["--users", "100G"]),
        ("--sign-ins inf", 2, ["--sign-ins", "1,000"]),
        ("--requests -1", 2, ["--requests", "0"]),
        ("--access-lifetime 0s", 2, ["--access-lifetime", "`1s`"]),
        ("--refresh-lifetime 60d", 2, ["--refresh-lifetime", "--refresh-absolute"]),
        ("--revoked 101", 2, ["--revoked", "100"]),
        ("--peak 0", 2, ["--peak", "1"]),
        ("--utilisation 0", 2, ["--utilisation", "0"]),
        ("--nodes 0", 2, ["--nodes", "100000"]),
        ("--nodes 2", 1, ["--nodes", "9 are needed"]),
        ("--price node", 2, ["node", "`=`"]),
        ("--price node=-1", 2, ["node=-1", "1000000"]),
        ("--figure chek_ms=1", 2, ["chek_ms", "`check_ms`"]),
        ("--figure fill_percent=0", 2, ["fill_percent", "0"]),
        ("--prices nowhere.toml", 2, ["nowhere.toml", "cannot be read"]),
        ("--prices unknown.toml", 2, ["line 3", "`node`"]),
        ("--prices text.toml", 2, ["line 2", "a number of dollars"]),
        ("--prices nan.toml", 2, ["line 2", "figure"]),
        ("--prices broken.toml", 2, ["broken.toml", "line 1"]),
        ("--page nowhere/plan.html", 1, ["nowhere/plan.html", "another file"]),
        ("--config nowhere.toml", 2, ["nowhere.toml", "tegata init"]),
        ("--users 100G --sign-ins 1000 --peak 1000 --requests 1000000", 2, ["--users", "nobody"]),
    ] {
        let all: Vec<&str> = std::iter::once("plan").chain(arguments.split(' ')).collect();
        let output = run(&place, &all);
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {line}");
        assert_eq!(line.trim_end().lines().count(), 1, "{arguments}: {line}");
        assert!(line.starts_with("tegata: "), "{arguments}: {line}");
        assert!(words.iter().all(|word| line.contains(word)), "{arguments}: {line}");
    }
}

#[test]
fn json_is_json_and_the_largest_users_are_planned() {
    let place = tempfile::tempdir().unwrap();
    for users in ["1", "10_000_000", "10G", "100G"] {
        let output =
            run(&place, &["plan", "--users", users, "--format", "json", "--page", "p.html"]);
        assert!(output.status.success(), "{}", said(&output));
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let cost = &plan["cost"];
        let lines = cost["lines"].as_array().unwrap().iter();
        let sum: f64 = lines.map(|line| line["monthly"].as_f64().unwrap()).sum();
        let total = cost["monthly"].as_f64().unwrap();
        assert!((sum / total - 1.0).abs() < 1e-9, "{sum} is not {total}");
        assert!(fs::read_to_string(place.path().join("p.html")).unwrap().ends_with("</html>"));
    }
}

#[test]
fn the_lives_of_tokens_are_those_of_a_configuration_that_is_named() {
    let place = tempfile::tempdir().unwrap();
    let plan = |arguments: &[&str]| -> Value {
        let output = run(&place, &[&["plan", "--format", "json"], arguments].concat());
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let text = "[tokens]\naccess_lifetime = \"10m\"\n[sessions]\nabsolute = \"12h\"\n";
    fs::write(place.path().join("tegata.toml"), text).unwrap();
    // One that only happens to be here is nobody's wish.
    assert_eq!(plan(&[])["asked"]["access_seconds"], 900.0);
    let named = plan(&["--config", "tegata.toml"]);
    assert_eq!(named["asked"]["access_seconds"], 600.0);
    assert_eq!(named["asked"]["session_seconds"], 43_200.0);
    let over = plan(&["--config", "tegata.toml", "--access-lifetime", "5m"]);
    assert_eq!(over["asked"]["access_seconds"], 300.0);
}
