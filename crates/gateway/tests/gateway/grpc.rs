//! Services that speak HTTP/2: trailers, streams in both directions, and connections that carry many requests.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::{
    echo, framed,
    world::{Plan, World, get, request},
};

pub(crate) type Body = BoxBody<Bytes, std::convert::Infallible>;

fn plan(address: std::net::SocketAddr) -> Plan {
    let mut plan = Plan::with(echo::start());
    plan.real_time = true;
    plan.declared = vec![framed::declared("framed", address)];
    plan.routes = json!([
        {"path": "/framed", "service": "framed", "auth": "none"},
        {"path": "/own", "service": "framed"},
        {"path": "/public", "service": "echo", "auth": "none"},
    ]);
    plan
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

pub(crate) async fn client(world: &World) -> SendRequest<Body> {
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn call(path: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://gateway.example{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

pub(crate) fn whole(text: &'static str, trailers: &[(&'static str, &str)]) -> Body {
    let mut map = HeaderMap::new();
    for (name, value) in trailers {
        map.append(*name, value.parse().unwrap());
    }
    let behind = (!map.is_empty()).then_some(Ok(map));
    Full::new(Bytes::from_static(text.as_bytes())).with_trailers(async { behind }).boxed()
}

pub(crate) fn field<'v>(fields: &'v Value, name: &str) -> Option<&'v str> {
    fields.as_array()?.iter().find(|field| field[0] == name)?[1].as_str()
}

#[test]
fn grpc_unary_streams_and_trailers_arrive() {
    let world = plan(framed::start()).start();
    block_on(async {
        let mut sender = client(&world).await;
        let unary = sender.send_request(call("/framed/x", whole("asked", &[]))).await.unwrap();
        assert_eq!(unary.status(), 200);
        let answer = unary.into_body().collect().await.unwrap();
        let trailers = answer.trailers().cloned().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"0".parse().unwrap(), &"fine".parse().unwrap())
        );
        let seen: Value = serde_json::from_slice(&answer.to_bytes()).unwrap();
        assert_eq!((&seen["body"], &seen["path"]), (&"asked".into(), &"/x".into()));
        assert_eq!(seen["scheme"], "http");
        assert_eq!(field(&seen["headers"], "te"), Some("trailers"));
        for name in ["host", "connection", "transfer-encoding"] {
            assert_eq!(field(&seen["headers"], name), None, "{name}");
        }
        // An answer of trailers alone.
        let only = sender.send_request(call("/framed/only", whole("", &[]))).await.unwrap();
        assert_eq!(only.headers()["grpc-status"], "5");
        // Each part arrives before the next is sent, in both directions.
        let (hand, mut parts) = tokio::sync::mpsc::unbounded_channel::<Frame<Bytes>>();
        let stream =
            futures_util::stream::poll_fn(move |cx| parts.poll_recv(cx).map(|it| it.map(Ok)));
        let body = http_body_util::BodyExt::boxed(StreamBody::new(stream));
        let answered = sender.send_request(call("/framed/stream", body));
        hand.send(Frame::data(Bytes::from_static(b"first"))).unwrap();
        let mut body = answered.await.unwrap().into_body();
        let next = async |body: &mut hyper::body::Incoming| {
            body.frame().await.unwrap().unwrap().into_data().unwrap()
        };
        assert_eq!(next(&mut body).await, "first");
        for round in 0..20 {
            let part = Bytes::from(format!("part {round}"));
            hand.send(Frame::data(part.clone())).unwrap();
            assert_eq!(next(&mut body).await, part);
        }
        drop(hand);
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        // What the gateway itself refuses.
        let refused = sender.send_request(call("/own/x", whole("", &[]))).await.unwrap();
        assert_eq!(refused.status(), 401);
    });
    // A client of HTTP/1.1, with and without a body.
    let seen = world.ask(&get("/framed/x?y=z", &[])).json();
    assert_eq!((&seen["method"], &seen["body"]), (&"GET".into(), &"".into()));
    assert_eq!(field(&seen["headers"], "te"), None);
    let seen = world.ask(&request("POST", "/framed/x", &[], "body")).json();
    assert_eq!(seen["body"], "body");
    let chunked = "POST /framed/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\nbody\r\n0\r\nX-Checksum: c\r\nX-User-ID: forged\r\n\r\n";
    let seen = world.ask(chunked).json();
    assert_eq!((&seen["body"], field(&seen["trailers"], "x-user-id")), (&"body".into(), None));
}

