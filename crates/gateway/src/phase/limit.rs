//! How often may they?

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde_json::Value;
use tegata_core::{Quota, SinceBoot};
use tegata_mesh::{LimitBy, Route, Service};

use crate::{
    gate::Gate,
    passport::{Caller, Passport},
    phase::admit::{Admitted, is_counted},
    refusal::{Refusal, Refused},
    route::Found,
    tally::{Kind, Policy, Tally, Verdict},
};

static USER: LazyLock<Arc<str>> = LazyLock::new(|| "user".into());
static KEY: LazyLock<Arc<str>> = LazyLock::new(|| "key".into());

/// A limit of a route or of its service, made ready for requests.
#[derive(Debug)]
pub(crate) struct Rule {
    /// What clients are told it is called.
    label: Arc<str>,
    by: LimitBy,
    quota: Quota,
    /// Where it stands, and what it says: two that differ in it are counted apart.
    place: String,
}

/// The limits of a route and of its service: those of each caller first, and those of all together at
/// the end, so that what the one refuses costs the others nothing.
pub(crate) fn rules(route: &Route, service: &Service) -> Vec<Rule> {
    let (path, name) = (format!("route {}", route.path), format!("service {}", service.name));
    let mut rules = Vec::new();
    if let Some(limit) = route.rate_limit {
        let (label, place) = ("caller".into(), format!("{path} caller"));
        rules.push(Rule { label, by: LimitBy::User, quota: limit.into(), place });
    }
    for (limits, whose, place) in
        [(&route.rate_limits, "route", &path), (&service.rate_limits, "service", &name)]
    {
        for limit in limits {
            let alone = limits.iter().filter(|it| it.by == limit.by).count() == 1;
            let by = match &limit.by {
                LimitBy::Route | LimitBy::Service => limit.by.to_string(),
                by => format!("{whose}:{by}"),
            };
            let label = if alone { by } else { format!("{by}:{}", limit.limit) };
            // All routes of a service count its requests together.
            let place = if limit.by == LimitBy::Service { &name } else { place };
            let place = format!("{place} {} {}", limit.by, limit.limit);
            let (by, quota) = (limit.by.clone(), limit.quota());
            rules.push(Rule { label: label.into(), by, quota, place });
        }
    }
    if let Some(limit) = service.rate_limit {
        let (by, quota) = (LimitBy::Service, limit.into());
        rules.push(Rule { label: "service".into(), by, quota, place: format!("{name} all") });
    }
    rules.sort_by_key(|rule| matches!(rule.by, LimitBy::Route | LimitBy::Service));
    rules
}

/// Counts the request against the limits of the caller, of the route and of its service. What one of them
/// refuses, as far as is known here, is counted by none of them.
pub(crate) async fn limit(
    gate: &Gate,
    found: &Found<'_, '_>,
    passport: Option<&Passport>,
    admitted: &mut Admitted<'_>,
) -> Result<Vec<Verdict>, Refused> {
    let mut told = std::mem::take(&mut admitted.limit);
    let limits = &gate.config.limits;
    let of_all = passport.is_some() && (limits.per_user.is_some() || limits.per_key.is_some());
    if (found.beside.limits.is_empty() && !of_all) || !is_counted(gate, admitted.client) {
        return Ok(told);
    }
    let authorization = admitted.fields.authorization.one();
    let policies = policies(gate, found, passport, (authorization, admitted.client));
    let now = gate.node.since_boot();
    let looked: Vec<Verdict> = policies.iter().map(|it| gate.tally.look(it, now)).collect();
    if looked.iter().any(|it| !it.answer.passes) {
        told.extend(looked);
        return Err(refuse(gate, told));
    }
    for (number, policy) in policies.iter().enumerate() {
        let counted = gate.tally.count(limits, policy, now).await;
        let passes = counted.answer.passes;
        told.push(counted);
        if !passes {
            told.extend(looked.into_iter().skip(number + 1));
            return Err(refuse(gate, told));
        }
    }
    Ok(told)
}

