//! `tegata revoke` and `tegata session end`: what they say is what they did.

use serde_json::json;

use crate::{Place, body, part, sign_in};

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
    let token = told["access_token"].as_str().unwrap();
    let sid = told["sid"].as_str().unwrap();
    let proof = place.json(&["revoke", "--session", sid, "--reason", "test"])["proof"].clone();
    assert_eq!(proof, json!({"sessions": 1, "families": 1}));
    place.refused(&["revoke", "--session", sid, "--reason", "test"], 1);
    let jti = part(token, 1)["jti"].as_str().unwrap().to_owned();
    let answer = place.json(&["revoke", "--jti", &jti, "--reason", "test"]);
    assert!(answer["note"].as_str().unwrap().contains("status lists"), "{answer}");
    server.stop();
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
