//! What the node says of itself, as `/health/ready` says it, for whoever watches many nodes.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use tegata_server::{Check, Severity, Unwell};
use tokio::sync::watch;

use crate::background::every;

/// How often the checks are made for the metrics. Each asks a store or two something small.
const LOOKS: Duration = Duration::from_secs(5);

/// What each check found.
pub(crate) type Found = Vec<(&'static str, Option<Unwell>)>;

/// What the checks found last. Nothing, before they have been made.
#[derive(Debug)]
pub(crate) struct Health(pub(crate) watch::Receiver<Found>);

/// Makes the checks again and again.
pub(crate) async fn look(checks: Arc<[Arc<dyn Check>]>, found: watch::Sender<Found>) {
    let mut ticks = every(LOOKS);
    loop {
        ticks.tick().await;
        let mut all = Found::with_capacity(checks.len());
        for check in checks.iter() {
            all.push((check.name(), check.look().await.err()));
        }
        found.send_replace(all);
    }
}

impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let found = self.0.borrow();
        if found.is_empty() {
            return Ok(());
        }
        let gauge = MetricType::Gauge;
        let severity = |found: &Option<Unwell>| found.as_ref().map(|unwell| unwell.severity);
        let worst = found.iter().filter_map(|(_, found)| severity(found)).max();
        let help = "Whether the node says that it is ready";
        let ready = encoder.encode_descriptor("node_ready", help, None, gauge)?;
        ConstGauge::new(i64::from(worst < Some(Severity::NotReady))).encode(ready)?;
        let help = "What a check finds: 0 healthy, 1 degraded, 2 done without, 3 not ready";
        let mut checks = encoder.encode_descriptor("node_health", help, None, gauge)?;
        for (name, found) in found.iter() {
            let level = match severity(found) {
                None => 0_i64,
                Some(Severity::Degraded) => 1,
                Some(Severity::Without) => 2,
                Some(Severity::NotReady) => 3,
            };
            let labels = [("check", *name)];
            ConstGauge::new(level).encode(checks.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    fn shown(found: Found) -> String {
        let (_sender, receiver) = watch::channel(found);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Health(receiver)));
        let mut shown = String::new();
        text::encode(&mut shown, &registry).unwrap();
        shown
    }

    #[test]
    fn a_node_is_ready_as_long_as_no_check_says_otherwise() {
        let unwell = |severity| Some(Unwell::new(severity, "reason", "detail"));
        let worse = vec![("store", None), ("events", unwell(Severity::Without))];
        let text = shown(worse.clone());
        assert!(text.contains("\nnode_ready 1\n"), "{text}");
        assert!(text.contains("\nnode_health{check=\"events\"} 2\n"), "{text}");
        let worst = [worse, vec![("clock", unwell(Severity::NotReady))]].concat();
        let text = shown(worst);
        assert!(text.contains("\nnode_ready 0\n"), "{text}");
        assert!(text.contains("\nnode_health{check=\"store\"} 0\n"), "{text}");
    }

    #[test]
    fn before_anybody_has_looked_nothing_is_said() {
        assert!(!shown(Found::new()).contains("node_"));
    }
}
