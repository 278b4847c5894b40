//! What clients and verifiers find by its fixed path.

use axum::body::Body;
use http::{Request, StatusCode, header};

use super::{
    bench::{Bench, ISSUER},
    browser::{Answer, Browser},
};

#[tokio::test]
async fn the_metadata_is_as_it_is_on_record() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let openid = browser.get("/.well-known/openid-configuration").await;
    let oauth = browser.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(openid.body, oauth.body);
    assert_eq!(openid.header("content-type"), "application/json");
    let on_record: serde_json::Value = serde_json::from_str(include_str!("metadata.json")).unwrap();
    assert_eq!(openid.json(), on_record, "clients rely on this: change it knowingly");
}

#[tokio::test]
async fn every_endpoint_of_the_metadata_is_there() {
    let bench = Bench::new().await;
    let metadata = Browser::new(&bench).get("/.well-known/openid-configuration").await.json();
    for (name, value) in metadata.as_object().unwrap() {
        let is_address = name.ends_with("_endpoint") || name.ends_with("_uri");
        let Some(path) =
            value.as_str().and_then(|it| it.strip_prefix(ISSUER)).filter(|_| is_address)
        else {
            continue;
        };
        let status = Browser::new(&bench).get(path).await.status;
        assert_ne!(status, StatusCode::NOT_FOUND, "{name}");
    }
}

#[tokio::test]
async fn keys_are_public_kept_for_a_while_and_asked_about_by_name() {
    let bench = Bench::new().await;
    let answer = Browser::new(&bench).get("/.well-known/jwks.json").await;
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let keys = answer.json();
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2, "the current one and the next");
    for key in keys {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none(), "{private} is published");
        }
        assert!(key["kid"].is_string() && key["alg"] == "ES256" && key["use"] == "sig");
    }
    let etag = answer.header("etag").to_owned();
    for known in [etag.clone(), format!("\"x\", W/{etag}"), "*".into()] {
        let request = Request::get("/.well-known/jwks.json")
            .header(header::IF_NONE_MATCH, known)
            .body(Body::empty())
            .unwrap();
        let again = Answer::of(&bench.router, request).await;
        assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(again.header("etag"), etag);
    }
    let request = Request::get("/.well-known/jwks.json")
        .header(header::IF_NONE_MATCH, "\"other\"")
        .body(Body::empty())
        .unwrap();
    assert_eq!(Answer::of(&bench.router, request).await.status, StatusCode::OK);
}
