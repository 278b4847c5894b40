//! Clients: who they are, how they prove it, what they may ask for.

use std::{collections::BTreeSet, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{ClientId, Entropy, Kind, Lifetime, Secret, Stored, Timestamp, secret};
use tegata_token::{Algorithm, Family, Jwk, MayAct, Scope, SpiffePattern, SubjectName};

use crate::{described::Described, dpop::DpopNonce, redirect::RedirectUri};

pub mod certificate;
mod clients;
mod profile;
mod registration;
mod sector;
mod spiffe;

pub(crate) use clients::until_settled;
pub use clients::{ClientChanged, Clients, NotRegistered, is_reserved};
pub use profile::Profile;
pub use registration::{ClientMetadata, InvalidClient, KeySetForm};
pub use sector::{InvalidSector, Sector, SubjectType};

/// Where clients are stored.
pub static CLIENTS: Kind =
    Kind { name: "client", indexes: &[], lifetime: Lifetime::Kept, secret: true };

/// How far the clocks of two nodes may be apart without anybody noticing.
const CLOCKS_APART: Duration = Duration::from_secs(2);

/// What the access tokens of a client look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenFormat {
    /// A JWT, which whoever it is for can read (RFC 9068).
    #[default]
    Jwt,
    /// A reference, which says nothing: whoever accepts one asks the issuer (RFC 7662).
    Reference,
}

/// A registered client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its name, as in `client_id`.
    pub id: ClientId,
    /// What people are shown.
    pub name: String,
    /// How it proves itself.
    pub auth: AuthMethod,
    /// Keyed digests of its secrets: the newest first, and at most one before it.
    pub secrets: Vec<SecretDigest>,
    /// The secret that was declared last. It is given to the client only when it changes, so that
    /// declaring again does not undo a rotation.
    #[serde(default)]
    pub declared: Option<SecretDigest>,
    /// What its certificate must name, where an authority signs it (RFC 8705 §2.1.2).
    #[serde(default)]
    pub certificate_name: Option<SubjectName>,
    /// The workloads that are this client, where an SVID shows it.
    #[serde(default)]
    pub spiffe_id: Option<SpiffePattern>,
    /// Its public keys, for `private_key_jwt` and signed requests, and those of its certificates.
    pub keys: Vec<Jwk>,
    /// Where it publishes its public keys.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// The digest of what it shows to manage its own registration (RFC 7592 §3).
    #[serde(default)]
    pub registration: Option<SecretDigest>,
    /// What it may ask for tokens with.
    pub grant_types: BTreeSet<GrantType>,
    /// Where its answers may be sent.
    pub redirect_uris: Vec<RedirectUri>,
    /// Where a browser may be sent after signing out.
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    /// The sector in which its names of people count, where it does not know them by their ids.
    #[serde(default)]
    pub sector: Option<Sector>,
    /// The document that lists the redirect URIs of its sector (OpenID Connect Dynamic Client
    /// Registration 1.0 §5), where it registered itself with one.
    #[serde(default)]
    pub sector_identifier_uri: Option<String>,
    /// The scope it may ask for.
    pub scope: Scope,
    /// Whom its tokens may be for, beside the gateway.
    pub audiences: Vec<String>,
    /// Whether it may ask about tokens of others, and take them back.
    pub may_introspect: bool,
    /// Whether nobody is taken for it.
    #[serde(default)]
    pub disabled: bool,
    /// Whether its authorization requests need a code challenge.
    pub require_pkce: bool,
    /// Whether people are asked before it gets anything.
    pub asks_consent: bool,
    /// What its access tokens are signed with.
    pub access_token_alg: Algorithm,
    /// What its ID tokens are signed with.
    pub id_token_alg: Algorithm,
    /// Where it is told that a session has ended (OpenID Connect Back-Channel Logout 1.0 §2.2).
    #[serde(default)]
    pub backchannel_logout_uri: Option<String>,
    /// What signed answers to its authorization requests are signed with (JARM §3).
    #[serde(default = "rs256")]
    pub response_alg: Algorithm,
    /// What introspection answers that it wants signed are signed with, where that was registered (RFC
    /// 9701 §6).
    #[serde(default)]
    pub introspection_alg: Option<Algorithm>,
    /// What its access tokens look like.
    #[serde(default)]
    pub token_format: TokenFormat,
    /// What userinfo is signed with, where it is to be (OpenID Connect Dynamic Client Registration 1.0
    /// §2).
    #[serde(default)]
    pub userinfo_alg: Option<Algorithm>,
    /// Whether it must push its authorization requests (RFC 9126 §6).
    #[serde(default)]
    pub require_pushed: bool,
    /// Whether it must sign its authorization requests (RFC 9101 §10.5).
    #[serde(default)]
    pub require_signed_request: bool,
    /// What it must sign them with, where that was registered.
    #[serde(default)]
    pub request_object_alg: Option<Algorithm>,
    /// What its assertions must be signed with, where that was registered.
    #[serde(default)]
    pub assertion_alg: Option<Algorithm>,
    /// For how many seconds a sign-in counts, where its request does not say it.
    #[serde(default)]
    pub default_max_age: Option<u64>,
    /// How strongly people must have been authenticated, where its request does not say it: one of these.
    #[serde(default)]
    pub default_acr_values: Vec<String>,
    /// The security profile that it keeps, beyond what all clients do.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// The types of authorization details that it may ask for (RFC 9396 §10).
    #[serde(default)]
    pub details_types: BTreeSet<String>,
    /// Who alone may act on behalf of whom its tokens speak for (RFC 8693 §4.4); whoever else may, where
    /// nothing is said.
    #[serde(default)]
    pub may_act: Option<ClientId>,
    /// Whether its token requests need a DPoP proof (RFC 9449 §5.2).
    #[serde(default)]
    pub dpop_bound: bool,
    /// Whether its DPoP proofs must carry a nonce; as the installation has it, where nothing is said.
    #[serde(default)]
    pub dpop_nonce: Option<DpopNonce>,
    /// Whether its tokens must be bound to the certificate that it shows (RFC 8705 §3.4).
    #[serde(default)]
    pub certificate_bound: bool,
    /// Its logo, shown on the sign-in page.
    pub logo_uri: Option<String>,
    /// Its privacy policy, linked on the sign-in page.
    pub policy_uri: Option<String>,
    /// Its terms of service, linked on the sign-in page.
    pub tos_uri: Option<String>,
    /// When it was registered.
    pub created: Timestamp,
    /// That nobody registered it, because it describes itself; and what operators say of it.
    #[serde(default)]
    pub described: Option<Described>,
}

