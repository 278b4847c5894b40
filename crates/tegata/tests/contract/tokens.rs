//! What can be asked about a token, and how it is taken back.

use std::io::Read as _;

use serde_json::{Value, json};

use super::{
    browser::{Browser, as_client, ask_token, attribute, authorization, redeem, tag, tokens},
    demo::{Client, demo, until},
    http::{Answer, form, parameter},
    jwt::{bytes, names, sorted, verified},
};

fn introspect(client: &Client, token: &str) -> Answer {
    let ask = demo().public.post("/oauth2/introspect");
    as_client(ask, client, &[("token", token)]).send()
}

fn revoke(client: &Client, token: &str) -> Answer {
    as_client(demo().public.post("/oauth2/revoke"), client, &[("token", token)]).send()
}

/// A token of a machine.
fn of_a_machine(client: &Client) -> String {
    let answer = ask_token(demo(), client, &[("grant_type", "client_credentials")]);
    answer.expect(200).json()["access_token"].as_str().unwrap().to_owned()
}

/// Whether the status list says that a token is revoked, and the claims of the list.
fn listed(token: &str) -> (bool, Value) {
    let status = verified(token).claims["status"]["status_list"].clone();
    let uri = status["uri"].as_str().unwrap();
    let path = uri.strip_prefix(&demo().issuer).unwrap();
    let answer = demo().public.get(path).send().expect(200);
    assert_eq!(answer.field("content-type"), Some("application/statuslist+jwt"));
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    let list = verified(&answer.text());
    assert_eq!(list.header["typ"], "statuslist+jwt");
    assert_eq!((&list.claims["iss"], &list.claims["sub"]), (&json!(demo().issuer), &json!(uri)));
    assert_eq!(list.claims["status_list"]["bits"], 1);
    let compressed = bytes(list.claims["status_list"]["lst"].as_str().unwrap());
    let mut bits = Vec::new();
    flate2::read::ZlibDecoder::new(&compressed[..]).read_to_end(&mut bits).unwrap();
    let index = usize::try_from(status["idx"].as_u64().unwrap()).unwrap();
    (bits[index / 8] >> (index % 8) & 1 == 1, list.claims)
}

#[test]
fn introspection_says_what_a_token_says_to_those_who_may_ask() {
    let demo = demo();
    let (person, service) = (demo.person("customer"), demo.client("demo-service"));
    let given = tokens(demo, &demo.client("demo-web"), &person);
    let token = given["access_token"].as_str().unwrap();
    let answer = introspect(&service, token).expect(200);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let answer = answer.json();
    assert_eq!(answer["active"], true);
    for (name, value) in verified(token).claims.as_object().unwrap() {
        assert_eq!(answer[name], *value, "{name}");
    }
    assert_eq!(answer["username"], person.username);
    assert_eq!(answer["token_type"], "Bearer");
    let refresh = given["refresh_token"].as_str().unwrap();
    assert_eq!(introspect(&service, refresh).expect(200).json()["active"], true);
    let id_token = given["id_token"].as_str().unwrap();
    for nothing in ["x", "a.b.c", "rt_1.1.x", id_token, &token[..token.len() - 4]] {
        let answer = introspect(&service, nothing).expect(200).json();
        assert_eq!(answer, json!({"active": false}), "{nothing}");
    }
    // Not everybody may ask, and nobody without a secret.
    let answer = introspect(&demo.client("demo-web"), token);
    assert!(matches!(answer.status, 400 | 401 | 403), "{}", answer.text());
    introspect(&demo.client("demo-spa"), token);
    let answer = demo.public.post("/oauth2/introspect").form(&[("token", token)]).send();
    assert_eq!(answer.expect(401).json()["error"], "invalid_client");
}

#[test]
fn a_revoked_token_is_inactive_and_refused_at_once() {
    let demo = demo();
    let service = demo.client("demo-service");
    let token = of_a_machine(&service);
    demo.gateway.get("/echo/x").bearer(&token).send().expect(200);
    revoke(&service, &token).expect(200);
    let refused = demo.gateway.get("/echo/x").bearer(&token).send().expect(401);
    assert!(refused.all("www-authenticate")[0].contains("invalid_token"));
    assert_eq!(introspect(&service, &token).expect(200).json(), json!({"active": false}));
    // Once more, and for what is no token (RFC 7009 §2.2).
    revoke(&service, &token).expect(200);
    revoke(&service, "nothing").expect(200);
}

#[test]
fn a_revoked_refresh_token_takes_its_access_tokens_along() {
    let demo = demo();
    for client in [demo.client("demo-web"), demo.client("demo-spa")] {
        let person = demo.person("customer");
        let given = tokens(demo, &client, &person);
        let text = |name: &str| given[name].as_str().unwrap();
        revoke(&client, text("refresh_token")).expect(200);
        let fields = [("grant_type", "refresh_token"), ("refresh_token", text("refresh_token"))];
        let answer = ask_token(demo, &client, &fields).expect(400).json();
        assert_eq!(answer["error"], "invalid_grant");
        demo.gateway.get("/echo/x").bearer(text("access_token")).send().expect(401);
    }
}

