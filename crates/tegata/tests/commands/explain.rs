//! `tegata explain`: with a server, without one, of another node's log, and of what nobody knows.

use std::fs;

use serde_json::Value;
use tegata_engines::{
    PostgresServer, TegataNode,
    process::free_ports,
    tegata::{Own, Shared, root_key},
};

use crate::{Place, ask, body, get, sign_in, until};

const NOBODYS: &str = "0af7651916cd43dd8448eb211c80319c";

/// The `X-Request-ID` of an answer.
fn request(answer: &str) -> String {
    let line = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-request-id").then(|| value.trim().to_owned())
    });
    line.unwrap()
}

fn with_token(port: u16, target: &str, token: &str) -> (u16, String) {
    ask(port, &format!("GET {target} HTTP/1.1\r\nAuthorization: Bearer {token}"), "")
}

#[test]
fn explain_exits_with_1_for_an_unknown_request() {
    let place = Place::new();
    for served in [false, true] {
        let server = served.then(|| place.serve());
        if served {
            let said = place.refused(&["explain", NOBODYS], 1);
            assert!(said.contains("no record of the request") && said.contains(NOBODYS), "{said}");
        }
        for wrong in ["", "x", "../../etc/passwd", "'; DROP TABLE", &NOBODYS[1..], "\u{1b}[2J"] {
            let said = place.refused(&["explain", wrong], 2);
            assert!(said.contains("32 hexadecimal digits"), "{said}");
        }
        place.refused(&["explain", NOBODYS, "--log", "nowhere"], 2);
        place.refused(&["explain"], 2);
        if let Some(server) = server {
            server.stop();
        }
    }
    // There is a log now, and no server.
    place.refused(&["explain", NOBODYS], 1);
}

