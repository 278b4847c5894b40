//! What is answered while the store is away: nothing is claimed, nobody is signed out.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};

use super::{
    bench::{Bench, PASSWORD},
    browser::{Answer, Browser, encoded},
    flow::{authorize, basic},
};

#[tokio::test]
async fn clients_are_told_to_try_again() {
    let bench = Bench::new().await;
    bench.take_away(true);
    for (target, fields) in [
        ("/oauth2/token", [("grant_type", "client_credentials")]),
        ("/oauth2/revoke", [("token", "x")]),
        ("/oauth2/introspect", [("token", "x")]),
    ] {
        let request = Request::post(target)
            .header(header::AUTHORIZATION, basic("service"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(encoded(&fields)))
            .unwrap();
        let answer = Answer::of(&bench.router, request).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{target}");
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!answer.body.contains("10.0.0.3"), "what the store said is for the log");
    }
}

#[tokio::test]
async fn browsers_keep_their_cookies_and_nothing_is_claimed() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let jar = browser.jar.clone();
    let csrf = told["csrf_token"].as_str();
    bench.take_away(true);
    for (method, target) in [
        (Method::GET, "/api/auth/session"),
        (Method::POST, "/api/auth/refresh"),
        (Method::POST, "/api/auth/logout"),
        (Method::POST, "/api/auth/logout?everywhere=true"),
    ] {
        let answer = browser.call(method, target, csrf, None).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{target}");
        assert_eq!(answer.header("retry-after"), "1", "{target}");
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
    }
    let login = Browser::new(&bench).log_in("alice", PASSWORD).await;
    assert_eq!(login.status, StatusCode::SERVICE_UNAVAILABLE);
    for target in [authorize(&[]).as_str(), "/", "/login", "/oauth2/logout"] {
        let page = browser.get(target).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{target}");
        assert_eq!(page.header("retry-after"), "1");
        assert!(page.body.contains("try again") && !page.body.contains("10.0.0.3"));
    }
    assert_eq!(browser.jar, jar);
    bench.take_away(false);
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
}
