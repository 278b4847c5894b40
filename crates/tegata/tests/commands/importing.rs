//! What `tegata user import` says: how far it is, who was refused and where, and that nobody is lost.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{Place, said, until};

/// What is wrong, in words, by line; line 2 is empty.
const PEOPLE: &str = r#"{"username": "sol"}

{"username": "luz", "planet": "Mars"}
{"username": "mar", "password": "a very secret phrase"}
{"username": "alice"}
{"username": "ann", "email_verified": true}
a very secret phrase
{"username": "ria", "password_hash": "a very secret hash"}
"#;

#[test]
fn who_was_refused_is_said_with_the_line_and_how_to_mend_it() {
    let place = Place::new();
    place.add_user("alice");
    place.write("people.jsonl", PEOPLE);
    let output = place.run(&["user", "import", "people.jsonl"]);
    let (told, why) = (String::from_utf8(output.stdout.clone()).unwrap(), said(&output));
    assert_eq!(output.status.code(), Some(1), "{why}");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[..5],
        ["registered  1", "known       1", "refused     5", "lines", "  LINE  WHY"],
        "{told}"
    );
    for (line, (number, word)) in lines[5..].iter().zip([
        ("3", "`planet` is not known; known are username"),
        ("4", "tegata user passwd"),
        ("6", "there is no `email`"),
        ("7", "no JSON object (column 1)"),
        ("8", "`password_hash`: "),
    ]) {
        let said = line.trim_start().split_once(' ').map(|(number, why)| (number, why.trim()));
        let (own, why) = said.unwrap_or_else(|| panic!("{told}"));
        assert!(own == number && why.contains(word), "{word}: {told}");
    }
    assert_eq!(lines.last(), Some(&"dry_run     false"), "{told}");
    assert_eq!(lines.len(), 11, "{told}");
    let expected = "tegata: `people.jsonl`: 5 of them cannot be registered; mend these lines and do it once more";
    assert_eq!(why.trim_end(), expected);
    // Nothing of what stands in a line is repeated; nobody looks at a terminal, so nothing is drawn.
    for text in [&told, &why] {
        assert!(!text.contains("secret phrase") && !text.contains("secret hash"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
    }
    // Mended, it is done, and says so in one form as in the other.
    place.write("people.jsonl", "{\"username\": \"sol\"}\n{\"username\": \"luz\"}\n");
    let output = place.run(&["user", "import", "people.jsonl"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        told,
        "registered  1\nknown       1\nrefused     0\nlines       -\ndry_run     false\n"
    );
    assert_eq!(
        place.json(&["user", "import", "people.jsonl"]),
        json!({"registered": 0, "known": 2, "refused": 0, "lines": [], "dry_run": false})
    );
}

/// The first hundred are told of one by one; the others are counted, and said to be there.
#[test]
fn of_very_many_that_are_refused_none_is_passed_over_in_silence() {
    let place = Place::new();
    let people: String = (1..=2101)
        .map(|line| {
            if line % 7 == 0 {
                "{}\n".to_owned()
            } else {
                format!("{{\"username\": \"person-{line}\"}}\n")
            }
        })
        .collect();
    place.write("people.jsonl", &people);
    let output = place.run(&["user", "import", "people.jsonl", "--format", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["registered"], &told["refused"]), (&json!(1801), &json!(300)));
    let lines: Vec<_> =
        told["lines"].as_array().unwrap().iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, (1..=100).map(|nth| nth * 7).collect::<Vec<_>>());
    let why = said(&output);
    assert!(why.contains("300 of them") && why.contains("200 more are not shown"), "{why}");
    assert_eq!(place.json(&["user", "list"]).as_array().unwrap().len(), 1801);
}

/// A server that does not answer in the middle of it: what is done is said, and doing it again loses nobody.
#[test]
fn an_import_that_breaks_off_says_how_many_are_there_and_is_done_again() {
    let place = Place::new();
    let server = place.serve();
    let people: Vec<String> =
        (0..2010).map(|number| format!("{{\"username\": \"person-{number}\"}}\n")).collect();
    let mut import = place
        .command(&["user", "import", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut given = import.stdin.take().unwrap();
    let (first, rest) = people.split_at(2000);
    given.write_all(first.concat().as_bytes()).unwrap();
    until("the first part is registered", || {
        place.run(&["user", "show", "person-1999"]).status.success()
            && place.run(&["user", "show", "person-0"]).status.success()
            && place.json(&["user", "list"]).as_array().unwrap().len() == 2000
    });
    server.signal("STOP");
    given.write_all(rest.concat().as_bytes()).unwrap();
    drop(given);
    let output = import.wait_with_output().unwrap();
    let why = said(&output);
    assert_eq!(output.status.code(), Some(1), "{why}");
    assert!(why.contains("does not answer"), "{why}");
    assert!(why.contains("; 2000 are registered: do it once more"), "{why}");
    assert!(output.stdout.is_empty(), "what is not known is not told");
    server.signal("CONT");
    place.write("people.jsonl", &people.concat());
    let told = place.json(&["user", "import", "people.jsonl"]);
    let count = |name: &str| told[name].as_u64().unwrap();
    // What it was asked for while it stood still may have been done since.
    assert!(count("registered") <= 10 && count("refused") == 0, "{told}");
    assert_eq!(count("registered") + count("known"), 2010, "{told}");
    assert_eq!(place.json(&["user", "list"]).as_array().unwrap().len(), 2010);
    server.stop();
}

/// `script` gives it a terminal.
#[test]
fn a_terminal_is_shown_how_far_it_is_and_nothing_of_that_stays() {
    let place = Place::new();
    let people: String =
        (0..2500).map(|number| format!("{{\"username\": \"person-{number}\"}}\n")).collect();
    place.write("people.jsonl", &people);
    let on_terminal = |options: &str| {
        let line = format!("'{}' user import people.jsonl {options}", env!("CARGO_BIN_EXE_tegata"));
        let output = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .current_dir(place.path())
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = on_terminal("--dry-run");
    assert!(told.contains(" of 2500 looked at"), "{told:?}");
    let told = on_terminal("");
    assert!(told.contains(" of 2500 taken over"), "{told:?}");
    // The line is wiped before the answer is written.
    let (_, after) = told.rsplit_once("taken over").unwrap();
    assert!(after.contains("\u{1b}[2K") && after.contains("registered  2500"), "{told:?}");
    let told = on_terminal("--format json");
    assert!(!told.contains("taken over") && !told.contains('\u{1b}'), "{told:?}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["known"], &told["refused"]), (&json!(2500), &json!(0)));
}
