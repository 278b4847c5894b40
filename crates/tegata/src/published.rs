//! What clients publish is asked for: their key sets, documents that their registration names, and those
//! by which they describe themselves.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use quick_cache::sync::Cache;
use tegata_core::{BoxFuture, Node, RateLimit};
use tegata_oauth::remote::{AtMost, Bounds, Crowd, Fetched, KeysAt, NotFetched, Published, Word};
use tegata_sdk::{
    RemoteIssuer, RemoteKeys, Transport, TransportLimits,
    authenticate::{KeyRules, KeysUnavailable},
    transport::{Gate, freshness::lifetime},
};
use tegata_token::{Algorithm, KeySet};
use tokio::sync::Semaphore;

/// How many key sets are kept on each side.
const MOST: usize = 1_000;
/// How many documents are asked for at once: whoever registers a client chooses who is asked.
const AT_ONCE: usize = 16;

/// How many key sets are asked for of clients that operators have declared.
const DECLARED: Bounds = Bounds {
    at_once: 64,
    at_once_of_host: 16,
    of_host: RateLimit::a_minute(NonZeroU32::MIN.saturating_add(599)),
    of_all: None,
};
/// How many of clients that registered themselves or that people have agreed to: whoever may do that may
/// do it often.
const AGREED: Bounds =
    Bounds { of_all: Some(RateLimit::a_minute(NonZeroU32::MIN.saturating_add(2_999))), ..DECLARED };

/// Asks clients, at addresses where clients may be.
pub(crate) struct AskedClients {
    transport: Transport,
    declared: KeySets,
    agreed: KeySets,
    strangers: KeySets,
    documents: Semaphore,
}

/// The key sets of one side: none takes the place of another, nor keeps it waiting.
struct KeySets {
    transport: Transport,
    node: Node,
    kept: Cache<String, Arc<RemoteKeys>>,
}

/// Lets out what is within bounds.
struct Bounded {
    crowd: Crowd,
    node: Node,
}

impl Gate for Bounded {
    fn admit(&self, host: &str) -> Option<Box<dyn Send>> {
        let place = self.crowd.place(host, self.node.since_boot())?;
        Some(Box::new(place))
    }
}

impl AskedClients {
    pub(crate) fn new(transport: Transport, node: Node) -> Self {
        let documents = Semaphore::new(AT_ONCE);
        let declared = KeySets::new(transport.clone(), DECLARED, node.clone());
        let agreed = KeySets::new(transport.clone(), AGREED, node.clone());
        // Nobody chose whom these are: nothing is kept open toward them.
        let limits = TransportLimits {
            timeout: Duration::from_secs(3),
            answer: 256 << 10,
            idle: 0,
            ..TransportLimits::default()
        };
        let strangers = KeySets::new(transport.within(limits), Bounds::STRANGERS, node);
        Self { transport, declared, agreed, strangers, documents }
    }

    /// The keys at an address, of which nothing may be known yet.
    fn keys_at(&self, at: KeysAt<'_>) -> Result<Arc<RemoteKeys>, NotFetched> {
        let sets = match at.word {
            Word::Declared => &self.declared,
            Word::Agreed => &self.agreed,
            Word::Stranger => &self.strangers,
        };
        sets.of(at.address)
    }
}

impl KeySets {
    fn new(transport: Transport, bounds: Bounds, node: Node) -> Self {
        let gate = Bounded { crowd: Crowd::new(bounds), node: node.clone() };
        Self { transport: transport.gated(Arc::new(gate)), node, kept: Cache::new(MOST) }
    }

    /// The keys at an address. All who need them share one question, also those who come first.
    fn of(&self, address: &str) -> Result<Arc<RemoteKeys>, NotFetched> {
        self.kept.get_or_insert_with(address, || {
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
            Ok(Arc::new(RemoteKeys::new(of, self.transport.clone(), self.node.clone())))
        })
    }
}

impl Published for AskedClients {
    fn keys<'a>(
        &'a self,
        at: KeysAt<'a>,
        kid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<KeySet, NotFetched>> {
        Box::pin(async move {
            let keys = self.keys_at(at)?;
            let (_, set) = keys.current().await.map_err(away)?;
            match kid {
                Some(kid) if !set.has(kid) && keys.look_for(kid).await => {
                    Ok(keys.current().await.map_err(away)?.1)
                }
                _ => Ok(set),
            }
        })
    }

    fn keys_anew<'a>(&'a self, at: KeysAt<'a>) -> BoxFuture<'a, Result<KeySet, NotFetched>> {
        Box::pin(async move { Ok(self.keys_at(at)?.renewed().await.map_err(away)?.1) })
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
        within: AtMost,
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
pub(crate) async fn ask(
    transport: &Transport,
    address: &str,
) -> Result<Response<Bytes>, NotFetched> {
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
mod tests;
