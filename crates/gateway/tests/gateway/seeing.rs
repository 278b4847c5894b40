//! Services are told what they are to see of a caller's rights, and no more: in the internal token, in headers, in
//! parts and behind Envoy. Who passes is decided by all of them.

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Value, json};
use tegata_mesh::DeclaredService;
use tegata_token::{Claims, jws::Compact};

use crate::{
    echo, ext_authz,
    identity::Sessions,
    world::{Answer, Plan, World, get, request},
};

/// Services with these words, each at its own path.
fn plan(at: SocketAddr, services: &[(&str, Value)]) -> Plan {
    let mut plan = Plan::with(at);
    (plan.services, plan.routes) = (Vec::new(), json!([]));
    for (name, words) in services {
        let mut declared = json!({"name": name, "upstreams": [format!("http://{at}")]});
        declared.as_object_mut().unwrap().extend(words.as_object().unwrap().clone());
        let declared: DeclaredService = serde_json::from_value(declared).unwrap();
        plan.declared.push(declared);
    }
    plan
}

fn of_three() -> Plan {
    plan(
        echo::start(),
        &[
            ("all", json!({})),
            (
                "some",
                json!({"sees": {"roles": ["customer", "clerk"], "scope": "orders.read else"}}),
            ),
            ("none", json!({"sees": {"roles": [], "scope": ""}})),
            ("roles", json!({"sees": {"roles": ["admin"]}})),
            ("headers", json!({"identity": "headers", "sees": {"roles": ["admin"]}})),
        ],
    )
}

fn token(world: &World, roles: &[&str]) -> String {
    let mut claims = world.claims();
    claims["roles"] = json!(roles);
    claims["authorization_details"] = json!([{"type": "payment"}]);
    world.sign(&claims)
}

/// The roles of the header, and what the token says.
fn told(answer: &Answer) -> (String, Option<Claims>) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let internal = answer.seen("x-internal-token");
    let internal =
        internal.map(|text| Claims::parse(&Compact::parse(&text).unwrap().claims).unwrap());
    (answer.seen("x-user-roles").unwrap(), internal)
}

/// The same where there is a token: the roles in both, which are the same, and the scope.
fn seen(answer: &Answer) -> (String, String, bool) {
    let (header, internal) = told(answer);
    let internal = internal.unwrap();
    assert_eq!(internal.roles.join(","), header, "the one says what the other does not");
    (header, internal.scope.as_str().to_owned(), internal.authorization_details.is_some())
}

fn texts(roles: &str, scope: &str, details: bool) -> (String, String, bool) {
    (roles.to_owned(), scope.to_owned(), details)
}

#[test]
fn a_role_that_a_service_is_not_to_see_is_neither_in_the_token_nor_in_the_header() {
    let world = of_three().start();
    let token = token(&world, &["admin", "customer", "other"]);
    // What was made for one service serves for no other, whichever came first.
    for _ in 0..2 {
        let at = |name: &str| world.get(&format!("/{name}/x"), &token);
        let all = texts("admin,customer,other", "orders.read orders.write", true);
        assert_eq!(seen(&at("all")), all);
        // What they have not, nobody is given: neither `clerk` nor `else`.
        assert_eq!(seen(&at("some")), texts("customer", "orders.read", false));
        assert_eq!(seen(&at("none")), texts("", "", false));
        // What is not named is not taken away.
        assert_eq!(seen(&at("roles")), texts("admin", "orders.read orders.write", true));
        let (header, internal) = told(&at("headers"));
        assert_eq!((header.as_str(), internal), ("admin", None));
    }
    // Who they are is told all the same.
    let (_, internal) = told(&world.get("/none/x", &token));
    assert_eq!(internal.unwrap().sub, "usr_alice");
    // What a client says of itself does not come through the gap.
    let bearer = format!("Bearer {token}");
    for name in ["X-User-Roles", "x_user_roles", "X-User.Roles"] {
        for service in ["none", "headers"] {
            let fields = [("Authorization", bearer.as_str()), (name, "root")];
            let answer = world.ask(&get(&format!("/{service}/x"), &fields));
            assert!(!answer.json().to_string().contains("root"), "{name}: {answer:?}");
        }
    }
    // Whoever has none of what is seen has nothing there.
    let other = self::token(&world, &["other"]);
    assert_eq!(seen(&world.get("/some/x", &other)), texts("", "orders.read", false));
}

