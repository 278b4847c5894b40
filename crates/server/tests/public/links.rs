//! Signing in by mail.

use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    bench::{Bench, CALLBACK, HOME},
    browser::Browser,
    flow::authorize,
};

/// A browser that has asked for a mail, and the code of that.
async fn asked(bench: &Bench, account: &str) -> (Browser, String) {
    let mut browser = Browser::new(bench);
    let answer = browser.fill("/login/link", &[("account", account)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let (page, code) = bench.mail().await.link();
    assert!(page.starts_with("/login/link?"), "{page}");
    (browser, code)
}

async fn show(browser: &mut Browser, code: &str) -> super::browser::Answer {
    browser.fill("/login/link", &[("mail_code", code)]).await
}

async fn session(browser: &mut Browser) -> Value {
    browser.call(Method::GET, "/api/auth/session", None, None).await.json()
}

#[tokio::test]
async fn a_code_signs_in_once_in_the_browser_that_asked_and_says_so() {
    let bench = Bench::new().await;
    let (mut browser, code) = asked(&bench, "alice@people.example").await;
    // Elsewhere it is nothing, and stays good.
    let elsewhere = show(&mut Browser::new(&bench), &code).await;
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED, "{}", elsewhere.body);
    let mut thief = browser.clone();
    let spoken = format!(" {}-{}", code[..5].to_lowercase(), &code[5..]);
    assert_eq!(show(&mut browser, &spoken).await.status, StatusCode::SEE_OTHER);
    let told = session(&mut browser).await;
    assert_eq!(told["amr"], serde_json::json!(["email"]));
    assert_eq!(told["acr"], "aal1");
    assert_eq!(show(&mut thief, &code).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_second_factor_is_asked_for_after_it() {
    let bench = Bench::new().await;
    let app = tegata_identity::TotpSecret::generate(bench.node.entropy());
    bench.second.provide_totp(&bench.realm, &bench.alice.id, &app, "test").await.unwrap();
    let (mut browser, code) = asked(&bench, "alice").await;
    let page = show(&mut browser, &code).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("mfa_token", page.field("mfa_token")),
        ("code", &app.code_at(bench.node.now())),
    ];
    let fields = fields.map(|(name, value)| (name, value.to_owned()));
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(browser.submit("/login", &fields).await.status, StatusCode::SEE_OTHER);
    let told = session(&mut browser).await;
    assert_eq!(told["amr"], serde_json::json!(["email", "otp", "mfa"]));
}

#[tokio::test]
async fn a_code_ends_with_time_and_with_another_password() {
    let bench = Bench::new().await;
    let (mut browser, code) = asked(&bench, "alice").await;
    bench.advance(600);
    assert_eq!(show(&mut browser, &code).await.status, StatusCode::UNAUTHORIZED);
    let (mut browser, code) = asked(&bench, "alice").await;
    let typed = tegata_identity::Password::new("another phrase altogether".to_owned()).unwrap();
    let phc = bench.passwords.prepare(typed, &["alice"], false).await.unwrap();
    bench.passwords.set(&bench.realm, &bench.alice.id, &phc, "test").await.unwrap();
    assert_eq!(show(&mut browser, &code).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn guesses_are_counted_alike_whether_or_not_there_is_an_account() {
    let bench = Bench::new().await;
    let mut told = Vec::new();
    for (account, mails) in [("alice", 1), ("nobody@people.example", 0)] {
        let mut browser = Browser::new(&bench);
        let ordered = browser.fill("/login/link", &[("account", account)]).await;
        assert_eq!(bench.mails().await.len(), mails);
        let mut statuses = vec![ordered.status];
        for _ in 0..7 {
            statuses.push(show(&mut browser, "00000-00000").await.status);
        }
        told.push(statuses);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0][6], StatusCode::TOO_MANY_REQUESTS);
    // The person is not kept from anything by it.
    let (mut browser, code) = asked(&bench, "alice").await;
    assert_eq!(browser.address, HOME);
    assert_eq!(show(&mut browser, &code).await.status, StatusCode::SEE_OTHER);
}

/// Whoever follows the link comes to where they were going, as whoever types the code does.
#[tokio::test]
async fn the_link_leads_back_to_what_somebody_was_signing_in_for() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let led = browser.get(&authorize(&[("scope", "openid"), ("client_id", "spa")])).await;
    let handle = led.sent_with("request").unwrap();
    let asking = [("account", "alice"), ("request", &handle)];
    let answer = browser.fill(&format!("/login/link?request={handle}"), &asking).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let (page, code) = bench.mail().await.link();
    // The page has what its form sends.
    let shown = browser.get(&page).await;
    assert_eq!((shown.status, shown.field("request")), (StatusCode::OK, &*handle));
    let answer = browser.fill(&page, &[("mail_code", &code), ("request", &handle)]).await;
    assert!(answer.location().starts_with(CALLBACK), "{}", answer.location());

    // Nobody has our mail bring the code of their device. Whoever types the mail's goes on to it.
    let mut browser = Browser::new(&bench);
    let asking = [("account", "alice"), ("device", "BCDF-GHJK")];
    browser.fill("/login/link?device=BCDF-GHJK", &asking).await;
    let (page, code) = bench.mail().await.link();
    assert_eq!(page, "/login/link?lang=en");
    let typed = [("mail_code", code.as_str()), ("device", "BCDF-GHJK")];
    let answer = browser.fill("/login/link?device=BCDF-GHJK", &typed).await;
    assert!(answer.location().starts_with("/login/device?user_code=BCDF-GHJK"));

    // Nothing else is carried on, and what has waited too long keeps nobody out.
    let mut browser = Browser::new(&bench);
    browser.fill("/login/link", &[("account", "alice"), ("device", "x\"><script>")]).await;
    let (page, _) = bench.mail().await.link();
    assert_eq!(page, "/login/link?lang=en");
    assert_eq!(browser.get("/login/link?request=gone").await.status, StatusCode::OK);
}
