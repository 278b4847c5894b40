//! Reasons that a single request of HTTP/1.1 does not bring about.

use std::sync::Arc;

use serde_json::json;
use tegata_attack::frames::{Http2, frame, kind, request as framed};
use tegata_core::{Epoch, Parting, TokenId};
use tegata_gateway::decision_log::Mode;
use tegata_token::{Algorithm, SigningKey};

use crate::{
    decisions::{self, records},
    echo,
    floods::{end, pour},
    world::{EPOCH, Plan, get},
};

#[test]
fn a_flood_and_trailers_that_ask_are_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = decisions::open(directory.path(), Mode::BestEffort, &key);
    let mut plan = Plan::with(echo::start());
    plan.decisions = Some(log.clone());
    let world = plan.start();
    let mut client = Http2::to(world.address).unwrap();
    pour(&client, 20_000, frame(kind::PING, 0, 0, &[0; 8]));
    assert!(end(&mut client).is_some());
    // What stands behind a body asks for nothing, least of all for something else.
    let mut client = Http2::to(world.address).unwrap();
    client.send(&framed("POST", "/public/x", 1, false)).unwrap();
    client.send(&framed("GET", "/admin/x", 1, true)).unwrap();
    assert!(end(&mut client).is_some());
    drop(world);
    log.close();
    let told: Vec<_> = records(directory.path())
        .into_iter()
        .filter(|record| record["reason"].is_string())
        .map(|it| (it["reason"].clone(), it["status"].clone(), it["result"].clone()))
        .collect();
    assert!(told.contains(&(json!("flood"), json!(429), json!("deny"))), "{told:?}");
    assert!(told.contains(&(json!("trailers_malformed"), json!(400), json!("deny"))), "{told:?}");
}

#[test]
fn a_token_of_before_a_backup_was_restored_is_refused() {
    let plan = Plan { since: EPOCH, ..Plan::with(echo::start()) };
    let world = plan.start();
    let of = |epoch| {
        let mut claims = world.claims();
        claims["jti"] = json!(TokenId::generate(epoch, world.node.entropy()).as_str());
        world.sign(&claims)
    };
    let answer = world.get("/echo/x", &of(Epoch(EPOCH.0 - 1)));
    assert_eq!((answer.status, answer.problem().as_str()), (401, "token_epoch"));
    assert!(answer.field("www-authenticate").unwrap().contains("invalid_token"));
    assert_eq!(world.get("/echo/x", &of(EPOCH)).status, 200);
}

#[test]
fn who_asks_for_health_while_it_stops_is_told() {
    let parting = Parting::default();
    let plan = Plan { parting: parting.clone(), ..Plan::with(echo::start()) };
    let world = plan.start();
    assert_eq!(world.ask(&get("/health", &[])).status, 200);
    parting.begin();
    let answer = world.ask(&get("/health", &[]));
    assert_eq!((answer.status, answer.problem().as_str()), (503, "stopping"));
    assert_eq!(answer.field("connection"), Some("close"));
    // Everybody else is served.
    assert_eq!(world.ask(&get("/public/x", &[])).status, 200);
}
