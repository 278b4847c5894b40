//! The program from outside: commands, exit codes, what they say.

#![cfg(test)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tegata_core::Node;
use tegata_engines::PostgresServer;
use tempfile::TempDir;

mod commands {
    mod apikeys;
    mod applying;
    mod audit_log;
    mod configuration;
    mod decisions;
    mod doctor;
    mod elsewhere;
    mod explain;
    mod following;
    mod handover;
    mod importing;
    mod inner;
    mod issuers;
    mod mail;
    mod once;
    mod outlasting;
    mod page_loads;
    mod pages;
    mod people;
    mod pkcs11;
    mod places;
    mod policies;
    mod reloading;
    mod restoring;
    mod rotating;
    mod services;
    mod sidecar;
    mod signals;
    mod starting;
    mod stopping;
    mod taking_back;
    mod usage;
}

/// How long something may take that happens soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ports that the system chooses, and keys that are made fast.
const CONFIGURATION: &str = "[public]\nlisten = \"127.0.0.1:0\"\nissuer = \"http://localhost:8000\"\n\
    [operations]\nlisten = \"127.0.0.1:0\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n\
    audience = \"http://localhost:8080\"\n[keys]\nalgorithms = [\"ES256\"]\n";

/// A directory that `tegata init` has been run in, with ports that the system chooses.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        assert!(place.run(&["init"]).status.success());
        place.write("tegata.toml", CONFIGURATION);
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tegata"));
        command.args(args).current_dir(self.path()).env_clear();
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--format", "json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must fail with `code` and one line; answers the line.
    fn refused(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{args:?}: {said}");
        assert!(said.starts_with("tegata: "), "{said}");
        said
    }

    /// As [`Self::refused`], of a command that logs before it fails.
    fn refused_after_log(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        said.lines().last().unwrap().to_owned()
    }

    /// Runs a command with this on its standard input; answers its code and what it says.
    fn given(&self, text: &str, args: &[&str]) -> (Option<i32>, String) {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), said(&output))
    }

    fn add_user(&self, name: &str) {
        self.write("pw", "correct horse battery staple\n");
        let output =
            self.run(&["user", "add", name, "--role", "customer", "--password-file", "pw"]);
        assert!(output.status.success(), "{}", said(&output));
    }

    /// Starts a server and waits until it says that it has started.
    fn serve(&self) -> Server {
        let mut child = self.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let mut all = String::new();
        while !line.contains("started") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the server ended: {all}");
            all.push_str(&line);
        }
        Server(child)
    }
}

/// A running server, killed with its owner.
struct Server(Child);

/// Where a running server listens.
#[derive(Debug, Clone, Copy)]
struct Ports {
    public: u16,
    gateway: u16,
    operations: u16,
    /// Where the gateway reaches the public listener.
    inner: u16,
}

impl Server {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
        // Each thread stops when it is next given the processor, and until then it answers.
        while name == "STOP" && !self.stands_still() {
            std::thread::yield_now();
        }
    }

    fn stands_still(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat"))).all(|stat| {
            stat.is_ok_and(|stat| stat.rsplit_once(')').unwrap().1.trim_start().starts_with('T'))
        })
    }

    /// All its ports, told apart by what they answer.
    fn ports(&self) -> Ports {
        let all = listening(self.pid());
        let answering = |name: &str, told: [u16; 2]| {
            let is_it =
                |port: &&u16| [get(**port, "/health").0, get(**port, "/health/live").0] == told;
            *all.iter().find(is_it).unwrap_or_else(|| panic!("{name} is nowhere in {all:?}"))
        };
        Ports {
            public: answering("the public listener", [404, 404]),
            gateway: answering("the gateway", [200, 404]),
            operations: answering("operations", [404, 200]),
            inner: answering("the way behind the gateway", [403, 403]),
        }
    }

    fn stop(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The TCP ports that a process listens on.
fn listening(pid: u32) -> Vec<u16> {
    let held: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|held| fs::read_link(held.unwrap().path()).ok())
        .filter_map(|held| held.to_str().map(str::to_owned))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let port = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let is_its = held.contains(&format!("socket:[{}]", words[9]));
        let port = u16::from_str_radix(words[1].split(':').nth(1)?, 16).unwrap();
        (words[3] == "0A" && is_its).then_some(port)
    };
    table.lines().skip(1).filter_map(port).collect()
}

/// Sends a request; answers the status and the whole answer. 0: there was none.
fn ask(port: u16, head: &str, body: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return (0, String::new()) };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{head}\r\nHost: localhost:8000\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n\
         {body}"
    );
    // Who refuses need not read all of it.
    let _refused = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _cut = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), answer)
}

fn get(port: u16, target: &str) -> (u16, String) {
    ask(port, &format!("GET {target} HTTP/1.1"), "")
}

