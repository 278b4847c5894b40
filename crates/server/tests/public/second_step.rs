//! The second step of the sign-in page, and what clients get of it.

use http::StatusCode;
use serde_json::json;
use tegata_identity::TotpSecret;

use super::{
    bench::{Bench, PASSWORD},
    browser::{Answer, Browser},
    flow::{authorize, claims, redeeming, token},
    second_factor::{Enrolled, elevate},
};

/// Shows the password on the page that an address leads to; answers the page that follows.
async fn password_on_page(browser: &mut Browser, page: &Answer) -> Answer {
    let mut fields = vec![
        ("username", "alice"),
        ("password", PASSWORD),
        ("csrf_token", page.field("csrf_token")),
    ];
    if page.body.contains("name=\"request\"") {
        fields.push(("request", page.field("request")));
    }
    browser.submit("/login", &fields).await
}

/// Shows a code on a page that asks for one, with all that its form has.
async fn code_on_page(browser: &mut Browser, page: &Answer, code: &str) -> Answer {
    let hidden = ["csrf_token", "request", "mfa_token", "lang"];
    let mut fields: Vec<_> = hidden
        .into_iter()
        .filter(|name| page.body.contains(&format!("name=\"{name}\"")))
        .map(|name| (name, page.field(name)))
        .collect();
    fields.push(("code", code));
    browser.submit("/login", &fields).await
}

#[tokio::test]
async fn the_page_asks_for_the_code_and_the_session_is_a_new_one() {
    let world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    // Bob is signed in here, or somebody who planted his cookie.
    let planted = browser.log_in("bob", PASSWORD).await.json();
    let page = browser.get("/login?another=true").await;
    let page = password_on_page(&mut browser, &page).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(page.body.contains("name=\"code\" id=\"code\""), "{}", page.body);
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!(session["user"]["username"], "bob", "nothing has begun");
    let wrong = code_on_page(&mut browser, &page, &world.wrong()).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.body.contains("The code is wrong"), "{}", wrong.body);
    let led = code_on_page(&mut browser, &wrong, &world.shown()).await;
    assert_eq!(led.location(), "/login?lang=en");
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!(session["user"]["username"], "alice");
    assert_ne!(session["sid"], planted["sid"]);
}

#[tokio::test]
async fn a_form_of_another_browser_signs_nobody_in() {
    let world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let page = browser.get("/login").await;
    let page = password_on_page(&mut browser, &page).await;
    // Without the cookie that the form belongs to, and from another site.
    let mut bare = Browser::new(&world.bench);
    let answer = code_on_page(&mut bare, &page, &world.shown()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("mfa_token", page.field("mfa_token")),
        ("code", &world.shown()),
    ];
    let evil = [("origin", "https://evil.example")];
    let answer = browser.submit_from("/login", &fields, &evil).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(bare.cookie("session_id").is_none() && browser.cookie("session_id").is_none());
    // Five wrong ones, and the page begins again.
    let mut page = page;
    for _ in 0..5 {
        page = code_on_page(&mut browser, &page, &world.wrong()).await;
    }
    let over = code_on_page(&mut browser, &page, &world.shown()).await;
    assert_eq!(over.status, StatusCode::UNAUTHORIZED);
    assert!(over.body.contains("name=\"password\""), "{}", over.body);
}

#[tokio::test]
async fn a_client_gets_nothing_before_the_second_step_and_aal2_after_it() {
    let world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let target = authorize(&[("client_id", "web")]);
    let led = browser.get(&target).await;
    let page = browser.get(led.location()).await;
    let page = password_on_page(&mut browser, &page).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("Example Web") && page.body.contains("name=\"code\""));
    // Neither the address of the page nor that of the request leads on.
    for address in [led.location().to_owned(), target] {
        let mut tab = browser.clone();
        let answer = tab.get(&address).await;
        let is_sign_in = answer.body.contains("name=\"password\"")
            || answer.header("location").starts_with("/login?request=");
        assert!(is_sign_in, "{address}: {}", answer.body);
    }
    let handle = page.field("request").to_owned();
    let consent = browser.get(&format!("/oauth2/consent?request={handle}")).await;
    assert!(consent.location().starts_with("/login?request="), "{}", consent.location());
    let led = code_on_page(&mut browser, &page, &world.shown()).await;
    let page = browser.get(led.location()).await;
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
        ("decision", "allow"),
    ];
    let back = browser.submit("/oauth2/consent", &fields).await;
    let code = back.sent_with("code").unwrap();
    let tokens = token(&world.bench, "web", &redeeming(&code)).await.json();
    let id = claims(tokens["id_token"].as_str().unwrap());
    assert_eq!((&id["acr"], &id["amr"]), (&"aal2".into(), &json!(["pwd", "otp", "mfa"])));
}

