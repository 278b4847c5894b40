//! The keys by which tokens are verified: given, or fetched from the issuer and kept.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use serde::Deserialize;
use tegata_core::{KeyId, Node, SinceBoot, flight::Flights};
use tegata_token::{Algorithm, Jwk, KeySet, VerifyingKey};

use crate::transport::{Transport, freshness::max_age};

/// Where keys come from. Cheap to clone; clones share what was fetched.
#[derive(Clone)]
pub struct KeySource(Arc<Source>);

/// How a key set is kept.
#[derive(Debug, Clone, Copy)]
pub struct KeyRules {
    /// For how long a set is taken as new where its answer has no `max-age`.
    pub fresh_for: Duration,
    /// How long an old set is used while the issuer does not answer.
    pub kept_for: Duration,
    /// The time between two questions to the issuer, whatever happens: or the `max-age` of its answers,
    /// if that is less, but a second at least.
    pub pause: Duration,
    /// How long a `kid` that the issuer does not know is remembered as such.
    pub missed_for: Duration,
}

impl Default for KeyRules {
    fn default() -> Self {
        Self {
            fresh_for: Duration::from_secs(3600),
            kept_for: Duration::from_secs(86_400),
            pause: Duration::from_secs(10),
            missed_for: Duration::from_secs(60),
        }
    }
}

/// There is no key set, or one that is too old.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keys of `{0}` have not been fetched; see whether the issuer answers there")]
pub struct KeysUnavailable(String);

impl KeysUnavailable {
    pub(crate) fn of(issuer: &str) -> Self {
        Self(issuer.to_owned())
    }
}

struct Source {
    published: ArcSwapOption<Published>,
    remote: Option<Remote>,
}

/// A set of keys that counts.
pub(crate) struct Published {
    pub(crate) version: u64,
    set: KeySet,
    keys: Vec<(Jwk, Arc<VerifyingKey>)>,
}

struct Remote {
    url: Uri,
    transport: Transport,
    node: Node,
    rules: KeyRules,
    /// With which algorithms its keys may be used. `None`: with whichever each key names.
    algorithms: Option<Vec<Algorithm>>,
    times: Mutex<Times>,
    fetches: Flights<(), bool>,
    misses: Cache<Box<str>, SinceBoot>,
}

#[derive(Clone, Copy)]
struct Times {
    asked: Option<SinceBoot>,
    fetched: Option<SinceBoot>,
    fresh_for: Duration,
    /// Whether the last question was answered.
    answered: bool,
}

/// How many unknown key names are remembered.
const MOST_MISSES: usize = 1_000;
/// More keys than this are no key set.
const MOST_KEYS: usize = 100;
/// While there is no set at all, the issuer is asked more often: it may just be starting.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

impl KeySource {
    /// These keys, for ever.
    #[must_use]
    pub fn fixed(set: KeySet) -> Self {
        let published = Published { version: 1, set, keys: vec![] };
        Self(Arc::new(Source { published: ArcSwapOption::from_pointee(published), remote: None }))
    }

    /// The keys of a JWKS (RFC 7517 §5), for ever. `None`: none of them can be used.
    #[must_use]
    pub fn from_jwks(json: &[u8]) -> Option<Self> {
        let published = Published::read(json, None, None)?;
        Some(Self(Arc::new(Source {
            published: ArcSwapOption::from_pointee(published),
            remote: None,
        })))
    }

    /// The keys that an issuer publishes at `url`, fetched when they are needed for the first time.
    #[must_use]
    pub fn fetched(url: Uri, transport: Transport, node: Node, rules: KeyRules) -> Self {
        Self::fetched_for(None, url, transport, node, rules)
    }

    /// As [`Self::fetched`], of an issuer that is to sign with these algorithms alone. A key that does
    /// not name its algorithm is used with the first of them that fits it, and one without a `kid` has its
    /// thumbprint for one.
    pub(crate) fn fetched_for(
        algorithms: Option<Vec<Algorithm>>,
        url: Uri,
        transport: Transport,
        node: Node,
        rules: KeyRules,
    ) -> Self {
        let fresh_for = rules.fresh_for;
        let times = Times { asked: None, fetched: None, fresh_for, answered: true };
        let remote = Remote {
            url,
            transport,
            node,
            rules,
            algorithms,
            times: Mutex::new(times),
            fetches: Flights::new(),
            misses: Cache::new(MOST_MISSES),
        };
        Self(Arc::new(Source { published: ArcSwapOption::empty(), remote: Some(remote) }))
    }

