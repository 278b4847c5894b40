//! `POST /api/auth/logout`, with `?everywhere=true` for all sessions of the person, and with
//! `?wait=confirmed` to answer when every node refuses them.

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;

use super::{Refusal, from_our_pages, guarded, legible};
use crate::{
    app::App, caller::Caller, confirmed, form, headers::NoStore, oauth2::logout::everywhere,
    problem::Problem, signed_in::Cookies,
};

/// Signs out. The cookies go whatever the session is worth; only where the store does not answer,
/// nothing is claimed.
pub(crate) async fn logout(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    caller: Caller,
) -> Result<Response, Refusal> {
    let query = form::decode(query.unwrap_or_default().as_bytes()).ok();
    let all = query.as_ref().is_some_and(|query| query.one("everywhere") == Some("true"));
    let waits = query.as_ref().map_or(Ok(false), confirmed::asks).map_err(Problem::query)?;
    from_our_pages(&app, &caller)?;
    legible(&app, &caller)?;
    let presence = app.presence(&caller).await?;
    let began = app.node().since_boot();
    // Where there is nothing to end, there is nothing that a token would have to guard.
    let taken = match app.meant(&caller, &presence).await? {
        Some(session) => {
            guarded(&app, &caller)?;
            Some(match all {
                true => everywhere(&app, &session).await?,
                false => app.end_session(&session.id, &session.user).await?,
            })
        }
        None => None,
    };
    let answer = match taken.filter(|_| waits) {
        Some(taken) => confirmed::counted(&app, began, taken).await,
        None => NoStore(StatusCode::NO_CONTENT).into_response(),
    };
    Ok((Cookies::signed_out(&app), answer).into_response())
}
