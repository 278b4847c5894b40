//! Cookies that the person did not agree to reach no service, and none sets them.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tegata_core::{Clock as _, ManualClock, Realm, Secret, Timestamp};
use tegata_session::{
    Agreed, Category, ConsentSeal, CookieConsent, CookieFilter, CookieName, CookiePolicy,
    CookieTable, Environment, Keys, PolicyRules,
};

use crate::{
    echo,
    world::{Plan, World, get, request},
};

fn seal() -> ConsentSeal {
    ConsentSeal::new(Keys::of_root(Secret::new([1; 32])))
}

fn filter() -> CookieFilter {
    let rules = PolicyRules::of(Environment::Development);
    let table = CookieTable::new(rules.environment, None).unwrap();
    let policy = Arc::new(CookiePolicy::new(&table, &rules).unwrap());
    CookieFilter::new(policy, seal(), Realm::default(), table.cookie(CookieName::Consent))
}

/// The cookie of whoever agreed to this when the tests begin.
fn consent(categories: &[Category]) -> String {
    let agreed = categories.iter().copied().fold(Agreed::NOTHING, Agreed::with);
    let at = Timestamp::from_secs(ManualClock::default().now().secs());
    let consent = CookieConsent { version: 1, at, agreed };
    format!("cookie_consent={}", seal().seal(&Realm::default(), &consent).unwrap())
}

fn world_before(service: SocketAddr) -> World {
    let mut plan = Plan::with(service);
    plan.cookies = Some(filter());
    plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
    plan.start()
}

/// A service that answers every request with these lines.
fn setting<L: AsRef<str>>(lines: &[L]) -> SocketAddr {
    let set: String = lines.iter().map(|line| format!("{}\r\n", line.as_ref())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if !matches!(stream.read(&mut byte), Ok(1)) {
                    break;
                }
                seen.push(byte[0]);
            }
            let answer =
                format!("HTTP/1.1 200 OK\r\n{set}Content-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_service_sees_no_cookie_that_was_not_agreed_to() {
    let world = world_before(echo::start());
    let seen = |path: &str, fields: &[(&str, &str)]| world.ask(&get(path, fields)).seen("cookie");
    let all = [("Cookie", "_ga=1; a=2"), ("cookie", "UTM_x=3;  _fbp =4; language=ja")];
    assert_eq!(seen("/public/x", &all).unwrap(), "a=2; language=ja");
    assert_eq!(seen("/public/x", &[("Cookie", "_ga=1")]), None);
    let analytics = consent(&[Category::Analytics]);
    let emptied = format!("_ga=1; a=2; cookie_consent=; {analytics}");
    assert_eq!(seen("/public/x", &[("Cookie", &emptied)]).unwrap(), "a=2");
    let with = [("Cookie", "_ga=1; _fbp=2"), ("Cookie", analytics.as_str())];
    // The choice itself is no service's to see.
    assert_eq!(seen("/public/x", &with).unwrap(), "_ga=1");
    // One of two was planted by a neighbour.
    let twice = [("Cookie", "_ga=1; a=2"), ("Cookie", &analytics), ("Cookie", &analytics)];
    assert!(!seen("/public/x", &twice).unwrap().contains("_ga"));
    // Tegata's own endpoints see all, or they could not take it away.
    assert_eq!(seen("/api/consent", &[("Cookie", "_ga=1; a=2")]).unwrap(), "_ga=1; a=2");
}

#[test]
fn every_method_and_every_kind_of_route_is_held_to_it() {
    let world = world_before(echo::start());
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = world.ask(&request(method, "/public/x", &[("Cookie", "_ga=1; a=2")], ""));
        assert_eq!(answer.seen("cookie").unwrap(), "a=2", "{method}");
    }
    let bearer = format!("Bearer {}", world.token());
    for path in ["/echo/x", "/maybe/x", "/whole/x"] {
        let fields = [("Authorization", bearer.as_str()), ("Cookie", "_ga=1; a=2")];
        assert_eq!(world.ask(&get(path, &fields)).seen("cookie").unwrap(), "a=2", "{path}");
    }
}