    /// Whether the issuer gave no set when it was asked last.
    pub(crate) fn is_failing(&self) -> bool {
        self.0.remote.as_ref().is_some_and(|remote| !remote.times.lock().answered)
    }

    /// Whether there is a set at all.
    pub(crate) fn has_some(&self) -> bool {
        self.0.published.load().is_some()
    }

    /// The set that counts now. Waits for the issuer only where there is nothing to go on with.
    pub(crate) async fn current(&self) -> Result<Arc<Published>, KeysUnavailable> {
        let known = self.0.published.load_full();
        let Some(remote) = &self.0.remote else {
            return known.ok_or_else(|| KeysUnavailable("nowhere".to_owned()));
        };
        let times = *remote.times.lock();
        let age = times.fetched.map(|at| remote.node.elapsed(at));
        match (known, age) {
            (Some(known), Some(age)) if age < times.fresh_for => Ok(known),
            (Some(known), Some(age)) if age < remote.rules.kept_for => {
                if self.0.may_ask(remote) {
                    let source = self.clone();
                    tokio::spawn(async move { source.fetch().await });
                }
                Ok(known)
            }
            _ => {
                self.fetch().await;
                let recent = |at| remote.node.elapsed(at) < remote.rules.kept_for;
                let known = remote.times.lock().fetched.is_some_and(recent);
                let known = known.then(|| self.0.published.load_full()).flatten();
                known.ok_or_else(|| KeysUnavailable(remote.url.to_string()))
            }
        }
    }

    /// Whether the issuer has a key of this name, asking it unless it was asked just now.
    pub(crate) async fn look_for(&self, kid: &str) -> bool {
        self.find(kid).await == Some(true)
    }

    /// The same; `None`: nobody knows, because the issuer could not be asked.
    async fn find(&self, kid: &str) -> Option<bool> {
        if self.0.holds(kid) {
            return Some(true);
        }
        let Some(remote) = self.0.remote.as_ref().filter(|_| KeyId::new(kid).is_ok()) else {
            return Some(false);
        };
        let missed = remote.misses.get(kid);
        if missed.is_some_and(|at| remote.node.elapsed(at) < remote.rules.missed_for) {
            return Some(false);
        }
        let fetched = self.fetch().await;
        if self.0.holds(kid) {
            return Some(true);
        }
        if fetched {
            remote.misses.insert(kid.into(), remote.node.since_boot());
        }
        fetched.then_some(false)
    }

    /// The keys that count, after the one of this name was looked for: for whoever verifies with rules
    /// of their own, and answers differently where a key is not there and where nobody knows.
    ///
    /// # Errors
    /// [`KeysUnavailable`], also where there are keys and it is not known whether this is one.
    pub async fn with(&self, kid: &str) -> Result<KeySet, KeysUnavailable> {
        self.current().await?;
        if self.find(kid).await.is_none() {
            let place = self.0.remote.as_ref().map(|remote| remote.url.to_string());
            return Err(KeysUnavailable(place.unwrap_or_default()));
        }
        Ok(self.current().await?.set())
    }

    /// Asks the issuer, unless it was asked a moment ago, and answers whether it gave a set. All
    /// who ask at once share one question.
    pub(crate) async fn fetch(&self) -> bool {
        let Some(remote) = &self.0.remote else { return false };
        let source = Arc::clone(&self.0);
        remote.fetches.join((), || async move { source.ask().await }).await
    }
}

impl Source {
    fn holds(&self, kid: &str) -> bool {
        let named = |published: &Arc<Published>| {
            published.keys.iter().any(|(_, key)| key.kid().as_str() == kid)
        };
        self.published.load().as_ref().is_some_and(named)
    }

    fn may_ask(&self, remote: &Remote) -> bool {
        let times = *remote.times.lock();
        let pause = if self.published.load().is_some() {
            // A key may sign when it has been published for as long as its issuer lets a set be kept.
            remote.rules.pause.min(times.fresh_for)
        } else {
            remote.rules.pause.min(FIRST_PAUSE)
        };
        times.asked.is_none_or(|at| remote.node.elapsed(at) >= pause)
    }

