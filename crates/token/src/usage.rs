//! How tokens are used: how often, when last, for which service. Noted by every node for itself, merged
//! by all, and in no store: what is lost with the last node is no more than that.
//!
//! A request notes its token in memory. Every ten seconds what was noted becomes a node's contribution to
//! the state of these tokens, which is told to the others, and told again, ever more rarely: so two halves
//! that could not hear each other for a while come to know the same, whatever was lost in between.

use std::{
    collections::{BTreeMap, BTreeSet},
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

use self::places::{Kept, Places};
use crate::status::StatusIndex;

mod places;
mod withdraw;

pub use withdraw::OwnTokens;

/// For how long the state of a token is kept after its last use.
pub const KEPT: Duration = Duration::from_secs(3600);

/// How often what was noted is taken over and told.
pub const FLUSHED: Duration = Duration::from_secs(10);

/// The most tokens whose use is kept. Of more than that, those that come later are not noted.
const MOST: usize = 100_000;

/// The most tokens besides of which nothing is known but where they came from. Of more than that, the
/// oldest are forgotten: what services get in their own name lives for a minute, and is rarely asked about.
const MOST_UNUSED: usize = 25_000;

/// How many locks share what requests note.
const SHARDS: usize = 16;

/// For how many services the use of one token is noted.
const MOST_SERVICES: usize = 16;

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
    /// For which services, and when last.
    #[serde(default)]
    pub services: BTreeMap<String, Greatest<Timestamp>>,
    /// Where it came from, if it belongs to no sign-in whose record says so, or was made of another.
    #[serde(default)]
    pub origin: Greatest<Origin>,
}

/// Where a token came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Origin {
    /// When it was issued.
    pub at: Timestamp,
    /// The grant.
    pub how: String,
    /// The client that it was issued to.
    pub client: String,
    /// Of whom it speaks.
    pub sub: String,
    /// Whom it is for.
    pub audience: Vec<String>,
    /// What it was made of: the `jti` of another token.
    pub of: Option<String>,
    /// The token that the chain began with.
    pub first: Option<String>,
    /// The tokens between, and those by which actors showed who they are.
    #[serde(default)]
    pub through: Vec<String>,
    /// The clients that all of them were issued to.
    #[serde(default)]
    pub clients: Vec<String>,
    /// Its place in a status list, where that is its own: what was made of another shares the other's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<StatusIndex>,
    /// The key that signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The keys that signed what it was made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kids: Vec<String>,
}

impl Merge for TokenUse {
    fn merge(&mut self, other: &Self) -> bool {
        let news = [
            self.revoked.merge(&other.revoked),
            self.last_used.merge(&other.last_used),
            self.usage_count.merge(&other.usage_count),
            self.service.merge(&other.service),
            self.origin.merge(&other.origin),
        ];
        let mut seen = false;
        for (service, last) in &other.services {
            seen |= self.services.entry(service.clone()).or_default().merge(last);
        }
        seen || news.contains(&true)
    }
}

/// What the requests of a few seconds have noted of a token.
#[derive(Default)]
struct Noted {
    revoked: bool,
    count: u64,
    last: Timestamp,
    at: Hybrid,
    services: Vec<(Arc<str>, Timestamp)>,
    origin: Option<Origin>,
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
    noted: Vec<Mutex<Places<Noted>>>,
    held: Mutex<Places<Held>>,
    hasher: RandomState,
}

impl Usage {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(node: Node) -> Self {
        let process = NodeId::generate(node.entropy());
        let shard = || Mutex::new(Places::new(MOST / SHARDS, MOST_UNUSED / SHARDS));
        let noted = (0..SHARDS).map(|_| shard()).collect();
        // What was just issued has room until the oldest is forgotten.
        let held = Mutex::new(Places::new(MOST, 2 * MOST_UNUSED));
        let (clock, hasher) = (HybridClock::new(), RandomState::new());
        Self { node, clock, process, noted, held, hasher }
    }

