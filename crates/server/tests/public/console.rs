//! The console's door, and its forms: who does not get in, what a form does not do, and what of others'
//! making does not run.

use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tegata_core::{Realm, Timestamp};
use tegata_identity::{Role, RoleChange};
use tegata_server::{
    Config, ConsoleAt,
    admin::{Operation, Refused, SecondFactor},
    lookout::{Checked, Confirmed, Sight, Sighted, TakenBack},
};
use tegata_session::{Beginning, Binding, Standing, Traits};

use super::{
    bench::{Bench, HOME, ISSUER, PASSWORD},
    browser::{Answer, Browser, FIREFOX},
    second_factor::Enrolled,
};

const ADMIN: &str = "admin";

pub(crate) async fn change_role(bench: &Bench, grant: bool) {
    let roles = [Role::new(ADMIN).unwrap()].into();
    let change = if grant { RoleChange::Grant(roles) } else { RoleChange::Withdraw(roles) };
    bench.users.change_roles(&bench.realm, &bench.alice.id, &change, "test").await.unwrap();
}

/// Alice with the role, signed in.
pub(crate) async fn inside(bench: &Bench) -> Browser {
    change_role(bench, true).await;
    Browser::signed_in(bench).await.0
}

fn told(bench: &Bench, operation: Operation, told: Value) {
    bench.administered.1.lock().unwrap().push((operation, Ok(told)));
}

fn user(bench: &Bench) -> Value {
    json!({
        "id": bench.alice.id, "username": "alice", "email": "alice@people.example",
        "email_verified": true, "roles": ["admin", "customer"], "disabled": false,
        "created": "2026-01-02T03:04:05.678Z",
    })
}

/// What was asked for that changes something.
fn changes(bench: &Bench) -> Vec<(Operation, String)> {
    let reads = [
        Operation::User,
        Operation::Users,
        Operation::UserFactors,
        Operation::Sessions,
        Operation::Clients,
        Operation::Client,
        Operation::Keys,
        Operation::ApiKeys,
        Operation::ApiKey,
        Operation::TokenTrace,
    ];
    let all = bench.administered.0.lock().unwrap();
    all.iter().filter(|(operation, _)| !reads.contains(operation)).cloned().collect()
}

#[tokio::test]
async fn who_is_not_signed_in_signs_in_and_comes_back() {
    let bench = Bench::new().await;
    change_role(&bench, true).await;
    let mut browser = Browser::new(&bench);
    let led = browser.get("/console/sessions").await;
    assert!(
        led.location().starts_with("/login?console=%2Fconsole%2Fsessions"),
        "{}",
        led.location()
    );
    let page = browser.get(led.location()).await;
    assert_eq!(page.field("console"), "/console/sessions");
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("console", page.field("console")),
        ("lang", "en"),
        ("username", "alice"),
        ("password", PASSWORD),
    ];
    let led = browser.submit("/login", &fields).await;
    assert_eq!(led.location(), "/console/sessions?lang=en");
    let page = browser.get(led.location()).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    // Whoever is signed in goes on at once, and nowhere else than here.
    let led = browser.get("/login?console=%2Fconsole%2Fkeys").await;
    assert_eq!(led.location(), "/console/keys");
    for elsewhere in
        ["https%3A%2F%2Fevil.example", "%2F%2Fevil.example", "%2Fconsole%2F..%2Flogout"]
    {
        let page = browser.get(&format!("/login?console={elsewhere}")).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(
            !page.body.contains("evil") && !page.body.contains("name=\"console\""),
            "{}",
            page.body
        );
    }
}

#[tokio::test]
async fn who_lacks_the_role_or_loses_it_is_told_so() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let page = browser.get("/console").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(
        page.body.contains("role admin") && page.body.contains("another=true"),
        "{}",
        page.body
    );
    change_role(&bench, true).await;
    // The session began without it; the record counts.
    assert_eq!(browser.get("/console").await.status, StatusCode::OK);
    change_role(&bench, false).await;
    assert_eq!(browser.get("/console").await.status, StatusCode::FORBIDDEN);
    let mut japanese = browser.clone();
    japanese.language = Some("ja");
    assert!(japanese.get("/console").await.body.contains("admin ロール"));
}

#[tokio::test]
async fn the_console_is_where_it_has_an_origin_of_its_own() {
    let with = |edit: fn(&mut Config)| async move {
        let bench = Bench::with(edit).await;
        inside(&bench).await.get("/console").await
    };
    let shared = with(|config| config.shares_origin = true).await;
    assert_eq!(shared.status, StatusCode::FORBIDDEN);
    assert!(shared.body.contains("origin"), "{}", shared.body);
    let off = with(|config| config.console = ConsoleAt::Off).await;
    assert_eq!(off.status, StatusCode::NOT_FOUND);
    let danger = with(|config| {
        (config.shares_origin, config.console) = (true, ConsoleAt::DangerSharedOrigin);
    });
    assert_eq!(danger.await.status, StatusCode::OK);
    let demanding = with(|config| config.administrators = SecondFactor::Required).await;
    assert_eq!(demanding.status, StatusCode::FORBIDDEN);
    assert!(demanding.body.contains("/login/security"), "{}", demanding.body);
}

#[tokio::test]
async fn a_session_of_another_realm_is_nobody_here() {
    let bench = Bench::new().await;
    change_role(&bench, true).await;
    let beginning = Beginning {
        user: bench.alice.id.clone(),
        binding: Binding::of(HOME, Some(FIREFOX.as_bytes())),
        traits: Traits::default(),
        standing: Standing {
            acr: Some("aal3".to_owned()),
            amr: vec!["pwd".to_owned()],
            auth_time: bench.node.now().secs(),
            elevated_until: Some(bench.node.now() + std::time::Duration::from_secs(300)),
            authority: 1,
            roles: vec![ADMIN.to_owned()],
            factors: vec![],
        },
        address: Some(HOME),
        replaces: None,
    };
    for (realm, status) in [("elsewhere", StatusCode::SEE_OTHER), ("default", StatusCode::OK)] {
        let realm =
            if realm == "default" { bench.realm.clone() } else { Realm::new(realm).unwrap() };
        let begun = bench.sessions.begin(&realm, &beginning).await.unwrap();
        let mut browser = Browser::new(&bench);
        let cookie = (begun.cookie.expose().clone(), "/".to_owned());
        browser.jar.insert("session_id".to_owned(), cookie);
        assert_eq!(browser.get("/console").await.status, status, "{realm}");
    }
}

/// Lets time pass, while the session is used.
async fn pass(bench: &Bench, browser: &mut Browser, seconds: u64) {
    for _ in 0..seconds / 600 {
        bench.advance(600);
        bench.catch_up().await;
        browser.get("/login").await;
    }
}

