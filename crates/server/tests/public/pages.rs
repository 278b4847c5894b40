//! What all pages are like.

use http::StatusCode;

use tegata_server::app::Appearance;

use super::{
    bench::{Bench, CALLBACK},
    browser::Browser,
    flow::{authorize, sign_in_on_page},
};

#[tokio::test]
async fn the_browser_sdk_is_where_it_always_is_and_is_sent_once() {
    let bench = Bench::in_production().await;
    let mut browser = Browser::new(&bench);
    for name in ["session", "calls", "hints", "tabs", "notice", "native"] {
        let target = format!("/assets/tegata/{name}.js");
        let answer = browser.get(&target).await;
        assert_eq!(answer.status, StatusCode::OK, "{target}");
        assert_eq!(answer.header("content-type"), "text/javascript; charset=utf-8");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "public, no-cache");
        assert!(answer.headers.get("set-cookie").is_none());
        let request = http::Request::get(&target).header("if-none-match", answer.header("etag"));
        let again = browser.send(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(again.header("etag"), answer.header("etag"));
    }
    for other in ["tsconfig.json", "session", "..%2fsession.js", "session.js/"] {
        let answer = browser.get(&format!("/assets/tegata/{other}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{other}");
    }
}

#[tokio::test]
async fn every_page_carries_the_headers_of_a_page() {
    let bench = Bench::in_production().await;
    let mut browser = Browser::new(&bench);
    let mut nonces = Vec::new();
    for target in
        ["/login", "/oauth2/logout", "/login?request=x", "/oauth2/authorize", "/oauth2/consent"]
    {
        let page = browser.get(target).await;
        let policy = page.header("content-security-policy");
        let (before, after) = policy.split_once("'nonce-").unwrap();
        let (nonce, rest) = after.split_once('\'').unwrap();
        assert_eq!(before, "default-src 'self'; script-src 'self' ", "{target}");
        assert_eq!(
            rest,
            "; style-src 'self'; img-src 'self' data: https:; connect-src 'self'; object-src 'none'; \
             base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
        );
        let (scripts, let_run) = ("<script", format!("nonce=\"{nonce}\""));
        let count = |text: &str| page.body.matches(text).count();
        assert!(count(scripts) >= 1 && count(scripts) == count(&let_run), "{target}");
        nonces.push(nonce.to_owned());
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ] {
            assert_eq!(page.header(name), value, "{target}");
        }
        assert!(!page.body.contains("style=") && !page.body.contains("onclick"), "{target}");
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 5, "a nonce is used once");
}

#[tokio::test]
async fn forms_may_lead_back_to_the_client_that_asked_and_nowhere_else() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let led = browser.get(&authorize(&[])).await;
    let page = browser.get(led.location()).await;
    let action = "form-action 'self' http://127.0.0.1:9999";
    assert!(page.header("content-security-policy").ends_with(action));
    let answer = sign_in_on_page(&mut browser, &authorize(&[])).await;
    let consent = browser.get(answer.location()).await;
    assert!(consent.header("content-security-policy").ends_with(action));
    assert_eq!(consent.status, StatusCode::OK);
}

#[tokio::test]
async fn speaks_the_language_that_is_chosen_asked_for_or_preferred() {
    let bench = Bench::new().await;
    let mut browser = Browser { language: Some("fr, ja;q=0.9, en;q=0.8"), ..Browser::new(&bench) };
    let page = browser.get("/login").await;
    assert!(page.body.contains("<html lang=\"ja\">") && page.body.contains("サインイン"));
    assert!(page.body.contains("href=\"/login?lang=en\""), "the other language is a link away");
    assert!(browser.get("/login?lang=en").await.body.contains("User name"));
    let led = browser.get(&authorize(&[("ui_locales", "xx en-GB ja")])).await;
    let target = led.location().to_owned();
    let page = browser.get(&target).await;
    assert!(page.body.contains("<html lang=\"en\">"));
    let page = browser.get(&format!("{target}&lang=ja")).await;
    assert!(page.body.contains("<html lang=\"ja\">"));
    // The choice goes on with the form.
    assert_eq!(page.field("lang"), "ja");
    let fields = [
        ("username", "alice"),
        ("password", "x"),
        ("lang", "en"),
        ("csrf_token", page.field("csrf_token")),
    ];
    assert!(
        browser
            .submit("/login", &fields)
            .await
            .body
            .contains("The user name or the password is wrong")
    );
    let right = [
        ("username", "alice"),
        ("password", super::bench::PASSWORD),
        ("lang", "en"),
        ("csrf_token", page.field("csrf_token")),
        ("request", page.field("request")),
    ];
    let led = browser.submit("/login", &right).await;
    assert!(browser.get(led.location()).await.body.contains("<html lang=\"en\">"));
    let error = browser.get(&authorize(&[("redirect_uri", "https://evil.example")])).await;
    assert!(error.body.contains("続行できません") && error.body.contains("invalid redirect_uri"));
}

