//! May they?

use std::net::IpAddr;

use http::{HeaderValue, StatusCode, header};
use tegata_core::step_up;
use tegata_policy::{
    Action, Change, Decision, Place, Policy, PolicyId, Principal, PrincipalKind, ReasonId, Request,
    Resource, RouteRule, RuleId,
};
use tegata_token::{Claims, Confirmation};

use crate::{
    dpop,
    gate::Gate,
    head::Head,
    passport::Passport,
    refusal::{Refusal, Refused},
    route::Found,
};

/// What was decided, and by which rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decided {
    /// The rule that determined it.
    pub(crate) rule: Option<RuleId>,
    /// The policies that determined it.
    pub(crate) policies: Vec<PolicyId>,
    /// Why not.
    pub(crate) reason: Option<ReasonId>,
    /// Whether it passed outside of the rule's networks or hours, so that the caller has less than all of
    /// its rights.
    pub(crate) outside: bool,
    /// What would have let it pass, where that is written down.
    pub(crate) change: Option<Box<Change>>,
}

impl Decided {
    /// Whether rules were asked at all.
    pub(crate) const fn is_made(&self) -> bool {
        self.rule.is_some() || self.reason.is_some()
    }
}

/// Decides about a request of somebody, or of nobody. What was decided stands in `decided` also
/// where the request is refused.
pub(crate) fn decide(
    head: &Head<'_>,
    found: &Found<'_, '_>,
    passport: Option<&Passport>,
    client: IpAddr,
    gate: &Gate,
    decided: &mut Decided,
) -> Result<(), Refused> {
    let (routing, rule) = (&*gate.routing, &found.beside.rule);
    let tried = found.beside.tried.as_deref();
    let asks = |asks: fn(&RouteRule) -> bool| asks(rule) || tried.is_some_and(asks);
    let place =
        asks(RouteRule::asks_place).then(|| Place { address: client, now: gate.node.now() });
    let nobody = Principal {
        kind: PrincipalKind::Anonymous,
        id: "",
        held: &routing.nothing,
        acr: None,
        auth_age: None,
        place,
    };
    // INVARIANT: how long ago it was is computed for each request, and kept nowhere.
    let asks_age = asks(RouteRule::asks_auth_age);
    let principal = passport.map_or(nobody, |passport| {
        let claims = passport.caller.claims();
        Principal {
            kind: passport.kind,
            id: &claims.sub,
            held: &passport.held,
            acr: claims.acr.as_deref(),
            auth_age: asks_age.then(|| step_up::age(claims.auth_time, gate.node.now())).flatten(),
            place,
        }
    });
    let action = Action { method: head.method.as_str(), path: found.path };
    let decision = rule.decide(&principal, action);
    if let (Some(tried), Some(trying)) = (tried, &routing.tried) {
        let resource = Resource { service: found.route.service.as_str(), route: &found.route.path };
        let then = tried.decide(&principal, action);
        let request = Request { principal, action, resource };
        if let Some(change) = trying.note(&request, &decision, &then) {
            gate.metrics.policy_shadow(change);
        }
    }
    let is_written = gate.decisions.is_some() && !decision.is_allowed();
    decided.change = is_written.then(|| Box::new(rule.change_after(&decision, &principal, action)));
    let determined = |by: Vec<&Policy>| by.into_iter().map(|policy| policy.id.clone()).collect();
    match decision {
        Decision::Allow { rule, policies } => {
            decided.rule = Some(rule.clone());
            decided.policies = determined(policies);
            decided.outside = found.beside.rule.outside(&principal).is_some();
            gate.metrics.allowed.inc();
            Ok(())
        }
        Decision::Deny { reason, rule: by, policies } => {
            decided.policies = determined(policies);
            (decided.rule, decided.reason) = (by.cloned(), Some(reason));
            gate.metrics.denied.inc();
            let claims = passport.map(|passport| passport.caller.claims());
            Err(refused(reason, rule, &found.beside.allow, claims))
        }
    }
}

fn refused(
    reason: ReasonId,
    rule: &RouteRule,
    allow: &HeaderValue,
    claims: Option<&Claims>,
) -> Refused {
    let asked = rule.requirement();
    // RFC 9449 §7.1: said of the scheme that the caller's token is sent with.
    let bound = claims.and_then(|claims| claims.cnf.as_ref()).and_then(Confirmation::key_alone);
    let challenge = |parameters: String| {
        if bound.is_some() {
            return dpop::said(&parameters);
        }
        HeaderValue::try_from(format!("Bearer {parameters}"))
            .unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    };
    // RFC 9470 §3: all that is asked for, so that one sign-in is enough.
    let step_up = |detail: &'static str| {
        let challenge = challenge(format!(
            r#"error="insufficient_user_authentication", error_description="{detail}", {}"#,
            asked.step_up.parameters()
        ));
        Refusal::new(StatusCode::UNAUTHORIZED, reason.as_str(), detail)
            .with(header::WWW_AUTHENTICATE, challenge)
    };
    let forbidden = |detail| Refusal::new(StatusCode::FORBIDDEN, reason.as_str(), detail);
    match reason {
        ReasonId::NotAuthenticated => Refusal::not_authenticated(),
        ReasonId::MethodNotAllowed => {
            let detail = "the route does not take this method";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, reason.as_str(), detail)
                .with(header::ALLOW, allow.clone())
        }
        ReasonId::MissingScope => forbidden("the token lacks a scope").with(
            header::WWW_AUTHENTICATE,
            challenge(format!(r#"error="insufficient_scope", scope="{}""#, asked.scopes.join(" "))),
        ),
        ReasonId::InsufficientAcr => step_up("the caller must authenticate in a stronger way"),
        ReasonId::AuthenticationTooOld => {
            step_up("the caller must authenticate again: it was too long ago, or nobody knows when")
        }
        ReasonId::MissingRole => {
            forbidden("the caller has none of the roles of which one is needed")
        }
        ReasonId::OutsideNetwork => forbidden("it is not allowed from this network"),
        ReasonId::OutsideHours => forbidden("it is not allowed at this time"),
        ReasonId::Forbidden => forbidden("a rule forbids this"),
        ReasonId::NoRule => forbidden("no rule permits this"),
        ReasonId::PolicyForbids => forbidden("a policy forbids this"),
        ReasonId::NoPolicy => forbidden("no policy permits this"),
        ReasonId::PolicyError
        | ReasonId::UnknownType
        | ReasonId::UnknownAction
        | ReasonId::InvalidValue => forbidden("no policy can be asked about this"),
    }
}
