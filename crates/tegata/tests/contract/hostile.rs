//! Bad input on every endpoint: always an answer, always a refusal that says
//! what is wrong, never a failure of the server, never a wait.

use serde_json::json;

use super::{
    browser::Browser,
    demo::{Demo, demo},
    http::{Answer, Ask},
};

/// The endpoints of the public listener that take a form.
const FORMS: [&str; 8] = [
    "/oauth2/token",
    "/oauth2/introspect",
    "/oauth2/revoke",
    "/oauth2/userinfo",
    "/oauth2/authorize",
    "/oauth2/consent",
    "/oauth2/logout",
    "/login",
];

/// Those that take JSON.
const DOCUMENTS: [&str; 2] = ["/api/auth/login", "/api/auth/elevate"];

/// All endpoints, with the methods that they have.
const ENDPOINTS: [(&str, &str); 25] = [
    ("/", "GET"),
    ("/login", "GET POST"),
    ("/login/sessions", "POST"),
    ("/oauth2/authorize", "GET POST"),
    ("/oauth2/consent", "GET POST"),
    ("/oauth2/logout", "GET POST"),
    ("/oauth2/token", "POST"),
    ("/oauth2/introspect", "POST"),
    ("/oauth2/revoke", "POST"),
    ("/oauth2/userinfo", "GET POST"),
    ("/.well-known/openid-configuration", "GET"),
    ("/.well-known/oauth-authorization-server", "GET"),
    ("/.well-known/jwks.json", "GET"),
    ("/status-lists/1.1.0", "GET"),
    ("/api/auth/login", "POST"),
    ("/api/auth/refresh", "POST"),
    ("/api/auth/logout", "POST"),
    ("/api/auth/session", "GET"),
    ("/api/auth/sessions", "GET"),
    ("/api/auth/sessions/x", "DELETE"),
    ("/api/auth/csrf", "GET"),
    ("/api/auth/elevate", "POST"),
    ("/nowhere", ""),
    ("/api/nowhere", ""),
    ("/oauth2/nowhere", ""),
];

/// Checks that an answer refuses, and says so in the form that its endpoint has.
fn refuses(ask: &Ask, answer: &Answer) {
    let what = format!("{} {}", ask.method, ask.target);
    assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    assert_ne!(answer.status, 408, "{what}: the answer came late");
    tells_nothing(&what, answer);
}

/// Checks that an answer has no word of what is inside.
pub(crate) fn tells_nothing(what: &str, answer: &Answer) {
    assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text());
    let text = answer.text();
    for inside in ["panicked", ".rs:", "backtrace", "sqlite", "tegata_", "serde", "src/"] {
        assert!(!text.contains(inside), "{what}: {inside}: {text}");
    }
    let server = answer.field("server").unwrap_or_default();
    assert!(!server.contains('/'), "{what}: {server}");
}

/// Somebody who is signed in, so that requests get past the first guard.
fn signed_in() -> Browser {
    Browser::signed_in(demo().public, &demo().person("customer")).0
}

/// That the demo is as well as before.
pub(crate) fn is_well(demo: &Demo) {
    demo.operations.get("/health/ready").send().expect(200);
    demo.public.get("/.well-known/jwks.json").send().expect(200);
    demo.gateway.get("/public/echo/x").send().expect(200);
    assert!(!demo.log().contains("panicked"), "{}", demo.log());
}

#[test]
fn a_method_that_an_endpoint_does_not_have_is_405_and_says_which_it_has() {
    let demo = demo();
    for (path, methods) in ENDPOINTS {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get", "X"] {
            let has = methods.split(' ').any(|own| own == method);
            if has {
                continue;
            }
            let ask = demo.public.ask(method, path);
            let answer = ask.send();
            refuses(&ask, &answer);
            if methods.is_empty() {
                assert_eq!(answer.status, 404, "{method} {path}");
            } else {
                assert_eq!(answer.status, 405, "{method} {path}");
                let allowed = answer.field("allow").unwrap_or_default();
                for own in methods.split(' ') {
                    assert!(allowed.contains(own), "{method} {path}: Allow: {allowed}");
                }
            }
        }
    }
}

