//! DPoP proofs: whoever presents a token shows that they hold the key it is bound to (RFC 9449).
//!
//! A proof carries its own public key. Nowhere else does a key from a header count: here it proves
//! nothing but that its holder made this proof, and what is bound to its thumbprint is decided by
//! who reads [`DpopProof::jkt`]. A proof is no token of any other kind, and no other token is one:
//! [`crate::jws::Compact`] refuses the member `jwk` that a proof must have.
//!
//! Here nothing is remembered. That a proof counts once is kept by [`Replays`] within a process, or
//! by the issuer in its store, by [`DpopProof::name`].

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::Timestamp;

use crate::{
    Algorithm,
    jws::{self, Malformed},
    key::{Jwk, KeyRefused, SigningKey},
};

mod claims;
mod header;
mod nonce;
mod replays;
mod target;

pub use nonce::{DpopNonces, NonceAge};
pub use replays::{Noted, Replays};
pub use target::TargetUri;

use claims::ProofClaims;
use header::ProofHeader;

/// How far from now a proof may say that it was made, on either side: clocks of clients differ.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Whether a text is a thumbprint as [`DpopProof::jkt`] gives one: base64url of SHA-256.
#[must_use]
pub fn is_thumbprint(text: &str) -> bool {
    text.len() == 43 && URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

/// The request that a proof must have been made for.
#[derive(Debug, Clone, Copy)]
pub struct Proving<'r> {
    /// Its method, as it was sent.
    pub method: &'r str,
    /// Where it was sent, as its sender may know it: one of these.
    pub targets: &'r [TargetUri],
    /// The access token that came with it, where one did.
    pub access_token: Option<&'r str>,
}

/// A proof that has been verified. It counts once: whoever accepts it remembers [`Self::name`] until
/// [`Self::forget_at`].
#[derive(Clone, PartialEq, Eq)]
pub struct DpopProof {
    jkt: String,
    name: [u8; 32],
    made: Timestamp,
    nonce: Option<String>,
    algorithm: Algorithm,
}

/// Why a proof is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefused {
    /// It is no signed text at all.
    #[error("the DPoP proof is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// It is another kind of token.
    #[error("the `typ` of the DPoP proof is not `dpop+jwt`")]
    Kind,
    /// Its algorithm is none that proofs may use.
    #[error("the `alg` of the DPoP proof is none of RS256, PS256, ES256, EdDSA, Ed25519")]
    Algorithm,
    /// Its key is missing, is none that its algorithm uses, or is no good key.
    #[error("the `jwk` of the DPoP proof is not one public key that fits its `alg`")]
    Key,
    /// It shows a private or symmetric key: whoever reads it could make more.
    #[error("the `jwk` of the DPoP proof holds a private or symmetric key, which must be replaced")]
    PrivateKey,
    /// The signature is not its key's.
    #[error("the signature of the DPoP proof is not that of its key")]
    Signature,
    /// The claims cannot be read.
    #[error("the claims of the DPoP proof cannot be used: {0}")]
    Claims(&'static str),
    /// It was made for another method.
    #[error("`htm` of the DPoP proof is not the method of the request")]
    Method,
    /// It was made for another place.
    #[error("`htu` of the DPoP proof is not where the request was sent")]
    Target,
    /// It is too old, or from the future.
    #[error("`iat` of the DPoP proof is more than 60 seconds from now; see to the clock")]
    Time,
    /// It was made for another token, or names none.
    #[error("`ath` of the DPoP proof is missing, or not the hash of the access token")]
    Token,
}

impl DpopProof {
    /// The value of `typ`.
    pub const TYP: &str = "dpop+jwt";

    /// Verifies a proof for a request (RFC 9449 §4.3, but for item 10, the nonce, and for whether
    /// it was used before).
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn verify(text: &str, request: &Proving<'_>, now: Timestamp) -> Result<Self, ProofRefused> {
        let parts = jws::Parts::of(text)?;
        let header = ProofHeader::parse(&parts.header)?;
        let (key, jkt) = header.key()?;
        if !key.verifies(parts.signed.as_bytes(), &parts.signature) {
            return Err(ProofRefused::Signature);
        }
        let claims = ProofClaims::parse(&parts.claims).map_err(ProofRefused::Claims)?;
        if claims.htm != request.method {
            return Err(ProofRefused::Method);
        }
        let target = TargetUri::parse(&claims.htu).filter(|said| request.targets.contains(said));
        let target = target.ok_or(ProofRefused::Target)?;
        let made = Timestamp::from_secs(claims.iat);
        if made > now + WINDOW || now > made + WINDOW {
            return Err(ProofRefused::Time);
        }
        if let Some(token) = request.access_token
            && claims.ath.as_deref() != Some(hash_of(token).as_str())
        {
            return Err(ProofRefused::Token);
        }
        let name = name(&jkt, &target, &claims.jti);
        Ok(Self { jkt, name, made, nonce: claims.nonce, algorithm: key.algorithm() })
    }

    /// What it is signed with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The thumbprint of its key (RFC 9449 §6.1, RFC 7638).
    #[must_use]
    pub fn jkt(&self) -> &str {
        &self.jkt
    }

    /// What it is remembered by: a digest of its key, its target and its `jti`. Those who hold
    /// different keys cannot use up each other's.
    #[must_use]
    pub const fn name(&self) -> &[u8; 32] {
        &self.name
    }

    /// When it was made, as it says.
    #[must_use]
    pub const fn made(&self) -> Timestamp {
        self.made
    }

    /// When it counts no more, whether it was used or not.
    #[must_use]
    pub fn forget_at(&self) -> Timestamp {
        self.made + WINDOW
    }

    /// The nonce that it was made with.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }
}

impl std::fmt::Debug for DpopProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DpopProof(by {})", self.jkt)
    }
}

/// What a proof says of an access token (RFC 9449 §4.2, `ath`).
#[must_use]
pub fn hash_of(access_token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref())
}

/// Makes a proof, as a client does: signs these claims with a key, and shows its public half.
///
/// # Errors
/// [`KeyRefused::NotMade`] if the crypto library fails.
pub fn make(key: &SigningKey, claims: &[u8]) -> Result<String, KeyRefused> {
    // A public key has no member beside those of its kind, and all are strings.
    let jwk = Jwk { kid: None, alg: None, purpose: None, x5c: vec![], ..key.jwk().clone() };
    let jwk = serde_json::to_string(&jwk).unwrap_or_default();
    let (typ, alg) = (DpopProof::TYP, key.algorithm().name());
    let header = format!(r#"{{"typ":"{typ}","alg":"{alg}","jwk":{jwk}}}"#);
    jws::sign_under(key, &header, claims)
}

fn name(jkt: &str, target: &TargetUri, jti: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [jkt, target.as_str(), jti] {
        // Each with its length, so that no two lists of parts are the same message.
        context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut name = [0; 32];
    name.copy_from_slice(context.finish().as_ref());
    name
}

#[cfg(test)]
mod tests;
