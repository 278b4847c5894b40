//! Administration over HTTP: `/admin/v1`.
//!
//! One table ([`TABLE`]) routes requests, reads what they say, and renders the document at
//! `/admin/v1/openapi.json`, so that none of the three can know of something that another does not.
//! What is done is done by whoever wires the program ([`Administration`]): the same as by its
//! commands.
//!
//! | module | subject |
//! |---|---|
//! | `access` | who asks, and what those are told that may not |
//! | `path`, `query` | what the address says |
//! | [`shape`], `forms` | what bodies look like |
//! | `table` | every operation |
//! | `refused` | why something was not done |
//! | `openapi` | the document |

use std::{collections::BTreeMap, fmt};

use axum::{
    Json, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};
use tegata_core::{BoxFuture, port::Page};
use tegata_oauth::administer::{Administrator, Need, PATH};

use crate::{
    app::App, bearer::Presented, body, dpop, headers::NoStore, problem::Problem, recorded,
};

mod access;
mod forms;
pub mod openapi;
mod path;
mod query;
mod refused;
pub mod shape;
mod table;

pub use access::SecondFactor;
pub(crate) use path::decoded;
pub use path::encoded;
pub use refused::Refused;
pub use table::{Operation, Row, TABLE, Verb};

use access::Denied;
use query::Query;

/// Does what administrators ask for.
pub trait Administration: Send + Sync {
    /// Does it. When this answers `Ok`, it is durable.
    fn perform(&self, asked: Asked) -> BoxFuture<'_, Result<Done, Refused>>;
}

/// What an administrator asks for, read: its body is as the table says.
pub struct Asked {
    /// What.
    pub operation: Operation,
    /// Who.
    pub by: Administrator,
    /// The names in the path, in order.
    pub named: Vec<String>,
    /// Which piece of a list.
    pub page: Page,
    /// By what the list is narrowed.
    pub filters: BTreeMap<&'static str, String>,
    /// Whether it is to be answered when it is confirmed.
    pub confirmed: bool,
    /// The versions that whatever is changed may have.
    pub versions: Option<Vec<u64>>,
    /// What was sent.
    pub body: Map<String, Value>,
}

impl Asked {
    /// A name in the path.
    #[must_use]
    pub fn name(&self, place: usize) -> &str {
        self.named.get(place).map(String::as_str).unwrap_or_default()
    }

    /// A filter.
    #[must_use]
    pub fn filter(&self, name: &str) -> Option<&str> {
        self.filters.get(name).map(String::as_str)
    }

    /// A text of the body.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }
}

impl fmt::Debug for Asked {
    /// Without the body, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({:?} by {})", self.operation, self.by.who.as_str())
    }
}

/// What was done, or found.
#[derive(Clone, Default)]
pub struct Done {
    /// What is answered.
    pub body: Option<Value>,
    /// The version of it.
    pub version: Option<u64>,
    /// Where something new is, after `/admin/v1`.
    pub location: Option<String>,
}

impl Done {
    /// Something that was done or found.
    #[must_use]
    pub fn with(body: Value) -> Self {
        Self { body: Some(body), ..Self::default() }
    }

    /// A piece of a list. `next` is the key after which the next piece begins, where there may be one.
    #[must_use]
    pub fn piece(items: Vec<Value>, next: Option<&str>) -> Self {
        let mut body = Map::new();
        body.insert("items".to_owned(), Value::Array(items));
        if let Some(key) = next {
            body.insert("next".to_owned(), query::cursor(key).into());
        }
        Self::with(body.into())
    }

    /// The same of a version.
    #[must_use]
    pub fn of_version(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }
}

impl fmt::Debug for Done {
    /// Without the body, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Done(version {:?})", self.version)
    }
}

/// Everything under `/admin/v1`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/v1", any(answer))
        .route("/admin/v1/", any(answer))
        .route("/admin/v1/{*rest}", any(answer))
}

