//! The attack corpus, said to a gateway over raw sockets.

use std::path::Path;

use tegata_attack::{
    case::{Case, Expect, Places, Say, read_all},
    run::run,
};

use crate::world::{World, get};

fn cases() -> Vec<Case> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/gateway");
    read_all(&corpus).unwrap()
}

fn places() -> Places {
    Places {
        host: "gateway.example".to_owned(),
        open: "/public".to_owned(),
        guarded: "/echo".to_owned(),
        canary: "http://127.0.0.1:9/".to_owned(),
    }
}

#[test]
fn every_case_of_the_corpus_is_answered_as_it_says() {
    let cases = cases();
    assert!(cases.len() > 200, "{}", cases.len());
    let world = World::plain();
    let mut wrong = Vec::new();
    for case in &cases {
        for what in run(case, world.address, &places()).unwrap() {
            wrong.push(format!("{}: {what}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    // And it still serves.
    assert_eq!(world.ask(&get("/public/x", &[])).status, 200);
}

#[test]
fn the_same_target_is_refused_over_both_versions() {
    let mut targets = cases();
    targets
        .retain(|case| case.name.starts_with("paths/") && matches!(case.say, Say::Request { .. }));
    assert!(targets.iter().filter(|case| case.expect == Expect::Status(400)).count() >= 30);
    // A corpus that a gateway passes by refusing everything says nothing.
    assert!(cases().iter().any(|case| case.expect == Expect::Served));
    let world = World::plain();
    for case in &targets {
        assert_eq!(run(case, world.address, &places()).unwrap(), [""; 0], "{}", case.name);
    }
}
