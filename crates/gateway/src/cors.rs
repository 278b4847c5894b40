//! Which scripts of other origins may call, and what their browsers are told (Fetch §3.3).

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use bytes::Bytes;

use crate::{
    config::Cors,
    head::{Fields, Head},
    refusal::{Refusal, Refused},
};

const SAID: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// What scripts may read beside what they always may: the name of the request, what a refusal says about
/// coming again, and that it is time for another token.
const EXPOSED: &str = "X-Request-ID, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, \
                       DPoP-Nonce, X-Token-Refresh";

/// The origin of a request, if its scripts may call. Compared as it stands: browsers write it in one
/// way.
pub(crate) fn allowed(config: &Cors, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    let origin = origin?;
    config.origins.iter().any(|own| own.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// The answer to a browser that asks before it calls; `None`: this is not such a question, or
/// services answer it themselves.
pub(crate) fn preflight(
    config: &Cors,
    head: &Head<'_>,
    fields: &Fields<'_>,
) -> Result<Option<Response<Bytes>>, Refused> {
    let asked = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let (Some(method), true) = (asked, *head.method == Method::OPTIONS) else { return Ok(None) };
    if config.origins.is_empty() || fields.origin.is_none() {
        return Ok(None);
    }
    let Some(origin) = allowed(config, fields.origin) else {
        let detail = "scripts of this origin may not call";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail));
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    say(headers, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    if let Some(names) = head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Ok(Some(response))
}

/// Says in an answer or a refusal what the gateway allows, in place of what the service says.
pub(crate) fn answer(config: &Cors, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    if config.origins.is_empty() {
        return;
    }
    for name in SAID {
        headers.remove(name);
    }
    match origin {
        Some(origin) => {
            say(headers, origin);
            let exposed = HeaderValue::from_static(EXPOSED);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        // Another origin would get another answer.
        None => {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }
}

fn say(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}
