//! What those who mean harm try.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};

use super::{
    bench::{Bench, CALLBACK, ISSUER, PASSWORD},
    browser::{Answer, Browser, encoded},
    flow::{authorize, basic, code, redeeming, sign_in_on_page, token},
};

async fn post(bench: &Bench, target: &str, content_type: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(target)
        .header(header::AUTHORIZATION, basic("web"))
        .header(header::CONTENT_TYPE, content_type)
        .body(body.into())
        .unwrap();
    Answer::of(&bench.router, request).await
}

#[tokio::test]
async fn a_path_that_is_no_text_leads_nowhere() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str();
    let mut answers =
        vec![browser.call(Method::DELETE, "/api/auth/sessions/%ff", csrf, None).await];
    for path in ["/status-lists/%ff", "/login/assets/%ff", "/login/assets/nothing.js"] {
        answers.push(browser.get(path).await);
    }
    for answer in answers {
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.json()["trace_id"].is_string());
    }
}

#[tokio::test]
async fn a_state_that_is_too_long_is_not_sent_back() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let refused = browser.get(&authorize(&[("state", &"s".repeat(2049))])).await;
    let location = refused.location();
    assert!(location.starts_with(CALLBACK) && location.contains("error=invalid_request"));
    assert!(!location.contains("state="), "{location}");
    let longest = "s".repeat(2048);
    let asked = authorize(&[("state", &longest), ("prompt", "none")]);
    assert!(browser.get(&asked).await.location().contains(&longest));
}

#[tokio::test]
async fn nobody_fills_the_store_with_requests_that_wait_for_a_person() {
    let bench = Bench::with(|config| config.limits.held = "3/m".parse().ok()).await;
    let mut browser = Browser::new(&bench);
    for _ in 0..3 {
        assert!(browser.get(&authorize(&[])).await.location().starts_with("/login?request="));
    }
    let page = browser.get(&authorize(&[])).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(page.headers[header::RETRY_AFTER], "20");
    assert!(page.body.contains("Too many requests came from your network"), "{}", page.body);
    // What needs nothing to be kept is answered.
    let asked = authorize(&[("prompt", "none")]);
    assert!(browser.get(&asked).await.location().contains("error=login_required"));
    bench.advance(20);
    assert!(browser.get(&authorize(&[])).await.location().starts_with("/login?request="));
}

#[tokio::test]
async fn no_redirect_uri_but_a_registered_one_is_followed() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    for uri in [
        "http://127.0.0.1:9999/callback/",
        "http://127.0.0.1:9999/callback?x=1",
        "http://127.0.0.1:9999/callback#f",
        "http://127.0.0.1:9999/Callback",
        "http://127.0.0.1:9999/callback/../evil",
        "http://127.0.0.1:9999/%63allback",
        "http://127.0.0.1:9999@evil.example/callback",
        "http://127.0.0.1.evil.example:9999/callback",
        "http://localhost:9999/callback",
        "https://127.0.0.1:9999/callback",
        "https://evil.example/callback",
        "//evil.example/callback",
        "/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://evil.example\\@127.0.0.1:9999/callback",
    ] {
        let page = browser.get(&authorize(&[("redirect_uri", uri)])).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{uri}");
        assert!(page.body.contains("invalid redirect_uri"), "{uri}");
        assert!(page.headers.get("location").is_none());
        assert!(!page.body.contains("evil"), "the page repeats {uri}");
    }
    // The same registered for another client.
    let page = browser.get(&authorize(&[("client_id", "other")])).await;
    assert!(page.body.contains("invalid redirect_uri"));
    // Twice, so that two readers see different ones.
    let twice = format!("{}&redirect_uri=https%3A%2F%2Fevil.example", authorize(&[]));
    assert_eq!(browser.get(&twice).await.status, StatusCode::BAD_REQUEST);
    let unknown = browser.get(&authorize(&[("client_id", "<b>nobody")])).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    assert!(!unknown.body.contains("<b>"));
}

#[tokio::test]
async fn a_code_without_pkce_or_with_a_weak_one_is_not_given() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    for changes in [
        &[("code_challenge", ""), ("code_challenge_method", "")][..],
        &[("code_challenge_method", "plain")],
        &[("code_challenge_method", "")],
        &[("code_challenge", "short")],
    ] {
        let back = browser.get(&authorize(changes)).await;
        assert_eq!(back.sent_with("error").as_deref(), Some("invalid_request"), "{changes:?}");
    }
}

