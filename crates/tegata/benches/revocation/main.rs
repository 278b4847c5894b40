//! What taking back costs an installation that runs: seen from outside, through its ports.
//!
//! | module | subject |
//! |---|---|
//! | [`scale`] | requests, memory and notices, by how many tokens could be taken back |
//! | [`start`] | from `kill -9` to the first correct answers |
//! | [`durable`] | one revocation and many, beside what a disk and a Redis take |
//! | [`layers`] | tokens of other issuers, by who says what was taken back of them |
//! | [`crowds`] | a Redis that is filled anew, and all sign-ins of one person |
//! | [`nodes`] | from one node to another, while the store is away, and when a node ends |
//! | [`world`] | a node on SQLite, and tokens that could be any of 50 million |
//! | [`load`] | what asks, and what answers behind the gateway |
//!
//! `--only G16` measures that row alone, and starts no more than it needs.
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

use tegata_rounds::{Effort, Findings, Only};

mod crowds;
mod durable;
mod layers;
mod load;
mod nodes;
mod scale;
mod start;
mod world;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tegata");

fn main() {
    let asked = Effort::asked();
    let effort = Effort { rounds: if asked.trial { 1 } else { 5 }, ..asked };
    let only = Only::asked();
    let wants = |rows: [&[&str]; 2]| only.wants(&rows.concat());
    let mut findings = Findings::of(only.clone());
    let origin = load::Origin::serve();
    let few = wants([scale::ROWS, durable::ROWS]).then(|| scale::few(effort, &origin));
    let many = wants([scale::ROWS, start::ROWS]).then(|| scale::many(effort, &origin));
    if let (true, Some(few), Some(many)) = (only.wants(scale::ROWS), &few, &many) {
        scale::measure(effort, few, many, &mut findings);
    }
    // It ends before the others are measured.
    if let Some(many) = many.filter(|_| only.wants(start::ROWS)) {
        start::measure(effort, &many, &mut findings);
    }
    if let Some(few) = few.filter(|_| only.wants(durable::ROWS)) {
        durable::measure(effort, &few, &mut findings);
    }
    if only.wants(nodes::ROWS) {
        nodes::measure(effort, Path::new(PROGRAM), &mut findings);
    }
    if only.wants(layers::ROWS) {
        layers::measure(effort, Path::new(PROGRAM), &mut findings);
    }
    if only.wants(crowds::ROWS) {
        let wants = |row: &str| only.wants(&[row]);
        crowds::measure(effort, wants, Path::new(PROGRAM), &mut findings);
    }
    findings.tell("from-outside").unwrap();
}