#[tokio::test]
async fn style_and_script_are_kept_for_ever_under_names_of_their_own() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let page = browser.get("/login").await;
    for (start, media_type) in
        [("href=\"/login/assets/", "text/css"), ("src=\"/login/assets/", "text/javascript")]
    {
        let name = page.body.split_once(start).unwrap().1.split_once('"').unwrap().0;
        let asset = browser.get(&format!("/login/assets/{name}")).await;
        assert_eq!(asset.status, StatusCode::OK);
        assert!(asset.header("content-type").starts_with(media_type));
        assert!(asset.header("cache-control").contains("immutable"));
    }
    for missing in ["/login/assets/page.css", "/login/assets/..%2f..%2fetc%2fpasswd"] {
        assert_eq!(browser.get(missing).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn shows_whose_sign_in_it_is() {
    let bench = Bench::new().await;
    bench
        .declare(tegata_oauth::ClientMetadata {
            client_id: "shown".into(),
            client_name: Some("写真館".into()),
            logo_uri: Some("https://shown.example/logo.png".into()),
            policy_uri: Some("https://shown.example/privacy".into()),
            tos_uri: Some("https://shown.example/terms".into()),
            redirect_uris: vec![CALLBACK.into()],
            scope: "openid".into(),
            ..Default::default()
        })
        .await;
    let mut browser = Browser::new(&bench);
    let led = browser.get(&authorize(&[("client_id", "shown"), ("scope", "openid")])).await;
    let page = browser.get(led.location()).await;
    for part in [
        "写真館",
        "https://shown.example/logo.png",
        "https://shown.example/privacy",
        "https://shown.example/terms",
    ] {
        assert!(page.body.contains(part), "{part}");
    }
    for field in ["username", "password", "csrf_token", "request"] {
        assert!(page.body.contains(&format!("name=\"{field}\" id=\"{field}\"")), "{field}");
    }
}

#[tokio::test]
async fn the_form_for_a_password_is_one_that_managers_fill_in() {
    let bench = Bench::new().await;
    let page = Browser::new(&bench).get("/login").await.body;
    let input = |name: &str| {
        let (_, after) = page.split_once(&format!("name=\"{name}\"")).unwrap();
        after.split_once('>').unwrap().0.to_owned()
    };
    // Passkeys stand in its list, too.
    assert!(input("username").contains("autocomplete=\"username webauthn\""));
    assert!(input("password").contains("autocomplete=\"current-password\""));
    // Nothing stands in the way of pasting.
    assert!(!page.contains("onpaste") && !page.contains("autocomplete=\"off\""));
}

#[tokio::test]
async fn a_request_that_has_waited_too_long_is_over() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let led = browser.get(&authorize(&[])).await.location().to_owned();
    bench.advance(1801);
    let page = browser.get(&led).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.body.contains("start again"));
}

#[tokio::test]
async fn what_is_not_there_is_told_to_people_and_programs_in_their_own_way() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let told = browser.get("/nothing").await;
    assert_eq!(told.status, StatusCode::NOT_FOUND);
    assert_eq!(told.header("content-type"), "application/problem+json");
    let request = http::Request::get("/nothing").header("accept", "text/html, */*;q=0.8");
    let page = browser.send(request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.body.contains("There is no such page"));
}

#[tokio::test]
async fn pages_have_the_operators_name_and_style_sheet_and_nothing_of_theirs_is_markup() {
    let theme = ":root { --action: #0b5d4e; } /* </style><script> */";
    let appearance = Appearance { brand: "A & <b>B</b>".into(), theme: Some(theme.into()) };
    let bench = Bench::with(|config| config.appearance = appearance).await;
    let mut browser = Browser::new(&bench);
    let page = browser.get("/login").await;
    assert!(page.body.contains("· A &#38; &#60;b&#62;B&#60;/b&#62;</title>"), "{}", page.body);
    assert!(!page.body.contains("<b>"));
    let sheets: Vec<_> = page.body.match_indices("rel=\"stylesheet\" href=\"").collect();
    assert_eq!(sheets.len(), 2);
    // Ours first, so that it can be changed.
    let href = |(start, found): &(usize, &str)| {
        page.body[start + found.len()..].split('"').next().unwrap().to_owned()
    };
    assert!(href(&sheets[0]).starts_with("/login/assets/page."));
    let answer = browser.get(&href(&sheets[1])).await;
    assert_eq!(
        (answer.header("content-type"), answer.body.as_str()),
        ("text/css; charset=utf-8", theme)
    );
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let plain = Bench::new().await;
    let page = Browser::new(&plain).get("/login").await;
    assert_eq!(page.body.matches("rel=\"stylesheet\"").count(), 1);
    assert!(page.body.contains("· Tegata</title>"));
    assert_eq!(Browser::new(&plain).get(&href(&sheets[1])).await.status, StatusCode::NOT_FOUND);
}
