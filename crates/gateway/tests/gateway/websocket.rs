//! WebSockets: who opens one, what passes before and after, and when it ends.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tegata_core::{BoxFuture, SessionId};
use tegata_gateway::{Checked, Head, Renewed, SessionCheck, SessionIdentity};
use tegata_token::{Claims, revocation::Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    framed,
    world::{Client, Plan, World, get, is_timeout},
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What a service was asked, and its connection.
pub(crate) type Asked = (String, TcpStream);

/// A service that hands the test each request with its connection.
pub(crate) fn service() -> (SocketAddr, mpsc::Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (hand, asked) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if !matches!(stream.read(&mut byte), Ok(1)) {
                    break;
                }
                head.push(byte[0]);
            }
            if hand.send((String::from_utf8(head).unwrap(), stream)).is_err() {
                break;
            }
        }
    });
    (address, asked)
}

fn plan(address: SocketAddr) -> Plan {
    let mut plan = Plan::with(address);
    plan.routes = json!([
        {"path": "/live", "service": "echo", "auth": "none", "websocket": true},
        {"path": "/own", "service": "echo", "websocket": true},
        {"path": "/strict", "service": "echo", "websocket": true, "revocation": "strict"},
        {"path": "/short", "service": "echo", "auth": "none", "websocket": true,
            "idle_timeout": "5s"},
        {"path": "/public", "service": "echo", "auth": "none"},
    ]);
    plan
}

