//! Keys that clients and callers prove with DPoP (RFC 9449): what tokens are bound to, and how a
//! bound token is shown.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::port::{Put, Space};
use tegata_token::{
    Algorithm, Claims, ClientCertificate, Confirmation, DpopProof, ProofRefused, Proving,
    TargetUri, dpop::NonceAge, dpop::is_thumbprint,
};

use crate::{
    client::Client,
    error::{Code, OAuthError, Refused},
    params::Params,
    provider::Provider,
    request::AuthorizationRequest,
};

/// Where used proofs are remembered.
pub static PROOFS: Space = Space { name: "dpop_proof", indexed: false };

/// For how much longer than its life a proof is remembered.
const CLOCKS_APART: std::time::Duration = std::time::Duration::from_secs(120);

/// Whether proofs must carry a nonce of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DpopNonce {
    /// Answers bring one, and one that is used must count.
    #[default]
    Offered,
    /// A proof without one that counts is refused, with one to use.
    Required,
}

/// A request that shows a proof.
#[derive(Debug, Clone, Copy)]
pub struct Showing<'r> {
    /// The value of the header `DPoP`, which stands once.
    pub proof: &'r str,
    /// The method of the request.
    pub method: &'r str,
    /// The path of the endpoint, from the issuer on.
    pub path: &'r str,
}

/// A key that whoever made a request has just proven to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenKey {
    jkt: String,
    renew: bool,
}

impl ProvenKey {
    /// Its thumbprint.
    #[must_use]
    pub fn jkt(&self) -> &str {
        &self.jkt
    }

    /// Whether the answer should bring a nonce: the proof had none, or one that is about to end.
    #[must_use]
    pub const fn wants_nonce(&self) -> bool {
        self.renew
    }
}

/// How an access token is shown to an endpoint of ours.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'r> {
    /// By itself (RFC 6750).
    Bearer(&'r str),
    /// By itself, on a connection that shows a client certificate (RFC 8705 §3).
    Certified(&'r str, &'r ClientCertificate),
    /// With the proof of the key that it is bound to (RFC 9449 §7.1).
    Bound(&'r str, Showing<'r>),
}

impl Credential<'_> {
    /// The access token.
    #[must_use]
    pub const fn token(&self) -> &str {
        match self {
            Self::Bearer(token) | Self::Certified(token, _) | Self::Bound(token, _) => token,
        }
    }
}

/// Why whoever shows a token is not its holder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotHolder {
    /// The token is bound to a key, and was shown by itself.
    #[error("the access token is bound to a key; show it with the scheme `DPoP` and a proof")]
    Unproven,
    /// The token is bound to no key or to another, and was shown with a proof.
    #[error("the access token is not bound to the key of the DPoP proof")]
    OtherKey,
    /// The token is bound to a certificate, and was shown without it.
    #[error("the access token is bound to a client certificate that the connection does not show")]
    OtherCertificate,
    /// The proof does not count, or the store did not answer.
    #[error(transparent)]
    Proof(#[from] Refused),
}

impl Provider {
    /// The key that a request proves to hold. The proof is used up. `client` is who makes the
    /// request, where that is known; `token` the access token that came with it.
    ///
    /// # Errors
    /// `invalid_dpop_proof`; `use_dpop_nonce`, which is to be told with [`Self::dpop_nonce`].
    pub async fn dpop_proof(
        &self,
        showing: &Showing<'_>,
        client: Option<&Client>,
        token: Option<&str>,
    ) -> Result<ProvenKey, Refused> {
        let now = self.node().now();
        let targets = self.bases().map(|base| TargetUri::parse(&format!("{base}{}", showing.path)));
        // Configuration that is not a URL is refused at the start.
        let targets: Option<Vec<_>> = targets.collect();
        let targets = &targets.ok_or(wrong("the issuer has no address"))?;
        let request = Proving { method: showing.method, targets, access_token: token };
        let proof = DpopProof::verify(showing.proof, &request, now).map_err(|refused| {
            tracing::info!(path = showing.path, %refused, "a DPoP proof was refused");
            invalid(refused)
        })?;
        // FAPI 2.0 Security Profile §5.4.1.
        if client.is_some_and(Client::is_fapi) && proof.algorithm() == Algorithm::Rs256 {
            return Err(wrong("the DPoP proof is signed with RS256").into());
        }
        let rule = client.and_then(Client::dpop_nonce).unwrap_or(self.config().dpop_nonce);
        let nonces = &self.parts().dpop_nonces;
        let renew = match (proof.nonce().map(|nonce| nonces.age(nonce, now)), rule) {
            (Some(Some(age)), _) => age == NonceAge::Ending,
            (None, DpopNonce::Offered) => true,
            (Some(None), _) | (None, DpopNonce::Required) => {
                let description = "use the nonce in the header DPoP-Nonce in a new proof";
                return Err(OAuthError::new(Code::UseDpopNonce, description).into());
            }
        };
        // RFC 9449 §11.1: a proof counts once, on all nodes together.
        let put = Put {
            key: URL_SAFE_NO_PAD.encode(proof.name()),
            value: Vec::new(),
            // Stores may count by other clocks.
            lifetime: proof.forget_at().since(now) + CLOCKS_APART,
            index: None,
        };
        if self.ephemeral().add(self.realm(), &PROOFS, put).await? {
            Ok(ProvenKey { jkt: proof.jkt().to_owned(), renew })
        } else {
            Err(wrong("the DPoP proof was used before; make one for each request").into())
        }
    }

