//! The authorization code flow, as a browser and a client walk it.

use axum::body::Body;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{Request, StatusCode, header};
use serde_json::Value;
use tegata_oauth::{ClientMetadata, GrantType};

use super::{
    bench::{Bench, CALLBACK, CHALLENGE, ISSUER, PASSWORD, SECRET, VERIFIER},
    browser::{Answer, Browser, encoded},
};

/// The address of an authorization request of `web`, with these parameters besides or instead.
pub(crate) fn authorize(changes: &[(&str, &str)]) -> String {
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", "web"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid profile offline_access"),
        ("state", "xyz"),
        ("nonce", "n-1"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    fields.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    fields.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    format!("/oauth2/authorize?{}", encoded(&fields))
}

/// A token request of a client that proves itself by its secret in the header.
pub(crate) async fn token(bench: &Bench, client: &str, fields: &[(&str, &str)]) -> Answer {
    let request = Request::post("/oauth2/token")
        .header(header::AUTHORIZATION, basic(client))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encoded(fields)))
        .unwrap();
    Answer::of(&bench.router, request).await
}

/// The token of a new client that speaks for itself alone.
pub(crate) async fn token_of_machine(bench: &Bench, id: &str, scope: &str) -> String {
    let metadata = ClientMetadata {
        client_id: id.into(),
        grant_types: Some([GrantType::ClientCredentials].into()),
        scope: scope.into(),
        ..ClientMetadata::default()
    };
    bench.declare(metadata).await;
    let answer = token(bench, id, &[("grant_type", "client_credentials")]).await;
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

pub(crate) fn basic(client: &str) -> String {
    let form =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", form(client), form(SECRET))))
}

/// The fields that redeem a code.
pub(crate) fn redeeming(code: &str) -> [(&str, &str); 4] {
    [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ]
}

/// Signs alice in on the page that an authorization request leads to; answers what follows.
pub(crate) async fn sign_in_on_page(browser: &mut Browser, target: &str) -> Answer {
    let led = browser.get(target).await;
    let page = browser.get(led.location()).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let fields = [
        ("username", "alice"),
        ("password", PASSWORD),
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
    ];
    browser.submit("/login", &fields).await
}

/// Walks the whole flow; answers the code.
pub(crate) async fn code(browser: &mut Browser, target: &str) -> String {
    let mut answer = if browser.cookie("session_id").is_some() {
        browser.get(target).await
    } else {
        sign_in_on_page(browser, target).await
    };
    if answer.location().starts_with("/oauth2/consent") {
        let page = browser.get(answer.location()).await;
        let fields = [
            ("csrf_token", page.field("csrf_token")),
            ("request", page.field("request")),
            ("decision", "allow"),
        ];
        answer = browser.submit("/oauth2/consent", &fields).await;
    }
    answer.sent_with("code").unwrap_or_else(|| panic!("no code in {}", answer.location()))
}

/// The claims of a token, not verified.
pub(crate) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_person_signs_in_agrees_and_the_client_gets_tokens() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);

    let led = browser.get(&authorize(&[("login_hint", "alice")])).await;
    assert!(led.location().starts_with("/login?request="));
    let page = browser.get(led.location()).await;
    assert!(page.body.contains("Example Web"));
    assert_eq!(page.field("username"), "alice");

    let wrong = [
        ("username", "alice"),
        ("password", "not this one"),
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
    ];
    let again = browser.submit("/login", &wrong).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    assert!(browser.cookie("session_id").is_none());

    let right = [
        ("username", "alice"),
        ("password", PASSWORD),
        ("csrf_token", again.field("csrf_token")),
        ("request", again.field("request")),
    ];
    let answer = browser.submit("/login", &right).await;
    assert!(answer.location().starts_with("/oauth2/consent?request="));
    assert!(browser.cookie("session_id").is_some());

    let page = browser.get(answer.location()).await;
    assert!(page.body.contains("see your user name"), "{}", page.body);
    assert!(page.body.contains("http://127.0.0.1:9999"));
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
        ("decision", "allow"),
    ];
    let back = browser.submit("/oauth2/consent", &fields).await;
    assert!(back.location().starts_with(&format!("{CALLBACK}?code=")));
    assert_eq!(back.sent_with("state").as_deref(), Some("xyz"));
    assert_eq!(back.sent_with("iss").as_deref(), Some(ISSUER));
    let code = back.sent_with("code").unwrap();

    let answer = token(&bench, "web", &redeeming(&code)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
    let tokens = answer.json();
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&"Bearer".into(), &900.into()));
    let id = claims(tokens["id_token"].as_str().unwrap());
    assert_eq!(id["nonce"], "n-1");
    assert_eq!(id["sub"], bench.alice.id.as_str());
    assert_eq!(
        (&id["iss"], &id["aud"], &id["acr"]),
        (&ISSUER.into(), &"web".into(), &"aal1".into())
    );

    let access = tokens["access_token"].as_str().unwrap();
    let info = userinfo(&bench, access).await;
    assert_eq!(info["preferred_username"], "alice");

    let refresh = tokens["refresh_token"].as_str().unwrap();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let refreshed = token(&bench, "web", &fields).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.body);
}