pub(crate) fn opening(path: &str, more: &[(&str, &str)]) -> String {
    let mut fields = vec![
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    fields.extend(more);
    get(path, &fields)
}

fn field(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

/// What a service answers that takes the socket that it was asked for.
pub(crate) fn accepted(head: &str) -> String {
    let key = field(head, "sec-websocket-key").unwrap();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let proof = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {proof}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

fn open(world: &World, asked: &mpsc::Receiver<Asked>, text: &str) -> (Client, TcpStream, String) {
    let mut client = world.connect();
    client.write(text);
    let (head, mut service) = asked.recv().unwrap();
    service.write_all(accepted(&head).as_bytes()).unwrap();
    let (status, fields) = client.head().unwrap();
    assert_eq!(status, 101, "{fields:?}");
    (client, service, head)
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut seen = vec![0; bytes.len()];
    stream.read_exact(&mut seen).unwrap();
    assert_eq!(seen, bytes);
}

fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => {
            assert!(!is_timeout(&error), "the gateway hangs");
            true
        }
    }
}

#[test]
fn a_socket_carries_both_ways_and_closes_on_both() {
    let (address, asked) = service();
    let world = plan(address).start();
    for client_goes_first in [true, false] {
        let mut client = world.connect();
        let more = [("Sec-WebSocket-Protocol", "chat"), ("X-User-ID", "forged")];
        client.write(opening("/live/x?y=z", &more));
        let (head, mut service) = asked.recv().unwrap();
        assert!(head.starts_with("GET /x?y=z HTTP/1.1\r\n"), "{head}");
        for (name, value) in [
            ("upgrade", Some("websocket")),
            ("connection", Some("Upgrade")),
            ("sec-websocket-key", Some(KEY)),
            ("sec-websocket-version", Some("13")),
            ("sec-websocket-protocol", Some("chat")),
            ("x-user-id", None),
        ] {
            assert_eq!(field(&head, name).as_deref(), value, "{name}");
        }
        // What the service says at once belongs to the socket.
        service.write_all(format!("{}first", accepted(&head)).as_bytes()).unwrap();
        let (status, fields) = client.head().unwrap();
        let said = |name: &str| {
            fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
        };
        assert_eq!((status, said("upgrade")), (101, Some("websocket")));
        assert_eq!(said("connection"), Some("Upgrade"));
        assert_eq!(said("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(said("sec-websocket-protocol"), Some("chat"));
        assert!(said("x-request-id").is_some() && said("content-length").is_none());
        assert_eq!(client.bytes(5), b"first");
        for round in 0..20_u8 {
            let part = vec![round; 1 + usize::from(round) * 1000];
            client.write(&part);
            expect(&mut service, &part);
            service.write_all(&part).unwrap();
            assert_eq!(client.bytes(part.len()), part);
        }
        if client_goes_first {
            client.stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(is_over(&mut service));
            service.write_all(b"last").unwrap();
            drop(service);
            assert_eq!(client.bytes(4), b"last");
        } else {
            drop(service);
        }
        assert!(client.is_closed());
    }
    assert!(world.metrics().contains(r#"gateway_requests_total{service="echo",status="101"} 2"#));
}

#[test]
fn a_side_that_reads_nothing_holds_the_other_back() {
    let (address, asked) = service();
    let world = plan(address).start();
    let (mut client, mut service, _) = open(&world, &asked, &opening("/live/x", &[]));
    let part = vec![7; 1 << 16];
    service.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut written, most) = (0_usize, 64 << 20);
    while written < most {
        match service.write(&part) {
            Ok(len) => written += len,
            Err(_) => break,
        }
    }
    assert!(written < most, "all of it was taken though nobody reads it");
    drop(service);
    assert_eq!(client.bytes(written).len(), written);
    assert!(client.is_closed());
}

#[test]
fn what_a_client_sends_ahead_of_the_101_reaches_nobody() {
    let (address, asked) = service();
    let world = plan(address).start();
    let smuggled = get("/public/smuggled", &[]);
    for together in [true, false] {
        let mut client = world.connect();
        let text = opening("/live/x", &[]);
        client.write(if together { format!("{text}{smuggled}") } else { text });
        let (head, mut service) = asked.recv().unwrap();
        assert!(!head.contains("smuggled"));
        if !together {
            client.write(&smuggled);
            // Until the gateway has seen it, there is nothing that it could have come ahead of.
            assert!(client.is_quiet());
        }
        service.write_all(accepted(&head).as_bytes()).unwrap();
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.problem().as_str()), (400, "sent_early"));
        assert!(is_over(&mut service));
        assert!(client.is_closed());
        assert!(asked.try_recv().is_err());
    }
    // A request that is refused is not waited for, and what is behind it is no request.
    let mut client = world.connect();
    client.write(format!("{}{smuggled}", opening("/public/x", &[])));
    assert_eq!(client.answer().unwrap().status, 501);
    assert!(client.is_closed());
    assert!(asked.try_recv().is_err());
}

#[test]
fn a_service_that_does_not_accept_is_502_and_the_client_stays_http() {
    let (address, asked) = service();
    let world = plan(address).start();
    let proof = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let (upgrade, connection) = ("Upgrade: websocket\r\n", "Connection: Upgrade\r\n");
    let switching = "HTTP/1.1 101 Switching Protocols\r\n";
    for (answer, status) in [
        (format!("{switching}{upgrade}{connection}\r\n"), 502),
        (format!("{switching}{upgrade}{connection}Sec-WebSocket-Accept: x\r\n\r\n"), 502),
        (format!("{switching}{upgrade}{proof}\r\n"), 502),
        (format!("{switching}{connection}{proof}\r\n"), 502),
        (format!("{switching}Upgrade: h2c\r\n{connection}{proof}\r\n"), 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(), 502),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(), 403),
        ("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n".to_owned(), 426),
    ] {
        let mut client = world.connect();
        client.write(opening("/live/x", &[]));
        let (_, mut service) = asked.recv().unwrap();
        service.write_all(answer.as_bytes()).unwrap();
        assert_eq!(client.answer().unwrap().status, status, "{answer}");
        drop(service);
        // The next request of the connection is one.
        client.write(get("/public/x", &[]));
        let (_, mut service) = asked.recv().unwrap();
        service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert_eq!(client.answer().unwrap().body, b"ok", "{answer}");
    }
    // A service that switches though nobody asked.
    let mut client = world.connect();
    client.write(get("/live/x", &[]));
    let (_, mut service) = asked.recv().unwrap();
    let unasked = format!("{switching}{upgrade}{connection}{proof}\r\n");
    service.write_all(unasked.as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap().problem(), "service_broken");
}

#[test]
fn what_is_no_question_for_a_socket_reaches_no_service() {
    let (address, asked) = service();
    let world = plan(address).start();
    let without = |name: &str| {
        let text = opening("/live/x", &[]);
        let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with(name));
        lines.collect::<String>()
    };
    let with = |from: &str, to: &str| opening("/live/x", &[]).replace(from, to);
    for (text, status, problem) in [
        (without("Sec-WebSocket-Key"), 400, "websocket"),
        (with(KEY, "c2hvcnQ="), 400, "websocket"),
        (with(KEY, "dGhlIHNhbXBsZSBub25jZQ"), 400, "websocket"),
        (opening("/live/x", &[("Sec-WebSocket-Key", KEY)]), 400, "websocket"),
        (without("Sec-WebSocket-Version"), 426, "websocket_version"),
        (with("Version: 13", "Version: 8"), 426, "websocket_version"),
        (with("keep-alive, Upgrade", "keep-alive"), 400, "websocket"),
        (with("GET ", "POST "), 400, "websocket"),
        (with("HTTP/1.1\r\n", "HTTP/1.0\r\n"), 400, "websocket"),
        (opening("/live/x", &[("Upgrade", "h2c")]), 400, "several_upgrades"),
        (with("Upgrade: websocket", "Upgrade: websocket, h2c"), 501, "upgrade_not_supported"),
        (opening("/public/x", &[]), 501, "upgrade_not_supported"),
        (opening("/own/x", &[]), 401, "not_authenticated"),
        (opening("/own/x", &[("Authorization", "Bearer x")]), 401, "token_malformed"),
    ] {
        let mut client = world.connect();
        client.write(&text);
        let answer = client.answer().unwrap_or_else(|| panic!("no answer to {text}"));
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{text}");
    }
    for body in ["Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let text = opening("/live/x", &[]);
        let mut client = world.connect();
        client.write(format!("{}{body}", text.strip_suffix("\r\n").unwrap()));
        assert_eq!(client.answer().unwrap().problem(), "websocket");
    }
    assert!(asked.try_recv().is_err());
}