#[tokio::test]
async fn who_has_shown_nothing_for_long_shows_it_once_more() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    assert_eq!(browser.get("/console/keys").await.status, StatusCode::OK);
    // For a change, sooner than for a look.
    pass(&bench, &mut browser, 600).await;
    told(&bench, Operation::User, user(&bench));
    let here = format!("/console/users/{}", bench.alice.id);
    let page = browser.get(&here).await;
    assert_eq!(page.status, StatusCode::OK);
    let fields = [
        ("csrf_token", page.field("csrf_token")),
        ("do", "roles"),
        ("roles", "x"),
        ("version", page.field("version")),
        ("confirmed", "yes"),
    ];
    let asked = browser.submit(&here, &fields).await;
    assert_eq!(asked.status, StatusCode::FORBIDDEN);
    assert!(
        asked.body.contains("action=\"/console/prove\"") && changes(&bench).is_empty(),
        "{}",
        asked.body
    );
    // Whoever then errs is asked for the same again, not as for a look.
    assert!(asked.body.contains("before you change something"), "{}", asked.body);
    let wrong = [
        ("csrf_token", asked.field("csrf_token")),
        ("console", asked.field("console")),
        ("for", asked.field("for")),
        ("password", "wrong"),
    ];
    let again = browser.submit("/console/prove", &wrong).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    assert!(again.body.contains("before you change something"), "{}", again.body);
    assert_eq!((again.field("for"), again.field("console")), ("change", here.as_str()));

    pass(&bench, &mut browser, 3600).await;
    let page = browser.get("/console/keys").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(
        page.body.contains("name=\"password\"") && !page.body.contains("data-stream"),
        "{}",
        page.body
    );
    let prove = async |browser: &mut Browser, password: &str, to: &str| {
        let fields = [
            ("csrf_token", page.field("csrf_token")),
            ("console", to),
            ("lang", "en"),
            ("password", password),
        ];
        browser.submit("/console/prove", &fields).await
    };
    assert_eq!(
        prove(&mut browser, "wrong", "/console/keys").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(browser.get("/console/keys").await.status, StatusCode::FORBIDDEN);
    let led = prove(&mut browser, PASSWORD, "https://evil.example/").await;
    assert_eq!(led.location(), "/console?lang=en");
    assert_eq!(browser.get("/console/keys").await.status, StatusCode::OK);
}

#[tokio::test]
async fn who_has_a_second_factor_enters_with_it_alone() {
    let world = Enrolled::new().await;
    let bench = &world.bench;
    change_role(bench, true).await;
    let (mut browser, _) = world.signed_in().await;
    assert_eq!(browser.get("/console").await.status, StatusCode::OK);
    // A session by which none was shown, though it was elevated.
    let standing = Standing {
        acr: Some("aal1".to_owned()),
        amr: vec!["pwd".to_owned()],
        auth_time: bench.node.now().secs(),
        elevated_until: Some(bench.node.now() + std::time::Duration::from_secs(300)),
        authority: 1,
        roles: vec![ADMIN.to_owned()],
        factors: vec![],
    };
    let binding = Binding::of(HOME, Some(FIREFOX.as_bytes()));
    let beginning = Beginning {
        user: bench.alice.id.clone(),
        binding,
        traits: Traits::default(),
        standing,
        address: Some(HOME),
        replaces: None,
    };
    let begun = bench.sessions.begin(&bench.realm, &beginning).await.unwrap();
    let mut weak = Browser::new(bench);
    weak.jar.insert("session_id".to_owned(), (begun.cookie.expose().clone(), "/".to_owned()));
    let page = weak.get("/console").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(
        page.body.contains("name=\"code\"") && !page.body.contains("name=\"password\""),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn a_form_that_is_not_of_this_page_does_nothing() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let page = browser.get("/console/revocations").await;
    let token = page.field("csrf_token").to_owned();
    let mut other = Browser::signed_in(&bench).await.0;
    let others = other.get("/console/revocations").await.field("csrf_token").to_owned();
    let session = browser.call(Method::GET, "/api/auth/csrf", None, None).await.json();
    let of_scripts = session["csrf_token"].as_str().unwrap().to_owned();
    let wish = [
        ("do", "revoke"),
        ("kind", "client"),
        ("name", "web"),
        ("reason", "test"),
        ("confirmed", "yes"),
    ];
    let own = [("origin", ISSUER), ("sec-fetch-site", "same-origin")];
    for (name, token, headers, status) in [
        ("no token", None, &own[..], StatusCode::FORBIDDEN),
        ("an empty token", Some(""), &own, StatusCode::FORBIDDEN),
        ("another session's", Some(others.as_str()), &own, StatusCode::FORBIDDEN),
        ("that of scripts", Some(of_scripts.as_str()), &own, StatusCode::SEE_OTHER),
        (
            "another origin",
            Some(token.as_str()),
            &[("origin", "https://evil.example")],
            StatusCode::FORBIDDEN,
        ),
        ("no origin", Some(token.as_str()), &[("origin", "null")], StatusCode::FORBIDDEN),
        (
            "another site",
            Some(token.as_str()),
            &[("origin", ISSUER), ("sec-fetch-site", "cross-site")],
            StatusCode::FORBIDDEN,
        ),
        (
            "a page of the site",
            Some(token.as_str()),
            &[("origin", ISSUER), ("sec-fetch-site", "same-site")],
            StatusCode::FORBIDDEN,
        ),
        (
            "an allowed origin's page",
            Some(token.as_str()),
            &[("origin", "https://app.example.com"), ("sec-fetch-site", "cross-site")],
            StatusCode::FORBIDDEN,
        ),
        (
            "a script",
            Some(token.as_str()),
            &[
                ("origin", ISSUER),
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-dest", "empty"),
                ("sec-fetch-mode", "cors"),
            ],
            StatusCode::FORBIDDEN,
        ),
        (
            "a frame",
            Some(token.as_str()),
            &[
                ("origin", ISSUER),
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-dest", "iframe"),
                ("sec-fetch-mode", "navigate"),
            ],
            StatusCode::FORBIDDEN,
        ),
    ] {
        let fields: Vec<_> =
            token.map(|token| ("csrf_token", token)).into_iter().chain(wish).collect();
        let answer = browser.clone().submit_from("/console/revocations", &fields, headers).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        assert!(changes(&bench).is_empty(), "{name}");
    }
    // Nor does an address.
    let query = super::browser::encoded(&[&[("csrf_token", token.as_str())][..], &wish].concat());
    assert_eq!(browser.get(&format!("/console/revocations?{query}")).await.status, StatusCode::OK);
    assert!(changes(&bench).is_empty());
    let fields: Vec<_> = [("csrf_token", token.as_str())].into_iter().chain(wish).collect();
    let done = browser.submit("/console/revocations", &fields).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert_eq!(changes(&bench), [(Operation::Revoke, bench.alice.id.to_string())]);
}

/// Sends the form of a page.
async fn order(browser: &mut Browser, here: &str, fields: &[(&str, &str)]) -> Answer {
    let page = browser.get(here).await;
    let token = page.field("csrf_token").to_owned();
    let fields = [&[("csrf_token", token.as_str()), ("lang", "en")][..], fields].concat();
    browser.submit(here, &fields).await
}

#[tokio::test]
async fn what_cannot_be_undone_is_asked_about_and_then_done_in_the_persons_name() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    told(&bench, Operation::User, user(&bench));
    let here = format!("/console/users/{}", bench.alice.id);
    let kill = [("do", "kill"), ("reason", "stolen laptop")];
    let without = order(&mut browser, &here, &[("do", "kill"), ("reason", " ")]).await;
    assert_eq!(without.status, StatusCode::UNPROCESSABLE_ENTITY);
    let asked = order(&mut browser, &here, &kill).await;
    assert_eq!(asked.status, StatusCode::OK);
    assert!(asked.body.contains("cannot be undone") && asked.body.contains("stolen laptop"));
    assert!(changes(&bench).is_empty());

    told(
        &bench,
        Operation::UserRevoke,
        json!({"revoked": {"user": "alice"}, "up_to": "2026-01-02T03:04:05.678Z", "proof": {"sessions": 3}}),
    );
    *bench.lookout.confirmed.lock().unwrap() = Confirmed {
        by: vec!["node-a".to_owned(), "node-b".to_owned()],
        pending: vec!["node-c".to_owned()],
        until: Some(Timestamp::from_secs(1_800_000_000)),
        ..Confirmed::default()
    };
    let done = order(&mut browser, &here, &[&kill[..], &[("confirmed", "yes")]].concat()).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert!(
        done.body.contains("Refused by 2 of 3 points")
            && done.body.contains("node-c may accept it until"),
        "{}",
        done.body
    );
    assert!(done.body.contains("<dt>Sessions</dt><dd>3</dd>"), "{}", done.body);
    assert!(
        done.body.contains("page=orders&#38;id=7") || done.body.contains("page=orders&amp;id=7"),
        "{}",
        done.body
    );
    assert_eq!(changes(&bench), [(Operation::UserRevoke, bench.alice.id.to_string())]);

    // What is refused says why.
    let why = "the next key has not been published for long enough";
    let refused = (Operation::KeysRotate, Err(Refused::Conflict(why.to_owned())));
    bench.administered.1.lock().unwrap().push(refused);
    let answer =
        order(&mut browser, "/console/keys", &[("do", "rotate:ES256"), ("confirmed", "yes")]).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.body.contains(why), "{}", answer.body);
    for odd in ["", "unlock", "end:", "kill", "rotate:nothing"] {
        let answer =
            order(&mut browser, "/console/keys", &[("do", odd), ("confirmed", "yes")]).await;
        assert!(answer.status.is_client_error(), "{odd}: {}", answer.status);
    }
}

