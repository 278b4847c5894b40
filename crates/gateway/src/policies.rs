//! The policies that take part in decisions, and those that are tried beside them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tegata_policy::{Bundle, Decision, Differs, Request, ShadowReport};

/// The policies of a gateway.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// Those that decide, beside what routes say. `None`: none do.
    pub bundle: Option<Arc<Bundle>>,
    /// Those that are asked about every request, and change nothing.
    pub tried: Option<Arc<Tried>>,
}

/// Policies that are tried, and what they would have changed.
pub struct Tried {
    bundle: Arc<Bundle>,
    /// Those that were decided alike: counted apart, so that no thread waits for another about them.
    alike: AtomicU64,
    report: Mutex<ShadowReport>,
}

impl Tried {
    /// Nothing has been asked yet.
    #[must_use]
    pub fn new(bundle: Arc<Bundle>) -> Self {
        Self { bundle, alike: AtomicU64::new(0), report: Mutex::default() }
    }

    /// The policies.
    #[must_use]
    pub const fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// What they would have changed since they are tried, on this node.
    #[must_use]
    pub fn report(&self) -> ShadowReport {
        let mut report = self.report.lock().clone();
        report.asked += self.alike.load(Ordering::Relaxed);
        report
    }

    /// Takes note of one request. Answers what would change, if anything would.
    pub(crate) fn note(
        &self,
        request: &Request<'_>,
        decided: &Decision<'_>,
        then: &Decision<'_>,
    ) -> Option<Differs> {
        if Differs::between(decided, then).is_none() {
            self.alike.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.report.lock().take(request, decided, then)
    }
}

/// The digest of policies, as hexadecimal digits.
pub(crate) fn digest_text(bundle: &Bundle) -> String {
    bundle.digest().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tried").field("bundle", &self.bundle).finish_non_exhaustive()
    }
}
