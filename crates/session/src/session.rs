//! One browser's sign-in: what follows when its cookie is presented.
//!
//! The cookie's value names a *generation* of the session. A new generation is made at every rise
//! of privilege and every 300 s, by compare-and-set on the session's record. Between two
//! generations lies a *handover*: the earlier value still works until the new one is first used,
//! and 60 s at most.
//!
//! | presented | what follows |
//! |---|---|
//! | the current generation | served; its first use ends the handover |
//! | the current one, 300 s old | served; the next generation is made and handed over |
//! | an earlier one, during its handover | served; the answer repeats the **same** new value |
//! | the same after a rise, 10 s long | served as before the rise; the new value is not given |
//! | the same after a rise, later | served; the rise is withdrawn, then the new value is given |
//! | an earlier one that is vouched for, its successor unused | as during its handover, whenever |
//! | an earlier one, otherwise | refused: *superseded* |
//! | an earlier one whose successor was used, by another browser | refused: *replayed*; the session ends |
//! | any, by another browser | refused: *bound* |
//! | any but a copy that was used, after its end or too long unused | refused: *expired* |
//!
//! So requests in parallel and lost answers sign nobody out, and two values are never good for
//! longer than a handover. After a rise, whoever holds the earlier value has proven nothing, so it
//! is not given a value that may do more: either the browser that proved it uses the new value, or
//! its answer was lost, and then so is the rise.
//!
//! A value that is superseded and comes from the same browser ends nothing: it is a request that
//! was overtaken by another, or a profile restored from a backup. From another browser it shows
//! that somebody has a copy, and which of the two is the thief cannot be known.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use tegata_core::{Kind, Lifetime, SessionId, Stored, Timestamp, UserId, id::expiry_day};

use crate::{binding::Binding, fingerprint::Fingerprint};

mod judgement;

pub use judgement::{Judgement, Shown, Verdict};

/// Where sessions are stored.
pub static SESSIONS: Kind = Kind {
    name: "session",
    indexes: &["user"],
    lifetime: Lifetime::ByDay(expiry_day),
    secret: true,
};

/// How long sessions live, and how many there may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A session, used or not: 86,400 s.
    pub absolute: Duration,
    /// A session that is not used: 1,800 s.
    pub idle: Duration,
    /// A generation: 300 s.
    pub rotation: Duration,
    /// For how long an earlier generation works beside its successor: 60 s.
    pub handover: Duration,
    /// Sessions of one person at once: 3. At least 1.
    pub most: usize,
    /// Whether what browsers say of themselves is left out of account: `false`.
    pub danger_ignore_fingerprint: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            absolute: Duration::from_secs(86_400),
            idle: Duration::from_secs(1_800),
            rotation: Duration::from_secs(300),
            handover: Duration::from_secs(60),
            most: 3,
            danger_ignore_fingerprint: false,
        }
    }
}

/// One browser's sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its public handle.
    pub id: SessionId,
    /// The person.
    pub user: UserId,
    /// What the key of its cookie's values is derived with.
    pub salt: [u8; 16],
    /// When it began.
    pub started: Timestamp,
    /// When it ends, used or not.
    pub ends: Timestamp,
    /// For how long it may go unused, in milliseconds.
    pub idle_millis: u64,
    /// A time at which it was certainly in use. Later uses are known more freshly elsewhere, which
    /// may be lost; this is at most one rotation behind them.
    pub seen: Timestamp,
    /// The browser.
    pub binding: Binding,
    /// What the browser said of itself.
    #[serde(default)]
    pub fingerprint: Fingerprint,
    /// The current generation: 0, 1, 2 …
    pub generation: u32,
    /// When the current generation was made.
    pub made: Timestamp,
    /// Until the current generation is used: which earlier ones still work.
    pub handover: Option<Handover>,
    /// What the current generation may do.
    pub standing: Standing,
    /// What applications keep with it, by owner and name.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// When and why it ended.
    pub ended: Option<Ended>,
}

/// What a session may do, and how that was proven.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Standing {
    /// How strongly the person was authenticated.
    pub acr: Option<String>,
    /// By which means (RFC 8176).
    pub amr: Vec<String>,
    /// When: seconds since 1970.
    pub auth_time: u64,
    /// Until when sensitive actions are allowed, where that was proven.
    pub elevated_until: Option<Timestamp>,
    /// The state of the person's permissions that `roles` were copied from.
    pub authority: u64,
    /// A copy of the person's roles. It counts only while `authority` is the person's present one.
    pub roles: Vec<String>,
    /// Which second factors were shown for it, by the names that whoever keeps those gives them.
    #[serde(default)]
    pub factors: Vec<String>,
}

/// A time in which more than one generation works.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handover {
    /// The oldest generation that still works.
    pub from: u32,
    /// When it began.
    pub since: Timestamp,
    /// After a rise: what the earlier generations may do.
    pub before: Option<Standing>,
}