/// 429, by the one that refuses.
pub(crate) fn refuse(gate: &Gate, told: Vec<Verdict>) -> Refused {
    if let Some(refusing) = told.iter().find(|it| !it.answer.passes) {
        gate.tally.refused(&refusing.label);
    }
    Refusal::too_many(told)
}

/// The limits that apply.
fn policies(
    gate: &Gate,
    found: &Found<'_, '_>,
    passport: Option<&Passport>,
    (authorization, client): (Option<&HeaderValue>, IpAddr),
) -> Vec<Policy> {
    let (tally, limits) = (&gate.tally, &gate.config.limits);
    let caller = passport.map(|it| &it.caller);
    let sub = caller.map(|it| it.claims().sub.as_str());
    let key = caller.and_then(Caller::key);
    let mut all = Vec::new();
    for (label, limit, whose) in [(&USER, limits.per_user, sub), (&KEY, limits.per_key, key)] {
        if let (Some(limit), Some(whose)) = (limit, whose) {
            let name = tally.name(&[b"gateway", label.as_bytes(), whose.as_bytes()]);
            let label = Arc::clone(label);
            all.push(Policy { label, kind: Kind::Caller, name, quota: limit.into() });
        }
    }
    for rule in &found.beside.limits {
        let one = |kind, tag: &[u8], whose: &[u8]| Policy {
            label: Arc::clone(&rule.label),
            kind,
            name: tally.name(&[rule.place.as_bytes(), tag, whose]),
            quota: rule.quota,
        };
        let of_caller = |whose: &str| one(Kind::Caller, b"user", whose.as_bytes());
        let counted = match &rule.by {
            LimitBy::Address => None,
            LimitBy::User => sub.map(of_caller),
            LimitBy::Key => match key {
                Some(key) => Some(one(Kind::Caller, b"key", key.as_bytes())),
                None => continue,
            },
            LimitBy::Claim(claim) => passport.map(|passport| {
                match passport.claim(claim, || said(claim, &passport.caller, authorization, tally))
                {
                    Some(said) => one(Kind::Caller, b"claim", &said),
                    None => of_caller(sub.unwrap_or_default()),
                }
            }),
            LimitBy::Service | LimitBy::Route => Some(one(Kind::All, b"all", b"")),
        };
        match counted {
            Some(policy) => all.push(policy),
            // Whoever is not known is where they come from.
            None => all.extend(tally.of_address(
                (&rule.label, Kind::Address, &rule.place),
                client,
                rule.quota,
            )),
        }
    }
    all
}

/// What the caller's token says in a claim, as a hash: it may be of any length, and is nobody's business.
/// What Tegata knows of a caller goes before what else stands in the token, which has been verified.
fn said(
    claim: &str,
    caller: &Caller,
    authorization: Option<&HeaderValue>,
    tally: &Tally,
) -> Option<[u8; 16]> {
    let known = serde_json::to_value(caller.claims()).ok();
    let payload = || {
        let (_scheme, token) = authorization?.to_str().ok()?.split_once(' ')?;
        let payload = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
        serde_json::from_slice::<Value>(&payload).ok()
    };
    let find = |claims: Value| match claims.get(claim) {
        None | Some(Value::Null) => None,
        // A session has no name of a token.
        Some(Value::String(empty)) if empty.is_empty() => None,
        Some(value) => Some(value.to_string()),
    };
    let said = known.and_then(find).or_else(|| payload().and_then(find))?;
    Some(tally.name(&[b"said", claim.as_bytes(), said.as_bytes()]))
}

/// The count of an address, before anything else is looked at.
pub(crate) async fn limit_address(
    gate: &Gate,
    what: (&Arc<str>, Kind, &str),
    client: IpAddr,
    quota: Quota,
    (now, mut told): (SinceBoot, Vec<Verdict>),
) -> Result<Vec<Verdict>, Refused> {
    for policy in gate.tally.of_address(what, client, quota) {
        let counted = gate.tally.count(&gate.config.limits, &policy, now).await;
        let passes = counted.answer.passes;
        told.push(counted);
        if !passes {
            return Err(refuse(gate, told));
        }
    }
    Ok(told)
}
