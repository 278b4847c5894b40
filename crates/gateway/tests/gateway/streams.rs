//! Bodies go through part by part, and each side can hold the other back.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::world::{Plan, get};

/// A service that hands the test its connection once it has read a request's head.
pub(crate) fn service() -> (SocketAddr, mpsc::Receiver<TcpStream>) {
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
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            if hand.send(stream).is_err() {
                break;
            }
        }
    });
    (address, streams)
}

/// How long a test looks whether something has come, and ticks of the gateway pass.
const GLANCE: Duration = Duration::from_millis(20);

const CHUNKED: &str = "POST /public/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn expect(stream: &mut TcpStream, text: &str) {
    let mut seen = vec![0; text.len()];
    stream.read_exact(&mut seen).unwrap();
    assert_eq!(String::from_utf8_lossy(&seen), text);
}

#[test]
fn each_part_of_a_body_arrives_before_the_next_is_sent() {
    let (address, streams) = service();
    let world = Plan::with(address).start();
    let mut client = world.connect();
    client.write(CHUNKED);
    let mut service = streams.recv().unwrap();
    for number in 0..20 {
        let part = format!("part {number:02}");
        client.write(format!("7\r\n{part}\r\n"));
        expect(&mut service, &format!("7\r\n{part}\r\n"));
    }
    client.write("0\r\n\r\n");
    expect(&mut service, "0\r\n\r\n");
    service.write_all(ANSWER).unwrap();
    assert_eq!(client.head().unwrap().0, 200);
    for number in 0..20 {
        let part = format!("answer {number:02}");
        service.write_all(format!("9\r\n{part}\r\n").as_bytes()).unwrap();
        assert_eq!(client.chunk().unwrap(), part.as_bytes());
    }
    service.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(client.chunk(), None);
}

#[test]
fn an_answer_may_begin_before_the_request_ends() {
    let (address, streams) = service();
    let world = Plan::with(address).start();
    let mut client = world.connect();
    client.write(CHUNKED);
    let mut service = streams.recv().unwrap();
    service.write_all(ANSWER).unwrap();
    assert_eq!(client.head().unwrap().0, 200);
    for number in 0..10 {
        client.write(format!("1\r\n{number}\r\n"));
        expect(&mut service, &format!("1\r\n{number}\r\n"));
        service.write_all(format!("1\r\n{number}\r\n").as_bytes()).unwrap();
        assert_eq!(client.chunk().unwrap(), number.to_string().as_bytes());
    }
    client.write("0\r\n\r\n");
    expect(&mut service, "0\r\n\r\n");
    service.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(client.chunk(), None);
}

/// Large against every buffer on the way: those of four sockets and of the gateway.
const LARGE: usize = 96 * 1024 * 1024;
const BUFFERS: usize = 64 * 1024 * 1024;

/// Writes until nothing more is taken, and answers how much was.
fn fill(stream: &mut TcpStream, part: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut written = 0;
    while written < LARGE {
        match stream.write(&part[..part.len().min(LARGE - written)]) {
            Ok(len) => written += len,
            Err(_) => break,
        }
    }
    stream.set_write_timeout(None).unwrap();
    written
}

#[test]
fn an_upload_waits_for_the_service_and_arrives_whole() {
    let (address, streams) = service();
    let world = Plan::with(address).start();
    let mut client = world.connect();
    client.write(format!("POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    let mut service = streams.recv().unwrap();
    let part = vec![b'u'; 1 << 16];
    let taken = fill(&mut client.stream, &part);
    assert!(taken < BUFFERS, "{taken} bytes were taken while the service read nothing");
    let reader = thread::spawn(move || {
        let (mut total, mut buffer) = (0, vec![0; 1 << 16]);
        while total < LARGE {
            total += service.read(&mut buffer).unwrap();
        }
        service.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        total
    });
    let mut left = LARGE - taken;
    while left > 0 {
        let len = left.min(part.len());
        client.stream.write_all(&part[..len]).unwrap();
        left -= len;
    }
    assert_eq!(reader.join().unwrap(), LARGE);
    assert_eq!(client.answer().unwrap().status, 204);
}

#[test]
fn an_upload_may_take_longer_than_an_answer_and_is_not_waited_for_once_it_stands_still() {
    let (address, streams) = service();
    let patience = Duration::from_secs(30);
    for ends in [true, false] {
        let mut plan = Plan::with(address);
        plan.config.upstream.answer = patience;
        plan.config.deadlines.client = Duration::from_secs(100_000);
        let world = plan.start();
        let mut client = world.connect();
        client.write(CHUNKED);
        let mut service = streams.recv().unwrap();
        client.stream.set_read_timeout(Some(GLANCE)).unwrap();
        for number in 0..10 {
            let part = format!("part {number:02}");
            client.write(format!("7\r\n{part}\r\n"));
            expect(&mut service, &format!("7\r\n{part}\r\n"));
            world.clock.advance(Duration::from_secs(20));
            assert!(client.stream.peek(&mut [0]).is_err(), "part {number} was not waited for");
        }
        client.write("0\r\n\r\n");
        expect(&mut service, "0\r\n\r\n");
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        if ends {
            service.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            assert_eq!(client.answer().unwrap().status, 204);
            continue;
        }
        // Nothing moves any more.
        client.stream.set_read_timeout(Some(GLANCE)).unwrap();
        while client.stream.peek(&mut [0]).is_err() {
            world.clock.advance(patience);
        }
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.problem().as_str()), (504, "service_late"));
    }
}

#[test]
fn a_download_waits_for_the_client_and_arrives_whole() {
    let (address, streams) = service();
    let world = Plan::with(address).start();
    let mut client = world.connect();
    client.write(get("/public/x", &[]));
    let mut service = streams.recv().unwrap();
    service
        .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())
        .unwrap();
    let part = vec![b'd'; 1 << 16];
    let taken = fill(&mut service, &part);
    assert!(taken < BUFFERS, "{taken} bytes were taken while the client read nothing");
    let writer = thread::spawn(move || {
        let mut left = LARGE - taken;
        while left > 0 {
            let len = left.min(part.len());
            service.write_all(&part[..len]).unwrap();
            left -= len;
        }
    });
    assert_eq!(client.answer().unwrap().body.len(), LARGE);
    writer.join().unwrap();
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let (address, streams) = service();
    let world = Plan::with(address).start();
    let mut client = world.connect();
    client.write(CHUNKED);
    let mut service = streams.recv().unwrap();
    client.write("1\r\na\r\n");
    expect(&mut service, "1\r\na\r\n");
    drop(client);
    // The service is not led to believe that the body ended.
    let mut rest = Vec::new();
    let _ = service.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn an_answer_that_breaks_off_is_not_completed() {
    let (address, streams) = service();
    let world = Plan::with(address).start();
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let mut client = world.connect();
        client.write(get("/public/x", &[]));
        let mut service = streams.recv().unwrap();
        service.write_all(head.as_bytes()).unwrap();
        assert_eq!(client.head().unwrap().0, 200);
        drop(service);
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains("\r\n0\r\n"), "{rest:?}");
    }
}

#[test]
fn a_body_longer_than_announced_is_not_taken_for_the_next_request() {
    let (address, streams) = service();
    let world = Plan::with(address).start();
    let mut client = world.connect();
    client.write("POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabXX /public/y HTTP/1.1\r\n\r\n");
    let mut service = streams.recv().unwrap();
    expect(&mut service, "ab");
    service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!(client.answer().unwrap().body, b"ok");
    // `XX` is a method, but the request that it begins names no host.
    assert_eq!(client.answer().unwrap().problem(), "host");
    assert!(client.is_closed());
}
