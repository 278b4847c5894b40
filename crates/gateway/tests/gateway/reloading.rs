//! What is replaced while it serves: settings, certificates, authorities. The next request finds it, and
//! none that has begun is disturbed.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rustls::{ClientConnection, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use serde_json::json;
use tegata_gateway::{Config, config::Tls};
use tegata_mesh::DeclaredService;

use crate::{
    echo,
    world::{Client, Plan, World, get, request},
};

/// Has the gateway take over what `change` makes of what it was started with.
fn reconfigure(world: &World, was: &Config, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = was.clone();
    change(&mut config);
    world.gateway.reconfigure(&config).unwrap();
    config
}

#[test]
fn what_can_change_is_there_for_the_next_request_and_for_none_that_has_begun() {
    let (plan, was) = planned(echo::start());
    let world = plan.start();
    let mut client = world.connect();
    let head = "POST /public/x HTTP/1.1\r\nHost: gateway.example\r\nContent-Length: 9\r\n\r\n";
    client.write(head);
    client.write("1234");
    // Somebody else is served behind it, so it has begun.
    assert_eq!(world.ask(&get("/public/x", &[("Origin", "https://app.example")])).status, 200);
    let now = reconfigure(&world, &was, |it| {
        it.limits.body = 4;
        it.cors.origins = vec!["https://app.example".to_owned()];
        it.hosts = vec!["gateway.example".to_owned()];
    });
    client.write("56789");
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("123456789")));
    // The same connection, and the next request.
    assert_eq!(client.ask(&request("POST", "/public/x", &[], "12345")).status, 413);
    let answer = world.ask(&get("/public/x", &[("Origin", "https://app.example")]));
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://app.example"));
    let elsewhere = "GET /public/x HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n";
    assert_eq!(world.ask(elsewhere).status, 421);
    // Another map is taken over with the settings that count now, and the settings with that map.
    let mut plan = Plan::with(echo::start());
    plan.routes = json!([{"path": "/other", "service": "echo", "auth": "none"}]);
    world.gateway.replace(&plan.map(), vec![]).unwrap();
    assert_eq!(world.ask(&request("POST", "/other/x", &[], "12345")).status, 413);
    reconfigure(&world, &now, |it| it.limits.body = 5);
    assert_eq!(world.ask(&request("POST", "/other/x", &[], "12345")).status, 200);
    assert_eq!(world.ask(&get("/public/x", &[])).status, 404);
}

#[test]
fn who_is_believed_about_the_client_changes_with_the_next_request() {
    let (plan, was) = planned(echo::start());
    let world = plan.start();
    let client = |world: &World| {
        let answer = world.ask(&get("/public/x", &[("X-Forwarded-For", "192.0.2.7")]));
        answer.seen("x-forwarded-for").unwrap()
    };
    assert_eq!(client(&world), "127.0.0.1");
    reconfigure(&world, &was, |it| it.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]);
    assert!(client(&world).starts_with("192.0.2.7"));
    reconfigure(&world, &was, |_| ());
    assert_eq!(client(&world), "127.0.0.1");
}

#[test]
fn what_cannot_change_stays_and_what_cannot_be_used_changes_nothing() {
    let (plan, was) = planned(echo::start());
    let world = plan.start();
    // These are what it was started with.
    reconfigure(&world, &was, |it| {
        it.workers = 7;
        it.public = Some("http://127.0.0.1:1".parse().unwrap());
        it.private_cookies = vec![];
        it.internal.issuer = "somebody-else".to_owned();
    });
    assert_eq!(world.ask(&get("/login", &[])).status, 404);
    let mut config = was;
    config.limits.body = 1;
    config.upstream.ca_file = Some(PathBuf::from("/nowhere/ca.pem"));
    let error = world.gateway.reconfigure(&config).unwrap_err();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    assert_eq!(world.ask(&request("POST", "/public/x", &[], "12345")).status, 200);
}

