//! A proof that the person is there, before something lasting is allowed in their name: a device, or a
//! client that they have agreed to nothing of.
//!
//! Whoever has signed in for this very thing has given it; else the form asks for a password or a second
//! factor. A session that was elevated for something else does not do: a script that waits for that would
//! be let in with it. Nor does a proof for one thing elevate the session.

use std::time::Duration;

use axum::response::Response;
use http::{StatusCode, header};
use tegata_identity::Refused;
use tegata_oauth::redirect::with_query;
use tegata_session::Session;

use super::{
    Frame, Trouble, Visit,
    login::{error_type, retry_after, status, too_many},
};
use crate::{
    app::App,
    form::Fields,
    messages::Messages,
    problem::whole_secs,
    proving::{Again, NotRaised},
    refusals,
};

/// The parameter, and the field, that stands for a proof that was given.
pub(crate) const FIELD: &str = "presence";

/// What is allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Thing<'a> {
    /// An authorization request, by its handle.
    Request(&'a str),
    /// A device, by the code that it shows, as it is written.
    Device(&'a str),
}

/// What a form asks for beside a yes.
#[derive(Debug)]
pub(crate) struct Asks {
    /// What stands for the proof that was given.
    pub(crate) given: Option<String>,
    pub(crate) how: How,
    /// What is wrong with what was shown.
    pub(crate) problem: Option<&'static str>,
}

/// How the person shows that they are there.
#[derive(Debug)]
pub(crate) enum How {
    /// They need not, or have.
    Nothing,
    /// By their password.
    Password,
    /// By a code, or by a passkey: what the browser is asked for.
    Second(Option<String>),
    /// By signing in once more, at this address: they have nothing else.
    SignIn(String),
}

/// What came with a yes.
pub(crate) enum Shown {
    /// The person is there.
    Counts,
    /// What was shown does not count; `None`: nothing was.
    Not(Option<Refused>),
    /// Nobody is signed in any more.
    Nobody,
}

impl Thing<'_> {
    fn name(self) -> String {
        match self {
            Self::Request(handle) => format!("request {handle}"),
            Self::Device(code) => format!("device {code}"),
        }
    }

    /// The sign-in page for it.
    fn sign_in(self, path: &str, frame: &Frame, another: bool) -> String {
        let of = match self {
            Self::Request(handle) => ("request", handle),
            Self::Device(code) => (super::device::FIELD, code),
        };
        let another = another.then_some(("another", "true"));
        let all: Vec<_> =
            [of].into_iter().chain(another).chain([("lang", frame.lang.tag())]).collect();
        with_query(path, &all)
    }
}

/// What stands for the proof that somebody gives by signing in for something. `None`: none is asked for.
///
/// # Errors
/// What the keys say.
pub(crate) fn given(
    app: &App,
    session: &tegata_core::SessionId,
    thing: Thing<'_>,
) -> Result<Option<String>, Trouble> {
    if !app.asks_for_presence() {
        return Ok(None);
    }
    let life: Duration = app.config().elevation;
    let counts = (app.node().now(), life);
    Ok(Some(app.csrf().present_for(app.realm(), session, &thing.name(), counts)?))
}

