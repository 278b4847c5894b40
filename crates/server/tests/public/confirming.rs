//! `?wait=confirmed` where something ends: who is told that all nodes refuse it, and of what.

use std::task::{Context, Waker};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use serde_json::json;
use tegata_session::Reason;
use tegata_token::{Holder, Order, Tally, Withdrawable as _};

use super::{
    bench::Bench,
    browser::{Browser, encoded},
    clients::ask,
    flow::{authorize, code, redeeming, token},
};

const LOGOUT: &str = "/api/auth/logout?wait=confirmed";
const REVOKE: &str = "/oauth2/revoke?wait=confirmed";
const BYE: &str = "https://web.example/bye";

#[tokio::test]
async fn whoever_signs_out_hears_when_all_nodes_refuse_it() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str();
    // What is not understood ends nothing.
    for wrong in ["wait=", "wait=long", "everywhere=true&wait=1"] {
        let target = format!("/api/auth/logout?{wrong}");
        let answer = browser.call(Method::POST, &target, csrf, None).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
        assert_eq!(answer.json()["error"], "invalid_request", "{wrong}");
        assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK, "{wrong}");
    }
    // Nor does what comes without the token of the session, and nobody waits for it.
    let answer = browser.clone().call(Method::POST, LOGOUT, None, None).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let mut copy = browser.clone();
    let answer = browser.call(Method::POST, LOGOUT, csrf, None).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "no-store");
    // How many, and not how they are called.
    assert_eq!(answer.json(), json!({"confirmed": {"by": 1, "after_ms": 1}}));
    assert!(browser.jar.is_empty());
    assert_eq!(copy.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    // Where nothing ends, nothing is waited for: whoever has no session holds no place.
    for browser in [&mut copy, &mut Browser::new(&bench)] {
        let answer = browser.call(Method::POST, LOGOUT, None, None).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NO_CONTENT, ""));
    }
}

#[tokio::test]
async fn everywhere_and_one_of_several_are_confirmed_as_well() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let (mut other, theirs) = Browser::signed_in(&bench).await;
    let (mut third, _) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str();
    let target = format!("/api/auth/sessions/{}", theirs["sid"].as_str().unwrap());
    let wrong = browser.call(Method::DELETE, &format!("{target}?wait=no"), csrf, None).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert_eq!(other.get("/api/auth/session").await.status, StatusCode::OK);
    let target = format!("{target}?wait=confirmed");
    let ended = browser.call(Method::DELETE, &target, csrf, None).await;
    assert_eq!(ended.json()["confirmed"]["by"], 1, "{}", ended.body);
    assert_eq!(other.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    let again = browser.call(Method::DELETE, &target, csrf, None).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let target = "/api/auth/logout?everywhere=true&wait=confirmed";
    let ended = browser.call(Method::POST, target, csrf, None).await;
    assert_eq!(ended.json()["confirmed"]["by"], 1, "{}", ended.body);
    assert_eq!(third.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    // Whoever signs in again at once is not refused for what they had.
    let (mut fresh, _) = Browser::signed_in(&bench).await;
    assert_eq!(fresh.get("/api/auth/session").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_was_taken_back_before_is_not_said_to_be_taken_back_now() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let code = code(&mut browser, &authorize(&[])).await;
    let tokens = token(&bench, "web", &redeeming(&code)).await.json();
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let revoke = async |token: &str| {
        ask(&bench, REVOKE, "web", &[("token", token)]).await.json()["confirmed"]["taken"].clone()
    };
    assert_eq!(revoke(access).await, "Now");
    assert_eq!(revoke(access).await, "Before");
    assert_eq!(revoke(refresh).await, "Now");
    assert_eq!(revoke(refresh).await, "Before");
}

#[tokio::test]
async fn nobody_is_told_that_tokens_are_refused_that_nobody_took_back() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let code = code(&mut browser, &authorize(&[])).await;
    let tokens = token(&bench, "web", &redeeming(&code)).await.json();
    let foreign = foreign(tokens["access_token"].as_str().unwrap());
    let id_token = tokens["id_token"].as_str().unwrap();
    for token in [foreign.as_str(), id_token, "rt_nonsense", "nonsense"] {
        let answer = ask(&bench, REVOKE, "web", &[("token", token)]).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""), "{token}");
    }
}

#[tokio::test]
async fn a_token_whose_key_cannot_be_looked_for_is_not_said_to_be_nothing() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let code = code(&mut browser, &authorize(&[])).await;
    let tokens = token(&bench, "web", &redeeming(&code)).await.json();
    let foreign = foreign(tokens["access_token"].as_str().unwrap());
    let revoke = async || ask(&bench, "/oauth2/revoke", "web", &[("token", &foreign)]).await.status;
    let before = bench.calls();
    assert_eq!(revoke().await, StatusCode::OK);
    let asked = bench.calls() - before;
    assert!(asked > 0);
    // Whatever of it is not answered, the last of it the rings of keys.
    for answered in 0..asked {
        bench.take_away_after(answered);
        assert_eq!(revoke().await, StatusCode::SERVICE_UNAVAILABLE, "{answered} of {asked}");
    }
    bench.take_away(false);
    assert_eq!(revoke().await, StatusCode::OK);
}

/// The token of another issuer, that signs with another key.
fn foreign(ours: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"at+jwt","alg":"ES256","kid":"of-another"}"#);
    format!("{header}.{}", ours.split_once('.').unwrap().1)
}

