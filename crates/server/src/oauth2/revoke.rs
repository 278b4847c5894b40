//! `POST /oauth2/revoke` (RFC 7009). 200 only when the revocation is durable. With `?wait=confirmed`,
//! the answer waits until every node refuses the token, and says so.

use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use tegata_oauth::OAuthError;

use super::asked::{Asked, Rejected};
use crate::{app::App, form, headers::NoStore};

pub(crate) async fn revoke(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    asked: Asked,
) -> Result<NoStore<Response>, Rejected> {
    let waits = waits(query.as_deref()).map_err(|wrong| asked.reject(wrong.into()))?;
    let client = asked.client(&app).await?;
    let began = app.node().since_boot();
    let revoked = app.provider().revoke(&client, &asked.params).await;
    revoked.map_err(|refused| asked.reject(refused))?;
    if !waits {
        return Ok(NoStore(().into_response()));
    }
    let confirmed = app.confirm().confirmed(began).await;
    Ok(NoStore(Json(json!({"confirmed": confirmed})).into_response()))
}

/// Whether the answer is to wait.
fn waits(query: Option<&str>) -> Result<bool, OAuthError> {
    let wrong = || OAuthError::request("the query is not `wait=confirmed`");
    let fields = form::decode(query.unwrap_or_default().as_bytes()).map_err(|_| wrong())?;
    match fields.one("wait") {
        None => Ok(false),
        Some("confirmed") => Ok(true),
        Some(_) => Err(wrong()),
    }
}
