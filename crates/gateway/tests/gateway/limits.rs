//! How often callers may come: who is counted, what they are told, and what several gateways count
//! together.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tegata_core::{Node, Secret};
use tegata_engines::{RedisServer, process::Process};
use tegata_gateway::Sharing;
use tegata_mesh::DeclaredService;
use tegata_store::{Redis, RedisConfig};
use tegata_token::{Algorithm, SigningKey};
use tokio::runtime::Runtime;

use crate::{
    echo,
    world::{Client, Plan, World, get, request},
};

/// A service whose routes count by these.
fn plan(limits: &[(&str, Value)]) -> Plan {
    let mut plan = Plan::with(echo::start());
    let routes = limits.iter().map(|(path, limits)| {
        let auth = if path.starts_with("/open") { "none" } else { "optional" };
        json!({"path": path, "service": "echo", "auth": auth, "rate_limits": limits})
    });
    plan.routes = routes.collect();
    plan
}

fn by(by: &str, limit: &str) -> Value {
    json!({"by": by, "limit": limit})
}

fn status(world: &World, path: &str, claims: &Value) -> u16 {
    world.get(path, &world.sign(claims)).status
}

fn named(world: &World, sub: &str, tenant: Value) -> Value {
    let mut claims = world.claims();
    (claims["sub"], claims["tenant"]) = (json!(sub), tenant);
    claims
}

#[test]
fn each_kind_of_limit_counts_what_it_names() {
    let world = plan(&[
        ("/open/address", json!([by("address", "2/m")])),
        ("/user", json!([by("user", "2/m")])),
        ("/tenant", json!([by("claim:tenant", "2/m")])),
        ("/client", json!([by("claim:client_id", "2/m")])),
        ("/route", json!([by("route", "2/m")])),
        ("/one", json!([by("service", "3/m")])),
        ("/two", json!([by("service", "3/m")])),
        ("/burst", json!([{"by": "user", "limit": "60/m", "burst": 2}])),
        ("/key", json!([by("key", "1/m")])),
    ])
    .start();
    let alice = named(&world, "usr_alice", json!("a"));
    let bob = named(&world, "usr_bob", json!("a"));
    // By address, whoever it is.
    for expected in [200, 200, 429] {
        assert_eq!(world.ask(&get("/open/address", &[])).status, expected);
        let elsewhere =
            Client::from_ip([127, 0, 0, 2], world.address).ask(&get("/open/address/x", &[])).status;
        assert_eq!(elsewhere, expected);
    }
    // By person, from wherever and with whatever token; who is not known is where they come from.
    for expected in [200, 200, 429] {
        assert_eq!(status(&world, "/user", &named(&world, "usr_alice", json!(expected))), expected);
        assert_eq!(status(&world, "/user", &bob), expected);
        assert_eq!(world.ask(&get("/user", &[])).status, expected);
        let elsewhere = Client::from_ip([127, 0, 0, 3], world.address).ask(&get("/user", &[]));
        assert_eq!(elsewhere.status, expected);
    }
    // By what a claim says, whatever that is, and alone where it says nothing.
    let long = "x".repeat(3000);
    for tenant in [
        json!("a"),
        json!(["a"]),
        json!(["a", "b"]),
        json!({"a": 1}),
        json!(1),
        json!("1"),
        json!(long),
    ] {
        let of = |sub| named(&world, sub, tenant.clone());
        assert_eq!(status(&world, "/tenant", &of("usr_alice")), 200, "{tenant}");
        assert_eq!(status(&world, "/tenant", &of("usr_bob")), 200, "{tenant}");
        assert_eq!(status(&world, "/tenant", &of("usr_carol")), 429, "{tenant}");
    }
    for sub in ["usr_alice", "usr_bob"] {
        for expected in [200, 200, 429] {
            assert_eq!(status(&world, "/tenant", &named(&world, sub, Value::Null)), expected);
        }
    }
    for (sub, expected) in [("usr_alice", 200), ("usr_bob", 200), ("usr_carol", 429)] {
        assert_eq!(status(&world, "/client", &named(&world, sub, Value::Null)), expected);
    }
    // All together.
    for (claims, expected) in [(&alice, 200), (&bob, 200), (&alice, 429)] {
        assert_eq!(status(&world, "/route", claims), expected);
    }
    for (path, expected) in
        [("/one", 200), ("/two", 200), ("/one", 200), ("/two", 429), ("/one", 429)]
    {
        assert_eq!(status(&world, path, &alice), expected);
    }
    // So many at once, and then as many as the limit says.
    for expected in [200, 200, 429] {
        assert_eq!(status(&world, "/burst", &alice), expected);
    }
    world.clock.advance(Duration::from_secs(1));
    for expected in [200, 429] {
        assert_eq!(status(&world, "/burst", &alice), expected);
    }
    // By key, only those who come with one.
    for _ in 0..3 {
        assert_eq!(status(&world, "/key", &alice), 200);
    }
    assert!(
        world.metrics().contains(r#"rate_limit_refusals_total{policy="route:claim:tenant"} 9"#)
    );
}

#[test]
fn limits_of_all_routes_and_of_a_service_hold_on_each() {
    let echo = echo::start();
    let mut plan = Plan::with(echo);
    plan.services.clear();
    plan.declared = vec![DeclaredService {
        name: "echo".into(),
        upstreams: vec![format!("http://{echo}")],
        rate_limit: Some("5/m".parse().unwrap()),
        rate_limits: serde_json::from_value(json!([by("claim:tenant", "3/m")])).unwrap(),
        ..DeclaredService::default()
    }];
    plan.config.limits.per_user = Some("2/m".parse().unwrap());
    let world = plan.start();
    let of = |sub: &str, tenant: &str| named(&world, sub, json!(tenant));
    // A person, on whatever route.
    for (path, expected) in [("/echo/x", 200), ("/available/x", 200), ("/echo/x", 429)] {
        let answer = world.get(path, &world.sign(&of("usr_alice", "a")));
        assert_eq!(answer.status, expected);
        assert!(expected == 200 || answer.field("ratelimit").unwrap().starts_with("\"user\";r=0;"));
    }
    // A tenant, on all of the service's; what is refused is counted nowhere.
    assert_eq!(status(&world, "/echo/x", &of("usr_bob", "a")), 200);
    let refused = world.get("/maybe/x", &world.sign(&of("usr_carol", "a")));
    assert_eq!(refused.status, 429);
    assert!(refused.field("ratelimit").unwrap().starts_with("\"service:claim:tenant\";r=0;"));
    // The service.
    assert_eq!(status(&world, "/echo/x", &of("usr_carol", "b")), 200);
    assert_eq!(world.ask(&get("/public/x", &[])).status, 200);
    let refused = world.ask(&get("/public/x", &[]));
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("12")));
    assert_eq!(status(&world, "/echo/x", &of("usr_carol", "c")), 429);
    // Who is exempt is not counted.
    let mut plan = self::plan(&[("/route", json!([by("route", "1/m")]))]);
    plan.config.limits.exempt = vec!["127.0.0.0/8".parse().unwrap()];
    let world = plan.start();
    assert!((0..3).all(|_| status(&world, "/route", &world.claims()) == 200));
}

