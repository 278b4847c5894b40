//! The compiled rules.

use std::{collections::HashMap, sync::Arc};

use crate::{
    ask::{OfRoute, Verdict},
    bundle::{Bundle, uses::Uses},
    decision::{Decision, ReasonId, RuleId},
    method::Methods,
    names::{Bits, Held, Vocabulary},
    request::{Action, Principal, PrincipalKind, Request},
    rule::{Auth, DecideBy, Forbid, Requirement, Rules},
    within::Outside,
};

/// All rules, compiled. Replaced as a whole when the rules change.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {
    vocabulary: Arc<Vocabulary>,
    bundle: Option<Arc<Bundle>>,
    routes: HashMap<Box<str>, HashMap<Box<str>, Arc<RouteRule>>>,
}

/// The rule of one route, with every forbid that can concern it. It stands alone, so the data plane
/// keeps it beside the route and looks nothing up.
#[derive(Debug)]
pub struct RouteRule {
    pub(crate) id: RuleId,
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) requirement: Requirement,
    pub(crate) methods: Methods,
    /// `None`: no role is needed.
    roles: Option<Bits>,
    scopes: Bits,
    /// What passes outside of its networks and hours. `None`: nothing.
    outside: Option<Outside>,
    pub(crate) forbids: Vec<CompiledForbid>,
    /// `None`: no policy can match a request to the route.
    pub(crate) policies: Option<OfRoute>,
}

/// A forbid, without the lists of services and routes: those have been decided.
#[derive(Debug)]
pub(crate) struct CompiledForbid {
    pub(crate) id: RuleId,
    methods: Methods,
    kinds: Vec<PrincipalKind>,
    principals: Vec<String>,
    roles: Option<Bits>,
    scopes: Option<Bits>,
}

/// Why rules do not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRules {
    /// A route has two requirements.
    #[error("route `{route}` of service `{service}` has two rules: keep one")]
    DuplicateRoute {
        /// Whose.
        service: String,
        /// Which.
        route: String,
    },
    /// Two forbids have one name.
    #[error("two forbids are named `{0}`: rename one")]
    DuplicateForbid(String),
    /// A route names what nobody asks for.
    #[error(
        "route `{route}` of service `{service}` has `decide_by = \"policies\"` and names `{key}`, for which \
         nobody asks then: set `decide_by = \"both\"`, or leave out `{key}`"
    )]
    Unasked {
        /// Whose.
        service: String,
        /// Which.
        route: String,
        /// What nobody asks for.
        key: &'static str,
    },
    /// A forbid has no name to cite.
    #[error("a forbid has no `id`: name it")]
    UnnamedForbid,
    /// A route that does not look at callers requires something of them.
    #[error(
        "route `{route}` of service `{service}` has `auth = \"none\"` and asks for `{key}`: \
         set `auth = \"required\"`, or leave out `{key}`"
    )]
    OpenYetRestricted {
        /// Whose.
        service: String,
        /// Which.
        route: String,
        /// What is asked for.
        key: &'static str,
    },
}

impl PolicySet {
    /// Compiles rules.
    ///
    /// # Errors
    /// The first rule that contradicts itself or another.
    pub fn compile(rules: Rules) -> Result<Self, InvalidRules> {
        check_forbids(&rules.forbids)?;
        let requirements = || rules.permits.iter().map(|(_, _, requirement)| requirement);
        let roles = requirements()
            .flat_map(|requirement| &requirement.roles)
            .chain(rules.forbids.iter().flat_map(|forbid| &forbid.roles));
        let scopes = requirements()
            .flat_map(|requirement| &requirement.scopes)
            .chain(rules.forbids.iter().flat_map(|forbid| &forbid.scopes));
        let vocabulary =
            Arc::new(Vocabulary::of(roles.map(String::as_str), scopes.map(String::as_str)));
        let bundle = rules.bundle.clone();
        let mut set = Self { vocabulary, bundle, routes: HashMap::new() };
        for (service, route, requirement) in rules.permits {
            let rule = set.compile_route(&service, &route, requirement, &rules.forbids)?;
            let routes = set.routes.entry(service.as_str().into()).or_default();
            if routes.insert(route.as_str().into(), Arc::new(rule)).is_some() {
                return Err(InvalidRules::DuplicateRoute { service, route });
            }
        }
        Ok(set)
    }

