//! What the gateway counts. Each metric of a service or an outcome is looked up once and held; no
//! request searches for labels.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric as _, MetricEncoder},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use tegata_core::BreakerState;

mod graphql;
mod handshakes;
mod histogram;
mod layers;
mod limited;
mod propagated;
mod shed;
mod upstreams;

pub(crate) use graphql::OfGraphql;
pub use handshakes::Handshakes;
pub use histogram::Histogram;
pub(crate) use layers::Layers;
pub(crate) use limited::Limited;
use propagated::Made;
pub use propagated::{Propagated, Propagations};
pub(crate) use shed::OfLoad;
use upstreams::Upstreams;

/// The metrics of a gateway.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    durations: Family<Service, Histogram>,
    /// `policy_decisions_total`.
    pub(crate) allowed: Counter,
    pub(crate) denied: Counter,
    /// `policy_shadow_total`.
    shadow: Family<Shadow, Counter>,
    validations: Family<Validation, Histogram>,
    sessions: Family<SessionValidation, Histogram>,
    /// `token_validation_duration_seconds`.
    pub(crate) valid: Histogram,
    pub(crate) invalid: Histogram,
    /// `revocation_check_duration_seconds`.
    pub(crate) alive: Checked,
    pub(crate) revoked: Checked,
    pub(crate) stale: Checked,
    checks: Family<Revocation, Histogram>,
    counts: Family<Revocation, Counter>,
    /// `session_validation_duration_seconds`.
    pub(crate) session_valid: Histogram,
    pub(crate) session_invalid: Histogram,
    /// `decision_log_lost_total`.
    pub(crate) lost: Counter,
    propagations: Propagations,
    handshakes: Handshakes,
    load: OfLoad,
    /// Those that are there: what has left is shown no more, and its numbers take up nothing.
    services: Arc<Mutex<HashMap<String, Weak<OfService>>>>,
    /// What is learnt of services.
    pub(crate) upstreams: Upstreams,
    /// What is counted of limits.
    pub(crate) limited: Limited,
    /// Operations of GraphQL.
    pub(crate) graphql: OfGraphql,
}

/// A duration and a count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checked {
    pub(crate) duration: Histogram,
    pub(crate) count: Counter,
}

