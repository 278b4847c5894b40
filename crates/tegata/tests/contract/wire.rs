//! Bad input below what endpoints see, on every listener: framing, heads, connections.

use super::{
    demo::demo,
    hostile::{is_well, tells_nothing},
    http::Place,
};

/// The three listeners.
fn listeners() -> [Place; 3] {
    let demo = demo();
    [demo.public, demo.gateway, demo.operations]
}

#[test]
fn what_ends_in_the_middle_is_answered_or_closed() {
    let demo = demo();
    for place in listeners() {
        for text in [
            "",
            "G",
            "GET",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\na=1",
            "POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
             Content-Length: 50\r\n\r\n{\"user",
            "POST /public/echo/x HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nabc",
            "POST /oauth2/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "POST /public/echo/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
        ] {
            if let Some(answer) = place.raw_and_no_more(text.as_bytes()) {
                assert!((400..500).contains(&answer.status), "{text:?}: {}", answer.status);
            }
        }
    }
    is_well(demo);
}

#[test]
fn who_begins_and_says_no_more_is_not_waited_for_for_ever() {
    let demo = demo();
    let form = "POST /oauth2/token HTTP/1.1\r\nHost: a\r\n\
                Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 50\r\n\r\na=1";
    let head = "GET /login HTTP/1.1\r\nHost: a\r\nX-Slow";
    let cases = listeners().map(|place| (place, head)).into_iter().chain([(demo.public, form)]);
    // Each has the deadline of the client.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            cases.map(|(place, text)| scope.spawn(move || place.raw(text.as_bytes()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for answer in answers.into_iter().flatten() {
        assert_eq!(answer.status, 408);
    }
}

#[test]
fn what_is_no_http_is_answered_with_400_or_closed() {
    let demo = demo();
    let long = "A".repeat(200_000);
    for place in listeners() {
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.7\r\n",
            b"\0\0\0\0\0\0\0\0\r\n\r\n",
            b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
            b"GET / FTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\xff: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            long.as_bytes(),
        ] {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            if let Some(answer) = place.raw_and_no_more(bytes) {
                let refused = (400..500).contains(&answer.status) || answer.status == 505;
                assert!(refused, "{} {shown:?}: {}", place.port, answer.status);
            }
        }
    }
    is_well(demo);
}

#[test]
fn absurd_header_fields_are_refused_or_passed_over() {
    let demo = demo();
    let long = "x".repeat(7000);
    for place in listeners() {
        for path in
            ["/login", "/oauth2/userinfo", "/api/auth/session", "/public/echo/x", "/metrics"]
        {
            for (name, value) in [
                ("Cookie", "session_id"),
                ("Cookie", ";;;===;;;"),
                ("Cookie", "session_id=\u{7f}\u{1}"),
                ("Cookie", long.as_str()),
                ("Authorization", ""),
                ("Authorization", "Bearer"),
                ("Authorization", "Bearer  "),
                ("Authorization", "Basic \u{fc}"),
                ("Authorization", &format!("Bearer {long}")),
                ("X-CSRF-Token", &long),
                ("Origin", "\u{fc}"),
                ("Accept-Language", &"en,".repeat(2000)),
                ("If-None-Match", &"\"x\",".repeat(1500)),
                ("X-Forwarded-For", &"1.2.3.4, ".repeat(700)),
                ("X-Forwarded-For", "not an address"),
                ("Forwarded", "for=\"[::1\";;;"),
                ("traceparent", "00-zz-zz-zz"),
                ("traceparent", &long),
                ("Content-Encoding", "gzip"),
                ("Accept-Encoding", &"gzip;q=9999999999,".repeat(300)),
                ("Range", "bytes=0-,0-,0-,0-"),
                ("Expect", "the unexpected"),
                ("Upgrade", "websocket"),
            ] {
                let answer = place.get(path).field(name, value).send();
                // 501 and 417 say which wish is not served.
                if !matches!(answer.status, 417 | 501) {
                    tells_nothing(&format!("{path} {name}"), &answer);
                }
            }
        }
    }
    is_well(demo);
}

#[test]
fn heads_that_are_too_large_are_431_or_414_everywhere() {
    for place in [demo().public, demo().gateway] {
        let answer = place.get(&format!("/login?x={}", "a".repeat(9000))).send();
        assert_eq!(answer.problem()["status"], 414, "{}", place.port);
        let mut many = place.get("/login");
        for number in 0..150 {
            many = many.field(&format!("X-{number}"), "1");
        }
        assert_eq!(many.send().problem()["status"], 431, "{}", place.port);
        let mut large = place.get("/login");
        for number in 0..8 {
            large = large.field(&format!("X-{number}"), &"v".repeat(8000));
        }
        assert_eq!(large.send().problem()["status"], 431, "{}", place.port);
    }
    let place = demo().operations;
    let mut large = place.get("/metrics");
    for number in 0..150 {
        large = large.field(&format!("X-{number}"), &"v".repeat(8000));
    }
    let answer = place.raw(&large.bytes());
    assert!(answer.is_none_or(|answer| answer.status == 431));
}

#[test]
fn a_request_names_one_host() {
    for place in listeners() {
        for fields in ["", "Host: a\r\nHost: a\r\n", "Host: a\r\nhost: b\r\n"] {
            let text = format!("GET /login HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
            let answer = place.raw(text.as_bytes()).unwrap();
            assert_eq!(answer.problem()["status"], 400, "{} {fields:?}", place.port);
        }
    }
}
