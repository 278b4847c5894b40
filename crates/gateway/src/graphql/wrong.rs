//! What a client of GraphQL is told whose request goes no further.

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::refusal::{InPlace, Refusal, Refused};

/// How many mistakes of one document are told, and how much of each.
const TOLD: usize = 10;
const LONGEST: usize = 300;

/// Why a request in GraphQL goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The status.
    pub status: StatusCode,
    /// A stable name.
    pub id: &'static str,
    /// At least one mistake, and where it is, if it is somewhere.
    pub told: Vec<(String, Option<(usize, usize)>)>,
    /// After how many seconds it may pass.
    pub wait: Option<u64>,
    /// The names of the operations, as far as they were read.
    pub names: String,
    allows_post: bool,
}

impl Wrong {
    const fn of(status: StatusCode, id: &'static str) -> Self {
        Self { status, id, told: Vec::new(), wait: None, names: String::new(), allows_post: false }
    }

    /// With one mistake.
    pub(crate) fn new(status: StatusCode, id: &'static str, detail: impl Into<String>) -> Self {
        Self { told: vec![(detail.into(), None)], ..Self::of(status, id) }
    }

    /// 400, with one mistake.
    pub(crate) fn bad(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, id, detail)
    }

    /// With several, none of which is at a place.
    pub(crate) fn several(status: StatusCode, id: &'static str, told: Vec<String>) -> Self {
        let told = told.into_iter().map(|it| (it, None)).collect();
        Self { told, ..Self::of(status, id) }
    }

    /// 400, with mistakes that are somewhere in the document.
    pub(crate) fn at(
        id: &'static str,
        told: impl Iterator<Item = (String, Option<(usize, usize)>)>,
    ) -> Self {
        let told = told.take(TOLD).map(|(text, at)| (line(&text), at)).collect();
        Self { told, ..Self::of(StatusCode::BAD_REQUEST, id) }
    }

    /// 429, for so many seconds.
    pub(crate) fn spent(wait: u64) -> Self {
        let detail = format!("you have asked for as much as you may: wait {wait} s");
        Self {
            wait: Some(wait),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "graphql_cost_limit", detail)
        }
    }

    /// The same, of operations with these names.
    pub(crate) fn naming(self, names: String) -> Self {
        Self { names, ..self }
    }

    /// The same, where `POST` would do.
    pub(crate) fn allowing_post(self) -> Self {
        Self { allows_post: true, ..self }
    }

    /// The errors, as a service would say them (GraphQL §7.1).
    pub(crate) fn body(&self, trace: &str) -> Value {
        let errors = self.told.iter().map(|(message, at)| {
            let mut error = json!({"message": message});
            if let (Some((line, column)), Some(members)) = (at, error.as_object_mut()) {
                let at = json!([{"line": line, "column": column}]);
                members.insert("locations".to_owned(), at);
            }
            if let Some(members) = error.as_object_mut() {
                let more = json!({"code": self.id, "trace_id": trace});
                members.insert("extensions".to_owned(), more);
            }
            error
        });
        json!({"errors": errors.collect::<Vec<_>>()})
    }

    /// The refusal. `wants` is whether the client knows the media type of answers in GraphQL.
    pub(crate) fn refusal(self, trace: &str, wants: bool) -> Refused {
        let content_type = HeaderValue::from_static(if wants {
            "application/graphql-response+json"
        } else {
            "application/json"
        });
        let body = self.body(trace).to_string().into();
        let detail = self.told.into_iter().next().map_or_else(String::new, |(text, _)| text);
        let mut refused = if self.status == StatusCode::UNAUTHORIZED {
            Refusal::not_authenticated()
        } else {
            Refusal::new(self.status, self.id, detail)
        };
        refused.in_place = Some(InPlace { status: self.status, content_type, body });
        if self.allows_post {
            refused = refused.with(header::ALLOW, HeaderValue::from_static("POST"));
        }
        match self.wait {
            Some(wait) => refused.with(header::RETRY_AFTER, HeaderValue::from(wait)),
            None => refused,
        }
    }
}

/// A text in one line that is not too long.
pub(crate) fn line(text: &str) -> String {
    let mut line: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}
