//! What is written down about requests.

use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tegata_core::Node;
use tegata_gateway::{
    DecisionLog, Policies, Signer,
    decision_log::{self, Known, Mode, verify},
};
use tegata_policy::Bundle;
use tegata_token::{Algorithm, SigningKey, VerifyingKey};

use crate::{
    echo,
    world::{Plan, World, get, request, vacant},
};

pub(crate) fn open(directory: &Path, mode: Mode, key: &Arc<SigningKey>) -> DecisionLog {
    let config = decision_log::Config { mode, ..decision_log::Config::at(directory) };
    let key = Arc::clone(key);
    let signer: Signer = Arc::new(move || Some(Arc::clone(&key)));
    DecisionLog::open(&config, &Node::for_tests(1), signer).unwrap()
}

fn world(log: &DecisionLog) -> World {
    let mut plan = Plan::with(echo::start());
    plan.decisions = Some(log.clone());
    plan.start()
}

/// The records about requests.
pub(crate) fn records(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("0000000001.log")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str(&line[65..]).unwrap());
    records.filter(|record: &Value| record.get("log").is_none()).collect()
}

#[test]
fn a_record_names_the_policies_that_determined_it_and_their_set() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = open(directory.path(), Mode::BestEffort, &key);
    let mut plan = Plan::with(echo::start());
    plan.decisions = Some(log.clone());
    let text = r#"
        @id("no-writing") forbid (principal, action in Tegata::Action::"unsafe", resource);
        @id("no-posting") forbid (principal, action == Tegata::Action::"POST", resource);
    "#;
    let bundle = Arc::new(Bundle::read([], [("test.cedar", text)]).unwrap());
    let digest: String = bundle.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    plan.policies = Policies { bundle: Some(bundle), tried: None };
    let world = plan.start();
    let token = format!("Bearer {}", world.token());
    world.ask(&request("POST", "/echo/x", &[("Authorization", &token)], ""));
    world.ask(&get("/echo/x", &[("Authorization", &token)]));
    world.ask(&get("/nowhere", &[]));
    drop(world);
    log.close();
    let records = records(directory.path());
    assert_eq!(records[0]["policies"], json!(["no-writing", "no-posting"]));
    assert_eq!([&records[0]["policy_set"], &records[1]["policy_set"]], [&json!(digest); 2]);
    let caller =
        json!({"kind": "user", "roles": ["customer"], "scopes": ["orders.read", "orders.write"]});
    for record in &records[..2] {
        for (name, known) in caller.as_object().unwrap() {
            assert_eq!(record["inputs"][name], *known, "{name}");
        }
    }
    // Nothing is said of policies that nobody asked.
    assert!(records[1].get("policies").is_none() && records[2].get("policy_set").is_none());
}

#[test]
fn every_decision_is_written_down_with_who_what_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = open(directory.path(), Mode::BestEffort, &key);
    let world = world(&log);
    let token = world.token();
    let allowed = world.get("/echo/%61?secret=1", &token);
    world.get("/admin/x", &token);
    world.ask(&get("/echo/x", &[]));
    world.ask(&get("/public/..", &[]));
    drop(world);
    log.close();

    let records = records(directory.path());
    let field = |name: &str| records.iter().map(|record| record[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("result"), ["allow", "deny", "deny", "deny"]);
    assert_eq!(field("status"), [200, 403, 401, 400]);
    assert_eq!(field("path"), ["/echo/a", "/admin/x", "/echo/x", "/public/.."]);
    assert_eq!(field("rule")[..2], ["echo:/echo", "echo:/admin"]);
    assert_eq!(field("reason")[1..], ["missing_role", "not_authenticated", "path_dot_segment"]);
    assert_eq!(field("subject")[..2], ["usr_alice", "usr_alice"]);
    assert_eq!(records[0]["request"], allowed.field("x-request-id").unwrap());
    assert_eq!(field("client"), ["127.0.0.1"; 4]);
    assert!(records.iter().all(|record| record["micros"].is_u64()));
    let text = serde_json::to_string(&records).unwrap();
    assert!(!text.contains(&token) && !text.contains("secret"));

    let verifying = VerifyingKey::from_jwk(key.jwk()).unwrap();
    let known = |kid: &str| (kid == verifying.kid().as_str()).then_some(&verifying);
    let sound = verify(directory.path(), &known, &Known::default()).unwrap();
    assert_eq!((sound.records, sound.unsigned), (6, 0));
}

