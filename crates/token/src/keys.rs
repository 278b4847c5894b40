//! The key rings of a realm, as this node uses them: a snapshot to sign with and to publish, kept
//! true to the store.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::json;
use tegata_core::{
    Batch, CommitRefused, Event, EventType, Expect, Feed, KeyId, Node, Realm, Records, StoreError,
    Stored, Versioned,
    port::{Message, Topic, Vault},
    repository,
};

use crate::{
    Algorithm,
    key::{KeyRefused, SigningKey},
    revocation::{Entry, Order, Revoker, Target},
    ring::{Ring, RingRefused, RotationRules},
    verifier::KeySet,
};

mod readers;
mod renewal;
mod snapshot;

pub use readers::Reader;
pub use renewal::Renewal;
pub use snapshot::Snapshot;

use readers::Readers;

/// How often a change that lost a race is tried again.
const TRIES: u32 = 20;

/// Why the keys cannot be used, or were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysRefused {
    /// The ring refused it.
    #[error(transparent)]
    Ring(#[from] RingRefused),
    /// A key could not be made or read.
    #[error(transparent)]
    Key(#[from] KeyRefused),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which key rings there are, and where the private halves of new keys are made.
#[derive(Clone, Default)]
pub struct Rings {
    /// The algorithms: a ring for each.
    pub algorithms: Vec<Algorithm>,
    /// Where private halves may be that are not in the store. Also asked to sign with those that were
    /// made there before, where new ones are not.
    pub vault: Option<Arc<dyn Vault>>,
    /// Whether new keys are made in the vault, and never leave it.
    pub makes_in_vault: bool,
}

impl Rings {
    /// A new key, made in the vault or here, which takes a while.
    async fn fresh(&self, algorithm: Algorithm) -> Result<SigningKey, KeyRefused> {
        match self.made_in() {
            Some(vault) => SigningKey::make(vault, algorithm).await,
            None => SigningKey::generate(algorithm),
        }
    }

    fn made_in(&self) -> Option<&Arc<dyn Vault>> {
        self.vault.as_ref().filter(|_| self.makes_in_vault)
    }
}

impl<A: AsRef<[Algorithm]> + ?Sized> From<&A> for Rings {
    fn from(algorithms: &A) -> Self {
        Self { algorithms: algorithms.as_ref().to_vec(), ..Self::default() }
    }
}

impl fmt::Debug for Rings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rings({:?})", self.algorithms)
    }
}

/// The keys of a realm.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
    actor: Option<Arc<str>>,
}

struct Inner {
    node: Node,
    realm: Realm,
    records: Arc<dyn Records>,
    feed: Arc<dyn Feed>,
    revoker: Revoker,
    rules: RotationRules,
    rings: Rings,
    now: ArcSwap<Snapshot>,
    listeners: Mutex<Vec<Listener>>,
    withheld: Mutex<Option<String>>,
    over: OnceLock<String>,
    readers: Readers,
}

type Listener = Box<dyn Fn(&KeySet) + Send + Sync>;

impl Keys {
    /// The keys of `realm`, with a ring for each of `algorithms`, made where there is none. Of two
    /// nodes that start at once, one makes them and the other reads them.
    ///
    /// # Errors
    /// What the store says; [`KeysRefused::Key`] where a stored key cannot be read.
    pub async fn open(
        node: Node,
        realm: Realm,
        records: Arc<dyn Records>,
        feed: Arc<dyn Feed>,
        revoker: Revoker,
        rules: RotationRules,
        rings: impl Into<Rings>,
    ) -> Result<Self, KeysRefused> {
        let inner = Inner {
            node,
            realm,
            records,
            feed,
            revoker,
            rules,
            rings: rings.into(),
            now: ArcSwap::default(),
            listeners: Mutex::default(),
            withheld: Mutex::default(),
            over: OnceLock::new(),
            readers: Readers::default(),
        };
        let keys = Self { inner: Arc::new(inner), actor: None };
        for algorithm in &keys.inner.rings.algorithms {
            keys.ensure(*algorithm).await?;
        }
        keys.reload().await?;
        Ok(keys)
    }

    /// The same keys, changed at the wish of `actor`: a user id, a client id or a word, for the journal.
    #[must_use]
    pub fn at_wish_of(&self, actor: &str) -> Self {
        Self { inner: Arc::clone(&self.inner), actor: Some(actor.into()) }
    }

    /// Makes nothing be signed with these keys until it is lifted with `None`, and says why. For a
    /// node whose clock cannot be believed.
    pub fn withhold(&self, why: Option<String>) {
        *self.inner.withheld.lock() = why;
    }

    /// Makes nothing be signed with these keys any more, and says why. Nothing lifts it.
    pub fn withhold_for_good(&self, why: String) {
        self.inner.over.get_or_init(|| why);
    }

