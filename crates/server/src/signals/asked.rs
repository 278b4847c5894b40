//! Who asks about streams, and what those are told that may not, or ask for what cannot be.

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Map, Value};
use tegata_oauth::{
    Client,
    signals::{StreamRefused, access::Need},
};

use crate::{
    acting::{self, NotActing},
    app::App,
    bearer::{Malformed, Presented},
    body::{self, Unreadable},
    form,
    problem::Problem,
};

/// Why a request about a stream is refused.
#[derive(Debug)]
pub(crate) enum Rejected {
    Client(NotActing),
    Body(Unreadable),
    Invalid(&'static str),
    Refused(StreamRefused),
}

/// The client that asks, if it may.
pub(crate) async fn client(
    app: &App,
    shown: Result<Option<Presented>, Malformed>,
    need: Need,
) -> Result<Client, Rejected> {
    Ok(acting::for_signals(app, shown, need).await?)
}

/// The client that asks to change something, and what it says.
pub(crate) async fn change(
    app: &App,
    request: Request,
) -> Result<(Client, Map<String, Value>), Rejected> {
    let client = client(app, Presented::of(app, &request), Need::Manage).await?;
    let said = body::json(app, request).await.map_err(Rejected::Body)?;
    Ok((client, said))
}

/// The one stream that the query of an address names.
pub(crate) fn named(query: Option<String>) -> Result<Option<String>, Rejected> {
    let malformed = Rejected::Invalid("the query of the address is malformed");
    let fields = form::decode(query.unwrap_or_default().as_bytes()).map_err(|_| malformed)?;
    Ok(fields.one("stream_id").map(str::to_owned))
}

/// A text that is said, or must be.
pub(crate) fn text<'s>(
    said: &'s Map<String, Value>,
    name: &str,
    rule: &'static str,
) -> Result<Option<&'s str>, Rejected> {
    match said.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Rejected::Invalid(rule)),
    }
}

/// The stream that is meant.
pub(crate) fn stream_id(said: &Map<String, Value>) -> Result<&str, Rejected> {
    let rule = "`stream_id` is missing or no string";
    text(said, "stream_id", rule)?.ok_or(Rejected::Invalid(rule))
}

impl From<NotActing> for Rejected {
    fn from(refused: NotActing) -> Self {
        Self::Client(refused)
    }
}

impl From<StreamRefused> for Rejected {
    fn from(refused: StreamRefused) -> Self {
        Self::Refused(refused)
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Client(refused) => return refused.into_response(),
            Self::Invalid(rule) | Self::Refused(StreamRefused::Invalid(rule)) => {
                Problem::new(StatusCode::BAD_REQUEST, rule).named("invalid_request")
            }
            Self::Body(unreadable) => unreadable.into(),
            Self::Refused(StreamRefused::Store(error)) => error.into(),
            Self::Refused(StreamRefused::Unknown) => {
                let detail = "this client has no such stream";
                Problem::new(StatusCode::NOT_FOUND, detail).named("not_found")
            }
            Self::Refused(StreamRefused::TooMany) => {
                let detail = "this client has as many streams as it may; remove or change one";
                Problem::new(StatusCode::CONFLICT, detail).named("too_many_streams")
            }
            Self::Refused(StreamRefused::TooSoon(wait)) => {
                let detail = "this is asked more often than it may be";
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
                problem.named("too_many_requests").after(wait)
            }
        };
        problem.into_response()
    }
}