#[test]
fn what_passed_was_allowed_whatever_became_of_it() {
    for mode in [Mode::BestEffort, Mode::Required] {
        let directory = tempfile::tempdir().unwrap();
        let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
        let log = open(directory.path(), mode, &key);
        let free = vacant();
        let mut plan = Plan::with(echo::start());
        plan.services.push(("gone".into(), vec![free]));
        plan.routes = json!([
            {"path": "/gone", "service": "gone", "auth": "none"},
            {"path": "/public", "service": "echo", "auth": "none"},
        ]);
        plan.config.limits.body = 4;
        plan.decisions = Some(log.clone());
        let world = plan.start();
        assert_eq!(world.ask(&get("/gone/x", &[])).status, 502);
        let chunked = [("Transfer-Encoding", "chunked")];
        let large = request("POST", "/public/x", &chunked, "") + "5\r\nlarge\r\n0\r\n\r\n";
        assert_eq!(world.ask(&large).status, 413);
        drop(world);
        log.close();
        let records = records(directory.path());
        let answers: Vec<_> =
            records.iter().filter(|record| record["status"].is_u64()).map(result).collect();
        let how = if mode == Mode::Required { "answer" } else { "allow" };
        assert_eq!(
            answers,
            [format!("{how} service_unreachable 502"), format!("{how} body_too_large 413")]
        );
        assert!(records.iter().all(|record| record["result"] != "deny"), "{records:?}");
    }
}

fn result(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    format!("{} {} {}", text("result"), text("reason"), record["status"])
}

#[test]
fn what_cannot_be_read_is_written_down_with_who_sent_it() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = open(directory.path(), Mode::Required, &key);
    let world = world(&log);
    let smuggling = "POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
                     Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = world.ask(smuggling);
    world.ask("GET\r\n\r\n");
    drop(world);
    log.close();
    let records = records(directory.path());
    assert_eq!(
        records.iter().map(result).collect::<Vec<_>>(),
        ["deny ambiguous_framing 400", "deny request_line_malformed 400"]
    );
    assert_eq!(records[0]["client"], "127.0.0.1");
    assert_eq!(records[0]["request"], answer.field("x-request-id").unwrap());
}

#[test]
fn a_client_that_leaves_before_the_answer_is_written_down_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = open(directory.path(), Mode::BestEffort, &key);
    let mut plan = Plan::with(listener.local_addr().unwrap());
    plan.decisions = Some(log.clone());
    let world = plan.start();
    let mut client = world.connect();
    client.write(get("/public/x", &[]));
    let (mut service, _) = listener.accept().unwrap();
    drop(client);
    // The gateway hangs up on the service when it notices.
    let _ = std::io::copy(&mut service, &mut std::io::sink());
    drop(world);
    log.close();
    let records = records(directory.path());
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["result"], &records[0]["status"]), (&"allow".into(), &499.into()));
}

#[test]
fn where_the_log_is_required_nothing_passes_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = open(directory.path(), Mode::Required, &key);
    let mut plan = Plan::with(echo::start());
    plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
    plan.config.cors.origins = vec!["https://app.example".into()];
    plan.decisions = Some(log.clone());
    let world = plan.start();
    let large = request("POST", "/login", &[("Content-Length", "2000000")], "");
    let asks = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT")];
    let preflight = request("OPTIONS", "/echo/x", &asks, "");
    let token = world.token();
    assert_eq!(world.get("/echo/x", &token).status, 200);
    // It was durable before the service was asked.
    let first = &records(directory.path())[0];
    assert_eq!((&first["result"], &first["status"]), (&"allow".into(), &Value::Null));
    // So is what was refused, before the client learns of it.
    assert_eq!(world.get("/admin/x", &token).status, 403);
    let written = records(directory.path());
    let refused = written.iter().find(|record| record["result"] == "deny").unwrap();
    assert_eq!(refused["reason"], "missing_role");
    assert_eq!(world.ask(&get("/login", &[])).status, 200);
    assert_eq!(world.ask(&large).status, 413);
    assert_eq!(world.ask(&preflight).status, 204);
    let written = records(directory.path());
    let decided = |service: &str, result: &str| {
        let is = |record: &&Value| record["service"] == service && record["result"] == result;
        written.iter().filter(is).count()
    };
    assert_eq!((decided("public", "allow"), decided("public", "deny")), (1, 1));
    assert_eq!(decided("echo", "allow"), 2);
    log.close();
    for request in [get("/login", &[]), large, preflight] {
        assert_eq!(world.ask(&request).problem(), "decision_log_unavailable", "{request}");
    }
    let refused = world.get("/echo/x", &token);
    assert_eq!((refused.status, refused.problem().as_str()), (503, "decision_log_unavailable"));
    assert_eq!(world.ask(&get("/public/x", &[])).status, 503);
    assert_eq!(world.ask(&get("/health", &[])).status, 200);
}

#[test]
fn required_refuses_what_leads_nowhere_too() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = open(directory.path(), Mode::Required, &key);
    let world = world(&log);
    let nowhere = get("/nowhere", &[]);
    let ambiguous = get("/public/%2e%2e/x", &[]);
    let known = world.ask(&nowhere);
    assert_eq!(known.status, 404);
    // It is durable before the client learns of it.
    let written = records(directory.path());
    assert_eq!(written[0]["request"], known.field("x-request-id").unwrap());
    assert_eq!((&written[0]["result"], &written[0]["status"]), (&"deny".into(), &Value::Null));
    assert_eq!(world.ask(&ambiguous).status, 400);
    log.close();
    for request in [nowhere, ambiguous] {
        let answer = world.ask(&request);
        assert_eq!((answer.status, answer.problem().as_str()), (503, "decision_log_unavailable"));
    }
}

