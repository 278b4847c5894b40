//! The guide to signals, played as it is written.

#![cfg(test)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tegata_engines::process::free_ports;

/// What the guide says to type.
fn guide() -> String {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/signals.md");
    let text = fs::read_to_string(place).unwrap();
    let blocks = text.split("```sh signals\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_guide_to_two_systems_is_true() {
    let place = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_tegata")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut guide = guide();
    assert!(guide.contains("tegata serve"), "the guide has no commands");
    // What it starts ends with it.
    guide.insert_str(0, "set -eu\ntrap 'kill -KILL $(cat site?/pid) 2> /dev/null' EXIT\n");
    let output = Command::new("bash")
        .args(["-c", &guide])
        .current_dir(place.path())
        .env("PATH", path)
        .env("BASE", free_ports(13).to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (told, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let logs = (0..=1).map(|n| fs::read_to_string(place.path().join(format!("site{n}/log"))));
    let logs: Vec<_> = logs.map(Result::unwrap_or_default).collect();
    assert!(output.status.success(), "{told}\n{said}\n{}", logs.join("\n---\n"));
    let codes: Vec<&str> =
        told.lines().filter(|line| line.len() == 3 && line.parse::<u16>().is_ok()).collect();
    assert_eq!(codes, ["200", "401"], "{told}\n{said}");
    assert!(told.contains("\"stream_id\""), "{told}");
    // What is to be shown is shown to nobody else.
    for text in [told.as_ref(), said.as_ref()].into_iter().chain(logs.iter().map(String::as_str)) {
        assert!(!text.contains("for the first site to show"), "{text}");
    }
}
