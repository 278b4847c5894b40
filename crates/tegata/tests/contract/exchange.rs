//! Token exchange (RFC 8693), as a service asks for it.

use serde_json::{Value, json};

use super::{
    browser::{Browser, ask_token},
    demo::{Client, Person, demo},
    http::Answer,
    jwt::{names, verified},
};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A person and their access token.
fn somebody() -> (Person, String) {
    let person = demo().person("customer");
    let (_, answer) = Browser::signed_in(demo().public, &person);
    (person, answer["access_token"].as_str().unwrap().to_owned())
}

fn exchange(client: &Client, token: &str, more: &[(&str, &str)]) -> Answer {
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", token),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    ask_token(demo(), client, &[&fields, more].concat())
}

fn refused(client: &Client, token: &str, more: &[(&str, &str)]) -> String {
    let answer = exchange(client, token, more).expect(400).json();
    answer["error"].as_str().unwrap().to_owned()
}

fn claims(answer: &Value) -> Value {
    verified(answer["access_token"].as_str().unwrap()).claims
}

#[test]
fn a_service_gets_a_narrow_token_of_the_person_for_another() {
    let (person, token) = somebody();
    let origin = verified(&token).claims;
    let answer = exchange(&demo().client("orders"), &token, &[("audience", "payments")]);
    let answer = answer.expect(200).json();
    assert_eq!(answer["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(answer["token_type"], "Bearer");
    assert!(answer["expires_in"].as_u64().unwrap() <= 300);
    assert!(answer["refresh_token"].is_null());
    let derived = claims(&answer);
    assert_eq!((&derived["sub"], &derived["aud"]), (&json!(person.id), &json!("payments")));
    assert_eq!(derived["act"]["sub"], "orders");
    assert_eq!(derived["original_jti"], origin["jti"]);
    for name in ["fid", "sid", "status"] {
        assert_eq!(derived[name], origin[name], "{name}");
    }
    assert_ne!(derived["jti"], origin["jti"]);
    assert!(derived["exp"].as_u64() <= origin["exp"].as_u64());
    let seconds = |name: &str| derived[name].as_u64().unwrap();
    assert!((1..=300).contains(&(seconds("exp") - seconds("iat"))), "{derived}");
    assert!(seconds("iat") >= origin["iat"].as_u64().unwrap());
}

#[test]
fn several_audiences_get_a_token_each() {
    let (_, token) = somebody();
    let audiences = ["payments", "inventory", "carts"];
    let fields = audiences.map(|audience| ("audience", audience));
    let answer = exchange(&demo().client("orders"), &token, &fields).expect(200).json();
    assert_eq!(claims(&answer)["aud"], "payments");
    assert_eq!(names(&answer["tokens"]), ["carts", "inventory", "payments"]);
    for audience in audiences {
        let one = &answer["tokens"][audience];
        assert_eq!(claims(one)["aud"], audience);
        assert_eq!(one["issued_token_type"], ACCESS_TOKEN);
    }
    let many = [("audience", "payments"), ("audience", "reviews")];
    // All or none.
    assert_eq!(refused(&demo().client("orders"), &token, &many), "invalid_target");
}

#[test]
fn nothing_is_exchanged_that_may_not_be() {
    let (_, token) = somebody();
    let orders = demo().client("orders");
    assert_eq!(refused(&orders, &token, &[("audience", "reviews")]), "invalid_target");
    assert_eq!(refused(&orders, &token, &[("audience", "nowhere")]), "invalid_target");
    assert_eq!(refused(&orders, &token, &[]), "invalid_request");
    let wider = [("audience", "payments"), ("scope", "orders.write")];
    assert_eq!(refused(&orders, &token, &wider), "invalid_scope");
    let broken = &token[..token.len() - 3];
    for bad in ["", "x", "a.b.c", broken] {
        assert_eq!(refused(&orders, bad, &[("audience", "payments")]), "invalid_request", "{bad}");
    }
    // Whoever is not a service does not have the grant.
    let answer = exchange(&demo().client("demo-web"), &token, &[("audience", "payments")]);
    assert_eq!(answer.expect(400).json()["error"], "unauthorized_client");
}

#[test]
fn taking_back_the_origin_takes_back_the_exchange() {
    let (person, token) = somebody();
    let orders = demo().client("orders");
    exchange(&orders, &token, &[("audience", "payments")]).expect(200);
    demo().command(&["revoke", "--user", &person.username, "--reason", "test", "--wait"]);
    assert_eq!(refused(&orders, &token, &[("audience", "payments")]), "invalid_request");
}
