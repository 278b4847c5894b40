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
    first: SinceBoot,
}

impl Seen {
    /// Looks at the register.
    pub(super) fn look(&mut self, register: &Register, now: SinceBoot) {
        let passed = self.looked.map_or(Duration::ZERO, |looked| now.since(looked));
        let passed = if passed > LOOKED { Duration::ZERO } else { passed };
        self.looked = Some(now);
        self.of.retain(|run, _| register.all().any(|member| member.run == *run));
        for member in register.all() {
            let fresh = Signs { renewed: member.renewed, still: Duration::ZERO, first: now };
            match self.of.get_mut(&member.run) {
                Some(signs) if signs.renewed == member.renewed => signs.still += passed,
                Some(signs) => *signs = Signs { first: signs.first, ..fresh },
                None => drop(self.of.insert(member.run, fresh)),
            }
        }
    }

    /// For how long a process has given no sign of life.
    pub(super) fn still(&self, run: NodeId) -> Duration {
        self.of.get(&run).map_or(Duration::ZERO, |signs| signs.still)
    }

    /// How long ago a process was seen first.
    pub(super) fn since(&self, run: NodeId, now: SinceBoot) -> Duration {
        self.of.get(&run).map_or(Duration::ZERO, |signs| now.since(signs.first))
    }
}
