//! What clients publish is asked for: their key sets, documents that their registration names, and those
//! by which they describe themselves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use quick_cache::sync::Cache;
use tegata_core::{BoxFuture, Node};
use tegata_oauth::remote::{Fetched, NotFetched, Published, Within};
use tegata_sdk::{
    RemoteIssuer, RemoteKeys, Transport, TransportLimits,
    authenticate::{KeyRules, KeysUnavailable},
    transport::freshness::lifetime,
};
use tegata_token::{Algorithm, KeySet};
use tokio::sync::Semaphore;

/// How many key sets are kept.
const MOST: usize = 1_000;
/// How many documents are asked for at once: whoever registers a client chooses who is asked.
const AT_ONCE: usize = 16;

/// Asks clients, at addresses where clients may be.
pub(crate) struct AskedClients {
    transport: Transport,
    node: Node,
    sets: Cache<String, Arc<RemoteKeys>>,
    documents: Semaphore,
}

impl AskedClients {
    pub(crate) fn new(transport: Transport, node: Node) -> Self {
        let (sets, documents) = (Cache::new(MOST), Semaphore::new(AT_ONCE));
        Self { transport, node, sets, documents }
    }

    /// The keys at an address, of which nothing may be known yet.
    fn keys_at(&self, address: &str) -> Result<Arc<RemoteKeys>, NotFetched> {
        if let Some(keys) = self.sets.get(address) {
            return Ok(keys);
        }
        let uri: Uri =
            address.parse().map_err(|_| NotFetched(format!("`{address}` is no address")))?;
        let of = RemoteIssuer {
            issuer: address.to_owned(),
            jwks_uri: Some(uri),
            algorithms: Algorithm::ALL.to_vec(),
            // A client that takes a key out of its set means it to count no longer.
            rules: KeyRules {
                fresh_for: Duration::from_secs(300),
                kept_for: Duration::from_secs(3600),
                // A client changes its keys when it likes, and uses the new ones at once.
                pause: Duration::from_secs(1),
                missed_for: Duration::from_secs(10),
            },
        };
        let keys = Arc::new(RemoteKeys::new(of, self.transport.clone(), self.node.clone()));
        self.sets.insert(address.to_owned(), Arc::clone(&keys));
        Ok(keys)
    }
}

impl Published for AskedClients {
    fn keys<'a>(
        &'a self,
        address: &'a str,
        kid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<KeySet, NotFetched>> {
        Box::pin(async move {
            let keys = self.keys_at(address)?;
            let (_, set) = keys.current().await.map_err(away)?;
            match kid {
                Some(kid) if !set.has(kid) && keys.look_for(kid).await => {
                    Ok(keys.current().await.map_err(away)?.1)
                }
                _ => Ok(set),
            }
        })
    }

    fn keys_anew<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<KeySet, NotFetched>> {
        Box::pin(async move { Ok(self.keys_at(address)?.renewed().await.map_err(away)?.1) })
    }

    fn document<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Vec<u8>, NotFetched>> {
        Box::pin(async move {
            let busy = |_| NotFetched("too many documents are asked for already".to_owned());
            let _place = self.documents.try_acquire().map_err(busy)?;
            Ok(ask(&self.transport, address).await?.into_body().to_vec())
        })
    }

    fn description<'a>(
        &'a self,
        address: &'a str,
        within: Within,
    ) -> BoxFuture<'a, Result<Fetched, NotFetched>> {
        Box::pin(async move {
            // Nobody chose whom this is: nothing is kept open toward it.
            let limits = TransportLimits {
                timeout: within.time,
                answer: within.longest,
                idle: 0,
                ..TransportLimits::default()
            };
            let answer = ask(&self.transport.within(limits), address).await?;
            let media_type = answer.headers().get(header::CONTENT_TYPE);
            if !media_type.and_then(|it| it.to_str().ok()).is_some_and(is_json) {
                return Err(NotFetched(format!(
                    "what `{address}` answers does not say that it is JSON"
                )));
            }
            let fresh_for = lifetime(answer.headers());
            Ok(Fetched { body: answer.into_body().to_vec(), fresh_for })
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn away(error: KeysUnavailable) -> NotFetched {
    NotFetched(error.to_string())
}

/// Asks for what is at an address. A redirect is an answer like any other: nobody is led elsewhere.
async fn ask(transport: &Transport, address: &str) -> Result<Response<Bytes>, NotFetched> {
    let request = Request::get(address)
        .header(header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|_| NotFetched(format!("`{address}` is no address")))?;
    let answer = transport.send(request).await.map_err(|error| NotFetched(error.to_string()))?;
    match answer.status() {
        StatusCode::OK => Ok(answer),
        status => Err(NotFetched(format!("`{address}` answers {status}"))),
    }
}

/// Whether a media type is that of JSON, or of something that is written in it (RFC 6839 §3.1).
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = essence.strip_prefix("application/");
    kind.is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_that_it_is() {
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/cimd+json"]
        {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/html", "text/json", "application/jsonp", "application/octet-stream"] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
