//! `GET` and `POST /oauth2/userinfo` (OpenID Connect Core §5.3, RFC 6750).

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value, json};
use tegata_core::StoreError;
use tegata_oauth::userinfo::NoUserinfo;

use crate::{app::App, bearer, body, headers::NoStore, problem::Problem};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Rejected {
    /// No token came with the request (RFC 6750 §3.1: then no error is named).
    NoToken,
    /// The request is malformed, or brings a token in more than one way.
    InvalidRequest(&'static str),
    /// The token does not count.
    InvalidToken,
    /// The token is for something else.
    InsufficientScope,
    /// The store did not answer.
    Store(StoreError),
}

pub(crate) async fn userinfo(
    State(app): State<App>,
    request: Request,
) -> Result<NoStore<Json<Map<String, Value>>>, Rejected> {
    let token = token(&app, request).await?;
    let info = app.provider().userinfo(&token).await?;
    Ok(NoStore(Json(info)))
}

/// The access token: in the header, or in the form of a POST. What stands in the query is not
/// looked at (OAuth 2.1 §5.1).
async fn token(app: &App, request: Request) -> Result<String, Rejected> {
    let malformed = Rejected::InvalidRequest("the Authorization header is malformed");
    let header = bearer::token(request.headers()).map_err(|_| malformed)?;
    let has_form =
        request.method() == Method::POST && request.headers().contains_key(header::CONTENT_TYPE);
    let field = if has_form {
        let fields = body::fields(app, request).await;
        let fields = fields.map_err(|why| Rejected::InvalidRequest(why.text()))?;
        fields.one("access_token").filter(|token| !token.is_empty()).map(str::to_owned)
    } else {
        None
    };
    match (header, field) {
        (Some(token), None) | (None, Some(token)) => Ok(token),
        (None, None) => Err(Rejected::NoToken),
        (Some(_), Some(_)) => {
            Err(Rejected::InvalidRequest("the access token stands in more than one place"))
        }
    }
}

impl From<NoUserinfo> for Rejected {
    fn from(error: NoUserinfo) -> Self {
        match error {
            NoUserinfo::InvalidToken => Self::InvalidToken,
            NoUserinfo::InsufficientScope => Self::InsufficientScope,
            NoUserinfo::Store(error) => Self::Store(error),
        }
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let (status, error, description) = match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, None, "there is no access token"),
            Self::InvalidRequest(why) => (StatusCode::BAD_REQUEST, Some("invalid_request"), why),
            Self::InvalidToken => (
                StatusCode::UNAUTHORIZED,
                Some("invalid_token"),
                "the access token is not valid, has expired or has been revoked",
            ),
            Self::InsufficientScope => (
                StatusCode::FORBIDDEN,
                Some("insufficient_scope"),
                "the scope of the access token does not include openid",
            ),
            Self::Store(error) => return Problem::from(error).into_response(),
        };
        let challenge = match error {
            None => "Bearer realm=\"tegata\"".to_owned(),
            Some("insufficient_scope") => format!(
                "Bearer realm=\"tegata\", error=\"insufficient_scope\", \
                 error_description=\"{description}\", scope=\"openid\""
            ),
            Some(error) => format!(
                "Bearer realm=\"tegata\", error=\"{error}\", error_description=\"{description}\""
            ),
        };
        let body =
            json!({"error": error.unwrap_or("invalid_token"), "error_description": description});
        let mut response = NoStore((status, Json(body))).into_response();
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