#[tokio::test]
async fn a_weaker_session_is_asked_for_the_code_alone() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let app = TotpSecret::generate(bench.node.entropy());
    bench.second.provide_totp(&bench.realm, &bench.alice.id, &app, "test").await.unwrap();
    let world = Enrolled { bench, app };
    world.bench.advance(5);
    let target = authorize(&[("client_id", "spa"), ("acr_values", "aal2")]);
    let led = browser.get(&target).await;
    let page = browser.get(led.location()).await;
    assert!(page.body.contains("name=\"code\"") && !page.body.contains("name=\"password\""));
    assert!(!page.body.contains("name=\"mfa_token\""));
    // Nobody else can answer it, and a wrong code leads nowhere.
    let mut bare = Browser::new(&world.bench);
    bare.jar.insert("csrf_token".into(), browser.jar["csrf_token"].clone());
    let answer = code_on_page(&mut bare, &page, &world.shown()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let wrong = code_on_page(&mut browser, &page, &world.wrong()).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let back = code_on_page(&mut browser, &wrong, &world.shown()).await;
    assert!(back.sent_with("code").is_some(), "{}", back.location());
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!((&session["acr"], &session["sid"]), (&"aal2".into(), &told["sid"]));
    assert_eq!(session["amr"], json!(["pwd", "otp", "mfa"]));
    // From now on it is enough, and without a page.
    let silent = [("client_id", "spa"), ("acr_values", "aal2"), ("prompt", "none")];
    assert!(browser.get(&authorize(&silent)).await.sent_with("code").is_some());
}

/// Whoever left a session open has also left a phone that shows codes, and has told nobody the password.
#[tokio::test]
async fn a_code_alone_is_no_sign_in() {
    for asks in [("prompt", "login"), ("max_age", "10")] {
        let world = Enrolled::new().await;
        let (mut browser, told) = world.signed_in().await;
        let signed_in = browser.get("/api/auth/session").await.json()["auth_time"].clone();
        world.bench.advance(60);
        let target = authorize(&[("client_id", "spa"), ("acr_values", "aal2"), asks]);
        let led = browser.get(&target).await;
        let held = led.location().to_owned();
        let page = browser.get(&held).await;
        assert!(page.body.contains("name=\"password\""), "{asks:?}: {}", page.body);
        // The form of a code, which was not shown; and a code that elevates the session.
        let back = code_on_page(&mut browser, &page, &world.shown()).await;
        assert!(back.sent_with("code").is_none(), "{asks:?}: {}", back.location());
        let page = browser.get(back.location()).await;
        assert!(page.body.contains("name=\"password\""), "{asks:?}: {}", page.body);
        let csrf = told["csrf_token"].as_str().unwrap();
        let raised = elevate(&mut browser, csrf, json!({"code": world.shown()})).await;
        assert_eq!(raised.status, StatusCode::NO_CONTENT, "{}", raised.body);
        let page = browser.get(&held).await;
        assert!(page.body.contains("name=\"password\""), "{asks:?}: {}", page.body);
        let session = browser.get("/api/auth/session").await.json();
        assert_eq!((&session["auth_time"], &session["acr"]), (&signed_in, &"aal2".into()));
        // The password and a code are.
        world.bench.advance(60);
        let page = password_on_page(&mut browser, &page).await;
        let back = code_on_page(&mut browser, &page, &world.shown()).await;
        assert!(back.sent_with("code").is_some(), "{asks:?}: {}", back.body);
    }
}

#[tokio::test]
async fn whoever_has_no_second_factor_is_sent_back_with_a_reason() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let target = authorize(&[("client_id", "spa"), ("acr_values", "aal2")]);
    let back = browser.get(&target).await;
    let error = back.sent_with("error");
    assert_eq!(error.as_deref(), Some("unmet_authentication_requirements"));
    // Signing in does not help either, and does not go round in circles.
    let mut fresh = Browser::new(&bench);
    let led = fresh.get(&target).await;
    let page = fresh.get(led.location()).await;
    let back = password_on_page(&mut fresh, &page).await;
    let error = back.sent_with("error");
    assert_eq!(error.as_deref(), Some("unmet_authentication_requirements"));
}
