//! `GET` and `POST /oauth2/logout` (OpenID Connect RP-Initiated Logout 1.0). Whoever is signed in is
//! asked first, whatever a client says.

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{Method, StatusCode};
use serde_json::Value;
use tegata_core::StoreError;
use tegata_oauth::{Params, logout::EndSession, redirect::with_query};
use tegata_session::{Reason, Session};
use tegata_token::{Holder, Order, Tally, Withdrawable as _, revocation::Taken};

use super::{authorize::again_as_get, strangers::too_many_strangers};
use crate::{
    app::App,
    body,
    confirmed::{self, whole},
    form::Fields,
    pages::{Frame, Shown, Trouble, Visit, render, see_other},
    signed_in::{Cookies, Presence},
};

#[derive(Template)]
#[template(path = "logout.html")]
struct Page<'a> {
    frame: &'a Frame,
    client: Option<String>,
    username: String,
    csrf: &'a str,
    /// What the client said, to be said again with the answer.
    kept: Vec<(&'static str, &'a str)>,
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOut<'a> {
    frame: &'a Frame,
    /// Who refuses by now what has ended, where somebody waited for it.
    confirmed: Vec<String>,
    /// Where the client wants the browser to go on, where it has not gone there by itself.
    then: Option<&'a str>,
}

/// The parameters that a client can send (§2), but for those that are about the page alone.
const KEPT: [&str; 4] = ["id_token_hint", "client_id", "post_logout_redirect_uri", "state"];

/// What the person said.
#[derive(Clone, Copy)]
enum Decision {
    ThisBrowser,
    Everywhere,
}

pub(crate) async fn logout(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, answer(&app, &visit, request).await)
}

async fn answer(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    if request.method() != Method::POST {
        return ask(app, visit, visit.query()?).await;
    }
    let foreign = visit.caller.sent(app).is_err();
    let fields = body::fields(app, request).await?;
    match fields.one("decision") {
        Some(_) if foreign => Err(Trouble::Foreign),
        Some("logout") => take(app, visit, fields, Decision::ThisBrowser).await,
        Some("everywhere") => take(app, visit, fields, Decision::Everywhere).await,
        Some(_) => Err(Trouble::Malformed("decision is neither logout nor everywhere")),
        // A client's own form.
        None if foreign => again_as_get("/oauth2/logout", fields),
        None => ask(app, visit, fields).await,
    }
}

async fn ask(app: &App, visit: &Visit, fields: Fields) -> Result<Response, Trouble> {
    let chosen = fields.one("lang").map(str::to_owned);
    let waits = waits(visit, &fields)?;
    let params = params(fields)?;
    let wish = wish(app, visit, &params).await?;
    let (presence, meant) = meant(app, visit).await?;
    let cookies = presence.cookies(app);
    let Some(session) = meant else {
        // Nobody is signed in, so nothing has to be asked.
        let answer = done(app, visit, &wish, chosen.as_deref(), None)?;
        return Ok((cookies, answer).into_response());
    };
    let kept = KEPT.into_iter().filter_map(|name| Some((name, params.get(name)?)));
    let kept: Vec<_> = kept.chain(waits.then_some(("wait", "confirmed"))).collect();
    let locales: Vec<_> =
        params.get("ui_locales").unwrap_or_default().split(' ').map(str::to_owned).collect();
    let lang = visit.lang(chosen.as_deref(), &locales);
    let frame = Frame::new(app, lang, Some(("/oauth2/logout", &kept)));
    let user = app.users().load(app.realm(), &session.user).await?;
    let csrf = app.form_csrf_of(&session.id)?;
    let page = Page {
        frame: &frame,
        client: wish.client.as_ref().map(|client| Shown::of(client).name),
        username: user.map(|user| user.username.as_str().to_owned()).unwrap_or_default(),
        csrf: csrf.as_str(),
        kept,
    };
    let answer = render(StatusCode::OK, &page, &frame, wish.then.as_deref());
    Ok((cookies, answer).into_response())
}

