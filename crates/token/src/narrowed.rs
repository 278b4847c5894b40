//! What an access token says that is less than what was granted.

use crate::{
    claims::Scope,
    details::Details,
    family::{Family, Granted},
};

/// What a token request asks for, where it is not all. What is `None` is all that was granted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Narrowed {
    /// A narrower scope (RFC 6749 §6).
    pub scope: Option<Scope>,
    /// Fewer audiences (RFC 8707 §2.2).
    pub audience: Option<Vec<String>>,
    /// Narrower authorization details (RFC 9396 §6.1).
    pub details: Option<Details>,
}

/// More was asked for than was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wider {
    /// `invalid_scope`.
    #[error("the scope is wider than what was granted")]
    Scope,
    /// `invalid_target`.
    #[error("a resource is asked for that was not granted")]
    Audience,
    /// `invalid_authorization_details`.
    #[error("the authorization details are wider than what was granted")]
    Details,
}

impl Narrowed {
    /// Whether the current access token of a family is what is asked for.
    #[must_use]
    pub fn is_of(&self, family: &Family) -> bool {
        let access = &family.access;
        self.scope.as_ref().is_none_or(|scope| *scope == access.scope)
            && self.audience.as_ref().is_none_or(|audience| *audience == family.audience())
            && self
                .details
                .as_ref()
                .is_none_or(|details| Some(details) == family.details().as_ref())
    }

    /// Checks that nothing is asked for that was not granted. `most` is the widest scope that may
    /// still be given.
    ///
    /// # Errors
    /// [`Wider`] says what is.
    pub fn check(&self, granted: &Granted, most: &Scope) -> Result<(), Wider> {
        if self.scope.as_ref().is_some_and(|scope| !most.covers(scope)) {
            return Err(Wider::Scope);
        }
        let known = |name: &String| granted.audience.contains(name);
        if self.audience.as_ref().is_some_and(|names| !names.iter().all(known)) {
            return Err(Wider::Audience);
        }
        if self.details.as_ref().is_some_and(|details| !granted.details.covers(details)) {
            return Err(Wider::Details);
        }
        Ok(())
    }
}

impl Family {
    /// Whom the current access token is for.
    #[must_use]
    pub fn audience(&self) -> Vec<String> {
        self.access.audience.as_ref().unwrap_or(&self.grant.audience).clone()
    }

    /// What the current access token may be used for in detail, where anything is said.
    #[must_use]
    pub fn details(&self) -> Option<Details> {
        let details = self.access.details.as_ref().unwrap_or(&self.grant.details);
        (!details.is_empty()).then(|| details.clone())
    }
}
