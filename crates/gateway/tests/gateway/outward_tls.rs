//! TLS toward services: they see our certificate, and we see whose theirs is.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, crypto::aws_lc_rs, server::WebPkiClientVerifier,
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::{
    framed::{self, Counts},
    grpc::{block_on, call, client, field, whole},
    world::{Answer, Plan, World, get, request},
};

type Authority = CertifiedIssuer<'static, KeyPair>;

const ID: &str = "spiffe://example.org/ns/shop/sa/orders";

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn leaf(of: &Authority, names: &[&str], uris: &[&str], ended: bool) -> Leaf {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    for uri in uris {
        params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
    }
    if ended {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, of).unwrap();
    Leaf { certificate, key }
}

/// A service that shows `leaf`, asks for a certificate of `clients`, and answers with the bytes of what
/// it was shown.
fn service(leaf: &Leaf, clients: Option<&Authority>) -> SocketAddr {
    let config = Arc::new(server(leaf, clients, &[]));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let config = Arc::clone(&config);
            thread::spawn(move || serve(stream.unwrap(), config));
        }
    });
    address
}

/// TLS of a service that shows `leaf`, asks for a certificate of `clients`, and speaks these protocols.
fn server(leaf: &Leaf, clients: Option<&Authority>, protocols: &[&str]) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(leaf.key.serialize_pem().as_bytes()).unwrap();
    let mut config = builder.with_single_cert(vec![leaf.certificate.der().clone()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn serve(mut stream: TcpStream, config: Arc<ServerConfig>) {
    let mut server = ServerConnection::new(config).unwrap();
    let mut tls = rustls::Stream::new(&mut server, &mut stream);
    loop {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if !matches!(tls.read(&mut byte), Ok(1)) {
                return;
            }
            seen.push(byte[0]);
        }
        let shown = tls.conn.peer_certificates().and_then(|chain| chain.first());
        let body = shown.map_or_else(Vec::new, |certificate| certificate.to_vec());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        if tls.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

fn write(at: &Path, text: &str) -> PathBuf {
    fs::write(at, text).unwrap();
    at.to_owned()
}

fn plan(services: &[(&str, SocketAddr, Value)]) -> Plan {
    let mut plan = Plan::with("127.0.0.1:1".parse().unwrap());
    let mut routes = Vec::new();
    for (name, address, words) in services {
        let mut declared = json!({"name": name, "upstreams": [format!("https://{address}")]});
        declared.as_object_mut().unwrap().extend(words.as_object().unwrap().clone());
        plan.declared.push(serde_json::from_value(declared).unwrap());
        routes.push(json!({"path": format!("/{name}"), "service": name, "auth": "none"}));
    }
    plan.routes = Value::from(routes);
    plan
}

fn ask(world: &World, name: &str) -> Answer {
    world.ask(&get(&format!("/{name}/x"), &[]))
}

#[test]
fn services_see_our_certificate_and_we_check_theirs() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (ours, theirs, strangers) =
        (authority("ours"), authority("theirs"), authority("strangers"));
    let (first, second) = (leaf(&ours, &[], &[], false), leaf(&ours, &[], &[], false));
    let ca = write(&at("ca.pem"), &theirs.pem());
    let shown = write(&at("client.pem"), &first.certificate.pem());
    let key = write(&at("client.key"), &first.key.serialize_pem());
    let words = json!({"ca_file": ca, "client_certificate_file": shown, "client_key_file": key});
    let with = |more: Value| {
        let mut words = words.clone();
        words.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        words
    };
    let by_name = with(json!({"server_name": "orders.internal"}));
    let by_id = with(json!({"spiffe_id": ID}));
    let here = ["orders.internal"];
    let serving = |of: &Authority, names: &[&str], uris: &[&str], ended: bool| {
        service(&leaf(of, names, uris, ended), Some(&ours))
    };
    let good = serving(&theirs, &here, &[], false);
    let cases = [
        ("named", good, by_name.clone(), 200),
        // The certificate has another name than the address, and nobody said which.
        ("address", good, words.clone(), 502),
        ("other-name", serving(&theirs, &["billing.internal"], &[], false), by_name.clone(), 502),
        ("other-authority", serving(&strangers, &here, &[], false), by_name.clone(), 502),
        ("ended", serving(&theirs, &here, &[], true), by_name.clone(), 502),
        // What names it as a workload, and nothing else does.
        ("workload", serving(&theirs, &[], &[ID], false), by_id.clone(), 200),
        (
            "other-workload",
            serving(&theirs, &here, &["spiffe://example.org/ns/shop/sa/a"], false),
            by_id.clone(),
            502,
        ),
        ("longer", serving(&theirs, &[], &[&format!("{ID}/x")], false), by_id.clone(), 502),
        ("both", serving(&theirs, &[], &[ID, "spiffe://example.org/x"], false), by_id.clone(), 502),
        ("no-workload", good, by_id.clone(), 502),
        ("strange-workload", serving(&strangers, &[], &[ID], false), by_id.clone(), 502),
        ("ended-workload", serving(&theirs, &[], &[ID], true), by_id, 502),
        // Nothing is shown where nothing is named, so that nobody else learns of it.
        ("unshown", good, json!({"ca_file": ca, "server_name": "orders.internal"}), 502),
        ("unasked", service(&leaf(&theirs, &here, &[], false), None), by_name, 200),
        ("missing", good, with(json!({"ca_file": at("none.pem")})), 502),
    ];
    let services: Vec<_> =
        cases.iter().map(|(name, address, words, _)| (*name, *address, words.clone())).collect();
    // What the configuration trusts counts for nobody who names files of their own.
    let mut plan = plan(&services);
    plan.config.upstream.ca_file = Some(write(&at("all.pem"), &(theirs.pem() + &strangers.pem())));
    let world = plan.start();
    for (name, _, _, status) in &cases {
        let answer = ask(&world, name);
        assert_eq!(answer.status, *status, "{name}: {answer:?}");
        let shown = if *name == "unasked" { &[][..] } else { first.certificate.der() };
        assert!(*status != 200 || answer.body == shown, "{name}");
    }
    // Another certificate is there, and its key not yet: the one from before goes on.
    let mut client = world.connect();
    let mut body = |path: &str| client.ask(&get(path, &[])).body;
    assert_eq!(body("/named/x"), first.certificate.der().to_vec());
    fs::write(&shown, second.certificate.pem()).unwrap();
    assert!(world.gateway.renew_outward().unwrap_err().contains("`named`"));
    assert_eq!(body("/named/x"), first.certificate.der().to_vec());
    fs::write(&key, second.key.serialize_pem()).unwrap();
    fs::write(at("none.pem"), theirs.pem()).unwrap();
    assert!(world.gateway.renew_outward().unwrap().contains(&"named".to_owned()));
    // Though the client's connection and the one behind it were open all the time.
    assert_eq!(body("/named/x"), second.certificate.der().to_vec());
    assert_eq!(world.gateway.renew_outward().unwrap(), Vec::<String>::new());
    // Whose authority is no longer trusted is not reached, on no connection that is left.
    fs::write(&ca, strangers.pem()).unwrap();
    world.gateway.renew_outward().unwrap();
    assert_eq!(ask(&world, "named").status, 502);
}

/// Whose certificates count where, and the files of the gateway.
struct Houses {
    ours: Authority,
    theirs: Authority,
    strangers: Authority,
    /// What the gateway shows.
    own: Leaf,
    place: tempfile::TempDir,
}

impl Houses {
    fn new() -> Self {
        let (ours, theirs, strangers) =
            (authority("ours"), authority("theirs"), authority("strangers"));
        let (own, place) = (leaf(&ours, &[], &[], false), tempfile::tempdir().unwrap());
        let houses = Self { ours, theirs, strangers, own, place };
        write(&houses.at("ca.pem"), &houses.theirs.pem());
        houses.shows(&houses.own);
        houses
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Has the gateway show this certificate.
    fn shows(&self, leaf: &Leaf) {
        write(&self.at("client.pem"), &leaf.certificate.pem());
        write(&self.at("client.key"), &leaf.key.serialize_pem());
    }

    /// The words of a service with `protocol = "h2"`.
    fn words(&self, more: &Value) -> Value {
        let mut words = json!({
            "protocol": "h2",
            "server_name": "greeter.internal",
            "ca_file": self.at("ca.pem"),
            "client_certificate_file": self.at("client.pem"),
            "client_key_file": self.at("client.key"),
        });
        let members = words.as_object_mut().unwrap();
        for (name, value) in more.as_object().unwrap() {
            match value {
                Value::Null => drop(members.remove(name)),
                value => drop(members.insert(name.clone(), value.clone())),
            }
        }
        words
    }

    /// A service that asks for a certificate of ours.
    fn greeter(&self, of: &Authority, protocols: &[&str]) -> (SocketAddr, Arc<Counts>) {
        let shown = leaf(of, &["greeter.internal"], &[], false);
        framed::secured(server(&shown, Some(&self.ours), protocols))
    }
}

fn text(certificate: &rcgen::Certificate) -> Value {
    Value::from(STANDARD.encode(certificate.der()))
}

async fn next(body: &mut Incoming) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}

#[test]
fn grpc_goes_over_tls_in_frames_and_the_service_sees_our_certificate() {
    let houses = Houses::new();
    let (address, counts) = houses.greeter(&houses.theirs, &["h2", "http/1.1"]);
    let mut plan = plan(&[("greeter", address, houses.words(&json!({})))]);
    plan.real_time = true;
    let world = plan.start();
    block_on(async {
        let mut sender = client(&world).await;
        let unary =
            sender.send_request(call("/greeter/x", whole("asked", &[("x-sum", "7")]))).await;
        let unary = unary.unwrap();
        assert_eq!(unary.status(), 200);
        let answer = unary.into_body().collect().await.unwrap();
        let trailers = answer.trailers().cloned().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"0".parse().unwrap(), &"fine".parse().unwrap())
        );
        // What belongs into a head passes behind no body.
        assert!(!trailers.contains_key("set-cookie") && !trailers.contains_key("x-user-id"));
        let seen: Value = serde_json::from_slice(&answer.to_bytes()).unwrap();
        assert_eq!((&seen["version"], &seen["scheme"]), (&"HTTP/2.0".into(), &"https".into()));
        assert_eq!(
            (&seen["body"], &seen["authority"]),
            (&"asked".into(), &address.to_string().into())
        );
        assert_eq!(field(&seen["trailers"], "x-sum"), Some("7"));
        assert_eq!(field(&seen["headers"], "te"), Some("trailers"));
        assert_eq!(seen["certificate"], text(&houses.own.certificate));
        let only = sender.send_request(call("/greeter/only", whole("", &[]))).await.unwrap();
        assert_eq!(only.headers()["grpc-status"], "5");
        // Each part arrives before the next is sent, while others ask on the same connection.
        let (hand, mut parts) = tokio::sync::mpsc::unbounded_channel::<Frame<Bytes>>();
        let stream =
            futures_util::stream::poll_fn(move |cx| parts.poll_recv(cx).map(|it| it.map(Ok)));
        let body = http_body_util::BodyExt::boxed(StreamBody::new(stream));
        let answered = sender.send_request(call("/greeter/stream", body));
        hand.send(Frame::data(Bytes::from_static(b"first"))).unwrap();
        let mut body = answered.await.unwrap().into_body();
        assert_eq!(next(&mut body).await, "first");
        let beside: Vec<_> =
            (0..30).map(|_| sender.send_request(call("/greeter/x", whole("b", &[])))).collect();
        for answer in beside {
            assert_eq!(answer.await.unwrap().status(), 200);
        }
        hand.send(Frame::data(Bytes::from_static(b"second"))).unwrap();
        assert_eq!(next(&mut body).await, "second");
        drop(hand);
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
    });
    // Whoever speaks HTTP/1.1 with the gateway is on the same connection.
    assert_eq!(ask(&world, "greeter").json()["version"], "HTTP/2.0");
    let [agreed, declined] = [&counts.agreed, &counts.declined].map(|it| it.load(Ordering::SeqCst));
    assert_eq!((agreed, declined), (1, 0));
}

