//! From where and when a caller has all of its rights, and which remain elsewhere.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tegata_core::{Hours, Network, Timestamp};

use crate::{
    decision::ReasonId,
    method::Methods,
    names::{Bits, Held, Vocabulary},
    rule::Requirement,
};

/// From where and when somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The address, as far as it is believed.
    pub address: IpAddr,
    /// The moment.
    pub now: Timestamp,
}

/// From where and when a caller has all of its rights: in one of the networks, and in one of the hours. A
/// list that is empty says nothing. The default says nothing at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Within {
    /// The networks.
    pub networks: Vec<Network>,
    /// The hours.
    pub hours: Vec<Hours>,
    /// What remains elsewhere. `None`: nothing.
    pub kept: Option<Kept>,
}

/// What remains of a caller's rights outside. It takes away and never gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kept {
    /// The methods that pass, of those that the route takes. Empty: all of them.
    pub methods: Vec<String>,
    /// The roles that count, of those that the caller has. `None`: all of them.
    pub roles: Option<Vec<String>>,
    /// The scopes that count, of those that the caller's credentials have. `None`: all of them.
    pub scopes: Option<Vec<String>>,
}

impl Within {
    /// Whether it says nothing.
    #[must_use]
    pub const fn is_anywhere(&self) -> bool {
        self.networks.is_empty() && self.hours.is_empty()
    }

    /// Why a place is outside, if it is. One that nobody knows is outside of whatever is named.
    #[must_use]
    pub fn excludes(&self, place: Option<Place>) -> Option<ReasonId> {
        let here = |network: &Network| place.is_some_and(|place| network.contains(place.address));
        if !self.networks.is_empty() && !self.networks.iter().any(here) {
            return Some(ReasonId::OutsideNetwork);
        }
        let now = |hours: &Hours| place.is_some_and(|place| hours.contain(place.now));
        let late = !self.hours.is_empty() && !self.hours.iter().any(now);
        late.then_some(ReasonId::OutsideHours)
    }
}

impl Kept {
    /// Whether a role of the caller counts.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.as_ref().is_none_or(|kept| kept.iter().any(|name| name == role))
    }

    /// Whether a scope of the caller's credentials counts.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.as_ref().is_none_or(|kept| kept.iter().any(|name| name == scope))
    }
}

/// What of a requirement can be met outside.
#[derive(Debug)]
pub(crate) struct Outside {
    methods: Methods,
    /// The roles of which one is needed, and that count. `None`: no role is needed.
    roles: Option<Bits>,
    /// Whether all scopes count that are needed.
    scopes: bool,
}

impl Outside {
    /// `None`: nothing remains.
    pub(crate) fn of(asked: &Requirement, vocabulary: &Vocabulary) -> Option<Self> {
        let kept = asked.within.kept.as_ref()?;
        let roles = asked.roles.iter().filter(|role| kept.has_role(role)).map(String::as_str);
        Some(Self {
            methods: Methods::of(&kept.methods),
            roles: (!asked.roles.is_empty()).then(|| vocabulary.roles(roles)),
            scopes: asked.scopes.iter().all(|scope| kept.has_scope(scope)),
        })
    }

    /// Whether what passes inside passes here, too.
    pub(crate) fn passes(&self, held: &Held, method: &str) -> bool {
        self.methods.contains(method)
            && self.roles.as_ref().is_none_or(|roles| held.roles.intersects(roles))
            && self.scopes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Forbid, PolicySet, Principal, PrincipalKind, Request, Resource, Rules};

    /// Monday, 23 November 2026, at noon in UTC.
    const NOON: Timestamp = Timestamp::from_secs(1_795_435_200);

    fn within(kept: Option<Kept>) -> Within {
        Within {
            networks: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            hours: vec!["Mon-Fri 08:00-18:00".parse().unwrap()],
            kept,
        }
    }

    fn asked(within: Within) -> Requirement {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Requirement {
            roles: names(&["clerk", "on-call"]),
            scopes: names(&["orders.read"]),
            methods: names(&["GET", "POST"]),
            within,
            ..Requirement::default()
        }
    }

    fn at(address: &str, now: Timestamp) -> Option<Place> {
        Some(Place { address: address.parse().unwrap(), now })
    }

