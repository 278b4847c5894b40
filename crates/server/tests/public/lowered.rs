//! What is left in sessions of a second factor that is taken away: nothing, at once.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tegata_identity::TotpSecret;
use tegata_server::lower_sessions;

use super::{
    bench::{Bench, ISSUER},
    browser::{Answer, Browser},
    flow::{authorize, claims, code, redeeming, token},
    passkey::options,
    second_factor::{Enrolled, elevate},
    soft::Soft,
};

async fn session(browser: &mut Browser) -> Value {
    browser.call(Method::GET, "/api/auth/session", None, None).await.json()
}

/// How strongly the person of a session is known, by what, and whether they may do what is sensitive.
async fn standing(browser: &mut Browser) -> (Value, Value, bool) {
    let told = session(browser).await;
    (told["acr"].clone(), told["amr"].clone(), told["is_elevated"] == true)
}

/// A browser that was elevated by the app a moment ago.
async fn elevated(world: &Enrolled) -> Browser {
    world.bench.advance(60);
    let (mut browser, told) = world.signed_in().await;
    world.bench.advance(60);
    let csrf = told["csrf_token"].as_str().unwrap();
    let answer = elevate(&mut browser, csrf, json!({"code": world.shown()})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    let expected = ("aal2".into(), json!(["pwd", "otp", "mfa"]), true);
    assert_eq!(standing(&mut browser).await, expected);
    browser
}

/// Sends a form of the page of second factors.
async fn decide(browser: &mut Browser, decision: &str) -> String {
    let page = browser.get("/login/security").await;
    let fields = [("csrf_token", page.field("csrf_token")), ("decision", decision)];
    let answer = browser.submit("/login/security", &fields).await;
    if answer.status.is_redirection() {
        return browser.get("/login/security").await.body;
    }
    answer.body
}

fn may_change(page: &str) -> bool {
    page.contains("value=\"begin\"")
}

#[tokio::test]
async fn whoever_was_elevated_by_it_changes_nothing_more() {
    let world = Enrolled::new().await;
    let mut thief = elevated(&world).await;
    let mut owner = elevated(&world).await;
    assert!(may_change(&thief.get("/login/security").await.body));
    assert!(!may_change(&decide(&mut owner, "remove").await), "what proved it is gone");
    let lowered = ("aal1".into(), json!(["pwd"]), false);
    for browser in [&mut thief, &mut owner] {
        assert_eq!(standing(browser).await, lowered);
        for decision in ["begin", "passkey"] {
            let page = decide(browser, decision).await;
            assert!(!page.contains("totp_secret") && page.contains("value=\"prove\""), "{page}");
        }
    }
    // Nor is a client told that a second factor was shown, while signing in goes on.
    let asked = thief.get(&authorize(&[("acr_values", "aal2")])).await;
    let error = asked.sent_with("error");
    assert_eq!(error.as_deref(), Some("unmet_authentication_requirements"));
}

/// Whoever takes it away may do no more than that: the page looks what is enrolled.
#[tokio::test]
async fn the_page_itself_takes_no_proof_by_what_is_gone() {
    let world = Enrolled::new().await;
    let mut thief = elevated(&world).await;
    let (second, realm, alice) = (&world.bench.second, &world.bench.realm, &world.bench.alice.id);
    assert!(second.remove_all(realm, alice, "root").await.unwrap());
    assert!(!may_change(&thief.get("/login/security").await.body));
    // Another app is another factor, though codes of both are codes.
    let other = TotpSecret::generate(world.bench.node.entropy());
    world.bench.advance(1);
    assert!(second.provide_totp(realm, alice, &other, "test").await.unwrap());
    for decision in ["renew", "remove", "begin"] {
        assert!(decide(&mut thief, decision).await.contains("value=\"prove\""), "{decision}");
    }
    let left = second.of(realm, alice).await.unwrap().unwrap();
    assert_eq!((left.totp_since.is_some(), left.recovery_codes), (true, 10));
}

/// What a token says of how its person was authenticated.
fn said(told: &Value) -> (Value, Value) {
    let said = claims(told["access_token"].as_str().unwrap());
    (said["acr"].clone(), said["amr"].clone())
}

async fn refreshed(world: &Enrolled, told: &Value) -> Value {
    let refresh = told["refresh_token"].as_str().unwrap();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    token(&world.bench, "web", &fields).await.json()
}

async fn knows(world: &Enrolled, told: &Value) -> StatusCode {
    let request = Request::get("/oauth2/userinfo")
        .header(header::AUTHORIZATION, format!("Bearer {}", told["access_token"].as_str().unwrap()))
        .body(Body::empty())
        .unwrap();
    Answer::of(&world.bench.router, request).await.status
}

/// What applications and our own scripts hold says of it no more than the session does.
#[tokio::test]
async fn tokens_say_no_more_of_it_from_the_same_moment_on() {
    let world = Enrolled::new().await;
    let mut owner = elevated(&world).await;
    world.bench.advance(60);
    let (mut scripts, own) = world.signed_in().await;
    let strong = (json!("aal2"), json!(["pwd", "otp", "mfa"]));
    let lowered = (json!("aal1"), json!(["pwd"]));
    let wish = authorize(&[("acr_values", "aal2")]);
    let given = code(&mut owner, &wish).await;
    let first = token(&world.bench, "web", &redeeming(&given)).await.json();
    let held = refreshed(&world, &first).await;
    assert_eq!((said(&held), said(&own)), (strong.clone(), strong));
    let pending = code(&mut owner, &wish).await;
    assert_eq!(knows(&world, &held).await, StatusCode::OK);

    decide(&mut owner, "remove").await;
    // Whoever has one is sent to fetch another, which says what is so.
    for told in [&first, &held] {
        assert_eq!(knows(&world, told).await, StatusCode::UNAUTHORIZED);
    }
    let pending = token(&world.bench, "web", &redeeming(&pending)).await.json();
    assert_eq!(pending["error"], "invalid_grant");
    let again = refreshed(&world, &held).await;
    assert_eq!(said(&again), lowered);
    world.bench.advance(1);
    assert_eq!(knows(&world, &again).await, StatusCode::OK);
    let csrf = own["csrf_token"].as_str().unwrap();
    let own = scripts.call(Method::POST, "/api/auth/refresh", Some(csrf), None).await;
    assert_eq!(own.status, StatusCode::OK, "{}", own.body);
    assert_eq!(said(&own.json()), lowered);
}

/// Whoever took it away lowers the sessions afterwards, and may be cut off before.
#[tokio::test]
async fn a_session_that_nobody_lowered_is_lowered_before_a_client_is_given_anything() {
    let world = Enrolled::new().await;
    let mut owner = elevated(&world).await;
    let (second, realm, alice) = (&world.bench.second, &world.bench.realm, &world.bench.alice.id);
    assert!(second.remove_all(realm, alice, "root").await.unwrap());
    world.bench.advance(1200);
    let given = code(&mut owner, &authorize(&[])).await;
    let told = token(&world.bench, "web", &redeeming(&given)).await.json();
    assert_eq!(said(&told), (json!("aal1"), json!(["pwd"])));
    assert_eq!(standing(&mut owner).await, ("aal1".into(), json!(["pwd"]), false));
}

#[tokio::test]
async fn what_stems_from_another_factor_stays() {
    let world = Enrolled::new().await;
    let mut browser = elevated(&world).await;
    let page = {
        let page = browser.get("/login/security").await;
        let fields = [("csrf_token", page.field("csrf_token")), ("decision", "passkey")];
        browser.submit("/login/security", &fields).await
    };
    let mut soft = Soft::at(ISSUER);
    let made = soft.create(&options(&page));
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("decision", "keep"),
        ("name", "phone"),
        ("credential", &made),
    ];
    browser.submit("/login/security", &fields).await;
    let mut other = Browser::new(&world.bench);
    let asked = other.call(Method::POST, "/api/auth/login/passkey", None, None).await.json();
    let shown: Value = serde_json::from_str(&soft.get(&asked)).unwrap();
    let body = json!({"credential": shown});
    let told = other.call(Method::POST, "/api/auth/login", None, Some(&body)).await.json();
    let csrf = told["csrf_token"].as_str().unwrap();
    let asked = other.call(Method::POST, "/api/auth/elevate/passkey", Some(csrf), None).await;
    let shown: Value = serde_json::from_str(&soft.get(&asked.json())).unwrap();
    elevate(&mut other, csrf, json!({"credential": shown})).await;
    decide(&mut browser, "remove").await;
    assert_eq!(standing(&mut browser).await, ("aal1".into(), json!(["pwd"]), false));
    let stays = ("aal2".into(), json!(["pop", "user", "mfa"]), true);
    assert_eq!(standing(&mut other).await, stays);
}