impl Checked {
    pub(crate) fn note(&self, took: Duration) {
        self.duration.observe(took);
        self.count.inc();
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    service: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decision {
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Shadow {
    change: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Validation {
    service: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionValidation {
    service: &'static str,
    method: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Revocation {
    layer: &'static str,
    result: &'static str,
}

impl Metrics {
    /// Metrics that are shown with `registry`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let requests = Family::<Request, Counter>::default();
        let durations = Family::<Service, Histogram>::default();
        let decisions = Family::<Decision, Counter>::default();
        let validations = Family::<Validation, Histogram>::default();
        let sessions = Family::<SessionValidation, Histogram>::default();
        let checks = Family::<Revocation, Histogram>::default();
        let counts = Family::<Revocation, Counter>::default();
        let lost = Counter::default();
        registry.register("gateway_requests", "Requests, by their answer", requests.clone());
        registry.register(
            "gateway_request_duration_seconds",
            "From a request's head to its answer's",
            durations.clone(),
        );
        registry.register("policy_decisions", "Decisions about requests", decisions.clone());
        let shadow = Family::<Shadow, Counter>::default();
        registry.register(
            "policy_shadow",
            "Requests that the policies which are tried would have decided otherwise",
            shadow.clone(),
        );
        registry.register(
            "revocation_check_duration_seconds",
            "Looking up whether a token was taken back",
            checks.clone(),
        );
        registry.register(
            "revocation_checks",
            "Times it was looked up whether a token was taken back",
            counts.clone(),
        );
        registry.register(
            "decision_log_lost",
            "Decisions that found no room in the decision log",
            lost.clone(),
        );
        let upstreams = Upstreams::default();
        registry.register_collector(Box::new(upstreams.clone()));
        let decision = |decision| decisions.get_or_create(&Decision { decision }).clone();
        let validation =
            |result| validations.get_or_create(&Validation { service: "gateway", result }).clone();
        let session = |status| {
            let labels = SessionValidation { service: "gateway", method: "cookie", status };
            sessions.get_or_create(&labels).clone()
        };
        let check = |result| checked(&checks, &counts, "memory", result);
        Self {
            allowed: decision("allow"),
            denied: decision("deny"),
            shadow,
            valid: validation("valid"),
            invalid: validation("invalid"),
            session_valid: session("valid"),
            session_invalid: session("invalid"),
            alive: check("alive"),
            revoked: check("revoked"),
            stale: check("stale"),
            checks: checks.clone(),
            counts: counts.clone(),
            validations: validations.clone(),
            sessions: sessions.clone(),
            requests,
            durations,
            lost,
            propagations: Propagations::default(),
            handshakes: Handshakes::register(registry),
            load: OfLoad::register(registry),
            services: Arc::default(),
            upstreams,
            limited: Limited::register(registry),
            graphql: OfGraphql::register(registry),
        }
    }

    /// Counts a request that would have been decided otherwise.
    pub(crate) fn policy_shadow(&self, change: tegata_policy::Differs) {
        self.shadow.get_or_create(&Shadow { change: change.as_str() }).inc();
    }

    /// How many requests were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.denied.get()
    }

    /// Shows `token_validation_duration_seconds`. Others verify tokens too, so it is shown together.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn show_tokens(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.validations.encode(encoder)
    }

    /// Shows `session_validation_duration_seconds`. Others look sessions up too, so it is shown together.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn show_sessions(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.sessions.encode(encoder)
    }

    /// How often services were told about callers. Others tell them too, so it is shown together.
    #[must_use]
    pub const fn propagations(&self) -> &Propagations {
        &self.propagations
    }

    /// Handshakes of TLS that failed, at all listeners of the program.
    #[must_use]
    pub const fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// What the gateway carries, and what was too much.
    pub(crate) const fn shed(&self) -> &OfLoad {
        &self.load
    }

    /// What the breakers of services do, by the names that they are shown under.
    #[must_use]
    pub fn breakers(&self) -> Vec<(String, BreakerState)> {
        self.upstreams.breakers()
    }

    /// Those of the layers that are asked about tokens of other issuers.
    pub(crate) fn layers(&self) -> Layers {
        Layers::new(|layer, result| checked(&self.checks, &self.counts, layer, result))
    }

    /// The metrics of one service, the same for as long as it is there.
    pub(crate) fn service(&self, name: &str) -> Arc<OfService> {
        let mut services = self.services.lock();
        if let Some(there) = services.get(name).and_then(Weak::upgrade) {
            return there;
        }
        let of_service = OfService {
            name: name.to_owned(),
            of: self.clone(),
            requests: self.requests.clone(),
            statuses: std::array::from_fn(|_| OnceLock::new()),
            duration: self.durations.get_or_create(&Service { service: name.to_owned() }).clone(),
            told: self.propagations.to(name),
        };
        // What is not there has no rate, so that the first of its kind would be missed.
        for status in [200, 500, 502, 503, 504] {
            of_service.counter(status);
        }
        let of_service = Arc::new(of_service);
        services.insert(name.to_owned(), Arc::downgrade(&of_service));
        of_service
    }
}

fn checked(
    checks: &Family<Revocation, Histogram>,
    counts: &Family<Revocation, Counter>,
    layer: &'static str,
    result: &'static str,
) -> Checked {
    let labels = Revocation { layer, result };
    Checked {
        duration: checks.get_or_create(&labels).clone(),
        count: counts.get_or_create(&labels).clone(),
    }
}

/// The metrics of one service.
#[derive(Debug)]
pub(crate) struct OfService {
    name: String,
    of: Metrics,
    requests: Family<Request, Counter>,
    /// Of the statuses 100 to 599.
    statuses: [OnceLock<Counter>; 500],
    pub(crate) duration: Histogram,
    /// Internal tokens.
    pub(crate) told: Arc<Made>,
}

impl Drop for OfService {
    fn drop(&mut self) {
        let mut services = self.of.services.lock();
        // It may have come back meanwhile.
        if services.get(&self.name).is_some_and(|it| it.strong_count() > 0) {
            return;
        }
        services.remove(&self.name);
        for status in (100..600).zip(&self.statuses).filter(|(_, it)| it.get().is_some()) {
            let labels = Request { service: self.name.clone(), status: status.0 };
            self.requests.remove(&labels);
        }
        self.of.durations.remove(&Service { service: self.name.clone() });
        self.of.propagations.forget(&self.name);
    }
}

impl OfService {
    pub(crate) fn count(&self, status: u16) {
        if let Some(counter) = self.counter(status) {
            counter.inc();
        }
    }

    fn counter(&self, status: u16) -> Option<&Counter> {
        let counter = self.statuses.get(usize::from(status.wrapping_sub(100)))?;
        Some(counter.get_or_init(|| {
            let labels = Request { service: self.name.clone(), status };
            self.requests.get_or_create(&labels).clone()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_left_takes_its_numbers_along_and_one_that_stays_keeps_them() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let shown = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let (stays, before) = (metrics.service("stays"), shown().lines().count());
        stays.count(200);
        for round in 0..50 {
            let leaves = metrics.service(&format!("leaves-{round}"));
            leaves.count(404);
            leaves.duration.observe(Duration::from_millis(1));
            leaves.told.count(true);
            // The map is made anew, and has both.
            let again = metrics.service("stays");
            again.count(200);
            assert!(shown().contains(&format!("service=\"leaves-{round}\",status=\"404\"}} 1")));
        }
        assert_eq!(shown().lines().count(), before);
        assert!(shown().contains("service=\"stays\",status=\"200\"} 51"), "{}", shown());
        assert!(metrics.propagations().counted().is_empty());
    }
}
