//! What a view has learnt of late, in the order in which it did.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, RwLock};
use tegata_core::{NodeId, Realm};

use super::Entry;

/// How many pieces are kept, at most a megabyte. Whoever has missed more is told everything.
const KEPT: usize = 2048;

/// The latest news.
pub(super) struct News {
    /// Whose: a number of before means nothing to the process of today.
    pub(super) instance: NodeId,
    count: AtomicU64,
    latest: Mutex<VecDeque<(Realm, Entry)>>,
    listeners: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl News {
    pub(super) fn of(instance: NodeId) -> Self {
        let (count, latest, listeners) = Default::default();
        Self { instance, count, latest, listeners }
    }

    /// How many pieces there have been.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Applies an entry, and notes it if that was news. Both at once: of two who apply the same, the one
    /// to whom it is none must not go on before it is noted.
    pub(super) fn noting(&self, realm: &Realm, entry: &Entry, apply: impl FnOnce() -> bool) {
        let mut latest = self.latest.lock();
        if !apply() {
            return;
        }
        if latest.len() == KEPT {
            latest.pop_front();
        }
        latest.push_back((realm.clone(), entry.clone()));
        self.count.fetch_add(1, Ordering::AcqRel);
        drop(latest);
        self.listeners.read().iter().for_each(|listener| listener());
    }

    /// Notes that more was learnt than is said here piece by piece: whoever asks next is told everything.
    pub(super) fn skip(&self) {
        let mut latest = self.latest.lock();
        latest.clear();
        self.count.fetch_add(1, Ordering::AcqRel);
        drop(latest);
        self.listeners.read().iter().for_each(|listener| listener());
    }

    /// Calls this each time.
    pub(super) fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.listeners.write().push(Box::new(listener));
    }

    /// What has come after so many pieces, and how many there were then. `None`: not all of it is kept,
    /// or there never were so many.
    pub(super) fn since(&self, realm: &Realm, after: u64) -> Option<(Vec<Entry>, u64)> {
        let latest = self.latest.lock();
        let count = self.count();
        let missed = usize::try_from(count.checked_sub(after)?).ok()?;
        let first = latest.len().checked_sub(missed)?;
        let of_realm = latest.iter().skip(first).filter(|(of, _)| of == realm);
        Some((of_realm.map(|(_, entry)| entry.clone()).collect(), count))
    }
}
