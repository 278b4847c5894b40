//! Whether whoever shows a token holds the key that it is bound to (RFC 7800 §3).

use http::{HeaderMap, HeaderName};
use tegata_core::Timestamp;
use tegata_token::{Claims, Confirmation, DpopProof, Proving, Replays, TargetUri, dpop::Noted};

use super::{Presented, Reason, once};

/// The header that carries a proof.
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// How many proofs are remembered: those of two and a half minutes.
pub(super) const MOST: usize = 100_000;

/// What is known of a request beside its headers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen<'r> {
    /// The thumbprint of the certificate that the client showed.
    pub(super) certificate: Option<&'r str>,
    /// Its method and its address, as its sender knows them.
    pub(super) request: Option<(&'r str, &'r str)>,
}

/// Refuses whoever is not the holder of a token that says this.
pub(super) fn check(
    claims: &Claims,
    (headers, presented): (&HeaderMap, Presented<'_>),
    seen: Seen<'_>,
    replays: &Replays,
    now: Timestamp,
) -> Result<(), Reason> {
    let token = match (presented, &claims.cnf) {
        (Presented::Internal(_) | Presented::Bearer(_), None) => return Ok(()),
        (Presented::Internal(_) | Presented::Bearer(_), Some(bound)) => {
            return match bound.certificate_alone() {
                None => Err(Reason::Bound),
                own if own == seen.certificate => Ok(()),
                Some(_) => Err(Reason::Certificate),
            };
        }
        (Presented::Dpop(token), _) => token,
    };
    let jkt = claims.cnf.as_ref().and_then(Confirmation::key_alone).ok_or(Reason::Bound)?;
    // Nobody said where the request was sent, so no proof can be checked.
    let (method, url) = seen.request.ok_or(Reason::Bound)?;
    let target = TargetUri::parse(url).ok_or(Reason::Bound)?;
    let proof = once(headers, &DPOP)?.ok_or(Reason::Bound)?;
    let targets = std::slice::from_ref(&target);
    let request = Proving { method, targets, access_token: Some(token) };
    let proof = DpopProof::verify(proof, &request, now)?;
    if proof.jkt() != jkt {
        return Err(Reason::Bound);
    }
    match replays.note(&proof, now) {
        Noted::New => Ok(()),
        Noted::Used | Noted::Full => Err(Reason::Replayed),
    }
}
