//! Callers have less outside of networks and hours.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    echo,
    identity::told,
    world::{Answer, Client, Plan, World, get, request},
};

/// A gateway with one route, behind a proxy on `127.0.0.1`. It is Thursday, 1 January 2026, at midnight.
fn world(words: &Value) -> World {
    let mut plan = Plan::with(echo::start());
    plan.config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let mut route = json!({"path": "/orders", "service": "echo"});
    route.as_object_mut().unwrap().extend(words.as_object().unwrap().clone());
    plan.routes = json!([route, {"path": "/plain", "service": "echo"}]);
    plan.start()
}

fn token(world: &World, roles: &[&str]) -> String {
    let mut claims = world.claims();
    claims["roles"] = json!(roles);
    claims["exp"] = json!(world.node.now().secs() + 7 * 86_400);
    claims["authorization_details"] = json!([{"type": "payment"}]);
    world.sign(&claims)
}

fn ask(world: &World, method: &str, from: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let fields = [("Authorization", bearer.as_str()), ("X-Forwarded-For", from)];
    world.ask(&request(method, "/orders/x", &fields, ""))
}

#[test]
fn outside_the_network_or_the_hours_less_is_allowed() {
    let world = world(&json!({
        "roles": ["clerk", "on-call"],
        "networks": ["10.0.0.0/8"],
        "hours": ["Thu 08:00-18:00 +01:00", "Thu 22:00-06:00 +01:00"],
        "outside": {"methods": ["GET"], "roles": ["on-call", "other"], "scope": "orders.read"},
    }));
    let both = token(&world, &["clerk", "on-call", "other"]);
    let clerk = token(&world, &["clerk"]);
    // At one in the morning on Thursday, by that offset, the night has not begun: it would be Wednesday's.
    assert_eq!(ask(&world, "GET", "10.1.2.3", &clerk).problem(), "outside_hours");
    world.clock.advance(Duration::from_secs(8 * 3600));
    world.refresh_revocations();
    let inside = ask(&world, "POST", "10.1.2.3", &both);
    assert_eq!(inside.seen("x-user-roles").as_deref(), Some("clerk,on-call,other"));
    let internal = told(&world, &inside.seen("x-internal-token").unwrap());
    assert_eq!(internal.scope.as_str(), "orders.read orders.write");
    assert!(internal.authorization_details.is_some());
    assert_eq!(ask(&world, "GET", "10.1.2.3", &clerk).status, 200);
    for from in ["11.0.0.1", "2001:db8::1"] {
        let answer = ask(&world, "GET", from, &both);
        assert_eq!(answer.seen("x-user-roles").as_deref(), Some("on-call,other"), "{answer:?}");
        // The service is told no more than what remains.
        let internal = told(&world, &answer.seen("x-internal-token").unwrap());
        assert_eq!(internal.roles, ["on-call", "other"]);
        assert_eq!(internal.scope.as_str(), "orders.read");
        assert!(internal.authorization_details.is_none());
        let refused = ask(&world, "POST", from, &both);
        assert_eq!((refused.status, refused.problem().as_str()), (403, "outside_network"));
        assert_eq!(ask(&world, "HEAD", from, &both).status, 200);
        assert_eq!(ask(&world, "GET", from, &clerk).problem(), "outside_network");
    }
    // The one is not mistaken for the other, whichever came first.
    let again = ask(&world, "GET", "10.1.2.3", &both);
    assert_eq!(again.seen("x-user-roles").as_deref(), Some("clerk,on-call,other"));
    // In the evening, in the night, and when it is over on Friday.
    for (hours, expected) in [(10, None), (4, Some(())), (7, None)] {
        world.clock.advance(Duration::from_secs(hours * 3600));
        world.refresh_revocations();
        let answer = ask(&world, "GET", "10.1.2.3", &clerk);
        match expected {
            Some(()) => assert_eq!(answer.status, 200, "{answer:?}"),
            None => assert_eq!(answer.problem(), "outside_hours"),
        }
    }
}

#[test]
fn nobody_is_inside_because_they_say_so() {
    let world = world(&json!({"networks": ["10.0.0.0/8", "192.0.2.0/24"]}));
    let token = token(&world, &[]);
    let bearer = format!("Bearer {token}");
    let asked = |client: &mut Client, more: &[(&str, &str)]| {
        let mut fields = vec![("Authorization", bearer.as_str())];
        fields.extend(more);
        client.ask(&get("/orders/x", &fields)).status
    };
    let mut stranger = Client::from_ip([127, 0, 0, 2], world.address);
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "X_Forwarded_For"] {
        assert_eq!(asked(&mut stranger, &[(name, "10.0.0.1")]), 403, "{name}");
    }
    let mut proxy = world.connect();
    assert_eq!(asked(&mut proxy, &[("X-Forwarded-For", "10.0.0.1")]), 200);
    // What stands before the address that the proxy itself adds was written by whoever came.
    assert_eq!(asked(&mut proxy, &[("X-Forwarded-For", "10.0.0.1, 203.0.113.5")]), 403);
    assert_eq!(asked(&mut proxy, &[("Forwarded", "for=10.0.0.1")]), 403);
    // A proxy that says nothing of the client is itself where it comes from.
    assert_eq!(asked(&mut proxy, &[]), 403);
    assert_eq!(world.get("/plain/x", &token).status, 200);
}

#[test]
fn the_internal_token_names_where_it_was_asked_from() {
    let world = world(&json!({}));
    let token = token(&world, &["clerk"]);
    let from = |from: &str| {
        let answer = ask(&world, "GET", from, &token);
        let text = answer.seen("x-internal-token").unwrap();
        let context = *told(&world, &text).context.unwrap();
        (text, context)
    };
    let (first, context) = from("203.0.113.5");
    assert_eq!(context.ip, Some("203.0.113.5".parse().unwrap()));
    assert_eq!(context.device_id, None, "nothing is known of the device");
    // What was made for one address is not used for another, and still there for the first.
    let (second, context) = from("203.0.113.6");
    assert_eq!(context.ip, Some("203.0.113.6".parse().unwrap()));
    assert_ne!(first, second);
    assert_eq!(from("203.0.113.5").0, first);
    let (_, context) = from("2001:db8::5");
    assert_eq!(context.ip, Some("2001:db8::5".parse().unwrap()));
    // One address has one name.
    assert_eq!(from("::ffff:203.0.113.5").0, first);
    let claims = told(&world, &first);
    let written = serde_json::to_value(&claims).unwrap();
    assert_eq!(written["context"], json!({"ip": "203.0.113.5"}));
    // No more is told than that, and what a service needs to refuse what was taken back.
    let known = [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "jti",
        "scope",
        "roles",
        "original_jti",
        "fid",
        "sid",
        "context",
        "lineage",
        "authorization_details",
    ];
    for name in written.as_object().unwrap().keys() {
        assert!(known.contains(&name.as_str()), "{name}");
    }
}
