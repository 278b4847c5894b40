//! One request that is answered by several, put together.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Barrier, Mutex, OnceLock, mpsc},
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tegata_core::{BoxFuture, ManualClock, SessionId};
use tegata_gateway::{References, Unresolved, decision_log::Mode};
use tegata_mesh::{DeclaredBff, DeclaredRoute, DeclaredService, ServiceMap};
use tegata_token::{Algorithm, SigningKey, revocation::Target};

use crate::{
    decisions,
    dpop::Holder,
    identity::Sessions,
    world::{Answer, Plan, World, get, request, vacant},
};

type Said = Option<Vec<u8>>;

/// A service, and what it was asked for.
#[derive(Clone)]
struct Service {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// One that answers each request, given its head, on a thread of its own. Where it answers nothing, it
    /// closes the connection.
    fn saying(answer: impl Fn(&str) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, seen) = (Arc::new(answer), Arc::new(Mutex::new(Vec::new())));
        let heads = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, heads) = (Arc::clone(&answer), Arc::clone(&heads));
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    while let Some(head) = head(&mut stream) {
                        heads.lock().unwrap().push(head.clone());
                        let Some(said) = answer(&head) else { return };
                        if stream.write_all(&said).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// One that always says the same.
    fn of(body: &str) -> Self {
        let said = ok(body);
        Self::saying(move |_| Some(said.clone()))
    }

    fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// One that hands the test its connection with the head of each request, and says nothing by itself.
fn silent() -> (SocketAddr, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (hand, streams) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let hand = hand.clone();
            thread::spawn(move || {
                if head(&mut stream).is_some() {
                    let _ = hand.send(stream);
                }
            });
        }
    });
    (address, streams)
}

fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

fn ok(body: &str) -> Vec<u8> {
    with("200 OK", "Content-Type: application/json\r\n", body)
}

