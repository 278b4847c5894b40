//! What clients and verifiers find by its fixed path: the metadata and the keys (RFC 8414, OpenID
//! Connect Discovery 1.0, RFC 7517).

use aws_lc_rs::digest;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use tegata_core::Network;

use crate::{app::App, caller::Caller};

/// `/.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`: the same
/// document.
pub(crate) async fn metadata(State(app): State<App>, headers: HeaderMap) -> Response {
    document(&app, &headers, &app.provider().metadata().to_string())
}

/// `/.well-known/jwks.json`. It is noted who came, so that an operator sees who knows the next key.
pub(crate) async fn jwks(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Response {
    let keys = app.provider().keys();
    keys.given_to(reader(&caller, &headers));
    let document_of = json!({"keys": keys.now().jwks()});
    document(&app, &headers, &document_of.to_string())
}

/// How readers of the keys are told apart: by their network, and by the program that they say they are.
/// Addresses within it are nobody's business, and one subscriber has many.
fn reader(caller: &Caller, headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let program: String =
        agent.unwrap_or_default().chars().take_while(|c| plain(*c)).take(40).collect();
    let program = if program.is_empty() { "unnamed" } else { &program };
    format!("{} {program}", Network::around(caller.address, 24, 48))
}

/// A document that may be kept as long as a key is published before it signs, and asked about by
/// its name afterwards.
pub(crate) fn document(app: &App, headers: &HeaderMap, json: &str) -> Response {
    let digest = digest::digest(&digest::SHA256, json.as_bytes());
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.as_ref()));
    let known = headers.get_all(header::IF_NONE_MATCH).into_iter().any(|value| {
        let listed = value.to_str().unwrap_or_default();
        listed.split(',').any(|one| matches!(one.trim(), "*") || one.trim().ends_with(&etag))
    });
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let media_type = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, media_type)], json.to_owned()).into_response()
    };
    let max_age = app.provider().config().jwks_max_age.as_secs();
    let lasting = HeaderValue::from_str(&format!("public, max-age={max_age}"));
    for (name, value) in
        [(header::CACHE_CONTROL, lasting), (header::ETAG, HeaderValue::from_str(&etag))]
    {
        if let Ok(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
