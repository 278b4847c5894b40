//! The authorization request in its other forms: pushed, signed, with the answer in a form.

use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::json;
use tegata_oauth::{ClientMetadata, GrantType};
use tegata_token::{Algorithm, SigningKey, jws};

use super::{
    bench::{Bench, CALLBACK, CHALLENGE, ISSUER, PASSWORD},
    browser::{Answer, Browser, encoded},
    flow::{authorize, basic, claims, code, redeeming, sign_in_on_page, token},
};

/// Pushes an authorization request of a client, with these parameters besides or instead.
async fn push(bench: &Bench, client: &str, changes: &[(&str, &str)]) -> Answer {
    let address = authorize(&[changes, &[("client_id", "")]].concat());
    let query = address.split_once('?').unwrap().1.to_owned();
    let request = Request::post("/oauth2/par")
        .header(header::AUTHORIZATION, basic(client))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(query))
        .unwrap();
    Answer::of(&bench.router, request).await
}

async fn pushed(bench: &Bench, changes: &[(&str, &str)]) -> String {
    let answer = push(bench, "web", changes).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json()["expires_in"], 60);
    answer.json()["request_uri"].as_str().unwrap().to_owned()
}

fn with(client: &str, uri: &str) -> String {
    format!("/oauth2/authorize?{}", encoded(&[("client_id", client), ("request_uri", uri)]))
}

#[tokio::test]
async fn a_pushed_request_leads_to_tokens_and_its_page_can_be_loaded_again() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let uri = pushed(&bench, &[("state", "pushed")]).await;
    let led = browser.get(&with("web", &uri)).await;
    let address = led.location().to_owned();
    for _ in 0..3 {
        assert_eq!(browser.get(&address).await.status, StatusCode::OK);
    }
    // So can the address that the client gave, in this browser: somebody reloads, or goes back.
    let again = browser.get(&with("web", &uri)).await;
    let tab = again.location().to_owned();
    assert!(tab.starts_with("/login?request="));
    let mut thief = Browser::new(&bench);
    let stolen = thief.get(&with("web", &uri)).await;
    assert_eq!(stolen.status, StatusCode::BAD_REQUEST);
    assert!(stolen.header("location").is_empty());
    let page = browser.get(&address).await;
    let fields = [
        ("username", "alice"),
        ("password", PASSWORD),
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
    ];
    let answer = browser.submit("/login", &fields).await;
    assert!(answer.location().starts_with("/oauth2/consent?"));
    // It is answered once, in whichever tab, and gone then.
    let mut other = browser.clone();
    let pages = [browser.get(answer.location()).await, other.get(&tab).await];
    assert!(pages[1].location().starts_with("/oauth2/consent?"), "{}", pages[1].body);
    let pages = [pages[0].clone(), other.get(pages[1].location()).await];
    let mut answers = Vec::new();
    for page in &pages {
        let fields = [
            ("csrf_token", page.field("csrf_token")),
            ("request", page.field("request")),
            ("decision", "allow"),
        ];
        answers.push(browser.submit("/oauth2/consent", &fields).await);
    }
    assert!(answers[0].sent_with("code").is_some(), "{}", answers[0].body);
    assert_eq!(answers[1].status, StatusCode::BAD_REQUEST, "{}", answers[1].body);
    let gone = browser.get(&with("web", &uri)).await;
    assert_eq!(gone.status, StatusCode::BAD_REQUEST, "{}", gone.body);
    // So it is where the answer is an error.
    let quiet = pushed(&bench, &[("prompt", "none")]).await;
    let mut nobody = Browser::new(&bench);
    let refused = nobody.get(&with("web", &quiet)).await;
    assert!(refused.location().contains("error=login_required"));
    assert_eq!(nobody.get(&with("web", &quiet)).await.status, StatusCode::BAD_REQUEST);
    let second = pushed(&bench, &[("state", "second")]).await;
    let code = code(&mut browser, &with("web", &second)).await;
    let answer = token(&bench, "web", &redeeming(&code)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test]
