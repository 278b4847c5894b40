//! Pushed authorization requests (RFC 9126): read while nobody waits, and answered once.
//!
//! The first browser that brings a `request_uri` has it: a page that is loaded again, or gone back to, is
//! the same request, until that is answered (§4). Another browser that brings it gets nothing. What a page
//! goes on with is its handle, as with any request: whoever has that has the page. So long as a page is all
//! that was shown, nothing is used up.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{
    StoreError, Timestamp,
    port::{Put, Space, Swap},
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

/// Where a request came from that was pushed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Where it waits.
    key: String,
    /// Until when a browser may bring it.
    until: Timestamp,
    /// Which browser has brought it: a digest of what that is known by.
    browser: Option<String>,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("until", &self.until).finish_non_exhaustive()
    }
}

/// How often binding a request is tried again. Whoever loses once finds it bound.
const TRIES: u32 = 8;

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
        let key = key_of(&request_uri).unwrap_or_default();
        let until = self.node().now() + expires_in;
        request.pushed = Some(Origin { key: key.clone(), until, browser: None });
        let put = Put {
            key,
            value: repository::encode(FORM, &request),
            lifetime: expires_in,
            index: None,
        };
        self.ephemeral().put(self.realm(), &PUSHED, put).await?;
        Ok(Pushed { request_uri, expires_in })
    }

    /// The pushed request of this name, for the browser that is known by this. `None`: there is none, it
    /// has been answered or has waited too long, it is another client's or another browser's, or its
    /// client may not ask for it any more.
    pub(super) async fn pushed(
        &self,
        request_uri: &str,
        client: &Client,
        browser: &str,
    ) -> Result<Option<AuthorizationRequest>, StoreError> {
        let Some(key) = key_of(request_uri) else { return Ok(None) };
        let browser = digest_of(browser);
        let mut held = self.ephemeral().get(self.realm(), &PUSHED, &key).await?;
        let mut has_lost = false;
        for _ in 0..TRIES {
            let Some(found) = held else { return Ok(None) };
            let read: Option<AuthorizationRequest> =
                repository::decode_bytes(FORM, &found.value).ok();
            // Another client must not touch it (RFC 9126 §7.3).
            let Some(mut request) = read.filter(|request| request.client == client.id) else {
                return Ok(None);
            };
            let now = self.node().now();
            let until = now + self.config().pushed_lifetime;
            let origin =
                request.pushed.get_or_insert(Origin { key: key.clone(), until, browser: None });
            // INVARIANT: what has expired is refused (RFC 9126 §4), though its person is still signing in.
            if now >= origin.until || origin.browser.as_ref().is_some_and(|it| *it != browser) {
                return Ok(None);
            }
            // Another tab of this browser has just written the same: there is nothing to add to it.
            if has_lost && origin.browser.is_some() {
                let stands = self.still_stands(&request, client).await?;
                return Ok(stands.then_some(request));
            }
            if origin.browser.is_none() {
                origin.browser = Some(browser.clone());
                // What a person must do anew counts from when the browser came.
                request.at = now;
            }
            // It waits as long as its person may take, from now on.
            let put = Put {
                key: key.clone(),
                value: repository::encode(FORM, &request),
                lifetime: self.config().request_lifetime,
                index: None,
            };
            // INVARIANT: of many that bring it at once, on however many nodes, one browser has it.
            match self.ephemeral().swap(self.realm(), &PUSHED, found.revision, put).await? {
                Swap::Won(_) => {
                    let stands = self.still_stands(&request, client).await?;
                    return Ok(stands.then_some(request));
                }
                Swap::Lost(newer) => (held, has_lost) = (Some(newer), true),
                Swap::Gone => return Ok(None),
            }
        }
        Err(StoreError::Unavailable {
            backend: "the store of what waits",
            detail: "a pushed request changed faster than it could be read".to_owned(),
        })
    }

    /// Uses up what an answer was given to. Whether the answer may be sent: not where another one was, of
    /// the same pushed request, in another tab for instance.
    ///
    /// # Errors
    /// What the store says: then it is not known, and the answer is not to be sent.
    pub async fn use_up(&self, request: &AuthorizationRequest) -> Result<bool, StoreError> {
        let Some(origin) = &request.pushed else { return Ok(true) };
        // INVARIANT: of many answers at once, on however many nodes, one is sent.
        let taken = self.ephemeral().take(self.realm(), &PUSHED, &origin.key).await?;
        Ok(taken.is_some())
    }
}

/// What a browser is known by, as the store has it: of no use to whoever reads that.
fn digest_of(browser: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, browser.as_bytes()).as_ref())
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
