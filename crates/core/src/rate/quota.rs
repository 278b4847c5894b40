//! A limit with what may come at once.

use std::{num::NonZeroU32, time::Duration};

use super::{RateLimit, nanos};

/// So many requests in a span of time, and so many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// How many, in how much time.
    pub limit: RateLimit,
    /// How many at once.
    pub burst: NonZeroU32,
}

impl Quota {
    /// With so many at once; without a number, as many as the limit has.
    #[must_use]
    pub const fn new(limit: RateLimit, burst: Option<NonZeroU32>) -> Self {
        let burst = match burst {
            Some(burst) => burst,
            None => limit.count(),
        };
        Self { limit, burst }
    }

    /// The same for so many callers together.
    #[must_use]
    pub const fn times(self, callers: NonZeroU32) -> Self {
        Self { limit: self.limit.times(callers), burst: self.burst.saturating_mul(callers) }
    }

    /// In how much time one request is regained.
    #[must_use]
    pub fn cost(self) -> Duration {
        Duration::from_nanos(self.cost_nanos())
    }

    /// In how much time the whole allowance is.
    #[must_use]
    pub fn room(self) -> Duration {
        Duration::from_nanos(self.room_nanos())
    }

    pub(super) fn cost_nanos(self) -> u64 {
        (nanos(self.limit.per()) / u64::from(self.limit.count().get())).max(1)
    }

    pub(super) fn room_nanos(self) -> u64 {
        self.cost_nanos().saturating_mul(u64::from(self.burst.get())).min(LONGEST)
    }
}

/// More than a year of waiting says nothing more.
const LONGEST: u64 = 366 * 86_400 * 1_000_000_000;

impl From<RateLimit> for Quota {
    fn from(limit: RateLimit) -> Self {
        Self::new(limit, None)
    }
}
