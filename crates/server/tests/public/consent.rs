//! The consent to cookies: what nobody said is no consent, and refusing is never harder than agreeing.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tegata_core::{Event, EventType, Log, port::Page, repository};
use tegata_session::KeptConsent;

use super::{
    bench::{Bench, ISSUER, PASSWORD},
    browser::{Answer, Browser},
};

const CONSENT: &str = "/api/consent";

fn choice(categories: &[&str]) -> Value {
    let settings: serde_json::Map<_, _> =
        categories.iter().map(|category| ((*category).to_owned(), true.into())).collect();
    json!({"version": 1, "settings": settings})
}

async fn choose(browser: &mut Browser, categories: &[&str]) -> Answer {
    browser.call(Method::PUT, CONSENT, None, Some(&choice(categories))).await
}

/// The same in a session, of which this is the CSRF token.
async fn choose_as(browser: &mut Browser, csrf: &str, categories: &[&str]) -> Answer {
    browser.call(Method::PUT, CONSENT, Some(csrf), Some(&choice(categories))).await
}

async fn withdraw(browser: &mut Browser) -> Answer {
    browser.call(Method::DELETE, CONSENT, None, None).await
}

fn csrf(told: &Value) -> &str {
    told["csrf_token"].as_str().unwrap()
}

async fn told(browser: &mut Browser) -> Value {
    let answer = browser.get(CONSENT).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

fn set(answer: &Answer) -> Vec<&str> {
    let lines = answer.headers.get_all(header::SET_COOKIE);
    lines.iter().map(|line| line.to_str().unwrap()).collect()
}

async fn kept(bench: &Bench) -> Vec<KeptConsent> {
    let page = Page { after: None, limit: 1000 };
    let found = repository::scan::<KeptConsent>(bench.records.as_ref(), &bench.realm, page).await;
    found.unwrap().into_iter().map(|found| found.value).collect()
}

#[tokio::test]
async fn nobody_has_agreed_before_they_were_asked() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let told = told(&mut browser).await;
    assert_eq!(
        (&told["decided"], &told["asks"], &told["version"]),
        (&false.into(), &true.into(), &1.into())
    );
    let settings =
        json!({"essential": true, "functional": true, "analytics": false, "marketing": false});
    assert_eq!(told["settings"], settings);
    let names: Vec<_> =
        told["categories"].as_array().unwrap().iter().map(|it| &it["category"]).collect();
    assert_eq!(names, ["essential", "functional", "analytics", "marketing"]);
    let analytics = &told["categories"][2];
    assert_eq!((&analytics["needs_consent"], &analytics["allowed"]), (&true.into(), &false.into()));
    assert_eq!(analytics["cookies"][0]["name"], "_ga");
    assert_eq!(analytics["cookies"][0]["life"], 730 * 86_400);
    assert!(told["categories"][0]["cookies"][0]["life"].is_null());
    assert!(browser.jar.is_empty() && kept(&bench).await.is_empty());
    // In the language of whoever asks.
    let japanese = browser.get("/api/consent?lang=ja").await.json();
    assert_eq!(japanese["categories"][2]["title"], "分析");
}

