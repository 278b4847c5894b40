//! `POST /oauth2/introspect` (RFC 7662).

use axum::{Json, extract::State};
use serde_json::Value;

use super::asked::{Asked, Rejected};
use crate::{app::App, headers::NoStore};

pub(crate) async fn introspect(
    State(app): State<App>,
    asked: Asked,
) -> Result<NoStore<Json<Value>>, Rejected> {
    let client = asked.client(&app).await?;
    let answer = app.provider().introspect(&client, &asked.params).await;
    answer.map(|answer| NoStore(Json(answer))).map_err(|refused| asked.reject(refused))
}