    /// Notes that a token was used for a service, at this time.
    pub fn used(&self, jti: &str, service: &Arc<str>, now: Timestamp) {
        let at = self.clock.tick_at(now);
        self.note(jti, |noted| {
            noted.count += 1;
            (noted.last, noted.at) = (noted.last.max(now), at);
            let room = noted.services.len() < MOST_SERVICES;
            match noted.services.iter_mut().find(|(known, _)| known == service) {
                Some((_, last)) => *last = now,
                None if room => noted.services.push((Arc::clone(service), now)),
                None => {}
            }
        });
    }

    /// Notes where a token came from.
    pub fn issued(&self, jti: &str, origin: Origin) {
        self.note(jti, |noted| noted.origin = Some(origin));
    }

    /// Notes that a token was refused because it was taken back.
    pub fn refused(&self, jti: &str) {
        let now = self.node.now();
        self.note(jti, |noted| (noted.revoked, noted.last) = (true, noted.last.max(now)));
    }

    fn note(&self, jti: &str, change: impl FnOnce(&mut Noted)) {
        let Some(shard) = self.noted.get(self.shard(jti)) else { return };
        shard.lock().change(jti, Noted::default, change);
    }

    /// Takes over what was noted, forgets what nobody has used for long, and answers what to tell the
    /// others. To be called every [`FLUSHED`].
    #[must_use]
    pub fn flush(&self) -> Vec<Vec<u8>> {
        let now = self.node.since_boot();
        for shard in &self.noted {
            // INVARIANT: one of both locks is held at a time.
            let noted = shard.lock().take();
            let mut held = self.held.lock();
            for (jti, noted) in noted {
                held.change(
                    jti,
                    || Held::new(now),
                    |it| {
                        self.add(&noted, &mut it.state);
                        // The others are to hear of it at once.
                        (it.due, it.pause) = (now, FLUSHED);
                    },
                );
            }
        }
        let mut held = self.held.lock();
        held.retain(|it| self.is_kept(&it.state));
        held.keep_newest(MOST_UNUSED, |it| it.state.issued());
        let due = held.iter_mut().filter(|(_, it)| it.due <= now);
        let states: Vec<_> = due.map(|(jti, it)| (jti.to_owned(), it.told(now))).collect();
        drop(held);
        let mut messages = Vec::new();
        states.chunks(TOLD).for_each(|states| self.write(states, &mut messages));
        messages
    }

    /// Messages that tell of these states, none longer than what is looked at.
    fn write(&self, states: &[(String, TokenUse)], messages: &mut Vec<Vec<u8>>) {
        let at = self.clock.tick(self.node.clock().as_ref());
        let message = repository::encode(FORM, &Told { at, states: states.to_vec() });
        if message.len() <= LONGEST {
            messages.push(message);
        } else if states.len() > 1 {
            let (one, other) = states.split_at(states.len() / 2);
            self.write(one, messages);
            self.write(other, messages);
        }
    }

    /// Adds to a state what our requests have noted.
    fn add(&self, noted: &Noted, state: &mut TokenUse) {
        if noted.revoked {
            state.revoked.raise();
        }
        if noted.last > Timestamp::default() {
            state.last_used.note(noted.last);
        }
        if noted.count > 0 {
            state.usage_count.add(self.process, noted.count);
        }
        for (service, last) in &noted.services {
            if state.services.len() < MOST_SERVICES || state.services.contains_key(&**service) {
                state.services.entry(service.to_string()).or_default().note(*last);
            }
        }
        if let Some((service, _)) = noted.services.iter().max_by_key(|(_, last)| *last) {
            state.service.write(noted.at, self.process, service.to_string());
        }
        if let Some(origin) = &noted.origin {
            state.origin.note(origin.clone());
        }
    }