#[tokio::test]
async fn a_choice_is_kept_by_the_browser_and_recorded() {
    let bench = Bench::in_production().await;
    let mut browser = Browser::new(&bench);
    let answer = choose(&mut browser, &["analytics", "functional"]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.json()["recorded"], true);
    let lines = set(&answer);
    let own = lines.iter().find(|line| line.starts_with("cookie_consent=")).unwrap();
    assert!(own.ends_with("; Max-Age=31536000; Path=/; SameSite=Lax; Secure; HttpOnly"), "{own}");
    // What was not agreed to is taken away.
    assert!(lines.iter().any(|line| line.starts_with("_fbp=; Max-Age=0")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("_ga=")), "{lines:?}");
    let said = told(&mut browser).await;
    assert_eq!((&said["decided"], &said["settings"]["analytics"]), (&true.into(), &true.into()));
    assert_eq!(said["settings"]["marketing"], false);
    let records = kept(&bench).await;
    let [record] = records.as_slice() else { panic!("{records:?}") };
    // What needs no consent, nobody has agreed to.
    assert_eq!((record.agreed.to_string().as_str(), &record.user, record.version), ("a", &None, 1));
    // The journal tells of it.
    bench.records.sequence(Log::Journal, bench.node.id()).await.unwrap();
    let told = bench.records.pull(Log::Journal, 0, 1000).await.unwrap().entries;
    let events: Vec<Event> =
        told.iter().map(|entry| serde_json::from_slice(&entry.body).unwrap()).collect();
    let event = events.iter().find(|it| it.kind == EventType::CookieConsentChanged).unwrap();
    assert_eq!(event.data["categories"], json!(["analytics"]));
    assert_eq!((&event.data["user_id"], &event.data["withdrawn"]), (&Value::Null, &false.into()));
    // It names nobody: whoever chooses alike on that day has the same cookie. The record is exact.
    bench.advance(3_600);
    let mut other = Browser::new(&bench);
    let told = other.log_in("bob", PASSWORD).await.json();
    choose_as(&mut other, csrf(&told), &["analytics"]).await;
    assert_eq!(other.cookie("cookie_consent"), browser.cookie("cookie_consent"));
}

#[tokio::test]
async fn whatever_is_wrong_with_the_cookie_it_is_no_consent() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    choose(&mut browser, &["analytics"]).await;
    let good = browser.cookie("cookie_consent").unwrap().to_owned();
    let decided = async |cookies: &str| {
        let request = Request::get(CONSENT).header(header::COOKIE, cookies.as_bytes());
        let mut browser = Browser::new(&bench);
        let answer = browser.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{cookies}");
        answer.json()["decided"] == true
    };
    assert!(decided(&format!("cookie_consent={good}")).await);
    for bad in [
        format!("cookie_consent={good}; cookie_consent={good}"),
        format!("cookie_consent={good}; cookie_consent="),
        format!("cookie_consent={}", good.replace(".a.", ".am.")),
        format!("cookie_consent={}", &good[..good.len() - 1]),
        format!("cookie_consent=\"{good}\""),
        format!("cookie_consent={good}{}", "A".repeat(9_000)),
        format!("Cookie_Consent={good}"),
        "cookie_consent=1.1.9999999999.am.".to_owned(),
        format!("cookie_consent={good}\u{e9}"),
        format!("cookie_consent=\u{e9}; cookie_consent={good}"),
    ] {
        assert!(!decided(&bad).await, "{bad}");
    }
    // A year later they are asked again.
    bench.clock.advance(Duration::from_secs(365 * 86_400));
    assert!(!decided(&format!("cookie_consent={good}")).await);
}