    /// Why nothing is to be signed at the moment.
    #[must_use]
    pub fn withheld(&self) -> Option<String> {
        self.inner.over.get().cloned().or_else(|| self.inner.withheld.lock().clone())
    }

    /// The keys as they are now.
    #[must_use]
    pub fn now(&self) -> Arc<Snapshot> {
        self.inner.now.load_full()
    }

    /// Calls `listener` with the keys that verify, now and whenever they change.
    pub fn listen(&self, listener: impl Fn(&KeySet) + Send + Sync + 'static) {
        let mut listeners = self.inner.listeners.lock();
        listener(&self.now().key_set());
        listeners.push(Box::new(listener));
    }

    /// Reads the rings again. To be called when the feed says so, and every few seconds besides.
    ///
    /// # Errors
    /// What the store says; then the keys stay as they were.
    pub async fn reload(&self) -> Result<(), KeysRefused> {
        let mut rings = BTreeMap::new();
        for algorithm in &self.inner.rings.algorithms {
            if let Some(ring) = self.load(*algorithm).await? {
                rings.insert(*algorithm, ring);
            }
        }
        let mut listeners = self.inner.listeners.lock();
        let before = self.now();
        let newest = |snapshot: &Snapshot, algorithm: &Algorithm| {
            snapshot.rings.get(algorithm).map_or(0, |ring| ring.version)
        };
        // INVARIANT: a slower reader never puts back what a faster one has replaced.
        rings.retain(|algorithm, ring| ring.version > newest(&before, algorithm));
        if rings.is_empty() {
            return Ok(());
        }
        for (algorithm, ring) in &before.rings {
            rings.entry(*algorithm).or_insert_with(|| ring.clone());
        }
        let snapshot = Arc::new(Snapshot::of(rings, &before, self.inner.rings.vault.as_ref())?);
        self.inner.now.store(Arc::clone(&snapshot));
        let key_set = snapshot.key_set();
        listeners.iter_mut().for_each(|listener| listener(&key_set));
        Ok(())
    }

    /// A new key of this algorithm, made in the vault. `None`: new keys are not made there, but in memory,
    /// by the caller.
    ///
    /// # Errors
    /// [`KeysRefused::Key`] where the vault makes none.
    pub async fn make(&self, algorithm: Algorithm) -> Result<Option<SigningKey>, KeysRefused> {
        match self.inner.rings.made_in() {
            Some(vault) => Ok(Some(SigningKey::make(vault, algorithm).await?)),
            None => Ok(None),
        }
    }

    /// Makes the next key sign. `fresh` is published as the one after; making an RSA key takes a
    /// while, which is why the caller does. One that comes to nothing is destroyed in its vault.
    ///
    /// # Errors
    /// [`RingRefused::TooSoon`] unless `danger_force`; [`RingRefused::Unused`]; what the store says.
    pub async fn rotate(&self, fresh: &SigningKey, danger_force: bool) -> Result<(), KeysRefused> {
        let rules = self.inner.rules;
        let changed = self.change(fresh.algorithm(), None, |ring| {
            ring.rotate(fresh, self.inner.node.now(), rules, danger_force)
        });
        settle(fresh, changed.await).await
    }

    /// Whether a ring can be rotated now without a verifier missing the new key.
    ///
    /// # Errors
    /// [`RingRefused::TooSoon`] says from when it can.
    pub fn check_rotation(&self, algorithm: Algorithm) -> Result<(), RingRefused> {
        let now = self.inner.node.now();
        let snapshot = self.now();
        let ring = snapshot.rings.get(&algorithm);
        ring.map_or(Ok(()), |ring| ring.value.check_rotation(now, self.inner.rules))
    }

    /// The algorithms whose next key is to sign now: the current one has signed for as long as it is
    /// meant to.
    #[must_use]
    pub fn due(&self) -> Vec<Algorithm> {
        let (now, snapshot) = (self.inner.node.now(), self.now());
        let due =
            snapshot.rings.iter().filter(|(_, ring)| ring.value.is_due(now, self.inner.rules));
        due.map(|(algorithm, _)| *algorithm).collect()
    }

