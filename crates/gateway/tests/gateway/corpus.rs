//! The attack corpus, said to a gateway over raw sockets.

use std::{net::TcpListener, path::Path};

use tegata_attack::{
    case::{Case, Expect, Places, Say, Signed, read_all},
    run::run_over,
    wire::Way,
};
use tegata_gateway::config::Tls;

use crate::{
    echo,
    world::{Plan, World, get},
};

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

/// A token as a case wants it.
fn token(world: &World, signed: &Signed, canary: &str) -> String {
    let (key, now) = (&world.key, world.node.now().secs());
    let sign = |text: &[u8]| Ok(key.sign(text).unwrap());
    signed.token((key.kid().as_str(), world.claims()), (now, canary), sign).unwrap()
}

/// Says all cases, and answers what is wrong.
fn say(world: &World, secure: bool) -> Vec<String> {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let places = Places { canary: format!("http://{}/", canary.local_addr().unwrap()), ..places() };
    let way = Way { address: world.address, secure };
    let mut wrong = Vec::new();
    for mut case in cases() {
        if let Some(signed) = &case.signed {
            case = case.with_token(&token(world, signed, &places.canary));
        }
        for what in run_over(&case, way, &places).unwrap() {
            wrong.push(format!("{}: {what}", case.name));
        }
    }
    if canary.accept().is_ok() {
        wrong.push("somebody fetched from where a token said".to_owned());
    }
    wrong
}

#[test]
fn every_case_of_the_corpus_is_answered_as_it_says() {
    assert!(cases().len() > 240, "{}", cases().len());
    let world = World::plain();
    let wrong = say(&world, false);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    // And it still serves.
    assert_eq!(world.ask(&get("/public/x", &[])).status, 200);
}

#[test]
fn every_case_of_the_corpus_is_answered_so_over_tls() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/tls");
    let mut plan = Plan::with(echo::start());
    plan.config.tls = Some(Tls {
        certificate_file: here.join("certificate.pem"),
        key_file: here.join("key.pem"),
    });
    let world = plan.start();
    let wrong = say(&world, true);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
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
        let way = Way::clear(world.address);
        assert_eq!(run_over(case, way, &places()).unwrap(), [""; 0], "{}", case.name);
    }
}