#[test]
fn a_content_type_that_is_not_the_endpoints_is_refused() {
    let demo = demo();
    let mut browser = signed_in();
    let types =
        ["text/plain", "text/html", "multipart/form-data; boundary=x", "application/xml", ""];
    for path in FORMS {
        for media_type in types.into_iter().chain(["application/json"]) {
            let body = if media_type.contains("json") { "{\"a\":1}" } else { "a=1" };
            let ask = demo.public.post(path).body(media_type, body.as_bytes());
            refuses(&ask, &ask.send());
        }
    }
    for path in DOCUMENTS {
        for media_type in types.into_iter().chain(["application/x-www-form-urlencoded"]) {
            let body = json!({"username": "a", "password": "b"}).to_string();
            let ask = demo.public.post(path).body(media_type, body.as_bytes());
            refuses(&ask, &browser.change(ask.clone()));
        }
    }
}

#[test]
fn a_body_that_is_too_large_is_413_by_its_length_and_by_its_bytes() {
    let demo = demo();
    let browser = signed_in();
    let form = format!("a={}", "x".repeat(100 * 1024));
    for path in FORMS {
        let media_type = "application/x-www-form-urlencoded";
        let ask = demo.public.post(path).body(media_type, form.as_bytes());
        let answer = ask.send();
        refuses(&ask, &answer);
        // Its errors are those of RFC 6750 §3.1, which has no other for a request like this.
        assert_eq!(answer.status, if path == "/oauth2/userinfo" { 400 } else { 413 }, "{path}");
        // Nobody says how long it is.
        let chunk = format!("{:x}\r\n{form}\r\n0\r\n\r\n", form.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunk}"
        );
        if let Some(answer) = demo.public.raw(head.as_bytes()) {
            refuses(&ask, &answer);
        }
    }
    let document = json!({"username": "x".repeat(2 * 1024 * 1024), "password": "x"});
    for path in DOCUMENTS {
        // It is refused by what it says of its length: none of it needs to be sent.
        let ask = browser.changing(demo.public.post(path).json(&document));
        let bytes = ask.bytes();
        let answer = demo.public.raw(&bytes[..bytes.len() - ask.body.len()]).unwrap();
        refuses(&ask, &answer);
        assert_eq!(answer.status, 413, "{path}");
    }
}

#[test]
fn a_parameter_that_stands_twice_is_refused() {
    let demo = demo();
    let client = demo.client("demo-service");
    let secret = client.secret.as_deref().unwrap();
    let grant = ("grant_type", "client_credentials");
    for fields in [
        vec![grant, grant],
        vec![grant, ("scope", "orders.read"), ("scope", "orders.read")],
        vec![grant, ("client_id", &client.id), ("client_id", &client.id)],
        vec![("token", "a"), ("token", "b"), grant],
    ] {
        let ask = demo.public.post("/oauth2/token").basic(&client.id, secret).form(&fields);
        let answer = ask.send();
        if fields.iter().any(|(name, _)| *name == "token") {
            tells_nothing("token", &answer);
        } else {
            refuses(&ask, &answer);
            assert_eq!(answer.json()["error"], "invalid_request", "{fields:?}");
        }
    }
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        let fields = [("token", "a"), ("token", "b")];
        let ask = demo.public.post(path).basic(&client.id, secret).form(&fields);
        let answer = ask.send();
        refuses(&ask, &answer);
        assert_eq!(answer.json()["error"], "invalid_request");
    }
    for name in ["client_id", "redirect_uri", "state", "response_type", "code_challenge"] {
        let spa = demo.client("demo-spa");
        let mut fields = super::browser::authorization(&spa);
        fields.push((name, "http://evil.example/"));
        let query = super::http::form(&fields);
        let answer = demo.public.get(&format!("/oauth2/authorize?{query}")).send();
        // A page, or the way back to the client's own address; never the other's.
        let location = answer.field("location").unwrap_or_default();
        assert!(!location.contains("evil.example"), "{name}: {location}");
        assert!(answer.status == 400 || location.contains("error=invalid_request"), "{name}");
    }
}