async fn take(
    app: &App,
    visit: &Visit,
    fields: Fields,
    decision: Decision,
) -> Result<Response, Trouble> {
    let token = fields.one("csrf_token").map(str::to_owned);
    let kept = KEPT.into_iter().filter_map(|name| Some((name, fields.one(name)?)));
    let here = with_query("/oauth2/logout", &kept.collect::<Vec<_>>());
    let chosen = fields.one("lang").map(str::to_owned);
    let waits = waits(visit, &fields)?;
    let wish = wish(app, visit, &params(fields)?).await?;
    let (began, mut taken) = (app.node().since_boot(), None);
    if let (_, Some(session)) = meant(app, visit).await? {
        app.check_form(&session.id, token.as_deref(), || here)?;
        taken = Some(match decision {
            Decision::ThisBrowser => app.end_session(&session.id, &session.user).await?,
            Decision::Everywhere => everywhere(app, &session).await?,
        });
    }
    // A client to which the browser goes on is told by that: it comes when all refuse it.
    let confirmed = match taken.filter(|_| waits) {
        Some(taken) => Some(app.confirm().confirmed(began, taken).await),
        None => None,
    };
    let answer = done(app, visit, &wish, chosen.as_deref(), confirmed.as_ref())?;
    Ok((Cookies::signed_out(app), answer).into_response())
}

/// What is wished for. Strangers do not have many asked who they are.
async fn wish(app: &App, visit: &Visit, params: &Params) -> Result<EndSession, Trouble> {
    let named = params.get("client_id").unwrap_or_default();
    if let Some(wait) = too_many_strangers(app, visit.caller.address, named).await? {
        return Err(Trouble::TooMany(wait));
    }
    Ok(app.provider().end_session(params).await?)
}

/// What the browser's cookie comes to, and the session that is to end.
async fn meant(app: &App, visit: &Visit) -> Result<(Presence, Option<Session>), Trouble> {
    if visit.caller.cookies(app).is_err() {
        return Err(Trouble::Malformed("the cookies of the request cannot be read"));
    }
    let presence = app.presence(&visit.caller).await?;
    let meant = app.meant(&visit.caller, &presence).await?;
    Ok((presence, meant))
}

/// Whether the answer is to wait until every node refuses what has ended: as the form says, or the query
/// of the address that it was sent to.
fn waits(visit: &Visit, fields: &Fields) -> Result<bool, Trouble> {
    let asks = |fields: &Fields| confirmed::asks(fields).map_err(Trouble::Malformed);
    Ok(asks(fields)? || asks(&visit.query()?)?)
}

/// Ends all sessions of a person, and all their tokens: everything of theirs is refused by one entry of
/// the log, and then each of it ends. Whoever goes away meanwhile, or dies, leaves nothing that counts, and
/// a session by which the rest can be ended.
pub(crate) async fn everywhere(app: &App, session: &Session) -> Result<Taken, StoreError> {
    let (app, own, user) = (app.clone(), session.id.clone(), session.user.clone());
    whole(app.unfinished().begin("signing out everywhere"), async move {
        let by = user.as_str();
        let order = Order { reason: Reason::Logout.name().to_owned(), actor: by.to_owned() };
        app.provider().take_back_subject(by, &order).await?;
        app.sessions().end_all(app.realm(), &user, Some(&own), &Reason::Logout, by).await?;
        let (holder, tally) = (Holder::User(user.clone()), Tally::default());
        app.provider().families().withdraw(app.realm(), &holder, &order, &tally).await?;
        // INVARIANT: the session that orders it ends last. It is refused as all others are, and whoever
        // has it can order the rest again, until there is none.
        app.sessions().end(app.realm(), &own, &Reason::Logout, by).await?;
        Ok(Taken::Now)
    })
    .await
}

fn done(
    app: &App,
    visit: &Visit,
    wish: &EndSession,
    chosen: Option<&str>,
    confirmed: Option<&Value>,
) -> Result<Response, Trouble> {
    // INVARIANT: a browser that comes back by itself tells the client that all refuse what has ended. Where
    // some may accept it yet, the person is told so, and goes on by a link.
    let is_pending = confirmed.is_some_and(confirmed::is_pending);
    if let Some(then) = wish.then.as_deref().filter(|_| !is_pending) {
        return see_other(then);
    }
    let then = wish.then.as_deref();
    let lang = visit.lang(chosen, &[]);
    let frame = Frame::new(app, lang, Some(("/oauth2/logout", &[])));
    let confirmed = confirmed.map(|told| confirmed::in_words(told, frame.m)).unwrap_or_default();
    Ok(render(StatusCode::OK, &SignedOut { frame: &frame, confirmed, then }, &frame, None))
}

fn params(fields: Fields) -> Result<Params, Trouble> {
    Params::new(fields.into_pairs()).map_err(|error| Trouble::Malformed(error.description))
}
