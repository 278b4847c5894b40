//! `POST /api/auth/logout`, with `?everywhere=true` for all sessions of the person.

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;

use super::{Refusal, from_our_pages, guarded};
use crate::{
    app::App,
    caller::Caller,
    form,
    headers::NoStore,
    oauth2::logout::everywhere,
    signed_in::{Cookies, Presence},
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
    let presence = app.presence(&caller).await?;
    match presence {
        // There is nothing to end, so nothing that a token would have to guard.
        Presence::Nobody(None) => {}
        Presence::Nobody(Some(verdict)) if verdict.is_final() => {}
        // The cookie is genuine, though it was replaced or is used from elsewhere; and whoever
        // sends it has the session's CSRF token. Ending too much is the safe side.
        Presence::Nobody(Some(_)) => {
            if let Some(sid) = guarded(&app, &caller)?
                && let Some(session) = app.sessions().find(app.realm(), &sid).await?
            {
                app.end_session(&sid, &session.user).await?;
            }
        }
        Presence::Somebody(passage) => {
            guarded(&app, &caller)?;
            if all {
                everywhere(&app, &passage.session).await?;
            } else {
                app.end_session(&passage.session.id, &passage.session.user).await?;
            }
        }
    }
    Ok((Cookies::signed_out(&app), NoStore(StatusCode::NO_CONTENT)).into_response())
}
