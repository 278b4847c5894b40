//! What modules of the OpenID Foundation's conformance suite ask for and the other tests do not:
//! `docs/conformance.md` has them all.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};
use tegata_oauth::{ClientMetadata, GrantType};

use super::{
    bench::{Bench, CALLBACK},
    browser::{Browser, encoded},
    flow::{authorize, claims, code, redeeming, sign_in_on_page, token},
};

const BYE: &str = "https://web.example/bye";

/// The claims of the ID token that `client` gets for a code.
async fn id_token(bench: &Bench, client: &str, code: &str) -> Value {
    let answer = token(bench, client, &redeeming(code)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    claims(answer.json()["id_token"].as_str().unwrap())
}

#[tokio::test]
async fn what_asks_for_nothing_that_is_offered_is_passed_over() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let essential = json!({"userinfo": {"name": {"essential": true}}}).to_string();
    for asks in [
        ("display", "page"),
        ("display", "popup"),
        ("claims_locales", "se"),
        ("ui_locales", "se"),
        ("extra", "foobar"),
        ("claims", essential.as_str()),
        ("acr_values", "1 2"),
        ("scope", "email openid"),
    ] {
        let code = code(&mut browser, &authorize(&[asks])).await;
        let id = id_token(&bench, "web", &code).await;
        assert_eq!(id["sub"], bench.alice.id.as_str(), "{asks:?}");
        assert!(id.get("name").is_none() && id.get("acr").is_some(), "{asks:?}: {id}");
    }
}

#[tokio::test]
async fn a_request_without_nonce_or_challenge_is_answered() {
    let bench = Bench::new().await;
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    bench
        .declare(ClientMetadata {
            client_id: "basic".into(),
            grant_types: Some(grants.into()),
            redirect_uris: vec![CALLBACK.into()],
            scope: "openid".into(),
            require_pkce: Some(false),
            ..ClientMetadata::default()
        })
        .await;
    let none =
        [("nonce", ""), ("state", ""), ("code_challenge", ""), ("code_challenge_method", "")];
    let bare = [none.as_slice(), &[("client_id", "basic"), ("scope", "openid")]].concat();
    let mut browser = Browser::new(&bench);
    code(&mut browser, &authorize(&bare)).await;
    // The person has agreed: what comes back can be looked at.
    let back = browser.get(&authorize(&bare)).await;
    assert_eq!(back.sent_with("state"), None);
    let code = back.sent_with("code").unwrap();
    let with = redeeming(&code);
    // A verifier for which nobody gave a challenge is a downgrade (RFC 9700 §4.8.2).
    assert_eq!(token(&bench, "basic", &with).await.status, StatusCode::BAD_REQUEST);
    let without: Vec<_> = with.into_iter().filter(|(name, _)| *name != "code_verifier").collect();
    let answer = token(&bench, "basic", &without).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let id = claims(answer.json()["id_token"].as_str().unwrap());
    assert!(id.get("nonce").is_none(), "{id}");
}

#[tokio::test]
async fn a_second_sign_in_has_a_time_of_its_own_and_none_is_made_without_need() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let first = code(&mut browser, &authorize(&[])).await;
    let first = id_token(&bench, "web", &first).await;
    // Two seconds, as the suite waits.
    bench.advance(2);
    for asks in [("prompt", "none"), ("max_age", "10000")] {
        let back = browser.get(&authorize(&[asks])).await;
        let id = id_token(&bench, "web", &back.sent_with("code").unwrap()).await;
        assert_eq!(
            (&id["auth_time"], &id["sub"]),
            (&first["auth_time"], &first["sub"]),
            "{asks:?}"
        );
    }
    let mut before = first["auth_time"].as_u64().unwrap();
    for asks in [("max_age", "1"), ("prompt", "login")] {
        let led = browser.get(&authorize(&[asks])).await;
        assert!(led.location().starts_with("/login?"), "{asks:?}");
        let back = sign_in_on_page(&mut browser, &authorize(&[asks])).await;
        let id = id_token(&bench, "web", &back.sent_with("code").unwrap()).await;
        let auth_time = id["auth_time"].as_u64().unwrap();
        assert!(auth_time > before, "{asks:?}: {auth_time} after {before}");
        before = auth_time;
        bench.advance(2);
    }
}

#[tokio::test]
async fn signing_out_goes_back_with_the_state_that_there_was_or_none() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let code = code(&mut browser, &authorize(&[])).await;
    let answer = token(&bench, "web", &redeeming(&code)).await.json();
    let hint = answer["id_token"].as_str().unwrap();
    // A state without an address is no reason to go anywhere.
    let page = browser.get("/oauth2/logout?state=xyz").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.field("csrf_token").is_empty());
    // A hint whose signature was taken off is none.
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        hint.split('.').nth(1).unwrap()
    );
    let forged = encoded(&[("id_token_hint", &unsigned), ("post_logout_redirect_uri", BYE)]);
    let refused = browser.get(&format!("/oauth2/logout?{forged}")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);

    let wish = [("id_token_hint", hint), ("post_logout_redirect_uri", BYE)];
    let page = browser.get(&format!("/oauth2/logout?{}", encoded(&wish))).await;
    let csrf = page.field("csrf_token").to_owned();
    let said = [&wish[..], &[("csrf_token", csrf.as_str()), ("decision", "logout")]].concat();
    assert_eq!(browser.submit("/oauth2/logout", &said).await.location(), BYE);
    let silent = browser.get(&authorize(&[("prompt", "none")])).await;
    assert_eq!(silent.sent_with("error").as_deref(), Some("login_required"));
}
