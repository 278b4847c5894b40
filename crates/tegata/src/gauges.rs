//! What is read when somebody asks for the metrics, because it changes by itself.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use tegata_core::BreakerState;
use tegata_store::measured::{Figures, Operation};
use tegata_token::View;
use tokio::sync::watch;

use crate::{
    circle,
    compose::{Backends, Composed},
    supervisor::Panics,
};

mod counted;
pub(crate) mod health;
mod process;

/// Everything that is shown under `/metrics`, and what counts it. `found` is what the checks of health
/// found last.
pub(crate) fn register(
    composed: &Arc<Composed>,
    found: watch::Receiver<health::Found>,
) -> (Registry, tegata_server::Metrics, tegata_gateway::Metrics) {
    let mut registry = Registry::default();
    let server = tegata_server::Metrics::register(&mut registry);
    let gateway = tegata_gateway::Metrics::register(&mut registry);
    // Where there is no other node it stays empty.
    let propagation = composed.circle.as_ref().map(|part| part.propagation.clone());
    let help = "How long after something was taken back here another node said that it knows";
    let propagation = propagation.unwrap_or_else(circle::durations);
    registry.register("revocation_propagation_seconds", help, propagation);
    let help =
        "How long after a change of permissions the last node enforced it, by changes made to see";
    let permissions = composed.permission_propagation.clone();
    registry.register("permission_propagation_seconds", help, permissions);
    let counted = counted::Counted {
        composed: Arc::clone(composed),
        server: server.clone(),
        gateway: gateway.clone(),
    };
    registry.register_collector(Box::new(counted));
    registry.register_collector(Box::new(Following(Arc::clone(&composed.view))));
    registry.register_collector(Box::new(Backing(Arc::clone(composed), gateway.clone())));
    registry.register_collector(Box::new(health::Health(found)));
    registry.register_collector(Box::new(Panics(Arc::clone(&composed.supervisor))));
    registry.register_collector(Box::new(process::Process { since: composed.node.now() }));
    (registry, server, gateway)
}

/// How far this node follows the revocation log.
pub(crate) struct Following(pub(crate) Arc<View>);

impl Collector for Following {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "The position up to which the revocation log is known here";
        let position =
            encoder.encode_descriptor("revocation_position", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(self.0.position()).unwrap_or(i64::MAX)).encode(position)?;
        let help =
            "For how long a revocation could have been acknowledged without being known here";
        let seconds = encoder.encode_descriptor(
            "revocation_staleness_seconds",
            help,
            None,
            MetricType::Gauge,
        )?;
        // Before the log has been read there is no number: none would be high enough.
        let Some(staleness) = self.0.staleness() else { return Ok(()) };
        ConstGauge::new(staleness.as_secs_f64()).encode(seconds)
    }
}

/// How the adapters stand, and what the gateway knows of services.
pub(crate) struct Backing(pub(crate) Arc<Composed>, pub(crate) tegata_gateway::Metrics);

