//! JWT-SVIDs: tokens by which workloads show who they are (JWT-SVID §2 to §5).

use std::time::Duration;

use serde::Deserialize;
use tegata_core::Timestamp;

use super::{SpiffeId, bundle::Bundle};
use crate::{
    Audience,
    jws::{Compact, Malformed},
    strict,
};

/// How far in the future one may expire.
const LONGEST: Duration = Duration::from_secs(300);
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// The longest name of one.
const LONGEST_NAME: usize = 1024;

/// A JWT-SVID that has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSvid {
    /// Whose it is.
    pub id: SpiffeId,
    /// Its name, where it has one: then it counts once.
    pub jti: Option<String>,
    /// When its name may be forgotten.
    pub forget_at: Timestamp,
}

/// Why a JWT-SVID is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtRefused {
    /// It is not a token.
    #[error("it is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// It is another kind of token.
    #[error("its `typ` is neither `JWT` nor `JOSE`")]
    Kind,
    /// The claims cannot be read.
    #[error("its claims cannot be used: {0}")]
    Claims(&'static str),
    /// Its subject is no SPIFFE ID.
    #[error("its `sub` is no SPIFFE ID")]
    Subject,
    /// The bundle has no such key for JWT-SVIDs, or the algorithm is not the key's.
    #[error("it names no key that its trust domain signs JWT-SVIDs with, or another algorithm")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("its signature is not valid")]
    Signature,
    /// `aud` is not the issuer, alone.
    #[error("its `aud` must be the issuer identifier and nothing else")]
    Audience,
    /// It has expired, is not valid yet, or lives too long.
    #[error("it has expired, is not valid yet, or expires in more than 300 seconds")]
    Time,
}

/// What is read of it. `iss` says nothing: by whom it is signed, the bundle of its domain says.
#[derive(Deserialize)]
struct Said {
    sub: String,
    aud: Audience,
    exp: u64,
    nbf: Option<u64>,
    iat: Option<u64>,
    jti: Option<String>,
}

impl JwtSvid {
    /// Whose one says that it is. Nothing is believed yet: this is for finding the bundle.
    ///
    /// # Errors
    /// [`JwtRefused`].
    pub fn claimed(svid: &str) -> Result<SpiffeId, JwtRefused> {
        Said::of(&Compact::parse(svid)?)?.id()
    }

    /// Verifies one of a workload of the domain that this bundle is of.
    pub(super) fn verify(
        svid: &str,
        bundle: &Bundle,
        issuer: &str,
        now: Timestamp,
    ) -> Result<Self, JwtRefused> {
        let compact = Compact::parse(svid)?;
        // JWT-SVID §2.3.
        if compact.header.typ.as_deref().is_some_and(|typ| !["JWT", "JOSE"].contains(&typ)) {
            return Err(JwtRefused::Kind);
        }
        let key = bundle.keys.of_client(compact.header.kid.as_deref(), &compact.header.alg);
        let key = key.ok_or(JwtRefused::UnknownKey)?;
        if !key.verifies(compact.signed.as_bytes(), &compact.signature) {
            return Err(JwtRefused::Signature);
        }
        let said = Said::of(&compact)?;
        let id = said.id()?;
        if said.aud.0.as_slice() != [issuer] {
            return Err(JwtRefused::Audience);
        }
        if said.jti.as_ref().is_some_and(|jti| jti.is_empty() || jti.len() > LONGEST_NAME) {
            return Err(JwtRefused::Claims("`jti` is empty or too long"));
        }
        let expires = Timestamp::from_secs(said.exp);
        let begins = Timestamp::from_secs(said.nbf.max(said.iat).unwrap_or_default());
        if now >= expires + LEEWAY || expires > now + LONGEST + LEEWAY || begins > now + LEEWAY {
            return Err(JwtRefused::Time);
        }
        Ok(Self { id, jti: said.jti, forget_at: expires + LEEWAY })
    }
}

impl Said {
    fn of(compact: &Compact<'_>) -> Result<Self, JwtRefused> {
        strict::check(&compact.claims).map_err(JwtRefused::Claims)?;
        let read = serde_json::from_slice(&compact.claims);
        read.map_err(|_| {
            JwtRefused::Claims("`sub`, `aud` and `exp` must be there, as RFC 7519 has them")
        })
    }

    fn id(&self) -> Result<SpiffeId, JwtRefused> {
        SpiffeId::new(&self.sub).map_err(|_| JwtRefused::Subject)
    }
}
