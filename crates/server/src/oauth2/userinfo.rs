//! `GET` and `POST /oauth2/userinfo` (OpenID Connect Core §5.3, RFC 6750, RFC 9449 §7).

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use tegata_core::StoreError;
use tegata_oauth::{
    NotHolder, OAuthError, Refused,
    userinfo::{NoUserinfo, Userinfo},
};

use crate::{
    app::App,
    bearer::{Malformed, Presented, Scheme},
    body, dpop,
    headers::NoStore,
    problem::Problem,
    refusals::Named,
};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Rejected {
    /// No token came with the request (RFC 6750 §3.1: then no error is named).
    NoToken,
    /// The request is malformed, or brings a token in more than one way.
    InvalidRequest(&'static str),
    /// The token does not count, for this reason.
    InvalidToken(&'static str),
    /// The token is another holder's, or its proof does not count.
    NotHolder(&'static str, &'static str, Option<[(HeaderName, HeaderValue); 1]>),
    /// The token is for something else.
    InsufficientScope,
    /// The store did not answer.
    Store(StoreError),
}

const JWT: &str = "application/jwt";

pub(crate) async fn userinfo(
    State(app): State<App>,
    request: Request,
) -> Result<NoStore<Response>, Rejected> {
    let shown = shown(&app, request).await?;
    let credential = shown.credential().map_err(|error| Rejected::of_proof(&app, error))?;
    let began = app.node().since_boot();
    let told = app.provider().userinfo(&credential).await;
    let is_valid = matches!(told, Ok(_) | Err(NoUserinfo::InsufficientScope));
    app.metrics().tokens().note(is_valid, app.node().elapsed(began));
    match told {
        Ok((info, key)) => {
            let nonce = dpop::renewed(&app, key.as_ref());
            let answer = match info {
                Userinfo::Plain(info) => Json(info).into_response(),
                Userinfo::Signed(jwt) => ([(header::CONTENT_TYPE, JWT)], jwt).into_response(),
            };
            Ok(NoStore((nonce, answer).into_response()))
        }
        Err(refused) => Err(Rejected::of(&app, refused)),
    }
}

/// The access token: in the header, or in the form of a POST. What stands in the query is not
/// looked at (OAuth 2.1 §5.1).
async fn shown(app: &App, request: Request) -> Result<Presented, Rejected> {
    let malformed = |Malformed(why)| Rejected::InvalidRequest(why);
    let header = Presented::of(app, &request).map_err(malformed)?;
    let has_form =
        request.method() == Method::POST && request.headers().contains_key(header::CONTENT_TYPE);
    let elsewhere = Presented::with(app, &request, Scheme::Bearer, String::new());
    let elsewhere = elsewhere.map_err(malformed)?;
    let field = if has_form {
        let fields = body::fields(app, request).await;
        let fields = fields.map_err(|why| Rejected::InvalidRequest(why.text()))?;
        fields.one("access_token").filter(|token| !token.is_empty()).map(str::to_owned)
    } else {
        None
    };
    match (header, field) {
        (Some(shown), None) => Ok(shown),
        (None, Some(token)) => Ok(elsewhere.showing(token)),
        (None, None) => Err(Rejected::NoToken),
        (Some(_), Some(_)) => {
            Err(Rejected::InvalidRequest("the access token stands in more than one place"))
        }
    }
}

impl Rejected {
    fn of(app: &App, refused: NoUserinfo) -> Self {
        match refused {
            NoUserinfo::InvalidToken => {
                Self::InvalidToken("the access token is not valid, has expired or has been revoked")
            }
            // It is shown as it should be, but for the certificate.
            NoUserinfo::NotHolder(why @ NotHolder::OtherCertificate) => {
                Self::InvalidToken(dpop::told(&why))
            }
            NoUserinfo::InsufficientScope => Self::InsufficientScope,
            NoUserinfo::Store(error)
            | NoUserinfo::NotHolder(NotHolder::Proof(Refused::Store(error))) => Self::Store(error),
            NoUserinfo::NotHolder(NotHolder::Proof(Refused::OAuth(error))) => {
                Self::of_proof(app, error)
            }
            NoUserinfo::NotHolder(why) => Self::NotHolder(INVALID_TOKEN, dpop::told(&why), None),
        }
    }
}

impl Rejected {
    fn of_proof(app: &App, error: OAuthError) -> Self {
        let (name, why) = (error.code.name(), error.description);
        Self::NotHolder(name, why, dpop::asked_for(app, &error.into()))
    }
}

const INVALID_TOKEN: &str = "invalid_token";

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let mut nonce = None;
        let (status, error, description) = match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, None, "there is no access token"),
            Self::InvalidRequest(why) => (StatusCode::BAD_REQUEST, Some("invalid_request"), why),
            Self::InvalidToken(why) => (StatusCode::UNAUTHORIZED, Some(INVALID_TOKEN), why),
            Self::NotHolder(error, why, asked) => {
                nonce = Some(asked);
                (StatusCode::UNAUTHORIZED, Some(error), why)
            }
            Self::InsufficientScope => (
                StatusCode::FORBIDDEN,
                Some("insufficient_scope"),
                "the scope of the access token does not include openid",
            ),
            Self::Store(error) => return Problem::from(error).into_response(),
        };
        let said = match error {
            None => String::new(),
            Some("insufficient_scope") => format!(
                ", error=\"insufficient_scope\", error_description=\"{description}\", \
                 scope=\"openid\""
            ),
            Some(error) => format!(", error=\"{error}\", error_description=\"{description}\""),
        };
        // Both ways are offered, and what was wrong is said of the one that was used.
        let bound = nonce.is_some();
        let (of_bearer, of_bound) = if bound { ("", said.as_str()) } else { (said.as_str(), "") };
        let bearer = format!("Bearer realm=\"tegata\"{of_bearer}");
        let dpop = format!("DPoP realm=\"tegata\", algs=\"{}\"{of_bound}", dpop::algorithms());
        let body =
            json!({"error": error.unwrap_or(INVALID_TOKEN), "error_description": description});
        let mut response = NoStore((status, nonce.flatten(), Json(body))).into_response();
        response.extensions_mut().insert(Named(error.unwrap_or(INVALID_TOKEN)));
        let challenges = if bound { [dpop, bearer] } else { [bearer, dpop] };
        for challenge in challenges {
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
            }
        }
        response
    }
}
