//! A request that nobody made: what would be decided about it?

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use tegata_core::Timestamp;
use tegata_policy::{Action, Place, PolicySet, Principal, PrincipalKind, Request, Resource};

/// The moment that is taken where an address is named and no moment: 2026-01-01.
const SOME_DAY: Timestamp = Timestamp::from_secs(1_767_225_600);

/// A request, in words.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Question {
    /// `user:ID`, `client:ID`, `service:NAME` or `anonymous`.
    pub(crate) principal: String,
    pub(crate) roles: Vec<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) acr: Option<String>,
    /// Seconds since the caller was authenticated.
    pub(crate) auth_age: Option<u64>,
    pub(crate) ip: Option<IpAddr>,
    /// Seconds since 1970.
    pub(crate) now: Option<u64>,
    pub(crate) method: String,
    pub(crate) service: String,
    pub(crate) route: String,
    pub(crate) path: String,
}

impl Question {
    /// Hands the request to `ask`. Where one of address and moment is named, the other is some one; where
    /// none is, nobody knows either.
    ///
    /// # Errors
    /// The principal is none.
    pub(crate) fn ask<T>(
        &self,
        set: &PolicySet,
        ask: impl FnOnce(&Request<'_>) -> T,
    ) -> Result<T, String> {
        let (kind, id) = principal(&self.principal)?;
        let roles = self.roles.iter().map(String::as_str);
        let held = set.recognise(roles, self.scopes.iter().map(String::as_str));
        let place = (self.ip.is_some() || self.now.is_some()).then(|| Place {
            address: self.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            now: self.now.map_or(SOME_DAY, Timestamp::from_secs),
        });
        let request = Request {
            principal: Principal {
                kind,
                id,
                held: &held,
                acr: self.acr.as_deref(),
                auth_age: self.auth_age,
                place,
            },
            action: Action { method: &self.method, path: &self.path },
            resource: Resource { service: &self.service, route: &self.route },
        };
        Ok(ask(&request))
    }
}

/// Whom a text names.
fn principal(text: &str) -> Result<(PrincipalKind, &str), String> {
    let found = match text.split_once(':') {
        None if text == "anonymous" => Some((PrincipalKind::Anonymous, "")),
        Some(("user", id)) => Some((PrincipalKind::User, id)),
        Some(("client", id)) => Some((PrincipalKind::Client, id)),
        Some(("service", name)) => Some((PrincipalKind::Service, name)),
        _ => None,
    };
    let named = found.filter(|(kind, id)| *kind == PrincipalKind::Anonymous || !id.is_empty());
    named.ok_or_else(|| {
        format!(
            "`{}` names nobody: write `user:ID`, `client:ID`, `service:NAME` or `anonymous`",
            text.escape_debug()
        )
    })
}

/// The service and the route that a text names: `orders:/orders`.
pub(crate) fn route(text: &str) -> Result<(&str, &str), String> {
    let named =
        text.split_once(':').filter(|(name, route)| !name.is_empty() && route.starts_with('/'));
    named.ok_or_else(|| format!("`{}` names no route: write `SERVICE:/route`", text.escape_debug()))
}
