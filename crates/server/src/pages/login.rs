//! `GET` and `POST /login`: the sign-in page. Its second step is in [`super::second`].

use std::time::Duration;

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use tegata_identity::Refused;
use tegata_oauth::{AuthorizationRequest, Client, Said, SignedIn, redirect::with_query};
use tegata_session::{CookieName, FormTicket};

use super::{
    Frame, Shown, Trouble, Visit, console, device, enrol, home,
    presence::{self, Thing},
    render, second, see_other,
};
use crate::{
    app::App,
    body,
    form::Fields,
    messages::{Lang, Messages},
    oauth2::authorize::{Hold, Step, held, proceed},
    problem::whole_secs,
    proving::Entry,
    signed_in::{Cookies, Fresh},
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct Page<'a> {
    frame: &'a Frame,
    client: Option<Shown>,
    request: Option<&'a str>,
    /// The code of a device, for which somebody signs in.
    device: Option<&'a str>,
    /// The page of the console, for which somebody signs in.
    console: Option<&'a str>,
    csrf: &'a str,
    username: &'a str,
    /// Ways for whoever cannot sign in: where they lead, and their names.
    helps: Vec<(String, &'static str)>,
    problem: Option<&'static str>,
}

/// Why the form is shown again.
pub(super) enum Again {
    /// It did not belong to this browser, or was open for too long.
    Expired,
    /// The sign-in was refused.
    Refused(Refused),
}

/// What the page is shown for.
pub(super) struct Asked {
    pub(super) handle: String,
    pub(super) request: AuthorizationRequest,
    pub(super) client: Client,
}

/// Shows the form, or goes on where nothing has to be filled in.
pub(crate) async fn show(State(app): State<App>, visit: Visit) -> Response {
    visit.answer(&app, form(&app, &visit).await)
}

/// Takes the form.
pub(crate) async fn submit(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, sign_in(&app, &visit, request).await)
}

async fn form(app: &App, visit: &Visit) -> Result<Response, Trouble> {
    let query = visit.query()?;
    let asked = asked(app, query.one("request")).await?;
    let presence = app.presence(&visit.caller).await?;
    let cookies = presence.cookies(app);
    // Somebody who wants to sign in as somebody else is shown the form in any case.
    let another = query.one("another").is_some();
    match (&asked, presence.session()) {
        (Some(Asked { handle, request, client }), _) if !another => {
            let (who, said) = (presence.who(), Said::default());
            let step =
                proceed(app, request, client, who.as_ref(), said, Hold::Under(handle)).await?;
            match step {
                Step::SignIn(_) => {}
                Step::SecondFactor(_) => {
                    let of = second::Of::from(&presence);
                    let page = second::page(app, visit, asked.as_ref(), &query, of, None).await?;
                    return Ok((cookies, page).into_response());
                }
                step => {
                    return Ok((cookies, step.into_response(app, visit, query.one("lang"))?)
                        .into_response());
                }
            }
        }
        (None, Some(session)) if !another => {
            if let Some(code) = query.one(device::FIELD) {
                return Ok((cookies, device::onward(code, query.one("lang"))?).into_response());
            }
            if let Some(page) = console::place::back(&query) {
                return Ok(
                    (cookies, console::place::onward(&page, query.one("lang"))?).into_response()
                );
            }
            let lang = visit.lang(query.one("lang"), &[]);
            return Ok((cookies, home::page(app, session, lang).await?).into_response());
        }
        _ => {}
    }
    let page = page(app, visit, asked.as_ref(), &query, None)?;
    Ok((cookies, page).into_response())
}

async fn sign_in(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let fields = body::fields(app, request).await?;
    let asked = asked(app, fields.one("request")).await?;
    let cookie = visit.caller.cookie(app, CookieName::Csrf);
    let token = fields.one("csrf_token").unwrap_or_default();
    if !cookie.is_some_and(|cookie| app.csrf().is_of_form(app.realm(), cookie, token)) {
        return page(app, visit, asked.as_ref(), &fields, Some(&Again::Expired));
    }
    if fields.one("decision") == Some(enrol::DECISION) {
        return enrol::take(app, visit, asked.as_ref(), &fields).await;
    }
    // The second step has a form of its own.
    let is_second = fields.one("code").is_some() || fields.one("decision") == Some("second");
    if is_second && fields.one("password").is_none() {
        return second::take(app, visit, asked.as_ref(), &fields).await;
    }
    if fields.one("credential").is_some() {
        return by_passkey(app, visit, asked.as_ref(), &fields).await;
    }
    let (username, password) =
        (fields.one("username").unwrap_or_default(), fields.secret("password"));
    match app.sign_in_by_password(&visit.caller, username, &password).await {
        Ok(Entry::In(fresh)) => go_on(app, visit, asked.as_ref(), &fields, *fresh).await,
        Ok(Entry::Second(second)) => {
            let of = second::Of::SignIn(&second.token);
            second::page(app, visit, asked.as_ref(), &fields, of, None).await
        }
        Ok(Entry::Enrol(token)) => {
            enrol::page(app, visit, asked.as_ref(), &fields, &token, None).await
        }
        Err(Refused::Store(error)) => Err(error.into()),
        Err(refused) => {
            let again = Again::Refused(refused);
            page(app, visit, asked.as_ref(), &fields, Some(&again))
        }
    }
}

