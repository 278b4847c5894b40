//! `GET /api/auth/csrf`: a token for what changes something.

use axum::{extract::State, response::Response};
use serde_json::json;
use tegata_core::StoreError;
use tegata_session::{Session, Verdict};

use super::{Refusal, answer, rotated, somebody};
use crate::{
    app::App,
    caller::Caller,
    signed_in::{Cookies, Presence},
};

pub(crate) async fn csrf(State(app): State<App>, caller: Caller) -> Result<Response, Refusal> {
    let presence = app.presence(&caller).await?;
    let (sid, cookies) = match superseded(&app, &caller, &presence).await? {
        Some(session) => (session.id, Cookies::default()),
        None => {
            let passage = somebody(&app, presence)?;
            let cookies = rotated(&app, &passage);
            (passage.session.id, cookies)
        }
    };
    let token = app.csrf_of(&sid)?;
    Ok(answer(cookies, json!({"csrf_token": token.as_str()})))
}

/// The session of a cookie whose next value went to somebody: maybe in an answer that was lost. A named
/// refresh can find it again, and needs a token for that, which is of no use without the cookies.
async fn superseded(
    app: &App,
    caller: &Caller,
    presence: &Presence,
) -> Result<Option<Session>, StoreError> {
    match presence {
        Presence::Nobody(Some(Verdict::Superseded)) => app.meant(caller, presence).await,
        Presence::Nobody(_) | Presence::Somebody(_) => Ok(None),
    }
}
