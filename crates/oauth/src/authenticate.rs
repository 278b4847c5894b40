//! Clients proving themselves at the token endpoint and its siblings.

use std::{ops::Deref, sync::Arc};

use aws_lc_rs::digest;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use tegata_core::{
    ClientId, Secret, Timestamp,
    port::{Put, Space},
};
use tegata_token::{
    ApiKey, ClientCertificate,
    assertion::{AssertionRefused, ClientAssertion, ExpectedAssertion},
    spiffe::JwtSvid,
};

use crate::{
    client::{AuthMethod, Client},
    described::NotDescribed,
    error::{Code, OAuthError, Refused},
    params::Params,
    provider::Provider,
};

mod api_key;
mod svid;

use svid::JWT_SVID;

/// Where used assertions are remembered.
pub static ASSERTIONS: Space = Space { name: "assertion", indexed: false };

/// For how much longer than its life an assertion is remembered.
const CLOCKS_APART: std::time::Duration = std::time::Duration::from_secs(120);

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Where an API key proves who a client is.
const TOKEN_ENDPOINT: &str = "/oauth2/token";

/// What an assertion of a client names as its audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssertionAudience {
    /// The issuer.
    #[default]
    Issuer,
    /// The issuer, or in its place the token endpoint or the endpoint that is called, as OpenID Connect
    /// Core §9 has it. Whoever makes a client believe that an endpoint of ours is one of theirs is sent
    /// assertions that count here.
    DangerIssuerOrEndpoint,
}

/// A client that has proven itself, as the store had it.
#[derive(Debug, Clone)]
pub struct ProvenClient {
    client: Arc<Client>,
    since: u64,
    key: Option<Arc<ApiKey>>,
}

impl ProvenClient {
    /// The second before the store was asked for it, and after all that was known then to be taken
    /// back of it. What it gets is to begin no later than then: a client is removed before what it has
    /// is taken back, so that whatever was read before the removal is covered by what is taken back
    /// after it.
    pub(crate) const fn since(&self) -> u64 {
        self.since
    }

    /// The API key that it showed in the place of a secret: it gets no more than that may.
    pub(crate) fn api_key(&self) -> Option<&ApiKey> {
        self.key.as_deref()
    }

    /// The client alone.
    #[must_use]
    pub fn into_client(self) -> Client {
        Arc::unwrap_or_clone(self.client)
    }
}

impl Deref for ProvenClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Name and secret from an `Authorization: Basic` header.
#[derive(Debug, Clone)]
pub struct Basic {
    /// The client's name.
    pub id: String,
    /// Its secret.
    pub secret: Secret<String>,
}

impl Basic {
    /// Reads the value of an `Authorization` header; `None` if it is of another scheme. Both parts
    /// are form-encoded (RFC 6749 §2.3.1).
    ///
    /// # Errors
    /// `invalid_client` where it is malformed.
    pub fn from_header(value: &str) -> Result<Option<Self>, OAuthError> {
        let Some((scheme, rest)) = value.split_once(' ') else { return Ok(None) };
        if !scheme.eq_ignore_ascii_case("basic") {
            return Ok(None);
        }
        let malformed = || wrong("the Authorization header is malformed");
        let bytes = STANDARD.decode(rest.trim()).map_err(|_| malformed())?;
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        let (id, secret) = text.split_once(':').ok_or_else(malformed)?;
        let (id, secret) = (form_decoded(id), form_decoded(secret));
        let (id, secret) = id.zip(secret).ok_or_else(malformed)?;
        Ok(Some(Self { id, secret: Secret::new(secret) }))
    }
}