#[test]
fn a_request_is_explained_whether_a_server_runs_or_not_and_on_another_machine() {
    let place = Place::new();
    place.add_user("alice");
    place.json(&["service", "add", "orders", "--upstream", "http://127.0.0.1:9"]);
    let server = place.serve();
    let (status, answer) = sign_in(server.ports().public, "correct horse battery staple", "");
    assert_eq!(status, 200, "{answer}");
    let told = body(&answer);
    let token = told["access_token"].as_str().unwrap();
    let port = server.ports().gateway;
    until("the gateway serves it", || get(port, "/orders/x").0 == 401);
    let (_, nobody) = get(port, "/orders/x");
    let (status, passed) = with_token(port, "/orders/x", token);
    assert_eq!(status, 502, "{passed}");
    place.json(&["revoke", "--token", token, "--reason", "stolen", "--wait"]);
    let (status, revoked) = with_token(port, "/orders/x?password=hunter2", token);
    assert_eq!(status, 401, "{revoked}");
    let asked = [&nobody, &passed, &revoked].map(|answer| request(answer));

    let explain =
        |request: &str, more: &[&str]| place.json(&[&["explain", request], more].concat());
    let told = explain(&asked[0], &[]);
    let explained = |told: &Value| told["records"][0]["explained"].clone();
    assert_eq!(explained(&told)["reason"], "not_authenticated");
    assert_eq!(explained(&told)["phase"], "identify");
    assert_eq!(explained(&told)["changes"][0]["remedy"], "authenticate");
    assert_eq!(told["records"][0]["sound"], true);
    let told = explain(&asked[1], &[]);
    assert_eq!(explained(&told)["allowed"], true);
    assert_eq!(explained(&told)["reason"], "service_unreachable");
    let phases = told["records"][0]["record"]["phases"].as_array().unwrap().clone();
    let names: Vec<_> = phases.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["admit", "identify", "limit", "decide", "forward"]);
    // Of what was taken back, by whom and why.
    let told = explain(&asked[2].to_uppercase(), &[]);
    assert_eq!(explained(&told)["reason"], "token_revoked");
    assert_eq!(told["revoked"][0]["reason"], "stolen", "{told}");
    assert_eq!(told["revoked"][0]["actor"], "operator");
    let output = place.run(&["explain", &asked[2]]);
    let text = String::from_utf8(output.stdout).unwrap();
    for said in ["refused: token_revoked", "taken back", "by operator: stolen", "to pass", "µs"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains(token) && !text.contains("hunter2"), "{text}");
    server.stop();

    // Without a server, and as the log of another machine.
    let alone = explain(&asked[2], &[]);
    assert_eq!(alone["records"], told["records"]);
    let other = Place::new();
    let log = place.path().join("decisions");
    let output =
        other.run(&["explain", &asked[0], "--log", log.to_str().unwrap(), "--format", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(explained(&told)["reason"], "not_authenticated");

    // A line that was changed is shown, and said to be.
    let copy = other.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let text = fs::read_to_string(log.join("0000000001.log")).unwrap();
    let changed = text.replace("token_revoked", "token_expired");
    fs::write(copy.join("0000000001.log"), changed).unwrap();
    let output = other.run(&["explain", &asked[2], "--log", copy.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("NOT WHAT WAS WRITTEN"), "{text}");
}

#[test]
fn what_was_lost_is_said_to_be_lost() {
    let place = Place::new();
    let log = place.path().join("log");
    fs::create_dir(&log).unwrap();
    let lost = r#"{"log":"lost","count":17,"at":1767225600000}"#;
    fs::write(log.join("0000000001.log"), format!("{} {lost}\n", "0".repeat(64))).unwrap();
    let said = place.refused(&["explain", NOBODYS, "--log", log.to_str().unwrap()], 1);
    assert!(said.contains("17 records were lost until 2026-01-01T00:00:00"), "{said}");
}

#[test]
fn a_node_asks_the_others_about_a_request_that_did_not_come_to_it() {
    let postgres = PostgresServer::shared();
    let database = postgres.database();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tegata"));
    let shared = Shared {
        program: program.to_owned(),
        root_key: root_key(program),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let gossip = free_ports(2);
    let node = |number: u16| {
        let more = format!(
            "[cluster]\nname = \"node-{number}\"\nlisten = \"127.0.0.1:{}\"\n\
             seeds = [\"127.0.0.1:{gossip}\", \"127.0.0.1:{}\"]\n",
            gossip + number,
            gossip + 1
        );
        let own = Own { store: database.url(), more, ..Own::default() };
        TegataNode::start(&format!("node-{number}"), &shared, &own)
    };
    let nodes = [node(0), node(1)];
    let (status, answer) = get(nodes[1].ports().gateway, "/nowhere");
    assert_eq!(status, 404, "{answer}");
    let asked = request(&answer);
    let told = std::cell::RefCell::new(Value::Null);
    // Until it has heard of the other, it knows of nobody to ask.
    until("the other node answers", || {
        let output = nodes[0].run(&["explain", &asked, "--format", "json"]);
        *told.borrow_mut() = serde_json::from_slice(&output.stdout).unwrap_or_default();
        output.status.success()
    });
    let told = told.into_inner();
    assert_eq!(told["records"][0]["node"], "node-1");
    assert_eq!(told["node"], "node-0");
    assert_eq!(told["not_asked"], serde_json::json!([]));
    assert_eq!(told["records"][0]["explained"]["reason"], "no_route");
    assert_eq!(told["records"][0]["sound"], true);
    assert_eq!(told["asked"][0]["node"], "node-1");
    // Whoever knows the name gives it to the trace of another request: that hides nothing, here or there.
    let decoy =
        format!("GET /nowhere/else HTTP/1.1\r\ntraceparent: 00-{asked}-1111111111111111-01");
    for node in &nodes {
        assert_eq!(ask(node.ports().gateway, &decoy, "").0, 404);
    }
    let told = std::cell::RefCell::new(Value::Null);
    let explained = |args: &[&str]| {
        let output =
            nodes[0].run(&[&["explain", asked.as_str(), "--format", "json"], args].concat());
        *told.borrow_mut() = serde_json::from_slice(&output.stdout).unwrap_or_default();
        told.borrow()["records"].as_array().map_or(0, Vec::len)
    };
    until("both that were given the name are written down", || explained(&[]) == 3);
    assert_eq!(told.borrow()["records"][0]["record"]["request"], asked.as_str());
    assert_eq!(told.borrow()["records"][0]["node"], "node-1");
    let shown = nodes[0].run(&["explain", &asked]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.matches("of request ").count(), 2, "{shown}");
    // A segment is one of the log of who is asked.
    assert_eq!(explained(&["--from", "1"]), 1);
    assert_eq!(told.borrow()["not_asked"], serde_json::json!(["node-1"]));
}
