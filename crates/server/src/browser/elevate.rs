//! `POST /api/auth/elevate`: the person proves once more who they are, for what is sensitive.

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tegata_core::Secret;

use super::{Refusal, guarded, passkey::given, rotated};
use crate::{
    app::App,
    body,
    caller::Caller,
    headers::NoStore,
    problem::Problem,
    proving::{Again, NotRaised},
    signed_in::Presence,
};

#[derive(Deserialize)]
struct Proof {
    password: Option<String>,
    code: Option<String>,
    /// What the browser gave of a passkey.
    credential: Option<Box<RawValue>>,
}

pub(crate) async fn elevate(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    let nobody = |verdict| Refusal::nobody(&app, &Presence::Nobody(verdict));
    let sid = guarded(&app, &caller)?.ok_or_else(|| nobody(None))?;
    let Proof { password, code, credential } = body::json(&app, request).await?;
    let again = match (password.map(Secret::new), code.map(Secret::new), credential) {
        (Some(password), None, None) => Again::Password(password),
        (None, Some(code), None) => Again::Code(code),
        (None, None, Some(credential)) => Again::Passkey(given(credential)),
        _ => {
            let detail = "one of password, code and credential is asked for";
            let problem = Problem::new(StatusCode::BAD_REQUEST, detail);
            return Err(problem.named("invalid_request").into());
        }
    };
    match app.raise(&caller, &sid, &again).await {
        Ok(passage) => {
            let cookies = rotated(&app, &passage);
            Ok((cookies, NoStore(StatusCode::NO_CONTENT)).into_response())
        }
        Err(NotRaised::Refused(refused)) => Err(refused.into()),
        Err(NotRaised::Second(methods)) => Err(Refusal::second_factor(None, &methods)),
        Err(NotRaised::Nobody(verdict)) => Err(nobody(verdict)),
    }
}
