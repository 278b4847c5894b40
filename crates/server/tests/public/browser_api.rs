//! The JSON interface for scripts of our own.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::json;
use tegata_core::{port::Page, repository};
use tegata_session::Session;
use tegata_token::Algorithm;

use super::{
    bench::{Bench, HOME, ISSUER, PASSWORD},
    browser::{Answer, Browser},
    flow::{authorize, claims, code, redeeming, token},
};

async fn refresh(browser: &mut Browser, csrf: &str) -> Answer {
    browser.call(Method::POST, "/api/auth/refresh", Some(csrf), None).await
}

#[tokio::test]
async fn a_sign_in_gives_a_token_and_two_cookies() {
    let bench = Bench::in_production().await;
    let mut browser = Browser::new(&bench);
    let answer = browser.log_in("Alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let told = answer.json();
    let access = claims(told["access_token"].as_str().unwrap());
    assert_eq!((&told["token_type"], &told["expires_in"]), (&"Bearer".into(), &900.into()));
    assert_eq!((&access["sid"], &access["client_id"]), (&told["sid"], &"tegata-browser".into()));
    assert_eq!(
        (&access["aud"], &access["roles"]),
        (&"http://localhost:8080".into(), &json!(["customer"]))
    );
    let set: Vec<_> =
        answer.headers.get_all(header::SET_COOKIE).iter().map(|it| it.to_str().unwrap()).collect();
    let session = set.iter().find(|it| it.starts_with("__Host-session_id=")).unwrap();
    assert!(session.ends_with("; Path=/; SameSite=Lax; Secure; HttpOnly"), "{session}");
    let refresh = set.iter().find(|it| it.starts_with("__Secure-refresh_token=")).unwrap();
    assert!(refresh.ends_with("; Path=/api/auth; SameSite=Strict; Secure; HttpOnly"), "{refresh}");
    // The handle is public; the cookie's value is not in the answer.
    let value = browser.cookie("__Host-session_id").unwrap();
    assert!(!answer.body.contains(value));
    assert!(answer.header("strict-transport-security").contains("max-age="));
}

#[tokio::test]
async fn a_sign_in_comes_from_our_own_pages_and_as_json() {
    let bench = Bench::new().await;
    let credentials = json!({"username": "alice", "password": PASSWORD}).to_string();
    let send = async |headers: &[(&str, &str)]| {
        let mut request = Request::post("/api/auth/login");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut browser = Browser::new(&bench);
        browser.send(request.body(Body::from(credentials.clone())).unwrap()).await
    };
    let json_type = ("content-type", "application/json");
    for (origin, site) in [
        ("https://evil.example", "cross-site"),
        ("null", "cross-site"),
        ("http://localhost:8000.evil.example", "same-site"),
        (ISSUER, "cross-site"),
    ] {
        let answer = send(&[json_type, ("origin", origin), ("sec-fetch-site", site)]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["error"], "cross_origin");
    }
    for media_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/json, text/plain"]
    {
        let answer = send(&[("content-type", media_type)]).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{media_type}");
    }
    // A program that is no browser proves itself by the password alone.
    assert_eq!(send(&[json_type]).await.status, StatusCode::OK);
    // An allowed origin may, and may read the answer.
    let allowed =
        [json_type, ("origin", "https://app.example.com"), ("sec-fetch-site", "cross-site")];
    let answer = send(&allowed).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("access-control-allow-origin"), "https://app.example.com");
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
}

