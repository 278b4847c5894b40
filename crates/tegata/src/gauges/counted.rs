//! What the gateway and the listeners count each for themselves, and is shown together.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use crate::compose::Composed;

/// What was issued, told and begun.
pub(crate) struct Counted {
    pub(crate) composed: Arc<Composed>,
    pub(crate) server: tegata_server::Metrics,
    pub(crate) gateway: tegata_gateway::Metrics,
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauge = MetricType::Gauge;
        let help = "Access tokens that this node issued and that have not expired";
        let tokens = encoder.encode_descriptor("active_tokens", help, None, gauge)?;
        let living = self.server.living().count(self.composed.node.since_boot());
        show(tokens, &[("service", "provider")], living)?;
        let help = "Sessions that were used at this node and have not ended or fallen asleep";
        let sessions = encoder.encode_descriptor("active_sessions", help, None, gauge)?;
        let in_use = u64::try_from(self.composed.sessions.in_use()).unwrap_or(u64::MAX);
        show(sessions, &[("service", "provider")], in_use)?;
        self.validations(&mut encoder)?;
        self.propagations(encoder)
    }
}

impl Counted {
    fn validations(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (provider, histogram) = (("service", "provider"), MetricType::Histogram);
        let (name, help) = ("token_validation_duration_seconds", "Verification of access tokens");
        let mut tokens = encoder.encode_descriptor(name, help, None, histogram)?;
        for (result, durations) in self.server.tokens().by_result() {
            durations.encode(tokens.encode_family(&[provider, ("result", result)])?)?;
        }
        self.gateway.show_tokens(tokens)?;
        let name = "session_validation_duration_seconds";
        let help = "Looking up whom a session cookie stands for";
        let mut sessions = encoder.encode_descriptor(name, help, None, histogram)?;
        for (status, durations) in self.server.sessions().by_result() {
            let labels = [provider, ("method", "cookie"), ("status", status)];
            durations.encode(sessions.encode_family(&labels)?)?;
        }
        self.gateway.show_sessions(sessions)
    }

    fn propagations(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (told, exchanged) =
            (self.gateway.propagations().counted(), self.server.exchanges().counted());
        let counter = MetricType::Counter;
        let help = "Tokens that were to tell a service about a caller";
        let mut all = encoder.encode_descriptor("token_propagations", help, None, counter)?;
        for it in &told {
            count(&mut all, &[("source", "gateway"), ("target", &it.target)], it.all)?;
        }
        for it in &exchanged {
            count(&mut all, &[("source", &it.source), ("target", &it.target)], it.all)?;
        }
        let help = "Tokens that were to tell a service about a caller and were refused, and why";
        let mut errors =
            encoder.encode_descriptor("token_propagation_errors", help, None, counter)?;
        for it in told.iter().filter(|it| it.failed > 0) {
            let why = ("error_type", "no_internal_key");
            count(&mut errors, &[("source", "gateway"), ("target", &it.target), why], it.failed)?;
        }
        for it in &exchanged {
            for (why, failed) in &it.errors {
                let pair = [("source", it.source.as_str()), ("target", &it.target)];
                let [source, target] = pair;
                count(&mut errors, &[source, target, ("error_type", why)], *failed)?;
            }
        }
        Ok(())
    }
}

fn count<const N: usize>(
    encoder: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: u64,
) -> Result<(), fmt::Error> {
    ConstCounter::new(value).encode(encoder.encode_family(labels)?)
}

fn show(
    mut encoder: MetricEncoder<'_>,
    labels: &[(&str, &str); 1],
    value: u64,
) -> Result<(), fmt::Error> {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    ConstGauge::new(value).encode(encoder.encode_family(labels)?)
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}
