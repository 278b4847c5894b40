//! What another set of policies would have decided: to be looked at for some days before it decides.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    bundle::PolicyId,
    decision::{Decision, ReasonId, RuleId},
    request::Request,
};

/// What differs between a set that decides and one that is tried. It counts, and keeps the first request
/// of each difference; ids of callers are in it, and no credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ShadowReport {
    /// How many requests both were asked about.
    pub asked: u64,
    /// How many of them would have been decided otherwise.
    pub differing: u64,
    /// What differs, each once.
    pub differences: Vec<Difference>,
    /// How many differing requests are in no difference, because there are too many
    /// ([`ShadowReport::DIFFERENCES`]).
    pub untold: u64,
    #[serde(skip)]
    places: BTreeMap<Kind, usize>,
}

/// One difference, and how often it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// How many requests show it.
    pub count: u64,
    /// The first of them.
    pub first: Asked,
}

/// What a difference is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Kind {
    /// What would change.
    pub change: Differs,
    /// The rule of the route. `None`: neither set has one.
    pub rule: Option<RuleId>,
    /// Why the set that decides refuses. `None`: it allows.
    pub decided: Option<ReasonId>,
    /// The policies that determined that.
    pub decided_by: Vec<PolicyId>,
    /// Why the set that is tried would refuse. `None`: it would allow.
    pub tried: Option<ReasonId>,
    /// The policies that would determine that.
    pub tried_by: Vec<PolicyId>,
}

/// What would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Differs {
    /// What is refused would be allowed.
    WouldAllow,
    /// What is allowed would be refused.
    WouldDeny,
    /// It would be refused for another reason.
    OtherReason,
}

/// A request, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The kind of the caller.
    pub kind: crate::PrincipalKind,
    /// The id of the caller; empty for nobody.
    pub principal: String,
    /// The method.
    pub method: String,
    /// The service.
    pub service: String,
    /// The route.
    pub route: String,
    /// The path, cut to 256 bytes.
    pub path: String,
}

impl ShadowReport {
    /// How many differences are told at most.
    pub const DIFFERENCES: usize = 1_000;

    /// Takes what two sets say of one request. Answers what would change, if anything would.
    pub fn take(
        &mut self,
        request: &Request<'_>,
        decided: &Decision<'_>,
        tried: &Decision<'_>,
    ) -> Option<Differs> {
        self.asked += 1;
        let change = Differs::between(decided, tried)?;
        self.differing += 1;
        let rule = decided.rule().or(tried.rule()).cloned();
        let kind = Kind {
            change,
            rule,
            decided: decided.reason(),
            decided_by: decided.policies().iter().map(|policy| policy.id.clone()).collect(),
            tried: tried.reason(),
            tried_by: tried.policies().iter().map(|policy| policy.id.clone()).collect(),
        };
        self.count(kind, 1, || Asked::of(request));
        Some(change)
    }

    /// Takes in what another has counted, of another thread.
    pub fn merge(&mut self, other: Self) {
        self.asked += other.asked;
        self.differing += other.differing;
        self.untold += other.untold;
        for Difference { kind, count, first } in other.differences {
            self.count(kind, count, || first);
        }
    }

    fn count(&mut self, kind: Kind, count: u64, first: impl FnOnce() -> Asked) {
        let place = self.places.get(&kind).and_then(|place| self.differences.get_mut(*place));
        if let Some(known) = place {
            known.count += count;
        } else if self.differences.len() < Self::DIFFERENCES {
            self.places.insert(kind.clone(), self.differences.len());
            self.differences.push(Difference { kind, count, first: first() });
        } else {
            self.untold += count;
        }
    }
}

impl Differs {
    /// What would change, if anything would. Who determines what stays as it is, is no difference.
    #[must_use]
    pub fn between(decided: &Decision<'_>, tried: &Decision<'_>) -> Option<Self> {
        match (decided.reason(), tried.reason()) {
            (None, None) => None,
            (Some(_), None) => Some(Self::WouldAllow),
            (None, Some(_)) => Some(Self::WouldDeny),
            (Some(now), Some(then)) => (now != then).then_some(Self::OtherReason),
        }
    }

    /// The stable name, for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WouldAllow => "would_allow",
            Self::WouldDeny => "would_deny",
            Self::OtherReason => "other_reason",
        }
    }
}

impl Asked {
    fn of(request: &Request<'_>) -> Self {
        let path = request.action.path;
        Self {
            kind: request.principal.kind,
            principal: request.principal.id.to_owned(),
            method: request.action.method.to_owned(),
            service: request.resource.service.to_owned(),
            route: request.resource.route.to_owned(),
            path: path.get(..path.floor_char_boundary(256)).unwrap_or(path).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
