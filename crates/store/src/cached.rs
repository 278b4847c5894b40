//! Records that are kept near, for whoever need not have the latest.
//!
//! ```text
//! recent ─► this process (10,000 records, 60 s) ─► a nearer store (Redis, 60 s) ─► the store
//! commit ─► the store ─► both are told, and every other node through the feed
//! ```
//!
//! [`Records::load`] passes by all of it: what decides is never read here. [`Records::recent`] may
//! answer what was true a moment ago. How long a moment is:
//!
//! - a change by this node is seen at once;
//! - a change by another node is seen when the feed brings it, a few milliseconds later;
//! - while the feed is not heard, nothing of this process answers, and the nearer store does;
//! - whatever happens, what is older than a minute does not answer.
//!
//! **A late answer brings nothing back.** A reading that began before a change and ends after it
//! finds its number changed, and is not kept. In the nearer store, an older version never replaces
//! a newer one; where a replica of it has not heard of the newer one yet, its answer is older than
//! what the feed said there is, and counts for nothing.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::sync::Cache;
use tegata_core::{
    Batch, Clock, CommitRefused, Ephemeral, Expect, Feed, Kind, Log, Realm, Records, SinceBoot,
    StoreError, Timestamp,
    id::NodeId,
    port::{
        BoxFuture, Change, Heard, Message, Page, Pull, Record, Reread, Sequenced, Stamp, Topic,
    },
};
use tokio::runtime::Handle;

mod message;
mod near;

use message::Invalidation;
pub use near::NEAR;
use near::Near;

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct CachedConfig {
    /// How many records this process keeps.
    pub records: usize,
    /// How old an answer may be.
    pub lifetime: Duration,
}

impl Default for CachedConfig {
    fn default() -> Self {
        Self { records: 10_000, lifetime: Duration::from_secs(60) }
    }
}

/// How many numbers keep watch over the keys: two keys of one number only make each other's
/// readings useless now and then.
const NUMBERS: usize = 4096;

/// How long a commit waits until its changes have been made known.
const TELLING: Duration = Duration::from_millis(50);

/// How often what was asked for was near.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    /// Answered by this process.
    pub own: u64,
    /// Answered by the nearer store.
    pub near: u64,
    /// Answered by the store.
    pub store: u64,
}

/// Records of some kinds, kept near.
pub struct Cached {
    inner: Arc<dyn Records>,
    kinds: Vec<&'static Kind>,
    own: Cache<Key, Kept>,
    /// Of what was changed lately: which version there is at least.
    least: Cache<Key, Least>,
    near: Option<Arc<Near>>,
    feed: Arc<dyn Feed>,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
    hashes: RandomState,
    /// Raised when a key of that number changes.
    changed: Vec<AtomicU64>,
    /// Whether what other nodes change is heard.
    hears: AtomicBool,
    hits: [AtomicU64; 3],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    realm: Realm,
    kind: &'static str,
    key: String,
}

#[derive(Clone)]
struct Kept {
    record: Arc<Record>,
    until: SinceBoot,
}

#[derive(Clone, Copy)]
struct Least {
    version: u64,
    /// When a copy of anything older is dead anyway.
    until: SinceBoot,
}

/// A record that a batch changes.
struct Changed {
    key: Key,
    kind: &'static Kind,
    /// What stands there afterwards, where that is known beforehand.
    next: Option<Record>,
}