/// Why and when a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why, in a word: see [`Reason`].
    pub reason: String,
}

/// Why a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Its person signed out.
    Logout,
    /// The same browser signed in anew.
    Replaced,
    /// Its person has too many, and this one was used least recently.
    Limit,
    /// It had gone unused for too long when room was needed for another.
    Idle,
    /// Somebody has a copy of its cookie.
    Replayed,
    /// Somebody ordered it, for a reason of their own.
    Ordered(String),
}

impl Reason {
    /// The reason in a word, as in events.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Logout => "logout",
            Self::Replaced => "replaced",
            Self::Limit => "limit",
            Self::Idle => "idle",
            Self::Replayed => "replayed",
            Self::Ordered(reason) => reason,
        }
    }
}

impl Stored for Session {
    const KIND: &'static Kind = &SESSIONS;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        self.id.as_str()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("user", self.user.as_str().to_owned())]
    }
}

impl Session {
    /// The session with the handover ended, by the first use of the current generation.
    #[must_use]
    pub fn confirm(mut self, at: Timestamp) -> Self {
        self.handover = None;
        self.saw(at)
    }

    /// The session with a new generation that may do the same.
    #[must_use]
    pub fn rotate(mut self, at: Timestamp) -> Self {
        self.handover = Some(Handover { from: self.generation, since: at, before: None });
        self.advance(at)
    }

    /// The session with a new generation that may do what `standing` says. `shown` is the
    /// generation of whoever proved it.
    #[must_use]
    pub fn rise(mut self, shown: u32, standing: Standing, at: Timestamp) -> Self {
        // The end of a handover is not put off by a rise in the middle of it.
        let (from, since, before) = match self.handover.take() {
            Some(open) if shown < self.generation => (open.from, open.since, open.before),
            _ => (self.generation, at, None),
        };
        let earlier = std::mem::replace(&mut self.standing, standing);
        self.handover = Some(Handover { from, since, before: Some(before.unwrap_or(earlier)) });
        self.advance(at)
    }

    /// The session with its last rise withdrawn, because its answer was lost.
    #[must_use]
    pub fn lower(mut self, at: Timestamp) -> Self {
        let before = self.handover.as_mut().and_then(|handover| handover.before.take());
        self.standing = before.unwrap_or(self.standing);
        self.saw(at)
    }

    /// The session, known to be in use at `at`.
    #[must_use]
    pub fn saw(mut self, at: Timestamp) -> Self {
        self.seen = self.seen.max(at);
        self
    }

    /// The session, with what its browser says of itself and was not known yet.
    #[must_use]
    pub(crate) fn learn(self, shown: &Fingerprint) -> Self {
        Self { fingerprint: self.fingerprint.learn(shown), ..self }
    }

    /// The session, with the one hint of its browser that is another now.
    #[must_use]
    pub(crate) fn follow(self, shown: &Fingerprint) -> Self {
        Self { fingerprint: self.fingerprint.follow(shown), ..self }
    }

    /// The session, ended. What has ended stays ended, with its first reason; what applications kept
    /// with it is gone.
    #[must_use]
    pub fn end(mut self, reason: &Reason, at: Timestamp) -> Self {
        self.data.clear();
        self.ended.get_or_insert_with(|| Ended { at, reason: reason.name().to_owned() });
        self
    }

    /// Whether it has reached its end.
    #[must_use]
    pub fn is_over(&self, at: Timestamp, limits: &Limits) -> bool {
        at >= self.ends_within(limits) || self.generation == u32::MAX
    }

    /// When it ends, used or not, by limits that may be stricter than when it began.
    #[must_use]
    pub fn ends_within(&self, limits: &Limits) -> Timestamp {
        self.ends.min(self.started + limits.absolute)
    }

    /// For how long it may go unused, by limits that may be stricter than when it began.
    #[must_use]
    pub fn idle_within(&self, limits: &Limits) -> Duration {
        Duration::from_millis(self.idle_millis).min(limits.idle)
    }

    /// What whoever shows `generation` may do.
    #[must_use]
    pub fn standing_of(&self, generation: u32) -> &Standing {
        let before = self.handover.as_ref().and_then(|handover| handover.before.as_ref());
        before.filter(|_| generation < self.generation).unwrap_or(&self.standing)
    }

    fn advance(mut self, at: Timestamp) -> Self {
        // INVARIANT: generations are never used twice. At the last one, the session is over.
        self.generation = self.generation.saturating_add(1);
        self.made = at;
        self.saw(at)
    }
}

impl Standing {
    /// Whether sensitive actions are allowed at `at`.
    #[must_use]
    pub fn is_elevated(&self, at: Timestamp) -> bool {
        self.elevated_until.is_some_and(|until| at < until)
    }
}

#[cfg(test)]
mod tests;
