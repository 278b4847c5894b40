//! What is refused of requests with `HEAD`, whose answers have no body; and what a client says it expects.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use tegata_attack::frames::{Http2, flag, kind, request as framed};

use crate::world::{World, request};

/// What comes back until the gateway closes the connection, when this is sent in these pieces.
fn raw(world: &World, pieces: &[&str]) -> String {
    let mut stream = TcpStream::connect(world.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        stream.write_all(piece.as_bytes()).unwrap();
    }
    let mut all = Vec::new();
    // Who is refused while it still writes may find the connection reset behind the answer.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8(all).unwrap()
}

#[test]
fn what_the_watch_refuses_of_a_head_has_the_length_of_a_body_and_none() {
    let world = World::plain();
    let long = format!(" /{} HTTP/1.1\r\n", "x".repeat(20_000));
    let many = format!(" /x HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(200));
    let cases = [
        ("a bare line feed", 400, " /x HTTP/1.1\nHost: localhost\n\n"),
        ("another version", 505, " /x HTTP/3.1\r\nHost: localhost\r\n\r\n"),
        ("a bad byte", 400, " /\u{1}x HTTP/1.1\r\n"),
        ("a long target", 414, &long),
        ("many fields", 431, &many),
        (
            "two framings",
            400,
            " /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("a folded field", 400, " /x HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n"),
    ];
    for (what, status, rest) in cases {
        for pieces in [&["HEAD", rest][..], &["HE", "AD", rest], &[&format!("HEAD{rest}")]] {
            let answer = raw(&world, pieces);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
            let length = answer.lines().find_map(|line| line.strip_prefix("content-length: "));
            assert!(length.unwrap().parse::<usize>().unwrap() > 0, "{what}: {answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{what}: {answer}");
        }
        // Others learn why.
        let answer = raw(&world, &["GET", rest]);
        assert!(answer.ends_with('}'), "{what}: {answer}");
        // So does whoever asks for something else before, or in another spelling.
        for method in ["HEADS", "head"] {
            let answer = raw(&world, &[method, rest]);
            assert!(!answer.ends_with("\r\n\r\n"), "{what}: {answer}");
        }
    }
    // A request before it has its answer, with its body.
    let both = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nHEAD /x HTTP/1.1\n";
    let answers = raw(&world, &[both]);
    assert!(answers.contains("{\"status\":\"ok\"}HTTP/1.1 400"), "{answers}");
    assert!(answers.ends_with("\r\n\r\n"), "{answers}");
}

#[test]
fn with_frames_no_answer_to_a_head_has_a_body() {
    let world = World::plain();
    for (path, status) in [("/nowhere", 404), ("/echo/x", 401), ("/health", 200), ("/a;b", 400)] {
        let mut http2 = Http2::to(world.address).unwrap();
        http2.send(&framed("HEAD", path, 1, true)).unwrap();
        let heard = http2.until(|frame| frame.status().is_some()).unwrap().unwrap();
        assert_eq!(heard.status(), Some(status), "{path}");
        assert!(heard.flags & flag::END_STREAM != 0, "{path}: more follows");
        // The same connection serves what comes next, whose body is there.
        http2.send(&framed("GET", path, 3, true)).unwrap();
        let body = http2.until(|frame| frame.stream == 3 && frame.kind == kind::DATA);
        assert!(!body.unwrap().unwrap().payload.is_empty(), "{path}");
    }
}

#[test]
fn every_line_that_says_what_is_expected_counts() {
    let world = World::plain();
    let known = ("Expect", "100-continue");
    let cases: [(&[(&str, &str)], u16); 6] = [
        (&[known], 200),
        (&[known, ("Expect", "100-Continue")], 200),
        (&[("Expect", "200-ok"), known], 417),
        (&[known, ("expect", "200-ok")], 417),
        (&[known, known, ("Expect", "")], 417),
        (&[("Expect", "100-continue, 200-ok"), known], 417),
    ];
    for (fields, status) in cases {
        let answer = world.ask(&request("POST", "/public/x", fields, "body"));
        assert_eq!(answer.status, status, "{fields:?}");
    }
}
