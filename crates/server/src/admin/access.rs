//! Who asks, and what those are told that may not.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tegata_oauth::{
    NotHolder, OAuthError, Refused,
    administer::{Administrator, Need, NotAdministrator, Who},
};

use super::table::Row;
use crate::{
    app::App,
    bearer::{Malformed, Presented},
    dpop,
    problem::Problem,
};

/// Which administrators must have shown a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondFactor {
    /// Whoever has one, before they change something.
    #[default]
    Enrolled,
    /// All people, before anything.
    Required,
}

/// How strongly whoever has shown a second factor was authenticated.
const STRONG: &str = "aal2";

/// Why somebody may not ask this.
#[derive(Debug)]
pub(super) enum Denied {
    Malformed,
    NoToken(Need),
    NotAdministrator(NotAdministrator),
    /// The proof of the token's key does not count, for this reason and with this nonce to use.
    Proof(OAuthError, Option<[(HeaderName, HeaderValue); 1]>),
    /// A second factor is missing.
    TooWeak,
}

/// Who asks, if they may.
pub(super) async fn administrator(
    app: &App,
    shown: Result<Option<Presented>, Malformed>,
    row: &Row,
) -> Result<Administrator, Denied> {
    let shown = shown.map_err(|_| Denied::Malformed)?.ok_or(Denied::NoToken(row.need))?;
    let proof = |error: OAuthError| {
        let nonce = dpop::asked_for(app, &error.clone().into());
        Denied::Proof(error, nonce)
    };
    let credential = shown.credential().map_err(proof)?;
    let found = app.provider().administrator(&credential, row.need).await;
    let administrator = found.map_err(|refused| match refused {
        NotAdministrator::NotHolder(NotHolder::Proof(Refused::OAuth(error))) => proof(error),
        refused => Denied::NotAdministrator(refused),
    })?;
    if is_too_weak(app, &administrator, row).await? {
        return Err(Denied::TooWeak);
    }
    Ok(administrator)
}

async fn is_too_weak(app: &App, by: &Administrator, row: &Row) -> Result<bool, Denied> {
    let Who::Person(user) = &by.who else { return Ok(false) };
    if by.acr.as_deref().is_some_and(|acr| acr.starts_with("aal") && acr >= STRONG) {
        return Ok(false);
    }
    Ok(match (app.config().administrators, row.need) {
        (SecondFactor::Required, _) => true,
        (SecondFactor::Enrolled, Need::Read) => false,
        (SecondFactor::Enrolled, Need::Write) => {
            let enrolled = app.second_factors().of(app.realm(), user).await;
            enrolled.map_err(|error| Denied::NotAdministrator(error.into()))?.is_some()
        }
    })
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let unauthorized = |detail| Problem::new(StatusCode::UNAUTHORIZED, detail);
        let bearer = |rest: &str| format!("Bearer realm=\"tegata\"{rest}");
        let of_proof = |error: &str| {
            format!("DPoP realm=\"tegata\", algs=\"{}\", error=\"{error}\"", dpop::algorithms())
        };
        let mut nonce = None;
        let (problem, challenge) = match self {
            Self::Malformed => {
                let detail = "the Authorization header is malformed";
                let problem = Problem::new(StatusCode::BAD_REQUEST, detail);
                (problem.named("invalid_request"), None)
            }
            Self::NoToken(need) => {
                let detail = "there is no access token; get one for the administration, with the \
                              scope that is named";
                let challenge = bearer(&format!(", scope=\"{}\"", need.scope()));
                (unauthorized(detail), Some(challenge))
            }
            Self::Proof(error, asked) => {
                nonce = asked;
                let problem = unauthorized(error.description).named(error.code.name());
                (problem, Some(of_proof(error.code.name())))
            }
            Self::TooWeak => {
                let detail = "a second factor must have been shown for this; sign in anew with it";
                let error = "insufficient_user_authentication";
                let challenge = bearer(&format!(", error=\"{error}\", acr_values=\"{STRONG}\""));
                (unauthorized(detail).named(error), Some(challenge))
            }
            Self::NotAdministrator(refused) => match refused {
                NotAdministrator::InvalidToken => {
                    let detail = "the access token is not for the administration alone, has \
                                  expired, was taken back, or is none";
                    let challenge = bearer(", error=\"invalid_token\"");
                    (unauthorized(detail).named("invalid_token"), Some(challenge))
                }
                NotAdministrator::Store(error)
                | NotAdministrator::NotHolder(NotHolder::Proof(Refused::Store(error))) => {
                    (error.into(), None)
                }
                NotAdministrator::NotHolder(why) => {
                    let problem = unauthorized(dpop::told(&why)).named("invalid_token");
                    (problem, Some(of_proof("invalid_token")))
                }
                NotAdministrator::InsufficientScope(need) => {
                    let detail = "the scope of the access token, or of the client's registration, \
                                  does not include the one that is named";
                    let error = "insufficient_scope";
                    let scope = need.scope();
                    let challenge = bearer(&format!(", error=\"{error}\", scope=\"{scope}\""));
                    (Problem::new(StatusCode::FORBIDDEN, detail).named(error), Some(challenge))
                }
                NotAdministrator::WithoutRole => {
                    let detail = "people need the role `admin` for this";
                    (Problem::new(StatusCode::FORBIDDEN, detail).named("access_denied"), None)
                }
            },
        };
        let mut response = problem.into_response();
        response.headers_mut().extend(nonce.into_iter().flatten());
        if let Some(challenge) = challenge.and_then(|it| HeaderValue::from_str(&it).ok()) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
