//! A sidecar, as a service asks it.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header};

use super::{NotChecked, SessionContext};
use crate::{
    authenticate::INTERNAL_TOKEN,
    problem::Problem,
    transport::{Transport, TransportLimits},
};

/// An answer comes from the memory of a process on this machine.
const LIMITS: TransportLimits =
    TransportLimits { timeout: Duration::from_secs(1), idle: 32, open: 64, answer: 256 << 10 };

/// What of a request the sidecar is told: its credentials and its trace. Cookies stay here.
const TOLD: [HeaderName; 5] = [
    header::AUTHORIZATION,
    INTERNAL_TOKEN,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// `tegata sidecar` on this machine. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Sidecar {
    transport: Transport,
    check: Arc<Uri>,
}

/// The text says no place where a sidecar could be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no sidecar's address: write `http://127.0.0.1:9010`, or `unix:/run/tegata/sidecar.sock`"
)]
pub struct NoSidecar(String);

impl FromStr for Sidecar {
    type Err = NoSidecar;

    /// `http://127.0.0.1:9010`, or `unix:/run/tegata/sidecar.sock`. Elsewhere than on this machine
    /// credentials would travel in the clear, so nobody is asked there.
    fn from_str(text: &str) -> Result<Self, NoSidecar> {
        let wrong = || NoSidecar(text.to_owned());
        let transport = Transport::new(LIMITS);
        let (transport, origin) = match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => {
                (transport.over_socket(PathBuf::from(path)), "http://localhost")
            }
            Some(_) => return Err(wrong()),
            None => (transport, text.trim_end_matches('/')),
        };
        let check: Uri = format!("{origin}/check").parse().map_err(|_| wrong())?;
        let is_bare = check.path() == "/check" && check.query().is_none();
        if check.scheme_str() != Some("http") || check.authority().is_none() || !is_bare {
            return Err(wrong());
        }
        Ok(Self { transport, check: Arc::new(check) })
    }
}

impl Sidecar {
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<SessionContext, NotChecked> {
        let away = |why: String| NotChecked::unavailable(format!("the sidecar: {why}"));
        let mut request = Request::get(self.check.as_ref().clone())
            .body(Bytes::new())
            .map_err(|error| away(error.to_string()))?;
        for name in &TOLD {
            for value in headers.get_all(name) {
                request.headers_mut().append(name, value.clone());
            }
        }
        let sent = self.transport.send(request).await;
        let answer = sent.map_err(|error| away(error.to_string()))?;
        if answer.status() == StatusCode::OK {
            let read = serde_json::from_slice(answer.body());
            return read.map_err(|_| away("what it answers is no session".to_owned()));
        }
        Err(refused(&answer))
    }
}

fn refused(answer: &Response<Bytes>) -> NotChecked {
    let status = answer.status();
    let unread = || NotChecked::unavailable(format!("the sidecar answers {status}"));
    let says_no = [
        StatusCode::BAD_REQUEST,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    // Whatever else answers there, nobody passes by it.
    if !says_no.contains(&status) {
        return unread();
    }
    let Ok(problem) = serde_json::from_slice::<Problem>(answer.body()) else { return unread() };
    if problem.status != status.as_u16() {
        return unread();
    }
    let retry_after = answer.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    NotChecked {
        why: format!("the sidecar refuses it: {}", problem.detail),
        problem,
        challenge: answer.headers().get(header::WWW_AUTHENTICATE).cloned(),
        retry_after,
    }
}

impl fmt::Debug for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sidecar({})", self.check)
    }
}
