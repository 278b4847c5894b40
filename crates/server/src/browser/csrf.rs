//! `GET /api/auth/csrf`: a token for what changes something.

use axum::{extract::State, response::Response};
use serde_json::json;

use super::{Refusal, answer, reading, rotated};
use crate::{app::App, caller::Caller};

pub(crate) async fn csrf(State(app): State<App>, caller: Caller) -> Result<Response, Refusal> {
    let passage = reading(&app, &caller).await?;
    let token = app.csrf_of(&passage.session.id)?;
    Ok(answer(rotated(&app, &passage), json!({"csrf_token": token.as_str()})))
}
