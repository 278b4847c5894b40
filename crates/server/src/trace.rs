//! Under which name the logs know a request.

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tegata_core::{Entropy, Timestamp, caused_by};
use tracing::Instrument as _;

use crate::{
    access,
    app::App,
    caller::{self, Peer},
    problem::Problem,
    refusals::{self, Asked},
};

/// Names one request in answers and logs.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The names of a request.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// The trace that it is a part of (W3C Trace Context): 32 hexadecimal digits.
    pub(crate) trace_id: String,
    /// The request itself.
    pub(crate) request_id: String,
    /// The name that whoever asked gave the request, where a standard has it answered as it was sent.
    pub(crate) named: Option<HeaderValue>,
}

impl Trace {
    /// The names that a request came with. A trace is continued for anybody: it gives nothing. The
    /// name of a request is taken from trusted proxies alone, or strangers could make two requests
    /// one in the logs. A request that comes with neither has one name for both.
    fn of(
        headers: &HeaderMap,
        trusted: bool,
        now: Option<Timestamp>,
        entropy: &dyn Entropy,
    ) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let trace_id = text(HeaderName::from_static("traceparent")).and_then(trace_id);
        let request_id = text(REQUEST_ID).filter(|id| trusted && is_plain(id)).map(str::to_owned);
        // Its moment first: by that its record is found among those of years.
        let own = now.map_or_else(
            || random::<16>(entropy),
            |now| format!("{:012x}{}", now.millis() & 0xffff_ffff_ffff, random::<10>(entropy)),
        );
        Self {
            trace_id: trace_id.unwrap_or_else(|| own.clone()),
            request_id: request_id.unwrap_or(own),
            named: None,
        }
    }

    /// The name that whoever asked gave the request, where it is another than ours.
    pub(crate) fn given(&self) -> Option<&str> {
        let given = self.named.as_ref()?.to_str().ok()?;
        (given != self.request_id).then_some(given)
    }

    /// Writes the names into the answer.
    fn sign(self, mut response: Response) -> Response {
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let body = problem.traced(self.trace_id).to_json();
            response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
            *response.body_mut() = Body::from(body);
        }
        if let Some(value) = self.named.or_else(|| HeaderValue::from_str(&self.request_id).ok()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
}

/// Names the request, has it answered, and writes the name of its trace into the problem that it ends with.
pub(crate) async fn named<F>(
    app: &App,
    mut request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let trusted = app.proxies().are_at(peer.0);
    let mut trace =
        Trace::of(request.headers(), trusted, Some(app.node().now()), app.node().entropy());
    trace.named = access::name(&request);
    let span = tracing::info_span!(
        "request",
        trace_id = %trace.trace_id,
        request_id = %trace.request_id,
        method = %request.method(),
        // Queries hold codes, states and hints: not for logs.
        path = %refusals::path(request.uri().path()),
    );
    let address = caller::address(app, request.headers(), request.extensions());
    let asked = Asked::of(&request, address);
    request.extensions_mut().insert(trace.clone());
    let started = app.node().since_boot();
    let answering = caused_by(trace.trace_id.as_str().into(), answer(request));
    let response = answering.instrument(span.clone()).await;
    let took = app.node().elapsed(started);
    span.in_scope(|| {
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(status = response.status().as_u16(), duration_ms, "answered");
        app.refusals().tell(asked, &response, duration_ms, app.node().since_boot());
    });
    trace.sign(response)
}

/// An answer to a request of which nothing is believed, not even its names.
pub(crate) fn signed(response: Response, entropy: &dyn Entropy) -> Response {
    Trace::of(&HeaderMap::new(), false, None, entropy).sign(response)
}

/// The trace of a `traceparent` header (W3C Trace Context §3.2): `00-<32>-<16>-<2>`, lower case.
fn trace_id(header: &str) -> Option<String> {
    let mut parts = header.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    let good = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && trace.bytes().any(|byte| byte != b'0');
    good.then(|| trace.to_owned())
}

fn is_plain(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.'))
}

/// Random bytes as hexadecimal digits.
fn random<const N: usize>(entropy: &dyn Entropy) -> String {
    let mut bytes = [0_u8; N];
    entropy.fill(&mut bytes);
    let digit = |half: u8| char::from_digit(half.into(), 16);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).flatten().collect()
}

#[cfg(test)]
mod tests {
    use tegata_core::SeededEntropy;

    use super::*;

    fn trace(name: &'static str, value: &str, trusted: bool) -> Trace {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        Trace::of(&headers, trusted, None, &SeededEntropy::new(1))
    }

    #[test]
    fn continues_a_trace_and_starts_anew_where_it_is_malformed() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{id}-b7ad6b7169203331-01");
        assert_eq!(trace("traceparent", &good, false).trace_id, id);
        for bad in [
            "",
            "00",
            &good.to_uppercase(),
            &good.replace(id, &"0".repeat(32)),
            &format!("ff{}", &good[2..]),
            "00-x-b7ad6b7169203331-01",
        ] {
            let anew = trace("traceparent", bad, false).trace_id;
            assert!(anew != id && anew.len() == 32, "{bad}");
        }
    }

    #[test]
    fn a_request_without_a_name_has_one_for_all_logs() {
        let trace = trace("accept", "*/*", false);
        assert_eq!(trace.request_id, trace.trace_id);
    }

    #[test]
    fn takes_the_name_of_a_request_from_trusted_proxies_alone() {
        assert_eq!(trace("x-request-id", "abc-1", true).request_id, "abc-1");
        assert_ne!(trace("x-request-id", "abc-1", false).request_id, "abc-1");
        assert_ne!(trace("x-request-id", "a b", true).request_id, "a b");
    }
}
