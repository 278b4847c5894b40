//! How strongly and how recently a caller was authenticated, where a route asks for it (RFC 9470), and
//! those who would rather not say.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tegata_core::BoxFuture;
use tegata_gateway::{
    Checked, DecisionLog, Head, Renewed, SessionCheck, SessionIdentity, decision_log,
};
use tegata_token::{Algorithm, Claims, SigningKey};

use crate::{
    dpop::Holder,
    echo,
    identity::told,
    world::{Answer, Plan, World, get, vacant},
};

const ASKED: &str = r#"error="insufficient_user_authentication", error_description="#;

/// A token of somebody who was authenticated so.
fn token(world: &World, acr: &Value, auth_time: &Value) -> String {
    let mut claims = world.claims();
    for (name, value) in [("acr", acr), ("auth_time", auth_time)] {
        if *value != Value::Null {
            claims[name] = value.clone();
        }
    }
    world.sign(&claims)
}

/// The status, and the name of the refusal.
fn verdict(answer: &Answer) -> (u16, String) {
    (answer.status, if answer.status == 200 { String::new() } else { answer.problem() })
}

#[test]
fn who_was_not_authenticated_as_a_route_asks_is_told_how() {
    let world = World::plain();
    let now = world.node.now().secs();
    let (weak, old) = ("insufficient_acr", "authentication_too_old");
    for (acr, auth_time, strong, recent, both) in [
        (json!("aal2"), json!(now), "", "", ""),
        (json!("aal3"), json!(now - 60), "", "", ""),
        (json!("aal2"), json!(now - 61), "", old, old),
        (json!("aal1"), json!(now), weak, "", weak),
        (json!("aal1"), json!(now - 61), weak, old, weak),
        // Nobody was authenticated for a client's own token.
        (Value::Null, Value::Null, weak, old, weak),
        (json!("aal2"), Value::Null, "", old, old),
        (Value::Null, json!(now), weak, "", weak),
        // What is not a level, though it looks like one.
        (json!(""), json!(now), weak, "", weak),
        (json!("AAL2"), json!(now), weak, "", weak),
        (json!("aal2 "), json!(now), weak, "", weak),
        (json!("aal1 aal2"), json!(now), weak, "", weak),
        (json!("aal9"), json!(now), weak, "", weak),
        (json!("zzz"), json!(now), weak, "", weak),
        // Ahead of our clock, a little, and further than any clock is.
        (json!("aal2"), json!(now + 60), "", "", ""),
        (json!("aal2"), json!(now + 61), "", old, old),
        (json!("aal2"), json!(9_007_199_254_740_991_u64), "", old, old),
        (json!("aal2"), json!(0), "", old, old),
    ] {
        let token = token(&world, &acr, &auth_time);
        for (path, expected) in [("/strong/x", strong), ("/recent/x", recent), ("/both/x", both)] {
            let answer = world.get(path, &token);
            let status = if expected.is_empty() { 200 } else { 401 };
            let case = format!("{path} {acr} {auth_time}");
            assert_eq!(verdict(&answer), (status, expected.to_owned()), "{case}");
        }
        // Where nothing is asked for, nothing is missing.
        assert_eq!(world.get("/echo/x", &token).status, 200);
    }
}

