//! Operations of GraphQL. Their names are the clients', so that only those are shown that were declared.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Those metrics.
#[derive(Debug, Clone)]
pub(crate) struct OfGraphql {
    requests: Family<Operation, Counter>,
    costs: Family<OfRoute, Counter>,
    /// What is shown.
    shown: Arc<Mutex<HashSet<Operation>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    route: String,
    operation: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoute {
    route: String,
}

impl OfGraphql {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let of =
            Self { requests: Family::default(), costs: Family::default(), shown: Arc::default() };
        registry.register(
            "graphql_requests",
            "Requests in GraphQL, by the declared name of their operation and why they went no further",
            of.requests.clone(),
        );
        registry.register(
            "graphql_cost",
            "What requests in GraphQL may cost that were sent on",
            of.costs.clone(),
        );
        of
    }

    /// Counts one: what it may cost, or why it went no further.
    pub(crate) fn count(&self, route: &str, operation: &str, judged: Result<u32, &'static str>) {
        let (route, operation) = (route.to_owned(), operation.to_owned());
        if let Ok(cost) = judged {
            self.costs.get_or_create(&OfRoute { route: route.clone() }).inc_by(cost.into());
        }
        let result = judged.err().unwrap_or("passed");
        let labels = Operation { route, operation, result };
        self.requests.get_or_create(&labels).inc();
        let mut shown = self.shown.lock();
        if !shown.contains(&labels) {
            shown.insert(labels);
        }
    }

    /// Shows no more what is of routes that are gone.
    pub(crate) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.shown.lock().retain(|labels| {
            let stays = is_there(&labels.route);
            if !stays {
                self.requests.remove(labels);
                self.costs.remove(&OfRoute { route: labels.route.clone() });
            }
            stays
        });
    }
}
