//! Tokens that end while they are in use.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    time::Duration,
};

use serde_json::json;

use super::world::{Plan, World, get};

const SAID: &str = "x-token-refresh";

/// A service that says when a request has come, and answers when it is told to.
fn patient() -> (SocketAddr, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ((come, came), (go, told)) = (mpsc::channel(), mpsc::channel());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let read = BufReader::new(stream.try_clone().unwrap());
        let lines = read.lines().map_while(Result::ok);
        assert!(lines.take_while(|line| !line.is_empty()).count() > 1);
        come.send(()).unwrap();
        told.recv().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").unwrap();
    });
    (address, came, go)
}

/// A token of this age, and for how long it lives, in seconds.
fn token(world: &World, age: u64, life: u64) -> String {
    let (mut claims, now) = (world.claims(), world.now().secs());
    claims["iat"] = json!(now - age);
    claims["exp"] = json!(now - age + life);
    world.sign(&claims)
}

#[test]
fn whoever_asks_with_a_token_that_runs_out_is_told() {
    let world = World::plain();
    // The echo says it of every token; the gateway alone may.
    for (age, life, said) in [
        (0, 900, false),
        (869, 900, false),
        (871, 900, true),
        (0, 30, false),
        (19, 30, false),
        (21, 30, true),
        (29, 30, true),
    ] {
        let answer = world.get("/echo/x", &token(&world, age, life));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.fields(SAID), if said { vec!["1"] } else { vec![] }, "{age} of {life}");
    }
    for path in ["/public/x", "/maybe/x"] {
        assert!(world.ask(&get(path, &[])).field(SAID).is_none());
    }
    // What has ended before it came is refused, and needs no hint.
    let late = world.get("/echo/x", &token(&world, 960, 900));
    assert_eq!((late.status, late.field(SAID)), (401, None));
}

#[test]
fn a_request_whose_token_ends_meanwhile_is_completed_and_says_so() {
    let (service, came, go) = patient();
    let world = Plan::with(service).start();
    let credential = format!("Bearer {}", token(&world, 0, 6));
    let mut client = world.connect();
    client.write(get("/echo/x", &[("Authorization", &credential)]));
    came.recv().unwrap();
    world.clock.advance(Duration::from_secs(10));
    go.send(()).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.field(SAID)), (200, Some("1")));
}