    /// Looks up the roles and scopes of a caller. Once per token, not per request.
    pub fn recognise<'a>(
        &self,
        roles: impl IntoIterator<Item = &'a str>,
        scopes: impl IntoIterator<Item = &'a str>,
    ) -> Held {
        Held::recognise(&self.vocabulary, roles, scopes)
    }

    /// The rule of a route.
    #[must_use]
    pub fn route(&self, service: &str, route: &str) -> Option<&Arc<RouteRule>> {
        self.routes.get(service)?.get(route)
    }

    /// The rule of a route, by its name.
    pub(crate) fn rule(&self, id: &str) -> Option<&Arc<RouteRule>> {
        // Names of services have no colon.
        let (service, route) = id.split_once(':')?;
        self.route(service, route)
    }

    /// Decides a request.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision<'_> {
        match self.route(request.resource.service, request.resource.route) {
            Some(rule) => rule.decide(&request.principal, request.action),
            None => Decision::Deny { reason: ReasonId::NoRule, rule: None, policies: Vec::new() },
        }
    }

    /// The bundle whose policies take part.
    #[must_use]
    pub const fn bundle(&self) -> Option<&Arc<Bundle>> {
        self.bundle.as_ref()
    }

    fn compile_route(
        &self,
        service: &str,
        route: &str,
        requirement: Requirement,
        forbids: &[Forbid],
    ) -> Result<RouteRule, InvalidRules> {
        let kept = requirement.within.kept.as_ref();
        let asked = [
            ("roles", requirement.roles.is_empty()),
            ("scopes", requirement.scopes.is_empty()),
            ("acr", requirement.step_up.acr.is_empty()),
            ("max_age", requirement.step_up.max_age.is_none()),
            ("within.kept.roles", kept.is_none_or(|kept| kept.roles.is_none())),
            ("within.kept.scopes", kept.is_none_or(|kept| kept.scopes.is_none())),
        ];
        if requirement.auth == Auth::None
            && let Some((key, _)) = asked.into_iter().find(|(_, nothing)| !nothing)
        {
            let (service, route) = (service.to_owned(), route.to_owned());
            return Err(InvalidRules::OpenYetRestricted { service, route, key });
        }
        let concerns = |forbid: &&Forbid| {
            let in_list = |list: &[String], name: &str| {
                list.is_empty() || list.iter().any(|entry| entry == name)
            };
            in_list(&forbid.services, service) && in_list(&forbid.routes, route)
        };
        // A list that nobody asks for protects nothing, and whoever wrote it believes that it does.
        let named =
            [("roles", requirement.roles.is_empty()), ("scopes", requirement.scopes.is_empty())];
        if requirement.decide_by == DecideBy::Policies
            && let Some((key, _)) = named.into_iter().find(|(_, nothing)| !nothing)
        {
            let (service, route) = (service.to_owned(), route.to_owned());
            return Err(InvalidRules::Unasked { service, route, key });
        }
        let vocabulary = &self.vocabulary;
        let id = RuleId::new(&format!("{service}:{route}"));
        let policies = self.bundle.as_ref();
        Ok(RouteRule {
            policies: policies.and_then(|bundle| {
                OfRoute::of(bundle, requirement.decide_by, (service, id.as_str()))
            }),
            id,
            vocabulary: Arc::clone(vocabulary),
            methods: Methods::of(&requirement.methods),
            roles: vocabulary.roles_asked(&requirement.roles),
            scopes: vocabulary.scopes(requirement.scopes.iter().map(String::as_str)),
            outside: Outside::of(&requirement, vocabulary),
            requirement,
            forbids: forbids
                .iter()
                .filter(concerns)
                .map(|forbid| CompiledForbid::of(forbid, vocabulary))
                .collect(),
        })
    }
}

impl RouteRule {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> &RuleId {
        &self.id
    }

    /// What it requires.
    #[must_use]
    pub const fn requirement(&self) -> &Requirement {
        &self.requirement
    }

    /// Whether it asks from where and when a request comes ([`Principal::place`]).
    #[must_use]
    pub const fn asks_place(&self) -> bool {
        !self.requirement.within.is_anywhere() || self.uses(Uses::PLACE)
    }

    /// Whether it asks how long ago a caller was authenticated ([`Principal::auth_age`]).
    #[must_use]
    pub const fn asks_auth_age(&self) -> bool {
        self.requirement.step_up.max_age.is_some() || self.uses(Uses::AUTH_AGE)
    }

    const fn uses(&self, these: Uses) -> bool {
        match &self.policies {
            Some(policies) => policies.uses().any_of(these),
            None => false,
        }
    }