#[tokio::test]
async fn a_stolen_code_is_of_no_use() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let code = code(&mut browser, &authorize(&[])).await;
    let mut fields = redeeming(&code);
    for (at, wrong) in [
        (3, ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXX")),
        (2, ("redirect_uri", "http://127.0.0.1:9998/callback")),
    ] {
        let right = std::mem::replace(&mut fields[at], wrong);
        let answer = token(&bench, "web", &fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.json()["error"], "invalid_grant");
        fields[at] = right;
    }
    let missing = token(&bench, "web", &fields[..3]).await;
    assert_eq!(missing.json()["error"], "invalid_request");
    // Another client, which has a secret of its own.
    let other = token(&bench, "other", &fields).await;
    assert_eq!(other.json()["error"], "invalid_grant");
    // None of that has spent it.
    assert_eq!(token(&bench, "web", &fields).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_replayed_code_takes_back_what_it_gave() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let code = code(&mut browser, &authorize(&[])).await;
    let first = token(&bench, "web", &redeeming(&code)).await.json();
    let replayed = token(&bench, "web", &redeeming(&code)).await;
    assert_eq!(replayed.json()["error"], "invalid_grant");
    let refresh = first["refresh_token"].as_str().unwrap();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    assert_eq!(token(&bench, "web", &fields).await.json()["error"], "invalid_grant");
    let asked = [("token", first["access_token"].as_str().unwrap())];
    let request = Request::post("/oauth2/introspect")
        .header(header::AUTHORIZATION, basic("service"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encoded(&asked)))
        .unwrap();
    assert_eq!(Answer::of(&bench.router, request).await.json()["active"], false);
}

#[tokio::test]
async fn a_form_that_our_page_did_not_give_signs_nobody_in() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let page = browser.get("/login").await;
    let token = page.field("csrf_token").to_owned();
    let fields = |token: &'static str| {
        [("username", "alice"), ("password", PASSWORD), ("csrf_token", token)]
    };
    for missing in ["", "1.AAAA", "null"] {
        let answer = browser.submit("/login", &fields(missing)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.body.contains("id=\"username\""), "the form is given once more");
    }
    let good = [("username", "alice"), ("password", PASSWORD), ("csrf_token", token.as_str())];
    // A token of another browser's form.
    let mut other = Browser::new(&bench);
    other.get("/login").await;
    assert_eq!(other.submit("/login", &good).await.status, StatusCode::FORBIDDEN);
    // Our own form, sent by another site's page.
    for (origin, site) in [
        ("null", "cross-site"),
        ("null", "same-origin"),
        ("https://evil.example", "cross-site"),
        ("http://localhost:8000.evil.example", "same-origin"),
        ("http://evil-localhost:8000", "same-origin"),
        ("http://localhost:8001", "same-site"),
        (ISSUER, "cross-site"),
    ] {
        let headers = [("origin", origin), ("sec-fetch-site", site)];
        let answer = browser.submit_from("/login", &good, &headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin} {site}");
        assert!(browser.cookie("session_id").is_none());
    }
    assert_eq!(browser.submit("/login", &good).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn nobody_agrees_in_somebody_elses_name() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let answer = sign_in_on_page(&mut browser, &authorize(&[])).await;
    let page = browser.get(answer.location()).await;
    let (token, handle) = (page.field("csrf_token").to_owned(), page.field("request").to_owned());
    let with = |token: &str| {
        [
            ("csrf_token", token.to_owned()),
            ("request", handle.clone()),
            ("decision", "allow".into()),
        ]
    };
    let mut thief = Browser::new(&bench);
    let told = thief.log_in("bob", PASSWORD).await.json();
    for token in ["", told["csrf_token"].as_str().unwrap()] {
        let fields = with(token);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = browser.submit("/oauth2/consent", &fields).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    let fields = with(&token);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let foreign = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let answer = browser.submit_from("/oauth2/consent", &fields, &foreign).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // Without a session, the form says nothing.
    let mut nobody = Browser::new(&bench);
    let answer = nobody.submit("/oauth2/consent", &fields).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(browser.submit("/oauth2/consent", &fields).await.sent_with("code").is_some());
}

#[tokio::test]
async fn nothing_that_is_reflected_becomes_markup() {
    let bench = Bench::new().await;
    let attack = "\"><script>alert(1)</script>'<img src=x onerror=alert(1)>";
    let mut browser = Browser::new(&bench);
    let clean = |answer: &Answer| {
        assert!(!answer.body.contains("<script>alert"), "{}", answer.body);
        assert!(!answer.body.contains("<img src=x"), "{}", answer.body);
    };
    let hinted = browser.get(&authorize(&[("login_hint", attack), ("ui_locales", attack)])).await;
    clean(&browser.get(hinted.location()).await);
    for name in ["client_id", "redirect_uri", "scope", "state", "prompt", "response_type", "nonce"]
    {
        clean(&browser.get(&authorize(&[(name, attack)])).await);
    }
    for path in ["/login", "/oauth2/consent", "/oauth2/logout", "/nothing"] {
        for name in
            ["request", "lang", "state", "id_token_hint", "post_logout_redirect_uri", attack]
        {
            clean(&browser.get(&format!("{path}?{}", encoded(&[(name, attack)]))).await);
        }
    }
    let page = browser.get("/login").await;
    let fields =
        [("username", attack), ("password", "x"), ("csrf_token", page.field("csrf_token"))];
    let again = browser.submit("/login", &fields).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    clean(&again);
    // A client's own name is somebody else's text, too.
    bench
        .declare(tegata_oauth::ClientMetadata {
            client_id: "odd".into(),
            client_name: Some(attack.into()),
            logo_uri: Some("https://odd.example/\"onload=alert(1)".into()),
            redirect_uris: vec![CALLBACK.into()],
            scope: "openid".into(),
            ..Default::default()
        })
        .await;
    let answer =
        sign_in_on_page(&mut browser, &authorize(&[("client_id", "odd"), ("scope", "openid")]))
            .await;
    let consent = browser.get(answer.location()).await;
    clean(&consent);
    assert!(consent.body.contains("&#34;") && !consent.body.contains("\"onload"));
}

#[tokio::test]
async fn nothing_that_is_given_back_leaves_its_header() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    for value in ["a\r\nSet-Cookie: x=y", "a\nb", "a\0b", "a\u{85}b"] {
        let page = browser.get(&authorize(&[("state", value)])).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{value:?}");
    }
    let back =
        browser.get(&authorize(&[("state", "é \u{1f600} %0d%0a"), ("prompt", "none")])).await;
    assert_eq!(back.sent_with("state").as_deref(), Some("é \u{1f600} %0d%0a"));
    assert!(back.location().is_ascii());
    for language in ["ja\r\nx: y", "ja", "en"] {
        let page = browser.get(&format!("/login?{}", encoded(&[("lang", language)]))).await;
        assert!(matches!(page.header("content-language"), "en" | "ja"));
    }
}

