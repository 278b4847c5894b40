//! The page on which people set up a second factor, and turn it off.

use http::{Method, StatusCode};
use serde_json::json;
use tegata_identity::{EmailAddress, NewUser, TotpSecret, Username};

use super::{
    bench::{Bench, PASSWORD},
    browser::{Answer, Browser},
    second_factor::{Enrolled, asked, elevate, mfa, refused},
};

/// The page of second factors, walked as somebody does who sets one up.
struct Walk {
    browser: Browser,
    page: Answer,
}

impl Walk {
    async fn decide(&mut self, decision: &str, more: &[(&str, &str)]) -> &Answer {
        let token = self.page.field("csrf_token").to_owned();
        let fields = [&[("csrf_token", token.as_str()), ("decision", decision)], more].concat();
        let mut answer = self.browser.submit("/login/security", &fields).await;
        if answer.status == StatusCode::SEE_OTHER {
            let target = answer.location().to_owned();
            answer = self.browser.get(&target).await;
        }
        self.page = answer;
        &self.page
    }

    /// What the secret on the page shows now.
    fn app(&self) -> TotpSecret {
        let (_, after) = self.page.body.split_once("id=\"totp_secret\">").unwrap();
        TotpSecret::from_base32(after.split_once('<').unwrap().0).unwrap()
    }

    /// The recovery codes on the page.
    fn codes(&self) -> Vec<String> {
        let parts = self.page.body.split("<li><code>").skip(1);
        parts.map(|part| part.split_once('<').unwrap().0.to_owned()).collect()
    }
}

