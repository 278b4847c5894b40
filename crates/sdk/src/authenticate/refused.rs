//! Why a request is refused, and what it is answered (RFC 6750 §3, RFC 9457).

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use tegata_core::StepUp;
use tegata_token::{Algorithm, ProofRefused, Refusal, Scope};

use super::keys::KeysUnavailable;
use crate::problem::Problem;

/// A request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// Why: for the log.
    pub reason: Reason,
    by: Challenger,
    /// Whether its token counts with a proof of its key.
    with_proof: bool,
}

/// Who refuses, as a challenge says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenger {
    pub(crate) service: Arc<str>,
    /// The parameter that leads to what the service says of itself (RFC 9728 §5.1).
    pub(crate) metadata: Option<Arc<str>>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It shows no token.
    #[error("there is no token")]
    Missing,
    /// It shows something that is no token.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// Its token does not count.
    #[error(transparent)]
    Token(#[from] Refusal),
    /// Its token was taken back.
    #[error("the token was taken back")]
    Revoked,
    /// Nobody can tell at the moment whether its token was taken back.
    #[error("what was taken back lately is not known")]
    Stale,
    /// Its token is of use only to who holds a key, and the key was not shown.
    #[error("the token is bound to a key that the request does not show")]
    Bound,
    /// Its token is of use only to who shows a certificate, and it was not shown.
    #[error("the token is bound to a client certificate that the connection does not show")]
    Certificate,
    /// Its DPoP proof does not count.
    #[error(transparent)]
    Proof(#[from] ProofRefused),
    /// Its DPoP proof was used before, or there is no room to remember it.
    #[error("the DPoP proof was used before")]
    Replayed,
    /// Its person must authenticate more strongly, or once more (RFC 9470).
    #[error("the person must authenticate more strongly, or once more: {}", asked.parameters())]
    StepUp {
        /// What is asked for.
        asked: StepUp,
    },
    /// Its token is not for this use.
    #[error("the token lacks the scope `{0}`")]
    Scope(Scope),
    /// Its subject has not the role.
    #[error("the caller is not `{0}`")]
    Role(String),
    /// It is not for this caller.
    #[error("the caller may not do this: {0}")]
    Forbidden(&'static str),
    /// Nobody can tell whether its token counts.
    #[error(transparent)]
    Keys(#[from] KeysUnavailable),
}

impl Refused {
    pub(crate) const fn new(reason: Reason, by: Challenger) -> Self {
        Self { reason, by, with_proof: false }
    }

    /// The same of a caller whose token counts with a proof of its key.
    pub(crate) fn with_proof(self, with_proof: bool) -> Self {
        Self { with_proof, ..self }
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.reason {
            Reason::Malformed(_) => StatusCode::BAD_REQUEST,
            Reason::Missing
            | Reason::Token(_)
            | Reason::Revoked
            | Reason::Bound
            | Reason::Certificate
            | Reason::Proof(_)
            | Reason::Replayed
            | Reason::StepUp { .. } => StatusCode::UNAUTHORIZED,
            Reason::Scope(_) | Reason::Role(_) | Reason::Forbidden(_) => StatusCode::FORBIDDEN,
            Reason::Keys(_) | Reason::Stale => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The value of `WWW-Authenticate`, where the answer has one. A request without a token is told
    /// no more than the scheme (RFC 6750 §3.1).
    #[must_use]
    pub fn challenge(&self) -> Option<HeaderValue> {
        let error = match &self.reason {
            Reason::Missing => String::new(),
            Reason::Malformed(_) => self.error("invalid_request"),
            Reason::Token(_) | Reason::Revoked | Reason::Bound | Reason::Certificate => {
                self.error("invalid_token")
            }
            Reason::Proof(_) | Reason::Replayed => self.error("invalid_dpop_proof"),
            Reason::Scope(scope) => {
                format!(r#"{}, scope="{scope}""#, self.error("insufficient_scope"))
            }
            Reason::StepUp { asked } => {
                let error = self.error("insufficient_user_authentication");
                if asked.is_nothing() { error } else { format!("{error}, {}", asked.parameters()) }
            }
            Reason::Role(_) | Reason::Forbidden(_) | Reason::Keys(_) | Reason::Stale => {
                return None;
            }
        };
        let realm = self.by.service.as_ref();
        let realm: String =
            realm.chars().filter(|c| c.is_ascii_graphic() && !"\"\\".contains(*c)).collect();
        // RFC 9449 §7.1: what is wrong with a proof, or lacks one, is said of its own scheme; and so is
        // what is asked of whoever showed one.
        let of_proof = matches!(self.reason, Reason::Bound | Reason::Proof(_) | Reason::Replayed);
        let challenge = if of_proof || self.with_proof {
            let algorithms = Algorithm::NAMES.join(" ");
            format!(r#"DPoP realm="{realm}"{error}, algs="{algorithms}""#)
        } else {
            format!(r#"Bearer realm="{realm}"{error}"#)
        };
        let led = match &self.by.metadata {
            Some(metadata) => format!("{challenge}, {metadata}"),
            None => challenge,
        };
        HeaderValue::try_from(led).ok()
    }

    fn error(&self, code: &str) -> String {
        format!(r#", error="{code}", error_description="{}""#, self.told())
    }

    /// The body of the answer.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem::new(self.status(), self.told())
    }

    /// After how many seconds to try again, where that may help.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u32> {
        if matches!(self.reason, Reason::Keys(_) | Reason::Stale) { Some(1) } else { None }
    }

    /// What the caller is told: which rule of a token was broken is for the log, because the
    /// answer would help to forge one.
    fn told(&self) -> &'static str {
        match &self.reason {
            Reason::Missing => "sign in, or send a token",
            Reason::Malformed(rule) => rule,
            Reason::Token(Refusal::Expired) => "the token has expired",
            Reason::Token(_) | Reason::Revoked => "the token is not valid here",
            Reason::Bound => "the token is bound to a key that the request does not show",
            Reason::Certificate => {
                "the token is bound to a client certificate that the connection does not show"
            }
            Reason::Proof(_) => "the DPoP proof is not valid for this request",
            Reason::Replayed => "the DPoP proof was used before; make one for each request",
            Reason::StepUp { .. } => "authenticate more strongly, or once more",
            Reason::Scope(_) => "the token is not for this use",
            Reason::Role(_) | Reason::Forbidden(_) => "this caller may not do this",
            Reason::Keys(_) | Reason::Stale => "tokens cannot be checked at the moment",
        }
    }
}
