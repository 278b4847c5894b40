//! Clients that act in their own name, and what those are told whose token is not enough for it.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tegata_oauth::{
    Client, Credential, NotHolder, OAuthError, Refused,
    signals::access::{Need, NoAccess},
};

use crate::{
    app::App,
    bearer::{Malformed, Presented},
    dpop,
    problem::Problem,
};

/// What is said of a token that is shown by itself and does not count.
const INVALID_TOKEN: &str = "Bearer realm=\"tegata\", error=\"invalid_token\"";

/// Why whoever asks is no client that may.
#[derive(Debug)]
pub(crate) enum NotActing {
    Malformed(&'static str),
    /// There is no token; this scope is asked for.
    NoToken(&'static str),
    NoAccess(NoAccess),
    /// The proof of the token's key does not count, for this reason and with this nonce to use.
    Proof(OAuthError, Option<[(HeaderName, HeaderValue); 1]>),
}

/// The client that asks about signals, if it may.
pub(crate) async fn for_signals(
    app: &App,
    shown: Result<Option<Presented>, Malformed>,
    need: Need,
) -> Result<Client, NotActing> {
    let shown = token(shown, need.scope())?;
    let credential = credential(app, &shown)?;
    let found = app.provider().signals_client(&credential, need).await;
    found.map_err(|refused| NotActing::of(app, refused))
}

/// The client that keeps data with sessions, if it may.
pub(crate) async fn for_data(
    app: &App,
    shown: Result<Option<Presented>, Malformed>,
) -> Result<Client, NotActing> {
    let shown = token(shown, tegata_oauth::keeping::SCOPE)?;
    let credential = credential(app, &shown)?;
    let found = app.provider().keeping_client(&credential).await;
    found.map_err(|refused| NotActing::of(app, refused))
}

/// The client that asks what policies decide, if it may.
pub(crate) async fn for_decisions(
    app: &App,
    shown: Result<Option<Presented>, Malformed>,
) -> Result<Client, NotActing> {
    let shown = token(shown, tegata_oauth::evaluating::SCOPE)?;
    let credential = credential(app, &shown)?;
    let found = app.provider().evaluating_client(&credential).await;
    found.map_err(|refused| NotActing::of(app, refused))
}

fn token(
    shown: Result<Option<Presented>, Malformed>,
    scope: &'static str,
) -> Result<Presented, NotActing> {
    let shown = shown.map_err(|Malformed(why)| NotActing::Malformed(why))?;
    shown.ok_or(NotActing::NoToken(scope))
}

fn credential<'s>(app: &App, shown: &'s Presented) -> Result<Credential<'s>, NotActing> {
    shown.credential().map_err(|error| NotActing::proof(app, error))
}

impl NotActing {
    fn of(app: &App, refused: NoAccess) -> Self {
        match refused {
            NoAccess::NotHolder(NotHolder::Proof(Refused::OAuth(error))) => Self::proof(app, error),
            refused => Self::NoAccess(refused),
        }
    }

    fn proof(app: &App, error: OAuthError) -> Self {
        let nonce = dpop::asked_for(app, &error.clone().into());
        Self::Proof(error, nonce)
    }
}

impl IntoResponse for NotActing {
    fn into_response(self) -> Response {
        let mut nonce = None;
        let unauthorized = |detail| Problem::new(StatusCode::UNAUTHORIZED, detail);
        let of_proof = |error: &str| {
            format!("DPoP realm=\"tegata\", algs=\"{}\", error=\"{error}\"", dpop::algorithms())
        };
        let (problem, challenge) = match self {
            Self::Malformed(rule) => {
                (Problem::new(StatusCode::BAD_REQUEST, rule).named("invalid_request"), None)
            }
            Self::NoToken(scope) => {
                let detail = "there is no access token; get one with the scope that is named";
                let challenge = format!("Bearer realm=\"tegata\", scope=\"{scope}\"");
                (unauthorized(detail), Some(challenge))
            }
            Self::NoAccess(NoAccess::InvalidToken) => {
                let detail = "the access token is not the client's own, is for another place, has \
                              expired or was taken back";
                (unauthorized(detail).named("invalid_token"), Some(INVALID_TOKEN.to_owned()))
            }
            Self::NoAccess(
                NoAccess::Store(error)
                | NoAccess::NotHolder(NotHolder::Proof(Refused::Store(error))),
            ) => (error.into(), None),
            Self::NoAccess(NoAccess::NotHolder(why @ NotHolder::OtherCertificate)) => {
                let problem = unauthorized(dpop::told(&why)).named("invalid_token");
                (problem, Some(INVALID_TOKEN.to_owned()))
            }
            Self::NoAccess(NoAccess::NotHolder(why)) => {
                let problem = unauthorized(dpop::told(&why)).named("invalid_token");
                (problem, Some(of_proof("invalid_token")))
            }
            Self::Proof(error, asked) => {
                nonce = asked;
                let problem = unauthorized(error.description).named(error.code.name());
                (problem, Some(of_proof(error.code.name())))
            }
            Self::NoAccess(NoAccess::InsufficientScope(scope)) => {
                let detail = "the scope of the access token, or of the client's registration, does \
                              not include the one that is named, or an operator has to declare \
                              the client";
                let error = "insufficient_scope";
                let challenge =
                    format!("Bearer realm=\"tegata\", error=\"{error}\", scope=\"{scope}\"");
                (Problem::new(StatusCode::FORBIDDEN, detail).named(error), Some(challenge))
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