#[test]
fn several_limits_say_the_tightest() {
    let mut plan = plan(&[(
        "/a",
        json!([
            {"by": "user", "limit": "100/m", "burst": 4},
            by("route", "3/h"),
            by("user", "50/h"),
            by("claim:tenant", "10/m"),
        ]),
    )]);
    plan.config.limits.per_address = Some("1000/h".parse().unwrap());
    plan.config.limits.per_user = Some("20/m".parse().unwrap());
    let world = plan.start();
    let alice = world.sign(&named(&world, "usr_alice", json!("t")));
    let first = world.get("/a", &alice);
    assert_eq!(first.status, 200);
    assert_eq!(
        first.field("ratelimit-policy"),
        Some(
            r#""route";q=3;w=3600, "route:user:100/m";q=100;w=60;burst=4, "route:claim:tenant";q=10;w=60, "user";q=20;w=60, "route:user:50/h";q=50;w=3600, "address";q=1000;w=3600"#
        )
    );
    assert_eq!(
        first.field("ratelimit"),
        Some(
            r#""route";r=2;t=1200, "route:user:100/m";r=3;t=1, "route:claim:tenant";r=9;t=6, "user";r=19;t=3, "route:user:50/h";r=49;t=72, "address";r=999;t=4"#
        )
    );
    assert!(world.get("/a", &alice).status == 200 && world.get("/a", &alice).status == 200);
    let refused = world.get("/a", &alice);
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("1200")));
    let said = refused.field("ratelimit").unwrap();
    assert!(said.starts_with(r#""route";r=0;t=1200, "route:user:100/m";r=1;"#), "{said}");
    assert!(refused.json()["detail"].as_str().unwrap().contains("no more than 3/h"), "{refused:?}");
    // What it refuses is not counted by the others, except by the address.
    assert!(said.contains(r#""user";r=17;"#) && said.contains(r#""address";r=996;"#), "{said}");
}

#[test]
fn what_is_counted_by_address_cannot_be_escaped_by_ipv6_networks() {
    let mut plan = plan(&[("/open", json!([by("address", "2/m")]))]);
    plan.config.trusted_proxies = vec!["loopback".parse().unwrap()];
    let world = plan.start();
    let from = |address: &str| world.ask(&get("/open", &[("X-Forwarded-For", address)]));
    for expected in [200, 200, 429] {
        assert_eq!(from("2001:db8:1:1::1").status, expected);
    }
    assert_eq!(from("2001:db8:1:1:ffff::9").status, 429);
    let passed = (2..100).filter(|it| from(&format!("2001:db8:1:{it:x}::1")).status == 200);
    assert_eq!(passed.count(), 30);
    let answer = from("2001:db8:2::1");
    assert_eq!(answer.field("ratelimit"), Some(r#""route:address";r=1;t=30"#));
}

/// Gateways that share a Redis, and what holds it.
struct Shared {
    worlds: Vec<World>,
    runtime: Runtime,
    server: RedisServer,
}

impl Shared {
    /// So many, with these limits. They wait for as long as a busy machine takes.
    fn start(count: u32, set: impl Fn(&mut Plan)) -> Self {
        let runtime = Runtime::new().unwrap();
        let server = RedisServer::start();
        let key = Arc::new(SigningKey::generate(Algorithm::Es256).unwrap());
        let echo = echo::start();
        let worlds = (0..count).map(|_| {
            let config = RedisConfig { connections: 4, ..RedisConfig::default() };
            let (url, node) = (server.url(), Node::start());
            let opened = runtime.block_on(Redis::open(&url, config, &node)).unwrap();
            let counts = Arc::new(opened.counts());
            let nodes = NonZeroU32::new(count);
            let key_of_names = Secret::new([7; 32]);
            let mut plan = Plan::with(echo);
            plan.real_time = true;
            plan.key = Some(Arc::clone(&key));
            plan.config.limits.store_wait = Duration::from_secs(20);
            plan.sharing =
                Some(Sharing { counts, key: key_of_names, nodes: Arc::new(move || nodes) });
            set(&mut plan);
            plan.start()
        });
        let worlds = worlds.collect();
        Self { worlds, runtime, server }
    }

    /// How many of the requests of so many clients at once pass, who go to all gateways in turn.
    fn crowd(&self, clients: usize, each: usize, text: &str) -> u32 {
        let passed = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for client in 0..clients {
                let (passed, worlds) = (&passed, &self.worlds);
                scope.spawn(move || {
                    let mut clients: Vec<_> = worlds.iter().map(World::connect).collect();
                    for turn in 0..each {
                        let at = (client + turn) % clients.len();
                        match clients[at].ask(text).status {
                            200 => drop(passed.fetch_add(1, Ordering::SeqCst)),
                            status => assert_eq!(status, 429),
                        }
                    }
                });
            }
        });
        passed.into_inner()
    }

    /// Waits until all say so of whether they count together.
    fn until(&self, together: bool) {
        let word = format!("rate_limit_shared {}", u8::from(together));
        let mut ticks = 0;
        while !self.worlds.iter().all(|it| it.metrics().lines().any(|line| line == word)) {
            ticks += 1;
            assert!(ticks < 3000, "it never came to be that `{word}`");
            assert!(self.worlds[0].connect().is_quiet());
        }
    }

    fn metric(&self, name: &str) -> u64 {
        let of = |world: &World| {
            let text = world.metrics();
            let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
            line.unwrap().trim().parse::<u64>().unwrap()
        };
        self.worlds.iter().map(of).sum()
    }
}

#[test]
fn two_nodes_share_one_limit() {
    for (limit, most) in [("5/d", 5), ("100/d", 105), ("400/d", 420)] {
        let shared = Shared::start(2, |plan| {
            plan.config.limits.per_address = Some(limit.parse().unwrap());
        });
        let passed = shared.crowd(64, 10, &get("/public/x", &[]));
        let least: u32 = limit.split_once('/').unwrap().0.parse().unwrap();
        assert!((least..=most).contains(&passed), "{passed} of {limit}");
        assert!((0..3).all(|_| shared.crowd(1, 2, &get("/public/x", &[])) == 0));
        // Nothing that says who it was lies there.
        let keys = shared.server.node().ask(&["KEYS", "*"]);
        let lengths: Vec<_> = keys.list().iter().map(|key| key.text().len()).collect();
        assert!(lengths.iter().all(|it| *it == "tegata{}:c:".len() + 32), "{lengths:?}");
        assert!(!lengths.is_empty());
    }
}

#[test]
fn far_from_a_limit_nobody_waits_for_redis() {
    let shared = Shared::start(2, |plan| {
        plan.config.limits.per_address = Some("100000/h".parse().unwrap());
    });
    assert_eq!(shared.crowd(4, 100, &get("/public/x", &[])), 400);
    assert_eq!(shared.metric(r#"rate_limit_checks_total{layer="local",result="passed"}"#), 400);
    assert_eq!(shared.metric(r#"rate_limit_checks_total{layer="store",result="passed"}"#), 0);
    // And yet both know of it.
    let knows = |world: &World| {
        let said = world.ask(&get("/public/x", &[])).field("ratelimit").unwrap().to_owned();
        let left = said.split("r=").nth(1).unwrap().split(';').next().unwrap();
        // What comes back meanwhile is little.
        left.parse::<u32>().unwrap()
    };
    for world in &shared.worlds {
        let mut ticks = 0;
        while knows(world) > 99_900 {
            ticks += 1;
            assert!(ticks < 1000, "it never hears of the others");
        }
    }
}

#[test]
fn without_redis_each_node_has_its_share_and_sign_in_stays_limited() {
    let shared = Shared::start(2, |plan| {
        plan.config.limits.per_address = Some("100/d".parse().unwrap());
        plan.config.limits.sign_in = Some("6/d".parse().unwrap());
        plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
    });
    shared.server.kill();
    let post = request("POST", "/login", &[], "x=y");
    // Six divided by two, on each; the addresses have their share, too.
    assert_eq!(shared.crowd(8, 10, &post), 6);
    let passed = shared.crowd(16, 20, &get("/public/x", &[]));
    // 80 of 100 were used, and a few passed before anybody knew that it is away.
    assert!((16..=24).contains(&passed), "{passed}");
    shared.until(false);
    assert!(shared.metric(r#"rate_limit_checks_total{layer="share",result="passed"}"#) > 0);
}

#[test]
fn a_store_that_comes_back_gives_nobody_a_second_allowance() {
    let shared = Shared::start(2, |plan| {
        plan.config.limits.per_address = Some("100/d".parse().unwrap());
    });
    let text = get("/public/x", &[]);
    assert_eq!(shared.crowd(6, 10, &text), 60);
    shared.server.kill();
    let passed = 60 + shared.crowd(8, 20, &text);
    assert!((95..=105).contains(&passed), "{passed}");
    shared.until(false);
    // It comes back, and knows nothing.
    shared.server.launch();
    shared.until(true);
    // What each may let pass before the store has been told, once more.
    let passed = passed + shared.crowd(8, 20, &text);
    assert!((95..=110).contains(&passed), "{passed}");
    // It is there, and loses what it knew: who goes to whom it was refused by is refused again.
    shared.server.node().ask(&["FLUSHALL"]);
    let passed = passed + shared.crowd(8, 20, &text);
    assert!((95..=110).contains(&passed), "{passed}");
    drop(shared.runtime);
}

#[test]
fn a_store_that_is_silent_holds_nobody_up() {
    let shared = Shared::start(2, |plan| {
        plan.config.limits.per_address = Some("40/d".parse().unwrap());
        plan.config.limits.store_wait = Duration::from_millis(5);
    });
    let text = get("/public/x", &[]);
    let process: &Process = shared.server.node().process();
    process.hold();
    // Each waits for a moment at most, and some pass: the first of them, and then the share.
    let passed = shared.crowd(4, 100, &text);
    assert!((1..=42).contains(&passed), "{passed}");
    shared.until(false);
    process.go_on();
    let passed = passed + shared.crowd(4, 50, &text);
    assert!(passed <= 44, "{passed}");
}
