//! A second factor that is demanded, and every way around it.

use http::{Method, StatusCode};
use serde_json::json;
use tegata_core::UserId;
use tegata_identity::{Demand, Role, RoleChange, TotpSecret};

use super::{
    bench::{Bench, ISSUER, PASSWORD},
    browser::{Answer, Browser},
    flow::{authorize, claims, code, redeeming, sign_in_on_page, token},
    passkey::options,
    second_factor::asked,
    soft::Soft,
};

/// What the page of setting up has of the app.
fn app(page: &Answer) -> TotpSecret {
    let (_, after) = page
        .body
        .split_once("id=\"totp_secret\">")
        .unwrap_or_else(|| panic!("nothing to set up in {}", page.body));
    TotpSecret::from_base32(after.split_once('<').unwrap().0).unwrap()
}

/// Sends the form of that page.
async fn set_up(browser: &mut Browser, page: &Answer, more: &[(&str, &str)]) -> Answer {
    let own = ["csrf_token", "request", "mfa_token", "lang", "name"];
    let own = own.into_iter().filter(|name| page.body.contains(&format!("name=\"{name}\"")));
    let fields: Vec<_> = own.map(|name| (name, page.field(name))).collect();
    browser.submit("/login", &[&fields[..], &[("decision", "enrol")], more].concat()).await
}

async fn has_some(bench: &Bench, user: &UserId) -> bool {
    bench.second.of(&bench.realm, user).await.unwrap().is_some()
}

/// The page that signing in on a page leads to.
async fn led(browser: &mut Browser) -> Answer {
    browser.fill("/login", &[("username", "alice"), ("password", PASSWORD)]).await
}

