//! API keys at the gateway: whom a key stands for.
//!
//! What nobody here made is refused from its text alone. Of the others the record is read, by one for all
//! who ask at once, and kept for a moment: that a key was taken back meanwhile the view of revocations
//! knows, which the gateway asks afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quick_cache::sync::Cache;
use tegata_core::{BoxFuture, Node, SinceBoot, StoreError, flight::Flights};
use tegata_gateway::{KeyCheck, KeyIdentity, KeyUnfit};
use tegata_token::{
    ApiKey, ApiKeyId, ApiKeys, Uses,
    api_key::{NotAKey, Shown, Standing},
};

use crate::{compose::Composed, in_time::in_time};

/// For how long what was read of a key serves. Less than the shortest time in which one counts beside the
/// one that takes its place, so that it ends when it is said to.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// How many keys are kept.
const KEPT: usize = 10_000;

/// How often it is written down.
pub(crate) const WRITTEN: Duration = Duration::from_secs(30);

/// Answers the gateway about API keys.
pub(crate) struct KeyDoor {
    node: Node,
    keys: ApiKeys,
    issuer: String,
    known: Cache<ApiKeyId, Arc<Known>>,
    reading: Flights<ApiKeyId, Result<Arc<Known>, StoreError>>,
    uses: Arc<Uses>,
}

/// What was read of a key.
struct Known {
    at: SinceBoot,
    /// `None`: there is no such key.
    key: Option<(ApiKey, Arc<KeyIdentity>)>,
    /// Whether its use has been noted since.
    noted: AtomicBool,
}

impl KeyDoor {
    /// For the keys of `composed`.
    pub(crate) fn new(composed: &Composed) -> Self {
        Self {
            node: composed.node.clone(),
            keys: composed.api_keys.clone(),
            issuer: composed.config.issuer(),
            known: Cache::new(KEPT),
            reading: Flights::new(),
            uses: Arc::clone(&composed.key_uses),
        }
    }

    async fn judge(&self, text: &str) -> Result<Arc<KeyIdentity>, KeyUnfit> {
        let shown = self.keys.read(text).map_err(|why| match why {
            NotAKey::Form | NotAKey::Check => KeyUnfit::Malformed,
            NotAKey::Seal => KeyUnfit::Unknown,
        })?;
        let known = self.known(&shown).await.map_err(|error| {
            tracing::warn!(%error, "an API key could not be looked up");
            KeyUnfit::Unavailable
        })?;
        let (key, identity) = known.key.as_ref().ok_or(KeyUnfit::Unknown)?;
        // Whoever does not have the secret learns nothing of how the key stands.
        if !key.is(&shown, &self.keys) {
            return Err(KeyUnfit::Unknown);
        }
        match self.keys.standing(key) {
            Standing::Active => {}
            Standing::Expired => return Err(KeyUnfit::Expired),
            Standing::Revoked | Standing::OfBefore => return Err(KeyUnfit::Unknown),
        }
        // What was read serves for some seconds: one note for each is exact enough.
        if !known.noted.load(Ordering::Relaxed) && !known.noted.swap(true, Ordering::Relaxed) {
            self.uses.note(&key.id, self.node.now());
        }
        Ok(Arc::clone(identity))
    }

    async fn known(&self, shown: &Shown) -> Result<Arc<Known>, StoreError> {
        let now = self.node.since_boot();
        let is_fresh = |known: &Arc<Known>| now.since(known.at) < KEPT_FOR;
        if let Some(known) = self.known.get(&shown.id).filter(is_fresh) {
            return Ok(known);
        }
        let (keys, node, issuer) = (self.keys.clone(), self.node.clone(), self.issuer.clone());
        let id = shown.id.clone();
        let read = || async move {
            // Taken before it is read: what was read is no younger.
            let at = node.since_boot();
            let found = in_time(keys.load(&id)).await?;
            let key = found.map(|found| {
                let (claims, grant) = (found.value.claims(&issuer), found.value.grant.clone());
                let identity = Arc::new(KeyIdentity { id, claims, grant });
                (found.value, identity)
            });
            Ok(Arc::new(Known { at, key, noted: AtomicBool::default() }))
        };
        let read = self.reading.join(shown.id.clone(), read).await?;
        // What was made of it stays as long as it says the same.
        let read = match self.known.get(&shown.id) {
            Some(before) => read.keeping(&before),
            None => read,
        };
        self.known.insert(shown.id.clone(), Arc::clone(&read));
        Ok(read)
    }
}

impl Known {
    fn keeping(self: Arc<Self>, before: &Self) -> Arc<Self> {
        match (&self.key, &before.key) {
            (Some((key, _)), Some((same, identity))) if key == same => {
                let key = Some((key.clone(), Arc::clone(identity)));
                Arc::new(Self { at: self.at, key, noted: AtomicBool::default() })
            }
            _ => self,
        }
    }
}

impl KeyCheck for KeyDoor {
    fn check<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Arc<KeyIdentity>, KeyUnfit>> {
        Box::pin(self.judge(text))
    }
}

/// Writes down when keys were used.
pub(crate) async fn write_uses(composed: &Composed) -> Result<(), StoreError> {
    let used = composed.key_uses.take();
    if used.is_empty() {
        return Ok(());
    }
    let written = composed.api_keys.note_used(&used).await;
    if written.is_err() {
        used.iter().for_each(|(id, at)| composed.key_uses.note(id, *at));
    }
    written
}

#[cfg(test)]
mod tests;