const MARKUP: &str = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>";

#[tokio::test]
async fn the_life_of_a_token_is_told_on_a_page_of_its_own() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let made = json!({
        "jti": "1.made", "at": "2026-01-02T03:05:00.000Z", "client_id": "orders", "audience": ["payments"],
        "made_of": "1.own", "used": 2,
    });
    let life = json!({
        "jti": "1.own",
        "issued": {
            "issuer": ISSUER, "at": "2026-01-02T03:04:05.678Z", "client_id": "web", "sub": bench.alice.id,
            "audience": ["https://api.example", "https://other.example"], "kid": "key-one", "family": "1.2.fam",
        },
        "used": {
            "count": 3, "last": "2026-01-02T03:06:00.000Z", "refused_since": true,
            "services": [{"service": "inventory", "last": "2026-01-02T03:06:00.000Z"}],
        },
        "derived": vec![made; 103],
        "revoked": [{"what": "key", "at": "2026-01-02T03:07:00.000Z", "reason": "stolen hsm", "actor": "operator"}],
        "known": {
            "issued_from": "record", "issued_until": "2026-02-01T00:00:00.000Z", "used_and_derived_for_seconds": 3600,
        },
    });
    told(&bench, Operation::TokenTrace, life);
    let person = format!("/console/users/{}?lang=en", bench.alice.id);
    for here in ["/console/tokens/1.own", "/console/tokens?q=+1.own+"] {
        let page = browser.get(here).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        for said in [
            "<code>1.own</code>",
            "<code>key-one</code>",
            "https://api.example https://other.example",
            &person,
            "used 3 times",
            "<code>inventory</code>",
            "/console/tokens/1.made?lang=en",
            "orders → payments · used 2 times",
            "And 3 more.",
            "<strong>Key</strong>",
            "stolen hsm",
            "It was refused",
            "kept until 2026-02-01",
            "for 60 minutes",
        ] {
            assert!(page.body.contains(said), "{here}: {said}: {}", page.body);
        }
        assert_eq!(page.body.matches("/console/tokens/1.made").count(), 100);
        assert!(page.body.contains("value=\"1.own\""), "{}", page.body);
    }
    let mut japanese = browser.clone();
    japanese.language = Some("ja");
    let page = japanese.get("/console/tokens/1.own").await;
    for said in ["発行者", "3 回使用", "60 分間保持", "2026-02-01"] {
        assert!(page.body.contains(said), "{said}: {}", page.body);
    }
    // Of what is nothing but seen, no more is said than is known.
    let seen = json!({
        "jti": "1.seen", "issued": null, "used": {"count": 0, "services": []}, "derived": [], "revoked": [],
        "known": {"issued_from": "nowhere", "issued_until": null, "used_and_derived_for_seconds": 3600},
    });
    bench.administered.tell(Operation::TokenTrace, seen);
    let page = browser.get("/console/tokens/1.seen").await;
    for said in
        ["who got it is not known", "No use of it", "No token is known", "Nothing in the log"]
    {
        assert!(page.body.contains(said), "{said}: {}", page.body);
    }
    assert!(!page.body.contains("kept until") && !page.body.contains("{until}"), "{}", page.body);
}

