//! `[audit_log]`: what must be written down before it counts.

use serde::Deserialize;
use tegata_gateway::decision_log::Mode;

use super::Config;

/// What follows when a decision cannot be recorded.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuditLog {
    /// `required` or `best_effort`, for everything. Where nothing is said: `required` where something is
    /// issued, changed or taken back, and `best_effort` where requests to services are verified.
    pub(crate) mode: Option<Mode>,
}

impl Config {
    /// How decisions of the public listener and of administrators are recorded.
    pub(crate) fn records_of_issuance(&self) -> Mode {
        self.audit_log.mode.unwrap_or(Mode::Required)
    }

    /// How those of the gateway are. `gateway.decisions` is the older name, and of the gateway alone.
    pub(crate) fn records_of_verification(&self) -> Mode {
        self.gateway.decisions.or(self.audit_log.mode).unwrap_or(Mode::BestEffort)
    }
}