    /// Makes the next key of a ring sign, if it is due; `fresh` is published as the one after. Answers
    /// whether it was: of several nodes that ask, one does it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn rotate_due(&self, fresh: &SigningKey) -> Result<bool, KeysRefused> {
        let rules = self.inner.rules;
        let due = self.change(fresh.algorithm(), None, |ring| {
            ring.rotate_due(fresh, self.inner.node.now(), rules)
        });
        match settle(fresh, due.await).await {
            Ok(()) => Ok(true),
            Err(KeysRefused::Ring(RingRefused::NotDue(_))) => Ok(false),
            Err(refused) => Err(refused),
        }
    }

    /// Makes a key from another issuer sign.
    ///
    /// # Errors
    /// [`RingRefused::Exists`]; [`RingRefused::Unused`]; [`RingRefused::MadeInVault`] where keys never
    /// leave a vault; what the store says.
    pub async fn import(&self, key: &SigningKey) -> Result<(), KeysRefused> {
        if self.inner.rings.makes_in_vault {
            return Err(RingRefused::MadeInVault.into());
        }
        self.reload().await?;
        let thumbprint = key.jwk().thumbprint();
        for ring in self.now().rings.values() {
            // One name or one key in two rings would be two meanings: a key has one algorithm.
            let known = ring
                .value
                .keys()
                .iter()
                .find(|it| it.kid == *key.kid() || it.jwk.thumbprint() == thumbprint);
            if let Some(known) = known {
                return Err(RingRefused::Exists(known.kid.clone()).into());
            }
        }
        let rules = self.inner.rules;
        self.change(key.algorithm(), None, |ring| ring.import(key, self.inner.node.now(), rules))
            .await
            .map(drop)
    }

    /// Retires a key whose tokens have died.
    ///
    /// # Errors
    /// [`RingRefused::InUse`] where that is not safe; what the store says.
    pub async fn retire(&self, kid: &KeyId) -> Result<(), KeysRefused> {
        let algorithm = self.algorithm_of(kid)?;
        self.change(algorithm, None, |ring| ring.retire(kid, self.inner.node.now())).await?;
        self.destroy_retired(algorithm).await;
        Ok(())
    }

    /// Takes back a key that somebody else has, and with it everything that it signed. Without a fresh one
    /// where none can be made: what was signed is taken back all the same.
    ///
    /// # Errors
    /// [`RingRefused::Unknown`]; what the store says.
    pub async fn expel(
        &self,
        kid: &KeyId,
        fresh: Option<&SigningKey>,
        order: &Order,
    ) -> Result<(), KeysRefused> {
        let algorithm = match fresh {
            Some(fresh) => fresh.algorithm(),
            None => self.algorithm_of(kid)?,
        };
        let now = self.inner.node.now();
        let entry = Entry {
            target: Target::Key(kid.clone()),
            places: vec![],
            at: now,
            until: now + self.inner.rules.verifies_for,
            reason: order.reason.clone(),
            actor: order.actor.clone(),
        };
        let rules = self.inner.rules;
        let changed =
            self.change(algorithm, Some(entry), |ring| ring.expel(kid, fresh, now, rules)).await;
        match fresh {
            Some(fresh) => settle(fresh, changed).await?,
            None => changed.map(drop)?,
        }
        self.destroy_retired(algorithm).await;
        Ok(())
    }

    /// The algorithm of a key.
    ///
    /// # Errors
    /// [`RingRefused::Unknown`].
    pub fn algorithm_of(&self, kid: &KeyId) -> Result<Algorithm, RingRefused> {
        let snapshot = self.now();
        let mut keys = snapshot.list();
        keys.find(|(known, ..)| *known == kid)
            .map(|(_, algorithm, _)| algorithm)
            .ok_or_else(|| RingRefused::Unknown(kid.clone()))
    }

    /// Destroys in the vault what has been retired. What fails is tried again when the rings are next
    /// tidied: until then, the ring knows of it.
    async fn destroy_retired(&self, algorithm: Algorithm) {
        let Some(vault) = &self.inner.rings.vault else { return };
        let Ok(Some(ring)) = self.load(algorithm).await else { return };
        let mut gone = Vec::new();
        for handle in ring.value.to_destroy().unwrap_or_default() {
            match vault.destroy(&handle).await {
                Ok(()) => gone.push(handle),
                Err(error) => {
                    tracing::warn!(%error, %algorithm, "a retired key is still in the token");
                }
            }
        }
        if gone.is_empty() {
            return;
        }
        let after = ring.value.clone().destroyed(&gone);
        let batch = Batch::new(self.inner.realm.clone()).with(ring.replace(&after));
        // Whoever was faster has noted the same; and to destroy it once more does nothing.
        if let Err(CommitRefused::Store(error)) = self.inner.records.commit(batch).await {
            tracing::warn!(%error, "that retired keys were destroyed was not noted");
        }
    }

    /// Retires the keys whose tokens have died. To be called now and then.
    ///
    /// # Errors
    /// What the store says.
    pub async fn tidy(&self) -> Result<(), KeysRefused> {
        for algorithm in &self.inner.rings.algorithms {
            let Some(ring) = self.load(*algorithm).await? else { continue };
            if let Some(tidied) = ring.value.clone().tidy(self.inner.node.now()) {
                let mut batch = Batch::new(self.inner.realm.clone()).with(ring.replace(&tidied));
                for event in
                    events(&self.inner.node, &self.inner.realm, *algorithm, &ring.value, &tidied)
                {
                    batch = batch.journal(&event);
                }
                match self.inner.records.commit(batch).await {
                    // Whoever was faster has tidied, or will.
                    Ok(()) | Err(CommitRefused::Conflict { .. }) => {}
                    Err(CommitRefused::Store(error)) => return Err(error.into()),
                }
            }
            self.destroy_retired(*algorithm).await;
        }
        self.reload().await
    }

    async fn ensure(&self, algorithm: Algorithm) -> Result<(), KeysRefused> {
        if self.load(algorithm).await?.is_some() {
            return Ok(());
        }
        let rings = &self.inner.rings;
        let current = rings.fresh(algorithm).await?;
        let next = match rings.fresh(algorithm).await {
            Ok(next) => next,
            Err(refused) => {
                discard(&current).await;
                return Err(refused.into());
            }
        };
        let ring = Ring::new(&current, &next, self.inner.node.now())?;
        let batch = Batch::new(self.inner.realm.clone()).with(ring.put(Expect::Absent));
        match self.inner.records.commit(batch).await {
            Ok(()) => Ok(()),
            // Another node was first.
            Err(CommitRefused::Conflict { .. }) => {
                discard(&current).await;
                discard(&next).await;
                Ok(())
            }
            Err(CommitRefused::Store(error)) => Err(error.into()),
        }
    }

    async fn change(
        &self,
        algorithm: Algorithm,
        entry: Option<Entry>,
        change: impl Fn(Ring) -> Result<Ring, RingRefused>,
    ) -> Result<Ring, KeysRefused> {
        // A ring that nobody reads would take the change and do nothing with it.
        if !self.inner.rings.algorithms.contains(&algorithm) {
            return Err(RingRefused::Unused(algorithm).into());
        }
        for _ in 0..TRIES {
            let Some(before) = self.load(algorithm).await? else {
                self.ensure(algorithm).await?;
                continue;
            };
            let after = change(before.value.clone())?;
            let mut batch = Batch::new(self.inner.realm.clone()).with(before.replace(&after));
            let (node, realm) = (&self.inner.node, &self.inner.realm);
            for mut event in events(node, realm, algorithm, &before.value, &after) {
                if let Some(actor) = &self.actor {
                    event.data.insert("actor".to_owned(), json!(&**actor));
                }
                batch = batch.journal(&event);
            }
            match self.inner.revoker.commit(batch, entry.iter().cloned().collect()).await {
                Ok(()) => {
                    // It is changed; a node that cannot read it now reads it a little later.
                    if let Err(error) = self.reload().await {
                        tracing::warn!(%error, "the key rings were changed and cannot be read back");
                    }
                    let realm = self.inner.realm.as_str().as_bytes().to_vec();
                    // A hint: every node also reads its rings every few seconds.
                    let _ = self.inner.feed.publish(Message::new(Topic::Keys, realm)).await;
                    return Ok(after);
                }
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable {
            backend: "the record store",
            detail: "a key ring changed faster than it could be written".to_owned(),
        }
        .into())
    }

    async fn load(&self, algorithm: Algorithm) -> Result<Option<Versioned<Ring>>, StoreError> {
        repository::load(self.inner.records.as_ref(), &self.inner.realm, algorithm.name()).await
    }
}

