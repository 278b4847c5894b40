//! `tegata service`.

use std::process::Stdio;

use serde_json::json;

use crate::{CONFIGURATION, Place, said};

const UPSTREAM: [&str; 2] = ["--upstream", "http://127.0.0.1:9"];

fn add<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["service", "add", name], &UPSTREAM[..], more].concat()
}

#[test]
fn a_service_that_is_there_is_not_replaced() {
    let place = Place::new();
    place.json(&add("vault", &["--role", "admin", "--caller", "web"]));
    let before = place.json(&["service", "list"]);
    assert!(place.refused(&add("vault", &[]), 1).contains("already"));
    assert_eq!(place.json(&["service", "list"]), before);
    assert_eq!(before[0]["roles"], json!(["admin"]));
}

#[test]
fn callers_that_are_allowed_at_once_are_all_allowed() {
    let place = Place::new();
    place.json(&add("vault", &[]));
    let server = place.serve();
    let names: Vec<_> = (0..8).map(|number| format!("caller{number}")).collect();
    let commands: Vec<_> = names
        .iter()
        .map(|name| {
            let mut command = place.command(&["service", "allow", "vault", name]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for command in commands {
        let output = command.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    let mut callers: Vec<String> =
        serde_json::from_value(place.json(&["service", "list"])[0]["callers"].clone()).unwrap();
    callers.sort();
    assert_eq!(callers, names);
    server.stop();
}

#[test]
fn allowing_does_not_bring_a_removed_service_back() {
    let place = Place::new();
    place.json(&add("vault", &[]));
    place.json(&["service", "remove", "vault"]);
    assert!(place.refused(&["service", "allow", "vault", "web"], 1).contains("no service"));
    assert_eq!(place.json(&["service", "list"]), json!([]));
}

#[test]
fn doctor_names_services_that_cannot_be_reached_for_want_of_authorities() {
    let place = Place::new();
    let upstream = ["service", "add", "vault", "--upstream", "https://127.0.0.1:9"];
    assert!(place.run(&upstream).status.success());
    let output = place.run(&["doctor"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("vault") && text.contains("upstream.ca_file"), "{text}");
    let declared = "[[service]]\nname = \"web\"\nupstreams = [\"https://127.0.0.1:9\"]\n";
    let place = Place::new();
    place.write("tegata.toml", &format!("{CONFIGURATION}{declared}"));
    assert_eq!(place.run(&["doctor"]).status.code(), Some(1));
}