#[test]
fn a_service_that_agrees_to_http_1_1_alone_is_spoken_to_so() {
    for protocols in [&["http/1.1"][..], &[]] {
        let houses = Houses::new();
        let (address, counts) = houses.greeter(&houses.theirs, protocols);
        let mut plan = plan(&[("greeter", address, houses.words(&json!({})))]);
        plan.real_time = true;
        let world = plan.start();
        for number in 0..3 {
            let path = format!("/greeter/x?number={number}");
            let seen = world.ask(&request("POST", &path, &[], "body")).json();
            assert_eq!((&seen["version"], &seen["body"]), (&"HTTP/1.1".into(), &"body".into()));
            assert_eq!(field(&seen["headers"], "host"), Some(address.to_string().as_str()));
            assert_eq!(seen["certificate"], text(&houses.own.certificate));
        }
        // One connection carries them one after the other.
        assert_eq!(counts.declined.load(Ordering::SeqCst), 1);
        block_on(async {
            let mut sender = client(&world).await;
            // Many at once, the last of them with a body of which nobody has said how long it is.
            let bodies = (0..8).map(|_| whole("asked", &[("x-sum", "7")]));
            let frame = Ok(Frame::data(Bytes::from_static(b"asked")));
            let unsaid = StreamBody::new(futures_util::stream::iter([frame]));
            let bodies = bodies.chain([http_body_util::BodyExt::boxed(unsaid)]);
            let all: Vec<_> =
                bodies.map(|body| sender.send_request(call("/greeter/x", body))).collect();
            for answer in all {
                let answer = answer.await.unwrap();
                assert_eq!(answer.status(), 200);
                let seen = answer.into_body().collect().await.unwrap().to_bytes();
                let seen: Value = serde_json::from_slice(&seen).unwrap();
                assert_eq!(
                    (&seen["version"], &seen["body"]),
                    (&"HTTP/1.1".into(), &"asked".into())
                );
                // Such a service is promised no trailers, and sent none.
                assert_eq!(field(&seen["headers"], "te"), None);
                assert_eq!(seen["trailers"], Value::Null);
            }
        });
        assert_eq!(counts.agreed.load(Ordering::SeqCst), 0);
        assert_eq!(counts.requests.load(Ordering::SeqCst), 12);
    }
}