/// What a form asks for, of somebody who comes with `given`.
///
/// # Errors
/// What the store says.
pub(crate) async fn asked(
    app: &App,
    frame: &Frame,
    session: &Session,
    (thing, given): (Thing<'_>, Option<&str>),
    refused: Option<&Refused>,
) -> Result<Asks, Trouble> {
    let problem = refused.map(|refused| told(refused, frame.m));
    if !app.asks_for_presence() || counts(app, session, thing, given) {
        return Ok(Asks { given: given.map(str::to_owned), how: How::Nothing, problem });
    }
    let (realm, user) = (app.realm(), &session.user);
    let how = if app.second_factors().of(realm, user).await?.is_some() {
        let options = app.ask_passkey_again(session).await?;
        How::Second(options.map(|options| options.to_string()))
    } else if app.passwords().generation(realm, user).await? > 0 {
        How::Password
    } else if app.letters().is_some_and(|letters| letters.config().sign_in) {
        How::SignIn(thing.sign_in("/login/link", frame, false))
    } else {
        How::SignIn(thing.sign_in("/login", frame, true))
    };
    Ok(Asks { given: None, how, problem })
}

/// Looks at what came with a yes.
///
/// # Errors
/// What the store says.
pub(crate) async fn shown(
    app: &App,
    visit: &Visit,
    session: &Session,
    (thing, fields): (Thing<'_>, &Fields),
) -> Result<Shown, Trouble> {
    if !app.asks_for_presence() || counts(app, session, thing, fields.one(FIELD)) {
        return Ok(Shown::Counts);
    }
    let named = |name| fields.one(name).filter(|typed| !typed.is_empty());
    let again = if named("credential").is_some() {
        Again::Passkey(fields.secret("credential"))
    } else if named("code").is_some() {
        Again::Code(fields.secret("code"))
    } else if named("password").is_some() {
        Again::Password(fields.secret("password"))
    } else {
        return Ok(Shown::Not(None));
    };
    match app.is_there(&visit.caller, &session.id, &again).await {
        Ok(()) => Ok(Shown::Counts),
        Err(NotRaised::Refused(Refused::Store(error))) => Err(error.into()),
        Err(NotRaised::Refused(refused)) => Ok(Shown::Not(Some(refused))),
        // The form is shown that asks for the code.
        Err(NotRaised::Second(_)) => Ok(Shown::Not(None)),
        Err(NotRaised::Nobody(_)) => Ok(Shown::Nobody),
    }
}

fn counts(app: &App, session: &Session, thing: Thing<'_>, given: Option<&str>) -> bool {
    let shown = (given.unwrap_or_default(), app.node().now());
    app.csrf().is_present_for(app.realm(), &session.id, &thing.name(), shown)
}

/// What somebody is told whose proof does not count.
pub(super) const fn told(refused: &Refused, m: &Messages) -> &'static str {
    match refused {
        Refused::InvalidCredentials => m.wrong_password,
        Refused::WrongCode | Refused::Over => m.wrong_code,
        Refused::WrongPasskey => m.passkey_refused,
        Refused::Throttled { retry_after } => too_many(*retry_after, m),
        Refused::Busy(_) => m.busy,
        Refused::Store(_) => m.away,
    }
}

/// The status of a form that is shown once more.
pub(crate) fn code(refused: Option<&Refused>) -> StatusCode {
    refused.map_or(StatusCode::UNAUTHORIZED, status)
}

/// Names what is refused by a form that is shown once more, and says when it may be tried again.
pub(crate) fn once_more(mut response: Response, refused: Option<&Refused>) -> Response {
    if let Some(wait) = refused.and_then(retry_after) {
        let wait = whole_secs(Duration::from_secs(wait));
        response.headers_mut().insert(header::RETRY_AFTER, wait.into());
    }
    match refused {
        Some(refused) => refusals::named(response, error_type(refused)),
        // Whoever showed nothing is asked to.
        None if response.status() == StatusCode::UNAUTHORIZED => {
            refusals::named(response, "proof_required")
        }
        None => response,
    }
}

impl Asks {
    /// Whether the person has to show something.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.how, How::Nothing)
    }

    /// What the browser is asked for.
    pub(crate) const fn passkey(&self) -> Option<&String> {
        match &self.how {
            How::Second(Some(options)) => Some(options),
            _ => None,
        }
    }

    /// Whether there is no more to do here than to say no, before a sign-in.
    pub(crate) const fn sign_in(&self) -> Option<&String> {
        match &self.how {
            How::SignIn(address) => Some(address),
            _ => None,
        }
    }
}
