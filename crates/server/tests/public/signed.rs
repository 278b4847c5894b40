//! Answers that are signed: kept as evidence, and of no use as anything else.

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tegata_oauth::ClientMetadata;
use tegata_token::{Algorithm, Jwk, VerifyingKey};

use super::{
    bench::{Bench, CALLBACK, ISSUER},
    browser::{Answer, Browser, encoded},
    flow::{authorize, basic, claims, code, redeeming, token},
};

const SIGNED: &str = "application/token-introspection+jwt";

async fn introspect(bench: &Bench, client: &str, token: &str, accept: &str) -> Answer {
    let request = Request::post("/oauth2/introspect")
        .header(header::AUTHORIZATION, basic(client))
        .header(header::ACCEPT, accept)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encoded(&[("token", token)])))
        .unwrap();
    Answer::of(&bench.router, request).await
}

/// The header of a JWT, whose signature is that of the key it names.
async fn verified(bench: &Bench, jwt: &str) -> Value {
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let (head, _) = signed.split_once('.').unwrap();
    let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    let published = Browser::new(bench).get("/.well-known/jwks.json").await.json();
    let mut keys = published["keys"].as_array().unwrap().iter();
    let key = keys.find(|key| key["kid"] == head["kid"]).unwrap();
    assert_eq!(head["alg"], key["alg"]);
    let key: Jwk = serde_json::from_value(key.clone()).unwrap();
    let key = VerifyingKey::from_jwk(&key).unwrap();
    assert!(key.verifies(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()));
    head
}

async fn access_token(bench: &Bench, scope: &str) -> String {
    let code = code(&mut Browser::new(bench), &authorize(&[("scope", scope)])).await;
    let answer = token(bench, "web", &redeeming(&code)).await;
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// Whether a text is taken for a token, or for the sign of who is meant.
async fn is_taken(bench: &Bench, text: &str) -> bool {
    let shown = Request::get("/oauth2/userinfo")
        .header(header::AUTHORIZATION, format!("Bearer {text}"))
        .body(Body::empty())
        .unwrap();
    let shown = Answer::of(&bench.router, shown).await;
    let told = introspect(bench, "service", text, "application/json").await;
    let hint = Browser::new(bench).get(&authorize(&[("id_token_hint", text)])).await;
    let is_refused = hint.sent_with("error").as_deref() == Some("invalid_request");
    shown.status == StatusCode::OK || told.json()["active"] == true || !is_refused
}

#[tokio::test]
async fn an_introspection_that_is_signed_says_the_same_to_its_caller_alone() {
    let bench = Bench::new().await;
    let access = access_token(&bench, "openid profile").await;
    let answer = introspect(&bench, "service", &access, SIGNED).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, SIGNED));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(verified(&bench, &answer.body).await["typ"], "token-introspection+jwt");
    let said = claims(&answer.body);
    let plain = introspect(&bench, "service", &access, "application/json").await.json();
    assert_eq!(said["token_introspection"], plain);
    assert_eq!((&said["iss"], &said["aud"]), (&json!(ISSUER), &json!("service")));
    // Nothing that would let it be taken for a token (RFC 9701 §5).
    let names: Vec<_> = said.as_object().unwrap().keys().collect();
    assert_eq!(names, ["iss", "aud", "iat", "token_introspection"]);
    assert!(!is_taken(&bench, &answer.body).await);
    let dead = introspect(&bench, "service", "x", SIGNED).await;
    assert_eq!(claims(&dead.body)["token_introspection"], json!({"active": false}));
    // What is refused is told as ever.
    let curious = introspect(&bench, "web", &access, SIGNED).await;
    assert_eq!(curious.json()["error"], "unauthorized_client");
}

#[tokio::test]
async fn userinfo_is_signed_for_clients_that_are_registered_so() {
    let bench = Bench::new().await;
    let ask = async |access: &str| {
        let request = Request::get("/oauth2/userinfo")
            .header(header::AUTHORIZATION, format!("Bearer {access}"))
            .body(Body::empty())
            .unwrap();
        Answer::of(&bench.router, request).await
    };
    let access = access_token(&bench, "openid profile").await;
    let plain = ask(&access).await;
    assert_eq!(plain.header("content-type"), "application/json");
    bench
        .declare(ClientMetadata {
            client_id: "web".into(),
            redirect_uris: vec![CALLBACK.into()],
            scope: "openid profile".into(),
            userinfo_signed_response_alg: Some(Algorithm::Es256),
            ..ClientMetadata::default()
        })
        .await;
    let answer = ask(&access).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/jwt");
    assert_eq!(answer.header("cache-control"), "no-store");
    let head = verified(&bench, &answer.body).await;
    assert_eq!((&head["alg"], &head["typ"]), (&json!("ES256"), &json!("JWT")));
    let mut said = claims(&answer.body);
    let members = said.as_object_mut().unwrap();
    assert_eq!(members.remove("iss"), Some(json!(ISSUER)));
    assert_eq!(members.remove("aud"), Some(json!("web")));
    assert_eq!(said, plain.json());
    assert!(!is_taken(&bench, &answer.body).await);
    // What is refused is told as ever.
    let refused = ask("x").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.json()["error"], "invalid_token");
}
