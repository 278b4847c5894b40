//! A histogram whose observation takes no lock: every worker observes several for each request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Upper bounds, in microseconds. What alerts ask about is one of them: between two bounds, a quantile
/// is a guess.
const BOUNDS: [u64; 18] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 10_000, 15_000, 25_000, 100_000, 500_000,
    2_500_000, 10_000_000,
];

/// Durations, counted by bucket.
#[derive(Debug, Clone, Default)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    // One more than there are bounds: the last is for what exceeds them.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, span: Duration) {
        let micros = u64::try_from(span.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

#[expect(clippy::cast_precision_loss, reason = "sums and bounds are shown as decimal numbers")]
fn seconds(number: u64, per_second: f64) -> f64 {
    number as f64 / per_second
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bounds = BOUNDS.iter().map(|micros| seconds(*micros, 1e6)).chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.0.nanos.load(Ordering::Relaxed), 1e9);
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn counts_into_buckets_that_accumulate() {
        let histogram = Histogram::default();
        for micros in [1, 2, 30, 20_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        histogram.observe(Duration::from_nanos(1001));
        let mut registry = Registry::default();
        registry.register("test_seconds", "A test", histogram);
        let mut shown = String::new();
        text::encode(&mut shown, &registry).unwrap();
        for line in [
            "test_seconds_bucket{le=\"0.000001\"} 1\n",
            "test_seconds_bucket{le=\"0.000002\"} 3\n",
            "test_seconds_bucket{le=\"0.00005\"} 4\n",
            "test_seconds_bucket{le=\"10.0\"} 4\n",
            "test_seconds_bucket{le=\"+Inf\"} 5\n",
            "test_seconds_count 5\n",
        ] {
            assert!(shown.contains(line), "{line} in {shown}");
        }
    }
}