impl Collector for Backing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let backends = &self.0.backends;
        // A node by itself has none.
        let help = "What a breaker does: 0 lets everybody through, 1 one to see, 2 nobody";
        let kind = MetricType::Gauge;
        let mut states = encoder.encode_descriptor("circuit_breaker_state", help, None, kind)?;
        let own = backends.breakers.iter().map(|(name, it)| ((*name).to_owned(), it.state()));
        for (name, state) in own.chain(self.1.breakers()) {
            let state = match state {
                BreakerState::Closed => 0_i64,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            let labels = [("name", name)];
            ConstGauge::new(state).encode(states.encode_family(&labels)?)?;
        }
        if let Some(redis) = &backends.redis {
            let help = "How often another Redis has begun to answer since the start";
            let changes =
                encoder.encode_descriptor("redis_changes", help, None, MetricType::Counter)?;
            ConstCounter::new(redis.standing().changes).encode(changes)?;
        }
        let help =
            "When the bundle of a SPIFFE trust domain ceases to count, unless it is had again";
        let name = "trust_bundle_expiry_timestamp_seconds";
        let mut ends = encoder.encode_descriptor(name, help, None, kind)?;
        for (domain, until) in self.0.trust_domains.until() {
            let labels = [("trust_domain", domain.to_string())];
            let until = i64::try_from(until.secs()).unwrap_or(i64::MAX);
            ConstGauge::new(until).encode(ends.encode_family(&labels)?)?;
        }
        let (version, is_sound) = self.0.policies.standing();
        let help = "Which version of the policies decides here; 0 where there have never been any";
        let versions = encoder.encode_descriptor("policy_set_version", help, None, kind)?;
        ConstGauge::new(i64::try_from(version).unwrap_or(i64::MAX)).encode(versions)?;
        let help = "Whether the policies that were declared are those that decide: 0 while they cannot be used";
        let sound = encoder.encode_descriptor("policy_set_sound", help, None, kind)?;
        ConstGauge::new(i64::from(is_sound)).encode(sound)?;
        if let Some((alive, suspected)) = self.0.cluster.counted() {
            let help = "Nodes of the cluster, as this one hears them";
            let kind = MetricType::Gauge;
            let mut members = encoder.encode_descriptor("cluster_members", help, None, kind)?;
            for (standing, count) in [("alive", alive), ("suspected", suspected)] {
                let labels = [("standing", standing)];
                ConstGauge::new(count).encode(members.encode_family(&labels)?)?;
            }
            let help = "Whether nodes run that this one does not hear";
            let cut = encoder.encode_descriptor("cluster_partitioned", help, None, kind)?;
            ConstGauge::new(i64::from(self.0.cluster.partition().is_some())).encode(cut)?;
        }
        if let Some(foreign) = &self.0.foreign {
            let (used, most) = foreign.view.remembered();
            let used_help = "What answers about tokens of other issuers take up in memory";
            let most_help = "What answers about tokens of other issuers may take up in memory";
            for (name, help, bytes) in [
                ("revocation_cache_bytes", used_help, used),
                ("revocation_cache_limit_bytes", most_help, most),
            ] {
                let gauge = encoder.encode_descriptor(name, help, None, kind)?;
                ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX)).encode(gauge)?;
            }
        }
        if let Some(elsewhere) = &self.0.elsewhere {
            let standing = &elsewhere.standing;
            let help = "The position of the revocation log up to which all is in its second home";
            let kind = MetricType::Gauge;
            let position =
                encoder.encode_descriptor("revocation_durable_position", help, None, kind)?;
            let reached = i64::try_from(standing.position()).unwrap_or(i64::MAX);
            ConstGauge::new(reached).encode(position)?;
            let help = "For how long a revocation has been waiting for its second home";
            let behind =
                encoder.encode_descriptor("revocation_durable_behind_seconds", help, None, kind)?;
            let waiting = standing.behind(self.0.node.since_boot());
            ConstGauge::new(waiting.as_secs_f64()).encode(behind)?;
            let help = "How often this node could not record in the second home of revocations";
            let kind = MetricType::Counter;
            let errors =
                encoder.encode_descriptor("revocation_durable_errors", help, None, kind)?;
            ConstCounter::new(standing.errors()).encode(errors)?;
        }
        let hits = self.0.cached.hits();
        let help = "Where sessions and their people were found that were asked for";
        let mut lookups =
            encoder.encode_descriptor("session_lookups", help, None, MetricType::Counter)?;
        for (layer, count) in [("local", hits.own), ("near", hits.near), ("store", hits.store)] {
            let labels = [("layer", layer)];
            ConstCounter::new(count).encode(lookups.encode_family(&labels)?)?;
        }
        let help = "How long calls to what lives for a while take, of the last thousand";
        // They are quantiles, and no summary: there is no count and no sum.
        let kind = MetricType::Unknown;
        let mut spans =
            encoder.encode_descriptor("ephemeral_duration_seconds", help, None, kind)?;
        for operation in Operation::ALL {
            let figures = backends.measured.figures(operation);
            for (share, span) in
                [("0.5", figures.p50), ("0.95", figures.p95), ("0.99", figures.p99)]
            {
                let labels = [("operation", operation.name()), ("quantile", share)];
                ConstGauge::new(span.as_secs_f64()).encode(spans.encode_family(&labels)?)?;
            }
        }
        stores(backends, &mut encoder)
    }
}

/// What each operation of the stores takes, and how often it fails.
fn stores(backends: &Backends, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let all =
        [("ephemeral", backends.measured.each()), ("records", backends.measured_records.each())];
    let each = || all.iter().flat_map(|(store, each)| each.iter().map(move |of| (*store, of)));
    let help = "How long calls to the stores take, of the last thousand of each operation";
    // They are quantiles, and no summary: there is no count and no sum.
    let kind = MetricType::Unknown;
    let mut spans =
        encoder.encode_descriptor("session_store_duration_seconds", help, None, kind)?;
    for (store, of) in each().filter(|(_, of)| of.figures.calls > 0) {
        let Figures { p50, p95, p99, .. } = of.figures;
        for (share, span) in [("0.5", p50), ("0.95", p95), ("0.99", p99)] {
            let labels = [("store", store), ("operation", of.operation), ("quantile", share)];
            ConstGauge::new(span.as_secs_f64()).encode(spans.encode_family(&labels)?)?;
        }
    }
    let help = "Calls to the stores since the start";
    let kind = MetricType::Counter;
    let mut calls = encoder.encode_descriptor("session_store_calls", help, None, kind)?;
    for (store, of) in each() {
        let labels = [("store", store), ("operation", of.operation)];
        ConstCounter::new(of.counts.calls).encode(calls.encode_family(&labels)?)?;
    }
    let help = "Calls that a store did not take, or of which nobody knows what became";
    let mut errors = encoder.encode_descriptor("session_store_errors", help, None, kind)?;
    for (store, of) in each() {
        let counts = of.counts;
        for (error_type, count) in
            [("unavailable", counts.unavailable), ("indeterminate", counts.indeterminate)]
        {
            let labels =
                [("store", store), ("operation", of.operation), ("error_type", error_type)];
            ConstCounter::new(count).encode(errors.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backing")
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Following")
    }
}
