//! Second factors, as those meet them who have one, and those who would like to do without.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tegata_core::Batch;
use tegata_identity::{SecondFactors, TotpSecret};
use tegata_token::{Entry, Target};

use super::{
    bench::{Bench, PASSWORD},
    browser::{Answer, Browser},
    flow::{authorize, claims, redeeming, token},
};

/// Alice has an authenticator app.
struct Enrolled {
    bench: Bench,
    app: TotpSecret,
}

impl Enrolled {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let app = TotpSecret::generate(bench.node.entropy());
        let alice = &bench.alice.id;
        let given = bench.second.provide_totp(&bench.realm, alice, &app, "test").await;
        assert!(given.unwrap());
        Self { bench, app }
    }

    fn shown(&self) -> String {
        self.app.code_at(self.bench.node.now())
    }

    /// What the app showed so many seconds ago.
    fn shown_before(&self, seconds: u64) -> String {
        self.app.code_at(self.bench.node.now() - std::time::Duration::from_secs(seconds))
    }

    fn wrong(&self) -> String {
        let shown: u32 = self.shown().parse().unwrap();
        format!("{:06}", (shown + 500_000) % 1_000_000)
    }

    /// A browser between the two steps, and its token.
    async fn between(&self) -> (Browser, String) {
        let mut browser = Browser::new(&self.bench);
        let told = asked(&browser.log_in("alice", PASSWORD).await);
        assert!(browser.jar.is_empty(), "a password alone sets no cookie");
        (browser, told)
    }

    async fn signed_in(&self) -> (Browser, Value) {
        let (mut browser, token) = self.between().await;
        let answer = mfa(&mut browser, &token, "totp", &self.shown()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        (browser, answer.json())
    }
}

/// The token of an answer that asks for a second factor.
fn asked(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
    let told = answer.json();
    assert_eq!(told["error"], "mfa_required");
    told["mfa_token"].as_str().unwrap().to_owned()
}

async fn mfa(browser: &mut Browser, token: &str, method: &str, code: &str) -> Answer {
    let shown = json!({"mfa_token": token, "method": method, "code": code});
    browser.call(Method::POST, "/api/auth/mfa", None, Some(&shown)).await
}

async fn elevate(browser: &mut Browser, csrf: &str, shown: Value) -> Answer {
    browser.call(Method::POST, "/api/auth/elevate", Some(csrf), Some(&shown)).await
}

fn refused(answer: &Answer, error: &str) {
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (StatusCode::UNAUTHORIZED, Some(error)),
        "{}",
        answer.body
    );
}

/// Shows the password on the page that an address leads to; answers the page that follows.
async fn password_on_page(browser: &mut Browser, page: &Answer) -> Answer {
    let mut fields = vec![
        ("username", "alice"),
        ("password", PASSWORD),
        ("csrf_token", page.field("csrf_token")),
    ];
    if page.body.contains("name=\"request\"") {
        fields.push(("request", page.field("request")));
    }
    browser.submit("/login", &fields).await
}

/// Shows a code on a page that asks for one, with all that its form has.
async fn code_on_page(browser: &mut Browser, page: &Answer, code: &str) -> Answer {
    let hidden = ["csrf_token", "request", "mfa_token", "lang"];
    let mut fields: Vec<_> = hidden
        .into_iter()
        .filter(|name| page.body.contains(&format!("name=\"{name}\"")))
        .map(|name| (name, page.field(name)))
        .collect();
    fields.push(("code", code));
    browser.submit("/login", &fields).await
}

