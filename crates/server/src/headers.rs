//! What answers carry beside what they say.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tegata_session::{Environment, Sent};

use crate::{app::App, caller::Caller};

/// Keeps an answer out of every cache (RFC 6749 §5.1).
pub(crate) fn no_store(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

/// An answer that is kept out of every cache.
pub(crate) struct NoStore<T>(pub(crate) T);

impl<T: IntoResponse> IntoResponse for NoStore<T> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        no_store(response.headers_mut());
        response
    }
}

/// What every answer carries, whatever it is.
pub(crate) fn complete(app: &App, mut response: Response) -> Response {
    let headers = response.headers_mut();
    // At once, for these and what the listener adds: each time there is no room, all would move.
    headers.reserve(9);
    let mut keep = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    keep(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Not `no-referrer`: under it, browsers send our own forms with `Origin: null`.
    keep(header::REFERRER_POLICY, "same-origin");
    keep(header::X_FRAME_OPTIONS, "DENY");
    // What is no page needs nothing of a page.
    keep(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    // Pages of others load nothing of ours but what they may read, too.
    keep(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if app.config().environment != Environment::Development {
        keep(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains");
    }
    response
}

/// Lets scripts of any origin read the answers of endpoints that know nothing of cookies.
pub(crate) async fn open_to_all(request: Request, next: Next) -> Response {
    let preflight = is_preflight(&request);
    let mut response = if preflight { no_content() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed = HeaderValue::from_static("WWW-Authenticate, Retry-After, DPoP-Nonce");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    if preflight {
        let asked = HeaderValue::from_static("Authorization, Content-Type, DPoP");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
        let methods = HeaderValue::from_static("GET, POST");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, 600.into());
    }
    response
}

/// Lets scripts of the allowed origins read the answers that are made for cookies.
pub(crate) async fn open_to_allowed(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let preflight = is_preflight(&request);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.filter(|_| caller.as_if_changing(&app) == Ok(Sent::Allowed));
    let mut response = if preflight { no_content() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = allowed else { return response };
    open_to(origin, headers);
    if preflight {
        let asked =
            HeaderValue::from_static("Content-Type, X-CSRF-Token, X-Device-Hints, Idempotency-Key");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
        let methods = HeaderValue::from_static("GET, POST, PUT, DELETE");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, 600.into());
    }
    response
}

/// Lets scripts of an origin that is allowed read an answer that is made for cookies.
pub(crate) fn open_to(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let yes = HeaderValue::from_static("true");
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    let exposed = HeaderValue::from_static("Retry-After");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}

/// Whether a browser asks what it may (Fetch, "CORS-preflight request").
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
