//! Who sends it, and does the credential still count?

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tegata_core::{SinceBoot, Timestamp};
use tegata_mesh::{AuthMode, RevocationMode, Route};
use tegata_token::{
    Claims, ForeignToken, Refusal as TokenRefusal, Revoked, Verified, foreign::Layer,
    revocation::MOST_STALE,
};

use crate::{
    certificate,
    dpop::{self, Proven, Shown},
    foreign::{Foreign, NotVerified, Unanswered},
    gate::{Freshness, Gate},
    head::{Head, Once},
    metrics::{Checked, Layers},
    passport::Caller,
    phase::admit::Admitted,
    refusal::{Refusal, Refused},
    session::{SessionCheck, SessionRefused},
};

/// While revocations cannot be learnt, a token counts in its first and in its last minute.
const BOUNDED: u64 = 60;

/// Whose request it is.
#[derive(Debug, Default)]
pub(crate) struct Identified {
    /// `None`: nobody's.
    pub(crate) caller: Option<Caller>,
    /// Whether it was let pass without knowing the latest revocations.
    pub(crate) unchecked: bool,
    /// The nonce that the answer tells of.
    pub(crate) nonce: Option<HeaderValue>,
}

/// Finds out who sends a request. Waits for nothing unless a session cookie is presented.
/// `set_cookie` gets the cookies that are to be set whatever becomes of the request.
pub(crate) async fn identify(
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    route: &Route,
    gate: &Gate,
    freshness: &Freshness,
    set_cookie: &mut Vec<HeaderValue>,
) -> Result<Identified, Refused> {
    if route.auth == AuthMode::None {
        return Ok(Identified::default());
    }
    let (mut proven, mut shown) = (None, None);
    let caller = match admitted.fields.authorization {
        Once::Several => {
            let detail = "`Authorization` stands more than once";
            return Err(Refusal::bad_request("several_authorizations", detail));
        }
        Once::One(value) => {
            let (caller, proof) = token(value, (head, admitted), gate).await?;
            (proven, shown) = (proof, of_issuer(value, &caller));
            caller
        }
        Once::Absent => {
            let Some((sessions, value)) = session_cookie(head, admitted, gate)? else {
                return Ok(Identified::default());
            };
            let began = gate.node.since_boot();
            let checked = sessions.check(&value, *head, admitted.client).await;
            let took = gate.node.elapsed(began);
            match &checked.verdict {
                Ok(_) => gate.metrics.session_valid.observe(took),
                Err(_) => gate.metrics.session_invalid.observe(took),
            }
            *set_cookie = checked.set_cookie;
            match checked.verdict {
                Ok(session) => Caller::Session(session),
                // Browsers send what they have: a session that has ended is no reason not to show
                // somebody what everybody may see.
                Err(SessionRefused::Unknown) if route.auth == AuthMode::Optional => {
                    return Ok(Identified::default());
                }
                Err(refused) => return Err(refused_session(refused)),
            }
        }
    };
    // Taken now: somebody may have been waited for.
    let now = gate.node.since_boot();
    let unchecked = still_counts((&caller, shown), route.revocation, gate, freshness, now).await?;
    let shown = match proven {
        Some(proven) => gate.proofs.use_up(proven, route.revocation, gate.node.now()).await?,
        None => Shown::default(),
    };
    let unchecked = unchecked || shown.unchecked;
    Ok(Identified { caller: Some(caller), unchecked, nonce: shown.nonce })
}

/// The text of a token of ours, which others of ours can be asked about.
fn of_issuer<'v>(value: &'v HeaderValue, caller: &Caller) -> Option<&'v str> {
    let (_, token) = value.to_str().ok()?.split_once(' ')?;
    matches!(caller, Caller::Token(_)).then(|| token.trim_start_matches(' '))
}

