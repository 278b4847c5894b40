//! `GET` and `POST /login/device`: a person types the code that a device shows, sees what it asks for,
//! and allows it or not (RFC 8628 §3.3).
//!
//! Nothing is looked up, and nothing allowed, by a link: whoever sends somebody a link with a code
//! wants them to allow what they have not asked for (§5.4). A code can be guessed (§5.1), so whoever
//! types one that there is not is counted as whoever types a wrong password is.

use std::time::Duration;

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use tegata_core::SessionId;
use tegata_identity::{Refused, throttle::TooMany};
use tegata_oauth::{Client, Decision, UserCode, device::Waiting, redirect::with_query};
use tegata_session::Session;

use super::{
    Frame, Shown, Trouble, Visit,
    login::too_many,
    presence::{self, Asks, How, Shown as Proof, Thing},
    render, see_other,
};
use crate::{
    app::App,
    body,
    messages::{Lang, Messages},
    oauth2::consent::meaning,
    problem::whole_secs,
    refusals,
    signed_in::who,
};

const PATH: &str = "/login/device";

/// The field of the sign-in page that holds the code for which somebody signs in.
pub(super) const FIELD: &str = "device";

#[derive(Template)]
#[template(path = "device.html")]
struct Page<'a> {
    frame: &'a Frame,
    csrf: &'a str,
    code: &'a str,
    /// What stands for a proof that the person gave for this code.
    given: Option<&'a str>,
    problem: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "device_asks.html")]
struct Asking<'a> {
    frame: &'a Frame,
    client: Shown,
    username: String,
    scopes: Vec<(&'static str, Option<&'a str>)>,
    details: Vec<(&'a str, String)>,
    csrf: &'a str,
    presence: Asks,
    code: String,
    /// The page on which somebody else can sign in.
    another: String,
}

#[derive(Template)]
#[template(path = "device_done.html")]
struct Done<'a> {
    frame: &'a Frame,
    text: &'static str,
    detail: &'static str,
}

/// Why a code is asked for once more.
enum Again {
    /// No device waits with it.
    Unknown,
    /// Too many were wrong; it may be tried again after this.
    TooMany(Duration),
}

/// Asks for a code.
pub(crate) async fn show(State(app): State<App>, visit: Visit) -> Response {
    visit.answer(&app, ask(&app, &visit).await)
}

/// Takes a code, or what somebody says to it.
pub(crate) async fn submit(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, take(&app, &visit, request).await)
}

/// Sends the browser to the page, with the code that somebody came with.
pub(super) fn onward(code: &str, lang: Option<&str>) -> Result<Response, Trouble> {
    send((PATH, "user_code"), code, lang, None)
}

/// The same of somebody who has signed in for it.
pub(super) fn onward_signed_in(
    app: &App,
    session: &SessionId,
    code: &str,
    lang: Option<&str>,
) -> Result<Response, Trouble> {
    let given = match UserCode::read(code) {
        Some(read) => presence::given(app, session, Thing::Device(&read.to_string()))?,
        None => None,
    };
    send((PATH, "user_code"), code, lang, given.as_deref())
}

/// Sends the browser to the sign-in page.
fn sign_in(code: &str, lang: Option<&str>) -> Result<Response, Trouble> {
    Ok(refusals::named(send(("/login", FIELD), code, lang, None)?, "login_required"))
}

fn send(
    (path, name): (&str, &str),
    code: &str,
    lang: Option<&str>,
    given: Option<&str>,
) -> Result<Response, Trouble> {
    let code = UserCode::read(code).map(|code| code.to_string()).unwrap_or_default();
    let lang = lang.and_then(Lang::of_tag).map(|lang| ("lang", lang.tag()));
    let given = given.map(|given| (presence::FIELD, given));
    let parameters: Vec<_> = [(name, code.as_str())].into_iter().chain(given).chain(lang).collect();
    see_other(&with_query(path, &parameters))
}

async fn ask(app: &App, visit: &Visit) -> Result<Response, Trouble> {
    let query = visit.query()?;
    let typed = query.one("user_code").unwrap_or_default();
    let presence = app.presence(&visit.caller).await?;
    let answer = match presence.session() {
        Some(session) => {
            let code = UserCode::read(typed).map(|code| code.to_string()).unwrap_or_default();
            let given = query.one(presence::FIELD);
            page(app, visit.lang(query.one("lang"), &[]), session, (&code, given), None)?
        }
        None => sign_in(typed, query.one("lang"))?,
    };
    Ok((presence.cookies(app), answer).into_response())
}

async fn take(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let fields = body::fields(app, request).await?;
    let decision = match fields.one("decision") {
        None => None,
        Some("allow") => Some(Decision::Allow),
        Some("deny") => Some(Decision::Deny),
        Some(_) => return Err(Trouble::Malformed("decision is neither allow nor deny")),
    };
    let typed = fields.one("user_code").unwrap_or_default();
    let presence = app.presence(&visit.caller).await?;
    let Some(session) = presence.session() else {
        let answer = sign_in(typed, fields.one("lang"))?;
        return Ok((presence.cookies(app), answer).into_response());
    };
    app.check_form(&session.id, fields.one("csrf_token"), || {
        with_query(PATH, &[("user_code", typed)])
    })?;
    let lang = visit.lang(fields.one("lang"), &[]);
    let given = fields.one(presence::FIELD);
    let cookies = presence.cookies(app);
    let who = who(session);
    let answer = match (find(app, visit, session, typed).await?, decision) {
        (Err(again), _) => page(app, lang, session, (typed, given), Some(&again))?,
        (Ok((waiting, client)), None) => {
            let asked = Asked { app, lang, waiting: &waiting, client: &client };
            asked.confirm(session, given, None, StatusCode::OK).await?
        }
        (Ok((waiting, client)), Some(decision)) => {
            if decision == Decision::Allow {
                let code = waiting.user_code().to_string();
                match presence::shown(app, visit, session, (Thing::Device(&code), &fields)).await? {
                    Proof::Counts => {}
                    Proof::Not(refused) => {
                        let status = presence::code(refused.as_ref());
                        let asked = Asked { app, lang, waiting: &waiting, client: &client };
                        let page = asked.confirm(session, given, refused.as_ref(), status).await?;
                        return Ok((cookies, page).into_response());
                    }
                    Proof::Nobody => return sign_in(typed, fields.one("lang")),
                }
            }
            match app.settled(&who).await? {
                None => sign_in(typed, fields.one("lang"))?,
                Some(who) if app.provider().answer_device(&waiting, &who, decision).await? => {
                    done(app, lang, decision)
                }
                Some(_) => page(app, lang, session, (typed, given), Some(&Again::Unknown))?,
            }
        }
    };
    Ok((cookies, answer).into_response())
}

