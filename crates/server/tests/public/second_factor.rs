//! Second factors, as those meet them who have one, and those who would like to do without.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tegata_core::Batch;
use tegata_identity::{SecondFactors, TotpSecret};

use super::{
    bench::{Bench, PASSWORD},
    browser::{Answer, Browser},
    flow::claims,
};

/// Alice has an authenticator app.
pub(super) struct Enrolled {
    pub(super) bench: Bench,
    pub(super) app: TotpSecret,
}

impl Enrolled {
    pub(super) async fn new() -> Self {
        Self::on(Bench::new().await).await
    }

    /// The same on this listener.
    pub(super) async fn on(bench: Bench) -> Self {
        let app = TotpSecret::generate(bench.node.entropy());
        let alice = &bench.alice.id;
        let given = bench.second.provide_totp(&bench.realm, alice, &app, "test").await;
        assert!(given.unwrap());
        Self { bench, app }
    }

    pub(super) fn shown(&self) -> String {
        self.app.code_at(self.bench.node.now())
    }

    /// What the app showed so many seconds ago.
    fn shown_before(&self, seconds: u64) -> String {
        self.app.code_at(self.bench.node.now() - std::time::Duration::from_secs(seconds))
    }

    pub(super) fn wrong(&self) -> String {
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

    pub(super) async fn signed_in(&self) -> (Browser, Value) {
        let (mut browser, token) = self.between().await;
        let answer = mfa(&mut browser, &token, "totp", &self.shown()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        (browser, answer.json())
    }
}

/// The token of an answer that asks for a second factor.
pub(super) fn asked(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
    let told = answer.json();
    assert_eq!(told["error"], "mfa_required");
    told["mfa_token"].as_str().unwrap().to_owned()
}

pub(super) async fn mfa(browser: &mut Browser, token: &str, method: &str, code: &str) -> Answer {
    let shown = json!({"mfa_token": token, "method": method, "code": code});
    browser.call(Method::POST, "/api/auth/mfa", None, Some(&shown)).await
}

pub(super) async fn elevate(browser: &mut Browser, csrf: &str, shown: Value) -> Answer {
    browser.call(Method::POST, "/api/auth/elevate", Some(csrf), Some(&shown)).await
}

pub(super) fn refused(answer: &Answer, error: &str) {
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (StatusCode::UNAUTHORIZED, Some(error)),
        "{}",
        answer.body
    );
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
    world.bench.take_back_alice().await;
    world.bench.advance(60);
    refused(&mfa(&mut browser, &token, "totp", &world.shown()).await, "mfa_expired");
    assert!(browser.jar.is_empty());
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

/// A made-up cookie of somebody's session asks nothing about their password, and uses up no attempt.
#[tokio::test]
async fn nobody_guesses_by_a_cookie_that_is_not_genuine() {
    let world = Enrolled::new().await;
    let (mut browser, told) = world.signed_in().await;
    world.bench.advance(60);
    let csrf = told["csrf_token"].as_str().unwrap();
    let mut forger = browser.clone();
    let value = forger.cookie("session_id").unwrap().to_owned();
    let last = if value.ends_with('A') { "B" } else { "A" };
    let forged = format!("{}{last}", &value[..value.len() - 1]);
    forger.jar.get_mut("session_id").unwrap().0 = forged;
    for shown in [json!({"password": PASSWORD}), json!({"code": world.shown()})] {
        for _ in 0..6 {
            let jar = forger.jar.clone();
            let answer = elevate(&mut forger, csrf, shown.clone()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
            assert_ne!(answer.json()["error"], "mfa_required", "the password was looked at");
            forger.jar = jar;
        }
    }
    let answer = elevate(&mut browser, csrf, json!({"code": world.shown()})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
}

/// A second factor that is enrolled while a sign-in is under way is asked for.
#[tokio::test]
async fn the_store_itself_keeps_a_password_from_being_enough() {
    let world = Enrolled::new().await;
    let batch = Batch::new(world.bench.realm.clone())
        .with(SecondFactors::require_none(&world.bench.alice.id));
    assert!(world.bench.records.commit(batch).await.is_err());
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