#[test]
fn it_is_decided_by_all_rights_and_told_of_those_that_are_seen() {
    let mut plan = of_three();
    plan.routes = json!([
        {"path": "/kept", "service": "none", "roles": ["admin"], "scope": "orders.write"},
        {"path": "/night", "service": "some", "hours": ["Fri 08:00-18:00 +01:00"],
         "outside": {"roles": ["admin", "clerk"], "scope": "orders.write"}},
    ]);
    let world = plan.start();
    let admin = token(&world, &["admin", "customer"]);
    assert_eq!(seen(&world.get("/kept/x", &admin)), texts("", "", false));
    // Seeing nothing opens nothing.
    let refused = world.get("/kept/x", &token(&world, &["customer"]));
    assert_eq!((refused.status, refused.problem().as_str()), (403, "missing_role"));
    let mut claims = world.claims();
    (claims["roles"], claims["scope"]) = (json!(["admin"]), json!("orders.read"));
    assert_eq!(world.get("/kept/x", &world.sign(&claims)).problem(), "missing_scope");
    // What remains outside of hours, and of that what is seen.
    let both = token(&world, &["admin", "customer", "clerk"]);
    assert_eq!(seen(&world.get("/night/x", &both)), texts("clerk", "", false));
}

#[test]
fn sessions_parts_and_envoy_are_told_no_more() {
    let mut plan = of_three();
    plan.sessions = Some(Arc::new(Sessions::default()));
    plan.bffs = json!([{"name": "home", "part": [
        {"name": "all", "path": "/all/x", "select": ["headers"]},
        {"name": "none", "path": "/none/x", "select": ["headers"]},
        {"name": "some", "path": "/some/x", "select": ["headers"]},
    ]}]);
    let (world, port) = ext_authz::asked(plan, None);
    // A session of an admin.
    let cookie = [("Cookie", "session_id=alive")];
    assert_eq!(seen(&world.ask(&get("/all/x", &cookie))), texts("admin", "orders.read", false));
    assert_eq!(seen(&world.ask(&get("/some/x", &cookie))), texts("", "orders.read", false));
    assert_eq!(seen(&world.ask(&get("/none/x", &cookie))), texts("", "", false));
    // A part is told what its service is to see, and not what the whole knows.
    let token = token(&world, &["admin", "customer"]);
    let data = world.get("/bff/home", &token).json()["data"].clone();
    let part = |name: &str| {
        let value = |field: &str| {
            let fields = data[name]["headers"].as_array().unwrap();
            let found = fields.iter().find(|it| it[0] == field).unwrap();
            found[1].as_str().unwrap().to_owned()
        };
        let internal = value("x-internal-token");
        let claims = Claims::parse(&Compact::parse(&internal).unwrap().claims).unwrap();
        (value("x-user-roles"), claims.roles.join(","), claims.scope.as_str().to_owned())
    };
    let three =
        |one: &str, two: &str, three: &str| (one.to_owned(), two.to_owned(), three.to_owned());
    assert_eq!(part("all"), three("admin,customer", "admin,customer", "orders.read orders.write"));
    assert_eq!(part("some"), three("customer", "customer", "orders.read"));
    assert_eq!(part("none"), three("", "", ""));
    // What Envoy passes on is the same.
    let bearer = format!("Bearer {token}");
    let passes = ext_authz::block_on(async {
        let mut asker = ext_authz::connect(port).await;
        let question = ext_authz::question("GET", "/some/x", &[("authorization", &bearer)]);
        ext_authz::passes(ext_authz::verdict(&mut asker, &question).await)
    });
    let set = |name: &str| ext_authz::set(&passes.headers, name).unwrap();
    assert_eq!(set("x-user-roles"), "customer");
    let claims = Claims::parse(&Compact::parse(&set("x-internal-token")).unwrap().claims).unwrap();
    assert_eq!((claims.roles.join(","), claims.scope.as_str()), ("customer".into(), "orders.read"));
}

#[test]
fn what_a_service_is_to_see_changes_with_the_next_request() {
    let at = echo::start();
    let world = plan(at, &[("one", json!({}))]).start();
    let token = token(&world, &["admin", "customer"]);
    let bearer = format!("Bearer {token}");
    let mut client = world.connect();
    let mut ask = || client.ask(&request("GET", "/one/x", &[("Authorization", &bearer)], ""));
    assert_eq!(seen(&ask()), texts("admin,customer", "orders.read orders.write", true));
    for (sees, expected) in [
        (
            json!({"roles": ["customer"], "scope": "orders.read"}),
            texts("customer", "orders.read", false),
        ),
        (json!({"roles": [], "scope": ""}), texts("", "", false)),
        (json!({"roles": ["admin"]}), texts("admin", "orders.read orders.write", true)),
        (Value::Null, texts("admin,customer", "orders.read orders.write", true)),
    ] {
        let next = plan(at, &[("one", json!({"sees": sees}))]);
        world.gateway.replace(&next.map(), vec![]).unwrap();
        // The token that was made a moment ago would have served for minutes.
        assert_eq!(seen(&ask()), expected);
    }
}