#[tokio::test]
async fn a_person_sets_up_an_app_uses_it_and_turns_it_off() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    assert!(browser.get("/login").await.body.contains("href=\"/login/security"));
    let page = browser.get("/login/security").await;
    let mut walk = Walk { browser, page };
    assert!(walk.page.body.contains("name=\"password\""), "{}", walk.page.body);
    // Whoever has only a cookie changes nothing.
    assert!(!walk.decide("begin", &[]).await.body.contains("totp_secret"));
    let wrong = walk.decide("prove", &[("password", "wrong")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    walk.decide("prove", &[("password", PASSWORD)]).await;
    let page = walk.decide("begin", &[]).await;
    assert!(page.body.contains("<svg class=\"qr\"") && page.body.contains("otpauth://totp/"));
    let app = walk.app();
    let wrong = walk.decide("confirm", &[("code", "000000")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(walk.app().to_base32().expose(), app.to_base32().expose());
    let code = app.code_at(bench.node.now());
    walk.decide("confirm", &[("code", &code)]).await;
    let codes = walk.codes();
    assert_eq!(codes.len(), 10, "{}", walk.page.body);
    // They are shown once.
    walk.page = walk.browser.get("/login/security").await;
    assert!(walk.codes().is_empty() && walk.page.body.contains("10 left"));

    // A password is not enough any more, and the code of the set-up is used.
    let mut other = Browser::new(&bench);
    let token = asked(&other.log_in("alice", PASSWORD).await);
    refused(&mfa(&mut other, &token, "totp", &code).await, "invalid_credentials");
    let answer = mfa(&mut other, &token, "recovery_code", &codes[4]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);

    // Later, turning it off takes a code.
    bench.advance(301);
    walk.page = walk.browser.get("/login/security").await;
    assert!(walk.page.body.contains("name=\"code\"") && walk.page.body.contains("9 left"));
    for decision in ["remove", "renew", "begin"] {
        let page = walk.decide(decision, &[]).await;
        assert!(page.body.contains("value=\"prove\""), "{decision}");
    }
    let password = walk.decide("prove", &[("password", PASSWORD)]).await;
    assert!(password.body.contains("value=\"prove\""), "{}", password.body);
    walk.decide("prove", &[("code", &app.code_at(bench.node.now()))]).await;
    walk.decide("renew", &[]).await;
    assert_eq!(walk.codes().len(), 10);
    walk.page = walk.browser.get("/login/security").await;
    // What proved it is gone with the app.
    walk.decide("remove", &[]).await;
    assert!(walk.page.body.contains("name=\"password\""), "{}", walk.page.body);
    let answer = Browser::new(&bench).log_in("alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

/// A walker who has shown the password and nothing else.
async fn elevated_by_password(bench: &Bench) -> Walk {
    let (mut browser, _) = Browser::signed_in(bench).await;
    let page = browser.get("/login/security").await;
    let mut walk = Walk { browser, page };
    walk.decide("prove", &[("password", PASSWORD)]).await;
    assert!(walk.page.body.contains("value=\"begin\""), "{}", walk.page.body);
    walk
}

#[tokio::test]
async fn who_proved_a_password_before_does_not_touch_what_is_enrolled_since() {
    let bench = Bench::new().await;
    let mut thief = elevated_by_password(&bench).await;
    let mut owner = elevated_by_password(&bench).await;
    thief.decide("begin", &[]).await;
    let (planted, form) = (thief.app(), thief.page.clone());
    owner.decide("begin", &[]).await;
    let app = owner.app();
    owner.decide("confirm", &[("code", &app.code_at(bench.node.now()))]).await;
    assert_eq!(owner.codes().len(), 10, "{}", owner.page.body);
    let before = bench.second.of(&bench.realm, &bench.alice.id).await.unwrap();
    let code = planted.code_at(bench.node.now());
    for (decision, more) in
        [("confirm", vec![("code", code.as_str())]), ("renew", vec![]), ("remove", vec![])]
    {
        thief.page = form.clone();
        let page = thief.decide(decision, &more).await;
        let asks = page.body.contains("value=\"prove\"") && page.body.contains("name=\"code\"");
        assert!(asks, "{decision}: {}", page.body);
        thief.page = form.clone();
        thief.decide("begin", &[]).await;
        assert!(!thief.page.body.contains("totp_secret"), "{}", thief.page.body);
    }
    assert_eq!(bench.second.of(&bench.realm, &bench.alice.id).await.unwrap(), before);
    // A code is what changes it, of whoever's session.
    bench.advance(60);
    owner.page = owner.browser.get("/login/security").await;
    owner.decide("prove", &[("code", &app.code_at(bench.node.now()))]).await;
    owner.decide("renew", &[]).await;
    assert_eq!(owner.codes().len(), 10, "{}", owner.page.body);
}

#[tokio::test]
async fn the_page_of_second_factors_is_the_persons_own() {
    let world = Enrolled::new().await;
    assert_eq!(Browser::new(&world.bench).get("/login/security").await.location(), "/login");
    let (mut browser, told) = world.signed_in().await;
    world.bench.advance(60);
    let csrf = told["csrf_token"].as_str().unwrap();
    elevate(&mut browser, csrf, json!({"code": world.shown()})).await;
    // Without its token, with another's, and from another site, nothing is done.
    let mut bob = Browser::new(&world.bench);
    let bobs = bob.log_in("bob", PASSWORD).await.json();
    for token in ["", bobs["csrf_token"].as_str().unwrap()] {
        let fields = [("csrf_token", token), ("decision", "remove")];
        let answer = browser.submit("/login/security", &fields).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{token}");
    }
    let fields = [("csrf_token", csrf), ("decision", "remove")];
    let evil = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let answer = browser.submit_from("/login/security", &fields, &evil).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let realm = &world.bench.realm;
    let left = world.bench.second.of(realm, &world.bench.alice.id).await.unwrap();
    assert!(left.is_some());
    let page = Browser { language: Some("ja"), ..browser.clone() }.get("/login/security").await;
    assert!(page.body.contains("認証アプリ") && page.body.contains("<html lang=\"ja\">"));
}

/// Signs somebody in by the code of a mail, and answers the page of second factors.
async fn by_mail(bench: &Bench, browser: &mut Browser, account: &str) -> Answer {
    bench.mails().await;
    browser.fill("/login/link", &[("account", account)]).await;
    let (page, code) = bench.mail().await.link();
    let answer = browser.fill(&page, &[("mail_code", &code)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    browser.get("/login/security").await
}

/// Whom an operator gave no password has none to show.
#[tokio::test]
async fn who_has_nothing_but_mail_shows_by_it_who_they_are() {
    let bench = Bench::new().await;
    let new = NewUser {
        profile: tegata_identity::Profile::default(),
        username: Username::new("carol").unwrap(),
        email: Some(EmailAddress::new("carol@people.example").unwrap()),
        roles: [].into(),
        locale: None,
        password: None,
    };
    bench.users.register(&bench.realm, new, "test").await.unwrap();
    let mut browser = Browser::new(&bench);
    let page = by_mail(&bench, &mut browser, "carol").await;
    let mut walk = Walk { browser, page };
    assert!(walk.decide("begin", &[]).await.body.contains("totp_secret"), "{}", walk.page.body);
    bench.advance(301);
    walk.page = walk.browser.get("/login/security").await;
    for decision in ["begin", "passkey", "address"] {
        let page = walk.decide(decision, &[("email", "other@people.example")]).await;
        assert!(page.body.contains("href=\"/login/link"), "{decision}: {}", page.body);
        assert!(!page.body.contains("name=\"password\""), "{decision}: {}", page.body);
    }
    assert!(bench.mails().await.is_empty());
    walk.page = by_mail(&bench, &mut walk.browser, "carol").await;
    walk.decide("begin", &[]).await;
    let code = walk.app().code_at(bench.node.now());
    walk.decide("confirm", &[("code", &code)]).await;
    assert_eq!(walk.codes().len(), 10, "{}", walk.page.body);
    // From then on a code is asked for, and who has a password is asked for that.
    walk.page = walk.browser.get("/login/security").await;
    assert!(walk.page.body.contains("name=\"code\""), "{}", walk.page.body);
    let page = by_mail(&bench, &mut Browser::new(&bench), "alice").await;
    assert!(page.body.contains("name=\"password\""), "{}", page.body);
}

/// ASVS 5.0, 7.4.3 and 7.5.2.
#[tokio::test]
async fn other_browsers_are_signed_out_where_a_factor_was_changed_and_never_by_a_cookie_alone() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let (mut other, theirs) = Browser::signed_in(&bench).await;
    let (mut third, _) = Browser::signed_in(&bench).await;
    let (csrf, sid) = (told["csrf_token"].as_str(), theirs["sid"].as_str().unwrap());
    bench.advance(301);
    // By a script, on the page of the account, and by a button that a page had earlier.
    let target = format!("/api/auth/sessions/{sid}");
    let refused = browser.call(Method::DELETE, &target, csrf, None).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.body);
    assert_eq!(refused.json()["error"], "proof_required");
    let page = browser.get("/").await;
    let token = page.field("csrf_token").to_owned();
    let fields = [("sid", sid), ("csrf_token", token.as_str()), ("lang", "ja")];
    let led = browser.submit("/login/sessions", &fields).await;
    assert_eq!(led.location(), "/login/security?lang=ja");
    let page = browser.get("/login/security").await;
    assert!(!page.body.contains("value=\"others\""), "{}", page.body);
    let mut walk = Walk { browser, page };
    for early in ["others", &format!("end:{sid}")] {
        assert!(walk.decide(early, &[]).await.body.contains("value=\"prove\""), "{early}");
    }
    assert_eq!(other.get("/api/auth/session").await.status, StatusCode::OK);

    walk.decide("prove", &[("password", PASSWORD)]).await;
    // Of nobody else, either, is anything ended here.
    let mut bob = Browser::new(&bench);
    let bobs = bob.log_in("bob", PASSWORD).await.json();
    walk.decide(&format!("end:{}", bobs["sid"].as_str().unwrap()), &[]).await;
    assert_eq!(bob.get("/api/auth/session").await.status, StatusCode::OK);
    walk.decide(&format!("end:{sid}"), &[]).await;
    assert_eq!(other.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(third.get("/api/auth/session").await.status, StatusCode::OK);

    // With what was changed, all the others are offered.
    walk.decide("begin", &[]).await;
    let app = walk.app();
    walk.decide("confirm", &[("code", &app.code_at(bench.node.now()))]).await;
    assert_eq!(walk.codes().len(), 10, "{}", walk.page.body);
    assert!(walk.page.body.contains("value=\"others\""), "{}", walk.page.body);
    walk.decide("others", &[]).await;
    assert_eq!(third.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(walk.browser.get("/api/auth/session").await.status, StatusCode::OK);
    assert_eq!(bob.get("/api/auth/session").await.status, StatusCode::OK);
    assert!(!walk.browser.get("/login/security").await.body.contains("value=\"others\""));
    // Whoever ends their own session proves nothing.
    bench.advance(301);
    let own = format!("/api/auth/sessions/{}", told["sid"].as_str().unwrap());
    let ended = walk.browser.call(Method::DELETE, &own, csrf, None).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.body);
}
