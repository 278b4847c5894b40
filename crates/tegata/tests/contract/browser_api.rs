//! The JSON interface of browsers, call by call.

use serde_json::json;

use super::{
    browser::Browser,
    demo::{demo, unique},
    http::Ask,
    jwt::{names, sorted, verified},
};

#[test]
fn sign_in_answers_tokens_and_sets_two_cookies() {
    let demo = demo();
    let person = demo.person("customer");
    let mut browser = Browser::new(demo.public);
    let answer = browser.sign_in(&person).expect(200);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let told = answer.json();
    assert_eq!(names(&told), sorted("access_token token_type expires_in csrf_token sid"));
    assert_eq!(told["token_type"], "Bearer");
    assert!((1..=900).contains(&told["expires_in"].as_u64().unwrap()));
    let claims = verified(told["access_token"].as_str().unwrap()).claims;
    assert_eq!((&claims["sub"], &claims["sid"]), (&json!(person.id), &told["sid"]));

    // Over plain HTTP on this machine, neither cookie is `Secure`, so neither has a prefix.
    let set = answer.all("set-cookie");
    let attributes = |name: &str| {
        let start = format!("{name}=");
        let line = set.iter().find(|line| line.starts_with(&start)).unwrap();
        let (_, attributes) = line.split_once("; ").unwrap();
        let mut attributes: Vec<_> = attributes.split("; ").map(str::to_owned).collect();
        attributes.sort();
        attributes
    };
    assert_eq!(attributes("session_id"), ["HttpOnly", "Path=/", "SameSite=Lax"]);
    assert_eq!(attributes("refresh_token"), ["HttpOnly", "Path=/api/auth", "SameSite=Strict"]);
    // The handle names the session and is not the value that opens it.
    let (sid, value) = (told["sid"].as_str().unwrap(), browser.cookie("session_id").unwrap());
    assert_ne!(sid, value);
    let mut thief = Browser::new(demo.public);
    thief.plant("session_id", sid);
    thief.get("/api/auth/session").expect(401);
}

#[test]
fn wrong_credentials_are_one_answer_whoever_is_asked_for() {
    let demo = demo();
    let person = demo.person("customer");
    let ask = |username: &str, password: &str| {
        let body = json!({"username": username, "password": password});
        demo.public.post("/api/auth/login").json(&body).send()
    };
    let wrong = ask(&person.username, "not the password of this person").expect(401);
    let unknown = ask(&unique("nobody"), "not the password of this person").expect(401);
    let (mut wrong_body, mut unknown_body) = (wrong.problem(), unknown.problem());
    assert_eq!(wrong_body["error"], "invalid_credentials");
    for body in [&mut wrong_body, &mut unknown_body] {
        body["trace_id"].take();
    }
    assert_eq!(wrong_body, unknown_body);
    let kinds = |answer: &super::http::Answer| {
        answer.fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&wrong), kinds(&unknown));
    assert!(wrong.all("set-cookie").is_empty());
    let disabled = demo.person("customer");
    demo.command(&["user", "disable", &disabled.username]);
    ask(&disabled.username, &disabled.password).expect(401);
}

#[test]
fn sign_in_is_not_for_pages_of_other_origins() {
    let demo = demo();
    let person = demo.person("customer");
    let credentials = json!({"username": person.username, "password": person.password});
    let ask = || demo.public.post("/api/auth/login").json(&credentials);
    for refused in [
        ask().field("Origin", "https://evil.example"),
        ask().field("Origin", "null"),
        ask().field("Origin", &format!("{}.evil.example", demo.issuer)),
        ask().field("Origin", &demo.issuer).field("Origin", &demo.issuer),
        ask().field("Sec-Fetch-Site", "cross-site"),
        ask().field("Origin", &demo.issuer).field("Sec-Fetch-Site", "cross-site"),
    ] {
        let answer = refused.send();
        assert_eq!(answer.status, 403, "{:?}", refused.fields);
        assert!(answer.all("set-cookie").is_empty());
        assert_ne!(answer.field("access-control-allow-origin"), Some("*"));
        answer.problem();
    }
    ask().field("Origin", &demo.issuer).send().expect(200);
}

