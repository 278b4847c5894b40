//! The shop's page: what a browser is given. It holds nothing and knows nobody; the page asks the other
//! services through the gateway, with the browser SDK.

use axum::{
    Router,
    http::{HeaderName, header},
    response::IntoResponse,
    routing::get,
};

use crate::service::Parts;

/// Nothing inline, and nothing from elsewhere: what a script could add to the page is not run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The service. Behind the gateway it is at `/shop`, with the prefix taken off.
pub fn router(parts: &Parts) -> Router {
    let page = || async { file(HTML, include_str!("../front/index.html")) };
    let files = Router::new()
        .route("/", get(page))
        .route("/shop.css", get(|| async { file(CSS, include_str!("../front/shop.css")) }))
        .route("/shop.js", get(|| async { file(JAVASCRIPT, include_str!("../front/shop.js")) }))
        .route("/words.js", get(|| async { file(JAVASCRIPT, include_str!("../front/words.js")) }));
    parts.assemble_open(files)
}

fn file(media_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 6] = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