async fn userinfo(bench: &Bench, access: &str) -> Value {
    let request = Request::get("/oauth2/userinfo")
        .header(header::AUTHORIZATION, format!("Bearer {access}"))
        .body(Body::empty())
        .unwrap();
    Answer::of(&bench.router, request).await.json()
}

#[tokio::test]
async fn whoever_has_agreed_is_not_asked_again() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    code(&mut browser, &authorize(&[])).await;
    let back = browser.get(&authorize(&[])).await;
    assert!(back.sent_with("code").is_some());
    // Unless the client wants them asked, or wants more.
    for changes in [("prompt", "consent"), ("scope", "openid email")] {
        let asked = browser.get(&authorize(&[changes])).await;
        assert!(asked.location().starts_with("/oauth2/consent?"), "{changes:?}");
    }
}

/// What was agreed to is shown, and taken back with everything that the client got by it.
#[tokio::test]
async fn what_somebody_agreed_to_is_shown_and_taken_back() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let code = code(&mut browser, &authorize(&[])).await;
    let tokens = token(&bench, "web", &redeeming(&code)).await.json();
    let page = browser.get("/").await;
    assert!(page.body.contains("Example Web") && page.body.contains("see your user name"));
    let csrf = page.field("csrf_token").to_owned();
    let forged = [("client", "web"), ("csrf_token", "1.x")];
    assert_eq!(browser.submit("/login/consents", &forged).await.status, StatusCode::FORBIDDEN);
    // Of a client that has nothing, nothing is taken back.
    for client in ["other", "no such client", "../web"] {
        let fields = [("client", client), ("csrf_token", csrf.as_str())];
        assert_eq!(browser.submit("/login/consents", &fields).await.location(), "/login");
    }
    let refresh = || [("grant_type", "refresh_token"), ("refresh_token", "")];
    let mut fields = refresh();
    fields[1].1 = tokens["refresh_token"].as_str().unwrap();
    let tokens = token(&bench, "web", &fields).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.body);
    let tokens = tokens.json();

    let own = [("client", "web"), ("csrf_token", csrf.as_str())];
    assert_eq!(browser.submit("/login/consents", &own).await.location(), "/login");
    assert!(!browser.get("/").await.body.contains("Example Web"));
    let mut fields = refresh();
    fields[1].1 = tokens["refresh_token"].as_str().unwrap();
    let refused = token(&bench, "web", &fields).await;
    assert_eq!(refused.json()["error"], "invalid_grant");
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(userinfo(&bench, access).await["error"], "invalid_token");
    // The session goes on, and the client asks anew.
    let asked = browser.get(&authorize(&[])).await;
    assert!(asked.location().starts_with("/oauth2/consent?"), "{}", asked.location());
}

