//! Time. Wall time for what tokens say, time since boot for how long something took or how stale it
//! is, and a hybrid clock that orders events across nodes whose wall clocks differ.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

mod steady;

pub use steady::SteadyClock;

/// A point of wall time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the epoch of Unix.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From seconds since the epoch of Unix, as in `exp` and `iat` (RFC 7519 `NumericDate`).
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch of Unix.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch of Unix, rounded down.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// Whole days since 1970-01-01, rounded down.
    #[must_use]
    pub fn day(self) -> u32 {
        u32::try_from(self.0 / 86_400_000).unwrap_or(u32::MAX)
    }

    /// The time since `earlier`, or zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    /// Saturates at the end of time.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;
    /// Saturates at 1970.
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds: `2026-11-21T02:50:47.123Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil(days);
        let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
        let (second, milli) = (millis / 1000 % 60, millis % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Year, month and day of a day number, in the proleptic Gregorian calendar: eras of 400 years
/// (146,097 days) that begin on 1 March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Time since the machine booted, suspended time included. It never goes back, so durations,
/// deadlines and staleness are measured with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SinceBoot(pub Duration);

impl SinceBoot {
    /// The time since `earlier`, or zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where the time comes from. Everything that needs it takes one of these.
pub trait Clock: Send + Sync {
    /// Wall time now.
    fn now(&self) -> Timestamp;
    /// Time since boot (`CLOCK_BOOTTIME`).
    fn since_boot(&self) -> SinceBoot;
    /// By how many milliseconds the clock of the machine is ahead of [`Self::now`], or behind, where
    /// it has jumped and is not believed.
    fn jumped(&self) -> Option<i64> {
        None
    }
}

/// The clocks of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(millis_of(rustix::time::ClockId::Realtime))
    }

    fn since_boot(&self) -> SinceBoot {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let secs = u64::try_from(time.tv_sec).unwrap_or(0);
        SinceBoot(Duration::new(secs, u32::try_from(time.tv_nsec).unwrap_or(0)))
    }
}

fn millis_of(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    secs.saturating_mul(1000).saturating_add(millis)
}

/// A clock that stands still until it is told to move. For tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicU64,
    boot: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`, one hour after boot.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { wall: AtomicU64::new(now.millis()), boot: AtomicU64::new(3_600_000) }
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, span: Duration) {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.wall.fetch_add(millis, Ordering::SeqCst);
        self.boot.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or a faulty time source would.
    pub fn jump(&self, now: Timestamp) {
        self.wall.store(now.millis(), Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::at(Timestamp::from_secs(1_767_225_600))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Ordering::SeqCst))
    }

    fn since_boot(&self) -> SinceBoot {
        SinceBoot(Duration::from_millis(self.boot.load(Ordering::SeqCst)))
    }
}

/// A reading of a [`HybridClock`]: 48 bits of milliseconds, 16 bits of counter. Readings of one
/// node never repeat or go back, and a reading taken after another node's was heard is greater.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct Hybrid(u64);

impl Hybrid {
    /// The wall time that this reading is not before, on the node that took it.
    #[must_use]
    pub const fn wall(self) -> Timestamp {
        Timestamp::from_millis(self.0 >> 16)
    }

    /// The packed form: 48 bits of milliseconds, then 16 bits of counter.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// A reading from its packed form.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// A hybrid logical clock (Kulkarni et al., 2014): close to wall time, ordered by cause.
#[derive(Debug, Default)]
pub struct HybridClock {
    last: AtomicU64,
}

impl HybridClock {
    /// How far ahead of our wall clock a heard reading may be. One that is further ahead comes from
    /// a broken clock and is not followed, or one node could drag all others into the future.
    pub const MOST_AHEAD: Duration = Duration::from_secs(60);

    /// A clock that has read nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: AtomicU64::new(0) }
    }

    /// A new reading, greater than every reading taken or heard before.
    pub fn tick(&self, clock: &dyn Clock) -> Hybrid {
        self.tick_at(clock.now())
    }

    /// The same, where the clock has just been read.
    pub fn tick_at(&self, now: Timestamp) -> Hybrid {
        let wall = now.millis() << 16;
        let step = |last: u64| Some(wall.max(last.saturating_add(1)));
        let last = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        Hybrid(wall.max(last.unwrap_or_default().saturating_add(1)))
    }

    /// Hears a reading of another node, so that later readings of ours are greater.
    /// Answers whether it was followed; see [`Self::MOST_AHEAD`].
    pub fn hear(&self, clock: &dyn Clock, other: Hybrid) -> bool {
        let near = other.wall() <= clock.now() + Self::MOST_AHEAD;
        if near {
            self.last.fetch_max(other.0, Ordering::SeqCst);
        }
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_rfc3339() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (2_147_483_648, "2038-01-19T03:14:08.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::from_secs(secs).to_string(), text);
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::from_secs(u64::MAX).secs(), u64::MAX / 1000);
        assert_eq!(Timestamp::from_secs(1) - Duration::from_secs(2), Timestamp::from_secs(0));
    }

    #[test]
    fn hybrid_readings_only_grow_even_when_the_wall_clock_goes_back() {
        let (clock, hybrid) = (ManualClock::default(), HybridClock::new());
        let first = hybrid.tick(&clock);
        clock.jump(clock.now() - Duration::from_secs(300));
        let second = hybrid.tick(&clock);
        assert!(second > first);
    }

    #[test]
    fn a_heard_reading_is_exceeded_unless_its_clock_is_broken() {
        let (ours, theirs) = (ManualClock::default(), ManualClock::default());
        theirs.advance(Duration::from_secs(20));
        let (here, there) = (HybridClock::new(), HybridClock::new());
        let heard = there.tick(&theirs);
        assert!(here.hear(&ours, heard) && here.tick(&ours) > heard);

        theirs.advance(Duration::from_secs(3600));
        let broken = there.tick(&theirs);
        assert!(!here.hear(&ours, broken) && here.tick(&ours) < broken);
    }
}