#[tokio::test]
async fn a_password_is_followed_by_a_code() {
    let world = Enrolled::new().await;
    let (mut browser, token) = world.between().await;
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    let answer = mfa(&mut browser, &token, "totp", &world.shown()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let access = claims(answer.json()["access_token"].as_str().unwrap());
    assert_eq!((&access["acr"], &access["amr"]), (&"aal2".into(), &json!(["pwd", "otp", "mfa"])));
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!((&session["acr"], &session["sid"]), (&"aal2".into(), &answer.json()["sid"]));
}

#[tokio::test]
async fn the_answer_to_a_password_names_what_can_follow() {
    let world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let told = browser.log_in("alice", PASSWORD).await.json();
    assert_eq!(told["methods"], json!(["totp", "recovery_code"]));
    assert_eq!(told["mfa_token"].as_str().unwrap().len(), 43);
    assert!(told["trace_id"].is_string() && told.get("access_token").is_none());
}

/// Before the right password, nothing tells who has a second factor, or who there is.
#[tokio::test]
async fn a_wrong_password_is_answered_alike_for_everybody() {
    let world = Enrolled::new().await;
    let mut answers = Vec::new();
    for name in ["alice", "bob", "nobody"] {
        let mut answer = Browser::new(&world.bench).log_in(name, "wrong").await.json();
        answer["trace_id"] = Value::Null;
        answers.push(answer);
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
}

#[tokio::test]
async fn a_code_is_good_once() {
    let world = Enrolled::new().await;
    let code = world.shown();
    world.signed_in().await;
    // Somebody who saw it being typed knows the password, too.
    let (mut thief, token) = world.between().await;
    refused(&mfa(&mut thief, &token, "totp", &code).await, "invalid_credentials");
    world.bench.advance(30);
    refused(&mfa(&mut thief, &token, "totp", &code).await, "invalid_credentials");
    assert!(thief.jar.is_empty());
    let next = mfa(&mut thief, &token, "totp", &world.shown()).await;
    assert_eq!(next.status, StatusCode::OK);
}

#[tokio::test]
async fn the_step_before_counts_and_no_other() {
    let world = Enrolled::new().await;
    world.bench.advance(600);
    let (mut browser, token) = world.between().await;
    for code in [world.shown_before(60), world.shown_before(90), world.wrong()] {
        refused(&mfa(&mut browser, &token, "totp", &code).await, "invalid_credentials");
    }
    let answer = mfa(&mut browser, &token, "totp", &world.shown_before(30)).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn another_persons_code_and_token_are_of_no_use() {
    let world = Enrolled::new().await;
    let bob = world.bench.user("bob").await;
    let bobs = TotpSecret::generate(world.bench.node.entropy());
    let realm = &world.bench.realm;
    world.bench.second.provide_totp(realm, &bob.id, &bobs, "test").await.unwrap();
    let bobs_code = bobs.code_at(world.bench.node.now());
    let (mut browser, token) = world.between().await;
    refused(&mfa(&mut browser, &token, "totp", &bobs_code).await, "invalid_credentials");
    // The token says whose sign-in it is: bob's code with alice's token is nothing of bob's.
    let bobs_token = asked(&browser.log_in("bob", PASSWORD).await);
    let code = world.shown();
    refused(&mfa(&mut browser, &bobs_token, "totp", &code).await, "invalid_credentials");
    assert!(browser.jar.is_empty());
}

#[tokio::test]
async fn a_token_is_good_for_one_sign_in_in_one_browser() {
    let world = Enrolled::new().await;
    let (mut browser, token) = world.between().await;
    let mut elsewhere =
        Browser { address: "198.51.100.9".parse().unwrap(), ..Browser::new(&world.bench) };
    let mut other = Browser { agent: "curl/8", ..Browser::new(&world.bench) };
    for thief in [&mut elsewhere, &mut other] {
        refused(&mfa(thief, &token, "totp", &world.shown()).await, "mfa_expired");
    }
    for made_up in ["", "x", &token[1..], &"A".repeat(43)] {
        refused(&mfa(&mut browser, made_up, "totp", &world.shown()).await, "mfa_expired");
    }
    let answer = mfa(&mut browser, &token, "totp", &world.shown()).await;
    assert_eq!(answer.status, StatusCode::OK);
    world.bench.advance(60);
    let mut again = Browser::new(&world.bench);
    refused(&mfa(&mut again, &token, "totp", &world.shown()).await, "mfa_expired");
    assert!(again.jar.is_empty());
}

#[tokio::test]
async fn a_token_is_good_for_five_minutes_and_five_codes() {
    let world = Enrolled::new().await;
    let (mut browser, token) = world.between().await;
    world.bench.advance(300);
    refused(&mfa(&mut browser, &token, "totp", &world.shown()).await, "mfa_expired");

    let (mut browser, token) = world.between().await;
    for _ in 0..5 {
        let answer = mfa(&mut browser, &token, "totp", &world.wrong()).await;
        refused(&answer, "invalid_credentials");
    }
    refused(&mfa(&mut browser, &token, "totp", &world.shown()).await, "mfa_expired");
    // A new token gives no new attempts; waiting does.
    let (mut browser, token) = world.between().await;
    let answer = mfa(&mut browser, &token, "totp", &world.shown()).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.body);
    assert_eq!(answer.header("retry-after"), "60");
    world.bench.advance(60);
    let answer = mfa(&mut browser, &token, "totp", &world.shown()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_recovery_code_works_once_in_place_of_the_app() {
    let world = Enrolled::new().await;
    let (bench, alice) = (&world.bench, &world.bench.alice.id);
    let codes = bench.second.renew_recovery(&bench.realm, alice, "test").await.unwrap();
    let code = codes.shown().next().unwrap();
    let (mut browser, token) = world.between().await;
    // It is none of the app's.
    refused(&mfa(&mut browser, &token, "totp", code).await, "invalid_credentials");
    let typed = code.to_uppercase().replace('-', " ");
    let answer = mfa(&mut browser, &token, "recovery_code", &typed).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let (mut browser, token) = world.between().await;
    let again = mfa(&mut browser, &token, "recovery_code", code).await;
    refused(&again, "invalid_credentials");
    let unknown = mfa(&mut browser, &token, "sms", "123456").await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    let left = bench.second.of(&bench.realm, alice).await.unwrap().unwrap();
    assert_eq!(left.recovery_codes, 9);
}

#[tokio::test]
async fn the_second_step_comes_from_our_own_pages() {
    let world = Enrolled::new().await;
    let (mut browser, token) = world.between().await;
    let shown = json!({"mfa_token": token, "method": "totp", "code": world.shown()});
    let request = http::Request::post("/api/auth/mfa")
        .header("origin", "https://evil.example")
        .header("content-type", "application/json")
        .body(shown.to_string().into())
        .unwrap();
    assert_eq!(browser.send(request).await.status, StatusCode::FORBIDDEN);
    assert!(browser.jar.is_empty());
}

/// Whatever was taken back between the two steps stays so.
#[tokio::test]
async fn everything_taken_back_between_the_steps_takes_the_first_with_it() {
    let world = Enrolled::new().await;
    let (mut browser, token) = world.between().await;
    world.bench.advance(5);
    let now = world.bench.node.now();
    let entry = Entry {
        target: Target::Subject {
            sub: world.bench.alice.id.as_str().to_owned(),
            up_to: now,
            tokens_only: false,
        },
        places: Vec::new(),
        at: now,
        until: now + std::time::Duration::from_secs(86_400),
        reason: "stolen".into(),
        actor: "system".into(),
    };
    let batch = Batch::new(world.bench.realm.clone());
    world.bench.provider.revoker().commit(batch, vec![entry]).await.unwrap();
    world.bench.advance(60);
    refused(&mfa(&mut browser, &token, "totp", &world.shown()).await, "mfa_expired");
    assert!(browser.jar.is_empty());
}

#[tokio::test]
async fn the_page_asks_for_the_code_and_the_session_is_a_new_one() {
    let world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    // Bob is signed in here, or somebody who planted his cookie.
    let planted = browser.log_in("bob", PASSWORD).await.json();
    let page = browser.get("/login?another=true").await;
    let page = password_on_page(&mut browser, &page).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(page.body.contains("name=\"code\" id=\"code\""), "{}", page.body);
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!(session["user"]["username"], "bob", "nothing has begun");
    let wrong = code_on_page(&mut browser, &page, &world.wrong()).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.body.contains("The code is wrong"), "{}", wrong.body);
    let led = code_on_page(&mut browser, &wrong, &world.shown()).await;
    assert_eq!(led.location(), "/login?lang=en");
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!(session["user"]["username"], "alice");
    assert_ne!(session["sid"], planted["sid"]);
}

#[tokio::test]
async fn a_form_of_another_browser_signs_nobody_in() {
    let world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let page = browser.get("/login").await;
    let page = password_on_page(&mut browser, &page).await;
    // Without the cookie that the form belongs to, and from another site.
    let mut bare = Browser::new(&world.bench);
    let answer = code_on_page(&mut bare, &page, &world.shown()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("mfa_token", page.field("mfa_token")),
        ("code", &world.shown()),
    ];
    let evil = [("origin", "https://evil.example")];
    let answer = browser.submit_from("/login", &fields, &evil).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(bare.cookie("session_id").is_none() && browser.cookie("session_id").is_none());
    // Five wrong ones, and the page begins again.
    let mut page = page;
    for _ in 0..5 {
        page = code_on_page(&mut browser, &page, &world.wrong()).await;
    }
    let over = code_on_page(&mut browser, &page, &world.shown()).await;
    assert_eq!(over.status, StatusCode::UNAUTHORIZED);
    assert!(over.body.contains("name=\"password\""), "{}", over.body);
}

#[tokio::test]
async fn a_client_gets_nothing_before_the_second_step_and_aal2_after_it() {
    let world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let target = authorize(&[("client_id", "web")]);
    let led = browser.get(&target).await;
    let page = browser.get(led.location()).await;
    let page = password_on_page(&mut browser, &page).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("Example Web") && page.body.contains("name=\"code\""));
    // Neither the address of the page nor that of the request leads on.
    for address in [led.location().to_owned(), target] {
        let mut tab = browser.clone();
        let answer = tab.get(&address).await;
        let is_sign_in = answer.body.contains("name=\"password\"")
            || answer.header("location").starts_with("/login?request=");
        assert!(is_sign_in, "{address}: {}", answer.body);
    }
    let handle = page.field("request").to_owned();
    let consent = browser.get(&format!("/oauth2/consent?request={handle}")).await;
    assert!(consent.location().starts_with("/login?request="), "{}", consent.location());
    let led = code_on_page(&mut browser, &page, &world.shown()).await;
    let page = browser.get(led.location()).await;
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
        ("decision", "allow"),
    ];
    let back = browser.submit("/oauth2/consent", &fields).await;
    let code = back.sent_with("code").unwrap();
    let tokens = token(&world.bench, "web", &redeeming(&code)).await.json();
    let id = claims(tokens["id_token"].as_str().unwrap());
    assert_eq!((&id["acr"], &id["amr"]), (&"aal2".into(), &json!(["pwd", "otp", "mfa"])));
}

#[tokio::test]
async fn a_weaker_session_is_asked_for_the_code_alone() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let app = TotpSecret::generate(bench.node.entropy());
    bench.second.provide_totp(&bench.realm, &bench.alice.id, &app, "test").await.unwrap();
    let world = Enrolled { bench, app };
    world.bench.advance(5);
    let target = authorize(&[("client_id", "spa"), ("acr_values", "aal2")]);
    let led = browser.get(&target).await;
    let page = browser.get(led.location()).await;
    assert!(page.body.contains("name=\"code\"") && !page.body.contains("name=\"password\""));
    assert!(!page.body.contains("name=\"mfa_token\""));
    // Nobody else can answer it, and a wrong code leads nowhere.
    let mut bare = Browser::new(&world.bench);
    bare.jar.insert("csrf_token".into(), browser.jar["csrf_token"].clone());
    let answer = code_on_page(&mut bare, &page, &world.shown()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let wrong = code_on_page(&mut browser, &page, &world.wrong()).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let back = code_on_page(&mut browser, &wrong, &world.shown()).await;
    assert!(back.sent_with("code").is_some(), "{}", back.location());
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!((&session["acr"], &session["sid"]), (&"aal2".into(), &told["sid"]));
    assert_eq!(session["amr"], json!(["pwd", "otp", "mfa"]));
    // From now on it is enough, and without a page.
    let silent = [("client_id", "spa"), ("acr_values", "aal2"), ("prompt", "none")];
    assert!(browser.get(&authorize(&silent)).await.sent_with("code").is_some());
}

#[tokio::test]
async fn whoever_has_no_second_factor_is_sent_back_with_a_reason() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let target = authorize(&[("client_id", "spa"), ("acr_values", "aal2")]);
    let back = browser.get(&target).await;
    let error = back.sent_with("error");
    assert_eq!(error.as_deref(), Some("unmet_authentication_requirements"));
    // Signing in does not help either, and does not go round in circles.
    let mut fresh = Browser::new(&bench);
    let led = fresh.get(&target).await;
    let page = fresh.get(led.location()).await;
    let back = password_on_page(&mut fresh, &page).await;
    let error = back.sent_with("error");
    assert_eq!(error.as_deref(), Some("unmet_authentication_requirements"));
}

