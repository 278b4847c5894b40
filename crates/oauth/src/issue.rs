//! Making tokens: what they say, and signing them.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Map, Value};
use tegata_core::{KeyId, SessionId, StoreError};
use tegata_identity::User;
use tegata_token::{
    Algorithm, Audience, Claims, Details, KeyRefused, SigningKey, StatusIndex,
    claims::{Status, StatusEntry},
    families::Issue,
    jws,
    usage::Origin,
};

use crate::{client::Client, error::Refused, provider::Provider, request::claims};

/// The answer of the token endpoint (RFC 6749 §5.1).
#[derive(Clone, Serialize)]
pub struct TokenAnswer {
    /// The access token.
    pub access_token: String,
    /// `Bearer`, `DPoP` where it is bound to a key (RFC 9449 §5), or `N_A` where the token is none to be used as one (RFC 8693 §2.2.1).
    pub token_type: &'static str,
    /// For how many seconds it lives.
    pub expires_in: u64,
    /// The refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The ID token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// What the access token may be used for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// What the access token may be used for in detail (RFC 9396 §7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<Details>,
    /// What kind of token an exchange gave (RFC 8693 §2.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<&'static str>,
    /// All tokens of an exchange for several audiences, by audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Map<String, Value>>,
}

impl TokenAnswer {
    /// The value of `token_type` of a token that is none to be used as one.
    pub(crate) const NOT_A_CREDENTIAL: &str = "N_A";

    /// Whether it gives access, rather than saying what a transaction is for.
    #[must_use]
    pub fn gives_access(&self) -> bool {
        self.token_type != Self::NOT_A_CREDENTIAL
    }
}

impl std::fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenAnswer")
            .field("expires_in", &self.expires_in)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// What signs where keys are not in memory.
const VAULT: &str = "the token with the signing keys";

/// Why something was not signed. A vault that is away comes back; everything else is to be mended.
#[must_use]
pub fn unsigned(why: &KeyRefused) -> StoreError {
    let detail = why.to_string();
    match why {
        KeyRefused::Vault(_) | KeyRefused::NotOurs(_) => {
            StoreError::Unavailable { backend: VAULT, detail }
        }
        _ => StoreError::Misused { detail },
    }
}

/// Whether a key signs, as far as is known without asking.
///
/// # Errors
/// [`StoreError::Unavailable`]: why its vault did not a moment ago.
pub fn check_untroubled(key: &SigningKey) -> Result<(), StoreError> {
    let unavailable = |detail| StoreError::Unavailable { backend: VAULT, detail };
    key.trouble().map(unavailable).map_or(Ok(()), Err)
}

/// What an ID token says (OpenID Connect Core §2).
#[derive(Serialize)]
struct IdClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: u64,
    iat: u64,
    auth_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    amr: &'a [String],
    at_hash: String,
    sid: &'a str,
    /// Claims about the person, as the request asked for them alone.
    #[serde(flatten)]
    asked: Map<String, Value>,
}

/// What a request asked for in its ID token.
#[derive(Debug, Clone, Copy)]
pub struct ForIdToken<'a> {
    /// Given back as it is.
    pub nonce: Option<&'a str>,
    /// The session that the person signed in with. A family of `offline_access` outlives it, and its
    /// client must know all the same which session it is told of that has ended.
    pub session: &'a SessionId,
    /// Claims about the person.
    pub claims: &'a [String],
}

impl Provider {
    /// The access token of a family's current generation, made anew from what the family recorded:
    /// the same `jti`, times and place every time.
    ///
    /// # Errors
    /// [`StoreError::Misused`] where there is no key for the client's algorithm.
    pub async fn access_token(
        &self,
        issue: &Issue,
        user: &User,
        client: &Client,
    ) -> Result<String, Refused> {
        let family = &issue.family;
        let session = family.session.as_ref().or(family.began_in.as_ref());
        let claims = Claims {
            iss: self.issuer().to_owned(),
            sub: family.user.as_str().to_owned(),
            aud: Audience(family.audience()),
            exp: family.access.exp,
            iat: family.access.iat,
            nbf: Some(family.access.iat),
            jti: family.access.jti.as_str().to_owned(),
            client_id: Some(family.client.as_str().to_owned()),
            scope: family.access.scope.clone(),
            roles: user.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            sid: session.map(|sid| sid.as_str().to_owned()),
            // Whatever of its scope a refresh asked for.
            outlives_session: family.session.is_none() && session.is_some(),
            fid: Some(family.id.as_str().to_owned()),
            acr: family.grant.acr.clone(),
            amr: family.grant.amr.clone(),
            auth_time: Some(family.grant.auth_time),
            authorization_details: family.details(),
            status: Some(self.status(family.access.status)),
            cnf: family.binding.confirmation(),
            may_act: client.may_act(),
            ..Claims::default()
        };
        let claims = self.worded_for(client, claims)?;
        let token = self.sign(client.access_token_alg, "at+jwt", &claims.to_json()).await?;
        Ok(self.in_form_of(client, token, family.access.exp).await?)
    }

