//! The guide to administration over HTTP, played as it is written.

#![cfg(test)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tegata_engines::process::free_ports;

/// What the guide says to type.
fn guide() -> String {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/admin-api.md");
    let text = fs::read_to_string(place).unwrap();
    let blocks = text.split("```sh admin\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_guide_to_administration_is_true() {
    let place = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_tegata")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut guide = guide();
    assert!(guide.contains("tegata demo"), "the guide has no commands");
    // What it starts ends with it.
    guide.insert_str(0, "set -eu\ntrap 'kill -KILL $(cat pid) 2> /dev/null' EXIT\n");
    let output = Command::new("bash")
        .args(["-c", &guide])
        .current_dir(place.path())
        .env("PATH", path)
        .env("BASE", free_ports(21).to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (told, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(place.path().join("log")).unwrap_or_default();
    assert!(output.status.success(), "{told}\n{said}\n{log}");
    let lines: Vec<_> = told.lines().collect();
    let expected =
        [r#"{"username":"maria","roles":[]}"#, r#"["staff"]"#, r#""ja""#, r#"[412,"overtaken"]"#];
    assert_eq!(lines.get(..4), Some(&expected[..]), "{told}\n{said}");
    assert!(lines[4].starts_with("refused by the only point after "), "{told}");
    assert_eq!(lines.get(5..), Some(&["\"/rolls\""][..]), "{told}\n{said}");
    assert!(!told.contains("private phrase") && !log.contains("private phrase"));
}
