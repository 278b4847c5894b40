//! Token exchange (RFC 8693), as a service asks for it.

use serde_json::{Value, json};

use super::{
    browser::{Browser, as_client, ask_token},
    demo::{Client, Person, demo, unique},
    http::Answer,
    jwt::{names, verified},
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A person and their access token.
fn somebody() -> (Person, String) {
    let person = demo().person("customer");
    let (_, answer) = Browser::signed_in(demo().public, &person);
    (person, answer["access_token"].as_str().unwrap().to_owned())
}

fn exchange(client: &Client, token: &str, more: &[(&str, &str)]) -> Answer {
    let fields =
        [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", ACCESS_TOKEN)];
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

/// What whoever accepts tokens is told of one.
fn inspected(token: &str) -> Value {
    let ask = demo().public.post("/oauth2/introspect");
    as_client(ask, &demo().client("demo-service"), &[("token", token)]).send().expect(200).json()
}

/// What a token becomes for another service.
fn derived(client: &Client, token: &str, audience: &str) -> String {
    let answer = exchange(client, token, &[("audience", audience)]).expect(200).json();
    answer["access_token"].as_str().unwrap().to_owned()
}

/// Two services of this test alone: `orders` calls the first, and that calls the second.
struct Chain {
    first: Client,
    second: String,
}

impl Chain {
    fn new() -> Self {
        let grants = format!("client_credentials,{EXCHANGE}");
        let first = demo().new_client(&["--grant-type", &grants]);
        let second = unique("behind");
        let service = |name: &str, caller: &str| json!({"name": name, "upstreams": ["http://127.0.0.1:9"], "callers": [caller]});
        let declared =
            json!({"service": [service(&first.id, "orders"), service(&second, &first.id)]});
        let file = demo().file(&declared.to_string());
        let named = format!("{file}.json");
        std::fs::rename(&file, &named).unwrap();
        demo().command(&["apply", &named]);
        Self { first, second }
    }

    /// What `orders` makes of a token for the first.
    fn first(&self, token: &str) -> String {
        derived(&demo().client("orders"), token, &self.first.id)
    }

    /// What the first makes of that for the second.
    fn second(&self, token: &str) -> String {
        derived(&self.first, token, &self.second)
    }

    fn both(&self, token: &str) -> [String; 2] {
        let first = self.first(token);
        let second = self.second(&first);
        [first, second]
    }
}

/// The origin is what is taken back; nobody names what was made of it, or of that.
#[test]
fn a_derived_token_dies_with_whatever_its_origin_dies_of() {
    let chain = Chain::new();
    let (_, neighbour) = somebody();
    let others = chain.both(&neighbour);
    for by in ["token", "jti", "family", "session", "user"] {
        let (person, token) = somebody();
        let made = chain.both(&token);
        for token in &made {
            let told = inspected(token);
            assert_eq!(
                (&told["active"], &told["sub"]),
                (&json!(true), &json!(person.id)),
                "{told}"
            );
        }
        let claims = verified(&token).claims;
        let of = |name: &str| claims[name].as_str().unwrap().to_owned();
        let what = match by {
            "token" => token.clone(),
            "jti" => of("jti"),
            "family" => of("fid"),
            "session" => of("sid"),
            _ => person.username.clone(),
        };
        demo().command(&["revoke", &format!("--{by}"), &what, "--reason", "test", "--wait"]);
        for token in made.iter().chain([&token]) {
            // Nothing else is said of what does not count (RFC 7662 §2.2).
            assert_eq!(inspected(token), json!({"active": false}), "by {by}");
        }
        let again = refused(&chain.first, &made[0], &[("audience", &chain.second)]);
        assert_eq!(again, "invalid_request", "by {by}");
    }
    // To sign out does it, too.
    let (mut browser, answer) = Browser::signed_in(demo().public, &demo().person("customer"));
    let made = chain.both(answer["access_token"].as_str().unwrap());
    browser.change(demo().public.post("/api/auth/logout")).expect(204);
    for token in &made {
        assert_eq!(inspected(token), json!({"active": false}));
    }
    for token in &others {
        assert_eq!(inspected(token)["active"], true);
    }
}

/// It is taken back alone: its origin, and what else was made of that, go on.
#[test]
fn a_derived_token_that_is_taken_back_takes_its_own_and_nothing_before_it() {
    let chain = Chain::new();
    let (_, token) = somebody();
    let [first, sibling] = [(); 2].map(|()| chain.first(&token));
    let second = chain.second(&first);
    demo().command(&["revoke", "--token", &first, "--reason", "test", "--wait"]);
    for dead in [&first, &second] {
        assert_eq!(inspected(dead), json!({"active": false}));
    }
    for alive in [&token, &sibling] {
        assert_eq!(inspected(alive)["active"], true);
    }
}

#[test]
fn taking_back_the_origin_takes_back_the_exchange() {
    let (person, token) = somebody();
    let orders = demo().client("orders");
    exchange(&orders, &token, &[("audience", "payments")]).expect(200);
    demo().command(&["revoke", "--user", &person.username, "--reason", "test", "--wait"]);
    assert_eq!(refused(&orders, &token, &[("audience", "payments")]), "invalid_request");
}
