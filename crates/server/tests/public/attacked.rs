//! Attacks on the sessions of browsers: fixed, tossed, injected, altered and raced cookies, and requests
//! that another site's page makes a browser send.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::json;
use tegata_core::{Batch, Epoch, Expect, SessionId, Stored as _, repository};
use tegata_session::{Binding, Fingerprint, Session, Standing};

use super::{
    bench::{Bench, PASSWORD},
    browser::{Answer, Browser, encoded},
};

const SESSION: &str = "/api/auth/session";

/// Asks who is signed in, with exactly this `Cookie`.
async fn with_cookies(bench: &Bench, cookies: &str) -> Answer {
    let request = Request::get(SESSION).header(header::COOKIE, cookies).body(Body::empty());
    Browser::new(bench).send(request.unwrap()).await
}

#[tokio::test]
async fn a_cookie_that_was_planted_before_the_sign_in_is_of_no_use_after_it() {
    let bench = Bench::new().await;
    // Of a session of the attacker's own, of one that was never made, and of nothing at all.
    let mut attacker = Browser::new(&bench);
    attacker.log_in("bob", PASSWORD).await;
    let own = attacker.cookie("session_id").unwrap().to_owned();
    let made_up = own.replacen("1.", "2.", 1);
    for planted in [own.as_str(), made_up.as_str(), "fixed"] {
        let mut victim = Browser::new(&bench);
        victim.jar.insert("session_id".into(), (planted.to_owned(), "/".into()));
        let told = victim.log_in("alice", PASSWORD).await.json();
        let given = victim.cookie("session_id").unwrap();
        assert_ne!(given, planted);
        assert!(!planted.contains(told["sid"].as_str().unwrap()), "the handle is new, too");
        let answer = with_cookies(&bench, &format!("session_id={planted}")).await;
        let user = &answer.json()["user"]["username"];
        assert_ne!(user, "alice", "{planted}");
    }
    // What the attacker planted is not theirs any more either: it was replaced.
    assert_eq!(attacker.get(SESSION).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn cookies_that_a_neighbour_tosses_sign_nobody_in() {
    let bench = Bench::in_production().await;
    let (browser, _) = Browser::signed_in(&bench).await;
    let own = browser.cookie("__Host-session_id").unwrap();
    let mut attacker = Browser::new(&bench);
    attacker.log_in("bob", PASSWORD).await;
    let bobs = attacker.cookie("__Host-session_id").unwrap().to_owned();
    // A name without the prefix can be set by any subdomain, and over plain HTTP; it is not read.
    for name in ["session_id", "__host-session_id", "__Secure-session_id", "_Host-session_id"] {
        let answer = with_cookies(&bench, &format!("{name}={bobs}")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
        let answer = with_cookies(&bench, &format!("{name}={bobs}; __Host-session_id={own}")).await;
        assert_eq!(answer.json()["user"]["username"], "alice", "{name}");
    }
    // Two of the right name, whatever comes first: nobody can tell which was planted.
    for cookies in [
        format!("__Host-session_id={bobs}; __Host-session_id={own}"),
        format!("__Host-session_id={own}; __Host-session_id={bobs}"),
        format!("__Host-session_id={own}; __Host-session_id="),
    ] {
        let answer = with_cookies(&bench, &cookies).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{cookies}");
        assert!(answer.headers.get(header::SET_COOKIE).is_none(), "the owner's is kept");
    }
}

#[tokio::test]
async fn a_value_that_is_cut_altered_or_longer_is_no_session() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let value = browser.cookie("session_id").unwrap().to_owned();
    let mut others: Vec<String> = (0..value.len()).map(|at| value[..at].to_owned()).collect();
    others.extend((0..value.len()).map(|at| {
        let mut bytes = value.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    }));
    others.extend(["A", "=", ".", "%00", "\t"].map(|more| format!("{value}{more}")));
    others.extend([format!("0{value}"), format!("\"{value}\""), value.to_uppercase()]);
    for other in others {
        let answer = with_cookies(&bench, &format!("session_id={other}")).await;
        let refused = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST);
        // A cookie in quotes is the same cookie, and white space around it is none of it.
        let is_same = other.trim_matches(['"', '\t']) == value;
        assert!(refused || is_same, "{other}: {}", answer.status);
    }
    assert_eq!(browser.get(SESSION).await.status, StatusCode::OK, "nothing has happened to it");
}

#[tokio::test]
async fn cookies_too_large_to_read_are_nobodys_and_harm_nobody() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let value = browser.cookie("session_id").unwrap().to_owned();
    for cookies in [
        format!("session_id={}", "A".repeat(5_000)),
        format!("session_id={value}{}", "A".repeat(60_000)),
        format!("session_id={value}; x={}", "A".repeat(60_000)),
        format!("session_id={value}; {}", "a=b; ".repeat(2_000)),
        "session_id=1.1.20780.A.4294967295.A; ".repeat(200),
    ] {
        let answer = with_cookies(&bench, &cookies).await;
        assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_ne!(answer.status, StatusCode::OK, "{} bytes", cookies.len());
    }
    assert_eq!(browser.get(SESSION).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_injected_through_a_cookie_stays_in_it() {
    let bench = Bench::new().await;
    for value in [
        "x%0d%0aSet-Cookie:%20a=b",
        "<script>alert(1)</script>",
        "' OR 1=1 --",
        "../../etc/passwd",
        "1.1.20780.A.0.A\", \"x\": \"",
        "\u{fffd}",
    ] {
        let mut browser = Browser::new(&bench);
        browser.jar.insert("session_id".into(), (value.to_owned(), "/".into()));
        for target in [SESSION, "/", "/login"] {
            let Ok(cookie) = format!("session_id={value}").parse::<http::HeaderValue>() else {
                continue;
            };
            let request = Request::get(target).header(header::COOKIE, cookie);
            let answer = browser.clone().send(request.body(Body::empty()).unwrap()).await;
            assert!(!answer.body.contains(value), "{target} repeats {value}");
            assert!(answer.headers.get("a").is_none());
            assert!(answer.status.as_u16() < 500, "{target} {value}");
        }
    }
}

/// What a page of another site can have a browser send, with the person's cookies.
#[tokio::test]
async fn requests_that_other_sites_forge_change_nothing() {
    let bench = Bench::new().await;
    let (browser, told) = Browser::signed_in(&bench).await;
    let sid = told["sid"].as_str().unwrap();
    let form = encoded(&[("password", PASSWORD), ("everywhere", "true")]);
    let body = json!({"password": PASSWORD}).to_string();
    let own = format!("/api/auth/sessions/{sid}");
    let targets = [
        (Method::POST, "/api/auth/refresh"),
        (Method::POST, "/api/auth/logout"),
        (Method::POST, "/api/auth/logout?everywhere=true"),
        (Method::POST, "/api/auth/elevate"),
        (Method::DELETE, own.as_str()),
    ];
    let forged: [(&str, Option<&str>, Option<&str>, &str); 9] = [
        // A form.
        (
            "application/x-www-form-urlencoded",
            Some("https://evil.example"),
            Some("cross-site"),
            &form,
        ),
        ("multipart/form-data; boundary=x", Some("https://evil.example"), None, "--x--"),
        // Text that reads like JSON, which needs no preflight.
        ("text/plain", Some("https://evil.example"), Some("cross-site"), &body),
        // A frame that hides where it is from, and a redirect through another site.
        ("application/json", Some("null"), Some("cross-site"), &body),
        ("application/json", Some("null"), None, &body),
        // A name that ends or begins as ours.
        ("application/json", Some("http://localhost:8000.evil.example"), None, &body),
        ("application/json", Some("http://evil-localhost:8000"), None, &body),
        // Another host of our site.
        ("application/json", Some("http://shop.localhost:8000"), Some("same-site"), &body),
        // A browser that says nothing of where it is from, and has no token.
        ("application/json", None, None, &body),
    ];
    for (method, target) in &targets {
        for (media_type, origin, site, body) in forged {
            // Also with a token that was stolen from somebody else, or with the right one.
            for csrf in [None, Some("1.AAAA"), told["csrf_token"].as_str()] {
                if origin.is_none() && csrf == told["csrf_token"].as_str() {
                    continue;
                }
                let mut request = Request::builder().method(method.clone()).uri(*target);
                let headers = [
                    ("content-type", Some(media_type)),
                    ("origin", origin),
                    ("sec-fetch-site", site),
                    ("x-csrf-token", csrf),
                ];
                for (name, value) in headers {
                    if let Some(value) = value {
                        request = request.header(name, value);
                    }
                }
                let request = request.body(Body::from(body.to_owned())).unwrap();
                let answer = browser.clone().send(request).await;
                let case = format!("{target} {origin:?} {media_type} {csrf:?}");
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{case}");
                assert!(answer.headers.get(header::SET_COOKIE).is_none(), "{case}");
                assert!(answer.headers.get("access-control-allow-origin").is_none(), "{case}");
            }
        }
    }
    // The same at our own pages.
    for (media_type, origin, site, body) in forged {
        let mut request = Request::post("/login/sessions").header("content-type", media_type);
        for (name, value) in [("origin", origin), ("sec-fetch-site", site)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let answer = browser.clone().send(request.body(Body::from(body.to_owned())).unwrap()).await;
        assert!(answer.status.is_client_error(), "{media_type} {origin:?}: {}", answer.status);
    }
    // Also where the form is right in everything but where it comes from.
    let page = browser.clone().get("/").await;
    let sid = told["sid"].as_str().unwrap();
    let right = format!("csrf_token={}&sid={sid}", page.field("csrf_token"));
    for (origin, site) in [("https://evil.example", "cross-site"), ("null", "cross-site")] {
        let request = Request::post("/login/sessions").header("origin", origin);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("sec-fetch-site", site).body(Body::from(right.clone()));
        let answer = browser.clone().send(request.unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
    }
    assert_eq!(browser.clone().get(SESSION).await.status, StatusCode::OK, "all of it lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sign_out_wins_over_refreshes_and_rotations_at_the_same_moment() {
    for _ in 0..10 {
        let bench = Bench::new().await;
        let (browser, told) = Browser::signed_in(&bench).await;
        let csrf = told["csrf_token"].as_str().unwrap().to_owned();
        bench.advance(301);
        let mut tabs = Vec::new();
        for turn in 0..12 {
            let (mut tab, csrf) = (browser.clone(), csrf.clone());
            tabs.push(tokio::spawn(async move {
                let (method, target) = match turn % 3 {
                    0 => (Method::POST, "/api/auth/refresh"),
                    1 => (Method::GET, SESSION),
                    _ if turn == 5 => (Method::POST, "/api/auth/logout"),
                    _ => (Method::GET, "/api/auth/csrf"),
                };
                let answer = tab.call(method, target, Some(&csrf), None).await;
                (tab, answer)
            }));
        }
        let mut given = vec![told["access_token"].as_str().unwrap().to_owned()];
        let mut after = Vec::new();
        for tab in tabs {
            let (tab, answer) = tab.await.unwrap();
            assert!(answer.status.as_u16() < 500, "{}", answer.body);
            if answer.status == StatusCode::OK
                && let Some(token) = answer.json()["access_token"].as_str()
            {
                given.push(token.to_owned());
            }
            after.push(tab);
        }
        // Whatever any of them was given, it is worth nothing.
        for mut tab in after {
            assert_eq!(tab.get(SESSION).await.status, StatusCode::UNAUTHORIZED);
            let answer = tab.call(Method::POST, "/api/auth/refresh", Some(&csrf), None).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
        for token in given {
            let request = Request::get("/oauth2/userinfo")
                .header(header::AUTHORIZATION, format!("Bearer {token}"))
                .body(Body::empty())
                .unwrap();
            let answer = Answer::of(&bench.router, request).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test]
async fn a_session_that_an_old_backup_brought_back_is_ended() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let sid = told["sid"].as_str().unwrap();
    let records = bench.records.as_ref();
    let backup = repository::load::<Session>(records, &bench.realm, sid).await.unwrap().unwrap();
    let old = browser.clone();
    bench.advance(301);
    assert_eq!(browser.get(SESSION).await.status, StatusCode::OK);
    assert_ne!(browser.cookie("session_id"), old.cookie("session_id"));
    let batch = Batch::new(bench.realm.clone()).with(backup.value.put(Expect::Any));
    records.commit(batch).await.unwrap();
    // The value in use is of a generation that the record has not reached: which were replaced since,
    // nobody knows any more.
    assert_eq!(browser.get(SESSION).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(old.clone().get(SESSION).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn three_thousand_sessions_of_one_person_are_seen_and_ended() {
    let bench = Bench::new().await;
    let now = bench.node.now();
    let ends = now + std::time::Duration::from_secs(3_600);
    let standing = Standing { auth_time: now.secs(), ..Standing::default() };
    for _ in 0..30 {
        let mut batch = Batch::new(bench.realm.clone());
        for _ in 0..100 {
            let session = Session {
                id: SessionId::generate(Epoch::FIRST, ends, bench.node.entropy()),
                user: bench.alice.id.clone(),
                salt: [1; 16],
                started: now,
                ends,
                idle_millis: 1_800_000,
                seen: now,
                binding: Binding::of("192.0.2.9".parse().unwrap(), None),
                fingerprint: Fingerprint::default(),
                generation: 0,
                made: now,
                handover: None,
                standing: standing.clone(),
                data: std::collections::BTreeMap::new(),
                ended: None,
            };
            batch = batch.with(session.put(Expect::Absent));
        }
        bench.records.commit(batch).await.unwrap();
    }
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let listed = browser.get("/api/auth/sessions").await.json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 3_001);
    let csrf = told["csrf_token"].as_str();
    let target = "/api/auth/logout?everywhere=true";
    let answer = browser.call(Method::POST, target, csrf, None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let left = bench.sessions.list(&bench.realm, &bench.alice.id).await.unwrap();
    assert!(left.is_empty(), "{} are left", left.len());
    // Signing in anew is not slowed by what has ended.
    let (mut browser, _) = Browser::signed_in(&bench).await;
    assert_eq!(browser.get(SESSION).await.json()["user"]["username"], "alice");
}
