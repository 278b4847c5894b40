//! Who wants to do what with what.

use serde::{Deserialize, Serialize};

use crate::{names::Held, within::Place};

/// A question to a [`crate::PolicySet`].
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who.
    pub principal: Principal<'a>,
    /// Does what.
    pub action: Action<'a>,
    /// With what.
    pub resource: Resource<'a>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Principal<'a> {
    /// Of which kind.
    pub kind: PrincipalKind,
    /// A user id, client id or service name; empty for nobody.
    pub id: &'a str,
    /// The roles and scopes of the credentials, recognised beforehand.
    pub held: &'a Held,
    /// How the caller was authenticated: the claim `acr`.
    pub acr: Option<&'a str>,
    /// How many seconds ago that was. `None`: nobody knows. Looked at where a rule asks for it alone
    /// ([`crate::RouteRule::asks_auth_age`]).
    pub auth_age: Option<u64>,
    /// From where and when they ask. `None`: it is not known, so it is outside of whatever is named.
    /// Looked at where a rule asks for it alone ([`crate::RouteRule::asks_place`]).
    pub place: Option<Place>,
}

/// Of which kind a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// Nobody: without credentials.
    Anonymous,
    /// A person.
    User,
    /// An OAuth client that acts for itself.
    Client,
    /// A service of ours.
    Service,
}

/// What is done.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// The method of the request, as it was sent: methods are case-sensitive (RFC 9110 §9.1).
    pub method: &'a str,
    /// The normalised path. Routes decide, and policies that name it (`context.path`).
    pub path: &'a str,
}

/// What it is done with.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// The service.
    pub service: &'a str,
    /// The route: the declared prefix.
    pub route: &'a str,
}
