//! Why a request was decided as it was, and the smallest change that would have allowed it. For
//! people and for the decision log; nothing on the request path waits for it.

use std::collections::BTreeMap;

use serde::Serialize;
use tegata_core::{Acr, MaxAge};

mod search;

use crate::{
    bundle::{Policy, PolicyId},
    decision::{Decision, ReasonId, RuleId},
    names::Held,
    request::{Action, Principal, PrincipalKind, Request},
    set::{PolicySet, RouteRule},
};

/// A decision, spelt out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether the request passes.
    pub allowed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonId>,
    /// Which rule determined it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
    /// Which policies determined it, and what they looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Clause>,
    /// What would have allowed it; empty where it is allowed.
    pub change: Change,
}

/// A policy that determined a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// The policy.
    #[serde(flatten)]
    pub policy: Policy,
    /// Its text.
    pub text: String,
    /// What of the request it looked at, by name: `principal`, `roles`, `context.acr`.
    pub values: BTreeMap<&'static str, String>,
}

/// The smallest change after which a request would pass: all of it is needed, and no part can be
/// left out. Of several that are equally small, one in which the first role and method of the rule
/// come first. For policies it is looked for among what they name, at most two things beyond what the rule
/// asks for; where that does not suffice, it says which policies stand in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// A rule must be added for the route.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub add_rule: bool,
    /// Forbids must be lifted, or must stop matching.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lift: Vec<RuleId>,
    /// Policies that forbid must be lifted, or must stop matching.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lift_policies: Vec<PolicyId>,
    /// A policy must be added that permits it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub permit: bool,
    /// The caller must show credentials.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub authenticate: bool,
    /// The request must use this method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The caller must be given this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The caller must be given these roles besides, for policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_roles: Vec<String>,
    /// The credentials must also have these scopes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The caller must authenticate in this way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<Acr>,
    /// The caller must have authenticated no longer ago than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<MaxAge>,
    /// The request must come from one of the rule's networks, in one of its hours.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub within: bool,
}

impl PolicySet {
    /// Decides a request, and says why.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let decision = self.decide(request);
        let change = match self.route(request.resource.service, request.resource.route) {
            _ if decision.is_allowed() => Change::default(),
            None => Change { add_rule: true, ..Change::default() },
            Some(rule) => {
                let change = rule.smallest_change(&request.principal, request.action);
                rule.change_for_policies(change, &request.principal, request.action)
            }
        };
        let policies = decision.policies().iter().filter_map(|policy| {
            Clause::of(self.bundle()?, &policy.id, &request.principal, request.action)
        });
        Explanation {
            allowed: decision.is_allowed(),
            reason: decision.reason(),
            rule: decision.rule().cloned(),
            policies: policies.collect(),
            change,
        }
    }
}

impl RouteRule {
    /// The smallest change after which this rule would let a request pass that it refused. Of policies it
    /// names those that refuse the request as it is, and tries nothing: this is for whoever writes down
    /// each decision. [`PolicySet::explain`] looks for what would make them pass.
    #[must_use]
    pub fn change_after(
        &self,
        decision: &Decision<'_>,
        principal: &Principal<'_>,
        action: Action<'_>,
    ) -> Change {
        let Some(reason) = decision.reason() else { return Change::default() };
        let lift_policies = decision.policies().iter().map(|policy| policy.id.clone()).collect();
        let permit = reason == ReasonId::NoPolicy;
        Change { lift_policies, permit, ..self.smallest_change(principal, action) }
    }

    /// Tries every method and role that would serve, because a forbid may name one and not another,
    /// and takes what needs the fewest forbids lifted.
    fn smallest_change(&self, principal: &Principal<'_>, action: Action<'_>) -> Change {
        let asked = &self.requirement;
        let held = principal.held.translated(&self.vocabulary);
        let held = held.as_ref().unwrap_or(principal.held);
        let authenticate = principal.kind == PrincipalKind::Anonymous && self.needs_caller();
        let kind = if authenticate { PrincipalKind::User } else { principal.kind };
        let missing = |scope: &&String| !held.scopes().any(|one| one == scope.as_str());
        let mut scopes: Vec<String> = asked.scopes.iter().filter(missing).cloned().collect();
        scopes.sort_unstable();
        scopes.dedup();
        let step_up = &asked.step_up;
        let acr = step_up.acr.first().filter(|_| step_up.is_weak(principal.acr));
        let max_age = step_up.max_age.filter(|_| step_up.is_old(principal.auth_age));
        let methods: Vec<Option<&String>> = if self.methods.contains(action.method) {
            vec![None]
        } else {
            asked.methods.iter().map(Some).collect()
        };
        let roles: Vec<Option<&String>> =
            if self.has_role(held) { vec![None] } else { asked.roles.iter().map(Some).collect() };

        let mut best: Option<Change> = None;
        for method in &methods {
            for role in &roles {
                let then = Principal {
                    kind,
                    held: &self.with(held, role.map(String::as_str), &scopes),
                    ..*principal
                };
                let method_then = method.map_or(action.method, String::as_str);
                let action = Action { method: method_then, ..action };
                let forbids = self.forbids.iter().filter(|forbid| forbid.matches(&then, action));
                let change = Change {
                    add_rule: false,
                    lift: forbids.map(|forbid| forbid.id.clone()).collect(),
                    authenticate,
                    method: method.cloned(),
                    role: role.cloned(),
                    scopes: scopes.clone(),
                    acr: acr.copied(),
                    max_age,
                    within: self.needs_to_be_within(&then, action),
                    ..Change::default()
                };
                // Nothing is smaller, and what comes first is wanted.
                if change.lift.is_empty() {
                    return change;
                }
                if best.as_ref().is_none_or(|best| change.lift.len() < best.lift.len()) {
                    best = Some(change);
                }
            }
        }
        best.unwrap_or_default()
    }

    /// What the caller would hold after being given a role and scopes.
    fn with(&self, held: &Held, role: Option<&str>, scopes: &[String]) -> Held {
        let mut then = held.clone();
        then.roles = then.roles.union(&self.vocabulary.roles(role.into_iter()));
        let scopes = self.vocabulary.scopes(scopes.iter().map(String::as_str));
        then.scopes = then.scopes.union(&scopes);
        then
    }
}

#[cfg(test)]
mod tests;
