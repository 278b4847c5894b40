use std::time::Duration;

use super::*;

const DAY: u64 = 86_400;

/// What the command asks for when nothing is said.
pub(super) fn asked() -> Asked {
    Asked {
        load: Load {
            users: Count::of(10_000_000),
            sign_ins: 1.0,
            active: Duration::from_secs(1800),
            requests: 100.0,
            revoked: Percent::whole(1),
            sign_outs: Percent::whole(10),
            peak: 5.0,
            access: Duration::from_secs(900),
            refresh: Duration::from_secs(7 * DAY),
            absolute: Duration::from_secs(30 * DAY),
            session: Duration::from_secs(DAY),
        },
        nodes: Nodes::AtLeast(Count::of(3)),
        utilisation: Percent::whole(50),
        durable: Durable::Store,
        redis: true,
        prices: Prices::default(),
        figures: Figures::default(),
    }
}

pub(super) fn asked_of_one_node() -> Asked {
    let load = Load { users: Count::of(1000), ..asked().load };
    Asked { load, nodes: Nodes::AtLeast(Count::of(1)), ..asked() }
}

pub(super) fn asked_with_dynamodb() -> Asked {
    Asked { durable: Durable::Dynamodb, ..asked() }
}
