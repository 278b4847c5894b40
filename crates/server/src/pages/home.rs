//! What somebody who is signed in sees: who they are, and where else they are signed in.

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use tegata_core::SessionId;
use tegata_session::{Agent, Session, agent::Family};

use super::{Frame, Trouble, Visit, render, see_other};
use crate::{
    app::App,
    body,
    messages::{Lang, Messages},
};

#[derive(Template)]
#[template(path = "home.html")]
struct Page<'a> {
    frame: &'a Frame,
    username: String,
    csrf: &'a str,
    sessions: Vec<Row>,
}

/// A session in the list.
struct Row {
    sid: String,
    browser: String,
    network: String,
    /// When it was last used: for people, and for programs.
    used: String,
    used_rfc3339: String,
    is_this: bool,
}

/// `GET /`: the page, or the way to it.
pub(crate) async fn home(State(app): State<App>, visit: Visit) -> Response {
    let answer = async {
        let presence = app.presence(&visit.caller).await?;
        let lang = visit.lang(visit.query()?.one("lang"), &[]);
        let answer = match presence.session() {
            Some(session) => page(&app, session, lang).await?,
            None => see_other("/login")?,
        };
        Ok((presence.cookies(&app), answer).into_response())
    };
    visit.answer(&app, answer.await)
}

/// `POST /login/sessions`: ends one of the person's sessions.
pub(crate) async fn end(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, end_one(&app, &visit, request).await)
}

async fn end_one(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let fields = body::fields(app, request).await?;
    let presence = app.presence(&visit.caller).await?;
    let cookies = presence.cookies(app);
    let Some(session) = presence.session() else {
        return Ok((cookies, see_other("/login")?).into_response());
    };
    let token = fields.one("csrf_token").unwrap_or_default();
    if !app.csrf().is_of_session(app.realm(), &session.id, token) {
        return Err(Trouble::Foreign);
    }
    let sid = fields.one("sid").and_then(|sid| SessionId::new(sid).ok());
    if let Some(sid) = sid
        && let Some(other) = app.sessions().unended(app.realm(), &sid).await?
        && other.user == session.user
    {
        app.end_session(&sid, &session.user).await?;
    }
    Ok((cookies, see_other("/login")?).into_response())
}

/// The page of a session.
pub(super) async fn page(app: &App, session: &Session, lang: Lang) -> Result<Response, Trouble> {
    let user = app.users().load(app.realm(), &session.user).await?;
    let csrf = app.csrf_of(&session.id)?;
    let listed = app.sessions().list(app.realm(), &session.user).await?;
    let mut frame = Frame::new(app, lang, Some(("/login", &[])));
    frame.csrf = Some(csrf.as_str().to_owned());
    let row = |it: tegata_session::Listed| Row {
        is_this: it.session.id == session.id,
        browser: browser(frame.m, it.session.binding.agent),
        network: it.session.binding.network.to_string(),
        used: minutes(&it.last_access.to_string()),
        used_rfc3339: it.last_access.to_string(),
        sid: it.session.id.as_str().to_owned(),
    };
    let page = Page {
        username: user.map(|user| user.username.as_str().to_owned()).unwrap_or_default(),
        csrf: csrf.as_str(),
        sessions: listed.into_iter().map(row).collect(),
        frame: &frame,
    };
    Ok(render(StatusCode::OK, &page, &frame, None))
}

/// What a browser is called.
pub(super) fn browser(m: &Messages, agent: Agent) -> String {
    match agent.family {
        Family::Other => m.unknown_browser.to_owned(),
        family => match agent.system {
            tegata_session::agent::System::Other => format!("{family:?}"),
            system => format!("{family:?}{}{system:?}", m.on_system),
        },
    }
}

/// A time of RFC 3339 without its seconds, as people read it.
pub(super) fn minutes(time: &str) -> String {
    let (date, clock) = time.split_once('T').unwrap_or((time, ""));
    format!("{date} {} UTC", clock.get(..5).unwrap_or_default())
}
