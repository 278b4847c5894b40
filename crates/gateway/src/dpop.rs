//! Proofs that whoever sends an access token holds the key that it is bound to (RFC 9449 §7).
//!
//! What was shown is remembered by this node alone, because no port is written while a request is
//! judged: within its minute, a proof that was overheard can be shown once to each other node, for
//! the same method and the same place. `docs/gateway.md` says so.

use http::{HeaderName, HeaderValue, StatusCode, header};
use tegata_core::Timestamp;
use tegata_token::{
    Claims, Confirmation, DpopNonces, DpopProof, ProofRefused, Proving, Replays,
    dpop::{NonceAge, Noted},
};

use crate::{
    config::Config,
    head::{Head, Once},
    phase::{admit::Admitted, forward::Origin},
    refusal::{Refusal, Refused},
};

/// How many proofs are remembered: those of two and a half minutes. Each takes some 20 bytes.
const MOST: usize = 1_000_000;

/// The header that carries a proof.
pub(crate) static DPOP: HeaderName = HeaderName::from_static("dpop");
static DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The schemes that are offered, as [`tegata_token::Algorithm::NAMES`] has them.
pub(crate) const OFFER: &str = r#"DPoP algs="RS256 PS256 ES256 EdDSA Ed25519""#;

/// What proofs are asked for.
#[derive(Debug, Clone)]
pub struct Dpop {
    /// The nonces of the installation.
    pub nonces: DpopNonces,
    /// Whether a proof without a nonce is refused.
    pub required: bool,
}

/// Judges proofs.
pub(crate) struct Proofs {
    dpop: Dpop,
    seen: Replays,
}

impl Proofs {
    pub(crate) fn new(dpop: Dpop) -> Self {
        Self { dpop, seen: Replays::new(MOST) }
    }

    /// Checks that who sends a token that says this holds its key. Answers the nonce to be told of,
    /// where that is needed.
    pub(crate) fn check(
        &self,
        (claims, token): (&Claims, &str),
        (head, admitted): (&Head<'_>, &Admitted<'_>),
        config: &Config,
        now: Timestamp,
    ) -> Result<Option<HeaderValue>, Refused> {
        let bound = claims.cnf.as_ref().and_then(Confirmation::key_alone).ok_or_else(|| {
            let detail = "the token is bound to no DPoP key; send it with the scheme `Bearer`";
            refuse("token_not_bound", "invalid_token", detail)
        })?;
        let proof = self.proof((head, admitted), token, config, now)?;
        if proof.jkt() != bound {
            let detail = "the token is bound to another key than that of the DPoP proof";
            return Err(refuse("token_bound", "invalid_token", detail));
        }
        let nonce = self.nonce_after(&proof, now)?;
        match self.seen.note(&proof, now) {
            Noted::New => Ok(nonce),
            Noted::Used => {
                let detail = "the DPoP proof was used before; make one for each request";
                Err(refuse("dpop_replayed", "invalid_dpop_proof", detail))
            }
            Noted::Full => {
                let detail = "there is no room to remember another DPoP proof";
                Err(Refusal::unavailable("dpop_busy", detail))
            }
        }
    }

    fn proof(
        &self,
        (head, admitted): (&Head<'_>, &Admitted<'_>),
        token: &str,
        config: &Config,
        now: Timestamp,
    ) -> Result<DpopProof, Refused> {
        let wrong = |detail: &'static str| refuse("dpop_proof", "invalid_dpop_proof", detail);
        let text = match admitted.fields.dpop {
            Once::One(value) => value.to_str().map_err(|_| wrong("`DPoP` is not ASCII"))?,
            Once::Absent => return Err(wrong("there is no DPoP proof; send one in `DPoP`")),
            Once::Several => return Err(wrong("`DPoP` stands more than once")),
        };
        let nobody = HeaderValue::from_static("");
        let origin = Origin::of(head, admitted, &nobody, config);
        let target = origin.asked_at(admitted, head.uri.path());
        let target = target.ok_or_else(|| wrong("the request names no place that `htu` could"))?;
        let request =
            Proving { method: head.method.as_str(), target: &target, access_token: Some(token) };
        DpopProof::verify(text, &request, now).map_err(|refused| invalid(refused, target.as_str()))
    }

    /// The nonce to be told of with the answer.
    fn nonce_after(
        &self,
        proof: &DpopProof,
        now: Timestamp,
    ) -> Result<Option<HeaderValue>, Refused> {
        let age = proof.nonce().map(|nonce| self.dpop.nonces.age(nonce, now));
        let current = || HeaderValue::try_from(self.dpop.nonces.current(now)).ok();
        match age {
            Some(Some(NonceAge::Current)) => Ok(None),
            Some(Some(NonceAge::Ending)) => Ok(current()),
            None if !self.dpop.required => Ok(current()),
            Some(None) | None => {
                let detail = "use the nonce in `DPoP-Nonce` in a new DPoP proof";
                let mut refused = refuse("dpop_nonce", "use_dpop_nonce", detail);
                refused.fields.extend(current().map(|nonce| (DPOP_NONCE.clone(), nonce)));
                Err(refused)
            }
        }
    }
}

/// Tells of the nonce to use from now on.
pub(crate) fn tell(headers: &mut http::HeaderMap, nonce: HeaderValue) {
    headers.insert(&DPOP_NONCE, nonce);
}

/// A bound token was sent by itself: whoever sends it may have found it.
pub(crate) fn unproven() -> Refused {
    let detail = "the token is bound to a key, and nothing proves that the caller has it; send it with \
                  the scheme `DPoP` and a proof";
    refuse("token_bound", "invalid_token", detail)
}

/// The token that was sent with a proof does not count.
pub(crate) fn invalid_token(id: &'static str, detail: String) -> Refused {
    challenge(id, "invalid_token", detail)
}

/// Which rule a proof broke. Whoever makes proofs knows their key, so nothing is given away.
fn invalid(refused: ProofRefused, target: &str) -> Refused {
    let id = match refused {
        ProofRefused::Target => {
            let detail = format!("`htu` of the DPoP proof is not `{target}`");
            return challenge("dpop_proof", "invalid_dpop_proof", detail);
        }
        ProofRefused::Time => "dpop_time",
        _ => "dpop_proof",
    };
    challenge(id, "invalid_dpop_proof", refused.to_string())
}

fn refuse(id: &'static str, error: &str, detail: &'static str) -> Refused {
    challenge(id, error, detail)
}

/// 401, said of the scheme that was used (RFC 9449 §7.1).
fn challenge(
    id: &'static str,
    error: &str,
    detail: impl Into<std::borrow::Cow<'static, str>>,
) -> Refused {
    let refused = Refusal::new(StatusCode::UNAUTHORIZED, id, detail);
    refused.with(header::WWW_AUTHENTICATE, said(&format!(r#"error="{error}""#)))
}

/// A challenge of the scheme with these parameters.
pub(crate) fn said(parameters: &str) -> HeaderValue {
    let challenge = format!("DPoP {parameters}, {}", OFFER.trim_start_matches("DPoP "));
    HeaderValue::try_from(challenge).unwrap_or_else(|_| HeaderValue::from_static(OFFER))
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proofs")
    }
}

#[cfg(test)]
mod tests {
    use tegata_token::Algorithm;

    use super::*;

    #[test]
    fn the_offer_names_all_algorithms() {
        let names = Algorithm::NAMES.join(" ");
        assert_eq!(OFFER, format!(r#"DPoP algs="{names}""#));
    }
}
