//! `POST /api/auth/refresh`: new tokens for the cookie's, however many tabs ask at once.
//!
//! An answer can be lost with the cookies that it sets: the connection breaks, the laptop is closed. A
//! page that gives its request a name (`Idempotency-Key`) can ask for the answer again under that name,
//! however late, and is given the same refresh token: the name is in no cookie, so a thief of cookies does not
//! have it. The session's cookie may have been replaced by an answer that was lost, too. Where the refresh
//! token beside it is of its session and not yet spent, the two vouch for each other.

use std::fmt;

use axum::{extract::State, response::Response};
use http::{HeaderMap, HeaderName, StatusCode};
use tegata_core::{Secret, SessionId, StoreError, flight::Flights};
use tegata_session::{CookieName, Passage, Verdict as SessionVerdict, value::Value};
use tegata_token::{Narrowed, Refresh, RefreshRefused, Verdict};

use super::{Bearer, Refusal, Tokens, answer, guarded, somebody};
use crate::{
    app::App,
    caller::Caller,
    metrics::Method,
    problem::Problem,
    signed_in::{Cookies, Presence},
};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Refreshes that are under way, by token, holder, session and name: tabs that ask at once are given one
/// answer, and nobody else is.
pub(crate) type Refreshes =
    Flights<(String, tegata_token::Binding, SessionId, Option<String>), Result<Given, Denied>>;

/// What a refresh gives.
#[derive(Clone)]
pub(crate) struct Given {
    access_token: Option<String>,
    expires_in: u64,
    refresh_token: Secret<String>,
}

