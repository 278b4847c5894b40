//! The console's door, and its forms: who does not get in, what a form does not do, and what of others'
//! making does not run.

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
        "/console/revocations",
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
