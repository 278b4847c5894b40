use std::{collections::VecDeque, io::Read as _, task::Waker};

use http::Response;

use super::*;

fn text(bytes: usize) -> Bytes {
    let words = (0..).map(|n| format!("{{\"line\": {n}, \"of\": \"an answer\"}}\n"));
    let mut text = Vec::new();
    for word in words {
        if text.len() >= bytes {
            break;
        }
        text.extend(word.bytes());
    }
    text.truncate(bytes);
    text.into()
}

fn read(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    // What comes in the middle has no end yet.
    let _ = match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text),
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text),
        Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut text),
    };
    text
}

/// Places where there is so much memory.
fn room(bytes: u64) -> Room {
    Room::new(&Memory::new(bytes))
}

const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

fn answer(fields: &[(&str, &str)]) -> response::Parts {
    let mut answer = Response::builder().header("content-type", "application/json");
    for (name, value) in fields {
        answer.headers_mut().unwrap().remove(*name);
        answer = answer.header(*name, *value);
    }
    answer.body(()).unwrap().into_parts().0
}

fn begun(coding: Coding, head: &mut response::Parts, length: Option<u64>) -> Option<Encoding> {
    Wish { coding: Some(coding), has_weak: false }.begin(head, length, &room(1 << 40))
}

type Next = Poll<Option<Result<Frame<Bytes>, Cut>>>;

/// What comes of all of these, as one.
fn said(encoding: &mut Encoding, parts: Vec<Next>) -> (Vec<u8>, Vec<Next>) {
    let (mut parts, mut bytes, mut others) = (VecDeque::from(parts), Vec::new(), Vec::new());
    let mut cx = Context::from_waker(Waker::noop());
    while !encoding.is_over() {
        match encoding.poll(&mut cx, |_| parts.pop_front().unwrap_or(Poll::Ready(None))) {
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                bytes.extend(frame.into_data().unwrap());
            }
            Poll::Pending => {}
            other => {
                let is_wrong = matches!(other, Poll::Ready(Some(Err(_)) | None));
                others.push(other);
                if is_wrong {
                    break;
                }
            }
        }
    }
    (bytes, others)
}

fn data(bytes: impl Into<Bytes>) -> Next {
    Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
}

#[test]
fn what_was_compressed_is_what_was_said() {
    for coding in ALL {
        for length in [1, 1023, 70_000, 1_000_000] {
            let text = text(length);
            let mut encoding = begun(coding, &mut answer(&[]), None).unwrap();
            let parts = text.chunks(100_000).map(|part| data(Bytes::copy_from_slice(part)));
            let (bytes, others) = said(&mut encoding, parts.collect());
            assert!(others.is_empty());
            assert!(length < 1000 || bytes.len() < length / 4, "{coding:?}: {}", bytes.len());
            assert_eq!(read(coding, &bytes), text, "{coding:?}");
        }
    }
}

#[test]
fn what_was_said_is_not_held_back_while_nothing_follows() {
    let mut cx = Context::from_waker(Waker::noop());
    for coding in ALL {
        let mut encoding = begun(coding, &mut answer(&[]), None).unwrap();
        let (mut bytes, mut expected) = (Vec::new(), String::new());
        for event in 0..20 {
            let event = format!("data: {event}\n\n");
            expected += &event;
            let mut parts = VecDeque::from([data(event)]);
            while let Poll::Ready(part) =
                encoding.poll(&mut cx, |_| parts.pop_front().unwrap_or(Poll::Pending))
            {
                bytes.extend(part.unwrap().unwrap().into_data().unwrap());
            }
            assert_eq!(read(coding, &bytes), expected.as_bytes(), "{coding:?}");
        }
    }
}

#[test]
fn what_follows_a_body_follows_it_and_what_breaks_off_does_not_end() {
    for coding in ALL {
        let mut encoding = begun(coding, &mut answer(&[]), None).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("1"));
        let end = Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        let (bytes, others) = said(&mut encoding, vec![data(text(5000)), end]);
        assert_eq!(read(coding, &bytes), text(5000));
        let [Poll::Ready(Some(Ok(frame)))] = others.as_slice() else { panic!("{others:?}") };
        assert!(frame.trailers_ref().unwrap().contains_key("x-checksum"));

        let mut encoding = begun(coding, &mut answer(&[]), None).unwrap();
        let broken = Poll::Ready(Some(Err(Cut::ServiceBroke)));
        let (_, others) = said(&mut encoding, vec![data(text(5000)), broken]);
        assert!(matches!(others.as_slice(), [Poll::Ready(Some(Err(Cut::ServiceBroke)))]));
        assert!(!encoding.is_over());
    }
}

#[test]
fn a_turn_ends_and_places_are_few() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut encoding = begun(Coding::Zstd, &mut answer(&[]), Some(1 << 20)).unwrap();
    let mut asked = 0;
    let polled = encoding.poll(&mut cx, |_| {
        asked += 1;
        data(vec![0; 1 << 20])
    });
    assert!(polled.is_pending() && asked == 1);
    let (places, wish) = (room(1 << 40), Wish { coding: Some(Coding::Gzip), has_weak: false });
    let mut all: Vec<_> =
        (0..MOST_AT_ONCE).map(|_| wish.begin(&mut answer(&[]), None, &places).unwrap()).collect();
    let mut head = answer(&[("etag", "\"1\"")]);
    assert!(wish.begin(&mut head, None, &places).is_none());
    assert!(!head.headers.contains_key("content-encoding"));
    assert_eq!(head.headers["etag"], "\"1\"");
    all.pop();
    assert!(wish.begin(&mut head, None, &places).is_some());
}