fn with(status: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// A field of a request's head.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn claims_of(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

const USER: &str = r#"{"id": "usr_alice", "name": "Alice", "avatar": "/a.svg", "secret": "s"}"#;
const NOTES: &str = r#"{"unread": 3, "items": [{"text": "t", "secret": "s"}]}"#;
const PREFS: &str = r#"{"theme": "dark", "secret": "s"}"#;

/// Three services, and the screen that is put together of them.
fn plan(users: SocketAddr, notes: SocketAddr, prefs: SocketAddr) -> Plan {
    let mut plan = Plan::with(users);
    plan.services = vec![
        ("users".into(), vec![users]),
        ("notes".into(), vec![notes]),
        ("prefs".into(), vec![prefs]),
    ];
    plan.routes = json!([
        {"path": "/users", "service": "users"},
        {"path": "/notes", "service": "notes"},
        {"path": "/prefs", "service": "prefs"},
        {"path": "/open", "service": "prefs", "auth": "none"},
        {"path": "/staff", "service": "prefs", "roles": ["admin"]},
        {"path": "/scoped", "service": "prefs", "scope": "prefs.read"},
        {"path": "/strong", "service": "prefs", "acr": ["aal2"]},
        {"path": "/machines", "service": "prefs", "credentials": ["key"]},
        {"path": "/cookies", "service": "prefs", "credentials": ["session"]},
        {"path": "/tokens", "service": "prefs", "credentials": ["token"]},
        {"path": "/strict", "service": "prefs", "revocation": "strict"},
        {"path": "/few", "service": "prefs", "rate_limit": "2/m"},
    ]);
    plan.bffs = json!([home(json!({}))]);
    plan
}

fn part(name: &str, path: &str, select: &[&str]) -> Value {
    json!({"name": name, "path": path, "select": select})
}

/// The screen, with these words beside its parts, or in place of them.
fn home(words: Value) -> Value {
    let mut home = json!({
        "name": "home",
        "part": [
            part("user", "/users/me", &["id", "name", "avatar"]),
            part("notes", "/notes/summary", &["unread", "items.text"]),
            part("prefs", "/prefs/me", &["theme"]),
        ],
    });
    let Value::Object(words) = words else { panic!("words are a table") };
    home.as_object_mut().unwrap().extend(words);
    home
}

/// A screen of one part.
fn one(words: Value) -> Value {
    let mut one = part("it", "/prefs/me", &["theme"]);
    let Value::Object(words) = words else { panic!("words are a table") };
    one.as_object_mut().unwrap().extend(words);
    json!([home(json!({"part": [one]}))])
}

fn whole() -> (World, [Service; 3]) {
    let services = [USER, NOTES, PREFS].map(Service::of);
    let [users, notes, prefs] = &services;
    (plan(users.address, notes.address, prefs.address).start(), services)
}

fn ask(world: &World) -> Answer {
    world.get("/bff/home", &world.token())
}

fn error(part: &str, reason: &str, status: u16) -> Value {
    json!({"part": part, "reason": reason, "status": status})
}

#[test]
fn the_answer_is_what_is_declared_of_each_and_each_service_is_told_of_the_caller() {
    let (world, services) = whole();
    let token = world.token();
    let fields = [
        ("Authorization", &*format!("Bearer {token}")),
        ("Accept-Language", "ja"),
        ("If-None-Match", "\"x\""),
        ("Range", "bytes=0-1"),
        ("Accept-Encoding", "gzip"),
        ("X-User-ID", "usr_root"),
        ("X-Else", "1"),
    ];
    let answer = world.ask(&get("/bff/home", &fields));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let told = json!({
        "data": {
            "user": {"id": "usr_alice", "name": "Alice", "avatar": "/a.svg"},
            "notes": {"unread": 3, "items": [{"text": "t"}]},
            "prefs": {"theme": "dark"},
        },
        "errors": [],
    });
    assert_eq!(answer.json(), told);
    let request = answer.field("x-request-id").unwrap();
    for (service, (name, path)) in
        services.iter().zip([("users", "/me"), ("notes", "/summary"), ("prefs", "/me")])
    {
        let asked = service.asked();
        assert_eq!(asked.len(), 1);
        let head = &asked[0];
        assert!(head.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{head}");
        let claims = claims_of(field(head, "x-internal-token").unwrap());
        assert_eq!((&claims["aud"], &claims["sub"]), (&json!(name), &json!("usr_alice")));
        assert_eq!(field(head, "x-user-id"), Some("usr_alice"));
        assert_eq!(field(head, "x-request-id"), Some(request));
        assert!(field(head, "traceparent").is_some_and(|it| it.contains(request)));
        assert_eq!(field(head, "accept"), Some("application/json"));
        assert_eq!(field(head, "accept-language"), Some("ja"));
        for gone in ["authorization", "if-none-match", "range", "accept-encoding", "x-else"] {
            assert_eq!(field(head, gone), None, "{gone}");
        }
    }
    // A trace that a client began goes on in every part.
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [("Authorization", &*format!("Bearer {token}")), ("traceparent", trace)];
    world.ask(&get("/bff/home", &fields));
    assert!(services.iter().all(|it| field(&it.asked()[1], "traceparent") == Some(trace)));
    // What a client takes away from the next hop, it takes away from all of them.
    let fields = [
        ("Authorization", &*format!("Bearer {token}")),
        ("Cookie", "theme=dark"),
        ("Accept-Language", "ja"),
        ("Connection", "cookie, accept-language, x-internal-token"),
    ];
    world.ask(&get("/bff/home", &fields));
    for service in &services {
        let head = &service.asked()[2];
        for gone in ["cookie", "accept-language", "connection"] {
            assert_eq!(field(head, gone), None, "{gone}");
        }
        assert_eq!(field(head, "x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(field(head, "x-forwarded-host"), Some("gateway.example"));
        assert!(field(head, "x-internal-token").is_some());
    }
}

#[test]
fn over_http2_it_is_the_same_and_a_stream_that_is_reset_takes_its_parts_with_it() {
    let prefs = Service::of(PREFS);
    let (users, held) = silent();
    let mut plan = plan(users, prefs.address, prefs.address);
    plan.bffs = json!([
        home(json!({"part": [part("prefs", "/prefs/me", &["theme"])]})),
        home(json!({"name": "slow", "part": [part("user", "/users/me", &["id"])]})),
    ]);
    let world = plan.start();
    let (bearer, address) = (format!("Bearer {}", world.token()), world.address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let asking = |name: &str| {
            let asked = http::Request::get(format!("http://gateway.example/bff/{name}"));
            asked.header("authorization", &bearer).body(Empty::<Bytes>::new()).unwrap()
        };
        let slow = tokio::spawn(sender.send_request(asking("slow")));
        let mut stream = tokio::task::spawn_blocking(move || held.recv().unwrap()).await.unwrap();
        let answer = sender.send_request(asking("home")).await.unwrap();
        assert_eq!(answer.status(), 200);
        let told = answer.into_body().collect().await.unwrap().to_bytes();
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["data"], json!({"prefs": {"theme": "dark"}}));
        slow.abort();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let closed = tokio::task::spawn_blocking(move || stream.read(&mut [0]));
        assert!(matches!(closed.await.unwrap(), Ok(0)), "somebody waits for nobody");
    });
}

#[test]
fn whoever_is_limited_is_limited_by_each_part() {
    let prefs = Service::of(PREFS);
    let mut plan = plan(prefs.address, prefs.address, prefs.address);
    plan.bffs = json!([home(json!({"part": [
        part("one", "/prefs/1", &["theme"]),
        part("two", "/prefs/2", &["theme"]),
    ]}))]);
    plan.config.limits.per_user = "3/m".parse().ok();
    plan.config.limits.per_address = "2/m".parse().ok();
    let world = plan.start();
    let token = world.token();
    let first = world.get("/bff/home", &token).json();
    assert_eq!(first["errors"], json!([]));
    let second = world.get("/bff/home", &token).json();
    assert_eq!(second["errors"].as_array().unwrap().len(), 1, "{second}");
    assert_eq!(second["errors"][0]["reason"], "too_many_requests");
    // It came from its address twice.
    assert_eq!(world.get("/bff/home", &token).problem(), "too_many_requests");
    assert_eq!(prefs.asked().len(), 3);
}

#[test]
fn a_part_that_is_away_is_shown_and_not_hidden() {
    let json_of = "Content-Type: application/json\r\n";
    let deep = format!("{{\"theme\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let invalid = [&with("200 OK", json_of, "{\"theme\": \"??\"}")[..]].concat();
    let invalid: Vec<u8> =
        invalid.into_iter().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
    let large = format!("{{\"theme\": \"{}\"}}", "x".repeat(1024 * 1024));
    let chunked = format!(
        "HTTP/1.1 200 OK\r\n{json_of}Transfer-Encoding: chunked\r\n\r\n{}",
        format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(17)
    );
    let cases: Vec<(&str, Said, &str, u16)> = vec![
        ("gone", Some(with("404 Not Found", json_of, "{}")), "part_status", 404),
        (
            "elsewhere",
            Some(with("302 Found", "Location: http://evil.example/\r\n", "")),
            "part_status",
            302,
        ),
        ("unknown there", Some(with("401 Unauthorized", "", "")), "part_status", 401),
        ("fallen", Some(with("500 Oh", json_of, PREFS)), "part_status", 500),
        ("not changed", Some(b"HTTP/1.1 304 X\r\n\r\n".to_vec()), "part_status", 304),
        ("nothing", Some(b"HTTP/1.1 204 X\r\n\r\n".to_vec()), "part_not_json", 502),
        (
            "a page",
            Some(with("200 OK", "Content-Type: text/html\r\n", PREFS)),
            "part_not_json",
            502,
        ),
        ("no type", Some(with("200 OK", "", PREFS)), "part_not_json", 502),
        (
            "encoded",
            Some(with("200 OK", &format!("{json_of}Content-Encoding: gzip\r\n"), PREFS)),
            "part_not_json",
            502,
        ),
        ("empty", Some(ok("")), "part_not_json", 502),
        ("half", Some(ok("{\"theme\": \"da")), "part_not_json", 502),
        ("no UTF-8", Some(invalid), "part_not_json", 502),
        ("twice", Some(ok(r#"{"theme": 1, "theme": 2}"#)), "part_unfit", 502),
        ("deep", Some(ok(&deep)), "part_unfit", 502),
        ("a number", Some(ok("7")), "part_unfit", 502),
        ("large", Some(ok(&large)), "part_too_large", 502),
        ("without end", Some(chunked.into_bytes()), "part_too_large", 502),
        ("broken off", None, "service_broken", 502),
        ("garbage", Some(b"garbage\r\n\r\n".to_vec()), "service_broken", 502),
        (
            "broken off within",
            Some(
                format!("HTTP/1.1 200 OK\r\n{json_of}Content-Length: 9000000\r\n\r\n{{")
                    .into_bytes(),
            ),
            "part_too_large",
            502,
        ),
    ];
    let users = Service::of(USER);
    for (what, said, reason, status) in cases {
        let prefs = Service::saying(move |_| said.clone());
        for required in [false, true] {
            let mut plan = plan(users.address, users.address, prefs.address);
            let mut parts =
                vec![part("user", "/users/me", &["id"]), part("prefs", "/prefs/me", &["theme"])];
            if required {
                parts[1]["required"] = json!(true);
            } else {
                parts[1]["default"] = json!({"theme": "light"});
            }
            plan.bffs = json!([home(json!({"part": parts}))]);
            let answer = ask(&plan.start());
            let told = answer.json();
            assert_eq!(told["errors"], json!([error("prefs", reason, status)]), "{what}: {told}");
            assert!(!told.to_string().contains("evil"), "{what}");
            if required {
                assert_eq!((answer.status, &told["data"]), (502, &Value::Null), "{what}");
            } else {
                let data = json!({"user": {"id": "usr_alice"}, "prefs": {"theme": "light"}});
                assert_eq!((answer.status, &told["data"]), (200, &data), "{what}");
            }
            assert_eq!(answer.field("cache-control"), Some("no-store"));
        }
    }
}

#[test]
fn what_all_parts_hold_together_is_bounded() {
    let large = format!(r#"{{"theme": "dark", "rest": "{}"}}"#, "x".repeat(900 * 1024));
    let prefs = Service::of(&large);
    let with = |parts: usize| {
        let mut plan = plan(prefs.address, prefs.address, prefs.address);
        let names: Vec<_> = (0..parts).map(|number| format!("p{number}")).collect();
        let parts: Vec<_> = names.iter().map(|name| part(name, "/prefs/me", &["theme"])).collect();
        plan.bffs = json!([home(json!({"part": parts}))]);
        ask(&plan.start()).json()
    };
    let told = with(4);
    assert_eq!(told["errors"], json!([]));
    assert_eq!(told["data"]["p3"], json!({"theme": "dark"}));
    // Who is the one too many depends on who comes first.
    let told = with(5);
    let errors = told["errors"].as_array().unwrap();
    assert!(!errors.is_empty(), "{told}");
    assert!(errors.iter().all(|it| it["reason"] == "part_too_large"), "{told}");
}

#[test]
fn one_that_cannot_be_reached_and_one_that_is_nowhere_are_shown() {
    let users = Service::of(USER);
    let free = vacant();
    let mut plan = plan(users.address, users.address, free);
    plan.bffs = json!([home(json!({"part": [
        part("user", "/users/me", &["id"]),
        part("prefs", "/prefs/me", &["theme"]),
        part("gone", "/gone/me", &["x"]),
    ]}))]);
    let answer = ask(&plan.start());
    assert_eq!(answer.status, 200);
    let told = answer.json();
    assert_eq!(told["data"], json!({"user": {"id": "usr_alice"}, "prefs": null, "gone": null}));
    let errors = [error("prefs", "service_unreachable", 502), error("gone", "no_route", 404)];
    assert_eq!(told["errors"], json!(errors));
}

#[test]
fn what_a_selection_names_and_the_service_does_not_is_left_out() {
    let (world, _) = {
        let prefs = Service::of(
            r#"{"theme": "dark", "__proto__": {"polluted": true}, "list": [1, {"a": 1}]}"#,
        );
        let mut plan = plan(prefs.address, prefs.address, prefs.address);
        plan.bffs = one(json!({"select": ["missing", "theme.x", "list.a"]}));
        (plan.start(), prefs)
    };
    let answer = ask(&world);
    assert_eq!(answer.json(), json!({"data": {"it": {"list": [{"a": 1}]}}, "errors": []}));
}

#[test]
fn a_part_asks_for_what_its_route_asks_for() {
    let cases = [
        ("/staff/x", "missing_role", 403),
        ("/scoped/x", "missing_scope", 403),
        ("/strong/x", "insufficient_acr", 401),
        ("/machines/x", "credential_elsewhere", 401),
        ("/cookies/x", "credential_elsewhere", 401),
    ];
    for (path, reason, status) in cases {
        let services = [USER, NOTES, PREFS].map(Service::of);
        let [users, notes, prefs] = &services;
        let mut plan = plan(users.address, notes.address, prefs.address);
        plan.bffs = json!([home(json!({"part": [
            part("user", "/users/me", &["id"]),
            part("it", path, &["theme"]),
        ]}))]);
        let world = plan.start();
        let answer = ask(&world);
        let told = json!({
            "data": {"user": {"id": "usr_alice"}, "it": null},
            "errors": [error("it", reason, status)],
        });
        assert_eq!((answer.status, answer.json()), (200, told), "{path}");
        assert_eq!(prefs.asked(), [""; 0], "{path}");
        assert_eq!(world.get(path, &world.token()).status, status, "{path}: asked for alone");
    }
    // A route that asks nobody is told of nobody.
    let prefs = Service::of(PREFS);
    let mut plan = plan(prefs.address, prefs.address, prefs.address);
    plan.bffs = one(json!({"path": "/open/x"}));
    let answer = ask(&plan.start());
    assert_eq!(answer.json()["data"]["it"], json!({"theme": "dark"}));
    let asked = prefs.asked();
    assert_eq!((field(&asked[0], "x-user-id"), field(&asked[0], "authorization")), (None, None));
}

#[test]
fn who_is_asked_for_is_said_for_the_whole_and_holds_beside_its_parts() {
    let (world, services) = whole();
    let nobody = world.ask(&get("/bff/home", &[]));
    assert_eq!((nobody.status, nobody.problem().as_str()), (401, "not_authenticated"));
    assert!(nobody.field("www-authenticate").is_some());
    let forged = world.get("/bff/home", "forged");
    assert_eq!(forged.status, 401);
    assert!(services.iter().all(|service| service.asked().is_empty()));
    let [users, notes, prefs] = &services;
    let plan = |words: Value| {
        let mut plan = plan(users.address, notes.address, prefs.address);
        plan.bffs = json!([home(words)]);
        plan.start()
    };
    let answer = ask(&plan(json!({"roles": ["admin"]})));
    assert_eq!((answer.status, answer.problem().as_str()), (403, "missing_role"));
    assert_eq!(ask(&plan(json!({"roles": ["admin", "customer"]}))).status, 200);
    // Where nobody need be known, what needs somebody is shown to be missing.
    let parts = json!([part("open", "/open/x", &["theme"]), part("user", "/users/me", &["id"])]);
    let answer = plan(json!({"auth": "optional", "part": parts})).ask(&get("/bff/home", &[]));
    let told = json!({
        "data": {"open": {"theme": "dark"}, "user": null},
        "errors": [error("user", "not_authenticated", 401)],
    });
    assert_eq!((answer.status, answer.json()), (200, told));
    // And asked for, where there is no answer without it.
    let mut parts = parts;
    parts[1]["required"] = json!(true);
    let answer = plan(json!({"auth": "optional", "part": parts})).ask(&get("/bff/home", &[]));
    assert_eq!((answer.status, answer.problem().as_str()), (401, "not_authenticated"));
    assert!(answer.field("www-authenticate").is_some());
    let mut strong = part("it", "/strong/x", &["theme"]);
    strong["required"] = json!(true);
    let answer = ask(&plan(json!({"part": [strong]})));
    assert_eq!((answer.status, answer.problem().as_str()), (401, "insufficient_acr"));
    assert!(answer.field("www-authenticate").unwrap().contains("acr_values=\"aal2\""));
    // Nobody is asked at all, and whatever somebody shows is not looked at.
    let open = json!({"auth": "none", "part": [part("open", "/open/x", &["theme"])]});
    assert_eq!(plan(open).get("/bff/home", "forged").status, 200);
}

#[test]
fn what_is_no_such_thing_leads_nowhere_else() {
    let users = Service::of(USER);
    let mut plan = plan(users.address, users.address, users.address);
    plan.routes = json!([{"path": "/", "service": "users", "auth": "none"}, {"path": "/users", "service": "users"}]);
    plan.bffs = json!([home(json!({"part": [part("user", "/users/me", &["id"])]}))]);
    let world = plan.start();
    let token = world.token();
    for path in
        ["/bff", "/bff/", "/bff/other", "/bff/home/", "/bff/home/x", "/bff/Home", "/bff//home"]
    {
        let answer = world.get(path, &token);
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
    }
    assert_eq!(users.asked(), [""; 0]);
    assert_eq!(world.get("/bff/hom%65", &token).status, 200);
    let bearer = format!("Bearer {token}");
    let fields = [("Authorization", bearer.as_str())];
    let posted = world.ask(&request("POST", "/bff/home", &fields, "{}"));
    assert_eq!((posted.status, posted.field("allow")), (405, Some("GET, HEAD")));
    let head = world.ask(&request("HEAD", "/bff/home", &fields, ""));
    assert_eq!((head.status, head.body.len()), (200, 0));
    // A body is not read, and nothing of it is taken for another request.
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: gateway.example\r\n\r\n";
    assert_eq!(world.ask(&request("GET", "/bff/home", &fields, smuggled)).status, 200);
    assert_eq!(world.get("/plain", &token).status, 200);
    assert!(!users.asked().iter().any(|head| head.contains("smuggled")));
    let upgrade = [
        ("Authorization", bearer.as_str()),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    assert_eq!(world.ask(&get("/bff/home", &upgrade)).status, 501);
}

#[test]
fn the_deadline_is_one_for_all() {
    let prefs = Service::of(PREFS);
    let (users, held) = silent();
    let mut plan = plan(users, users, prefs.address);
    let mut parts = home(json!({}))["part"].clone();
    parts[1]["deadline"] = json!("4s");
    plan.bffs = json!([home(json!({"deadline": "10s", "part": parts}))]);
    let world = plan.start();
    let mut client = world.connect();
    client.write(get("/bff/home", &[("Authorization", &format!("Bearer {}", world.token()))]));
    let mut streams = [held.recv().unwrap(), held.recv().unwrap()];
    // The third has answered long before.
    for _ in 0..500 {
        if !prefs.asked().is_empty() {
            break;
        }
        assert!(client.is_quiet());
    }
    // One trickles, the other says nothing at all.
    let trickling =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{";
    streams[0].write_all(trickling).unwrap();
    for _ in 0..9 {
        assert!(client.is_quiet());
        world.clock.advance(Duration::from_secs(1));
        let _ = streams[0].write_all(b" ");
    }
    assert!(client.is_quiet());
    world.clock.advance(Duration::from_secs(2));
    let answer = client.answer().unwrap();
    let told = json!({
        "data": {"user": null, "notes": null, "prefs": {"theme": "dark"}},
        "errors": [error("user", "service_late", 504), error("notes", "service_late", 504)],
    });
    assert_eq!((answer.status, answer.json()), (200, told));
    // Nobody waits for them any more.
    for stream in &mut streams {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
}

#[test]
fn parts_run_at_the_same_time() {
    // None answers before all have been asked.
    let all = Arc::new(Barrier::new(3));
    let service = |body: &'static str| {
        let all = Arc::clone(&all);
        Service::saying(move |_| {
            all.wait();
            Some(ok(body))
        })
    };
    let services = [USER, NOTES, PREFS].map(service);
    let [users, notes, prefs] = &services;
    let world = plan(users.address, notes.address, prefs.address).start();
    for _ in 0..10 {
        let answer = ask(&world);
        assert_eq!((answer.status, &answer.json()["errors"]), (200, &json!([])));
    }
}

#[test]
fn what_a_part_says_of_cookies_stays_inside() {
    let fields = "Content-Type: application/json\r\nSet-Cookie: session_id=evil; Path=/\r\n\
                  Set-Cookie: theme=dark\r\nClear-Site-Data: \"*\"\r\nX-Token-Refresh: 1\r\n\
                  X-Internal-Token: leaked\r\nAccess-Control-Allow-Origin: *\r\nETag: \"x\"\r\n\
                  Cache-Control: public, max-age=9999\r\n";
    let prefs = Service::saying(move |_| Some(with("200 OK", fields, PREFS)));
    let mut plan = plan(prefs.address, prefs.address, prefs.address);
    plan.bffs = one(json!({}));
    plan.sessions = Some(Arc::new(Sessions::default()));
    let world = plan.start();
    let cookies = [("Cookie", "theme=dark; session_id=alive; refresh_token=r")];
    let answer = world.ask(&get("/bff/home", &cookies));
    assert_eq!(answer.json(), json!({"data": {"it": {"theme": "dark"}}, "errors": []}));
    // What the session says is told once.
    assert_eq!(answer.fields("set-cookie"), ["session_id=next; HttpOnly"]);
    assert_eq!(answer.fields("cache-control"), ["no-store"]);
    for name in [
        "clear-site-data",
        "x-token-refresh",
        "x-internal-token",
        "etag",
        "access-control-allow-origin",
    ] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    let asked = prefs.asked();
    assert_eq!(field(&asked[0], "cookie"), Some("theme=dark"));
    assert_eq!(field(&asked[0], "x-user-id"), Some("usr_bob"));
}

#[test]
fn a_session_counts_where_sessions_count_and_is_nobody_elsewhere() {
    let prefs = Service::of(PREFS);
    let mut plan = plan(prefs.address, prefs.address, prefs.address);
    plan.bffs = json!([home(json!({"part": [
        part("cookies", "/cookies/x", &["theme"]),
        part("tokens", "/tokens/x", &["theme"]),
        part("staff", "/staff/x", &["theme"]),
    ]}))]);
    plan.sessions = Some(Arc::new(Sessions::default()));
    let world = plan.start();
    let told = world.ask(&get("/bff/home", &[("Cookie", "session_id=alive")])).json();
    assert_eq!(told["errors"], json!([error("tokens", "not_authenticated", 401)]));
    assert_eq!(told["data"]["staff"], json!({"theme": "dark"}));
    let gone = world.ask(&get("/bff/home", &[("Cookie", "session_id=gone")]));
    assert_eq!(gone.problem(), "session_unknown");
}

#[test]
fn a_parameter_cannot_leave_its_segment() {
    let users = Service::of(USER);
    let mut plan = plan(users.address, users.address, users.address);
    plan.routes = json!([
        {"path": "/users", "service": "users"},
        {"path": "/users/admin", "service": "users", "auth": "none"},
        {"path": "/api", "service": "users"},
    ]);
    plan.bffs = json!([
        home(json!({"part": [part("it", "/users/{query.id}/card?all=true", &["id"])]})),
        {"name": "own", "part": [part("it", "/users/{sub}", &["id"])]},
        {"name": "api", "part": [part("it", "/api/{query.id}/x", &["id"])]},
    ]);
    let world = plan.start();
    let token = world.token();
    let asked = |path: &str| {
        let answer = world.get(path, &token);
        assert_eq!(answer.status, 200, "{path}");
        answer.json()["errors"][0]["reason"].as_str().map(str::to_owned)
    };
    for (id, line) in [
        ("7", "GET /7/card?all=true "),
        ("a%20b", "GET /a%20b/card?all=true "),
        ("a?x=1", "GET /a%3Fx%3D1/card?all=true "),
        ("a%26all%3Dfalse%23", "GET /a%26all%3Dfalse%23/card?all=true "),
        ("%E6%97%85", "GET /%E6%97%85/card?all=true "),
    ] {
        assert_eq!(asked(&format!("/bff/home?id={id}")), None, "{id}");
        let seen = users.asked();
        assert!(seen.last().unwrap().starts_with(line), "{id}: {}", seen.last().unwrap());
    }
    let before = users.asked().len();
    for bad in [
        "../admin",
        "..%2fadmin",
        "%2e%2e",
        ".",
        "%2f",
        "%252f",
        "a%2fb",
        "a;b",
        "a%5cb",
        "%00",
        "a%0d%0aX:y",
        // On another route, which asks nobody.
        "admin",
    ] {
        assert_eq!(asked(&format!("/bff/home?id={bad}")).as_deref(), Some("part_path"), "{bad}");
    }
    for bad in ["", "?id=", "?id=1&id=2", "?other=1", "?id=%ff", "?id=%"] {
        let told = asked(&format!("/bff/home{bad}"));
        assert_eq!(told.as_deref(), Some("part_parameter"), "{bad}");
    }
    // What Tegata answers itself is no part, though a route leads around it.
    assert_eq!(asked("/bff/api?id=auth").as_deref(), Some("part_path"));
    assert_eq!(users.asked().len(), before);
    assert_eq!(asked("/bff/own"), None);
    assert!(users.asked().last().unwrap().starts_with("GET /usr_alice "));
    let mut claims = world.claims();
    claims["sub"] = json!("usr_a/../admin");
    let odd = world.get("/bff/own", &world.sign(&claims)).json();
    assert_eq!(odd["errors"][0]["reason"], "part_path");
}

#[test]
fn who_leaves_cancels_all_parts() {
    let (users, held) = silent();
    let world = plan(users, users, users).start();
    let mut client = world.connect();
    client.write(get("/bff/home", &[("Authorization", &format!("Bearer {}", world.token()))]));
    let streams = [held.recv().unwrap(), held.recv().unwrap(), held.recv().unwrap()];
    drop(client);
    for mut stream in streams {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0)), "somebody waits for nobody");
    }
}

#[test]
fn a_part_without_which_there_is_no_answer_ends_the_others_at_once() {
    let gone = Service::saying(|_| Some(with("404 Not Found", "", "")));
    let (slow, held) = silent();
    for required in [true, false] {
        let mut plan = plan(slow, slow, gone.address);
        plan.config.upstream.answer = Duration::from_secs(600);
        let mut parts = vec![
            part("user", "/users/me", &["id"]),
            part("notes", "/notes/me", &["unread"]),
            part("prefs", "/prefs/me", &["theme"]),
        ];
        parts[2]["required"] = json!(required);
        plan.bffs = json!([home(json!({"deadline": "60s", "part": parts}))]);
        let world = plan.start();
        let asking = get("/bff/home", &[("Authorization", &format!("Bearer {}", world.token()))]);
        let mut client = world.connect();
        client.write(&asking);
        let streams = [held.recv().unwrap(), held.recv().unwrap()];
        if !required {
            // Then they are waited for, as long as they may take.
            assert!(client.is_quiet());
            continue;
        }
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, &answer.json()["data"]), (502, &Value::Null));
        assert_eq!(answer.json()["errors"], json!([error("prefs", "part_status", 404)]));
        for mut stream in streams {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            assert!(matches!(stream.read(&mut [0]), Ok(0)), "somebody waits for nobody");
        }
        // The client's own connection goes on.
        assert_eq!(client.ask(&get("/health", &[])).status, 200);
    }
}

#[test]
fn a_slow_part_takes_nothing_from_other_routes() {
    let prefs = Service::of(PREFS);
    let (users, held) = silent();
    let mut plan = plan(users, prefs.address, prefs.address);
    plan.config.upstream.connections = 8;
    plan.bffs = json!([home(json!({"part": [
        part("user", "/users/me", &["id"]),
        part("prefs", "/prefs/me", &["theme"]),
    ]}))]);
    let world = plan.start();
    let token = world.token();
    let asking = get("/bff/home", &[("Authorization", &format!("Bearer {token}"))]);
    let mut waiting: Vec<_> = (0..8).map(|_| world.connect()).collect();
    for client in &mut waiting {
        client.write(&asking);
    }
    let streams: Vec<_> = (0..8).map(|_| held.recv().unwrap()).collect();
    // The slow one has as many as it may have. Others are served, and what else is in it is, too.
    for _ in 0..20 {
        assert_eq!(world.get("/prefs/me", &token).status, 200);
        let told = world.ask(&asking).json();
        assert_eq!(told["data"]["prefs"], json!({"theme": "dark"}));
        assert_eq!(told["errors"], json!([error("user", "service_busy", 503)]));
    }
    // Nobody takes another connection.
    drop((held, streams));
    for client in &mut waiting {
        let told = client.answer().unwrap().json();
        assert_eq!(told["errors"], json!([error("user", "service_broken", 502)]));
    }
}

#[test]
fn what_is_taken_back_meanwhile_tells_nothing() {
    let prefs = Service::of(PREFS);
    let (users, held) = silent();
    let world = plan(users, prefs.address, prefs.address).start();
    let sid = SessionId::new("1.30000.s").unwrap();
    let mut client = world.connect();
    client.write(get("/bff/home", &[("Authorization", &format!("Bearer {}", world.token()))]));
    let mut stream = held.recv().unwrap();
    world.revoke(Target::Session(sid));
    stream.write_all(&ok(USER)).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.problem().as_str()), (401, "token_revoked"));
}

#[test]
fn while_revocations_cannot_be_learnt_each_part_follows_its_route() {
    let prefs = Service::of(PREFS);
    let mut plan = plan(prefs.address, prefs.address, prefs.address);
    plan.bffs = json!([home(json!({"part": [
        part("usual", "/prefs/me", &["theme"]),
        part("strict", "/strict/me", &["theme"]),
    ]}))]);
    plan.knows_revocations = false;
    // A young token passes where that is enough.
    let told = ask(&plan.start()).json();
    assert_eq!(told["data"], json!({"usual": {"theme": "dark"}, "strict": null}));
    assert_eq!(told["errors"], json!([error("strict", "revocations_stale", 503)]));
}

#[test]
fn limits_of_routes_count_their_parts() {
    let prefs = Service::of(PREFS);
    let mut plan = plan(prefs.address, prefs.address, prefs.address);
    plan.bffs = json!([home(json!({"part": [
        part("few", "/few/x", &["theme"]),
        part("prefs", "/prefs/x", &["theme"]),
    ]}))]);
    let world = plan.start();
    let token = world.token();
    assert_eq!(world.get("/few/x", &token).status, 200);
    let answer = world.get("/bff/home", &token);
    assert_eq!(answer.json()["errors"], json!([]));
    assert!(
        answer.field("ratelimit").is_some_and(|it| it.contains("\"caller\";r=0")),
        "{answer:?}"
    );
    let answer = world.get("/bff/home", &token);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["errors"], json!([error("few", "too_many_requests", 429)]));
    assert_eq!(world.get("/few/x", &token).status, 429);
}

