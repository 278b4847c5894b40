//! How often clients were told that a session has ended.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// The counts of messages to clients. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Logouts(Family<Noted, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Noted {
    result: &'static str,
}

impl Logouts {
    /// Shows the counts with `registry`.
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Messages to clients that a session has ended, and what came of them";
        registry.register("logout_deliveries", help, self.0.clone());
    }

    /// Counts a message: `delivered`, `refused` or `failed`.
    pub fn noted(&self, result: &'static str) {
        self.0.get_or_create(&Noted { result }).inc();
    }
}
