//! What the gateway carries, and what was too much.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, counter::Counter, family::Family, gauge::ConstGauge},
    registry::Registry,
};

use crate::{gate::Gates, shed::Reason};

/// Those metrics.
#[derive(Clone)]
pub(crate) struct OfLoad {
    refused: [Counter; 4],
    /// Whose they are. It has these, so it is not kept by them.
    of: Arc<Mutex<Weak<Gates>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Because {
    reason: &'static str,
}

impl OfLoad {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let refused = Family::<Because, Counter>::default();
        let help = "Requests and connections that were refused because there was more than could be carried";
        registry.register("gateway_requests_shed", help, refused.clone());
        let of = |reason: Reason| refused.get_or_create(&Because { reason: reason.name() }).clone();
        let load = Self { refused: Reason::ALL.map(of), of: Arc::default() };
        registry.register_collector(Box::new(load.clone()));
        load
    }

    /// Counts one that was refused.
    pub(crate) fn count(&self, reason: Reason) {
        let all = Reason::ALL.iter().zip(&self.refused);
        all.filter(|(of, _)| **of == reason).for_each(|(_, counter)| {
            counter.inc();
        });
    }

    /// Shows what this gateway carries, as long as it is there.
    pub(crate) fn show(&self, gate: &Arc<Gates>) {
        *self.of.lock() = Arc::downgrade(gate);
    }
}

impl Collector for OfLoad {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(gate) = self.of.lock().upgrade() else { return Ok(()) };
        let (load, now) = (&gate.load, gate.now());
        let (held, budget) = load.memory.held();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (name, help, value) in [
            (
                "gateway_requests_in_flight",
                "Requests whose answer has not begun, and that came within the last second",
                i64::from(load.in_flight()),
            ),
            (
                "gateway_requests_limit",
                "How many of them are let in at the moment",
                i64::from(load.lets_in(&now.config.limits)),
            ),
            ("gateway_connections", "Connections from clients", number(load.connections())),
            (
                "gateway_memory_held_bytes",
                "What connections and what passes on them hold",
                number(held),
            ),
            ("gateway_memory_limit_bytes", "How much that may be", number(budget)),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        Ok(())
    }
}

impl fmt::Debug for OfLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfLoad")
    }
}
