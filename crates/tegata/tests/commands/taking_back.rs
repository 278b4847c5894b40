//! `tegata revoke` and `tegata session end`: what they say is what they did.

use serde_json::json;
use tegata_engines::EchoServer;

use crate::{CONFIGURATION, Place, body, part, sign_in};

#[test]
fn a_name_that_nobody_has_is_not_said_to_be_taken_back() {
    let place = Place::new();
    place.json(&["client", "add", "app", "--grant-type", "client_credentials"]);
    place.json(&["service", "add", "orders", "--upstream", "http://127.0.0.1:9"]);
    for served in [false, true] {
        let server = served.then(|| place.serve());
        for what in [["--client", "ap"], ["--service", "order"], ["--session", "sid_nobody"]] {
            let args = [&["revoke"][..], &what, &["--reason", "test", "--wait"]].concat();
            let said = place.refused(&args, 1);
            assert!(said.contains(what[1]) || what[0] == "--session", "{said}");
        }
        for what in [["--client", "app"], ["--service", "orders"], ["--client", "tegata-browser"]] {
            let args = [&["revoke"][..], &what, &["--reason", "test", "--wait"]].concat();
            let answer = place.json(&args);
            // Who serves nothing confirms nothing.
            assert_eq!(answer["confirmed"].is_object(), served, "{answer}");
            assert_eq!(answer["unconfirmed"].is_string(), !served, "{answer}");
        }
        if let Some(server) = server {
            server.stop();
        }
    }
}

#[test]
fn a_session_that_is_ended_is_ended_with_all_that_was_begun_in_it() {
    let place = Place::new();
    place.add_user("alice");
    let server = place.serve();
    let port = server.ports().public;
    let begin = || {
        let (status, answer) = sign_in(port, "correct horse battery staple", "");
        assert_eq!(status, 200, "{answer}");
        body(&answer)
    };
    let told = begin();
    let token = told["access_token"].as_str().unwrap();
    place.json(&["session", "end", told["sid"].as_str().unwrap()]);
    assert!(
        place.refused(&["session", "end", told["sid"].as_str().unwrap()], 1).contains("no live")
    );
    let status = &part(token, 1)["status"]["status_list"];
    let (list, index) = (status["uri"].as_str().unwrap(), status["idx"].as_u64().unwrap());
    assert!(is_set(port, list, index), "the status list does not show it");
    // The family has ended: taking it back again finds nothing alive.
    let family = part(token, 1)["fid"].as_str().unwrap().to_owned();
    place.refused(&["revoke", "--family", &family, "--reason", "test"], 1);

    let told = begin();
    let sid = told["sid"].as_str().unwrap();
    let proof = place.json(&["revoke", "--session", sid, "--reason", "test"])["proof"].clone();
    assert_eq!(proof, json!({"sessions": 1, "families": 1}));
    place.refused(&["revoke", "--session", sid, "--reason", "test"], 1);
    let told = begin();
    let token = told["access_token"].as_str().unwrap();
    let jti = part(token, 1)["jti"].as_str().unwrap().to_owned();
    let answer = place.json(&["revoke", "--jti", &jti, "--reason", "test"]);
    assert!(answer.get("note").is_none(), "{answer}");
    comes_to_be_shown(port, token);
    let answer = place.json(&["revoke", "--jti", "1.2.x", "--reason", "test"]);
    assert!(answer["note"].as_str().unwrap().contains("only status lists"), "{answer}");
    server.stop();
}

