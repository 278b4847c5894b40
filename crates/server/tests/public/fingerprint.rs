//! Browsers that say something of themselves in their headers, and who else has their cookies.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tegata_core::Log;

use super::{
    bench::{Bench, CALLBACK, CHALLENGE, ISSUER, PASSWORD},
    browser::{Answer, Browser},
};

const DESK: &str = "screen=1920x1080x24,tz=Europe/Berlin,plugins=5f0a31c2";

/// What a browser sends with everything.
const OWN: [(&str, &str); 2] =
    [("accept-language", "de-DE,de;q=0.9"), ("accept-encoding", "gzip, deflate, br, zstd")];

async fn send(
    browser: &mut Browser,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder().method(method).uri(target).header("origin", ISSUER);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    browser.send(request.body(Body::empty()).unwrap()).await
}

async fn get(browser: &mut Browser, headers: &[(&str, &str)]) -> StatusCode {
    send(browser, Method::GET, "/api/auth/session", headers).await.status
}

/// Signs alice in, saying this of the browser.
async fn signed_in(bench: &Bench, headers: &[(&str, &str)]) -> (Browser, Value) {
    let mut browser = Browser::new(bench);
    let answer = sign_in(&mut browser, headers).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    (browser, answer.json())
}

async fn sign_in(browser: &mut Browser, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::post("/api/auth/login")
        .header("origin", ISSUER)
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = json!({"username": "alice", "password": PASSWORD}).to_string();
    browser.send(request.body(Body::from(body)).unwrap()).await
}

