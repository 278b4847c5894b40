//! What commands do with what is typed, and with a server that does not answer.

use std::{
    io::{Read as _, Write as _},
    process::Stdio,
};

use crate::Place;

#[test]
fn wrong_usage_is_one_line_that_says_where_to_look() {
    let place = Place::new();
    for args in [
        &["nothing"][..],
        &["user"],
        &["user", "show"],
        &["revoke", "--reason", "x"],
        &["serve", "--fast"],
        &["key", "rotate", "--algorithm", "HS256"],
        &["user", "list", "--format", "xml"],
    ] {
        assert!(place.refused(args, 2).contains("--help`"), "{args:?}");
    }
    assert!(place.run(&["--version"]).status.success());
}

#[test]
fn a_server_that_hangs_is_not_waited_for_without_end() {
    let place = Place::new();
    let server = place.serve();
    server.signal("STOP");
    let said = place.refused(&["user", "list"], 1);
    assert!(said.contains("admin.sock"), "{said}");
    server.signal("CONT");
    place.json(&["user", "list"]);
    server.stop();
}

#[test]
fn a_token_that_does_not_count_is_shown_with_the_reason() {
    let place = Place::new();
    place.add_user("alice");
    let server = place.serve();
    let (status, answer) =
        crate::sign_in(server.ports().public, "correct horse battery staple", "");
    assert_eq!(status, 200, "{answer}");
    let told = crate::body(&answer);
    let token = told["access_token"].as_str().unwrap();
    let inspect = |token: &str| {
        let output = place.run(&["token", "inspect", "--format", "json", token]);
        let shown = serde_json::from_slice::<serde_json::Value>(&output.stdout);
        (output.status.code(), shown.unwrap_or_default(), crate::said(&output))
    };
    let (code, shown, _) = inspect(token);
    assert_eq!((code, &shown["standing"]), (Some(0), &"valid".into()));
    assert_eq!(shown["header"]["alg"], "ES256");

    // Somebody else's signature.
    let (signed, _) = token.rsplit_once('.').unwrap();
    let (code, shown, said) = inspect(&format!("{signed}.{}", "A".repeat(86)));
    assert_eq!(code, Some(1));
    assert_eq!(shown["claims"]["sub"], crate::part(token, 1)["sub"]);
    assert!(said.contains("signature") && said.trim_end().lines().count() == 1, "{said}");

    place.json(&["revoke", "--token", token, "--reason", "test"]);
    let (code, shown, said) = inspect(token);
    assert_eq!(code, Some(1));
    assert!(said.contains("revoked") && shown["claims"]["jti"].is_string(), "{said}{shown}");

    let (code, shown, _) = inspect("hunter2");
    assert_eq!((code, shown), (Some(1), serde_json::Value::Null));
    server.stop();
}

#[test]
fn what_is_typed_on_a_terminal_is_not_shown() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_tegata");
    // `script` gives the command a terminal, and writes what the terminal shows.
    let mut terminal = std::process::Command::new("script")
        .args(["-qec", &format!("{program} user add alice"), "/dev/null"])
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = terminal.stdout.take().unwrap();
    let mut all = Vec::new();
    // It is asked for once echoing is off.
    while !String::from_utf8_lossy(&all).contains("ending with") {
        let mut some = [0; 64];
        let count = shown.read(&mut some).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&some[..count]);
    }
    let mut typed = terminal.stdin.take().unwrap();
    typed.write_all(b"correct horse battery staple\n").unwrap();
    shown.read_to_end(&mut all).unwrap();
    let all = String::from_utf8_lossy(&all).into_owned();
    assert!(terminal.wait().unwrap().success(), "{all}");
    assert!(!all.contains("horse"), "{all}");
    assert_eq!(place.json(&["user", "list"])[0]["username"], "alice");
}
