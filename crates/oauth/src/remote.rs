//! What clients publish at addresses of their own: key sets, the lists behind sector identifiers, and
//! documents by which they describe themselves.
//!
//! Only addresses that were registered are ever asked, none that a token or a request names; but the
//! address that a client is called by, where such clients are taken ([`crate::described`]). Who asks
//! them follows no redirect, takes no long answer, and keeps out of networks where no client may be.

use std::{sync::Arc, time::Duration};

use tegata_core::BoxFuture;
use tegata_token::{Algorithm, ClientCertificate, KeySet, VerifyingKey, jws};

use crate::{client::Client, provider::Provider};

mod crowd;

pub use crowd::{Bounds, Crowd, Place};

/// Why what a client publishes cannot be had: in words for its operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotFetched(pub String);

/// Whoever asks clients for what they publish.
pub trait Published: Send + Sync {
    /// The key set at an address. Where it is known and lacks the key called `kid`, the address is
    /// asked again, unless it was a moment ago.
    fn keys<'a>(
        &'a self,
        at: KeysAt<'a>,
        kid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<KeySet, NotFetched>>;

    /// The key set at an address, which is asked again unless it was a moment ago: for whoever misses in
    /// it what no `kid` tells.
    fn keys_anew<'a>(&'a self, at: KeysAt<'a>) -> BoxFuture<'a, Result<KeySet, NotFetched>>;

    /// The document at an address, asked for anew.
    fn document<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Vec<u8>, NotFetched>>;

    /// The document by which a client describes itself, asked for anew, within these limits: JSON, and
    /// answered with 200.
    fn description<'a>(
        &'a self,
        address: &'a str,
        within: AtMost,
    ) -> BoxFuture<'a, Result<Fetched, NotFetched>>;
}

/// Where a client publishes its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeysAt<'a> {
    /// The address.
    pub address: &'a str,
    /// By whose word it is asked.
    pub word: Word,
}

/// By whose word a client's address is asked. None of these keeps those waiting that come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// An operator's, who has declared the client.
    Declared,
    /// That of the client itself, which registered itself, or describes itself and has people who have
    /// agreed to it: anybody can make many of these.
    Agreed,
    /// Anybody's: the client describes itself, and nobody knows it.
    Stranger,
}

/// How much is taken of an answer, and how long it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtMost {
    /// The most bytes.
    pub longest: usize,
    /// From the first packet to the last byte.
    pub time: Duration,
}

/// What was had from an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The document.
    pub body: Vec<u8>,
    /// For how long it may be kept (RFC 9111), where that was said with it.
    pub fresh_for: Option<Duration>,
}

/// Asks nobody: for installations whose clients publish nothing, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NothingPublished;

impl Published for NothingPublished {
    fn keys<'a>(
        &'a self,
        _: KeysAt<'a>,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<KeySet, NotFetched>> {
        Box::pin(async { Err(NotFetched("nobody is asked".to_owned())) })
    }

    fn keys_anew<'a>(&'a self, at: KeysAt<'a>) -> BoxFuture<'a, Result<KeySet, NotFetched>> {
        self.keys(at, None)
    }

    fn document<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<u8>, NotFetched>> {
        Box::pin(async { Err(NotFetched("nobody is asked".to_owned())) })
    }

    fn description<'a>(
        &'a self,
        _: &'a str,
        _: AtMost,
    ) -> BoxFuture<'a, Result<Fetched, NotFetched>> {
        Box::pin(async { Err(NotFetched("nobody is asked".to_owned())) })
    }
}

impl Provider {
    /// The keys that a token of a client can be signed with: those that were registered, or those at
    /// the address that was.
    ///
    /// # Errors
    /// [`NotFetched`].
    pub(crate) async fn keys_of(&self, client: &Client, token: &str) -> Result<KeySet, NotFetched> {
        if let Some(at) = published_by(client) {
            let set = self.published().keys(at, jws::named_key(token).as_deref()).await?;
            // FAPI 2.0 Security Profile §5.4.1: not with RSASSA-PKCS1-v1_5. What is registered was looked
            // at then.
            return Ok(if client.is_fapi() { set.without(Algorithm::Rs256) } else { set });
        }
        Ok(registered(client))
    }

    /// Whether a certificate is one that a client makes itself: its key, or the certificate with it, was
    /// registered, or is at the address that was (RFC 8705 §2.2).
    ///
    /// # Errors
    /// [`NotFetched`].
    pub(crate) async fn knows_certificate(
        &self,
        client: &Client,
        shown: &ClientCertificate,
    ) -> Result<bool, NotFetched> {
        let Some(at) = published_by(client) else { return Ok(registered(client).knows(shown)) };
        if self.published().keys(at, None).await?.knows(shown) {
            return Ok(true);
        }
        // It may have been renewed since, with its key or without: no `kid` tells.
        Ok(self.published().keys_anew(at).await?.knows(shown))
    }
}

/// Where a client publishes its keys, if it does.
fn published_by(client: &Client) -> Option<KeysAt<'_>> {
    let word = if client.is_declared() {
        Word::Declared
    } else if client.is_stranger() {
        Word::Stranger
    } else {
        Word::Agreed
    };
    client.jwks_uri.as_deref().map(|address| KeysAt { address, word })
}

/// The keys that a client is registered with.
fn registered(client: &Client) -> KeySet {
    // They were checked when they were registered.
    let keys = client.keys.iter().filter_map(|jwk| VerifyingKey::from_jwk(jwk).ok());
    KeySet::new(keys.map(Arc::new).collect())
}

/// An address of a client, as it is registered: absolute, without fragment and without a password;
/// the scheme `http` on a loopback address alone, so that nothing travels in the clear.
///
/// # Errors
/// Which rule the value of `member` breaks.
pub fn address(member: &str, text: &str) -> Result<String, String> {
    let wrong = || {
        format!("`{member}` must be an absolute `https` address without a fragment and a password")
    };
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let plain = url.scheme() == "http" && is_local(&url);
    let bare = url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    if (url.scheme() == "https" || plain) && bare { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// Whether an address is on this machine.
pub(crate) fn is_local(url: &url::Url) -> bool {
    url.host().is_some_and(|host| match host {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(four) => four.is_loopback(),
        url::Host::Ipv6(six) => six.is_loopback(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_no_address_in_the_clear() {
        for good in ["https://app.example/bc?a=b", "http://127.0.0.1:1/bc", "http://[::1]/bc"] {
            assert_eq!(address("jwks_uri", good).as_deref(), Ok(good));
        }
        for bad in [
            "http://app.example/bc",
            "https://app.example/#x",
            "https://a:b@app.example/",
            "/bc",
            "javascript:x",
            "file:///etc/passwd",
        ] {
            let why = address("jwks_uri", bad).unwrap_err();
            assert!(why.contains("`jwks_uri`"), "{bad}: {why}");
        }
    }
}