#[test]
fn what_a_client_has_in_its_own_name_is_shown_by_status_lists() {
    let place = Place::new();
    place.write("robot.secret", "a secret of the robot client\n");
    let declared = "[[client]]\nclient_id = \"robot\"\nclient_secret_file = \"robot.secret\"\n\
                    grant_types = [\"client_credentials\"]\nscope = \"orders.read\"\n";
    place.write("robot.toml", declared);
    place.json(&["apply", "robot.toml"]);
    let server = place.serve();
    let port = server.ports().public;
    let issue = || {
        let head = "POST /oauth2/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
        let asked = "grant_type=client_credentials&client_id=robot&\
                     client_secret=a+secret+of+the+robot+client";
        let (status, answer) = crate::ask(port, head, asked);
        assert_eq!(status, 200, "{answer}");
        body(&answer)["access_token"].as_str().unwrap().to_owned()
    };
    let (first, second, third) = (issue(), issue(), issue());
    let jti = part(&first, 1)["jti"].as_str().unwrap().to_owned();
    let answer = place.json(&["revoke", "--jti", &jti, "--reason", "test"]);
    assert!(answer.get("note").is_none(), "{answer}");
    comes_to_be_shown(port, &first);
    assert!(!is_shown(port, &second));
    let answer = place.json(&["revoke", "--client", "robot", "--reason", "test", "--wait"]);
    assert_eq!(answer["proof"]["tokens"], 2, "{answer}");
    assert!(answer["note"].as_str().unwrap().contains("0 tokens"), "{answer}");
    comes_to_be_shown(port, &second);
    comes_to_be_shown(port, &third);
    // Status lists cannot show what a key signed, and that is said.
    let keys = place.json(&["key", "list"]);
    let current = keys.as_array().unwrap().iter().find(|key| key["state"] == "current").unwrap();
    let kid = current["kid"].as_str().unwrap();
    let answer = place.json(&["revoke", "--key", kid, "--reason", "test"]);
    assert!(answer["note"].as_str().unwrap().contains("status lists do not show"), "{answer}");
    server.stop();
}

#[test]
fn the_life_of_a_token_tells_that_the_key_was_taken_back_which_signed_it() {
    let place = Place::new();
    place.add_user("alice");
    place.write("robot.secret", "a secret of the robot client\n");
    let declared = "[[client]]\nclient_id = \"robot\"\nclient_secret_file = \"robot.secret\"\n\
                    grant_types = [\"client_credentials\"]\nscope = \"orders.read\"\n";
    place.write("robot.toml", declared);
    place.json(&["apply", "robot.toml"]);
    let server = place.serve();
    let port = server.ports().public;
    let issue = || {
        let (status, answer) = sign_in(port, "correct horse battery staple", "");
        assert_eq!(status, 200, "{answer}");
        let of_person = body(&answer)["access_token"].as_str().unwrap().to_owned();
        let head = "POST /oauth2/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
        let asked = "grant_type=client_credentials&client_id=robot&\
                     client_secret=a+secret+of+the+robot+client";
        let (status, answer) = crate::ask(port, head, asked);
        assert_eq!(status, 200, "{answer}");
        [of_person, body(&answer)["access_token"].as_str().unwrap().to_owned()]
    };
    let traced = |token: &String| {
        let told = place.json(&["token", "trace", part(token, 1)["jti"].as_str().unwrap()]);
        assert_eq!(told["issued"]["kid"], part(token, 0)["kid"], "{told}");
        told
    };
    let before = issue();
    let kid = part(&before[0], 0)["kid"].as_str().unwrap().to_owned();
    for token in &before {
        assert_eq!(part(token, 0)["kid"], json!(kid));
        assert_eq!(traced(token)["revoked"], json!([]));
    }
    place.json(&["revoke", "--key", &kid, "--reason", "key-on-a-laptop"]);
    for token in &before {
        let told = traced(token);
        let [entry] = told["revoked"].as_array().unwrap().as_slice() else { panic!("{told}") };
        assert_eq!(entry["what"], "key", "{told}");
        assert_eq!(
            (&entry["reason"], &entry["actor"]),
            (&json!("key-on-a-laptop"), &json!("operator"))
        );
        assert!(entry["at"].is_string(), "{told}");
    }
    // What the next key signed was not taken back.
    for token in &issue() {
        assert_ne!(part(token, 0)["kid"], json!(kid));
        assert_eq!(traced(token)["revoked"], json!([]));
    }
    // What is kept with the sign-in outlives a start, and what nodes remember does not: that is said.
    server.stop();
    let server = place.serve();
    let [of_person, own] = &before;
    let told = traced(of_person);
    assert_eq!(told["revoked"][0]["what"], "key", "{told}");
    assert_eq!(told["known"]["issued_from"], "record", "{told}");
    let unknown = place.refused(&["token", "trace", part(own, 1)["jti"].as_str().unwrap()], 1);
    assert!(unknown.contains("every node was started since"), "{unknown}");
    server.stop();
}

/// Waits until its status list says that a token was taken back: lists are made every few seconds.
fn comes_to_be_shown(port: u16, token: &str) {
    crate::until("its status list shows it", || is_shown(port, token));
}

