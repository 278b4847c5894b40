//! `POST /oauth2/par` (RFC 9126).

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use serde_json::json;
use tegata_oauth::Code;

use super::{
    asked::{Asked, Rejected},
    authorize::too_many_of_anybody,
};
use crate::{
    app::App, caller::Caller, dpop, headers::NoStore, problem::whole_secs, refusals::Named,
};

pub(crate) async fn par(
    State(app): State<App>,
    caller: Caller,
    asked: Asked,
) -> Result<NoStore<Response>, Rejected> {
    let client = asked.client(&app, "/oauth2/par").await?;
    if let Some(wait) = too_many_of_anybody(&app, &caller, &client) {
        return Ok(NoStore(later(wait)));
    }
    let key = asked.key(&app, &client, "/oauth2/par").await?;
    let pushed = app.provider().push_bound(&client, &asked.params, key.as_ref()).await;
    let pushed = pushed.map_err(|refused| asked.reject(refused))?;
    let answer =
        json!({"request_uri": pushed.request_uri, "expires_in": pushed.expires_in.as_secs()});
    let nonce = dpop::renewed(&app, key.as_ref());
    Ok(NoStore((StatusCode::CREATED, nonce, Json(answer)).into_response()))
}

/// RFC 9126 §2.3.
pub(super) fn later(wait: Duration) -> Response {
    let error = Code::TemporarilyUnavailable.name();
    let body = json!({"error": error, "error_description": "too many requests wait already"});
    let retry = [(header::RETRY_AFTER, whole_secs(wait).to_string())];
    let mut response = (StatusCode::TOO_MANY_REQUESTS, retry, Json(body)).into_response();
    response.extensions_mut().insert(Named(error));
    response
}
