//! Streams without an end: server-sent events, and uploads that a service takes slowly.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tegata_core::SessionId;
use tegata_token::revocation::Target;

use crate::world::{Plan, get};

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A service that hands the test its connection once it has read a request's head.
fn service() -> (SocketAddr, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (hand, streams) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if !matches!(stream.read(&mut byte), Ok(1)) {
                    break;
                }
                head.push(byte[0]);
            }
            if hand.send(stream).is_err() {
                break;
            }
        }
    });
    (address, streams)
}

fn plan(address: SocketAddr) -> Plan {
    let mut plan = Plan::with(address);
    plan.routes = json!([
        {"path": "/public", "service": "echo", "auth": "none"},
        {"path": "/quiet", "service": "echo", "auth": "none", "idle_timeout": "10m"},
    ]);
    plan
}

fn send(service: &mut TcpStream, event: &str) {
    service.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).unwrap();
}

#[test]
fn events_arrive_one_by_one_over_both_versions() {
    let (address, streams) = service();
    let world = plan(address).start();
    let events: Vec<String> = (0..10).map(|number| format!("data: {number}\n\n")).collect();
    let mut client = world.connect();
    client.write(get("/quiet/x", &[("Accept", "text/event-stream")]));
    let mut service = streams.recv().unwrap();
    service.write_all(HEAD).unwrap();
    assert_eq!(client.head().unwrap().0, 200);
    for event in &events {
        send(&mut service, event);
        assert_eq!(client.chunk().unwrap(), event.as_bytes());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let asked = http::Request::get("http://gateway.example/quiet/x");
        let answered =
            tokio::spawn(sender.send_request(asked.body(Empty::<Bytes>::new()).unwrap()));
        let mut service =
            tokio::task::spawn_blocking(move || streams.recv().unwrap()).await.unwrap();
        service.write_all(HEAD).unwrap();
        let mut body = answered.await.unwrap().unwrap().into_body();
        for event in &events {
            send(&mut service, event);
            let came = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(came, event.as_bytes());
        }
    });
}

#[test]
fn a_stream_is_quiet_for_as_long_as_its_route_says_and_no_longer() {
    let (address, streams) = service();
    for (path, patience) in [("/public/x", 60), ("/quiet/x", 600)] {
        let world = plan(address).start();
        let mut client = world.connect();
        client.write(get(path, &[]));
        let mut service = streams.recv().unwrap();
        service.write_all(HEAD).unwrap();
        assert_eq!(client.head().unwrap().0, 200);
        for round in 0..3 {
            send(&mut service, "data: x\n\n");
            assert_eq!(client.chunk().unwrap(), b"data: x\n\n", "{path} {round}");
            // Long enough for the gateway to wait for the next.
            assert!(client.is_quiet());
            world.clock.advance(Duration::from_secs(patience - 5));
            assert!(client.is_quiet());
        }
        world.clock.advance(Duration::from_secs(patience));
        assert_eq!(client.chunk(), None, "{path}");
        assert!(client.is_closed());
    }
}

#[test]
fn a_stream_ends_when_what_it_was_asked_for_with_is_taken_back() {
    let (address, streams) = service();
    let mut plan = plan(address);
    plan.routes = json!([{"path": "/own", "service": "echo", "idle_timeout": "10h"}]);
    let world = plan.start();
    for talks in [false, true] {
        let sid = if talks { "1.30000.t" } else { "1.30000.s" };
        let mut claims = world.claims();
        claims["sid"] = sid.into();
        claims["exp"] = (world.now().secs() + 900).into();
        let token = format!("Bearer {}", world.sign(&claims));
        world.refresh_revocations();
        let mut client = world.connect();
        client.write(get("/own/x", &[("Authorization", &token)]));
        let mut service = streams.recv().unwrap();
        service.write_all(HEAD).unwrap();
        assert_eq!(client.head().unwrap().0, 200);
        for _ in 0..4 {
            send(&mut service, "data: x\n\n");
            assert_eq!(client.chunk().unwrap(), b"data: x\n\n");
            world.clock.advance(Duration::from_secs(400));
            assert!(client.is_quiet());
        }
        world.revoke(Target::Session(SessionId::new(sid).unwrap()));
        if talks {
            send(&mut service, "data: secret\n\n");
            // It may come or not.
            client.is_quiet();
        }
        world.clock.advance(Duration::from_secs(1));
        // What was on its way before it was known may still come; the end is none that was meant.
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains("\r\n0\r\n"), "{rest:?}");
        assert_eq!(service.read(&mut [0]).unwrap_or(0), 0);
    }
}

/// Large against every buffer on the way.
const LARGE: usize = 96 * 1024 * 1024;
const BUFFERS: usize = 32 * 1024 * 1024;

#[test]
fn an_upload_over_http2_waits_for_the_service_and_arrives_whole() {
    let (address, streams) = service();
    let mut plan = plan(address);
    plan.real_time = true;
    let world = plan.start();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (told, parts) = mpsc::channel();
    let stream = futures_util::stream::iter((0..LARGE / 65536).map(move |_| {
        let _ = told.send(());
        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b'u'; 65536])))
    }));
    let target = world.address;
    let answered = runtime.spawn(async move {
        let stream_to = tokio::net::TcpStream::connect(target).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream_to))
                .await
                .unwrap();
        tokio::spawn(connection);
        let asked = http::Request::post("http://gateway.example/public/x");
        let body = StreamBody::new(stream);
        sender.send_request(asked.body(body).unwrap()).await.unwrap().status()
    });
    let mut service = streams.recv().unwrap();
    service.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Until nothing more is taken.
    let mut before = 0;
    while parts.recv_timeout(Duration::from_millis(500)).is_ok() {
        before += 65536;
    }
    assert!(before < BUFFERS, "{before} bytes were taken while the service read nothing");
    let (mut came, mut last, mut room) = (0, Vec::new(), vec![0; 1 << 16]);
    while !last.ends_with(b"\r\n0\r\n\r\n") {
        let read = service.read(&mut room).unwrap();
        assert!(read > 0);
        came += room[..read].iter().filter(|byte| **byte == b'u').count();
        last.extend_from_slice(&room[..read]);
        last.drain(..last.len().saturating_sub(7));
    }
    assert_eq!(came, LARGE);
    service.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    assert_eq!(runtime.block_on(answered).unwrap(), 204);
}
