//! How tokens are used: how often, when last, for which service. Noted by every node for itself, merged
//! by all, and in no store: what is lost with the last node is no more than that.
//!
//! A request notes its token in memory. Every ten seconds what was noted becomes a node's contribution to
//! the state of these tokens, which is told to the others, and told again, ever more rarely: so two halves
//! that could not hear each other for a while come to know the same, whatever was lost in between.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_core::{
    Hybrid, HybridClock, Merge, Node, NodeId, SinceBoot, Timestamp,
    merge::{Count, Flag, Greatest, Register},
    repository,
};

/// For how long the state of a token is kept after its last use.
pub const KEPT: Duration = Duration::from_secs(3600);

/// How often what was noted is taken over and told.
pub const FLUSHED: Duration = Duration::from_secs(10);

/// The most tokens whose state is kept. Of more than that, those that come later are not noted.
const MOST: usize = 100_000;

/// How many locks share what requests note.
const SHARDS: usize = 16;

/// After how long the state of a token is told again at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(640);

/// How many states are told at once.
const TOLD: usize = 64;

/// The longest message that is looked at.
const LONGEST: usize = 64 * 1024;

const FORM: u8 = 1;

/// What is known of the use of a token.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenUse {
    /// Whether it was refused somewhere because it was taken back.
    pub revoked: Flag,
    /// When it was shown last, also where it was refused.
    pub last_used: Greatest<Timestamp>,
    /// How often.
    pub usage_count: Count,
    /// For which service, the last time.
    pub service: Register<String>,
}

impl Merge for TokenUse {
    fn merge(&mut self, other: &Self) -> bool {
        let news = [
            self.revoked.merge(&other.revoked),
            self.last_used.merge(&other.last_used),
            self.usage_count.merge(&other.usage_count),
        ];
        self.service.merge(&other.service) || news.contains(&true)
    }
}

/// What the requests of a few seconds have noted of a token.
struct Noted {
    revoked: bool,
    count: u64,
    last: Timestamp,
    at: Hybrid,
    service: Option<Arc<str>>,
}

/// The state of a token, and when it is told next.
struct Held {
    state: TokenUse,
    due: SinceBoot,
    pause: Duration,
}

/// What a node tells of tokens.
#[derive(Serialize, Deserialize)]
struct Told {
    /// Its clock, so that what is written later anywhere is known to be later.
    at: Hybrid,
    states: Vec<(String, TokenUse)>,
}

/// How tokens are used, as far as this node knows.
pub struct Usage {
    node: Node,
    /// A clock of its own: what others say of theirs must not move the one by which things are taken back.
    clock: HybridClock,
    /// Whose contributions ours are. A process that starts again begins another count.
    process: NodeId,
    noted: Vec<Mutex<HashMap<Box<str>, Noted>>>,
    held: Mutex<HashMap<Box<str>, Held>>,
    hasher: RandomState,
}

impl Usage {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(node: Node) -> Self {
        let process = NodeId::generate(node.entropy());
        let noted = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (clock, held, hasher) = (HybridClock::new(), Mutex::default(), RandomState::new());
        Self { node, clock, process, noted, held, hasher }
    }

    /// Notes that a token was used for a service.
    pub fn used(&self, jti: &str, service: &Arc<str>) {
        let (now, at) = (self.node.now(), self.clock.tick(self.node.clock().as_ref()));
        self.note(jti, |noted| {
            noted.count += 1;
            (noted.last, noted.at) = (noted.last.max(now), at);
            if noted.service.as_ref() != Some(service) {
                noted.service = Some(Arc::clone(service));
            }
        });
    }

    /// Notes that a token was refused because it was taken back.
    pub fn refused(&self, jti: &str) {
        let now = self.node.now();
        self.note(jti, |noted| (noted.revoked, noted.last) = (true, noted.last.max(now)));
    }