/// One session, of `usr_bob`.
struct Session;

impl SessionCheck for Session {
    fn cookie(&self) -> &'static str {
        "session_id"
    }

    fn check<'a>(&'a self, _: &'a str, _: Head<'a>, _: IpAddr) -> BoxFuture<'a, Checked> {
        let claims = Claims {
            sub: "usr_bob".into(),
            sid: Some("1.30000.bob".into()),
            iat: 1_767_225_600,
            exp: 1_767_225_600 + 3600,
            ..Claims::default()
        };
        let verdict = Ok(Arc::new(SessionIdentity { claims }));
        Box::pin(async move { Checked { verdict, set_cookie: None } })
    }

    fn settle<'a>(&'a self, _: &'a Renewed) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }
}

#[test]
fn a_page_of_another_origin_opens_no_socket_with_a_cookie() {
    let (address, asked) = service();
    let mut plan = plan(address);
    plan.sessions = Some(Arc::new(Session));
    plan.config.cors.origins = vec!["https://app.example".into()];
    let world = plan.start();
    let cookie = ("Cookie", "session_id=alive");
    for (origin, problem) in [
        (None, "origin_missing"),
        (Some("https://evil.example"), "origin_not_allowed"),
        (Some("null"), "origin_not_allowed"),
        (Some("https://gateway.example"), "origin_not_allowed"),
        (Some("http://gateway.example:81"), "origin_not_allowed"),
        (Some("http://gateway.example.evil.example"), "origin_not_allowed"),
    ] {
        let mut more = vec![cookie];
        more.extend(origin.map(|origin| ("Origin", origin)));
        let mut client = world.connect();
        client.write(opening("/own/x", &more));
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.problem().as_str()), (403, problem), "{origin:?}");
    }
    assert!(asked.try_recv().is_err());
    for origin in ["http://gateway.example", "https://app.example"] {
        let text = opening("/own/x", &[cookie, ("Origin", origin)]);
        let (_client, _service, head) = open(&world, &asked, &text);
        assert_eq!(field(&head, "x-user-id").as_deref(), Some("usr_bob"));
        assert_eq!(field(&head, "cookie"), None);
    }
    // With a token nothing is sent that the page did not have.
    let token = format!("Bearer {}", world.token());
    let other = ("Origin", "https://evil.example");
    open(&world, &asked, &opening("/own/x", &[("Authorization", &token), other]));
}

