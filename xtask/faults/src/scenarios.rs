//! All scenarios, in the order of the rows of the fault matrix.

use std::path::Path;

use anyhow::Result;
use tegata_engines::Plan;

use crate::{
    report::Seen,
    scenario::{Breaks, Round, Scenario},
    stage::Stage,
};

mod x05_postgres_away;

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    on(
        "x5-postgres-killed",
        "PostgreSQL is killed or stopped, and comes back: calls go on, changes are answered 503 at \
         once, nothing acknowledged is lost",
        two_nodes,
        x05_postgres_away::killed,
    ),
    on(
        "x5-postgres-silent",
        "nothing of PostgreSQL is heard, and its connections stay open: the same",
        two_nodes,
        x05_postgres_away::silent,
    ),
];

const fn on(
    name: &'static str,
    about: &'static str,
    plan: fn(&Path) -> Plan,
    round: fn(&Stage, &Round) -> Result<Seen>,
) -> Scenario {
    Scenario { name, about, breaks: Breaks::Installation { plan, round } }
}

fn two_nodes(program: &Path) -> Plan {
    Plan::new(program, 2)
}
