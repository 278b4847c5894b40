//! Does the credential still count?

use tegata_core::{SinceBoot, Timestamp};
use tegata_mesh::RevocationMode;
use tegata_token::{
    Claims, ForeignToken, Revoked, Verified, foreign::Layer, revocation::MOST_STALE,
};

use crate::{
    foreign::{Foreign, Unanswered},
    gate::{Freshness, Gate},
    metrics::{Checked, Layers},
    passport::Caller,
    refusal::{Refusal, Refused},
};

/// While revocations cannot be learnt, a token counts in its first and in its last minute.
const BOUNDED: u64 = 60;

/// Whether the credential has been taken back, as far as this node knows, asking nobody. Of a token of another
/// issuer it says nothing: for that, a store may have to be asked.
pub(crate) fn is_taken_back(caller: &Caller, gate: &Gate) -> bool {
    match caller {
        Caller::Token(token) => gate.realm.check(token).is_some(),
        Caller::Session(session) => gate.realm.check_grant(&session.claims, None, "").is_some(),
        Caller::Key(key) => gate.realm.check_claims(&key.claims, None, "").is_some(),
        Caller::Certificate(identity) => {
            gate.realm.check_grant(&identity.claims, None, "").is_some()
        }
        // Whoever reads a body on its way asks otherwise.
        Caller::Foreign(_) => false,
    }
}

/// Whether the credential has been taken back, as far as this node knows, and whether it knows
/// enough. Answers whether the credential passed although it does not.
pub(crate) async fn still_counts(
    (caller, shown): (&Caller, Option<&str>),
    revocation: RevocationMode,
    gate: &Gate,
    freshness: &Freshness,
    now: SinceBoot,
) -> Result<bool, Refused> {
    let (fresh, revoked) = match (caller, &gate.foreign) {
        (Caller::Foreign(token), Some((foreign, layers))) => {
            Box::pin(look_up_foreign(token, (foreign, layers), gate, freshness, now)).await?
        }
        _ => look_up(caller, gate, freshness, now).await,
    };
    if revoked.is_some() {
        if let (Some(usage), Caller::Token(token)) = (&gate.usage, caller) {
            usage.refused(&token.claims().jti);
        }
        if caller.key().is_some() {
            return Err(Refusal::invalid_token("key_revoked", "the API key has been taken back"));
        }
        return Err(Refusal::invalid_token("token_revoked", "the token has been taken back"));
    }
    let passes = fresh
        || match (revocation, caller) {
            (RevocationMode::Strict, _) => false,
            // It is as old as its record, of which a copy may be kept for some seconds.
            (RevocationMode::Bounded, Caller::Key(_)) => false,
            // Whoever answered for the session has asked where it is kept.
            (RevocationMode::Bounded, Caller::Session(_)) => true,
            (
                RevocationMode::Bounded,
                Caller::Token(_) | Caller::Foreign(_) | Caller::Certificate(_),
            ) => is_young_or_short(caller.claims(), gate.node.now()),
            (RevocationMode::Available, _) => true,
        };
    if passes {
        return Ok(!fresh);
    }
    let asked = match (revocation, shown, &gate.introspection) {
        (RevocationMode::Bounded, Some(token), Some(asking)) => {
            Box::pin(asking.is_active(token)).await
        }
        _ => None,
    };
    match asked {
        // It was checked, by somebody who knows enough.
        Some(true) => Ok(false),
        // Why, it does not say: it may also be a client that may not ask, or have another clock. Nobody is
        // told that somebody took it back.
        Some(false) => {
            let detail = "another node says that the token does not count";
            Err(Refusal::invalid_token("token_inactive", detail))
        }
        None => {
            let detail = "it cannot be learnt at present whether the token has been taken back";
            Err(Refusal::unavailable("revocations_stale", detail))
        }
    }
}