#[test]
fn limits_below_what_is_in_use_take_nothing_away_and_give_nothing_more() {
    let (service, streams) = held();
    let (mut plan, mut was) = planned(service);
    plan.config.limits.connections_exempt = vec![];
    was.limits.connections_exempt = vec![];
    let world = plan.start();
    let mut busy: Vec<_> = (0..3).map(|_| world.connect()).collect();
    let mut services = Vec::new();
    for client in &mut busy {
        client.write(get("/public/x", &[]));
        services.push(streams.recv().unwrap());
    }
    reconfigure(&world, &was, |it| {
        it.limits.connections_per_address = 4;
        it.upstream.connections = 2;
    });
    let mut one_more = world.connect();
    assert!(one_more.ask(&get("/health", &[])).status == 200 && world.connect().is_closed());
    reconfigure(&world, &was, |it| it.limits.connections_per_address = 2);
    assert!(world.connect().is_closed());
    // Nobody is cut off.
    for (client, mut service) in busy.iter_mut().zip(services) {
        service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert_eq!(client.answer().unwrap().status, 200);
    }
    // All of it is let in again.
    reconfigure(&world, &was, |_| ());
    assert_eq!(world.connect().ask(&get("/health", &[])).status, 200);
}

#[test]
fn the_part_of_a_rate_that_has_been_used_stays_used_whatever_the_rate_is() {
    let (plan, was) = planned(echo::start());
    let world = plan.start();
    let rate = |rate: &str| {
        reconfigure(&world, &was, |it| it.limits.per_address = Some(rate.parse().unwrap()));
    };
    let ask = || world.ask(&get("/public/x", &[])).status;
    rate("10/m");
    assert!((0..8).all(|_| ask() == 200));
    // Of five, a fifth is left.
    rate("5/m");
    assert_eq!((ask(), ask()), (200, 429));
    // It comes back at the pace that counts now, and nobody waits for that of before.
    rate("100/m");
    assert_eq!(ask(), 429);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(), 200);
}

#[test]
fn reload_under_load_fails_no_request() {
    let (mut plan, was) = planned(echo::start());
    plan.config.workers = 2;
    plan.real_time = true;
    let world = plan.start();
    let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let map = Plan::with(echo::start()).map();
    thread::scope(|threads| {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (over, asked, address) = (&over, &asked, world.address);
                threads.spawn(move || {
                    let mut kept = Client::to(address);
                    while !over.load(Ordering::SeqCst) {
                        // Half of them on connections of their own.
                        if number % 2 == 0 {
                            kept = Client::to(address);
                        }
                        let answer = kept.ask(&request("POST", "/public/x", &[], "some body"));
                        assert_eq!(answer.status, 200, "{answer:?}");
                        asked.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let mut round: u32 = 0;
        // As many as can be while a good number of requests come, all kinds at once.
        while asked.load(Ordering::SeqCst) < 4000 && !clients.iter().any(|it| it.is_finished()) {
            round += 1;
            reconfigure(&world, &was, |it| {
                it.limits.body = 1000 + u64::from(round);
                it.limits.connections_per_address = usize::try_from(500 + round % 7).unwrap();
                it.deadlines.client = Duration::from_secs(u64::from(5 + round % 3));
                it.upstream.connections = usize::try_from(100 + round % 5).unwrap();
                it.cors.origins = vec![format!("https://{round}.example")];
            });
            if round.is_multiple_of(2) {
                world.gateway.replace(&map, vec![]).unwrap();
            }
        }
        over.store(true, Ordering::SeqCst);
        assert!(round > 20, "{round}");
    });
}

#[test]
fn a_renewed_certificate_is_shown_to_the_next_and_disturbs_nobody() {
    let place = tempfile::tempdir().unwrap();
    let files = files(place.path());
    let (old, new) = (certificate(), certificate());
    write(&files, &old);
    let (service, streams) = held();
    let mut plan = Plan::with(service);
    plan.real_time = true;
    plan.config.tls = Some(files.clone());
    let world = plan.start();
    let mut kept = shake(world.address, &old);
    let mut busy = shake(world.address, &old);
    busy.write_all(get("/public/x", &[]).as_bytes()).unwrap();
    let mut service = streams.recv().unwrap();
    // In the middle of its handshake: the hello is on its way.
    let mut halfway = client(&old);
    let mut stream = TcpStream::connect(world.address).unwrap();
    halfway.write_tls(&mut stream).unwrap();
    let mut first = [0; 1];
    stream.peek(&mut first).unwrap();
    // One file is there, and the other not yet.
    fs::write(&files.certificate_file, old_and_new(&new).0).unwrap();
    assert!(world.gateway.renew_certificate().is_err());
    drop(shake(world.address, &old));
    write(&files, &new);
    assert!(world.gateway.renew_certificate().unwrap());
    assert!(!world.gateway.renew_certificate().unwrap());
    let mut next = shake(world.address, &new);
    assert_eq!(ask(&mut next, &get("/health", &[])), 200);
    while halfway.is_handshaking() {
        halfway.complete_io(&mut stream).unwrap();
    }
    for stream in [&mut StreamOwned::new(halfway, stream), &mut kept] {
        assert_eq!(ask(stream, &get("/health", &[])), 200);
    }
    service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!(answered(&mut busy), 200);
}

#[test]
fn the_authorities_of_services_are_read_anew() {
    let place = tempfile::tempdir().unwrap();
    let (trusted, other) = (certificate(), certificate());
    let ca = place.path().join("ca.pem");
    fs::write(&ca, other.cert.pem()).unwrap();
    let mut plan = Plan::with(echo::start());
    plan.real_time = true;
    plan.config.upstream.ca_file = Some(ca.clone());
    // Asked again at once, it is tried again at once.
    plan.config.upstream.avoid = Duration::from_millis(1);
    plan.declared = vec![DeclaredService {
        name: "secure".into(),
        upstreams: vec![format!("https://localhost:{}", with_tls(&trusted).port())],
        ..DeclaredService::default()
    }];
    plan.routes = json!([{"path": "/secure", "service": "secure", "auth": "none"}]);
    let world = plan.start();
    let asked = || world.ask(&get("/secure/x", &[])).status;
    assert_eq!(asked(), 502);
    assert!(world.gateway.renew_outward().unwrap().is_empty());
    fs::write(&ca, trusted.cert.pem()).unwrap();
    assert_eq!(world.gateway.renew_outward().unwrap(), ["upstream.ca_file"]);
    assert_eq!(asked(), 200);
    // What is none leaves those that were.
    fs::write(&ca, "nothing").unwrap();
    assert!(world.gateway.renew_outward().is_err());
    assert_eq!(asked(), 200);
    // Who is trusted no longer is not reached, on connections of before neither.
    fs::write(&ca, other.cert.pem()).unwrap();
    assert_eq!(world.gateway.renew_outward().unwrap(), ["upstream.ca_file"]);
    assert_eq!(asked(), 502);
}

/// A plan, and its configuration.
fn planned(service: SocketAddr) -> (Plan, Config) {
    let plan = Plan::with(service);
    let config = plan.config.clone();
    (plan, config)
}

/// A service that answers when the test does.
fn held() -> (SocketAddr, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (hand, streams) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            if hand.send(stream).is_err() {
                break;
            }
        }
    });
    (address, streams)
}