#[test]
fn the_challenge_says_all_that_is_asked_for_and_nothing_of_the_request() {
    let world = World::plain();
    let token = token(&world, &json!("aal1\" x=\"y"), &Value::Null);
    for (path, parameters) in [
        ("/strong/x", r#"acr_values="aal2""#),
        ("/recent/x", r#"max_age="60""#),
        ("/both/x?acr_values=aal1&max_age=9", r#"acr_values="aal2", max_age="60""#),
        ("/both/%22,%20error=x", r#"acr_values="aal2", max_age="60""#),
    ] {
        let credential = format!("Bearer {token}");
        let said = [
            ("Authorization", credential.as_str()),
            ("X-Forwarded-Host", "evil.example"),
            ("acr_values", "aal1"),
        ];
        let answer = world.ask(&get(path, &said));
        assert_eq!(answer.status, 401, "{path}");
        let challenge = answer.fields("www-authenticate");
        assert_eq!(challenge.len(), 1, "{challenge:?}");
        assert!(challenge[0].starts_with(&format!("Bearer {ASKED}")), "{challenge:?}");
        assert!(challenge[0].ends_with(&format!(", {parameters}")), "{challenge:?}");
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    // Without credentials there is nothing to be stepped up.
    let nobody = world.ask(&get("/both/x", &[]));
    assert_eq!(verdict(&nobody), (401, "not_authenticated".to_owned()));
    assert!(!nobody.fields("www-authenticate").concat().contains("insufficient"));
}

#[test]
fn claims_of_another_type_are_no_claims_and_a_forged_token_is_none() {
    let world = World::plain();
    let now = world.node.now().secs();
    for (acr, auth_time) in [
        (json!(2), json!(now)),
        (json!(["aal2"]), json!(now)),
        (json!({"value": "aal2"}), json!(now)),
        (json!("aal2"), json!(now.to_string())),
        (json!("aal2"), json!(-1)),
        (json!("aal2"), json!(true)),
        (json!("aal2"), json!(1e300)),
    ] {
        let answer = world.get("/both/x", &token(&world, &acr, &auth_time));
        assert_eq!(verdict(&answer), (401, "token_claims".to_owned()), "{acr} {auth_time}");
    }
    let good = token(&world, &json!("aal2"), &json!(now));
    assert_eq!(world.get("/both/x", &good).status, 200);
    let other = World::plain();
    assert_eq!(verdict(&other.get("/both/x", &good)), (401, "token_key_unknown".to_owned()));
}

#[test]
fn what_passed_a_moment_ago_grows_old_on_the_same_connection() {
    let world = World::plain();
    let now = world.node.now().secs();
    let credential = format!("Bearer {}", token(&world, &json!("aal2"), &json!(now)));
    let ask = |path| get(path, &[("Authorization", &credential)]);
    let mut client = world.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(&ask("/recent/x")).status, 200);
    }
    for _ in 0..12 {
        world.clock.advance(Duration::from_secs(5));
        world.refresh_revocations();
        assert_eq!(client.ask(&ask("/recent/x")).status, 200);
    }
    world.clock.advance(Duration::from_secs(1));
    let refused = client.ask(&ask("/recent/x"));
    assert_eq!(verdict(&refused), (401, "authentication_too_old".to_owned()));
    // The token is as good as before where its age is no matter.
    assert_eq!(client.ask(&ask("/strong/x")).status, 200);
}

#[test]
fn a_new_map_is_asked_by_the_next_request_and_nothing_refused_reaches_a_service() {
    // Nobody listens where the service is said to be: what is let pass comes to nothing.
    let free = vacant();
    let mut plan = Plan::with(free);
    plan.routes = json!([{"path": "/echo", "service": "echo"}]);
    let open = plan.map();
    plan.routes = json!([{"path": "/echo", "service": "echo", "acr": ["aal2"]}]);
    let strict = plan.map();
    let world = plan.start();
    world.gateway.replace(&open, vec![]).unwrap();
    let credential = format!("Bearer {}", token(&world, &json!("aal1"), &Value::Null));
    let ask = get("/echo/x", &[("Authorization", &credential)]);
    let mut client = world.connect();
    assert_eq!(verdict(&client.ask(&ask)), (502, "service_unreachable".to_owned()));
    world.gateway.replace(&strict, vec![]).unwrap();
    assert_eq!(verdict(&client.ask(&ask)), (401, "insufficient_acr".to_owned()));
}

#[test]
fn a_bound_token_is_asked_in_its_own_scheme() {
    let world = World::plain();
    let holder = Holder::of(&world);
    for (path, problem) in [("/strong/x", "insufficient_acr"), ("/read/x", "")] {
        let place = format!("http://gateway.example{path}");
        let proof = holder.proof(&world, &[("htu", json!(place))]);
        let answer = holder.ask(&world, path, &[&proof]);
        if problem.is_empty() {
            assert_eq!(answer.status, 200);
            continue;
        }
        assert_eq!(verdict(&answer), (401, problem.to_owned()));
        let challenge = answer.field("www-authenticate").unwrap();
        assert!(challenge.starts_with(&format!("DPoP {ASKED}")), "{challenge}");
        assert!(challenge.contains(r#", acr_values="aal2", algs=""#), "{challenge}");
    }
    let narrow = Holder::with(&world, &[("scope", json!("orders.write"))]);
    let proof = narrow.proof(&world, &[("htu", json!("http://gateway.example/read/x"))]);
    let answer = narrow.ask(&world, "/read/x", &[&proof]);
    assert_eq!(verdict(&answer), (403, "missing_scope".to_owned()));
    let expected = r#"DPoP error="insufficient_scope", scope="orders.read", algs=""#;
    assert!(answer.field("www-authenticate").unwrap().starts_with(expected));
}

/// One session, that of the cookie `one`.
struct OneSession(Mutex<(Option<&'static str>, Option<u64>)>);

impl SessionCheck for OneSession {
    fn cookie(&self) -> &'static str {
        "session_id"
    }

    fn check<'a>(&'a self, _: &'a str, _: Head<'a>, _: IpAddr) -> BoxFuture<'a, Checked> {
        let (acr, auth_time) = *self.0.lock().unwrap();
        let claims = Claims {
            sub: "usr_bob".into(),
            sid: Some("1.30000.bob".into()),
            iat: 1_767_225_600,
            exp: 1_767_225_600 + 36_000,
            acr: acr.map(str::to_owned),
            auth_time,
            ..Claims::default()
        };
        let verdict = Ok(Arc::new(SessionIdentity { claims }));
        Box::pin(async move { Checked { verdict, set_cookie: None } })
    }

    fn settle<'a>(&'a self, _: &'a Renewed) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }
}

#[test]
fn a_session_is_asked_as_a_token_is_and_what_it_says_anew_counts_at_once() {
    let session = Arc::new(OneSession(Mutex::default()));
    let mut plan = Plan::with(echo::start());
    plan.sessions = Some(session.clone());
    let world = plan.start();
    let now = world.node.now().secs();
    let mut client = world.connect();
    let (weak, old) = ("insufficient_acr", "authentication_too_old");
    for (acr, auth_time, expected) in [
        (Some("aal1"), Some(now), weak),
        // Raised, and lowered again by a new sign-in.
        (Some("aal2"), Some(now), ""),
        (Some("aal1"), Some(now), weak),
        // A second factor that was shown with a password of long ago.
        (Some("aal2"), Some(now - 3600), old),
        (Some("aal2"), None, old),
        (None, None, weak),
        (Some("aal2"), Some(now - 60), ""),
    ] {
        *session.0.lock().unwrap() = (acr, auth_time);
        let answer = client.ask(&get("/both/x", &[("Cookie", "session_id=one")]));
        let status = if expected.is_empty() { 200 } else { 401 };
        assert_eq!(verdict(&answer), (status, expected.to_owned()), "{acr:?} {auth_time:?}");
        if expected.is_empty() {
            // Services are told what the session says now.
            let internal = told(&world, &answer.seen("x-internal-token").unwrap());
            assert_eq!((internal.acr.as_deref(), internal.auth_time), (acr, auth_time));
        } else {
            let challenge = answer.field("www-authenticate").unwrap();
            assert!(challenge.starts_with(&format!("Bearer {ASKED}")), "{challenge}");
        }
    }
    world.clock.advance(Duration::from_secs(1));
    let answer = client.ask(&get("/both/x", &[("Cookie", "session_id=one")]));
    assert_eq!(verdict(&answer), (401, old.to_owned()));
    // A token that does not do is not made good by a session that does.
    *session.0.lock().unwrap() = (Some("aal2"), Some(now));
    let credential = format!("Bearer {}", token(&world, &json!("aal1"), &json!(now)));
    let both = [("Cookie", "session_id=one"), ("Authorization", credential.as_str())];
    assert_eq!(verdict(&client.ask(&get("/both/x", &both))), (401, weak.to_owned()));
}

#[test]
fn such_a_refusal_is_counted_and_written_down_as_others_are() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let config = decision_log::Config::at(directory.path());
    let signer: tegata_gateway::Signer = Arc::new(move || Some(Arc::clone(&key)));
    let log = DecisionLog::open(&config, &tegata_core::Node::for_tests(1), signer).unwrap();
    let mut plan = Plan::with(echo::start());
    plan.decisions = Some(log.clone());
    let world = plan.start();
    let token = token(&world, &json!("aal1"), &Value::Null);
    world.get("/strong/x", &token);
    world.get("/recent/x", &token);
    let metrics = world.metrics();
    drop(world);
    log.close();
    for counted in [
        r#"policy_decisions_total{decision="deny"} 2"#,
        r#"gateway_requests_total{service="echo",status="401"} 2"#,
    ] {
        assert!(metrics.contains(counted), "{metrics}");
    }
    let text = std::fs::read_to_string(directory.path().join("0000000001.log")).unwrap();
    for reason in ["insufficient_acr", "authentication_too_old"] {
        let line = text.lines().find(|line| line.contains(reason)).unwrap();
        let record: Value = serde_json::from_str(&line[65..]).unwrap();
        assert_eq!((&record["result"], &record["status"]), (&json!("deny"), &json!(401)));
        assert_eq!(record["subject"], "usr_alice");
        assert!(record["rule"].as_str().unwrap().starts_with("echo:/"));
    }
}