#[tokio::test]
async fn a_name_that_no_token_has_is_answered_in_words() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let refusals = [
        Refused::Unknown("nothing is known of a token `1.2`".to_owned()),
        Refused::invalid("/jti", "a token id is an issuer epoch, a dot, and base64url"),
    ];
    let long = format!("/console/tokens/1.{}", "a".repeat(1500));
    for refused in refusals {
        bench.administered.1.lock().unwrap().push((Operation::TokenTrace, Err(refused)));
        for here in [
            "/console/tokens/1.2",
            "/console/tokens/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
            "/console/tokens/..%2F..%2Fetc%2Fpasswd",
            "/console/tokens?q=%22%3E%3Cscript%3Ealert(1)",
            &long,
        ] {
            let page = browser.get(here).await;
            assert_eq!(page.status, StatusCode::OK, "{here}: {}", page.body);
            assert!(page.body.contains("Nothing is known of a token"), "{here}: {}", page.body);
            assert!(!page.body.contains("<script>alert"), "{here}");
        }
        bench.administered.1.lock().unwrap().clear();
    }
    // What no name can be, and no address of ours.
    let endless = format!("/console/tokens/1.{}", "a".repeat(2048));
    for here in ["/console/tokens/%ff%fe", "/console/tokens/1.2/3", &endless] {
        assert_eq!(browser.get(here).await.status, StatusCode::NOT_FOUND, "{here}");
    }
    // A page that shows does nothing.
    let answer =
        order(&mut browser, "/console/tokens", &[("do", "revoke"), ("confirmed", "yes")]).await;
    assert!(answer.status.is_client_error() && changes(&bench).is_empty(), "{}", answer.body);
}

#[tokio::test]
async fn names_with_markup_are_names() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let id = bench.alice.id.to_string();
    let mut person = user(&bench);
    person["username"] = MARKUP.into();
    person["email"] = MARKUP.into();
    person["roles"] = json!([MARKUP]);
    let client = json!({
        "client_id": MARKUP, "client_name": MARKUP, "grant_types": [MARKUP], "scope": MARKUP,
        "redirect_uris": [format!("javascript:{MARKUP}")], "token_endpoint_auth_method": "none",
        "client_secret": "never-shown",
    });
    let session = json!({"sid": MARKUP, "user_id": id, "started": MARKUP, "ends": "", "last_access": "", "acr": MARKUP, "amr": [MARKUP]});
    let key = json!({"kid": MARKUP, "algorithm": "ES256", "state": "next", "at": MARKUP});
    told(&bench, Operation::Users, json!({"items": [person]}));
    told(&bench, Operation::User, person);
    told(
        &bench,
        Operation::UserFactors,
        json!({"passkeys": 1, "totp_since": null, "recovery_codes": 2}),
    );
    told(&bench, Operation::Clients, json!({"items": [client], "next": MARKUP}));
    told(&bench, Operation::Client, client);
    told(&bench, Operation::Sessions, json!({"items": [session]}));
    told(&bench, Operation::Keys, json!({"items": [key]}));
    let api_key = json!({
        "id": MARKUP, "client": MARKUP, "name": MARKUP, "standing": "active", "scope": MARKUP,
        "roles": [MARKUP], "services": [MARKUP], "routes": [MARKUP], "created": MARKUP,
        "expires": MARKUP, "last_used": MARKUP, "revoked": MARKUP, "reason": MARKUP,
        "replaces": MARKUP, "replaced_by": MARKUP, "api_key": "never-shown",
    });
    told(&bench, Operation::ApiKeys, json!({"items": [api_key], "next": MARKUP}));
    told(&bench, Operation::ApiKey, api_key);
    let life = json!({
        "jti": MARKUP,
        "issued": {
            "issuer": MARKUP, "at": MARKUP, "grant": MARKUP, "client_id": MARKUP, "sub": format!("usr_{MARKUP}"),
            "audience": [MARKUP], "kid": MARKUP, "made_of": MARKUP, "original_jti": MARKUP,
        },
        "used": {"count": 1, "last": MARKUP, "services": [{"service": MARKUP, "last": MARKUP}]},
        "derived": [{"jti": MARKUP, "at": MARKUP, "client_id": MARKUP, "audience": [MARKUP], "used": 1}],
        "revoked": [{"what": MARKUP, "at": MARKUP, "reason": MARKUP, "actor": MARKUP}],
        "known": {"issued_from": "memory", "issued_until": MARKUP, "used_and_derived_for_seconds": 3600},
    });
    told(&bench, Operation::TokenTrace, life);
    let name = MARKUP.to_owned();
    *bench.lookout.sighted.lock().unwrap() = Sighted {
        node: name.clone(),
        checks: vec![Checked {
            name: "store",
            severity: Some(tegata_server::Severity::Without),
            detail: name.clone(),
        }],
        points: vec![Sight { name: name.clone(), own: true, ..Sight::default() }],
        ..Sighted::default()
    };
    *bench.lookout.taken_back.lock().unwrap() = vec![TakenBack {
        position: 1,
        kind: "user",
        name: name.clone(),
        at: Timestamp::from_secs(1),
        reason: name.clone(),
        actor: name.clone(),
        confirmed: Confirmed { pending: vec![name], ..Confirmed::default() },
    }];
    let one = "/console/clients/%3Cscript%3E";
    let who = format!("/console/users/{id}");
    let search = format!("/console/users?q={}", "%22%3E%3Cscript%3Ealert(1)");
    for here in [
        "/console",
        "/console/users",
        &search,
        &who,
        "/console/clients",
        one,
        "/console/sessions",
        "/console/keys",
        "/console/api-keys",
        "/console/api-keys?client=%22%3E%3Cscript%3Ealert(1)",
        "/console/api-keys/%3Cscript%3E",
        "/console/revocations",
        "/console/tokens?q=%22%3E%3Cscript%3Ealert(1)",
        "/console/tokens/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/console/requests",
    ] {
        let page = browser.get(here).await;
        assert_eq!(page.status, StatusCode::OK, "{here}: {}", page.body);
        for bad in ["<script>alert", "<img src=x", "\"'&<", "never-shown", "href=\"javascript:"] {
            assert!(!page.body.contains(bad), "{here}: {bad}");
        }
        // No script but those of files, and no style but theirs.
        let scripts = page.body.matches("<script").count();
        assert_eq!(scripts, page.body.matches("<script type=\"module\" src=\"/").count(), "{here}");
        assert!(!page.body.contains("style=\"") && !page.body.contains("<style"), "{here}");
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("script-src 'self' 'nonce-") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("x-frame-options"), "DENY");
    }
}

