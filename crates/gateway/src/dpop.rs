//! Proofs that whoever sends an access token holds the key that it is bound to (RFC 9449 §7).
//!
//! A proof counts once, at all nodes together. A node refuses by itself what it has seen, and asks
//! the store that the nodes share about the rest. That is the one thing that is written while a
//! request is judged, and only for tokens that are bound to a key. Where the store does not answer, a
//! route that is `available` makes do with what this node remembers, and every other one refuses.
//!
//! A node that is alone writes nothing. When it starts it has seen nothing, so it asks for another
//! proof where one may have been shown to the process before it. Clocks of clients may be ahead, so that
//! is each which says that it was made in the first minute or before it. What counts instead shows a nonce
//! that no process gave out but this one.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tegata_core::{
    Ephemeral, Node, Realm, StoreError, Timestamp,
    port::{Put, Space},
};
use tegata_mesh::RevocationMode;
use tegata_token::{
    Claims, Confirmation, DpopNonces, DpopProof, ProofRefused, Proving, Replays,
    dpop::{NonceAge, Noted, WINDOW},
};

use crate::{
    config::Config,
    head::{Head, Once},
    phase::{admit::Admitted, forward::Origin},
    refusal::{Refusal, Refused},
};

/// How many proofs are remembered: those of two and a half minutes. Each takes some 20 bytes.
const MOST: usize = 1_000_000;

/// Where proofs are remembered that were shown to the gateway. Those that were shown to the issuer
/// are for other places, and are not among them.
pub static PROOFS: Space = Space { name: "gateway_dpop_proof", indexed: false };

/// For how much longer than its life a proof is remembered: stores may count by other clocks.
const CLOCKS_APART: Duration = Duration::from_secs(120);

/// How long the store may take. Whoever calls waits no longer for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The header that carries a proof.
pub(crate) static DPOP: HeaderName = HeaderName::from_static("dpop");
static DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The schemes that are offered, as [`tegata_token::Algorithm::NAMES`] has them.
pub(crate) const OFFER: &str = r#"DPoP algs="RS256 PS256 ES256 EdDSA Ed25519""#;

/// What proofs are asked for.
#[derive(Clone)]
pub struct Dpop {
    /// The nonces of the installation.
    pub nonces: DpopNonces,
    /// Whether a proof without a nonce is refused.
    pub required: bool,
    /// What all nodes remember together. `None`: this node is alone.
    pub shared: Option<Arc<dyn Ephemeral>>,
    /// From when on a node that is alone has seen all proofs that were shown. `None`: since the gateway
    /// started, as it is where a process before it may have seen some.
    pub since: Option<Timestamp>,
}

impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared.is_some();
        f.debug_struct("Dpop").field("required", &self.required).field("shared", &shared).finish()
    }
}

/// What is to be said of a proof that counts.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// The nonce that the answer tells of.
    pub(crate) nonce: Option<HeaderValue>,
    /// Whether nobody could say whether another node has seen it.
    pub(crate) unchecked: bool,
}

/// A proof that counts if it was not used before.
#[derive(Debug)]
pub(crate) struct Proven {
    proof: DpopProof,
    nonce: Option<HeaderValue>,
}

/// Judges proofs.
pub(crate) struct Proofs {
    dpop: Dpop,
    realm: Realm,
    seen: Replays,
    /// Where nobody else remembers anything.
    alone: Option<Alone>,
}

/// What a node that is alone goes by.
struct Alone {
    /// From when on it has seen everything that was shown, in seconds.
    since: u64,
    /// Nonces that no process before it can have given out.
    nonces: DpopNonces,
}

impl Alone {
    /// Whether the process before may have seen a proof that says it was made then: it took those of
    /// clocks that are ahead, too.
    const fn may_be_older(&self, made: Timestamp) -> bool {
        made.secs() < self.since.saturating_add(WINDOW.as_secs())
    }

    /// Whether such proofs still come: those of clocks that are behind come latest.
    const fn is_young(&self, now: Timestamp) -> bool {
        now.secs() <= self.since.saturating_add(2 * WINDOW.as_secs())
    }
}

impl Proofs {
    pub(crate) fn new(dpop: Dpop, realm: Realm, node: &Node) -> Self {
        let alone = dpop.shared.is_none().then(|| {
            let mut secret = [0; 32];
            node.entropy().fill(&mut secret);
            // Proofs name whole seconds.
            let since = dpop.since.unwrap_or_else(|| node.now()).millis().div_ceil(1000);
            Alone { since, nonces: DpopNonces::under(&secret.into()) }
        });
        Self { dpop, realm, seen: Replays::new(MOST), alone }
    }