/// The device that shows a code. Codes that no device shows are counted, of a person and of a network;
/// finding one gives back no more than its own count, or whoever has a device could guess for ever.
async fn find(
    app: &App,
    visit: &Visit,
    session: &Session,
    typed: &str,
) -> Result<Result<(Waiting, Client), Again>, Trouble> {
    let (realm, throttle) = (app.realm(), app.sign_in().throttle());
    // No user name is like this.
    let account = format!("device {}", session.user);
    let attempt = match throttle.admit(realm, &account, visit.caller.address).await {
        Ok(attempt) => attempt,
        Err(TooMany::Throttled { retry_after }) => return Ok(Err(Again::TooMany(retry_after))),
        Err(TooMany::Store(error)) => return Err(error.into()),
    };
    let Some(code) = UserCode::read(typed) else { return Ok(Err(Again::Unknown)) };
    let found = app.provider().waiting_device(&code).await?;
    if found.is_some() {
        throttle.not_made(realm, attempt).await?;
    }
    Ok(found.ok_or(Again::Unknown))
}

fn page(
    app: &App,
    lang: Lang,
    session: &Session,
    (code, given): (&str, Option<&str>),
    again: Option<&Again>,
) -> Result<Response, Trouble> {
    let csrf = app.form_csrf_of(&session.id)?;
    let named = Some(code).filter(|code| !code.is_empty()).map(|code| ("user_code", code));
    let here: Vec<_> =
        named.into_iter().chain(given.map(|given| (presence::FIELD, given))).collect();
    let frame = Frame::new(app, lang, Some((PATH, &here)));
    let problem = again.map(|again| again.text(frame.m));
    let page = Page { frame: &frame, csrf: csrf.as_str(), code, given, problem };
    let status = again.map_or(StatusCode::OK, Again::status);
    let response = render(status, &page, &frame, None);
    let Some(again) = again else { return Ok(response) };
    let mut response = refusals::named(response, again.name());
    if let Again::TooMany(wait) = again {
        response.headers_mut().insert(header::RETRY_AFTER, whole_secs(*wait).into());
    }
    Ok(response)
}

/// A device that somebody is asked about.
#[derive(Clone, Copy)]
struct Asked<'a> {
    app: &'a App,
    lang: Lang,
    waiting: &'a Waiting,
    client: &'a Client,
}

impl Asked<'_> {
    /// The page, for the first time or with what is wrong with the proof.
    async fn confirm(
        self,
        session: &Session,
        given: Option<&str>,
        refused: Option<&Refused>,
        status: StatusCode,
    ) -> Result<Response, Trouble> {
        let Self { app, lang, waiting, client } = self;
        let user = app.users().load(app.realm(), &session.user).await?;
        let csrf = app.form_csrf_of(&session.id)?;
        let code = waiting.user_code().to_string();
        // In another language, it begins with the code once more.
        let here: Vec<_> = [("user_code", code.as_str())]
            .into_iter()
            .chain(given.map(|given| (presence::FIELD, given)))
            .collect();
        let frame = Frame::new(app, lang, Some((PATH, &here)));
        let thing = (Thing::Device(&code), given);
        let page = Asking {
            frame: &frame,
            client: Shown::of(client),
            username: user.map(|user| user.username.as_str().to_owned()).unwrap_or_default(),
            scopes: waiting.scope().values().map(|value| meaning(frame.m, value)).collect(),
            details: waiting.details().each().collect(),
            csrf: csrf.as_str(),
            presence: presence::asked(app, &frame, session, thing, refused).await?,
            another: with_query(
                "/login",
                &[(FIELD, code.as_str()), ("another", "true"), ("lang", lang.tag())],
            ),
            code: code.clone(),
        };
        Ok(presence::once_more(render(status, &page, &frame, None), refused))
    }
}

fn done(app: &App, lang: Lang, decision: Decision) -> Response {
    let frame = Frame::new(app, lang, None);
    let m = frame.m;
    let (text, detail) = match decision {
        Decision::Allow => (m.device_allowed, m.device_done),
        Decision::Deny => (m.device_denied, m.signed_out_detail),
    };
    render(StatusCode::OK, &Done { frame: &frame, text, detail }, &frame, None)
}

impl Again {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// As it stands in the log, with the field that it is about.
    const fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_user_code",
            Self::TooMany(_) => "too_many_attempts",
        }
    }

    const fn text(&self, m: &Messages) -> &'static str {
        match self {
            Self::Unknown => m.device_unknown,
            Self::TooMany(wait) => too_many(*wait, m),
        }
    }
}
