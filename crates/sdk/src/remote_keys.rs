//! The keys of an issuer elsewhere: found by its name, fetched, kept while it is away.
//!
//! Nothing that a token says is ever asked for: what is fetched is the address that was configured, or
//! the one that the issuer itself publishes under its configured name.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use parking_lot::Mutex;
use serde::Deserialize;
use tegata_core::{Node, SinceBoot};
use tegata_token::{Algorithm, KeySet};

use crate::{
    authenticate::{KeyRules, KeySource, KeysUnavailable},
    transport::Transport,
};

/// How often it is looked again where an issuer publishes its keys.
const LOOKED: Duration = Duration::from_secs(3600);

/// Who is asked for keys, and for which.
#[derive(Debug, Clone)]
pub struct RemoteIssuer {
    /// The issuer identifier.
    pub issuer: String,
    /// Where its keys are. `None`: where its metadata says (OpenID Connect Discovery 1.0 §4, RFC 8414
    /// §3).
    pub jwks_uri: Option<Uri>,
    /// What it may sign with. A key that names no algorithm is used with the first that fits it, and one
    /// without a name has its thumbprint for one.
    pub algorithms: Vec<Algorithm>,
    /// How its key set is kept.
    pub rules: KeyRules,
}

/// The keys of an issuer elsewhere. Cheap to clone; clones share what was fetched.
#[derive(Clone)]
pub struct RemoteKeys(Arc<Inner>);

struct Inner {
    of: RemoteIssuer,
    transport: Transport,
    node: Node,
    found: Mutex<Option<Found>>,
}

/// Where the keys are.
#[derive(Clone)]
struct Found {
    uri: Uri,
    source: KeySource,
    looked: SinceBoot,
    /// How many addresses there were before.
    turn: u64,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl RemoteKeys {
    /// The keys of an issuer, of which none is known yet.
    #[must_use]
    pub fn new(of: RemoteIssuer, transport: Transport, node: Node) -> Self {
        let found = of.jwks_uri.clone().map(|uri| found(&of, &uri, &transport, &node, 0));
        Self(Arc::new(Inner { of, transport, node, found: Mutex::new(found) }))
    }

    /// The keys that count now, and a number that changes when they do. Waits for the issuer only where
    /// there is nothing to go on with.
    ///
    /// # Errors
    /// There are none, or those there were are too old.
    pub async fn current(&self) -> Result<(u64, KeySet), KeysUnavailable> {
        self.look().await;
        let found = self.0.found.lock().clone();
        let Some(found) = found else {
            return Err(KeysUnavailable::of(&self.0.of.issuer));
        };
        let published = found.source.current().await?;
        Ok(((found.turn << 32) + published.version, published.set()))
    }

    /// The same after the issuer was asked again, unless it was a moment ago: for whoever misses in the set
    /// what no `kid` tells.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub async fn renewed(&self) -> Result<(u64, KeySet), KeysUnavailable> {
        let found = self.0.found.lock().clone();
        if let Some(found) = found {
            found.source.fetch().await;
        }
        self.current().await
    }

    /// Whether the issuer has a key of this name, asking it unless it was asked a moment ago. While
    /// nothing at all is known of it, it is not asked: whoever keeps the set up to date does that.
    pub async fn look_for(&self, kid: &str) -> bool {
        let found = self.0.found.lock().clone();
        match found {
            Some(found) if found.source.has_some() => found.source.look_for(kid).await,
            _ => false,
        }
    }

    /// Whether the issuer gave no keys when it was asked last.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.0.found.lock().as_ref().is_none_or(|found| found.source.is_failing())
    }

    /// Looks where the keys are, where that is not configured and was not done lately.
    async fn look(&self) {
        let Inner { of, transport, node, found } = &*self.0;
        let known = found.lock().as_ref().map(|found| (found.uri.clone(), found.looked));
        let is_recent = |(_, at): &(Uri, SinceBoot)| node.elapsed(*at) < LOOKED;
        if of.jwks_uri.is_some() || known.as_ref().is_some_and(is_recent) {
            return;
        }
        let Some(uri) = self.discover().await else { return };
        let mut found = found.lock();
        match found.as_mut().filter(|found| found.uri == uri) {
            Some(found) => found.looked = node.since_boot(),
            None => {
                let turn = found.as_ref().map_or(0, |found| found.turn + 1);
                *found = Some(self::found(of, &uri, transport, node, turn));
            }
        }
    }

    /// Where the issuer says that its keys are.
    async fn discover(&self) -> Option<Uri> {
        let issuer = &self.0.of.issuer;
        for address in well_known(issuer) {
            let Some(metadata) = self.metadata(&address).await else { continue };
            // RFC 8414 §3.3: identical, or else it is somebody else's.
            if metadata.issuer != *issuer {
                tracing::warn!(%address, "the metadata there are those of another issuer");
                continue;
            }
            match metadata.jwks_uri.parse() {
                Ok(uri) => return Some(uri),
                Err(_) => tracing::warn!(%address, "the `jwks_uri` there is no address"),
            }
        }
        None
    }

    async fn metadata(&self, address: &str) -> Option<Metadata> {
        let request = Request::get(address).header(header::ACCEPT, "application/json");
        let answer = self.0.transport.send(request.body(Bytes::new()).ok()?).await;
        match answer {
            Ok(answer) if answer.status() == StatusCode::OK => {
                serde_json::from_slice(answer.body()).ok()
            }
            Ok(answer) => {
                tracing::debug!(%address, status = %answer.status(), "no metadata of an issuer");
                None
            }
            Err(error) => {
                tracing::debug!(%address, %error, "no metadata of an issuer");
                None
            }
        }
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteKeys({})", self.0.of.issuer)
    }
}

fn found(of: &RemoteIssuer, uri: &Uri, transport: &Transport, node: &Node, turn: u64) -> Found {
    let algorithms = Some(of.algorithms.clone());
    let (transport, rules) = (transport.clone(), of.rules);
    let source = KeySource::fetched_for(algorithms, uri.clone(), transport, node.clone(), rules);
    Found { uri: uri.clone(), source, looked: node.since_boot(), turn }
}

/// Where the metadata of an issuer may be: behind its path (OpenID Connect), or before it (RFC 8414
/// §3.1).
fn well_known(issuer: &str) -> [String; 2] {
    let bare = issuer.trim_end_matches('/');
    let scheme = bare.find("://").map_or(0, |at| at + 3);
    let host =
        bare.get(scheme..).and_then(|rest| rest.find('/')).map_or(bare.len(), |at| scheme + at);
    let (origin, path) = bare.split_at(host);
    [
        format!("{bare}/.well-known/openid-configuration"),
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
    ]
}

#[cfg(test)]
mod tests;