#[test]
fn trailers_name_nobody() {
    let world = plan(framed::start()).start();
    block_on(async {
        let mut sender = client(&world).await;
        let behind = [
            ("x-checksum", "c"),
            ("x-user-id", "forged"),
            ("x-internal-token", "forged"),
            ("authorization", "Bearer forged"),
            ("cookie", "session_id=forged"),
            ("content-length", "0"),
            ("host", "forged"),
        ];
        let answer = sender.send_request(call("/framed/x", whole("b", &behind))).await.unwrap();
        let answer = answer.into_body().collect().await.unwrap();
        let mut trailers: Vec<_> =
            answer.trailers().unwrap().keys().map(|it| it.as_str()).collect();
        trailers.sort_unstable();
        assert_eq!(trailers, ["grpc-message", "grpc-status"]);
        let seen: Value = serde_json::from_slice(&answer.to_bytes()).unwrap();
        assert_eq!(seen["trailers"], json!([["x-checksum", "c"]]));
        // To a service of HTTP/1.1 none pass.
        let answer = sender.send_request(call("/public/x", whole("b", &behind))).await.unwrap();
        let seen: Value =
            serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes())
                .unwrap();
        assert!(!seen.to_string().contains("forged") && seen["body"] == "b", "{seen}");
        // More than anybody needs.
        let names: Vec<String> = (0..300).map(|number| format!("x-{number}")).collect();
        let mut map = HeaderMap::new();
        for name in &names {
            map.insert(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                "1".parse().unwrap(),
            );
        }
        let body = Full::new(Bytes::from_static(b"b")).with_trailers(async { Some(Ok(map)) });
        let refused = sender.send_request(call("/framed/x", body.boxed())).await;
        assert!(refused.is_err() || refused.unwrap().status() == 400);
        let fine = sender.send_request(call("/framed/x", whole("b", &[]))).await.unwrap();
        assert_eq!(fine.status(), 200);
    });
}

#[test]
fn many_requests_share_a_connection_up_to_what_the_service_takes() {
    for (streams, most) in [(200, 1), (4, 8)] {
        let (address, counts) = framed::counted(streams, usize::MAX);
        let world = plan(address).start();
        block_on(async {
            let mut sender = client(&world).await;
            let warm = sender.send_request(call("/framed/x", whole("b", &[]))).await.unwrap();
            warm.into_body().collect().await.unwrap();
            let all: Vec<_> =
                (0..30).map(|_| sender.send_request(call("/framed/x", whole("b", &[])))).collect();
            for answer in all {
                let answer = answer.await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.unwrap();
            }
        });
        let opened = counts.connections.load(Ordering::SeqCst);
        assert!((1..=most).contains(&opened), "{opened} connections for {streams} streams");
        assert_eq!(counts.requests.load(Ordering::SeqCst), 31);
    }
}

#[test]
fn a_goaway_of_the_service_costs_no_request() {
    let (address, counts) = framed::counted(100, 5);
    let world = plan(address).start();
    let mut asking = world.connect();
    for number in 0..60 {
        let answer = asking.ask(&request("POST", "/framed/x", &[], "body"));
        assert_eq!(answer.status, 200, "{number}");
    }
    assert_eq!(counts.requests.load(Ordering::SeqCst), 60);
    assert!(counts.connections.load(Ordering::SeqCst) >= 60 / 6);
}

#[test]
fn a_service_that_does_not_speak_it_is_502_and_one_that_is_silent_is_504() {
    let mut plan = plan(echo::start());
    plan.config.upstream.answer = Duration::from_millis(300);
    // That it does not is known at once, and not when connecting has taken too long.
    plan.config.upstream.connect = Duration::from_secs(60);
    let world = plan.start();
    let answer = world.ask(&get("/framed/x", &[]));
    assert_eq!((answer.status, answer.problem().as_str()), (502, "service_unreachable"));
    let mut plan = self::plan(framed::start());
    plan.config.upstream.answer = Duration::from_millis(300);
    let world = plan.start();
    let answer = world.ask(&get("/framed/hold", &[]));
    assert_eq!((answer.status, answer.problem().as_str()), (504, "service_late"));
    assert_eq!(world.ask(&get("/framed/x", &[])).status, 200);
}

#[test]
fn a_connection_on_which_somebody_waited_in_vain_takes_nobody_else() {
    let (address, counts) = framed::counted(200, usize::MAX);
    let mut plan = plan(address);
    plan.routes = json!([
        {"path": "/framed", "service": "framed", "auth": "none", "timeout": "300ms"},
    ]);
    let world = plan.start();
    assert_eq!(world.ask(&get("/framed/x", &[])).status, 200);
    assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
    let answer = world.ask(&get("/framed/hold", &[]));
    assert_eq!((answer.status, answer.problem().as_str()), (504, "service_late"));
    assert_eq!(world.ask(&get("/framed/x", &[])).status, 200);
    assert_eq!(counts.connections.load(Ordering::SeqCst), 2);
}

#[test]
fn checks_of_a_service_leave_no_connection_behind() {
    let (address, counts) = framed::counted(200, usize::MAX);
    let mut plan = plan(address);
    for declared in &mut plan.declared {
        declared.health =
            serde_json::from_value(json!({"path": "/framed", "interval": "10ms"})).unwrap();
    }
    let _world = plan.start();
    let most = || counts.connections.load(Ordering::SeqCst) >= 20;
    while !most() {
        std::thread::yield_now();
    }
    let open = counts.open.load(Ordering::SeqCst);
    assert!(open < 10, "{open} connections are open");
}

#[test]
fn clients_that_do_not_read_hold_back_no_others() {
    let (address, counts) = framed::counted(200, usize::MAX);
    let world = plan(address).start();
    let mut idle = Vec::new();
    for _ in 0..60 {
        let mut client = world.connect();
        client.write(get("/framed/endless", &[]));
        assert_eq!(client.head().unwrap().0, 200);
        idle.push(client);
    }
    // Until every buffer on the way is full, and after.
    for _ in 0..20 {
        assert_eq!(world.ask(&request("POST", "/framed/x", &[], "body")).json()["body"], "body");
        assert!(world.connect().is_quiet());
    }
    assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
}
