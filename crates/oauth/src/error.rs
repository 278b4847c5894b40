//! OAuth errors, as the RFCs name them.

use std::fmt;

use tegata_core::StoreError;

/// The codes of RFC 6749 §4.1.2.1 and §5.2, RFC 8707 §2, RFC 9449 §5 and §8, RFC 8628 §3.5,
/// OpenID Connect Core §3.1.2.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// A parameter is missing, repeated, malformed or contradicts another.
    InvalidRequest,
    /// The client is unknown or did not prove itself.
    InvalidClient,
    /// The code, refresh token or assertion does not count.
    InvalidGrant,
    /// The client may not do this.
    UnauthorizedClient,
    /// The grant type is none that is offered.
    UnsupportedGrantType,
    /// The response type is none that is offered.
    UnsupportedResponseType,
    /// The scope is malformed, unknown, or wider than it may be.
    InvalidScope,
    /// The resource or audience is unknown, or not for this client.
    InvalidTarget,
    /// The authorization details are malformed, of an unknown type, or wider than they may be
    /// (RFC 9396 §5).
    InvalidAuthorizationDetails,
    /// The person said no.
    AccessDenied,
    /// `prompt=none`, and nobody is signed in.
    LoginRequired,
    /// `prompt=none`, and consent is missing.
    ConsentRequired,
    /// `prompt=none`, and somebody would have to do something.
    InteractionRequired,
    /// Nobody can be authenticated as strongly as was asked for (RFC 9470 §5).
    UnmetAuthenticationRequirements,
    /// The request object is none of the client's, or does not count (RFC 9101 §6.2).
    InvalidRequestObject,
    /// The request object is to be fetched from somewhere, which is not offered.
    RequestUriNotSupported,
    /// The DPoP proof does not count, or is missing where there must be one (RFC 9449 §5).
    InvalidDpopProof,
    /// The DPoP proof needs a nonce of ours (RFC 9449 §8).
    UseDpopNonce,
    /// The person has not answered the device yet (RFC 8628 §3.5).
    AuthorizationPending,
    /// The device asks too often (RFC 8628 §3.5).
    SlowDown,
    /// The device code has expired (RFC 8628 §3.5).
    ExpiredToken,
    /// Something is away that is needed.
    TemporarilyUnavailable,
}

impl Code {
    /// The value of `error`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::InteractionRequired => "interaction_required",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
            Self::InvalidRequestObject => "invalid_request_object",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// What a client is told. `description` is of the characters that RFC 6749 §5.2 allows and holds
/// nothing that the client did not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthError {
    /// Which error.
    pub code: Code,
    /// What exactly is wrong, for the developer of the client.
    pub description: &'static str,
}

impl OAuthError {
    /// An error with its description.
    #[must_use]
    pub const fn new(code: Code, description: &'static str) -> Self {
        Self { code, description }
    }

    /// [`Code::InvalidRequest`].
    #[must_use]
    pub const fn request(description: &'static str) -> Self {
        Self::new(Code::InvalidRequest, description)
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.description)
    }
}

impl std::error::Error for OAuthError {}

/// Why something was not done: the client's fault, or the store's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Told to the client as it is.
    #[error(transparent)]
    OAuth(#[from] OAuthError),
    /// Told to the client as "try again later".
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<tegata_core::CommitRefused> for Refused {
    /// A conflict that nobody expected: the client may try again.
    fn from(refused: tegata_core::CommitRefused) -> Self {
        match refused {
            tegata_core::CommitRefused::Store(error) => Self::Store(error),
            tegata_core::CommitRefused::Conflict { kind, .. } => {
                Self::Store(StoreError::Unavailable {
                    backend: "the record store",
                    detail: format!("a `{kind}` changed while it was used"),
                })
            }
        }
    }
}