#[test]
fn what_compresses_is_memory_that_is_held_until_it_is_over() {
    let memory = Memory::new(1 << 40);
    let (_, budget) = memory.held();
    let room = Room::new(&memory);
    for coding in ALL {
        let wish = Wish { coding: Some(coding), has_weak: false };
        let encoding = wish.begin(&mut answer(&[]), None, &room).unwrap();
        assert_eq!(memory.held(), (coder::holds(coding), budget), "{coding:?}");
        drop(encoding);
        assert_eq!(memory.held().0, 0);
    }
    // Where there is little left, answers are longer, and nobody is refused for them.
    let rest = memory.charge(budget / 4 * 3 + 1);
    let wish = Wish { coding: Some(Coding::Zstd), has_weak: false };
    let mut head = answer(&[("etag", "\"1\""), ("content-length", "5000")]);
    assert!(wish.begin(&mut head, Some(5000), &room).is_none());
    assert_eq!(head.headers["content-length"], "5000");
    assert_eq!(head.headers["etag"], "\"1\"");
    assert!(!head.headers.contains_key("content-encoding"));
    drop(rest);
    assert!(wish.begin(&mut head, Some(5000), &room).is_some());
}

#[test]
fn what_compresses_closes_no_door_to_new_connections() {
    let memory = Memory::new(64 << 20);
    // As many workers as there may be.
    let rooms: Vec<_> = (0..64).map(|_| Room::new(&memory)).collect();
    let all = rooms.iter().flat_map(|room| std::iter::from_fn(|| room.take(Coding::Brotli)));
    let places: Vec<_> = all.collect();
    assert!(!places.is_empty() && places.len() < 64);
    assert!(!memory.is_full());
}

#[test]
fn the_head_says_what_became_of_it() {
    let fields = [
        ("content-length", "5000"),
        ("etag", "\"1\""),
        ("vary", "Origin"),
        ("accept-ranges", "bytes"),
        ("cache-control", "private, max-age=1"),
    ];
    let mut head = answer(&fields);
    assert!(begun(Coding::Brotli, &mut head, Some(5000)).is_some());
    assert_eq!(head.headers["content-encoding"], "br");
    assert_eq!(head.headers["etag"], "W/\"1\"");
    let vary: Vec<_> = head.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Origin", "Accept-Encoding"]);
    assert!(!head.headers.contains_key("content-length"));
    assert!(!head.headers.contains_key("accept-ranges"));
    // Whoever wants nothing compressed gets another answer than others, and is told so.
    let mut head = answer(&fields);
    let nothing = Wish { coding: None, has_weak: false };
    assert!(nothing.begin(&mut head, Some(5000), &room(1 << 40)).is_none());
    assert_eq!(head.headers["content-length"], "5000");
    assert_eq!(head.headers.get_all("vary").iter().count(), 2);
    // What the client has is named as it was named.
    for (has_weak, tag) in [(true, "W/\"1\""), (false, "\"1\"")] {
        let mut head = answer(&fields);
        head.status = StatusCode::NOT_MODIFIED;
        let wish = Wish { coding: Some(Coding::Gzip), has_weak };
        assert!(wish.begin(&mut head, None, &room(1 << 40)).is_none());
        assert_eq!(head.headers["etag"], tag);
    }
}

#[test]
fn what_does_not_gain_or_must_stay_is_left_alone() {
    let begins = |fields: &[(&str, &str)], length| {
        let mut head = answer(fields);
        let begins = begun(Coding::Gzip, &mut head, length).is_some();
        assert_eq!(head.headers.contains_key("content-encoding"), begins);
        begins
    };
    assert!(begins(&[], Some(1024)) && !begins(&[], Some(1023)));
    for (kind, gains) in [
        ("text/html; charset=utf-8", true),
        ("TEXT/EVENT-STREAM", true),
        ("application/problem+json", true),
        ("application/atom+xml;x=1", true),
        ("image/svg+xml", true),
        ("application/wasm", true),
        ("font/ttf", true),
        ("font/woff2", false),
        ("image/png", false),
        ("video/mp4", false),
        ("application/zip", false),
        ("application/octet-stream", false),
        ("application/grpc", false),
        ("application/grpc+proto", false),
        ("application/grpc+json", false),
        ("application/grpc-web+json", false),
        ("application/grpc-web-text", false),
        ("text", false),
        ("", false),
    ] {
        assert_eq!(begins(&[("content-type", kind)], None), gains, "{kind}");
    }
    for (name, value) in [
        ("content-range", "bytes 0-1/2"),
        ("set-cookie", "a=b"),
        ("cache-control", "public, No-Transform"),
        ("content-digest", "sha-256=:AA==:"),
        ("digest", "sha-256=AA=="),
        ("repr-digest", "sha-256=:AA==:"),
        ("content-md5", "AA=="),
        ("signature", "a=:AA==:"),
    ] {
        assert!(!begins(&[(name, value)], None), "{name}");
    }
    for coding in ["gzip", "identity", "br"] {
        let mut head = answer(&[("content-encoding", coding)]);
        assert!(begun(Coding::Gzip, &mut head, None).is_none());
        assert_eq!(head.headers["content-encoding"], coding);
    }
    for status in [100, 101, 204, 205, 206, 304] {
        let mut head = answer(&[]);
        head.status = StatusCode::from_u16(status).unwrap();
        assert!(begun(Coding::Gzip, &mut head, None).is_none(), "{status}");
    }
}
