//! When a session was last used, and how often.
//!
//! Uses are too many to be written each. Every node remembers those it served, and writes what it
//! remembers to [`Ephemeral`] at most once a minute for each session; what is written there may be
//! lost. Whether a session has gone unused for too long must not depend on luck, so what is not
//! known is decided for the person, within a bound:
//!
//! | known from | good to | so the session is idle |
//! |---|---|---|
//! | this node, or the record | certain: it was in use then | not before this + idle limit |
//! | `Ephemeral` | a minute: later uses may be unwritten | after it + a minute + idle limit |
//! | the record alone, the rest lost | a rotation: a later use would have been written there | after it + a rotation + idle limit |
//!
//! No loss signs anybody out early, and none keeps a session more than a rotation too long. The
//! absolute limit is in the record and depends on none of this.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_core::{
    Ephemeral, Realm, SessionId, Timestamp,
    port::{Put, Space, Swap},
    repository,
};

use crate::session::{Limits, Session};

/// Where uses of sessions are noted.
pub static ACCESSES: Space = Space { name: "session_access", indexed: false };

const FORM: u8 = 1;

/// How many sessions a node remembers the uses of. Beyond that they are not counted.
const MOST: usize = 100_000;

/// The use of a session, as it is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// When it was last used.
    pub last: Timestamp,
    /// How often it was used.
    pub count: u64,
}

/// The uses that this node knows of.
pub(crate) struct Accesses {
    ephemeral: Arc<dyn Ephemeral>,
    /// How often a session's uses are written.
    every: Duration,
    limits: Limits,
    /// For how long what is written is kept: until it can make no difference.
    lifetime: Duration,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    recent: HashMap<(Realm, SessionId), Recent>,
    /// When room was last made.
    swept: Timestamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    last: Timestamp,
    /// When they were last written, or found to have been.
    written: Timestamp,
    unwritten: u64,
}

impl Accesses {
    pub(crate) fn new(ephemeral: Arc<dyn Ephemeral>, limits: &Limits) -> Self {
        // A minute of half an hour, and as much of a shorter limit.
        let every = (limits.idle / 30).min(Duration::from_secs(60));
        let lifetime = limits.idle + limits.rotation + every * 2;
        let (limits, memory) = (limits.clone(), Mutex::default());
        Self { ephemeral, every, limits, lifetime, memory }
    }

    /// Whether it has been used recently enough, as far as is known.
    pub(crate) async fn is_awake(&self, realm: &Realm, session: &Session, now: Timestamp) -> bool {
        let (recent, idle) = (self.recent(realm, &session.id), session.idle_within(&self.limits));
        if now < session.seen.max(recent.last) + idle {
            return true;
        }
        let (last, doubt) = match self.written(realm, &session.id).await {
            Some((seen, _)) => (seen.last, self.every),
            None => (session.seen, self.limits.rotation),
        };
        now < last + doubt + idle
    }

    /// When it was last used and how often, as far as is known.
    pub(crate) async fn seen(&self, realm: &Realm, session: &Session) -> Seen {
        let recent = self.recent(realm, &session.id);
        let written = self.written(realm, &session.id).await.map(|(seen, _)| seen);
        let written = written.unwrap_or_default();
        Seen {
            last: written.last.max(recent.last).max(session.seen),
            count: written.count.saturating_add(recent.unwritten),
        }
    }

    /// Notes a use. What cannot be written now is written later, or lost.
    pub(crate) async fn note(&self, realm: &Realm, sid: &SessionId, now: Timestamp) {
        if let Some(count) = self.remember(realm, sid, now)
            && !self.write(realm, sid, Seen { last: now, count }).await
            && let Some(recent) = self.memory.lock().recent.get_mut(&(realm.clone(), sid.clone()))
        {
            recent.unwritten = recent.unwritten.saturating_add(count);
        }
    }

    /// How many sessions this node knows to have been used since `since`.
    pub(crate) fn used_since(&self, since: Timestamp) -> usize {
        self.memory.lock().recent.values().filter(|recent| recent.last >= since).count()
    }

    /// Forgets what a node knows of a session.
    pub(crate) fn forget(&self, realm: &Realm, sid: &SessionId) {
        self.memory.lock().recent.remove(&(realm.clone(), sid.clone()));
    }

    fn recent(&self, realm: &Realm, sid: &SessionId) -> Recent {
        self.memory.lock().recent.get(&(realm.clone(), sid.clone())).copied().unwrap_or_default()
    }

    /// Remembers a use. If it is time to write, answers how many there are to write.
    fn remember(&self, realm: &Realm, sid: &SessionId, now: Timestamp) -> Option<u64> {
        let mut memory = self.memory.lock();
        let key = (realm.clone(), sid.clone());
        if memory.recent.len() >= MOST && !memory.recent.contains_key(&key) {
            memory.make_room(now, self.every);
            if memory.recent.len() >= MOST {
                return None;
            }
        }
        let recent = memory.recent.entry(key).or_default();
        recent.last = recent.last.max(now);
        recent.unwritten = recent.unwritten.saturating_add(1);
        if now.since(recent.written) < self.every {
            return None;
        }
        recent.written = now;
        Some(std::mem::take(&mut recent.unwritten))
    }

    async fn written(&self, realm: &Realm, sid: &SessionId) -> Option<(Seen, u64)> {
        // A store that is away knows as little as one that has lost it.
        let held = self.ephemeral.get(realm, &ACCESSES, sid.as_str()).await.ok()??;
        let seen = repository::decode_bytes(FORM, &held.value).ok()?;
        Some((seen, held.revision))
    }

    /// Adds uses to what is written, unless that was done less than a minute ago.
    async fn write(&self, realm: &Realm, sid: &SessionId, more: Seen) -> bool {
        let put = |seen: &Seen| Put {
            key: sid.as_str().to_owned(),
            value: repository::encode(FORM, seen),
            lifetime: self.lifetime,
            index: None,
        };
        match self.written(realm, sid).await {
            Some((seen, _)) if more.last.since(seen.last) < self.every => false,
            Some((seen, revision)) => {
                let count = seen.count.saturating_add(more.count);
                let sum = put(&Seen { last: more.last, count });
                let swap = self.ephemeral.swap(realm, &ACCESSES, revision, sum).await;
                matches!(swap, Ok(Swap::Won(_)))
            }
            None => self.ephemeral.add(realm, &ACCESSES, put(&more)).await.unwrap_or(false),
        }
    }
}

impl Memory {
    /// Forgets sessions that were not used lately. Looking at all of them takes a while, so it is
    /// not done for every newcomer.
    fn make_room(&mut self, now: Timestamp, every: Duration) {
        if now.since(self.swept) >= every {
            self.swept = now;
            self.recent.retain(|_, recent| now.since(recent.last) < every);
        }
    }
}
