//! `POST /api/auth/login`

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Deserialize;
use tegata_core::Secret;

use super::{Refusal, Tokens, answer, from_our_pages};
use crate::{app::App, body, caller::Caller, metrics::Method, pages::login::error_type};

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
    let started = app.node().since_boot();
    let signed_in = app.sign_in_by_password(&caller, &username, &password).await;
    let outcome = signed_in.as_ref().map(|_| ()).map_err(error_type);
    app.metrics().proved(Method::Password, app.node().elapsed(started), outcome);
    let fresh = signed_in?;
    app.metrics().issued_access(app.node().since_boot(), fresh.expires_in);
    app.metrics().issued("refresh");
    let tokens = Tokens {
        access_token: fresh.access_token,
        token_type: "Bearer",
        expires_in: fresh.expires_in,
        csrf_token: fresh.csrf.as_str().to_owned(),
        sid: Some(fresh.session.id),
    };
    Ok(answer(fresh.cookies, tokens))
}
