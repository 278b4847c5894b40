//! `POST /api/auth/login`

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tegata_core::Secret;

use super::{Refusal, from_our_pages, passkey::given, welcome};
use crate::{app::App, body, caller::Caller, problem::Problem, proving::Entry};

#[derive(Deserialize)]
struct Credentials {
    username: Option<String>,
    password: Option<String>,
    /// A passkey, in the place of both.
    credential: Option<Box<RawValue>>,
}

pub(crate) async fn login(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    from_our_pages(&app, &caller)?;
    let Credentials { username, password, credential } = body::json(&app, request).await?;
    let (username, password) = match (username, password.map(Secret::new), credential) {
        (Some(username), Some(password), None) => (username, password),
        (None, None, Some(credential)) => {
            let fresh = app.sign_in_by_passkey(&caller, &given(credential)).await?;
            return Ok(welcome(&app, fresh));
        }
        _ => {
            let detail = "username and password are asked for, or credential";
            let problem = Problem::new(StatusCode::BAD_REQUEST, detail);
            return Err(problem.named("invalid_request").into());
        }
    };
    match app.sign_in_by_password(&caller, &username, &password).await? {
        Entry::In(fresh) => Ok(welcome(&app, *fresh)),
        Entry::Second(asked) => Err(Refusal::second_factor(Some(&asked.token), &asked.methods)),
        // People do that on the page, which shows what has to be scanned or asked of the browser.
        Entry::Enrol(_) => {
            let detail = "the password is right, and this person must set up a second factor first, \
                          on the sign-in page";
            let problem = Problem::new(StatusCode::FORBIDDEN, detail);
            Err(problem.named("mfa_enrolment_required").into())
        }
    }
}
