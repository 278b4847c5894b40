//! What the demo's options do. Each needs a demo of its own.

use std::fs;

use super::{browser::ask_token, commands::pem, demo::Demo, jwt::unverified};

#[test]
fn with_the_limits_of_production_who_asks_too_often_is_told_when_to_come_back() {
    let demo = Demo::start(&["--limits", "production"]);
    let place = demo.gateway;
    let first = place.get("/public/echo/x").send().expect(200);
    assert!(first.field("ratelimit").is_some() && first.field("ratelimit-policy").is_some());
    // Guessing passwords is limited more than anything else.
    let wrong = serde_json::json!({"username": "nobody", "password": "wrong password here"});
    let attempt = || place.post("/api/auth/login").json(&wrong).send();
    let refused = (0..20).map(|_| attempt()).find(|answer| answer.status != 401).unwrap();
    assert_eq!(refused.status, 429, "{}", refused.text());
    refused.problem();
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    assert!(refused.field("ratelimit").is_some() && refused.field("ratelimit-policy").is_some());
    // What only reads goes on.
    place.get("/public/echo/x").send().expect(200);

    let attempt = || demo.public.post("/api/auth/login").json(&wrong).send();
    let refused = (0..50).map(|_| attempt()).find(|answer| answer.status != 401).unwrap();
    assert_eq!(refused.status, 429, "{}", refused.text());
    refused.problem();
    assert!(refused.field("retry-after").is_some());

    // Nor has one network addresses asked for that it makes up.
    let name = |n: usize| {
        let (code, id) = ("ac_1.20000.x", format!("https://10.0.0.{n}/client"));
        let fields =
            [("grant_type", "authorization_code"), ("code", code), ("client_id", id.as_str())];
        demo.public.post("/oauth2/token").form(&fields).send().expect(503).text()
    };
    assert!((0..200).any(|n| name(n).contains("too many clients that nobody knows")));
}

#[test]
fn a_signing_key_of_ones_own_is_what_the_demo_signs_with() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    fs::write(&file, pem()).unwrap();
    let demo = Demo::start(&["--signing-key", file.to_str().unwrap()]);
    let fields = [("grant_type", "client_credentials"), ("audience", "carts")];
    let answer = ask_token(&demo, &demo.client("orders"), &fields).expect(200).json();
    let kid = unverified(answer["access_token"].as_str().unwrap()).header["kid"].clone();
    let keys = demo.public.get("/.well-known/jwks.json").send().expect(200).json();
    let mut of_the_algorithm =
        keys["keys"].as_array().unwrap().iter().filter(|key| key["alg"] == "ES256");
    assert!(of_the_algorithm.any(|key| key["kid"] == kid));
}
