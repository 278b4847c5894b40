//! How much mail was sent to people.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// The counts of mail. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Letters(Family<Noted, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Noted {
    result: &'static str,
}

impl Letters {
    /// Shows the counts with `registry`.
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Mail to people, and what came of it";
        registry.register("mail_deliveries", help, self.0.clone());
    }

    /// Counts a mail: `sent`, `refused` or `failed`.
    pub fn noted(&self, result: &'static str) {
        self.0.get_or_create(&Noted { result }).inc();
    }
}