#[tokio::test]
async fn only_pages_of_ours_choose() {
    let bench = Bench::new().await;
    let body = choice(&["analytics"]).to_string();
    let send = async |method: Method, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri(CONSENT);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut browser = Browser::new(&bench);
        browser.send(request.body(Body::from(body.clone())).unwrap()).await
    };
    let json_type = ("content-type", "application/json");
    for (origin, site) in [
        ("https://evil.example", "cross-site"),
        ("null", "cross-site"),
        ("http://localhost:8000.evil.example", "same-site"),
        (ISSUER, "cross-site"),
        ("http://localhost:8001", "same-site"),
    ] {
        for method in [Method::PUT, Method::DELETE] {
            let headers = [json_type, ("origin", origin), ("sec-fetch-site", site)];
            let answer = send(method, &headers).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
            assert_eq!(answer.json()["error"], "cross_origin");
            assert!(set(&answer).is_empty());
        }
    }
    // A form of another site, which no preflight stops.
    for media_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let answer = send(Method::PUT, &[("content-type", media_type)]).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    assert_eq!(send(Method::POST, &[json_type]).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let allowed = ("origin", "https://app.example.com");
    let answer = send(Method::PUT, &[json_type, allowed, ("sec-fetch-site", "cross-site")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("access-control-allow-origin"), "https://app.example.com");
    assert_eq!(kept(&bench).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_choice_changes_nothing() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    for (body, status) in [
        (json!({}), StatusCode::BAD_REQUEST),
        (json!({"version": 1}), StatusCode::BAD_REQUEST),
        (json!({"version": 1, "settings": {"everything": true}}), StatusCode::BAD_REQUEST),
        (json!({"version": 1, "settings": {"analytics": 1}}), StatusCode::BAD_REQUEST),
        (json!({"version": 1, "settings": {"essential": false}}), StatusCode::BAD_REQUEST),
        (json!({"version": 1, "settings": {}, "user": "usr_x"}), StatusCode::BAD_REQUEST),
        (json!({"version": -1, "settings": {}}), StatusCode::BAD_REQUEST),
        (json!([]), StatusCode::BAD_REQUEST),
        // They were shown another policy.
        (json!({"version": 2, "settings": {"analytics": true}}), StatusCode::CONFLICT),
        (json!({"version": 0, "settings": {"marketing": true}}), StatusCode::CONFLICT),
    ] {
        let answer = browser.call(Method::PUT, CONSENT, None, Some(&body)).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(set(&answer).is_empty(), "{body}");
    }
    // Two answers to one question.
    let twice = r#"{"version": 1, "settings": {"analytics": false, "analytics": true}}"#;
    let request = Request::put(CONSENT).header("content-type", "application/json");
    let answer = browser.send(request.body(Body::from(twice)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(kept(&bench).await.is_empty());
    // Whoever refuses need not have read the latest.
    let refused = json!({"version": 7, "settings": {"analytics": false}});
    let answer = browser.call(Method::PUT, CONSENT, None, Some(&refused)).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn what_was_agreed_to_can_be_taken_back() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    choose(&mut browser, &["analytics", "marketing"]).await;
    let consent = browser.cookie("cookie_consent").unwrap().to_owned();
    bench.advance(1);
    let cookies = format!("cookie_consent={consent}; utm_source=x; UTM_b=\"y\"; theme=dark; x");
    let request = Request::delete(CONSENT)
        .header("origin", ISSUER)
        .header("sec-fetch-site", "same-origin")
        .header(header::COOKIE, cookies);
    let answer = browser.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(
        (&answer.json()["decided"], &answer.json()["recorded"]),
        (&false.into(), &true.into())
    );
    let names: Vec<_> = set(&answer).iter().map(|line| line.split('=').next().unwrap()).collect();
    assert_eq!(names, ["_ga", "_gid", "_fbp", "utm_source", "UTM_b", "cookie_consent"]);
    let (own, others) = set(&answer).split_last().map(|(own, rest)| (*own, rest.to_vec())).unwrap();
    assert!(others.iter().all(|line| line.contains("Max-Age=0")));
    // Ours stays and is empty, so that one which a neighbour plants for the domain counts no more.
    assert!(own.starts_with("cookie_consent=; Max-Age=31536000; Path=/"), "{own}");
    assert_eq!(browser.cookie("cookie_consent"), Some(""));
    assert_eq!(told(&mut browser).await["settings"]["analytics"], false);
    for planted in [
        format!("cookie_consent=; cookie_consent={consent}"),
        format!("cookie_consent={consent}; cookie_consent="),
    ] {
        let request = Request::get(CONSENT).header(header::COOKIE, planted);
        let told = browser.send(request.body(Body::empty()).unwrap()).await.json();
        assert_eq!(
            (&told["decided"], &told["settings"]["analytics"]),
            (&false.into(), &false.into())
        );
    }
    // Again there is nothing to take back, and nothing to record.
    assert_eq!(withdraw(&mut browser).await.json()["recorded"], false);
    let records = kept(&bench).await;
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records[1].agreed.to_string() == "-" && records[1].key() > records[0].key());
}

#[tokio::test]
async fn strangers_cannot_fill_the_store_and_can_always_refuse() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    for _ in 0..60 {
        assert_eq!(choose(&mut browser, &["analytics"]).await.status, StatusCode::OK);
    }
    let refused = choose(&mut browser, &["analytics"]).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.body);
    assert!(!refused.header("retry-after").is_empty() && set(&refused).is_empty());
    let refuses = choose(&mut browser, &[]).await;
    assert_eq!((refuses.status, &refuses.json()["recorded"]), (StatusCode::OK, &false.into()));
    assert_eq!(told(&mut browser).await["settings"]["analytics"], false);
    assert_eq!(withdraw(&mut browser).await.status, StatusCode::OK);
    assert_eq!(kept(&bench).await.len(), 60);
    // Of another network somebody else can.
    browser.address = "198.51.100.1".parse().unwrap();
    assert_eq!(choose(&mut browser, &["analytics"]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn refusing_works_while_the_store_is_away_and_agreeing_does_not() {
    let bench = Bench::new().await;
    let (mut browser, signed_in) = Browser::signed_in(&bench).await;
    let own = csrf(&signed_in);
    choose_as(&mut browser, own, &["analytics"]).await;
    bench.take_away(true);
    let agrees = choose_as(&mut browser, own, &["analytics", "marketing"]).await;
    assert_eq!(agrees.status, StatusCode::SERVICE_UNAVAILABLE, "{}", agrees.body);
    assert!(set(&agrees).is_empty());
    assert_eq!(told(&mut browser).await["settings"]["analytics"], true);
    // Nobody can say whose session it is, or give a token for it.
    let refuses = choose(&mut browser, &[]).await;
    assert_eq!((refuses.status, &refuses.json()["recorded"]), (StatusCode::OK, &false.into()));
    assert_eq!(told(&mut browser).await["settings"]["analytics"], false);
    assert_eq!(withdraw(&mut browser).await.status, StatusCode::OK);
}

#[tokio::test]
async fn people_see_what_they_chose_and_nobody_elses() {
    let bench = Bench::new().await;
    let records = async |browser: &mut Browser| browser.get("/api/consent/records").await;
    let mut stranger = Browser::new(&bench);
    choose(&mut stranger, &["marketing"]).await;
    assert_eq!(records(&mut stranger).await.status, StatusCode::UNAUTHORIZED);
    let (mut alice, of_alice) = Browser::signed_in(&bench).await;
    let mut bob = Browser::new(&bench);
    let of_bob = bob.log_in("bob", PASSWORD).await.json();
    choose_as(&mut alice, csrf(&of_alice), &["analytics"]).await;
    bench.clock.advance(Duration::from_secs(1));
    choose_as(&mut bob, csrf(&of_bob), &["marketing"]).await;
    alice.call(Method::DELETE, CONSENT, Some(csrf(&of_alice)), None).await;
    let told = records(&mut alice).await.json();
    let list = told["records"].as_array().unwrap();
    assert_eq!(list.len(), 2, "{told}");
    assert_eq!(
        (&list[0]["categories"], &list[0]["withdrawn"]),
        (&json!(["analytics"]), &false.into())
    );
    assert_eq!((&list[1]["categories"], &list[1]["withdrawn"]), (&json!([]), &true.into()));
    assert!(told["next"].is_null());
    assert_eq!(records(&mut bob).await.json()["records"].as_array().unwrap().len(), 1);
    // A key of Alice's leads Bob to what is his and came later, and to nothing of hers.
    let bobs = records(&mut bob).await.json()["records"].clone();
    assert_eq!(bobs[0]["categories"], json!(["marketing"]));
    let kept = kept(&bench).await;
    let is_alices = |it: &&KeptConsent| it.user.is_some() && it.agreed.to_string() == "a";
    let key = kept.iter().find(is_alices).unwrap().key();
    let after = format!("/api/consent/records?after={key}");
    assert_eq!(bob.get(&after).await.json()["records"], bobs);
    assert_eq!(alice.get(&after).await.json()["records"], json!([list[1]]));
}

/// Whether a browser says where it was made or not.
#[tokio::test]
async fn a_session_chooses_by_its_csrf_token_and_by_nothing_else() {
    for origin in [Some(ISSUER), None] {
        let bench = Bench::new().await;
        let (mut browser, told) = Browser::signed_in(&bench).await;
        let (mut bob, own) = (Browser::new(&bench), csrf(&told));
        let of_bob = bob.log_in("bob", PASSWORD).await.json();
        let mut send = async |method: Method, token: Option<&str>| {
            let body = if method == Method::PUT { choice(&["analytics"]) } else { Value::Null };
            let mut request = Request::builder().method(method).uri(CONSENT);
            request = request.header("content-type", "application/json");
            for (name, value) in [("origin", origin), ("x-csrf-token", token)] {
                request = value.into_iter().fold(request, |it, value| it.header(name, value));
            }
            browser.send(request.body(Body::from(body.to_string())).unwrap()).await
        };
        let broken = &own[1..];
        for method in [Method::PUT, Method::DELETE] {
            for wrong in [None, Some(""), Some("x"), Some(csrf(&of_bob)), Some(broken)] {
                let answer = send(method.clone(), wrong).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {wrong:?}");
                assert_eq!(answer.json()["error"], "csrf");
                let lines = set(&answer);
                assert!(!lines.iter().any(|it| it.starts_with("cookie_consent=")), "{lines:?}");
            }
        }
        assert!(kept(&bench).await.is_empty());
        for method in [Method::PUT, Method::DELETE] {
            let answer = send(method, Some(own)).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            assert_eq!(answer.json()["recorded"], true);
        }
        let kept = kept(&bench).await;
        let is_alices = |it: &KeptConsent| it.user.as_ref() == Some(&bench.alice.id);
        assert!(kept.len() == 2 && kept.iter().all(is_alices), "{kept:?}");
    }
}

/// A cookie of a session that is over must not keep anybody from refusing: there is no token for it.
#[tokio::test]
async fn whoever_has_no_session_any_more_chooses_without_a_token_and_as_nobody() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let stale = browser.jar.clone();
    let target = "/api/auth/logout";
    let answer = browser.call(Method::POST, target, Some(csrf(&told)), None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    browser.jar = stale;
    let answer = choose(&mut browser, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(kept(&bench).await.iter().all(|it| it.user.is_none()));
}

#[tokio::test]
async fn the_banner_is_served_under_a_name_that_stays_and_pages_have_it_where_they_ask() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    for (name, media_type) in [("banner.js", "text/javascript"), ("banner.css", "text/css")] {
        let answer = browser.get(&format!("/api/consent/{name}")).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.header("content-type").starts_with(media_type));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("cache-control").contains("max-age"));
    }
    assert_eq!(browser.get("/api/consent/other.js").await.status, StatusCode::NOT_FOUND);
    assert!(!browser.get("/login").await.body.contains("tegata-consent"));
    let asking = Bench::with(|config| config.asks_for_cookies = true).await;
    let (mut browser, _) = Browser::signed_in(&asking).await;
    for page in [Browser::new(&asking).get("/login").await, browser.get("/login").await] {
        let nonce = page.header("content-security-policy").split_once("'nonce-").unwrap().1;
        let nonce = nonce.split_once('\'').unwrap().0;
        let script =
            format!("<script type=\"module\" src=\"/api/consent/banner.js\" nonce=\"{nonce}\">");
        assert!(page.body.contains(&script), "{}", page.body);
        assert!(
            page.body.contains("<tegata-consent>") && page.body.contains("data-consent-settings")
        );
    }
}
