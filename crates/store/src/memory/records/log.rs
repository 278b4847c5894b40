//! A log in memory: the entry at the front has the position after what was trimmed.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use tegata_core::{
    EventId, Realm, Timestamp,
    port::{Append, Positioned, Pull},
};

use crate::declared;

#[derive(Default)]
pub(super) struct Entries {
    /// How many entries were trimmed away, which is the position of the last of them.
    trimmed: u64,
    entries: VecDeque<Positioned>,
    ids: HashSet<(Realm, EventId)>,
}

impl Entries {
    /// Appends an entry, unless one with its id is there.
    pub(super) fn append(&mut self, realm: &Realm, at: Timestamp, append: Append) {
        if self.ids.insert((realm.clone(), append.id)) {
            let Append { id, body, .. } = append;
            let position = self.head() + 1;
            self.entries.push_back(Positioned { position, id, realm: realm.clone(), at, body });
        }
    }

    pub(super) fn pull(&self, after: u64, limit: u32) -> Pull {
        let (head, tail) = (self.head(), self.trimmed + 1);
        // Whoever is behind the tail gets nothing, rather than entries with a gap before them.
        let skipped = after.checked_sub(self.trimmed).and_then(|past| usize::try_from(past).ok());
        let entries = skipped.map_or_else(Vec::new, |skipped| {
            self.entries.iter().skip(skipped).take(declared::count(limit)).cloned().collect()
        });
        Pull { entries, head, tail, waiting: Duration::ZERO, clock: None }
    }

    /// Drops entries from the front that were written before `before`; answers how many.
    pub(super) fn trim(&mut self, before: Timestamp) -> u64 {
        let mut gone = 0;
        while self.entries.front().is_some_and(|entry| entry.at < before) {
            if let Some(entry) = self.entries.pop_front() {
                self.ids.remove(&(entry.realm, entry.id));
                gone += 1;
            }
        }
        self.trimmed += gone;
        gone
    }

    fn head(&self) -> u64 {
        self.trimmed + u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }
}
