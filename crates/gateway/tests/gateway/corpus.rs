//! The attack corpus, said to a gateway over raw sockets.

use std::{net::TcpListener, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tegata_attack::{
    case::{Case, Expect, Places, Say, Signature, Token, read_all},
    forge::{Forge, public},
    run::run_over,
    wire::Way,
};
use tegata_core::TokenId;
use tegata_gateway::config::Tls;
use tegata_token::revocation::Target;

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
        token: None,
    }
}

/// What tokens with these claims are made of.
fn forge<'w>(world: &'w World, claims: &Value, canary: &str) -> Forge<'w> {
    let (key, now) = (world.key.as_ref(), world.node.now().secs());
    let coordinate = |of: &Option<String>| URL_SAFE_NO_PAD.decode(of.as_ref().unwrap()).unwrap();
    let (x, y) = (coordinate(&key.jwk().x), coordinate(&key.jwk().y));
    let public = public::of_point(&[&[4][..], &x, &y].concat());
    let sign = move |text: &[u8]| Ok(key.sign(text).unwrap());
    Forge::with_key(key.kid().as_str(), claims, (now, canary), public, sign).unwrap()
}

/// Says all cases, and answers what is wrong.
fn say(world: &World, secure: bool) -> Vec<String> {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let places = Places { canary: format!("http://{}/", canary.local_addr().unwrap()), ..places() };
    let way = Way { address: world.address, secure };
    let mut wrong = Vec::new();
    for case in cases() {
        let shown = case.token.as_ref().map(|token| {
            let forge = forge(world, &world.claims(), &places.canary);
            forge.token(token).unwrap_or_else(|error| panic!("{}: {error:#}", case.name))
        });
        let places = Places { token: shown, ..places.clone() };
        for what in run_over(&case, way, &places).unwrap() {
            wrong.push(format!("{}: {what}", case.name));
        }
        if canary.accept().is_ok() {
            wrong.push(format!("{}: somebody fetched from where a token said", case.name));
        }
    }
    if canary.accept().is_ok() {
        wrong.push("somebody fetched later from where a token said".to_owned());
    }
    wrong
}

#[test]
fn every_case_of_the_corpus_is_answered_as_it_says() {
    assert!(cases().len() > 360, "{}", cases().len());
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

/// What is shown elsewhere is good: in its place, it is served.
#[test]
fn a_good_token_counts_in_authorization_and_nowhere_else() {
    let elsewhere: Vec<Case> = cases()
        .into_iter()
        .filter(|case| case.name.starts_with("tokens/in-") && case.token.is_some())
        .collect();
    for name in ["in-query", "in-form", "in-cookie-token", "in-proxy-authorization"] {
        assert!(elsewhere.iter().any(|case| case.name == format!("tokens/{name}")), "{name}");
    }
    let world = World::plain();
    let places = places();
    let forge = forge(&world, &world.claims(), &places.canary);
    for case in elsewhere {
        let token = forge.token(case.token.as_ref().unwrap()).unwrap();
        assert_eq!(world.get("/echo/x", &token).status, 200, "{}", case.name);
        assert_eq!(case.problem.as_deref(), Some("not_authenticated"), "{}", case.name);
        let (way, places) = (Way::clear(world.address), places.showing(token));
        assert_eq!(run_over(&case, way, &places).unwrap(), [""; 0], "{}", case.name);
    }
}

/// Whoever has one signature of ES256 has the other: the token is another text, and the same token.
#[test]
fn what_was_taken_back_is_so_with_either_of_its_two_signatures() {
    let world = World::plain();
    let claims = world.claims();
    let forge = forge(&world, &claims, "http://127.0.0.1:9/");
    let signed = |signature| forge.token(&Token { signature, ..Token::default() }).unwrap();
    let both = [signed(Signature::HighS), signed(Signature::LowS)];
    for token in &both {
        assert_eq!(world.get("/echo/x", token).status, 200);
    }
    world.revoke(Target::Token(TokenId::new(claims["jti"].as_str().unwrap()).unwrap()));
    for token in &both {
        assert_eq!(world.get("/echo/x", token).problem(), "token_revoked");
    }
}
