//! More than can be carried.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use tegata_attack::frames::{Http2, kind, request as framed};

use crate::{
    echo,
    world::{Answer, Client, Plan, World, get},
};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(100_000);
const PATIENCE: Duration = Duration::from_secs(20);

/// A service that reads heads, says so, and answers when it is told to.
struct Held {
    address: SocketAddr,
    came: mpsc::Receiver<TcpStream>,
}

impl Held {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (hand, came) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, hand) = (stream.unwrap(), hand.clone());
                thread::spawn(move || {
                    let mut head = [0; 4096];
                    while stream.read(&mut head).is_ok_and(|read| read > 0) {
                        if hand.send(stream.try_clone().unwrap()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, came }
    }

    /// Waits for a request.
    fn next(&self) -> TcpStream {
        self.came.recv_timeout(PATIENCE).unwrap()
    }
}

fn finish(mut service: TcpStream) {
    service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").unwrap();
}

/// A plan that waits for this service for ever.
fn patient(service: SocketAddr) -> Plan {
    let mut plan = Plan::with(service);
    let upstream = &mut plan.config.upstream;
    (upstream.connect, upstream.answer, upstream.pause) = (LONG, LONG, LONG);
    plan
}

/// A request that is in flight.
fn begin(world: &World, held: &Held) -> (Client, TcpStream) {
    let mut client = world.connect();
    client.write(get("/public/x", &[]));
    (client, held.next())
}

fn is_overloaded(answer: &Answer) {
    assert_eq!((answer.status, answer.problem().as_str()), (503, "overloaded"));
    let later: u32 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&later) && answer.field("cache-control") == Some("no-store"));
}

fn shed(world: &World, reason: &str) -> u64 {
    let all = world.metrics();
    let of = format!("gateway_requests_shed_total{{reason=\"{reason}\"}} ");
    let line = all.lines().find_map(|line| line.strip_prefix(&of));
    line.unwrap_or_else(|| panic!("{all}")).parse().unwrap()
}

fn gauge(world: &World, name: &str) -> u64 {
    let all = world.metrics();
    let line = all.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{all}")).parse().unwrap()
}