#[tokio::test]
async fn why_a_request_was_refused_is_said_phase_by_phase_in_both_languages() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let name = "0af7651916cd43dd8448eb211c80319c";
    // Nothing is asked before a name is given.
    let empty = browser.get("/console/requests").await;
    assert_eq!(empty.status, StatusCode::OK, "{}", empty.body);
    assert!(
        empty.body.contains("name=\"q\"") && empty.body.contains("X-Request-ID"),
        "{}",
        empty.body
    );
    let asked = |bench: &Bench| {
        let all = bench.administered.0.lock().unwrap();
        all.iter().filter(|(operation, _)| *operation == Operation::Request).count()
    };
    assert_eq!(asked(&bench), 0);
    let both = |en: &str, ja: &str| json!({"en": en, "ja": ja});
    told(
        &bench,
        Operation::Request,
        json!({
            "request": name, "node": "n1", "segments": 1, "more": false, "lost": [],
            "not_asked": ["n2"],
            "revoked": [{"what": "token", "at": "2026-01-02T03:04:05.678Z", "reason": "stolen",
                         "actor": "operator"}],
            "records": [{
                "segment": 1, "line": 7, "sound": false,
                "record": {
                    "request": name, "method": "GET", "path": "/<script>alert(1)</script>",
                    "result": "deny", "reason": "token_revoked", "status": 401,
                    "phases": [
                        {"name": "admit", "micros": 12, "outcome": "passed"},
                        {"name": "identify", "micros": 34, "outcome": "refused"},
                    ],
                    "inputs": {"credential": "token", "limit": {"label": "user", "left": 3}},
                },
                "explained": {
                    "allowed": false, "reason": "token_revoked", "phase": "identify",
                    "means": both("it has been taken back", "取り消されています"),
                    "changes": [{"remedy": "new_credential",
                                 "says": both("sign in once more", "もう一度サインインしてください")}],
                },
            }],
        }),
    );
    let here = format!("/console/requests?q={name}");
    let page = browser.get(&here).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    for said in [
        "Refused: ",
        "token_revoked",
        "it has been taken back",
        "sign in once more",
        "admit",
        "34 µs",
        "limit.left",
        "1:7",
        "not what was written",
        "stolen",
        "n2",
        "What would have let it pass",
    ] {
        assert!(page.body.contains(said), "{said}: {}", page.body);
    }
    assert!(!page.body.contains("<script>alert"), "{}", page.body);
    let page = browser.get(&format!("{here}&lang=ja")).await;
    for said in
        ["拒否", "取り消されています", "もう一度サインインしてください", "通すために必要な変更"]
    {
        assert!(page.body.contains(said), "{said}: {}", page.body);
    }
    assert!(!page.body.contains("sign in once more"));

    // What nobody knows, and what is no name.
    let answered = |refused: Refused| {
        let mut all = bench.administered.1.lock().unwrap();
        all.retain(|(operation, _)| *operation != Operation::Request);
        all.push((Operation::Request, Err(refused)));
    };
    answered(Refused::Unknown("no record; 17 records were lost".to_owned()));
    let page = browser.get(&here).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("17 records were lost"), "{}", page.body);
    let page = browser.get(&format!("{here}&lang=ja")).await;
    assert!(
        page.body.contains("調べた範囲のログには、このリクエストの記録がありません"),
        "{}",
        page.body
    );
    let page = browser.get("/console/requests?q=%3Cscript%3Ealert").await;
    assert!(page.body.contains("32 hexadecimal digits"), "{}", page.body);
    assert!(!page.body.contains("<script>alert"));
    // Whoever lost the role is told nothing.
    change_role(&bench, false).await;
    let out = browser.get(&here).await;
    assert_eq!(out.status, StatusCode::FORBIDDEN);
    assert!(!out.body.contains("token_revoked"));
}