#[test]
fn files_are_renewed_while_a_connection_carries_many() {
    let houses = Houses::new();
    let (address, counts) = houses.greeter(&houses.theirs, &["h2"]);
    let mut plan = plan(&[("greeter", address, houses.words(&json!({})))]);
    plan.real_time = true;
    let world = plan.start();
    let second = leaf(&houses.ours, &[], &[], false);
    let connections = || counts.agreed.load(Ordering::SeqCst);
    block_on(async {
        let mut sender = client(&world).await;
        let (hand, mut parts) = tokio::sync::mpsc::unbounded_channel::<Frame<Bytes>>();
        let stream =
            futures_util::stream::poll_fn(move |cx| parts.poll_recv(cx).map(|it| it.map(Ok)));
        let body = http_body_util::BodyExt::boxed(StreamBody::new(stream));
        let answered = sender.send_request(call("/greeter/stream", body));
        hand.send(Frame::data(Bytes::from_static(b"before"))).unwrap();
        let mut body = answered.await.unwrap().into_body();
        assert_eq!(next(&mut body).await, "before");
        let mut shown = async || {
            let answer = sender.send_request(call("/greeter/x", whole("b", &[]))).await.unwrap();
            let status = answer.status().as_u16();
            let seen = answer.into_body().collect().await.unwrap().to_bytes();
            let seen: Value = serde_json::from_slice(&seen).unwrap();
            (status, seen)
        };
        assert_eq!(shown().await.1["certificate"], text(&houses.own.certificate));
        assert_eq!(connections(), 1);
        // Another certificate: the next request shows it, on another connection.
        houses.shows(&second);
        assert_eq!(world.gateway.renew_outward().unwrap(), ["greeter"]);
        for _ in 0..3 {
            assert_eq!(shown().await.1["certificate"], text(&second.certificate));
        }
        assert_eq!(connections(), 2);
        // Whoever signed the service's is trusted no longer: it is not reached, on no connection that is left.
        write(&houses.at("ca.pem"), &houses.strangers.pem());
        assert_eq!(world.gateway.renew_outward().unwrap(), ["greeter"]);
        let (status, problem) = shown().await;
        assert_eq!(
            (status, &problem["type"]),
            (502, &"urn:tegata:problem:service_unreachable".into())
        );
        assert_eq!(problem["detail"], "service `greeter` cannot be reached");
        assert_eq!(connections(), 2);
        // What was under way goes on where it began.
        hand.send(Frame::data(Bytes::from_static(b"after"))).unwrap();
        assert_eq!(next(&mut body).await, "after");
        drop(hand);
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
    });
}