/// Elevating and taking away at once: whichever is first, nothing stays elevated.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_factor_that_goes_while_it_is_shown_nothing_is_left() {
    let bench = Arc::new(Bench::new().await);
    for round in 0..25 {
        let app = TotpSecret::generate(bench.node.entropy());
        let (second, realm, alice) = (&bench.second, &bench.realm, &bench.alice.id);
        assert!(second.provide_totp(realm, alice, &app, "test").await.unwrap());
        bench.advance(60);
        let mut browser = Browser::new(&bench);
        let token =
            super::second_factor::asked(&browser.log_in("alice", super::bench::PASSWORD).await);
        let code = app.code_at(bench.node.now());
        let told = super::second_factor::mfa(&mut browser, &token, "totp", &code).await.json();
        bench.advance(60);
        let csrf = told["csrf_token"].as_str().unwrap().to_owned();
        let shown = json!({"code": app.code_at(bench.node.now())});
        let raising = tokio::spawn(async move {
            let answer = elevate(&mut browser, &csrf, shown).await;
            (browser, answer)
        });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        assert!(second.remove_all(realm, alice, "root").await.unwrap());
        lower_sessions(&bench.sessions, second, realm, alice).await.unwrap();
        let (mut browser, answer) = raising.await.unwrap();
        let lowered = ("aal1".into(), json!(["pwd"]), false);
        assert_eq!(standing(&mut browser).await, lowered, "{}", answer.status);
    }
}