/// Takes what the browser gave of a passkey, without a password.
async fn by_passkey(
    app: &App,
    visit: &Visit,
    asked: Option<&Asked>,
    fields: &Fields,
) -> Result<Response, Trouble> {
    match app.sign_in_by_passkey(&visit.caller, &fields.secret("credential")).await {
        Ok(fresh) => go_on(app, visit, asked, fields, fresh).await,
        Err(Refused::Store(error)) => Err(error.into()),
        Err(refused) => page(app, visit, asked, fields, Some(&Again::Refused(refused))),
    }
}

/// Where a sign-in leads.
pub(super) async fn go_on(
    app: &App,
    visit: &Visit,
    asked: Option<&Asked>,
    fields: &Fields,
    fresh: Fresh,
) -> Result<Response, Trouble> {
    if fresh.access_token.is_some() {
        app.metrics().issued_access(app.node().since_boot(), fresh.expires_in);
    }
    app.metrics().issued("refresh");
    let onward = onward(app, visit, asked, fields, &fresh.who).await?;
    Ok((fresh.cookies, onward).into_response())
}

/// Where somebody goes who has proven who they are.
pub(super) async fn onward(
    app: &App,
    visit: &Visit,
    asked: Option<&Asked>,
    fields: &Fields,
    who: &SignedIn,
) -> Result<Response, Trouble> {
    match asked {
        Some(Asked { handle, request, client }) => {
            let said = Said::default();
            let step = proceed(app, request, client, Some(who), said, Hold::Under(handle)).await?;
            // They have proven it for this very request.
            let given = presence::given(app, &who.session, Thing::Request(handle))?;
            step.into_response_given(app, visit, fields.one("lang"), given.as_deref())
        }
        None if let Some(code) = fields.one(device::FIELD) => {
            device::onward_signed_in(app, &who.session, code, fields.one("lang"))
        }
        None if let Some(page) = console::place::back(fields) => {
            console::place::onward(&page, fields.one("lang"))
        }
        None => match fields.one("lang").and_then(Lang::of_tag) {
            Some(lang) => see_other(&with_query("/login", &[("lang", lang.tag())])),
            None => see_other("/login"),
        },
    }
}

/// The authorization request that a handle stands for. Without a handle, there is none; a handle
/// that stands for nothing is trouble.
pub(super) async fn asked(app: &App, handle: Option<&str>) -> Result<Option<Asked>, Trouble> {
    let Some(handle) = handle.filter(|handle| !handle.is_empty()) else { return Ok(None) };
    let (request, client) = held(app, handle).await?;
    Ok(Some(Asked { handle: handle.to_owned(), request, client }))
}

/// What a sign-in is for, as the parameters of its page.
pub(super) fn purpose<'a>(
    asked: Option<&'a Asked>,
    fields: &'a Fields,
) -> Vec<(&'static str, &'a str)> {
    let request = asked.map(|asked| ("request", asked.handle.as_str()));
    let device = fields.one(device::FIELD).map(|code| (device::FIELD, code));
    let console = console_of(fields).map(|page| (console::place::FIELD, page));
    request.into_iter().chain(device).chain(console).collect()
}

/// The page of the console that somebody signs in for.
pub(super) fn console_of(fields: &Fields) -> Option<&str> {
    fields.one(console::place::FIELD).filter(|_| console::place::back(fields).is_some())
}

