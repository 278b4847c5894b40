//! The person of the demo who has an authenticator app.

use serde_json::json;
use tegata_core::Node;
use tegata_identity::TotpSecret;

use super::{
    browser::Browser,
    demo::{Person, demo},
    jwt::verified,
};

/// All of it in turn: a code of an app works once, and there is one such person.
#[test]
fn the_described_secret_is_the_second_factor_and_an_operator_takes_it_away() {
    let demo = demo();
    let users = demo.described["users"].as_array().unwrap();
    let carol = users.iter().find(|user| user["totp_secret"].is_string()).unwrap();
    let text = |name: &str| carol[name].as_str().unwrap().to_owned();
    let app = TotpSecret::from_base32(&text("totp_secret")).unwrap();
    let (username, password) = (text("username"), text("password"));
    let person = Person { id: String::new(), username, password };

    let shown = demo.command(&["user", "show", &person.username]);
    assert!(shown["totp_since"].is_string() && shown["recovery_codes"] == 10, "{shown}");
    // Over the gateway as over the public listener.
    for place in [demo.public, demo.gateway] {
        let mut browser = Browser::new(place);
        let problem = browser.sign_in(&person).expect(401).problem();
        assert_eq!(problem["error"], "mfa_required");
        assert_eq!(problem["methods"], json!(["totp", "recovery_code"]));
        browser.get("/api/auth/session").expect(401);
        let body =
            |code: &str| json!({"mfa_token": problem["mfa_token"], "method": "totp", "code": code});
        let mfa = || place.post("/api/auth/mfa");
        browser.send(mfa().json(&body("no code"))).expect(401);
        if place == demo.public {
            let code = app.code_at(Node::start().now());
            let told = browser.send(mfa().json(&body(&code))).expect(200).json();
            let claims = verified(told["access_token"].as_str().unwrap()).claims;
            assert_eq!(
                (&claims["acr"], &claims["amr"]),
                (&json!("aal2"), &json!(["pwd", "otp", "mfa"]))
            );
            browser.send(mfa().json(&body(&code))).expect(401);
        }
    }
    let done = demo.command(&["user", "reset-factors", &person.username]);
    assert_eq!(done["second_factors"], "removed");
    let again = demo.command(&["user", "reset-factors", &person.username]);
    assert_eq!(again["second_factors"], "there were none");
    let shown = demo.command(&["user", "show", &person.username]);
    assert!(shown["totp_since"].is_null() && shown["recovery_codes"] == 0, "{shown}");
    Browser::new(demo.public).sign_in(&person).expect(200);
    demo.refused(&["user", "reset-factors", "nobody-at-all"], 1);
}
