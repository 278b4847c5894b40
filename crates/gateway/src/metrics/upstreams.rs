//! What is learnt of the addresses of services, read when somebody asks for the metrics: a service that
//! left is not shown any more.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use tegata_core::BreakerState;

use crate::upstream::Balanced;

/// The services of the map as it is now.
#[derive(Clone, Default)]
pub(crate) struct Upstreams(Arc<ArcSwap<Vec<Arc<Balanced>>>>);

impl Upstreams {
    pub(crate) fn show(&self, services: Vec<Arc<Balanced>>) {
        self.0.store(Arc::new(services));
    }

    /// The breakers of services, by the name they are shown under.
    pub(crate) fn breakers(&self) -> Vec<(String, BreakerState)> {
        let services = self.0.load();
        let of = |service: &Arc<Balanced>| {
            let breaker = service.breaker.as_ref()?;
            Some((format!("service/{}", service.name), breaker.state()))
        };
        services.iter().filter_map(of).collect()
    }
}

impl Collector for Upstreams {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let services = self.0.load();
        let addresses = || {
            services.iter().flat_map(|service| {
                service.addresses().iter().map(move |address| {
                    let labels = [
                        ("service", service.name.to_string()),
                        ("upstream", address.upstream.to_string()),
                    ];
                    (labels, service, address)
                })
            })
        };
        let help = "Whether requests go to an address of a service, as far as this node knows";
        let mut up =
            encoder.encode_descriptor("gateway_upstream_up", help, None, MetricType::Gauge)?;
        for (labels, service, address) in addresses() {
            let is_up = i64::from(service.sends_to(address));
            ConstGauge::new(is_up).encode(up.encode_family(&labels)?)?;
        }
        let help = "Requests that an address of a service has at the moment";
        let kind = MetricType::Gauge;
        let mut running =
            encoder.encode_descriptor("gateway_upstream_running", help, None, kind)?;
        for (labels, _, address) in addresses() {
            let count = i64::from(address.running());
            ConstGauge::new(count).encode(running.encode_family(&labels)?)?;
        }
        let help = "How often an address of a service was left alone, because it failed";
        let kind = MetricType::Counter;
        let mut ejected =
            encoder.encode_descriptor("gateway_upstream_ejections", help, None, kind)?;
        for (labels, _, address) in addresses() {
            let count = address.standing.ejected();
            ConstCounter::new(count).encode(ejected.encode_family(&labels)?)?;
        }
        let help = "Requests that were sent to a service once more";
        let mut retries =
            encoder.encode_descriptor("gateway_upstream_retries", help, None, kind)?;
        for service in services.iter() {
            let labels = [("service", service.name.to_string())];
            let count = service.retry.spent();
            ConstCounter::new(count).encode(retries.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upstreams")
    }
}