#[test]
fn who_comes_beyond_capacity_is_refused_at_once() {
    let held = Held::start();
    let mut plan = patient(held.address);
    plan.config.limits.requests = 4;
    let world = plan.start();
    let mut busy: Vec<_> = (0..3).map(|_| begin(&world, &held)).collect();
    assert_eq!(gauge(&world, "gateway_requests_in_flight"), 3);
    assert_eq!(gauge(&world, "gateway_requests_limit"), 4);
    // The service says nothing, so that whatever is answered was not waited for.
    let mut client = world.connect();
    for _ in 0..3 {
        is_overloaded(&client.ask(&get("/public/x", &[])));
    }
    // A token that would have to be verified is not looked at, and what is hostile is not looked through.
    is_overloaded(&client.ask(&get("/echo/x", &[("Authorization", "Bearer x")])));
    let answer = world.ask(&crate::world::request("POST", "/public/x", &[], "body"));
    is_overloaded(&answer);
    // With frames the others of the connection go on.
    let mut http2 = Http2::to(world.address).unwrap();
    http2.send(&framed("GET", "/public/x", 1, true)).unwrap();
    let heard = http2.until(|frame| frame.status().is_some()).unwrap().unwrap();
    assert_eq!(heard.status(), Some(503));
    let (mut first, service) = busy.remove(0);
    finish(service);
    assert_eq!(first.answer().unwrap().body, b"done");
    http2.send(&framed("GET", "/public/x", 3, true)).unwrap();
    finish(held.next());
    let heard = http2.until(|frame| frame.kind == kind::HEADERS && frame.stream == 3);
    assert_eq!(heard.unwrap().unwrap().status(), Some(200));
    assert_eq!(shed(&world, "requests"), 6);
    // Each is counted once, as what it was answered with, and never as one that left.
    assert!(!world.metrics().contains(r#"status="499""#), "{}", world.metrics());
    assert_eq!(shed(&world, "connections") + shed(&world, "delay") + shed(&world, "memory"), 0);
}

#[test]
fn who_waits_for_news_takes_nobody_elses_place() {
    let held = Held::start();
    let mut plan = patient(held.address);
    plan.config.limits.requests = 2;
    let world = plan.start();
    let poll = begin(&world, &held);
    is_overloaded(&world.ask(&get("/public/x", &[])));
    world.clock.advance(Duration::from_secs(2));
    let (mut second, service) = begin(&world, &held);
    is_overloaded(&world.ask(&get("/public/x", &[])));
    // Nor does a place come free twice.
    let (mut first, waiting) = poll;
    finish(waiting);
    assert_eq!(first.answer().unwrap().status, 200);
    is_overloaded(&world.ask(&get("/public/x", &[])));
    finish(service);
    assert_eq!(second.answer().unwrap().status, 200);
    let third = begin(&world, &held);
    drop(third);
}

#[test]
fn who_finds_no_room_for_a_connection_is_told_so() {
    let held = Held::start();
    let mut plan = patient(held.address);
    plan.config.limits.connections = 2;
    let world = plan.start();
    let mut busy: Vec<_> = (0..2).map(|_| begin(&world, &held)).collect();
    for _ in 0..3 {
        let mut client = world.connect();
        is_overloaded(&client.ask(&get("/public/x", &[])));
        assert!(client.is_closed());
    }
    // Whoever speaks HTTP/2 learns that nothing was done (RFC 9113 §6.8): no stream was looked at.
    let mut http2 = Http2::to(world.address).unwrap();
    http2.send(&framed("GET", "/public/x", 1, true)).unwrap();
    let end = http2.until(|frame| frame.kind == kind::GOAWAY).unwrap().unwrap();
    assert_eq!(end.payload[..4], [0; 4]);
    // And one who says nothing.
    let mut silent = world.connect();
    is_overloaded(&silent.answer().unwrap());
    assert_eq!(shed(&world, "connections"), 5);
    // One on which nothing is asked for goes first.
    let (mut idle, service) = busy.remove(0);
    finish(service);
    assert_eq!(idle.answer().unwrap().status, 200);
    let (mut other, service) = begin(&world, &held);
    assert!(idle.is_closed());
    finish(service);
    assert_eq!(other.answer().unwrap().status, 200);
    assert_eq!((shed(&world, "connections"), gauge(&world, "gateway_connections")), (5, 2));
}

#[test]
fn those_who_have_been_idle_for_longest_go_first() {
    let mut plan = Plan::with(echo::start());
    plan.config.limits.connections = 3;
    let world = plan.start();
    let mut open: Vec<Client> = Vec::new();
    for _ in 0..3 {
        let mut client = world.connect();
        assert_eq!(client.ask(&get("/public/x", &[])).status, 200);
        world.clock.advance(Duration::from_secs(1));
        open.push(client);
    }
    // The first is used again.
    assert_eq!(open[0].ask(&get("/public/x", &[])).status, 200);
    let mut next = world.connect();
    assert_eq!(next.ask(&get("/public/x", &[])).status, 200);
    assert!(open[1].is_closed());
    for client in [0, 2] {
        assert_eq!(open[client].ask(&get("/public/x", &[])).status, 200);
    }
}

#[test]
fn one_full_worker_does_not_close_the_door() {
    let held = Held::start();
    let mut plan = patient(held.address);
    plan.config.workers = 2;
    plan.config.limits.connections = 3;
    let world = plan.start();
    // In turn, so that every other one is at the same worker.
    let mut all: Vec<_> = (0..6).map(|_| Some(begin(&world, &held))).collect();
    is_overloaded(&world.ask(&get("/public/x", &[])));
    for other in all.iter_mut().skip(1).step_by(2) {
        let (mut client, service) = other.take().unwrap();
        finish(service);
        assert_eq!(client.answer().unwrap().status, 200);
        drop(client);
    }
    // Three places are free, all at one worker; whose turn it is does not matter.
    let more: Vec<_> = (0..3).map(|_| begin(&world, &held)).collect();
    is_overloaded(&world.ask(&get("/public/x", &[])));
    drop(more);
}

#[test]
fn sign_in_is_served_while_others_are_refused() {
    let held = Held::start();
    let mut plan = patient(held.address);
    plan.config.limits.requests = 8;
    plan.config.limits.sign_in = None;
    plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
    let world = plan.start();
    let _busy: Vec<_> = (0..7).map(|_| begin(&world, &held)).collect();
    let mut client = world.connect();
    for _ in 0..20 {
        is_overloaded(&client.ask(&get("/public/x", &[])));
        assert_eq!(client.ask(&get("/login", &[])).status, 200);
        assert_eq!(client.ask(&get("/health", &[])).status, 200);
    }
    // Writing it in another way is no way in.
    is_overloaded(&client.ask(&get("/loginx", &[])));
}

/// A service that takes no more of a body than what comes with the head.
fn full() -> (SocketAddr, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (hand, came) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            if hand.send(stream.unwrap()).is_err() {
                return;
            }
        }
    });
    (address, came)
}