async fn answer(State(app): State<App>, request: Request) -> Response {
    let segments = path::segments(request.uri().path()).unwrap_or_default();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if segments == ["openapi.json"] {
        return if is_read { document() } else { not_allowed(&[Verb::Get]) };
    }
    let found: Vec<_> =
        TABLE.iter().filter_map(|row| Some((row, path::matched(row.path, &segments)?))).collect();
    if found.is_empty() {
        let detail =
            "there is nothing at this address; `/admin/v1/openapi.json` says what there is";
        return Problem::new(StatusCode::NOT_FOUND, detail).named("not_found").into_response();
    }
    let method = if is_read { "GET" } else { request.method().as_str() };
    let verbs: Vec<_> = found.iter().map(|(row, _)| row.verb).collect();
    match found.into_iter().find(|(row, _)| row.verb.name() == method) {
        Some((row, named)) => perform(&app, row, named, request).await.unwrap_or_else(|it| it),
        None => not_allowed(&verbs),
    }
}

async fn perform(
    app: &App,
    row: &Row,
    named: Vec<String>,
    request: Request,
) -> Result<Response, Response> {
    let by = access::administrator(app, Presented::of(app, &request), row);
    let by = by.await.map_err(Denied::into_response)?;
    let nonce = dpop::renewed(app, by.key.as_ref());
    let actor = by.who.clone();
    recorded::by(actor.as_str());
    let answered = match asked(app, row, named, by, request).await {
        Ok(asked) => app.administration().perform(asked).await.map_err(Refused::into_response),
        Err(refused) => Err(refused),
    };
    if row.need == Need::Write {
        let (actor, done) = (actor.as_str(), answered.is_ok());
        tracing::info!(actor, operation = row.id, done, "an administrator asked for a change");
    }
    let mut response = match answered {
        Ok(done) => shown(row, done),
        Err(refused) => refused,
    };
    response.headers_mut().extend(nonce.into_iter().flatten());
    Ok(response)
}

/// What a page of ours asks for.
pub(crate) struct Wish<'a> {
    /// What.
    pub(crate) operation: Operation,
    /// The names that would stand in the path.
    pub(crate) named: Vec<String>,
    /// The query, as it would stand in the address.
    pub(crate) query: &'a str,
    /// What would be sent.
    pub(crate) body: Map<String, Value>,
    /// The version that the person has seen of what is changed.
    pub(crate) version: Option<u64>,
}

/// What a page of ours asks for at the wish of a person, read and done as if it had come over HTTP.
///
/// # Errors
/// [`Refused`].
pub(crate) async fn ordered(
    app: &App,
    by: &Administrator,
    wish: Wish<'_>,
) -> Result<Done, Refused> {
    let Wish { operation, named, query, body, version } = wish;
    let row = TABLE.iter().find(|row| row.operation == operation);
    let row = row.ok_or_else(|| Refused::Forbidden("there is no such operation".to_owned()))?;
    let Query { page, filters, confirmed } = Query::read(row, query)?;
    let mut faults = Vec::new();
    // INVARIANT: whoever names a version is not answered by an operation that does not look at it.
    if version.is_some() && !row.is_conditional {
        return Err(Refused::invalid("", "this operation does not depend on a version"));
    }
    if let Some(form) = row.body {
        form.check(&body, "", &mut faults);
    }
    if !faults.is_empty() {
        return Err(Refused::Invalid(faults));
    }
    let (by, versions) = (by.clone(), version.map(|version| vec![version]));
    let actor = by.who.clone();
    let asked = Asked { operation, by, named, page, filters, confirmed, versions, body };
    let done = app.administration().perform(asked).await;
    if row.need == Need::Write {
        let (actor, done) = (actor.as_str(), done.is_ok());
        tracing::info!(actor, operation = row.id, done, "an administrator asked for a change");
    }
    done
}

