//! Accounts that people make for themselves, and their addresses.

use http::StatusCode;
use serde_json::Value;
use tegata_identity::Username;

use super::{
    bench::{Bench, PASSWORD, STOLEN},
    browser::Browser,
};

const NEW: &str = "a phrase that maria made up";

async fn sign_up(bench: &Bench, address: &str) -> StatusCode {
    let mut browser = Browser::new(bench);
    let answer = browser.fill("/login/signup?lang=ja", &[("email", address), ("lang", "ja")]).await;
    answer.status
}

async fn account(bench: &Bench, name: &str) -> Option<tegata_identity::User> {
    bench.users.by_username(&bench.realm, &Username::new(name).unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_account_begins_with_the_link_and_its_address_is_verified() {
    let bench = Bench::new().await;
    assert_eq!(sign_up(&bench, "Maria.Sol@People.example").await, StatusCode::OK);
    let mail = bench.mail().await;
    assert_eq!(mail.to, "Maria.Sol@People.example");
    assert!(mail.text.contains("パスワード") && mail.link().0 == "/login/password?lang=ja");
    assert!(account(&bench, "maria.sol@people.example").await.is_none());
    let mut browser = Browser::new(&bench);
    let stolen = browser.choose(&mail, STOLEN).await;
    assert_eq!(stolen.status, StatusCode::BAD_REQUEST);
    assert!(stolen.body.contains("was stolen from another service"), "{}", stolen.body);
    assert_eq!(browser.choose(&mail, NEW).await.status, StatusCode::OK);
    let user = account(&bench, "maria.sol@people.example").await.unwrap();
    assert!(user.email_verified && user.roles.iter().any(|role| role.as_str() == "customer"));
    assert_eq!(browser.choose(&mail, "a second phrase of hers").await.status, StatusCode::GONE);
    let answer = browser.log_in("MARIA.SOL@people.example", NEW).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let told: Value = answer.json();
    let request = http::Request::get("/oauth2/userinfo")
        .header("authorization", format!("Bearer {}", told["access_token"].as_str().unwrap()))
        .body(axum::body::Body::empty())
        .unwrap();
    let claims = super::browser::Answer::of(&bench.router, request).await.json();
    assert_eq!(claims["email"], "Maria.Sol@People.example");
    assert_eq!(claims["email_verified"], true);
}

#[tokio::test]
async fn an_address_that_has_an_account_is_answered_alike_and_told_by_mail() {
    let bench = Bench::new().await;
    let mut answers = Vec::new();
    for address in ["alice@people.example", "ALICE@people.example", "new@people.example"] {
        let before = bench.calls();
        let mut browser = Browser::new(&bench);
        let answer = browser.fill("/login/signup", &[("email", address)]).await;
        answers.push((answer.status, bench.calls() - before, answer.body.len()));
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
    let mut mails = bench.mails().await;
    mails.sort_by_key(|mail| mail.to.clone());
    let links: Vec<_> = mails.iter().map(|mail| mail.text.contains('#')).collect();
    assert_eq!(links, [false, false, true], "{mails:#?}");
    assert!(mails[0].subject.contains("have an account"), "{}", mails[0].subject);
}

#[tokio::test]
async fn of_two_links_to_one_address_one_makes_an_account() {
    let bench = Bench::new().await;
    sign_up(&bench, "maria@people.example").await;
    sign_up(&bench, "MARIA@people.example").await;
    let mails = bench.mails().await;
    let (mut one, mut two) = (Browser::new(&bench), Browser::new(&bench));
    let (one, two) = tokio::join!(one.choose(&mails[0], NEW), two.choose(&mails[1], NEW));
    let mut statuses = [one.status, two.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::GONE]);
}

#[tokio::test]
async fn addresses_that_could_be_taken_for_others_or_bring_fields_are_refused() {
    let bench = Bench::new().await;
    for bad in [
        "m\u{131}ke@people.example",
        "alice@people.\u{ff45}xample",
        "\u{ff41}lice@people.example",
        "a@b.example\r\nBcc: everybody@people.example",
        "a@b.example,c@d.example",
        "a@localhost",
        "a",
        "",
        "o'neil@people.example",
    ] {
        assert_eq!(sign_up(&bench, bad).await, StatusCode::BAD_REQUEST, "{bad:?}");
    }
    assert_eq!(bench.mails().await.len(), 0);
}

#[tokio::test]
async fn another_address_counts_when_it_was_confirmed() {
    let bench = Bench::new().await;
    sign_up(&bench, "maria@people.example").await;
    let mail = bench.mail().await;
    let mut browser = Browser::new(&bench);
    browser.choose(&mail, NEW).await;
    browser.log_in("maria@people.example", NEW).await;
    let page = browser.get("/login/security").await;
    let token = page.field("csrf_token").to_owned();
    let own = [("csrf_token", token.as_str())];
    let prove = [&own[..], &[("decision", "prove"), ("password", NEW)]].concat();
    browser.submit("/login/security", &prove).await;
    let ask = async |browser: &mut Browser, address: &str| {
        let fields = [&own[..], &[("decision", "address"), ("email", address)]].concat();
        browser.submit("/login/security", &fields).await
    };
    let asked = ask(&mut browser, "sol@people.example").await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.body);
    let confirm = bench.mail().await;
    assert_eq!(confirm.to, "sol@people.example");
    // Nothing has changed yet, and a link for one thing does not do another.
    assert!(account(&bench, "sol@people.example").await.is_none());
    let (page, link) = confirm.link();
    let fields = [("link", link.as_str()), ("password", PASSWORD)];
    assert_eq!(browser.fill("/login/password", &fields).await.status, StatusCode::GONE);
    assert!(page.starts_with("/login/address?"));
    // Whoever has the mailbox and nothing else answers for no account.
    let mut other = Browser::new(&bench);
    let nobody = other.fill(&page, &[("link", &link)]).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{}", nobody.body);
    other.log_in("alice", PASSWORD).await;
    assert_eq!(other.fill(&page, &[("link", &link)]).await.status, StatusCode::GONE);
    assert!(account(&bench, "sol@people.example").await.is_none());
    // The session's cookie is due to be replaced: whatever is answered brings the next one.
    bench.advance(301);
    assert_eq!(browser.fill(&page, &[("link", "none")]).await.status, StatusCode::GONE);
    bench.advance(301);
    let done = browser.fill(&page, &[("link", &link)]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    bench.advance(61);
    assert_eq!(browser.get("/login/security").await.status, StatusCode::OK);
    assert_eq!(browser.fill(&page, &[("link", &link)]).await.status, StatusCode::GONE);
    let user = account(&bench, "sol@people.example").await.unwrap();
    assert!(user.email_verified && user.email.unwrap().as_str() == "sol@people.example");
    // The name of before leads to the same person, and is nobody else's to have.
    let before = account(&bench, "maria@people.example").await.unwrap();
    assert_eq!(before.username.as_str(), "sol@people.example");
    let told = bench.mail().await;
    assert!(told.to == "maria@people.example" && told.subject.contains("was changed"));
    // An address that is somebody's is answered alike, and is not given away.
    browser.submit("/login/security", &prove).await;
    let taken = ask(&mut browser, "alice@people.example").await;
    assert_eq!(taken.body.len(), asked.body.len());
    let told = bench.mail().await;
    assert!(told.to == "alice@people.example" && !told.text.contains('#'), "{told:#?}");
}
