//! The header `DPoP` of a request, and `DPoP-Nonce` of an answer (RFC 9449).

use http::{HeaderMap, HeaderName, HeaderValue};
use tegata_oauth::{Code, NotHolder, OAuthError, ProvenKey, Refused};
use tegata_token::Algorithm;

use crate::app::App;

pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The proof that a request shows.
///
/// # Errors
/// `invalid_dpop_proof`: there are several, of which another reader might take the other, or it is
/// no text.
pub(crate) fn shown(headers: &HeaderMap) -> Result<Option<String>, OAuthError> {
    let wrong = |description| OAuthError::new(Code::InvalidDpopProof, description);
    let mut values = headers.get_all(DPOP).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(wrong("there is more than one DPoP header"));
    }
    let text = value.to_str().map_err(|_| wrong("the DPoP header is not ASCII"))?;
    Ok(Some(text.to_owned()))
}

/// The header with the nonce to use from now on, where the proof calls for one.
pub(crate) fn renewed(
    app: &App,
    key: Option<&ProvenKey>,
) -> Option<[(HeaderName, HeaderValue); 1]> {
    key.filter(|key| key.wants_nonce()).and_then(|_| nonce(app))
}

/// The header with the nonce that a refusal asks for.
pub(crate) fn asked_for(app: &App, refused: &Refused) -> Option<[(HeaderName, HeaderValue); 1]> {
    match refused {
        Refused::OAuth(error) if error.code == Code::UseDpopNonce => nonce(app),
        _ => None,
    }
}

fn nonce(app: &App) -> Option<[(HeaderName, HeaderValue); 1]> {
    let value = HeaderValue::from_str(&app.provider().dpop_nonce()).ok()?;
    Some([(DPOP_NONCE, value)])
}

/// What whoever is not a token's holder is told.
pub(crate) const fn told(why: &NotHolder) -> &'static str {
    match why {
        NotHolder::Unproven => {
            "the access token is bound to a key; send it with the scheme DPoP and a proof"
        }
        NotHolder::OtherKey => "the access token is not bound to the key of the DPoP proof",
        NotHolder::OtherCertificate => {
            "the access token is bound to a client certificate that the connection does not show"
        }
        NotHolder::Proof(_) => "the DPoP proof does not count",
    }
}

/// The algorithms that proofs may be made with, as challenges name them (RFC 9449 §7.1).
pub(crate) fn algorithms() -> String {
    Algorithm::NAMES.join(" ")
}