/// Signs in over the browser API, with these header fields beside the usual ones.
fn sign_in(port: u16, password: &str, fields: &str) -> (u16, String) {
    let head = format!(
        "POST /api/auth/login HTTP/1.1\r\nOrigin: http://localhost:8000\r\n\
         Content-Type: application/json{fields}"
    );
    ask(port, &head, &format!(r#"{{"username": "alice", "password": "{password}"}}"#))
}

/// The JSON of an answer's body.
fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// What a token says in its header (0) or its claims (1).
fn part(token: &str, which: usize) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let text = token.split('.').nth(which).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// Looks until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let node = Node::start();
    let began = node.since_boot();
    while !is_so() {
        assert!(node.elapsed(began) < PATIENCE, "in vain was it waited until {what}");
        std::thread::yield_now();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn init_writes_what_serve_needs_and_never_over_something() {
    let place = Place(tempfile::tempdir().unwrap());
    assert!(place.run(&["init", "here"]).status.success());
    let key = place.path().join("here/root.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(&key).unwrap();
    assert!(place.refused(&["init", "here"], 2).contains("tegata.toml"));
    fs::remove_file(place.path().join("here/tegata.toml")).unwrap();
    assert!(place.refused(&["init", "here"], 2).contains("root.key"));
    assert_eq!(fs::read(&key).unwrap(), before);
    assert!(!place.path().join("here/tegata.toml").exists());
}

/// There are no accounts with passwords that everybody knows, and no clients with secrets that
/// everybody knows.
#[test]
fn a_new_installation_knows_nobody() {
    let place = Place::new();
    let server = place.serve();
    for list in ["user", "client"] {
        assert_eq!(place.json(&[list, "list"]), serde_json::json!([]), "{list}");
    }
    server.stop();
}

#[test]
fn wrong_configuration_is_one_line_and_exit_code_2() {
    let place = Place::new();
    place.write("tegata.toml", "[tokens]\nacess_lifetime = \"1m\"\n");
    for command in [&["serve"][..], &["user", "list"], &["key", "list"]] {
        let said = place.refused(command, 2);
        assert!(said.contains("line 2") && said.contains("`access_lifetime`?"), "{said}");
    }
    let store = "[store]\nurl = \"mysql://user:hunter2@host\"\n";
    place.write("tegata.toml", &format!("{CONFIGURATION}{store}"));
    let said = place.refused(&["serve"], 2);
    assert!(said.contains("mysql") && !said.contains("hunter2"), "{said}");
    assert!(place.refused(&["serve", "--config", "nowhere.toml"], 2).contains("nowhere.toml"));
}

#[test]
fn a_root_key_that_is_lost_or_another_is_an_error_and_never_a_new_key() {
    let place = Place::new();
    place.add_user("alice");
    let key = place.path().join("root.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(place.refused(&["user", "list"], 2).contains("root.key"));
    assert!(!key.exists());

    let other = Place::new();
    fs::copy(other.path().join("root.key"), &key).unwrap();
    let said = place.refused(&["user", "list"], 2);
    assert!(said.contains("root key"), "{said}");
    fs::write(&key, kept).unwrap();
    assert_eq!(place.json(&["user", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_root_key_that_others_can_read_is_refused() {
    let place = Place::new();
    let key = place.path().join("root.key");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&key, mode).unwrap();
    assert!(place.refused(&["user", "list"], 2).contains("chmod"));
}

#[test]
fn the_registry_is_the_same_whether_a_server_runs_or_not() {
    let place = Place::new();
    place.add_user("alice");
    let alone = place.json(&["user", "list"]);
    let server = place.serve();
    assert_eq!(place.json(&["user", "list"]), alone);
    place.add_user("bob");
    let client = place.json(&[
        "client",
        "add",
        "app",
        "--grant-type",
        "client_credentials",
        "--scope",
        "orders.read",
    ]);
    assert!(client["client_secret"].as_str().unwrap().starts_with("tgcs_"));
    assert!(place.json(&["client", "list"])[0].get("client_secret").is_none());
    server.stop();
    assert_eq!(place.json(&["user", "list"]).as_array().unwrap().len(), 2);
    assert!(place.refused(&["user", "show", "carol"], 1).contains("carol"));
    assert!(place.refused(&["client", "add", "app"], 1).contains("already"));
    // Nothing here asks for the certificate that it would have to show.
    let shows = ["client", "add", "billing", "--grant-type", "client_credentials"];
    let shows = [&shows[..], &["--tls-client-auth-san-dns", "billing.example"]].concat();
    assert!(place.refused(&shows, 1).contains("`mtls_listen`"));
}

#[test]
fn one_server_to_a_data_directory() {
    let place = Place::new();
    let server = place.serve();
    assert!(place.refused(&["serve"], 2).contains("in use"));
    server.stop();
    place.serve().stop();
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let place = Place::new();
    for round in 0..5 {
        let server = place.serve();
        place.add_user(&format!("user{round}"));
        server.kill();
    }
    assert_eq!(place.json(&["user", "list"]).as_array().unwrap().len(), 5);
}

#[test]
fn postgresql_is_a_store_like_the_other() {
    let database = PostgresServer::shared().database();
    let place = Place::new();
    let store = format!("[store]\nurl = \"{}\"\n", database.url());
    place.write("tegata.toml", &format!("{CONFIGURATION}{store}"));
    place.add_user("alice");
    let server = place.serve();
    place.add_user("bob");
    server.kill();
    assert_eq!(place.json(&["user", "list"]).as_array().unwrap().len(), 2);
    let checks = place.json(&["doctor"]);
    assert!(checks.as_array().unwrap().iter().all(|check| check["ok"] == true), "{checks}");
    assert!(!checks.to_string().contains("tester@"), "{checks}");
    assert!(!place.path().join("tegata.db").exists());
}

#[test]
fn keys_rotate_only_when_that_is_safe_and_retire_only_when_they_may() {
    let place = Place::new();
    let state = |place: &Place, at: usize| place.json(&["key", "list"])[at]["state"].clone();
    assert_eq!((state(&place, 0), state(&place, 1)), ("current".into(), "next".into()));
    assert!(place.refused(&["key", "rotate"], 1).contains("ES256"));
    assert!(place.run(&["key", "rotate", "--force"]).status.success());
    assert_eq!((state(&place, 0), state(&place, 1)), ("previous".into(), "current".into()));
    let first = place.json(&["key", "list"])[0]["kid"].as_str().unwrap().to_owned();
    assert!(place.refused(&["key", "retire", &first], 1).contains("alive until"));
    assert!(place.run(&["revoke", "--key", &first, "--reason", "leaked"]).status.success());
    assert_eq!(state(&place, 0), "retired");
}

#[test]
fn apply_is_idempotent_and_a_dry_run_changes_nothing() {
    let place = Place::new();
    place.write("checkout.secret", "a secret of the checkout\n");
    place.write(
        "shop.toml",
        r#"
        [[user]]
        username = "alice"
        password = "correct horse battery staple"
        roles = ["customer"]
        [[client]]
        client_id = "checkout"
        client_secret_file = "checkout.secret"
        grant_types = ["client_credentials"]
        scope = "orders.read"
        [[service]]
        name = "orders"
        upstreams = ["http://127.0.0.1:9900"]
        callers = ["checkout"]
        [[route]]
        path = "/orders"
        service = "orders"
        methods = ["GET"]
        scope = "orders.read"
        "#,
    );
    let count = |args: &[&str]| place.json(args)["changed"].as_array().unwrap().len();
    assert_eq!(count(&["apply", "shop.toml", "--dry-run"]), 4);
    assert_eq!(place.json(&["user", "list"]), Value::Array(vec![]));
    assert_eq!(count(&["apply", "shop.toml"]), 4);
    assert_eq!(count(&["apply", "shop.toml"]), 0);
    assert_eq!(place.json(&["service", "list"])[0]["callers"][0], "checkout");
    place.write("bad.toml", "[[route]]\npath = \"/x\"\nservice = \"nowhere\"\n");
    assert!(place.refused(&["apply", "bad.toml"], 1).contains("nowhere"));
    place.write("worse.toml", "[[user]]\nusername = \"a\"\npasword = \"x\"\n");
    assert!(place.refused(&["apply", "worse.toml"], 2).contains("`password`?"));
}

#[test]
fn passwords_come_from_standard_input_and_weak_ones_are_refused() {
    let place = Place::new();
    let add = |password: &str| {
        let mut child = place
            .command(&["user", "add", "alice"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        child.wait_with_output().unwrap()
    };
    for weak in ["short", "aaaaaaaaaaaaaaaa", ""] {
        let output = add(weak);
        assert!(!output.status.success());
        assert!(weak.is_empty() || !said(&output).contains(weak));
    }
    assert!(add("correct horse battery staple").status.success());
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = Place::new();
    for args in [
        &["nothing"][..],
        &["revoke", "--reason", "x"],
        &["revoke", "--user", "a", "--client", "b", "--reason", "x"],
        &["key", "rotate", "--algorithm", "HS256"],
        &["client", "add", "x", "--grant-type", "password"],
    ] {
        assert_eq!(place.run(args).status.code(), Some(2), "{args:?}");
    }
    let help = place.run(&["revoke", "--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--wait"));
}

#[test]
fn doctor_says_what_to_mend() {
    let place = Place::new();
    let checks = place.json(&["doctor"]);
    assert!(checks.as_array().unwrap().iter().all(|check| check["ok"] == true), "{checks}");
    fs::remove_file(place.path().join("root.key")).unwrap();
    let output = place.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("root.key"));
}
