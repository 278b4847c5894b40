//! `POST /oauth2/introspect` (RFC 7662), answered with a JWT where that is wished (RFC 9701).

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, header};

use super::asked::{Asked, Rejected};
use crate::{app::App, headers::NoStore};

const JSON: &str = "application/json";
const JWT: &str = "application/token-introspection+jwt";

pub(crate) async fn introspect(
    State(app): State<App>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<NoStore<Response>, Rejected> {
    let client = asked.client(&app, "/oauth2/introspect").await?;
    let provider = app.provider();
    let began = app.node().since_boot();
    let told = provider.introspect(&client, &asked.params).await;
    let told = told.map_err(|refused| asked.reject(refused))?;
    let is_valid = told.get("active").is_some_and(|active| active == true);
    app.metrics().tokens().note(is_valid, app.node().elapsed(began));
    if !wants_signed(&headers) {
        return Ok(NoStore(Json(told).into_response()));
    }
    let signed = provider.sign_introspection(&client, told).await;
    let signed = signed.map(|jwt| ([(header::CONTENT_TYPE, JWT)], jwt).into_response());
    signed.map(NoStore).map_err(|refused| asked.reject(refused))
}

/// Whether a caller names the signed form (RFC 9701 §4), and likes it no less than the other. Ranges
/// with an asterisk name nothing: whoever sends them has always been answered in JSON.
fn wants_signed(headers: &HeaderMap) -> bool {
    let signed = weight(headers, JWT);
    signed.is_some_and(|signed| signed > 0.0 && Some(signed) >= weight(headers, JSON))
}

/// How much a caller likes a media type (RFC 9110 §12.5.1). `None`: they do not name it.
fn weight(headers: &HeaderMap, media_type: &str) -> Option<f32> {
    let all = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let mut ranges = all.flat_map(|value| value.split(','));
    ranges.find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
        let of = |part: &str| part.strip_prefix("q=").map(|q| q.parse().unwrap_or(0.0));
        named.then(|| parts.find_map(of).unwrap_or(1.0))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn is_signed_for_whoever_names_the_signed_form() {
        for (accept, signed) in [
            ("application/token-introspection+jwt", true),
            ("Application/Token-Introspection+JWT", true),
            ("application/json, application/token-introspection+jwt", true),
            ("application/json;q=0.9, application/token-introspection+jwt;q=0.9", true),
            ("application/json, application/token-introspection+jwt;q=0.5", false),
            ("application/token-introspection+jwt;q=0", false),
            ("application/token-introspection+jwt;q=x", false),
            ("application/token-introspection+jwtx", false),
            ("application/json", false),
            ("*/*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_signed(&headers), signed, "{accept}");
        }
        assert!(!wants_signed(&HeaderMap::new()));
        let mut two = HeaderMap::new();
        two.append(header::ACCEPT, HeaderValue::from_static("text/html"));
        two.append(header::ACCEPT, HeaderValue::from_static(JWT));
        assert!(wants_signed(&two));
    }
}
