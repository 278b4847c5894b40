//! `GET` and `POST /oauth2/consent`: whether a client may have what it asks for.

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use tegata_oauth::{
    AuthorizationRequest, Client, Code, Next, OAuthError, Said,
    redirect::{RedirectUri, with_query},
};
use tegata_session::Session;

use super::authorize::{Hold, held, proceed};
use crate::{
    app::App,
    body,
    messages::Messages,
    pages::{Frame, Shown, Trouble, Visit, back::back, render},
    signed_in::Presence,
};

#[derive(Template)]
#[template(path = "consent.html")]
struct Page<'a> {
    frame: &'a Frame,
    client: Shown,
    username: String,
    /// What each scope value means, and its name where that says more.
    scopes: Vec<(&'static str, Option<&'a str>)>,
    /// The authorization details: the type of each, and all that it says.
    details: Vec<(&'a str, String)>,
    request: &'a str,
    csrf: &'a str,
    /// The page on which somebody else can sign in.
    another: String,
    goes_to: String,
}

/// What the person said.
enum Decision {
    Allow,
    Deny,
}

/// Asks.
pub(crate) async fn show(State(app): State<App>, visit: Visit) -> Response {
    visit.answer(&app, ask(&app, &visit).await)
}

/// Takes the answer.
pub(crate) async fn submit(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, take(&app, &visit, request).await)
}

async fn ask(app: &App, visit: &Visit) -> Result<Response, Trouble> {
    let query = visit.query()?;
    let handle = query.one("request").ok_or(Trouble::Expired)?;
    let (request, client) = held(app, handle).await?;
    let presence = app.presence(&visit.caller).await?;
    let who = presence.who();
    let must_ask = app.provider().next(&request, &client, who.as_ref(), Said::default()).await?;
    let answer = match (presence.session(), must_ask) {
        (Some(session), Next::AskConsent) => {
            let lang = visit.lang(query.one("lang"), &request.ui_locales);
            let here = [("request", handle)];
            let frame = Frame::new(app, lang, Some(("/oauth2/consent", &here)));
            page(app, &frame, session, &request, &client, handle).await?
        }
        // Nobody has to be asked: on to whatever comes instead.
        _ => {
            let said = Said::default();
            let step =
                proceed(app, &request, &client, who.as_ref(), said, Hold::Under(handle)).await?;
            step.into_response(app, visit, query.one("lang"))?
        }
    };
    Ok((presence.cookies(app), answer).into_response())
}

async fn page(
    app: &App,
    frame: &Frame,
    session: &Session,
    request: &AuthorizationRequest,
    client: &Client,
    handle: &str,
) -> Result<Response, Trouble> {
    let user = app.users().load(app.realm(), &session.user).await?;
    let csrf = app.csrf_of(&session.id)?;
    let (uri, asked) = (&request.redirect_uri, request.asked_of_person());
    let page = Page {
        frame,
        client: Shown::of(client),
        username: user.map(|user| user.username.as_str().to_owned()).unwrap_or_default(),
        scopes: asked.values().map(|value| meaning(frame.m, value)).collect(),
        details: request.details.each().collect(),
        request: handle,
        csrf: csrf.as_str(),
        another: with_query(
            "/login",
            &[("request", handle), ("another", "true"), ("lang", frame.lang.tag())],
        ),
        goes_to: RedirectUri::origin(uri).unwrap_or_else(|| uri.clone()),
    };
    Ok(render(StatusCode::OK, &page, frame, Some(uri)))
}

async fn take(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let fields = body::fields(app, request).await?;
    let decision = match fields.one("decision") {
        Some("allow") => Decision::Allow,
        Some("deny") => Decision::Deny,
        _ => return Err(Trouble::Malformed("decision is neither allow nor deny")),
    };
    let handle = fields.one("request").ok_or(Trouble::Expired)?;
    let presence = app.presence(&visit.caller).await?;
    let session = presence.session().ok_or(Trouble::Expired)?;
    let token = fields.one("csrf_token").unwrap_or_default();
    if !app.csrf().is_of_session(app.realm(), &session.id, token) {
        return Err(Trouble::Foreign);
    }
    let (request, client) = held(app, handle).await?;
    let answer = match decision {
        Decision::Allow => allow(app, visit, (&request, &client), &presence, handle).await?,
        Decision::Deny => {
            app.provider().release(handle).await?;
            let error = OAuthError::new(Code::AccessDenied, "the person did not agree");
            let redirect = app.provider().refuse_request(&request, &error)?;
            back(app, visit.lang(None, &request.ui_locales), &redirect)?
        }
    };
    Ok((presence.cookies(app), answer).into_response())
}

async fn allow(
    app: &App,
    visit: &Visit,
    (request, client): (&AuthorizationRequest, &Client),
    presence: &Presence,
    handle: &str,
) -> Result<Response, Trouble> {
    let who = presence.who();
    let said = Said { consented: true };
    let next = app.provider().next(request, client, who.as_ref(), said).await?;
    // Somebody whose sign-in no longer counts was not asked.
    if let (Some(who), Next::Answer) = (&who, next) {
        app.provider().remember_consent(&who.user, client, &request.asked_of_person()).await?;
    }
    proceed(app, request, client, who.as_ref(), said, Hold::Under(handle))
        .await?
        .into_response(app, visit, None)
}

/// What a scope value means to a person.
pub(crate) fn meaning<'s>(m: &Messages, value: &'s str) -> (&'static str, Option<&'s str>) {
    match value {
        "openid" => (m.scope_openid, None),
        "profile" => (m.scope_profile, None),
        "email" => (m.scope_email, None),
        "roles" => (m.scope_roles, None),
        "offline_access" => (m.scope_offline, None),
        other => (m.scope_other, Some(other)),
    }
}
