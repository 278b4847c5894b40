//! Floods of frames: they end their connection, cost services nothing, and disturb nobody else.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tegata_attack::frames::{Frame, Http2, block, fields, flag, frame, kind, request};

use crate::{
    echo,
    world::{Plan, World, get, is_timeout},
};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(100_000);
/// How long a test looks whether something has come.
const GLANCE: Duration = Duration::from_millis(20);
const ENHANCE_YOUR_CALM: u32 = 11;

/// A service that takes connections and says nothing, and how many it took.
fn silent() -> (SocketAddr, Arc<AtomicUsize>) {
    let (address, count, _) = telling();
    (address, count)
}

/// The same, which also tells of each.
fn telling() -> (SocketAddr, Arc<AtomicUsize>, mpsc::Receiver<()>) {
    let (tell, told) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            held.push(stream);
            let _ = tell.send(());
        }
    });
    (address, count, told)
}

/// A gateway before this service, which waits for it for ever.
fn patient(address: SocketAddr) -> World {
    let mut plan = Plan::with(address);
    let upstream = &mut plan.config.upstream;
    (upstream.connect, upstream.answer, upstream.pause) = (LONG, LONG, LONG);
    plan.start()
}

/// Sends this many times the same, from a thread, because the gateway may want to be listened to.
pub(crate) fn pour(client: &Http2, times: usize, bytes: Vec<u8>) {
    let mut stream = client.stream.try_clone().unwrap();
    thread::spawn(move || {
        let many = bytes.repeat(100);
        for _ in 0..times / 100 {
            if std::io::Write::write_all(&mut stream, &many).is_err() {
                break;
            }
        }
    });
}

/// How a connection ends: with the code of a `GOAWAY`, or without one.
pub(crate) fn end(client: &mut Http2) -> Option<u32> {
    let mut code = None;
    while let Some(frame) = client.hear().unwrap() {
        if frame.kind == kind::GOAWAY {
            code = frame.error();
        }
    }
    code
}

/// A flood of these on a new connection, on which one request is in flight, ends it, and no other.
fn ends_its_connection(flood: Vec<u8>) {
    let (address, _count) = silent();
    let world = patient(address);
    let mut bystander = world.connect();
    assert_eq!(bystander.ask(&get("/health", &[])).status, 200);
    let mut client = Http2::to(world.address).unwrap();
    client.send(&request("POST", "/public/x", 1, false)).unwrap();
    pour(&client, 20_000, flood);
    assert_eq!(end(&mut client), Some(ENHANCE_YOUR_CALM));
    assert_eq!(bystander.ask(&get("/health", &[])).status, 200);
}

#[test]
fn a_flood_of_pings_ends_its_connection_and_no_other() {
    ends_its_connection(frame(kind::PING, 0, 0, &[0; 8]));
}

#[test]
fn a_flood_of_settings_ends_its_connection_and_no_other() {
    ends_its_connection(frame(kind::SETTINGS, 0, 0, &[]));
}

#[test]
fn a_flood_of_window_updates_ends_its_connection_and_no_other() {
    ends_its_connection(frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
    ends_its_connection(frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
}

#[test]
fn a_flood_of_priorities_ends_its_connection_and_no_other() {
    ends_its_connection(frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 16]));
}

#[test]
fn a_flood_of_empty_data_ends_its_connection_and_no_other() {
    ends_its_connection(frame(kind::DATA, 0, 1, &[]));
    // Padding alone is nothing, either.
    ends_its_connection(frame(kind::DATA, flag::PADDED, 1, &[0]));
}

#[test]
fn a_flood_of_unknown_frames_ends_its_connection_and_no_other() {
    ends_its_connection(frame(0xfa, 0, 1, b"x"));
}