    /// Decides. Allocates nothing, unless `held` was recognised by another set.
    #[must_use]
    pub fn decide(&self, principal: &Principal<'_>, action: Action<'_>) -> Decision<'_> {
        match principal.held.translated(&self.vocabulary) {
            None => self.judge(principal, action),
            Some(held) => self.judge(&Principal { held: &held, ..*principal }, action),
        }
    }

    /// Decides about a principal whose names are in this rule's numbers.
    fn judge(&self, principal: &Principal<'_>, action: Action<'_>) -> Decision<'_> {
        let forbid = self.forbids.iter().find(|forbid| forbid.matches(principal, action));
        if let Some(forbid) = forbid {
            let reason = ReasonId::Forbidden;
            return Decision::Deny { reason, rule: Some(&forbid.id), policies: Vec::new() };
        }
        match self.unmet(principal, action) {
            None => self.ask(principal, action),
            Some(reason) => Decision::Deny { reason, rule: Some(&self.id), policies: Vec::new() },
        }
    }

    /// Asks the policies about what passes the rule. What the rule refuses is refused without them, so
    /// that it costs nothing to be refused.
    fn ask(&self, principal: &Principal<'_>, action: Action<'_>) -> Decision<'_> {
        let deny = |reason, policies| Decision::Deny { reason, rule: Some(&self.id), policies };
        let needs_permit = self.needs_permit();
        let Some(policies) = &self.policies else {
            return if needs_permit {
                deny(ReasonId::NoPolicy, Vec::new())
            } else {
                Decision::Allow { rule: &self.id, policies: Vec::new() }
            };
        };
        let verdict = policies.ask(principal, action, None);
        if let Some((reason, by)) = verdict.refusal() {
            return deny(reason, by);
        }
        if !self.is_permitted(&verdict) {
            return deny(ReasonId::NoPolicy, Vec::new());
        }
        // INVARIANT: outside, rights are taken away and never given: it has to pass with all that the
        // caller holds, and with what is left of it.
        if let Some(reason) = self.outside(principal) {
            let left = policies.ask(principal, action, self.requirement.within.kept.as_ref());
            if let Some((_, by)) = left.refusal() {
                return deny(reason, by);
            }
            if !self.is_permitted(&left) {
                return deny(reason, Vec::new());
            }
        }
        let policies = if needs_permit { verdict.permits } else { Vec::new() };
        Decision::Allow { rule: &self.id, policies }
    }

    /// Whether a policy has to permit what passes the rule.
    fn needs_permit(&self) -> bool {
        self.requirement.decide_by != DecideBy::Table
    }

    /// Whether nobody is missed who has to permit.
    pub(crate) fn is_permitted(&self, verdict: &Verdict<'_>) -> bool {
        !self.needs_permit() || !verdict.permits.is_empty()
    }

    /// The first part of the requirement that is not met.
    fn unmet(&self, principal: &Principal<'_>, action: Action<'_>) -> Option<ReasonId> {
        let known = principal.kind != PrincipalKind::Anonymous;
        let asked = &self.requirement;
        if !known && self.needs_caller() {
            return Some(ReasonId::NotAuthenticated);
        }
        if !self.methods.contains(action.method) {
            return Some(ReasonId::MethodNotAllowed);
        }
        if !self.has_role(principal.held) {
            return Some(ReasonId::MissingRole);
        }
        if !principal.held.scopes.contains_all(&self.scopes) {
            return Some(ReasonId::MissingScope);
        }
        if asked.step_up.is_weak(principal.acr) {
            return Some(ReasonId::InsufficientAcr);
        }
        if asked.step_up.is_old(principal.auth_age) {
            return Some(ReasonId::AuthenticationTooOld);
        }
        // INVARIANT: asked last, and of what passes inside alone: outside, rights are taken away and
        // never given. What is forbidden by what the caller holds was asked before, of all of it.
        self.outside(principal).filter(|_| self.needs_to_be_within(principal, action))
    }

    /// Why the caller has fewer rights than it holds, if it does: where the request comes from, or when.
    #[must_use]
    pub fn outside(&self, principal: &Principal<'_>) -> Option<ReasonId> {
        self.requirement.within.excludes(principal.place)
    }

    /// Whether a request that has all that is asked for inside has to come from there.
    pub(crate) fn needs_to_be_within(&self, principal: &Principal<'_>, action: Action<'_>) -> bool {
        let passes = |outside: &Outside| outside.passes(principal.held, action.method);
        self.outside(principal).is_some() && !self.outside.as_ref().is_some_and(passes)
    }

    /// Whether a caller must be known. What asks for roles, scopes or how the caller was
    /// authenticated asks for a caller too, also where `auth` is optional.
    pub(crate) fn needs_caller(&self) -> bool {
        let Requirement { auth, roles, scopes, step_up, .. } = &self.requirement;
        *auth == Auth::Required || !(roles.is_empty() && scopes.is_empty() && step_up.is_nothing())
    }

    pub(crate) fn has_role(&self, held: &Held) -> bool {
        self.roles.as_ref().is_none_or(|roles| held.roles.intersects(roles))
    }
}

impl CompiledForbid {
    fn of(forbid: &Forbid, vocabulary: &Vocabulary) -> Self {
        Self {
            id: RuleId::new(&forbid.id),
            methods: Methods::of(&forbid.methods),
            kinds: forbid.kinds.clone(),
            principals: forbid.principals.clone(),
            roles: vocabulary.roles_asked(&forbid.roles),
            scopes: vocabulary.scopes_asked(&forbid.scopes),
        }
    }

    pub(crate) fn matches(&self, principal: &Principal<'_>, action: Action<'_>) -> bool {
        self.methods.contains(action.method)
            && (self.kinds.is_empty() || self.kinds.contains(&principal.kind))
            && (self.principals.is_empty() || self.principals.iter().any(|id| id == principal.id))
            && self.roles.as_ref().is_none_or(|roles| principal.held.roles.intersects(roles))
            && self.scopes.as_ref().is_none_or(|scopes| principal.held.scopes.intersects(scopes))
    }
}

fn check_forbids(forbids: &[Forbid]) -> Result<(), InvalidRules> {
    let mut seen = std::collections::HashSet::new();
    for forbid in forbids {
        if forbid.id.is_empty() {
            return Err(InvalidRules::UnnamedForbid);
        }
        if !seen.insert(forbid.id.as_str()) {
            return Err(InvalidRules::DuplicateForbid(forbid.id.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
