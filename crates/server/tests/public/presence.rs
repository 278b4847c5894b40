//! What a hostile script can do whose page has the origin of ours, with the person's cookies: it reads no
//! page, sends no form, and allows nothing that the person does not show a factor for.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tegata_oauth::{ClientMetadata, GrantType};
use tegata_server::{ApprovalProof, Config};

use super::{
    bench::{Bench, ISSUER, PASSWORD},
    browser::{Answer, Browser},
    flow::{authorize, claims, sign_in_on_page},
    second_factor::Enrolled,
};

const CONSENT: &str = "/oauth2/consent";
const DEVICE: &str = "/login/device";

/// Behind the gateway, which serves pages of others.
fn shared(config: &mut Config) {
    config.shares_origin = true;
}

async fn bench() -> Bench {
    with_device(Bench::with(shared).await).await
}

async fn with_device(bench: Bench) -> Bench {
    bench
        .declare(ClientMetadata {
            client_id: "tv".into(),
            client_name: Some("A television".into()),
            public: true,
            grant_types: Some([GrantType::DeviceCode, GrantType::RefreshToken].into()),
            scope: "openid offline_access orders.read".into(),
            ..ClientMetadata::default()
        })
        .await;
    bench
}

/// A device that waits: its answer.
async fn device(bench: &Bench) -> Value {
    let fields = [("client_id", "tv"), ("scope", "openid offline_access")];
    Browser::new(bench).submit_from("/oauth2/device", &fields, &[]).await.json()
}

async fn is_allowed(bench: &Bench, asked: &Value) -> bool {
    let code = asked["device_code"].as_str().unwrap();
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let fields = [("grant_type", grant), ("client_id", "tv"), ("device_code", code)];
    bench.advance(10);
    Browser::new(bench).submit_from("/oauth2/token", &fields, &[]).await.status == StatusCode::OK
}

/// The page that asks whether `web` may.
async fn consent_page(browser: &mut Browser) -> Answer {
    let led = browser.get(&authorize(&[])).await;
    assert!(led.location().starts_with(CONSENT), "{}", led.location());
    browser.get(led.location()).await
}

/// Says yes on a page, with what its form has and with this besides.
async fn allow(browser: &mut Browser, path: &str, page: &Answer, more: &[(&str, &str)]) -> Answer {
    let hidden = ["csrf_token", "request", "user_code", "presence", "lang"];
    let has = |name: &&str| page.body.contains(&format!("name=\"{name}\""));
    let fields: Vec<_> = hidden.into_iter().filter(has).map(|it| (it, page.field(it))).collect();
    browser.submit(path, &[&fields[..], more, &[("decision", "allow")]].concat()).await
}

/// The page that asks about a device.
async fn device_page(browser: &mut Browser, page: &Answer, code: &str) -> Answer {
    let given =
        page.body.contains("name=\"presence\"").then(|| ("presence", page.field("presence")));
    let fields: Vec<_> = [("csrf_token", page.field("csrf_token")), ("user_code", code)]
        .into_iter()
        .chain(given)
        .collect();
    browser.submit(DEVICE, &fields).await
}

fn asks_for(page: &Answer, field: &str) -> bool {
    page.body.contains(&format!("name=\"{field}\" id=\"{field}\""))
}

