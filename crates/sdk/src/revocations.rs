//! What the provider has taken back, followed by a service, so that it refuses a token as soon as the
//! gateway does.
//!
//! The provider is asked for everything once, and from then on for what is new; its answer waits until
//! there is something. So a service learns of it within milliseconds, and knows at any time for how long
//! it could not have.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{StatusCode, Uri};
use parking_lot::Mutex;
use tegata_core::{Epoch, Node, Realm};
use tegata_token::{
    Claims, Notice, RealmView, Refusal, Revoked, StatusIndex, View,
    jws::Compact,
    revocation::{MOST_STALE, notice::LONGEST_NOTICE},
};
use tokio::time::timeout;

use crate::{
    authenticate::{KeySource, KeysUnavailable},
    provider::{Provider, TokenRefused},
    transport::{Transport, TransportFailed, TransportLimits},
};

/// For how long the provider's answer waits for news.
const WAIT: Duration = Duration::from_secs(1);

/// A whole notice may be large.
const LIMITS: TransportLimits =
    TransportLimits { timeout: Duration::from_secs(4), idle: 1, open: 2, answer: LONGEST_NOTICE };

/// How long before the provider is asked again that did not answer. Each further pause is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// No pause is longer: whoever follows is to know within seconds that the provider is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How many processes of the provider are remembered that have told something.
const MOST_TOLD: usize = 32;

/// What a service does while it cannot learn what is taken back: for more than 5 s it has heard nothing
/// that is recent enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenStale {
    /// Accepts nothing: 503.
    Strict,
    /// Accepts tokens in their first and in their last minute.
    #[default]
    Bounded,
    /// Accepts everything that is not known to be taken back.
    Available,
    /// Goes on with what is known for so long, counted from when the provider was heard last, a minute at
    /// most; then accepts nothing: 503.
    Within(Duration),
}

/// For how long [`WhenStale::Within`] goes on at most.
const LONGEST_WITHIN: Duration = Duration::from_secs(60);

/// Why nothing was learnt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTold {
    /// The provider does not answer.
    #[error(transparent)]
    Transport(#[from] TransportFailed),
    /// The question cannot be asked.
    #[error(transparent)]
    Question(#[from] TokenRefused),
    /// The provider says no.
    #[error(
        "the provider does not tell what is taken back: its status is {0}; with 400, let the client follow \
         it (`may_introspect`), with 401, see to its secret"
    )]
    Refused(StatusCode),
    /// The issuer's keys are not there.
    #[error(transparent)]
    Keys(#[from] KeysUnavailable),
    /// What it answers does not count.
    #[error("the provider's notice does not count: {0}")]
    Notice(#[from] Refusal),
}

/// What one issuer has taken back. Cheap to clone; clones know the same.
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    issuer: String,
    endpoint: Uri,
    provider: Provider,
    transport: Transport,
    keys: KeySource,
    view: View,
    known: Arc<RealmView>,
    told: Mutex<BTreeMap<String, u64>>,
}

impl Revocations {
    /// What this issuer takes back, as its provider tells this client at this endpoint
    /// (`/oauth2/revocations`). `keys` are the issuer's.
    #[must_use]
    pub fn of(issuer: &str, endpoint: Uri, provider: Provider, keys: KeySource) -> Self {
        let view = View::new(provider.node().clone());
        let known = view.realm(&Realm::default());
        let transport = provider.transport().within(LIMITS);
        let (issuer, told) = (issuer.to_owned(), Mutex::default());
        let inner = Inner { issuer, endpoint, provider, transport, keys, view, known, told };
        Self(Arc::new(inner))
    }

    /// Follows it for as long as this is polled: spawn it once.
    pub async fn follow(self) {
        let mut failures = 0_u32;
        loop {
            let failing = failures > 0;
            let asked = self.ask(WAIT).await;
            match &asked {
                Err(error) if !failing => {
                    tracing::warn!(issuer = self.0.issuer, %error, "revocations are not heard of");
                }
                Ok(()) if failing => {
                    tracing::info!(issuer = self.0.issuer, "revocations are heard of again");
                }
                _ => {}
            }
            self.0.view.forget();
            failures = if asked.is_err() { failures.saturating_add(1) } else { 0 };
            if let Some(number) = failures.checked_sub(1) {
                let pause = pause(number, self.0.provider.node());
                let _ = timeout(pause, std::future::pending::<()>()).await;
            }
        }
    }

