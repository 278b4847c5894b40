//! What is read when somebody asks for the metrics, because it changes by itself.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use tegata_token::View;

/// How far this node follows the revocation log.
pub(crate) struct Following(pub(crate) Arc<View>);

impl Collector for Following {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "The position up to which the revocation log is known here";
        let position =
            encoder.encode_descriptor("revocation_position", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(self.0.position()).unwrap_or(i64::MAX)).encode(position)?;
        // Before the log has been read there is no number: none would be high enough.
        let Some(staleness) = self.0.staleness() else { return Ok(()) };
        let help =
            "For how long a revocation could have been acknowledged without being known here";
        let seconds = encoder.encode_descriptor(
            "revocation_staleness_seconds",
            help,
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(staleness.as_secs_f64()).encode(seconds)
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Following")
    }
}