    fn note(&self, jti: &str, change: impl FnOnce(&mut Noted)) {
        let shard = usize::try_from(self.hasher.hash_one(jti)).unwrap_or_default() % SHARDS;
        let Some(shard) = self.noted.get(shard) else { return };
        let mut noted = shard.lock();
        if let Some(noted) = noted.get_mut(jti) {
            return change(noted);
        }
        if noted.len() >= MOST / SHARDS {
            return;
        }
        let (last, at) = (Timestamp::default(), Hybrid::default());
        let fresh = Noted { revoked: false, count: 0, last, at, service: None };
        change(noted.entry(jti.into()).or_insert(fresh));
    }

    /// Takes over what was noted, forgets what nobody has used for long, and answers what to tell the
    /// others. To be called every [`FLUSHED`].
    #[must_use]
    pub fn flush(&self) -> Vec<Vec<u8>> {
        let now = self.node.since_boot();
        for shard in &self.noted {
            // INVARIANT: one of both locks is held at a time.
            let noted = std::mem::take(&mut *shard.lock());
            let mut held = self.held.lock();
            for (jti, noted) in noted {
                let Some(it) = entry(&mut held, jti, now) else { continue };
                self.add(&noted, &mut it.state);
                // The others are to hear of it at once.
                (it.due, it.pause) = (now, FLUSHED);
            }
        }
        let mut held = self.held.lock();
        held.retain(|_, it| self.is_kept(&it.state));
        let due = held.iter_mut().filter(|(_, it)| it.due <= now);
        let states: Vec<_> = due.map(|(jti, it)| (jti.to_string(), it.told(now))).collect();
        drop(held);
        let message = |states: &[(String, TokenUse)]| {
            let at = self.clock.tick(self.node.clock().as_ref());
            repository::encode(FORM, &Told { at, states: states.to_vec() })
        };
        states.chunks(TOLD).map(message).collect()
    }

    /// Adds to a state what our requests have noted.
    fn add(&self, noted: &Noted, state: &mut TokenUse) {
        if noted.revoked {
            state.revoked.raise();
        }
        state.last_used.note(noted.last);
        state.usage_count.add(self.process, noted.count);
        if let Some(service) = &noted.service {
            state.service.write(noted.at, self.process, service.to_string());
        }
    }

    fn is_kept(&self, state: &TokenUse) -> bool {
        let now = self.node.now();
        state.last_used.get().is_some_and(|last| now.since(*last) < KEPT)
    }

    /// Hears what another node tells. What cannot be read is not ours.
    pub fn hear(&self, message: &[u8]) {
        let short = Some(message).filter(|message| message.len() <= LONGEST);
        let Some(told) = short.and_then(|it| repository::decode_bytes::<Told>(FORM, it).ok())
        else {
            return;
        };
        self.clock.hear(self.node.clock().as_ref(), told.at);
        let now = self.node.since_boot();
        let mut held = self.held.lock();
        for (jti, theirs) in told.states.into_iter().take(TOLD) {
            // What is forgotten here does not come back because another forgets it later.
            if !self.is_kept(&theirs) {
                continue;
            }
            let Some(it) = entry(&mut held, jti.into(), now) else { continue };
            if it.state.merge(&theirs) {
                // It may be news to a third: it is told again as often as what we noted.
                (it.due, it.pause) = (SinceBoot(now.0 + FLUSHED), FLUSHED);
            }
        }
    }

    /// What is known of a token.
    #[must_use]
    pub fn of(&self, jti: &str) -> Option<TokenUse> {
        self.held.lock().get(jti).map(|held| held.state.clone())
    }
}

impl Held {
    /// What is told now; then again after twice as long as the last time.
    fn told(&mut self, now: SinceBoot) -> TokenUse {
        self.due = SinceBoot(now.0 + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.state.clone()
    }
}

type States = HashMap<Box<str>, Held>;

/// The state of a token, begun where there is none and room for one.
fn entry(held: &mut States, jti: Box<str>, now: SinceBoot) -> Option<&mut Held> {
    if held.len() >= MOST && !held.contains_key(&jti) {
        return None;
    }
    let fresh = || Held { state: TokenUse::default(), due: now, pause: FLUSHED };
    Some(held.entry(jti).or_insert_with(fresh))
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Usage({} tokens)", self.held.lock().len())
    }
}

#[cfg(test)]
mod tests;