#[test]
fn a_flood_of_continuations_ends_its_connection() {
    let (address, count) = silent();
    let world = patient(address);
    let mut client = Http2::to(world.address).unwrap();
    let head = block(&fields("GET", "/public/x"));
    client.send(&frame(kind::HEADERS, flag::END_STREAM, 1, &head)).unwrap();
    pour(&client, 100_000, frame(kind::CONTINUATION, 0, 1, &[]));
    let code = end(&mut client);
    assert!(code.is_some());
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn resets_cost_the_service_nothing() {
    let (address, count) = silent();
    let world = patient(address);
    let pair = |stream: u32| {
        let mut pair = request("GET", "/public/x", stream, true);
        pair.extend(frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        pair
    };
    // A few are no flood. Each comes with its request.
    let mut client = Http2::to(world.address).unwrap();
    for turn in 0..15 {
        client.send(&pair(turn * 2 + 1)).unwrap();
    }
    client.send(&request("GET", "/health", 101, true)).unwrap();
    let answered = |frame: &Frame| frame.stream == 101 && frame.status() == Some(200);
    assert!(client.until(answered).unwrap().is_some());
    assert_eq!(count.load(Ordering::SeqCst), 0);
    // CVE-2023-44487.
    let mut client = Http2::to(world.address).unwrap();
    let flood: Vec<u8> = (0..20_000).flat_map(|turn| pair(turn * 2 + 1)).collect();
    let mut stream = client.stream.try_clone().unwrap();
    thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut stream, &flood);
    });
    end(&mut client);
    // Where a request and its reset came in two pieces, it was on its way.
    assert!(count.load(Ordering::SeqCst) <= 5, "{count:?}");
}

#[test]
fn resets_of_requests_on_their_way_are_bounded() {
    let (address, count, told) = telling();
    let world = patient(address);
    let mut client = Http2::to(world.address).unwrap();
    // Each is reset when the service has it, until none comes there any more.
    for stream in (1..2000).step_by(2) {
        let _ = client.send(&request("GET", "/public/x", stream, true));
        if told.recv_timeout(Duration::from_secs(2)).is_err() {
            break;
        }
        let _ = client.send(&frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    assert_eq!(end(&mut client), Some(ENHANCE_YOUR_CALM));
    assert!(count.load(Ordering::SeqCst) <= 300, "{count:?}");
}

#[test]
fn a_server_that_is_made_to_reset_costs_the_service_nothing() {
    // CVE-2025-8671: the client says what resets the stream, in place of resetting it.
    type Wrong = fn(u32) -> Vec<u8>;
    let wrongs: [(&str, Wrong); 4] = [
        ("window", |stream| frame(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])),
        ("data after the end", |stream| frame(kind::DATA, 0, stream, b"x")),
        ("priority of itself", |stream| {
            let mut payload = stream.to_be_bytes().to_vec();
            payload.push(16);
            frame(kind::PRIORITY, 0, stream, &payload)
        }),
        ("a second head", |stream| {
            frame(kind::HEADERS, flag::END_HEADERS, stream, &block(&fields("GET", "/public/x")))
        }),
    ];
    for (what, wrong) in wrongs {
        let (address, count) = silent();
        let world = patient(address);
        let mut client = Http2::to(world.address).unwrap();
        let mut stream = client.stream.try_clone().unwrap();
        thread::spawn(move || {
            for id in (1..10_000).step_by(2) {
                let mut bytes = request("GET", "/public/x", id, true);
                bytes.extend(wrong(id));
                if std::io::Write::write_all(&mut stream, &bytes).is_err() {
                    return;
                }
            }
        });
        end(&mut client);
        assert!(count.load(Ordering::SeqCst) <= 120, "{what}: {count:?}");
    }
}

#[test]
fn a_head_in_frames_has_ten_seconds_too() {
    let (address, _count) = silent();
    let world = patient(address);
    let head = block(&fields("GET", "/public/x"));
    let opened = frame(kind::HEADERS, flag::END_STREAM, 3, &head);
    // A frame that comes a byte at a time, and one that goes on in others.
    let dribbles: [(Vec<u8>, Vec<u8>); 2] = [
        ([&[0, 0x40, 0, 1, 5, 0, 0, 0, 3][..], &head].concat(), vec![0]),
        (opened, frame(kind::CONTINUATION, 0, 3, &[])),
    ];
    for (start, more) in dribbles {
        let mut client = Http2::to(world.address).unwrap();
        // What is in flight beside it is no reason to wait.
        client.send(&request("GET", "/public/x", 1, true)).unwrap();
        client.send(&start).unwrap();
        client.stream.set_read_timeout(Some(GLANCE)).unwrap();
        let mut passed = 0;
        let code = loop {
            match client.hear() {
                Ok(None) => break None,
                Ok(Some(frame)) if frame.kind == kind::GOAWAY => break frame.error(),
                Ok(Some(_)) => {}
                Err(error) if is_timeout(&error) => {
                    passed += 1;
                    assert!(passed < 60, "the gateway waits for ever");
                    world.clock.advance(Duration::from_secs(1));
                    if passed % 4 == 0 {
                        let _ = client.send(&more);
                    }
                }
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "after {passed} s");
        assert!((9..=50).contains(&passed), "after {passed} s");
    }
}

#[test]
fn a_client_that_asks_for_much_and_hangs_up_on_some_is_no_flood() {
    let world = Plan::with(echo::start()).start();
    let mut client = Http2::to(world.address).unwrap();
    for round in 0..40_u32 {
        let first = round * 200 + 1;
        for turn in 0..50 {
            let stream = first + turn * 2;
            client.send(&request("GET", "/public/x", stream, true)).unwrap();
            // As browsers do.
            client.send(&frame(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 16])).unwrap();
            client.send(&frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])).unwrap();
            if turn % 5 == 0 {
                client.send(&frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8])).unwrap();
            }
        }
        client.send(&frame(kind::PING, 0, 0, &[1; 8])).unwrap();
        let (mut ponged, mut answers) = (false, 0);
        while !ponged || answers < 40 {
            let frame = client.hear().unwrap().unwrap();
            assert_ne!(frame.kind, kind::GOAWAY, "{frame:?}");
            ponged |= frame.kind == kind::PING;
            let kept = frame.stream >= first && !((frame.stream - first) / 2).is_multiple_of(5);
            answers += usize::from(kept && frame.status() == Some(200));
        }
    }
}

