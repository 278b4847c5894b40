//! Who asks about streams, and what those are told that may not, or ask for what cannot be.

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use tegata_oauth::{
    Client, NotHolder, OAuthError, Refused,
    signals::{
        StreamRefused,
        access::{Need, NoAccess},
    },
};

use crate::{
    app::App,
    bearer::{Malformed, Presented},
    body::{self, Unreadable},
    dpop, form,
    problem::Problem,
};

/// What is said of a token that is shown by itself and does not count.
const INVALID_TOKEN: &str = "Bearer realm=\"tegata\", error=\"invalid_token\"";

/// Why a request about a stream is refused.
#[derive(Debug)]
pub(crate) enum Rejected {
    Malformed(&'static str),
    NoToken(Need),
    NoAccess(NoAccess),
    /// The proof of the token's key does not count, for this reason and with this nonce to use.
    Proof(OAuthError, Option<[(HeaderName, HeaderValue); 1]>),
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
    let shown = shown.map_err(|Malformed(why)| Rejected::Malformed(why))?;
    let shown = shown.ok_or(Rejected::NoToken(need))?;
    let proof = |error: OAuthError| Rejected::proof(app, error);
    let credential = shown.credential().map_err(proof)?;
    app.provider().signals_client(&credential, need).await.map_err(|refused| match refused {
        NoAccess::NotHolder(NotHolder::Proof(Refused::OAuth(error))) => proof(error),
        refused => Rejected::NoAccess(refused),
    })
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

impl Rejected {
    fn proof(app: &App, error: OAuthError) -> Self {
        let nonce = dpop::asked_for(app, &error.clone().into());
        Self::Proof(error, nonce)
    }
}

impl From<StreamRefused> for Rejected {
    fn from(refused: StreamRefused) -> Self {
        Self::Refused(refused)
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let invalid = |rule| Problem::new(StatusCode::BAD_REQUEST, rule).named("invalid_request");
        let mut nonce = None;
        let of_proof = |error: &str| {
            format!("DPoP realm=\"tegata\", algs=\"{}\", error=\"{error}\"", dpop::algorithms())
        };
        let (problem, challenge) = match self {
            Self::Malformed(rule)
            | Self::Invalid(rule)
            | Self::Refused(StreamRefused::Invalid(rule)) => (invalid(rule), None),
            Self::Body(unreadable) => (unreadable.into(), None),
            Self::NoToken(need) => {
                let detail = "there is no access token; get one with the scope that is named";
                let challenge = format!("Bearer realm=\"tegata\", scope=\"{}\"", need.scope());
                (Problem::new(StatusCode::UNAUTHORIZED, detail), Some(challenge))
            }
            Self::NoAccess(NoAccess::InvalidToken) => {
                let detail = "the access token is not the client's own, is for another place, has \
                              expired or was taken back";
                let problem = Problem::new(StatusCode::UNAUTHORIZED, detail);
                (problem.named("invalid_token"), Some(INVALID_TOKEN.to_owned()))
            }
            Self::NoAccess(
                NoAccess::Store(error)
                | NoAccess::NotHolder(NotHolder::Proof(Refused::Store(error))),
            )
            | Self::Refused(StreamRefused::Store(error)) => (error.into(), None),
            Self::NoAccess(NoAccess::NotHolder(why @ NotHolder::OtherCertificate)) => {
                let problem = Problem::new(StatusCode::UNAUTHORIZED, dpop::told(&why));
                (problem.named("invalid_token"), Some(INVALID_TOKEN.to_owned()))
            }
            Self::NoAccess(NoAccess::NotHolder(why)) => {
                let problem = Problem::new(StatusCode::UNAUTHORIZED, dpop::told(&why));
                (problem.named("invalid_token"), Some(of_proof("invalid_token")))
            }
            Self::Proof(error, asked) => {
                nonce = asked;
                let problem = Problem::new(StatusCode::UNAUTHORIZED, error.description);
                (problem.named(error.code.name()), Some(of_proof(error.code.name())))
            }
            Self::NoAccess(NoAccess::InsufficientScope(need)) => {
                let detail = "the scope of the access token, or of the client's registration, does \
                              not include the one that is named";
                let challenge = format!(
                    "Bearer realm=\"tegata\", error=\"insufficient_scope\", scope=\"{}\"",
                    need.scope()
                );
                let problem = Problem::new(StatusCode::FORBIDDEN, detail);
                (problem.named("insufficient_scope"), Some(challenge))
            }
            Self::Refused(StreamRefused::Unknown) => {
                let detail = "this client has no such stream";
                (Problem::new(StatusCode::NOT_FOUND, detail).named("not_found"), None)
            }
            Self::Refused(StreamRefused::TooMany) => {
                let detail = "this client has as many streams as it may; remove or change one";
                (Problem::new(StatusCode::CONFLICT, detail).named("too_many_streams"), None)
            }
            Self::Refused(StreamRefused::TooSoon(wait)) => {
                let detail = "this is asked more often than it may be";
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
                (problem.named("too_many_requests").after(wait), None)
            }
        };
        let mut response = problem.into_response();
        response.headers_mut().extend(nonce.into_iter().flatten());
        if let Some(challenge) = challenge.and_then(|it| HeaderValue::from_str(&it).ok()) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
