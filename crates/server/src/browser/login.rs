//! `POST /api/auth/login`

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Deserialize;
use tegata_core::Secret;

use super::{Refusal, from_our_pages, welcome};
use crate::{app::App, body, caller::Caller, proving::Entry};

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

pub(crate) async fn login(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    from_our_pages(&app, &caller)?;
    let Credentials { username, password } = body::json(&app, request).await?;
    let password = Secret::new(password);
    match app.sign_in_by_password(&caller, &username, &password).await? {
        Entry::In(fresh) => Ok(welcome(&app, *fresh)),
        Entry::Second(asked) => Err(Refusal::second_factor(Some(&asked.token), &asked.methods)),
    }
}