#[test]
fn where_it_is_not_what_is_lost_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = open(directory.path(), Mode::BestEffort, &key);
    let world = world(&log);
    log.close();
    assert_eq!(world.ask(&get("/public/x", &[])).status, 200);
    assert_eq!(log.lost(), 1);
    assert!(world.metrics().contains("decision_log_lost_total 1"));
}

#[test]
fn what_cannot_be_read_is_refused_only_when_that_is_on_record() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = open(directory.path(), Mode::Required, &key);
    let world = world(&log);
    let cases = [
        ("GET /x HTTP/1.1\n", 400, "line_end"),
        ("GET /x HTTP/3.1\r\n\r\n", 505, "http_version"),
        ("GET /\u{1} HTTP/1.1\r\n", 400, "target_illegal_byte"),
    ];
    for (number, (text, status, reason)) in cases.into_iter().enumerate() {
        let answer = world.connect().attempt(text).unwrap();
        assert_eq!((answer.status, answer.problem().as_str()), (status, reason));
        // Nobody waited for it, and it is there.
        let records = records(directory.path());
        assert_eq!((records.len(), &records[number]["reason"]), (number + 1, &json!(reason)));
        assert_eq!(records[number]["result"], "deny");
    }
    // Where it cannot be recorded, nothing is said of what is wrong.
    log.close();
    for (text, ..) in cases {
        let answer = world.connect().attempt(text).unwrap();
        assert_eq!((answer.status, answer.problem().as_str()), (503, "decision_log_unavailable"));
        assert_eq!(answer.field("connection"), Some("close"));
    }
    assert!(world.metrics().contains("decision_log_lost_total 3"), "{}", world.metrics());
}

/// How many requests that led to no service were answered with this status.
fn counted(world: &World, status: u16) -> u64 {
    let line = format!(r#"gateway_requests_total{{service="gateway",status="{status}"}} "#);
    let metrics = world.metrics();
    metrics.lines().find_map(|it| it.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

#[test]
fn what_cannot_be_read_is_counted_as_it_was_answered() {
    for mode in [Mode::BestEffort, Mode::Required] {
        let directory = tempfile::tempdir().unwrap();
        let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
        let log = open(directory.path(), mode, &key);
        let world = world(&log);
        let all = || [400, 505, 503, 499].map(|status| counted(&world, status));
        let ask = || {
            ["GET /x HTTP/1.1\n", "GET /x HTTP/3.1\r\n\r\n", "GET /\u{1} HTTP/1.1\r\n"]
                .map(|text| world.connect().attempt(text).unwrap().status)
        };
        assert_eq!((ask(), all()), ([400, 505, 400], [2, 1, 0, 0]), "{mode:?}");
        log.close();
        // Where it must be recorded and cannot, that is what is answered, and nothing else is counted.
        let (answered, count) = match mode {
            Mode::BestEffort => ([400, 505, 400], [4, 2, 0, 0]),
            Mode::Required => ([503; 3], [2, 1, 3, 0]),
        };
        assert_eq!((ask(), all()), (answered, count), "{mode:?}");
    }
}

/// The disk does not answer: the writer opens its segment again after it failed, and that is a pipe with nobody at
/// its other end.
#[test]
fn who_is_sent_away_before_it_is_known_what_to_answer_is_counted_as_gone() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let signer: Signer = Arc::new(move || Some(Arc::clone(&key)));
    let patience = Duration::from_secs(300);
    let config = decision_log::Config {
        mode: Mode::Required,
        segment: 1,
        patience,
        ..decision_log::Config::at(directory.path())
    };
    let log = DecisionLog::open(&config, &Node::for_tests(1), signer).unwrap();
    let world = world(&log);
    assert_eq!(world.connect().attempt("GET\r\n\r\n").unwrap().status, 400);
    let files = fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().path());
    let last = files.filter(|it| it.extension().is_some_and(|it| it == "log")).count();
    let segment = |number: usize| directory.path().join(format!("{number:010}.log"));
    let away = directory.path().join("away");
    fs::rename(segment(last), &away).unwrap();
    assert!(Command::new("mkfifo").arg(segment(last)).status().unwrap().success());
    fs::create_dir(segment(last + 1)).unwrap();

    let mut client = world.connect();
    client.write("GET\r\n\r\n");
    // Its time is that of a head, and begins when it is seen that there is none.
    let mut looked = 0;
    while counted(&world, 499) == 0 {
        assert!(looked < 1000 && (client.is_quiet() || client.is_closed()), "{}", world.metrics());
        world.clock.advance(Duration::from_secs(5));
        looked += 1;
    }
    assert!(client.is_closed());
    assert_eq!([400, 503].map(|status| counted(&world, status)), [1, 0]);

    fs::remove_dir(segment(last + 1)).unwrap();
    let pipe = fs::File::options().read(true).write(true).open(segment(last)).unwrap();
    fs::rename(away, segment(last)).unwrap();
    drop(pipe);
}