async fn a_pushed_request_is_of_no_use_to_another_client_or_after_its_time() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let uri = pushed(&bench, &[]).await;
    let stolen = browser.get(&with("other", &uri)).await;
    assert_eq!(stolen.status, StatusCode::BAD_REQUEST, "{}", stolen.body);
    let nobody = browser.get(&with("nobody", &uri)).await;
    assert_eq!(nobody.status, StatusCode::BAD_REQUEST);
    assert!(browser.get(&with("web", &uri)).await.location().starts_with("/login?"));
    let late = pushed(&bench, &[]).await;
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(browser.get(&with("web", &late)).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn whoever_pushes_proves_who_they_are_and_is_told_what_is_wrong_in_json() {
    let bench = Bench::new().await;
    for (changes, error) in [
        (("redirect_uri", "https://evil.example"), "invalid_request"),
        (("request_uri", "urn:ietf:params:oauth:request_uri:x"), "invalid_request"),
        (("scope", "admin"), "invalid_scope"),
        (("request", "x.y.z"), "invalid_request_object"),
        (("authorization_details", "[{\"type\":\"x\"}]"), "invalid_authorization_details"),
    ] {
        let answer = push(&bench, "web", &[changes]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{changes:?}");
        assert_eq!(answer.json()["error"], error, "{changes:?}");
    }
    let wrong = Request::post("/oauth2/par")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encoded(&[("client_id", "web"), ("response_type", "code")])))
        .unwrap();
    let answer = Answer::of(&bench.router, wrong).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let twice = Request::post("/oauth2/par")
        .header(header::AUTHORIZATION, basic("web"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from("response_type=code&scope=openid&scope=profile"))
        .unwrap();
    let answer = Answer::of(&bench.router, twice).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_request"))
    );
    let get = Request::get("/oauth2/par").body(Body::empty()).unwrap();
    let answer = Answer::of(&bench.router, get).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn an_answer_in_a_form_posts_itself_to_the_client_and_nowhere_else() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    code(&mut browser, &authorize(&[])).await;
    let hostile = "\"><script>alert(1)</script>";
    let page = browser.get(&authorize(&[("response_mode", "form_post"), ("state", hostile)])).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.header("location").is_empty());
    assert!(page.body.contains(&format!("action=\"{CALLBACK}\"")), "{}", page.body);
    assert!(page.field("code").starts_with("ac_"));
    assert!(!page.body.contains("<script>alert"), "{}", page.body);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("form-action 'self' http://127.0.0.1:9999"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    let nonce = policy.split_once("'nonce-").unwrap().1.split_once('\'').unwrap().0;
    assert!(page.body.contains(&format!("<script nonce=\"{nonce}\">document")), "{}", page.body);
    assert!(page.body.contains("<button type=\"submit\""));
    let code = page.field("code").to_owned();
    assert_eq!(token(&bench, "web", &redeeming(&code)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn errors_come_in_the_form_too_and_never_in_the_address() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    for changes in [("prompt", "none"), ("scope", "admin"), ("response_type", "token")] {
        let target = authorize(&[("response_mode", "form_post"), changes]);
        let page = browser.get(&target).await;
        assert_eq!(page.status, StatusCode::OK, "{changes:?}");
        assert!(!page.field("error").is_empty());
        assert_eq!(page.field("state"), "xyz");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    // An answer to a form that was denied.
    let asked = sign_in_on_page(&mut browser, &authorize(&[("response_mode", "form_post")])).await;
    let page = browser.get(asked.location()).await;
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
        ("decision", "deny"),
    ];
    let back = browser.submit("/oauth2/consent", &fields).await;
    assert_eq!((back.status, back.field("error")), (StatusCode::OK, "access_denied"));
}

#[tokio::test]
async fn a_signed_answer_is_one_parameter() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    code(&mut browser, &authorize(&[])).await;
    let back = browser.get(&authorize(&[("response_mode", "jwt")])).await;
    let response = back.sent_with("response").unwrap();
    assert!(back.sent_with("code").is_none() && back.sent_with("state").is_none());
    let said = claims(&response);
    assert_eq!((&said["iss"], &said["aud"]), (&json!(ISSUER), &json!("web")));
    let code = said["code"].as_str().unwrap();
    assert_eq!(token(&bench, "web", &redeeming(code)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_a_client_signed_counts_and_nothing_beside_it() {
    let bench = Bench::new().await;
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let jwks = json!({"keys": [key.jwk()]});
    let metadata = ClientMetadata {
        client_id: "signer".into(),
        jwks: serde_json::from_value(jwks).unwrap(),
        grant_types: Some([GrantType::AuthorizationCode].into()),
        redirect_uris: vec![CALLBACK.into()],
        scope: "openid profile".into(),
        access_token_signed_response_alg: Some(Algorithm::Es256),
        id_token_signed_response_alg: Some(Algorithm::Es256),
        ..ClientMetadata::default()
    };
    bench.provider.clients().declare(&bench.realm, &metadata, None).await.unwrap();
    let object = json!({
        "iss": "signer", "aud": ISSUER, "client_id": "signer", "response_type": "code",
        "redirect_uri": CALLBACK, "scope": "openid", "state": "inside",
        "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    });
    let object = jws::sign(&key, "oauth-authz-req+jwt", object.to_string().as_bytes()).unwrap();
    let mut browser = Browser::new(&bench);
    let beside = [("client_id", "signer"), ("request", object.as_str()), ("state", "outside")];
    let target = format!("/oauth2/authorize?{}", encoded(&beside));
    let asked = sign_in_on_page(&mut browser, &target).await;
    let page = browser.get(asked.location()).await;
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
        ("decision", "allow"),
    ];
    let back = browser.submit("/oauth2/consent", &fields).await;
    assert_eq!(back.sent_with("state").as_deref(), Some("inside"));
}

#[tokio::test]
async fn a_public_client_cannot_fill_the_store() {
    let bench = Bench::new().await;
    let mut refused = None;
    for _ in 0..1000 {
        let fields = [
            ("client_id", "spa"),
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let mut browser = Browser::new(&bench);
        let answer = browser.submit("/oauth2/par", &fields).await;
        if answer.status != StatusCode::CREATED {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a limit");
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.body);
    assert!(!refused.header("retry-after").is_empty());
}
