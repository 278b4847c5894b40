//! A question of Envoy, read as the head of a request that came to the gateway itself.
//!
//! Envoy shows fields with `encode_raw_headers` one by one and as they are, and otherwise put together by name and
//! with other bytes in place of those that are no text. Of the latter nobody knows what they were, so all of them
//! are said again in the answer: what was judged is what passes.

use std::{collections::HashMap, net::IpAddr};

use envoy_types::pb::envoy::{
    config::core::v3::{HeaderValue as Said, address::Address},
    service::auth::v3::{
        CheckRequest,
        attribute_context::{HttpRequest, Peer},
    },
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request::Parts,
};
use tegata_token::ClientCertificate;

use super::wire::Unanswered;
use crate::guard::{self, Fault, LONGEST_NAME};

/// A request that Envoy asks about.
#[derive(Debug)]
pub(crate) struct Question {
    /// Its head, without what belongs to one hop of HTTP/2.
    pub(crate) parts: Parts,
    /// Who sent it, as far as Envoy believes it.
    pub(crate) peer: IpAddr,
    /// Whether it came with TLS.
    pub(crate) secure: bool,
    /// The certificate that its client has shown.
    pub(crate) certificate: Option<ClientCertificate>,
    /// Whether the fields are as they came.
    pub(crate) exact: bool,
}

/// What a question turned out to be.
#[derive(Debug)]
pub(crate) enum Read {
    /// A request.
    Request(Box<Question>),
    /// None that could be told from another, of this client.
    Faulty(IpAddr, Fault),
}

/// Reads a question.
///
/// # Errors
/// It lacks something that every question has.
pub(crate) fn read(asked: CheckRequest) -> Result<Read, Unanswered> {
    let attributes = asked.attributes.ok_or(Unanswered::Message("`attributes` is missing"))?;
    let source = attributes.source.ok_or(Unanswered::Message("`source` is missing"))?;
    let peer = address(&source).ok_or(Unanswered::Message("`source` has no IP address"))?;
    let http = attributes.request.and_then(|request| request.http);
    let http = http.ok_or(Unanswered::Message("`request.http` is missing"))?;
    let certificate = certificate(&source.certificate);
    let (scheme, exact) = (http.scheme.eq_ignore_ascii_case("https"), is_exact(&http));
    Ok(match head(http) {
        Ok(parts) => {
            // Over HTTP/2 the scheme is the client's own word; how it came, Envoy writes beside it.
            let came = parts.headers.get_all("x-forwarded-proto");
            let is_tls = |it: &HeaderValue| it.as_bytes().eq_ignore_ascii_case(b"https");
            let secure = scheme && came.iter().all(is_tls);
            Read::Request(Box::new(Question { parts, peer, secure, certificate, exact }))
        }
        Err(fault) => Read::Faulty(peer, fault),
    })
}

fn address(source: &Peer) -> Option<IpAddr> {
    match source.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => socket.address.parse().ok(),
        _ => None,
    }
}

fn is_exact(http: &HttpRequest) -> bool {
    http.header_map.as_ref().is_some_and(|map| !map.headers.is_empty())
}

/// The head, by the rules that hold for one that is read here.
fn head(http: HttpRequest) -> Result<Parts, Fault> {
    let line = [http.method.as_bytes(), b" ", http.path.as_bytes(), b" HTTP/1.1"].concat();
    guard::check_line(&line)?;
    let method = Method::from_bytes(http.method.as_bytes()).map_err(|_| Fault::RequestLine)?;
    let uri = Uri::try_from(&http.path).map_err(|_| Fault::TargetByte)?;
    let version = match http.protocol.as_str() {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/2" => Version::HTTP_2,
        "HTTP/3" => Version::HTTP_3,
        _ => Version::HTTP_11,
    };
    let host = http.host;
    let mut headers = fields(http.header_map.map(|map| map.headers), &http.headers)?;
    // Envoy knows it under another name, and in one place.
    if !host.is_empty() && !headers.contains_key(header::HOST) {
        let host = HeaderValue::from_bytes(host.as_bytes()).map_err(|_| Fault::FieldValue)?;
        headers.insert(header::HOST, host);
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, version, headers);
    Ok(parts)
}

