//! Who calls, as a verified token says.

use std::{fmt, sync::Arc};

use serde::Serialize;
use tegata_core::{Secret, StepUp, Timestamp, UserId, step_up};
use tegata_token::{Claims, Confirmation, Context, Scope, claims::Actor, foreign::is_foreign};

use super::{InTransaction, Presented, Reason, Refused, refused::Challenger};
use crate::trace::Trace;

/// Whom a request speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A person.
    User(UserId),
    /// A service or another client, where no person is involved.
    Service(String),
    /// Somebody whom another issuer knows: its address, a space, and its name for them. The gateway
    /// accepted its token; whether that one is a person, it does not say.
    Foreign(String),
}

impl Subject {
    /// Whom the claim `sub` names.
    pub(super) fn named(sub: &str) -> Self {
        match UserId::new(sub) {
            Ok(user) => Self::User(user),
            Err(_) if is_foreign(sub) => Self::Foreign(sub.to_owned()),
            Err(_) => Self::Service(sub.to_owned()),
        }
    }
}

/// The caller of a request: everything here stood in a token that was verified. Cheap to clone.
#[derive(Clone)]
pub struct Caller(Arc<Inner>);

struct Inner {
    by: Challenger,
    /// When the token was looked at.
    at: Timestamp,
    subject: Subject,
    claims: Claims,
    token: Secret<String>,
    internal: bool,
    transaction: Option<InTransaction>,
    trace: Trace,
}

impl Caller {
    pub(super) fn new(
        (by, at): (Challenger, Timestamp),
        claims: Claims,
        presented: Presented<'_>,
        transaction: Option<InTransaction>,
        trace: Trace,
    ) -> Self {
        let subject = Subject::named(&claims.sub);
        let (token, internal) = match presented {
            Presented::Internal(token) => (token, true),
            Presented::Bearer(token) | Presented::Dpop(token) => (token, false),
        };
        let token = Secret::new(token.to_owned());
        Self(Arc::new(Inner { by, at, subject, claims, token, internal, transaction, trace }))
    }