impl Stored for Client {
    const KIND: &'static Kind = &CLIENTS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

impl Client {
    /// Whether it has nothing to prove itself with (RFC 6749 §2.1).
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.auth == AuthMethod::None
    }

    /// Whether an operator has declared it: it neither registered itself nor describes itself.
    #[must_use]
    pub fn is_declared(&self) -> bool {
        self.registration.is_none() && self.described.is_none()
    }

    /// Whether its DPoP proofs must carry a nonce, where it is said of it alone. Those of the FAPI 2.0
    /// Security Profile must: then a proof cannot have been made beforehand.
    #[must_use]
    pub fn dpop_nonce(&self) -> Option<DpopNonce> {
        self.dpop_nonce.or_else(|| self.is_fapi().then_some(DpopNonce::Required))
    }

    /// What introspection answers that it wants signed are signed with.
    #[must_use]
    pub fn introspection_alg(&self) -> Algorithm {
        self.introspection_alg.unwrap_or(self.id_token_alg)
    }

    /// The claim `may_act` of its tokens.
    pub(crate) fn may_act(&self) -> Option<MayAct> {
        self.may_act.as_ref().map(|only| MayAct { sub: only.as_str().to_owned() })
    }

    /// Whether something that was allowed at a moment was allowed to this client, and not to another that
    /// had its name before. Who describes itself is the one that people have agreed to as long as something
    /// is kept of it.
    pub(crate) fn was_there(&self, at: Timestamp) -> bool {
        !self.is_stranger() && at + CLOCKS_APART >= self.created
    }

    /// Whether it describes itself, and nothing is kept of it.
    pub(crate) fn is_stranger(&self) -> bool {
        self.described.as_ref().is_some_and(|described| described.stranger)
    }

