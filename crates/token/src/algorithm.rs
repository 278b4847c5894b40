//! The signature algorithms that Tegata signs and verifies with: asymmetric only, so that whoever
//! verifies cannot sign.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature;
use serde::{Deserialize, Serialize};
use tegata_core::port::Scheme;

/// A JWS algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
///
/// Ed25519 has two names: `EdDSA`, by which what Tegata signs is called, because everybody knows it; and
/// `Ed25519` (RFC 9864 §2.2), by which newer clients call what they sign. Both are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256. What tokens for the outside are signed with by default.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// ECDSA on P-256 with SHA-256. What tokens for the inside are signed with.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
}

impl Algorithm {
    /// All of them, in the order in which they are listed to clients.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// The names by which others may call what they sign, as they are listed to them.
    pub const NAMES: [&str; 5] = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"];

    /// The value of `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Whether this is one of its names.
    #[must_use]
    pub fn is_called(self, name: &str) -> bool {
        name == self.name() || (self == Self::EdDsa && name == "Ed25519")
    }

    /// How its signatures are verified.
    pub(crate) fn verification(self) -> &'static dyn signature::VerificationAlgorithm {
        match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::EdDsa => &signature::ED25519,
        }
    }

    /// How a vault signs with it.
    pub(crate) const fn scheme(self) -> Scheme {
        match self {
            Self::Rs256 => Scheme::RsaPkcs1,
            Self::Ps256 => Scheme::RsaPss,
            Self::Es256 => Scheme::P256,
            Self::EdDsa => Scheme::Ed25519,
        }
    }

    /// Whether keys of this algorithm are RSA keys.
    #[must_use]
    pub const fn is_rsa(self) -> bool {
        matches!(self, Self::Rs256 | Self::Ps256)
    }
}

/// The name is not one of [`Algorithm::NAMES`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the algorithm is not one of RS256, PS256, ES256, EdDSA, Ed25519")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.is_called(name)).ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_names_and_no_others() {
        for name in Algorithm::NAMES {
            let read: Algorithm = name.parse().unwrap();
            assert!(read.is_called(name));
            let named = serde_json::from_value::<Algorithm>(serde_json::json!(name)).unwrap();
            assert_eq!(named, read);
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
            assert_eq!(algorithm.is_called("Ed25519"), algorithm == Algorithm::EdDsa);
        }
        for name in ["Ed448", "ed25519", "eddsa", "none", "HS256", ""] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm));
        }
    }
}