#[tokio::test]
async fn two_administrators_do_not_overwrite_each_other() {
    let bench = Bench::new().await;
    let (mut one, mut other) = (inside(&bench).await, Browser::signed_in(&bench).await.0);
    let here = format!("/console/users/{}", bench.alice.id);
    told(&bench, Operation::User, user(&bench));
    let pages = (one.get(&here).await, other.get(&here).await);
    let wish = |page: &Answer, roles: &str, more: &[(&str, &str)]| {
        let own = [
            ("csrf_token", page.field("csrf_token")),
            ("lang", "en"),
            ("do", "roles"),
            ("roles", roles),
            ("version", page.field("version")),
        ];
        let all = own.into_iter().chain(more.iter().copied());
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    let sent = async |browser: &mut Browser, fields: Vec<(String, String)>| {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        browser.submit(&here, &fields).await
    };
    // The question carries the version on: what counts is what the person saw first.
    let asked = sent(&mut other, wish(&pages.1, "admin auditor", &[])).await;
    assert_eq!(asked.field("version"), pages.1.field("version"), "{}", asked.body);
    let yes = [("confirmed", "yes")];
    let done = sent(&mut one, wish(&pages.0, "admin", &yes)).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    let mut person = user(&bench);
    person["roles"] = json!(["admin"]);
    bench.administered.tell(Operation::User, person);
    let late = sent(&mut other, wish(&pages.1, "admin auditor", &yes)).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{}", late.body);
    assert!(
        late.body.contains("Somebody else changed this")
            && late.body.contains("<code>admin auditor</code>"),
        "{}",
        late.body
    );
    // It is as it is now, and from there the person goes on.
    assert_eq!(late.field("roles"), "admin");
    assert_eq!(changes(&bench).len(), 1);
    let done = sent(&mut other, wish(&late, "admin auditor", &yes)).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    // An unlocking depends on what was seen, too; a form without a version is none of ours.
    let unlock = |version: &str| {
        wish(&pages.0, "", &[])
            .into_iter()
            .map(|(name, value)| match name.as_str() {
                "do" => (name, "unlock".to_owned()),
                "version" => (name, version.to_owned()),
                _ => (name, value),
            })
            .collect::<Vec<_>>()
    };
    let late = sent(&mut one, unlock(pages.0.field("version"))).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{}", late.body);
    for odd in ["", "-1", "x", "18446744073709551616", "1, 2"] {
        assert_eq!(sent(&mut one, unlock(odd)).await.status, StatusCode::BAD_REQUEST, "{odd}");
    }
    let without: Vec<_> =
        wish(&late, "x", &yes).into_iter().filter(|(name, _)| name != "version").collect();
    assert_eq!(sent(&mut one, without).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(changes(&bench).len(), 2);
    // Both languages say so.
    let mut japanese = wish(&pages.0, "x", &yes);
    japanese.retain(|(name, _)| name != "lang");
    japanese.push(("lang".to_owned(), "ja".to_owned()));
    assert!(sent(&mut one, japanese).await.body.contains("ほかの人が変更しました"));
}

#[tokio::test]
async fn a_client_is_changed_by_one_at_a_time_and_its_new_secret_is_shown_once() {
    let bench = Bench::new().await;
    let (mut one, mut other) = (inside(&bench).await, Browser::signed_in(&bench).await.0);
    let here = "/console/clients/shop";
    let client = |more: Value| {
        let mut told = json!({
            "client_id": "shop", "client_name": "The shop", "scope": "openid orders.read",
            "redirect_uris": ["https://shop.example/back", "http://127.0.0.1/back"],
            "grant_types": ["authorization_code"], "disabled": false,
            "token_endpoint_auth_method": "client_secret_basic",
        });
        told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        told
    };
    bench.administered.tell(Operation::Client, client(json!({})));
    bench.administered.tell(Operation::ClientSecret, json!({"client_secret": "cs_fresh_81f"}));
    let pages = (one.get(here).await, other.get(here).await);
    assert!(
        pages.0.body.contains(">https://shop.example/back\nhttp://127.0.0.1/back</textarea>"),
        "{}",
        pages.0.body
    );
    let sent = async |browser: &mut Browser, page: &Answer, wish: &[(&str, &str)]| {
        let own = [
            ("csrf_token", page.field("csrf_token")),
            ("lang", "en"),
            ("version", page.field("version")),
        ];
        browser.submit(here, &[&own[..], wish].concat()).await
    };
    let change = [
        ("do", "change"),
        ("client_name", " New shop "),
        ("redirect_uris", "https://new.example/back\r\n\r\n https://new.example/b"),
        ("scope", "openid  profile"),
    ];
    let yes = ("confirmed", "yes");
    let asked = sent(&mut one, &pages.0, &change).await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.body);
    let code =
        "<code>New shop\nhttps://new.example/back\nhttps://new.example/b\nopenid profile</code>";
    assert!(asked.body.contains(code) && changes(&bench).is_empty(), "{}", asked.body);
    let done = sent(&mut one, &pages.0, &[&change[..], &[yes]].concat()).await;
    assert_eq!(done.location(), "/console/clients/shop?lang=en");
    for stale in
        [&[&change[..], &[yes]].concat()[..], &[("do", "secret"), yes], &[("do", "enable")]]
    {
        let late = sent(&mut other, &pages.1, stale).await;
        assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{stale:?}: {}", late.body);
        assert!(late.body.contains("Somebody else changed this"), "{}", late.body);
    }
    assert_eq!(changes(&bench).len(), 1);

    // The secret stands in one answer, which nobody keeps; the same form again makes no other.
    let page = one.get(here).await;
    let asked = sent(&mut one, &page, &[("do", "secret")]).await;
    assert!(!asked.body.contains("cs_fresh_81f") && changes(&bench).len() == 1);
    let told = sent(&mut one, &page, &[("do", "secret"), yes]).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.body);
    assert_eq!(told.body.matches("cs_fresh_81f").count(), 1, "{}", told.body);
    assert_eq!(told.header("cache-control"), "no-store");
    let again = sent(&mut one, &page, &[("do", "secret"), yes]).await;
    assert_eq!(again.status, StatusCode::PRECONDITION_FAILED);
    for body in [again.body, one.get(here).await.body] {
        assert!(!body.contains("cs_fresh_81f"));
    }
    // Whoever is a danger is disabled whatever else has changed.
    let off = sent(&mut other, &pages.1, &[("do", "disable"), yes]).await;
    assert_eq!(off.status, StatusCode::OK, "{}", off.body);
    let all: Vec<_> = changes(&bench).into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(all, [Operation::ClientChange, Operation::ClientSecret, Operation::ClientChange]);

    // What a form does not say is not taken away, and nobody is offered what is refused.
    for lacking in ["client_name", "redirect_uris", "scope"] {
        let wish: Vec<_> = change.iter().filter(|(name, _)| *name != lacking).copied().collect();
        let page = one.get(here).await;
        let answer = sent(&mut one, &page, &[&wish[..], &[yes]].concat()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{lacking}");
    }
    for (more, says) in [
        (json!({"described": "taken"}), "describes itself"),
        (json!({"scope": "openid admin.read"}), "may administer"),
    ] {
        bench.administered.tell(Operation::Client, client(more));
        let page = one.get(here).await;
        assert!(page.body.contains(says), "{}", page.body);
        for wish in ["change", "secret", "disable", "enable"] {
            assert!(!page.body.contains(&format!("value=\"{wish}\"")), "{wish}: {}", page.body);
        }
        assert!(page.body.contains("value=\"revoke\""));
    }
    bench
        .administered
        .tell(Operation::Client, client(json!({"token_endpoint_auth_method": "none"})));
    assert!(!one.get(here).await.body.contains("value=\"secret\""));
    assert_eq!(changes(&bench).len(), 3);
}

/// An API key of `archive`, as administration tells it.
fn api_key(more: &Value) -> Value {
    let mut told = json!({
        "id": "Zk3vQ0aB", "client": "archive", "name": "nightly export", "standing": "active",
        "scope": "notes.read", "roles": [], "services": ["notes"], "routes": [],
        "created": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z", "last_used": null,
        "revoked": null, "reason": null, "replaces": null, "replaced_by": null,
    });
    told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    told
}

#[tokio::test]
async fn an_api_key_is_made_once_from_one_form_and_shown_in_one_answer() {
    const WHOLE: &str = "sk_Zk3vQ0aB.8mN4kTz1QdVb7Rw2YpXc0JfLs64Ja9oC";
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let here = "/console/api-keys";
    bench.administered.tell(Operation::ApiKeys, json!({"items": [api_key(&json!({}))]}));
    bench.administered.tell(Operation::ApiKey, api_key(&json!({})));
    bench.administered.tell(Operation::ApiKeyAdd, api_key(&json!({"api_key": WHOLE})));
    let page = browser.get("/console/api-keys?client=archive").await;
    assert!(page.body.contains("nightly export") && page.body.contains("never used"));
    assert_eq!(page.field("key_client"), "archive", "{}", page.body);
    let token = page.field("csrf_token").to_owned();
    let fields = |lifetime| {
        [
            ("csrf_token", token.as_str()),
            ("lang", "en"),
            ("do", "make"),
            ("key_client", "archive"),
            ("key_name", "nightly export"),
            ("key_scope", "notes.read"),
            ("key_roles", ""),
            ("key_services", "notes, other"),
            ("key_routes", ""),
            ("key_lifetime", lifetime),
        ]
    };
    // A field that is missing is no empty one: the form is not ours.
    for missing in 3..fields("1d").len() {
        let mut some = fields("1d").to_vec();
        some.remove(missing);
        let answer = browser.submit(here, &some).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{missing}");
    }
    // What is refused made nothing, and may be sent again as it is.
    let wrong = browser.submit(here, &fields("<b>long and odd</b>")).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", wrong.body);
    assert!(!wrong.body.contains("<b>") && changes(&bench).is_empty(), "{}", wrong.body);
    let made = browser.submit(here, &fields("90d")).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    assert_eq!(made.body.matches(WHOLE).count(), 1, "{}", made.body);
    assert_eq!(made.header("cache-control"), "no-store");
    assert!(made.body.contains("/console/api-keys/Zk3vQ0aB"), "{}", made.body);
    assert!(!made.body.contains("before it"), "{}", made.body);
    // Whoever loads that answer anew makes no second key, and is not shown the first again.
    for _ in 0..2 {
        let again = browser.submit(here, &fields("90d")).await;
        assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.body);
        assert!(again.body.contains("was sent before") && !again.body.contains(WHOLE));
    }
    assert_eq!(changes(&bench), [(Operation::ApiKeyAdd, bench.alice.id.to_string())]);
    // Another form makes another.
    let page = browser.get(here).await;
    let mut other = fields("90d");
    other[0].1 = page.field("csrf_token");
    assert_eq!(browser.submit(here, &other).await.status, StatusCode::OK);
    assert_eq!(changes(&bench).len(), 2);
    for here in [here, "/console/api-keys/Zk3vQ0aB"] {
        assert!(!browser.get(here).await.body.contains(WHOLE), "{here}");
    }
}