#[test]
fn text_that_is_no_text_is_refused() {
    let demo = demo();
    let client = demo.client("demo-service");
    let secret = client.secret.as_deref().unwrap();
    let bodies: [&[u8]; 6] = [
        b"grant_type=\xff\xfe",
        b"grant_type=%ff%fe",
        b"grant_type=%",
        b"grant_type=%zz",
        b"%c3%28=x",
        b"\xef\xbb\xbfgrant_type=client_credentials",
    ];
    for path in FORMS {
        for body in bodies {
            let media_type = "application/x-www-form-urlencoded";
            let ask = demo.public.post(path).basic(&client.id, secret).body(media_type, body);
            let answer = ask.send();
            if path == "/oauth2/logout" {
                // Whoever is not signed in has nothing to be asked.
                tells_nothing(path, &answer);
            } else {
                refuses(&ask, &answer);
            }
        }
    }
    for path in ["/oauth2/authorize", "/oauth2/consent", "/login", "/oauth2/logout"] {
        for query in ["x=%ff", "x=%", "x=%zz", "request=%00", "lang=%ff", "&&&==&", "%=%"] {
            let answer = demo.public.get(&format!("{path}?{query}")).send();
            tells_nothing(path, &answer);
        }
    }
}

#[test]
fn documents_that_are_none_are_refused() {
    let demo = demo();
    let mut browser = signed_in();
    let deep = "[".repeat(100_000);
    let closed = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let nested = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    let bodies: [&[u8]; 14] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\"x\"",
        b"{}",
        b"{\"username\": 1, \"password\": 2}",
        b"{\"username\": \"a\"}",
        b"{\"username\": \"a\", \"password\": null}",
        b"{\"username\": \"\xff\", \"password\": \"b\"}",
        b"{\"username\": \"\\ud800\", \"password\": \"b\"}",
        deep.as_bytes(),
        closed.as_bytes(),
        nested.as_bytes(),
    ];
    for path in DOCUMENTS {
        for body in bodies {
            let ask = demo.public.post(path).body("application/json", body);
            let answer = browser.change(ask.clone());
            refuses(&ask, &answer);
            answer.problem();
        }
    }
    // A member that stands twice could be read in two ways.
    let twice = b"{\"username\":\"a\",\"username\":\"b\",\"password\":\"wrong password\"}";
    let ask = demo.public.post("/api/auth/login").body("application/json", twice);
    refuses(&ask, &ask.send());
}

#[test]
fn tokens_and_handles_of_every_shape_are_refused_without_a_failure() {
    let demo = demo();
    let long = "a".repeat(7000);
    let dots = ".".repeat(5000);
    let client = demo.client("demo-service");
    let secret = client.secret.as_deref().unwrap();
    let spa = demo.client("demo-spa");
    for bad in [
        "",
        ".",
        "..",
        "...",
        "e30.e30.",
        "e30.e30.e30",
        "rt_",
        "rt_1.1.1.1.1.1",
        "\u{0}",
        "\u{1f600}",
        "%00",
        "' OR 1=1 --",
        "../../etc/passwd",
        &long,
        &dots,
    ] {
        let form = |path: &str, fields: &[(&str, &str)]| {
            let ask = demo.public.post(path).basic(&client.id, secret).form(fields);
            tells_nothing(path, &ask.send());
        };
        form("/oauth2/introspect", &[("token", bad)]);
        form("/oauth2/introspect", &[("token", bad), ("token_type_hint", bad)]);
        form("/oauth2/revoke", &[("token", bad)]);
        form("/oauth2/token", &[("grant_type", bad)]);
        form("/oauth2/token", &[("grant_type", "client_credentials"), ("scope", bad)]);
        form("/oauth2/token", &[("grant_type", "client_credentials"), ("audience", bad)]);
        for name in ["refresh_token", "code"] {
            let grant = if name == "code" { "authorization_code" } else { name };
            let fields = [("grant_type", grant), (name, bad), ("code_verifier", bad)];
            let answer = super::browser::ask_token(demo, &spa, &fields);
            assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        }
        for query in ["request", "client_id", "state", "lang", "scope", "ui_locales", "prompt"] {
            let query = super::http::form(&[(query, bad)]);
            for path in ["/login", "/oauth2/consent", "/oauth2/authorize", "/oauth2/logout"] {
                tells_nothing(path, &demo.public.get(&format!("{path}?{query}")).send());
            }
        }
        let encoded = super::http::encoded(bad);
        for path in ["/status-lists/", "/api/auth/sessions/", "/login/assets/", "/realms/"] {
            let answer = demo.public.get(&format!("{path}{encoded}")).send();
            assert!((400..500).contains(&answer.status) || answer.status == 303, "{path}{bad}");
        }
    }
    is_well(demo);
}