pub(super) fn page(
    app: &App,
    visit: &Visit,
    asked: Option<&Asked>,
    fields: &Fields,
    again: Option<&Again>,
) -> Result<Response, Trouble> {
    let locales = asked.map(|asked| asked.request.ui_locales.as_slice()).unwrap_or_default();
    let lang = visit.lang(fields.one("lang"), locales);
    let cookie = visit.caller.cookie(app, CookieName::Csrf);
    let ticket = app.csrf().of_form(app.realm(), cookie, app.node().entropy())?;
    let here = purpose(asked, fields);
    let frame = Frame::new(app, lang, Some(("/login", &here)));
    let hint = asked.and_then(|asked| asked.request.login_hint.as_deref());
    let page = Page {
        frame: &frame,
        client: asked.map(|asked| Shown::of(&asked.client)),
        request: asked.map(|asked| asked.handle.as_str()),
        device: fields.one(device::FIELD),
        console: console_of(fields),
        csrf: ticket.token.as_str(),
        username: fields.one("username").or(hint).unwrap_or_default(),
        helps: helps(app, lang, &here),
        problem: again.map(|again| again.text(lang.messages())),
    };
    let response = rendered(&page, &frame, asked, again);
    Ok((form_cookie(app, &ticket), response).into_response())
}

/// What whoever cannot sign in by a password may do instead.
fn helps(app: &App, lang: Lang, here: &[(&str, &str)]) -> Vec<(String, &'static str)> {
    let Some(letters) = app.letters() else { return Vec::new() };
    let (m, own) = (lang.messages(), [("lang", lang.tag())]);
    let by_mail = [here, &own].concat();
    let all = [
        ("/login/reset", &own[..], m.forgot_password, true),
        ("/login/link", &by_mail, m.sign_in_by_mail, letters.config().sign_in),
        ("/login/signup", &own, m.no_account_yet, letters.config().registration),
    ];
    let offered = all.into_iter().filter(|(.., offered)| *offered);
    offered.map(|(path, with, words, _)| (with_query(path, with), words)).collect()
}

/// A step of signing in, as it is shown for the first time or again.
pub(super) fn rendered(
    page: &impl Template,
    frame: &Frame,
    asked: Option<&Asked>,
    again: Option<&Again>,
) -> Response {
    let status = again.map_or(StatusCode::OK, Again::status);
    let target = asked.map(|asked| asked.request.redirect_uri.as_str());
    let mut response = render(status, page, frame, target);
    if let Some(Again::Refused(refused)) = again
        && let Some(wait) = retry_after(refused)
    {
        response.headers_mut().insert(header::RETRY_AFTER, wait.into());
    }
    response
}

/// The cookie that a form is bound to.
pub(crate) fn form_cookie(app: &App, ticket: &FormTicket) -> Cookies {
    Cookies::default().with(app, CookieName::Csrf, &ticket.cookie)
}

impl Again {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Expired => StatusCode::FORBIDDEN,
            Self::Refused(refused) => status(refused),
        }
    }

    pub(super) const fn text(&self, m: &Messages) -> &'static str {
        match self {
            Self::Expired => m.form_expired,
            Self::Refused(Refused::InvalidCredentials) => m.wrong_credentials,
            Self::Refused(Refused::WrongCode) => m.wrong_code,
            Self::Refused(Refused::WrongPasskey) => m.passkey_refused,
            Self::Refused(Refused::Over) => m.sign_in_over,
            Self::Refused(Refused::Throttled { retry_after }) => too_many(*retry_after, m),
            Self::Refused(Refused::Busy(_)) => m.busy,
            Self::Refused(Refused::Store(_)) => m.away,
        }
    }
}

/// What somebody is told who has tried too often: to wait, where that is of any use.
pub(super) const fn too_many(retry_after: Duration, m: &Messages) -> &'static str {
    if retry_after.as_secs() <= 86_400 { m.too_many_attempts } else { m.far_too_many_attempts }
}

/// The status that answers a sign-in that was refused.
pub(crate) const fn status(refused: &Refused) -> StatusCode {
    match refused {
        Refused::InvalidCredentials
        | Refused::WrongCode
        | Refused::WrongPasskey
        | Refused::Over => StatusCode::UNAUTHORIZED,
        Refused::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refused::Busy(_) | Refused::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// In how many seconds a sign-in that was refused can be tried again.
pub(crate) fn retry_after(refused: &Refused) -> Option<u64> {
    match refused {
        Refused::InvalidCredentials
        | Refused::WrongCode
        | Refused::WrongPasskey
        | Refused::Over => None,
        Refused::Throttled { retry_after } => Some(whole_secs(*retry_after)),
        Refused::Busy(_) => Some(1),
        Refused::Store(error) => error.retry_after().map(whole_secs),
    }
}

/// Why a sign-in was refused, as it is told and counted.
pub(crate) const fn error_type(refused: &Refused) -> &'static str {
    match refused {
        Refused::InvalidCredentials | Refused::WrongCode | Refused::WrongPasskey => {
            "invalid_credentials"
        }
        Refused::Over => "mfa_expired",
        Refused::Throttled { .. } => "too_many_attempts",
        Refused::Busy(_) | Refused::Store(_) => "temporarily_unavailable",
    }
}
