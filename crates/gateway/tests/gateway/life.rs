//! Deadlines, the end of a gateway, TLS and HTTP/2.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tegata_gateway::config::Tls;

use crate::{
    echo,
    world::{Client, Plan, World, get, is_timeout, request},
};

/// Short, but many ticks long. For what the gateway waits for in vain: nothing that a test does, or
/// the machine lets it do late, must happen within it.
const SHORT: Duration = Duration::from_millis(300);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(100_000);
/// How long a test looks whether something has come.
const GLANCE: Duration = Duration::from_millis(20);

/// A plan in real time, for which no machine is too slow.
fn impatient(address: std::net::SocketAddr) -> Plan {
    let mut plan = Plan::with(address);
    plan.real_time = true;
    plan.config.upstream.connect = LONG;
    plan
}

/// A service that accepts, and says nothing.
fn silent() -> (std::net::SocketAddr, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (hand, streams) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut first = [0];
            let _ = stream.read(&mut first);
            if hand.send(stream).is_err() {
                break;
            }
        }
    });
    (address, streams)
}

#[test]
fn one_address_does_not_take_all_connections() {
    let mut plan = Plan::with(echo::start());
    plan.config.workers = 2;
    plan.config.limits.connections_per_address = 3;
    plan.config.limits.connections_exempt = vec![];
    let world = plan.start();
    let mut held: Vec<_> = (0..3).map(|_| world.connect()).collect();
    for client in &mut held {
        // Answered: it has its place.
        assert_eq!(client.ask(&get("/public/x", &[])).status, 200);
    }
    assert!(world.connect().is_closed());
    // Somebody else is served.
    assert_eq!(
        Client::from_ip([127, 0, 0, 2], world.address).ask(&get("/public/x", &[])).status,
        200
    );
    // Nobody is remembered for longer than they stay: this would be refused for ever otherwise.
    held.pop();
    while world.connect().attempt(&get("/public/x", &[])).is_none() {}
    // A proxy brings everybody.
    let mut plan = Plan::with(echo::start());
    plan.config.limits.connections_per_address = 1;
    plan.config.limits.connections_exempt = vec![];
    plan.config.trusted_proxies = vec!["loopback".parse().unwrap()];
    let world = plan.start();
    let mut held = [world.connect(), world.connect(), world.connect()];
    for client in &mut held {
        assert_eq!(client.ask(&get("/public/x", &[])).status, 200);
    }
}

/// Lets time pass, one second at a time, until the gateway hangs up. Before each, `meanwhile` is done.
fn pass_time(world: &World, client: &mut Client, mut meanwhile: impl FnMut(&mut Client)) {
    client.stream.set_read_timeout(Some(GLANCE)).unwrap();
    for _ in 0..1000 {
        meanwhile(client);
        match client.stream.read(&mut [0]) {
            Err(error) if is_timeout(&error) => world.clock.advance(Duration::from_secs(1)),
            Ok(1) => panic!("something came"),
            Ok(_) | Err(_) => return,
        }
    }
    panic!("the gateway waits for ever");
}

#[test]
fn a_head_that_comes_too_slowly_is_not_waited_for_however_often_a_byte_comes() {
    let mut plan = Plan::with(echo::start());
    plan.config.deadlines.idle = LONG;
    let world = plan.start();
    // Nothing at all, and a part of a head.
    for start in ["", "GET /public/x HTTP/1.1\r\nHost: a\r\n"] {
        let mut client = world.connect();
        client.write(start);
        pass_time(&world, &mut client, |_| {});
    }
    let mut client = world.connect();
    client.write("GET /public/x HTTP/1.1\r\nX: ");
    // Each byte comes in time for itself.
    pass_time(&world, &mut client, |client| client.write("a"));
    // And on a connection that has been served before.
    let mut client = world.connect();
    assert_eq!(client.ask(&get("/public/x", &[])).status, 200);
    client.write("GET /public/x HT");
    pass_time(&world, &mut client, |_| {});
}

#[test]
fn an_idle_connection_is_closed_after_a_while_and_not_before() {
    let mut plan = Plan::with(echo::start());
    plan.config.deadlines.head = LONG;
    let world = plan.start();
    let mut client = world.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(&get("/public/x", &[])).status, 200);
        // Of 75.
        world.clock.advance(Duration::from_secs(50));
    }
    assert_eq!(client.ask(&get("/public/x", &[])).status, 200);
    pass_time(&world, &mut client, |_| {});
}