    /// Checks that who sends a token that says this holds its key. The proof is to be used up when it is
    /// known that the token counts, so that nobody writes anything by tokens that do not.
    pub(crate) fn check(
        &self,
        (claims, token): (&Claims, &str),
        (head, admitted): (&Head<'_>, &Admitted<'_>),
        config: &Config,
        now: Timestamp,
    ) -> Result<Proven, Refused> {
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
        Ok(Proven { proof, nonce })
    }

    /// Uses a proof up. `mode` says what holds where the store does not answer.
    pub(crate) async fn use_up(
        &self,
        Proven { proof, nonce }: Proven,
        mode: RevocationMode,
        now: Timestamp,
    ) -> Result<Shown, Refused> {
        // First by what is in memory: what is shown again and again to one node costs the store nothing.
        match self.seen.note(&proof, now) {
            Noted::New => {}
            Noted::Used => return Err(replayed()),
            Noted::Full => {
                let detail = "there is no room to remember another DPoP proof";
                return Err(Refusal::unavailable("dpop_busy", detail));
            }
        }
        match self.first_shown(&proof, now).await {
            Ok(true) => Ok(Shown { nonce, unchecked: false }),
            Ok(false) => Err(replayed()),
            Err(_) if mode == RevocationMode::Available => Ok(Shown { nonce, unchecked: true }),
            // The proof may have been noted all the same: it counts no more, and whoever tries again
            // makes another.
            Err(error) => {
                tracing::debug!(%error, "the store does not say whether a DPoP proof was used");
                let detail = "it cannot be learnt at present whether the DPoP proof was used before; \
                              make another";
                Err(Refusal::unavailable("dpop_unknown", detail))
            }
        }
    }

    /// Whether no other node has seen a proof. Of all that ask at once, one is told so.
    async fn first_shown(&self, proof: &DpopProof, now: Timestamp) -> Result<bool, StoreError> {
        let Some(shared) = &self.dpop.shared else { return Ok(true) };
        let put = Put {
            key: URL_SAFE_NO_PAD.encode(proof.name()),
            value: Vec::new(),
            lifetime: proof.forget_at().since(now) + CLOCKS_APART,
            index: None,
        };
        let added = shared.add(&self.realm, &PROOFS, put);
        tokio::time::timeout(PATIENCE, added).await.unwrap_or_else(|_| {
            let detail = format!("it took longer than {} s", PATIENCE.as_secs());
            Err(StoreError::Unavailable { backend: "the store of DPoP proofs", detail })
        })
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
        let (method, targets) = (head.method.as_str(), std::slice::from_ref(&target));
        let request = Proving { method, targets, access_token: Some(token) };
        DpopProof::verify(text, &request, now).map_err(|refused| invalid(refused, target.as_str()))
    }

    /// The nonce to be told of with the answer.
    fn nonce_after(
        &self,
        proof: &DpopProof,
        now: Timestamp,
    ) -> Result<Option<HeaderValue>, Refused> {
        let age_of = |nonces: &DpopNonces| proof.nonce().and_then(|nonce| nonces.age(nonce, now));
        let own = self.alone.as_ref().and_then(|alone| age_of(&alone.nonces));
        // Clients make another where they are told of a nonce (RFC 9449 §9).
        let older = self.alone.as_ref().is_some_and(|alone| alone.may_be_older(proof.made()));
        if older && own.is_none() {
            return Err(self.ask_for_another(now));
        }
        match own.or_else(|| age_of(&self.dpop.nonces)) {
            Some(NonceAge::Current) => Ok(None),
            Some(NonceAge::Ending) => Ok(self.current(now)),
            None if proof.nonce().is_none() && !self.dpop.required => Ok(self.current(now)),
            None => Err(self.ask_for_another(now)),
        }
    }

    /// The nonce to give out.
    fn current(&self, now: Timestamp) -> Option<HeaderValue> {
        let young = self.alone.as_ref().filter(|alone| alone.is_young(now));
        let nonces = young.map_or(&self.dpop.nonces, |alone| &alone.nonces);
        HeaderValue::try_from(nonces.current(now)).ok()
    }

    fn ask_for_another(&self, now: Timestamp) -> Refused {
        let detail = "use the nonce in `DPoP-Nonce` in a new DPoP proof";
        let mut refused = refuse("dpop_nonce", "use_dpop_nonce", detail);
        refused.fields.extend(self.current(now).map(|nonce| (DPOP_NONCE.clone(), nonce)));
        refused
    }
}

fn replayed() -> Refused {
    let detail = "the DPoP proof was used before; make one for each request";
    refuse("dpop_replayed", "invalid_dpop_proof", detail)
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

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
