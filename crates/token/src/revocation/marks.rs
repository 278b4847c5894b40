//! Names that are taken back, and up to which moment.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::RwLock;
use tegata_core::Timestamp;

use super::view::is_kept;

/// Names that are marked: everything of theirs that was issued up to a moment is refused.
#[derive(Default)]
pub(super) struct Marks {
    // Lets the common case, nothing marked, pass without a lock.
    count: AtomicUsize,
    marked: RwLock<HashMap<Box<str>, Mark>>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) struct Mark {
    pub(super) up_to: Timestamp,
    pub(super) until: Timestamp,
}

impl Marks {
    /// Whether something of this name that was issued in the second `iat` is refused. `iat` is cut
    /// to whole seconds, so all of the second in which the mark was made counts as before it.
    pub(super) fn covers(&self, name: &str, iat: u64) -> bool {
        if iat == u64::MAX {
            return self.up_to(name).is_some();
        }
        self.up_to(name).is_some_and(|up_to| Timestamp::from_secs(iat) <= up_to)
    }

    pub(super) fn up_to(&self, name: &str) -> Option<Timestamp> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.marked.read().get(name).map(|mark| mark.up_to)
    }

    /// Marks a name. Marks only grow. Answers whether this one has.
    pub(super) fn mark(&self, name: &str, up_to: Timestamp, until: Timestamp) -> bool {
        let mut marked = self.marked.write();
        let before = marked.get(name).copied();
        let of_before = before.unwrap_or(Mark { up_to, until });
        let mark = Mark { up_to: of_before.up_to.max(up_to), until: of_before.until.max(until) };
        if before == Some(mark) {
            return false;
        }
        marked.insert(name.into(), mark);
        self.count.store(marked.len(), Ordering::Release);
        true
    }

    /// All that are marked.
    pub(super) fn all(&self) -> impl Iterator<Item = (String, Mark)> {
        let marked = self.marked.read();
        let all: Vec<_> = marked.iter().map(|(name, mark)| (name.to_string(), *mark)).collect();
        all.into_iter()
    }

    pub(super) fn forget(&self, now: Timestamp) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut marked = self.marked.write();
        marked.retain(|_, mark| is_kept(mark.until, now));
        self.count.store(marked.len(), Ordering::Release);
    }
}