#[test]
fn what_comes_before_a_flood_in_one_piece_is_not_believed_either() {
    // The same bytes, in any pieces: nothing of the flood is handed on.
    let world = Plan::with(echo::start()).start();
    let mut client = Http2::to(world.address).unwrap();
    let mut bytes = frame(kind::PING, 0, 0, &[0; 8]).repeat(20_000);
    bytes.extend(request("GET", "/public/x", 1, true));
    let mut stream = client.stream.try_clone().unwrap();
    thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut stream, &bytes);
    });
    let mut pongs = 0;
    while let Some(frame) = client.hear().unwrap() {
        assert_ne!(frame.kind, kind::HEADERS);
        pongs += usize::from(frame.kind == kind::PING);
    }
    assert!(pongs < 5000, "{pongs}");
    let _ = client.stream.read(&mut [0]);
}

#[test]
fn a_flood_counts_against_its_address() {
    let mut plan = Plan::with(echo::start());
    plan.config.limits.per_address = "3/h".parse().ok();
    let world = plan.start();
    for flood in [
        frame(kind::PING, 0, 0, &[0; 8]),
        // What only a head says, behind a body.
        [request("POST", "/nowhere", 1, false), frame(kind::HEADERS, 5, 1, &[0x84])].concat(),
    ] {
        let mut client = Http2::to(world.address).unwrap();
        pour(&client, 20_000, flood);
        assert!(end(&mut client).is_some());
    }
    // The two floods, and at most the one request that came with the second.
    let passed = (0..4).map(|_| world.ask(&get("/public/x", &[])).status);
    let passed = passed.filter(|status| *status == 200).count();
    assert!(passed <= 1, "{passed}");
    assert!(world.metrics().contains("gateway_requests_total{service=\"gateway\",status=\"429\"}"));
}
