//! The log of decisions against whoever can write its files, on a full disk, and handed on to others.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
};

use serde_json::Value;
use tegata_engines::PostgresServer;

use crate::{CONFIGURATION, PATIENCE, Place, Server, ask, body, get, said, sign_in, until};

const VERIFY: [&str; 2] = ["audit-log", "verify"];

fn decide(port: u16, paths: &[&str]) {
    for path in paths {
        // What is ambiguous is refused, and stands in the log as it was sent.
        assert!([400, 404].contains(&get(port, path).0), "{path}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// What `verify` finds, which it ends with 1 for: what, and in which file.
fn found(place: &Place) -> (String, String) {
    let output = place.run(&[&VERIFY[..], &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    (text("found"), Path::new(&text("file")).file_name().unwrap().to_str().unwrap().to_owned())
}

#[test]
fn the_store_knows_where_a_log_was_whatever_became_of_its_files() {
    let place = Place::new();
    let log = place.path().join("decisions");
    let older = place.path().join("older");
    let server = place.serve();
    decide(server.ports().gateway, &["/a", "/b"]);
    server.stop();
    copy(&log, &older);
    let before = place.json(&VERIFY);
    assert!(before["known_to_store"].is_string(), "{before}");
    let server = place.serve();
    decide(server.ports().gateway, &["/c", "/d", "/e"]);
    // A second later it is signed, and the store knows.
    until("it is signed", || place.json(&VERIFY)["unsigned"] == 0);
    until("the store knows", || {
        let now = place.json(&VERIFY);
        let known = now["known_to_store"].as_str().unwrap().split_once(':').unwrap().0.to_owned();
        known.parse::<u64>().unwrap() >= now["records"].as_u64().unwrap()
    });
    server.kill();
    let whole = place.path().join("whole");
    copy(&log, &whole);
    place.json(&VERIFY);
    let anew = |from: &Path| {
        fs::remove_dir_all(&log).unwrap();
        copy(from, &log);
    };

    // The newest segment; all of them; an older copy.
    fs::remove_file(log.join("0000000002.log")).unwrap();
    assert_eq!(found(&place), ("removed".to_owned(), "0000000002.log".to_owned()));
    fs::remove_file(log.join("0000000001.log")).unwrap();
    assert_eq!(found(&place).0, "nothing");
    anew(&older);
    assert_eq!(found(&place), ("removed".to_owned(), "0000000002.log".to_owned()));
    // A server that goes on from there does not hide it.
    let server = place.serve();
    decide(server.ports().gateway, &["/f"]);
    assert_eq!(found(&place), ("removed".to_owned(), "0000000002.log".to_owned()));
    server.stop();
    assert_eq!(found(&place), ("removed".to_owned(), "0000000002.log".to_owned()));
    // Where it is brought back, all is well again: what was written since follows.
    for file in files(&whole) {
        fs::copy(&file, log.join(file.file_name().unwrap())).unwrap();
    }
    let sound = place.json(&VERIFY);
    assert_eq!(sound["segments"], 3, "{sound}");

    // Lines at the end, though what is left ends as a log may end.
    let last = log.join("0000000003.log");
    let text = fs::read_to_string(&last).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for keep in 1..lines.len() {
        fs::write(&last, lines[..keep].join("\n") + "\n").unwrap();
        assert_eq!(found(&place), ("shortened".to_owned(), "0000000003.log".to_owned()));
    }
    fs::write(&last, &text).unwrap();

    // What is no file, or no log, and never ends.
    let second = log.join("0000000002.log");
    let kept = fs::read(&second).unwrap();
    fs::remove_file(&second).unwrap();
    assert!(Command::new("mkfifo").arg(&second).status().unwrap().success());
    assert_eq!(found(&place), ("unreadable".to_owned(), "0000000002.log".to_owned()));
    fs::remove_file(&second).unwrap();
    symlink("/dev/zero", &second).unwrap();
    assert_eq!(found(&place), ("unreadable".to_owned(), "0000000002.log".to_owned()));
    fs::remove_file(&second).unwrap();
    fs::File::create(&second).unwrap().set_len(10 << 30).unwrap();
    assert_eq!(found(&place), ("too_long".to_owned(), "0000000002.log".to_owned()));
    fs::write(&second, kept).unwrap();
    place.json(&VERIFY);

    // Its name does not get lost with the file that has it, nor with all of the log.
    fs::remove_file(place.path().join("decisions.name")).unwrap();
    assert_eq!(place.json(&VERIFY)["segments"], 3);
    fs::remove_file(place.path().join("decisions.name")).unwrap();
    fs::remove_dir_all(&log).unwrap();
    let server = place.serve();
    decide(server.ports().gateway, &["/g"]);
    assert_eq!(found(&place), ("removed".to_owned(), "0000000001.log".to_owned()));
    server.stop();

    // The log of another installation.
    let other = Place::new();
    other.serve().stop();
    anew(&other.path().join("decisions"));
    let (what, file) = found(&place);
    assert!(what == "foreign" || what == "unknown_key", "{what}");
    assert_eq!(file, "0000000001.log");
    assert!(place.refused_after_log(&["serve"], 2).contains("the log of another node"));
}

/// A client that gets tokens, and its credential.
struct Robot(String);

impl Robot {
    fn new(place: &Place) -> Self {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let add = ["client", "add", "robot", "--grant-type", "client_credentials"];
        let secret = place.json(&add)["client_secret"].as_str().unwrap().to_owned();
        Self(STANDARD.encode(format!("robot:{secret}")))
    }

    fn asks(&self, port: u16, path: &str, form: &str) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Authorization: Basic {}",
            self.0
        );
        ask(port, &head, form)
    }

    fn token(&self, port: u16) -> (u16, String) {
        self.asks(port, "/oauth2/token", "grant_type=client_credentials")
    }
}

/// Lets no file of a process grow beyond so many bytes; `None`: all may.
fn limit(server: &Server, bytes: Option<u64>) {
    let bytes = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let limit = format!("--fsize={bytes}:unlimited");
    let set = Command::new("prlimit").args(["--pid", &server.pid().to_string(), &limit]).status();
    assert!(set.unwrap().success(), "this needs `prlimit` (util-linux)");
}

fn stores() -> [Option<String>; 2] {
    [None, Some(PostgresServer::shared().database().url())]
}

fn place_on(store: Option<&str>) -> Place {
    let place = Place::new();
    if let Some(url) = store {
        place.write("tegata.toml", &format!("{CONFIGURATION}[store]\nurl = \"{url}\"\n"));
    }
    place
}

/// What was issued stands in the log: of each of these requests there is a record.
fn is_recorded(place: &Place, answers: &[String]) {
    let text: String = files(&place.path().join("decisions"))
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    for answer in answers {
        let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
        let id = format!("\"request\":\"{}\"", id.trim());
        assert!(text.contains(&id), "{id} is nowhere in {text}");
    }
}

#[test]
fn with_a_full_disk_nothing_is_issued_and_everything_is_verified() {
    for store in stores() {
        let place = place_on(store.as_deref());
        place.add_user("alice");
        let robot = Robot::new(&place);
        let server = place.serve();
        let ports = server.ports();
        let (status, answer) = robot.token(ports.public);
        assert_eq!(status, 200, "{answer}");
        let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
        let mut issued = vec![answer];

        limit(&server, Some(0));
        let mut refused = 0;
        for _ in 0..20 {
            let (status, answer) = robot.token(ports.public);
            // What is under way when it begins may find room that was left.
            assert_eq!(status, 503, "{store:?}: {answer}");
            assert!(answer.to_lowercase().contains("\r\nretry-after: "), "{answer}");
            refused += 1;
            let (status, answer) = sign_in(ports.public, "correct horse battery staple", "");
            assert_eq!(status, 503, "{store:?}: {answer}");
            let revoke = robot.asks(ports.public, "/oauth2/revoke", &format!("token={token}"));
            assert_eq!(revoke.0, 503, "{store:?}: {}", revoke.1);
            // Verification goes on: the gateway, and the keys that others verify with.
            assert_eq!(get(ports.gateway, "/nowhere").0, 404);
            assert_eq!(get(ports.public, "/.well-known/jwks.json").0, 200);
        }
        assert_eq!(refused, 20);
        let health = get(ports.operations, "/health/ready");
        assert!(health.1.contains("audit_log_unwritable"), "{}", health.1);
        let said = place.refused(&["user", "disable", "alice"], 1);
        assert!(said.contains("log of decisions"), "{said}");

        limit(&server, None);
        until("tokens are issued again", || robot.token(ports.public).0 == 200);
        let (status, answer) = robot.token(ports.public);
        assert_eq!(status, 200, "{answer}");
        issued.push(answer);
        is_recorded(&place, &issued);
        server.kill();
        // Nothing of it is damaged.
        let sound = place.json(&VERIFY);
        assert_eq!(sound["sound"], true, "{sound}");
    }
}

#[test]
fn a_node_starts_on_a_full_disk_and_issues_once_there_is_room() {
    let place = place_on(stores()[1].as_deref());
    let robot = Robot::new(&place);
    // It has been here before, or this is the first time.
    for first in [true, false] {
        let mut command = Command::new("prlimit");
        command.args(["--fsize=0:unlimited", env!("CARGO_BIN_EXE_tegata"), "serve"]);
        command.current_dir(place.path()).env_clear().env("PATH", "/usr/bin:/bin");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut line, mut all) = (String::new(), String::new());
        while !line.contains("started") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "{first}: the server ended: {all}");
            all.push_str(&line);
        }
        assert!(all.contains("no room for the decision log"), "{all}");
        let server = Server(child);
        let ports = server.ports();
        for _ in 0..3 {
            let (status, answer) = robot.token(ports.public);
            assert_eq!(status, 503, "{answer}");
        }
        assert_eq!(get(ports.gateway, "/nowhere").0, 404);
        assert_eq!(get(ports.public, "/.well-known/jwks.json").0, 200);
        limit(&server, None);
        until("tokens are issued", || robot.token(ports.public).0 == 200);
        server.stop();
        let sound = place.json(&VERIFY);
        assert_eq!((&sound["sound"], &sound["unsigned"]), (&true.into(), &0.into()), "{sound}");
    }
}

