//! Whether the log of decisions can be proven to be what was written, and what is said where it is not.

use std::fs;

use serde_json::Value;

use crate::{Place, get, said};

/// Asks the gateway so often for something that is not there, which is a decision each.
fn decide(port: u16, times: usize) {
    for _ in 0..times {
        assert_eq!(get(port, "/nowhere/at/all").0, 404);
    }
}

/// What is said of a log that is not what was written: ends with 1.
fn altered(place: &Place, args: &[&str]) -> (Value, String) {
    let args = [&["audit-log", "verify", "--format", "json"], args].concat();
    let output = place.run(&args);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
    (serde_json::from_slice(&output.stdout).unwrap(), said(&output))
}

#[test]
fn a_log_is_proven_while_it_is_written_after_it_and_after_its_keys_were_rotated() {
    let place = Place::new();
    let server = place.serve();
    decide(server.ports().gateway, 3);
    let verify = &["audit-log", "verify"][..];
    // It is written a moment later, and whole lines at a time.
    crate::until("the decisions are there", || place.json(verify)["requests"].as_u64() >= Some(3));
    let running = place.json(verify);
    assert_eq!((&running["sound"], &running["open_ends"]), (&true.into(), &serde_json::json!([1])));
    // Though it is not ended, what is older than a second is signed.
    crate::until("it is signed", || place.json(verify)["unsigned"] == 0);
    server.stop();
    let before = place.json(verify);
    assert_eq!((&before["unsigned"], &before["segments"]), (&0.into(), &1.into()), "{before}");
    assert!(before["from"].as_str() < before["to"].as_str(), "{before}");

    // Another key signs from now on, and both count.
    place.json(&["key", "rotate", "--force"]);
    let server = place.serve();
    decide(server.ports().gateway, 3);
    server.stop();
    let kept = before["checkpoint"].as_str().unwrap();
    let after = place.json(&["decisions", "verify", "--checkpoint", kept]);
    assert!(after["requests"].as_u64() > before["requests"].as_u64(), "{after}");
    assert_eq!((&after["segments"], &after["open_ends"]), (&2.into(), &serde_json::json!([])));
    // A segment by itself.
    let second = place.json(&["audit-log", "verify", "decisions/0000000002.log"]);
    assert_eq!((&second["segments"], &second["checkpoint"]), (&1.into(), &after["checkpoint"]));
    // For people.
    let text = place.run(&["audit-log", "verify"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("sound") && text.contains("checkpoint"), "{text}");
}

#[test]
fn what_was_done_to_a_log_is_named_with_its_place() {
    let place = Place::new();
    for _ in 0..2 {
        let server = place.serve();
        decide(server.ports().gateway, 4);
        server.stop();
    }
    let kept = place.json(&["audit-log", "verify"])["checkpoint"].as_str().unwrap().to_owned();
    let file = |number: u8| place.path().join(format!("decisions/000000000{number}.log"));
    let (first, second) = (file(1), file(2));
    let text = fs::read_to_string(&second).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let write = |lines: &[&str]| fs::write(&second, lines.join("\n") + "\n").unwrap();

    let forged = text.replacen("127.0.0.1", "192.0.2.77", 1);
    fs::write(&second, &forged).unwrap();
    let (found, said) = altered(&place, &[]);
    let line = 1 + forged.lines().position(|line| line.contains("192.0.2.77")).unwrap();
    assert_eq!((&found["found"], &found["line"]), (&"altered".into(), &line.into()), "{said}");
    assert!(said.contains(&format!("decisions/0000000002.log:{line}: ")), "{said}");
    assert!(found["expected"].as_str().unwrap().starts_with("the hash "), "{said}");

    write(&[&lines[..2], &lines[3..]].concat());
    assert_eq!(altered(&place, &[]).0["line"], 3);
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    write(&swapped);
    assert_eq!(altered(&place, &[]).0["line"], 2);
    fs::write(&second, [fs::read(&first).unwrap(), text.clone().into_bytes()].concat()).unwrap();
    assert_eq!(altered(&place, &[]).0["found"], "replaced");
    assert_eq!(altered(&place, &["decisions/0000000002.log"]).0["found"], "joined");
    // The middle of a line, which nobody goes on writing.
    fs::write(&second, &text[..text.len() - 40]).unwrap();
    assert_eq!(altered(&place, &[]).0["found"], "cut");

    // Whole lines at the end: what stands there could be all, but for whoever knows more. The store does.
    write(&lines[..lines.len() - 2]);
    let by_itself = &["audit-log", "verify", "decisions/0000000002.log"];
    let short = place.json(by_itself);
    assert!(short["unsigned"].as_u64() > Some(0), "{short}");
    assert_eq!(short["open_ends"], serde_json::json!([2]));
    assert_eq!(altered(&place, &[]).0["found"], "shortened");
    assert_eq!(altered(&place, &["--checkpoint", &kept]).0["found"], "shortened");
    write(&lines);
    place.json(&["audit-log", "verify", "--checkpoint", &kept]);

    fs::remove_file(&first).unwrap();
    assert_eq!(altered(&place, &[]).0["found"], "removed");
    // It was moved away on purpose.
    place.json(&["audit-log", "verify", "--first", "2", "--checkpoint", &kept]);
    fs::remove_file(&second).unwrap();
    assert_eq!(altered(&place, &[]).0["found"], "nothing");
}

#[test]
fn a_log_is_proven_elsewhere_with_the_keys_that_signed_it() {
    let place = Place::new();
    let server = place.serve();
    let ports = server.ports();
    decide(ports.gateway, 2);
    let (status, answer) = get(ports.public, "/.well-known/jwks.json");
    assert_eq!(status, 200);
    place.write("keys.json", answer.split_once("\r\n\r\n").unwrap().1);
    server.stop();
    // Where there is no configuration and no store.
    let elsewhere = tempfile::tempdir().unwrap();
    let away = elsewhere.path().join("log");
    fs::rename(place.path().join("decisions"), &away).unwrap();
    let away = away.to_str().unwrap();
    let sound = place.json(&["audit-log", "verify", away, "--keys", "keys.json"]);
    assert_eq!(sound["unsigned"], 0);
    place.write("none.json", r#"{"keys": [{"kty": "oct", "k": "AAAA"}]}"#);
    let (found, said) = altered(&place, &[away, "--keys", "none.json"]);
    assert_eq!(found["found"], "unknown_key");
    assert!(said.contains("--keys FILE"), "{said}");

    place.write("broken.json", "{");
    let usage = |args: &[&str]| place.refused(&[&["audit-log", "verify"], args].concat(), 2);
    assert!(usage(&[away, "--keys", "broken.json"]).contains("no JWK set"));
    assert!(usage(&["nowhere", "--keys", "keys.json"]).contains("`nowhere`"));
    usage(&["--checkpoint", "12"]);
}
