//! `tegata demo --once`, where it cannot play.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
};

use tegata_engines::process::free_ports;

use crate::{Place, listening, said, until};

/// How many ports a demo takes.
const PORTS: u16 = 33;

#[test]
fn ports_in_use_are_one_line_and_exit_code_2() {
    let place = Place::new();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = held.local_addr().unwrap().port().to_string();
    let said = place.refused(&["demo", "--once", "--data-dir", "demo", "--port-base", &base], 2);
    assert!(said.contains(&base), "{said}");
    place.refused(&["demo", "--data-dir", "demo", "--port-base", "0"], 2);
}

#[test]
fn somebody_else_at_the_other_loopback_address_is_not_passed_over() {
    let place = Place::new();
    let (_held, base) = loop {
        let held = TcpListener::bind("[::1]:0").expect("the machine has IPv6 on its loopback");
        let base = held.local_addr().unwrap().port();
        // Somebody at the other address would be found first.
        if TcpListener::bind(("127.0.0.1", base)).is_ok() {
            break (held, base.to_string());
        }
    };
    let said = place.refused(&["demo", "--data-dir", "demo", "--port-base", &base], 2);
    assert!(said.contains(&base), "{said}");
}

#[test]
fn whoever_ends_the_story_ends_the_demo_too() {
    let place = Place::new();
    let mut story = loop {
        let base = free_ports(PORTS).to_string();
        let args = ["demo", "--once", "--data-dir", "demo", "--port-base", &base];
        let more = ["--describe", "here.json", "--limits", "production"];
        let mut story = place
            .command(&[&args[..], &more].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(story.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.contains("serves after") {
            break story;
        }
        // Somebody else was given a port meanwhile.
        let output = story.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}{}", said(&output));
    };
    let pid = story.id();
    let of_all_threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let read = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default()
        };
        tasks.map(read).collect::<String>()
    };
    let child: u32 = of_all_threads().split_whitespace().next().unwrap().parse().unwrap();
    let port = *listening(child).first().unwrap();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let arguments = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap();
    assert!(arguments.contains("production") && arguments.contains("here.json"), "{arguments}");
    assert!(place.path().join("here.json").exists());
    assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
    assert_ne!(story.wait().unwrap().code(), Some(0));
    // It is closed with its owner.
    let _broken = connection.read(&mut [0]);
    until("the demo has ended", || {
        let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // Gone, or a zombie whose parent has gone.
        state.rsplit(')').next().unwrap().trim_start().starts_with('Z') || state.is_empty()
    });
}