#[tokio::test]
async fn the_page_says_who_refuses_it_where_a_client_asks_for_that() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let wrong = browser.get("/oauth2/logout?wait=long").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let page = browser.get("/oauth2/logout?wait=confirmed").await;
    assert_eq!(page.field("wait"), "confirmed");
    let csrf = page.field("csrf_token").to_owned();
    let fields = [("csrf_token", csrf.as_str()), ("decision", "logout"), ("wait", "confirmed")];
    let done = browser.submit("/oauth2/logout", &fields).await;
    assert!(done.body.contains("Refused by 1 of 1 point after 1 ms."), "{}", done.body);
    // Nobody who did not ask is told.
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let page = browser.get("/oauth2/logout").await;
    let csrf = page.field("csrf_token").to_owned();
    let fields = [("csrf_token", csrf.as_str()), ("decision", "everywhere")];
    let done = browser.submit("/oauth2/logout", &fields).await;
    assert!(done.body.contains("You are signed out") && !done.body.contains("Refused by"));
}

#[tokio::test]
async fn a_browser_goes_back_to_the_client_by_itself_only_when_nothing_is_pending() {
    let bench = Bench::new().await;
    let pending = json!({"pending": ["there"], "until": "2026-01-01T00:00:00Z"});
    let fenced = json!({"fenced": ["there"]});
    for (told, goes) in [(json!(null), true), (fenced, true), (pending, false)] {
        bench.advance(2);
        *bench.confirmed.lock().unwrap() = told;
        let mut browser = Browser::new(&bench);
        let code = code(&mut browser, &authorize(&[])).await;
        let tokens = token(&bench, "web", &redeeming(&code)).await.json();
        let hint = tokens["id_token"].as_str().unwrap();
        let wish = [
            ("id_token_hint", hint),
            ("post_logout_redirect_uri", BYE),
            ("state", "s&1"),
            ("wait", "confirmed"),
        ];
        let page = browser.get(&format!("/oauth2/logout?{}", encoded(&wish))).await;
        let csrf = page.field("csrf_token").to_owned();
        let fields = [&wish[..], &[("csrf_token", csrf.as_str()), ("decision", "logout")]].concat();
        let done = browser.submit("/oauth2/logout", &fields).await;
        assert!(browser.jar.is_empty());
        if goes {
            assert_eq!(done.location(), format!("{BYE}?state=s%261"));
            continue;
        }
        assert_eq!((done.status, done.header("location")), (StatusCode::OK, ""));
        assert!(
            done.body.contains("2026-01-01") && !done.body.contains("there\""),
            "{}",
            done.body
        );
        assert!(done.body.contains(&format!(r#"href="{BYE}?state=s%261""#)), "{}", done.body);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_undoes_nothing() {
    let bench = Bench::new().await;
    for target in [LOGOUT, "/api/auth/logout?everywhere=true&wait=confirmed"] {
        let (mut browser, told) = Browser::signed_in(&bench).await;
        let (mut leaving, csrf) = (browser.clone(), told["csrf_token"].as_str());
        let mut answer = Box::pin(leaving.call(Method::POST, target, csrf, None));
        // It is under way, and then nobody wants the answer.
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(answer.as_mut().poll(&mut nobody).is_pending(), "{target}");
        drop(answer);
        let mut turns = 0;
        while browser.get("/api/auth/session").await.status == StatusCode::OK {
            tokio::task::yield_now().await;
            turns += 1;
            assert!(turns < 10_000, "{target}: it was given up with the request");
        }
    }
}

#[tokio::test]
async fn signing_out_everywhere_can_be_ordered_again_wherever_it_was_interrupted() {
    let bench = Bench::new().await;
    let target = "/api/auth/logout?everywhere=true";
    let holder = Holder::User(bench.alice.id.clone());
    let order = Order { reason: "test".to_owned(), actor: "test".to_owned() };
    let mut interrupted = 0;
    for answered in 0.. {
        // What was taken back counts to the end of its second.
        bench.advance(2);
        let (mut browser, told) = Browser::signed_in(&bench).await;
        let (mut other, _) = Browser::signed_in(&bench).await;
        code(&mut other, &authorize(&[])).await;
        let csrf = told["csrf_token"].as_str();
        let mut copy = browser.clone();
        bench.take_away_after(answered);
        let first = browser.call(Method::POST, target, csrf, None).await.status;
        bench.take_away(false);
        if first == StatusCode::SERVICE_UNAVAILABLE {
            interrupted += 1;
            let again = copy.call(Method::POST, target, csrf, None).await.status;
            assert_eq!(again, StatusCode::NO_CONTENT, "{answered} were answered");
        }
        // Nothing is left to be ended.
        let tally = Tally::default();
        let families = bench.provider.families();
        let left = families.withdraw(&bench.realm, &holder, &order, &tally).await.unwrap();
        assert_eq!(left, 0, "families, when {answered} were answered");
        let reason = Reason::Logout;
        let left = bench.sessions.end_all(&bench.realm, &bench.alice.id, None, &reason, "test");
        assert_eq!(left.await.unwrap(), 0, "sessions, when {answered} were answered");
        if first == StatusCode::NO_CONTENT {
            break;
        }
    }
    assert!(interrupted > 4, "{interrupted}");
}

#[tokio::test]
async fn browsers_are_not_told_how_nodes_are_called() {
    let bench = Bench::new().await;
    let until = "2026-01-01T00:00:00Z";
    *bench.confirmed.lock().unwrap() = json!({
        "fenced": ["one"], "pending": ["another", "third"], "until": until, "unchecked": true,
        "says": "refused by this", "taken": null,
    });
    let counts = json!({
        "by": 1, "after_ms": 1, "fenced": 1, "pending": 2, "until": until, "unchecked": true,
    });
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let answer = browser.call(Method::POST, LOGOUT, told["csrf_token"].as_str(), None).await;
    assert_eq!(answer.json(), json!({"confirmed": counts}));
}
