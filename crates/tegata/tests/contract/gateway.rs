//! The data plane: whom services see, and what never reaches them.

use serde_json::{Value, json};

use super::{
    browser::{AGENT, Browser},
    demo::{Person, demo},
    http::{Answer, Ask},
    jwt::verified,
};

/// A person and their access token.
pub(crate) fn somebody() -> (Person, String) {
    let person = demo().person("customer");
    let (_, answer) = Browser::signed_in(demo().public, &person);
    (person, answer["access_token"].as_str().unwrap().to_owned())
}

fn echo(ask: &Ask) -> Value {
    ask.send().expect(200).json()
}

/// The values of a header that the service received, whatever the case of its name.
pub(crate) fn received(echo: &Value, name: &str) -> Vec<String> {
    let all = echo["headers"].as_array().unwrap().iter();
    let named = all.filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
}

/// Checks a refusal of the gateway: status, problem document, a name for the logs.
pub(crate) fn refused(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let problem = answer.problem();
    let trace = problem["trace_id"].as_str().unwrap();
    assert_eq!(answer.field("x-request-id"), Some(trace));
}

#[test]
fn a_service_sees_the_request_and_who_sent_it() {
    let demo = demo();
    let (person, token) = somebody();
    let ask = demo.gateway.post("/echo/a%20b/c?x=1&y=%20").bearer(&token);
    let answer = ask.body("text/plain", b"a body").send().expect(200);
    let request_id = answer.field("x-request-id").unwrap().to_owned();
    let echo = answer.json();
    assert_eq!(super::jwt::names(&echo), ["body", "headers", "method", "path", "query"]);
    assert_eq!(echo["method"], "POST");
    assert_eq!(echo["path"], "/a%20b/c");
    assert_eq!(echo["query"], "x=1&y=%20");
    assert_eq!(echo["body"], "a body");
    assert_eq!(received(&echo, "x-user-id"), std::slice::from_ref(&person.id));
    assert_eq!(received(&echo, "x-user-roles"), ["customer"]);
    assert_eq!(received(&echo, "x-request-id"), [request_id]);
    assert_eq!(received(&echo, "authorization"), Vec::<String>::new());
    let internal = received(&echo, "x-internal-token");
    assert_eq!(internal.len(), 1);
    let (internal, origin) = (verified(&internal[0]), verified(&token));
    assert_ne!(internal.header["typ"], "at+jwt");
    for name in "iss sub aud exp iat jti scope original_jti status fid sid".split(' ') {
        assert!(!internal.claims[name].is_null(), "{name}: {}", internal.claims);
    }
    let seconds = |name: &str| internal.claims[name].as_u64().unwrap();
    assert!((1..=300).contains(&(seconds("exp") - seconds("iat"))), "{}", internal.claims);
    assert!(seconds("iat") >= origin.claims["iat"].as_u64().unwrap());
    // From where the test asks.
    assert_eq!(internal.claims["context"], json!({"ip": "127.0.0.1"}));
    assert_eq!(internal.claims["aud"], "echo");
    assert_eq!(internal.claims["sub"], person.id);
    assert_eq!(internal.claims["original_jti"], origin.claims["jti"]);
    for name in ["fid", "sid", "status", "scope", "roles"] {
        assert_eq!(internal.claims[name], origin.claims[name], "{name}");
    }
    // It is no token for the outside.
    let internal = received(&echo, "x-internal-token");
    demo.gateway.get("/echo/x").bearer(&internal[0]).send().expect(401);
}

#[test]
fn several_roles_are_separated_by_commas() {
    let demo = demo();
    let person = demo.person("customer,support");
    let (_, told) = Browser::signed_in(demo.public, &person);
    let token = told["access_token"].as_str().unwrap();
    let echo = echo(&demo.gateway.get("/echo/x").bearer(token));
    let roles = received(&echo, "x-user-roles").join("");
    let mut roles: Vec<_> = roles.split(',').map(str::trim).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["customer", "support"]);
}

