//! The authorization endpoint and the pages behind it, as browsers see them.

use super::{
    browser::{Browser, CALLBACK, attribute, authorization, tag},
    demo::{Client, demo, unique},
    http::{form, parameter},
};

/// A new client, for which nobody has agreed yet.
fn a_client() -> Client {
    let grants = ["--grant-type", "authorization_code,refresh_token"];
    let rest = ["--redirect-uri", CALLBACK, "--scope", "openid profile email roles"];
    demo().new_client(&[grants.as_slice(), &rest].concat())
}

#[test]
fn the_sign_in_page_is_a_plain_form_with_the_promised_fields() {
    let demo = demo();
    let mut browser = Browser::new(demo.public);
    let query = form(&authorization(&demo.client("demo-web")));
    let answer = browser.get(&format!("/oauth2/authorize?{query}"));
    let login = answer.location().to_owned();
    assert!(login.starts_with("/login?"), "{login}");
    let page = browser.get(&login).expect(200);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("cache-control"), Some("no-store"));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    let page = page.text();
    let form = tag(&page, "form", "method=\"post\"").unwrap();
    assert_eq!(attribute(form, "action").unwrap(), "/login");
    for (name, kind) in [
        ("username", "text"),
        ("password", "password"),
        ("csrf_token", "hidden"),
        ("request", "hidden"),
    ] {
        let input = tag(&page, "input", &format!("name=\"{name}\"")).unwrap();
        assert_eq!(attribute(input, "id").unwrap(), name);
        assert_eq!(attribute(input, "type").unwrap(), kind);
    }
}

#[test]
fn the_sign_in_page_refuses_wrong_passwords_and_forms_of_others() {
    let demo = demo();
    let person = demo.person("customer");
    let mut browser = Browser::new(demo.public);
    let page = browser.get("/login").expect(200).text();
    let fields = [("username", person.username.as_str()), ("password", "wrong password here")];
    let refused = browser.submit(&page, &fields).expect(401).text();
    let unknown = unique("nobody");
    let fields = [("username", unknown.as_str()), ("password", "wrong password here")];
    let answer = browser.submit(&page, &fields).expect(401).text();
    let said = |page: &str| tag(page, "p", "id=\"problem\"").is_some();
    assert!(said(&refused) && said(&answer));
    // The form of another browser.
    let fields = [("username", person.username.as_str()), ("password", person.password.as_str())];
    Browser::new(demo.public).submit(&page, &fields).expect(403);
    let answer = browser.submit(&page, &fields);
    assert!(answer.location().starts_with('/'));
    assert!(browser.cookie("session_id").is_some());
}

#[test]
fn the_consent_page_has_its_buttons_and_a_refusal_goes_back() {
    let demo = demo();
    let (person, client) = (demo.person("customer"), a_client());
    let (mut browser, _) = Browser::signed_in(demo.public, &person);
    let mut answer = browser.get(&format!("/oauth2/authorize?{}", form(&authorization(&client))));
    while answer.status != 200 {
        answer = browser.get(answer.location());
    }
    let page = answer.text();
    for value in ["allow", "deny"] {
        let button = tag(&page, "button", &format!("value=\"{value}\"")).unwrap();
        assert_eq!(attribute(button, "name").unwrap(), "decision");
    }
    let answer = browser.submit(&page, &[("decision", "deny")]);
    let location = answer.location();
    assert!(location.starts_with(CALLBACK), "{location}");
    assert_eq!(parameter(location, "error").unwrap(), "access_denied");
    assert_eq!(parameter(location, "state").unwrap(), "a state & more");
    assert_eq!(parameter(location, "iss").unwrap(), demo.issuer);
    assert_eq!(parameter(location, "code"), None);
}

#[test]
fn an_unregistered_redirect_shows_a_page_and_leads_nowhere() {
    let demo = demo();
    for address in [
        "http://127.0.0.1:9999/callback/",
        "http://127.0.0.1:9999/callback?x=1",
        "http://127.0.0.1:9999/callback#x",
        "http://127.0.0.1:9999/Callback",
        "http://127.0.0.1:9999@evil.example/callback",
        "https://127.0.0.1:9999/callback",
        "http://evil.example/callback",
        "//evil.example/callback",
        "javascript:alert(1)",
    ] {
        let client = demo.client("demo-web");
        let mut asked = authorization(&client);
        asked.retain(|(name, _)| *name != "redirect_uri");
        asked.push(("redirect_uri", address));
        let answer = demo.public.get(&format!("/oauth2/authorize?{}", form(&asked))).send();
        assert_eq!((answer.status, answer.field("location")), (400, None), "{address}");
        assert!(answer.text().contains("invalid redirect_uri"), "{address}: {}", answer.text());
    }
    let client = Client { id: unique("nobody"), secret: None };
    let query = form(&authorization(&client));
    let answer = demo.public.get(&format!("/oauth2/authorize?{query}")).send().expect(400);
    assert!(answer.text().contains("client_id"));
}

#[test]
fn errors_of_the_authorization_endpoint_go_back_with_state_and_issuer() {
    let demo = demo();
    let client = demo.client("demo-spa");
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("scope", "orders.read", "invalid_scope"),
        ("prompt", "none", "login_required"),
        ("request", "e30.e30.", "invalid_request_object"),
        ("request_uri", "https://evil.example/", "request_uri_not_supported"),
    ] {
        let mut asked = authorization(&client);
        asked.retain(|(own, _)| *own != name);
        asked.push((name, value));
        let answer = demo.public.get(&format!("/oauth2/authorize?{}", form(&asked))).send();
        let location = answer.location();
        assert!(location.starts_with(CALLBACK), "{name}={value}: {location}");
        assert_eq!(parameter(location, "error").unwrap(), error, "{name}={value}: {location}");
        assert_eq!(parameter(location, "state").unwrap(), "a state & more");
        assert_eq!(parameter(location, "iss").unwrap(), demo.issuer);
    }
}
