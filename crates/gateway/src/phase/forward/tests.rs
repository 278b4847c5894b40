use std::net::IpAddr;

use http::{Method, Uri, Version};

use super::*;
use crate::head::Head;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// What is left of these cookies.
fn left(lines: &[&str]) -> Option<Option<String>> {
    let fields: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
    let private = ["session_id".to_owned(), "__Host-session_id".to_owned()];
    without(&headers(&fields), &private)
        .map(|rest| rest.map(|rest| rest.to_str().unwrap().to_owned()))
}

#[test]
fn private_cookies_are_taken_out_however_they_are_written() {
    let some = |text: &str| Some(Some(text.to_owned()));
    assert_eq!(left(&["a=b; c=d"]), None);
    assert_eq!(left(&["session_id=x"]), Some(None));
    assert_eq!(left(&["a=b;session_id=x;c=d"]), some("a=b; c=d"));
    assert_eq!(left(&["a=b", "  session_id=x", "c=d=e"]), some("a=b; c=d=e"));
    assert_eq!(left(&["__Host-session_id=x; a=\"b\""]), some("a=\"b\""));
    assert_eq!(left(&["session_id=x; session_id=y"]), Some(None));
    // A line that cannot be read is not passed on: nobody knows what is in it.
    let mut odd = headers(&[("cookie", "a=b")]);
    odd.append("cookie", HeaderValue::from_bytes(b"\xff; session_id=x").unwrap());
    let rest = without(&odd, &["session_id".to_owned()]).unwrap().unwrap();
    assert_eq!(rest, "a=b");
    // Names are compared as they stand: this is another cookie (RFC 6265 §5.4).
    assert_eq!(left(&["Session_id=x"]), None);
}

#[test]
fn a_response_loses_what_is_for_one_hop_and_keeps_its_framing_and_cookies() {
    let mut answer = headers(&[
        ("connection", "close, X-Secret, Set-Cookie, content-length"),
        ("x-secret", "1"),
        ("set-cookie", "a=b"),
        ("content-length", "3"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("upgrade", "h2c"),
        ("x-request-id", "theirs"),
        ("x-internal-token", "leaked"),
        ("etag", "x"),
    ]);
    clean(&mut answer);
    let mut names: Vec<_> = answer.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "etag", "set-cookie"]);
}

#[test]
fn a_target_that_does_not_change_is_not_written_again() {
    let raw: PathAndQuery = "/a/b?c=d".parse().unwrap();
    let same = target("/a/b", Some("c=d"), Some(&raw)).unwrap();
    assert_eq!(same.as_str().as_ptr(), raw.as_str().as_ptr());
    assert_eq!(target("/b", Some("c=d"), Some(&raw)).unwrap(), "/b?c=d");
    assert_eq!(target("/b", Some(""), None).unwrap(), "/b?");
    assert_eq!(target("/b", None, None).unwrap(), "/b");
}

#[test]
fn what_a_stranger_says_about_where_it_comes_from_is_replaced() {
    let (method, uri) = (Method::GET, Uri::from_static("/x"));
    let fields = headers(&[
        ("host", "shop.example"),
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
    ]);
    let peer: IpAddr = "192.0.2.1".parse().unwrap();
    let head = Head {
        method: &method,
        uri: &uri,
        version: Version::HTTP_11,
        headers: &fields,
        peer,
        secure: false,
    };
    let peer = HeaderValue::from_static("192.0.2.1");
    let origin = Origin {
        headers: head.headers,
        peer: &peer,
        secure: head.secure,
        host: fields.get("host").cloned(),
        private_cookies: &[],
        keep_traceparent: true,
        forwarded_by: ForwardedBy::XForwardedFor,
    };
    let client: IpAddr = "198.51.100.1".parse().unwrap();
    assert_eq!(forwarded(&origin, false, client), ["192.0.2.1", "http"]);
    assert_eq!(forwarded_host(&origin, false).unwrap(), "shop.example");
    assert_eq!(forwarded(&origin, true, client), ["198.51.100.1, 192.0.2.1", "https"]);
    assert_eq!(forwarded_host(&origin, true).unwrap(), "evil.example");
    let origin = Origin { forwarded_by: ForwardedBy::Forwarded, ..origin };
    assert_eq!(forwarded(&origin, true, client), ["198.51.100.1, 192.0.2.1", "https"]);
}

#[test]
fn a_service_cannot_touch_the_cookies_of_the_pages_on_its_origin() {
    let private = ["session_token".to_owned(), "csrf_token".to_owned()];
    let mut answer = headers(&[
        ("set-cookie", "session_token=; Max-Age=0; Path=/"),
        ("set-cookie", "cart=3; Path=/"),
        ("set-cookie", " Session_Token =stolen"),
        ("set-cookie", "csrf_token"),
        ("set-cookie", "session_token_hint=kept"),
        ("clear-site-data", "\"cookies\""),
        ("service-worker-allowed", "/"),
    ]);
    keep_out(&mut answer, &private);
    let kept: Vec<_> = answer.iter().map(|(name, value)| (name.as_str(), value)).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let cookies: Vec<_> = answer.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["cart=3; Path=/", "session_token_hint=kept"]);
}