    /// Whether it calls people what it called them when a family of its began, as far as that is known.
    pub(crate) fn calls_people_as(&self, family: &Family) -> bool {
        self.is_in(family.grant.sector.as_deref())
    }

    /// Whether what was granted, with this written of its sector, was granted in the one where it is. Where
    /// nothing is written, a version that knew no such word wrote it.
    pub(crate) fn is_in(&self, written: Option<&str>) -> bool {
        written.is_none_or(|written| written == self.written_sector())
    }

    /// What is written of its sector beside what it is granted: nothing at all would be not known.
    pub(crate) fn written_sector(&self) -> &str {
        self.sector.as_ref().map_or("", Sector::as_str)
    }

    /// Whether it knows people by names of its sector.
    #[must_use]
    pub const fn is_pairwise(&self) -> bool {
        self.sector.is_some()
    }

    /// What it calls people by.
    #[must_use]
    pub const fn subject_type(&self) -> SubjectType {
        if self.is_pairwise() { SubjectType::Pairwise } else { SubjectType::Public }
    }

    /// Whether it may use a grant type.
    #[must_use]
    pub fn may_use(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }
}

/// What records say nothing of that were written before there was a choice.
const fn rs256() -> Algorithm {
    Algorithm::Rs256
}

/// How a client proves itself at the token endpoint (RFC 7591 §2, OpenID Connect Core §9, RFC 8705
/// §2, OAuth SPIFFE Client Authentication §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// Not at all: a public client.
    None,
    /// Its secret in the `Authorization` header.
    ClientSecretBasic,
    /// Its secret in the form.
    ClientSecretPost,
    /// An assertion signed with its key.
    PrivateKeyJwt,
    /// A certificate that an authority has signed.
    TlsClientAuth,
    /// A certificate of its own making.
    SelfSignedTlsClientAuth,
    /// A JWT-SVID.
    SpiffeJwt,
    /// An X.509-SVID, which is a certificate.
    SpiffeX509,
}

impl AuthMethod {
    /// All of them, in the order in which the metadata lists them.
    pub const ALL: [Self; 8] = [
        Self::ClientSecretBasic,
        Self::ClientSecretPost,
        Self::PrivateKeyJwt,
        Self::TlsClientAuth,
        Self::SelfSignedTlsClientAuth,
        Self::SpiffeJwt,
        Self::SpiffeX509,
        Self::None,
    ];

    /// The name in metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            Self::SpiffeJwt => "spiffe_jwt",
            Self::SpiffeX509 => "spiffe_x509",
        }
    }
}

/// What tokens are asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GrantType {
    /// A code from the authorization endpoint (RFC 6749 §4.1).
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// A refresh token (RFC 6749 §6).
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// The client's own authority (RFC 6749 §4.4).
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// A code that a person allows on another device (RFC 8628).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
    /// Another token (RFC 8693).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

impl GrantType {
    /// All of them, in the order in which the metadata lists them.
    pub const ALL: [Self; 5] = [
        Self::AuthorizationCode,
        Self::RefreshToken,
        Self::ClientCredentials,
        Self::DeviceCode,
        Self::TokenExchange,
    ];

    /// The value of `grant_type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }
}

/// A client secret as it is stored: HMAC-SHA-256 under a root secret. Client secrets are random, so
/// a slow hash would protect nothing and cost every request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretDigest(Vec<u8>);

impl SecretDigest {
    /// The digest of a client's secret.
    #[must_use]
    pub fn of(key: &hmac::Key, client: &ClientId, text: &str) -> Self {
        let mut context = hmac::Context::with_key(key);
        context.update(&u32::try_from(client.as_str().len()).unwrap_or(u32::MAX).to_be_bytes());
        context.update(client.as_str().as_bytes());
        context.update(text.as_bytes());
        Self(context.sign().as_ref().to_vec())
    }

    /// Whether this is the digest of `other`'s secret, in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        secret::matches(&self.0, &other.0)
    }
}

impl std::fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

/// A new client secret: 256 random bits with a prefix that secret scanners can know.
#[must_use]
pub fn generate_secret(entropy: &dyn Entropy) -> Secret<String> {
    let mut bytes = [0_u8; 32];
    entropy.fill(&mut bytes);
    Secret::new(format!("tgcs_{}", URL_SAFE_NO_PAD.encode(bytes)))
}