#[test]
fn best_effort_issues_without_a_record_and_required_refuses_at_the_gateway_too() {
    for (mode, token, nowhere) in [("best_effort", 200, 404), ("required", 503, 404)] {
        let place = place_on(stores()[1].as_deref());
        let text = fs::read_to_string(place.path().join("tegata.toml")).unwrap();
        place.write("tegata.toml", &format!("{text}[audit_log]\nmode = \"{mode}\"\n"));
        let robot = Robot::new(&place);
        place.json(&["service", "add", "orders", "--upstream", "http://127.0.0.1:9"]);
        let server = place.serve();
        let ports = server.ports();
        assert_eq!(get(ports.gateway, "/nowhere").0, nowhere);
        limit(&server, Some(0));
        assert_eq!(robot.token(ports.public).0, token, "{mode}");
        // It leads to a service, and is refused there or not even that.
        let refused = get(ports.gateway, "/orders/1").0;
        assert_eq!(refused, if mode == "required" { 503 } else { 401 });
        let refused = get(ports.gateway, "/nowhere").0;
        assert_eq!(refused, if mode == "required" { 503 } else { nowhere });
        limit(&server, None);
        until("it is so no more", || get(ports.gateway, "/orders/1").0 == 401);
        server.stop();
    }
}

/// The records of an export in JSON lines.
fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_export_goes_on_where_it_was_cut_off_without_a_gap_or_a_repeat() {
    let place = Place::new();
    let out = place.path().join("out.jsonl");
    let export = ["audit-log", "export", "--to", "out.jsonl", "--state", "state"];
    let mut before = 0;
    for round in 0_u8..4 {
        let server = place.serve();
        decide(server.ports().gateway, &["/a", "/b\u{2028}", "/c%0a"]);
        if round == 1 {
            // While it is written.
            place.json(&export);
        }
        if round == 2 {
            server.kill();
        } else {
            server.stop();
        }
        if round == 3 {
            // It was cut off within a line that nobody knows to have arrived.
            let mut file = fs::File::options().append(true).open(&out).unwrap();
            file.write_all(b"{\"number\":9999,\"seg").unwrap();
        }
        let told = place.json(&export);
        let records = records(&out);
        assert!(records.len() > before, "{told}");
        before = records.len();
        let numbers: Vec<_> = records.iter().map(|it| it["number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        assert_eq!(place.json(&export)["exported"], 0);
    }
    let sound = place.json(&VERIFY);
    assert_eq!(sound["records"].as_u64(), Some(before as u64), "{sound}");
    // From a position that was said, to standard output.
    let third = &records(&out)[2];
    let position = format!("{}:{}", third["number"], third["hash"].as_str().unwrap());
    let output = place.run(&["audit-log", "export", "--from", &position]);
    let rest = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(rest.lines().count(), before - 3, "{}", said(&output));
    assert!(said(&output).contains("--from "), "{}", said(&output));
    assert!(rest.is_ascii() && !rest.contains('\u{1b}'));
    // A position of another log, and a state of another export.
    let wrong = format!("3:{}", "0".repeat(64));
    assert!(place.refused(&["audit-log", "export", "--from", &wrong], 1).contains("position"));
    place.refused(&["audit-log", "export", "--from", "x"], 2);
    let other = ["audit-log", "export", "--to", "other", "--state", "state"];
    assert!(place.refused(&other, 2).contains("state"));
    // What was exported is gone from where it was.
    fs::write(&out, "").unwrap();
    assert!(place.refused(&export, 2).contains("is not there"));

    // Events, in the same way.
    place.add_user("bob");
    let events = ["audit-log", "export", "--what", "events", "--to", "events", "--state", "s"];
    let told = place.json(&events);
    assert_eq!(told["exported"].as_u64(), told["position"].as_str().unwrap().parse().ok());
    assert_eq!(place.json(&events)["exported"], 0);
    place.add_user("alice");
    let again = place.json(&events);
    assert!(again["exported"].as_u64() > Some(0), "{again}");
    let found = records(&place.path().join("events"));
    assert!(found.iter().any(|it| it["type"] == "REGISTRY_CHANGED"), "{found:?}");
    let positions: Vec<_> = found.iter().map(|it| it["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>());
}

/// Reads a request; answers its head and its body.
fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.to_lowercase();
    let length =
        length.lines().find_map(|it| it.strip_prefix("content-length: ").map(str::to_owned));
    let mut body = vec![0; length?.trim().parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// How a collector behaves toward one request.
#[derive(Clone, Copy)]
enum Manner {
    /// It reads and says nothing.
    Silent,
    /// It is asked too often.
    Busy,
    /// It hangs up in the middle of its answer.
    HangsUp,
    /// It takes no more than so many bytes.
    Small(usize),
    Takes,
    /// It takes them, and keeps one less.
    Rejects,
}

/// A collector that behaves so, one request after the other, and the last way for ever. What it took is
/// told.
fn collector(manners: Vec<Manner>) -> (u16, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut manners = manners.into_iter().peekable();
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Some((head, body)) = request(&mut stream) {
                let manner = *manners.peek().unwrap();
                if manners.len() > 1 {
                    manners.next();
                }
                let answer = |status: &str, more: &str, body: &str| {
                    format!(
                        "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n{body}",
                        body.len()
                    )
                };
                let read = |body: &[u8]| {
                    let text = String::from_utf8(body.to_vec()).unwrap();
                    serde_json::from_str(&text).unwrap_or(Value::String(text))
                };
                let answer = match manner {
                    Manner::Silent => {
                        held.push(stream);
                        break;
                    }
                    Manner::HangsUp => {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap();
                        break;
                    }
                    Manner::Busy => answer("429 Too Many Requests", "Retry-After: 1\r\n", ""),
                    Manner::Small(most) if body.len() > most => answer("413 Too Large", "", ""),
                    Manner::Small(_) | Manner::Takes => {
                        tell.send((head, read(&body))).unwrap();
                        answer("200 OK", "", "{}")
                    }
                    Manner::Rejects => {
                        tell.send((head, read(&body))).unwrap();
                        let part = r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"no\u001b[2J"}}"#;
                        answer("200 OK", "", part)
                    }
                };
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (port, told)
}

/// The records of requests of OTLP, by their names.
fn uids(told: &mpsc::Receiver<(String, Value)>) -> Vec<String> {
    let mut uids = Vec::new();
    for (_, request) in told.try_iter() {
        let records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"].clone();
        for record in records.as_array().unwrap() {
            let attributes = record["attributes"].as_array().unwrap();
            let uid = attributes.iter().find(|it| it["key"] == "log.record.uid").unwrap();
            uids.push(uid["value"]["stringValue"].as_str().unwrap().to_owned());
        }
    }
    uids
}

#[test]
fn a_collector_that_is_silent_busy_small_or_hangs_up_gets_each_record_in_the_end() {
    let place = Place::new();
    let server = place.serve();
    decide(server.ports().gateway, &["/a", "/b", "/c", "/d", "/e", "/f", "/g"]);
    server.stop();
    let decisions = place.json(&VERIFY)["requests"].as_u64().unwrap();
    let manners = vec![Manner::Silent, Manner::Busy, Manner::HangsUp, Manner::Small(4000)];
    let (port, told) = collector(manners);
    let to = format!("http://127.0.0.1:{port}");
    let export = ["audit-log", "export", "--as", "otlp", "--to", &to, "--state", "state"];
    let patient = [&export[..], &["--timeout", "2s", "--attempts", "20"]].concat();
    let answer = place.json(&patient);
    let uids = uids(&told);
    let once: BTreeSet<_> = uids.iter().collect();
    assert_eq!((uids.len(), once.len() as u64), (uids.len(), decisions), "{answer}");
    assert_eq!(uids.len(), once.len(), "a record was taken twice: {uids:?}");
    // It is at the end.
    assert_eq!(place.json(&patient)["exported"], 0);

    // Who never answers ends it, in time, and nothing counts as handed over.
    let (silent, _told) = collector(vec![Manner::Silent]);
    let to = format!("http://127.0.0.1:{silent}");
    let export = ["audit-log", "export", "--as", "otlp", "--to", &to, "--state", "silent"];
    let hasty = [&export[..], &["--timeout", "500ms", "--attempts", "2"]].concat();
    let output = place.run(&hasty);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("did not answer within 500 ms"), "{}", said(&output));
    assert!(!place.path().join("silent").exists());
    // What is not kept is said, with nothing that commands a terminal.
    let (port, _told) = collector(vec![Manner::Rejects]);
    let to = format!("http://127.0.0.1:{port}");
    let output = place.run(&["audit-log", "export", "--as", "otlp", "--to", &to]);
    assert!(output.status.success());
    assert!(said(&output).contains("1 records were not kept: no\\u001b[2J"), "{}", said(&output));
}

#[test]
fn a_credential_goes_to_the_collector_and_nowhere_else() {
    let place = Place::new();
    let server = place.serve();
    decide(server.ports().gateway, &["/a"]);
    server.stop();
    let (port, told) = collector(vec![Manner::Takes]);
    place.write("headers", "Authorization: Bearer hunter2\n\nX-Tenant: one\n");
    let to = format!("http://127.0.0.1:{port}/in");
    let export = ["audit-log", "export", "--as", "ocsf", "--to", &to, "--header-file", "headers"];
    let output = place.run(&export);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!format!("{output:?}").contains("hunter2"));
    let (head, body) = told.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("POST /in HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer hunter2"), "{head}");
    let body = body.as_str().map_or(body.to_string(), str::to_owned);
    let event: Value = serde_json::from_str(body.lines().next().unwrap()).unwrap();
    assert_eq!(event["class_uid"], 6003, "{event}");
    place.write("headers", "Authorization Bearer hunter2\n");
    let wrong = place.refused(&export, 2);
    assert!(wrong.contains("headers`:1") && !wrong.contains("hunter2"), "{wrong}");
    // Not in the clear to others.
    for to in ["http://siem.example/", "tcp://siem.example:514"] {
        let output = place.run(&["audit-log", "export", "--to", to]);
        assert!(!output.status.success());
        assert!(said(&output).contains("danger"), "{}", said(&output));
    }
}

/// Reads messages after their lengths (RFC 6587 §3.4.1), until there are no more.
fn framed(bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = rest.iter().position(|it| *it == b' ').unwrap();
        let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
        let message = &rest[space + 1..space + 1 + length];
        messages.push(String::from_utf8(message.to_vec()).unwrap());
        rest = &rest[space + 1 + length..];
    }
    messages
}

#[test]
fn syslog_over_tcp_is_framed_by_lengths_and_follows_what_comes() {
    let place = Place::new();
    let server = place.serve();
    let gateway = server.ports().gateway;
    decide(gateway, &["/first%0a%3C86%3E1"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}", listener.local_addr().unwrap());
    let export = ["audit-log", "export", "--as", "syslog", "--to", &to, "--follow"];
    let mut child = place.command(&export).stderr(Stdio::null()).spawn().unwrap();
    let read_until = |stream: &mut TcpStream, what: &str| {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&bytes).contains(what) {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "it hung up: {}", String::from_utf8_lossy(&bytes));
            bytes.extend(&piece[..read]);
        }
        bytes
    };
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let first = read_until(&mut stream, "/first");
    assert!(framed(&first).iter().all(|it| it.starts_with('<') && it.is_ascii()), "{first:?}");
    decide(gateway, &["/second"]);
    let second = read_until(&mut stream, "/second");
    assert!(!String::from_utf8_lossy(&second).contains("/first"));
    // Who hangs up is called again, and gets what comes.
    drop(stream);
    decide(gateway, &["/third"]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    read_until(&mut stream, "/third");
    child.kill().unwrap();
    child.wait().unwrap();
    server.stop();
}
