//! A short soak: that everything is used and answered, and nothing is left open. Whether memory grows is for half an
//! hour to say (`cargo xtask soak gateway`).

use std::time::Duration;

use tegata_faults::soak::{self, Level, Soak};

use super::PROGRAM;

#[test]
fn a_gateway_that_is_used_in_every_way_answers_and_leaves_nothing_open() {
    let seen = soak::run(&Soak {
        program: PROGRAM.into(),
        span: Duration::from_secs(20),
        reload: Duration::from_secs(4),
        // Caches are still being filled.
        level: Level { memory: 200 * 1024, others: 200 },
        aloud: false,
    })
    .unwrap();
    assert!(seen.failed.is_empty(), "{:#?}", seen.failed);
    assert!(seen.done.iter().all(|(_, many)| *many > 0), "{:?}", seen.done);
    assert!(seen.grew.is_empty(), "{:?} {:?}", seen.grew, seen.ends);
}