#[tokio::test]
async fn whoever_does_not_agree_goes_back_without_a_code() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let answer = sign_in_on_page(&mut browser, &authorize(&[])).await;
    let page = browser.get(answer.location()).await;
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
        ("decision", "deny"),
    ];
    let back = browser.submit("/oauth2/consent", &fields).await;
    assert_eq!(back.sent_with("error").as_deref(), Some("access_denied"));
    assert_eq!(back.sent_with("state").as_deref(), Some("xyz"));
    // The request is over: saying yes afterwards changes nothing.
    let late = [fields[0], fields[1], ("decision", "allow")];
    assert_eq!(browser.submit("/oauth2/consent", &late).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn prompt_none_never_shows_a_page() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let silent = authorize(&[("prompt", "none")]);
    let back = browser.get(&silent).await;
    assert_eq!(back.sent_with("error").as_deref(), Some("login_required"));
    sign_in_on_page(&mut browser, &authorize(&[])).await;
    let back = browser.get(&silent).await;
    assert_eq!(back.sent_with("error").as_deref(), Some("consent_required"));
}

#[tokio::test]
async fn prompt_login_asks_for_the_password_again_and_does_so_once() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    code(&mut browser, &authorize(&[("client_id", "spa")])).await;
    // Within the same second: what happened before the request does not count.
    bench.clock.advance(std::time::Duration::from_millis(200));
    let target = authorize(&[("client_id", "spa"), ("prompt", "login")]);
    let led = browser.get(&target).await;
    assert!(led.location().starts_with("/login?"));
    bench.clock.advance(std::time::Duration::from_millis(200));
    let before = browser.cookie("session_id").unwrap().to_owned();
    let page = browser.get(led.location()).await;
    let fields = [
        ("username", "alice"),
        ("password", PASSWORD),
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
    ];
    let back = browser.submit("/login", &fields).await;
    assert!(back.sent_with("code").is_some(), "{}", back.location());
    assert_ne!(browser.cookie("session_id").unwrap(), before, "a sign-in is a new session");
}

#[tokio::test]
async fn a_form_in_another_tab_can_still_be_sent_after_signing_in() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let led = browser.get(&authorize(&[("state", "second")])).await;
    let other_tab = browser.get(led.location()).await;
    code(&mut browser, &authorize(&[])).await;
    let fields = [
        ("username", "alice"),
        ("password", PASSWORD),
        ("csrf_token", other_tab.field("csrf_token")),
        ("request", other_tab.field("request")),
    ];
    let back = browser.submit("/login", &fields).await;
    assert_eq!(back.sent_with("state").as_deref(), Some("second"));
}

#[tokio::test]
async fn another_account_can_be_used_for_the_same_request() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let answer = sign_in_on_page(&mut browser, &authorize(&[])).await;
    let page = browser.get(answer.location()).await;
    let handle = page.field("request").to_owned();
    let form = browser.get(&format!("/login?request={handle}&another=true")).await;
    assert_eq!(form.status, StatusCode::OK);
    let fields = [
        ("username", "bob"),
        ("password", PASSWORD),
        ("csrf_token", form.field("csrf_token")),
        ("request", &handle),
    ];
    let answer = browser.submit("/login", &fields).await;
    let page = browser.get(answer.location()).await;
    assert!(page.body.contains("<strong>bob</strong>"));
}

#[tokio::test]
async fn a_form_of_the_clients_own_site_finds_who_is_signed_in() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    code(&mut browser, &authorize(&[])).await;
    let address = authorize(&[("state", "a&b=c d é")]);
    let query = address.split_once('?').unwrap().1;
    let fields: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let foreign = [("origin", "https://web.example"), ("sec-fetch-site", "cross-site")];
    // A foreign form comes without our cookies; what it leads to has them.
    let session = browser.jar.clone();
    browser.jar.clear();
    let led = browser.submit_from("/oauth2/authorize", &fields, &foreign).await;
    browser.jar = session;
    let back = browser.get(led.location()).await;
    assert!(back.sent_with("code").is_some());
    assert_eq!(back.sent_with("state").as_deref(), Some("a&b=c d é"));
}
