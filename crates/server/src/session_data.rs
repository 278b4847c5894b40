//! `/api/sessions/{sid}/data`: what the application's backends keep with people's sessions.
//!
//! A backend learns the `sid` from the internal token of a request, and shows an access token of its own.
//! Each sees what it wrote itself. Page scripts have no part in it: what they could write, whoever has a
//! script in the page could, and a backend would believe it.

use axum::{
    Json,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tegata_core::{SessionId, StoreError};
use tegata_oauth::Client;
use tegata_session::sessions::{DataRefused, Expected, Kept, Name};

use crate::{
    acting::{self, NotActing},
    app::App,
    bearer::{Malformed, Presented},
    body::{self, Unreadable},
    headers::NoStore,
    problem::Problem,
    router::Segment,
};

/// Why nothing is answered, or was written.
#[derive(Debug)]
pub(crate) enum Rejected {
    Client(NotActing),
    Body(Unreadable),
    Condition,
    NotThere,
    Data(DataRefused),
}

impl<E: Into<DataRefused>> From<E> for Rejected {
    fn from(refused: E) -> Self {
        Self::Data(refused.into())
    }
}

#[derive(Deserialize)]
struct Said {
    value: String,
}

/// Whose session, which value.
type Place = Result<Path<(String, String)>, PathRejection>;

pub(crate) async fn all(
    State(app): State<App>,
    Segment(sid): Segment,
    request: Request,
) -> Result<Response, Rejected> {
    let client = client(&app, Presented::of(&app, &request)).await?;
    let data = app.sessions().data(app.realm(), &session(&sid)?, client.id.as_str()).await?;
    let data = data.ok_or(DataRefused::NoSession)?;
    let shown: Map<String, Value> =
        data.into_iter().map(|(name, kept)| (name, shown(&kept))).collect();
    Ok(NoStore(Json(json!({"data": shown}))).into_response())
}

pub(crate) async fn one(
    State(app): State<App>,
    place: Place,
    request: Request,
) -> Result<Response, Rejected> {
    let client = client(&app, Presented::of(&app, &request)).await?;
    let (sid, name) = named(place);
    let data = app.sessions().data(app.realm(), &session(&sid)?, client.id.as_str()).await?;
    let kept = data.ok_or(DataRefused::NoSession)?.remove(&name).ok_or(Rejected::NotThere)?;
    Ok((tag(&kept), NoStore(Json(shown(&kept)))).into_response())
}

pub(crate) async fn put(
    State(app): State<App>,
    place: Place,
    request: Request,
) -> Result<Response, Rejected> {
    let client = client(&app, Presented::of(&app, &request)).await?;
    let expected = expected(request.headers())?;
    let Said { value } = body::json(&app, request).await.map_err(Rejected::Body)?;
    write(&app, &client, place, Some(&value), &expected).await
}

pub(crate) async fn remove(
    State(app): State<App>,
    place: Place,
    request: Request,
) -> Result<Response, Rejected> {
    let client = client(&app, Presented::of(&app, &request)).await?;
    let expected = expected(request.headers())?;
    write(&app, &client, place, None, &expected).await
}

async fn write(
    app: &App,
    client: &Client,
    place: Place,
    value: Option<&str>,
    expected: &Expected,
) -> Result<Response, Rejected> {
    let (sid, name) = named(place);
    let name = Name { owner: client.id.as_str(), name: &name };
    let sid = session(&sid)?;
    let kept = app.sessions().set_data(app.realm(), &sid, name, value, expected).await?;
    Ok((kept.as_ref().and_then(tag), NoStore(StatusCode::NO_CONTENT)).into_response())
}

async fn client(
    app: &App,
    shown: Result<Option<Presented>, Malformed>,
) -> Result<Client, Rejected> {
    acting::for_data(app, shown).await.map_err(Rejected::Client)
}

/// What cannot be read is nothing that there is.
fn named(place: Place) -> (String, String) {
    place.map(|Path(named)| named).unwrap_or_default()
}

fn session(sid: &str) -> Result<SessionId, DataRefused> {
    SessionId::new(sid).map_err(|_| DataRefused::NoSession)
}

fn shown(kept: &Kept) -> Value {
    json!({"value": kept.value, "version": kept.version})
}

fn tag(kept: &Kept) -> Option<[(HeaderName, HeaderValue); 1]> {
    HeaderValue::from_str(&format!("\"{}\"", kept.version)).ok().map(|it| [(header::ETAG, it)])
}

/// What `If-Match` or `If-None-Match` says must be there (RFC 9110 §13.1).
fn expected(headers: &HeaderMap) -> Result<Expected, Rejected> {
    let lines = |name: HeaderName| {
        let all = headers.get_all(name).into_iter().map(HeaderValue::to_str);
        let all = all.collect::<Result<Vec<_>, _>>().map_err(|_| Rejected::Condition)?;
        Ok::<_, Rejected>((!all.is_empty()).then(|| all.join(",")))
    };
    let (is, is_not) = (lines(header::IF_MATCH)?, lines(header::IF_NONE_MATCH)?);
    match (is.as_deref().map(str::trim), is_not.as_deref().map(str::trim)) {
        (None, None) => Ok(Expected::Anything),
        (None, Some("*")) => Ok(Expected::Absent),
        (Some("*"), None) => Ok(Expected::Present),
        // Whoever made a condition of a version that they do not have made none.
        (Some(""), _) => Err(Rejected::Condition),
        // What is no tag of ours is the version of nothing.
        (Some(tags), None) => Ok(Expected::Version(
            tags.split(',').map(|tag| tag.trim().trim_matches('"').to_owned()).collect(),
        )),
        _ => Err(Rejected::Condition),
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Client(refused) => return refused.into_response(),
            Self::Body(unreadable) => unreadable.into(),
            Self::Condition => {
                let detail =
                    "name versions in If-Match, or `*` in one of If-Match and If-None-Match";
                Problem::new(StatusCode::BAD_REQUEST, detail).named("invalid_request")
            }
            Self::NotThere => {
                let detail = "nothing is kept under this name";
                Problem::new(StatusCode::NOT_FOUND, detail).named("not_found")
            }
            Self::Data(refused) => data(&refused),
        };
        problem.into_response()
    }
}

fn data(refused: &DataRefused) -> Problem {
    let (status, error) = match refused {
        DataRefused::NoSession => (StatusCode::NOT_FOUND, "no_session"),
        DataRefused::Name => (StatusCode::BAD_REQUEST, "invalid_request"),
        DataRefused::TooMuch => (StatusCode::PAYLOAD_TOO_LARGE, "too_much"),
        DataRefused::Overtaken => (StatusCode::PRECONDITION_FAILED, "overtaken"),
        DataRefused::Store(error) => return StoreError::clone(error).into(),
    };
    Problem::new(status, refused.to_string()).named(error)
}
