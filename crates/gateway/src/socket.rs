//! WebSockets: who may open one, and whether the service agreed. What passes afterwards is the tunnel's.
//!
//! A client asks with `Upgrade` (RFC 6455 §4.1), or with an extended `CONNECT` over HTTP/2 (RFC 8441 §5).
//! Nothing of what it sends behind that reaches anybody before the service has agreed and has proved to be
//! one that knows what it agreed to (RFC 9931).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use tegata_core::Entropy;

use crate::{
    config::Cors,
    head::{Fields, Head, Once},
    refusal::{Refusal, Refused},
};

/// What both sides append to the key to show that they mean WebSockets (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The version that is spoken.
const VERSION: &str = "13";

/// A WebSocket that a client may open.
#[derive(Debug)]
pub(crate) struct Socket {
    /// What the service is to prove itself with: the client's key, or one of ours.
    pub(crate) key: HeaderValue,
    /// The client's stream, where it came with frames of HTTP/2. With HTTP/1 it is the whole connection.
    pub(crate) stream: Option<OnUpgrade>,
}

/// Marks a request that opens a socket, for whoever finds out which version of HTTP the service speaks.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// What the service is asked with.
    pub(crate) key: HeaderValue,
}

/// Whether `protocol` names WebSockets.
pub(crate) fn is_websocket(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"websocket")
}

/// Whether a request asks for a socket.
pub(crate) fn is_asked(fields: &Fields<'_>, stream: Option<&OnUpgrade>) -> bool {
    let named = fields.upgrade.one().is_some_and(|protocol| is_websocket(protocol.as_bytes()));
    stream.is_some() || named
}

/// No socket is to be had here.
pub(crate) fn not_here() -> Refused {
    let detail = "connections are not upgraded to other protocols here";
    Refusal::new(StatusCode::NOT_IMPLEMENTED, "upgrade_not_supported", detail).closing()
}

/// Checks the question for a socket.
///
/// # Errors
/// What a client must send that this one did not (RFC 6455 §4.2.1), or what it must not.
pub(crate) fn check(
    head: &Head<'_>,
    fields: &Fields<'_>,
    stream: Option<OnUpgrade>,
    entropy: &dyn Entropy,
) -> Result<Socket, Refused> {
    let refuse = |detail| Err(Refusal::bad_request("websocket", detail).closing());
    let version = only(head.headers, &header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version.as_bytes() != VERSION.as_bytes()) {
        let detail = "`Sec-WebSocket-Version` is not 13";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, "websocket_version", detail)
            .with(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION))
            .closing());
    }
    if stream.is_some() {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        let key = HeaderValue::try_from(STANDARD.encode(bytes));
        return Ok(Socket { key: key.unwrap_or_else(|_| HeaderValue::from_static("")), stream });
    }
    if head.version != Version::HTTP_11 || *head.method != Method::GET {
        return refuse("a WebSocket begins with a `GET` of HTTP/1.1");
    }
    let has_body = fields.length.one().is_some_and(|length| length.as_bytes() != b"0");
    if has_body || fields.has_coding {
        return refuse("a request for a WebSocket has no body");
    }
    if !lists(head.headers, &header::CONNECTION, b"upgrade") {
        return refuse("`Connection` does not list `Upgrade`");
    }
    let key = only(head.headers, &header::SEC_WEBSOCKET_KEY);
    let is_key = |key: &&HeaderValue| {
        STANDARD.decode(key.as_bytes()).is_ok_and(|decoded| decoded.len() == 16)
    };
    match key.filter(is_key) {
        Some(key) => Ok(Socket { key: key.clone(), stream: None }),
        None => refuse("`Sec-WebSocket-Key` is not 16 bytes in base64"),
    }
}

/// A page of another origin can have a browser open a socket with the user's cookie, and read what comes: there
/// is no preflight, and no token against forgery on a `GET`. So its origin must be the one that was asked, or
/// one whose scripts may call (RFC 6455 §10.2).
///
/// # Errors
/// It is another, or the client does not say.
pub(crate) fn check_origin(
    fields: &Fields<'_>,
    config: &Cors,
    own: Option<&str>,
) -> Result<(), Refused> {
    let Some(origin) = fields.origin else {
        let detail = "with a cookie, a WebSocket is opened by a page, which says its origin";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "origin_missing", detail).closing());
    };
    let is_own = own.is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(origin.as_bytes()));
    let listed = config.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes());
    if is_own || listed {
        return Ok(());
    }
    let detail = "pages of this origin may not open a WebSocket with the user's cookie";
    Err(Refusal::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail).closing())
}

/// Whether a service's answer with 101 is one to the question that was asked with `key` (RFC 6455 §4.1).
pub(crate) fn is_accepted(headers: &HeaderMap, key: &HeaderValue) -> bool {
    let protocol = only(headers, &header::UPGRADE);
    let proof = only(headers, &header::SEC_WEBSOCKET_ACCEPT);
    protocol.is_some_and(|protocol| is_websocket(protocol.as_bytes()))
        && lists(headers, &header::CONNECTION, b"upgrade")
        && proof.is_some_and(|proof| proof.as_bytes() == accept(key).as_bytes())
}

/// The proof that belongs to a key.
pub(crate) fn accept(key: &HeaderValue) -> String {
    let text = [key.as_bytes(), GUID].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// Adds what asks for a socket over HTTP/1.
pub(crate) fn ask(headers: &mut HeaderMap, key: &HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
}

/// Turns a service's agreement into that of the gateway with its client.
pub(crate) fn agree(headers: &mut HeaderMap, socket: &Socket) -> StatusCode {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    if socket.stream.is_some() {
        return StatusCode::OK;
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(proof) = HeaderValue::try_from(accept(&socket.key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, proof);
    }
    StatusCode::SWITCHING_PROTOCOLS
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut found = Once::Absent;
    for value in headers.get_all(name) {
        found.add(value);
    }
    found.one()
}

/// Whether a list of words holds this one.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &[u8]) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_standard() {
        // RFC 6455 §1.3.
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_service_agrees_to_what_it_was_asked_and_to_nothing_else() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        let answer = |fields: &[(HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, HeaderValue::from_static(value));
            }
            is_accepted(&headers, &key)
        };
        let proof = (header::SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let protocol = (header::UPGRADE, "WebSocket");
        let connection = (header::CONNECTION, "keep-alive, upgrade");
        let (other, twice) = ((header::UPGRADE, "h2c"), (header::UPGRADE, "websocket, h2c"));
        let wrong = (header::SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=");
        assert!(answer(&[proof.clone(), protocol.clone(), connection.clone()]));
        for bad in [
            &[proof.clone(), protocol.clone()][..],
            &[proof.clone(), connection.clone()],
            &[protocol.clone(), connection.clone()],
            &[proof.clone(), other, connection.clone()],
            &[proof.clone(), twice, connection.clone()],
            &[wrong, protocol.clone(), connection.clone()],
            &[proof.clone(), proof, protocol, connection],
        ] {
            assert!(!answer(bad), "{bad:?}");
        }
    }
}
