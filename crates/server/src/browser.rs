//! The JSON interface for scripts of our own origin, and of those that are allowed.
//!
//! What changes something is guarded twice: by where the browser says that it comes from, and by a
//! CSRF token of the session. Sign-in has no session yet, so it has the first guard alone.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tegata_core::{Secret, SessionId, UserId};
use tegata_identity::Authenticator;
use tegata_session::{CookieName, Passage, Received, Sent, value::Value};

use crate::{
    app::App,
    caller::Caller,
    headers::NoStore,
    pages::login::{error_type, retry_after, status},
    problem::{Problem, SecondFactorAsked},
    signed_in::{Cookies, Fresh, Presence},
};

pub(crate) mod consent;
pub(crate) mod csrf;
pub(crate) mod elevate;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod mfa;
pub(crate) mod passkey;
pub(crate) mod refresh;
pub(crate) mod session;
pub(crate) mod sessions;

/// Tokens for a script. Where pages are given no access token, it is told what that would say of the
/// session.
#[derive(Serialize)]
struct Tokens {
    #[serde(flatten)]
    bearer: Option<Bearer>,
    /// In how many seconds it should refresh at the latest.
    expires_in: u64,
    csrf_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<UserId>,
}

#[derive(Serialize)]
struct Bearer {
    access_token: String,
    token_type: &'static str,
}

impl From<String> for Bearer {
    fn from(access_token: String) -> Self {
        Self { access_token, token_type: "Bearer" }
    }
}

/// A refusal, and what it does to the browser's cookies.
#[derive(Debug)]
pub(crate) struct Refusal {
    problem: Problem,
    cookies: Cookies,
    retry_after: Option<u64>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, cookies: Cookies::default(), retry_after: None }
    }
}

impl From<tegata_core::StoreError> for Refusal {
    fn from(error: tegata_core::StoreError) -> Self {
        Problem::from(error).into()
    }
}

impl From<crate::body::Unreadable> for Refusal {
    fn from(unreadable: crate::body::Unreadable) -> Self {
        Problem::from(unreadable).into()
    }
}

impl From<tegata_identity::Refused> for Refusal {
    fn from(refused: tegata_identity::Refused) -> Self {
        let detail = match &refused {
            tegata_identity::Refused::InvalidCredentials => {
                "the user name or the password is wrong"
            }
            tegata_identity::Refused::WrongCode => "the code is wrong, or was used before",
            tegata_identity::Refused::WrongPasskey => {
                "the passkey is not known here, or did not answer what was asked for last"
            }
            tegata_identity::Refused::Over => {
                "the mfa_token has expired, is of another browser, or too many codes were wrong"
            }
            tegata_identity::Refused::Throttled { .. } => "there were too many attempts",
            tegata_identity::Refused::Busy(_) => "too many others are signing in",
            tegata_identity::Refused::Store(error) => return error.clone().into(),
        };
        let problem = Problem::new(status(&refused), detail);
        Self {
            problem: problem.named(error_type(&refused)),
            cookies: Cookies::default(),
            retry_after: retry_after(&refused),
        }
    }
}

impl Refusal {
    /// A password is not enough for this person. `token` is what the second must come with.
    fn second_factor(token: Option<&Secret<String>>, methods: &[Authenticator]) -> Self {
        let detail = "the password is right, and a second factor is asked for";
        let second = SecondFactorAsked {
            mfa_token: token.map(|token| token.expose().clone()),
            methods: methods.iter().map(|method| method.as_str()).collect(),
        };
        let problem = Problem::new(StatusCode::UNAUTHORIZED, detail).named("mfa_required");
        problem.asking(second).into()
    }

    /// Nobody is signed in.
    fn nobody(app: &App, presence: &Presence) -> Self {
        let detail = "there is no session, or it has ended";
        let problem = Problem::new(StatusCode::UNAUTHORIZED, detail).named("no_session");
        Self { problem, cookies: presence.cookies(app), retry_after: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.cookies, self.problem).into_response();
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }
}

/// Refuses what comes from a page that may not.
fn from_our_pages(app: &App, caller: &Caller) -> Result<Sent, Problem> {
    caller.sent(app).map_err(|_| {
        let detail = "the request was made by a page of another origin";
        Problem::new(StatusCode::FORBIDDEN, detail).named("cross_origin")
    })
}

/// The cookies of a script, if they can be read.
fn legible<'c>(app: &App, caller: &'c Caller) -> Result<Received<'c>, Problem> {
    caller.cookies(app).map_err(|_| {
        let detail = "the cookies of the request cannot be read";
        Problem::new(StatusCode::BAD_REQUEST, detail).named("invalid_request")
    })
}

/// The session that a script says it acts for: its cookie names it, and the CSRF token was made for
/// it. `None`: the browser has no cookie that names one. Whether the cookie is genuine is not told.
fn guarded(app: &App, caller: &Caller) -> Result<Option<SessionId>, Problem> {
    from_our_pages(app, caller)?;
    let named =
        legible(app, caller)?.get(CookieName::Session).and_then(|value| Value::parse(value).ok());
    let Some(Value { sid, .. }) = named else { return Ok(None) };
    let token = caller.csrf().unwrap_or_default();
    if app.csrf().is_of_session(app.realm(), &sid, token) { Ok(Some(sid)) } else { Err(forged()) }
}

/// The refusal of what changes something without the token of the session that it acts for.
fn forged() -> Problem {
    let detail = "X-CSRF-Token is missing, or is not of this session";
    Problem::new(StatusCode::FORBIDDEN, detail).named("csrf")
}

/// The session of a script that only reads.
async fn reading(app: &App, caller: &Caller) -> Result<Box<Passage>, Refusal> {
    somebody(app, app.presence(caller).await?)
}

/// The session, if somebody is signed in.
#[expect(clippy::result_large_err, reason = "as that of the async functions beside it")]
fn somebody(app: &App, presence: Presence) -> Result<Box<Passage>, Refusal> {
    match presence {
        Presence::Somebody(passage) => Ok(passage),
        nobody @ Presence::Nobody(_) => Err(Refusal::nobody(app, &nobody)),
    }
}

/// The session of a script that changes something.
async fn changing(app: &App, caller: &Caller) -> Result<Box<Passage>, Refusal> {
    guarded(app, caller)?;
    reading(app, caller).await
}

/// The next value of the session cookie, where it gets one.
fn rotated(app: &App, passage: &Passage) -> Cookies {
    let cookies = Cookies::default();
    match &passage.cookie {
        Some(value) => cookies.with(app, CookieName::Session, value),
        None => cookies,
    }
}

/// The answer to a sign-in.
fn welcome(app: &App, fresh: Fresh) -> Response {
    if fresh.access_token.is_some() {
        app.metrics().issued_access(app.node().since_boot(), fresh.expires_in);
    }
    app.metrics().issued("refresh");
    let tokens = Tokens {
        sub: fresh.access_token.is_none().then(|| fresh.session.user.clone()),
        bearer: fresh.access_token.map(Bearer::from),
        expires_in: fresh.expires_in,
        csrf_token: fresh.csrf.as_str().to_owned(),
        sid: Some(fresh.session.id),
    };
    answer(fresh.cookies, tokens)
}

fn answer<T: Serialize>(cookies: Cookies, value: T) -> Response {
    (cookies, NoStore(Json(value))).into_response()
}
