use proptest::prelude::*;

use super::*;

fn feed(bytes: &[u8]) -> Result<u64, Refused> {
    let mut guard = Guard::new();
    guard.feed(bytes).map(|_| guard.heads())
}

fn fault(bytes: &str) -> Option<Fault> {
    feed(bytes.as_bytes()).err().map(|refused| refused.fault)
}

/// A request with these fields after `Host`.
fn with(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn sound_requests_pass_whatever_comes_after_them() {
    for (text, heads) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 1),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 1),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 1),
        (format!("{}hello{}", with("Content-Length: 5\r\n"), with("")), 2),
        (format!("{}GET /{}", with("Content-Length: 5\r\n"), with("")), 2),
        (
            format!(
                "{}5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n{}",
                with("Transfer-Encoding: chunked\r\n"),
                with("")
            ),
            2,
        ),
        (format!("{}0\r\nX-Sum: 1\r\n\r\n{}", with("Transfer-Encoding: Chunked\r\n"), with("")), 2),
        (with("X-Empty:\r\nX-Tab:\ta\tb\t\r\nX-High: \u{e9}\r\n"), 1),
    ] {
        assert_eq!(feed(text.as_bytes()), Ok(heads), "{text:?}");
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    use Fault::*;
    for (fields, expected) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BothFramings),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", BothFramings),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", BothFramings),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Length),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Length),
        ("Content-Length: 5, 5\r\n", Length),
        ("Content-Length: +5\r\n", Length),
        ("Content-Length: -5\r\n", Length),
        ("Content-Length: 0x5\r\n", Length),
        ("Content-Length: 5 5\r\n", Length),
        ("Content-Length:\r\n", Length),
        ("Content-Length: 9999999999999999999999\r\n", Length),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Coding),
        ("Transfer-Encoding: chunked, chunked\r\n", Coding),
        ("Transfer-Encoding: gzip, chunked\r\n", Coding),
        ("Transfer-Encoding: identity\r\n", Coding),
        ("Transfer-Encoding: xchunked\r\n", Coding),
        ("Transfer-Encoding: \u{b}chunked\r\n", FieldValue),
        ("Transfer-Encoding : chunked\r\n", FieldName),
        ("Transfer-Encoding\r\n : chunked\r\n", FieldName),
        ("Transfer\u{0}-Encoding: chunked\r\n", FieldName),
        (" Transfer-Encoding: chunked\r\n", Folded),
        ("X: a\r\n\tTransfer-Encoding: chunked\r\n", Folded),
        ("X: a\nTransfer-Encoding: chunked\r\n", LineEnd),
        ("X: a\rTransfer-Encoding: chunked\r\n", FieldValue),
        ("X: a\r\r\n", FieldValue),
        (": a\r\n", FieldName),
        ("no colon\r\n", FieldName),
    ] {
        assert_eq!(fault(&with(fields)), Some(expected), "{fields:?}");
    }
    assert_eq!(fault("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(Coding));
}

#[test]
fn malformed_chunks_are_refused() {
    let head = with("Transfer-Encoding: chunked\r\n");
    for chunks in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "1 \r\n",
        "1\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "1;\u{1}\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
    ] {
        let refused = feed(format!("{head}{chunks}").as_bytes());
        assert!(refused.is_err(), "{chunks:?} {refused:?}");
    }
}

#[test]
fn malformed_request_lines_are_refused() {
    use Fault::*;
    for (line, expected) in [
        ("GET /", RequestLine),
        ("GET  / HTTP/1.1", RequestLine),
        ("GET / HTTP/1.1 ", RequestLine),
        (" GET / HTTP/1.1", RequestLine),
        ("GET\t/ HTTP/1.1", RequestLine),
        ("G{T / HTTP/1.1", RequestLine),
        ("GET / http/1.1", RequestLine),
        ("GET / HTTP/1.2", Version),
        ("GET / HTTP/2.0", Version),
        ("GET / HTTP/0.9", Version),
        ("GET / HTTP/1.1x", Version),
        ("GET /#a HTTP/1.1", TargetByte),
        ("GET /\u{e9} HTTP/1.1", TargetByte),
        ("GET /\u{0} HTTP/1.1", TargetByte),
        ("GET /<a> HTTP/1.1", TargetByte),
        ("GET /?a=\"b\" HTTP/1.1", TargetByte),
        ("GET http://[ HTTP/1.1", RequestLine),
        ("GET http:// HTTP/1.1", RequestLine),
        ("GET a/b HTTP/1.1", RequestLine),
        ("PRI * HTTP/2.1", Version),
    ] {
        assert_eq!(fault(&format!("{line}\r\nHost: a\r\n\r\n")), Some(expected), "{line:?}");
    }
    assert_eq!(fault("\r\n\r\n\r\n"), Some(RequestLine));
}