/// A service that answers every request over TLS.
fn with_tls(own: &rcgen::CertifiedKey<rcgen::KeyPair>) -> SocketAddr {
    let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            thread::spawn(move || {
                while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
            });
        }
    });
    address
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap()
}

fn files(place: &Path) -> Tls {
    Tls { certificate_file: place.join("certificate.pem"), key_file: place.join("key.pem") }
}

fn old_and_new(own: &rcgen::CertifiedKey<rcgen::KeyPair>) -> (String, String) {
    (own.cert.pem(), own.signing_key.serialize_pem())
}

fn write(files: &Tls, own: &rcgen::CertifiedKey<rcgen::KeyPair>) {
    let (certificate, key) = old_and_new(own);
    fs::write(&files.certificate_file, certificate).unwrap();
    fs::write(&files.key_file, key).unwrap();
}

/// A client that believes this certificate and no other.
fn client(shown: &rcgen::CertifiedKey<rcgen::KeyPair>) -> ClientConnection {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(shown.cert.der().to_vec())).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
}

type Secure = StreamOwned<ClientConnection, TcpStream>;

fn shake(address: SocketAddr, shown: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Secure {
    let mut client = client(shown);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut stream).unwrap();
    }
    StreamOwned::new(client, stream)
}

fn ask(stream: &mut Secure, text: &str) -> u16 {
    stream.write_all(text.as_bytes()).unwrap();
    answered(stream)
}

/// The status of the next answer, which is read in one piece.
fn answered(stream: &mut Secure) -> u16 {
    let mut bytes = [0; 4096];
    let read = stream.read(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}
