//! What taking back costs an installation that runs: seen from outside, through its ports.
//!
//! | module | subject |
//! |---|---|
//! | [`scale`] | requests, memory and notices, by how many tokens could be taken back |
//! | [`start`] | from `kill -9` to the first correct answers |
//! | [`durable`] | one revocation and many, beside what a disk and a Redis take |
//! | [`nodes`] | from one node to another, while the store is away, and when a node is killed |
//! | [`world`] | a node on SQLite, and tokens that could be any of 50 million |
//! | [`load`] | what asks, and what answers behind the gateway |
//!
//! Whatever is measured is also checked: a wrong answer ends the benchmark.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that cannot be set up has nothing to say"
)]

use std::path::Path;

use tegata_rounds::{Effort, Findings};

mod durable;
mod load;
mod nodes;
mod scale;
mod start;
mod world;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tegata");

fn main() {
    let asked = Effort::asked();
    let effort = Effort { rounds: if asked.trial { 1 } else { 5 }, ..asked };
    let mut findings = Findings::default();
    let origin = load::Origin::serve();
    {
        let (few, many) = scale::measure(effort, &origin, &mut findings);
        start::measure(effort, &many, &mut findings);
        drop(many);
        durable::measure(effort, &few, &mut findings);
    }
    nodes::measure(effort, Path::new(PROGRAM), &mut findings);
    findings.tell("from-outside").unwrap();
}
