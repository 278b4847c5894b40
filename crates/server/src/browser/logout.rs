//! `POST /api/auth/logout`, with `?everywhere=true` for all sessions of the person.

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;

use super::{Refusal, from_our_pages, guarded, legible};
use crate::{
    app::App, caller::Caller, form, headers::NoStore, oauth2::logout::everywhere,
    signed_in::Cookies,
};

/// Signs out. The cookies go whatever the session is worth; only where the store does not answer,
/// nothing is claimed.
pub(crate) async fn logout(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    caller: Caller,
) -> Result<Response, Refusal> {
    let query = form::decode(query.unwrap_or_default().as_bytes()).ok();
    let all = query.is_some_and(|query| query.one("everywhere") == Some("true"));
    from_our_pages(&app, &caller)?;
    legible(&app, &caller)?;
    let presence = app.presence(&caller).await?;
    // Where there is nothing to end, there is nothing that a token would have to guard.
    if let Some(session) = app.meant(&caller, &presence).await? {
        guarded(&app, &caller)?;
        if all {
            everywhere(&app, &session).await?;
        } else {
            app.end_session(&session.id, &session.user).await?;
        }
    }
    Ok((Cookies::signed_out(&app), NoStore(StatusCode::NO_CONTENT)).into_response())
}
