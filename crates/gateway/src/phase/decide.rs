//! May they?

use std::net::IpAddr;

use http::{HeaderValue, StatusCode, header};
use tegata_core::step_up;
use tegata_policy::{
    Action, Decision, Place, Principal, PrincipalKind, ReasonId, RouteRule, RuleId,
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
    /// Why not.
    pub(crate) reason: Option<ReasonId>,
    /// Whether it passed outside of the rule's networks or hours, so that the caller has less than all of
    /// its rights.
    pub(crate) outside: bool,
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
    let anywhere = rule.requirement().within.is_anywhere();
    let place = (!anywhere).then(|| Place { address: client, now: gate.node.now() });
    let nobody = Principal {
        kind: PrincipalKind::Anonymous,
        id: "",
        held: &routing.nothing,
        acr: None,
        auth_age: None,
        place,
    };
    // INVARIANT: how long ago it was is computed for each request, and kept nowhere.
    let asks_age = rule.requirement().step_up.max_age.is_some();
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
    let decision = rule.decide(&principal, Action { method: head.method.as_str() });
    match decision {
        Decision::Allow { rule } => {
            decided.rule = Some(rule.clone());
            decided.outside = found.beside.rule.outside(&principal).is_some();
            gate.metrics.allowed.inc();
            Ok(())
        }
        Decision::Deny { reason, rule: by } => {
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
    }
}
