//! `POST /api/auth/mfa`: the second factor, after the password.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use tegata_core::Secret;
use tegata_identity::Authenticator;

use super::{Refusal, from_our_pages, welcome};
use crate::{app::App, body, caller::Caller, problem::Problem};

#[derive(Deserialize)]
struct Second {
    mfa_token: String,
    method: String,
    code: String,
}

pub(crate) async fn mfa(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    from_our_pages(&app, &caller)?;
    let Second { mfa_token, method, code } = body::json(&app, request).await?;
    let (token, code) = (Secret::new(mfa_token), Secret::new(code));
    let Some(method) = Authenticator::of_name(&method) else {
        let detail = "method is none of the methods that were offered";
        let problem = Problem::new(StatusCode::BAD_REQUEST, detail);
        return Err(problem.named("invalid_request").into());
    };
    let fresh = app.sign_in_by_code(&caller, token.expose(), Some(method), &code).await?;
    Ok(welcome(&app, fresh))
}