impl fmt::Debug for Given {
    /// Without the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// Why a refresh gives nothing.
#[derive(Debug, Clone)]
pub(crate) enum Denied {
    /// The token does not count.
    Verdict(Verdict),
    /// The store did not answer.
    Store(StoreError),
}

pub(crate) async fn refresh(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    guarded(&app, &caller)?;
    let attempt = attempt(&headers)?;
    let (passage, vouched) =
        present(&app, &caller, attempt.as_deref()).await.map_err(named_invalid_grant)?;
    let (sid, user) = (passage.session.id.clone(), passage.session.user.clone());
    let token = caller.cookie(&app, CookieName::Refresh).unwrap_or_default().to_owned();
    let started = app.node().since_boot();
    let flight = (token.clone(), caller.place(), sid.clone(), attempt.clone());
    let work = {
        let (app, place, sid) = (app.clone(), caller.place(), sid.clone());
        move || async move { given(&app, &token, attempt.as_deref(), &place, &sid).await }
    };
    let given = app.refreshes().join(flight, work).await;
    let outcome = given.as_ref().map(|_| ()).map_err(Denied::name);
    app.metrics().proved(Method::Cookie, app.node().elapsed(started), outcome);
    // INVARIANT: a token that does not count vouches for nothing, whatever it looked like before.
    let cookies = match (&given, vouched) {
        (Err(_), true) => Cookies::default(),
        _ => settled(&app, *passage).await,
    };
    match given {
        Ok(given) => {
            if given.access_token.is_some() {
                app.metrics().issued_access(app.node().since_boot(), given.expires_in);
            }
            let cookies = cookies.with(&app, CookieName::Refresh, &given.refresh_token);
            let tokens = Tokens {
                expires_in: given.expires_in,
                csrf_token: app.csrf_of(&sid)?.as_str().to_owned(),
                sid: given.access_token.is_none().then_some(sid),
                sub: given.access_token.is_none().then_some(user),
                bearer: given.access_token.map(Bearer::from),
            };
            Ok(answer(cookies, tokens))
        }
        Err(Denied::Store(error)) => Err(error.into()),
        Err(Denied::Verdict(verdict)) => {
            let problem = Problem::new(StatusCode::UNAUTHORIZED, verdict.description());
            let refusal = Refusal::from(problem.named("invalid_grant"));
            // Somebody else's use of the token a moment ago is no reason to take this one's away.
            let cookies = match verdict {
                Verdict::Stale | Verdict::Unproven => cookies,
                Verdict::Reused => Cookies::signed_out(&app),
                Verdict::Orphan | Verdict::Expired | Verdict::Revoked => {
                    cookies.without(&app, CookieName::Refresh)
                }
            };
            Err(Refusal { cookies, ..refusal })
        }
    }
}

/// The name that the page gives to the request. Nobody must be able to guess it, so it is not short.
fn attempt(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut lines = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let (first, more) = (lines.next(), lines.next());
    let Some(line) = first else { return Ok(None) };
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let sound = |text: &&str| (22..=128).contains(&text.len()) && visible(text);
    match line.to_str().ok().filter(sound) {
        Some(name) if more.is_none() => Ok(Some(name.to_owned())),
        _ => {
            let detail = "`Idempotency-Key` is not one random text of 22 to 128 visible characters";
            Err(Problem::new(StatusCode::BAD_REQUEST, detail).named("invalid_request"))
        }
    }
}

/// The session of the cookie. Where an answer with its next value was lost, the refresh token beside it
/// vouches for an earlier one. Also whether it did.
async fn present(
    app: &App,
    caller: &Caller,
    attempt: Option<&str>,
) -> Result<(Box<Passage>, bool), Refusal> {
    let mut presence = app.presence(caller).await?;
    let mut vouches = false;
    if let (Presence::Nobody(Some(SessionVerdict::Superseded)), Some(attempt)) =
        (&presence, attempt)
    {
        let token = caller.cookie(app, CookieName::Refresh).unwrap_or_default();
        let families = app.provider().families();
        let (client, place) = (&app.browser().id, caller.place());
        let vouched = families.session_of(app.realm(), token, client, &place, attempt).await?;
        let value = caller.cookie(app, CookieName::Session).map(Value::parse);
        vouches = vouched.is_some() && vouched == value.and_then(Result::ok).map(|value| value.sid);
        if vouches {
            presence = app.vouched_presence(caller).await?;
        }
    }
    Ok((somebody(app, presence)?, vouches))
}

/// The next value of the session cookie, unless the session has moved on while the refresh took its
/// time: then it would overwrite a newer one.
async fn settled(app: &App, passage: Passage) -> Cookies {
    match app.sessions().settle(app.realm(), passage).await {
        Ok(Some(value)) => Cookies::default().with(app, CookieName::Session, &value),
        Ok(None) => Cookies::default(),
        Err(error) => {
            tracing::warn!(%error, "a session cookie is not renewed with this answer");
            Cookies::default()
        }
    }
}

/// Refreshes the family of a token, if it is of this session.
async fn given(
    app: &App,
    token: &str,
    attempt: Option<&str>,
    place: &tegata_token::Binding,
    sid: &SessionId,
) -> Result<Given, Denied> {
    let (provider, realm) = (app.provider(), app.realm());
    let family = provider.families().of_token(realm, token).await?;
    // A cookie that somebody else planted beside the session's own is of another session.
    if family.is_none_or(|(family, _)| family.session.as_ref() != Some(sid)) {
        return Err(Denied::Verdict(Verdict::Orphan));
    }
    let narrowed = Narrowed::default();
    let asked = Refresh {
        token,
        client: &app.browser().id,
        binding: place,
        attempt,
        narrowed: &narrowed,
        rotates: true,
        // Our own scripts are in no registry.
        as_of: None,
    };
    let (issue, person) = match provider.refreshed(app.browser(), &asked).await {
        Ok(refreshed) => refreshed,
        // A token that was used twice has ended its session, too.
        Err(RefreshRefused::Verdict(verdict)) => return Err(Denied::Verdict(verdict)),
        Err(RefreshRefused::Wider(_)) => return Err(Denied::Verdict(Verdict::Orphan)),
        Err(RefreshRefused::Store(error)) => return Err(Denied::Store(error)),
    };
    let pages = app.config().page_tokens;
    let access_token = match pages {
        true => Some(app.access_token(&issue, &person).await?),
        false => None,
    };
    Ok(Given {
        access_token,
        expires_in: issue.family.access.exp.saturating_sub(app.node().now().secs()),
        refresh_token: issue.refresh_token,
    })
}

/// A session that is gone is, to a refresh, a grant that does not count.
fn named_invalid_grant(refusal: Refusal) -> Refusal {
    if refusal.problem.status() == StatusCode::UNAUTHORIZED {
        Refusal { problem: refusal.problem.named("invalid_grant"), ..refusal }
    } else {
        refusal
    }
}

impl Denied {
    fn name(&self) -> &'static str {
        match self {
            Self::Verdict(verdict) => verdict.name(),
            Self::Store(_) => "temporarily_unavailable",
        }
    }
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