    async fn ask(self: Arc<Self>) -> bool {
        let Some(remote) = &self.remote else { return false };
        if !self.may_ask(remote) {
            return false;
        }
        remote.times.lock().asked = Some(remote.node.since_boot());
        let answered = self.take(remote).await;
        remote.times.lock().answered = answered;
        answered
    }

    /// Takes over what the issuer answers.
    async fn take(&self, remote: &Remote) -> bool {
        let request = Request::get(remote.url.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json");
        let Ok(request) = request.body(Bytes::new()) else { return false };
        let answer = match remote.transport.send(request).await {
            Ok(answer) if answer.status() == StatusCode::OK => answer,
            Ok(answer) => {
                tracing::warn!(url = %remote.url, status = %answer.status(), "no key set");
                return false;
            }
            Err(error) => {
                tracing::warn!(url = %remote.url, %error, "no key set");
                return false;
            }
        };
        let before = self.published.load_full();
        let algorithms = remote.algorithms.as_deref();
        let Some(published) = Published::read(answer.body(), before.as_deref(), algorithms) else {
            tracing::warn!(url = %remote.url, "the key set holds no key that can be used");
            return false;
        };
        self.published.store(Some(Arc::new(published)));
        let mut times = remote.times.lock();
        times.fetched = Some(remote.node.since_boot());
        times.fresh_for = freshness(&answer, remote.rules);
        true
    }
}

impl Published {
    /// The keys of a JWKS that can be used: others may be for somebody else (RFC 7517 §5). A key
    /// that was known before stays the same object, so that what it verified stays remembered.
    fn read(json: &[u8], before: Option<&Self>, algorithms: Option<&[Algorithm]>) -> Option<Self> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(json).ok()?;
        if set.keys.len() > MOST_KEYS {
            return None;
        }
        let known = before.map(|published| published.keys.as_slice()).unwrap_or_default();
        let keys: Vec<_> = set
            .keys
            .into_iter()
            .filter_map(|value| serde_json::from_value::<Jwk>(value).ok())
            .filter_map(|jwk| match algorithms {
                None => Some(jwk),
                Some(algorithms) => of_algorithms(jwk, algorithms),
            })
            .filter_map(|jwk| match known.iter().find(|(same, _)| *same == jwk) {
                Some((_, key)) => Some((jwk, Arc::clone(key))),
                None => VerifyingKey::from_jwk(&jwk).ok().map(|key| (jwk, Arc::new(key))),
            })
            .collect();
        let set = KeySet::new(keys.iter().map(|(_, key)| Arc::clone(key)).collect());
        let version = before.map_or(1, |published| published.version + 1);
        (!keys.is_empty()).then_some(Self { version, set, keys })
    }

    pub(crate) fn set(&self) -> KeySet {
        self.set.clone()
    }
}

/// A key as it may be used: with its own algorithm where that is allowed, or with the first that fits
/// where it names none (RFC 7517 §4.4). Never with what a token names. It needs no name, either (§4.5).
fn of_algorithms(jwk: Jwk, algorithms: &[Algorithm]) -> Option<Jwk> {
    let fits = |algorithm: &Algorithm| match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => algorithm.is_rsa(),
        ("EC", Some("P-256")) => *algorithm == Algorithm::Es256,
        ("OKP", Some("Ed25519")) => *algorithm == Algorithm::EdDsa,
        _ => false,
    };
    let alg = match jwk.alg {
        Some(own) => algorithms.contains(&own).then_some(own)?,
        None => algorithms.iter().copied().find(fits)?,
    };
    let kid = jwk.kid.clone().or_else(|| Some(jwk.thumbprint()));
    Some(Jwk { alg: Some(alg), kid, ..jwk })
}

/// For how long an answer is new: its `max-age` (RFC 9111 §5.2.2.1), between the pause and as long as
/// keys are kept at all.
fn freshness(answer: &Response<Bytes>, rules: KeyRules) -> Duration {
    let least = rules.pause.min(FIRST_PAUSE);
    max_age(answer.headers()).unwrap_or(rules.fresh_for).clamp(least, rules.kept_for.max(least))
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.remote {
            Some(remote) => write!(f, "KeySource({})", remote.url),
            None => f.write_str("KeySource(fixed)"),
        }
    }
}

#[cfg(test)]
mod tests;