    /// Whom the request speaks for.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// The person, where there is one.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match &self.0.subject {
            Subject::User(user) => Some(user),
            Subject::Service(_) | Subject::Foreign(_) => None,
        }
    }

    /// The service that made the call: the one that acts for a person, or the subject itself where
    /// no person is involved. Only the outermost actor counts (RFC 8693 §4.1): those inside it
    /// acted earlier.
    #[must_use]
    pub fn calling_service(&self) -> Option<&str> {
        match (&self.0.claims.act, &self.0.subject) {
            (Some(act), _) => Some(&act.sub),
            (None, Subject::Service(name)) => Some(name),
            (None, Subject::User(_) | Subject::Foreign(_)) => None,
        }
    }

    /// Who acts for the subject, and for whom that one did before.
    #[must_use]
    pub fn act(&self) -> Option<&Actor> {
        self.0.claims.act.as_deref()
    }

    /// The subject's roles.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.0.claims.roles
    }

    /// Whether the subject has this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.0.claims.roles.iter().any(|own| own == role)
    }

    /// What the token may be used for.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.0.claims.scope
    }

    /// The session that the token ends with, by its public handle. `None` where it belongs to none, or outlives the
    /// one it began in (`offline_access`).
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.0.claims.session()
    }

    /// The family of tokens.
    #[must_use]
    pub fn family(&self) -> Option<&str> {
        self.0.claims.fid.as_deref()
    }

    /// The token's name.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.0.claims.jti
    }

    /// The name of the token that this one was made from.
    #[must_use]
    pub fn original_token_id(&self) -> Option<&str> {
        self.0.claims.original_jti.as_deref()
    }

    /// From where, and on which device, the request came that the gateway let pass, where the token says it.
    /// Tokens that other services make from an internal one say the same.
    #[must_use]
    pub fn asked_from(&self) -> Option<&Context> {
        self.0.claims.context.as_deref()
    }

    /// When the token ends.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_secs(self.0.claims.exp)
    }

    /// All that the token says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.0.claims
    }

    /// The transaction that the request belongs to, where the service is in a
    /// [trust domain](super::Builder::in_trust_domain) and the request says one. It may concern somebody
    /// else than the caller: a service that calls in its own name is a caller, too.
    #[must_use]
    pub fn transaction(&self) -> Option<&InTransaction> {
        self.0.transaction.as_ref()
    }

    /// The trace that the request belongs to.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// Lets pass who has this role.
    ///
    /// # Errors
    /// [`Refused`] with 403.
    pub fn require_role(&self, role: &str) -> Result<(), Refused> {
        if self.has_role(role) { Ok(()) } else { Err(self.refuse(Reason::Role(role.to_owned()))) }
    }

    /// Lets pass whose token has all values of this scope.
    ///
    /// # Errors
    /// [`Refused`] with 403 and the scope that is needed.
    pub fn require_scope(&self, needed: &Scope) -> Result<(), Refused> {
        if self.scope().covers(needed) {
            Ok(())
        } else {
            Err(self.refuse(Reason::Scope(needed.clone())))
        }
    }

    /// Lets pass whose person was authenticated as strongly and as recently as this (RFC 9470). Where no
    /// person is involved, nobody was.
    ///
    /// # Errors
    /// [`Refused`] with 401, and a challenge by which a client asks the person.
    pub fn require_step_up(&self, asked: &StepUp) -> Result<(), Refused> {
        let claims = self.claims();
        let age = step_up::age(claims.auth_time, self.0.at);
        if asked.is_weak(claims.acr.as_deref()) || asked.is_old(age) {
            Err(self.challenge(asked))
        } else {
            Ok(())
        }
    }

    /// The refusal by which the person is asked for this: what a service that was called on their behalf
    /// asks for ([`Reply::step_up`](crate::Reply::step_up)), passed on. With 403 where they have shown as
    /// much a moment ago, or nothing is asked for that is known here: showing it again would change nothing,
    /// and they would be asked for ever.
    #[must_use]
    pub fn ask_step_up(&self, asked: &StepUp) -> Refused {
        let claims = self.claims();
        // With as much time left as has passed, it has not grown old on the way.
        let age = step_up::age(claims.auth_time, self.0.at).map(|age| age.saturating_mul(2));
        if !asked.is_weak(claims.acr.as_deref()) && !asked.is_old(age) {
            let why = "a service asks for a sign-in that was shown to it, or that nobody knows";
            return self.refuse(Reason::Forbidden(why));
        }
        self.challenge(asked)
    }

    fn challenge(&self, asked: &StepUp) -> Refused {
        self.refuse(Reason::StepUp { asked: asked.clone() })
    }

    /// Lets pass calls that one of these services made, for a person or for itself.
    ///
    /// # Errors
    /// [`Refused`] with 403.
    pub fn require_service(&self, names: &[&str]) -> Result<(), Refused> {
        if self.calling_service().is_some_and(|name| names.contains(&name)) {
            Ok(())
        } else {
            Err(self.refuse(Reason::Forbidden("the call is not from a service that may make it")))
        }
    }

    /// The person, or the refusal of a call that is for people.
    ///
    /// # Errors
    /// [`Refused`] with 403.
    pub fn require_user(&self) -> Result<&UserId, Refused> {
        self.user().ok_or_else(|| self.refuse(Reason::Forbidden("no person is involved")))
    }

    fn refuse(&self, reason: Reason) -> Refused {
        let bound = self.claims().cnf.as_ref().and_then(Confirmation::key_alone);
        Refused::new(reason, self.0.by.clone()).with_proof(bound.is_some())
    }

    /// What a service downstream is told beside the token, for its logs.
    #[must_use]
    pub fn context(&self) -> UserContext<'_> {
        let claims = &self.0.claims;
        UserContext {
            user_id: self.user().map(UserId::as_str),
            session_id: self.session(),
            permissions: match &claims.permissions {
                Some(permissions) => permissions.iter().map(String::as_str).collect(),
                None => claims.scope.values().collect(),
            },
            service_context: ServiceContext {
                service: &self.0.by.service,
                caller: self.calling_service(),
            },
            trace_id: self.0.trace.trace_id(),
        }
    }

    /// The token that the request showed, and the name of its kind (RFC 8693 §3): what a token for
    /// another service is made from.
    pub(crate) fn subject_token(&self) -> (&Secret<String>, &'static str) {
        let kind = if self.0.internal {
            "urn:ietf:params:oauth:token-type:jwt"
        } else {
            "urn:ietf:params:oauth:token-type:access_token"
        };
        (&self.0.token, kind)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({:?}, {})", self.0.subject, self.0.claims.jti)
    }
}

/// The caller in short: the value of `X-User-Context` as JSON. It proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserContext<'c> {
    /// The person.
    pub user_id: Option<&'c str>,
    /// The session's public handle.
    pub session_id: Option<&'c str>,
    /// What the person may do here: the claim `permissions`, or else the scope.
    pub permissions: Vec<&'c str>,
    /// Between which services the request went.
    pub service_context: ServiceContext<'c>,
    /// The trace.
    pub trace_id: String,
}

/// Between which services a request went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceContext<'c> {
    /// The service that was called.
    pub service: &'c str,
    /// The service that called it.
    pub caller: Option<&'c str>,
}