/// Whether its status list says that a token was taken back.
fn is_shown(port: u16, token: &str) -> bool {
    let status = &part(token, 1)["status"]["status_list"];
    is_set(port, status["uri"].as_str().unwrap(), status["idx"].as_u64().unwrap())
}

/// Whether a token's place in its status list is set.
fn is_set(port: u16, list: &str, index: u64) -> bool {
    use std::io::Read as _;
    let path = list.strip_prefix("http://localhost:8000").unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nAccept: application/statuslist+jwt");
    let (status, answer) = crate::ask(port, &head, "");
    assert_eq!(status, 200, "{answer}");
    let claims = part(answer.split_once("\r\n\r\n").unwrap().1.trim(), 1);
    let list = &claims["status_list"];
    assert_eq!(list["bits"], 1);
    let packed = {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        URL_SAFE_NO_PAD.decode(list["lst"].as_str().unwrap()).unwrap()
    };
    let mut bits = Vec::new();
    flate2::read::ZlibDecoder::new(packed.as_slice()).read_to_end(&mut bits).unwrap();
    bits[usize::try_from(index / 8).unwrap()] >> (index % 8) & 1 == 1
}

#[test]
fn a_reason_is_given_and_a_token_may_come_from_standard_input() {
    let place = Place::new();
    for reason in ["", " "] {
        let args = ["revoke", "--jti", "1.2.x", "--reason", reason];
        assert_ne!(place.run(&args).status.code(), Some(0), "`{reason}`");
    }
    let (code, said) = place.given("nonsense\n", &["revoke", "--token", "-", "--reason", "test"]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn a_role_that_is_withdrawn_does_not_count_in_any_token_of_before() {
    let echo = EchoServer::start();
    let place = Place::new();
    let declared = format!(
        "{CONFIGURATION}[[service]]\nname = \"vault\"\nupstreams = [\"http://127.0.0.1:{}\"]\n\
         roles = [\"admin\"]\n",
        echo.port()
    );
    place.write("tegata.toml", &declared);
    place.add_user("alice");
    let alice = |roles: &str| {
        place.write("alice.toml", &format!("[[user]]\nusername = \"alice\"\nroles = [{roles}]\n"));
        place.json(&["apply", "alice.toml"])
    };
    alice("\"admin\", \"customer\"");
    let server = place.serve();
    let ports = server.ports();
    let (status, answer) = sign_in(ports.public, "correct horse battery staple", "");
    assert_eq!(status, 200, "{answer}");
    let cookies: Vec<_> = answer
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .filter_map(|(_, value)| value.split(';').next())
        .collect();
    let (token, cookies) = (body(&answer)["access_token"].clone(), cookies.join("; "));
    let token = token.as_str().unwrap();
    let with = |header: &str| {
        crate::ask(ports.gateway, &format!("GET /vault/x HTTP/1.1\r\n{header}"), "").0
    };
    let (by_token, by_session) =
        (format!("Authorization: Bearer {token}"), format!("Cookie: {cookies}"));
    assert_eq!((with(&by_token), with(&by_session)), (200, 200));
    // Who may do more keeps what they have.
    alice("\"admin\", \"customer\", \"auditor\"");
    assert_eq!((with(&by_token), with(&by_session)), (200, 200));
    alice("\"customer\"");
    // The token said too much; the session goes on, and may do less.
    assert_eq!((with(&by_token), with(&by_session)), (401, 403));
    let csrf = body(&answer)["csrf_token"].as_str().unwrap().to_owned();
    let head = format!(
        "POST /api/auth/refresh HTTP/1.1\r\nOrigin: http://localhost:8000\r\nCookie: {cookies}\r\n\
         X-CSRF-Token: {csrf}"
    );
    let (status, refreshed) = crate::ask(ports.public, &head, "");
    assert_eq!(status, 200, "{refreshed}");
    let fresh = body(&refreshed)["access_token"].as_str().unwrap().to_owned();
    assert_eq!(part(&fresh, 1)["roles"], json!(["customer"]));
    assert_eq!(with(&format!("Authorization: Bearer {fresh}")), 403);
    server.stop();
    // Nor after a restart.
    let server = place.serve();
    let port = server.ports().gateway;
    let head = format!("GET /vault/x HTTP/1.1\r\n{by_token}");
    assert_eq!(crate::ask(port, &head, "").0, 401);
    server.stop();
}