/// The caller that an access token speaks of (RFC 6750 §2.1, RFC 9449 §7.1, RFC 8705 §3), and the
/// proof that came with it.
async fn token(
    value: &HeaderValue,
    request: (&Head<'_>, &Admitted<'_>),
    gate: &Gate,
) -> Result<(Caller, Option<Proven>), Refused> {
    let began = gate.node.since_boot();
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(|| {
            Refusal::invalid_token("authorization", "`Authorization` is malformed")
        })?;
    let with_proof = scheme.eq_ignore_ascii_case("dpop");
    if !with_proof && !scheme.eq_ignore_ascii_case("bearer") {
        let detail = "`Authorization` has a scheme other than `Bearer` and `DPoP`";
        return Err(Refusal::invalid_token("authorization_scheme", detail));
    }
    let token = token.trim_start_matches(' ');
    let verified = verify(token, gate).await;
    let took = gate.node.elapsed(began);
    match verified {
        Ok(caller) => {
            gate.metrics.valid.observe(took);
            if with_proof {
                let said = (caller.claims(), token);
                let proven = gate.proofs.check(said, request, &gate.config, gate.node.now())?;
                return Ok((caller, Some(proven)));
            }
            // Without the proof of what it is bound to, who presents it is not its holder.
            if let Some(bound) = &caller.claims().cnf {
                if bound.certificate_alone().is_none() {
                    return Err(dpop::unproven());
                }
                certificate::check(bound, request.0, request.1, gate)?;
            }
            Ok((caller, None))
        }
        Err(NotVerified::Refused(refusal)) => {
            gate.metrics.invalid.observe(took);
            let (id, detail) = (token_id(refusal), refusal.to_string());
            Err(if with_proof {
                dpop::invalid_token(id, detail)
            } else {
                Refusal::invalid_token(id, detail)
            })
        }
        Err(NotVerified::NoKeys) => {
            gate.metrics.invalid.observe(took);
            let detail = "the keys of the token's issuer cannot be had at present";
            Err(Refusal::unavailable("issuer_keys_unavailable", detail))
        }
    }
}

/// Verifies a token with the keys of the issuer that it names, and no others.
async fn verify(token: &str, gate: &Gate) -> Result<Caller, NotVerified> {
    let own = |verified: Result<_, TokenRefusal>| {
        verified.map(Caller::Token).map_err(NotVerified::Refused)
    };
    let Some((foreign, _)) = &gate.foreign else { return own(gate.tokens.verify(token)) };
    if let Some(known) = gate.tokens.remembered(token) {
        return own(known);
    }
    if let Some(known) = foreign.remembered(token) {
        return known.map(Caller::Foreign);
    }
    match foreign.verify(token).await {
        Some(verified) => verified.map(Caller::Foreign),
        None => own(gate.tokens.verify(token)),
    }
}

/// Whether a request carries a token that says it is the issuer's. Where it has not been looked at,
/// it may well count, and is nobody else's to see.
pub(crate) fn carries_token(headers: &HeaderMap, gate: &Gate) -> bool {
    let lines = headers.get_all(header::AUTHORIZATION).iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let of_other =
        |word: &str| gate.foreign.as_ref().is_some_and(|(foreign, _)| foreign.is_of_any(word));
    texts
        .flat_map(|line| line.split([' ', ',']))
        .any(|word| gate.tokens.is_of_issuer(word) || of_other(word))
}

const fn token_id(refusal: TokenRefusal) -> &'static str {
    match refusal {
        TokenRefusal::Malformed(_) => "token_malformed",
        TokenRefusal::UnknownKey => "token_key_unknown",
        TokenRefusal::Algorithm => "token_algorithm",
        TokenRefusal::Signature => "token_signature",
        TokenRefusal::Kind => "token_kind",
        TokenRefusal::Claims(_) => "token_claims",
        TokenRefusal::Issuer => "token_issuer",
        TokenRefusal::Audience => "token_audience",
        TokenRefusal::TooLong => "token_too_long",
        TokenRefusal::Expired => "token_expired",
        TokenRefusal::NotYet => "token_not_yet",
        TokenRefusal::Epoch => "token_epoch",
    }
}

