//! Two nodes count the requests of their clients together, and each has its share while the Redis is away
//! in which they do.

use std::{
    path::Path,
    sync::{
        Barrier,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;
use tegata_engines::{
    EchoServer, PostgresServer, RedisServer, TegataNode,
    tegata::{Own, Shared, root_key},
};
use tegata_faults::{
    http::{Ask, Client},
    time::until,
};

use super::PROGRAM;

const PATIENCE: Duration = Duration::from_secs(60);

/// How many of the requests of 64 clients at once pass, who go to both nodes in turn.
fn crowd(nodes: &[TegataNode; 2], ask: &Ask) -> u32 {
    let (passed, start) = (AtomicU32::new(0), Barrier::new(64));
    thread::scope(|scope| {
        for member in 0..64_usize {
            let (passed, start) = (&passed, &start);
            scope.spawn(move || {
                let ports = nodes.each_ref().map(|node| node.ports().gateway);
                let mut clients = ports.map(|port| Client::new(port).waiting(PATIENCE));
                start.wait();
                for turn in 0..6 {
                    let answer = clients[(member + turn) % 2].ask(ask).unwrap();
                    match answer.status {
                        429 => assert!(answer.field("retry-after").is_some()),
                        status => {
                            // Whatever else becomes of it, the limit let it pass.
                            assert!(matches!(status, 200 | 401 | 403 | 503), "{}", answer.text());
                            passed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    passed.into_inner()
}

fn shares(nodes: &[TegataNode; 2], shares: bool) {
    let line = format!("rate_limit_shared {}", u8::from(shares));
    let says = |node: &TegataNode| {
        let answer = Client::new(node.ports().operations).ask(&Ask::get("/metrics"));
        answer.is_ok_and(|answer| answer.text().lines().any(|it| it == line))
    };
    let all = until(PATIENCE, || nodes.iter().all(says));
    assert!(all.is_some(), "it never came to be that `{line}`");
}

#[test]
fn two_nodes_share_one_limit_and_each_has_its_share_while_redis_is_away() {
    let (program, postgres) = (Path::new(PROGRAM), PostgresServer::listening("", |_| {}));
    let (database, redis, echo) = (postgres.database(), RedisServer::start(), EchoServer::start());
    let shared = Shared {
        program: program.to_owned(),
        root_key: root_key(program),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let own = Own {
        store: database.url_on("127.0.0.1"),
        more: format!("[redis]\nurl = \"{}\"\n", redis.url()),
        environment: vec![
            set("TEGATA_GATEWAY__LIMITS__EXEMPT", "[]"),
            set("TEGATA_GATEWAY__LIMITS__PER_ADDRESS", "100000/s"),
            set("TEGATA_GATEWAY__LIMITS__SIGN_IN", "6/d"),
            // How fast a busy machine is, is not what is shown.
            set("TEGATA_GATEWAY__LIMITS__STORE_WAIT", "30s"),
        ],
        ..Own::default()
    };
    let nodes = ["one", "two"].map(|name| TegataNode::start(name, &shared, &own));
    let route = |path: &str| {
        let limits = json!([{"by": "route", "limit": "100/d"}]);
        json!({"path": path, "service": "echo", "auth": "none", "rate_limits": limits})
    };
    let upstream = format!("http://127.0.0.1:{}", echo.port());
    let declared = json!({
        "service": [{"name": "echo", "upstreams": [upstream]}],
        "route": [
            route("/together"), route("/apart"),
            {"path": "/open", "service": "echo", "auth": "none"},
        ],
    });
    std::fs::write(nodes[0].directory().join("declared.json"), declared.to_string()).unwrap();
    nodes[0].command(&["apply", "declared.json"]);
    for node in &nodes {
        let mut client = Client::new(node.ports().gateway);
        let open = || client.ask(&Ask::get("/open/x")).is_ok_and(|answer| answer.status == 200);
        assert!(until(PATIENCE, open).is_some());
    }
    shares(&nodes, true);
    let together = crowd(&nodes, &Ask::get("/together/x"));
    assert!((100..=105).contains(&together), "{together}");

    redis.kill();
    // Who asks finds out; each node has half of what is left, which here is all.
    let apart = crowd(&nodes, &Ask::get("/apart/x"));
    assert!((95..=105).contains(&apart), "{apart}");
    shares(&nodes, false);
    assert!(together + crowd(&nodes, &Ask::get("/together/x")) <= 105);
    let guess = json!({"username": "mallory", "password": "wrong password"});
    let guess = Ask::json("/api/auth/login", &guess).field("Origin", "http://localhost:8000");
    let guesses = crowd(&nodes, &guess);
    assert!((1..=6).contains(&guesses), "{guesses}");

    // It comes back, and knows nothing of all that.
    redis.launch();
    shares(&nodes, true);
    let more = ["/together/x", "/apart/x"].map(|path| crowd(&nodes, &Ask::get(path)));
    // What each may let pass before the store has been told, once more.
    assert!(together + more[0] <= 110 && apart + more[1] <= 110, "{more:?}");
    let guesses = guesses + crowd(&nodes, &guess);
    assert!(guesses <= 7, "{guesses}");
}
