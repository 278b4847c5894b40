//! How often services were told about callers by an internal token, and how often there was none to
//! tell them with.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

/// The counts of all services. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Propagations(Arc<Mutex<BTreeMap<String, Arc<Made>>>>);

/// The counts of one service.
#[derive(Debug, Default)]
pub(crate) struct Made {
    all: AtomicU64,
    failed: AtomicU64,
}

/// What was counted of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Propagated {
    /// The service.
    pub target: String,
    /// Requests with which it was to be told.
    pub all: u64,
    /// Those that were refused, because there was no key to sign with.
    pub failed: u64,
}

impl Propagations {
    /// What was counted so far, of services that were to be told anything.
    #[must_use]
    pub fn counted(&self) -> Vec<Propagated> {
        let services = self.0.lock();
        let counted = services.iter().map(|(target, made)| Propagated {
            target: target.clone(),
            all: made.all.load(Ordering::Relaxed),
            failed: made.failed.load(Ordering::Relaxed),
        });
        counted.filter(|counted| counted.all > 0).collect()
    }

    /// Forgets one that has left.
    pub(super) fn forget(&self, service: &str) {
        self.0.lock().remove(service);
    }

    /// The counts of one service: those that it had, where it had any.
    pub(super) fn to(&self, service: &str) -> Arc<Made> {
        Arc::clone(self.0.lock().entry(service.to_owned()).or_default())
    }
}

impl Made {
    /// Counts a token that was to be made.
    pub(crate) fn count(&self, made: bool) {
        self.all.fetch_add(1, Ordering::Relaxed);
        if !made {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_counts_when_the_map_is_made_anew() {
        let propagations = Propagations::default();
        propagations.to("orders").count(true);
        propagations.to("silent");
        let again = propagations.clone();
        again.to("orders").count(false);
        let expected = Propagated { target: "orders".to_owned(), all: 2, failed: 1 };
        assert_eq!(propagations.counted(), [expected]);
    }
}
