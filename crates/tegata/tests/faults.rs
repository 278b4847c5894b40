//! A look at the fast scenarios of `cargo xtask faults`: that they hold in short, and that the
//! installation they break can be started and stopped by hand.

#![cfg(test)]

use std::{
    io::{self, BufReader},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tegata_engines::{Dependencies, EventsKind, Mode, Plan};
use tegata_faults::{
    Round, Run, SCENARIOS,
    stage::{self, Stage},
    time::until,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tegata");

/// Runs one round of a scenario, as short as it can be.
fn holds(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap();
    let program = PROGRAM.into();
    let first = Round { program, older: None, seed: 1, outage: None, full: false, hasty: true };
    let run = Run { first, repeat: 1, full: false, pictures: None, aloud: false };
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

#[test]
fn a_key_that_was_stolen_signs_nothing_and_one_that_was_lost_is_missed() {
    holds("x16-key-lost");
}

#[test]
fn a_backup_is_not_served_unasked_and_nothing_from_before_it_counts() {
    holds("x23-old-backup");
}

#[test]
fn a_standby_that_lacked_the_latest_is_not_served_unasked() {
    holds("x7-async-standby");
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

#[test]
fn two_nodes_that_could_not_hear_each_other_come_to_know_the_same_of_a_token() {
    let dependencies = Dependencies { events: EventsKind::Nats, ..Dependencies::default() };
    let stage = Stage::set(&Plan { dependencies, ..Plan::new(Path::new(PROGRAM), 2) }).unwrap();
    let token = stage::issued(&mut stage.public(0)).unwrap().token;
    let use_at = |node: usize, times: usize| {
        let mut gateway = stage.gateway(node);
        for _ in 0..times {
            assert_eq!(stage::call(&mut gateway, "/bounded", &token).unwrap().status, 200);
        }
    };
    let known = |node: usize| -> Value {
        let node = &stage.cluster().member(node).node;
        serde_json::from_str(&node.command(&["token", "inspect", &token])).unwrap()
    };
    let count = |node| known(node)["use"]["usage_count"].as_u64().unwrap_or_default();
    let knows = |node, many| until(Duration::from_secs(60), || count(node) == many).is_some();
    // The stage has tried its own tokens, and not this one.
    use_at(0, 3);
    assert!(knows(0, 3) && knows(1, 3), "{} {}", known(0), known(1));
    let way = stage.cluster().member(1).nats.as_ref().unwrap();
    way.set(Mode::BlackHole);
    use_at(0, 2);
    use_at(1, 4);
    assert!(knows(0, 5) && knows(1, 7), "{} {}", known(0), known(1));
    way.set(Mode::Sound);
    assert!(knows(0, 9) && knows(1, 9), "{} {}", known(0), known(1));
    assert_eq!(known(0)["use"], known(1)["use"]);
    // Taken back and shown once more at one of them, it is known to have been at both.
    assert_eq!(stage::revoke(&mut stage.public(0), &token).unwrap().status, 200);
    let refused = stage::call(&mut stage.gateway(0), "/bounded", &token).unwrap();
    assert_eq!(refused.status, 401);
    let is_revoked = |node: usize| {
        let inspect = ["token", "inspect", &token, "--format", "json"];
        let output = stage.cluster().member(node).node.run(&inspect);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["use"]["revoked"] == true
    };
    assert!(until(Duration::from_secs(60), || is_revoked(0) && is_revoked(1)).is_some());
}
