//! What was found of credentials lately, for whoever is asked about the same ones again and again and is
//! not to hold any of them.
//!
//! Remembered is what a token says, under a keyed hash of the token; the key is made at the start and
//! leaves no process. **Remembering lets nothing pass by itself**: at every use it is asked again whether
//! the token has ended, whether its key still counts, whether it was taken back, and whether enough is
//! known to say so. What a use spares is reading the token and checking its signature.

use std::{fmt, time::Duration};

use aws_lc_rs::hmac;
use http::HeaderMap;
use quick_cache::sync::Cache;
use tegata_core::{Entropy, SinceBoot};
use tegata_token::Refusal;

use super::{Authenticator, Caller, Presented, Reason, Refused, Settled, proof::Seen};

/// How much is remembered, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct MemoLimits {
    /// So many credentials that count, and as many that do not. 0 remembers nothing.
    pub entries: usize,
    /// For how long: 60 s, which is also the most.
    pub lifetime: Duration,
}

impl Default for MemoLimits {
    fn default() -> Self {
        Self { entries: 1_000, lifetime: LONGEST }
    }
}

const LONGEST: Duration = Duration::from_secs(60);

/// For how long it is remembered that nobody knows something yet: it may be known in a moment.
const UNKNOWN: Duration = Duration::from_secs(1);

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundIn {
    /// From what was remembered.
    Memo,
    /// From the token itself.
    Token,
}

/// What was found of credentials lately.
pub struct Memo {
    key: hmac::Key,
    limits: MemoLimits,
    good: Cache<Hash, (Settled, SinceBoot)>,
    /// Apart, so that whoever sends nonsense pushes nobody out who counts.
    bad: Cache<Hash, (Reason, SinceBoot)>,
}

type Hash = [u8; 32];

impl Memo {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(limits: MemoLimits, entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let lifetime = limits.lifetime.min(LONGEST);
        let limits = MemoLimits { lifetime, ..limits };
        let room = limits.entries.max(1);
        Self { key, limits, good: Cache::new(room), bad: Cache::new(room) }
    }

    /// How many credentials that count are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.good.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.good.is_empty()
    }

    /// Who sent a request with these headers, as [`Authenticator::authenticate`] says it.
    ///
    /// # Errors
    /// [`Refused`] says what to answer.
    pub async fn authenticate(
        &self,
        authenticator: &Authenticator,
        headers: &HeaderMap,
    ) -> (Result<Caller, Refused>, FoundIn) {
        let presented = match authenticator.presented(headers) {
            Ok(presented) => presented,
            Err(refused) => return (Err(refused), FoundIn::Token),
        };
        let hash = self.hash(presented);
        let (settled, from) = self.settle(authenticator, presented, hash).await;
        let answer = match settled {
            Ok(settled) => {
                let claims = settled.claims().clone();
                authenticator.admit(claims, (headers, presented), Seen::default()).await
            }
            Err(reason) => Err(authenticator.refuse(reason)),
        };
        (answer, from)
    }

    async fn settle(
        &self,
        authenticator: &Authenticator,
        presented: Presented<'_>,
        hash: Hash,
    ) -> (Result<Settled, Reason>, FoundIn) {
        let now = authenticator.node().since_boot();
        if let Some((reason, until)) = self.bad.get(&hash) {
            if now < until {
                return (Err(reason), FoundIn::Memo);
            }
            self.bad.remove(&hash);
        }
        if let Some((settled, until)) = self.good.get(&hash) {
            if now < until {
                match authenticator.settle_again(&settled).await {
                    // The issuer publishes its keys anew: the token says with which it was signed.
                    Err(Reason::Token(Refusal::UnknownKey)) => {}
                    again => {
                        if let Err(reason) = &again {
                            self.note_refusal(hash, reason, now);
                        }
                        return (again.map(|()| settled), FoundIn::Memo);
                    }
                }
            }
            self.good.remove(&hash);
        }
        let found = authenticator.settle_token(presented).await;
        match &found {
            Ok(settled) if self.limits.entries > 0 => {
                self.good.insert(hash, (settled.clone(), after(now, self.limits.lifetime)));
            }
            Ok(_) => {}
            Err(reason) => self.note_refusal(hash, reason, now),
        }
        (found, FoundIn::Token)
    }

    /// Remembers a refusal that holds for a while.
    fn note_refusal(&self, hash: Hash, reason: &Reason, now: SinceBoot) {
        let span = match reason {
            // A key may be published, and a clock set right, at any moment.
            Reason::Token(Refusal::UnknownKey | Refusal::NotYet) => UNKNOWN,
            // What has ended stays refused, though the clock were turned back.
            Reason::Token(_) | Reason::Revoked => {
                self.good.remove(&hash);
                self.limits.lifetime
            }
            // Whether it counts nobody knows, or it depends on the request.
            _ => return,
        };
        if self.limits.entries > 0 {
            self.bad.insert(hash, (reason.clone(), after(now, span)));
        }
    }

    /// A text that is good as one kind of credential may be none as another.
    fn hash(&self, presented: Presented<'_>) -> Hash {
        let (kind, token) = match presented {
            Presented::Internal(token) => (b'i', token),
            Presented::Bearer(token) => (b'b', token),
            Presented::Dpop(token) => (b'd', token),
        };
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[kind]);
        context.update(token.as_bytes());
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        hash
    }
}

const fn after(now: SinceBoot, span: Duration) -> SinceBoot {
    SinceBoot(now.0.saturating_add(span))
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
