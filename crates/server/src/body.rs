//! Bodies of requests, read within limits.

use axum::{
    body::{Body, HttpBody as _},
    extract::Request,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::{app::App, form};

mod unique;

pub(crate) use unique::Unique;

/// Why a body cannot be used. The texts are for the developers of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is of another media type.
    #[error("the media type of the body is not the one that is read here")]
    MediaType,
    /// It is larger than what is read.
    #[error("the body is too large")]
    TooLarge,
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    Late,
    /// The connection broke.
    #[error("the body did not arrive")]
    Broken,
    /// It is not what its media type says.
    #[error("the body is malformed")]
    Malformed,
}

impl Unreadable {
    /// The status that answers it where nothing else is agreed.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Broken | Self::Malformed => StatusCode::BAD_REQUEST,
        }
    }

    /// The text, as a constant.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::MediaType => "the media type of the body is not the one that is read here",
            Self::TooLarge => "the body is too large",
            Self::Late => "the body did not arrive in time",
            Self::Broken => "the body did not arrive",
            Self::Malformed => "the body is malformed",
        }
    }
}

/// Reads the fields of a form, in order.
///
/// # Errors
/// [`Unreadable`].
pub(crate) async fn fields(app: &App, request: Request) -> Result<form::Fields, Unreadable> {
    let media_types = media_types(request.headers());
    if !matches!(media_types.as_slice(), [one] if form::is_form(one)) {
        return Err(Unreadable::MediaType);
    }
    let bytes = read(app, request.into_body(), app.config().limits.form).await?;
    form::decode(&bytes).map_err(|_| Unreadable::Malformed)
}

/// Reads a JSON document.
///
/// # Errors
/// [`Unreadable`].
pub(crate) async fn json<T: serde::de::DeserializeOwned>(
    app: &App,
    request: Request,
) -> Result<T, Unreadable> {
    if !tegata_session::origin::is_json(&media_types(request.headers())) {
        return Err(Unreadable::MediaType);
    }
    whatever_json(app, request).await
}

/// Reads a JSON document that says what of another is to be different (RFC 7396).
///
/// # Errors
/// [`Unreadable`].
pub(crate) async fn merge_patch<T: serde::de::DeserializeOwned>(
    app: &App,
    request: Request,
) -> Result<T, Unreadable> {
    let media_types = media_types(request.headers());
    let is_patch = |one: &[u8]| {
        let bare = one.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        bare.eq_ignore_ascii_case(b"application/merge-patch+json")
    };
    if !tegata_session::origin::is_json(&media_types)
        && !matches!(media_types.as_slice(), [one] if is_patch(one))
    {
        return Err(Unreadable::MediaType);
    }
    whatever_json(app, request).await
}

async fn whatever_json<T: serde::de::DeserializeOwned>(
    app: &App,
    request: Request,
) -> Result<T, Unreadable> {
    let limits = &app.config().limits;
    let bytes = read(app, request.into_body(), limits.json).await?;
    if depth(&bytes) > limits.json_depth {
        return Err(Unreadable::Malformed);
    }
    serde_json::from_slice(&bytes).map_err(|_| Unreadable::Malformed)
}

/// Reads a security event token.
///
/// # Errors
/// [`Unreadable`].
pub(crate) async fn secevent(app: &App, request: Request) -> Result<String, Unreadable> {
    let media_types = media_types(request.headers());
    let is_secevent = |one: &[u8]| {
        let bare = one.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        bare.eq_ignore_ascii_case(b"application/secevent+jwt")
    };
    if !matches!(media_types.as_slice(), [one] if is_secevent(one)) {
        return Err(Unreadable::MediaType);
    }
    let bytes = read(app, request.into_body(), tegata_token::jws::LONGEST).await?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Unreadable::Malformed)
}

fn media_types(headers: &HeaderMap) -> Vec<&[u8]> {
    headers.get_all(header::CONTENT_TYPE).into_iter().map(http::HeaderValue::as_bytes).collect()
}

async fn read(app: &App, body: Body, most: usize) -> Result<Bytes, Unreadable> {
    // Whoever says beforehand that it is too much need not send it.
    if usize::try_from(body.size_hint().lower()).map_or(true, |said| said > most) {
        return Err(Unreadable::TooLarge);
    }
    let collecting = Limited::new(body, most).collect();
    match tokio::time::timeout(app.config().limits.body_time, collecting).await {
        Err(_) => Err(Unreadable::Late),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unreadable::TooLarge),
        Ok(Err(_)) => Err(Unreadable::Broken),
    }
}

/// How deep the brackets of a JSON text go. What is no JSON has some depth, too.
fn depth(json: &[u8]) -> usize {
    let (mut now, mut most, mut quoted, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_brackets_outside_of_strings() {
        for (json, deep) in [
            ("", 0),
            ("1", 0),
            ("[]", 1),
            ("[[],[[]]]", 3),
            (r#"{"a":[1]}"#, 2),
            (r#""[[[""#, 0),
            (r#"["\"[[", []]"#, 2),
            (r#"["\\", []]"#, 2),
            ("]]][", 1),
        ] {
            assert_eq!(depth(json.as_bytes()), deep, "{json}");
        }
    }
}
