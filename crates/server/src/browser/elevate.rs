//! `POST /api/auth/elevate`: the person proves once more who they are, for what is sensitive.

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::Deserialize;
use tegata_core::{Secret, SessionId};
use tegata_session::{CookieName, Presentation, Rise, SessionRefused, Standing};

use super::{Refusal, guarded};
use crate::{
    app::App,
    body,
    caller::Caller,
    headers::NoStore,
    metrics::Method,
    pages::login::error_type,
    problem::Problem,
    signed_in::{Cookies, Presence, standing},
};

#[derive(Deserialize)]
struct Proof {
    password: Option<String>,
}

pub(crate) async fn elevate(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    let nobody = || Refusal::nobody(&app, &Presence::Nobody(None));
    let sid = guarded(&app, &caller)?.ok_or_else(nobody)?;
    let Proof { password } = body::json(&app, request).await?;
    let Some(password) = password.map(Secret::new) else {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "the password is missing");
        return Err(problem.named("invalid_request").into());
    };
    let raised = prove(&app, &caller, &sid, &password).await?.ok_or_else(nobody)?;
    // Presenting would count as a use of the session besides; the proof is the use.
    let value = caller.cookie(&app, CookieName::Session).unwrap_or_default();
    let presentation = Presentation { value, binding: &caller.binding, rotates: true };
    let rise = Rise { standing: raised };
    match app.sessions().raise(app.realm(), &presentation, &rise).await {
        Ok(passage) => {
            let cookies = passage.cookie.iter().fold(Cookies::default(), |cookies, value| {
                cookies.with(&app, CookieName::Session, value)
            });
            Ok((cookies, NoStore(StatusCode::NO_CONTENT)).into_response())
        }
        Err(SessionRefused::Verdict(verdict)) => {
            Err(Refusal::nobody(&app, &Presence::Nobody(Some(verdict))))
        }
        Err(SessionRefused::Store(error)) => Err(error.into()),
    }
}

/// What the session may do after the proof. `None`: there is no such session. Whether the cookie is
/// genuine is judged when the session is raised.
async fn prove(
    app: &App,
    caller: &Caller,
    sid: &SessionId,
    password: &Secret<String>,
) -> Result<Option<Standing>, Refusal> {
    let Some(session) = app.sessions().find(app.realm(), sid).await? else { return Ok(None) };
    let Some(user) = app.users().load(app.realm(), &session.user).await? else { return Ok(None) };
    let started = app.node().since_boot();
    let proven = app.prove(caller, user.username.as_str(), password).await;
    let outcome = proven.as_ref().map(|_| ()).map_err(error_type);
    app.metrics().proved(Method::Password, app.node().elapsed(started), outcome);
    let (assurance, auth_time) = proven?;
    // A name can pass to somebody else meanwhile; the session does not.
    if assurance.user.id != session.user {
        return Ok(None);
    }
    let until = app.node().now() + app.config().elevation;
    let proven = standing(&assurance, auth_time);
    let mut amr = session.standing.amr;
    amr.extend(proven.amr.iter().filter(|it| !amr.contains(it)).cloned().collect::<Vec<_>>());
    // Proving one thing again takes nothing from what was proven before; levels sort by their names.
    let acr = proven.acr.clone().max(session.standing.acr);
    Ok(Some(Standing { acr, amr, elevated_until: Some(until), ..proven }))
}