#[test]
fn forged_identities_are_stripped_however_they_are_spelt() {
    let demo = demo();
    let (person, token) = somebody();
    let names = [
        "X-User-ID",
        "X-User-Roles",
        "X-Internal-Token",
        "X-Request-ID",
        "X-Service-Name",
        "X-User-Context",
        "Txn-Token",
    ];
    for name in names {
        let spellings = [
            name.to_owned(),
            name.to_lowercase(),
            name.to_uppercase(),
            name.replace('-', "_"),
            name.replace('-', "."),
            name.replacen('-', "_", 1).to_lowercase(),
            name.replacen('-', ".", 1).to_uppercase(),
        ];
        for path in ["/echo/x", "/public/echo/x"] {
            let mut ask = demo.gateway.get(path).bearer(&token);
            for spelling in &spellings {
                ask = ask.field(spelling, "forged");
            }
            let echo = echo(&ask);
            assert!(!echo["headers"].to_string().contains("forged"), "{name} at {path}: {echo}");
        }
    }
    // A client cannot have what the gateway says removed as hop-by-hop.
    let names = "close, X-User-ID, x-internal-token, X-Request-ID";
    let mut ask = demo.gateway.get("/echo/x").bearer(&token).field("X-Named", "by the client");
    ask = ask.field("Connection", &format!("{names}, X-Named"));
    let echo = echo(&ask);
    assert_eq!(received(&echo, "x-user-id"), [person.id]);
    assert_eq!(received(&echo, "x-internal-token").len(), 1);
    assert_eq!(received(&echo, "x-named"), Vec::<String>::new());
}

#[test]
fn an_open_route_needs_nobody_and_names_nobody() {
    let demo = demo();
    let (_, token) = somebody();
    for ask in [
        demo.gateway.get("/public/echo/x"),
        demo.gateway.get("/public/echo/x").bearer(&token),
        demo.gateway.get("/public/echo/x").bearer("nonsense"),
    ] {
        let echo = echo(&ask);
        assert_eq!(echo["path"], "/x");
        for name in ["x-user-id", "x-user-roles", "x-internal-token"] {
            assert_eq!(received(&echo, name), Vec::<String>::new(), "{name}");
        }
    }
}

#[test]
fn a_trace_goes_on_through_the_gateway() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let sent = echo(&demo().gateway.get("/public/echo/x").field("traceparent", &parent));
    let parent = received(&sent, "traceparent");
    assert_eq!(parent.len(), 1);
    // Kept, or restarted at an untrusted edge; well-formed in both cases.
    assert_eq!(parent[0].split('-').map(str::len).collect::<Vec<_>>(), [2, 32, 16, 2]);
}

#[test]
fn the_gateway_answers_for_its_own_health() {
    let answer = demo().gateway.get("/health").send().expect(200).json();
    assert_eq!(answer["status"], "ok");
}

#[test]
fn browsers_have_one_origin_at_the_gateway() {
    let demo = demo();
    for path in ["/.well-known/openid-configuration", "/.well-known/jwks.json", "/login"] {
        demo.gateway.get(path).send().expect(200);
    }
    let metadata = "/.well-known/openid-configuration";
    let (there, here) = (demo.public.get(metadata).send(), demo.gateway.get(metadata).send());
    assert_eq!(there.body, here.body);
    assert_eq!(there.field("etag"), here.field("etag"));
    demo.gateway.get("/api/auth/session").send().expect(401).problem();
    let token = demo.gateway.post("/oauth2/token").form(&[("grant_type", "x")]).send();
    assert_eq!(token.expect(401).json()["error"], "invalid_client");
    // What an outsider must not reach there.
    for path in ["/health/live", "/health/ready", "/metrics"] {
        refused(&demo.gateway.get(path).send(), 404);
    }
}

