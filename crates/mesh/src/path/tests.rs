use proptest::prelude::*;

use super::*;

fn path(target: &str) -> Result<String, PathRefused> {
    Target::parse(target.as_bytes()).map(|target| target.path().to_string())
}

#[test]
fn keeps_paths_that_have_one_reading() {
    for same in [
        "/",
        "/orders",
        "/orders/",
        "/orders/17/items",
        "/a.b/c-d_e~f",
        "/.well-known/openid-configuration",
        "/...x/..y/.z",
        "/a:b@c/d,e=f&g",
        "/(x)/!$*+'",
        "/100%25",
        "/100%25/50%25-off",
        "/100%25usable",
        "/caf%C3%A9",
        "/%E6%89%8B%E5%BD%A2",
        "/a%20b",
        "/a%3Fb%23c",
    ] {
        assert_eq!(path(same).as_deref(), Ok(same));
        assert_eq!(path(same).and_then(|once| path(&once)).as_deref(), Ok(same));
    }
}

#[test]
fn gives_each_path_one_form() {
    for (sent, normal) in [
        ("/%6Frders", "/orders"),
        ("/%6f%72ders/%31", "/orders/1"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/%7Euser", "/~user"),
        ("/a%2db%5fc", "/a-b_c"),
        ("/a%3ab", "/a%3Ab"),
        ("/x|y", "/x%7Cy"),
        ("/x%7cy", "/x%7Cy"),
        ("/{id}", "/%7Bid%7D"),
        ("/%2e%61", "/.a"),
    ] {
        assert_eq!(path(sent).as_deref(), Ok(normal), "{sent}");
    }
}

#[test]
fn copies_nothing_that_is_normal_already() {
    let target = Target::parse(b"/orders/17?x=1").unwrap();
    assert!(matches!(target.path, NormalPath(Cow::Borrowed("/orders/17"))));
}

#[test]
fn keeps_the_query_apart_and_unchanged() {
    let target = Target::parse(b"/a?b=/../c&d=%2F%2e;e?f//").unwrap();
    assert_eq!((target.path().as_str(), target.query()), ("/a", Some("b=/../c&d=%2F%2e;e?f//")));
    assert_eq!(Target::parse(b"/a?").unwrap().query(), Some(""));
    assert_eq!(Target::parse(b"/a").unwrap().query(), None);
    for bad in [&b"/a?b c"[..], b"/a?b\r\nX: y", b"/a?b#c", b"/a?\xff", b"/a?\0"] {
        assert!(Target::parse(bad).is_err(), "{bad:?}");
    }
}

/// Targets of published attacks on proxies, gateways and application servers, with what refuses
/// them here. Each must be refused as a whole: none has a repaired form.
#[test]
fn refuses_hostile_paths() {
    use PathRefused::*;
    let corpus: &[(&str, PathRefused)] = &[
        // Climbing out, plain and encoded (CVE-2019-9901 and the whole of CWE-22).
        ("/..", DotSegment),
        ("/.", DotSegment),
        ("/../etc/passwd", DotSegment),
        ("/public/../admin", DotSegment),
        ("/public/./admin", DotSegment),
        ("/public/..", DotSegment),
        ("/public/.", DotSegment),
        ("/public/%2e%2e/admin", DotSegment),
        ("/public/%2E%2E/admin", DotSegment),
        ("/public/.%2e/admin", DotSegment),
        ("/public/%2e./admin", DotSegment),
        ("/public/%2e/admin", DotSegment),
        ("/%2e%2e", DotSegment),
        ("/public/..%20/admin", DotSegment),
        ("/public/%20../admin", DotSegment),
        ("/public/.../admin", DotSegment),
        ("/public/....//admin", DotSegment),
        ("/public/.%20./admin", DotSegment),
        // Separators in disguise (CVE-2021-32777, CVE-2021-29492, CVE-2024-45410's relatives).
        ("/public%2fadmin", EncodedSlash),
        ("/public%2Fadmin", EncodedSlash),
        ("/public/..%2fadmin", EncodedSlash),
        ("/public/%2e%2e%2fadmin", EncodedSlash),
        ("/%2f%2fevil.example/", EncodedSlash),
        ("/public%5cadmin", Backslash),
        ("/public%5Cadmin", Backslash),
        ("/public\\admin", Backslash),
        ("/public/..\\admin", Backslash),
        ("/\\evil.example", Backslash),
        // Empty segments, and `//` taken for an authority (CVE-2026-26205).
        ("//", EmptySegment),
        ("//admin", EmptySegment),
        ("//evil.example/%2e%2e", EmptySegment),
        ("/public//admin", EmptySegment),
        ("/public///", EmptySegment),
        ("/a//", EmptySegment),
        ("/http://internal/", EmptySegment),
        // Parameters, behind which Java servers hide segments (Tomcat, Spring; CVE-2020-1938's kin).
        ("/public;/admin", Parameters),
        ("/public/..;/admin", Parameters),
        ("/;a=b/admin", Parameters),
        ("/admin;.css", Parameters),
        ("/admin%3b.css", Parameters),
        ("/public/..%3B/admin", Parameters),
        ("/public/%2e%2e;x/admin", Parameters),
        // Encoded twice (CVE-2021-41773 and -42013, CVE-2026-42274).
        ("/public/%252e%252e/admin", DoubleEncoding),
        ("/public/%25%32%65%25%32%65/admin", DoubleEncoding),
        ("/public/%%32%65%%32%65/admin", MalformedEscape),
        ("/public/.%252e/admin", DoubleEncoding),
        ("/public%252fadmin", DoubleEncoding),
        ("/public%252Fadmin", DoubleEncoding),
        ("/public%25252fadmin", DoubleEncoding),
        ("/public%255cadmin", DoubleEncoding),
        ("/x%2500", DoubleEncoding),
        ("/x%253b", DoubleEncoding),
        ("/x%25u002e", DoubleEncoding),
        // Broken escapes: what one decoder drops, another keeps.
        ("/%", MalformedEscape),
        ("/%2", MalformedEscape),
        ("/%zz", MalformedEscape),
        ("/%2g", MalformedEscape),
        ("/%u002e%u002e/", MalformedEscape),
        ("/%uff0e%uff0e/", MalformedEscape),
        ("/% 2e", MalformedEscape),
        ("/%+2", MalformedEscape),
        ("/%-1", MalformedEscape),
        ("/%0x2e", MalformedEscape),
        // NUL and controls: truncation, log and header injection.
        ("/admin%00", Nul),
        ("/admin%00.css", Nul),
        ("/admin\0.css", Nul),
        ("/admin%0d%0aSet-Cookie:x", Control),
        ("/admin%0a", Control),
        ("/admin\n", Control),
        ("/admin\r\nHost: x", Control),
        ("/admin%09", Control),
        ("/admin\t", Control),
        ("/admin%7f", Control),
        ("/admin%C2%85", Control),
        ("/admin%1b[31m", Control),
        // Not UTF-8: overlong slashes and dots (CVE-2000-0884), surrogates, cut and stray bytes.
        ("/%c0%ae%c0%ae/admin", NotUtf8),
        ("/public%c0%afadmin", NotUtf8),
        ("/public%e0%80%afadmin", NotUtf8),
        ("/public%f0%80%80%afadmin", NotUtf8),
        ("/public%c1%9cadmin", NotUtf8),
        ("/x%ed%a0%80", NotUtf8),
        ("/x%f4%90%80%80", NotUtf8),
        ("/x%ff", NotUtf8),
        ("/x%80", NotUtf8),
        ("/x%c3", NotUtf8),
        ("/x%c3x%a9", NotUtf8),
        // Bytes that must not stand in a target.
        ("/admin x", IllegalByte),
        ("/admin#x", IllegalByte),
        ("/café", IllegalByte),
        ("/．．/", IllegalByte),
        // Not origin form.
        ("", NotAbsolute),
        ("*", NotAbsolute),
        ("admin", NotAbsolute),
        ("../admin", NotAbsolute),
        ("%2fadmin", NotAbsolute),
        ("?x", NotAbsolute),
        ("http://evil.example/admin", NotAbsolute),
        ("@evil.example/", NotAbsolute),
        (".evil.example/", NotAbsolute),
        (":80/", NotAbsolute),
    ];
    for (target, reason) in corpus {
        assert_eq!(path(target), Err(*reason), "{target:?}");
    }
}

#[test]
fn bounds_the_target_and_not_the_path_alone() {
    assert!(path(&format!("/{}", "a".repeat(8191))).is_ok());
    assert_eq!(path(&format!("/{}", "a".repeat(8192))), Err(PathRefused::TooLong));
    assert_eq!(path(&format!("/a?{}", "a".repeat(8190))), Err(PathRefused::TooLong));
    // Escaped, `^` is three bytes.
    assert!(path(&format!("/{}?{}", "^".repeat(2000), "a".repeat(2190))).is_ok());
    assert_eq!(
        path(&format!("/{}?{}", "^".repeat(2000), "a".repeat(2191))),
        Err(PathRefused::TooLong)
    );
}

#[test]
fn reasons_have_distinct_names() {
    use PathRefused::*;
    let all = [
        TooLong,
        NotAbsolute,
        IllegalByte,
        MalformedEscape,
        Nul,
        Control,
        EncodedSlash,
        Backslash,
        DoubleEncoding,
        NotUtf8,
        DotSegment,
        EmptySegment,
        Parameters,
    ];
    let names: std::collections::BTreeSet<_> = all.iter().map(|reason| reason.id()).collect();
    assert_eq!(names.len(), all.len());
}

/// Decodes as a careless server would: every escape, as often as there are any.
fn decode_fully(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    loop {
        let mut decoded = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((byte, tail)) = rest.split_first() {
            let hex = |index: usize| tail.get(index).and_then(|b| char::from(*b).to_digit(16));
            if let (b'%', Some(high), Some(low)) = (byte, hex(0), hex(1)) {
                decoded.push(u8::try_from(high * 16 + low).unwrap());
                rest = &tail[2..];
            } else {
                decoded.push(*byte);
                rest = tail;
            }
        }
        if decoded == bytes {
            return decoded;
        }
        bytes = decoded;
    }
}

fn target() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-z0-9]{1,4}",
        3 => Just("/".to_owned()),
        2 => prop_oneof![Just("."), Just(".."), Just("%2e"), Just("%2E"), Just("%25"), Just("%20")]
            .prop_map(str::to_owned),
        2 => "%[0-9a-fA-F]{2}",
        1 => prop_oneof![Just("%2f"), Just("%5c"), Just("\\"), Just(";"), Just("%00"), Just("%c0%af")]
            .prop_map(str::to_owned),
        1 => "[ -~]",
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn is_idempotent(target in target()) {
        if let Ok(once) = path(&target.replace('?', "")) {
            prop_assert_eq!(path(&once), Ok(once));
        }
    }

    /// Whatever the server behind us decodes, and however often, it finds no other structure than
    /// the one that was authorised.
    #[test]
    fn no_reader_finds_another_structure(target in target()) {
        if let Ok(normal) = path(&target.replace('?', "")) {
            let read = decode_fully(&normal);
            let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
            prop_assert_eq!(slashes(&read), slashes(normal.as_bytes()));
            prop_assert!(!read.contains(&b'\\') && !read.contains(&0) && !read.contains(&b';'));
            prop_assert!(!read.windows(2).any(|pair| pair == b"//"));
            for segment in read.split(|byte| *byte == b'/') {
                prop_assert!(segment != b"." && segment != b"..", "{}", normal);
            }
            prop_assert!(std::str::from_utf8(&read).is_ok());
        }
    }

    #[test]
    fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Target::parse(&bytes);
    }
}
