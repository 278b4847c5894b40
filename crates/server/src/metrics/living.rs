//! How many access tokens live that were issued here: nobody keeps a list of them, so it is remembered
//! when how many end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tegata_core::SinceBoot;

/// The access tokens that were issued here and have not expired. What is taken back counts until it
/// would have expired. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Living(Arc<Mutex<Ends>>);

/// How many tokens end in which second since boot. Lifetimes are short, so there are few seconds.
#[derive(Debug, Default)]
struct Ends {
    by_second: BTreeMap<u64, u64>,
    all: u64,
}

impl Living {
    /// Counts a token that was issued now.
    pub(super) fn issued(&self, now: SinceBoot, expires_in: u64) {
        let mut ends = self.0.lock();
        ends.forget(now);
        let end = (now.0 + Duration::from_secs(expires_in)).as_secs();
        *ends.by_second.entry(end).or_default() += 1;
        ends.all += 1;
    }

    /// How many live now.
    #[must_use]
    pub fn count(&self, now: SinceBoot) -> u64 {
        let mut ends = self.0.lock();
        ends.forget(now);
        ends.all
    }
}

impl Ends {
    /// Drops what has ended.
    fn forget(&mut self, now: SinceBoot) {
        while let Some(first) = self.by_second.first_entry()
            && *first.key() <= now.0.as_secs()
        {
            self.all = self.all.saturating_sub(first.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_tokens_until_they_expire() {
        let at = |seconds| SinceBoot(Duration::from_secs(seconds));
        let living = Living::default();
        assert_eq!(living.count(at(0)), 0);
        living.issued(at(10), 900);
        living.issued(at(10), 900);
        living.issued(at(20), 60);
        assert_eq!(living.count(at(79)), 3);
        assert_eq!(living.count(at(80)), 2);
        living.issued(at(909), 900);
        assert_eq!(living.count(at(909)), 3);
        assert_eq!(living.count(at(910)), 1);
        assert_eq!(living.count(at(5000)), 0);
        assert!(living.0.lock().by_second.is_empty());
    }
}
