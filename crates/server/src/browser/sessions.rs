//! `GET /api/auth/sessions` and `DELETE /api/auth/sessions/{id}`: a person's own sessions. With
//! `?wait=confirmed`, the answer waits until every node refuses the one that was ended.

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde_json::{Value, json};
use tegata_core::SessionId;

use super::{Refusal, answer, changing, reading, rotated};
use crate::{
    app::App, caller::Caller, confirmed, headers::NoStore, problem::Problem, router::Segment,
    signed_in::Cookies,
};

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Refusal> {
    let passage = reading(&app, &caller).await?;
    let own = &passage.session;
    let listed = app.sessions().list(app.realm(), &own.user).await?;
    let sessions: Vec<Value> = listed
        .iter()
        .map(|it| {
            json!({
                "sid": it.session.id,
                "current": it.session.id == own.id,
                "user_agent": it.session.binding.agent.to_string(),
                "network": it.session.binding.network.to_string(),
                "started_at": it.session.started.secs(),
                "last_access": it.last_access.secs(),
                "expires_at": it.session.ends_within(app.sessions().limits()).secs(),
                "access_count": it.accesses,
            })
        })
        .collect();
    Ok(answer(rotated(&app, &passage), json!({"sessions": sessions})))
}

pub(crate) async fn end(
    State(app): State<App>,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
    caller: Caller,
) -> Result<Response, Refusal> {
    let waits = confirmed::waits(query.as_deref()).map_err(Problem::query)?;
    let passage = changing(&app, &caller).await?;
    let own = &passage.session;
    let sid = SessionId::new(&id).ok();
    let found = match &sid {
        Some(sid) => app.sessions().unended(app.realm(), sid).await?,
        None => None,
    };
    // Somebody else's session is not there.
    let Some(session) = found.filter(|found| found.user == own.user) else {
        let problem = Problem::new(StatusCode::NOT_FOUND, "there is no such session");
        return Err(Refusal { cookies: rotated(&app, &passage), ..Refusal::from(problem) });
    };
    let is_own = session.id == own.id;
    // Whoever has no more than a cookie throws nobody else out.
    if !is_own && !app.is_fresh(own) {
        let detail = "the person proves once more who they are before they end another session";
        let problem = Problem::new(StatusCode::FORBIDDEN, detail).named("proof_required");
        return Err(Refusal { cookies: rotated(&app, &passage), ..Refusal::from(problem) });
    }
    let began = app.node().since_boot();
    let taken = app.end_session(&session.id, &own.user).await?;
    let cookies = if is_own { Cookies::signed_out(&app) } else { rotated(&app, &passage) };
    let answer = match waits {
        true => confirmed::counted(&app, began, taken).await,
        false => NoStore(StatusCode::NO_CONTENT).into_response(),
    };
    Ok((cookies, answer).into_response())
}
