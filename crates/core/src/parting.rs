//! Whether a process is about to stop: it still serves, and asks everybody to go elsewhere.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether listeners still answer, but let no connection be used again. A connection that is closed
/// while nothing is on it may have a request on the way to it, which nobody answers: so clients are
/// told with each answer (`Connection: close`, RFC 9112 §9.6), for a while before listeners close.
///
/// Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Parting(Arc<AtomicBool>);

impl Parting {
    /// From now on.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
