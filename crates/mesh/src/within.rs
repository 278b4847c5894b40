//! From where and when a caller has all of its rights, and which it has elsewhere: `networks`, `hours` and
//! `outside` of a service or a route.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tegata_core::{Hours, Network};

use crate::{
    declared::AuthMode,
    map::{Check, Rule, is_method},
    name::{RoleName, Scope},
};

/// `outside`: what of a caller's rights remains there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredOutside {
    /// Methods that pass, of those of the route. Empty: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Roles that count, of those that the caller has. Left out: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// Scopes that count, of those that the caller's credentials have, separated by spaces. Left out: all
    /// of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// From where and when a caller has all of its rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Within {
    /// The networks. Empty: any.
    pub networks: Vec<Network>,
    /// The hours. Empty: any.
    pub hours: Vec<Hours>,
    /// What remains elsewhere. `None`: nothing.
    pub kept: Option<Kept>,
}

/// What remains of a caller's rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Methods that pass, of those of the route. Empty: all of them.
    pub methods: BTreeSet<String>,
    /// Roles that count. `None`: all.
    pub roles: Option<BTreeSet<RoleName>>,
    /// Scopes that count. `None`: all.
    pub scopes: Option<BTreeSet<Scope>>,
}

impl Within {
    /// Whether it says nothing.
    #[must_use]
    pub const fn is_anywhere(&self) -> bool {
        self.networks.is_empty() && self.hours.is_empty()
    }

    pub(crate) fn check(
        (networks, hours): (&[Network], &[Hours]),
        outside: Option<&DeclaredOutside>,
        check: &mut Check<'_>,
    ) -> Self {
        let kept = outside.map(|outside| {
            for method in outside.methods.iter().filter(|method| !is_method(method)) {
                check.fault(Rule::Method(method.chars().take(80).collect()));
            }
            let scopes = |text: &String| text.split_whitespace().map(str::to_owned).collect();
            let scopes: Option<Vec<String>> = outside.scope.as_ref().map(scopes);
            Kept {
                methods: outside.methods.iter().cloned().collect(),
                roles: outside.roles.as_ref().map(|names| check.names(names, RoleName::new)),
                scopes: scopes.map(|names| check.names(&names, Scope::new)),
            }
        });
        let within = Self { networks: networks.to_vec(), hours: hours.to_vec(), kept };
        if outside.is_some() && within.is_anywhere() {
            let reason =
                "says what remains outside of nothing: say `networks` or `hours`, or leave it out";
            check.fault(Rule::Word { key: "outside", reason });
        }
        within
    }

    /// What of a service's holds on a route that says nothing of its own.
    pub(crate) fn on(&self, auth: AuthMode) -> Self {
        let mut within = self.clone();
        // What remains for those who hold something remains for nobody where callers need not be known.
        if auth != AuthMode::Required && within.kept.as_ref().is_some_and(Kept::asks_for_caller) {
            within.kept = None;
        }
        within
    }
}

impl Kept {
    /// Whether what remains depends on what the caller holds.
    pub(crate) const fn asks_for_caller(&self) -> bool {
        self.roles.is_some() || self.scopes.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeclaredRoute, DeclaredService, ServiceMap};

    fn service() -> DeclaredService {
        DeclaredService {
            name: "orders".into(),
            upstreams: vec!["http://127.0.0.1:1".into()],
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            outside: Some(DeclaredOutside { roles: Some(vec![]), ..DeclaredOutside::default() }),
            ..DeclaredService::default()
        }
    }

    fn routes(routes: &[DeclaredRoute]) -> Result<Vec<Within>, String> {
        let map = ServiceMap::check(&[service()], routes).map_err(|invalid| invalid.to_string())?;
        Ok(map.routes().map(|route| route.within.clone()).collect())
    }

    #[test]
    fn a_route_has_its_services_words_or_its_own_and_never_a_mixture() {
        let open =
            DeclaredRoute { auth: AuthMode::None, ..DeclaredRoute::new("/b-open", "orders") };
        let own = DeclaredRoute {
            hours: vec!["08:00-18:00".parse().unwrap()],
            ..DeclaredRoute::new("/c-own", "orders")
        };
        let all = routes(&[DeclaredRoute::new("/a", "orders"), open, own]).unwrap();
        let [of_service, open, own] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(of_service.kept.as_ref().unwrap().roles, Some(BTreeSet::new()));
        // Where nobody is known, nothing remains for who holds nothing.
        assert_eq!((open.networks.len(), &open.kept), (1, &None));
        assert!(own.networks.is_empty() && own.hours.len() == 1 && own.kept.is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let outside = |methods: &[&str], roles: Option<&[&str]>| {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            Some(DeclaredOutside {
                methods: texts(methods),
                roles: roles.map(texts),
                ..DeclaredOutside::default()
            })
        };
        let plain = DeclaredRoute::new("/a", "orders");
        let network = vec!["10.0.0.0/8".parse().unwrap()];
        for (route, says) in [
            (
                DeclaredRoute { outside: outside(&["GET"], None), ..plain.clone() },
                "outside of nothing",
            ),
            (
                DeclaredRoute {
                    networks: network.clone(),
                    outside: outside(&["get"], None),
                    ..plain.clone()
                },
                "`methods` holds `get`",
            ),
            (
                DeclaredRoute {
                    networks: network.clone(),
                    outside: outside(&[], Some(&["Not A Role"])),
                    ..plain.clone()
                },
                "role",
            ),
            (
                DeclaredRoute {
                    networks: network,
                    outside: outside(&[], Some(&["on-call"])),
                    auth: AuthMode::Optional,
                    ..plain
                },
                "`outside.roles` needs a caller that is known",
            ),
        ] {
            let wrong = routes(&[route]).unwrap_err();
            assert!(wrong.contains(says), "{wrong}");
        }
        let unknown =
            serde_json::json!({"path": "/a", "service": "orders", "outside": {"role": []}});
        assert!(serde_json::from_value::<DeclaredRoute>(unknown).is_err());
    }
}
