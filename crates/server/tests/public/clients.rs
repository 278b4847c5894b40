//! The endpoints for clients, and what they say when they refuse.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use super::{
    bench::{Bench, SECRET},
    browser::{Answer, Browser, encoded},
    flow::{authorize, basic, code, redeeming, token},
};

pub(crate) async fn ask(
    bench: &Bench,
    target: &str,
    client: &str,
    fields: &[(&str, &str)],
) -> Answer {
    let request = Request::post(target)
        .header(header::AUTHORIZATION, basic(client))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encoded(fields)))
        .unwrap();
    Answer::of(&bench.router, request).await
}

async fn form(bench: &Bench, target: &str, fields: &[(&str, &str)]) -> Answer {
    let request = Request::post(target)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
        .body(Body::from(encoded(fields)))
        .unwrap();
    Answer::of(&bench.router, request).await
}

/// Tokens of alice for `web`.
async fn tokens(bench: &Bench) -> Value {
    let mut browser = Browser::new(bench);
    let code = code(&mut browser, &authorize(&[])).await;
    token(bench, "web", &redeeming(&code)).await.json()
}

#[tokio::test]
async fn a_client_that_does_not_prove_itself_is_told_so_as_the_rfc_says() {
    let bench = Bench::new().await;
    let grant = ("grant_type", "client_credentials");
    let good = form(
        &bench,
        "/oauth2/token",
        &[grant, ("client_id", "service"), ("client_secret", SECRET)],
    )
    .await;
    assert_eq!(good.status, StatusCode::OK);
    // In the form: no challenge, because none was tried (RFC 6749 §5.2).
    let wrong =
        form(&bench, "/oauth2/token", &[grant, ("client_id", "service"), ("client_secret", "x")])
            .await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.json()["error"], "invalid_client");
    assert_eq!(wrong.header("www-authenticate"), "");
    let unknown =
        form(&bench, "/oauth2/token", &[grant, ("client_id", "nobody"), ("client_secret", "x")])
            .await;
    assert_eq!(wrong.body, unknown.body);
    // In the header: with one.
    for value in ["Basic !!!", "Basic eA==", "Bearer x", "Basic c2VydmljZTp4"] {
        let request = Request::post("/oauth2/token")
            .header(header::AUTHORIZATION, value)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from("grant_type=client_credentials"))
            .unwrap();
        let answer = Answer::of(&bench.router, request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{value}");
        assert_eq!(answer.json()["error"], "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic realm="), "{value}");
    }
    let both = ask(&bench, "/oauth2/token", "service", &[grant, ("client_secret", SECRET)]).await;
    assert_eq!(
        (both.status, both.json()["error"].as_str()),
        (StatusCode::BAD_REQUEST, Some("invalid_request"))
    );
}