fn fields(exact: Option<Vec<Said>>, joined: &HashMap<String, String>) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &[u8]| {
        // What HTTP/2 says in front of the fields is said elsewhere, too.
        if name.starts_with(':') {
            return Ok(());
        }
        if name.len() > LONGEST_NAME {
            return Err(Fault::FieldsTooLarge);
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Fault::FieldName)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Fault::FieldValue)?;
        headers.try_append(name, value).map(|_| ()).map_err(|_| Fault::TooManyFields)
    };
    match exact.filter(|exact| !exact.is_empty()) {
        Some(exact) => {
            for Said { key, value, raw_value } in &exact {
                let value = if raw_value.is_empty() { value.as_bytes() } else { raw_value };
                add(key, value)?;
            }
        }
        None => {
            for (name, value) in joined {
                // Lines are joined by commas, and nobody knows where: what might be a cookie of its own is one.
                let cookies = (name == header::COOKIE.as_str()).then(|| value.replace(',', ";"));
                add(name, cookies.as_deref().unwrap_or(value).as_bytes())?;
            }
        }
    }
    Ok(headers)
}

/// The certificate that Envoy tells of, in PEM whose bytes are escaped as in an address. One that cannot be read
/// is none.
fn certificate(told: &str) -> Option<ClientCertificate> {
    if told.is_empty() {
        return None;
    }
    let read = unescaped(told).and_then(|pem| ClientCertificate::from_pem(&pem).ok());
    if read.is_none() {
        tracing::info!("a client certificate of which Envoy tells is passed over");
    }
    read
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut all = Vec::with_capacity(text.len());
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            all.push(byte);
            continue;
        }
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        all.push(u8::try_from(high << 4 | low).ok()?);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::{
        config::core::v3::{Address as Place, HeaderMap as SaidMap, SocketAddress},
        service::auth::v3::{AttributeContext, attribute_context::Request as Asked},
    };

    use super::*;

    fn question(http: HttpRequest) -> CheckRequest {
        let socket = SocketAddress { address: "192.0.2.7".to_owned(), ..Default::default() };
        let place = Place { address: Some(Address::SocketAddress(socket)) };
        let source = Peer { address: Some(place), ..Default::default() };
        let request = Asked { http: Some(http), ..Default::default() };
        let (source, request) = (Some(source), Some(request));
        CheckRequest {
            attributes: Some(AttributeContext { source, request, ..Default::default() }),
        }
    }

    fn plain(path: &str) -> HttpRequest {
        HttpRequest {
            method: "GET".to_owned(),
            path: path.to_owned(),
            host: "shop.example".to_owned(),
            protocol: "HTTP/1.1".to_owned(),
            ..Default::default()
        }
    }

    fn parts(http: HttpRequest) -> Result<Question, Fault> {
        match read(question(http)).unwrap() {
            Read::Request(question) => Ok(*question),
            Read::Faulty(_, fault) => Err(fault),
        }
    }

    fn said(key: &str, raw: &[u8]) -> Said {
        Said { key: key.to_owned(), value: String::new(), raw_value: raw.to_vec() }
    }

    #[test]
    fn what_every_question_has_must_be_there() {
        for take in [
            (|all: &mut AttributeContext| all.source = None) as fn(&mut AttributeContext),
            |all| all.request = None,
            |all| all.request.as_mut().unwrap().http = None,
            |all| all.source.as_mut().unwrap().address = None,
            |all| {
                let socket = SocketAddress { address: "@envoy".to_owned(), ..Default::default() };
                let address = Place { address: Some(Address::SocketAddress(socket)) };
                all.source.as_mut().unwrap().address = Some(address);
            },
        ] {
            let mut asked = question(plain("/"));
            take(asked.attributes.as_mut().unwrap());
            assert!(matches!(read(asked), Err(Unanswered::Message(_))));
        }
        assert!(matches!(read(CheckRequest::default()), Err(Unanswered::Message(_))));
    }

    #[test]
    fn lines_stay_apart_where_they_are_shown_one_by_one() {
        let lines = vec![
            said(":path", b"/other"),
            said("authorization", b"Bearer a"),
            said("authorization", b"Bearer b"),
            said("x-note", b"\xff"),
        ];
        let http = HttpRequest {
            header_map: Some(SaidMap { headers: lines }),
            headers: HashMap::from([("ignored".to_owned(), "x".to_owned())]),
            ..plain("/echo?a=b")
        };
        let asked = parts(http).unwrap();
        assert!(asked.exact);
        assert_eq!(asked.parts.uri.path_and_query().unwrap(), "/echo?a=b");
        assert_eq!(asked.parts.headers.get_all("authorization").iter().count(), 2);
        assert_eq!(asked.parts.headers["x-note"].as_bytes(), b"\xff");
        assert_eq!(asked.parts.headers["host"], "shop.example");
        assert!(!asked.parts.headers.contains_key("ignored"));
    }

    #[test]
    fn what_the_watch_over_http_1_refuses_is_refused_here() {
        let method = |method: &str| HttpRequest { method: method.to_owned(), ..plain("/") };
        let field = |name: &str, value: &[u8]| HttpRequest {
            header_map: Some(SaidMap { headers: vec![said(name, value)] }),
            ..plain("/")
        };
        let long = "n".repeat(LONGEST_NAME + 1);
        for (http, fault) in [
            (plain(""), Fault::RequestLine),
            (plain("/a b"), Fault::RequestLine),
            (plain("/a#b"), Fault::TargetByte),
            (plain("/\u{e4}"), Fault::TargetByte),
            (plain("/a\r\nX: y"), Fault::TargetByte),
            (plain(&format!("/{}", "a".repeat(8192))), Fault::TargetTooLong),
            (method(""), Fault::RequestLine),
            (method("GE T"), Fault::RequestLine),
            (method("GET\r\n"), Fault::RequestLine),
            (field("a b", b"x"), Fault::FieldName),
            (field("", b"x"), Fault::FieldName),
            (field(&long, b"x"), Fault::FieldsTooLarge),
            (field("a", b"x\ry"), Fault::FieldValue),
            (field("a", b"x\0y"), Fault::FieldValue),
            (HttpRequest { host: "a\nb".to_owned(), ..plain("/") }, Fault::FieldValue),
        ] {
            assert_eq!(parts(http.clone()).unwrap_err(), fault, "{http:?}");
        }
        let many = (0..40_000).map(|number| said(&format!("x-{number}"), b"y")).collect();
        let many = HttpRequest { header_map: Some(SaidMap { headers: many }), ..plain("/") };
        assert_eq!(parts(many).unwrap_err(), Fault::TooManyFields);
        // A method that nobody knows is for the route to refuse.
        assert_eq!(parts(method("get")).unwrap().parts.method.as_str(), "get");
    }

    #[test]
    fn cookies_that_were_put_together_are_taken_apart() {
        let joined = HashMap::from([
            ("cookie".to_owned(), "a=b,session_id=c; d=e".to_owned()),
            ("accept".to_owned(), "a,b".to_owned()),
        ]);
        let asked = parts(HttpRequest { headers: joined, ..plain("/") }).unwrap();
        assert!(!asked.exact);
        assert_eq!(asked.parts.headers["cookie"], "a=b;session_id=c; d=e");
        assert_eq!(asked.parts.headers["accept"], "a,b");
    }

    #[test]
    fn a_certificate_is_one_or_none() {
        for none in ["", "%", "%zz", "-----BEGIN", "%2D%2D", "\u{fc}"] {
            assert!(certificate(none).is_none(), "{none}");
        }
        assert_eq!(unescaped("a%20%2Bb").unwrap(), b"a +b");
    }

    #[test]
    fn no_head_that_is_read_could_be_framed_in_another_way() {
        use prost::Message as _;
        use tegata_core::{Entropy as _, SeededEntropy};

        let lines = vec![said("cookie", b"a=b"), said("x-note", b"c d"), said("te", b"trailers")];
        let http =
            HttpRequest { header_map: Some(SaidMap { headers: lines }), ..plain("/echo/a?b=c") };
        let whole = question(http).encode_to_vec();
        let (entropy, mut read) = (SeededEntropy::new(9), 0);
        for _ in 0..20_000 {
            let (mut message, mut dice) = (whole.clone(), [0; 6]);
            entropy.fill(&mut dice);
            for (place, byte) in [(dice[0], dice[1]), (dice[2], dice[3])] {
                let place = usize::from(place) * message.len() / 256;
                message[place] =
                    if dice[4] % 2 == 0 { byte } else { b" \r\n\0:#/"[usize::from(byte) % 7] };
            }
            if dice[5] == 0 {
                message.truncate(usize::from(dice[0]));
            }
            let Some(head) = crate::ext_authz::head_of(&message) else { continue };
            read += 1;
            let mut guard = guard::Guard::new();
            let fed = guard.feed(&head);
            assert_eq!(fed, Ok(head.len()), "{:?}", String::from_utf8_lossy(&head));
            assert_eq!(guard.heads(), 1, "{:?}", String::from_utf8_lossy(&head));
        }
        assert!(read > 1_000, "{read}");
    }
}
