//! What people are told by mail of how they sign in.

use http::StatusCode;

use super::{
    bench::{Bench, ISSUER, PASSWORD},
    browser::Browser,
    mailbox::Mail,
    passkey::options,
    soft::Soft,
};

/// A person at the page of second factors.
struct Page<'b> {
    bench: &'b Bench,
    browser: Browser,
}

impl Page<'_> {
    async fn decide(&mut self, decision: &str, more: &[(&str, &str)]) -> super::browser::Answer {
        let page = self.browser.get("/login/security").await;
        let token = page.field("csrf_token").to_owned();
        let lang = page.field("lang").to_owned();
        let own = [("csrf_token", token.as_str()), ("lang", &lang), ("decision", decision)];
        self.browser.submit("/login/security", &[&own, more].concat()).await
    }

    /// The one mail that there is, which does nothing and holds no secret.
    async fn told(&self) -> Mail {
        let mail = self.bench.mail().await;
        assert_eq!(mail.to, "alice@people.example");
        assert!(!mail.text.contains('#') && !mail.text.contains('{'), "{mail:#?}");
        let addresses: Vec<_> = mail.text.lines().filter(|line| line.contains("http")).collect();
        let lang = self.browser.language.unwrap_or("en");
        assert_eq!(addresses, [format!("{ISSUER}/login?lang={lang}")]);
        mail
    }
}

/// In both languages, as the page is read.
#[tokio::test]
async fn whoever_changes_how_they_sign_in_is_told_in_words() {
    for (lang, added, renewed, removed) in [
        ("en", "A passkey was added.", "There are new recovery codes", "A passkey was removed."),
        (
            "ja",
            "パスキーが追加されました。",
            "新しいリカバリーコード",
            "パスキーが削除されました。",
        ),
    ] {
        let bench = Bench::new().await;
        let mut browser = Browser::new(&bench);
        browser.log_in("alice", PASSWORD).await;
        let mut page = Page { bench: &bench, browser: Browser { language: Some(lang), ..browser } };
        page.decide("prove", &[("password", PASSWORD)]).await;
        let asks = page.decide("passkey", &[]).await;
        let mut soft = Soft::at(ISSUER);
        let made = soft.create(&options(&asks));
        let kept = page.decide("keep", &[("name", "phone"), ("credential", &made)]).await;
        assert_eq!(kept.status, StatusCode::OK, "{}", kept.body);
        let mail = page.told().await;
        assert!(mail.text.contains(added) && mail.text.contains("alice"), "{mail:#?}");

        let asks = page.browser.get("/login/security").await;
        let shown = soft.get(&options(&asks));
        page.decide("prove", &[("credential", &shown)]).await;
        assert_eq!(page.decide("renew", &[]).await.status, StatusCode::OK);
        assert!(page.told().await.text.contains(renewed));
        let enrolled = bench.second.of(&bench.realm, &bench.alice.id).await.unwrap().unwrap();
        let remove = format!("remove:{}", enrolled.passkeys[0].id);
        page.decide(&remove, &[]).await;
        assert!(page.told().await.text.contains(removed));
        // What changes nothing is not told.
        page.decide(&remove, &[]).await;
        assert!(bench.mails().await.is_empty());
    }
}

/// The fourth sign-in ends the session that was used least recently, and its person learns of it.
#[tokio::test]
async fn whoever_is_signed_out_because_there_are_too_many_is_told_once() {
    let bench = Bench::new().await;
    let mut phone = Browser { agent: "Mozilla/5.0 (iPhone) Safari/604.1", ..Browser::new(&bench) };
    phone.log_in("alice", PASSWORD).await;
    for _ in 0..2 {
        bench.advance(61);
        Browser::signed_in(&bench).await;
    }
    assert!(bench.mails().await.is_empty());
    bench.advance(61);
    Browser::signed_in(&bench).await;
    assert_eq!(phone.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    let mail = bench.mail().await;
    assert_eq!(mail.to, "alice@people.example");
    assert_eq!(mail.subject, "You were signed out of localhost:8000 in one browser");
    assert!(mail.text.contains("\nSafari on iOS\n"), "{}", mail.text);
    assert!(!mail.text.contains('#') && !mail.text.contains('{'), "{}", mail.text);
    // A program that signs in and never out fills nobody's mailbox.
    let mut browsers = Vec::new();
    for _ in 0..10 {
        bench.advance(61);
        browsers.push(Browser::signed_in(&bench).await.0);
    }
    assert!(bench.mails().await.is_empty());
    // An hour after the first mail there is another.
    for _ in 0..3 {
        bench.advance(997);
        for browser in &mut browsers[7..] {
            assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
        }
    }
    Browser::signed_in(&bench).await;
    assert_eq!(bench.mail().await.subject, mail.subject);
    // Those that have slept need no mail.
    bench.advance(3 * 3_600);
    Browser::signed_in(&bench).await;
    assert!(bench.mails().await.is_empty());
}
