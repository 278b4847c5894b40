//! What somebody who is signed in sees: who they are, where else they are signed in, and whom they have
//! let act for them.

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use tegata_core::{ClientId, SessionId, UserId, port::Page as PageOf};
use tegata_oauth::redirect::with_query;
use tegata_session::{Agent, Listed, Session};

use super::{
    Frame, Shown, Trouble, Visit,
    held::{self, Held},
    render, see_other, to_sign_in,
};
use crate::{
    app::App,
    body,
    form::Fields,
    messages::{Lang, Messages},
    oauth2::consent::meaning,
    refusals,
    signed_in::Cookies,
};

#[derive(Template)]
#[template(path = "home.html")]
struct Page<'a> {
    frame: &'a Frame,
    username: String,
    csrf: &'a str,
    sessions: Vec<Row>,
    applications: Vec<Application>,
    held: Vec<Held>,
}

/// A client that somebody has agreed to.
struct Application {
    id: String,
    name: String,
    /// What it may, in words, with the value of the scope where there are none.
    may: Vec<(&'static str, Option<String>)>,
    /// Since when: for people, and for programs.
    since: String,
    since_rfc3339: String,
}

/// How many are listed.
const MOST_APPLICATIONS: u32 = 100;

/// A session in the list.
pub(super) struct Row {
    pub(super) sid: String,
    pub(super) browser: String,
    pub(super) network: String,
    /// When it was last used: for people, and for programs.
    pub(super) used: String,
    pub(super) used_rfc3339: String,
    pub(super) is_this: bool,
}

impl Row {
    /// What `own` is shown of a session of its person.
    pub(super) fn of(it: &Listed, own: &Session, m: &Messages) -> Self {
        Self {
            is_this: it.session.id == own.id,
            browser: browser(m, it.session.binding.agent),
            network: it.session.binding.network.to_string(),
            used: minutes(&it.last_access.to_string()),
            used_rfc3339: it.last_access.to_string(),
            sid: it.session.id.as_str().to_owned(),
        }
    }
}

/// `GET /`: the page, or the way to it.
pub(crate) async fn home(State(app): State<App>, visit: Visit) -> Response {
    let answer = async {
        let presence = app.presence(&visit.caller).await?;
        let lang = visit.lang(visit.query()?.one("lang"), &[]);
        let answer = match presence.session() {
            Some(session) => page(&app, session, lang).await?,
            None => to_sign_in()?,
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
    let (cookies, session, fields) = match own(app, visit, request).await? {
        Ok(own) => own,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let sid = fields.one("sid").and_then(|sid| SessionId::new(sid).ok());
    if let Some(sid) = sid
        && let Some(other) = app.sessions().unended(app.realm(), &sid).await?
        && other.user == session.user
    {
        // Whoever has no more than a cookie throws nobody else out: they show first who they are.
        if other.id != session.id && !app.is_fresh(&session) {
            let lang = visit.lang(fields.one("lang"), &[]);
            let prove = with_query("/login/security", &[("lang", lang.tag())]);
            let elsewhere = refusals::named(see_other(&prove)?, "proof_required");
            return Ok((cookies, elsewhere).into_response());
        }
        app.end_session(&sid, &session.user).await?;
    }
    Ok((cookies, see_other("/login")?).into_response())
}

/// `POST /login/consents`: takes back what somebody has agreed to, and what a client got by it.
pub(crate) async fn withdraw(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, withdraw_one(&app, &visit, request).await)
}

async fn withdraw_one(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    let (cookies, session, fields) = match own(app, visit, request).await? {
        Ok(own) => own,
        Err(elsewhere) => return Ok(elsewhere),
    };
    if let Some(client) = fields.one("client").and_then(|id| ClientId::new(id).ok()) {
        let by = session.user.as_str();
        app.provider().take_back_consent(&session.user, &client, by).await?;
    }
    Ok((cookies, see_other("/login")?).into_response())
}

/// Whoever is signed in and sent a form of this page, and the form; or where to go instead.
pub(super) async fn own(
    app: &App,
    visit: &Visit,
    request: Request,
) -> Result<Result<(Cookies, Session, Fields), Response>, Trouble> {
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let fields = body::fields(app, request).await?;
    let presence = app.presence(&visit.caller).await?;
    let cookies = presence.cookies(app);
    let Some(session) = presence.session() else {
        return Ok(Err((cookies, to_sign_in()?).into_response()));
    };
    app.check_form(&session.id, fields.one("csrf_token"), || "/login".to_owned())?;
    Ok(Ok((cookies, session.clone(), fields)))
}

/// Whom somebody has let act for them, the latest first.
async fn applications(app: &App, user: &UserId, m: &Messages) -> Result<Vec<Application>, Trouble> {
    let provider = app.provider();
    let page = PageOf { after: None, limit: MOST_APPLICATIONS };
    let mut consents = provider.consents(Some(user), page).await?;
    consents.sort_by_key(|consent| std::cmp::Reverse(consent.at));
    let mut listed = Vec::with_capacity(consents.len());
    for consent in consents {
        let client = provider.clients().load(app.realm(), &consent.client).await?;
        // What was said to an earlier client of the same name counts for nothing.
        let Some(client) = client.filter(|it| consent.at >= it.value.created) else { continue };
        let meaning = |value| {
            let (text, name): (_, Option<&str>) = meaning(m, value);
            (text, name.map(str::to_owned))
        };
        listed.push(Application {
            id: consent.client.as_str().to_owned(),
            name: Shown::of(&client.value).name,
            may: consent.scope.values().map(meaning).collect(),
            since: minutes(&consent.at.to_string()),
            since_rfc3339: consent.at.to_string(),
        });
    }
    Ok(listed)
}

/// The page of a session.
pub(super) async fn page(app: &App, session: &Session, lang: Lang) -> Result<Response, Trouble> {
    let user = app.users().load(app.realm(), &session.user).await?;
    let csrf = app.form_csrf_of(&session.id)?;
    let listed = app.sessions().list(app.realm(), &session.user).await?;
    let mut frame = Frame::new(app, lang, Some(("/login", &[])));
    frame.csrf = Some(app.csrf_of(&session.id)?.as_str().to_owned());
    let held = held::of(app, &session.user, &listed).await?;
    let page = Page {
        username: user.map(|user| user.username.as_str().to_owned()).unwrap_or_default(),
        csrf: csrf.as_str(),
        sessions: listed.iter().map(|it| Row::of(it, session, frame.m)).collect(),
        applications: applications(app, &session.user, frame.m).await?,
        held,
        frame: &frame,
    };
    Ok(render(StatusCode::OK, &page, &frame, None))
}

/// What a browser is called.
pub(super) fn browser(m: &Messages, agent: Agent) -> String {
    m.browser(&agent.to_string())
}

/// A time of RFC 3339 without its seconds, as people read it.
pub(super) fn minutes(time: &str) -> String {
    let (date, clock) = time.split_once('T').unwrap_or((time, ""));
    format!("{date} {} UTC", clock.get(..5).unwrap_or_default())
}