#[test]
fn a_body_that_stops_coming_is_answered_408() {
    let mut plan = impatient(echo::start());
    plan.config.deadlines.client = SHORT;
    let world = plan.start();
    let mut client = world.connect();
    client.write("POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.problem().as_str()), (408, "body_too_slow"));
    assert!(client.is_closed());
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plan = impatient(listener.local_addr().unwrap());
    plan.config.deadlines.client = SHORT;
    let world = plan.start();
    let mut client = world.connect();
    client.write(get("/public/x", &[]));
    let (mut service, _) = listener.accept().unwrap();
    let mut head = [0; 4096];
    let _ = service.read(&mut head).unwrap();
    service.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    // It ends because the gateway hangs up on both.
    while service.write_all(chunk.as_bytes()).is_ok() {}
}

#[test]
fn a_service_that_does_not_answer_is_504_and_one_that_stops_is_cut() {
    let (address, _streams) = silent();
    let mut plan = impatient(address);
    plan.config.upstream.answer = SHORT;
    let world = plan.start();
    let answer = world.ask(&get("/public/x", &[]));
    assert_eq!((answer.status, answer.problem().as_str()), (504, "service_late"));
    let (address, streams) = silent();
    let mut plan = impatient(address);
    plan.config.upstream.pause = SHORT;
    let world = plan.start();
    let mut client = world.connect();
    client.write(get("/public/x", &[]));
    let mut service = streams.recv().unwrap();
    service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
    assert_eq!(client.head().unwrap().0, 200);
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(rest.len() < 9);
}

#[test]
fn requests_in_flight_are_finished_and_idle_connections_closed() {
    let (address, streams) = silent();
    let mut plan = impatient(address);
    // Both kinds of connection, on every worker.
    plan.config.workers = 2;
    let world = plan.start();
    let mut idle: Vec<_> = (0..4).map(|_| world.connect()).collect();
    for client in &mut idle {
        assert_eq!(client.ask(&get("/health", &[])).status, 200);
    }
    let mut busy: Vec<_> = (0..4).map(|_| world.connect()).collect();
    let mut services = Vec::new();
    for client in &mut busy {
        client.write(get("/public/x", &[]));
        services.push(streams.recv().unwrap());
    }
    let world = Arc::new(world);
    let stopping = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.gateway.shutdown())
    };
    for client in &mut idle {
        assert!(client.is_closed());
    }
    for mut service in services {
        service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").unwrap();
    }
    for client in &mut busy {
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"done"[..]));
        assert!(client.is_closed());
    }
    stopping.join().unwrap();
    assert!(TcpStream::connect(world.address).is_err());
}

#[test]
fn whoever_came_before_the_end_is_served() {
    let world = Plan::with(echo::start()).start();
    let mut clients: Vec<_> = (0..50).map(|_| world.connect()).collect();
    for client in &mut clients {
        client.write(get("/public/x", &[]));
    }
    world.gateway.shutdown();
    for client in &mut clients {
        assert_eq!(client.answer().unwrap().status, 200);
        assert!(client.is_closed());
    }
}

