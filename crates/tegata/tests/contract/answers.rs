//! What all answers of the public listener have in common, and which scripts may read them.

use super::{browser::Browser, demo::demo};

/// A path of each kind.
const PATHS: [&str; 9] = [
    "/login",
    "/nowhere",
    "/oauth2/token",
    "/oauth2/userinfo",
    "/oauth2/authorize",
    "/.well-known/jwks.json",
    "/status-lists/1.1.0",
    "/api/auth/session",
    "/api/auth/login",
];

#[test]
fn every_answer_is_guarded_and_has_a_name_in_the_logs() {
    let demo = demo();
    let mut seen = std::collections::BTreeSet::new();
    for path in PATHS {
        for ask in [demo.public.get(path), demo.public.post(path), demo.gateway.get(path)] {
            let answer = ask.send();
            assert_eq!(answer.field("x-content-type-options"), Some("nosniff"), "{path}");
            assert!(seen.insert(answer.field("x-request-id").unwrap().to_owned()), "{path}");
            let policy = answer.field("content-security-policy").unwrap();
            assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            if answer.field("content-type").is_some_and(|it| it.starts_with("text/html")) {
                assert_eq!(answer.field("x-frame-options"), Some("DENY"), "{path}");
            }
        }
    }
}

#[test]
fn a_problem_names_the_trace_that_the_request_is_a_part_of() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    for path in ["/api/auth/session", "/status-lists/1.1.0"] {
        let problem = demo().public.get(path).field("traceparent", &parent).send().problem();
        assert_eq!(problem["trace_id"], trace, "{path}");
    }
}

#[test]
fn a_request_without_a_name_is_known_by_one_in_the_answer_and_in_its_problem() {
    for place in [demo().public, demo().gateway] {
        let answer = place.get("/api/auth/session").send().expect(401);
        let name = answer.field("x-request-id").unwrap().to_owned();
        assert_eq!(answer.problem()["trace_id"], name);
    }
}

#[test]
fn head_is_get_without_the_body() {
    for path in ["/login", "/.well-known/jwks.json", "/.well-known/openid-configuration"] {
        let answer = demo().public.ask("HEAD", path).send().expect(200);
        assert!(answer.body.is_empty(), "{path}");
    }
}

#[test]
fn scripts_of_other_origins_read_what_knows_no_cookies_and_nothing_else() {
    let demo = demo();
    let evil = "https://evil.example";
    let preflight = |path: &str, origin: &str| {
        let ask = demo.public.ask("OPTIONS", path).field("Origin", origin);
        let ask = ask.field("Access-Control-Request-Method", "POST");
        ask.field("Access-Control-Request-Headers", "content-type,x-csrf-token").send()
    };
    for path in ["/oauth2/token", "/oauth2/userinfo", "/oauth2/revoke", "/.well-known/jwks.json"] {
        let answer = preflight(path, evil);
        assert!(matches!(answer.status, 200 | 204), "{path}");
        assert_eq!(answer.field("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(answer.field("access-control-allow-credentials"), None, "{path}");
    }
    for path in ["/api/auth/login", "/api/auth/session", "/login", "/oauth2/authorize"] {
        for origin in [evil, "null", "http://localhost"] {
            let answer = preflight(path, origin);
            assert_eq!(answer.field("access-control-allow-origin"), None, "{path} {origin}");
        }
    }
    // Pages of the gateway's origin are ours.
    let own = demo.gateway.origin();
    let answer = preflight("/api/auth/refresh", &own);
    assert_eq!(answer.field("access-control-allow-origin"), Some(own.as_str()));
    assert_eq!(answer.field("access-control-allow-credentials"), Some("true"));
    let allowed = answer.field("access-control-allow-headers").unwrap().to_lowercase();
    assert!(allowed.contains("x-csrf-token") && allowed.contains("content-type"), "{allowed}");
    let (mut browser, _) = Browser::signed_in(demo.public, &demo.person("customer"));
    let ask = demo.public.get("/api/auth/session").field("Origin", evil);
    let answer = browser.send(ask);
    assert_eq!(answer.field("access-control-allow-origin"), None);
}
