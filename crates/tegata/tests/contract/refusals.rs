//! How the gateway refuses: with which status, which fields, and always a problem document.

use super::{
    browser::Browser,
    demo::{demo, unique},
    gateway::{refused, somebody},
};

#[test]
fn who_is_missing_is_asked_to_sign_in() {
    let demo = demo();
    let protected = demo.described["protected_path"].as_str().unwrap();
    let missing = demo.gateway.get(protected).send();
    refused(&missing, 401);
    let offered = missing.all("www-authenticate");
    // Both schemes, and where the gateway says what it is (RFC 9728).
    let described = demo.described["gateway"].as_str().unwrap();
    let described = format!("{described}/.well-known/oauth-protected-resource");
    let led = format!(r#"resource_metadata="{described}""#);
    let bearer = format!("Bearer {led}");
    assert!(
        matches!(offered.as_slice(), [plain, dpop] if *plain == bearer
            && dpop.starts_with("DPoP algs=") && dpop.ends_with(&led)),
        "{offered:?}"
    );
    let (_, token) = somebody();
    let truncated = &token[..token.len() - 5];
    let (head, tail) = token.rsplit_once('.').unwrap();
    let stripped = format!("{head}.");
    let none = {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let header = engine.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
        format!("{header}.{}.{tail}", token.split('.').nth(1).unwrap())
    };
    for bad in ["x", "", "a.b.c", truncated, &stripped, &none, "rt_1.1.1"] {
        let answer = demo.gateway.get(protected).bearer(bad).send();
        refused(&answer, 401);
        let challenges = answer.all("www-authenticate");
        assert!(challenges[0].contains("error=\"invalid_token\""), "{bad}: {challenges:?}");
    }
    for scheme in ["Basic Zm9vOmJhcg==", "Bearer", "Digest x", token.as_str()] {
        refused(&demo.gateway.get(protected).field("Authorization", scheme).send(), 401);
    }
    let twice = demo.gateway.get(protected).bearer(&token).bearer(&token).send();
    refused(&twice, 400);
    demo.gateway.get(protected).bearer(&token).send().expect(200);
}

#[test]
fn tokens_of_other_kinds_and_audiences_do_not_open_the_gateway() {
    let demo = demo();
    let orders = demo.client("orders");
    let fields = [("grant_type", "client_credentials"), ("audience", "payments")];
    let answer = super::browser::ask_token(demo, &orders, &fields).expect(200).json();
    let service = answer["access_token"].as_str().unwrap();
    refused(&demo.gateway.get("/payments/x").bearer(service).send(), 401);
    let person = demo.person("customer");
    let given = super::browser::tokens(demo, &demo.client("demo-spa"), &person);
    for name in ["id_token", "refresh_token"] {
        let token = given[name].as_str().unwrap();
        refused(&demo.gateway.get("/echo/x").bearer(token).send(), 401);
    }
}

#[test]
fn a_wrong_role_is_403_and_the_right_one_passes() {
    let demo = demo();
    let (_, token) = somebody();
    refused(&demo.gateway.get("/staff/echo").bearer(&token).send(), 403);
    let (_, told) = Browser::signed_in(demo.public, &demo.person("admin"));
    let token = told["access_token"].as_str().unwrap();
    demo.gateway.get("/staff/echo").bearer(token).send().expect(200);
}

#[test]
fn unknown_services_are_404_and_look_alike() {
    let demo = demo();
    let (_, token) = somebody();
    for path in ["/", "/nowhere", "/nowhere/x", "/echox", "/ECHO/x", "/admin/v1/x", "/metrics"] {
        refused(&demo.gateway.get(path).send(), 404);
        refused(&demo.gateway.get(path).bearer(&token).send(), 404);
    }
}

#[test]
fn methods_that_a_route_does_not_take_are_405() {
    let demo = demo();
    for method in ["TRACE", "CONNECT"] {
        let answer = demo.gateway.ask(method, "/public/echo/x").send();
        assert!(matches!(answer.status, 400 | 405), "{method}: {}", answer.text());
        answer.problem();
    }
    let service = unique("svc");
    let declared = format!(
        "[[service]]\nname = \"{service}\"\nupstreams = [\"http://127.0.0.1:{}\"]\n\
         [[route]]\npath = \"/{service}\"\nservice = \"{service}\"\nauth = \"none\"\n\
         methods = [\"GET\"]\n",
        demo.public.port + 20
    );
    let file = demo.file(&declared);
    let file_toml = format!("{file}.toml");
    std::fs::rename(&file, &file_toml).unwrap();
    demo.command(&["apply", &file_toml]);
    let get = || demo.gateway.get(&format!("/{service}/x")).send();
    // What the command has answered holds.
    get().expect(200);
    demo.gateway.ask("HEAD", &format!("/{service}/x")).send().expect(200);
    let answer = demo.gateway.ask("DELETE", &format!("/{service}/x")).send();
    refused(&answer, 405);
    assert!(answer.field("allow").unwrap().contains("GET"));
    demo.command(&["service", "remove", &service]);
    refused(&get(), 404);
}

#[test]
fn what_is_too_large_is_named_by_its_status() {
    let demo = demo();
    let place = demo.gateway;
    let too_long = place.get(&format!("/public/echo/{}", "a".repeat(9000))).send();
    refused(&too_long, 414);
    let mut many = place.get("/public/echo/x");
    for number in 0..150 {
        many = many.field(&format!("X-{number}"), "1");
    }
    refused(&many.send(), 431);
    refused(&place.get("/public/echo/x").field("X-Big", &"v".repeat(9000)).send(), 431);
    // 100 MiB pass; more is refused by what it says of its length, before any of it is sent.
    let head =
        "POST /public/echo/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857601\r\n\r\n";
    refused(&place.raw(head.as_bytes()).unwrap(), 413);
}

#[test]
fn what_is_malformed_or_hostile_is_400() {
    let place = demo().gateway;
    for target in [
        "/public/echo/../../echo/x",
        "/public/echo/%2e%2e/x",
        "/public/echo/..%2fx",
        "/public/echo/%00",
        "/public/echo/%",
        "/public/echo/%zz",
        "/public/echo/a\\b",
        "/public/echo/%5c",
        "/public/echo/%252e%252e/x",
    ] {
        let answer = place.get(target).send();
        // A path that has one reading may be normalised; what goes up over a route may not pass it.
        assert!(matches!(answer.status, 200 | 400 | 401), "{target}: {}", answer.status);
        if answer.status == 200 {
            let path = answer.json()["path"].as_str().unwrap().to_owned();
            assert!(!path.contains("/../") && !path.contains("%00"), "{target}: {path}");
        } else {
            answer.problem();
        }
    }
    for text in [
        "GET /public/echo/x HTTP/1.1\r\n\r\n",
        "GET /public/echo/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /public/echo/x HTTP/1.1\r\nHost: a b\r\n\r\n",
        "POST /public/echo/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: \
         chunked\r\n\r\n0\r\n\r\n",
        "GET /public/echo/x HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        "GET /public/echo/x HTTP/1.1\r\nHost: a\r\n folded: y\r\n\r\n",
    ] {
        refused(&place.raw(text.as_bytes()).unwrap(), 400);
    }
    for line in [
        "GET  /public/echo/x HTTP/1.1",
        "GET http://[ HTTP/1.1",
        "GET /x",
        "GET /public/echo/x?a=\"b\" HTTP/1.1",
    ] {
        let text = format!("{line}\r\nHost: a\r\n\r\n");
        refused(&place.raw(text.as_bytes()).unwrap(), 400);
    }
}
