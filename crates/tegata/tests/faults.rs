//! A look at the fast scenarios of `cargo xtask faults`: that they hold in short, and that the
//! installation they break can be started and stopped by hand.

#![cfg(test)]

use std::{
    io::{self, BufReader},
    path::Path,
    sync::{Arc, Mutex},
};

use tegata_engines::Plan;
use tegata_faults::{Round, Run, SCENARIOS};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tegata");

/// Runs one round of a scenario, as short as it can be.
fn holds(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap();
    let program = PROGRAM.into();
    let first = Round { program, older: None, seed: 1, outage: None, full: false, hasty: true };
    let run = Run { first, repeat: 1, pictures: None, aloud: false };
    let summary = tegata_faults::run(scenario, &run);
    assert!(summary.is_good(), "{:?}", summary.broke);
    assert!(summary.checked.promises > 0, "nothing was promised, so nothing was shown");
}

#[test]
fn no_refresh_token_is_spent_twice_on_two_nodes_and_each_learns_what_the_other_takes_back() {
    holds("x10-nodes-apart");
}

#[test]
fn what_a_killed_node_was_doing_is_known_at_the_other() {
    holds("x12-node-killed");
}

#[test]
fn who_missed_an_answer_of_the_database_asks_again() {
    holds("x6-answers-lost");
}

#[test]
fn a_node_whose_clock_jumps_says_so_and_its_tokens_count_elsewhere() {
    holds("x15-clock-wrong");
}

/// What is said to somebody, for somebody else to read.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_installation_is_broken_and_mended_by_hand_and_stopped_at_the_end() {
    let orders = "kill 1\nstatus\nstart 1\nstatus\nkill 7\nflood 1\n";
    let said = Said::default();
    let plan = Plan::new(Path::new(PROGRAM), 2);
    tegata_faults::play(&plan, BufReader::new(orders.as_bytes()), said.clone()).unwrap();
    let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
    for part in ["2 nodes on PostgreSQL", "curl -s", "node 1  not sent", "no node `7`", "`flood`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.matches("\"status\":\"ready\"").count(), 3, "{said}");
    assert!(said.ends_with("stopping\n"), "{said}");
}
