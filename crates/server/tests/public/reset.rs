//! Another password by mail.

use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use serde_json::json;

use super::{
    bench::{Bench, PASSWORD, STOLEN, UNTOLD},
    browser::Browser,
    flow::{authorize, code, redeeming, token},
    mailbox::Mail,
};

const NEW: &str = "another long phrase of mine";

/// Asks for a mail, by user name or address.
async fn ask(browser: &mut Browser, account: &str) {
    let answer = browser.fill("/login/reset", &[("account", account)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

async fn asked(bench: &Bench, account: &str) -> Mail {
    ask(&mut Browser::new(bench), account).await;
    bench.mail().await
}

#[tokio::test]
async fn a_link_sets_a_password_once_and_ends_what_was_before() {
    let bench = Bench::new().await;
    let (mut thief, _) = Browser::signed_in(&bench).await;
    let mut away = Browser::new(&bench);
    let kept = code(&mut away, &authorize(&[("scope", "openid offline_access")])).await;
    let kept = token(&bench, "web", &redeeming(&kept)).await.json();
    let mail = asked(&bench, "Alice@People.example").await;
    assert_eq!(
        (mail.to.as_str(), mail.link().0.as_str()),
        ("alice@people.example", "/login/password?lang=en")
    );
    bench.advance(5);
    let mut browser = Browser::new(&bench);
    // Whoever looks at the page uses nothing up, and a weak password costs nothing.
    for _ in 0..3 {
        assert_eq!(browser.get(&mail.link().0).await.status, StatusCode::OK);
    }
    let weak = browser.choose(&mail, "passwordpassword").await;
    assert_eq!(weak.status, StatusCode::BAD_REQUEST, "{}", weak.body);
    let stolen = browser.choose(&mail, STOLEN).await;
    assert_eq!(stolen.status, StatusCode::BAD_REQUEST, "{}", stolen.body);
    assert!(stolen.body.contains("was stolen from another service"), "{}", stolen.body);
    // What cannot be looked up is not taken.
    let untold = browser.choose(&mail, UNTOLD).await;
    assert_eq!(untold.status, StatusCode::SERVICE_UNAVAILABLE, "{}", untold.body);
    assert!(!untold.body.contains("disk"), "{}", untold.body);
    let done = browser.choose(&mail, NEW).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    // Nobody is signed in by it.
    assert!(!browser.jar.keys().any(|name| name.contains("session")), "{:?}", browser.jar);
    let again = browser.choose(&mail, "yet another long phrase").await;
    assert_eq!(again.status, StatusCode::GONE, "{}", again.body);

    bench.catch_up().await;
    let session = thief.call(Method::GET, "/api/auth/session", None, None).await;
    assert_eq!(session.status, StatusCode::UNAUTHORIZED, "{}", session.body);
    let refresh = kept["refresh_token"].as_str().unwrap();
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let refused = token(&bench, "web", &refresh).await;
    assert_eq!(refused.json()["error"], "invalid_grant");
    bench.advance(1);
    let old = Browser::new(&bench).log_in("alice", PASSWORD).await;
    assert_eq!(old.status, StatusCode::UNAUTHORIZED);
    let new = Browser::new(&bench).log_in("alice", NEW).await;
    assert_eq!(new.status, StatusCode::OK, "{}", new.body);
    // The person is told.
    let told = bench.mail().await;
    assert!(told.subject.contains("was changed") && !told.text.contains('#'), "{told:#?}");
}

#[tokio::test]
async fn the_answer_does_not_tell_whether_there_is_an_account_and_asks_the_store_the_same() {
    let bench = Bench::new().await;
    let mut answers = Vec::new();
    for account in
        ["alice", "alice@people.example", "nobody@people.example", "nobody", "<script>", ""]
    {
        let mut browser = Browser::new(&bench);
        let before = bench.calls();
        let answer = browser.fill("/login/reset", &[("account", account)]).await;
        answers.push((answer.status, bench.calls() - before, strip(&answer.body)));
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:#?}");
    assert_eq!(bench.mails().await.len(), 2);
}

/// A page without what differs in each.
fn strip(body: &str) -> String {
    let (start, rest) = body.split_once("nonce=\"").unwrap();
    format!("{start}{}", rest.split_once('"').unwrap().1)
}

#[tokio::test]
async fn a_link_does_not_leave_the_issuer_whatever_the_host_is() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let page = browser.get("/login/reset").await;
    let fields = [("csrf_token", page.field("csrf_token")), ("account", "alice")];
    let headers = [
        ("origin", super::bench::ISSUER),
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example"),
    ];
    browser.submit_from("/login/reset", &fields, &headers).await;
    let mail = bench.mail().await;
    assert!(!mail.text.contains("evil"), "{}", mail.text);
    mail.link();
}

#[tokio::test]
async fn a_link_ends_with_time_and_with_any_other_password() {
    let bench = Bench::new().await;
    let late = asked(&bench, "alice").await;
    bench.advance(30 * 60);
    let answer = Browser::new(&bench).choose(&late, NEW).await;
    assert_eq!(answer.status, StatusCode::GONE, "{}", answer.body);
    let (one, two) = (asked(&bench, "alice").await, asked(&bench, "alice").await);
    assert_eq!(Browser::new(&bench).choose(&two, NEW).await.status, StatusCode::OK);
    let other = Browser::new(&bench).choose(&one, "a third long phrase of mine").await;
    assert_eq!(other.status, StatusCode::GONE, "{}", other.body);
    for bad in ["", "x", "1.20000.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA"] {
        let fields = [("link", bad), ("password", NEW)];
        let answer = Browser::new(&bench).fill("/login/password", &fields).await;
        assert_eq!(answer.status, StatusCode::GONE, "{bad}");
    }
}

#[tokio::test]
async fn whom_mail_went_to_is_forgotten_when_its_link_is_nothing_any_more() {
    let bench = Bench::new().await;
    let mail = asked(&bench, "alice").await;
    bench.letters.tidy(&bench.realm).await.unwrap();
    let kept = async || {
        let page = tegata_core::port::Page { after: None, limit: 100 };
        let kind = &tegata_identity::letters::LETTER_KIND;
        bench.records.scan(&bench.realm, kind, page).await.unwrap().len()
    };
    assert_eq!(kept().await, 1);
    bench.advance(30 * 60);
    bench.letters.tidy(&bench.realm).await.unwrap();
    assert_eq!(kept().await, 0);
    assert_eq!(Browser::new(&bench).choose(&mail, NEW).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn a_second_factor_is_asked_for_as_before() {
    let bench = Bench::new().await;
    let app = tegata_identity::TotpSecret::generate(bench.node.entropy());
    bench.second.provide_totp(&bench.realm, &bench.alice.id, &app, "test").await.unwrap();
    let mail = asked(&bench, "alice").await;
    assert_eq!(Browser::new(&bench).choose(&mail, NEW).await.status, StatusCode::OK);
    assert!(bench.second.of(&bench.realm, &bench.alice.id).await.unwrap().is_some());
    bench.advance(60);
    let answer = Browser::new(&bench).log_in("alice", NEW).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.json()["error"], "mfa_required");
}

#[tokio::test]
async fn who_has_no_password_or_may_not_sign_in_gets_none() {
    let bench = Bench::new().await;
    bench.users.disable(&bench.realm, &bench.alice.id, "test").await.unwrap();
    ask(&mut Browser::new(&bench), "alice").await;
    assert_eq!(bench.mails().await.len(), 0);
    // Disabled after the mail was sent.
    let mail = asked(&bench, "bob").await;
    let bob = bench.user("bob").await;
    bench.users.disable(&bench.realm, &bob.id, "test").await.unwrap();
    assert_eq!(Browser::new(&bench).choose(&mail, NEW).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn nobody_floods_a_mailbox_and_nobody_is_kept_from_their_mail() {
    let bench = Bench::new().await;
    // Alice signs in from home now and then.
    Browser::signed_in(&bench).await;
    let mut sent = 0;
    for network in 0..40_u8 {
        for _ in 0..5 {
            let mut browser = Browser::new(&bench);
            browser.address = format!("198.51.{network}.9").parse().unwrap();
            ask(&mut browser, "alice").await;
        }
        sent += bench.mails().await.len();
    }
    assert!((3..=10).contains(&sent), "{sent}");
    asked(&bench, "alice").await;
    // One network is told that it asks too often.
    let mut browser = Browser::new(&bench);
    browser.address = "203.0.113.5".parse().unwrap();
    let mut statuses = Vec::new();
    for number in 0..40 {
        let account = format!("x{number}");
        let answer = browser.fill("/login/reset", &[("account", &account)]).await;
        statuses.push(answer.status);
    }
    assert_eq!(statuses[29], StatusCode::OK);
    assert_eq!(statuses[39], StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn mail_waits_for_a_server_that_is_away_and_not_for_ever() {
    let bench = Bench::new().await;
    bench.mailbox.is_away.store(true, Ordering::SeqCst);
    ask(&mut Browser::new(&bench), "alice").await;
    for _ in 0..60 {
        assert_eq!(bench.mails().await.len(), 0);
        bench.advance(5);
    }
    // Less and less often: after 0, 2, 4, 8 … seconds.
    assert!((6..=9).contains(&*bench.mailbox.tried.lock()), "{}", bench.mailbox.tried.lock());
    bench.mailbox.is_away.store(false, Ordering::SeqCst);
    bench.advance(300);
    let mail = bench.mail().await;
    assert_eq!(Browser::new(&bench).choose(&mail, NEW).await.status, StatusCode::OK);
    bench.mails().await;
    bench.mailbox.is_away.store(true, Ordering::SeqCst);
    ask(&mut Browser::new(&bench), "alice").await;
    bench.mails().await;
    bench.mailbox.is_away.store(false, Ordering::SeqCst);
    bench.advance(1800);
    assert_eq!(bench.mails().await.len(), 0);
}

#[tokio::test]
async fn forms_of_others_are_refused() {
    let bench = Bench::new().await;
    for path in
        ["/login/reset", "/login/signup", "/login/password", "/login/address", "/login/link"]
    {
        let mut browser = Browser::new(&bench);
        let page = browser.get(path).await;
        assert_eq!(page.header("cache-control"), "no-store");
        assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
        let token = page.field("csrf_token").to_owned();
        let fields = [("account", "alice"), ("email", "x@people.example"), ("link", "x")];
        let unasked = browser.submit(path, &fields).await;
        assert_eq!(unasked.status, StatusCode::FORBIDDEN, "{path}");
        let fields = [&fields[..], &[("csrf_token", token.as_str())]].concat();
        let foreign =
            browser.submit_from(path, &fields, &[("origin", "https://evil.example")]).await;
        assert_eq!(foreign.status, StatusCode::FORBIDDEN, "{path}");
        let other = Browser::new(&bench).submit(path, &fields).await;
        assert_eq!(other.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(bench.mails().await.len(), 0);
}

#[tokio::test]
async fn without_mail_there_is_nothing_that_needs_it() {
    let bench = Bench::with(|config| config.mail = false).await;
    let mut browser = Browser::new(&bench);
    for path in
        ["/login/reset", "/login/signup", "/login/password", "/login/address", "/login/link"]
    {
        assert_eq!(browser.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(browser.submit(path, &[]).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let page = browser.get("/login").await;
    assert!(!page.body.contains("/login/reset"), "{}", page.body);
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_shows_the_current_one() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let decide = async |browser: &mut Browser, fields: &[(&str, &str)]| {
        let page = browser.get("/login/security").await;
        let token = page.field("csrf_token").to_owned();
        let fields = [&[("csrf_token", token.as_str())], fields].concat();
        browser.submit("/login/security", &fields).await
    };
    let change =
        |current, new| [("decision", "password"), ("current", current), ("new_password", new)];
    // Not before something was proven a moment ago.
    let early = decide(&mut browser, &change(PASSWORD, NEW)).await;
    assert!(early.body.contains("value=\"prove\""), "{}", early.body);
    decide(&mut browser, &[("decision", "prove"), ("password", PASSWORD)]).await;
    for (current, new, status) in [
        ("wrong", NEW, StatusCode::UNAUTHORIZED),
        (PASSWORD, "short", StatusCode::BAD_REQUEST),
        (PASSWORD, "alice alice alice", StatusCode::BAD_REQUEST),
        (PASSWORD, STOLEN, StatusCode::BAD_REQUEST),
        (PASSWORD, UNTOLD, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let refused = decide(&mut browser, &change(current, new)).await;
        assert_eq!(refused.status, status, "{}", refused.body);
    }
    let done = decide(&mut browser, &change(PASSWORD, NEW)).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert!(done.body.contains("Your password is set"), "{}", done.body);
    bench.advance(2);
    bench.catch_up().await;
    let session = browser.call(Method::GET, "/api/auth/session", None, None).await;
    assert_eq!(session.status, StatusCode::UNAUTHORIZED, "{}", session.body);
    let credentials = json!({"username": "alice", "password": NEW});
    let new = browser.call(Method::POST, "/api/auth/login", None, Some(&credentials)).await;
    assert_eq!(new.status, StatusCode::OK, "{}", new.body);
    assert!(bench.mail().await.subject.contains("was changed"));
}
