//! Pushed authorization requests (RFC 9126): read while nobody waits, used once by a browser.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{
    StoreError,
    port::{Put, Space},
    repository,
};

use super::AuthorizationRequest;
use crate::{
    client::Client,
    dpop::ProvenKey,
    error::{OAuthError, Refused},
    params::Params,
    provider::Provider,
};

/// Where pushed requests wait for their browser.
pub static PUSHED: Space = Space { name: "pushed_request", indexed: false };

const FORM: u8 = 1;

const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// A request that was pushed (RFC 9126 §2.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Pushed {
    /// What the browser brings. Whoever knows it can use it: not for logs.
    pub request_uri: String,
    /// For how long.
    pub expires_in: Duration,
}

impl std::fmt::Debug for Pushed {
    /// Without what it is used by.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pushed").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

impl Provider {
    /// Takes a request of an authenticated client, judged as it would be at the authorization
    /// endpoint.
    ///
    /// # Errors
    /// [`Refused`], as RFC 9126 §2.3 has it: with the codes of the authorization endpoint.
    pub async fn push(&self, client: &Client, params: &Params) -> Result<Pushed, Refused> {
        self.push_bound(client, params, None).await
    }

    /// The same of a client that proves a key, which the code is bound to then (RFC 9449 §10.1).
    ///
    /// # Errors
    /// As [`Self::push`].
    pub async fn push_bound(
        &self,
        client: &Client,
        params: &Params,
        key: Option<&ProvenKey>,
    ) -> Result<Pushed, Refused> {
        // RFC 9126 §2.1, item 2.
        if params.get("request_uri").is_some() {
            return Err(OAuthError::request("request_uri must not be pushed").into());
        }
        if params.get("client_id").is_some_and(|named| named != client.id.as_str()) {
            return Err(OAuthError::request("client_id is another client's").into());
        }
        let unpacked = self.unpacked(params, client).await?;
        let mut request = self.read(&unpacked, client).await?;
        if let Some(key) = key {
            request.bind_to(key)?;
        }
        let mut bytes = [0_u8; 32];
        self.node().entropy().fill(&mut bytes);
        let request_uri = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        let expires_in = self.config().pushed_lifetime;
        let put = Put {
            key: key_of(&request_uri).unwrap_or_default(),
            value: repository::encode(FORM, &request),
            lifetime: expires_in,
            index: None,
        };
        self.ephemeral().put(self.realm(), &PUSHED, put).await?;
        Ok(Pushed { request_uri, expires_in })
    }

    /// The pushed request of this name, used up. `None`: there is none, it has been used or has
    /// waited too long, it is another client's, or its client may not ask for it any more.
    pub(super) async fn pushed(
        &self,
        request_uri: &str,
        client: &Client,
    ) -> Result<Option<AuthorizationRequest>, StoreError> {
        let Some(key) = key_of(request_uri) else { return Ok(None) };
        let own = |value: &[u8]| {
            let request: Option<AuthorizationRequest> = repository::decode_bytes(FORM, value).ok();
            request.filter(|request| request.client == client.id)
        };
        // Another client must not use it up (RFC 9126 §7.3): it is looked at first.
        let held = self.ephemeral().get(self.realm(), &PUSHED, &key).await?;
        if held.and_then(|held| own(&held.value)).is_none() {
            return Ok(None);
        }
        // INVARIANT: of many that take it at once, on however many nodes, one gets it.
        let taken = self.ephemeral().take(self.realm(), &PUSHED, &key).await?;
        let Some(mut request) = taken.and_then(|taken| own(&taken.value)) else { return Ok(None) };
        // What a person must do anew counts from when the browser came.
        request.at = self.node().now();
        let stands = self.still_stands(&request, client).await?;
        Ok(stands.then_some(request))
    }
}

/// Whether a `request_uri` says that it was given out here, and is none to be fetched.
pub(super) fn is_pushed(request_uri: &str) -> bool {
    request_uri.starts_with(PREFIX)
}

/// Where a pushed request waits: under a digest, so that whoever reads the store cannot use it.
fn key_of(request_uri: &str) -> Option<String> {
    let random = request_uri.strip_prefix(PREFIX)?;
    let shaped = random.len() == 43
        && random.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let digest = digest::digest(&digest::SHA256, random.as_bytes());
    shaped.then(|| URL_SAFE_NO_PAD.encode(digest.as_ref()))
}
