//! Status lists, as a verifier outside reads them.

use std::io::Read as _;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::read::ZlibDecoder;
use http::StatusCode;
use serde_json::Value;

use super::{
    bench::{Bench, ISSUER},
    browser::{Answer, Browser},
    flow::{authorize, claims, code, redeeming, token},
};

fn header(token: &str) -> Value {
    let part = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Whether the bit at `index` is set, read as the draft says (§4.1).
fn is_set(list: &Answer, index: u64) -> bool {
    let claims = claims(&list.body);
    assert_eq!(claims["status_list"]["bits"], 1);
    let bytes = URL_SAFE_NO_PAD.decode(claims["status_list"]["lst"].as_str().unwrap()).unwrap();
    let mut bits = Vec::new();
    ZlibDecoder::new(bytes.as_slice()).read_to_end(&mut bits).unwrap();
    assert_eq!(bits.len(), 1 << 17);
    bits[usize::try_from(index / 8).unwrap()] & (1 << (index % 8)) != 0
}

#[tokio::test]
async fn shows_a_revoked_token_and_no_other() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let code = code(&mut browser, &authorize(&[])).await;
    let tokens = token(&bench, "web", &redeeming(&code)).await.json();
    let access = claims(tokens["access_token"].as_str().unwrap());
    let place = &access["status"]["status_list"];
    let (uri, index) = (place["uri"].as_str().unwrap(), place["idx"].as_u64().unwrap());

    let before = browser.get(uri).await;
    assert_eq!(before.status, StatusCode::OK, "{}", before.body);
    assert_eq!(before.header("content-type"), "application/statuslist+jwt");
    assert_eq!(before.header("access-control-allow-origin"), "*");
    let head = header(&before.body);
    assert_eq!((&head["typ"], &head["alg"]), (&"statuslist+jwt".into(), &"ES256".into()));
    let said = claims(&before.body);
    assert_eq!(
        (&said["sub"], &said["iss"], &said["ttl"]),
        (&uri.into(), &ISSUER.into(), &60.into())
    );
    assert_eq!(said["exp"].as_u64().unwrap() - said["iat"].as_u64().unwrap(), 300);
    assert!(!is_set(&before, index));

    let fields = [("token", tokens["access_token"].as_str().unwrap())];
    let request = http::Request::post("/oauth2/revoke")
        .header(http::header::AUTHORIZATION, super::flow::basic("web"))
        .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(axum::body::Body::from(super::browser::encoded(&fields)))
        .unwrap();
    assert_eq!(Answer::of(&bench.router, request).await.status, StatusCode::OK);
    let after = browser.get(uri).await;
    assert!(is_set(&after, index));
    assert!(!is_set(&after, (index + 1) % (1 << 20)));
}

#[tokio::test]
async fn shows_only_lists_on_which_tokens_can_be_alive() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let now = tegata_token::ListId::slot_at(bench.provider.node().now());
    let status = async |browser: &mut Browser, id: String| {
        browser.get(&format!("/status-lists/{id}")).await.status
    };
    for good in [format!("1.{now}.0"), format!("1.{}.0", now - 4), format!("1.{now}.5")] {
        assert_eq!(status(&mut browser, good.clone()).await, StatusCode::OK, "{good}");
    }
    for bad in [
        format!("1.{}.0", now + 1),
        format!("1.{}.0", now - 10),
        format!("2.{now}.0"),
        format!("0.{now}.0"),
        format!("1.{now}.128"),
        format!("01.{now}.0"),
        format!("1.{now}"),
        "x".into(),
    ] {
        assert_eq!(status(&mut browser, bad.clone()).await, StatusCode::NOT_FOUND, "{bad}");
    }
}

/// What is asked for that there is not is refused, and never answered with something else.
#[tokio::test]
async fn other_times_and_other_forms_are_refused() {
    let bench = Bench::new().await;
    let now = tegata_token::ListId::slot_at(bench.provider.node().now());
    let ask = async |query: &str, accept: Option<&str>| {
        let mut request = http::Request::get(format!("/status-lists/1.{now}.0{query}"));
        if let Some(accept) = accept {
            request = request.header(http::header::ACCEPT, accept);
        }
        Browser::new(&bench).send(request.body(axum::body::Body::empty()).unwrap()).await.status
    };
    for query in ["?time=1", "?time=x", "?time=", "?time=1&time=2"] {
        assert_eq!(ask(query, None).await, StatusCode::NOT_IMPLEMENTED, "{query}");
    }
    for good in [
        "application/statuslist+jwt",
        "*/*",
        "application/*;q=0.1",
        "application/statuslist+cwt, Application/StatusList+JWT;q=0.5",
        "text/html, */*;q=0.1",
    ] {
        assert_eq!(ask("", Some(good)).await, StatusCode::OK, "{good}");
    }
    for bad in ["application/statuslist+cwt", "application/statuslist+jwt;q=0", "text/html"] {
        assert_eq!(ask("", Some(bad)).await, StatusCode::NOT_ACCEPTABLE, "{bad}");
    }
}

#[tokio::test]
async fn a_node_that_does_not_know_what_was_revoked_lately_says_nothing() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let now = tegata_token::ListId::slot_at(bench.provider.node().now());
    let target = format!("/status-lists/1.{now}.0");
    bench.advance(6);
    let answer = browser.get(&target).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "1");
    bench.catch_up().await;
    assert_eq!(browser.get(&target).await.status, StatusCode::OK);
}