#[tokio::test]
async fn forms_are_read_within_limits_and_in_one_way() {
    let bench = Bench::new().await;
    let form = "application/x-www-form-urlencoded";
    for target in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"] {
        for (content_type, body, status) in [
            ("application/json", b"{}".to_vec(), StatusCode::BAD_REQUEST),
            ("text/plain", b"token=x".to_vec(), StatusCode::BAD_REQUEST),
            ("multipart/form-data; boundary=x", b"--x--".to_vec(), StatusCode::BAD_REQUEST),
            (form, b"token=%ff".to_vec(), StatusCode::BAD_REQUEST),
            (form, b"token=%C3%28".to_vec(), StatusCode::BAD_REQUEST),
            (form, b"token=\xff\xfe".to_vec(), StatusCode::BAD_REQUEST),
            (form, b"token=%zz".to_vec(), StatusCode::BAD_REQUEST),
            (form, b"token=a&token=b".to_vec(), StatusCode::BAD_REQUEST),
            (form, b"grant_type=refresh_token&grant_type=x".to_vec(), StatusCode::BAD_REQUEST),
            (form, b"".to_vec(), StatusCode::BAD_REQUEST),
            (
                form,
                [b"token=".to_vec(), vec![b'a'; 65 * 1024]].concat(),
                StatusCode::PAYLOAD_TOO_LARGE,
            ),
        ] {
            let answer = post(&bench, target, content_type, body.clone()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            if target == "/oauth2/introspect" && body.is_empty() {
                continue; // `web` may not ask at all, which is told first
            }
            assert_eq!(answer.status, status, "{target} {content_type} {shown}");
            assert_eq!(answer.json()["error"], "invalid_request", "{target} {shown}");
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            let request =
                Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
            let answer = Answer::of(&bench.router, request).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(answer.header("allow"), "POST");
        }
    }
}

