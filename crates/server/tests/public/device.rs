//! Devices without a browser, and the page on which people answer them: as they walk it, and as those
//! do who want what is not theirs.

use http::StatusCode;
use serde_json::{Value, json};
use tegata_oauth::{ClientMetadata, GrantType};
use tegata_server::ApprovalProof;

use super::{
    bench::{Bench, ISSUER, PASSWORD},
    browser::{Answer, Browser},
    flow::claims,
};

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const PAGE: &str = "/login/device";

async fn bench() -> Bench {
    with_devices(Bench::new().await).await
}

async fn with_devices(bench: Bench) -> Bench {
    for (id, name) in [("tv", "A television"), ("oven", "An oven")] {
        bench
            .declare(ClientMetadata {
                client_id: id.into(),
                client_name: Some(name.into()),
                public: true,
                // People are asked all the same.
                asks_consent: Some(false),
                grant_types: Some([GrantType::DeviceCode, GrantType::RefreshToken].into()),
                scope: "openid profile offline_access orders.read".into(),
                ..ClientMetadata::default()
            })
            .await;
    }
    bench
}

/// What a device is told that wants to be allowed something.
async fn begin(bench: &Bench, client: &str) -> Value {
    let fields = [("client_id", client), ("scope", "openid orders.read")];
    let answer = Browser::new(bench).submit_from("/oauth2/device", &fields, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

async fn poll(bench: &Bench, client: &str, asked: &Value) -> Answer {
    let code = asked["device_code"].as_str().unwrap();
    let fields = [("grant_type", DEVICE), ("client_id", client), ("device_code", code)];
    Browser::new(bench).submit_from("/oauth2/token", &fields, &[]).await
}

async fn told(bench: &Bench, client: &str, asked: &Value) -> String {
    let answer = poll(bench, client, asked).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    answer.json()["error"].as_str().unwrap().to_owned()
}

fn code(asked: &Value) -> &str {
    asked["user_code"].as_str().unwrap()
}

/// Types a code on the page, and says this to what it shows.
async fn type_in(browser: &mut Browser, code: &str, decision: Option<&str>) -> Answer {
    let page = browser.get(PAGE).await;
    let csrf = page.field("csrf_token").to_owned();
    let mut fields = vec![("csrf_token", csrf.as_str()), ("user_code", code)];
    fields.extend(decision.map(|decision| ("decision", decision)));
    browser.submit(PAGE, &fields).await
}

#[tokio::test]
async fn a_person_signs_in_sees_what_is_asked_and_the_device_gets_tokens() {
    let bench = bench().await;
    let asked = begin(&bench, "tv").await;
    assert_eq!(told(&bench, "tv", &asked).await, "authorization_pending");
    let mut browser = Browser::new(&bench);
    let complete = asked["verification_uri_complete"].as_str().unwrap();
    assert!(complete.starts_with(&format!("{ISSUER}{PAGE}?user_code=")));
    let led = browser.get(complete).await;
    assert!(led.location().starts_with("/login?device="), "{}", led.location());
    let page = browser.get(led.location()).await;
    // Who asks is nothing to somebody who is nobody.
    assert!(!page.body.contains("A television"));
    let wrong = [("username", "alice"), ("password", "no"), ("device", page.field("device"))];
    let fields = [&wrong[..], &[("csrf_token", page.field("csrf_token"))]].concat();
    let page = browser.submit("/login", &fields).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    let fields = [
        ("username", "alice"),
        ("password", PASSWORD),
        ("csrf_token", page.field("csrf_token")),
        ("device", page.field("device")),
    ];
    let led = browser.submit("/login", &fields).await;
    let page = browser.get(led.location()).await;
    // The code that the link brought is only filled in.
    assert_eq!(page.field("user_code"), code(&asked));
    assert!(!page.body.contains("A television") && !page.body.contains("decision"));
    let typed = code(&asked).to_lowercase().replace('-', " ");
    let asks = type_in(&mut browser, &typed, None).await;
    assert_eq!(asks.status, StatusCode::OK, "{}", asks.body);
    assert!(asks.body.contains("A television asks for access"));
    assert!(asks.body.contains("alice") && asks.body.contains("orders.read"));
    assert!(asks.body.contains(&format!("<strong>{}</strong>", code(&asked))));
    assert_eq!(told(&bench, "oven", &asked).await, "invalid_grant");
    bench.advance(5);
    assert_eq!(told(&bench, "tv", &asked).await, "authorization_pending");
    let fields = [
        ("csrf_token", asks.field("csrf_token")),
        ("user_code", asks.field("user_code")),
        ("decision", "allow"),
    ];
    let done = browser.submit(PAGE, &fields).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert!(done.body.contains("Your device is connected"));
    bench.advance(5);
    let answer = poll(&bench, "tv", &asked).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let access = claims(answer.json()["access_token"].as_str().unwrap());
    assert_eq!(
        (&access["sub"], &access["scope"]),
        (&json!(bench.alice.id.as_str()), &json!("openid orders.read"))
    );
    assert_eq!(told(&bench, "tv", &asked).await, "slow_down");
    bench.advance(10);
    assert_eq!(told(&bench, "tv", &asked).await, "invalid_grant");
}

#[tokio::test]
async fn nothing_is_allowed_by_a_link_or_a_form_of_somebody_else() {
    let bench = bench().await;
    let asked = begin(&bench, "tv").await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let link = format!("{PAGE}?user_code={}&decision=allow", code(&asked));
    assert_eq!(browser.get(&link).await.status, StatusCode::OK);
    let csrf = browser.get(PAGE).await.field("csrf_token").to_owned();
    let fields = |csrf| [("csrf_token", csrf), ("user_code", code(&asked)), ("decision", "allow")];
    // Without the token of the session, with that of another session, and from elsewhere.
    let (mut other, _) = Browser::signed_in(&bench).await;
    let theirs = other.get(PAGE).await.field("csrf_token").to_owned();
    for token in ["", theirs.as_str()] {
        let answer = browser.submit(PAGE, &fields(token)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    let elsewhere = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let answer = browser.submit_from(PAGE, &fields(&csrf), &elsewhere).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // Whoever is nobody is asked to sign in.
    let answer = Browser::new(&bench).submit(PAGE, &fields(&csrf)).await;
    assert!(answer.location().starts_with("/login?device="));
    let odd = [("csrf_token", csrf.as_str()), ("user_code", code(&asked)), ("decision", "yes")];
    assert_eq!(browser.submit(PAGE, &odd).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(told(&bench, "tv", &asked).await, "authorization_pending");
    let answer = browser.submit(PAGE, &fields(&csrf)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test]
async fn a_device_that_was_denied_is_told_so_and_the_code_is_gone() {
    let bench = bench().await;
    let asked = begin(&bench, "tv").await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let answer = type_in(&mut browser, code(&asked), Some("deny")).await;
    assert!(answer.body.contains("The device gets nothing"), "{}", answer.body);
    assert_eq!(told(&bench, "tv", &asked).await, "access_denied");
    // A code that was used and one that never was are answered alike.
    let used = type_in(&mut browser, code(&asked), Some("allow")).await;
    let never = type_in(&mut browser, "BCDF-GHJK", Some("allow")).await;
    assert_eq!((used.status, never.status), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
    let plain = |answer: &Answer, code: &str| {
        let policy = answer.header("content-security-policy");
        let nonce = policy.split_once("'nonce-").unwrap().1.split_once('\'').unwrap().0;
        let lines = answer.body.lines().filter(|line| !line.contains("csrf_token"));
        lines.collect::<Vec<_>>().join("\n").replace(code, "").replace(nonce, "")
    };
    assert_eq!(plain(&used, code(&asked)), plain(&never, "BCDF-GHJK"));
    bench.advance(5);
    assert_eq!(told(&bench, "tv", &asked).await, "access_denied");
}

#[tokio::test]
async fn whoever_guesses_codes_has_to_wait_and_finding_one_helps_nothing() {
    let bench = bench().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let own = begin(&bench, "tv").await;
    for guess in ["BBBB-BBBB", "CCCC-CCCC", "nonsense", ""] {
        assert_eq!(type_in(&mut browser, guess, None).await.status, StatusCode::NOT_FOUND);
    }
    // Whoever has a device of their own does not begin anew by it.
    assert_eq!(type_in(&mut browser, code(&own), Some("allow")).await.status, StatusCode::OK);
    let last = type_in(&mut browser, "DDDD-DDDD", Some("allow")).await;
    assert_eq!(last.status, StatusCode::NOT_FOUND);
    let other = begin(&bench, "tv").await;
    for guess in ["FFFF-FFFF", code(&other)] {
        let refused = type_in(&mut browser, guess, Some("allow")).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.body);
        assert!(!refused.header("retry-after").is_empty());
    }
    assert_eq!(told(&bench, "tv", &other).await, "authorization_pending");
    // Others go on, and so does the person's sign-in.
    let mut bob = Browser::new(&bench);
    assert_eq!(bob.log_in("bob", PASSWORD).await.status, StatusCode::OK);
    assert_eq!(type_in(&mut bob, code(&other), Some("allow")).await.status, StatusCode::OK);
    assert_eq!(Browser::new(&bench).log_in("alice", PASSWORD).await.status, StatusCode::OK);
    bench.advance(60);
    let third = begin(&bench, "tv").await;
    assert_eq!(type_in(&mut browser, code(&third), None).await.status, StatusCode::OK);
}

/// Whoever reads the log finds why, and about which field; the page says it, too, beside that field.
#[tokio::test]
async fn what_is_refused_on_the_page_has_its_name_on_record() {
    let bench = Bench::with(|config| config.approval_proof = ApprovalProof::Always).await;
    let bench = with_devices(bench).await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let asked = begin(&bench, "tv").await;
    let last = || {
        let all = bench.decisions.taken();
        let written = all.into_iter().rfind(|it| it.what == format!("POST {PAGE}")).unwrap();
        (written.allowed, written.reason)
    };
    let refused = |why: &str| (false, Some(why.to_owned()));
    let unknown = type_in(&mut browser, "BBBB-BBBB", None).await;
    assert_eq!((unknown.status, last()), (StatusCode::NOT_FOUND, refused("unknown_user_code")));
    let field = "id=\"user_code\" class=\"code\" value=\"BBBB-BBBB\"";
    assert!(unknown.body.contains(field), "{}", unknown.body);
    assert!(unknown.body.contains("aria-describedby=\"problem\""), "{}", unknown.body);
    assert!(unknown.body.contains("No device waits with this code"), "{}", unknown.body);
    // That somebody is asked is no refusal; that they show nothing, or what is wrong, is one.
    let page = type_in(&mut browser, code(&asked), None).await;
    assert_eq!((page.status, last()), (StatusCode::OK, (true, None)));
    let csrf = page.field("csrf_token").to_owned();
    for (password, why) in [("", "proof_required"), ("wrong", "invalid_credentials")] {
        let fields = [
            ("csrf_token", csrf.as_str()),
            ("user_code", code(&asked)),
            ("decision", "allow"),
            ("password", password),
        ];
        let answer = browser.submit(PAGE, &fields).await;
        assert_eq!((answer.status, last()), (StatusCode::UNAUTHORIZED, refused(why)), "{why}");
    }
    let mut tries = 0;
    let waits = loop {
        let answer = type_in(&mut browser, "CCCC-CCCC", None).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        tries += 1;
        assert!(tries < 20, "{}", answer.body);
    };
    assert_eq!(last(), refused("too_many_attempts"));
    assert!(waits.body.contains("aria-describedby=\"problem\""), "{}", waits.body);
    let fields = [("user_code", code(&asked)), ("decision", "allow")];
    let led = Browser::new(&bench).submit(PAGE, &fields).await;
    assert!(led.location().starts_with("/login?device="), "{}", led.location());
    assert_eq!(last(), refused("login_required"));
    bench.advance(5);
    assert_eq!(told(&bench, "tv", &asked).await, "authorization_pending");
}

#[tokio::test]
async fn a_network_that_guesses_passwords_guesses_no_codes_meanwhile() {
    let bench = bench().await;
    let (mut alice, _) = Browser::signed_in(&bench).await;
    for n in 0..60 {
        let answer = Browser::new(&bench).log_in(&format!("nobody{n}"), PASSWORD).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let refused = type_in(&mut alice, "BBBB-BBBB", None).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.body);
}

#[tokio::test]
async fn a_code_that_has_expired_is_as_unknown_as_any() {
    let bench = bench().await;
    let asked = begin(&bench, "tv").await;
    bench.advance(600);
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let answer = type_in(&mut browser, code(&asked), Some("allow")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(told(&bench, "tv", &asked).await, "expired_token");
}

#[tokio::test]
async fn what_is_typed_is_shown_as_text_and_the_page_speaks_japanese() {
    let bench = bench().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let answer = type_in(&mut browser, "\"><script>alert(1)</script>", None).await;
    assert!(!answer.body.contains("<script>alert"), "{}", answer.body);
    let page = browser.get(&format!("{PAGE}?lang=ja")).await;
    assert!(page.body.contains("デバイスを接続"), "{}", page.body);
    let mut nobody = Browser::new(&bench);
    let led = nobody.get(&format!("{PAGE}?user_code=%22%3E%3Cscript%3E")).await;
    assert_eq!(led.location(), "/login?device=");
    let page = nobody.get("/login?device=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert!(!page.body.contains("<script>alert"), "{}", page.body);
}

#[tokio::test]
async fn only_clients_of_devices_ask_and_none_can_fill_the_store() {
    let bench = bench().await;
    let ask = async |client| {
        let fields = [("client_id", client)];
        Browser::new(&bench).submit_from("/oauth2/device", &fields, &[]).await
    };
    let answer = ask("spa").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["error"], "unauthorized_client");
    for unproven in ["web", "nobody"] {
        assert_eq!(ask(unproven).await.status, StatusCode::UNAUTHORIZED);
    }
    for _ in 0..1000 {
        let answer = ask("tv").await;
        if answer.status != StatusCode::OK {
            assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.body);
            assert!(!answer.header("retry-after").is_empty());
            return;
        }
    }
    panic!("there is no limit");
}
