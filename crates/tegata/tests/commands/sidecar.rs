//! `tegata sidecar`: what it answers beside a service, and what it does when the issuer is away.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tegata_core::Node;
use tegata_engines::process::free_ports;

use crate::{PATIENCE, Place, Server, ask, body, get, listening, until};

/// How long a session that was ended may count beside a service while all is well.
const PUSH: Duration = Duration::from_millis(250);

/// An issuer that its configuration knows by its port, and a sidecar for the service `orders`.
struct World {
    place: Place,
    issuer: Option<Server>,
    public: u16,
    sidecar: Server,
    port: u16,
}

/// Somebody who is signed in.
struct Session {
    token: String,
    sid: String,
    csrf: String,
    cookies: String,
}

impl World {
    fn start() -> Self {
        let place = Place::new();
        place.add_user("alice");
        let public = free_ports(1);
        place.write("orders.secret", "a secret of some length 0123456789\n");
        place.write(
            "tegata.toml",
            &format!(
                "[public]\nlisten = \"127.0.0.1:{public}\"\nissuer = \"http://localhost:{public}\"\n\
                 [operations]\nlisten = \"127.0.0.1:0\"\nlinger = \"0s\"\n\
                 [gateway]\nlisten = \"127.0.0.1:0\"\naudience = \"http://localhost:8080\"\n\
                 [keys]\nalgorithms = [\"ES256\"]\n[limits]\ndanger_exempt_loopback = true\n\
                 [sessions]\nmost = 20\n\
                 [sidecar]\nlisten = [\"127.0.0.1:0\", \"unix:s.sock\"]\nservice = \"orders\"\n\
                 audience = [\"http://localhost:8080\"]\nclient_id = \"orders\"\n\
                 client_secret_file = \"orders.secret\"\nstale = \"3s\"\n\
                 [[client]]\nclient_id = \"orders\"\nclient_secret_file = \"orders.secret\"\n\
                 grant_types = [\"client_credentials\"]\nscope = \"orders.read\"\nmay_introspect = true\n"
            ),
        );
        let issuer = Some(place.serve());
        let sidecar = sidecar(&place);
        let port = port_of(&sidecar);
        let world = Self { place, issuer, public, sidecar, port };
        world.until_ready(true);
        world
    }

    fn until_ready(&self, ready: bool) {
        let status = if ready { 200 } else { 503 };
        until("the sidecar has heard of the issuer, or has not", || {
            get(self.port, "/health/ready").0 == status
        });
    }

    fn sign_in(&self) -> Session {
        let head = format!(
            "POST /api/auth/login HTTP/1.1\r\nOrigin: http://localhost:{}\r\n\
             Content-Type: application/json",
            self.public
        );
        let sent = r#"{"username": "alice", "password": "correct horse battery staple"}"#;
        let (status, answer) = ask(self.public, &head, sent);
        assert_eq!(status, 200, "{answer}");
        let told = body(&answer);
        let cookies = answer.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next().unwrap())
        });
        Session {
            token: told["access_token"].as_str().unwrap().to_owned(),
            sid: told["sid"].as_str().unwrap().to_owned(),
            csrf: told["csrf_token"].as_str().unwrap().to_owned(),
            cookies: cookies.collect::<Vec<_>>().join("; "),
        }
    }

    fn sign_out(&self, session: &Session) {
        let head = format!(
            "POST /api/auth/logout HTTP/1.1\r\nOrigin: http://localhost:{}\r\nX-CSRF-Token: {}\r\n\
             Cookie: {}",
            self.public, session.csrf, session.cookies
        );
        assert_eq!(ask(self.public, &head, "").0, 204);
    }

    fn check(&self, token: &str) -> (u16, String) {
        ask(self.port, &format!("GET /check HTTP/1.1\r\nAuthorization: Bearer {token}"), "")
    }

    /// A figure that the sidecar shows.
    fn figure(&self, name: &str) -> f64 {
        let (_, shown) = get(self.port, "/metrics");
        let line = shown.lines().find(|line| line.starts_with(&format!("{name} ")));
        let figure = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
        figure.unwrap_or_else(|| panic!("no `{name}` in {shown}"))
    }
}

/// Starts a sidecar and waits until it says that it has started.
fn sidecar(place: &Place) -> Server {
    let mut child = place.command(&["sidecar"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut all) = (String::new(), String::new());
    while !line.contains("started") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the sidecar ended: {all}");
        all.push_str(&line);
    }
    // What it says later is read by nobody, and stops it in nothing.
    Server(child)
}