#[test]
fn a_proof_is_used_once_for_the_whole() {
    let (world, services) = whole();
    let holder = Holder::of(&world);
    let place = ("htu", json!("http://gateway.example/bff/home"));
    let proof = holder.proof(&world, &[place]);
    let answer = holder.ask(&world, "/bff/home", &[&proof]);
    assert_eq!((answer.status, &answer.json()["errors"]), (200, &json!([])));
    let heads: Vec<_> = services.iter().flat_map(Service::asked).collect();
    assert!(heads.iter().all(|head| field(head, "dpop").is_none()));
    assert_eq!(holder.ask(&world, "/bff/home", &[&proof]).status, 401);
    // One for a part is none for the whole.
    let place = ("htu", json!("http://gateway.example/users/me"));
    let proof = holder.proof(&world, &[place]);
    assert_eq!(holder.ask(&world, "/bff/home", &[&proof]).status, 401);
}

#[test]
fn each_part_has_its_line_in_the_record() {
    for mode in [Mode::BestEffort, Mode::Required] {
        let directory = tempfile::tempdir().unwrap();
        let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
        let log = decisions::open(directory.path(), mode, &key);
        let services = [USER, NOTES, PREFS].map(Service::of);
        let [users, notes, prefs] = &services;
        let mut plan = plan(users.address, notes.address, prefs.address);
        plan.bffs = json!([home(json!({"part": [
            part("user", "/users/{sub}?secret=1", &["id"]),
            part("staff", "/staff/x", &["theme"]),
            part("nowhere", "/users/{query.id}", &["id"]),
        ]}))]);
        plan.decisions = Some(log.clone());
        let world = plan.start();
        let answer = ask(&world);
        drop(world);
        log.close();
        let records = decisions::records(directory.path());
        let name = answer.field("x-request-id").unwrap();
        assert!(records.iter().all(|record| record["request"] == name), "{records:?}");
        let answered = records.iter().filter(|record| record["status"].is_u64());
        let mut answered: Vec<_> = answered
            .map(|it| {
                let text = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
                format!("{} {} {} {}", text("path"), text("service"), it["status"], text("reason"))
            })
            .collect();
        answered.sort_unstable();
        let expected = [
            "/bff/home bff/home 200 ",
            "/staff/x prefs 403 missing_role",
            "/users/usr_alice users 200 ",
            "/users/{query.id}  400 part_parameter",
        ];
        assert_eq!(answered, expected, "{mode:?}");
        assert!(records.iter().all(|record| record["client"] == "127.0.0.1"));
        assert!(!serde_json::to_string(&records).unwrap().contains("secret"));
    }
}