/// The parts for which somebody was suspected.
async fn suspected(bench: &Bench, sid: &Value) -> Vec<String> {
    let node = tegata_core::Node::for_tests(9);
    bench.records.sequence(Log::Journal, node.id()).await.unwrap();
    let journal = bench.records.pull(Log::Journal, 0, 1_000).await.unwrap();
    let events =
        journal.entries.iter().map(|it| serde_json::from_slice::<Value>(&it.body).unwrap());
    let suspicious = events.filter(|event| event["type"] == "SUSPICIOUS_SESSION_ACCESS");
    suspicious
        .map(|event| {
            assert_eq!(&event["data"]["session_id"], sid);
            event["data"]["part"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn a_copied_cookie_is_refused_and_the_part_that_differed_is_journaled() {
    let bench = Bench::new().await;
    let (mut browser, told) = signed_in(&bench, &OWN).await;
    let mut thief = browser.clone();
    let english = [("accept-language", "en-US"), OWN[1]];
    let answer = send(&mut thief, Method::GET, "/api/auth/csrf", &english).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.json()["error"], "no_session");
    assert_eq!(get(&mut thief, &[]).await, StatusCode::UNAUTHORIZED, "nor by saying nothing");
    assert_eq!(get(&mut thief, &[OWN[0]]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(suspected(&bench, &told["sid"]).await, ["accept_language", "accept_encoding"]);
    // The owner is not signed out, updates the browser, adds a language and follows a link.
    assert!(thief.cookie("session_id").is_some());
    let updated =
        [("accept-language", "de-de,de;q=0.8,fr;q=0.1"), ("accept-encoding", "deflate, gzip")];
    assert_eq!(get(&mut browser, &updated).await, StatusCode::OK);
    assert_eq!(send(&mut browser, Method::GET, "/", &updated).await.status, StatusCode::OK);
}

#[tokio::test]
async fn hints_of_scripts_are_compared_where_there_are_some() {
    let bench = Bench::new().await;
    let (mut browser, told) = signed_in(&bench, &[OWN[0], OWN[1], ("x-device-hints", DESK)]).await;
    let with = |hints: &'static str| [OWN[0], OWN[1], ("x-device-hints", hints)];
    assert_eq!(get(&mut browser, &with(DESK)).await, StatusCode::OK);
    // A link is followed without any, and another screen is plugged in.
    assert_eq!(get(&mut browser, &OWN).await, StatusCode::OK);
    let docked = "screen=3840x2160x30,tz=Europe/Berlin,plugins=5f0a31c2";
    assert_eq!(get(&mut browser, &with(docked)).await, StatusCode::OK);
    let phone = "screen=412x915x24,tz=Asia/Tokyo,plugins=5f0a31c2";
    assert_eq!(get(&mut browser, &with(phone)).await, StatusCode::UNAUTHORIZED);
    assert_eq!(suspected(&bench, &told["sid"]).await, ["screen"]);
    // What is not written as it must be is as good as nothing.
    assert_eq!(get(&mut browser, &with("screen=412x915x24;tz=Asia/Tokyo")).await, StatusCode::OK);
    assert_eq!(get(&mut browser, &with(DESK)).await, StatusCode::OK);
}

/// Who signs in anew because the browser is said to be another may be the owner, and who has the session
/// a thief.
#[tokio::test]
async fn signing_in_anew_ends_a_session_whose_cookie_is_refused() {
    let bench = Bench::new().await;
    let hinted = |hints: &'static str| [OWN[0], OWN[1], ("x-device-hints", hints)];
    let (mut browser, _) = signed_in(&bench, &hinted(DESK)).await;
    let mut thief = browser.clone();
    let phone = hinted("screen=412x915x24,tz=Asia/Tokyo,plugins=5f0a31c2");
    assert_eq!(get(&mut browser, &phone).await, StatusCode::UNAUTHORIZED);
    assert_eq!(get(&mut thief, &hinted(DESK)).await, StatusCode::OK);
    let again = sign_in(&mut browser, &phone).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(get(&mut browser, &phone).await, StatusCode::OK);
    assert_eq!(get(&mut thief, &hinted(DESK)).await, StatusCode::UNAUTHORIZED);

    // By the form, after the language was changed.
    let (mut browser, _) = signed_in(&bench, &OWN).await;
    let mut thief = browser.clone();
    browser.language = Some("ja");
    let page = browser.get("/login").await;
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(&mut thief, &OWN).await, StatusCode::OK);
    let fields =
        [("csrf_token", page.field("csrf_token")), ("username", "alice"), ("password", PASSWORD)];
    browser.submit("/login", &fields).await;
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
    assert_eq!(get(&mut thief, &OWN).await, StatusCode::UNAUTHORIZED);
}

/// Pages and applications refuse a cookie as scripts do, and it is counted once for each request.
#[tokio::test]
async fn every_refusal_is_counted() {
    let bench = Bench::new().await;
    let (mut browser, told) = signed_in(&bench, &OWN).await;
    let bound = || bench.counted("session_errors_total{service=\"provider\",error_type=\"bound\"}");
    assert_eq!(get(&mut browser, &OWN).await, StatusCode::OK);
    assert_eq!(bound(), 0);
    let english = [("accept-language", "en-US"), OWN[1]];
    let authorize = format!(
        "/oauth2/authorize?client_id=web&response_type=code&scope=openid&redirect_uri={CALLBACK}\
         &code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    send(&mut browser, Method::GET, &authorize, &english).await;
    assert_eq!(bound(), 1);
    assert_eq!(get(&mut browser, &english).await, StatusCode::UNAUTHORIZED);
    assert_eq!(bound(), 2);
    // And where somebody proves once more who they are.
    let mut request = Request::post("/api/auth/elevate")
        .header("origin", ISSUER)
        .header("content-type", "application/json")
        .header("x-csrf-token", told["csrf_token"].as_str().unwrap());
    for (name, value) in english {
        request = request.header(name, value);
    }
    let proof = Body::from(json!({"password": PASSWORD}).to_string());
    let answer = browser.send(request.body(proof).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
    assert_eq!(bound(), 3);
}

#[tokio::test]
async fn scripts_of_allowed_origins_may_send_hints() {
    let bench = Bench::new().await;
    let request = Request::options("/api/auth/session")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "x-device-hints")
        .body(Body::empty())
        .unwrap();
    let answer = Answer::of(&bench.router, request).await;
    let allowed = answer.header("access-control-allow-headers").to_lowercase();
    assert!(allowed.contains("x-device-hints"), "{allowed}");
}
