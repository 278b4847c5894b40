//! Answers with the request that it received, whatever it is. For tests of what stands before it:
//! it has no caller of its own, and shows every header.

use axum::{
    Json, Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    http::{HeaderMap, Method, Uri},
};
use serde::Serialize;

use crate::service;

/// A request, as it arrived.
#[derive(Debug, Serialize)]
struct Echo {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// The service.
pub fn router() -> Router {
    service::health("echo").fallback(echo).layer(DefaultBodyLimit::max(1 << 20))
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Json<Echo> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Json(Echo {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), lossy(value.as_bytes())))
            .collect(),
        body: lossy(&body),
    })
}