/// Asks as a frame does, on a page of such a site.
async fn framed(browser: &mut Browser, path: &str, dest: &str, site: Option<&str>) -> Answer {
    let request =
        Request::get(path).header("sec-fetch-dest", dest).header("sec-fetch-mode", "navigate");
    let request = site.into_iter().fold(request, |it, site| it.header("sec-fetch-site", site));
    browser.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn no_frame_gives_a_script_the_code_of_a_client_that_is_known() {
    let own = format!("{ISSUER}/shop/callback");
    let known = |id: &str, uri: &str| ClientMetadata {
        client_id: id.into(),
        public: true,
        asks_consent: Some(false),
        redirect_uris: vec![uri.into()],
        grant_types: Some([GrantType::AuthorizationCode, GrantType::RefreshToken].into()),
        scope: "openid offline_access".into(),
        ..ClientMetadata::default()
    };
    let bench = bench().await;
    bench.declare(known("shop", &own)).await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let quiet = |client: &str, uri: &str| {
        let scope = ("scope", "openid offline_access");
        authorize(&[("client_id", client), ("redirect_uri", uri), scope, ("prompt", "none")])
    };
    // A sandboxed frame runs no script of the client's, so nobody uses the code up that stands in its
    // address. By way of another site, the frame is that site's.
    for dest in ["iframe", "frame"] {
        for site in [Some("same-origin"), Some("none"), Some(""), None, Some("cross-site")] {
            let answer = framed(&mut browser, &quiet("shop", &own), dest, site).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{dest} {site:?}");
            assert_eq!(answer.header("location"), "", "{dest} {site:?}");
        }
        let posted = format!("{}&response_mode=form_post", quiet("shop", &own));
        let answer = framed(&mut browser, &posted, dest, Some("same-site")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(!answer.body.contains("name=\"code\""), "{}", answer.body);
    }
    // Of a client elsewhere, no page of ours has the code, and our pages look without a frame.
    let elsewhere = quiet("spa", super::bench::CALLBACK);
    for site in ["cross-site", "same-site"] {
        let answer = framed(&mut browser, &elsewhere, "iframe", Some(site)).await;
        assert!(answer.sent_with("code").is_some(), "{site}: {}", answer.location());
    }
    for site in [Some("same-origin"), None] {
        let answer = framed(&mut browser, &elsewhere, "iframe", site).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{site:?}");
    }
    // In a window, the client gets what it asks for, and the window is cut off from who opened it.
    let answer = framed(&mut browser, &quiet("shop", &own), "document", Some("same-origin")).await;
    assert!(answer.sent_with("code").is_some(), "{}", answer.location());
    assert_ne!(answer.header("cross-origin-opener-policy"), "");
    // An origin that has no pages of others has no such frames.
    let alone = Bench::new().await;
    alone.declare(known("shop", &own)).await;
    let (mut browser, _) = Browser::signed_in(&alone).await;
    let answer = framed(&mut browser, &quiet("shop", &own), "iframe", Some("same-origin")).await;
    assert!(answer.sent_with("code").is_some(), "{}", answer.location());
}

#[tokio::test]
async fn a_proof_for_one_thing_elevates_nothing_else() {
    let bench = bench().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    let standing = async |browser: &mut Browser| {
        let session = browser.get("/api/auth/session").await.json();
        let security = browser.get("/login/security").await;
        (
            session["is_elevated"].clone(),
            session["auth_time"].clone(),
            security.body.contains("first show once more"),
        )
    };
    let before = standing(&mut browser).await;
    assert_eq!((&before.0, before.2), (&json!(false), true));
    bench.advance(60);
    let page = consent_page(&mut browser).await;
    let allowed = allow(&mut browser, CONSENT, &page, &[("password", PASSWORD)]).await;
    assert!(allowed.sent_with("code").is_some());
    assert_eq!(standing(&mut browser).await, before);
    let asked = device(&bench).await;
    let page = browser.get(DEVICE).await;
    let asks = device_page(&mut browser, &page, asked["user_code"].as_str().unwrap()).await;
    allow(&mut browser, DEVICE, &asks, &[("password", PASSWORD)]).await;
    assert!(is_allowed(&bench, &asked).await);
    assert_eq!(standing(&mut browser).await, before);
    // What was elevated before stays so, for as long as it was.
    let shown = json!({"password": PASSWORD});
    browser.call(Method::POST, "/api/auth/elevate", Some(csrf), Some(&shown)).await;
    assert_eq!(standing(&mut browser).await.0, json!(true));
    bench.advance(200);
    let more = browser.get(&authorize(&[("scope", "openid orders.read")])).await;
    let page = browser.get(more.location()).await;
    let allowed = allow(&mut browser, CONSENT, &page, &[("password", PASSWORD)]).await;
    assert!(allowed.sent_with("code").is_some());
    assert_eq!(standing(&mut browser).await.0, json!(true));
    bench.advance(101);
    assert_eq!(standing(&mut browser).await.0, json!(false));
    // The same of a second factor.
    let world = Enrolled::on(Bench::with(shared).await).await;
    let (mut browser, _) = world.signed_in().await;
    world.bench.advance(60);
    let before = standing(&mut browser).await;
    let page = consent_page(&mut browser).await;
    let allowed = allow(&mut browser, CONSENT, &page, &[("code", &world.shown())]).await;
    assert!(allowed.sent_with("code").is_some(), "{}", allowed.body);
    assert_eq!(standing(&mut browser).await, before);
    assert_eq!(before.0, json!(false));
}

#[tokio::test]
async fn whom_a_pushed_request_is_bound_to_is_told_by_what_whatever_the_answer_is() {
    let bench = Bench::with(|config| config.limits.held = "1/s".parse().ok()).await;
    let push = async || {
        let query = authorize(&[]);
        let fields = url::form_urlencoded::parse(query.split_once('?').unwrap().1.as_bytes());
        let fields: Vec<_> = fields.into_owned().collect();
        let fields: Vec<_> = fields.iter().map(|(name, it)| (name.as_str(), it.as_str())).collect();
        let request = Request::post("/oauth2/par")
            .header("authorization", super::flow::basic("web"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(super::browser::encoded(&fields)));
        let answer = Answer::of(&bench.router, request.unwrap()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        let uri = answer.json()["request_uri"].as_str().unwrap().to_owned();
        format!(
            "/oauth2/authorize?{}",
            super::browser::encoded(&[("client_id", "web"), ("request_uri", &uri)])
        )
    };
    let first = Browser::new(&bench).get(&push().await).await;
    assert!(first.location().starts_with("/login?"), "{}", first.body);
    // No more wait at the moment. The request has been read by then, and is this browser's.
    let address = push().await;
    let mut browser = Browser::new(&bench);
    let refused = browser.get(&address).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.body);
    assert_eq!(browser.jar.len(), 1, "it is not told by what it is known");
    assert_eq!(Browser::new(&bench).get(&address).await.status, StatusCode::BAD_REQUEST);
    bench.advance(2);
    let led = browser.get(&address).await;
    assert!(led.location().starts_with("/login?"), "{}", led.body);
    // What is used up is answered, though the store does not let go of the rest.
    bench.advance(60);
    let address = push().await;
    let led = browser.get(&address).await;
    let page = browser.get(led.location()).await;
    let fields = [
        ("username", "alice"),
        ("password", PASSWORD),
        ("request", page.field("request")),
        ("csrf_token", page.field("csrf_token")),
    ];
    let led = browser.submit("/login", &fields).await;
    let page = browser.get(led.location()).await;
    bench.keep_requests(true);
    let allowed = allow(&mut browser, CONSENT, &page, &[]).await;
    assert!(allowed.sent_with("code").is_some(), "{}", allowed.location());
    bench.keep_requests(false);
    assert_eq!(browser.get(&address).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pages_with_forms_are_for_windows_alone() {
    let bench = bench().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let led = browser.get(&authorize(&[])).await;
    let consent = led.location().to_owned();
    let pages = [
        "/",
        "/login",
        "/login?another=true",
        "/login/security",
        DEVICE,
        "/login/reset",
        "/login/signup",
        "/login/link",
        "/oauth2/logout",
        consent.as_str(),
    ];
    let ask = async |browser: &mut Browser, path: &str, dest: &str, mode: &str| {
        let request = Request::get(path)
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-dest", dest)
            .header("sec-fetch-mode", mode);
        browser.send(request.body(Body::empty()).unwrap()).await
    };
    for path in pages {
        // `fetch` and XMLHttpRequest; a frame; an object; a worker; a preload; a script.
        for (dest, mode) in [
            ("empty", "cors"),
            ("empty", "same-origin"),
            ("empty", "no-cors"),
            ("iframe", "navigate"),
            ("frame", "navigate"),
            ("object", "navigate"),
            ("embed", "navigate"),
            ("worker", "same-origin"),
            ("script", "no-cors"),
            ("document", "cors"),
            ("", "navigate"),
        ] {
            let answer = ask(&mut browser, path, dest, mode).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {dest} {mode}");
            // Whoever sees it in a window is told what stands between.
            assert!(answer.body.contains("in a window of its own"), "{}", answer.body);
            assert!(answer.body.contains("service worker"), "{}", answer.body);
            assert!(!answer.body.contains("csrf"), "{path} {dest} {mode}: {}", answer.body);
        }
        let answer = ask(&mut browser, path, "document", "navigate").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.body.contains("name=\"csrf_token\""), "{path}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}: Firefox");
        browser.agent = "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0 Safari/537.36";
        let answer = Browser { agent: browser.agent, ..Browser::new(&bench) }.get(path).await;
        assert_eq!(answer.header("cross-origin-opener-policy"), "noopener-allow-popups", "{path}");
        browser.agent = super::browser::FIREFOX;
    }
    // Clients look in frames whether somebody is signed in; no script asks for a code.
    let quiet = authorize(&[("prompt", "none")]);
    let framed = framed(&mut browser, &quiet, "iframe", Some("cross-site")).await;
    assert!(framed.location().contains("error=consent_required"), "{}", framed.location());
    assert_eq!(ask(&mut browser, &quiet, "empty", "cors").await.status, StatusCode::FORBIDDEN);
    // On an origin of its own, clients sign people in in windows that they reach into.
    let alone = Bench::new().await;
    let page = Browser::new(&alone).get("/login").await;
    assert_eq!(page.header("cross-origin-opener-policy"), "");
}

#[tokio::test]
async fn a_form_that_a_script_makes_up_is_nobodys() {
    let bench = bench().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let asked = device(&bench).await;
    let code = asked["user_code"].as_str().unwrap();
    let token = told["csrf_token"].as_str().unwrap();
    let sid = told["sid"].as_str().unwrap_or_default();
    let meta = browser.get("/").await;
    let (_, after) = meta.body.split_once("name=\"csrf-token\" content=\"").unwrap();
    let in_page = after.split_once('"').unwrap().0.to_owned();
    let led = browser.get(&authorize(&[])).await;
    let handle = led.sent_with("request").unwrap();
    // With the token that scripts are given, in a window that is really there.
    for token in [token, in_page.as_str()] {
        let whole = [("csrf_token", token), ("password", PASSWORD), ("decision", "allow")];
        for (path, of) in [(DEVICE, ("user_code", code)), (CONSENT, ("request", handle.as_str()))] {
            // Forms of nodes of a version before have it, so the person is shown the form once more.
            let answer = browser.submit(path, &[&whole[..], &[of]].concat()).await;
            assert_eq!(answer.location(), format!("{path}?{}={}", of.0, of.1), "{path}");
        }
        for (path, more, led) in [
            ("/login/security", ("decision", "prove"), "/login/security"),
            ("/login/sessions", ("sid", sid), "/login"),
            ("/login/consents", ("client", "web"), "/login"),
            ("/login/tokens", ("family", "x"), "/login"),
            ("/oauth2/logout", ("decision", "logout"), "/oauth2/logout?state=a%20b"),
        ] {
            let fields = [("csrf_token", token), more, ("state", "a b")];
            let answer = browser.submit(path, &fields).await;
            assert_eq!(answer.location(), led, "{path}");
            // What is nobody's leads nowhere.
            let made_up = [("csrf_token", "1.x"), more];
            let answer = browser.submit(path, &made_up).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        }
        let session = browser.get("/api/auth/session").await.json();
        assert_eq!((&session["sid"], &session["is_elevated"]), (&told["sid"], &json!(false)));
    }
    // With the right token, but not as a form of a window, or from another origin of ours.
    let page = browser.get(DEVICE).await;
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("user_code", code),
        ("decision", "allow"),
        ("password", PASSWORD),
    ];
    let own = ("origin", ISSUER);
    for bad in [
        &[
            own,
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-dest", "empty"),
            ("sec-fetch-mode", "cors"),
        ][..],
        &[
            own,
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-dest", "iframe"),
            ("sec-fetch-mode", "navigate"),
        ],
        &[("origin", "https://app.example.com"), ("sec-fetch-site", "same-site")],
    ] {
        let answer = browser.submit_from(DEVICE, &fields, bad).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{bad:?}");
    }
    assert!(!is_allowed(&bench, &asked).await);
    let window = [
        own,
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
    ];
    let done = browser.submit_from(DEVICE, &fields, &window).await;
    assert!(done.body.contains("Your device is connected"), "{}", done.body);
    assert!(is_allowed(&bench, &asked).await);
}

#[tokio::test]
async fn a_new_client_is_allowed_by_whoever_shows_the_password() {
    let bench = bench().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let page = consent_page(&mut browser).await;
    assert!(asks_for(&page, "password") && page.body.contains("Example Web"), "{}", page.body);
    // As a script does that has the page in a window of its own, and clicks.
    let clicked = allow(&mut browser, CONSENT, &page, &[]).await;
    assert_eq!(clicked.status, StatusCode::UNAUTHORIZED);
    assert!(asks_for(&clicked, "password"), "{}", clicked.body);
    let wrong = allow(&mut browser, CONSENT, &page, &[("password", "no")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.body.contains("The password is wrong"), "{}", wrong.body);
    // What was shown for something else a moment ago does not do.
    let csrf = told["csrf_token"].as_str();
    let shown = json!({"password": PASSWORD});
    let raised = browser.call(Method::POST, "/api/auth/elevate", csrf, Some(&shown)).await;
    assert_eq!(raised.status, StatusCode::NO_CONTENT, "{}", raised.body);
    let page = browser.get(&format!("{CONSENT}?request={}", page.field("request"))).await;
    assert!(asks_for(&page, "password"));
    let clicked = allow(&mut browser, CONSENT, &page, &[]).await;
    assert_eq!(clicked.status, StatusCode::UNAUTHORIZED);
    for forged in ["", "1", "1.99999999999.AAAA", "x.y.z"] {
        let made_up = allow(&mut browser, CONSENT, &page, &[("presence", forged)]).await;
        assert_eq!(made_up.status, StatusCode::UNAUTHORIZED, "{forged}");
    }
    let allowed = allow(&mut browser, CONSENT, &page, &[("password", PASSWORD)]).await;
    assert!(allowed.sent_with("code").is_some(), "{}", allowed.location());
    // The second time, nobody is asked for anything.
    let again = browser.get(&authorize(&[])).await;
    assert!(again.sent_with("code").is_some(), "{}", again.location());
    // Unless the client wants more than they have agreed to.
    let more = browser.get(&authorize(&[("scope", "openid orders.read")])).await;
    assert!(asks_for(&browser.get(more.location()).await, "password"));
}

#[tokio::test]
async fn whoever_signed_in_for_it_is_not_asked_twice_and_for_nothing_else() {
    let bench = bench().await;
    let mut browser = Browser::new(&bench);
    let led = sign_in_on_page(&mut browser, &authorize(&[])).await;
    let page = browser.get(led.location()).await;
    assert!(!asks_for(&page, "password"), "{}", page.body);
    let given = page.field("presence").to_owned();
    // In another language, it is the same.
    let japanese = browser.get(&format!("{}&lang=ja", led.location())).await;
    assert!(!asks_for(&japanese, "password"), "{}", japanese.body);
    // For another request, in another session, and later, it counts for nothing.
    let other = browser.get(&authorize(&[("client_id", "other"), ("redirect_uri", "")])).await;
    let other = if other.status == StatusCode::SEE_OTHER && other.location().starts_with(CONSENT) {
        other
    } else {
        browser.get(&authorize(&[("scope", "openid orders.read")])).await
    };
    let address = format!("{}&presence={given}", other.location());
    let asked = browser.get(&address).await;
    assert!(asks_for(&asked, "password"), "{}", asked.body);
    let refused = allow(&mut browser, CONSENT, &asked, &[("presence", &given)]).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let (mut second, _) = Browser::signed_in(&bench).await;
    let theirs = second.get(led.location()).await;
    assert!(asks_for(&theirs, "password"));
    bench.advance(301);
    let late = allow(&mut browser, CONSENT, &page, &[]).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
    assert!(asks_for(&late, "password"), "{}", late.body);
    let allowed = allow(&mut browser, CONSENT, &late, &[("password", PASSWORD)]).await;
    assert!(allowed.sent_with("code").is_some());
}

#[tokio::test]
async fn a_device_is_allowed_by_whoever_shows_the_password() {
    let bench = bench().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let asked = device(&bench).await;
    let code = asked["user_code"].as_str().unwrap();
    let page = browser.get(DEVICE).await;
    let asks = device_page(&mut browser, &page, code).await;
    assert!(asks_for(&asks, "password") && asks.body.contains("A television"), "{}", asks.body);
    for shown in [&[][..], &[("password", "no")], &[("presence", "1.9999999999.AAAA")]] {
        let refused = allow(&mut browser, DEVICE, &asks, shown).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{shown:?}");
        assert!(asks_for(&refused, "password"));
    }
    assert!(!is_allowed(&bench, &asked).await);
    let done = allow(&mut browser, DEVICE, &asks, &[("password", PASSWORD)]).await;
    assert!(done.body.contains("Your device is connected"), "{}", done.body);
    assert!(is_allowed(&bench, &asked).await);
    // To refuse one asks for nothing.
    let asked = device(&bench).await;
    let page = browser.get(DEVICE).await;
    let asks = device_page(&mut browser, &page, asked["user_code"].as_str().unwrap()).await;
    let fields = [
        ("csrf_token", asks.field("csrf_token")),
        ("user_code", asks.field("user_code")),
        ("decision", "deny"),
    ];
    assert_eq!(browser.submit(DEVICE, &fields).await.status, StatusCode::OK);
    assert!(!is_allowed(&bench, &asked).await);
}

#[tokio::test]
async fn whoever_signed_in_for_a_device_allows_that_one() {
    let bench = bench().await;
    let (one, two) = (device(&bench).await, device(&bench).await);
    let mut browser = Browser::new(&bench);
    let led = browser.get(one["verification_uri_complete"].as_str().unwrap()).await;
    let page = browser.get(led.location()).await;
    let fields = [
        ("username", "alice"),
        ("password", PASSWORD),
        ("device", page.field("device")),
        ("csrf_token", page.field("csrf_token")),
    ];
    let led = browser.submit("/login", &fields).await;
    let page = browser.get(led.location()).await;
    let other = device_page(&mut browser, &page, two["user_code"].as_str().unwrap()).await;
    assert!(asks_for(&other, "password"), "{}", other.body);
    let refused =
        allow(&mut browser, DEVICE, &other, &[("presence", page.field("presence"))]).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let asks = device_page(&mut browser, &page, one["user_code"].as_str().unwrap()).await;
    assert!(!asks_for(&asks, "password"), "{}", asks.body);
    let done = allow(&mut browser, DEVICE, &asks, &[]).await;
    assert!(done.body.contains("Your device is connected"), "{}", done.body);
    assert!(is_allowed(&bench, &one).await && !is_allowed(&bench, &two).await);
}

#[tokio::test]
async fn whoever_has_a_second_factor_shows_that() {
    let world = Enrolled::on(Bench::with(shared).await).await;
    let (mut browser, _) = world.signed_in().await;
    let page = consent_page(&mut browser).await;
    assert!(asks_for(&page, "code") && !asks_for(&page, "password"), "{}", page.body);
    let weaker = allow(&mut browser, CONSENT, &page, &[("password", PASSWORD)]).await;
    assert_eq!(weaker.status, StatusCode::UNAUTHORIZED);
    assert!(asks_for(&weaker, "code"), "{}", weaker.body);
    let wrong = allow(&mut browser, CONSENT, &page, &[("code", &world.wrong())]).await;
    assert!(wrong.body.contains("The code is wrong"), "{}", wrong.body);
    world.bench.advance(60);
    let allowed = allow(&mut browser, CONSENT, &page, &[("code", &world.shown())]).await;
    assert!(allowed.sent_with("code").is_some(), "{}", allowed.body);
}

#[tokio::test]
async fn guessing_beside_a_yes_is_counted_as_at_sign_in() {
    let bench = bench().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let page = consent_page(&mut browser).await;
    let mut last = StatusCode::OK;
    for _ in 0..20 {
        last = allow(&mut browser, CONSENT, &page, &[("password", "no")]).await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    let right = allow(&mut browser, CONSENT, &page, &[("password", PASSWORD)]).await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS);
    assert_ne!(right.header("retry-after"), "");
}

#[tokio::test]
async fn an_installation_says_where_it_is_asked_for() {
    for (proof, alone, beside) in [
        (ApprovalProof::SharedOrigin, false, true),
        (ApprovalProof::Always, true, true),
        (ApprovalProof::DangerNever, false, false),
    ] {
        for (is_shared, expected) in [(false, alone), (true, beside)] {
            let bench = Bench::with(|config| {
                config.approval_proof = proof;
                config.shares_origin = is_shared;
            });
            let bench = bench.await;
            let (mut browser, _) = Browser::signed_in(&bench).await;
            let page = consent_page(&mut browser).await;
            assert_eq!(asks_for(&page, "password"), expected, "{proof:?} {is_shared}");
            let clicked = allow(&mut browser, CONSENT, &page, &[]).await;
            assert_eq!(clicked.status == StatusCode::UNAUTHORIZED, expected, "{proof:?}");
        }
    }
}

#[tokio::test]
async fn pages_are_given_no_token_where_an_installation_says_so() {
    let bench = Bench::with(|config| config.page_tokens = false).await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let names =
        |told: &Value| -> Vec<String> { told.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&told), ["expires_in", "csrf_token", "sid", "sub"]);
    assert_eq!(told["sub"], bench.alice.id.as_str());
    let csrf = told["csrf_token"].as_str();
    let before = browser.cookie("refresh_token").unwrap().to_owned();
    let refreshed = browser.call(Method::POST, "/api/auth/refresh", csrf, None).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.body);
    let told_again = refreshed.json();
    assert_eq!(names(&told_again), ["expires_in", "csrf_token", "sid", "sub"]);
    assert_eq!((&told_again["sid"], &told_again["sub"]), (&told["sid"], &told["sub"]));
    // Neither cookie is one, in disguise or as what a client could show.
    assert_ne!(browser.cookie("refresh_token").unwrap(), before);
    for (value, _) in browser.jar.values() {
        assert!(value.split('.').count() != 3 || !value.starts_with("eyJ"), "{value}");
        let request =
            Request::get("/oauth2/userinfo").header("authorization", format!("Bearer {value}"));
        let answer = Answer::of(&bench.router, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    // The session goes on, and its end ends everything.
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
    let out = browser.call(Method::POST, "/api/auth/logout", csrf, None).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT, "{}", out.body);
    // With tokens, as ever.
    let (_, told) = Browser::signed_in(&Bench::new().await).await;
    let access = claims(told["access_token"].as_str().unwrap());
    assert_eq!((&told["token_type"], &access["sid"]), (&json!("Bearer"), &told["sid"]));
    assert!(told.get("sub").is_none());
}