/// Whether enough is known, and by what the credential has been taken back.
async fn look_up(
    caller: &Caller,
    gate: &Gate,
    freshness: &Freshness,
    now: SinceBoot,
) -> (bool, Option<Revoked>) {
    let began = gate.node.since_boot();
    let look = |now| {
        known(
            || is_fresh(gate, freshness, now),
            || match caller {
                Caller::Token(token) => gate.realm.check(token),
                Caller::Session(session) => gate.realm.check_grant(&session.claims, None, ""),
                Caller::Key(key) => gate.realm.check_claims(&key.claims, None, ""),
                Caller::Certificate(identity) => gate.realm.check_grant(&identity.claims, None, ""),
                // Nobody knows what was taken back where no other issuer counts.
                Caller::Foreign(_) => Some(Revoked::Token),
            },
        )
    };
    let (mut fresh, mut revoked) = look(now);
    if !fresh && revoked.is_none() && gate.revocations.has_stood_still() {
        Box::pin(gate.wake()).await;
        (fresh, revoked) = look(gate.node.since_boot());
    }
    let metrics = &gate.metrics;
    let counted = by_result(fresh, revoked, [&metrics.alive, &metrics.revoked, &metrics.stale]);
    counted.note(gate.node.elapsed(began));
    (fresh, revoked)
}

/// The same, of a token of another issuer, for which stores may have to be asked.
async fn look_up_foreign(
    token: &Verified<ForeignToken>,
    (foreign, layers): (&Foreign, &Layers),
    gate: &Gate,
    freshness: &Freshness,
    now: SinceBoot,
) -> Result<(bool, Option<Revoked>), Refused> {
    // INVARIANT: as in `known`, this is asked first.
    let mut fresh = is_fresh(gate, freshness, now);
    if !fresh && gate.revocations.has_stood_still() {
        gate.wake().await;
        fresh = is_fresh(gate, freshness, gate.node.since_boot());
    }
    let began = gate.node.since_boot();
    let unanswered = || {
        let detail = "no store says at present whether the token has been taken back";
        Refusal::unavailable("revocation_unknown", detail)
    };
    let names = token.names().ok_or_else(unanswered)?;
    let checked = foreign.check(names, &gate.node, layers).await;
    let (revoked, layer): (_, Layer) = checked.map_err(|Unanswered| unanswered())?;
    let layer = layers.of(layer);
    let counted = by_result(fresh, revoked, [&layer.alive, &layer.revoked, &layer.stale]);
    counted.note(gate.node.elapsed(began));
    Ok((fresh, revoked))
}

fn is_fresh(gate: &Gate, freshness: &Freshness, now: SinceBoot) -> bool {
    gate.staleness(freshness, now).is_some_and(|age| age <= MOST_STALE)
}

fn by_result(fresh: bool, revoked: Option<Revoked>, of: [&Checked; 3]) -> &Checked {
    let [alive, taken_back, stale] = of;
    match (revoked, fresh) {
        (Some(_), _) => taken_back,
        (None, true) => alive,
        (None, false) => stale,
    }
}

/// Whether enough is known, and what is.
///
/// INVARIANT: that enough is known is asked first. The other way round, the log could be read in
/// between, and what it brought would count as known though nobody looked it up: a node that stood
/// still for a while does both at once when it goes on.
fn known<R>(enough: impl FnOnce() -> bool, what: impl FnOnce() -> Option<R>) -> (bool, Option<R>) {
    let enough = enough();
    (enough, what())
}

/// Whether a token is so young that it can hardly have been taken back, or so short that little can
/// be done with it.
fn is_young_or_short(claims: &Claims, now: Timestamp) -> bool {
    let now = now.secs();
    now.saturating_sub(claims.first_issued()) < BOUNDED || claims.exp.saturating_sub(now) <= BOUNDED
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_learnt_while_a_token_is_judged_does_not_let_it_pass() {
        let learnt = Cell::new(false);
        // The log is read right after the token was looked up.
        let look = || {
            let revoked = learnt.get().then_some("taken back");
            learnt.set(true);
            revoked
        };
        assert_eq!(known(|| learnt.get(), look), (false, None));
        assert_eq!(known(|| learnt.get(), || Some("taken back")), (true, Some("taken back")));
    }
}