    /// The nonce to give out in the header `DPoP-Nonce`.
    #[must_use]
    pub fn dpop_nonce(&self) -> String {
        self.parts().dpop_nonces.current(self.node().now())
    }

    /// Whether whoever shows a token that says this is its holder (RFC 9449 §7.1, §7.2, RFC 8705 §3).
    /// `None`: the token is anybody's, or that of who shows its certificate.
    ///
    /// # Errors
    /// [`NotHolder`].
    pub(crate) async fn holder(
        &self,
        claims: &Claims,
        credential: &Credential<'_>,
    ) -> Result<Option<ProvenKey>, NotHolder> {
        match (&claims.cnf, credential) {
            (None, Credential::Bearer(_) | Credential::Certified(..)) => Ok(None),
            (Some(bound), Credential::Certified(_, shown))
                if shown.confirms(bound, self.node().now()) =>
            {
                Ok(None)
            }
            (Some(bound), Credential::Bearer(_) | Credential::Certified(..)) => {
                Err(match bound.certificate_alone() {
                    Some(_) => NotHolder::OtherCertificate,
                    None => NotHolder::Unproven,
                })
            }
            (bound, Credential::Bound(token, showing)) => {
                let bound = bound.as_ref().and_then(Confirmation::key_alone);
                // Looked at before the proof is used up.
                let bound = bound.ok_or(NotHolder::OtherKey)?;
                let key = self.dpop_proof(showing, None, Some(token)).await?;
                if key.jkt == bound { Ok(Some(key)) } else { Err(NotHolder::OtherKey) }
            }
        }
    }
}

impl AuthorizationRequest {
    /// Binds the code to a key that was proven where the request was pushed (RFC 9449 §10.1).
    ///
    /// # Errors
    /// `invalid_dpop_proof` where the request names another key.
    pub fn bind_to(&mut self, key: &ProvenKey) -> Result<(), OAuthError> {
        if self.dpop_jkt.as_deref().is_some_and(|named| named != key.jkt) {
            return Err(wrong("dpop_jkt is not the thumbprint of the key of the DPoP proof"));
        }
        self.dpop_jkt = Some(key.jkt.clone());
        Ok(())
    }
}

/// The key that a code is to be bound to (RFC 9449 §10).
pub(crate) fn asked_key(params: &Params) -> Result<Option<String>, OAuthError> {
    match params.get("dpop_jkt") {
        Some(jkt) if !is_thumbprint(jkt) => {
            Err(OAuthError::request("dpop_jkt is not the SHA-256 thumbprint of a key"))
        }
        named => Ok(named.map(str::to_owned)),
    }
}

/// What a client is told of a token that says this: how it is to be shown.
pub(crate) fn token_type(bound: Option<&Confirmation>) -> &'static str {
    if bound.is_some_and(|bound| bound.jkt.is_some()) { "DPoP" } else { "Bearer" }
}

/// Which rule a proof broke, for the developer of the client: whoever makes proofs knows their key,
/// so nothing is given away.
const fn invalid(refused: ProofRefused) -> OAuthError {
    use ProofRefused as Broke;
    wrong(match refused {
        Broke::Malformed(_) => "the DPoP proof is malformed, or its header has what it must not",
        Broke::Kind => "typ of the DPoP proof is not dpop+jwt",
        Broke::Algorithm => "alg of the DPoP proof is none of RS256, PS256, ES256, EdDSA, Ed25519",
        Broke::Key => "jwk of the DPoP proof is not one public key that fits its alg",
        Broke::PrivateKey => {
            "jwk of the DPoP proof holds a private or symmetric key, which must be replaced"
        }
        Broke::Signature => "the signature of the DPoP proof is not that of its key",
        Broke::Claims(_) => "the claims of the DPoP proof are incomplete or malformed",
        Broke::Method => "htm of the DPoP proof is not the method of the request",
        Broke::Target => "htu of the DPoP proof is not the address of this endpoint",
        Broke::Time => "iat of the DPoP proof is more than 60 seconds from now; see to the clock",
        Broke::Token => "ath of the DPoP proof is not the hash of the access token",
    })
}

const fn wrong(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidDpopProof, description)
}