/// Destroys a key of a vault that was made for a change and is not in the ring.
///
/// INVARIANT: never where it may be. A store that does not answer may have written the change.
async fn settle(fresh: &SigningKey, changed: Result<Ring, KeysRefused>) -> Result<(), KeysRefused> {
    let unused = match &changed {
        Ok(ring) => ring.keys().iter().all(|key| key.kid != *fresh.kid()),
        Err(KeysRefused::Ring(_)) => true,
        Err(_) => false,
    };
    if unused {
        discard(fresh).await;
    }
    changed.map(drop)
}

async fn discard(key: &SigningKey) {
    if let Err(error) = key.destroy().await {
        tracing::warn!(%error, kid = %key.kid(), "a key that nobody uses stays in the token");
    }
}

/// An event for each key whose state differs.
fn events(
    node: &Node,
    realm: &Realm,
    algorithm: Algorithm,
    before: &Ring,
    after: &Ring,
) -> Vec<Event> {
    let state = |ring: &Ring, kid: &KeyId| {
        ring.keys().iter().find(|key| key.kid == *kid).map(|key| key.state.name())
    };
    let changed =
        after.keys().iter().filter(|key| state(before, &key.kid) != Some(key.state.name()));
    changed
        .map(|key| {
            let data = [
                ("kid", json!(key.kid)),
                ("algorithm", json!(algorithm)),
                ("state", json!(key.state.name())),
            ];
            Event::new(node, realm, EventType::KeyRotated, data)
        })
        .collect()
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.inner.realm)
    }
}
