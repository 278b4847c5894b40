//! What is counted of limits.

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// What is counted of limits.
#[derive(Debug, Clone)]
pub(crate) struct Limited {
    /// By layer and result.
    checks: Arc<[(&'static str, [Counter; 2]); 4]>,
    refusals: Family<Policy, Counter>,
    shared: Gauge,
    callers: Gauge<u64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Check {
    layer: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Policy {
    policy: String,
}

impl Limited {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let checks = Family::<Check, Counter>::default();
        let of = |layer, result| checks.get_or_create(&Check { layer, result }).clone();
        let all = ["local", "store", "share", "late"]
            .map(|layer| (layer, [of(layer, "refused"), of(layer, "passed")]));
        let limited = Self {
            checks: Arc::new(all),
            refusals: Family::default(),
            shared: Gauge::default(),
            callers: Gauge::default(),
        };
        registry.register(
            "rate_limit_checks",
            "Requests that were counted, by who decided: this node, the store, this node's share, or \
             this node while the store was late",
            checks,
        );
        registry.register(
            "rate_limit_refusals",
            "Requests that a limit refused, by its name",
            limited.refusals.clone(),
        );
        registry.register(
            "rate_limit_shared",
            "Whether limits are counted together with the other nodes",
            limited.shared.clone(),
        );
        registry.register(
            "rate_limit_callers",
            "Of how many callers, addresses and other names it is remembered how often they came",
            limited.callers.clone(),
        );
        limited
    }

    pub(crate) fn note(&self, layer: &'static str, passes: bool) {
        let of_layer = self.checks.iter().find(|(name, _)| *name == layer);
        if let Some((_, [refused, passed])) = of_layer {
            if passes {
                passed.inc()
            } else {
                refused.inc()
            };
        }
    }

    pub(crate) fn refused(&self, policy: &str) {
        self.refusals.get_or_create(&Policy { policy: policy.to_owned() }).inc();
    }

    pub(crate) fn shared(&self, shared: bool) {
        self.shared.set(i64::from(shared));
    }

    pub(crate) fn remembers(&self, callers: usize) {
        self.callers.set(u64::try_from(callers).unwrap_or(u64::MAX));
    }
}
