//! How often may they?

use std::{net::IpAddr, sync::Arc};

use tegata_core::{SinceBoot, rate::Answer};

use crate::{
    gate::{Gate, Whose},
    passport::Passport,
    phase::admit::is_counted,
    refusal::{Refusal, Refused},
    route::Found,
};

/// Counts the request against the limits of the caller and of the route.
pub(crate) fn limit(
    gate: &Gate,
    found: &Found<'_, '_>,
    passport: Option<&Passport>,
    client: IpAddr,
    now: SinceBoot,
) -> Result<Option<Answer>, Refused> {
    let per_user = gate.config.limits.per_user.filter(|_| passport.is_some());
    let per_route = found.route.rate_limit;
    if (per_user.is_none() && per_route.is_none()) || !is_counted(gate, client) {
        return Ok(None);
    }
    let limiter = &gate.limiter;
    let caller: Option<Arc<str>> = passport.map(|it| it.caller.claims().sub.as_str().into());
    let of_user = || {
        let whose = Whose::Subject(caller.clone()?);
        Some(("user", limiter.count(whose, per_user?, now)))
    };
    let of_route = || {
        let (prefix, limit) = (&found.beside.prefix, per_route?);
        let unknown = |network| Whose::UnknownOnRoute(Arc::clone(prefix), network);
        let answer = match caller.clone() {
            Some(caller) => limiter.count(Whose::OnRoute(Arc::clone(prefix), caller), limit, now),
            None => limiter.count_address(client, unknown, limit, now),
        };
        Some(("route", answer))
    };
    let mut tightest: Option<Answer> = None;
    // What the first refuses is not counted by the second.
    for count in [&of_user as &dyn Fn() -> Option<(&'static str, Answer)>, &of_route] {
        let Some((policy, answer)) = count() else { continue };
        if !answer.passes {
            return Err(Refusal::too_many(policy, &answer));
        }
        if tightest.is_none_or(|tightest| answer.remaining < tightest.remaining) {
            tightest = Some(answer);
        }
    }
    Ok(tightest)
}
