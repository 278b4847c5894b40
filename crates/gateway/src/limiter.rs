//! How many requests pass: the generic cell rate algorithm (GCRA), one number per caller, in a
//! bounded map.
//!
//! A caller may use up its whole allowance at once; after that it regains one request every
//! `period / count`. What the map cannot hold it forgets, beginning with what is nearest to being
//! full again, so that filling the map gives an attacker little and costs the others nothing.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tegata_core::SinceBoot;
use tegata_mesh::RateLimit;

const SHARDS: usize = 64;
/// How many entries are looked at to find one to forget.
const SAMPLE: usize = 8;

/// Whose requests are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Whose {
    /// An address; of IPv6 the network of 64 bits, which is what one customer has.
    Address(IpAddr),
    /// Attempts to sign in from an address.
    SignIn(IpAddr),
    /// A user or a client, by the claim `sub`.
    Subject(Arc<str>),
    /// A caller on a route, by the route's prefix and the subject or address.
    Route(Arc<str>, Arc<str>),
}

/// What the limiter answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Whether the request passes.
    pub passes: bool,
    /// How many more would pass now.
    pub remaining: u32,
    /// Until the next one passes, where none does; otherwise until the allowance is whole again.
    pub wait: Duration,
    /// The limit that was asked.
    pub limit: RateLimit,
}

/// Counts requests.
#[derive(Debug)]
pub struct Limiter {
    shards: Vec<Mutex<HashMap<Whose, u64>>>,
    per_shard: usize,
    hasher: RandomState,
}

impl Limiter {
    /// A limiter that remembers at most about `capacity` callers.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            per_shard: capacity.div_ceil(SHARDS).max(1),
            hasher: RandomState::new(),
        }
    }

    /// Counts a request.
    #[must_use]
    pub fn count(&self, whose: Whose, limit: RateLimit, now: SinceBoot) -> Answer {
        let whose = whose.narrowed();
        let now = nanos(now.0);
        let period = nanos(limit.per());
        let cost = (period / u64::from(limit.count().get())).max(1);
        let shard = usize::try_from(self.hasher.hash_one(&whose)).unwrap_or(0) % SHARDS;
        let Some(shard) = self.shards.get(shard) else { return Answer::refused(limit, period) };
        let mut shard = shard.lock();
        // The theoretical arrival time: when the allowance is whole again.
        let whole = shard.get(&whose).copied().unwrap_or(now).max(now);
        let after = whole + cost;
        if after - now > period {
            return Answer::refused(limit, after - now - period);
        }
        if shard.len() >= self.per_shard && !shard.contains_key(&whose) {
            make_room(&mut shard, now);
        }
        shard.insert(whose, after);
        let remaining = u32::try_from((period - (after - now)) / cost).unwrap_or(u32::MAX);
        Answer { passes: true, remaining, wait: Duration::from_nanos(after - now), limit }
    }

    /// How many callers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether nobody is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets whoever has the whole allowance again. To be called now and then.
    pub fn forget(&self, now: SinceBoot) {
        let now = nanos(now.0);
        for shard in &self.shards {
            shard.lock().retain(|_, whole| *whole > now);
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// Forgets one of a few entries: the one that is nearest to its whole allowance.
fn make_room(shard: &mut HashMap<Whose, u64>, now: u64) {
    let candidates = shard.iter().take(SAMPLE);
    let nearest = candidates.min_by_key(|(_, whole)| whole.saturating_sub(now));
    if let Some(nearest) = nearest.map(|(whose, _)| whose.clone()) {
        shard.remove(&nearest);
    }
}

impl Whose {
    fn narrowed(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(network(address)),
            Self::SignIn(address) => Self::SignIn(network(address)),
            other => other,
        }
    }
}

/// The address, or the network that one household has of IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

impl Answer {
    fn refused(limit: RateLimit, wait: u64) -> Self {
        Self { passes: false, remaining: 0, wait: Duration::from_nanos(wait), limit }
    }

    /// Whole seconds to wait, rounded up, as `Retry-After` has them.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)
    }
}

#[cfg(test)]
mod tests;
