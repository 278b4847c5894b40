//! What is under way: entries that have numbers, and of which nobody knows yet what comes of them.

use std::{fmt, sync::Arc};

use tegata_core::{Realm, port::Change};

use super::{Circle, register};
use crate::revocation::{Entry, Pushed, View};

/// Entries that were given numbers, until somebody knows what came of them.
#[must_use = "say what came of it"]
pub struct Begun {
    pub(super) circle: Arc<Circle>,
    pub(super) view: Arc<View>,
    pub(super) realm: Realm,
    pub(super) entries: Vec<Entry>,
    pub(super) first: u64,
    pub(super) open: bool,
}

impl Begun {
    /// What the batch must require, so that nobody takes anything back who is not in the circle.
    #[must_use]
    pub fn requires(&self) -> Change {
        register::requires(self.circle.me.run)
    }

    /// They are in the store. Answers what the others are to be told.
    #[must_use]
    pub fn done(mut self) -> Vec<Vec<u8>> {
        self.open = false;
        self.entries.iter().for_each(|entry| self.view.apply(&self.realm, entry));
        self.circle.state.lock().ledger.is_done(self.first);
        self.tell(true)
    }

    /// Nobody knows whether they are in the store: what they name is refused here from now on, until
    /// the log says more. Answers what the others are to be told.
    #[must_use]
    pub fn unknown(mut self) -> Vec<Vec<u8>> {
        self.open = false;
        self.give_up()
    }

    /// Nothing came of them.
    pub fn void(mut self) {
        self.open = false;
        let count = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        self.circle.state.lock().ledger.is_void(self.first, count);
    }

    fn give_up(&self) -> Vec<Vec<u8>> {
        self.entries.iter().for_each(|entry| self.view.apply_perhaps(&self.realm, entry));
        let now = self.circle.node.since_boot();
        self.circle.state.lock().ledger.is_unknown(self.first, now);
        self.tell(false)
    }

    /// What the others are to be told, kept for those who do not hear it.
    fn tell(&self, certain: bool) -> Vec<Vec<u8>> {
        let numbered = self.entries.iter().zip(self.first..);
        let messages = numbered.map(|(entry, number)| {
            let by = Some((self.circle.me.run, number));
            let (realm, entry) = (self.realm.clone(), entry.clone());
            (number, Pushed { realm, entry, by, perhaps: !certain }.to_bytes())
        });
        let messages = messages.collect::<Vec<_>>();
        let mut state = self.circle.state.lock();
        let now = self.circle.node.since_boot();
        for (number, message) in &messages {
            state.ledger.keep(*number, message.clone(), now);
        }
        messages.into_iter().map(|(_, message)| message).collect()
    }
}

impl Drop for Begun {
    /// Whoever goes away without a word does not know. The others are told with the next heartbeat.
    fn drop(&mut self) {
        if self.open {
            self.give_up();
        }
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Begun({}, {})", self.first, self.entries.len())
    }
}