#[test]
fn the_session_says_who_is_signed_in() {
    let demo = demo();
    let person = demo.person("customer");
    let (mut browser, told) = Browser::signed_in(demo.public, &person);
    let session = browser.get("/api/auth/session").expect(200);
    assert_eq!(session.field("cache-control"), Some("no-store"));
    let session = session.json();
    for name in "sid user roles started_at expires_at is_elevated risk".split(' ') {
        assert!(session.get(name).is_some(), "{name}: {session}");
    }
    assert_eq!(session["sid"], told["sid"]);
    assert_eq!(session["user"]["id"], person.id);
    assert_eq!(session["user"]["username"], person.username);
    assert_eq!(session["roles"], json!(["customer"]));
    let nobody = demo.public.get("/api/auth/session").send().expect(401).problem();
    assert_eq!(nobody["error"], "no_session");
    let mut forger = Browser::new(demo.public);
    let genuine = browser.cookie("session_id").unwrap();
    for forged in [&genuine[..genuine.len() - 2], "1.1.1.x.0.y", "", "\"", "a=b=c"] {
        forger.plant("session_id", forged);
        forger.get("/api/auth/session").expect(401);
    }
    // Of two cookies of one name, nobody can tell which a neighbour planted.
    let both = format!("session_id={genuine}; session_id=1.1.x");
    let answer = demo.public.get("/api/auth/session").field("Cookie", &both).send();
    assert!(matches!(answer.status, 400 | 401), "{}", answer.text());
}

#[test]
fn a_refresh_gives_new_tokens_for_the_cookie() {
    let demo = demo();
    let (mut browser, first) = Browser::signed_in(demo.public, &demo.person("customer"));
    let before = browser.cookie("refresh_token").unwrap().to_owned();
    let answer = browser.change(demo.public.post("/api/auth/refresh")).expect(200).json();
    assert_eq!(names(&answer), sorted("access_token token_type expires_in csrf_token"));
    assert_ne!(answer["access_token"], first["access_token"]);
    assert_ne!(browser.cookie("refresh_token").unwrap(), before);
    browser.csrf = answer["csrf_token"].as_str().unwrap().to_owned();

    browser.plant("refresh_token", "rt_1.1.nothing");
    let refused = browser.change(demo.public.post("/api/auth/refresh")).expect(401).problem();
    assert_eq!(refused["error"], "invalid_grant");
    let nobody = demo.public.post("/api/auth/refresh").send().expect(401).problem();
    assert_eq!(nobody["error"], "invalid_grant");
}

#[test]
fn a_refresh_cookie_that_was_stolen_ends_the_session() {
    let demo = demo();
    let (mut browser, _) = Browser::signed_in(demo.public, &demo.person("customer"));
    let stolen = browser.cookie("refresh_token").unwrap().to_owned();
    let mut token = String::new();
    for _ in 0..2 {
        let answer = browser.change(demo.public.post("/api/auth/refresh")).expect(200).json();
        token = answer["access_token"].as_str().unwrap().to_owned();
    }
    browser.plant("refresh_token", &stolen);
    let refused = browser.change(demo.public.post("/api/auth/refresh")).expect(401).problem();
    assert_eq!(refused["error"], "invalid_grant");
    browser.get("/api/auth/session").expect(401);
    demo.gateway.get("/echo/x").bearer(&token).send().expect(401);
}

