//! `tegata token trace`: the life of a token, told from its `jti` alone.

use serde_json::{Value, json};

use super::{
    browser::{Browser, ask_token},
    demo::{demo, unique},
    jwt::verified,
};

fn jti(token: &str) -> String {
    verified(token).claims["jti"].as_str().unwrap().to_owned()
}

fn trace(jti: &str) -> Value {
    demo().command(&["token", "trace", jti])
}

#[test]
fn tells_who_issued_it_to_whom_where_it_was_used_what_was_made_of_it_and_why_it_was_taken_back() {
    let demo = demo();
    let person = demo.person("customer");
    let (_, answer) = Browser::signed_in(demo.public, &person);
    let token = answer["access_token"].as_str().unwrap();
    let claims = verified(token).claims;
    demo.gateway.get("/echo/here").bearer(token).send().expect(200);
    let exchange = |client: &str, subject: &str, audience: &str| {
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", subject),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", audience),
        ];
        let answer = ask_token(demo, &demo.client(client), &fields).expect(200).json();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let derived = exchange("orders", token, "payments");

    let told = trace(&jti(token));
    assert_eq!(told["issued"]["sub"], json!(person.id), "{told}");
    for name in ["client_id", "scope"] {
        assert_eq!(told["issued"][name], claims[name], "{told}");
    }
    assert_eq!(told["issued"]["issuer"], claims["iss"]);
    assert_eq!(told["issued"]["family"], claims["fid"]);
    assert_eq!(told["issued"]["session"], claims["sid"]);
    assert_eq!(told["used"]["count"], 1);
    assert_eq!(told["used"]["services"][0]["service"], "echo", "{told}");
    let made = &told["derived"][0];
    assert_eq!(made["jti"], json!(jti(&derived)), "{told}");
    assert_eq!((&made["client_id"], &made["audience"]), (&json!("orders"), &json!(["payments"])));
    assert_eq!(told["revoked"], json!([]));

    let of_derived = trace(&jti(&derived));
    assert_eq!(of_derived["issued"]["made_of"], claims["jti"], "{of_derived}");

    let reason = unique("lost-laptop");
    demo.command(&["revoke", "--session", claims["sid"].as_str().unwrap(), "--reason", &reason]);
    for traced in [trace(&jti(token)), trace(&jti(&derived))] {
        let revoked = traced["revoked"].as_array().unwrap();
        let by_us = revoked.iter().find(|entry| entry["reason"] == json!(reason));
        assert_eq!(by_us.map(|entry| &entry["actor"]), Some(&json!("operator")), "{traced}");
    }
}

#[test]
fn tells_of_a_token_that_a_client_got_in_its_own_name() {
    let demo = demo();
    let fields = [("grant_type", "client_credentials"), ("audience", "carts")];
    let answer = ask_token(demo, &demo.client("orders"), &fields).expect(200).json();
    let told = trace(&jti(answer["access_token"].as_str().unwrap()));
    assert_eq!(told["issued"]["grant"], "client_credentials");
    assert_eq!(told["issued"]["client_id"], "orders");
    assert_eq!(told["issued"]["audience"], json!(["carts"]));
}

#[test]
fn a_token_that_nobody_knows_is_said_to_be_unknown() {
    let demo = demo();
    for unknown in ["1.none", "1.20780.none.none", "no id", "../../etc/passwd"] {
        let output = demo.refused(&["token", "trace", unknown], 1);
        assert!(!output.contains("panicked"), "{output}");
    }
}
