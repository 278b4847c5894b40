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
    /// It refuses what the log says up to this position. A version before this one does not say.
    #[serde(default)]
    pub(super) position: u64,
    /// Somebody waits until the others have said this of a position: 0 where nobody does.
    #[serde(default)]
    pub(super) awaits: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_an_older_version_says_of_no_position_that_it_knows_it() {
        #[derive(Serialize)]
        struct Older {
            by: NodeId,
            beat: u64,
            epoch: Option<u64>,
            begun: u64,
            void: Vec<(u64, u64)>,
            settled: Settled,
            heard: Vec<Echo>,
        }
        let (by, settled) = (NodeId(7), Settled { number: 3, position: 9 });
        let older =
            Older { by, beat: 1, epoch: None, begun: 3, void: vec![], settled, heard: vec![] };
        let read = Heartbeat::from_bytes(&repository::encode(Heartbeat::FORM, &older)).unwrap();
        assert_eq!((read.settled, read.position, read.awaits), (settled, 0, 0));
    }
}
