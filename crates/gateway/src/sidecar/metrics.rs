//! What a sidecar counts.

use std::{fmt, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::metrics::Histogram;

/// What a sidecar counts.
#[derive(Debug)]
pub(super) struct Counted {
    registry: Registry,
    service: String,
    validations: Family<Validation, Histogram>,
    errors: Family<Failure, Counter>,
    lookups: Family<Lookup, Counter>,
    entries: Gauge,
    position: Gauge,
    staleness: Gauge<f64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Validation {
    service: String,
    method: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    service: String,
    error_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lookup {
    result: &'static str,
}

impl Counted {
    pub(super) fn new(service: &str) -> Self {
        let mut registry = Registry::default();
        let validations = Family::<Validation, Histogram>::default();
        let errors = Family::<Failure, Counter>::default();
        let lookups = Family::<Lookup, Counter>::default();
        let (entries, position) = (Gauge::default(), Gauge::default());
        let staleness = Gauge::<f64, AtomicU64>::default();
        registry.register(
            "session_validation_duration_seconds",
            "From a request's head to whose it is",
            validations.clone(),
        );
        registry.register(
            "session_errors",
            "Requests without a session that counts",
            errors.clone(),
        );
        registry.register(
            "sidecar_lookups",
            "Whether what a credential says was remembered",
            lookups.clone(),
        );
        registry.register(
            "sidecar_entries",
            "Credentials that are remembered to count",
            entries.clone(),
        );
        registry.register(
            "revocation_position",
            "The position up to which the revocation log is known here",
            position.clone(),
        );
        registry.register(
            "revocation_staleness_seconds",
            "For how long a revocation could have been acknowledged without being known here",
            staleness.clone(),
        );
        let service = service.to_owned();
        Self { registry, service, validations, errors, lookups, entries, position, staleness }
    }

    /// Counts a check. `hit`: whether what the credential says was remembered, where it was looked up.
    pub(super) fn check(&self, status: &'static str, hit: Option<bool>, took: Duration) {
        let service = || self.service.clone();
        let labels = Validation { service: service(), method: "sidecar", status };
        self.validations.get_or_create(&labels).observe(took);
        if status != "valid" {
            let labels = Failure { service: service(), error_type: status };
            self.errors.get_or_create(&labels).inc();
        }
        if let Some(hit) = hit {
            let result = if hit { "hit" } else { "miss" };
            self.lookups.get_or_create(&Lookup { result }).inc();
        }
    }

    /// All of it, in the text format 0.0.4.
    pub(super) fn text(
        &self,
        (staleness, position): (Option<Duration>, u64),
        entries: usize,
    ) -> Result<String, fmt::Error> {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.position.set(i64::try_from(position).unwrap_or(i64::MAX));
        self.staleness.set(staleness.unwrap_or_default().as_secs_f64());
        let mut open = String::new();
        text::encode(&mut open, &self.registry)?;
        // Before anything was heard there is no number: none would be high enough.
        let unknown = staleness.is_none().then_some("revocation_staleness_seconds");
        let known = |line: &&str| unknown.is_none_or(|name| !line.contains(name));
        let mut shown = String::with_capacity(open.len());
        for line in open.lines().filter(known).filter(|line| *line != "# EOF") {
            // OpenMetrics names a counter without its `_total`; the older format does not.
            let counter = COUNTERS.iter().find(|name| {
                let rest = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
                rest.is_some_and(|rest| rest.split(' ').next() == Some(name))
            });
            match counter {
                Some(name) => shown.push_str(&line.replacen(name, &format!("{name}_total"), 1)),
                None => shown.push_str(line),
            }
            shown.push('\n');
        }
        Ok(shown)
    }
}

/// What is counted, by its name without `_total`.
const COUNTERS: [&str; 2] = ["session_errors", "sidecar_lookups"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_in_the_format_of_prometheus_and_nothing_is_said_that_is_not_known() {
        let counted = Counted::new("orders");
        let nothing = counted.text((None, 0), 0).unwrap();
        assert!(!nothing.contains("staleness") && !nothing.contains("# EOF"), "{nothing}");
        counted.check("invalid", Some(true), Duration::from_millis(2));
        let shown = counted.text((Some(Duration::from_secs(2)), 7), 3).unwrap();
        for line in [
            "# TYPE session_errors_total counter",
            "session_errors_total{service=\"orders\",error_type=\"invalid\"} 1",
            "# TYPE sidecar_lookups_total counter",
            "sidecar_lookups_total{result=\"hit\"} 1",
            "revocation_staleness_seconds 2.0",
            "revocation_position 7",
            "sidecar_entries 3",
        ] {
            assert!(shown.lines().any(|own| own == line), "no `{line}` in {shown}");
        }
    }
}
