//! When each process in the register was seen to live. What its clock says does not matter.

use std::{collections::HashMap, time::Duration};

use tegata_core::{NodeId, SinceBoot};

use super::register::Register;

/// Time in which nobody looked for longer than this does not count: nobody may have been able to
/// renew a lease in it either.
const LOOKED: Duration = Duration::from_secs(5);

/// What was seen of all processes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    of: HashMap<NodeId, Signs>,
    looked: Option<SinceBoot>,
}

/// What was seen of one.
#[derive(Debug)]
struct Signs {
    renewed: u64,
    /// For how long that has been so, of the time that counts.
    still: Duration,
    /// Whether it has been seen to renew it.
    moved: bool,
}

impl Seen {
    /// Looks at the register.
    pub(super) fn look(&mut self, register: &Register, now: SinceBoot) {
        let passed = self.looked.map_or(Duration::ZERO, |looked| now.since(looked));
        let passed = if passed > LOOKED { Duration::ZERO } else { passed };
        self.looked = Some(now);
        self.of.retain(|run, _| register.all().any(|member| member.run == *run));
        for member in register.all() {
            let moved = self.of.contains_key(&member.run);
            let fresh = Signs { renewed: member.renewed, still: Duration::ZERO, moved };
            match self.of.get_mut(&member.run) {
                Some(signs) if signs.renewed == member.renewed => signs.still += passed,
                _ => drop(self.of.insert(member.run, fresh)),
            }
        }
    }

    /// Whether a process has been seen to renew its lease within this time.
    pub(super) fn has_renewed(&self, run: NodeId, within: Duration) -> bool {
        self.of.get(&run).is_some_and(|signs| signs.moved && signs.still < within)
    }

    /// For how long a process has given no sign of life.
    pub(super) fn still(&self, run: NodeId) -> Duration {
        self.of.get(&run).map_or(Duration::ZERO, |signs| signs.still)
    }
}