fn port_of(sidecar: &Server) -> u16 {
    let [port] = listening(sidecar.pid())[..] else { panic!("a sidecar has one port here") };
    port
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[test]
fn a_session_is_told_beside_the_service_and_refused_as_soon_as_it_has_ended() {
    let world = World::start();
    let mut spans = Vec::new();
    for _ in 0..5 {
        let session = world.sign_in();
        let (status, answer) = world.check(&session.token);
        assert_eq!(status, 200, "{answer}");
        let told = body(&answer);
        assert_eq!(told["session_id"], session.sid.as_str());
        assert_eq!(told["roles"][0], "customer");
        assert_eq!(told["service_context"]["service"], "orders");
        assert!(told["user_id"].as_str().unwrap().starts_with("usr_"), "{told}");
        assert_eq!(field(&answer, "x-session-id"), Some(session.sid.as_str()));
        assert_eq!(field(&answer, "x-user-id"), told["user_id"].as_str());
        assert_eq!(field(&answer, "x-user-roles"), Some("customer"));
        assert_eq!(field(&answer, "cache-control"), Some("no-store"));
        // The second time, it is remembered.
        assert_eq!(world.check(&session.token).0, 200);
        world.sign_out(&session);
        let node = Node::start();
        let began = node.since_boot();
        until("the session that has ended is refused", || world.check(&session.token).0 == 401);
        spans.push(node.elapsed(began));
        let (_, answer) = world.check(&session.token);
        let challenge = field(&answer, "www-authenticate").unwrap();
        assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
        assert!(!answer.contains(&session.token), "{answer}");
    }
    // A busy machine may be slow now and then, and never as slow as asking once a second.
    spans.sort();
    assert!(spans[0] < PUSH && spans[4] < Duration::from_secs(5), "{spans:?}");
    assert!(world.figure("sidecar_lookups_total{result=\"hit\"}") >= 5.0);
    assert!(world.figure("sidecar_lookups_total{result=\"miss\"}") >= 5.0);
    let valid = "session_validation_duration_seconds_count{service=\"orders\",method=\"sidecar\",\
                 status=\"valid\"}";
    assert!(world.figure(valid) >= 10.0);
    assert!(world.figure("revocation_staleness_seconds") < 5.0);
}

#[test]
fn without_its_issuer_it_goes_on_for_as_long_as_it_may_and_then_says_that_nobody_knows() {
    let mut world = World::start();
    let session = world.sign_in();
    let fresh = world.sign_in();
    assert_eq!(world.check(&session.token).0, 200);
    world.issuer.take().unwrap().kill();
    let node = Node::start();
    let began = node.since_boot();
    // What is remembered goes on, and so does what the keys that it has can verify.
    let (known, new) = (world.check(&session.token).0, world.check(&fresh.token).0);
    if node.elapsed(began) < Duration::from_secs(2) {
        assert_eq!((known, new), (200, 200));
    }
    world.until_ready(false);
    for token in [&session.token, &fresh.token] {
        let (status, answer) = world.check(token);
        assert_eq!((status, field(&answer, "retry-after")), (503, Some("1")), "{answer}");
    }
    // What is known to be wrong stays wrong.
    assert_eq!(world.check(&format!("{}x", session.token)).0, 401);
    // A sidecar that is started now knows nothing, and lets nobody pass.
    let other = Place(tempfile::tempdir().unwrap());
    for file in ["tegata.toml", "orders.secret"] {
        fs::copy(world.place.path().join(file), other.path().join(file)).unwrap();
    }
    let second = sidecar(&other);
    let head = format!("GET /check HTTP/1.1\r\nAuthorization: Bearer {}", session.token);
    assert_eq!(ask(port_of(&second), &head, "").0, 503);
    assert_eq!(get(port_of(&second), "/health/ready").0, 503);
    assert_eq!(get(port_of(&second), "/health/live").0, 200);
    drop(second);
    // The issuer comes back, and has forgotten nothing.
    world.issuer = Some(world.place.serve());
    world.until_ready(true);
    assert_eq!(world.check(&session.token).0, 200);
    world.sign_out(&session);
    until("the session that has ended is refused", || world.check(&session.token).0 == 401);
    assert_eq!(world.check(&fresh.token).0, 200);
    // Restarted, it does not remember that it let somebody pass.
    let place = &world.place;
    world.sidecar.signal("TERM");
    assert!(world.sidecar.0.wait().unwrap().success());
    world.sidecar = sidecar(place);
    world.port = port_of(&world.sidecar);
    world.until_ready(true);
    assert_eq!(world.check(&session.token).0, 401);
    assert_eq!(world.check(&fresh.token).0, 200);
}

#[test]
fn whatever_is_sent_to_it_lets_nobody_pass_and_ends_nothing() {
    let world = World::start();
    let session = world.sign_in();
    let token = &session.token;
    let answers = |head: &str, sent: &str| ask(world.port, head, sent).0;
    let check = "GET /check HTTP/1.1";
    assert_eq!(answers(check, ""), 401);
    assert_eq!(answers(&format!("{check}\r\nCookie: {}", session.cookies), ""), 401);
    assert_eq!(
        answers(&format!("{check}\r\nX-User-ID: usr_mallory\r\nX-User-Roles: admin"), ""),
        401
    );
    let both = format!("{check}\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer x");
    assert_eq!(answers(&both, ""), 400);
    assert_eq!(answers(&format!("{check}\r\nAuthorization: Bearer"), ""), 400);
    let long = format!("{check}\r\nAuthorization: Bearer {token}\r\nX-Long: {}", "x".repeat(8_193));
    assert_eq!(answers(&long, ""), 431);
    let many = "X-A: 1\r\n".repeat(200);
    assert_eq!(answers(&format!("{check}\r\n{}", many.trim_end()), ""), 431);
    assert_eq!(answers("GET /nowhere HTTP/1.1", ""), 404);
    // Beneath `/check` stands the path that a proxy was asked for, by whatever method.
    let proxied = format!("DELETE /check/orders/1 HTTP/1.1\r\nAuthorization: Bearer {token}");
    assert_eq!(answers(&proxied, ""), 200);
    // A body is nobody's second request.
    let inner = format!("GET /check HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = inner.len();
    let outer =
        format!("POST /check HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{inner}");
    stream.write_all(outer.as_bytes()).unwrap();
    let mut said = String::new();
    let _cut = stream.read_to_string(&mut said);
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    assert!(said.starts_with("HTTP/1.1 401"), "{said}");
    // A flood of tokens that never were pushes out nobody, and what is kept of it is bounded.
    assert_eq!(world.check(token).0, 200);
    let hits = || world.figure("sidecar_lookups_total{result=\"hit\"}");
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
    let mut flood = String::new();
    for n in 0..3_000 {
        flood +=
            &format!("GET /check HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}{n}\r\n\r\n");
    }
    flood += "GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut reader = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        reader.read_to_string(&mut said).map(|_| said)
    });
    stream.write_all(flood.as_bytes()).unwrap();
    let said = reading.join().unwrap().unwrap();
    assert_eq!(said.matches("HTTP/1.1 401").count(), 3_000);
    let before = hits();
    assert_eq!(world.check(token).0, 200);
    assert!(hits() > before);
    assert!(world.figure("sidecar_entries") <= 1_000.0);
    // A service has no session, and what a client says of itself is written over.
    let basic = "b3JkZXJzOmEgc2VjcmV0IG9mIHNvbWUgbGVuZ3RoIDAxMjM0NTY3ODk=";
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nAuthorization: Basic {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded"
    );
    let (status, answer) = ask(world.public, &head, "grant_type=client_credentials");
    assert_eq!(status, 200, "{answer}");
    let service = body(&answer)["access_token"].as_str().unwrap().to_owned();
    let (status, answer) = world.check(&service);
    assert_eq!(status, 200, "{answer}");
    assert_eq!((field(&answer, "x-user-id"), field(&answer, "x-session-id")), (Some(""), Some("")));
    assert_eq!(body(&answer)["user_id"], Value::Null);
    assert_eq!(body(&answer)["service_context"]["caller"], "orders");
    // The same over the socket.
    let mut socket = UnixStream::connect(world.place.path().join("s.sock")).unwrap();
    let request = format!(
        "GET /check HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[test]
fn one_that_ends_after_the_next_has_begun_leaves_it_its_socket() {
    let mut world = World::start();
    let socket = world.place.path().join("s.sock");
    // Whoever is being answered and does not read keeps it from ending at once.
    let mut deaf = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let many = "GET /check HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000);
    while deaf.write_all(many.as_bytes()).is_ok() {}
    world.sidecar.signal("TERM");
    until("nobody is let in any more", || UnixStream::connect(&socket).is_err());
    // It stands still until the next one has begun.
    let pid = world.sidecar.pid().to_string();
    let signal = |name: &str| Command::new("kill").args(["-s", name, &pid]).status().unwrap();
    assert!(signal("STOP").success());
    let next = sidecar(&world.place);
    assert!(signal("CONT").success());
    assert!(world.sidecar.0.wait().unwrap().success());
    let mut stream = UnixStream::connect(&socket).unwrap();
    let request = "GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    drop(next);
}

#[test]
fn it_listens_on_this_machine_alone_and_says_what_it_lacks() {
    let place = Place::new();
    let said = place.refused(&["sidecar"], 2);
    assert!(said.contains("`service`") && said.contains("--service"), "{said}");
    let named = ["sidecar", "--service", "orders", "--client-id", "orders"];
    let said = place.refused(&named, 2);
    assert!(said.contains("client_secret_file"), "{said}");
    place.write("s", "a secret of some length 0123456789");
    let all = [&named[..], &["--client-secret-file", "s"]].concat();
    for open in ["0.0.0.0:0", "[::]:0"] {
        let said = place.refused_after_log(&[&all[..], &["--listen", open]].concat(), 2);
        assert!(
            said.contains("other machines") && said.contains("unix:") | said.contains("Unix"),
            "{said}"
        );
    }
    place.write("precious", "kept");
    let said = place.refused_after_log(&[&all[..], &["--listen", "unix:precious"]].concat(), 2);
    assert!(said.contains("is no socket"), "{said}");
    assert_eq!(fs::read_to_string(place.path().join("precious")).unwrap(), "kept");
    for (flag, value, word) in [
        ("--listen", "9010", "unix:/run/tegata/sidecar.sock"),
        ("--issuer", "http://auth.example", "https://"),
        ("--issuer", "https://auth.example/", "not end with"),
    ] {
        let said = place.refused(&[&all[..], &[flag, value]].concat(), 2);
        assert!(said.contains(word), "{said}");
    }
}
