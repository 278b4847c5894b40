//! Proof Key for Code Exchange, with `S256` alone (RFC 7636; `plain` protects nothing).

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::secret;

use crate::{
    error::{Code, OAuthError},
    params::Params,
};

/// A code challenge: the digest of a verifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge(String);

impl Challenge {
    /// Reads `code_challenge` and `code_challenge_method`.
    ///
    /// # Errors
    /// `invalid_request` (RFC 7636 §4.4.1).
    pub fn from_params(params: &Params) -> Result<Option<Self>, OAuthError> {
        let Some(challenge) = params.get("code_challenge") else {
            return match params.get("code_challenge_method") {
                Some(_) => Err(OAuthError::request("code_challenge is missing")),
                None => Ok(None),
            };
        };
        if params.get("code_challenge_method") != Some("S256") {
            return Err(OAuthError::request("code_challenge_method must be S256"));
        }
        let digest = URL_SAFE_NO_PAD.decode(challenge).ok().filter(|bytes| bytes.len() == 32);
        if digest.is_none() {
            return Err(OAuthError::request(
                "code_challenge is not the base64url of a SHA-256 digest",
            ));
        }
        Ok(Some(Self(challenge.to_owned())))
    }

    /// Whether `verifier` is what this was made from.
    #[must_use]
    pub fn is_met_by(&self, verifier: &str) -> bool {
        let shape = (43..=128).contains(&verifier.len())
            && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        let digest = digest::digest(&digest::SHA256, verifier.as_bytes());
        let made = URL_SAFE_NO_PAD.encode(digest.as_ref());
        shape && secret::matches(made.as_bytes(), self.0.as_bytes())
    }
}

/// Checks the verifier of a token request against the challenge of its authorization request. A
/// verifier without a challenge is refused too: somebody removed the challenge (RFC 9700 §4.8.2).
///
/// # Errors
/// `invalid_grant`, or `invalid_request` where the verifier is missing.
pub fn check(challenge: Option<&Challenge>, verifier: Option<&str>) -> Result<(), OAuthError> {
    let wrong = |description| Err(OAuthError::new(Code::InvalidGrant, description));
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (Some(challenge), Some(verifier)) if challenge.is_met_by(verifier) => Ok(()),
        (Some(_), Some(_)) => wrong("code_verifier does not match the challenge"),
        (Some(_), None) => Err(OAuthError::request("code_verifier is missing")),
        (None, Some(_)) => wrong("there was no challenge that code_verifier could match"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn read(challenge: &str, method: &str) -> Result<Option<Challenge>, OAuthError> {
        let pairs = [("code_challenge", challenge), ("code_challenge_method", method)];
        let params = Params::new(pairs.map(|(n, v)| (n.to_owned(), v.to_owned()))).unwrap();
        Challenge::from_params(&params)
    }

    #[test]
    fn accepts_the_pair_of_the_rfc_and_no_other() {
        let challenge = read(CHALLENGE, "S256").unwrap().unwrap();
        assert!(check(Some(&challenge), Some(VERIFIER)).is_ok());
        for wrong in [CHALLENGE, "", "short", &VERIFIER.to_lowercase(), &"a".repeat(129)] {
            assert!(check(Some(&challenge), Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cannot_be_downgraded() {
        let challenge = read(CHALLENGE, "S256").unwrap();
        assert_eq!(check(challenge.as_ref(), None).unwrap_err().code, Code::InvalidRequest);
        assert_eq!(check(None, Some(VERIFIER)).unwrap_err().code, Code::InvalidGrant);
        for (challenge, method) in [
            (VERIFIER, "plain"),
            (CHALLENGE, ""),
            (CHALLENGE, "s256"),
            ("", "S256"),
            ("abc", "S256"),
        ] {
            assert!(read(challenge, method).is_err(), "{challenge} {method}");
        }
    }
}
