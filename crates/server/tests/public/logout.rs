//! Signing out at the wish of a client, and on our own page.

use axum::body::Body;
use http::{Method, Request, StatusCode};

use super::{
    bench::{Bench, ISSUER, PASSWORD},
    browser::{Browser, encoded},
    flow::{authorize, code, redeeming, token},
};

const BYE: &str = "https://web.example/bye";

/// A browser that is signed in to `web`, and the ID token that `web` has.
async fn signed_in(bench: &Bench) -> (Browser, String) {
    let mut browser = Browser::new(bench);
    let code = code(&mut browser, &authorize(&[])).await;
    let tokens = token(bench, "web", &redeeming(&code)).await.json();
    (browser, tokens["id_token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn whoever_signs_out_is_asked_once_and_sent_back() {
    let bench = Bench::new().await;
    let (mut browser, hint) = signed_in(&bench).await;
    let wish =
        [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", BYE), ("state", "s&1")];
    let page = browser.get(&format!("/oauth2/logout?{}", encoded(&wish))).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("<strong>Example Web</strong>"));
    assert!(
        page.header("content-security-policy").contains("form-action 'self' https://web.example")
    );
    let mut thief = browser.clone();
    let mut fields = wish.to_vec();
    let token = page.field("csrf_token").to_owned();
    fields.extend([("csrf_token", token.as_str()), ("decision", "logout")]);
    let back = browser.submit("/oauth2/logout", &fields).await;
    assert_eq!(back.location(), format!("{BYE}?state=s%261"));
    assert!(browser.jar.is_empty());
    assert_eq!(thief.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    // Nobody is signed in any more: nothing is asked.
    let again = browser.get(&format!("/oauth2/logout?{}", encoded(&wish))).await;
    assert!(again.location().starts_with(BYE));
}

#[tokio::test]
async fn nobody_is_signed_out_by_a_link_or_by_another_sites_form() {
    let bench = Bench::new().await;
    let (mut browser, hint) = signed_in(&bench).await;
    browser.get("/oauth2/logout").await;
    browser
        .get(&format!(
            "/oauth2/logout?{}",
            encoded(&[("id_token_hint", &hint), ("decision", "logout")])
        ))
        .await;
    let foreign = [("origin", "https://web.example"), ("sec-fetch-site", "cross-site")];
    let answer = browser.submit_from("/oauth2/logout", &[("decision", "logout")], &foreign).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let answer =
        browser.submit("/oauth2/logout", &[("decision", "logout"), ("csrf_token", "1.x")]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
    // A client may send a form; it leads to the same question.
    let fields = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", BYE)];
    let led = browser.submit_from("/oauth2/logout", &fields, &foreign).await;
    let page = browser.get(led.location()).await;
    assert_eq!(page.field("post_logout_redirect_uri"), BYE);
}

#[tokio::test]
async fn nobody_is_sent_to_where_the_client_did_not_register() {
    let bench = Bench::new().await;
    let (mut browser, hint) = signed_in(&bench).await;
    for uri in [
        "https://web.example/bye/",
        "https://web.example/bye?x",
        "https://evil.example/bye",
        "//evil.example",
    ] {
        let wish = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", uri)];
        let page = browser.get(&format!("/oauth2/logout?{}", encoded(&wish))).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{uri}");
        assert!(!page.body.contains("evil"));
    }
    // Without a client there is nobody who registered it.
    let wish = encoded(&[("post_logout_redirect_uri", BYE)]);
    assert_eq!(
        browser.get(&format!("/oauth2/logout?{wish}")).await.status,
        StatusCode::BAD_REQUEST
    );
    let forged = encoded(&[("id_token_hint", "a.b.c"), ("post_logout_redirect_uri", BYE)]);
    assert_eq!(
        browser.get(&format!("/oauth2/logout?{forged}")).await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn the_page_of_the_person_ends_one_session_or_all() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let page = browser.get("/login").await;
    let token = page.field("csrf_token").to_owned();
    let fields = [("username", "alice"), ("password", PASSWORD), ("csrf_token", token.as_str())];
    assert_eq!(browser.submit("/login", &fields).await.location(), "/login");
    let (mut other, _) = Browser::signed_in(&bench).await;
    let (mut third, _) = Browser::signed_in(&bench).await;
    let page = browser.get("/").await;
    assert!(page.body.contains("<meta name=\"csrf-token\""));
    let token = page.field("csrf_token").to_owned();
    let told = other.get("/api/auth/session").await.json();
    let fields = [("sid", told["sid"].as_str().unwrap()), ("csrf_token", "1.x")];
    assert_eq!(browser.submit("/login/sessions", &fields).await.status, StatusCode::FORBIDDEN);
    let fields = [fields[0], ("csrf_token", token.as_str())];
    assert_eq!(browser.submit("/login/sessions", &fields).await.location(), "/login");
    assert_eq!(other.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(third.get("/api/auth/session").await.status, StatusCode::OK);
    let fields = [("decision", "everywhere"), ("csrf_token", token.as_str())];
    let done = browser.submit("/oauth2/logout", &fields).await;
    assert_eq!(done.status, StatusCode::OK);
    assert!(done.body.contains("You are signed out"));
    assert_eq!(third.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.get("/").await.location(), "/login");
}

/// A telephone that goes from one network to another is not the browser that it was; whoever signs out
/// there is signed out all the same.
#[tokio::test]
async fn signing_out_ends_the_session_wherever_its_cookie_has_got_to() {
    let bench = Bench::new().await;
    // On our page, after being asked.
    let (mut browser, hint) = signed_in(&bench).await;
    let mut moved = browser.clone();
    moved.address = "198.51.100.9".parse().unwrap();
    let page = moved.get(&format!("/oauth2/logout?{}", encoded(&[("id_token_hint", &hint)]))).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers.get("set-cookie").is_none());
    let token = page.field("csrf_token").to_owned();
    let forged = [("decision", "logout"), ("csrf_token", "1.x")];
    assert_eq!(moved.submit("/oauth2/logout", &forged).await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
    let fields = [("decision", "logout"), ("csrf_token", token.as_str())];
    assert_eq!(moved.submit("/oauth2/logout", &fields).await.status, StatusCode::OK);
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    // By a script, everywhere.
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let (mut other, _) = Browser::signed_in(&bench).await;
    let mut moved = browser.clone();
    moved.agent = "curl/8";
    let csrf = told["csrf_token"].as_str().unwrap();
    let target = "/api/auth/logout?everywhere=true";
    let unguarded = moved.call(Method::POST, target, None, None).await;
    assert_eq!(unguarded.status, StatusCode::FORBIDDEN);
    let answer = moved.call(Method::POST, target, Some(csrf), None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(other.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
}

/// A neighbour on the domain can plant a second cookie of a name. Then nobody can tell which session
/// is meant, and nobody is told that they are signed out.
#[tokio::test]
async fn who_cannot_be_read_is_not_told_that_they_are_signed_out() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let good = browser.cookie("session_id").unwrap().to_owned();
    let planted = format!("session_id={good}; session_id=x");
    let request = |method: Method, target: &str| {
        let csrf = told["csrf_token"].as_str().unwrap();
        Request::builder()
            .method(method)
            .uri(target)
            .header("origin", ISSUER)
            .header("x-csrf-token", csrf)
            .header("cookie", &planted)
            .body(Body::empty())
            .unwrap()
    };
    for (method, target) in [(Method::POST, "/api/auth/logout"), (Method::GET, "/oauth2/logout")] {
        let answer = browser.clone().send(request(method, target)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{target}");
        assert!(answer.headers.get("set-cookie").is_none(), "{target}");
    }
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
}

/// ASVS 5.0, 7.4.4.
#[tokio::test]
async fn signing_out_is_in_sight_on_every_page_behind_a_sign_in() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let page = browser.get("/login/security").await;
    let token = page.field("csrf_token").to_owned();
    let proof = [("csrf_token", token.as_str()), ("decision", "prove"), ("password", PASSWORD)];
    let led = browser.get(&authorize(&[])).await;
    let consent = browser.get(led.location()).await;
    let mut pages = vec![page.body, consent.body, browser.get("/").await.body];
    assert!(browser.submit("/login/security", &proof).await.status.is_redirection());
    for path in ["/login/security?lang=ja", "/login/device", "/console"] {
        pages.push(browser.get(path).await.body);
    }
    for body in &pages {
        // Not at the foot of it.
        let (head, _) = body.split_once("<footer>").unwrap();
        assert!(head.contains("\"/oauth2/logout"), "{body}");
    }
    assert!(pages[3].contains(">サインアウト</a>"), "{}", pages[3]);
    // The link asks first, in the language of the page.
    let asked = browser.get("/oauth2/logout?lang=ja").await;
    assert!(asked.body.contains("サインアウトしますか"), "{}", asked.body);
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
}