#[tokio::test]
async fn an_api_key_is_replaced_with_a_grace_and_taken_back_with_a_reason() {
    const NEXT: &str = "sk_nExT0aB1.8mN4kTz1QdVb7Rw2YpXc0JfLs64Ja9oC";
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let here = "/console/api-keys/Zk3vQ0aB";
    bench.administered.tell(Operation::ApiKey, api_key(&json!({})));
    let next = |end: Value| {
        api_key(&json!({
            "id": "nExT0aB1", "api_key": NEXT, "replaces": "Zk3vQ0aB", "overlap_end": end,
        }))
    };
    bench.administered.tell(Operation::ApiKeyRotate, next(json!("2026-02-03T04:05:06Z")));
    let page = browser.get(here).await;
    for said in ["archive", "notes.read", "Counts", "value=\"rotate\"", "value=\"revoke\""] {
        assert!(page.body.contains(said), "{said}: {}", page.body);
    }
    assert!(page.body.contains("It gets none"), "{}", page.body);
    bench.administered.tell(Operation::ApiKey, api_key(&json!({"tokens": true})));
    let page = browser.get(here).await;
    assert!(page.body.contains("It gets tokens for those services"), "{}", page.body);
    let yes = ("confirmed", "yes");
    for odd in ["", "1m", "400d", "1d ", "none,1d"] {
        let answer = order(&mut browser, here, &[("do", "rotate"), ("grace", odd), yes]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{odd}");
    }
    let rotate = [("do", "rotate"), ("grace", "7d")];
    let asked = order(&mut browser, here, &rotate).await;
    assert!(asked.body.contains("Both count for a while") && changes(&bench).is_empty());
    assert_eq!(asked.field("grace"), "7d");
    let made = order(&mut browser, here, &[&rotate[..], &[yes]].concat()).await;
    assert_eq!(made.body.matches(NEXT).count(), 1, "{}", made.body);
    assert!(made.body.contains("counts until 2026-02-03 04:05"), "{}", made.body);
    assert!(made.body.contains("/console/api-keys/nExT0aB1"), "{}", made.body);
    bench.administered.tell(Operation::ApiKeyRotate, next(Value::Null));
    let made = order(&mut browser, here, &[("do", "rotate"), ("grace", "none"), yes]).await;
    assert!(made.body.contains("does not count any more"), "{}", made.body);
    // Another was quicker.
    let late = Refused::Conflict("the key was replaced already".to_owned());
    bench.administered.tell(Operation::ApiKeyRotate, json!({}));
    bench.administered.1.lock().unwrap().last_mut().unwrap().1 = Err(late);
    let late = order(&mut browser, here, &[&rotate[..], &[yes]].concat()).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.body);

    let without = order(&mut browser, here, &[("do", "revoke"), yes]).await;
    assert_eq!(without.status, StatusCode::UNPROCESSABLE_ENTITY);
    let revoke = [("do", "revoke"), ("reason", "found in a log")];
    let asked = order(&mut browser, here, &revoke).await;
    assert!(asked.body.contains("cannot be undone"), "{}", asked.body);
    let done = order(&mut browser, here, &[&revoke[..], &[yes]].concat()).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    let all: Vec<_> = changes(&bench).into_iter().map(|(operation, _)| operation).collect();
    let rotated = Operation::ApiKeyRotate;
    assert_eq!(all, [rotated, rotated, rotated, Operation::Revoke]);

    // What has ended offers nothing, and what merely is over a successor.
    for (more, rotates, revokes) in [
        (json!({"standing": "revoked", "revoked": "2026-01-02T00:00:00Z"}), false, false),
        (json!({"standing": "expired"}), true, false),
        (json!({"standing": "before_restore"}), true, false),
        (json!({"replaced_by": "nExT0aB1"}), false, true),
    ] {
        bench.administered.tell(Operation::ApiKey, api_key(&more));
        let page = browser.get(here).await;
        assert_eq!(page.body.contains("value=\"rotate\""), rotates, "{more}: {}", page.body);
        assert_eq!(page.body.contains("value=\"revoke\""), revokes, "{more}: {}", page.body);
    }
    let page = browser.get(&format!("{here}?lang=ja")).await;
    assert!(page.body.contains("API キー") && page.body.contains("後継"), "{}", page.body);
}

#[tokio::test]
async fn what_was_typed_and_refused_is_there_to_be_mended() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let client = json!({
        "client_id": "shop", "client_name": "The shop", "scope": "openid", "disabled": false,
        "redirect_uris": ["https://shop.example/back"], "grant_types": ["authorization_code"],
        "token_endpoint_auth_method": "client_secret_basic",
    });
    bench.administered.tell(Operation::Client, client);
    bench.administered.tell(Operation::User, user(&bench));
    let refuse = |operation, pointer: &str| {
        let refused = Err(Refused::invalid(pointer, "must be as it must"));
        bench.administered.1.lock().unwrap().push((operation, refused));
    };
    let person = format!("/console/users/{}", bench.alice.id);
    let client = [
        ("do", "change"),
        ("client_name", "A <i>shop</i>"),
        ("redirect_uris", "https://shop.example/a\nhttps://shop.example/#<b>\nnonsense"),
        ("scope", "openid \"quoted\""),
    ];
    let orders =
        [(Operation::ClientChange, "/redirect_uris/1"), (Operation::UserChange, "/roles/0")];
    let mut orders = orders.into_iter();
    for (lang, here, wish, stands) in [
        (
            "ja",
            "/console/clients/shop",
            &client[..],
            [
                "value=\"A &#60;i&#62;shop&#60;/i&#62;\"".to_owned(),
                ">https://shop.example/a\nhttps://shop.example/#&#60;b&#62;\nnonsense</textarea>"
                    .to_owned(),
                "value=\"openid &#34;quoted&#34;\"".to_owned(),
                "rows=\"3\"".to_owned(),
            ],
        ),
        (
            "en",
            person.as_str(),
            &[("do", "roles"), ("roles", "customer  cashier")][..],
            [
                "value=\"customer cashier\"",
                "/roles/0 must be",
                "name=\"version\"",
                "value=\"roles\"",
            ]
            .map(str::to_owned),
        ),
    ] {
        let (operation, pointer) = orders.next().unwrap();
        refuse(operation, pointer);
        let page = browser.get(here).await;
        let own = [
            ("csrf_token", page.field("csrf_token")),
            ("lang", lang),
            ("version", page.field("version")),
            ("confirmed", "yes"),
        ];
        let answer = browser.submit(here, &[&own[..], wish].concat()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
        assert!(answer.body.contains("must be as it must"), "{}", answer.body);
        for piece in stands {
            assert!(answer.body.contains(&piece), "{piece}: {}", answer.body);
        }
        // It is of the version that the person saw, so nobody's change of meanwhile is undone by it.
        assert_eq!(answer.field("version"), page.field("version"));
        // Mended, it is done. (The fake took what it refused for a change.)
        bench.administered.1.lock().unwrap().retain(|(_, told)| told.is_ok());
        bench.administered.2.fetch_sub(1, Ordering::SeqCst);
        let mended = browser.submit(here, &[&own[..], wish].concat()).await;
        assert!(
            mended.status.is_redirection() || mended.status == StatusCode::OK,
            "{}",
            mended.body
        );
    }
    assert!(!browser.get("/console/clients/shop").await.body.contains("nonsense"));
}

