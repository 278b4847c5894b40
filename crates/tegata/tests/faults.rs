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
use tegata_core::port::Topic;
use tegata_engines::{
    Dependencies, EchoServer, EventsKind, Mode, Plan, PostgresServer, Proxy, TegataNode,
    tegata::{Own, Shared, root_key},
};
use tegata_faults::{
    Progress, Round, Run, SCENARIOS,
    http::{Ask, Client},
    stage::{self, Stage},
    time::until,
};

#[path = "faults/canary.rs"]
mod canary;
#[path = "faults/consoles.rs"]
mod consoles;
#[path = "faults/descriptors.rs"]
mod descriptors;
#[path = "faults/hung.rs"]
mod hung;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/outside.rs"]
mod outside;
#[path = "faults/progress.rs"]
mod progress;
#[path = "faults/replays.rs"]
mod replays;
#[path = "faults/silent.rs"]
mod silent;
#[path = "faults/soak.rs"]
mod soak;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tegata");

/// Runs one round of a scenario, as short as it can be.
fn holds(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap();
    let (program, progress) = (PROGRAM.into(), Progress::default());
    let (full, hasty) = (false, true);
    let first = Round { program, older: None, seed: 1, outage: None, full, hasty, progress };
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
fn whatever_breaks_nothing_taken_back_is_lost_and_calls_go_on() {
    holds("r1-everything");
}

#[test]
fn what_was_taken_back_of_another_issuer_stays_so_when_redis_loses_it() {
    holds("x2-foreign-dropped");
}

#[test]
fn a_node_that_hears_nothing_or_is_not_heard_spends_no_token_twice() {
    holds("x10-nodes-deaf");
}

#[test]
fn garbage_and_what_was_said_before_change_nothing_and_are_no_word_of_anybody() {
    holds("x25-garbage-heard");
}

#[test]
fn somebody_on_the_bus_hears_and_spoils_every_subject_that_nodes_listen_to() {
    let mut own = tegata_faults::bus::SUBJECTS.to_vec();
    let mut all = Topic::ALL.map(Topic::name).to_vec();
    own.sort_unstable();
    all.sort_unstable();
    assert_eq!(own, all);
}

#[test]
fn on_a_full_disk_a_node_verifies_and_issues_nothing_until_there_is_room() {
    holds("x14-disk-full");
}

#[test]
fn a_service_with_a_sidecar_goes_on_for_a_while_without_its_issuer_and_then_lets_nobody_pass() {
    holds("d6-issuer-gone");
}

#[test]
fn nodes_that_do_not_hear_each_other_say_so_and_sign_out_whoever_leaves_and_nobody_else() {
    holds("d6-nodes-apart");
}

#[test]
fn without_its_stores_a_node_serves_tokens_and_signs_nobody_out() {
    holds("d6-stores-gone");
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
fn files_of_policies_that_are_spoilt_let_nothing_more_pass() {
    holds("x26-policy-corrupt");
}

#[test]
fn nodes_are_restarted_in_turn_while_keys_change_and_no_request_fails_nor_connection_is_cut() {
    holds("x22-rolling-restart");
}

#[test]
fn settings_a_route_and_a_certificate_change_and_each_answer_is_of_the_old_or_the_new() {
    holds("x22-reload");
}

#[test]
fn another_process_takes_the_place_of_a_node_that_is_alone_and_no_request_fails() {
    holds("x22-handover");
}

#[test]
fn a_key_that_was_stolen_signs_nothing_and_one_that_was_lost_is_missed() {
    holds("x16-key-lost");
}

#[test]
fn one_slow_service_slows_no_other() {
    holds("x18-upstream-slow");
}

#[test]
fn what_is_broken_off_is_sent_again_within_its_budget_and_an_order_never() {
    holds("x18-upstream-failing");
}

#[test]
fn very_many_idle_connections_stay_open_and_nobody_notices_them() {
    holds("x20-idle-connections");
}

#[test]
fn keys_that_change_and_keys_that_nobody_has_refuse_no_good_token_and_are_seldom_asked_for() {
    holds("x19-key-flood");
}

#[test]
fn what_cannot_be_carried_is_refused_and_the_rest_is_served() {
    holds("r7-overload");
}

#[test]
fn everybody_who_signs_in_at_once_is_signed_in_or_told_to_come_later() {
    holds("x21-login-stampede");
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
fn a_node_that_cannot_learn_what_was_taken_back_asks_one_that_can() {
    let program = Path::new(PROGRAM);
    let postgres = PostgresServer::listening("", |_| {});
    let (database, way) = (postgres.database(), Proxy::before(postgres.port()));
    let (place, echo) = (tempfile::tempdir().unwrap(), EchoServer::start());
    let (robot, secret) = stage::ROBOT;
    let file = place.path().join("robot.secret");
    std::fs::write(&file, secret).unwrap();
    let shared = Shared {
        program: program.to_owned(),
        root_key: root_key(program),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    // Nodes that do not hear each other: only the database tells them.
    let own = Own { store: database.url_on("127.0.0.1"), ..Own::default() };
    let knows = TegataNode::start("knows", &shared, &own);
    stage::declare(&knows, echo.port()).unwrap();
    let asks = TegataNode::start(
        "asks",
        &shared,
        &Own {
            store: database.url_at("127.0.0.1", way.port()),
            more: format!(
                "[gateway.introspection]\nat = [\"http://127.0.0.1:{}\"]\nclient_id = \"{robot}\"\n\
                 client_secret_file = \"{}\"\n",
                knows.ports().public,
                file.display()
            ),
            ..Own::default()
        },
    );
    let mut public = Client::new(knows.ports().public);
    let mut issue = || stage::issued(&mut public).unwrap().token;
    let (kept, taken, unknown) = (issue(), issue(), issue());
    let call = |route: &str, token: &str| {
        let mut gateway = Client::new(asks.ports().gateway);
        stage::call(&mut gateway, route, token).unwrap().status
    };
    assert!([&kept, &taken, &unknown].into_iter().all(|token| call("/bounded", token) == 200));
    // The node is cut off, and then a token is taken back where that can be done.
    way.set(Mode::BlackHole);
    let revoked = stage::revoke(&mut Client::new(knows.ports().public), &taken).unwrap();
    assert_eq!(revoked.status, 200);
    let is_stale = until(Duration::from_secs(60), || call("/strict", &kept) == 503);
    assert!(is_stale.is_some(), "{}", asks.process().said());
    // As soon as it is not young any more, it is asked about, and refused. Only thereby can it be known here.
    let is_refused = until(Duration::from_secs(120), || call("/bounded", &taken) == 401);
    assert!(is_refused.is_some(), "{}", asks.process().said());
    assert_eq!(call("/available", &taken), 200);
    assert_eq!(call("/bounded", &kept), 200, "{}", asks.process().said());
    // With nobody to ask, nothing passes.
    knows.kill();
    assert_eq!((call("/bounded", &kept), call("/bounded", &unknown)), (503, 503));
    // What was missed is known when the database answers again.
    way.set(Mode::Sound);
    assert!(until(Duration::from_secs(60), || call("/strict", &kept) == 200).is_some());
    assert_eq!(call("/available", &taken), 401);
}

/// Two nodes over NATS, on one PostgreSQL.
fn two_that_hear_each_other() -> Stage {
    let dependencies = Dependencies { events: EventsKind::Nats, ..Dependencies::default() };
    Stage::set(&Plan { dependencies, ..Plan::new(Path::new(PROGRAM), 2) }).unwrap()
}

#[test]
fn what_was_taken_back_before_is_confirmed_at_once_and_not_by_who_cannot_know() {
    let stage = two_that_hear_each_other();
    let member = |node: usize| stage.cluster().member(node);
    // As an operator orders it, and as a client asks for it; answers what is said of the nodes.
    let order = |node: usize, token: &str| -> Value {
        let args = ["revoke", "--token", token, "--reason", "test", "--wait", "--format", "json"];
        let output = member(node).node.run(&args);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["confirmed"].clone()
    };
    let ask = |node: usize, token: &str| -> Value {
        let (client, secret) = stage::ROBOT;
        let ask = Ask::form("/oauth2/revoke?wait=confirmed", &[("token", token)]);
        let mut public = stage.public(node).waiting(Duration::from_secs(30));
        public.ask(&ask.basic(client, secret)).unwrap().json()["confirmed"].clone()
    };
    let is_by_both = |confirmed: &Value| {
        let says = confirmed["says"].as_str().unwrap_or_default();
        let after = confirmed["after_ms"].as_u64().unwrap_or(u64::MAX);
        println!("{says}");
        // Whoever is named as fenced was waited for, for 5 s.
        says.starts_with("refused by all 2 points after") && after < 4_000
    };
    let issue = || stage::issued(&mut stage.public(0)).unwrap().token;
    let (first, second) = (issue(), issue());
    for node in [0, 1, 0] {
        let (ordered, asked) = (order(node, &first), ask(node, &second));
        assert!(is_by_both(&ordered) && is_by_both(&asked), "{node}: {ordered} {asked}");
    }
    // What one took back while the other could not hear it, and could not read it either, is not said to be
    // refused there, however often it is asked for again.
    let third = issue();
    member(1).set_all(Mode::BlackHole);
    for attempt in 0..2 {
        let told = if attempt == 0 { order(0, &third) } else { ask(0, &third) };
        let fenced = told["fenced"].as_array().map_or(0, Vec::len);
        assert_eq!((told["by"].as_array().unwrap().len(), fenced), (1, 1), "{told}");
    }
    // Many who want to wait for it keep nobody else from being served, and hold no more than so many
    // requests: whoever comes then is told at once until when it may be accepted. Operators wait all the same.
    let (crowd, ordered): (Vec<_>, _) = std::thread::scope(|scope| {
        let all: Vec<_> = (0..300).map(|_| scope.spawn(|| ask(0, &third))).collect();
        assert!(stage::issued(&mut stage.public(0)).is_ok());
        let ordered = order(0, &third);
        (all.into_iter().map(|it| it.join().unwrap()).collect(), ordered)
    });
    assert!(ordered["fenced"].is_array() && ordered["pending"].is_null(), "{ordered}");
    let (pending, waited): (Vec<_>, Vec<_>) = crowd.iter().partition(|it| it["pending"].is_array());
    assert!(!pending.is_empty() && waited.len() >= 256, "{} waited", waited.len());
    assert!(pending.iter().all(|it| it["until"].is_string() && it["fenced"].is_null()));
    assert!(waited.iter().all(|it| it["fenced"].as_array().is_some_and(|it| it.len() == 1)));
    member(1).set_all(Mode::Sound);
    let again = until(Duration::from_secs(60), || is_by_both(&ask(0, &third)));
    assert!(again.is_some(), "{}", member(1).node.process().said());
    assert_eq!(stage::call(&mut stage.gateway(1), "/strict", &third).unwrap().status, 401);
}

#[test]
fn two_nodes_that_could_not_hear_each_other_come_to_know_the_same_of_a_token() {
    let stage = two_that_hear_each_other();
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

#[test]
fn who_fetched_the_keys_from_one_node_is_known_at_the_other() {
    let stage = stage::plain(Path::new(PROGRAM), 2).unwrap();
    let seen_by = |node: usize| -> u64 {
        let listed = stage.cluster().member(node).node.command(&["key", "list"]);
        let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
        let next = listed.iter().find(|key| key["state"] == "next").unwrap();
        next["seen_by"].as_u64().unwrap()
    };
    assert_eq!((seen_by(0), seen_by(1)), (0, 0));
    let ask = Ask::get("/.well-known/jwks.json").field("User-Agent", "orders/1.0");
    assert_eq!(stage.public(0).ask(&ask).unwrap().status, 200);
    assert!(until(Duration::from_secs(60), || seen_by(0) == 1 && seen_by(1) == 1).is_some());
}
