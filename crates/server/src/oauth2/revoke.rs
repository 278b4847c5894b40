//! `POST /oauth2/revoke` (RFC 7009). 200 only when the revocation is durable.

use axum::extract::State;

use super::asked::{Asked, Rejected};
use crate::{app::App, headers::NoStore};

pub(crate) async fn revoke(State(app): State<App>, asked: Asked) -> Result<NoStore<()>, Rejected> {
    let client = asked.client(&app).await?;
    let revoked = app.provider().revoke(&client, &asked.params).await;
    revoked.map(NoStore).map_err(|refused| asked.reject(refused))
}
