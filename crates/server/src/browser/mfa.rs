//! `POST /api/auth/mfa`: the second factor, after the password.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tegata_core::Secret;
use tegata_identity::Authenticator;

use super::{Refusal, from_our_pages, passkey::given, welcome};
use crate::{app::App, body, caller::Caller, problem::Problem};

#[derive(Deserialize)]
struct Second {
    mfa_token: String,
    method: String,
    code: Option<String>,
    /// What the browser gave of a passkey.
    credential: Option<Box<RawValue>>,
}

pub(crate) async fn mfa(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    from_our_pages(&app, &caller)?;
    let Second { mfa_token, method, code, credential } = body::json(&app, request).await?;
    let token = Secret::new(mfa_token);
    let token = token.expose();
    let fresh = match (Authenticator::of_name(&method), code.map(Secret::new), credential) {
        (Some(Authenticator::Passkey), None, Some(credential)) => {
            app.sign_in_by_passkey_after(&caller, token, &given(credential)).await?
        }
        (Some(method @ (Authenticator::Totp | Authenticator::RecoveryCode)), Some(code), None) => {
            app.sign_in_by_code(&caller, token, Some(method), &code).await?
        }
        (None, ..) => return Err(malformed("method is none of the methods that were offered")),
        _ => {
            return Err(malformed("a passkey has a credential, and the other methods have a code"));
        }
    };
    Ok(welcome(&app, fresh))
}

fn malformed(detail: &'static str) -> Refusal {
    Problem::new(StatusCode::BAD_REQUEST, detail).named("invalid_request").into()
}