/// What the client is told at the end, and whether the service is told the same.
fn end(mut client: Client, mut service: TcpStream) -> u16 {
    let frame = client.bytes(4);
    assert_eq!(frame[..2], [0x88, 2], "{frame:?}");
    let code = u16::from_be_bytes([frame[2], frame[3]]);
    let mut masked = [0; 8];
    service.read_exact(&mut masked).unwrap();
    assert_eq!(masked[..2], [0x88, 0x82]);
    assert_eq!(u16::from_be_bytes([masked[6] ^ masked[2], masked[7] ^ masked[3]]), code);
    assert!(is_over(&mut service));
    assert!(client.is_closed());
    code
}

#[test]
fn a_socket_ends_when_its_token_is_taken_back_or_ends() {
    let (address, asked) = service();
    let mut plan = plan(address);
    plan.config.upstream.pause = Duration::from_secs(100_000);
    plan.sessions = Some(Arc::new(Session));
    let world = plan.start();
    let token = format!("Bearer {}", world.token());
    let with_token = || opening("/own/x", &[("Authorization", &token)]);
    let origin = ("Origin", "http://gateway.example");
    let with_cookie = opening("/own/x", &[("Cookie", "session_id=alive"), origin]);
    let by_token = open(&world, &asked, &with_token());
    let by_cookie = open(&world, &asked, &with_cookie);
    let (mut free, mut free_service, _) = open(&world, &asked, &opening("/live/x", &[]));
    for _ in 0..4 {
        world.clock.advance(Duration::from_millis(500));
        assert!(free.is_quiet());
    }
    let open_still = |(client, service, _): &mut (Client, TcpStream, String)| {
        client.write(b"\x81\x01a");
        expect(service, b"\x81\x01a");
    };
    let (mut by_token, mut by_cookie) = (by_token, by_cookie);
    open_still(&mut by_token);
    open_still(&mut by_cookie);
    world.revoke(Target::Session(SessionId::new("1.30000.s").unwrap()));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(end(by_token.0, by_token.1), 1008);
    open_still(&mut by_cookie);
    world.revoke(Target::Session(SessionId::new("1.30000.bob").unwrap()));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(end(by_cookie.0, by_cookie.1), 1008);
    // One that ends by itself.
    let claims = json!({"exp": world.now().secs() + 60, "sid": "1.30000.t", "fid": "1.30000.g"});
    let mut all = world.claims();
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let token = format!("Bearer {}", world.sign(&all));
    let (client, service, _) =
        open(&world, &asked, &opening("/own/x", &[("Authorization", &token)]));
    world.refresh_revocations();
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(end(client, service), 1008);
    // Whoever needed no credential goes on.
    free.write(b"still");
    expect(&mut free_service, b"still");
}

#[test]
fn a_socket_ends_when_nothing_passes_for_as_long_as_the_route_says() {
    let (address, asked) = service();
    let world = plan(address).start();
    let (mut client, mut service, _) = open(&world, &asked, &opening("/short/x", &[]));
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(4));
        assert!(client.is_quiet());
        client.write(b"\x81\x01a");
        expect(&mut service, b"\x81\x01a");
    }
    // In the middle of a frame nothing can be said.
    let (mut half, mut half_service, _) = open(&world, &asked, &opening("/short/x", &[]));
    half_service.write_all(b"\x81\x02a").unwrap();
    assert_eq!(half.bytes(3), b"\x81\x02a");
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(end(client, service), 1001);
    assert!(half.is_closed());
}

