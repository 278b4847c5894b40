//! `/oauth2/register`: clients register themselves (RFC 7591) and manage their registration (RFC 7592).

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use tegata_oauth::{register::RegisterRefused, signals::StreamRefused};

use crate::{
    app::App,
    bearer::{self, Malformed, Presented},
    body::{self, Unreadable},
    caller::Caller,
    headers::NoStore,
    problem::Problem,
    refusals::Named,
    router::Segment,
};

/// Why a request about a registration is refused.
#[derive(Debug)]
pub(crate) enum Rejected {
    Malformed(&'static str),
    Body(Unreadable),
    TooMany(std::time::Duration),
    Refused(RegisterRefused),
}

impl From<RegisterRefused> for Rejected {
    fn from(refused: RegisterRefused) -> Self {
        Self::Refused(refused)
    }
}

pub(crate) async fn register(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Rejected> {
    check_rate(&app, &caller)?;
    let shown = Presented::of(&app, &request).map_err(|Malformed(why)| Rejected::Malformed(why))?;
    let credential = shown.as_ref().map(Presented::credential).transpose();
    let credential = credential.map_err(|_| Rejected::Refused(RegisterRefused::Token))?;
    let said = said(&app, request).await?;
    let registered = app.provider().register(&said, credential.as_ref()).await?;
    Ok(NoStore((StatusCode::CREATED, Json(registered))).into_response())
}

pub(crate) async fn read(
    State(app): State<App>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response, Rejected> {
    let found = app.provider().registration(&id, &shown(&headers)?).await?;
    Ok(NoStore(Json(found)).into_response())
}

pub(crate) async fn replace(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Rejected> {
    check_rate(&app, &caller)?;
    let token = shown(request.headers())?;
    let said = said(&app, request).await?;
    let changed = app.provider().register_anew(&id, &token, &said).await?;
    Ok(NoStore(Json(changed)).into_response())
}

pub(crate) async fn remove(
    State(app): State<App>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response, Rejected> {
    let client = app.provider().managed(&id, &shown(&headers)?).await?.value;
    // Nothing more is sent to whoever it was.
    // Any other refusal is that there are none.
    if let Err(StreamRefused::Store(error)) = app.streams().delete_all(&client.id).await {
        return Err(RegisterRefused::Store(error).into());
    }
    app.provider().unregister(&client).await?;
    Ok(NoStore(StatusCode::NO_CONTENT).into_response())
}

/// Whether more comes from a network than may: what is registered stays, and what it names is asked for.
fn check_rate(app: &App, caller: &Caller) -> Result<(), Rejected> {
    let limits = &app.config().limits;
    let Some(limit) = limits.registered.filter(|_| limits.count(caller.address)) else {
        return Ok(());
    };
    let now = app.node().since_boot();
    let answer = app.registered().count_address(caller.address, |network| network, limit, now);
    if answer.passes { Ok(()) } else { Err(Rejected::TooMany(answer.wait)) }
}

/// What a client says of itself.
async fn said(app: &App, request: Request) -> Result<Map<String, Value>, Rejected> {
    body::json(app, request).await.map_err(Rejected::Body)
}

fn shown(headers: &HeaderMap) -> Result<String, Rejected> {
    let token = bearer::token(headers).map_err(|Malformed(why)| Rejected::Malformed(why))?;
    token.ok_or(Rejected::Refused(RegisterRefused::Token))
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let (status, error, why) = match self {
            Self::Malformed(why) => (StatusCode::BAD_REQUEST, "invalid_request", why.to_owned()),
            Self::Body(unreadable) => {
                (unreadable.status(), "invalid_client_metadata", unreadable.text().to_owned())
            }
            Self::TooMany(wait) => {
                let detail = "too many registrations from there";
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
                return problem.after(wait).into_response();
            }
            Self::Refused(RegisterRefused::Invalid { code, why }) => {
                (StatusCode::BAD_REQUEST, code, why)
            }
            Self::Refused(RegisterRefused::Off) => {
                let detail = "clients do not register themselves here";
                return Problem::new(StatusCode::NOT_FOUND, detail).into_response();
            }
            Self::Refused(RegisterRefused::Token) => {
                let why =
                    "the token is none for this registration, or none for registering clients";
                (StatusCode::UNAUTHORIZED, "invalid_token", why.to_owned())
            }
            Self::Refused(RegisterRefused::Store(error)) => {
                tracing::warn!(%error, "the store did not answer");
                let wait = error.retry_after();
                let status = match wait {
                    Some(_) => StatusCode::SERVICE_UNAVAILABLE,
                    None => StatusCode::INTERNAL_SERVER_ERROR,
                };
                let problem = Problem::new(status, "something is away that is needed");
                return match wait {
                    Some(wait) => problem.after(wait).into_response(),
                    None => problem.into_response(),
                };
            }
        };
        let body = Json(json!({"error": error, "error_description": why}));
        let mut response = NoStore((status, body)).into_response();
        response.extensions_mut().insert(Named(error));
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