#[tokio::test]
async fn a_key_that_was_refused_is_there_to_be_mended_as_it_was_typed() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let here = "/console/api-keys";
    bench.administered.tell(Operation::ApiKeys, json!({"items": []}));
    let whole = "sk_Zk3vQ0aB.8mN4kTz1QdVb7Rw2YpXc0JfLs64Ja9oC";
    let fields = [
        ("key_client", "archive"),
        ("key_name", "a \"nightly\" <b>export</b>"),
        ("key_scope", "notes.read  notes.write"),
        ("key_roles", "clerk"),
        ("key_services", "notes, other"),
        ("key_routes", "notes:/notes"),
        ("key_lifetime", "for ever & a day"),
    ];
    let refusals = [
        (
            Refused::invalid("/lifetime", "must be a span"),
            StatusCode::UNPROCESSABLE_ENTITY,
            "/lifetime must be a span",
        ),
        (
            Refused::Conflict("there are too many".to_owned()),
            StatusCode::CONFLICT,
            "there are too many",
        ),
    ];
    for (lang, says) in [("en", "It was not done"), ("ja", "実行されませんでした")] {
        let page = browser.get(&format!("{here}?lang={lang}&client=other")).await;
        assert_eq!(page.field("key_lifetime"), "365d", "{}", page.body);
        let token = page.field("csrf_token").to_owned();
        let own = [("csrf_token", token.as_str()), ("lang", lang), ("do", "make")];
        let form = [&own[..], &fields].concat();
        for (refused, status, why) in &refusals {
            let told = (Operation::ApiKeyAdd, Err(refused.clone()));
            bench.administered.1.lock().unwrap().insert(0, told);
            let answer = browser.submit(here, &form).await;
            let _told = bench.administered.1.lock().unwrap().remove(0);
            assert_eq!(answer.status, *status, "{}", answer.body);
            assert!(answer.body.contains(why) && answer.body.contains(says), "{}", answer.body);
            let lang = format!("<html lang=\"{lang}\"");
            assert!(answer.body.contains(&lang), "{lang}: {}", answer.body);
            for (name, typed) in fields {
                let shown = typed.replace('&', "&#38;").replace('"', "&#34;");
                let shown = shown.replace('<', "&#60;").replace('>', "&#62;");
                assert_eq!(answer.field(name), shown, "{name}: {}", answer.body);
            }
            // It is the whole page, and its form one that can be sent.
            assert!(answer.body.contains("value=\"make\"") && !answer.body.contains("<b>"));
        }
        // Mended, it is made, by the form that was there to be mended.
        bench.administered.tell(Operation::ApiKeyAdd, api_key(&json!({"api_key": whole})));
        let made = browser.submit(here, &form).await;
        assert_eq!(
            (made.status, made.body.contains(whole)),
            (StatusCode::OK, true),
            "{}",
            made.body
        );
        bench.administered.1.lock().unwrap().retain(|(what, _)| *what != Operation::ApiKeyAdd);
        // What stood there is nowhere else.
        assert_eq!(browser.get(here).await.field("key_name"), "");
    }
}

#[tokio::test]
async fn the_page_of_keys_says_who_has_seen_the_next() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let key = |seen: u64, readers: u64, not: &[&str]| {
        json!({"items": [{
            "kid": "k1", "algorithm": "ES256", "state": "next", "at": "2026-01-02T03:04:05Z",
            "seen_by": seen, "readers": readers, "not_seen_by": not,
        }]})
    };
    for (told, says) in [
        (key(0, 0, &[]), "Nobody fetched the key set"),
        (key(1, 1, &[]), "Seen by 1 of 1 that"),
        (key(1, 3, &["192.0.2.0/24, last at 2026"]), "Seen by 1 of 3 that"),
    ] {
        bench.administered.tell(Operation::Keys, told);
        let page = browser.get("/console/keys").await;
        assert!(page.body.contains(says), "{}", page.body);
        assert_eq!(page.body.contains("192.0.2.0/24"), says.contains("of 3"), "{}", page.body);
    }
}

#[tokio::test]
async fn an_address_that_is_none_has_a_page_of_ours() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    let csrf = browser.get("/console").await.field("csrf_token").to_owned();
    for nothing in ["/console/users/%ff", "/console/%ff", "/console/%ff/%fe", "/console/users/%C3"]
    {
        let page = browser.get(nothing).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{nothing}");
        assert!(page.header("content-type").starts_with("text/html"), "{nothing}");
        assert!(page.body.contains("<html lang="), "{nothing}: {}", page.body);
        let sent = browser.submit(nothing, &[("csrf_token", &csrf), ("do", "lock")]).await;
        assert_eq!(sent.status, StatusCode::NOT_FOUND, "{nothing}");
        assert!(sent.body.contains("<html lang="), "{nothing}: {}", sent.body);
    }
}

#[tokio::test]
async fn pages_are_given_to_windows_and_not_to_scripts_or_frames() {
    let bench = Bench::new().await;
    let mut browser = inside(&bench).await;
    for (dest, mode, status) in [
        ("document", "navigate", StatusCode::OK),
        ("empty", "cors", StatusCode::FORBIDDEN),
        ("iframe", "navigate", StatusCode::FORBIDDEN),
    ] {
        let request = http::Request::get("/console")
            .header("sec-fetch-dest", dest)
            .header("sec-fetch-mode", mode);
        let answer = browser.send(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(answer.status, status, "{dest}");
    }
    for nothing in ["/console/nothing", "/console/orders/1", "/console/users/a/b", "/console/"] {
        assert_eq!(browser.get(nothing).await.status, StatusCode::NOT_FOUND, "{nothing}");
    }
}