#[tokio::test]
async fn json_is_read_within_limits() {
    let bench = Bench::new().await;
    let deep = format!(r#"{{"username":{}1{},"password":"x"}}"#, "[".repeat(40), "]".repeat(40));
    let large = format!(r#"{{"username":"{}","password":"x"}}"#, "a".repeat(1024 * 1024));
    for (body, status) in [
        (deep, StatusCode::BAD_REQUEST),
        (large, StatusCode::PAYLOAD_TOO_LARGE),
        ("{".into(), StatusCode::BAD_REQUEST),
        ("[]".into(), StatusCode::BAD_REQUEST),
        (r#"{"username":"alice"}"#.into(), StatusCode::BAD_REQUEST),
        (r#"{"username":["alice"],"password":"x"}"#.into(), StatusCode::BAD_REQUEST),
        (r#"{"username":"alice","username":"bob","password":"x"}"#.into(), StatusCode::BAD_REQUEST),
    ] {
        let request = Request::post("/api/auth/login")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap();
        let answer = Answer::of(&bench.router, request).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["error"], "invalid_request");
        assert!(answer.json()["trace_id"].as_str().is_some_and(|id| id.len() == 32));
    }
}

/// Whoever reads what has happened finds the request in the logs.
#[tokio::test]
async fn what_a_request_changed_is_written_down_with_its_trace() {
    let bench = Bench::new().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = Request::post("/api/auth/login")
        .header(header::CONTENT_TYPE, "application/json")
        .header("origin", ISSUER)
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .body(Body::from(format!(r#"{{"username":"alice","password":"{PASSWORD}"}}"#)));
    let answer = Browser::new(&bench).send(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let journal = bench.records.pull(tegata_core::Log::Journal, 0, 100).await.unwrap();
    let bodies = journal.entries.iter().map(|it| &it.body);
    let events: Vec<serde_json::Value> =
        bodies.map(|body| serde_json::from_slice(body).unwrap()).collect();
    let caused: Vec<_> = events.iter().filter(|it| it["trace_id"] == trace).collect();
    let created = caused.iter().find(|it| it["type"] == "SESSION_CREATED");
    // By what, how well that is known, and from where.
    let data = &created.unwrap_or_else(|| panic!("{events:?}"))["data"];
    assert_eq!(data["amr"], serde_json::json!(["pwd"]));
    assert_eq!((&data["acr"], &data["address"]), (&"aal1".into(), &HOME.to_string().into()));
    // What was made before anybody asked has none.
    let none = Some(&serde_json::Value::Null);
    assert!(events.iter().any(|it| it.get("trace_id") == none), "{events:?}");
    assert!(events.iter().all(|it| it.get("trace_id").is_some()), "{events:?}");
}

#[tokio::test]
async fn refreshing_gives_new_tokens_and_the_same_ones_to_parallel_tabs() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    let (mut one, mut two, mut three) = (browser.clone(), browser.clone(), browser.clone());
    let answers =
        tokio::join!(refresh(&mut one, csrf), refresh(&mut two, csrf), refresh(&mut three, csrf));
    let all = [answers.0, answers.1, answers.2];
    for answer in &all {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.json()["sid"], serde_json::Value::Null);
    }
    assert!(one.jar == two.jar && two.jar == three.jar, "all tabs have one cookie");
    assert_ne!(one.cookie("refresh_token"), browser.cookie("refresh_token"));
    // An answer that was lost: the tab asks again with what it has.
    let again = refresh(&mut browser, csrf).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(browser.cookie("refresh_token"), one.cookie("refresh_token"));
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_ends_the_session() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    let mut thief = browser.clone();
    refresh(&mut browser, csrf).await;
    bench.advance(60);
    let caught = refresh(&mut thief, csrf).await;
    assert_eq!(caught.status, StatusCode::UNAUTHORIZED);
    assert_eq!(caught.json()["error"], "invalid_grant");
    assert!(thief.jar.is_empty());
    for _ in 0..2 {
        assert_eq!(refresh(&mut browser, csrf).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
}

/// A refresh under a name that only the page knows.
async fn refresh_as(browser: &mut Browser, csrf: &str, name: &str) -> Answer {
    let request = Request::post("/api/auth/refresh")
        .header("origin", ISSUER)
        .header("sec-fetch-site", "same-origin")
        .header("x-csrf-token", csrf)
        .header("idempotency-key", name);
    browser.send(request.body(Body::empty()).unwrap()).await
}

const NAME: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again_however_long_the_laptop_slept() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    // Each answer is lost: the browser keeps the cookies that it had.
    let given = refresh_as(&mut browser.clone(), csrf, NAME).await;
    assert_eq!(given.status, StatusCode::OK, "{}", given.body);
    let mut tokens = vec![given.json()["access_token"].clone()];
    for slept in [5, 60, 600, 1_000] {
        bench.advance(slept);
        let mut again = browser.clone();
        let answer = refresh_as(&mut again, csrf, NAME).await;
        assert_eq!(answer.status, StatusCode::OK, "after {slept} s: {}", answer.body);
        let told = answer.json();
        let claims = claims(told["access_token"].as_str().unwrap());
        let lives =
            claims["exp"].as_u64().unwrap() - tegata_core::Clock::now(bench.clock.as_ref()).secs();
        assert!(lives >= 890, "it is a token that serves: {lives}");
        tokens.push(told["access_token"].clone());
    }
    // The last one arrives, and the chain goes on.
    assert_eq!(refresh_as(&mut browser, csrf, NAME).await.status, StatusCode::OK);
    assert_eq!(refresh_as(&mut browser, csrf, &NAME.repeat(2)).await.status, StatusCode::OK);
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_thief_of_both_cookies_does_not_know_the_name() {
    for name in [None, Some("fedcba9876543210fedcba9876543210")] {
        let bench = Bench::new().await;
        let (mut browser, told) = Browser::signed_in(&bench).await;
        let csrf = told["csrf_token"].as_str().unwrap();
        let mut thief = browser.clone();
        refresh_as(&mut browser, csrf, NAME).await;
        bench.advance(60);
        let caught = match name {
            Some(name) => refresh_as(&mut thief, csrf, name).await,
            None => refresh(&mut thief, csrf).await,
        };
        assert_eq!(caught.status, StatusCode::UNAUTHORIZED);
        assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    }
    // Nor is the name of any use to somebody elsewhere, though it ends nothing either.
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    let mut thief = Browser { address: "198.51.100.9".parse().unwrap(), ..browser.clone() };
    refresh_as(&mut browser, csrf, NAME).await;
    bench.advance(60);
    assert_eq!(refresh_as(&mut thief, csrf, NAME).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_finds_the_session_again_whose_next_cookie_was_lost() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    bench.advance(301);
    // The answer to some call is lost, and with it the next value of the session cookie.
    let mut lost = browser.clone();
    lost.get("/api/auth/session").await;
    assert_ne!(lost.cookie("session_id"), browser.cookie("session_id"));
    bench.advance(600);
    let mut without = browser.clone();
    assert_eq!(without.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&mut without, csrf).await.status, StatusCode::UNAUTHORIZED, "unnamed");
    // Somebody who has the session cookie and no refresh cookie that counts is nobody.
    let mut planted = browser.clone();
    planted.jar.insert("refresh_token".into(), ("rt_1.1.nothing".into(), "/api/auth".into()));
    assert_eq!(refresh_as(&mut planted, csrf, NAME).await.status, StatusCode::UNAUTHORIZED);
    let answer = refresh_as(&mut browser, csrf, NAME).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(browser.cookie("session_id"), lost.cookie("session_id"));
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_page_without_a_token_gets_one_though_the_next_cookie_was_lost() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    bench.advance(301);
    browser.clone().get("/api/auth/session").await;
    bench.advance(600);
    let before = browser.jar.clone();
    let told = browser.get("/api/auth/csrf").await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.body);
    assert_eq!(browser.jar, before, "and nothing else");
    let csrf = told.json()["csrf_token"].as_str().unwrap().to_owned();
    // It signs nobody in.
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    let answer = refresh_as(&mut browser, &csrf, NAME).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
    // Where the session has ended, there is none.
    let old = before["session_id"].clone();
    browser.call(Method::POST, "/api/auth/logout", Some(&csrf), None).await;
    browser.jar.insert("session_id".into(), old);
    assert_eq!(browser.get("/api/auth/csrf").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_refresh_token_that_gives_nothing_vouches_for_nothing() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    let code = code(&mut browser, &authorize(&[("scope", "openid profile")])).await;
    let tokens = token(&bench, "web", &redeeming(&code)).await.json();
    let others = tokens["refresh_token"].as_str().unwrap().to_owned();
    bench.advance(301);
    browser.clone().get("/api/auth/session").await;
    bench.advance(600);
    // The unspent token of another client of the same session.
    let mut planted = browser.clone();
    planted.jar.insert("refresh_token".into(), (others, "/api/auth".into()));
    // The genuine one, from elsewhere on the network: the session is not of there.
    let elsewhere = Browser { address: "198.51.100.9".parse().unwrap(), ..browser.clone() };
    for mut thief in [planted, elsewhere] {
        let answer = refresh_as(&mut thief, csrf, NAME).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
        // It may be taken away, and not be given.
        let set = answer.headers.get_all(header::SET_COOKIE).iter().map(|it| it.to_str().unwrap());
        let mut given = set.filter_map(|it| it.strip_prefix("session_id="));
        assert!(given.all(|value| value.starts_with(';')));
        assert_eq!(thief.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(refresh_as(&mut browser, csrf, NAME).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_cookie_whose_successor_is_in_use_is_vouched_for_by_nothing() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    let mut thief = browser.clone();
    bench.advance(301);
    for _ in 0..2 {
        assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
    }
    assert_eq!(refresh_as(&mut thief, csrf, NAME).await.status, StatusCode::UNAUTHORIZED);
    // Nothing was spent by it.
    assert_eq!(refresh_as(&mut browser, csrf, NAME).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_name_that_could_be_guessed_or_stands_twice_is_refused() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    for bad in ["", "1", &"a".repeat(21), &"a".repeat(129), "0123456789 0123456789 0123"] {
        let answer = refresh_as(&mut browser, csrf, bad).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad:?}");
    }
    let request = Request::post("/api/auth/refresh")
        .header("origin", ISSUER)
        .header("x-csrf-token", csrf)
        .header("idempotency-key", NAME)
        .header("idempotency-key", NAME);
    let answer = browser.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(refresh_as(&mut browser, csrf, NAME).await.status, StatusCode::OK);
}

#[tokio::test]
async fn whatever_changes_something_needs_the_sessions_own_token() {
    let bench = Bench::new().await;
    let (browser, told) = Browser::signed_in(&bench).await;
    let (_, other) = Browser::signed_in(&bench).await;
    let sid = told["sid"].as_str().unwrap();
    let own = format!("/api/auth/sessions/{sid}");
    let calls = [
        (Method::POST, "/api/auth/refresh"),
        (Method::POST, "/api/auth/logout"),
        (Method::POST, "/api/auth/elevate"),
        (Method::DELETE, own.as_str()),
    ];
    for (method, target) in calls {
        let foreign = other["csrf_token"].as_str().unwrap();
        for token in [None, Some(""), Some("1.AAAA"), Some(foreign)] {
            let mut tab = browser.clone();
            let answer =
                tab.call(method.clone(), target, token, Some(&json!({"password": PASSWORD}))).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{target} {token:?}");
            assert_eq!(answer.json()["error"], "csrf");
        }
        // The right token, from another site's page.
        let mut tab = browser.clone();
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("origin", "https://evil.example")
            .header("x-csrf-token", told["csrf_token"].as_str().unwrap())
            .body(Body::empty())
            .unwrap();
        assert_eq!(tab.send(request).await.status, StatusCode::FORBIDDEN, "{target}");
    }
    let mut tab = browser.clone();
    assert_eq!(tab.get("/api/auth/session").await.status, StatusCode::OK, "nothing has happened");
}

/// What a page's own scripts find in it.
#[tokio::test]
async fn the_token_that_stands_in_a_page_is_good_for_its_session_alone() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let (mut other, _) = Browser::signed_in(&bench).await;
    let in_page = async |browser: &mut Browser| {
        let page = browser.get("/").await;
        let (_, after) = page.body.split_once("<meta name=\"csrf-token\" content=\"").unwrap();
        after.split_once('"').unwrap().0.to_owned()
    };
    let (own, theirs) = (in_page(&mut browser).await, in_page(&mut other).await);
    let proof = json!({"password": PASSWORD});
    let mut elevate = async |token: &str| {
        browser.call(Method::POST, "/api/auth/elevate", Some(token), Some(&proof)).await.status
    };
    assert_eq!(elevate(&theirs).await, StatusCode::FORBIDDEN);
    assert_eq!(elevate(&own).await, StatusCode::NO_CONTENT);
    // It is of the session, and so of the cookie's later values, too; and of nobody who has none.
    bench.advance(301);
    assert_eq!(elevate(&own).await, StatusCode::NO_CONTENT);
    for path in ["/", "/login"] {
        let page = Browser::new(&bench).get(path).await;
        assert!(!page.body.contains("csrf-token"), "{path}: {}", page.body);
    }
    let left = other.call(Method::POST, "/api/auth/logout", Some(&theirs), None).await;
    assert_eq!(left.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_refresh_cookie_of_another_session_is_of_no_use() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let mut attacker = Browser { address: "198.51.100.9".parse().unwrap(), ..Browser::new(&bench) };
    attacker.log_in("bob", PASSWORD).await;
    let planted = attacker.jar["refresh_token"].clone();
    browser.jar.insert("refresh_token".into(), planted);
    let answer = refresh(&mut browser, told["csrf_token"].as_str().unwrap()).await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (StatusCode::UNAUTHORIZED, Some("invalid_grant"))
    );
    // It was not spent either: the attacker's own tab goes on.
    let told = attacker.get("/api/auth/csrf").await.json();
    let own = refresh(&mut attacker, told["csrf_token"].as_str().unwrap()).await;
    assert_eq!(own.status, StatusCode::OK);
}

#[tokio::test]
async fn the_browsers_refresh_token_is_of_no_use_at_the_token_endpoint() {
    let bench = Bench::new().await;
    let (browser, _) = Browser::signed_in(&bench).await;
    let token = browser.cookie("refresh_token").unwrap().to_owned();
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str()),
        ("client_id", "tegata-browser"),
    ];
    let answer = Browser::new(&bench).submit("/oauth2/token", &fields).await;
    assert_eq!(answer.json()["error"], "invalid_client");
    let fields = [fields[0], fields[1], ("client_id", "spa")];
    let answer = Browser::new(&bench).submit("/oauth2/token", &fields).await;
    assert_eq!(answer.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn logging_out_ends_everything_that_the_sign_in_gave() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let copy = browser.clone();
    let csrf = told["csrf_token"].as_str().unwrap();
    let answer = browser.call(Method::POST, "/api/auth/logout", Some(csrf), None).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NO_CONTENT, ""));
    assert!(browser.jar.is_empty());
    let mut thief = copy.clone();
    assert_eq!(thief.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&mut copy.clone(), csrf).await.status, StatusCode::UNAUTHORIZED);
    let request = Request::get("/oauth2/userinfo")
        .header(header::AUTHORIZATION, format!("Bearer {}", told["access_token"].as_str().unwrap()))
        .body(Body::empty())
        .unwrap();
    assert_eq!(Answer::of(&bench.router, request).await.status, StatusCode::UNAUTHORIZED);
    // Without a session there is nothing to end, and the cookies go all the same.
    let mut stale = copy;
    let again = stale.call(Method::POST, "/api/auth/logout", None, None).await;
    assert_eq!(again.status, StatusCode::NO_CONTENT);
    assert!(stale.jar.is_empty());
    let nobody = Browser::new(&bench).call(Method::POST, "/api/auth/logout", None, None).await;
    assert_eq!(nobody.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn logging_out_everywhere_ends_the_other_browsers_too() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let (mut other, _) = Browser::signed_in(&bench).await;
    let mut bob = Browser::new(&bench);
    bob.log_in("bob", PASSWORD).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    let target = "/api/auth/logout?everywhere=true";
    let answer = browser.call(Method::POST, target, Some(csrf), None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(other.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bob.get("/api/auth/session").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_session_says_who_is_signed_in_and_how() {
    let bench = Bench::new().await;
    assert_eq!(
        Browser::new(&bench).get("/api/auth/session").await.status,
        StatusCode::UNAUTHORIZED
    );
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!((&session["sid"], &session["user"]["username"]), (&told["sid"], &"alice".into()));
    assert_eq!(session["roles"], json!(["customer"]));
    assert_eq!((&session["is_elevated"], &session["amr"]), (&false.into(), &json!(["pwd"])));
}

#[tokio::test]
async fn proving_the_password_again_elevates_the_session_for_a_while() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    let wrong = json!({"password": "wrong"});
    let answer = browser.call(Method::POST, "/api/auth/elevate", Some(csrf), Some(&wrong)).await;
    assert_eq!(answer.json()["error"], "invalid_credentials");
    let before = browser.cookie("session_id").unwrap().to_owned();
    let right = json!({"password": PASSWORD});
    let answer = browser.call(Method::POST, "/api/auth/elevate", Some(csrf), Some(&right)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    assert_ne!(browser.cookie("session_id").unwrap(), before, "a rise is a new value");
    assert_eq!(browser.get("/api/auth/session").await.json()["is_elevated"], true);
    // Whoever has the earlier value has proven nothing.
    let mut earlier = browser.clone();
    earlier.jar.insert("session_id".into(), (before, "/".into()));
    assert_ne!(earlier.get("/api/auth/session").await.json()["is_elevated"], true);
    bench.advance(301);
    assert_eq!(browser.get("/api/auth/session").await.json()["is_elevated"], false);
    let nothing =
        browser.call(Method::POST, "/api/auth/elevate", Some(csrf), Some(&json!({}))).await;
    assert_eq!(nothing.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_persons_sessions_are_theirs_to_see_and_to_end() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let (mut other, second) = Browser::signed_in(&bench).await;
    let mut bob = Browser::new(&bench);
    let bobs = bob.log_in("bob", PASSWORD).await.json();
    let listed = browser.get("/api/auth/sessions").await.json();
    let listed = listed["sessions"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    let own = listed.iter().find(|it| it["current"] == true).unwrap();
    assert_eq!((&own["sid"], &own["user_agent"]), (&told["sid"], &"Firefox/Linux".into()));

    let csrf = told["csrf_token"].as_str();
    let end = |sid: &serde_json::Value| format!("/api/auth/sessions/{}", sid.as_str().unwrap());
    let bobs = browser.call(Method::DELETE, &end(&bobs["sid"]), csrf, None).await;
    assert_eq!(bobs.status, StatusCode::NOT_FOUND);
    let nonsense = browser.call(Method::DELETE, "/api/auth/sessions/x", csrf, None).await;
    assert_eq!(nonsense.status, StatusCode::NOT_FOUND);
    assert_eq!(bob.get("/api/auth/session").await.status, StatusCode::OK);
    let ended = browser.call(Method::DELETE, &end(&second["sid"]), csrf, None).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(other.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    let ended = browser.call(Method::DELETE, &end(&told["sid"]), csrf, None).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert!(browser.jar.is_empty());
}

#[tokio::test]
async fn a_session_that_is_due_gets_its_next_cookie_with_whatever_is_answered() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap().to_owned();
    for target in ["/api/auth/session", "/api/auth/csrf", "/api/auth/sessions", "/", "/login"] {
        bench.advance(301);
        let before = browser.cookie("session_id").unwrap().to_owned();
        assert_eq!(browser.get(target).await.status, StatusCode::OK, "{target}");
        assert_ne!(browser.cookie("session_id").unwrap(), before, "{target}");
    }
    bench.advance(301);
    let before = browser.cookie("session_id").unwrap().to_owned();
    assert_eq!(refresh(&mut browser, &csrf).await.status, StatusCode::OK);
    assert_ne!(browser.cookie("session_id").unwrap(), before);
}

#[tokio::test]
async fn a_sign_in_ends_the_session_that_the_browser_had_and_the_oldest_beyond_the_limit() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let mut before = browser.clone();
    browser.log_in("bob", PASSWORD).await;
    assert_eq!(before.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);

    let mut browsers = Vec::new();
    for _ in 0..4 {
        bench.advance(61);
        browsers.push(Browser::signed_in(&bench).await);
    }
    let (oldest, told) = &mut browsers[0];
    assert_eq!(oldest.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    let request = Request::get("/oauth2/userinfo")
        .header(header::AUTHORIZATION, format!("Bearer {}", told["access_token"].as_str().unwrap()))
        .body(Body::empty())
        .unwrap();
    assert_eq!(Answer::of(&bench.router, request).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browsers[3].0.get("/api/auth/session").await.status, StatusCode::OK);
}

#[tokio::test]
async fn signing_in_right_after_everything_was_taken_back_works() {
    use tegata_core::Batch;
    use tegata_token::{Entry, Target};

    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    bench.advance(5);
    let now = bench.provider.node().now();
    let entry = Entry {
        target: Target::Subject {
            sub: bench.alice.id.as_str().to_owned(),
            up_to: now,
            tokens_only: false,
        },
        places: Vec::new(),
        at: now,
        until: now + std::time::Duration::from_secs(86_400),
        reason: "stolen".into(),
        actor: "system".into(),
    };
    bench.provider.revoker().commit(Batch::new(bench.realm.clone()), vec![entry]).await.unwrap();
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    bench.clock.advance(std::time::Duration::from_millis(10));
    let (mut fresh, told) = Browser::signed_in(&bench).await;
    assert_eq!(fresh.get("/api/auth/session").await.status, StatusCode::OK);
    let refreshed = refresh(&mut fresh, told["csrf_token"].as_str().unwrap()).await;
    assert_eq!(refreshed.status, StatusCode::OK);
}

#[tokio::test]
async fn whoever_has_moved_can_still_sign_out() {
    let bench = Bench::new().await;
    let (browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str();
    let mut moved = Browser { address: "198.51.100.9".parse().unwrap(), ..browser.clone() };
    assert_eq!(moved.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert!(moved.cookie("session_id").is_some(), "its owner may come home");
    let denied = moved.call(Method::POST, "/api/auth/logout", None, None).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    let answer = moved.call(Method::POST, "/api/auth/logout", csrf, None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let mut home = browser.clone();
    assert_eq!(home.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_thief_in_the_same_network_is_not_given_the_answer_of_a_refresh_under_way() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let mut thief = Browser::new(&bench);
    let own = thief.log_in("bob", PASSWORD).await.json();
    thief.jar.insert("refresh_token".into(), browser.jar["refresh_token"].clone());
    let (csrf, own) = (told["csrf_token"].as_str().unwrap(), own["csrf_token"].as_str().unwrap());
    let (good, bad) = tokio::join!(refresh(&mut browser, csrf), refresh(&mut thief, own));
    assert_eq!((good.status, bad.status), (StatusCode::OK, StatusCode::UNAUTHORIZED));
}

/// A sign-in that cannot be answered does not begin, and ends no session that there is.
#[tokio::test]
async fn nothing_begins_that_cannot_be_signed() {
    let bench = Bench::with(|config| config.browser.algorithm = Algorithm::EdDsa).await;
    let mut browser = Browser::new(&bench);
    for _ in 0..4 {
        let answer = browser.log_in("alice", PASSWORD).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(browser.jar.is_empty());
    }
    let records = bench.records.as_ref();
    let page = Page { after: None, limit: 10 };
    let all = repository::scan::<Session>(records, &bench.realm, page).await.unwrap();
    assert!(all.is_empty());
}