#[tokio::test]
async fn refuses_grants_with_the_error_that_belongs_to_them() {
    let bench = Bench::new().await;
    for (client, fields, error) in [
        ("web", &[("grant_type", "password"), ("username", "alice")][..], "unsupported_grant_type"),
        ("web", &[("grant_type", "client_credentials")], "unauthorized_client"),
        ("web", &[("code", "x")], "invalid_request"),
        ("web", &[("grant_type", "authorization_code"), ("code", "x")], "invalid_grant"),
        ("web", &[("grant_type", "refresh_token"), ("refresh_token", "x")], "invalid_grant"),
        ("service", &[("grant_type", "client_credentials"), ("scope", "admin")], "invalid_scope"),
        ("service", &[("grant_type", "client_credentials"), ("scope", "a\"b")], "invalid_scope"),
    ] {
        let answer = ask(&bench, "/oauth2/token", client, fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{fields:?}");
        assert_eq!(answer.json()["error"], error, "{fields:?}");
        assert_eq!(answer.header("pragma"), "no-cache");
    }
}

#[tokio::test]
async fn introspection_tells_those_who_may_ask_and_says_the_same_of_all_that_is_dead() {
    let bench = Bench::new().await;
    let tokens = tokens(&bench).await;
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let told = ask(&bench, "/oauth2/introspect", "service", &[("token", access)]).await.json();
    assert_eq!((&told["active"], &told["username"]), (&true.into(), &"alice".into()));
    let told = ask(&bench, "/oauth2/introspect", "service", &[("token", refresh)]).await.json();
    assert_eq!(told["active"], true);
    for dead in ["x", "a.b.c", &access[..access.len() - 2], &format!("{refresh}x")] {
        let told = ask(&bench, "/oauth2/introspect", "service", &[("token", dead)]).await;
        assert_eq!((told.status, told.body.as_str()), (StatusCode::OK, r#"{"active":false}"#));
    }
    let curious = ask(&bench, "/oauth2/introspect", "web", &[("token", access)]).await;
    assert_eq!(curious.json()["error"], "unauthorized_client");
    let nobody = form(&bench, "/oauth2/introspect", &[("token", access)]).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_revoked_is_refused_at_once() {
    let bench = Bench::new().await;
    let tokens = tokens(&bench).await;
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let others = ask(&bench, "/oauth2/revoke", "other", &[("token", access)]).await;
    assert_eq!(others.json()["error"], "unauthorized_client");
    let unknown = ask(&bench, "/oauth2/revoke", "web", &[("token", "nonsense")]).await;
    assert_eq!((unknown.status, unknown.body.as_str()), (StatusCode::OK, ""));
    let gone = ask(&bench, "/oauth2/revoke", "web", &[("token", refresh)]).await;
    assert_eq!(gone.status, StatusCode::OK);
    let told = ask(&bench, "/oauth2/introspect", "service", &[("token", access)]).await.json();
    assert_eq!(told["active"], false);
    // Whoever wants to know who refuses it is told.
    let waiting = "/oauth2/revoke?wait=confirmed";
    let gone = ask(&bench, waiting, "web", &[("token", refresh)]).await;
    assert_eq!(gone.json()["confirmed"]["by"][0], "this");
    assert_eq!(gone.header("cache-control"), "no-store");
    let wrong = ask(&bench, "/oauth2/revoke?wait=long", "web", &[("token", refresh)]).await;
    assert_eq!(
        (wrong.status, &wrong.json()["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_request"))
    );
}

#[tokio::test]
async fn userinfo_takes_a_token_from_the_header_or_the_form_and_from_nowhere_else() {
    let bench = Bench::new().await;
    let tokens = tokens(&bench).await;
    let access = tokens["access_token"].as_str().unwrap();
    for method in [Method::GET, Method::POST] {
        let request = Request::builder()
            .method(method)
            .uri("/oauth2/userinfo")
            .header(header::AUTHORIZATION, format!("bearer {access}"))
            .body(Body::empty())
            .unwrap();
        let answer = Answer::of(&bench.router, request).await;
        assert_eq!(answer.json()["sub"], bench.alice.id.as_str());
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let in_form = form(&bench, "/oauth2/userinfo", &[("access_token", access)]).await;
    assert_eq!(in_form.json()["preferred_username"], "alice");

    let in_query = Request::get(format!("/oauth2/userinfo?access_token={access}"));
    let answer = Answer::of(&bench.router, in_query.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"tegata\"");

    let twice = Request::post("/oauth2/userinfo")
        .header(header::AUTHORIZATION, format!("Bearer {access}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encoded(&[("access_token", access)])))
        .unwrap();
    let answer = Answer::of(&bench.router, twice).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.header("www-authenticate").contains("error=\"invalid_request\""));

    let id_token = tokens["id_token"].as_str().unwrap();
    for bad in ["x", id_token, tokens["refresh_token"].as_str().unwrap()] {
        let request = Request::get("/oauth2/userinfo")
            .header(header::AUTHORIZATION, format!("Bearer {bad}"))
            .body(Body::empty())
            .unwrap();
        let answer = Answer::of(&bench.router, request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
    }
    let service =
        ask(&bench, "/oauth2/token", "service", &[("grant_type", "client_credentials")]).await;
    let request = Request::get("/oauth2/userinfo")
        .header(
            header::AUTHORIZATION,
            format!("Bearer {}", service.json()["access_token"].as_str().unwrap()),
        )
        .body(Body::empty())
        .unwrap();
    let answer = Answer::of(&bench.router, request).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.header("www-authenticate").contains("error=\"insufficient_scope\""));
}

#[tokio::test]
async fn scripts_of_all_origins_may_read_what_knows_no_cookies_and_nothing_else() {
    let bench = Bench::new().await;
    let open = [
        "/oauth2/par",
        "/oauth2/token",
        "/oauth2/userinfo",
        "/oauth2/revoke",
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ];
    for path in open {
        let request = Request::options(path)
            .header("origin", "https://spa.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization")
            .body(Body::empty())
            .unwrap();
        let answer = Answer::of(&bench.router, request).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), "", "{path}");
        assert!(answer.header("access-control-allow-headers").contains("Authorization"));
    }
    for path in
        ["/oauth2/authorize", "/oauth2/introspect", "/login", "/oauth2/consent", "/api/auth/login"]
    {
        for method in [Method::OPTIONS, Method::GET] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("origin", "https://spa.example")
                .header("access-control-request-method", "POST")
                .body(Body::empty())
                .unwrap();
            let answer = Answer::of(&bench.router, request).await;
            assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
        }
    }
}

/// Whoever uses a client uses the browser session that its tokens are of; and when that has gone unused,
/// so have they.
#[tokio::test]
async fn a_refresh_keeps_its_session_awake_and_none_comes_back_from_one_that_slept() {
    let bench = Bench::new().await;
    let mut browser = Browser::new(&bench);
    let scope = [("scope", "openid profile")];
    let code = code(&mut browser, &authorize(&scope)).await;
    let mut tokens = token(&bench, "web", &redeeming(&code)).await.json();
    let refresh = async |tokens: &Value| {
        let held = tokens["refresh_token"].as_str().unwrap();
        token(&bench, "web", &[("grant_type", "refresh_token"), ("refresh_token", held)]).await
    };
    for _ in 0..3 {
        bench.advance(1000);
        let answer = refresh(&tokens).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        tokens = answer.json();
    }
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::OK);
    // Half an hour, and the minute to which uses are known.
    bench.advance(1861);
    let late = refresh(&tokens).await;
    assert_eq!(
        (late.status, late.json()["error"].as_str()),
        (StatusCode::BAD_REQUEST, Some("invalid_grant"))
    );
    assert_eq!(browser.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
}