#[test]
fn a_service_sets_no_cookie_that_was_not_agreed_to() {
    let service = setting(&[
        "Set-Cookie: _ga=1; Path=/",
        "set-cookie: __Secure-_GA=1; Secure",
        "Set-Cookie: cart_id=2; Path=/",
        "Set-Cookie:   utm_a=3",
        "SET-COOKIE: _fbp=4",
        "Set-Cookie: cookie_consent=1.1.1.am.x; Path=/",
    ]);
    let world = world_before(service);
    let set = |fields: &[(&str, &str)]| -> Vec<String> {
        let answer = world.ask(&get("/public/x", fields));
        answer.fields("set-cookie").into_iter().map(str::to_owned).collect()
    };
    assert_eq!(set(&[]), ["cart_id=2; Path=/"]);
    assert_eq!(set(&[("Cookie", "a=b")]), ["cart_id=2; Path=/"]);
    let all = consent(&[Category::Analytics, Category::Marketing]);
    let set_by_consent = set(&[("Cookie", &all)]);
    assert_eq!(set_by_consent.len(), 5, "{set_by_consent:?}");
    assert!(!set_by_consent.iter().any(|line| line.starts_with("cookie_consent")));
}

#[test]
fn refusing_does_not_fail_however_many_cookies_it_takes_away() {
    let rules = PolicyRules {
        domain: Some("example.com".to_owned()),
        ..PolicyRules::of(Environment::Production)
    };
    let table = CookieTable::new(rules.environment, rules.domain.as_deref()).unwrap();
    let policy = CookiePolicy::new(&table, &rules).unwrap();
    let sent: Vec<_> = (0..60).map(|at| format!("ads_{at}")).collect();
    let mut lines = policy.taken_away(Agreed::NOTHING, sent.iter().map(String::as_str));
    lines.extend(table.expire_of_host(CookieName::Consent));
    lines.push(table.cookie(CookieName::Consent).set("x").unwrap());
    let fields: Vec<_> = lines.iter().map(|line| format!("Set-Cookie: {line}")).collect();
    let mut plan = Plan::with(echo::start());
    plan.config.public = Some(format!("http://{}", setting(&fields)).parse().unwrap());
    let answer = plan.start().ask(&request("PUT", "/api/consent", &[], ""));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.fields("set-cookie"), lines);
}

#[test]
fn an_answer_may_have_more_than_a_hundred_fields() {
    let fields: Vec<_> = (0..200).map(|at| format!("Set-Cookie: c{at}=1")).collect();
    let answer = world_before(setting(&fields)).ask(&get("/public/x", &[]));
    assert_eq!((answer.status, answer.fields("set-cookie").len()), (200, 200));
}

#[test]
fn without_a_policy_nothing_is_held_back() {
    let world = World::plain();
    let seen = world.ask(&get("/public/x", &[("Cookie", "_ga=1; session_id=x")])).seen("cookie");
    assert_eq!(seen.unwrap(), "_ga=1");
}

#[test]
fn cookies_that_http2_brings_in_crumbs_are_judged_together() {
    let world = world_before(echo::start());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let consent = consent(&[Category::Analytics]);
        for (crumb, left) in [("a=b", "c=d; a=b"), (consent.as_str(), "_ga=1; c=d")] {
            let request = http::Request::get("http://gateway.example/public/x")
                .header("cookie", "_ga=1")
                .header("cookie", "_fbp=2")
                .header("cookie", "c=d")
                .header("cookie", crumb);
            let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await;
            let body = response.unwrap().into_body().collect().await.unwrap().to_bytes();
            let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let fields = seen["headers"].to_string();
            assert!(fields.contains(&format!(r#"["cookie","{left}"]"#)), "{fields}");
        }
    });
}