    fn reason(
        requirement: &Requirement,
        forbids: &[Forbid],
        place: Option<Place>,
        (roles, method): (&[&str], &str),
    ) -> Option<ReasonId> {
        let mut rules = Rules::default();
        rules.permit("orders", "/orders", requirement.clone());
        forbids.iter().for_each(|forbid| rules.forbid(forbid.clone()));
        let set = PolicySet::compile(rules).unwrap();
        let held = set.recognise(roles.iter().copied(), ["orders.read"]);
        let (kind, id) = (PrincipalKind::User, "usr_1");
        let principal = Principal { kind, id, held: &held, acr: None, auth_age: None, place };
        let resource = Resource { service: "orders", route: "/orders" };
        let request = Request { principal, action: Action { method, path: "/orders/1" }, resource };
        let explained = set.explain(&request);
        assert_eq!(explained.allowed, set.decide(&request).is_allowed());
        let is_outside = [Some(ReasonId::OutsideNetwork), Some(ReasonId::OutsideHours)];
        if is_outside.contains(&explained.reason) {
            assert!(explained.change.within, "{explained:?}");
        }
        set.decide(&request).reason()
    }

    #[test]
    fn outside_nothing_remains_unless_it_is_said_what_does() {
        let asked = asked(within(None));
        let late = NOON + std::time::Duration::from_secs(6 * 3600);
        let clerk: (&[&str], _) = (&["clerk"], "GET");
        for (place, expected) in [
            (at("10.1.2.3", NOON), None),
            (at("::ffff:10.1.2.3", NOON), None),
            (at("2001:db8::1", NOON), None),
            (at("11.0.0.1", NOON), Some(ReasonId::OutsideNetwork)),
            (at("::", NOON), Some(ReasonId::OutsideNetwork)),
            (at("10.1.2.3", late), Some(ReasonId::OutsideHours)),
            (at("11.0.0.1", late), Some(ReasonId::OutsideNetwork)),
            // Whoever forgets to say where somebody is opens nothing.
            (None, Some(ReasonId::OutsideNetwork)),
        ] {
            assert_eq!(reason(&asked, &[], place, clerk), expected, "{place:?}");
        }
        // What fails inside fails for that reason.
        let outside = at("11.0.0.1", NOON);
        assert_eq!(reason(&asked, &[], outside, (&[], "GET")), Some(ReasonId::MissingRole));
        let put = reason(&asked, &[], outside, (&["clerk"], "PUT"));
        assert_eq!(put, Some(ReasonId::MethodNotAllowed));
        let anywhere = self::asked(Within::default());
        assert_eq!(reason(&anywhere, &[], None, clerk), None);
    }

    #[test]
    fn what_remains_is_less_and_never_more() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let kept = Kept {
            methods: names(&["GET", "DELETE"]),
            roles: Some(names(&["on-call", "admin"])),
            scopes: Some(names(&["orders.read"])),
        };
        let less = asked(within(Some(kept.clone())));
        let outside = at("11.0.0.1", NOON);
        for (roles, method, expected) in [
            (&["on-call"][..], "GET", None),
            (&["clerk", "on-call"], "GET", None),
            (&["on-call"], "POST", Some(ReasonId::OutsideNetwork)),
            (&["clerk"], "GET", Some(ReasonId::OutsideNetwork)),
            // What the route does not take or know, no word about outside adds.
            (&["on-call"], "DELETE", Some(ReasonId::MethodNotAllowed)),
            (&["admin"], "GET", Some(ReasonId::MissingRole)),
        ] {
            assert_eq!(
                reason(&less, &[], outside, (roles, method)),
                expected,
                "{roles:?} {method}"
            );
        }
        let inside = at("10.0.0.1", NOON);
        assert_eq!(reason(&less, &[], inside, (&["clerk"], "POST")), None);
        let without = Kept { scopes: Some(vec![]), ..kept.clone() };
        let without = asked(within(Some(without)));
        let refused = reason(&without, &[], outside, (&["on-call"], "GET"));
        assert_eq!(refused, Some(ReasonId::OutsideNetwork));
        // A role that is taken away outside still forbids there.
        let forbid = Forbid { roles: names(&["suspended"]), ..Forbid::named("no-suspended") };
        let held: (&[&str], _) = (&["on-call", "suspended"], "GET");
        let refused = reason(&less, &[forbid], outside, held);
        assert_eq!(refused, Some(ReasonId::Forbidden));
        assert!(kept.has_role("on-call") && !kept.has_role("clerk") && !kept.has_scope("x"));
    }
}
