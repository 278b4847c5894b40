//! Policies at the gateway: what they forbid, what is tried, and what happens while others are taken over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use serde_json::json;
use tegata_gateway::{Policies, Tried};
use tegata_policy::{Bundle, Differs};

use crate::{
    echo,
    world::{Plan, World, get, request},
};

fn bundle(text: &str) -> Arc<Bundle> {
    Arc::new(Bundle::read([], [("test.cedar", text)]).unwrap())
}

fn deciding(text: &str) -> Policies {
    Policies { bundle: Some(bundle(text)), tried: None }
}

const SUSPENDED: &str = r#"
    @id("no-suspended") forbid (principal in Tegata::Role::"suspended", action, resource);
"#;

fn with_roles(world: &World, roles: &[&str]) -> String {
    let mut claims = world.claims();
    claims["roles"] = json!(roles);
    world.sign(&claims)
}

#[test]
fn a_forbid_of_a_file_wins_at_the_gateway() {
    let mut plan = Plan::with(echo::start());
    plan.policies = deciding(SUSPENDED);
    let world = plan.start();
    assert_eq!(world.get("/echo/x", &world.token()).status, 200);
    let suspended = with_roles(&world, &["customer", "suspended"]);
    let answer = world.get("/echo/x", &suspended);
    assert_eq!((answer.status, answer.problem().as_str()), (403, "policy_forbids"));
    // Whatever a route permits.
    let admin = with_roles(&world, &["admin", "suspended"]);
    assert_eq!(world.get("/admin/x", &admin).problem(), "policy_forbids");
    assert_eq!(world.get("/admin/x", &with_roles(&world, &["admin"])).status, 200);
    // Nobody is asked for who they are where nobody is looked at.
    assert_eq!(world.get("/public/x", &suspended).status, 200);
}

#[test]
fn a_route_says_who_is_asked_for_a_permit() {
    let mut plan = Plan::with(echo::start());
    plan.routes = json!([
        {"path": "/table", "service": "echo"},
        {"path": "/policies", "service": "echo", "decide_by": "policies"},
        {"path": "/both", "service": "echo", "roles": ["admin"], "decide_by": "both"},
    ]);
    plan.policies = deciding(
        r#"@id("customers-read") permit (
            principal in Tegata::Role::"customer",
            action in Tegata::Action::"safe",
            resource in Tegata::Service::"echo"
        );"#,
    );
    let world = plan.start();
    let (customer, admin) = (world.token(), with_roles(&world, &["admin"]));
    let both = with_roles(&world, &["admin", "customer"]);
    let ask = |path: &str, token: &str| {
        let answer = world.get(path, token);
        if answer.status == 200 { "ok".to_owned() } else { answer.problem() }
    };
    assert_eq!(ask("/table/x", &admin), "ok");
    assert_eq!([ask("/policies/x", &customer), ask("/policies/x", &admin)], ["ok", "no_policy"]);
    assert_eq!(
        [ask("/both/x", &customer), ask("/both/x", &admin), ask("/both/x", &both)],
        ["missing_role", "no_policy", "ok"]
    );
    let post =
        request("POST", "/policies/x", &[("Authorization", &format!("Bearer {customer}"))], "");
    assert_eq!(world.ask(&post).problem(), "no_policy");
}