/// What is asked, read.
async fn asked(
    app: &App,
    row: &Row,
    named: Vec<String>,
    by: Administrator,
    request: Request,
) -> Result<Asked, Response> {
    let query = Query::read(row, request.uri().query().unwrap_or_default());
    let query = query.map_err(Refused::into_response)?;
    let versions = versions(request.headers());
    if versions.is_some() && !row.is_conditional {
        let refused = Refused::invalid("", "`If-Match` is not taken by this operation");
        return Err(refused.into_response());
    }
    let body = match row.body {
        Some(form) => {
            let read = match row.verb {
                Verb::Patch => body::merge_patch(app, request).await,
                _ => body::json(app, request).await,
            };
            let body: Map<_, _> = read.map_err(|it| Problem::from(it).into_response())?;
            let mut faults = Vec::new();
            form.check(&body, "", &mut faults);
            if !faults.is_empty() {
                return Err(Refused::Invalid(faults).into_response());
            }
            body
        }
        None => Map::new(),
    };
    let Query { page, filters, confirmed } = query;
    let operation = row.operation;
    Ok(Asked { operation, by, named, page, filters, confirmed, versions, body })
}

/// The versions that the header `If-Match` names (RFC 9110 §13.1.1). What is not of our making is no
/// version of anything. `None`: any will do.
fn versions(headers: &HeaderMap) -> Option<Vec<u64>> {
    let mut values = headers.get_all(header::IF_MATCH).into_iter().peekable();
    values.peek()?;
    let texts = values.map(|value| value.to_str().unwrap_or_default());
    let tags: Vec<_> = texts.flat_map(|text| text.split(',')).map(str::trim).collect();
    if tags == ["*"] {
        return None;
    }
    let version = |tag: &&str| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    Some(tags.iter().filter_map(version).collect())
}

fn shown(row: &Row, done: Done) -> Response {
    let status = StatusCode::from_u16(row.status).unwrap_or(StatusCode::OK);
    let mut response = match done.body.filter(|_| status != StatusCode::NO_CONTENT) {
        Some(body) => NoStore((status, Json(body))).into_response(),
        None => NoStore(status).into_response(),
    };
    let mut tell = |name, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    };
    if let Some(version) = done.version {
        tell(header::ETAG, format!("\"{version}\""));
    }
    if let Some(location) = done.location {
        tell(header::LOCATION, format!("{PATH}{location}"));
    }
    response
}

fn document() -> Response {
    let media_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, media_type)], openapi::text()).into_response()
}

fn not_allowed(verbs: &[Verb]) -> Response {
    let detail = "the address does not have this method; see the header Allow";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).named("invalid_request");
    let mut response = problem.into_response();
    let mut names: Vec<_> = verbs.iter().map(|verb| verb.name()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    if let Ok(allow) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&'static str]) -> Option<Vec<u64>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_static(value));
        }
        versions(&headers)
    }

    #[test]
    fn a_condition_that_cannot_be_read_is_not_met() {
        assert_eq!((of(&[]), of(&["*"])), (None, None));
        assert_eq!(of(&["\"7\""]), Some(vec![7]));
        assert_eq!(of(&["\"7\", \"8\"", "\"9\""]), Some(vec![7, 8, 9]));
        for odd in ["", "7", "W/\"7\"", "\"x\"", "\"-1\"", "\"7", "*, \"x\""] {
            assert_eq!(of(&[odd]), Some(vec![]), "{odd}");
        }
    }

    #[test]
    fn every_operation_stands_once_and_no_two_answer_the_same_request() {
        for (place, row) in TABLE.iter().enumerate() {
            for other in &TABLE[place + 1..] {
                assert_ne!(row.operation, other.operation);
                assert_ne!(row.id, other.id);
                assert!(row.verb != other.verb || row.path != other.path, "{}", row.id);
            }
            assert!(!row.says.is_empty() && (row.status == 204) == row.answer.is_none());
            assert!(row.need == Need::Write || matches!(row.verb, Verb::Get | Verb::Post));
        }
    }
}
