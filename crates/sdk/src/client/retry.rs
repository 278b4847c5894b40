//! When to try again, and when so many do that it would only make things worse.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tegata_core::Entropy;

/// How often something is tried again, and after how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// At most so many times after the first.
    pub most: u32,
    /// The longest pause before the first of them. Each further one may be twice as long.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { most: 3, first: Duration::from_millis(50), longest: Duration::from_millis(500) }
    }
}

impl Retries {
    /// Nothing is tried again.
    pub const NONE: Self = Self { most: 0, first: Duration::ZERO, longest: Duration::ZERO };

    /// Waits before retry `number`, counted from 0. `false`: there were enough.
    pub(crate) async fn pause(&self, number: u32, entropy: &dyn Entropy) -> bool {
        if number >= self.most {
            return false;
        }
        let pause = self.backoff(number, entropy);
        if !pause.is_zero() {
            #[expect(clippy::disallowed_methods, reason = "to wait is what a back-off is for")]
            tokio::time::sleep(pause).await;
        }
        true
    }

    /// A pause between nothing and twice the one before: were it always the longest, all who
    /// failed together would come back together.
    fn backoff(&self, number: u32, entropy: &dyn Entropy) -> Duration {
        let longest = self.first.saturating_mul(1 << number.min(16)).min(self.longest);
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        longest.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }
}

/// Retries that a client may still make, in tenths: each call earns one tenth, each retry costs
/// ten. So in the long run at most one call in ten is a retry, and an outage is not answered with a
/// multiple of the load that caused it.
pub(super) struct Budget(AtomicU32);

impl Budget {
    const MOST: u32 = 100;
    const COST: u32 = 10;

    pub(super) fn call(&self) {
        let earn = |tenths: u32| (tenths < Self::MOST).then_some(tenths + 1);
        // Nothing is earned by who has enough.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earn);
    }

    pub(super) fn retry(&self) -> bool {
        let spend = |tenths: u32| tenths.checked_sub(Self::COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(Self::MOST))
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::SeededEntropy;

    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let (retries, entropy) = (Retries::default(), SeededEntropy::new(1));
        for number in 0..40 {
            let longest = retries.first.saturating_mul(1 << number.min(16)).min(retries.longest);
            assert!(retries.backoff(number, &entropy) <= longest);
        }
        let draws: Vec<_> = (0..8).map(|_| retries.backoff(3, &entropy)).collect();
        assert!(draws.iter().any(|draw| *draw != draws[0]), "{draws:?}");
        assert!(draws.iter().any(|draw| *draw > retries.first), "{draws:?}");
    }

    #[test]
    fn in_the_long_run_one_call_in_ten_is_repeated() {
        let budget = Budget::default();
        let saved = (0..1000).filter(|_| budget.retry()).count();
        assert_eq!(saved, 10);
        let retried = (0..1000)
            .filter(|_| {
                budget.call();
                budget.retry()
            })
            .count();
        assert_eq!(retried, 100);
    }
}
