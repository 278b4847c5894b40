//! The session of a request, by any of three ways: what the token says by itself, what the store says
//! besides, or what a sidecar says. They answer the same, so a service changes one line to go another way.
//!
//! | way | asks | learns that a session has ended |
//! |---|---|---|
//! | [`Sessions::by_token`] | nobody | with the revocations that the authenticator follows, or when the token ends |
//! | [`Sessions::in_store`] | the store, each time | with the next request |
//! | [`Sessions::beside`] | `tegata sidecar`, on this machine | within milliseconds |
//!
//! What none of them can tell is refused: 503, never a session.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tegata_core::{SessionId, StoreError, UserId, port::BoxFuture};

pub use self::sidecar::{NoSidecar, Sidecar};
use crate::{
    authenticate::{Authenticator, Caller, Refused},
    problem::Problem,
};

mod sidecar;
#[cfg(feature = "store")]
mod stored;

#[cfg(feature = "store")]
pub use stored::StoredSessions;

/// Whose request it is, and in which session: what all three ways answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionContext {
    /// The person. `None`: no person is involved.
    pub user_id: Option<String>,
    /// The session's public handle. `None`: the token belongs to no browser's session.
    pub session_id: Option<String>,
    /// What may be done here: the claim `permissions`, or else the scope.
    pub permissions: Vec<String>,
    /// The subject's roles.
    pub roles: Vec<String>,
    /// Between which services the request went.
    pub service_context: Services,
    /// The trace that the request belongs to: 32 hexadecimal digits.
    pub trace_id: String,
    /// When the token ends, in seconds since 1970.
    pub expires_at: u64,
}

/// Between which services a request went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// The service that was called.
    pub service: String,
    /// The service that called it.
    pub caller: Option<String>,
}

impl SessionContext {
    /// What a caller's token says of the session.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        let context = caller.context();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            user_id: owned(context.user_id),
            session_id: owned(context.session_id),
            permissions: context.permissions.iter().map(|&it| it.to_owned()).collect(),
            roles: caller.roles().to_vec(),
            service_context: Services {
                service: context.service_context.service.to_owned(),
                caller: owned(context.service_context.caller),
            },
            trace_id: context.trace_id,
            expires_at: caller.expires().secs(),
        }
    }
}

/// A request has no session that counts, or nobody can say whether it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotChecked {
    /// Why: for the log.
    pub why: String,
    /// What to answer.
    pub problem: Problem,
    /// The value of `WWW-Authenticate`, where the answer has one.
    pub challenge: Option<HeaderValue>,
    /// After how many seconds to try again, where that may help.
    pub retry_after: Option<u32>,
}

impl NotChecked {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// Nobody can say at the moment.
    fn unavailable(why: String) -> Self {
        let detail = "sessions cannot be checked at the moment";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        Self { why, problem, challenge: None, retry_after: Some(1) }
    }

    /// The session of a token that counts has ended.
    fn ended(service: &str) -> Self {
        let service: String =
            service.chars().filter(|c| c.is_ascii_graphic() && !"\"\\".contains(*c)).collect();
        let told = "the session has ended; sign in again";
        let challenge = format!(
            r#"Bearer realm="{service}", error="invalid_token", error_description="{told}""#
        );
        Self {
            why: "the store says that the session has ended".to_owned(),
            problem: Problem::new(StatusCode::UNAUTHORIZED, told),
            challenge: HeaderValue::try_from(challenge).ok(),
            retry_after: None,
        }
    }
}

impl From<Refused> for NotChecked {
    fn from(refused: Refused) -> Self {
        Self {
            why: refused.to_string(),
            problem: refused.problem(),
            challenge: refused.challenge(),
            retry_after: refused.retry_after(),
        }
    }
}

/// Where sessions are kept, for services that may read it.
pub trait SessionStore: Send + Sync {
    /// Whether the session of this handle is alive, and this person's.
    fn is_alive<'a>(
        &'a self,
        session: &'a SessionId,
        user: &'a UserId,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;
}

/// Finds the session of a request. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Way);

#[derive(Clone)]
enum Way {
    Token(Authenticator),
    Store(Authenticator, Arc<dyn SessionStore>),
    Sidecar(Sidecar),
}

impl Sessions {
    /// By the token alone: it is signed, and says what the session may do. Without
    /// [revocations](crate::authenticate::Builder::refusing) to follow, a session that has ended counts
    /// until its token does: 300 s for those of the gateway.
    #[must_use]
    pub const fn by_token(authenticator: Authenticator) -> Self {
        Self(Way::Token(authenticator))
    }

    /// By the token, and by what the store says of its session at that moment. A token without a session,
    /// such as a service's own, is judged by itself. What is taken back with everything that a person has,
    /// the store does not say: let the authenticator [refuse](crate::authenticate::Builder::refusing) it.
    #[must_use]
    pub const fn in_store(authenticator: Authenticator, store: Arc<dyn SessionStore>) -> Self {
        Self(Way::Store(authenticator, store))
    }

    /// By a sidecar, which does all of it.
    #[must_use]
    pub const fn beside(sidecar: Sidecar) -> Self {
        Self(Way::Sidecar(sidecar))
    }

    /// The session of a request with these headers.
    ///
    /// # Errors
    /// [`NotChecked`] says what to answer.
    pub async fn check(&self, headers: &HeaderMap) -> Result<SessionContext, NotChecked> {
        match &self.0 {
            Way::Token(authenticator) => {
                Ok(SessionContext::of(&authenticator.authenticate(headers).await?))
            }
            Way::Store(authenticator, store) => {
                let caller = authenticator.authenticate(headers).await?;
                if is_alive(&caller, store.as_ref()).await? {
                    Ok(SessionContext::of(&caller))
                } else {
                    Err(NotChecked::ended(authenticator.service()))
                }
            }
            Way::Sidecar(sidecar) => sidecar.check(headers).await,
        }
    }
}

async fn is_alive(caller: &Caller, store: &dyn SessionStore) -> Result<bool, NotChecked> {
    let Some(session) = caller.session() else { return Ok(true) };
    // A session is a person's. What is written otherwise is no session of ours.
    let (Ok(session), Some(user)) = (session.parse::<SessionId>(), caller.user()) else {
        return Ok(false);
    };
    let alive = store.is_alive(&session, user).await;
    alive.map_err(|error| NotChecked::unavailable(error.to_string()))
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Way::Token(authenticator) => write!(f, "Sessions(by token, {authenticator:?})"),
            Way::Store(authenticator, _) => write!(f, "Sessions(in store, {authenticator:?})"),
            Way::Sidecar(sidecar) => write!(f, "Sessions(beside {sidecar:?})"),
        }
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for NotChecked {
    fn into_response(self) -> axum::response::Response {
        use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
        let mut response = self.problem.into_response();
        let headers = response.headers_mut();
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
#[cfg(feature = "axum")]
mod tests;
