//! Names of requests for decisions: the AuthZEN Authorization API 1.0 has them answered as they were sent,
//! where all other answers have the name that the gateway gave the request.

use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where decisions are asked for.
const BELOW: &str = "/access/v1/";

/// The longest name that is answered, in bytes.
const LONGEST: usize = 256;

/// The name that a request for decisions came with, where it is one that can be answered as it is.
pub(crate) fn name(parts: &Parts) -> Option<HeaderValue> {
    if !parts.uri.path().starts_with(BELOW) {
        return None;
    }
    let mut names = parts.headers.get_all(&X_REQUEST_ID).into_iter();
    let (first, second) = (names.next()?, names.next());
    let is_plain = first.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    let fits = (1..=LONGEST).contains(&first.len());
    (second.is_none() && fits && is_plain).then(|| first.clone())
}

/// Answers with that name.
pub(crate) fn echo(headers: &mut HeaderMap, name: Option<HeaderValue>) {
    if let Some(name) = name {
        headers.insert(&X_REQUEST_ID, name);
    }
}
