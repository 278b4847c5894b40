//! Access tokens, of ours and of others.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use tegata_token::{Refusal as TokenRefusal, api_key, reference};

use crate::{
    certificate,
    dpop::{self, Proven},
    foreign::NotVerified,
    gate::Gate,
    head::Head,
    passport::Caller,
    phase::admit::Admitted,
    reference::Unresolved,
    refusal::{Refusal, Refused},
};

/// What `Authorization` says: a scheme, and what goes with it (RFC 9110 §11.4).
#[derive(Clone, Copy)]
pub(super) struct Shown<'v> {
    pub(super) scheme: &'v str,
    pub(super) text: &'v str,
}

impl<'v> Shown<'v> {
    /// `None`: the field is no text, or has no scheme.
    pub(super) fn of(value: &'v HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        // Without an early end, so that many bytes are looked at in one step: tokens are long.
        let is_text = |fine, byte: &u8| fine & ((b' '..=b'~').contains(byte) | (*byte == b'\t'));
        if !bytes.iter().fold(true, is_text) {
            return None;
        }
        let (scheme, text) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        Some(Self { scheme, text: text.trim_start_matches(' ') })
    }

    pub(super) fn is_bearer(self) -> bool {
        self.scheme.eq_ignore_ascii_case("bearer")
    }

    /// The text of a token of ours, which others of ours can be asked about.
    pub(super) fn of_issuer(self, caller: &Caller) -> Option<&'v str> {
        matches!(caller, Caller::Token(_)).then_some(self.text)
    }
}

/// The caller that an access token speaks of (RFC 6750 §2.1, RFC 9449 §7.1, RFC 8705 §3), and the
/// proof that came with it.
pub(super) async fn check(
    shown: Shown<'_>,
    request: (&Head<'_>, &Admitted<'_>),
    gate: &Gate,
) -> Result<(Caller, Option<Proven>), Refused> {
    let began = gate.node.since_boot();
    let with_proof = shown.scheme.eq_ignore_ascii_case("dpop");
    if !with_proof && !shown.is_bearer() {
        let detail = "`Authorization` has a scheme other than `Bearer` and `DPoP`";
        return Err(Refusal::invalid_token("authorization_scheme", detail));
    }
    let token = shown.text;
    let inside = inside(token, gate).await?;
    let verified = verify(inside.as_deref().unwrap_or(token), gate).await;
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

/// The token that an opaque one stands for. `None`: it is none of those, and stands for itself.
async fn inside(token: &str, gate: &Gate) -> Result<Option<Arc<str>>, Refused> {
    let Some(references) = gate.references.as_ref().filter(|_| reference::looks_like_one(token))
    else {
        return Ok(None);
    };
    match references.resolve(token).await {
        Ok(Some(token)) => Ok(Some(token)),
        Ok(None) => {
            gate.metrics.invalid.observe(std::time::Duration::ZERO);
            let detail = "the token stands for none that counts";
            Err(Refusal::invalid_token("token_unknown", detail))
        }
        Err(Unresolved) => {
            let detail = "it cannot be learnt at present what the token stands for";
            Err(Refusal::unavailable("references_unavailable", detail))
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
    match Box::pin(foreign.verify(token)).await {
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
    texts.flat_map(|line| line.split([' ', ','])).any(|word| {
        gate.tokens.has_seen(word)
            || gate.tokens.is_of_issuer(word)
            || of_other(word)
            || reference::looks_like_one(word)
            || api_key::form::looks_like_one(word.as_bytes())
    })
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