#[test]
fn an_answer_over_http2_that_nobody_takes_ends_and_no_other_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plan = Plan::with(listener.local_addr().unwrap());
    let upstream = &mut plan.config.upstream;
    (upstream.connect, upstream.answer, upstream.pause) = (LONG, LONG, LONG);
    let world = plan.start();
    let (ended, mut cut) = tokio::sync::oneshot::channel();
    let (hand, held) = mpsc::channel();
    let service = thread::spawn(move || {
        let accept = || {
            let (mut service, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let _ = service.read(&mut head).unwrap();
            service
        };
        let mut paused = accept();
        paused.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        hand.send(accept()).unwrap();
        // Ends when the gateway hangs up.
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while paused.write_all(chunk.as_bytes()).is_ok() {}
        ended.send(()).unwrap();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let mut connection = tokio::spawn(connection);
        let request = |method| {
            let request = http::Request::builder().method(method);
            request.uri("http://gateway.example/public/x").body(Empty::<Bytes>::new()).unwrap()
        };
        // Nothing of the body is read, so the window of its stream stays closed.
        let paused = sender.send_request(request("GET")).await.unwrap();
        assert_eq!(paused.status(), 200);
        let in_flight = sender.send_request(request("POST"));
        let second = Duration::from_secs(1);
        while tokio::time::timeout(GLANCE, &mut cut).await.is_err() {
            world.clock.advance(second);
        }
        assert!(paused.into_body().collect().await.is_err());
        // What is in flight beside it is not disturbed.
        let mut other = held.recv().unwrap();
        other.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").unwrap();
        let answer = in_flight.await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "done");
        // A connection on which nothing is asked for ends.
        while tokio::time::timeout(GLANCE, &mut connection).await.is_err() {
            world.clock.advance(second);
        }
    });
    service.join().unwrap();
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let (address, streams) = silent();
    let mut plan = impatient(address);
    plan.config.deadlines.drain = SHORT;
    let world = plan.start();
    let mut client = world.connect();
    client.write(get("/public/x", &[]));
    let _service = streams.recv().unwrap();
    world.gateway.shutdown();
    assert!(client.is_closed());
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/tls").join(name)
}

fn tls() -> Tls {
    Tls { certificate_file: fixture("certificate.pem"), key_file: fixture("key.pem") }
}

/// Asks over TLS, with HTTP/2 or HTTP/1.1, for the echo of a request.
fn ask_tls(address: std::net::SocketAddr, protocol: &[u8]) -> serde_json::Value {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fixture("certificate.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        let request = http::Request::get("https://localhost/public/x?y=z");
        if protocol == b"h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            let sent = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await;
            read(sent.unwrap()).await
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request = request.header("host", "localhost").body(Empty::<Bytes>::new());
            read(sender.send_request(request.unwrap()).await.unwrap()).await
        }
    })
}

