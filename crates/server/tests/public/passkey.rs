//! Passkeys, as browsers show them and as others would like to.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tegata_core::{Epoch, SessionId};
use tegata_identity::PasskeyName;

use super::{
    bench::{Bench, ISSUER, PASSWORD},
    browser::{Answer, Browser},
    flow::{authorize, claims, redeeming, token},
    second_factor::{asked, elevate, refused},
    soft::Soft,
};

/// Alice has a passkey.
struct Enrolled {
    bench: Bench,
    soft: Soft,
}

impl Enrolled {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let (realm, alice) = (&bench.realm, &bench.alice);
        let sid = SessionId::generate(Epoch::FIRST, bench.node.now(), bench.node.entropy());
        let mut soft = Soft::at(ISSUER);
        let options = bench.second.begin_passkey(realm, alice, &sid).await.unwrap();
        let (made, name) = (soft.create(&options), PasskeyName::new("phone"));
        bench.second.confirm_passkey(realm, &alice.id, &sid, &made, name).await.unwrap();
        Self { bench, soft }
    }

    /// A browser in which alice has signed in by the passkey alone, and the answer.
    async fn signed_in(&mut self) -> (Browser, Value) {
        let mut browser = Browser::new(&self.bench);
        let shown = self.soft.get(&ask(&mut browser, "login", None, None).await);
        let answer = show(&mut browser, &shown).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        (browser, answer.json())
    }
}