/// The session cookie and who knows about it, where there are both.
fn session_cookie<'g>(
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    gate: &'g Gate,
) -> Result<Option<(&'g dyn SessionCheck, String)>, Refused> {
    let Some(sessions) = gate.sessions.as_deref().filter(|_| admitted.fields.has_cookie) else {
        return Ok(None);
    };
    let own = sessions.cookie().as_bytes();
    let mut values = cookies(head.headers).filter(|(name, _)| *name == own);
    let Some((_, value)) = values.next() else { return Ok(None) };
    // Two cookies of a name: one was planted by a neighbour, and nobody can tell which.
    if values.any(|(_, other)| other != value) {
        let detail = "the session cookie stands more than once";
        return Err(Refusal::bad_request("several_session_cookies", detail));
    }
    // What is no text is no value of ours.
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii());
    Ok(text.map(|text| (sessions, text.to_owned())))
}

/// The cookies of a request, as their names and values (RFC 6265 §4.2.1). What others set beside ours
/// need not be text.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    pairs(headers).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((pair.get(..at)?, pair.get(at + 1..)?))
    })
}

/// The cookies of a request, as they are written.
pub(crate) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

/// Whether the credential has been taken back, as far as this node knows, asking nobody. Of a token of another
/// issuer it says nothing: for that, a store may have to be asked.
pub(crate) fn is_taken_back(caller: &Caller, gate: &Gate) -> bool {
    match caller {
        Caller::Token(token) => gate.realm.check(token).is_some(),
        Caller::Session(session) => gate.realm.check_grant(&session.claims, None, "").is_some(),
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
            look_up_foreign(token, (foreign, layers), gate, freshness, now).await?
        }
        _ => look_up(caller, gate, freshness, now).await,
    };
    if revoked.is_some() {
        if let (Some(usage), Caller::Token(token)) = (&gate.usage, caller) {
            usage.refused(&token.claims().jti);
        }
        return Err(Refusal::invalid_token("token_revoked", "the token has been taken back"));
    }
    let passes = fresh
        || match (revocation, caller) {
            (RevocationMode::Strict, _) => false,
            // Whoever answered for the session has asked where it is kept.
            (RevocationMode::Bounded, Caller::Session(_)) => true,
            (RevocationMode::Bounded, Caller::Token(_) | Caller::Foreign(_)) => {
                is_young_or_short(caller.claims(), gate.node.now())
            }
            (RevocationMode::Available, _) => true,
        };
    if passes {
        return Ok(!fresh);
    }
    let asked = match (revocation, shown, &gate.introspection) {
        (RevocationMode::Bounded, Some(token), Some(asking)) => asking.is_active(token).await,
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
                // Nobody knows what was taken back where no other issuer counts.
                Caller::Foreign(_) => Some(Revoked::Token),
            },
        )
    };
    let (mut fresh, mut revoked) = look(now);
    if !fresh && revoked.is_none() && gate.revocations.has_stood_still() {
        gate.wake().await;
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
    now.saturating_sub(claims.iat) < BOUNDED || claims.exp.saturating_sub(now) <= BOUNDED
}

fn refused_session(refused: SessionRefused) -> Refused {
    match refused {
        SessionRefused::Unknown => {
            Refusal::invalid_token("session_unknown", "the session has ended; sign in again")
        }
        SessionRefused::NotTheirs => {
            Refusal::invalid_token("session_not_theirs", "the session is bound to somebody else")
        }
        SessionRefused::Forged => {
            let detail = "a request that changes something needs the header `X-CSRF-Token`";
            Refusal::new(StatusCode::FORBIDDEN, "csrf", detail)
        }
        SessionRefused::Unavailable => {
            let detail = "the session cannot be looked up at present";
            Refusal::unavailable("sessions_unavailable", detail)
        }
    }
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