impl Provider {
    /// The client that makes a request to the endpoint with this path, proven as it was registered to
    /// be. A client with a secret may give it in the header or in the form. `certificate` is the one that
    /// its connection shows, which is no proof of who it is for a client that proves itself otherwise.
    ///
    /// # Errors
    /// `invalid_client`, the same for an unknown client and a wrong secret.
    pub async fn authenticate(
        &self,
        basic: Option<&Basic>,
        params: &Params,
        certificate: Option<&ClientCertificate>,
        path: &str,
    ) -> Result<ProvenClient, Refused> {
        let (post, assertion) = (params.get("client_secret"), params.get("client_assertion"));
        let methods =
            [basic.is_some(), post.is_some(), assertion.is_some()].into_iter().filter(|it| *it);
        if methods.count() > 1 {
            // RFC 6749 §2.3: one method in a request.
            return Err(OAuthError::request("the client authenticates in more than one way").into());
        }
        let claimed = self.claimed(basic, params)?;
        let client = match ClientId::new(&claimed) {
            Ok(id) => self.registered(&id).await?,
            Err(_) => None,
        };
        let client =
            client.ok_or_else(|| wrong("the client is not known, or did not prove itself"))?;
        let secret = basic.map(|basic| basic.secret.expose().as_str()).or(post);
        let is_svid = params.get("client_assertion_type") == Some(JWT_SVID);
        match (client.auth, secret, assertion) {
            (AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost, Some(secret), None) => {
                self.accept_secret(client, secret, path).await
            }
            (AuthMethod::PrivateKeyJwt, None, Some(assertion)) if !is_svid => {
                self.accept_assertion(&client, assertion, path).await?;
                Ok(client)
            }
            (AuthMethod::SpiffeJwt, None, Some(svid)) if is_svid => {
                self.accept_jwt_svid(&client, svid).await?;
                Ok(client)
            }
            (auth, None, None) if auth.is_by_certificate() => {
                let shown = certificate.ok_or(wrong(self.shows_no_certificate()))?;
                self.accept_certificate(&client, shown).await?;
                Ok(client)
            }
            (AuthMethod::None, None, None) => Ok(client),
            _ => Err(wrong("the client is not known, or did not prove itself").into()),
        }
    }

    /// The client of this name, as it is registered now or describes itself. That it is itself who asks
    /// remains to be proven.
    ///
    /// # Errors
    /// [`NotDescribed`].
    pub async fn registered(&self, id: &ClientId) -> Result<Option<ProvenClient>, NotDescribed> {
        let view = self.revoker().view().realm(self.realm());
        let earliest = view.earliest_issue(id.as_str(), Some(id.as_str()));
        let since = self.node().now().secs().max(earliest);
        let found = self.client_now(id).await?;
        Ok(found.map(|client| ProvenClient { client, since, key: None }))
    }

    /// Whose a request says that it is.
    ///
    /// # Errors
    /// `invalid_client` where it says nothing, or two things.
    pub fn claimed(&self, basic: Option<&Basic>, params: &Params) -> Result<String, OAuthError> {
        let named = params.get("client_id");
        let proven = match (basic, params.get("client_assertion")) {
            (Some(basic), _) => Some(basic.id.clone()),
            (None, Some(assertion)) => {
                let malformed = || wrong("client_assertion is malformed");
                match params.get("client_assertion_type") {
                    Some(ASSERTION_TYPE) => {
                        let claimed = ClientAssertion::claimed_client(assertion);
                        Some(claimed.map_err(|_| malformed())?)
                    }
                    // A workload may have another name than the client that it is.
                    Some(JWT_SVID) if named.is_some() => None,
                    Some(JWT_SVID) => {
                        let claimed = JwtSvid::claimed(assertion).map_err(|_| malformed())?;
                        Some(claimed.as_str().to_owned())
                    }
                    _ => {
                        return Err(wrong("client_assertion_type is none of those for a JWT"));
                    }
                }
            }
            (None, None) => None,
        };
        match (proven, named) {
            (Some(proven), Some(named)) if proven != named => {
                Err(wrong("client_id is not the client that authenticates"))
            }
            (Some(proven), _) => Ok(proven),
            (None, Some(named)) => Ok(named.to_owned()),
            (None, None) => Err(wrong("the client does not say who it is")),
        }
    }

