//! Leaves a service alone that failed several times in a row, and answers in its place.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use tegata_core::{Breaker, BreakerLimits, BreakerState, Clock, breaker::Permit};
use tegata_mesh::reach::BreakerRule;

use crate::refusal::{InPlace, Refusal, Refused};

/// The breaker of a service.
pub(crate) struct Guarded {
    breaker: Breaker,
    answer: Option<InPlace>,
}

impl Guarded {
    pub(crate) fn new(rule: &BreakerRule, clock: &Arc<dyn Clock>) -> Self {
        let limits = BreakerLimits { failures: rule.failures, open_for: rule.open_for.duration() };
        let answer = rule.answer.as_ref().and_then(|answer| {
            Some(InPlace {
                status: StatusCode::from_u16(answer.status).ok()?,
                content_type: HeaderValue::from_str(&answer.content_type).ok()?,
                body: Bytes::from(answer.body.clone()),
            })
        });
        Self { breaker: Breaker::new(limits, Arc::clone(clock)), answer }
    }

    /// Asks to be let through to the service.
    pub(crate) fn admit(&self, service: &str) -> Result<Permit<'_>, Refused> {
        self.breaker.admit().map_err(|open| {
            // Rounded up, and never now: somebody is asking already.
            let again = open.again_in.as_secs() + 1;
            let detail = format!("service `{service}` failed several times and is left alone");
            let mut refused =
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "service_resting", detail)
                    .with(header::RETRY_AFTER, HeaderValue::from(again));
            if let Some(answer) = &self.answer {
                refused.status = answer.status;
                refused.in_place = Some(answer.clone());
            }
            refused
        })
    }

    /// It has been seen to be there again.
    pub(crate) fn seen_again(&self) {
        self.breaker.seen_again();
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.breaker.state()
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.breaker.fmt(f)
    }
}
