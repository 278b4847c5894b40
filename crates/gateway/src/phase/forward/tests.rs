use std::net::IpAddr;

use tegata_core::Proxies;

use super::*;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn without(headers: &HeaderMap, private: &[String]) -> Option<Option<HeaderValue>> {
    Passing::new(private, None, Agreed::NOTHING).of_request(headers)
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
    // Several lines become one, whatever is in them.
    assert_eq!(left(&["a=b", "c=d"]), some("a=b; c=d"));
    assert_eq!(without(&headers(&[("cookie", "a=b")]), &[]), None);
    let both = without(&headers(&[("cookie", "session_id=x"), ("cookie", "c=d; odd")]), &[]);
    assert_eq!(both.unwrap().unwrap(), "session_id=x; c=d; odd");
    // What is no text stays beside ours, and does not hide it.
    for (line, left) in [
        (&b"\xff; session_id=x; c=\xe9"[..], &b"a=b; \xff; c=\xe9"[..]),
        (b"session_id=\xff; \xa0session_id\x85=x; \xffsession_id=y", b"a=b"),
        (b"=\xa0=session_id=x; session\xc2\xa0_id=x", b"a=b"),
    ] {
        let mut odd = headers(&[("cookie", "a=b")]);
        odd.append("cookie", HeaderValue::from_bytes(line).unwrap());
        let rest = without(&odd, &["session_id".to_owned()]).unwrap().unwrap();
        assert_eq!(rest.as_bytes(), left);
    }
    // Names are compared as they stand: this is another cookie (RFC 6265 §5.4).
    assert_eq!(left(&["Session_id=x"]), None);
    // What some servers trim, and what some read for a name, is taken out all the same.
    assert_eq!(left(&["session_id\t=x; a=b"]), some("a=b"));
    assert_eq!(left(&["=session_id=x; a=b; odd"]), some("a=b; odd"));
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

/// What is told of a request with these fields from 192.0.2.1, which is a trusted proxy, or a
/// stranger: the addresses, the scheme and the host.
fn told(fields: &HeaderMap, proxies: &Proxies, hosts: &[&str], client_alone: bool) -> String {
    let peer: IpAddr = "192.0.2.1".parse().unwrap();
    let said = proxies
        .say(peer, fields.get_all(proxies.forwarded_by.header()).iter().map(HeaderValue::as_bytes));
    let admitted = Admitted {
        fields: Fields::read(fields),
        target: tegata_mesh::Target::parse(b"/x").unwrap(),
        client: said.client,
        behind_proxy: proxies.are_at(peer),
        came: [said.proto, said.host],
        limit: Vec::new(),
    };
    let peer = HeaderValue::from_static("192.0.2.1");
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let origin = Origin {
        headers: fields,
        peer: &peer,
        secure: false,
        host: fields.get("host").cloned(),
        passing: Passing::default(),
        keep_traceparent: true,
        forwarded_by: proxies.forwarded_by,
        hosts: &hosts,
        client_alone,
    };
    let [address, scheme] = [address(&origin, &admitted), scheme(&origin, &admitted)];
    let host = forwarded_host(&origin, &admitted).unwrap();
    [address, scheme, host].map(|value| value.to_str().unwrap().to_owned()).join(" | ")
}

/// What a client says about where it comes from, and the host that it asks for.
const CLAIMS: [(&str, &str); 5] = [
    ("host", "shop.example"),
    ("x-forwarded-for", "198.51.100.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "other.example"),
    ("forwarded", "for=198.51.100.1;proto=HTTPS;host=other.example"),
];

fn proxies(forwarded_by: ForwardedBy) -> Proxies {
    let trusted = ["192.0.2.0/24", "10.0.0.0/8"].map(|text| text.parse().unwrap()).to_vec();
    Proxies { trusted, forwarded_by }
}

#[test]
fn what_a_stranger_says_about_where_it_comes_from_is_replaced() {
    for forwarded_by in [ForwardedBy::XForwardedFor, ForwardedBy::Forwarded] {
        let nobody = Proxies { trusted: vec![], forwarded_by };
        for alone in [false, true] {
            let told = told(&headers(&CLAIMS), &nobody, &[], alone);
            assert_eq!(told, "192.0.2.1 | http | shop.example");
        }
    }
}

#[test]
fn what_a_trusted_proxy_says_is_continued() {
    let x = proxies(ForwardedBy::XForwardedFor);
    let chain = "198.51.100.1, 192.0.2.1 | https | other.example";
    assert_eq!(told(&headers(&CLAIMS), &x, &[], false), chain);
    let forwarded = proxies(ForwardedBy::Forwarded);
    assert_eq!(told(&headers(&CLAIMS), &forwarded, &[], false), chain);
}

#[test]
fn only_what_the_proxies_write_themselves_is_believed() {
    let forwarded = proxies(ForwardedBy::Forwarded);
    let own = "198.51.100.1, 192.0.2.1 | http | shop.example";
    for line in [
        "for=198.51.100.1",
        "for=9.9.9.9;proto=https;host=other.example, for=198.51.100.1",
        "for=198.51.100.1;proto=ftp;host=\"a b\"",
        "for=198.51.100.1;proto=\"https, http\";host=\"a,b\"",
    ] {
        // The client's own `X-Forwarded-*` come with it.
        let mut fields = headers(&CLAIMS);
        fields.insert("forwarded", line.parse().unwrap());
        assert_eq!(told(&fields, &forwarded, &[], false), own, "{line}");
    }
    // Nothing that can be read: the proxy itself asks.
    let mut fields = headers(&CLAIMS);
    fields.insert("forwarded", "for=\"198.51.100.1;proto=https".parse().unwrap());
    let nobody = "192.0.2.1, 192.0.2.1 | http | shop.example";
    assert_eq!(told(&fields, &forwarded, &[], false), nobody);
}

#[test]
fn a_host_that_is_not_served_is_not_passed_on() {
    for forwarded_by in [ForwardedBy::XForwardedFor, ForwardedBy::Forwarded] {
        let proxies = proxies(forwarded_by);
        for (hosts, host) in [
            (&[][..], "other.example"),
            (&["shop.example", "OTHER.example"], "other.example"),
            (&["shop.example"], "shop.example"),
        ] {
            let told = told(&headers(&CLAIMS), &proxies, hosts, false);
            assert_eq!(told.rsplit(" | ").next(), Some(host), "{forwarded_by:?} {hosts:?}");
        }
    }
    let mut fields = headers(&CLAIMS);
    fields.insert("x-forwarded-host", "evil.example/path".parse().unwrap());
    let told = told(&fields, &proxies(ForwardedBy::XForwardedFor), &[], false);
    assert_eq!(told.rsplit(" | ").next(), Some("shop.example"));
}

#[test]
fn tegatas_own_pages_learn_the_client_and_no_proxy() {
    for forwarded_by in [ForwardedBy::XForwardedFor, ForwardedBy::Forwarded] {
        let mut fields = headers(&CLAIMS);
        fields.insert("x-forwarded-for", "9.9.9.9, 198.51.100.1, 10.0.0.2".parse().unwrap());
        fields.insert("forwarded", "for=9.9.9.9, for=198.51.100.1, for=10.0.0.2".parse().unwrap());
        let told = told(&fields, &proxies(forwarded_by), &[], true);
        assert_eq!(told.split(" | ").next(), Some("198.51.100.1"), "{forwarded_by:?}");
    }
}

#[test]
fn a_service_cannot_touch_the_cookies_of_the_pages_on_its_origin() {
    let private = ["session_token".to_owned(), "csrf_token".to_owned()];
    let mut answer = headers(&[
        ("set-cookie", "session_token=; Max-Age=0; Path=/"),
        ("set-cookie", "cart=3; Path=/"),
        ("set-cookie", " Session_Token =stolen"),
        ("set-cookie", "csrf_token"),
        // Browsers keep it without a name, and send back `session_token=planted`.
        ("set-cookie", "=session_token=planted; Path=/"),
        ("set-cookie", "\t = session_token=planted"),
        ("set-cookie", "; Path=/"),
        ("set-cookie", "session_token_hint=kept"),
        ("clear-site-data", "\"cookies\""),
        ("service-worker-allowed", "/"),
    ]);
    keep_out(&mut answer, &Passing::new(&private, None, Agreed::NOTHING));
    let kept: Vec<_> = answer.iter().map(|(name, value)| (name.as_str(), value)).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let cookies: Vec<_> = answer.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["cart=3; Path=/", "session_token_hint=kept"]);
}