    async fn accept_assertion(
        &self,
        client: &Client,
        assertion: &str,
        path: &str,
    ) -> Result<(), Refused> {
        let keys = self.keys_of(client, assertion).await.map_err(|error| {
            tracing::info!(client = %client.id, %error, "the keys of a client cannot be had");
            wrong("the keys at the client's jwks_uri cannot be had")
        })?;
        let now = self.node().now();
        let expected = ExpectedAssertion {
            client: client.id.as_str(),
            keys: &keys,
            algorithm: client.assertion_alg,
            issuer: self.issuer(),
            danger_others: &self.danger_audiences(client, path),
            bare_audience: client.is_fapi(),
        };
        let accepted = ClientAssertion::verify(assertion, &expected, now).map_err(|error| {
            tracing::info!(client = %client.id, %error, "a client assertion was refused");
            wrong(what_to_do(error))
        })?;
        // RFC 7523 §3, item 7.
        self.count_once(&format!("{} {}", client.id, accepted.jti), accepted.forget_at).await
    }

    /// The client, by its secret, or by an API key that stands for it.
    async fn accept_secret(
        &self,
        client: ProvenClient,
        secret: &str,
        path: &str,
    ) -> Result<ProvenClient, Refused> {
        if self.clients().knows_secret(self.realm(), &client, secret) {
            return Ok(client);
        }
        let key = self.api_key_of(&client, secret).await?;
        let key = key.ok_or(wrong("the client is not known, or did not prove itself"))?;
        if path != TOKEN_ENDPOINT || !key.grant.tokens {
            return Err(wrong(
                "an API key proves who a service is at the token endpoint alone, and if it was made for that",
            )
            .into());
        }
        self.parts().key_uses.note(&key.id, self.node().now());
        Ok(ProvenClient { key: Some(key), ..client })
    }

    /// Lets an assertion of this name count once, on all nodes together.
    async fn count_once(&self, name: &str, forget_at: Timestamp) -> Result<(), Refused> {
        let name = digest::digest(&digest::SHA256, name.as_bytes());
        let put = Put {
            key: URL_SAFE_NO_PAD.encode(name.as_ref()),
            value: Vec::new(),
            // Stores may count by other clocks.
            lifetime: forget_at.since(self.node().now()) + CLOCKS_APART,
            index: None,
        };
        if self.ephemeral().add(self.realm(), &ASSERTIONS, put).await? {
            Ok(())
        } else {
            Err(wrong("client_assertion was used before").into())
        }
    }

    /// What an assertion of a client may name in the issuer's place, at the endpoint with this path. FAPI 2.0
    /// §5.3.2.1, item 8, allows nothing.
    fn danger_audiences(&self, client: &Client, path: &str) -> Vec<String> {
        match self.config().assertion_audience {
            AssertionAudience::DangerIssuerOrEndpoint if !client.is_fapi() => self
                .bases()
                .flat_map(|base| ["/oauth2/token", path].map(|path| format!("{base}{path}")))
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// What whoever holds the client's key is told of an assertion. Others learn nothing.
const fn what_to_do(refused: AssertionRefused) -> &'static str {
    match refused {
        AssertionRefused::Audience => {
            "aud of client_assertion must be the issuer identifier, and nothing else"
        }
        AssertionRefused::Time => {
            "client_assertion has expired, is not valid yet, or lives longer than 300 seconds"
        }
        _ => "client_assertion is not valid",
    }
}

const fn wrong(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidClient, description)
}

/// `application/x-www-form-urlencoded`, decoded. `None`: it is malformed.
fn form_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
                bytes.push(u8::try_from(value).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> Result<Option<Basic>, OAuthError> {
        Basic::from_header(&format!("Basic {}", STANDARD.encode(text)))
    }

    #[test]
    fn reads_both_parts_of_the_header_as_form_encoded() {
        let read = basic("a%3Ab+c:s%25%2B").unwrap().unwrap();
        assert_eq!((read.id.as_str(), read.secret.expose().as_str()), ("a:b c", "s%+"));
        assert!(Basic::from_header("Bearer x").unwrap().is_none());
        assert!(Basic::from_header("bAsIc YTpi").unwrap().is_some());
    }

    #[test]
    fn refuses_malformed_headers() {
        for text in ["nocolon", "a%:b", "a%2:b", "a%zz:b", "a%ff:b"] {
            assert!(basic(text).is_err(), "{text}");
        }
        assert!(Basic::from_header("Basic !!!").is_err());
        assert!(Basic::from_header("Basic /w==").is_err());
    }
}
