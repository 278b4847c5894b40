//! Requests that are refused leave a line each: who asked, for what, what it was answered and why.
//!
//! As many as a disk can bear, so that nobody fills one by asking, and of each network few enough to leave
//! room for the others; the next line says how many were left out, and metrics count all of them. A line
//! never holds a body, a query, a header or a credential.

use std::net::IpAddr;

use axum::extract::Request;
use http::{HeaderMap, Method, Response, StatusCode, header};
use tegata_core::{Network, SinceBoot, rate::Sparing};

use crate::problem::Problem;

/// Of each network, so many lines; of all together, so many: about 150 MB in a day of both.
const LIMITS: (&str, &str) = ("30/m", "300/m");

/// The longest path in a line, in bytes. Paths of ours are shorter.
const LONGEST_PATH: usize = 256;

/// Errors that are a step on the way, and come with every device and every second factor.
const STEPS: [&str; 4] = ["authorization_pending", "slow_down", "use_dpop_nonce", "mfa_required"];

/// The name of an error in an answer, for the line about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named(pub(crate) &'static str);

/// The lines about requests that were refused.
#[derive(Debug)]
pub(crate) struct Refusals(Sparing<Network>);

/// What is to be known of a request when it has been answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) address: IpAddr,
    /// Whether it tried something: changed something, or showed a credential.
    tries: bool,
}

impl Asked {
    pub(crate) fn of(request: &Request, address: IpAddr) -> Self {
        let only_looks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let shows = |headers: &HeaderMap| {
            headers.contains_key(header::AUTHORIZATION) || headers.contains_key(header::COOKIE)
        };
        Self { address, tries: !only_looks || shows(request.headers()) }
    }

    /// Whether an answer to it is a refusal that is told of.
    pub(crate) fn is_refused<B>(&self, answer: &Response<B>) -> bool {
        let is_step = error(answer).is_some_and(|error| STEPS.contains(&error));
        is_told(answer.status(), self.tries) && !is_step
    }
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self(Sparing::new(LIMITS.0, LIMITS.1))
    }

    /// Writes a line about an answer, if it is a refusal and there is room. What the span of the request
    /// says stands in it, too: the trace, the method and the path.
    pub(crate) fn tell<B>(
        &self,
        asked: Asked,
        answer: &Response<B>,
        duration_ms: u64,
        now: SinceBoot,
    ) {
        let (status, error) = (answer.status(), error(answer));
        if !is_told(status, asked.tries) || error.is_some_and(|error| STEPS.contains(&error)) {
            return;
        }
        let Some(left_out) = self.0.say(Network::home(asked.address), now) else { return };
        let (status, address) = (status.as_u16(), asked.address);
        tracing::info!(status, error, %address, duration_ms, left_out, "refused");
    }
}

/// The name of the error that an answer is, where it is one and has one.
pub(crate) fn error<B>(answer: &Response<B>) -> Option<&'static str> {
    let extensions = answer.extensions();
    let named = extensions.get::<Named>().map(|named| named.0);
    named.or_else(|| extensions.get::<Problem>().and_then(Problem::error))
}

/// The same answer with the name of what it refuses, where its status does not say that it does.
pub(crate) fn named<B>(mut answer: Response<B>, error: &'static str) -> Response<B> {
    answer.extensions_mut().insert(Named(error));
    answer
}

/// Whether an answer is told of: whatever was not done for reasons of who asked or how. That there is nothing
/// under an address, and that nobody is signed in who showed nothing, is no refusal.
fn is_told(status: StatusCode, tries: bool) -> bool {
    match status {
        StatusCode::NOT_FOUND | StatusCode::NOT_ACCEPTABLE | StatusCode::METHOD_NOT_ALLOWED => {
            false
        }
        StatusCode::UNAUTHORIZED => tries,
        status => status.is_client_error() || status.is_server_error(),
    }
}

/// A path as it stands in a line.
pub(crate) fn path(path: &str) -> &str {
    let mut end = path.len().min(LONGEST_PATH);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    path.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_told_and_what_is_merely_not_there_is_not() {
        for status in [400, 403, 408, 409, 413, 414, 415, 429, 431, 500, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(is_told(status, true) && is_told(status, false), "{status}");
        }
        for status in [200, 204, 303, 304, 404, 405, 406] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!is_told(status, true) && !is_told(status, false), "{status}");
        }
        assert!(is_told(StatusCode::UNAUTHORIZED, true));
        assert!(!is_told(StatusCode::UNAUTHORIZED, false));
    }

    #[test]
    fn a_long_path_is_cut_between_characters() {
        assert_eq!(path("/oauth2/token"), "/oauth2/token");
        let long = format!("/{}", "é".repeat(1000));
        assert_eq!(path(&long).len(), LONGEST_PATH - 1);
    }
}
