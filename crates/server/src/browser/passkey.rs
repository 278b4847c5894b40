//! `POST /api/auth/login/passkey`, `POST /api/auth/mfa/passkey`, `POST /api/auth/elevate/passkey`: what
//! a script asks the browser for, as `PublicKeyCredential.parseRequestOptionsFromJSON` reads it.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tegata_core::Secret;

use super::{Refusal, answer, changing, from_our_pages, rotated};
use crate::{app::App, body, caller::Caller, problem::Problem, signed_in::Cookies};

#[derive(Deserialize)]
struct Second {
    mfa_token: String,
}

pub(crate) async fn login(State(app): State<App>, caller: Caller) -> Result<Response, Refusal> {
    from_our_pages(&app, &caller)?;
    let options = app.ask_passkey(&caller);
    Ok(answered(Cookies::default(), options, "there are no passkeys at this address")?)
}

pub(crate) async fn mfa(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    from_our_pages(&app, &caller)?;
    let Second { mfa_token } = body::json(&app, request).await?;
    let options = app.ask_passkey_after(&caller, Secret::new(mfa_token).expose()).await?;
    Ok(answered(Cookies::default(), options, "this person has no passkey")?)
}

pub(crate) async fn elevate(State(app): State<App>, caller: Caller) -> Result<Response, Refusal> {
    let passage = changing(&app, &caller).await?;
    let options = app.ask_passkey_again(&passage.session).await?;
    Ok(answered(rotated(&app, &passage), options, "this person has no passkey")?)
}

fn answered(
    cookies: Cookies,
    options: Option<Value>,
    none: &'static str,
) -> Result<Response, Problem> {
    let problem = || Problem::new(StatusCode::NOT_FOUND, none).named("no_passkey");
    options.map(|options| answer(cookies, options)).ok_or_else(problem)
}

/// What a browser gave, as it was sent.
pub(super) fn given(credential: Box<RawValue>) -> Secret<String> {
    Secret::new(Box::<str>::from(credential).into_string())
}
