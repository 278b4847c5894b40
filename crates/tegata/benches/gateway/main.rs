//! The gateway beside what people put before their services today: HAProxy, nginx and Envoy, each
//! with and without looking at who asks, over HTTP/1.1 and HTTP/2, in the clear and with TLS.
//!
//! | module | subject |
//! |---|---|
//! | [`cases`] | who is measured, and what follows from it |
//! | [`peers`] | the others, as their documentation sets them up, each with one thread |
//! | [`put`] | loads: as much as passes, and a thousand requests a second |
//! | [`load`], [`world`] | a node, its tokens, and what answers behind everything |
//!
//! `--only G1` measures what that row compares, and nothing else.
//!
//! What is measured has one core, and what asks and answers has the other. Before anything counts,
//! each is shown a good token and a forged one; answers other than 2xx end the benchmark.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that cannot be set up has nothing to say"
)]

use tegata_rounds::{Effort, Findings, Only};

mod cases;
#[path = "../revocation/load.rs"]
#[expect(dead_code, reason = "the benchmark of revocations uses the rest")]
mod load;
mod peers;
mod put;
#[path = "../revocation/world.rs"]
#[expect(dead_code, reason = "the benchmark of revocations uses the rest")]
mod world;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tegata");

fn main() {
    let asked = Effort::asked();
    let effort = Effort { rounds: if asked.trial { 1 } else { 5 }, ..asked };
    let only = Only::asked();
    let mut findings = Findings::of(only.clone());
    cases::measure(effort, &only, &mut findings);
    findings.tell("gateway").unwrap();
}