    /// The ID token that goes with an access token (OpenID Connect Core §3.1.3.6).
    ///
    /// # Errors
    /// As [`Self::access_token`].
    pub async fn id_token(
        &self,
        issue: &Issue,
        person: &User,
        client: &Client,
        access_token: &str,
        asked: ForIdToken<'_>,
    ) -> Result<String, Refused> {
        let family = &issue.family;
        // at_hash: the left half of the digest that the algorithm names; all of ours are of 256
        // bits, but for EdDSA, whose digest is SHA-512.
        let (hash, half) = match client.id_token_alg {
            Algorithm::EdDsa => (&digest::SHA512, 32),
            Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => (&digest::SHA256, 16),
        };
        let full = digest::digest(hash, access_token.as_bytes());
        let at_hash = URL_SAFE_NO_PAD.encode(full.as_ref().get(..half).unwrap_or_default());
        let sub = self.subject_for(client, family.user.as_str());
        let sid = self.session_for(client, asked.session.as_str());
        let claims = IdClaims {
            iss: self.issuer(),
            sub: &sub,
            aud: family.client.as_str(),
            exp: family.access.exp,
            iat: family.access.iat,
            auth_time: family.grant.auth_time,
            nonce: asked.nonce,
            acr: family.grant.acr.as_deref(),
            amr: &family.grant.amr,
            at_hash,
            sid: &sid,
            asked: claims::about(person, asked.claims),
        };
        let json = serde_json::to_vec(&claims).unwrap_or_default();
        self.sign(client.id_token_alg, "JWT", &json).await
    }

    /// The claim `status` for a place.
    pub(crate) fn status(&self, place: StatusIndex) -> Status {
        let uri = format!("{}/status-lists/{}", self.issuer(), place.list);
        Status { status_list: StatusEntry { idx: place.index, uri } }
    }

    /// Whether there is a key to sign with. To be asked before something is used up for the answer.
    ///
    /// # Errors
    /// [`StoreError::Misused`] names the algorithm; [`StoreError::Unavailable`] says why nothing is
    /// signed at the moment.
    pub fn check_signer(&self, algorithm: Algorithm) -> Result<(), StoreError> {
        if let Some(detail) = self.keys().withheld() {
            return Err(StoreError::Unavailable { backend: "this node", detail });
        }
        match self.keys().now().signer(algorithm) {
            Some(key) => check_untroubled(&key),
            None => {
                let detail = format!("there is no {algorithm} key to sign with");
                Err(StoreError::Misused { detail })
            }
        }
    }

    /// The key that signs with an algorithm now, if there is one.
    #[must_use]
    pub fn signer(&self, algorithm: Algorithm) -> Option<KeyId> {
        self.keys().now().signer(algorithm).map(|key| key.kid().clone())
    }

    /// Notes where a token came from that no family knows of, the key that signed it, and its place, where
    /// that is its own.
    pub(crate) fn note_issued(
        &self,
        how: &str,
        (claims, kid): (&Claims, &KeyId),
        of: Option<&str>,
        place: Option<StatusIndex>,
    ) {
        let lineage = claims.lineage.as_deref().cloned().unwrap_or_default();
        let origin = Origin {
            at: self.node().now(),
            how: how.to_owned(),
            client: claims.client_id.clone().unwrap_or_default(),
            sub: claims.sub.clone(),
            audience: claims.aud.0.clone(),
            of: of.map(str::to_owned),
            first: claims.original_jti.clone(),
            through: lineage.jti,
            clients: lineage.client,
            place,
            kid: Some(kid.as_str().to_owned()),
            kids: lineage.kid,
        };
        self.usage().issued(&claims.jti, origin);
    }

    /// Signs claims with the realm's current key of an algorithm.
    pub(crate) async fn sign(
        &self,
        algorithm: Algorithm,
        typ: &str,
        claims: &[u8],
    ) -> Result<String, Refused> {
        self.signed_by(algorithm, typ, claims).await.map(|(text, _)| text)
    }

    /// The same, and which key that was.
    pub(crate) async fn signed_by(
        &self,
        algorithm: Algorithm,
        typ: &str,
        claims: &[u8],
    ) -> Result<(String, KeyId), Refused> {
        self.check_signer(algorithm)?;
        let misused = |detail: String| Refused::Store(StoreError::Misused { detail });
        let key = self
            .keys()
            .now()
            .signer(algorithm)
            .ok_or_else(|| misused(format!("there is no {algorithm} key to sign with")))?;
        let signed = jws::signed(&key, typ, claims).await;
        let text = signed.map_err(|error| Refused::Store(unsigned(&error)))?;
        Ok((text, key.kid().clone()))
    }
}