impl Cached {
    /// Keeps records of `kinds` near: in this process, and in `near` where there is one.
    ///
    /// Until [`Self::listens`] says that the feed is heard, nothing of this process answers. Bodies
    /// go into `near` as they come out of `inner`: above a store that is sealed, that is to be sealed
    /// too.
    #[must_use]
    pub fn new(
        inner: Arc<dyn Records>,
        near: Option<Arc<dyn Ephemeral>>,
        feed: Arc<dyn Feed>,
        kinds: &[&'static Kind],
        config: CachedConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let near =
            near.map(|store| Arc::new(Near::new(store, Arc::clone(&clock), config.lifetime)));
        Self {
            inner,
            kinds: kinds.to_vec(),
            own: Cache::new(config.records),
            least: Cache::new(config.records),
            near,
            feed,
            clock,
            lifetime: config.lifetime,
            hashes: RandomState::new(),
            changed: (0..NUMBERS).map(|_| AtomicU64::new(0)).collect(),
            hears: AtomicBool::new(false),
            hits: Default::default(),
        }
    }

    /// Says whether what other nodes change is heard from now on. Whoever begins to hear begins with
    /// nothing: what is here may have changed meanwhile.
    pub fn listens(&self, hears: bool) {
        self.own.clear();
        self.raise_all();
        self.hears.store(hears, Ordering::SeqCst);
        // What was on its way in between is not to be trusted either.
        self.own.clear();
        self.raise_all();
    }

    /// Applies what another node said it changed. What is no such message is ignored.
    pub fn hear(&self, heard: &Heard) {
        match heard {
            Heard::Gap => self.listens(self.hears.load(Ordering::SeqCst)),
            Heard::Message(message) => {
                if let Some(said) = Invalidation::read(message)
                    && let Some(kind) = self.kinds.iter().find(|it| it.name == said.kind)
                {
                    let key = Key { realm: said.realm, kind: kind.name, key: said.key };
                    self.drop_own(&key, said.version);
                }
            }
        }
    }

    /// How often what was asked for was near.
    #[must_use]
    pub fn hits(&self) -> Hits {
        let [own, near, store] =
            std::array::from_fn(|at| self.hits.get(at).map_or(0, |it| it.load(Ordering::Relaxed)));
        Hits { own, near, store }
    }

    fn keeps(&self, kind: &Kind) -> bool {
        self.kinds.iter().any(|kept| std::ptr::eq(*kept, kind))
    }

    fn number(&self, key: &Key) -> Option<&AtomicU64> {
        let count = u64::try_from(self.changed.len()).ok()?;
        let at = self.hashes.hash_one(key).checked_rem(count)?;
        self.changed.get(usize::try_from(at).ok()?)
    }

    fn raise_all(&self) {
        for number in &self.changed {
            number.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Drops a record that has changed. `version`: which there is now, if that is known.
    fn drop_own(&self, key: &Key, version: Option<u64>) {
        let until = SinceBoot(self.clock.since_boot().0 + self.lifetime);
        let version = version.unwrap_or(u64::MAX);
        let version = self.least.get(key).map_or(version, |least| least.version.max(version));
        self.least.insert(key.clone(), Least { version, until });
        if let Some(number) = self.number(key) {
            number.fetch_add(1, Ordering::SeqCst);
        }
        self.own.remove(key);
    }

    /// Whether a copy is older than what is known to be there.
    fn is_outdated(&self, key: &Key, copy: &Record) -> bool {
        self.least.get(key).is_some_and(|least| {
            copy.version < least.version && self.clock.since_boot().0 < least.until.0
        })
    }

    /// What this process keeps, if it may answer.
    fn kept(&self, key: &Key) -> Option<Arc<Record>> {
        if !self.hears.load(Ordering::SeqCst) {
            return None;
        }
        let kept = self.own.get(key)?;
        (self.clock.since_boot().0 < kept.until.0).then_some(kept.record)
    }

    /// Keeps a record that was read, unless something changed since `before`.
    fn keep(&self, key: &Key, record: Record, age: Duration, before: u64) {
        if !self.hears.load(Ordering::SeqCst) {
            return;
        }
        let left = self.lifetime.saturating_sub(age);
        let until = SinceBoot(self.clock.since_boot().0 + left);
        self.own.insert(key.clone(), Kept { record: Arc::new(record), until });
        // INVARIANT: who changes a key raises its number first and drops it then. So whatever comes
        // in between, either this sees the number, or the other drops what was put here.
        let now = self.number(key).map_or(u64::MAX, |number| number.load(Ordering::SeqCst));
        if now != before {
            self.own.remove(key);
        }
    }

    fn count(&self, layer: usize) {
        if let Some(hits) = self.hits.get(layer) {
            hits.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn recent_of(
        &self,
        realm: &Realm,
        kind: &'static Kind,
        key: &str,
    ) -> Result<Option<Record>, StoreError> {
        let key = Key { realm: realm.clone(), kind: kind.name, key: key.to_owned() };
        if let Some(record) = self.kept(&key) {
            self.count(0);
            return Ok(Some(Record::clone(&record)));
        }
        let before = self.number(&key).map_or(0, |number| number.load(Ordering::SeqCst));
        if let Some(near) = &self.near
            && let Some((record, age)) = near.read(realm, kind, &key.key).await
            && !self.is_outdated(&key, &record)
        {
            self.count(1);
            self.keep(&key, record.clone(), age, before);
            return Ok(Some(record));
        }
        self.count(2);
        let Some(record) = self.inner.load(realm, kind, &key.key).await? else { return Ok(None) };
        if let Some(near) = &self.near {
            near.write(realm, kind, &record).await;
        }
        self.keep(&key, record.clone(), Duration::ZERO, before);
        Ok(Some(record))
    }

    /// What of a batch is kept near.
    fn changed(&self, batch: &Batch) -> Vec<Changed> {
        let changed = batch.changes.iter().filter_map(|change| {
            let (kind, key, next) = match change {
                Change::Put { kind, key, expect, body, .. } => {
                    let version = match expect {
                        Expect::Absent => Some(1),
                        Expect::Version(before) => before.checked_add(1),
                        Expect::Any => None,
                    };
                    let (key, body) = (key.clone(), body.clone());
                    (kind, key.clone(), version.map(|version| Record { key, version, body }))
                }
                Change::Remove { kind, key, .. } => (kind, key.clone(), None),
                Change::Require { .. } => return None,
            };
            let key = Key { realm: batch.realm.clone(), kind: kind.name, key };
            self.keeps(kind).then_some(Changed { key, kind, next })
        });
        changed.collect()
    }

    fn telling(&self) -> Telling {
        let (near, feed) = (self.near.clone(), Arc::clone(&self.feed));
        Telling { near, feed, clock: Arc::clone(&self.clock) }
    }

    /// Drops what a batch changes, or may have changed, from this process.
    fn forget(&self, changed: &[Changed], known: impl Fn(&Changed) -> Option<u64>) {
        changed.iter().for_each(|it| self.drop_own(&it.key, known(it)));
    }
}

/// Makes changes known to the nearer store and to the other nodes. It goes on when whoever made them
/// has gone away.
struct Telling {
    near: Option<Arc<Near>>,
    feed: Arc<dyn Feed>,
    clock: Arc<dyn Clock>,
}

impl Telling {
    /// `certain`: the batch was committed.
    async fn tell(self, changed: Vec<Changed>, certain: bool) {
        let mut hears = true;
        for Changed { key, kind, next } in changed {
            let next = next.filter(|_| certain);
            let version = next.as_ref().map(|record| record.version);
            match (&self.near, &next) {
                (Some(near), Some(record)) => near.write(&key.realm, kind, record).await,
                (Some(near), None) => near.forget(&key.realm, kind, &key.key).await,
                (None, _) => {}
            }
            let (realm, key) = (key.realm, key.key);
            let said = Invalidation { kind: kind.name.to_owned(), realm, key, version };
            let said = Message::new(Topic::Invalidations, said.write(self.clock.now()));
            // Others that do not hear this look for themselves, a minute later at most.
            hears = hears && self.feed.publish(said).await.is_ok();
        }
    }
}

/// What a batch changes is dropped from this process, and made known, when the batch has ended, however
/// it ended, and also when nobody waits for that any more.
struct Dropping<'a> {
    cached: &'a Cached,
    changed: Option<Vec<Changed>>,
}

impl Dropping<'_> {
    /// The batch has ended: it was committed, or nobody knows (`certain` is false).
    async fn ended(mut self, certain: bool) {
        let Some(changed) = self.changed.take() else { return };
        let known = |it: &Changed| it.next.as_ref().filter(|_| certain).map(|next| next.version);
        self.cached.forget(&changed, known);
        if changed.is_empty() {
            return;
        }
        let telling = tokio::spawn(self.cached.telling().tell(changed, certain));
        // Whoever asks another node next should find it there; whoever is slow is not waited for.
        let _ = tokio::time::timeout(TELLING, telling).await;
    }

    /// The batch was refused: nothing changed, but what this process had may have been old.
    fn refused(mut self) {
        if let Some(changed) = self.changed.take() {
            self.cached.forget(&changed, |_| Some(0));
        }
    }
}

impl Drop for Dropping<'_> {
    fn drop(&mut self) {
        // Whoever waited has gone away in between, and the batch may be committed all the same.
        let Some(changed) = self.changed.take() else { return };
        self.cached.forget(&changed, |_| None);
        // Without a runtime the program is at its end, and others look for themselves.
        if let (false, Ok(runtime)) = (changed.is_empty(), Handle::try_current()) {
            runtime.spawn(self.cached.telling().tell(changed, false));
        }
    }
}

impl Records for Cached {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.inner.load(realm, kind, key)
    }

    fn reread<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
        known: Option<&'a Stamp>,
    ) -> BoxFuture<'a, Result<Reread, StoreError>> {
        self.inner.reread(realm, kind, key, known)
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        if !self.keeps(kind) {
            return self.inner.recent(realm, kind, key);
        }
        Box::pin(self.recent_of(realm, kind, key))
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.inner.find(realm, kind, index, value, page)
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.inner.scan(realm, kind, page)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        let dropping = Dropping { changed: Some(self.changed(&batch)), cached: self };
        Box::pin(async move {
            let outcome = self.inner.commit(batch).await;
            match &outcome {
                Ok(()) => dropping.ended(true).await,
                Err(CommitRefused::Store(StoreError::Indeterminate { .. })) => {
                    dropping.ended(false).await;
                }
                Err(_) => dropping.refused(),
            }
            outcome
        })
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        self.inner.pull(log, after, limit)
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        self.inner.sequence(log, node)
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.purge(now, logs_before)
    }
}

#[cfg(test)]
mod tests;
