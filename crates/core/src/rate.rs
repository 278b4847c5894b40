//! How many requests pass: rates, and the generic cell rate algorithm (GCRA), one number per caller,
//! in a bounded map.
//!
//! A caller may use up its whole allowance at once; after that it regains one request every
//! `period / count`. What the map cannot hold it forgets, beginning with what is nearest to being
//! full again, so that filling the map gives an attacker little and costs the others nothing.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    str::FromStr,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{clock::SinceBoot, network::Network};

const SHARDS: usize = 64;
/// How many entries are looked at to find one to forget.
const SAMPLE: usize = 8;

/// So many requests in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RateLimit {
    count: NonZeroU32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

/// A text that is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rate limit is a number, `/`, and `s`, `m`, `h` or `d`, such as `100/m`")]
pub struct InvalidRate;

impl RateLimit {
    /// So many a minute.
    #[must_use]
    pub const fn a_minute(count: NonZeroU32) -> Self {
        Self { count, unit: Unit::Minute }
    }

    /// So many an hour.
    #[must_use]
    pub const fn an_hour(count: NonZeroU32) -> Self {
        Self { count, unit: Unit::Hour }
    }

    /// How many requests.
    #[must_use]
    pub const fn count(self) -> NonZeroU32 {
        self.count
    }

    /// The same for so many callers together.
    #[must_use]
    pub const fn times(self, callers: NonZeroU32) -> Self {
        Self { count: self.count.saturating_mul(callers), unit: self.unit }
    }

    /// In how much time.
    #[must_use]
    pub const fn per(self) -> Duration {
        Duration::from_secs(match self.unit {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3600,
            Unit::Day => 86_400,
        })
    }
}

impl FromStr for RateLimit {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (count, unit) = text.split_once('/').ok_or(InvalidRate)?;
        let unit = match unit {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            "d" => Unit::Day,
            _ => return Err(InvalidRate),
        };
        // `parse` alone would take a sign.
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|_| digits).ok_or(InvalidRate)?;
        Ok(Self { count, unit })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
            Unit::Day => 'd',
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl TryFrom<String> for RateLimit {
    type Error = InvalidRate;
    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}

impl From<RateLimit> for String {
    fn from(rate: RateLimit) -> String {
        rate.to_string()
    }
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

/// Counts the requests of callers, who are told apart by `K`.
#[derive(Debug)]
pub struct Limiter<K> {
    shards: Vec<Mutex<HashMap<K, u64>>>,
    per_shard: usize,
    hasher: RandomState,
}

impl<K: Clone + Eq + Hash> Limiter<K> {
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
    pub fn count(&self, whose: K, limit: RateLimit, now: SinceBoot) -> Answer {
        self.take(whose, limit, 1, now)
    }

    /// Counts so many at once, all of them or none. What is more than the whole allowance never passes.
    #[must_use]
    pub fn take(&self, whose: K, limit: RateLimit, many: u32, now: SinceBoot) -> Answer {
        let now = nanos(now.0);
        let period = nanos(limit.per());
        let one = (period / u64::from(limit.count().get())).max(1);
        let cost = one.saturating_mul(many.into());
        let shard = usize::try_from(self.hasher.hash_one(&whose)).unwrap_or(0) % SHARDS;
        let Some(shard) = self.shards.get(shard) else { return Answer::refused(limit, period) };
        let mut shard = shard.lock();
        // The theoretical arrival time: when the allowance is whole again.
        let whole = shard.get(&whose).copied().unwrap_or(now).max(now);
        let after = whole.saturating_add(cost);
        if after - now > period {
            return Answer::refused(limit, after - now - period);
        }
        if shard.len() >= self.per_shard && !shard.contains_key(&whose) {
            make_room(&mut shard, |whole| *whole, now);
        }
        shard.insert(whose, after);
        let remaining = u32::try_from((period - (after - now)) / one).unwrap_or(u32::MAX);
        Answer { passes: true, remaining, wait: Duration::from_nanos(after - now), limit }
    }

    /// Counts a request of an address in each network that the address is counted in (see
    /// [`Network::counted`]), the narrowest first: what that refuses costs its neighbours nothing.
    /// Answers what the tightest says.
    #[must_use]
    pub fn count_address(
        &self,
        address: IpAddr,
        whose: impl Fn(Network) -> K,
        limit: RateLimit,
        now: SinceBoot,
    ) -> Answer {
        let mut tightest: Option<Answer> = None;
        for (network, callers) in Network::counted(address) {
            let answer = self.count(whose(network), limit.times(callers), now);
            if !answer.passes {
                return answer;
            }
            if tightest.is_none_or(|tightest| answer.remaining < tightest.remaining) {
                tightest = Some(answer);
            }
        }
        // Every address is counted in one network at least; in none, it would not pass.
        tightest.unwrap_or_else(|| Answer::refused(limit, nanos(limit.per())))
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
fn make_room<K: Clone + Eq + Hash, V>(
    shard: &mut HashMap<K, V>,
    whole: impl Fn(&V) -> u64,
    now: u64,
) {
    let candidates = shard.iter().take(SAMPLE);
    let nearest = candidates.min_by_key(|(_, kept)| whole(kept).saturating_sub(now));
    if let Some(nearest) = nearest.map(|(whose, _)| whose.clone()) {
        shard.remove(&nearest);
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

mod ledger;
mod quota;
mod sparing;

pub use ledger::{Counted, Ledger, Name, Question, Way};
pub use quota::Quota;
pub use sparing::Sparing;

#[cfg(test)]
mod tests;
