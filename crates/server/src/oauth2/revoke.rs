//! `POST /oauth2/revoke` (RFC 7009). 200 only when the revocation is durable. With `?wait=confirmed`,
//! the answer waits until every node refuses the token, and says so; of what is no token of this issuer,
//! nothing is said.

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use tegata_oauth::OAuthError;
use tegata_token::revocation::Taken;

use super::asked::{Asked, Rejected};
use crate::{app::App, confirmed, headers::NoStore};

pub(crate) async fn revoke(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    asked: Asked,
) -> Result<Response, Rejected> {
    let waits = confirmed::waits(query.as_deref());
    let waits = waits.map_err(|wrong| asked.reject(OAuthError::request(wrong).into()))?;
    let client = asked.client(&app, "/oauth2/revoke").await?;
    let began = app.node().since_boot();
    let revoked = app.provider().revoke(&client, &asked.params).await;
    let taken = revoked.map_err(|refused| asked.reject(refused))?;
    Ok(match waits && taken != Taken::Nothing {
        true if client.is_public() => confirmed::counted(&app, began, taken).await,
        true => confirmed::told(&app, began, taken).await,
        false => NoStore(().into_response()).into_response(),
    })
}