/// Knows what one reference stands for, and takes some seconds to say it.
#[derive(Default)]
struct Slow(OnceLock<(Arc<ManualClock>, Arc<str>)>);

const SLOW: Duration = Duration::from_secs(5);

impl References for Slow {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Arc<str>>, Unresolved>> {
        let known = self.0.get().map(|(clock, token)| {
            clock.advance(SLOW);
            Arc::clone(token)
        });
        Box::pin(async move { Ok(known) })
    }
}

#[test]
fn a_part_is_recorded_when_it_was_and_not_when_the_whole_began() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = decisions::open(directory.path(), Mode::BestEffort, &key);
    let (prefs, slow) = (Service::of(PREFS), Arc::new(Slow::default()));
    let mut plan = plan(prefs.address, prefs.address, prefs.address);
    plan.bffs = one(json!({}));
    plan.references = Some(slow.clone());
    plan.decisions = Some(log.clone());
    let world = plan.start();
    let known = (world.clock.clone(), world.token().into());
    assert!(slow.0.set(known).is_ok());
    let began = world.node.now();
    assert_eq!(world.get("/bff/home", "at_known").status, 200);
    drop(world);
    log.close();
    let records = decisions::records(directory.path());
    let at: Vec<_> = records.iter().map(|record| (&record["path"], &record["at"])).collect();
    let then = json!((began + SLOW).millis());
    assert_eq!(at, [(&json!("/prefs/me"), &then), (&json!("/bff/home"), &then)]);
}