/// The parser behind the watch sees the beginning of a line before its end has come, and would refuse
/// it without a word.
#[test]
fn a_line_is_refused_as_soon_as_it_cannot_pass_any_more() {
    use Fault::*;
    for (begun, expected) in [
        ("GET  ", Some(RequestLine)),
        ("G{", Some(RequestLine)),
        (" ", Some(RequestLine)),
        ("GET\t", Some(RequestLine)),
        ("GET /#", Some(TargetByte)),
        ("GET /?a=\"", Some(TargetByte)),
        ("GET /\u{0}", Some(TargetByte)),
        ("GET / HTTP/1.1\r\nX ", Some(FieldName)),
        ("GET / HTTP/1.1\r\n:", Some(FieldName)),
        ("GET / HTTP/1.1\r\nX: a\u{0}", Some(FieldValue)),
        ("GET / HTTP/1.1\r\nX: a\r\n ", Some(Folded)),
        ("\r", None),
        ("GET", None),
        ("GET ", None),
        ("GET /a?b HTTP/1.1\r", None),
        ("GET / HTTP/1.1\r\nX", None),
        ("GET / HTTP/1.1\r\nX: a\r", None),
        ("GET / HTTP/1.1\r\nX: a\r\n\r", None),
    ] {
        assert_eq!(fault(begun), expected, "{begun:?}");
        // Byte by byte, too.
        let mut guard = Guard::new();
        let found = begun.bytes().find_map(|byte| guard.feed(&[byte]).err());
        assert_eq!(found.map(|refused| refused.fault), expected, "{begun:?}");
    }
}

#[test]
fn limits_hold_before_the_line_is_complete() {
    use Fault::*;
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 1));
    assert_eq!(fault(&target(8192)), None);
    assert_eq!(fault(&target(8193)), Some(TargetTooLong));
    assert_eq!(fault(&"G".repeat(9000)), Some(TargetTooLong));
    let value = |len: usize| with(&format!("X: {}\r\n", "a".repeat(len)));
    assert_eq!(fault(&value(8192)), None);
    assert_eq!(fault(&value(8193)), Some(FieldsTooLarge));
    assert_eq!(fault(with(&format!("X: {}", "a".repeat(9000))).trim_end()), Some(FieldsTooLarge));
    assert_eq!(fault(&with(&"X: a\r\n".repeat(99))), None);
    assert_eq!(fault(&with(&"X: a\r\n".repeat(100))), Some(TooManyFields));
    let block = format!("X: {}\r\n", "a".repeat(8000));
    assert_eq!(fault(&with(&block.repeat(4))), None);
    assert_eq!(fault(&with(&block.repeat(5))), Some(FieldsTooLarge));
    assert_eq!(fault(&with(&format!("{}: a\r\n", "x".repeat(257)))), Some(FieldsTooLarge));
}

#[test]
fn names_how_much_came_before_the_bad_request() {
    let (good, bad) = (with("Content-Length: 3\r\n") + "abc", with("Content-Length: 1, 1\r\n"));
    let refused = feed(format!("{good}{good}{bad}").as_bytes()).unwrap_err();
    assert_eq!(refused, Refused { sound: good.len() * 2, fault: Fault::Length });
}

#[test]
fn http2_is_left_alone_but_only_from_the_start() {
    let mut guard = Guard::new();
    guard.feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04").unwrap();
    assert!(guard.is_off());
    let late = format!("{}PRI * HTTP/2.0\r\n\r\n", with(""));
    assert_eq!(fault(&late), Some(Fault::Version));
}

#[test]
fn a_control_character_is_seen_wherever_it_stands() {
    let field = |value: &[u8]| line::field(&[b"x: ", value].concat()).map(drop);
    for len in 1..100 {
        for at in 0..len {
            for byte in 0..=255 {
                let mut value = vec![b'v'; len];
                value[at] = byte;
                let is_control = byte.is_ascii_control() && byte != b'\t';
                assert_eq!(field(&value) == Err(Fault::FieldValue), is_control, "{byte}");
            }
        }
    }
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("GET / HTTP/1.1\r\n".to_owned()),
        Just("Host: a\r\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("Content-Length: 3\r\n".to_owned()),
        Just("Transfer-Encoding: chunked\r\n".to_owned()),
        Just("3\r\nabc\r\n0\r\n\r\n".to_owned()),
        Just("abc".to_owned()),
        Just("\n".to_owned()),
        Just(" x\r\n".to_owned()),
        "[ -~\r\n]{0,12}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    /// However the bytes are cut, the same request is refused. Where two things are wrong with a line,
    /// which of them is named depends on what has come of it.
    #[test]
    fn the_answer_does_not_depend_on_the_pieces(
        bytes in requests(),
        cuts in proptest::collection::vec(1_usize..20, 1..20),
    ) {
        let mut whole = Guard::new();
        let passes = whole.feed(&bytes).is_ok();
        let mut guard = Guard::new();
        let (mut rest, mut cuts, mut refused) = (&bytes[..], cuts.iter().cycle(), None);
        while !rest.is_empty() && refused.is_none() {
            let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            refused = guard.feed(piece).err();
            rest = after;
        }
        prop_assert_eq!((refused.is_none(), guard.heads()), (passes, whole.heads()));
    }
}
