//! How long it takes to find out what a credential comes to. The gateway finds it out of others, so it is
//! shown together.

use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds in seconds: those of the gateway, so that quantiles of both together mean something.
const BOUNDS: [f64; 18] = [
    0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5,
    0.001, 0.005, 0.01, 0.015, 0.025, 0.1, 0.5, 2.5, 10.0,
];

/// Durations, by what was found out. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Validated {
    valid: Histogram,
    invalid: Histogram,
}

impl Default for Validated {
    fn default() -> Self {
        let none = || Histogram::new(BOUNDS);
        Self { valid: none(), invalid: none() }
    }
}

impl Validated {
    /// Those of what counts, `valid`, and of what does not, `invalid`.
    #[must_use]
    pub const fn by_result(&self) -> [(&'static str, &Histogram); 2] {
        [("valid", &self.valid), ("invalid", &self.invalid)]
    }

    /// Notes that it took so long to find out that something counts, or does not.
    pub(crate) fn note(&self, is_valid: bool, took: Duration) {
        let durations = if is_valid { &self.valid } else { &self.invalid };
        durations.observe(took.as_secs_f64());
    }
}
