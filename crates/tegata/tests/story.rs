//! The demo's story, as a user plays it.

#![cfg(test)]

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// A range of ports that was free a moment ago.
fn free_ports() -> u16 {
    loop {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = probe.local_addr().unwrap().port();
        drop(probe);
        let Some(last) = base.checked_add(32) else { continue };
        if (base..=last).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
}

fn demo(base: u16, data: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tegata"));
    command.arg("demo").arg("--data-dir").arg(data.path());
    command.args(["--port-base", &base.to_string()]).stdin(Stdio::null());
    command
}

/// Starts a demo, on other ports where somebody was faster, and waits until it serves.
fn start(data: &TempDir) -> (Child, u16) {
    loop {
        let base = free_ports();
        let mut child =
            demo(base, data).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        if lines.next().is_some() {
            return (child, base);
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains("port"), "{said}");
    }
}

#[test]
fn every_step_of_the_story_holds() {
    loop {
        let data = tempfile::tempdir().unwrap();
        let output = demo(free_ports(), &data).arg("--once").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if errors.contains("cannot be used: Address already in use") {
            continue;
        }
        assert!(output.status.success(), "{said}{errors}");
        assert!(said.contains("10 steps held, 0 did not"), "{said}");
        return;
    }
}

#[test]
fn a_second_demo_on_the_same_ports_says_so() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut first, base) = start(&data);
    let second = demo(base, &other).output().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&base.to_string()) && said.contains("--port-base"), "{said}");
}

#[test]
fn ctrl_c_ends_it_and_the_next_start_finds_everything_whole() {
    let data = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let (mut child, _) = start(&data);
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
        assert!(!data.path().join("admin.sock").exists());
    }
}