#[test]
fn nobody_revokes_the_tokens_of_another_client() {
    let demo = demo();
    let person = demo.person("customer");
    let given = tokens(demo, &demo.client("demo-web"), &person);
    let token = given["access_token"].as_str().unwrap();
    for name in ["refresh_token", "access_token"] {
        let answer = revoke(&demo.client("demo-spa"), given[name].as_str().unwrap());
        assert!(matches!(answer.status, 200 | 400), "{}", answer.text());
        demo.gateway.get("/echo/x").bearer(token).send().expect(200);
    }
}

#[test]
fn the_status_list_has_the_bit_of_a_revoked_token() {
    let service = demo().client("demo-service");
    let token = of_a_machine(&service);
    let (revoked, list) = listed(&token);
    assert!(!revoked);
    assert_eq!(names(&list), sorted("iss sub iat exp ttl status_list"));
    revoke(&service, &token).expect(200);
    // A list is given out for a few seconds as it was made.
    until("the bit is set", || listed(&token).0);
}

#[test]
fn lists_that_were_never_opened_are_not_there() {
    for id in ["1.1.0", "1.99999999.0", "2.1.0", "0.1.0", "x", "1.1", "1.1.0.0", "%00", "..%2f"] {
        let answer = demo().public.get(&format!("/status-lists/{id}")).send();
        assert_eq!(answer.status, 404, "{id}");
        answer.problem();
    }
}

#[test]
fn userinfo_takes_the_token_in_the_header_or_in_a_form() {
    let demo = demo();
    let person = demo.person("customer");
    let given = tokens(demo, &demo.client("demo-web"), &person);
    let token = given["access_token"].as_str().unwrap();
    let (get, post) =
        (|| demo.public.get("/oauth2/userinfo"), || demo.public.post("/oauth2/userinfo"));
    for ask in [get().bearer(token), post().bearer(token), post().form(&[("access_token", token)])]
    {
        let answer = ask.send().expect(200).json();
        assert_eq!(answer["sub"], person.id);
        assert_eq!(answer["preferred_username"], person.username);
        assert_eq!(answer["roles"], json!(["customer"]));
    }
    let missing = get().send().expect(401);
    let offered = missing.all("www-authenticate");
    assert!(offered[0].starts_with("Bearer") && offered[1].starts_with("DPoP"), "{offered:?}");
    assert!(offered.iter().all(|challenge| !challenge.contains("error")), "{offered:?}");
    let in_query = demo.public.get(&format!("/oauth2/userinfo?access_token={token}")).send();
    assert_eq!(in_query.status, 401);
    let twice = post().bearer(token).form(&[("access_token", token)]).send().expect(400);
    assert!(twice.all("www-authenticate")[0].contains("invalid_request"));
    for bad in ["nonsense", given["id_token"].as_str().unwrap()] {
        let answer = get().bearer(bad).send().expect(401);
        assert!(answer.all("www-authenticate")[0].contains("error=\"invalid_token\""));
    }
    let machine = of_a_machine(&demo.client("demo-service"));
    let status = get().bearer(&machine).send().status;
    assert!(matches!(status, 401 | 403), "{status}");
}

#[test]
fn logout_asks_first_and_then_ends_the_session() {
    let demo = demo();
    let (person, client) = (demo.person("customer"), demo.client("demo-spa"));
    let mut browser = Browser::new(demo.public);
    let address = browser.authorize(&authorization(&client), &person);
    let given = redeem(demo, &client, &parameter(&address, "code").unwrap()).expect(200).json();
    let hint = given["id_token"].as_str().unwrap();
    let target = format!("/oauth2/logout?{}", form(&[("id_token_hint", hint), ("state", "s")]));
    let page = browser.get(&target).expect(200).text();
    let button = tag(&page, "button", "value=\"logout\"").unwrap();
    assert_eq!(attribute(button, "name").unwrap(), "decision");
    // Somebody else's page cannot press the button.
    let forged = [("decision", "logout"), ("csrf_token", "forged")];
    let answer = browser.send(demo.public.post("/oauth2/logout").form(&forged));
    assert_eq!(answer.status, 403);
    browser.get("/api/auth/session").expect(200);

    let answer = browser.submit(&page, &[("decision", "logout")]);
    assert!(matches!(answer.status, 200 | 303), "{}", answer.text());
    assert_eq!(browser.cookie("session_id"), None);
    browser.get("/api/auth/session").expect(401);
    let token = given["access_token"].as_str().unwrap();
    demo.gateway.get("/echo/x").bearer(token).send().expect(401);
    // Where it leads must have been registered.
    let evil =
        form(&[("client_id", &client.id), ("post_logout_redirect_uri", "http://evil.example/")]);
    let answer = demo.public.get(&format!("/oauth2/logout?{evil}")).send();
    assert_eq!(answer.field("location"), None, "{}", answer.text());
}
