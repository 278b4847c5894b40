//! Aggregations: one request of a client, answered by several of the gateway's own, put together (`/bff/NAME`).
//!
//! Each part is judged as a request of its own, for the same caller: what its route asks for holds, and the
//! service is told of the caller as it always is. What a part says is trimmed to the members that are declared.
//!
//! | module | subject |
//! |---|---|
//! | [`trim`] | from a service's JSON, the members that are told |
//! | `answer` | what the client is told |
//! | `place` | what is filled into the target of a part |

use std::{collections::BTreeSet, sync::Arc};

use http::HeaderValue;
use tegata_core::StepUp;
use tegata_mesh::{
    AuthMode, Bff, Credential, Credentials, DecideBy, RevocationMode, Route, RouteTable,
    ServiceMap, ServiceName, Target, Within, bff::PREFIX,
};
use tegata_policy::{Auth, PolicySet, Requirement, Rules};

use crate::{
    metrics::{Metrics, OfService},
    route::{Beside, Found},
};

pub(crate) mod answer;
pub(crate) mod place;
pub mod trim;

/// The largest answer of a part, and of all parts together, in bytes.
pub(crate) const LARGEST: usize = 1024 * 1024;
pub(crate) const LARGEST_IN_ALL: usize = 4 * LARGEST;

/// What stands before the path in the names of their rules.
const RULES: &str = "bff";

/// An aggregation, made ready for requests.
#[derive(Debug)]
pub(crate) struct Together {
    pub(crate) bff: Bff,
    /// As it is counted and recorded.
    pub(crate) name: Arc<str>,
    pub(crate) metrics: Arc<OfService>,
    /// Beside each part, the route that it is on. `None`: there is none.
    pub(crate) routes: Vec<Option<Box<str>>>,
    route: Route,
    beside: Beside,
}

/// What of a path is below that of aggregations.
pub(crate) fn asked(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(PREFIX)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// The rules about who may ask for them.
pub(crate) fn permit(rules: &mut Rules, map: &ServiceMap) {
    for bff in map.bffs() {
        let requirement = Requirement {
            auth: match bff.auth {
                AuthMode::Required => Auth::Required,
                AuthMode::Optional => Auth::Optional,
                AuthMode::None => Auth::None,
            },
            roles: bff.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            ..Requirement::default()
        };
        rules.permit(RULES, &bff.path(), requirement);
    }
}

/// All of them. `services` is how many services there are, whose numbers none of these has.
pub(crate) fn compile(
    map: &ServiceMap,
    table: &RouteTable,
    policy: &PolicySet,
    services: usize,
    metrics: &Metrics,
) -> Vec<Together> {
    let one = |(number, bff): (usize, &Bff)| {
        let path = bff.path();
        let on = |part: &tegata_mesh::bff::Part| -> Option<&Route> {
            let lead = part.path.lead();
            Some(table.find(Target::parse(lead.as_bytes()).ok()?.path())?.route)
        };
        let routes: Vec<_> = bff.parts.iter().map(on).collect();
        // Where each part makes do with what is known, so does finding out whose it is.
        let makes_do = |route: &Option<&Route>| {
            route.is_none_or(|route| route.revocation == RevocationMode::Available)
        };
        let revocation = if routes.iter().all(makes_do) {
            RevocationMode::Available
        } else {
            RevocationMode::Bounded
        };
        let name: Arc<str> = path.trim_start_matches('/').into();
        // INVARIANT: each has a rule, made from the same map.
        let beside = Beside {
            rule: Arc::clone(policy.route(RULES, &path)?),
            service: services + number,
            prefix: path.as_str().into(),
            allow: HeaderValue::from_static("GET, HEAD"),
            body: 0,
            timeout: Some(bff.deadline),
            limits: Vec::new(),
            body_rate: 0,
            hidden: Vec::new(),
            graphql: None,
            tried: None,
        };
        let route = Route {
            path,
            service: ServiceName::new(RULES).ok()?,
            auth: bff.auth,
            strip_prefix: true,
            methods: ["GET".to_owned()].into(),
            scopes: BTreeSet::new(),
            roles: bff.roles.clone(),
            revocation,
            rate_limit: None,
            step_up: StepUp::default(),
            timeout: None,
            websocket: false,
            idle_timeout: None,
            compress: None,
            rate_limits: Vec::new(),
            // It is for people and their programs: keys and certificates count where a route says so.
            credentials: Credentials::of(&[Credential::Token, Credential::Session]),
            within: Within::default(),
            graphql: None,
            decide_by: DecideBy::Table,
        };
        let routes = routes.iter().map(|route| Some(route.as_ref()?.path.as_str().into()));
        let (bff, metrics, routes) = (bff.clone(), metrics.service(&name), routes.collect());
        Some(Together { bff, name, metrics, routes, route, beside })
    };
    map.bffs().enumerate().filter_map(one).collect()
}

impl Together {
    /// It, as a route is found.
    pub(crate) fn found(&self) -> Found<'_, '_> {
        Found { route: &self.route, beside: &self.beside, path: &self.route.path, forwarded: "/" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_is_asked_for_and_nothing_that_begins_alike() {
        for (path, rest) in [
            ("/bff", Some("")),
            ("/bff/", Some("")),
            ("/bff/home", Some("home")),
            ("/bff/home/x", Some("home/x")),
            ("/bffs", None),
            ("/Bff/home", None),
            ("/a/bff/home", None),
        ] {
            assert_eq!(asked(path), rest, "{path}");
        }
    }
}
