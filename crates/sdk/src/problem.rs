//! What a service answers when it does not do what it was asked (RFC 9457).

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// A problem, for people and programs to read. It holds nothing that the caller may not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind it is: `about:blank`, or a name that programs can tell apart.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words: always the same for one kind.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What went wrong this time.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub detail: String,
    /// Under which name the logs have more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
}

impl Problem {
    /// The media type of a problem.
    pub const MEDIA_TYPE: &str = "application/problem+json";

    /// A problem that its status says all about (RFC 9457 §4.2.1).
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            trace_id: None,
        }
    }

    /// A problem of a kind of its own, named by `urn:problem:{name}`.
    #[must_use]
    pub fn of_kind(status: StatusCode, name: &str, title: &str, detail: impl Into<String>) -> Self {
        let (kind, title) = (format!("urn:problem:{name}"), title.to_owned());
        Self { kind, title, ..Self::new(status, detail) }
    }

    /// The same, with the name under which the logs have more.
    #[must_use]
    pub fn traced(mut self, trace_id: impl Into<String>) -> Self {
        self.trace_id = Some(trace_id.into());
        self
    }

    /// The body of the answer.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and a number always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let media_type = http::HeaderValue::from_static(Self::MEDIA_TYPE);
        (status, [(http::header::CONTENT_TYPE, media_type)], self.to_json()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_members_of_the_standard() {
        let problem =
            Problem::of_kind(StatusCode::CONFLICT, "out-of-stock", "out of stock", "2 are left");
        assert_eq!(
            String::from_utf8(problem.traced("ab").to_json()).unwrap(),
            r#"{"type":"urn:problem:out-of-stock","title":"out of stock","status":409,"detail":"2 are left","trace_id":"ab"}"#
        );
        let plain = Problem::new(StatusCode::NOT_FOUND, "");
        assert_eq!(
            String::from_utf8(plain.to_json()).unwrap(),
            r#"{"type":"about:blank","title":"Not Found","status":404}"#
        );
    }
}
