//! The demo's story, as a user plays it.

#![cfg(test)]

use std::{
    io::{BufRead as _, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
};

use tegata_engines::process::free_ports;
use tempfile::TempDir;

/// How many ports a demo takes.
const PORTS: u16 = 33;

fn demo(base: u16, data: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tegata"));
    command.arg("demo").arg("--data-dir").arg(data.path());
    command.args(["--port-base", &base.to_string()]).stdin(Stdio::null());
    command
}

/// Starts a demo, on other ports where somebody was faster, and waits until it serves. Answers what it says
/// after its first line.
fn start(data: &TempDir) -> (Child, u16, Lines<BufReader<ChildStdout>>) {
    loop {
        let base = free_ports(PORTS);
        let mut child =
            demo(base, data).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        if lines.next().is_some() {
            return (child, base, lines);
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
        let output = demo(free_ports(PORTS), &data).arg("--once").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if errors.contains("cannot be used: Address already in use") {
            continue;
        }
        assert!(output.status.success(), "{said}{errors}");
        assert!(said.contains("14 steps held, 0 did not"), "{said}");
        return;
    }
}

#[test]
fn what_the_demo_says_to_type_does_what_it_says_beside_another_demo() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut beside, ..) = start(&other);
    let (mut child, _, lines) = start(&data);
    let said = lines.map(Result::unwrap).take_while(|line| !line.starts_with("What happens"));
    let typed: Vec<_> = said.filter(|line| line.contains("TOKEN")).collect();
    let output = Command::new("bash")
        .args(["-c", &format!("set -eu\n{}", typed.join("\n"))])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    for demo in [&mut child, &mut beside] {
        assert_eq!(demo.try_wait().unwrap(), None);
        demo.kill().unwrap();
        demo.wait().unwrap();
    }
    let (told, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{typed:?}\n{told}\n{said}");
    assert_eq!(typed.len(), 5, "{typed:?}");
    let statuses = told.lines().filter(|line| line.starts_with("HTTP/"));
    assert_eq!(statuses.collect::<Vec<_>>(), ["HTTP/1.1 200 OK"; 2], "{told}");
    assert!(told.contains("confirmed") && told.contains("/hello"), "{told}");
}

#[test]
fn a_second_demo_on_the_same_ports_says_so() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut first, base, _) = start(&data);
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
        let (mut child, ..) = start(&data);
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
        assert!(!data.path().join("admin.sock").exists());
    }
}
