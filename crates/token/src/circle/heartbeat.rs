//! What processes of the circle tell each other.

use serde::{Deserialize, Serialize};
use tegata_core::{NodeId, repository};

/// What a process says, again and again. It comes over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    /// Who says it.
    pub(super) by: NodeId,
    /// Counts what it says.
    pub(super) beat: u64,
    /// The epoch of the circle that it is in. `None`: it is in none, or that is changing.
    pub(super) epoch: Option<u64>,
    /// How much it has begun to take back: nothing in the store has a greater number.
    pub(super) begun: u64,
    /// From which number to which nothing came of it.
    pub(super) void: Vec<(u64, u64)>,
    /// What is in the log: all up to this number, up to this position.
    pub(super) settled: Settled,
    /// What it has heard of the others.
    pub(super) heard: Vec<Echo>,
}

/// How much of what a process took back is in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settled {
    pub(super) number: u64,
    pub(super) position: u64,
}

/// What was heard of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Echo {
    /// Of whom.
    pub(super) of: NodeId,
    /// Its latest heartbeat.
    pub(super) beat: u64,
    /// All that it took back up to this number is known.
    pub(super) known: u64,
}

impl Heartbeat {
    const FORM: u8 = 1;

    /// The longest message that is looked at: what a thousand processes need.
    const LONGEST: usize = 64 * 1024;

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        repository::encode(Self::FORM, self)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = Some(bytes).filter(|bytes| bytes.len() <= Self::LONGEST)?;
        repository::decode_bytes(Self::FORM, bytes).ok()
    }
}
