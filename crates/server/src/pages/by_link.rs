//! `/login/password` and `/login/address`: where links from mails lead. Showing the page uses nothing up,
//! because the server does not see what the link carries: the form brings it.

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use tegata_identity::{Letters, LinkRefused, Weakness, letters::Chosen};
use tegata_session::CookieName;

use super::{
    Frame, Trouble, Visit,
    login::form_cookie,
    mail::{is_ours, told},
    render,
};
use crate::{app::App, body, form::Fields, messages::Messages, signed_in::Cookies};

#[derive(Template)]
#[template(path = "choose_password.html")]
struct Choose<'a> {
    frame: &'a Frame,
    csrf: &'a str,
    link: &'a str,
    problem: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "confirm_address.html")]
struct Confirm<'a> {
    frame: &'a Frame,
    csrf: &'a str,
    link: &'a str,
    problem: Option<&'a str>,
}

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Password,
    Address,
}

pub(crate) async fn show_password(State(app): State<App>, visit: Visit) -> Response {
    visit.answer(&app, show(&app, &visit, For::Password))
}

pub(crate) async fn show_address(State(app): State<App>, visit: Visit) -> Response {
    visit.answer(&app, show(&app, &visit, For::Address))
}

pub(crate) async fn password(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, take(&app, &visit, request, For::Password).await)
}

pub(crate) async fn address(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, take(&app, &visit, request, For::Address).await)
}

fn letters(app: &App) -> Result<&Letters, Trouble> {
    app.letters().ok_or(Trouble::NotFound)
}

fn show(app: &App, visit: &Visit, what: For) -> Result<Response, Trouble> {
    letters(app)?;
    page(app, visit, &visit.query()?, what, None)
}

async fn take(app: &App, visit: &Visit, request: Request, what: For) -> Result<Response, Trouble> {
    let letters = letters(app)?;
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let fields = body::fields(app, request).await?;
    let lang = visit.lang(fields.one("lang"), &[]);
    let m = lang.messages();
    if !is_ours(app, &visit.caller, &fields) {
        let problem = (StatusCode::FORBIDDEN, m.form_expired.to_owned());
        return page(app, visit, &fields, what, Some(&problem));
    }
    let (realm, link) = (app.realm(), fields.secret("link"));
    // Whatever comes of it: the session's cookie may have been replaced to find out who it is.
    let mut cookies = Cookies::default();
    let done = match what {
        For::Password => {
            let password = fields.secret("password").expose().clone();
            letters.choose_password(realm, link.expose(), password).await.map(Some)
        }
        For::Address => {
            let presence = app.presence(&visit.caller).await?;
            cookies = presence.cookies(app);
            let Some(session) = presence.session() else {
                let problem = (StatusCode::UNAUTHORIZED, m.sign_in_for_address.to_owned());
                let page = page(app, visit, &fields, what, Some(&problem))?;
                return Ok((cookies, page).into_response());
            };
            letters.confirm_address(realm, link.expose(), &session.user).await.map(|_| None)
        }
    };
    let (title, text) = match done {
        Ok(Some(Chosen::Another(user))) => {
            app.end_what_was_before(&user.id).await;
            (m.password_is_set, m.password_is_set_detail)
        }
        Ok(Some(Chosen::First(_))) => (m.account_is_made, m.account_is_made_detail),
        Ok(None) => (m.address_is_confirmed, m.address_is_confirmed_detail),
        Err(LinkRefused::Store(error)) => {
            return Ok((cookies, visit.answer(app, Err(error.into()))).into_response());
        }
        Err(refused) => {
            let page = page(app, visit, &fields, what, Some(&problem(&refused, m)))?;
            return Ok((cookies, page).into_response());
        }
    };
    Ok((cookies, told(app, lang, StatusCode::OK, title, text)).into_response())
}

fn problem(refused: &LinkRefused, m: &Messages) -> (StatusCode, String) {
    match refused {
        LinkRefused::Over => (StatusCode::GONE, m.link_over.to_owned()),
        LinkRefused::Weak(weakness) => (StatusCode::BAD_REQUEST, weak(weakness, m)),
        LinkRefused::TooLong => (StatusCode::BAD_REQUEST, m.password_too_long.to_owned()),
        LinkRefused::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, m.busy.to_owned()),
        LinkRefused::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, m.away.to_owned()),
    }
}

/// Why a password may not be chosen, as its person is told.
pub(super) fn weak(weakness: &Weakness, m: &Messages) -> String {
    match weakness {
        Weakness::TooShort { least } => {
            format!("{}{least}{}", m.password_too_short.0, m.password_too_short.1)
        }
        Weakness::Control => m.password_control.to_owned(),
        Weakness::Common => m.password_common.to_owned(),
        Weakness::Breached => m.password_breached.to_owned(),
        Weakness::Repetitive => m.password_repeats.to_owned(),
        Weakness::Sequence => m.password_follows.to_owned(),
        Weakness::Username => m.password_names.to_owned(),
    }
}

fn page(
    app: &App,
    visit: &Visit,
    fields: &Fields,
    what: For,
    problem: Option<&(StatusCode, String)>,
) -> Result<Response, Trouble> {
    let lang = visit.lang(fields.one("lang"), &[]);
    let cookie = visit.caller.cookie(app, CookieName::Csrf);
    let ticket = app.csrf().of_form(app.realm(), cookie, app.node().entropy())?;
    // In another language, the link would have to be followed once more.
    let frame = Frame::new(app, lang, None);
    let status = problem.map_or(StatusCode::OK, |(status, _)| *status);
    let problem = problem.map(|(_, text)| text.as_str());
    // What the form brought is in it again: a password that was refused does not cost the link. What a
    // query brings is none of it, because queries are in logs.
    let link = if problem.is_some() { fields.one("link").unwrap_or_default() } else { "" };
    let (frame, csrf) = (&frame, ticket.token.as_str());
    let mut response = match what {
        For::Password => render(status, &Choose { frame, csrf, link, problem }, frame, None),
        For::Address => render(status, &Confirm { frame, csrf, link, problem }, frame, None),
    };
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, 1.into());
    }
    Ok((form_cookie(app, &ticket), response).into_response())
}
