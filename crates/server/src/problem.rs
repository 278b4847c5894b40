//! What is answered to scripts that are refused (RFC 9457).

use std::{borrow::Cow, fmt, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tegata_core::StoreError;

use crate::{body::Unreadable, headers};

/// A problem, for people and programs to read. It holds nothing that the caller may not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind it is: always `about:blank`, since the status and `error` say it all.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The kind in words.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What went wrong this time.
    detail: Cow<'static, str>,
    /// The kind in one word, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    /// What few problems have.
    #[serde(flatten)]
    more: Option<Box<More>>,
    /// Under which name the logs have more.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<Box<str>>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

/// What few problems have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct More {
    /// What of the request is not as it must be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    /// The second factor that is asked for.
    #[serde(flatten)]
    second: Option<SecondFactorAsked>,
}

/// Something in a request that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where: a JSON pointer into the body (RFC 6901), or `?name` of the query.
    pub pointer: String,
    /// What it must be.
    pub detail: String,
}

/// What whoever has shown only a password must show besides.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SecondFactorAsked {
    /// What the code must come with, where nobody is signed in yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mfa_token: Option<String>,
    /// What it can be a code of.
    pub(crate) methods: Vec<&'static str>,
}

impl fmt::Debug for SecondFactorAsked {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecondFactorAsked").field("methods", &self.methods).finish_non_exhaustive()
    }
}

impl Problem {
    /// A query that is not as it must be, before anything was done.
    pub(crate) fn query(wrong: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, wrong).named("invalid_request")
    }

    /// The media type of a problem.
    pub const MEDIA_TYPE: &str = "application/problem+json";

    /// A problem that its status says all about.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("error"),
            status: status.as_u16(),
            detail: detail.into(),
            error: None,
            more: None,
            trace_id: None,
            retry_after: None,
        }
    }

    /// The same, with a word that programs can tell it by.
    #[must_use]
    pub fn named(mut self, error: &'static str) -> Self {
        self.error = Some(error);
        self
    }

    /// The same, saying what of the request is wrong.
    #[must_use]
    pub(crate) fn faulting(mut self, errors: Vec<Fault>) -> Self {
        self.more = Some(Box::new(More { errors, second: None }));
        self
    }

    /// The same, saying which second factor is asked for.
    #[must_use]
    pub(crate) fn asking(mut self, second: SecondFactorAsked) -> Self {
        self.more = Some(Box::new(More { errors: Vec::new(), second: Some(second) }));
        self
    }

    /// The same, to be tried again later.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(whole_secs(wait));
        self
    }

    /// The same, with the name under which the logs have more.
    #[must_use]
    pub(crate) fn traced(mut self, trace_id: String) -> Self {
        self.trace_id = Some(trace_id.into());
        self
    }

    /// The body of the answer.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and a number always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The kind in one word, where it has one.
    pub(crate) const fn error(&self) -> Option<&'static str> {
        self.error
    }

    pub(crate) const fn status(&self) -> StatusCode {
        match StatusCode::from_u16(self.status) {
            Ok(status) => status,
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Whole seconds, rounded up, at least one.
pub(crate) fn whole_secs(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

impl From<StoreError> for Problem {
    /// The store did not answer. What it said is for the log alone.
    fn from(error: StoreError) -> Self {
        match error.retry_after() {
            Some(wait) => {
                tracing::warn!(%error, "the store did not answer");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "something is away that is needed")
                    .named("temporarily_unavailable")
                    .after(wait)
            }
            None => {
                tracing::error!(%error, "the store cannot be used");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "this was not done, by no fault of yours",
                )
                .named("server_error")
            }
        }
    }
}

impl From<Unreadable> for Problem {
    fn from(unreadable: Unreadable) -> Self {
        Self::new(unreadable.status(), unreadable.text()).named("invalid_request")
    }
}

impl IntoResponse for Problem {
    /// The problem stands among the extensions, too: on its way out it is given the name of its
    /// trace.
    fn into_response(self) -> Response {
        let media_type = HeaderValue::from_static(Self::MEDIA_TYPE);
        let mut response =
            (self.status(), [(header::CONTENT_TYPE, media_type)], self.to_json()).into_response();
        headers::no_store(response.headers_mut());
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, wait.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_members_of_the_standard_and_no_word_of_the_store() {
        let away = StoreError::Unavailable { backend: "PostgreSQL", detail: "10.0.0.3".into() };
        let problem = Problem::from(away).traced("ab".to_owned());
        assert_eq!(
            String::from_utf8(problem.to_json()).unwrap(),
            r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"something is away that is needed","error":"temporarily_unavailable","trace_id":"ab"}"#
        );
    }

    #[test]
    fn a_wait_is_never_cut_to_nothing() {
        assert_eq!(whole_secs(Duration::ZERO), 1);
        assert_eq!(whole_secs(Duration::from_millis(1001)), 2);
    }
}
