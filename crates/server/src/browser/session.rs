//! `GET /api/auth/session`: who is signed in, and how.

use axum::{extract::State, response::Response};
use serde_json::json;

use super::{Refusal, answer, reading, rotated};
use crate::{app::App, caller::Caller, signed_in::Presence};

pub(crate) async fn session(State(app): State<App>, caller: Caller) -> Result<Response, Refusal> {
    let passage = reading(&app, &caller).await?;
    let session = &passage.session;
    let changed = app.view().has_changed(session.user.as_str());
    let user = app.users().recent_unless(changed, app.realm(), &session.user).await?;
    let Some(user) = user.filter(|user| !user.disabled) else {
        return Err(Refusal::nobody(&app, &Presence::Nobody(None)));
    };
    let standing = &session.standing;
    let (now, limits) = (app.node().now(), app.sessions().limits());
    let elevated_until = standing.elevated_until.filter(|until| now < *until);
    let roles: Vec<_> = user.roles.iter().map(|role| role.as_str()).collect();
    let told = json!({
        "sid": session.id,
        "user": {
            "id": user.id,
            "username": user.username,
            "email": user.email,
            "locale": user.locale,
        },
        "roles": roles,
        "acr": standing.acr,
        "amr": standing.amr,
        "auth_time": standing.auth_time,
        "started_at": session.started.secs(),
        "expires_at": session.ends_within(limits).secs(),
        "idle_timeout": session.idle_within(limits).as_secs(),
        "is_elevated": elevated_until.is_some(),
        "elevated_until": elevated_until.map(tegata_core::Timestamp::secs),
        // Nobody has assessed it.
        "risk": null,
    });
    Ok(answer(rotated(&app, &passage), told))
}