#[test]
fn a_session_cookie_is_an_identity_and_never_reaches_a_service() {
    let demo = demo();
    let person = demo.person("customer");
    let (mut browser, told) = Browser::signed_in(demo.public, &person);
    browser.plant("theme", "dark");
    let echo = browser.send(demo.gateway.get("/echo/x")).expect(200).json();
    assert_eq!(received(&echo, "x-user-id"), std::slice::from_ref(&person.id));
    assert_eq!(received(&echo, "cookie"), ["theme=dark"]);
    let internal = received(&echo, "x-internal-token");
    assert_eq!(verified(&internal[0]).claims["sid"], told["sid"]);

    let change = || demo.gateway.post("/echo/x").json(&json!({"a": 1}));
    let forged = browser.send(change());
    refused(&forged, 403);
    for token in ["", "x", "1.x"] {
        refused(&browser.send(change().field("X-CSRF-Token", token)), 403);
    }
    let echo = browser.change(change()).expect(200).json();
    assert_eq!(received(&echo, "x-user-id"), [person.id]);
    let cookie = format!("session_id={}", browser.cookie("session_id").unwrap());
    let bare = |ask: Ask| ask.field("User-Agent", AGENT).field("Cookie", &cookie);
    let own = demo.gateway.origin();
    // Another site, a frame that hides where it is from, names that begin or end as ours, and a sibling.
    for origin in [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        format!("{own}.evil.example"),
        own.replace("://", "://evil-"),
        own.replace("://", "://shop."),
        own.replace("http:", "https:"),
    ] {
        let evil = bare(change()).field("X-CSRF-Token", &browser.csrf);
        refused(&evil.field("Origin", &origin).send(), 403);
    }
    // Forms and plain text, which a page of any site can have a browser send, and a browser that says
    // nothing.
    for media_type in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"] {
        let form = demo.gateway.post("/echo/x").body(media_type, b"{\"a\":1}");
        refused(&bare(form).send(), 403);
    }
    refused(&bare(change()).field("X-CSRF-Token", &browser.csrf).send(), 403);
    // The cookie is bound to the browser that it was given to.
    let elsewhere = demo.gateway.get("/echo/x").field("Cookie", &cookie);
    refused(&elsewhere.field("User-Agent", "curl/8.5.0").send(), 401);

    browser.change(demo.public.post("/api/auth/logout")).expect(204);
    let ended = bare(demo.gateway.get("/echo/x")).send();
    refused(&ended, 401);
    assert!(ended.field("www-authenticate").unwrap().contains("invalid_token"));
}

#[test]
fn a_copied_cookie_is_refused_at_the_gateway_by_what_its_browser_says() {
    let demo = demo();
    let person = demo.person("customer");
    let desk = "screen=1920x1080x24,tz=Europe/Berlin,plugins=5f0a31c2";
    let says = |ask: Ask, language: &str| {
        ask.field("Accept-Language", language).field("Accept-Encoding", "gzip, deflate, br")
    };
    let mut browser = Browser::new(demo.public);
    let credentials = json!({"username": person.username, "password": person.password});
    let ask = says(demo.public.post("/api/auth/login").json(&credentials), "ja,en;q=0.7");
    browser.send(ask.field("X-Device-Hints", desk)).expect(200);
    let own = says(demo.gateway.get("/echo/x"), "ja").field("X-Device-Hints", desk);
    let echo = browser.send(own).expect(200).json();
    // What the browser says so that its session is bound to it is nothing to a service.
    assert!(received(&echo, "x-device-hints").is_empty());
    assert_eq!(received(&echo, "accept-language"), ["ja"]);
    let thief = browser.send(says(demo.gateway.get("/echo/x"), "en-US"));
    refused(&thief, 401);
    assert!(thief.field("set-cookie").is_none(), "its owner may still come");
    // Through the gateway, sign-in and the browser API are told what the browser says.
    let own = says(demo.gateway.get("/api/auth/session"), "ja").field("X-Device-Hints", desk);
    browser.send(own).expect(200);
    let other = "screen=412x915x24,tz=Asia/Tokyo,plugins=5f0a31c2";
    let thief = says(demo.gateway.get("/api/auth/session"), "ja").field("X-Device-Hints", other);
    assert_eq!(browser.send(thief).status, 401);
    let metrics = demo.operations.get("/metrics").send().expect(200).text();
    for service in ["gateway", "provider"] {
        let line = format!("session_errors_total{{service=\"{service}\",error_type=\"bound\"}}");
        assert!(metrics.contains(&line), "{line}");
    }
}

#[test]
fn signing_in_through_the_gateway_works_for_pages_of_its_origin() {
    let demo = demo();
    let person = demo.person("customer");
    let mut browser = Browser::new(demo.gateway);
    let answer = browser.sign_in(&person);
    assert_eq!(answer.status, 200, "{}", answer.text());
    browser.get("/api/auth/session").expect(200);
    browser.get("/echo/x").expect(200);
    let page = {
        let mut fresh = Browser::new(demo.gateway);
        let page = fresh.get("/login").expect(200).text();
        let (username, password) = (person.username.as_str(), person.password.as_str());
        fresh.submit(&page, &[("username", username), ("password", password)])
    };
    assert_eq!(page.status, 303, "{}", page.text());
}