    fn is_kept(&self, state: &TokenUse) -> bool {
        let last = state.last_used.get().copied().max(state.issued());
        last.is_some_and(|last| self.node.now().since(last) < KEPT)
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
            held.change(
                jti,
                || Held::new(now),
                |it| {
                    if it.state.merge(&theirs) {
                        // It may be news to a third: it is told again as often as what we noted.
                        (it.due, it.pause) = (SinceBoot(now.0 + FLUSHED), FLUSHED);
                    }
                },
            );
        }
    }

    /// What is known of a token.
    #[must_use]
    pub fn of(&self, jti: &str) -> Option<TokenUse> {
        let held = self.held.lock().get(jti).map(|held| held.state.clone());
        let noted = self.noted.get(self.shard(jti))?.lock();
        let Some(noted) = noted.get(jti) else { return held };
        let mut state = held.unwrap_or_default();
        self.add(noted, &mut state);
        Some(state)
    }

    /// Where those tokens came from that a client got up to a moment, as far as that is known: their names,
    /// and what is known of each. Not those of sign-ins, whose records know them.
    #[must_use]
    pub fn issued_to(&self, client: &str, up_to: Timestamp) -> Vec<(String, Origin)> {
        let meant = |origin: &Origin| origin.client == client && origin.at <= up_to;
        let mut found: BTreeMap<String, Origin> = BTreeMap::new();
        for shard in &self.noted {
            let noted = shard.lock();
            let fresh = noted.iter().filter_map(|(jti, it)| Some((jti, it.origin.as_ref()?)));
            let fresh = fresh.filter(|(_, origin)| meant(origin));
            found.extend(fresh.map(|(jti, origin)| (jti.to_owned(), origin.clone())));
        }
        let held = self.held.lock();
        let known = held.iter().filter_map(|(jti, it)| Some((jti, it.state.origin.get()?)));
        let known = known.filter(|(_, origin)| meant(origin));
        found.extend(known.map(|(jti, origin)| (jti.to_owned(), origin.clone())));
        found.into_iter().collect()
    }

    fn shard(&self, jti: &str) -> usize {
        usize::try_from(self.hasher.hash_one(jti)).unwrap_or_default() % SHARDS
    }

    /// What is known of the tokens that were made of one, and of what was made of it: in the order in
    /// which they were issued.
    #[must_use]
    pub fn derived_from(&self, jti: &str) -> Vec<(String, TokenUse)> {
        let derives =
            |origin: &Origin| [&origin.of, &origin.first].into_iter().flatten().any(|of| of == jti);
        let mut found: BTreeSet<(Origin, String)> = BTreeSet::new();
        for shard in &self.noted {
            let noted = shard.lock();
            let fresh = noted.iter().filter_map(|(jti, it)| it.origin.as_ref().map(|of| (of, jti)));
            let fresh = fresh.filter(|(origin, _)| derives(origin));
            found.extend(fresh.map(|(origin, jti)| (origin.clone(), jti.to_owned())));
        }
        let held = self.held.lock();
        let known = held.iter().filter_map(|(jti, it)| it.state.origin.get().map(|of| (of, jti)));
        let known = known.filter(|(origin, _)| derives(origin));
        found.extend(known.map(|(origin, jti)| (origin.clone(), jti.to_owned())));
        drop(held);
        found
            .into_iter()
            .filter_map(|(_, jti)| Some((self.of(&jti)?, jti)))
            .map(|(it, jti)| (jti, it))
            .collect()
    }
}

impl TokenUse {
    fn issued(&self) -> Option<Timestamp> {
        self.origin.get().map(|origin| origin.at)
    }
}

impl Kept for Noted {
    fn is_unused(&self) -> bool {
        self.last == Timestamp::default()
    }
}

impl Kept for Held {
    fn is_unused(&self) -> bool {
        self.state.last_used.get().is_none()
    }
}

impl Held {
    fn new(now: SinceBoot) -> Self {
        Self { state: TokenUse::default(), due: now, pause: FLUSHED }
    }

    /// What is told now; then again after twice as long as the last time.
    fn told(&mut self, now: SinceBoot) -> TokenUse {
        self.due = SinceBoot(now.0 + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.state.clone()
    }
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Usage({} tokens)", self.held.lock().len())
    }
}

#[cfg(test)]
mod tests;