#[test]
fn what_is_put_together_changes_with_the_map() {
    let (world, services) = whole();
    let token = world.token();
    assert_eq!(world.get("/bff/home", &token).status, 200);
    let addresses: HashMap<_, _> =
        ["users", "notes", "prefs"].into_iter().zip(services.iter().map(|it| it.address)).collect();
    let declared: Vec<_> = ["users", "prefs"]
        .map(|name| DeclaredService {
            name: name.into(),
            upstreams: vec![format!("http://{}", addresses[name])],
            ..DeclaredService::default()
        })
        .into();
    let routes = [DeclaredRoute::new("/users", "users"), DeclaredRoute::new("/prefs", "prefs")];
    let bff = |value: Value| serde_json::from_value::<DeclaredBff>(value).unwrap();
    let bffs = [bff(home(json!({}))), bff(home(json!({"name": "other"})))];
    let map = ServiceMap::check(&declared, &routes).unwrap().with_bffs(&bffs).unwrap();
    world.gateway.replace(&map, vec![]).unwrap();
    for path in ["/bff/home", "/bff/other"] {
        let told = world.get(path, &token).json();
        assert_eq!(told["errors"], json!([error("notes", "no_route", 404)]), "{path}");
    }
    let map = ServiceMap::check(&declared, &routes).unwrap();
    world.gateway.replace(&map, vec![]).unwrap();
    assert_eq!(world.get("/bff/home", &token).problem(), "no_route");
}

#[test]
fn scripts_of_other_origins_may_ask_where_they_may() {
    let services = [USER, NOTES, PREFS].map(Service::of);
    let [users, notes, prefs] = &services;
    let mut plan = plan(users.address, notes.address, prefs.address);
    plan.config.cors.origins = vec!["https://app.example".into()];
    let world = plan.start();
    let bearer = format!("Bearer {}", world.token());
    let fields = [("Authorization", bearer.as_str()), ("Origin", "https://app.example")];
    let answer = world.ask(&get("/bff/home", &fields));
    assert_eq!(answer.fields("access-control-allow-origin"), ["https://app.example"]);
    let asks = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")];
    assert_eq!(world.ask(&request("OPTIONS", "/bff/home", &asks, "")).status, 204);
    let asks = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "GET")];
    assert_eq!(world.ask(&request("OPTIONS", "/bff/home", &asks, "")).status, 403);
}