#[tokio::test]
async fn whoever_has_none_sets_one_up_before_anything_begins() {
    let bench = Bench::demanding(Demand::Everybody).await;
    let mut browser = Browser::new(&bench);
    let page = sign_in_on_page(&mut browser, &authorize(&[])).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(browser.cookie("session_id").is_none(), "{:?}", browser.jar);
    let app = app(&page);
    let wrong = set_up(&mut browser, &page, &[("code", "000000")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(browser.cookie("session_id").is_none());
    assert_eq!(self::app(&wrong).to_base32().expose(), app.to_base32().expose());
    let code = app.code_at(bench.node.now());
    let done = set_up(&mut browser, &wrong, &[("code", &code)]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert_eq!(done.body.matches("<li><code>").count(), 10, "{}", done.body);
    // From there the person goes on to what they came for.
    let (_, after) = done.body.split_once("class=\"button main\" href=\"").unwrap();
    let onward = after.split_once('"').unwrap().0.replace("&amp;", "&").replace("&#38;", "&");
    let asked = browser.get(&onward).await;
    assert!(asked.location().starts_with("/oauth2/consent?request="), "{}", asked.location());
    let code = self::code(&mut browser, &authorize(&[])).await;
    let tokens = token(&bench, "web", &redeeming(&code)).await.json();
    let access = claims(tokens["access_token"].as_str().unwrap());
    assert_eq!((&access["acr"], &access["amr"]), (&"aal2".into(), &json!(["pwd", "otp", "mfa"])));
    // The next time it is asked for.
    super::second_factor::asked(&Browser::new(&bench).log_in("alice", PASSWORD).await);
}

#[tokio::test]
async fn a_passkey_will_do_and_signs_in_alone_from_then_on() {
    let bench = Bench::demanding(Demand::Everybody).await;
    let mut browser = Browser::new(&bench);
    let page = led(&mut browser).await;
    let mut soft = Soft::at(ISSUER);
    let made = soft.create(&options(&page));
    let done = set_up(&mut browser, &page, &[("credential", &made)]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert!(browser.cookie("session_id").is_some());
    let mut other = Browser::new(&bench);
    let asked = other.call(Method::POST, "/api/auth/login/passkey", None, None).await.json();
    let shown: serde_json::Value = serde_json::from_str(&soft.get(&asked)).unwrap();
    let body = json!({"credential": shown});
    let answer = other.call(Method::POST, "/api/auth/login", None, Some(&body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

/// Whatever else somebody has who was led to setting one up: nothing is reached by it.
#[tokio::test]
async fn nothing_is_reached_by_what_has_not_begun() {
    let bench = Bench::demanding(Demand::Everybody).await;
    let mut browser = Browser::new(&bench);
    let page = led(&mut browser).await;
    let token = page.field("mfa_token").to_owned();
    for (target, leads) in [
        ("/", "/login"),
        ("/login/security", "/login"),
        ("/login/device", "/login"),
        (&authorize(&[])[..], "/login?request="),
    ] {
        let answer = browser.get(target).await;
        assert!(answer.location().starts_with(leads), "{target}: {}", answer.location());
    }
    let silent = browser.get(&authorize(&[("prompt", "none")])).await;
    assert_eq!(silent.sent_with("error").as_deref(), Some("login_required"));
    for (method, target) in [
        (Method::GET, "/api/auth/session"),
        (Method::GET, "/api/auth/sessions"),
        (Method::GET, "/api/auth/csrf"),
        (Method::POST, "/api/auth/refresh"),
        (Method::POST, "/api/auth/elevate"),
    ] {
        let answer = browser.call(method, target, None, Some(&json!({}))).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{target}: {}", answer.body);
    }
    // The token stands for no code and no passkey, and not for a session.
    let shown = json!({"mfa_token": token, "method": "totp", "code": "000000"});
    let answer = browser.call(Method::POST, "/api/auth/mfa", None, Some(&shown)).await;
    assert_eq!(answer.json()["error"], "mfa_expired", "{}", answer.body);
    let shown = json!({"mfa_token": token});
    let answer = browser.call(Method::POST, "/api/auth/mfa/passkey", None, Some(&shown)).await;
    assert_eq!(answer.json()["error"], "mfa_expired", "{}", answer.body);
    let bearer = http::Request::get("/oauth2/userinfo")
        .header("authorization", format!("Bearer {token}"))
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(browser.send(bearer).await.status, StatusCode::UNAUTHORIZED);
    assert!(browser.cookie("session_id").is_none() && browser.cookie("refresh_token").is_none());
    assert!(!has_some(&bench, &bench.alice.id).await);
}

#[tokio::test]
async fn scripts_are_told_and_given_nothing() {
    let bench = Bench::demanding(Demand::Everybody).await;
    let mut browser = Browser::new(&bench);
    let answer = browser.log_in("alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
    let told = answer.json();
    assert_eq!(told["error"], "mfa_enrolment_required");
    assert!(told.get("mfa_token").is_none() && told.get("access_token").is_none());
    assert!(browser.jar.is_empty(), "{:?}", browser.jar);
    // Who does not know the password is not told.
    let wrong = browser.log_in("alice", "wrong").await;
    assert_eq!(wrong.json()["error"], "invalid_credentials");
}

#[tokio::test]
async fn mail_is_no_way_around_it() {
    let bench = Bench::demanding(Demand::Everybody).await;
    // A link to sign in by.
    let mut browser = Browser::new(&bench);
    browser.fill("/login/link", &[("account", "alice")]).await;
    let (_, shown) = bench.mail().await.link();
    let page = browser.fill("/login/link", &[("mail_code", &shown)]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(browser.cookie("session_id").is_none());
    let code = app(&page).code_at(bench.node.now());
    let done = set_up(&mut browser, &page, &[("code", &code)]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    let told = browser.call(Method::GET, "/api/auth/session", None, None).await.json();
    assert_eq!(told["amr"], json!(["email", "otp", "mfa"]));

    // Another password, by a link: whoever chose it is not signed in, and is asked for the factor.
    let mut browser = Browser::new(&bench);
    browser.fill("/login/reset", &[("account", "alice")]).await;
    let mails = bench.mails().await;
    let mail = mails.iter().find(|mail| mail.text.contains("/login/password")).unwrap();
    let phrase = "another phrase altogether";
    assert_eq!(browser.choose(mail, phrase).await.status, StatusCode::OK);
    assert!(browser.cookie("session_id").is_none());
    asked(&browser.log_in("alice", phrase).await);

    // An account of one's own.
    let mut browser = Browser::new(&bench);
    browser.fill("/login/signup", &[("email", "new@people.example")]).await;
    let mails = bench.mails().await;
    let mail = mails.iter().find(|mail| mail.to == "new@people.example").unwrap();
    assert_eq!(browser.choose(mail, phrase).await.status, StatusCode::OK);
    assert!(browser.cookie("session_id").is_none());
    let answer = browser.log_in("new@people.example", phrase).await;
    assert_eq!(answer.json()["error"], "mfa_enrolment_required");
}

/// Whatever was proven before somebody was taken back leaves nothing behind.
#[tokio::test]
async fn a_sign_in_that_was_taken_back_sets_none_up() {
    let bench = Bench::demanding(Demand::Everybody).await;
    for by_passkey in [false, true] {
        let mut browser = Browser::new(&bench);
        let page = led(&mut browser).await;
        bench.advance(5);
        bench.take_back_alice().await;
        bench.advance(60);
        let (field, made) = match by_passkey {
            false => ("code", app(&page).code_at(bench.node.now())),
            true => ("credential", Soft::at(ISSUER).create(&options(&page))),
        };
        let refused = set_up(&mut browser, &page, &[(field, &made)]).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.body);
        assert!(!has_some(&bench, &bench.alice.id).await, "{field}");
        assert!(browser.cookie("session_id").is_none());
    }
}

/// The form of setting up belongs to its browser, and is sent by our own page alone.
#[tokio::test]
async fn nobody_sets_one_up_for_somebody_else() {
    let bench = Bench::demanding(Demand::Everybody).await;
    let mut browser = Browser::new(&bench);
    let page = led(&mut browser).await;
    let code = app(&page).code_at(bench.node.now());
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("mfa_token", page.field("mfa_token")),
        ("decision", "enrol"),
        ("code", &code),
    ];
    let evil = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let refused = browser.clone().submit_from("/login", &fields, &evil).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let mut elsewhere = Browser { address: "198.51.100.9".parse().unwrap(), ..browser.clone() };
    let refused = elsewhere.submit("/login", &fields).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.body);
    assert!(!has_some(&bench, &bench.alice.id).await);
    assert_eq!(set_up(&mut browser, &page, &[("code", &code)]).await.status, StatusCode::OK);
}

/// It is demanded of somebody from now on who is signed in without.
#[tokio::test]
async fn what_began_before_it_was_demanded_goes_no_further() {
    let operator = [Role::new("operator").unwrap()];
    let bench = Bench::demanding(Demand::Roles(operator.clone().into())).await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let csrf = told["csrf_token"].as_str().unwrap();
    let given = code(&mut browser, &authorize(&[])).await;
    let tokens = token(&bench, "web", &redeeming(&given)).await.json();
    let pending = code(&mut browser, &authorize(&[])).await;
    let granted = RoleChange::Grant(operator.into());
    bench.users.change_roles(&bench.realm, &bench.alice.id, &granted, "root").await.unwrap();

    assert_eq!(token(&bench, "web", &redeeming(&pending)).await.json()["error"], "invalid_grant");
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    assert_eq!(token(&bench, "web", &fields).await.json()["error"], "invalid_grant");
    let again = browser.call(Method::POST, "/api/auth/refresh", Some(csrf), None).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED, "{}", again.body);
    assert!(browser.get(&authorize(&[])).await.location().starts_with("/login?request="));
    assert_eq!(browser.get("/login/security").await.location(), "/login");
    let proof = json!({"password": PASSWORD});
    let elevated = browser.call(Method::POST, "/api/auth/elevate", Some(csrf), Some(&proof)).await;
    assert_eq!(elevated.status, StatusCode::UNAUTHORIZED, "{}", elevated.body);
    // Signing in anew leads to setting one up, and another person is not concerned.
    let page = led(&mut browser).await;
    let code = app(&page).code_at(bench.node.now());
    assert_eq!(set_up(&mut browser, &page, &[("code", &code)]).await.status, StatusCode::OK);
    assert_eq!(browser.get("/login/security").await.status, StatusCode::OK);
    let bob = Browser::new(&bench).log_in("bob", PASSWORD).await;
    assert_eq!(bob.status, StatusCode::OK, "{}", bob.body);
}

#[tokio::test]
async fn the_last_one_stays_and_the_page_says_why() {
    let bench = Bench::demanding(Demand::Everybody).await;
    let mut browser = Browser { language: Some("ja"), ..Browser::new(&bench) };
    let page = led(&mut browser).await;
    assert!(page.body.contains("もう一つの確認方法の設定"), "{}", page.body);
    let app = app(&page);
    set_up(&mut browser, &page, &[("code", &app.code_at(bench.node.now()))]).await;
    bench.advance(60);
    let page = browser.get("/login/security").await;
    let csrf = page.field("csrf_token").to_owned();
    let shown = app.code_at(bench.node.now());
    let fields = [("csrf_token", csrf.as_str()), ("decision", "prove"), ("code", &shown)];
    assert!(browser.submit("/login/security", &fields).await.status.is_redirection());
    let fields = [("csrf_token", csrf.as_str()), ("decision", "remove")];
    let refused = browser.submit("/login/security", &fields).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.body);
    assert!(refused.body.contains("最後の一つ"), "{}", refused.body);
    assert!(has_some(&bench, &bench.alice.id).await);
}