    /// Asks once, and waits so long for news at most.
    ///
    /// # Errors
    /// [`NotTold`]; what was known before stays known.
    pub async fn ask(&self, wait: Duration) -> Result<(), NotTold> {
        let Inner { provider, view, told, .. } = &*self.0;
        let nonce = nonce(provider.node());
        let known: BTreeMap<String, u64> = told.lock().clone();
        let list: Vec<_> =
            known.iter().map(|(instance, news)| format!("{instance}.{news}")).collect();
        let (list, wait) = (list.join(" "), wait.as_millis().to_string());
        let form = [("nonce", nonce.as_str()), ("told", &list), ("wait_ms", &wait)];
        let request = provider.request(&self.0.endpoint, &form)?;
        let asked = provider.node().since_boot();
        let answer = self.0.transport.send(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(NotTold::Refused(answer.status()));
        }
        let unread = |_| Refusal::Claims("they are no notice");
        let text = std::str::from_utf8(answer.body()).map_err(unread)?;
        let notice = self.verify(text, &nonce).await?;
        // What is told as news is news to whoever has been told the rest.
        if !notice.whole && !known.contains_key(&notice.instance) {
            return Err(
                Refusal::Claims("they are news of a process that told nothing before").into()
            );
        }
        view.take_over(&Realm::default(), &notice, asked).map_err(Refusal::Claims)?;
        let mut told = told.lock();
        if told.len() >= MOST_TOLD && !told.contains_key(&notice.instance) {
            told.clear();
        }
        told.insert(notice.instance, notice.news);
        Ok(())
    }

    async fn verify(&self, text: &str, nonce: &str) -> Result<Notice, NotTold> {
        let verify = |keys| Notice::verify(text, &keys, &self.0.issuer, nonce);
        match verify(self.0.keys.current().await?.set()) {
            Err(Refusal::UnknownKey) => {
                let kid = Compact::kid_of(text).unwrap_or_default();
                if !self.0.keys.look_for(&kid).await {
                    return Err(Refusal::UnknownKey.into());
                }
                Ok(verify(self.0.keys.current().await?.set())?)
            }
            verified => Ok(verified?),
        }
    }

    /// For how long something could have been taken back without being known here. `None`: nothing
    /// has been heard yet.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.0.view.staleness()
    }

    /// How far the provider had followed its log when it told the latest.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.view.position()
    }

    /// Whose they are.
    pub(crate) fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// By what such a token is refused, if it is.
    pub(crate) fn check(
        &self,
        claims: &Claims,
        kid: &str,
        place: Option<StatusIndex>,
    ) -> Option<Revoked> {
        // Of what was issued before a backup was brought back, the provider does not know any more what
        // was taken back. The name of a token begins with its epoch.
        let since = self.0.view.epoch();
        let is_before =
            since > Epoch(0) && Epoch::leading(&claims.jti).is_none_or(|epoch| epoch < since);
        let known = || self.0.known.check_claims(claims, place, kid);
        if is_before { Some(Revoked::Token) } else { known() }
    }

    /// Whether enough is known to judge a token, or it may pass without.
    pub(crate) fn may_judge(&self, claims: &Claims, when_stale: WhenStale) -> bool {
        let heard_within = |bound| self.staleness().is_some_and(|age| age <= bound);
        match when_stale {
            WhenStale::Within(bound) => heard_within(bound.min(LONGEST_WITHIN)),
            _ if heard_within(MOST_STALE) => true,
            WhenStale::Strict => false,
            WhenStale::Bounded => is_young_or_old(claims, self.0.provider.node().now().secs()),
            WhenStale::Available => true,
        }
    }
}

/// Whether a token is in its first or in its last minute.
fn is_young_or_old(claims: &Claims, now: u64) -> bool {
    now.saturating_sub(claims.first_issued()) < 60 || claims.exp.saturating_sub(now) <= 60
}

/// How long to wait after a failure, counted from 0: between half and all of the pause, so that those who
/// lost the provider together do not come back together.
fn pause(number: u32, node: &Node) -> Duration {
    let longest = PAUSE.saturating_mul(1 << number.min(8)).min(LONGEST_PAUSE);
    let mut byte = [0_u8];
    node.entropy().fill(&mut byte);
    longest.mul_f64(0.5 + f64::from(u8::from_le_bytes(byte)) / 510.0)
}

/// Sixteen bytes of chance.
fn nonce(node: &Node) -> String {
    let mut bytes = [0; 16];
    node.entropy().fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocations({}, {:?})", self.0.issuer, self.0.view)
    }
}

#[cfg(test)]
mod tests;
