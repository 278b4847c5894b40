//! Pairwise clients over HTTP: what they are told of people, and that signing out ends what they have.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tegata_oauth::{ClientMetadata, GrantType, client::SubjectType};

use super::{
    bench::{Bench, CALLBACK},
    browser::{Answer, Browser, encoded},
    flow::{authorize, basic, claims, code, redeeming, token},
};

/// A listener with pairwise clients: `one` and `two` of a sector, `far` of another.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    for (id, sector) in [("one", "app.example"), ("two", "app.example"), ("far", "far.example")] {
        bench
            .declare(ClientMetadata {
                client_id: id.into(),
                grant_types: Some([GrantType::AuthorizationCode, GrantType::RefreshToken].into()),
                redirect_uris: vec![CALLBACK.into()],
                subject_type: Some(SubjectType::Pairwise),
                sector: Some(sector.into()),
                scope: "openid profile offline_access".into(),
                ..ClientMetadata::default()
            })
            .await;
    }
    bench
}

/// What a client gets of whoever sits at the browser.
async fn at(bench: &Bench, browser: &mut Browser, client: &str, scope: &str) -> Value {
    let code = code(browser, &authorize(&[("client_id", client), ("scope", scope)])).await;
    token(bench, client, &redeeming(&code)).await.json()
}

async fn userinfo(bench: &Bench, token: &str) -> Answer {
    let request = Request::get("/oauth2/userinfo")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    Answer::of(&bench.router, request).await
}

async fn introspected(bench: &Bench, token: &str) -> Value {
    let request = Request::post("/oauth2/introspect")
        .header(header::AUTHORIZATION, basic("service"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encoded(&[("token", token)])))
        .unwrap();
    Answer::of(&bench.router, request).await.json()
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap()
}

#[tokio::test]
async fn a_pairwise_client_knows_somebody_by_one_name_and_another_client_by_another() {
    let bench = bench().await;
    let mut browser = Browser::new(&bench);
    let mut known = Vec::new();
    for client in ["one", "two", "far"] {
        let told = at(&bench, &mut browser, client, "openid").await;
        let (access, id) = (text(&told, "access_token"), claims(text(&told, "id_token")));
        let info = userinfo(&bench, access).await.json();
        assert_eq!(info, json!({"sub": id["sub"]}), "{client}");
        for said in [&id, &claims(access)] {
            assert!(!said.to_string().contains(bench.alice.id.as_str()), "{client}: {said}");
        }
        // A service that is asked by a client knows who that is.
        assert_eq!(introspected(&bench, access).await["sub"], bench.alice.id.as_str());
        known.push((id["sub"].clone(), id["sid"].clone()));
    }
    assert_eq!(known[0], known[1]);
    assert!(known[0].0 != known[2].0 && known[0].1 != known[2].1);
    let metadata = browser.get("/.well-known/openid-configuration").await.json();
    assert_eq!(metadata["subject_types_supported"], json!(["public", "pairwise"]));
}

#[tokio::test]
async fn signing_out_everywhere_refuses_what_pairwise_clients_have() {
    let bench = bench().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let (mut other, _) = Browser::signed_in(&bench).await;
    let mut tokens = Vec::new();
    for (browser, client) in [(&mut browser, "one"), (&mut other, "far")] {
        let told = at(&bench, browser, client, "openid profile").await;
        assert_eq!(userinfo(&bench, text(&told, "access_token")).await.status, StatusCode::OK);
        tokens.push((client, told));
    }
    let target = "/api/auth/logout?everywhere=true";
    let csrf = told["csrf_token"].as_str();
    let answer = browser.call(Method::POST, target, csrf, None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    for (client, told) in &tokens {
        let access = text(told, "access_token");
        assert_eq!(userinfo(&bench, access).await.status, StatusCode::UNAUTHORIZED, "{client}");
        assert_eq!(introspected(&bench, access).await, json!({"active": false}), "{client}");
        let refresh = text(told, "refresh_token");
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
        assert_eq!(token(&bench, client, &fields).await.json()["error"], "invalid_grant");
    }
}

#[tokio::test]
async fn a_hint_of_another_sector_tells_nobody_who_is_signed_in() {
    let bench = bench().await;
    let mut browser = Browser::new(&bench);
    let mut hints = Vec::new();
    for client in ["one", "two", "far", "web"] {
        let told = at(&bench, &mut browser, client, "openid").await;
        hints.push((client, text(&told, "id_token").to_owned()));
    }
    let sector = |client: &str| if client == "two" { "one" } else { client }.to_owned();
    for (client, _) in &hints {
        for (other, hint) in &hints {
            let asked = [
                ("client_id", *client),
                ("scope", "openid"),
                ("prompt", "none"),
                ("id_token_hint", hint.as_str()),
            ];
            let answer = browser.get(&authorize(&asked)).await;
            if sector(client) == sector(other) {
                assert!(answer.sent_with("code").is_some(), "{client} {other}");
            } else {
                let error = answer.sent_with("error");
                assert_eq!(error.as_deref(), Some("login_required"), "{client} {other}");
            }
        }
    }
}