#[test]
fn shadow_changes_nothing_and_reports_each_change() {
    let tried = Arc::new(Tried::new(bundle(
        r#"@id("quiet") forbid (principal, action in Tegata::Action::"unsafe", resource);"#,
    )));
    let mut plan = Plan::with(echo::start());
    plan.policies = Policies { bundle: Some(bundle(SUSPENDED)), tried: Some(Arc::clone(&tried)) };
    let world = plan.start();
    let suspended = with_roles(&world, &["suspended"]);
    let post = |token: &str| {
        let token = format!("Bearer {token}");
        world.ask(&request("POST", "/echo/x", &[("Authorization", &token)], "")).status
    };
    assert_eq!(world.get("/echo/x", &world.token()).status, 200);
    assert_eq!([post(&world.token()), post(&world.token()), post(&suspended)], [200, 200, 403]);
    // What decides has it refused, what is tried would let it pass.
    assert_eq!(world.get("/echo/x", &suspended).status, 403);
    let report = tried.report();
    assert_eq!((report.asked, report.differing), (5, 3));
    let found: Vec<_> = report.differences.iter().map(|it| (it.kind.change, it.count)).collect();
    assert_eq!(found, [(Differs::WouldDeny, 2), (Differs::WouldAllow, 1)]);
    let metrics = world.metrics();
    for line in [
        r#"policy_shadow_total{change="would_deny"} 2"#,
        r#"policy_shadow_total{change="would_allow"} 1"#,
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn ten_thousand_strange_ids_through_the_gateway() {
    let mut plan = Plan::with(echo::start());
    plan.policies = deciding(
        r#"
        @id("not-mallory") forbid (principal == Tegata::User::"usr_mallory", action, resource);
        @id("not-that-role") forbid (principal in Tegata::Role::"that-role", action, resource);
        "#,
    );
    let world = plan.start();
    let mut client = world.connect();
    let strange = [
        "\"", "\\", "::", "\"]", "){", "//", "\u{202e}", "\u{0}", "é", "*", "?", ";", "@id",
        "mallory", " ",
    ];
    let mut number: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: usize| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        usize::try_from(number % u64::try_from(below).unwrap()).unwrap()
    };
    let (mut claims, mut passed) = (world.claims(), 0);
    for _ in 0..10_000 {
        let mut id: String = (0..=next(4)).map(|_| strange[next(strange.len())]).collect();
        id.push(char::from_digit(u32::try_from(next(10)).unwrap(), 10).unwrap());
        claims["sub"] = json!(format!("usr_{id}"));
        claims["roles"] = json!([id]);
        let token = world.sign(&claims);
        let answer = client.ask(&get("/echo/x", &[("Authorization", &format!("Bearer {token}"))]));
        // Some name nobody at all, and no token may have them.
        assert!(answer.status == 200 || answer.status == 401, "{id:?}: {}", answer.status);
        passed += u32::from(answer.status == 200);
    }
    assert!(passed > 5_000, "{passed}");
    for (sub, role) in [("usr_mallory", "customer"), ("usr_alice", "that-role")] {
        claims["sub"] = json!(sub);
        claims["roles"] = json!([role]);
        assert_eq!(world.get("/echo/x", &world.sign(&claims)).problem(), "policy_forbids");
    }
}

#[test]
fn reloading_under_load_fails_no_request() {
    // Both forbid writing, and each forbids one thing more: half of one and half of another, or none of both,
    // would let a write pass.
    let both = [
        r#"
        forbid (principal, action in Tegata::Action::"unsafe", resource);
        forbid (principal in Tegata::Role::"one", action, resource);
        "#,
        r#"
        forbid (principal in Tegata::Role::"other", action, resource);
        forbid (principal, action in Tegata::Action::"unsafe", resource);
        "#,
    ];
    let sets = both.map(deciding);
    let mut plan = Plan::with(echo::start());
    plan.policies = sets[0].clone();
    plan.config.workers = 2;
    let map = plan.map();
    let world = plan.start();
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let token = format!("Bearer {}", world.token());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = world.connect();
                while !is_over.load(Ordering::Relaxed) {
                    let read = client.ask(&get("/echo/x", &[("Authorization", &token)]));
                    let write = request("POST", "/echo/x", &[("Authorization", &token)], "");
                    assert_eq!([read.status, client.ask(&write).status], [200, 403]);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut turn = 0;
        while turn < 100 || answered.load(Ordering::Relaxed) < 200 {
            turn += 1;
            world.gateway.decide_by(&map, vec![], sets[turn % 2].clone()).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_map_and_the_policies_change_together_and_apart() {
    let mut plan = Plan::with(echo::start());
    plan.policies = deciding(SUSPENDED);
    let map = plan.map();
    let world = plan.start();
    let suspended = with_roles(&world, &["suspended"]);
    assert_eq!(world.get("/echo/x", &suspended).status, 403);
    // Another map is decided about by the same policies.
    world.gateway.replace(&map, vec![]).unwrap();
    assert_eq!(world.get("/echo/x", &suspended).status, 403);
    assert!(world.gateway.policy_set().bundle().is_some());
    world.gateway.decide_by(&map, vec![], Policies::default()).unwrap();
    assert_eq!(world.get("/echo/x", &suspended).status, 200);
}