/// What a script is told to ask the browser for.
async fn ask(browser: &mut Browser, step: &str, csrf: Option<&str>, body: Option<&Value>) -> Value {
    let target = format!("/api/auth/{step}/passkey");
    let answer = browser.call(Method::POST, &target, csrf, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

/// Signs in by what the browser gave.
async fn show(browser: &mut Browser, shown: &str) -> Answer {
    let body = json!({"credential": serde_json::from_str::<Value>(shown).unwrap()});
    browser.call(Method::POST, "/api/auth/login", None, Some(&body)).await
}

/// What the script of a page asks the browser for.
fn options(page: &Answer) -> Value {
    let (_, after) =
        page.body.split_once("data-options=\"").unwrap_or_else(|| panic!("{}", page.body));
    let quoted = after.split_once('"').unwrap().0;
    let text = quoted.replace("&quot;", "\"").replace("&#34;", "\"").replace("&amp;", "&");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

/// Sends the form of a page as its script does.
async fn submit(browser: &mut Browser, to: &str, page: &Answer, more: &[(&str, &str)]) -> Answer {
    let hidden = ["csrf_token", "request", "mfa_token", "lang"];
    let fields: Vec<_> = hidden
        .into_iter()
        .filter(|name| page.body.contains(&format!("name=\"{name}\"")))
        .map(|name| (name, page.field(name)))
        .chain(more.iter().copied())
        .collect();
    let answer = browser.submit(to, &fields).await;
    if to == "/login/security" && answer.status == StatusCode::SEE_OTHER {
        return browser.get(answer.location()).await;
    }
    answer
}

#[tokio::test]
async fn a_script_signs_somebody_in_by_a_passkey_alone() {
    let mut world = Enrolled::new().await;
    let (mut browser, told) = world.signed_in().await;
    let access = claims(told["access_token"].as_str().unwrap());
    assert_eq!((&access["acr"], &access["amr"]), (&"aal2".into(), &json!(["pop", "user", "mfa"])));
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!((&session["user"]["username"], &session["sid"]), (&"alice".into(), &told["sid"]));
    assert_eq!(session["is_elevated"], false);
}

#[tokio::test]
async fn what_is_asked_for_says_nothing_of_anybody() {
    let world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let mut options = ask(&mut browser, "login", None, None).await;
    assert_eq!(options["challenge"].as_str().unwrap().len(), 75);
    options["challenge"] = Value::Null;
    let expected = json!({
        "challenge": null, "timeout": 300_000, "rpId": "localhost", "allowCredentials": [],
        "userVerification": "required",
    });
    assert_eq!(options, expected);
    assert!(browser.jar.is_empty());
    let request = http::Request::post("/api/auth/login/passkey")
        .header("origin", "https://evil.example")
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(browser.send(request).await.status, StatusCode::FORBIDDEN);
}

/// Whatever is wrong with a passkey, and whosever it is.
#[tokio::test]
async fn every_passkey_that_does_not_count_is_answered_alike() {
    let mut world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let options = ask(&mut browser, "login", None, None).await;
    let mut stranger = Soft { handle: vec![1; 32], ..Soft::at(ISSUER) };
    let mut thief = Soft { id: world.soft.id.clone(), ..Soft::at(ISSUER) };
    thief.handle.clone_from(&world.soft.handle);
    let shown = [stranger.get(&options), thief.get(&options), "{}".into(), "7".into(), {
        world.soft.origin = "https://app.example.com".into();
        world.soft.get(&options)
    }];
    let mut answers = Vec::new();
    for shown in &shown {
        let mut answer = show(&mut browser, shown).await.json();
        assert_eq!(
            (&answer["status"], &answer["error"]),
            (&401.into(), &"invalid_credentials".into())
        );
        answer["trace_id"] = Value::Null;
        answers.push(answer);
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
    world.soft.origin = ISSUER.into();
    let good = world.soft.get(&options);
    let mut elsewhere = Browser { agent: "curl/8", ..Browser::new(&world.bench) };
    refused(&show(&mut elsewhere, &good).await, "invalid_credentials");
    assert_eq!(show(&mut browser, &good).await.status, StatusCode::OK);
    refused(&show(&mut browser, &good).await, "invalid_credentials");
    // A passkey beside a password, and half of one, is no request.
    for body in [
        json!({"username": "alice", "password": PASSWORD, "credential": {}}),
        json!({"username": "alice", "credential": {}}),
        json!({"username": "alice"}),
        json!({}),
    ] {
        let answer = browser.call(Method::POST, "/api/auth/login", None, Some(&body)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn the_page_signs_somebody_in_by_a_passkey_alone() {
    let mut world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let target = authorize(&[("client_id", "web")]);
    let led = browser.get(&target).await;
    let page = browser.get(led.location()).await;
    assert!(page.body.contains("autocomplete=\"username webauthn\""), "{}", page.body);
    assert!(page.body.contains("data-party=\"localhost\""));
    let policy = page.header("content-security-policy");
    let nonce = policy.split_once("'nonce-").unwrap().1.split_once('\'').unwrap().0;
    let script = page.body.split_once("/login/assets/passkey.").unwrap().1;
    assert!(script.split_once('>').unwrap().0.contains(nonce) && !policy.contains("unsafe"));
    let shown = world.soft.get(&ask(&mut browser, "login", None, None).await);
    // Without the cookie that the form belongs to, and from another site.
    let mut bare = Browser::new(&world.bench);
    let answer = submit(&mut bare, "/login", &page, &[("credential", &shown)]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let fields = [("csrf_token", page.field("csrf_token")), ("credential", shown.as_str())];
    let answer =
        browser.submit_from("/login", &fields, &[("origin", "https://evil.example")]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let wrong = submit(&mut browser, "/login", &page, &[("credential", "{}")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.body.contains("This passkey does not count here"));
    assert!(wrong.body.contains("name=\"password\""), "{}", wrong.body);
    let led = submit(&mut browser, "/login", &wrong, &[("credential", &shown)]).await;
    let page = browser.get(led.location()).await;
    let back = submit(&mut browser, "/oauth2/consent", &page, &[("decision", "allow")]).await;
    let code = back.sent_with("code").unwrap();
    let tokens = token(&world.bench, "web", &redeeming(&code)).await.json();
    let id = claims(tokens["id_token"].as_str().unwrap());
    assert_eq!((&id["acr"], &id["amr"]), (&"aal2".into(), &json!(["pop", "user", "mfa"])));
}

#[tokio::test]
async fn a_passkey_follows_a_password() {
    let mut world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let answer = browser.log_in("alice", PASSWORD).await;
    let mfa_token = asked(&answer);
    assert_eq!(answer.json()["methods"], json!(["passkey", "recovery_code"]));
    let options = ask(&mut browser, "mfa", None, Some(&json!({"mfa_token": mfa_token}))).await;
    assert_eq!(options["allowCredentials"].as_array().unwrap().len(), 1);
    let shown: Value = serde_json::from_str(&world.soft.get(&options)).unwrap();
    let body = json!({"mfa_token": mfa_token, "method": "passkey", "credential": shown});
    for wrong in [
        json!({"mfa_token": mfa_token, "method": "passkey", "code": "123456"}),
        json!({"mfa_token": mfa_token, "method": "totp", "credential": shown}),
        json!({"mfa_token": mfa_token, "method": "passkey", "credential": shown, "code": "1"}),
    ] {
        let answer = browser.call(Method::POST, "/api/auth/mfa", None, Some(&wrong)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let mut elsewhere = Browser { agent: "curl/8", ..Browser::new(&world.bench) };
    let answer = elsewhere.call(Method::POST, "/api/auth/mfa", None, Some(&body)).await;
    refused(&answer, "mfa_expired");
    let answer = browser.call(Method::POST, "/api/auth/mfa", None, Some(&body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let access = claims(answer.json()["access_token"].as_str().unwrap());
    assert_eq!(access["amr"], json!(["pwd", "pop", "user", "mfa"]));
    for made_up in ["", "x"] {
        let body = json!({"mfa_token": made_up});
        let answer = browser.call(Method::POST, "/api/auth/mfa/passkey", None, Some(&body)).await;
        refused(&answer, "mfa_expired");
    }
}

#[tokio::test]
async fn the_page_takes_a_passkey_after_a_password() {
    let mut world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let page = browser.get("/login").await;
    let password = [("username", "alice"), ("password", PASSWORD)];
    let page = submit(&mut browser, "/login", &page, &password).await;
    assert!(page.body.contains("name=\"code\"") && page.body.contains("Use a passkey"));
    let shown = world.soft.get(&options(&page));
    let with = |shown: &str| [("decision", "second".to_owned()), ("credential", shown.to_owned())];
    let send = async |browser: &mut Browser, page: &Answer, shown: &str| {
        let fields = with(shown);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        submit(browser, "/login", page, &fields).await
    };
    let wrong = send(&mut browser, &page, "{}").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.body.contains("name=\"mfa_token\""), "{}", wrong.body);
    let led = send(&mut browser, &wrong, &shown).await;
    assert_eq!(led.location(), "/login?lang=en");
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!((&session["acr"], &session["user"]["username"]), (&"aal2".into(), &"alice".into()));
}

#[tokio::test]
async fn a_weaker_session_is_asked_for_the_passkey_alone() {
    let bench = Bench::new().await;
    let (mut browser, told) = Browser::signed_in(&bench).await;
    let sid = SessionId::new(told["sid"].as_str().unwrap()).unwrap();
    let mut soft = Soft::at(ISSUER);
    let options_of = bench.second.begin_passkey(&bench.realm, &bench.alice, &sid).await.unwrap();
    let (made, name) = (soft.create(&options_of), PasskeyName::new(""));
    let alice = &bench.alice.id;
    bench.second.confirm_passkey(&bench.realm, alice, &sid, &made, name).await.unwrap();
    bench.advance(5);
    let led = browser.get(&authorize(&[("client_id", "spa"), ("acr_values", "aal2")])).await;
    let page = browser.get(led.location()).await;
    assert!(!page.body.contains("name=\"password\"") && !page.body.contains("name=\"mfa_token\""));
    soft.flags = super::soft::PRESENT;
    let shown = soft.get(&options(&page));
    let fields = [("decision", "second"), ("credential", shown.as_str())];
    let back = submit(&mut browser, "/login", &page, &fields).await;
    assert!(back.sent_with("code").is_some(), "{}", back.body);
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!((&session["acr"], &session["sid"]), (&"aal2".into(), &told["sid"]));
    assert_eq!(session["amr"], json!(["pwd", "pop", "user", "mfa"]));
}

#[tokio::test]
async fn a_passkey_elevates() {
    let mut world = Enrolled::new().await;
    let (mut browser, told) = world.signed_in().await;
    let csrf = told["csrf_token"].as_str().unwrap();
    world.bench.advance(60);
    refused(&elevate(&mut browser, csrf, json!({"password": PASSWORD})).await, "mfa_required");
    let answer = browser.call(Method::POST, "/api/auth/elevate/passkey", Some("x"), None).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // What was asked for to sign in is no proof that somebody is still there.
    let alone = world.soft.get(&ask(&mut browser, "login", None, None).await);
    let alone: Value = serde_json::from_str(&alone).unwrap();
    let answer = elevate(&mut browser, csrf, json!({"credential": alone})).await;
    refused(&answer, "invalid_credentials");
    let shown = world.soft.get(&ask(&mut browser, "elevate", Some(csrf), None).await);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let answer = elevate(&mut browser, csrf, json!({"credential": shown})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    let session = browser.get("/api/auth/session").await.json();
    assert_eq!((&session["is_elevated"], &session["acr"]), (&true.into(), &"aal2".into()));
    let again = elevate(&mut browser, csrf, json!({"credential": shown})).await;
    refused(&again, "invalid_credentials");
    let (mut bob, bobs) = {
        let mut bob = Browser::new(&world.bench);
        let told = bob.log_in("bob", PASSWORD).await.json();
        (bob, told["csrf_token"].as_str().unwrap().to_owned())
    };
    let answer = bob.call(Method::POST, "/api/auth/elevate/passkey", Some(&bobs), None).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
}

#[tokio::test]
async fn a_person_adds_a_passkey_uses_it_and_removes_it() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let to = "/login/security";
    let page = browser.get(to).await;
    // Whoever has only a cookie adds nothing.
    let page = submit(&mut browser, to, &page, &[("decision", "passkey")]).await;
    assert!(!page.body.contains("data-options"), "{}", page.body);
    let proof = [("decision", "prove"), ("password", PASSWORD)];
    let page = submit(&mut browser, to, &page, &proof).await;
    let page = submit(&mut browser, to, &page, &[("decision", "passkey")]).await;
    let mut soft = Soft::at(ISSUER);
    let made = soft.create(&options(&page));
    let none = submit(&mut browser, to, &page, &[("decision", "keep")]).await;
    assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(none.body.contains("No passkey was used"), "{}", none.body);
    // One answer for each question.
    let keep = [("decision", "keep"), ("credential", made.as_str()), ("name", "<b>phone</b>")];
    let late = submit(&mut browser, to, &page, &keep).await;
    assert_eq!(late.status, StatusCode::UNPROCESSABLE_ENTITY);
    let page = submit(&mut browser, to, &none, &[("decision", "passkey")]).await;
    let made = soft.create(&options(&page));
    let keep = [("decision", "keep"), ("credential", made.as_str()), ("name", "<b>phone</b>")];
    let page = submit(&mut browser, to, &page, &keep).await;
    assert_eq!(page.body.matches("<li><code>").count(), 10, "{}", page.body);
    let page = browser.get(to).await;
    // The password was shown before there was a passkey.
    assert!(page.body.contains("value=\"prove\"") && !page.body.contains("value=\"remove:"));
    assert!(!page.body.contains("<b>phone") && page.body.contains("phone"), "{}", page.body);
    let id = bench.second.of(&bench.realm, &bench.alice.id).await.unwrap().unwrap().passkeys;
    let remove = format!("remove:{}", id[0].id);
    let still = submit(&mut browser, to, &page, &[("decision", &remove)]).await;
    assert!(still.body.contains("value=\"prove\""), "{}", still.body);
    let shown = soft.get(&options(&page));
    let prove = [("decision", "prove"), ("credential", shown.as_str())];
    let page = submit(&mut browser, to, &page, &prove).await;
    assert!(page.body.contains(&format!("value=\"{remove}\"")), "{}", page.body);
    let page = submit(&mut browser, to, &page, &[("decision", &remove)]).await;
    assert!(page.body.contains("value=\"passkey\"") && !page.body.contains("remove:"));
    let mut other = Browser::new(&bench);
    let shown = soft.get(&ask(&mut other, "login", None, None).await);
    refused(&show(&mut other, &shown).await, "invalid_credentials");
    assert_eq!(other.log_in("alice", PASSWORD).await.status, StatusCode::OK);
}

/// Everything of a person that was taken back stays so, whoever had asked before.
#[tokio::test]
async fn what_was_taken_back_meanwhile_signs_nobody_in() {
    let mut world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let shown = world.soft.get(&ask(&mut browser, "login", None, None).await);
    world.bench.take_back_alice().await;
    refused(&show(&mut browser, &shown).await, "mfa_expired");
    assert!(browser.jar.is_empty());
    world.bench.advance(2);
    world.signed_in().await;
}

#[tokio::test]
async fn nobody_is_let_in_while_the_stores_are_away() {
    let mut world = Enrolled::new().await;
    let mut browser = Browser::new(&world.bench);
    let shown = world.soft.get(&ask(&mut browser, "login", None, None).await);
    world.bench.take_away(true);
    let answer = show(&mut browser, &shown).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    world.bench.take_away(false);
    let answer = show(&mut browser, &shown).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}