#[test]
fn memory_stays_under_its_cap() {
    let (service, came) = full();
    let mut plan = patient(service);
    plan.config.limits.memory = 64 * 1024 * 1024;
    let world = plan.start();
    let limit = gauge(&world, "gateway_memory_limit_bytes");
    assert!((16 << 20..=64 << 20).contains(&limit), "{limit}");
    let (chunk, mut uploads) = (vec![b'x'; 64 * 1024], Vec::new());
    for _ in 0..150 {
        let mut client = world.connect();
        client.write("POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: 104857600\r\n\r\n");
        client.stream.set_nonblocking(true).unwrap();
        uploads.push(client);
    }
    let services: Vec<_> = (0..150).map(|_| came.recv_timeout(PATIENCE).unwrap()).collect();
    // Until nobody takes anything for a while.
    let mut quiet = 0;
    while quiet < 3 {
        let wrote = uploads
            .iter_mut()
            .filter(|client| (&client.stream).write(&chunk).is_ok_and(|wrote| wrote > 0));
        quiet = if wrote.count() == 0 { quiet + 1 } else { 0 };
        assert!(world.connect().is_quiet());
        let held = gauge(&world, "gateway_memory_held_bytes");
        assert!(held < limit, "{held} of {limit}");
    }
    assert!(gauge(&world, "gateway_memory_held_bytes") > 150 * 16 * 1024);
    // What stands still stops nobody else.
    assert_eq!(world.ask(&get("/health", &[])).status, 200);
    assert_eq!(world.get("/nowhere", "").status, 404);
    drop((uploads, services));
    let mut client = world.connect();
    while gauge(&world, "gateway_memory_held_bytes") > 1 << 20 {
        assert_eq!(client.ask(&get("/health", &[])).status, 200);
    }
}

#[test]
fn an_upload_goes_on_when_the_service_does() {
    let (service, came) = full();
    let mut plan = patient(service);
    plan.config.limits.memory = 16 * 1024 * 1024;
    let world = plan.start();
    let length = 20 * 1024 * 1024;
    let mut client = world.connect();
    let mut stream = client.stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let head =
            format!("POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let chunk: Vec<u8> = (0..=255).cycle().take(65536).collect();
        for _ in 0..length / 65536 {
            stream.write_all(&chunk).unwrap();
        }
    });
    let mut service = came.recv_timeout(PATIENCE).unwrap();
    service.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut seen, mut buffer) = (Vec::new(), vec![0; 100_000]);
    let head = loop {
        let read = service.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..read]);
        if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    while seen.len() < head + length {
        // Now and then it looks away for long enough that everything is full.
        if seen.len() % 7 == 0 {
            assert!(world.connect().is_quiet());
        }
        let read = service.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..read]);
    }
    sending.join().unwrap();
    assert!(
        seen[head..].iter().zip((0..=255).cycle()).all(|(byte, want): (&u8, u8)| *byte == want)
    );
    finish(service);
    assert_eq!(client.answer().unwrap().status, 200);
}

#[test]
fn where_there_is_no_memory_nothing_is_let_in_and_health_is_told() {
    let mut plan = Plan::with(echo::start());
    plan.config.limits.memory = 4;
    let world = plan.start();
    let mut client = world.connect();
    is_overloaded(&client.ask(&get("/public/x", &[])));
    assert_eq!(client.ask(&get("/health", &[])).status, 200);
    assert_eq!(shed(&world, "memory"), 1);
    // Who has the only place does not keep it from the next for longer than it is used.
    let mut next = world.connect();
    is_overloaded(&next.ask(&get("/public/x", &[])));
    assert!(client.is_closed());
}

#[test]
fn who_connects_and_goes_at_once_leaves_nothing_behind() {
    let held = Held::start();
    let mut plan = patient(held.address);
    plan.config.limits.connections = 1;
    let world = plan.start();
    let _busy = begin(&world, &held);
    for round in 0..600 {
        let mut client = TcpStream::connect(world.address).unwrap();
        if round % 2 == 0 {
            let _ = client.write(b"GET / HTTP/1.1\r\n");
        }
    }
    // Those that could be told are told again.
    loop {
        let mut client = world.connect();
        client.write(get("/public/x", &[]));
        match client.stream.peek(&mut [0]) {
            Ok(1) => break is_overloaded(&client.answer().unwrap()),
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(gauge(&world, "gateway_connections"), 1);
}
