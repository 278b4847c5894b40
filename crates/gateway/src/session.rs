//! What the gateway asks about a session cookie. It does not know what a session is; whoever does
//! implements [`SessionCheck`].

use std::{fmt, net::IpAddr, sync::Arc};

use http::HeaderValue;
use tegata_core::{BoxFuture, SessionId};
use tegata_token::Claims;

use crate::head::Head;

/// Knows what a session cookie stands for.
pub trait SessionCheck: Send + Sync {
    /// The name of the cookie. A cookie of another name is not looked at.
    fn cookie(&self) -> &str;

    /// Whom the value of the cookie stands for, if the request may use it: the session is alive, is
    /// bound to whoever sends it, and a request that changes something carries the CSRF token.
    ///
    /// Asked for every request with the cookie, so it should answer from memory where it can.
    fn check<'a>(
        &'a self,
        value: &'a str,
        head: Head<'a>,
        client: IpAddr,
    ) -> BoxFuture<'a, Checked>;

    /// Whether a renewed cookie may still be given: the session goes on, and has had no newer value since,
    /// which this one would overwrite in the browser.
    ///
    /// Asked right before the head of an answer is written; and only where a cookie was renewed and a service
    /// was waited for, because that may take long after [`Self::check`]. Whoever implements it decides what
    /// counts in doubt.
    fn settle<'a>(&'a self, renewed: &'a Renewed) -> BoxFuture<'a, bool>;
}

/// The answer about a session cookie.
pub struct Checked {
    /// Whom it stands for, or why it is refused.
    pub verdict: Result<Arc<SessionIdentity>, SessionRefused>,
    /// What becomes of the cookie, whatever becomes of the request.
    pub set_cookie: Option<SetCookie>,
}

/// What becomes of a session cookie with the answer.
pub enum SetCookie {
    /// It gets the session's next value.
    Renewed(Renewed),
    /// It is of no more use, and taken from the browser with this line. Not with an answer that a service was
    /// waited for: whoever was signed out may have signed in anew meanwhile, and of what ended nobody can tell.
    Cleared(HeaderValue),
}

/// A session cookie that is to get its next value.
pub struct Renewed {
    /// The line that sets it.
    pub line: HeaderValue,
    /// The session's public handle.
    pub sid: SessionId,
    /// Which of the session's values it is.
    pub generation: u32,
}

/// Whom a session stands for. As long as this does not change, the gateway keeps what it made of it,
/// an internal token above all.
#[derive(Debug)]
pub struct SessionIdentity {
    /// What an access token of this session would say: `sub`, `roles`, `scope`, `sid`, `fid`, `acr`
    /// and the like. `iat` is when the session began, `nbf` from when on what it says of their rights
    /// counts where those were changed lately, `exp` when it ends, and `jti` is empty unless
    /// there is a token behind it.
    pub claims: Claims,
}

/// Why a session cookie is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRefused {
    /// There is no such session, or it has ended.
    Unknown,
    /// The session is bound to somebody else.
    NotTheirs,
    /// The session goes on, and the browser has been given a newer value of the cookie: it may have sent this
    /// before that arrived, so the same request made again can pass.
    Superseded,
    /// The request changes something and does not carry the session's CSRF token.
    Forged,
    /// The sessions cannot be reached. The cookie stays what it was.
    Unavailable,
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed")
            .field("sid", &self.sid)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Cookies are credentials.
        f.debug_struct("Checked").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}