#[tokio::test]
async fn heads_are_read_within_limits() {
    let bench = Bench::new().await;
    let long = format!("/login?x={}", "a".repeat(9000));
    let request = Request::get(long).body(Body::empty()).unwrap();
    assert_eq!(Answer::of(&bench.router, request).await.status, StatusCode::URI_TOO_LONG);
    let mut many = Request::get("/login");
    for number in 0..101 {
        many = many.header(format!("x-{number}"), "a");
    }
    let answer = Answer::of(&bench.router, many.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let large = Request::get("/login").header("x", "a".repeat(33 * 1024));
    let answer = Answer::of(&bench.router, large.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_answered_alike() {
    let bench = Bench::new().await;
    let mut bodies = Vec::new();
    for (username, password) in
        [("alice", "wrong"), ("nobody", "wrong"), ("a b", "wrong"), ("nobody", PASSWORD)]
    {
        let mut browser = Browser::new(&bench);
        let page = browser.get("/login").await;
        let token = page.field("csrf_token").to_owned();
        let fields =
            [("username", username), ("password", password), ("csrf_token", token.as_str())];
        let answer = browser.submit("/login", &fields).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        // What is different for everybody: the token, the nonce, the name that was typed.
        let given = answer.field("csrf_token").to_owned();
        let nonce =
            answer.body.split_once("nonce=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
        let typed = format!("value=\"{username}\"");
        let body = answer.body.replace(&given, "…").replace(&nonce, "…").replace(&typed, "…");
        let mut names: Vec<_> =
            answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        bodies.push((body, names));

        let told = browser.log_in(username, password).await;
        assert_eq!(told.status, StatusCode::UNAUTHORIZED);
        let mut problem = told.json();
        assert_eq!(problem["error"], "invalid_credentials");
        problem.as_object_mut().unwrap().remove("trace_id");
        bodies.last_mut().unwrap().0.push_str(&problem.to_string());
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:#?}");
}

#[tokio::test]
async fn guessing_is_slowed_and_says_for_how_long() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    for _ in 0..5 {
        browser.log_in("alice", "wrong").await;
    }
    let told = browser.log_in("alice", PASSWORD).await;
    assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        (told.json()["error"].as_str(), told.header("retry-after")),
        (Some("too_many_attempts"), "60")
    );
    let page = browser.get("/login").await;
    let token = page.field("csrf_token").to_owned();
    let fields = [("username", "alice"), ("password", PASSWORD), ("csrf_token", token.as_str())];
    let again = browser.submit("/login", &fields).await;
    assert_eq!(again.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(again.header("retry-after").parse::<u64>().unwrap() > 0);
    // Somebody who guesses from elsewhere keeps nobody out.
    let mut elsewhere =
        Browser { address: "198.51.100.9".parse().unwrap(), ..Browser::new(&bench) };
    assert_eq!(elsewhere.log_in("alice", PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_forged_forwarding_header_changes_nobodys_address() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    for attempt in 0..8 {
        let forged = format!("198.51.{attempt}.1");
        let request = Request::post("/api/auth/login")
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-forwarded-for", forged)
            .body(Body::from(r#"{"username":"alice","password":"wrong"}"#))
            .unwrap();
        let status = browser.send(request).await.status;
        let expected =
            if attempt < 5 { StatusCode::UNAUTHORIZED } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(status, expected, "attempt {attempt}");
    }
}

#[tokio::test]
async fn a_cookie_that_stands_twice_is_nobodys() {
    let bench = Bench::new().await;
    let (browser, _) = Browser::signed_in(&bench).await;
    let good = browser.cookie("session_id").unwrap().to_owned();
    for cookies in
        [format!("session_id={good}; session_id=x"), format!("session_id=x; session_id={good}")]
    {
        let mut thief = Browser::new(&bench);
        let request = Request::get("/api/auth/session")
            .header(header::COOKIE, cookies)
            .body(Body::empty())
            .unwrap();
        assert_eq!(thief.send(request).await.status, StatusCode::UNAUTHORIZED);
    }
}