#[test]
fn whatever_changes_something_needs_the_token_of_its_session() {
    let demo = demo();
    let (mut browser, told) = Browser::signed_in(demo.public, &demo.person("customer"));
    let (other, _) = Browser::signed_in(demo.public, &demo.person("customer"));
    let sid = told["sid"].as_str().unwrap();
    let calls: [Ask; 4] = [
        demo.public.post("/api/auth/refresh"),
        demo.public.post("/api/auth/logout"),
        demo.public.ask("DELETE", &format!("/api/auth/sessions/{sid}")),
        demo.public.post("/api/auth/elevate").json(&json!({"password": "x"})),
    ];
    for call in calls {
        for token in [None, Some(""), Some("x"), Some(other.csrf.as_str())] {
            let mut ask = call.clone();
            if let Some(token) = token {
                ask = ask.field("X-CSRF-Token", token);
            }
            let answer = browser.send(ask);
            assert_eq!(answer.status, 403, "{} {token:?}: {}", call.target, answer.text());
            answer.problem();
        }
    }
    browser.get("/api/auth/session").expect(200);
    // Another call gives the token again.
    let token = browser.get("/api/auth/csrf").expect(200).json();
    assert_eq!(names(&token), ["csrf_token"]);
    browser.csrf = token["csrf_token"].as_str().unwrap().to_owned();
    browser.change(demo.public.post("/api/auth/logout")).expect(204);
}

#[test]
fn logout_clears_the_cookies_and_ends_what_the_session_gave() {
    let demo = demo();
    let person = demo.person("customer");
    let (mut browser, told) = Browser::signed_in(demo.public, &person);
    let (mut elsewhere, _) = Browser::signed_in(demo.public, &person);
    let answer = browser.change(demo.public.post("/api/auth/logout")).expect(204);
    assert!(answer.body.is_empty());
    for name in ["session_id", "refresh_token"] {
        let cleared = format!("{name}=;");
        let mut set = answer.all("set-cookie").into_iter();
        assert!(set.any(|it| it.starts_with(&cleared) && it.contains("Max-Age=0")), "{name}");
    }
    let token = told["access_token"].as_str().unwrap();
    demo.gateway.get("/echo/x").bearer(token).send().expect(401);
    elsewhere.get("/api/auth/session").expect(200);
    let (mut third, _) = Browser::signed_in(demo.public, &person);
    third.change(demo.public.post("/api/auth/logout?everywhere=true")).expect(204);
    elsewhere.get("/api/auth/session").expect(401);
}

#[test]
fn people_see_and_end_their_own_sessions_and_nobody_elses() {
    let demo = demo();
    let person = demo.person("customer");
    let (mut browser, here) = Browser::signed_in(demo.public, &person);
    let (mut elsewhere, there) = Browser::signed_in(demo.public, &person);
    let (mut stranger, _) = Browser::signed_in(demo.public, &demo.person("customer"));
    let listed = browser.get("/api/auth/sessions").expect(200).json();
    let listed = listed["sessions"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for session in listed {
        assert_eq!(session["current"], session["sid"] == here["sid"]);
    }
    let there = there["sid"].as_str().unwrap();
    let end = || demo.public.ask("DELETE", &format!("/api/auth/sessions/{there}"));
    stranger.change(end()).expect(404).problem();
    elsewhere.get("/api/auth/session").expect(200);
    browser.change(end()).expect(204);
    elsewhere.get("/api/auth/session").expect(401);
    browser.change(demo.public.ask("DELETE", "/api/auth/sessions/nothing")).expect(404).problem();
    demo.public.get("/api/auth/sessions").send().expect(401).problem();
}

#[test]
fn elevation_gives_the_session_a_new_value_for_a_while() {
    let demo = demo();
    let person = demo.person("customer");
    let (mut browser, _) = Browser::signed_in(demo.public, &person);
    let before = browser.cookie("session_id").unwrap().to_owned();
    let elevate = |browser: &mut Browser, password: &str| {
        let body = json!({"password": password});
        browser.change(demo.public.post("/api/auth/elevate").json(&body))
    };
    let refused = elevate(&mut browser, "not the password").expect(401).problem();
    assert_eq!(refused["error"], "invalid_credentials");
    let session = browser.get("/api/auth/session").expect(200).json();
    assert_eq!(session["is_elevated"], false);
    elevate(&mut browser, &person.password).expect(204);
    let after = browser.cookie("session_id").unwrap().to_owned();
    assert_ne!(after, before);
    let session = browser.get("/api/auth/session").expect(200).json();
    assert_eq!(session["is_elevated"], true);
}
