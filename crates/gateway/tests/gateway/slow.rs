//! Clients that take their time: those that have a reason arrive, the others are cut.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
    time::Duration,
};

use tegata_attack::frames::{Http2, frame, kind, request};

use crate::{
    echo,
    world::{Client, Plan, World, get, is_timeout},
};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(100_000);
/// How long a test looks whether something has come.
const GLANCE: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

/// A gateway that waits for this service for ever, and for clients as it is set.
fn patient(address: SocketAddr) -> World {
    let mut plan = Plan::with(address);
    let upstream = &mut plan.config.upstream;
    (upstream.connect, upstream.answer, upstream.pause) = (LONG, LONG, LONG);
    plan.start()
}

/// A service that answers with as much as is taken, in chunks of so many bytes, and says when it is hung up on.
fn talkative(chunk: usize) -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, end) = (stream.unwrap(), end.clone());
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                let bytes = format!("{chunk:x}\r\n{}\r\n", "x".repeat(chunk));
                while stream.write_all(bytes.as_bytes()).is_ok() {}
                let _ = end.send(());
            });
        }
    });
    (address, ended)
}

/// Does something each second, until the gateway answers, or hangs up; says after how many.
fn seconds_until_heard(
    world: &World,
    client: &mut Client,
    most: u32,
    mut each: impl FnMut(&mut Client, u32),
) -> Option<u32> {
    client.stream.set_read_timeout(Some(GLANCE)).unwrap();
    let mut witness = world.connect();
    for second in 0..most {
        each(client, second);
        match client.stream.peek(&mut [0]) {
            Err(error) if is_timeout(&error) => {
                world.clock.advance(SECOND);
                // With each request the gateway looks at its clock, not with each tick alone.
                assert_eq!(witness.ask(&get("/health", &[])).status, 200);
            }
            Ok(_) | Err(_) => {
                client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                return Some(second);
            }
        }
    }
    None
}

#[test]
fn a_body_of_a_byte_a_second_is_cut() {
    let world = patient(echo::start());
    for (head, piece) in [
        ("Content-Length: 1000000", "x"),
        ("Transfer-Encoding: chunked", "1\r\nx\r\n"),
        // The longest way to write one byte.
        ("Transfer-Encoding: chunked", "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n"),
    ] {
        let mut client = world.connect();
        client.write(format!("POST /public/x HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n"));
        let heard = seconds_until_heard(&world, &mut client, 120, |client, _| client.write(piece));
        let heard = heard.unwrap();
        assert!((25..=90).contains(&heard), "{head}: after {heard} s");
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.problem().as_str()), (408, "body_too_slow"));
        assert!(client.is_closed());
    }
}

#[test]
fn a_head_start_does_not_last_for_ever() {
    let world = patient(echo::start());
    let mut client = world.connect();
    client.write("POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
    client.write("x".repeat(1_000_000));
    let heard = seconds_until_heard(&world, &mut client, 120, |client, _| client.write("x"));
    let heard = heard.unwrap();
    assert!((25..=90).contains(&heard), "after {heard} s");
}

#[test]
fn a_telephone_in_a_tunnel_arrives() {
    let world = patient(echo::start());
    let mut client = world.connect();
    // Two kilobytes a second, and every minute nothing for 20 s; for four minutes.
    let second = "x".repeat(2000);
    let sent = (0..240).filter(|second| second % 60 >= 20).count() * second.len();
    client.write(format!("POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: {sent}\r\n\r\n"));
    let heard = seconds_until_heard(&world, &mut client, 239, |client, at| {
        if at % 60 >= 20 {
            client.write(&second);
        }
    });
    assert_eq!(heard, None);
    client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write(&second);
    assert_eq!(client.answer().unwrap().status, 200);
}

#[test]
fn a_body_of_a_byte_a_second_is_cut_over_http2_too() {
    let world = patient(echo::start());
    // Frames of one byte, and one frame that comes a byte at a time.
    let whole = frame(kind::DATA, 0, 1, &[b'x'; 16384]);
    for (first, pieces) in [
        (vec![], [&frame(kind::DATA, 0, 1, b"x")[..]].repeat(200)),
        (whole[..9].to_vec(), whole[9..].chunks(1).collect::<Vec<_>>()),
    ] {
        let mut client = Http2::to(world.address).unwrap();
        client.send(&request("POST", "/public/x", 1, false)).unwrap();
        client.send(&first).unwrap();
        client.stream.set_read_timeout(Some(GLANCE)).unwrap();
        let mut passed = 0;
        let status = loop {
            match client.hear() {
                Ok(frame) => {
                    let frame = frame.unwrap();
                    if let Some(status) = frame.status() {
                        break status;
                    }
                }
                Err(error) if is_timeout(&error) => {
                    let _ = client.send(pieces[passed]);
                    passed += 1;
                    assert!(passed < 100, "it is waited for for ever");
                    world.clock.advance(SECOND);
                }
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(status, 408);
        assert!((25..=90).contains(&passed), "after {passed} s");
    }
}

#[test]
fn a_reader_of_a_byte_a_second_is_cut() {
    let (address, ended) = talkative(65536);
    let world = patient(address);
    let mut client = world.connect();
    client.write(get("/public/x", &[]));
    assert_eq!(client.head().unwrap().0, 200);
    // What is on its way is more than it will ever read: that it was cut shows at the service.
    let passed = (0..200).take_while(|_| {
        let _ = client.stream.read(&mut [0]);
        world.clock.advance(SECOND);
        ended.recv_timeout(GLANCE).is_err()
    });
    assert!((25..100).contains(&passed.count()));
}

#[test]
fn a_reader_of_a_byte_a_second_is_cut_over_http2_too() {
    // Chunks of one byte: each is taken in no time where the window opens by one.
    for chunk in [1, 65536] {
        let (address, _ended) = talkative(chunk);
        let world = patient(address);
        let mut client = Http2::to(world.address).unwrap();
        // Windows of one byte.
        client.send(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])).unwrap();
        client.send(&request("GET", "/public/x", 1, true)).unwrap();
        client.stream.set_read_timeout(Some(GLANCE)).unwrap();
        let mut passed = 0;
        loop {
            match client.hear() {
                Ok(Some(frame)) if frame.kind == kind::RST_STREAM => break,
                Ok(Some(frame)) => assert_ne!(frame.kind, kind::GOAWAY),
                Ok(None) => panic!("the stream alone ends"),
                Err(error) if is_timeout(&error) => {
                    client.send(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).unwrap();
                    passed += 1;
                    assert!(passed < 120, "it is waited for for ever: {chunk}");
                    world.clock.advance(SECOND);
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(passed >= 25, "{chunk}: after {passed} s");
    }
}

#[test]
fn who_waits_for_news_is_not_slow() {
    // A service that says something every 25 s, over an hour.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = patient(listener.local_addr().unwrap());
    let mut http1 = world.connect();
    http1.write(get("/public/x", &[]));
    let accept = || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        stream
    };
    let mut services = vec![accept()];
    assert_eq!(http1.head().unwrap().0, 200);
    let mut http2 = Http2::to(world.address).unwrap();
    http2.send(&request("GET", "/public/x", 1, true)).unwrap();
    services.push(accept());
    for _ in 0..144 {
        for service in &mut services {
            service.write_all(b"1\r\n.\r\n").unwrap();
        }
        assert_eq!(http1.chunk().unwrap(), b".");
        assert!(http2.until(|frame| frame.payload == b".").unwrap().is_some());
        for _ in 0..25 {
            world.clock.advance(SECOND);
        }
    }
}