#[test]
fn a_socket_is_told_when_the_gateway_stops_and_does_not_keep_it() {
    let (address, asked) = service();
    let mut plan = plan(address);
    plan.real_time = true;
    plan.config.deadlines.drain = Duration::from_secs(20);
    let world = plan.start();
    let (client, service, _) = open(&world, &asked, &opening("/live/x", &[]));
    let ended = thread::spawn(move || end(client, service));
    world.gateway.shutdown();
    assert_eq!(ended.join().unwrap(), 1001);
}

/// A connection with frames, whose server has said what it takes.
async fn framed_client(
    address: SocketAddr,
) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let health = http::Request::get("http://gateway.example/health").body(Empty::new()).unwrap();
    assert_eq!(sender.send_request(health).await.unwrap().status(), 200);
    sender
}

fn connect(path: &str, protocol: &'static str) -> http::Request<Empty<Bytes>> {
    http::Request::connect(format!("http://gateway.example{path}"))
        .extension(Protocol::from_static(protocol))
        .header("sec-websocket-version", "13")
        .body(Empty::new())
        .unwrap()
}

#[test]
fn sockets_over_http2() {
    let (address, asked) = service();
    let mut plan = plan(address);
    plan.real_time = true;
    plan.declared = vec![framed::declared("framed", framed::start())];
    plan.routes
        .as_array_mut()
        .unwrap()
        .push(json!({"path": "/framed", "service": "framed", "auth": "none", "websocket": true}));
    let world = plan.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut sender = framed_client(world.address).await;
        // To a service that speaks HTTP/1.1.
        let opening = tokio::spawn(sender.send_request(connect("/live/x", "websocket")));
        let (head, mut service) =
            tokio::task::spawn_blocking(move || asked.recv().unwrap()).await.unwrap();
        assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
        assert_ne!(field(&head, "sec-websocket-key").as_deref(), Some(KEY));
        service.write_all(accepted(&head).as_bytes()).unwrap();
        let response = opening.await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        for name in ["sec-websocket-accept", "upgrade", "connection"] {
            assert!(!response.headers().contains_key(name), "{name}");
        }
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        let mut socket = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        socket.write_all(b"to the service").await.unwrap();
        let mut service = tokio::task::spawn_blocking(move || {
            expect(&mut service, b"to the service");
            service.write_all(b"to the client").unwrap();
            service
        })
        .await
        .unwrap();
        let mut seen = [0; 13];
        socket.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"to the client");
        // Other requests of the connection go on beside it.
        let other = http::Request::get("http://gateway.example/health").body(Empty::new()).unwrap();
        assert_eq!(sender.send_request(other).await.unwrap().status(), 200);
        socket.shutdown().await.unwrap();
        assert!(tokio::task::spawn_blocking(move || is_over(&mut service)).await.unwrap());
        // To one that speaks HTTP/2 itself.
        for _ in 0..3 {
            let response =
                sender.send_request(connect("/framed/socket", "websocket")).await.unwrap();
            assert_eq!(response.status(), 200);
            let mut socket = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
            socket.write_all(b"there and back").await.unwrap();
            let mut seen = [0; 14];
            socket.read_exact(&mut seen).await.unwrap();
            assert_eq!(&seen, b"there and back");
            socket.shutdown().await.unwrap();
            assert_eq!(socket.read(&mut seen).await.unwrap(), 0);
        }
        // What is no WebSocket, and what may be none.
        for (path, protocol, status) in [
            ("/live/x", "connect-udp", 405),
            ("/public/x", "websocket", 501),
            ("/own/x", "websocket", 401),
            ("/health", "websocket", 405),
            ("/nowhere", "websocket", 404),
            ("/framed/refuse", "websocket", 403),
        ] {
            let response = sender.send_request(connect(path, protocol)).await.unwrap();
            assert_eq!(response.status(), status, "{path} {protocol}");
            response.into_body().collect().await.unwrap();
        }
    });
    // And a client of HTTP/1.1 reaches a service that speaks HTTP/2.
    let mut client = world.connect();
    client.write(opening("/framed/socket", &[]));
    let (status, fields) = client.head().unwrap();
    assert_eq!(status, 101, "{fields:?}");
    client.write(b"there and back");
    assert_eq!(client.bytes(14), b"there and back");
}
