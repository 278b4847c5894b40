//! `POST /oauth2/device` (RFC 8628 §3.1). The page that people type the code on is in
//! [`crate::pages::device`].

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};

use super::{
    asked::{Asked, Rejected},
    authorize::too_many_of_anybody,
    par::later,
};
use crate::{app::App, caller::Caller, dpop, headers::NoStore};

pub(crate) async fn authorize(
    State(app): State<App>,
    caller: Caller,
    asked: Asked,
) -> Result<NoStore<Response>, Rejected> {
    let client = asked.client(&app, "/oauth2/device").await?;
    if let Some(wait) = too_many_of_anybody(&app, &caller, &client) {
        return Ok(NoStore(later(wait)));
    }
    let key = asked.key(&app, &client, "/oauth2/device").await?;
    let answer = app.provider().authorize_device(&client, &asked.params, key.as_ref()).await;
    let answer = answer.map_err(|refused| asked.reject(refused))?;
    Ok(NoStore((dpop::renewed(&app, key.as_ref()), Json(answer)).into_response()))
}