#[test]
fn a_service_in_frames_that_is_not_who_it_should_be_is_502_and_named() {
    let houses = Houses::new();
    let good = houses.greeter(&houses.theirs, &["h2"]);
    let strange = houses.greeter(&houses.strangers, &["h2"]);
    let elsewhere = houses.greeter(&houses.theirs, &["h3"]);
    let nothing = json!({"client_certificate_file": null, "client_key_file": null});
    let cases = [
        ("good", &good, json!({}), 200),
        ("other-authority", &strange, json!({}), 502),
        ("other-name", &good, json!({"server_name": "billing.internal"}), 502),
        ("address", &good, json!({"server_name": null}), 502),
        ("workload", &good, json!({"server_name": null, "spiffe_id": ID}), 502),
        // It asks for a certificate, and is shown none.
        ("unshown", &good, nothing, 502),
        // It speaks neither of the two.
        ("other-protocol", &elsewhere, json!({}), 502),
    ];
    let services: Vec<_> = cases
        .iter()
        .map(|(name, (address, _), more, _)| (*name, *address, houses.words(more)))
        .collect();
    let mut plan = plan(&services);
    plan.real_time = true;
    let world = plan.start();
    for (name, _, _, status) in &cases {
        let answer = ask(&world, name);
        assert_eq!(answer.status, *status, "{name}: {answer:?}");
        if *status == 502 {
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(&format!("service `{name}`")), "{detail}");
        }
    }
    let asked = [&good, &strange, &elsewhere].map(|(_, it)| it.requests.load(Ordering::SeqCst));
    assert_eq!(asked, [1, 0, 0], "a service that is not reached sees nothing");
}
