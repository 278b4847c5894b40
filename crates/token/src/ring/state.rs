//! Where a key is in its life, and how long each part of it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tegata_core::Timestamp;

/// How long the steps of a rotation take.
#[derive(Debug, Clone, Copy)]
pub struct RotationRules {
    /// How long a key is published before it signs: at least as long as verifiers may keep a JWKS.
    pub published_for: Duration,
    /// How long a key verifies after it stopped signing: the longest life of a token, and leeway.
    pub verifies_for: Duration,
    /// How long a key signs before the next one does, without anybody asking. `None`: as long as
    /// nobody asks.
    pub signs_for: Option<Duration>,
}

impl Default for RotationRules {
    fn default() -> Self {
        Self {
            published_for: Duration::from_secs(300),
            verifies_for: Duration::from_secs(3600 + 60),
            signs_for: None,
        }
    }
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Published, not yet signing.
    Next {
        /// Since when.
        published: Timestamp,
    },
    /// Signing.
    Current {
        /// Since when.
        since: Timestamp,
    },
    /// Verifying what it signed.
    Previous {
        /// Until when.
        until: Timestamp,
    },
    /// Of no more use.
    Retired {
        /// Since when.
        at: Timestamp,
    },
}

impl KeyState {
    /// The state in a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Next { .. } => "next",
            Self::Current { .. } => "current",
            Self::Previous { .. } => "previous",
            Self::Retired { .. } => "retired",
        }
    }

    /// When it came, or comes, to be so: since when it is published, signs, or is retired; until
    /// when it verifies.
    #[must_use]
    pub const fn at(self) -> Timestamp {
        match self {
            Self::Next { published } => published,
            Self::Current { since } => since,
            Self::Previous { until } => until,
            Self::Retired { at } => at,
        }
    }

    /// Whether the key is in the JWKS.
    #[must_use]
    pub const fn is_published(self) -> bool {
        !matches!(self, Self::Retired { .. })
    }
}
