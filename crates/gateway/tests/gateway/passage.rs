//! What passes, and where to.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
};

use serde_json::json;
use tegata_mesh::DeclaredService;

use crate::{
    echo,
    world::{Answer, Client, Plan, World, get, is_timeout, request, vacant},
};

/// A service that answers each connection with what `answer` makes of its number, request by
/// request, and hangs up where it makes nothing.
fn scripted(answer: impl Fn(u32, u32) -> Option<String> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (connection, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let connection = u32::try_from(connection).unwrap();
            let mut seen = Vec::new();
            for request in 0.. {
                while !seen.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if !matches!(stream.read(&mut byte), Ok(1)) {
                        break;
                    }
                    seen.push(byte[0]);
                }
                if seen.is_empty() {
                    break;
                }
                seen.clear();
                match answer(connection, request) {
                    Some(text) => stream.write_all(text.as_bytes()).unwrap(),
                    None => break,
                }
            }
        }
    });
    address
}

fn ok(body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

#[test]
fn hop_by_hop_fields_of_the_answer_go_no_further() {
    let world = World::plain();
    let answer = world.ask(&get("/public/x", &[]));
    for gone in ["x-hop", "keep-alive", "x-internal-token", "connection"] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
    assert_eq!(answer.field("x-fine"), Some("yes"));
    assert_eq!(answer.field("x-request-id").map(str::len), Some(32));
}

#[test]
fn a_body_arrives_with_every_method_and_framing() {
    let mut plan = Plan::with(echo::start());
    plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
    let world = plan.start();
    for path in ["/public/x", "/login"] {
        for method in ["GET", "DELETE", "OPTIONS", "POST"] {
            let sized = world.ask(&request(method, path, &[], "body"));
            assert_eq!(sized.json()["body"], "body", "{method} {path}");
            let chunked = request(method, path, &[("Transfer-Encoding", "chunked")], "");
            let chunked = world.ask(&(chunked + "4\r\nbody\r\n0\r\n\r\n"));
            assert_eq!(chunked.json()["body"], "body", "{method} {path}");
        }
    }
    // A request behind the body is not taken for a part of it, nor the body for a request.
    let mut client = world.connect();
    let chunked = request("GET", "/public/x", &[("Transfer-Encoding", "chunked")], "");
    client.write(chunked + "1\r\nX\r\n0\r\n\r\n" + &get("/public/y", &[]));
    assert_eq!(client.answer().unwrap().json()["body"], "X");
    assert_eq!(client.answer().unwrap().json()["path"], "/y");
    // Nothing is sent in place of no body.
    assert_eq!(world.ask(&get("/public/x", &[])).seen("transfer-encoding"), None);
}

#[test]
fn cookies_reach_services_in_one_line() {
    let mut plan = Plan::with(echo::start());
    plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
    let world = plan.start();
    let fields = [("Cookie", "a=b"), ("Cookie", "session_id=x"), ("Cookie", "c=d; e=f")];
    let seen = |path| world.ask(&get(path, &fields)).seen("cookie").unwrap();
    assert_eq!(seen("/public/x"), "a=b; c=d; e=f");
    assert_eq!(seen("/login"), "a=b; session_id=x; c=d; e=f");
    let fields = [("Cookie", "a=b"), ("Cookie", "c=d")];
    assert_eq!(world.ask(&get("/public/x", &fields)).seen("cookie").unwrap(), "a=b; c=d");
}

#[test]
fn the_gateway_answers_for_its_own_health() {
    let mut plan = Plan::with("127.0.0.1:1".parse().unwrap());
    plan.config.limits.per_address = Some("1/h".parse().unwrap());
    let world = plan.start();
    for _ in 0..3 {
        let answer = world.ask(&get("/health", &[]));
        assert_eq!((answer.status, answer.json()), (200, json!({"status": "ok"})));
    }
    assert_eq!(world.ask(&request("POST", "/health", &[], "")).status, 405);
}

#[test]
fn tegatas_own_pages_are_reached_with_the_credentials_that_they_are_for() {
    let mut plan = Plan::with("127.0.0.1:1".parse().unwrap());
    plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
    let world = plan.start();
    for path in [
        "/login",
        "/login?next=%2Fx",
        "/api/auth/login",
        "/api/consent",
        "/oauth2/authorize",
        "/.well-known/openid-configuration",
        "/realms/acme/login",
    ] {
        let fields = [
            ("Cookie", "session_id=alive; refresh_token=r"),
            ("Authorization", "Basic Y2xpZW50OnNlY3JldA=="),
            ("X-Forwarded-For", "198.51.100.7"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil.example"),
            ("X-User-ID", "forged"),
        ];
        let answer = world.ask(&get(path, &fields));
        let seen = |name| answer.seen(name).unwrap_or_default();
        assert_eq!(answer.json()["path"], path.split('?').next().unwrap());
        assert_eq!(seen("cookie"), "session_id=alive; refresh_token=r");
        assert_eq!(seen("authorization"), "Basic Y2xpZW50OnNlY3JldA==");
        assert_eq!(seen("x-forwarded-for"), "127.0.0.1");
        assert_eq!(seen("x-forwarded-proto"), "http");
        assert_eq!(seen("x-forwarded-host"), "gateway.example");
        assert_eq!(seen("x-user-id"), "");
    }
    for path in ["/loginx", "/oauth2x/token", "/api/authentic", "/api"] {
        assert_eq!(world.ask(&get(path, &[])).status, 404, "{path}");
    }
}

#[test]
fn tegatas_own_pages_learn_who_asks_through_whatever_proxies() {
    let mut plan = Plan::with("127.0.0.1:1".parse().unwrap());
    plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
    plan.config.trusted_proxies =
        ["loopback", "10.0.0.0/8"].map(|text| text.parse().unwrap()).to_vec();
    let world = plan.start();
    // They trust the gateway alone, so a proxy behind the client would stand for everybody.
    let fields = [("X-Forwarded-For", "203.0.113.5, 198.51.100.7, 10.0.0.2")];
    let answer = world.ask(&get("/login", &fields));
    assert_eq!(answer.seen("x-forwarded-for").as_deref(), Some("198.51.100.7"));
    let answer = world.ask(&get("/login", &[("X-Forwarded-For", "nonsense")]));
    assert_eq!(answer.seen("x-forwarded-for").as_deref(), Some("127.0.0.1"));
}

#[test]
fn a_trusted_proxy_is_believed_about_where_a_request_comes_from() {
    let mut plan = Plan::with(echo::start());
    plan.config.trusted_proxies = vec!["loopback".parse().unwrap()];
    plan.config.limits.per_address = Some("2/h".parse().unwrap());
    plan.config.limits.exempt = vec!["192.0.2.0/24".parse().unwrap()];
    let world = plan.start();
    let from = |addresses: &str| {
        let fields = [("X-Forwarded-For", addresses), ("X-Forwarded-Proto", "https")];
        world.ask(&get("/public/x", &fields))
    };
    let answer = from("10.9.9.9, 198.51.100.7");
    assert_eq!(
        answer.seen("x-forwarded-for").as_deref(),
        Some("10.9.9.9, 198.51.100.7, 127.0.0.1")
    );
    assert_eq!(answer.seen("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(from("198.51.100.7").status, 200);
    // Counted by the address that the proxy wrote, whatever the client wrote before it.
    let third = from("10.1.1.1, 198.51.100.7");
    assert_eq!((third.status, third.problem().as_str()), (429, "too_many_requests"));
    assert_eq!(from("198.51.100.8").status, 200);
    for _ in 0..5 {
        assert_eq!(from("192.0.2.77").status, 200);
    }
}

#[test]
fn too_many_requests_are_refused_with_when_to_come_again() {
    let mut plan = Plan::with(echo::start());
    plan.config.limits.per_address = Some("2/m".parse().unwrap());
    let world = plan.start();
    let first = world.ask(&get("/public/x", &[]));
    assert_eq!(first.field("ratelimit-policy"), Some(r#""address";q=2;w=60"#));
    assert_eq!(first.field("ratelimit"), Some(r#""address";r=1;t=30"#));
    // Hostile requests count too.
    assert_eq!(world.ask(&get("/public/..", &[])).status, 400);
    let third = world.ask(&get("/public/x", &[]));
    assert_eq!((third.status, third.problem().as_str()), (429, "too_many_requests"));
    assert_eq!(third.field("retry-after"), Some("30"));
    assert_eq!(third.field("ratelimit"), Some(r#""address";r=0;t=30"#));
    // What a client claims to be its address does not help it.
    let sly = world.ask(&get("/public/x", &[("X-Forwarded-For", "198.51.100.9")]));
    assert_eq!(sly.status, 429);
}

#[test]
fn what_cannot_be_read_counts_against_whoever_sent_it() {
    let limited = || {
        let mut plan = Plan::with(echo::start());
        plan.config.limits.per_address = Some("2/m".parse().unwrap());
        plan
    };
    let world = limited().start();
    for bad in ["GET\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"] {
        assert_eq!(world.ask(bad).status, 400);
    }
    assert_eq!(world.ask(&get("/public/x", &[])).status, 429);
    // Whose it was behind a proxy, nobody knows, and the proxy answers for many.
    let mut plan = limited();
    plan.config.trusted_proxies = vec!["loopback".parse().unwrap()];
    let world = plan.start();
    for _ in 0..3 {
        assert_eq!(world.ask("GET\r\n\r\n").status, 400);
    }
    assert_eq!(world.ask(&get("/public/x", &[])).status, 200);
}

#[test]
fn a_route_limits_each_caller_alone() {
    let world = World::plain();
    let (alice, mut bob) = (world.token(), world.claims());
    bob["sub"] = json!("usr_bob");
    let bob = world.sign(&bob);
    for left in ["2", "1", "0"] {
        let answer = world.get("/limited/x", &alice);
        assert_eq!(answer.status, 200);
        assert!(answer.field("ratelimit").unwrap().contains(&format!("r={left};")));
    }
    assert_eq!(world.get("/limited/x", &alice).status, 429);
    assert_eq!(world.get("/limited/x", &bob).status, 200);
    assert_eq!(world.get("/echo/x", &alice).status, 200);
}

#[test]
fn attempts_to_sign_in_are_limited_more() {
    let mut plan = Plan::with("127.0.0.1:1".parse().unwrap());
    plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
    let world = plan.start();
    for attempt in 0..7 {
        let path = ["/login", "/api/auth/login"][attempt % 2];
        let answer = world.ask(&request("POST", path, &[], "x=y"));
        assert_eq!(answer.status, if attempt < 5 { 200 } else { 429 });
    }
    assert_eq!(world.ask(&get("/login", &[])).status, 200);
}

#[test]
fn a_service_that_cannot_be_reached_is_named() {
    let free = vacant();
    let world = Plan::with(free).start();
    let answer = world.ask(&get("/public/x", &[]));
    assert_eq!((answer.status, answer.problem().as_str()), (502, "service_unreachable"));
    assert_eq!(answer.json()["detail"], "service `echo` cannot be reached");
}

#[test]
fn requests_go_to_all_addresses_in_turn_and_past_those_that_are_down() {
    let mut plan = Plan::with(echo::start());
    let free = vacant();
    let (one, two) = (scripted(|_, _| ok("one")), scripted(|_, _| ok("two")));
    plan.services = vec![("echo".into(), vec![one, free, two])];
    let world = plan.start();
    let mut client = world.connect();
    let mut bodies: Vec<_> = (0..6).map(|_| client.ask(&get("/public/x", &[])).body).collect();
    bodies.sort();
    assert_eq!(
        bodies.iter().filter(|body| body.as_slice() == b"two").count()
            + bodies.iter().filter(|body| body.as_slice() == b"one").count(),
        6
    );
    assert!(bodies.contains(&b"one".to_vec()) && bodies.contains(&b"two".to_vec()));
}

#[test]
fn answers_that_are_none_and_services_that_hang_up_are_502() {
    for answer in [
        None,
        Some("nonsense\r\n\r\n".to_owned()),
        Some(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
                .to_owned(),
        ),
        Some("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_owned()),
    ] {
        let text = answer.clone();
        let world = Plan::with(scripted(move |_, _| text.clone())).start();
        let refused = world.ask(&get("/public/x", &[]));
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (502, "service_broken"),
            "{answer:?}"
        );
        assert!(refused.json()["detail"].as_str().unwrap().contains("`echo`"));
    }
}

#[test]
fn a_connection_that_was_closed_meanwhile_costs_no_request() {
    // Every connection answers once and is closed without a word when it is used again.
    let requests = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&requests);
    let service = scripted(move |_, request| {
        count.fetch_add(1, Ordering::SeqCst);
        if request == 0 { ok("once") } else { None }
    });
    let world = Plan::with(service).start();
    let mut client = world.connect();
    for _ in 0..10 {
        assert_eq!(client.ask(&get("/public/x", &[])).body, b"once");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 19);
}

#[test]
fn what_may_have_had_an_effect_is_not_sent_twice() {
    let requests = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&requests);
    let service = scripted(move |_, request| {
        count.fetch_add(1, Ordering::SeqCst);
        if request == 0 { ok("once") } else { None }
    });
    let world = Plan::with(service).start();
    let mut client = world.connect();
    let post = "POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.ask(post).status, 200);
    assert_eq!(client.ask(post).problem(), "service_broken");
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    // Nor on a new connection; what can do no harm is sent three times at most.
    let never = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&never);
    let world = Plan::with(scripted(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        None
    }))
    .start();
    assert_eq!(world.ask(post).status, 502);
    assert_eq!(never.load(Ordering::SeqCst), 1);
    assert_eq!(world.ask(&get("/public/x", &[])).status, 502);
    assert_eq!(never.load(Ordering::SeqCst), 4);
}

#[test]
fn a_thousand_requests_at_once_all_pass() {
    let mut plan = Plan::with(echo::start());
    plan.config.workers = 2;
    plan.config.upstream.connections = 2000;
    let world = plan.start();
    let token = world.token();
    let (done, all) = mpsc::channel();
    let mut clients: Vec<_> = (0..1000).map(|_| world.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let token = format!("Bearer {token}");
        client.write(get(&format!("/echo/{number}"), &[("Authorization", &token)]));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.answer().unwrap();
        done.send((answer.status, answer.json()["path"] == format!("/{number}"))).unwrap();
    }
    drop(done);
    assert_eq!(all.iter().filter(|answer| *answer == (200, true)).count(), 1000);
    assert!(
        world.metrics().contains(r#"gateway_requests_total{service="echo",status="200"} 1000"#)
    );
}

#[test]
fn requests_of_one_connection_are_answered_in_order() {
    let world = World::plain();
    let mut client = world.connect();
    let all: String = (0..50).map(|number| get(&format!("/public/{number}"), &[])).collect();
    client.write(all);
    for number in 0..50 {
        assert_eq!(client.answer().unwrap().json()["path"], format!("/{number}"));
    }
}

#[test]
fn traces_are_kept_where_they_are_sound_and_begun_where_not() {
    let world = World::plain();
    let sound = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [("traceparent", sound), ("tracestate", "a=b")];
    let kept = world.ask(&get("/public/x", &fields));
    assert_eq!(kept.seen("traceparent").as_deref(), Some(sound));
    assert_eq!(kept.seen("tracestate").as_deref(), Some("a=b"));
    let bad = world.ask(&get("/public/x", &[("traceparent", "nonsense"), ("tracestate", "a=b")]));
    let begun = bad.seen("traceparent").unwrap();
    assert!(begun.starts_with(&format!("00-{}-", bad.field("x-request-id").unwrap())), "{begun}");
    assert_eq!(bad.seen("tracestate"), None);
}

#[test]
fn scripts_of_listed_origins_may_call() {
    let mut plan = Plan::with(echo::start());
    plan.config.cors.origins = vec!["https://app.example".into()];
    let world = plan.start();
    let ask = |method, path, fields: &[(&str, &str)]| world.ask(&request(method, path, fields, ""));
    let preflight = |origin| {
        let fields = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "PUT"),
            ("Access-Control-Request-Headers", "authorization"),
        ];
        ask("OPTIONS", "/echo/x", &fields)
    };
    let may = preflight("https://app.example");
    assert_eq!(may.status, 204);
    assert_eq!(may.field("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(may.field("access-control-allow-credentials"), Some("true"));
    assert_eq!(may.field("access-control-allow-methods"), Some("PUT"));
    for origin in ["https://evil.example", "null", "https://app.example.evil", "http://app.example"]
    {
        let refused = preflight(origin);
        assert_eq!((refused.status, refused.field("access-control-allow-origin")), (403, None));
        let call = ask("GET", "/public/x", &[("Origin", origin)]);
        assert_eq!(call.field("access-control-allow-origin"), None);
    }
    let call = ask("GET", "/public/x", &[("Origin", "https://app.example")]);
    assert_eq!(call.field("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(call.field("vary"), Some("Origin"));
}

#[test]
fn scripts_of_listed_origins_can_read_why_they_were_refused() {
    let free = vacant();
    let mut plan = Plan::with(free);
    plan.config.cors.origins = vec!["https://app.example".into()];
    plan.config.limits.per_address = Some("5/h".parse().unwrap());
    plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
    let world = plan.start();
    let ask = |path, origin| world.ask(&get(path, &[("Origin", origin)]));
    let allowed = |answer: &Answer| answer.field("access-control-allow-origin").map(str::to_owned);
    let own = Some("https://app.example".to_owned());
    for (path, status) in [("/echo/x", 401), ("/public/x", 502), ("/nowhere", 404)] {
        let answer = ask(path, "https://app.example");
        assert_eq!((answer.status, allowed(&answer)), (status, own.clone()));
        let exposed = answer.field("access-control-expose-headers").unwrap();
        assert!(exposed.contains("WWW-Authenticate") && exposed.contains("Retry-After"));
    }
    let answer = ask("/echo/x", "https://evil.example");
    assert_eq!((answer.status, allowed(&answer)), (401, None));
    assert_eq!(answer.field("vary"), Some("Origin"));
    // Tegata's own pages say themselves who may read them.
    let large = [("Origin", "https://app.example"), ("Content-Length", "2000000")];
    let answer = world.ask(&request("POST", "/login", &large, ""));
    assert_eq!((answer.status, allowed(&answer)), (413, None));
    let answer = ask("/echo/x", "https://app.example");
    assert_eq!((answer.status, allowed(&answer)), (429, own));
    assert!(answer.field("retry-after").is_some());
}

#[test]
fn another_map_is_taken_over_between_two_requests_of_a_connection() {
    let world = World::plain();
    let mut client = world.connect();
    assert_eq!(client.ask(&get("/public/x", &[])).status, 200);
    let mut plan = Plan::with(echo::start());
    plan.routes = json!([{"path": "/public", "service": "echo", "auth": "required"}]);
    world.gateway.replace(&plan.map(), vec![]).unwrap();
    assert_eq!(client.ask(&get("/public/x", &[])).status, 401);
    assert_eq!(client.ask(&get("/echo/x", &[])).status, 404);
    let token = world.token();
    assert_eq!(world.get("/public/x", &token).status, 200);
}

#[test]
fn a_certificate_that_is_not_there_is_named_at_the_start() {
    let mut plan = Plan::with("127.0.0.1:1".parse().unwrap());
    plan.config.public = Some("https://public.example".parse().unwrap());
    let error = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| plan.start()));
    assert!(error.is_err());
}

#[test]
fn a_service_whose_certificate_nobody_can_check_keeps_no_other_from_being_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let secure = |mut plan: Plan| {
        plan.declared = vec![DeclaredService {
            name: "secure".into(),
            upstreams: vec![format!("https://{}", listener.local_addr().unwrap())],
            ..DeclaredService::default()
        }];
        plan.routes = json!([
            {"path": "/secure", "service": "secure", "auth": "none"},
            {"path": "/new", "service": "echo", "auth": "none"},
        ]);
        plan
    };
    let started = secure(Plan::with(echo::start())).start();
    let replaced = World::plain();
    replaced.gateway.replace(&secure(Plan::with(echo::start())).map(), vec![]).unwrap();
    for world in [started, replaced] {
        assert_eq!(world.ask(&get("/new/x", &[])).status, 200);
        let answer = world.ask(&get("/secure/x", &[]));
        assert_eq!((answer.status, answer.problem().as_str()), (502, "service_unreachable"));
    }
    // Nothing went there in the clear.
    listener.set_nonblocking(true).unwrap();
    assert!(is_timeout(&listener.accept().unwrap_err()));
}

#[test]
fn http2_is_spoken_from_the_first_byte() {
    let world = World::plain();
    let mut client = Client::to(world.address);
    client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let mut frame = [0; 9];
    client.stream.read_exact(&mut frame).unwrap();
    // The server's settings come first (RFC 9113 §3.4).
    assert_eq!((frame[3], &frame[5..9]), (4, &[0; 4][..]));
}
