//! `POST /oauth2/token` (RFC 6749 §3.2).

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use tegata_oauth::{Code, GrantType, OAuthError, Proven, ProvenKey, TokenAnswer};

use super::{
    asked::{Asked, Rejected},
    authorize::too_many_of_anybody,
};
use crate::{app::App, caller::Caller, dpop, headers::NoStore, metrics::Method};

/// What a device is told while a person is asked.
const WAITING: [&str; 2] = [Code::AuthorizationPending.name(), Code::SlowDown.name()];

pub(crate) async fn token(
    State(app): State<App>,
    caller: Caller,
    asked: Asked,
) -> Result<NoStore<Response>, Rejected> {
    let (method, started) =
        (Method::of_grant(asked.params.get("grant_type")), app.node().since_boot());
    let answer = answer(&app, &caller, &asked).await;
    let outcome = answer.as_ref().map(|_| ()).map_err(Rejected::code);
    // A device that asks whether somebody has answered has not failed.
    if !outcome.is_err_and(|code| WAITING.contains(&code)) {
        app.metrics().proved(method, app.node().elapsed(started), outcome);
    }
    let (answer, key) = answer?;
    if answer.gives_access() {
        // An exchange for several services makes a token for each.
        for _ in 0..answer.tokens.as_ref().map_or(1, serde_json::Map::len) {
            app.metrics().issued_access(app.node().since_boot(), answer.expires_in);
        }
    } else {
        app.metrics().issued("transaction");
    }
    if answer.refresh_token.is_some() {
        app.metrics().issued("refresh");
    }
    if answer.id_token.is_some() {
        app.metrics().issued("id");
    }
    Ok(NoStore((dpop::renewed(&app, key.as_ref()), Json(answer)).into_response()))
}

async fn answer(
    app: &App,
    caller: &Caller,
    asked: &Asked,
) -> Result<(TokenAnswer, Option<ProvenKey>), Rejected> {
    let client = asked.client(app, "/oauth2/token").await?;
    if asked.shows_proof() && too_many_of_anybody(app, caller, &client).is_some() {
        let description = "too many proofs come from there";
        let refused = OAuthError::new(Code::TemporarilyUnavailable, description);
        return Err(asked.reject(refused.into()));
    }
    let key = asked.key(app, &client, "/oauth2/token").await?;
    let place = caller.place();
    let proven = Proven { key: key.as_ref(), certificate: asked.certificate() };
    let answer = app.provider().token(&client, &asked.params, &place, proven).await;
    let answer = answer.map_err(|refused| asked.reject(refused));
    if asked.params.get("grant_type") == Some(GrantType::TokenExchange.name()) {
        let targets = asked.params.all("audience").chain(asked.params.all("resource"));
        let outcome = answer.as_ref().map(|_| ()).map_err(Rejected::code);
        app.metrics().exchanged(client.id.as_str(), targets, outcome);
    }
    Ok((answer?, key))
}
