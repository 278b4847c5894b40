//! `GET` and `POST /login/reset` and `/login/signup`: asking for a mail. Who asks is answered alike and in
//! the same time, whoever there is: it is looked up later.

use std::time::Duration;

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use tegata_identity::{EmailAddress, Letters, Locale, Username, Wish};
use tegata_session::CookieName;

use super::{Frame, Trouble, Visit, login::form_cookie, render};
use crate::{app::App, body, caller::Caller, form::Fields, messages::Lang};

#[derive(Template)]
#[template(path = "ask_for_mail.html")]
struct Page<'a> {
    frame: &'a Frame,
    title: &'static str,
    lead: &'static str,
    action: &'static str,
    csrf: &'a str,
    sign_up: bool,
    typed: &'a str,
    problem: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "told.html")]
struct Told<'a> {
    frame: &'a Frame,
    title: &'static str,
    text: &'static str,
}

/// What a mail is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Reset,
    SignUp,
}

impl For {
    const fn path(self) -> &'static str {
        match self {
            Self::Reset => "/login/reset",
            Self::SignUp => "/login/signup",
        }
    }

    /// Mail, where this can be asked for.
    fn letters(self, app: &App) -> Result<&Letters, Trouble> {
        let letters = app.letters().filter(|it| self == Self::Reset || it.config().registration);
        letters.ok_or(Trouble::NotFound)
    }
}

pub(crate) async fn show_reset(State(app): State<App>, visit: Visit) -> Response {
    visit.answer(&app, show(&app, &visit, For::Reset))
}

pub(crate) async fn show_sign_up(State(app): State<App>, visit: Visit) -> Response {
    visit.answer(&app, show(&app, &visit, For::SignUp))
}

pub(crate) async fn reset(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, take(&app, &visit, request, For::Reset).await)
}

pub(crate) async fn sign_up(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, take(&app, &visit, request, For::SignUp).await)
}

fn show(app: &App, visit: &Visit, what: For) -> Result<Response, Trouble> {
    what.letters(app)?;
    page(app, visit, &visit.query()?, what, None)
}

async fn take(app: &App, visit: &Visit, request: Request, what: For) -> Result<Response, Trouble> {
    let letters = what.letters(app)?;
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let fields = body::fields(app, request).await?;
    let lang = visit.lang(fields.one("lang"), &[]);
    let m = lang.messages();
    if !is_ours(app, &visit.caller, &fields) {
        return page(app, visit, &fields, what, Some((StatusCode::FORBIDDEN, m.form_expired)));
    }
    let wish = match what {
        For::Reset => Wish::Reset { account: fields.one("account").unwrap_or_default().to_owned() },
        For::SignUp => match new_address(fields.one("email").unwrap_or_default()) {
            Some(address) => Wish::SignUp { address },
            None => {
                let problem = Some((StatusCode::BAD_REQUEST, m.bad_address));
                return page(app, visit, &fields, what, problem);
            }
        },
    };
    count(app, &visit.caller)?;
    letters.order(app.realm(), wish, &locale(lang)?, visit.caller.address).await?;
    Ok(told(app, lang, StatusCode::OK, m.mail_sent, m.mail_sent_detail))
}

/// An address that can be an account: it becomes the user name.
pub(super) fn new_address(typed: &str) -> Option<EmailAddress> {
    let address = EmailAddress::typed(typed).ok()?;
    Username::new(address.as_str()).ok().map(|_| address)
}

/// Whether a form before sign-in was shown by us to this browser.
pub(super) fn is_ours(app: &App, caller: &Caller, fields: &Fields) -> bool {
    let cookie = caller.cookie(app, CookieName::Csrf);
    let token = fields.one("csrf_token").unwrap_or_default();
    cookie.is_some_and(|cookie| app.csrf().is_of_form(app.realm(), cookie, token))
}

/// Counts a mail that somebody asks for.
///
/// # Errors
/// [`Trouble::TooMany`].
pub(super) fn count(app: &App, caller: &Caller) -> Result<(), Trouble> {
    let limits = &app.config().limits;
    let Some(limit) = limits.ordered.filter(|_| limits.count(caller.address)) else {
        return Ok(());
    };
    let now = app.node().since_boot();
    let answer = app.ordered().count_address(caller.address, |network| network, limit, now);
    if answer.passes {
        Ok(())
    } else {
        Err(Trouble::TooMany(answer.wait.max(Duration::from_secs(1))))
    }
}

/// The language of mail.
///
/// # Errors
/// None: tags of ours are locales.
pub(super) fn locale(lang: Lang) -> Result<Locale, Trouble> {
    Locale::new(lang.tag()).map_err(|_| Trouble::Malformed("the language is none"))
}

fn page(
    app: &App,
    visit: &Visit,
    fields: &Fields,
    what: For,
    problem: Option<(StatusCode, &'static str)>,
) -> Result<Response, Trouble> {
    let lang = visit.lang(fields.one("lang"), &[]);
    let m = lang.messages();
    let cookie = visit.caller.cookie(app, CookieName::Csrf);
    let ticket = app.csrf().of_form(app.realm(), cookie, app.node().entropy())?;
    let frame = Frame::new(app, lang, Some((what.path(), &[])));
    let (title, lead) = match what {
        For::Reset => (m.reset, m.reset_lead),
        For::SignUp => (m.no_account_yet, m.sign_up_lead),
    };
    let page = Page {
        frame: &frame,
        title,
        lead,
        action: what.path(),
        csrf: ticket.token.as_str(),
        sign_up: what == For::SignUp,
        typed: fields.one("email").or(fields.one("account")).unwrap_or_default(),
        problem: problem.map(|(_, text)| text),
    };
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    Ok((form_cookie(app, &ticket), render(status, &page, &frame, None)).into_response())
}

/// A page that says something, with the way to sign in.
pub(super) fn told(
    app: &App,
    lang: Lang,
    status: StatusCode,
    title: &'static str,
    text: &'static str,
) -> Response {
    let frame = Frame::new(app, lang, None);
    render(status, &Told { frame: &frame, title, text }, &frame, None)
}
