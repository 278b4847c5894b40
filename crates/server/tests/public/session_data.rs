//! What backends keep with people's sessions, and everybody else who would like to.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tegata_oauth::keeping::SCOPE;

use super::{
    bench::{Bench, ISSUER},
    browser::{Answer, Browser},
    flow::token_of_machine,
};

/// A backend with a token of its own.
struct Backend<'b> {
    bench: &'b Bench,
    token: String,
}

impl<'b> Backend<'b> {
    async fn new(bench: &'b Bench, id: &str, scope: &str) -> Self {
        Self { bench, token: token_of_machine(bench, id, scope).await }
    }

    async fn ask(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        Answer::of(&self.bench.router, request.body(body).unwrap()).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask(Method::GET, target, &[], None).await
    }

    async fn put(&self, target: &str, value: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::PUT, target, headers, Some(json!({"value": value}))).await
    }
}

fn place(told: &Value) -> String {
    format!("/api/sessions/{}/data", told["sid"].as_str().unwrap())
}

#[tokio::test]
async fn a_backend_keeps_reads_replaces_and_removes_its_own() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let shop = Backend::new(&bench, "shop", SCOPE).await;
    let bank = Backend::new(&bench, "bank", SCOPE).await;
    let all = place(&told);
    let cart = format!("{all}/cart");
    assert_eq!(shop.get(&cart).await.json()["error"], "not_found");
    let put = shop.put(&cart, "17", &[("if-none-match", "*")]).await;
    assert_eq!((put.status, put.body.as_str()), (StatusCode::NO_CONTENT, ""));
    let read = shop.get(&cart).await;
    assert_eq!((read.status, &read.json()["value"]), (StatusCode::OK, &"17".into()));
    assert_eq!(read.header("etag"), put.header("etag"));
    assert_eq!(read.header("cache-control"), "no-store");
    // Another client has its own under the same name.
    assert_eq!(bank.get(&all).await.json(), json!({"data": {}}));
    assert_eq!(bank.get(&cart).await.status, StatusCode::NOT_FOUND);
    bank.put(&cart, "99", &[]).await;

    // It is there after the next cookie.
    bench.advance(301);
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
    let first = put.header("etag");
    let second = shop.put(&cart, "18", &[("if-match", first)]).await;
    assert_eq!(second.status, StatusCode::NO_CONTENT);
    for stale in [first, "\"nothing\"", "nothing", "W/\"x\""] {
        let refused = shop.put(&cart, "19", &[("if-match", stale)]).await;
        assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED, "{stale}");
        assert_eq!(refused.json()["error"], "overtaken");
    }
    let refused = shop.put(&cart, "19", &[("if-none-match", "*")]).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(shop.get(&all).await.json()["data"]["cart"]["value"], "18");
    let gone = shop.ask(Method::DELETE, &cart, &[("if-match", "*")], None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(shop.get(&all).await.json(), json!({"data": {}}));
    assert_eq!(bank.get(&cart).await.json()["value"], "99");

    // With the session, all of it ends.
    let csrf = browser.get("/api/auth/csrf").await.json();
    let csrf = csrf["csrf_token"].as_str();
    browser.call(Method::POST, "/api/auth/logout", csrf, None).await;
    for answer in [bank.get(&cart).await, bank.get(&all).await, bank.put(&cart, "1", &[]).await] {
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.json()["error"], "no_session");
    }
}

#[tokio::test]
async fn what_is_no_value_is_not_kept() {
    let bench = Bench::new().await;
    let (_, told) = Browser::signed_in(&bench).await;
    let shop = Backend::new(&bench, "shop", SCOPE).await;
    let all = place(&told);
    for (name, value, status) in [
        ("Cart", "x".to_owned(), StatusCode::BAD_REQUEST),
        ("a%2Fb", "x".to_owned(), StatusCode::BAD_REQUEST),
        ("%2e%2e", "x".repeat(2_049), StatusCode::PAYLOAD_TOO_LARGE),
        ("cart", "x".repeat(2_049), StatusCode::PAYLOAD_TOO_LARGE),
        ("cart%ff", "x".to_owned(), StatusCode::NOT_FOUND),
    ] {
        let answer = shop.put(&format!("{all}/{name}"), &value, &[]).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
    }
    let cart = format!("{all}/cart");
    for body in [json!({}), json!({"value": 17}), json!("17"), json!({"value": null})] {
        let answer = shop.ask(Method::PUT, &cart, &[], Some(body)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    for headers in [
        &[("if-none-match", "\"x\"")][..],
        &[("if-match", "")],
        &[("if-none-match", " ")],
        &[("if-match", ""), ("if-none-match", "*")],
        &[("if-match", "*"), ("if-none-match", "*")],
        &[("if-match", "*"), ("if-match", "\"x\""), ("if-none-match", "*")],
    ] {
        let answer = shop.put(&cart, "x", headers).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{headers:?}");
    }
    for sid in ["x", "1.20780.AAAAAAAAAAAAAAAAAAAAAA", "%ff", "a".repeat(300).as_str()] {
        let answer = shop.put(&format!("/api/sessions/{sid}/data/cart"), "x", &[]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{sid}");
    }
    assert_eq!(shop.get(&all).await.json(), json!({"data": {}}));
}

#[tokio::test]
async fn nobody_but_a_backend_has_a_part_in_it() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let (all, csrf) = (place(&told), told["csrf_token"].as_str());
    let cart = format!("{all}/cart");
    // A page of ours, with the cookie and the CSRF token.
    let value = json!({"value": "x"});
    let answer = browser.call(Method::PUT, &cart, csrf, Some(&value)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").contains("scope=\"session.data\""));
    assert_eq!(browser.get(&all).await.status, StatusCode::UNAUTHORIZED);
    // The same with the access token of its script.
    let scripts =
        Backend { bench: &bench, token: told["access_token"].as_str().unwrap().to_owned() };
    assert_eq!(scripts.put(&cart, "x", &[]).await.json()["error"], "invalid_token");
    // A client without the scope, and one that signs people in.
    let other = Backend::new(&bench, "orders-service", "orders.read").await;
    let answer = other.put(&cart, "x", &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.json()["error"], "insufficient_scope");
    // No page of another origin may even ask.
    let preflight = Request::options(&cart)
        .header("origin", ISSUER)
        .header("access-control-request-method", "PUT")
        .body(Body::empty())
        .unwrap();
    let answer = Answer::of(&bench.router, preflight).await;
    assert!(answer.headers.get("access-control-allow-origin").is_none());
    // The scope was taken from the registration since.
    let shop = Backend::new(&bench, "shop", SCOPE).await;
    assert_eq!(shop.put(&cart, "x", &[]).await.status, StatusCode::NO_CONTENT);
    Backend::new(&bench, "shop", "orders.read").await;
    assert_eq!(shop.get(&cart).await.status, StatusCode::FORBIDDEN);
}
