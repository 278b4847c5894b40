//! `GET` and `POST /oauth2/consent`: whether a client may have what it asks for.

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use tegata_identity::Refused;
use tegata_oauth::{
    AuthorizationRequest, Client, Code, Next, OAuthError, Said,
    redirect::{RedirectUri, with_query},
};
use tegata_session::Session;

use super::authorize::{Hold, answered, held, proceed};
use crate::{
    app::App,
    body,
    form::Fields,
    messages::Messages,
    pages::{
        Frame, Shown, Trouble, Visit,
        back::back,
        presence::{self, Asks, How, Thing},
        render,
    },
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
    presence: Asks,
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
            let asking = Asking { app, visit, request: &request, client: &client, handle };
            asking.page(session, &query, StatusCode::OK, None).await?
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

/// A request that somebody is asked about.
#[derive(Clone, Copy)]
struct Asking<'a> {
    app: &'a App,
    visit: &'a Visit,
    request: &'a AuthorizationRequest,
    client: &'a Client,
    handle: &'a str,
}

impl Asking<'_> {
    /// The page, for the first time or with what is wrong with the proof.
    async fn page(
        self,
        session: &Session,
        fields: &Fields,
        status: StatusCode,
        refused: Option<&Refused>,
    ) -> Result<Response, Trouble> {
        let Self { app, visit, request, client, handle } = self;
        let given = fields.one(presence::FIELD);
        let here: Vec<_> = [("request", handle)]
            .into_iter()
            .chain(given.map(|it| (presence::FIELD, it)))
            .collect();
        let lang = visit.lang(fields.one("lang"), &request.ui_locales);
        let frame = Frame::new(app, lang, Some(("/oauth2/consent", &here)));
        let thing = (Thing::Request(handle), given);
        let presence = presence::asked(app, &frame, session, thing, refused).await?;
        let user = app.users().load(app.realm(), &session.user).await?;
        let csrf = app.form_csrf_of(&session.id)?;
        let (uri, asked) = (&request.redirect_uri, request.asked_of_person());
        let page = Page {
            frame: &frame,
            client: Shown::of(client),
            username: user.map(|user| user.username.as_str().to_owned()).unwrap_or_default(),
            scopes: asked.values().map(|value| meaning(frame.m, value)).collect(),
            details: request.details.each().collect(),
            request: handle,
            csrf: csrf.as_str(),
            presence,
            another: with_query(
                "/login",
                &[("request", handle), ("another", "true"), ("lang", lang.tag())],
            ),
            goes_to: RedirectUri::origin(uri).unwrap_or_else(|| uri.clone()),
        };
        Ok(presence::once_more(render(status, &page, &frame, Some(uri)), refused))
    }

    /// Takes a yes, with what the person showed beside it.
    async fn allowed(self, presence: &Presence, fields: &Fields) -> Result<Response, Trouble> {
        let Self { app, visit, request, client, handle } = self;
        let session = presence.session().ok_or(Trouble::Expired)?;
        let who = presence.who();
        let cookies = presence.cookies(app);
        // Whoever has said yes before is not asked for anything.
        let next = app.provider().next(request, client, who.as_ref(), Said::default()).await?;
        if next == Next::AskConsent {
            match presence::shown(app, visit, session, (Thing::Request(handle), fields)).await? {
                presence::Shown::Counts => {}
                presence::Shown::Not(refused) => {
                    let status = presence::code(refused.as_ref());
                    let page = self.page(session, fields, status, refused.as_ref()).await?;
                    return Ok((cookies, page).into_response());
                }
                presence::Shown::Nobody => return Err(Trouble::Expired),
            }
        }
        let said = Said { consented: true };
        let next = app.provider().next(request, client, who.as_ref(), said).await?;
        // Somebody whose sign-in no longer counts was not asked.
        if let (Some(who), Next::Answer) = (&who, next) {
            app.provider().remember_consent(&who.user, client, &request.asked_of_person()).await?;
        }
        let step = proceed(app, request, client, who.as_ref(), said, Hold::Under(handle)).await?;
        Ok((cookies, step.into_response(app, visit, None)?).into_response())
    }
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
    app.check_form(&session.id, fields.one("csrf_token"), || {
        with_query("/oauth2/consent", &[("request", handle)])
    })?;
    let (request, client) = held(app, handle).await?;
    match decision {
        Decision::Allow => {
            let asking = Asking { app, visit, request: &request, client: &client, handle };
            asking.allowed(&presence, &fields).await
        }
        Decision::Deny => {
            let error = OAuthError::new(Code::AccessDenied, "the person did not agree");
            let redirect = app.provider().refuse_request(&request, &error).await?;
            let redirect = answered(app, &request, redirect, Hold::Under(handle)).await?;
            let answer = back(app, visit.lang(None, &request.ui_locales), &redirect)?;
            Ok((presence.cookies(app), answer).into_response())
        }
    }
}

/// What a scope value means to a person.
pub(crate) fn meaning<'s>(m: &Messages, value: &'s str) -> (&'static str, Option<&'s str>) {
    match value {
        "openid" => (m.scope_openid, None),
        "profile" => (m.scope_profile, None),
        "email" => (m.scope_email, None),
        "phone" => (m.scope_phone, None),
        "address" => (m.scope_address, None),
        "roles" => (m.scope_roles, None),
        "offline_access" => (m.scope_offline, None),
        other => (m.scope_other, Some(other)),
    }
}