#[tokio::test]
async fn whoever_has_a_second_factor_elevates_by_it_and_not_by_the_password() {
    let world = Enrolled::new().await;
    let (mut browser, told) = world.signed_in().await;
    world.bench.advance(60);
    let csrf = told["csrf_token"].as_str().unwrap();
    let answer = elevate(&mut browser, csrf, json!({"password": PASSWORD})).await;
    refused(&answer, "mfa_required");
    assert!(answer.json().get("mfa_token").is_none());
    let wrong = elevate(&mut browser, csrf, json!({"password": "wrong"})).await;
    refused(&wrong, "invalid_credentials");
    assert_eq!(browser.get("/api/auth/session").await.json()["is_elevated"], false);
    let wrong = elevate(&mut browser, csrf, json!({"code": world.wrong()})).await;
    refused(&wrong, "invalid_credentials");
    let both = json!({"password": PASSWORD, "code": world.shown()});
    assert_eq!(elevate(&mut browser, csrf, both).await.status, StatusCode::BAD_REQUEST);
    let code = world.shown();
    let answer = elevate(&mut browser, csrf, json!({"code": code})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!((&session["is_elevated"], &session["acr"]), (&true.into(), &"aal2".into()));
    refused(&elevate(&mut browser, csrf, json!({"code": code})).await, "invalid_credentials");
    // Who has no second factor has no code either.
    let mut bob = Browser::new(&world.bench);
    let bobs = bob.log_in("bob", PASSWORD).await.json();
    world.bench.advance(60);
    let shown = json!({"code": world.shown()});
    refused(
        &elevate(&mut bob, bobs["csrf_token"].as_str().unwrap(), shown).await,
        "invalid_credentials",
    );
}

/// A second factor that is enrolled while a sign-in is under way is asked for.
#[tokio::test]
async fn the_store_itself_keeps_a_password_from_being_enough() {
    let world = Enrolled::new().await;
    let batch = Batch::new(world.bench.realm.clone())
        .with(SecondFactors::require_none(&world.bench.alice.id));
    assert!(world.bench.records.commit(batch).await.is_err());
}

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
    walk.decide("remove", &[]).await;
    assert!(walk.page.body.contains("value=\"begin\""), "{}", walk.page.body);
    let answer = Browser::new(&bench).log_in("alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
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

#[tokio::test]
async fn nobody_is_let_in_while_nobody_knows_whether_there_is_a_second_factor() {
    let world = Enrolled::new().await;
    let (mut browser, token) = world.between().await;
    world.bench.take_away(true);
    for answer in [
        Browser::new(&world.bench).log_in("alice", PASSWORD).await,
        mfa(&mut browser, &token, "totp", &world.shown()).await,
    ] {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    }
    world.bench.take_away(false);
    let answer = mfa(&mut browser, &token, "totp", &world.shown()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}