async fn read(response: http::Response<hyper::body::Incoming>) -> serde_json::Value {
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

/// What becomes of a handshake in which a client offers TLS 1.2 and this cipher alone.
fn shake_hands(
    address: std::net::SocketAddr,
    cipher: rustls::SupportedCipherSuite,
) -> Result<(), String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fixture("certificate.pem")).unwrap()).unwrap();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![cipher];
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut stream).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// FAPI 2.0 Security Profile §5.2.2; BCP 195 (RFC 9325) §4.2.
#[test]
fn handshakes_that_come_to_nothing_are_counted_by_their_reason() {
    let mut plan = Plan::with(echo::start());
    plan.config.tls = Some(tls());
    let world = plan.start();
    let count = |reason: &str| {
        let name = "tls_handshake_failures_total";
        let line = format!("{name}{{listener=\"gateway\",reason=\"{reason}\"}} ");
        let metrics = world.metrics();
        let found = metrics.lines().find_map(|it| it.strip_prefix(&line));
        found.unwrap_or_else(|| panic!("no {reason} in {metrics}")).parse::<u64>().unwrap()
    };
    assert_eq!(count("not_tls"), 0);
    // Whoever speaks plain HTTP is told by an alert, and the connection ends.
    let mut plain = TcpStream::connect(world.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let _ = plain.read_to_end(&mut Vec::new());
    while count("not_tls") == 0 {
        thread::yield_now();
    }
    // Whoever does not believe the certificate says so.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(world.address).unwrap();
    while client.complete_io(&mut stream).is_ok() {}
    while client.wants_write() {
        client.write_tls(&mut stream).unwrap();
    }
    while count("certificate_refused") == 0 {
        thread::yield_now();
    }
    drop(TcpStream::connect(world.address).unwrap());
    while count("closed") == 0 {
        thread::yield_now();
    }
}

#[test]
fn tls_1_2_is_spoken_with_the_recommended_ciphers_alone() {
    let mut plan = impatient(echo::start());
    plan.config.tls = Some(tls());
    let world = plan.start();
    let ours = |cipher: &rustls::SupportedCipherSuite| {
        // The certificate of the tests has a key of one of both kinds.
        cipher.tls13().is_none() && shake_hands(world.address, *cipher).is_ok()
    };
    let all = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
    let spoken: Vec<_> = all.iter().filter(|cipher| ours(cipher)).collect();
    assert_eq!(spoken.len(), 2, "{spoken:?}");
    for cipher in spoken {
        let name = format!("{:?}", cipher.suite());
        assert!(name.contains("ECDHE") && name.contains("_GCM_"), "{name}");
    }
}

#[test]
fn tls_carries_both_versions_of_http() {
    let mut plan = impatient(echo::start());
    plan.config.tls = Some(tls());
    let world = plan.start();
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let seen = ask_tls(world.address, protocol);
        assert_eq!((&seen["path"], &seen["query"]), (&"/x".into(), &"y=z".into()));
        let fields = seen["headers"].to_string();
        assert!(fields.contains(r#"["x-forwarded-proto","https"]"#), "{fields}");
        assert!(fields.contains(r#"["x-forwarded-host","localhost"]"#), "{fields}");
    }
    // Whoever does not speak TLS is not served.
    let mut client = Client::to(world.address);
    client.write(get("/public/x", &[]));
    assert!(client.answer().is_none());
}

#[test]
fn services_are_reached_with_tls_where_their_certificate_counts() {
    let mut inner = impatient(echo::start());
    inner.config.tls = Some(tls());
    let inner = inner.start();
    let mut outer = impatient("127.0.0.1:1".parse().unwrap());
    let upstream = format!("https://localhost:{}", inner.address.port());
    outer.config.public = Some(upstream.parse().unwrap());
    outer.config.public_paths = vec!["/public".into()];
    outer.config.upstream.ca_file = Some(fixture("certificate.pem"));
    let outer = outer.start();
    let answer = outer.ask(&get("/public/x", &[]));
    assert_eq!(answer.json()["path"], "/x");
    // By its address it is somebody whose name is not `localhost`, yet in the certificate.
    let by_name = outer.ask(&request("POST", "/public/y", &[], "body"));
    assert_eq!(by_name.json()["body"], "body");
}

#[test]
fn http2_requests_pass_the_same_phases() {
    let world = impatient(echo::start()).start();
    let token = world.token();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let mut ask = |path: &str, fields: &[(&str, &str)]| {
            let mut request = http::Request::get(format!("http://gateway.example{path}"));
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            sender.send_request(request.body(Empty::<Bytes>::new()).unwrap())
        };
        let bearer = format!("Bearer {token}");
        let long = "v".repeat(8193);
        let many: Vec<_> = (0..101).map(|_| ("x-many", "1")).collect();
        type Fields<'f> = &'f [(&'f str, &'f str)];
        let cases: [(&str, Fields<'_>, u16); 8] = [
            ("/echo/x", &[("authorization", &bearer)], 200),
            ("/echo/x", &[], 401),
            ("/public/x", &[("x_user_id", "forged")], 200),
            ("/public/%2e%2e/x", &[], 400),
            ("/public/x", &[("host", "other.example")], 400),
            ("/public/x", &[("x-long", &long)], 431),
            ("/public/x", &many, 431),
            ("/nowhere", &[], 404),
        ];
        for (path, fields, status) in cases {
            let response = ask(path, fields).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(!String::from_utf8_lossy(&body).contains("forged"));
        }
        // Many at once, on one connection.
        let all: Vec<_> = (0..200).map(|_| ask("/public/x", &[])).collect();
        for response in all {
            assert_eq!(response.await.unwrap().status(), 200);
        }
    });
}

/// A body that does not say how long it is.
struct Unsized(Option<Bytes>);

impl http_body::Body for Unsized {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(http_body::Frame::data).map(Ok))
    }
}

#[test]
fn bodies_and_cookies_of_http2_arrive_whole() {
    let world = impatient(echo::start()).start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        for method in ["GET", "POST"] {
            // Browsers send cookies in crumbs (RFC 9113 §8.2.3).
            let request = http::Request::builder()
                .method(method)
                .uri("http://gateway.example/public/x")
                .header("cookie", "a=b")
                .header("cookie", "session_id=x")
                .header("cookie", "c=d");
            let body = Unsized(Some(Bytes::from_static(b"body")));
            let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
            let seen = read(response).await;
            assert_eq!(seen["body"], "body", "{method}");
            let fields = seen["headers"].to_string();
            assert!(fields.contains(r#"["cookie","a=b; c=d"]"#), "{fields}");
        }
    });
}
