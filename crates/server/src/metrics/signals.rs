//! How many signals were delivered and heard.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// The counts of signals. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    delivered: Family<Delivered, Counter>,
    heard: Family<Heard, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivered {
    method: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Heard {
    transmitter: String,
    result: &'static str,
}

impl Signals {
    /// Shows the counts with `registry`.
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Signals that receivers took, refused, or could not be sent";
        registry.register("signal_deliveries", help, self.delivered.clone());
        let help = "Signals that transmitters sent, and what followed";
        registry.register("signals_received", help, self.heard.clone());
    }

    /// Counts signals that were given to a receiver: by `push` or `poll`; `delivered`, `refused` or
    /// `failed`.
    pub fn delivered(&self, method: &'static str, result: &'static str, count: usize) {
        if count > 0 {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.delivered.get_or_create(&Delivered { method, result }).inc_by(count);
        }
    }

    /// Counts a signal of a transmitter that is configured.
    pub fn heard(&self, transmitter: &str, result: &'static str) {
        let transmitter = transmitter.to_owned();
        self.heard.get_or_create(&Heard { transmitter, result }).inc();
    }
}
