//! What applications hold of a person: seen, and ended one by one by that person alone.

use http::StatusCode;
use serde_json::Value;

use super::{
    bench::{Bench, PASSWORD},
    browser::{Answer, Browser},
    flow::{authorize, claims, code, redeeming, token},
};

/// The tokens of one more sign-in of alice at `web`.
async fn sign_in(bench: &Bench, browser: &mut Browser, scope: &str) -> Value {
    let code = code(browser, &authorize(&[("scope", scope)])).await;
    let answer = token(bench, "web", &redeeming(&code)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.json()
}

fn family(tokens: &Value) -> String {
    claims(tokens["access_token"].as_str().unwrap())["fid"].as_str().unwrap().to_owned()
}

async fn refresh(bench: &Bench, tokens: &Value) -> Answer {
    let shown = tokens["refresh_token"].as_str().unwrap();
    token(bench, "web", &[("grant_type", "refresh_token"), ("refresh_token", shown)]).await
}

async fn end(browser: &mut Browser, csrf: &str, family: &str) -> Answer {
    browser.submit("/login/tokens", &[("family", family), ("csrf_token", csrf)]).await
}

#[tokio::test]
async fn a_person_sees_each_and_ends_one_of_them() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let kept = sign_in(&bench, &mut browser, "openid offline_access").await;
    bench.advance(60);
    let ended = sign_in(&bench, &mut browser, "openid").await;
    let page = browser.get("/").await;
    for tokens in [&kept, &ended] {
        assert!(page.body.contains(&format!("value=\"{}\"", family(tokens))), "{}", page.body);
    }
    assert_eq!(page.body.matches("name=\"family\"").count(), 2, "not those of our own pages");
    assert_eq!(page.body.matches("also after you sign out").count(), 1);
    let csrf = page.field("csrf_token").to_owned();
    assert_eq!(end(&mut browser, &csrf, &family(&ended)).await.location(), "/login");
    assert_eq!(refresh(&bench, &ended).await.json()["error"], "invalid_grant");
    let page = browser.get("/").await;
    assert!(!page.body.contains(&family(&ended)) && page.body.contains(&family(&kept)));
    // The others go on, and what was agreed to stays.
    assert_eq!(refresh(&bench, &kept).await.status, StatusCode::OK);
    assert!(browser.get(&authorize(&[("scope", "openid")])).await.sent_with("code").is_some());
    let japanese = Browser { language: Some("ja"), ..browser.clone() }.get("/").await;
    assert!(japanese.body.contains("アプリが現在持っているアクセス"), "{}", japanese.body);
}

#[tokio::test]
async fn nobody_ends_what_is_not_theirs() {
    let bench = Bench::new().await;
    let mut alice = Browser::new(&bench);
    let tokens = sign_in(&bench, &mut alice, "openid offline_access").await;
    let mut bob = Browser::new(&bench);
    bob.log_in("bob", PASSWORD).await;
    let page = bob.get("/").await;
    let csrf = page.field("csrf_token");
    assert!(!page.body.contains("name=\"family\""));
    assert_eq!(end(&mut bob, csrf, &family(&tokens)).await.location(), "/login");
    for name in ["", "x", "1.99999.AAAA", "../x", "<script>"] {
        assert_eq!(end(&mut bob, csrf, name).await.location(), "/login", "{name}");
    }
    // Nor does another site, or whoever has another's token, in her own browser.
    for forged in ["", "1.x", csrf] {
        let refused = end(&mut alice, forged, &family(&tokens)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{forged}");
    }
    let page = alice.get("/").await;
    let own = page.field("csrf_token").to_owned();
    let evil = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let id = family(&tokens);
    let fields = [("family", id.as_str()), ("csrf_token", own.as_str())];
    let refused = alice.submit_from("/login/tokens", &fields, &evil).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let nobody = Browser::new(&bench).submit("/login/tokens", &fields).await;
    assert_eq!(nobody.location(), "/login");
    assert_eq!(refresh(&bench, &tokens).await.status, StatusCode::OK);
}

/// What ended by itself, or with its session, is not shown as if it went on.
#[tokio::test]
async fn only_what_goes_on_is_listed() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    sign_in(&bench, &mut browser, "openid").await;
    let offline = sign_in(&bench, &mut browser, "openid offline_access").await;
    // The session goes unused for too long, which no log says.
    bench.advance(3600);
    let mut later = Browser::new(&bench);
    later.log_in("alice", PASSWORD).await;
    let page = later.get("/").await;
    assert_eq!(page.body.matches("name=\"family\"").count(), 1, "{}", page.body);
    assert!(page.body.contains(&family(&offline)));
    bench.advance(604_800);
    later.log_in("alice", PASSWORD).await;
    assert!(!later.get("/").await.body.contains("name=\"family\""));
}
