//! Tokens that are bound to a certificate are nobody's without it.

use serde_json::json;

use super::{
    certificates::{Shown, named},
    world::{Server, basic, bound_to, credentials, get, machine, post},
};

const SECRET: &str = "a secret of this client";

#[test]
fn a_bound_token_is_used_over_connections_that_show_its_certificate_and_over_no_other() {
    let clients =
        machine("machine", "tls_client_auth_san_dns = \"machine.example\"\nmay_introspect = true")
            + &machine("free", &format!("client_secret = \"{SECRET}\""));
    let server = Server::with_tls(&clients);
    let own = Shown::signed(&named("machine", "machine.example"), &server.ours);
    let token = server.access_token(Some(&own), &credentials("machine"));
    // Its scope is not for userinfo; that is said to its holder alone.
    for (port, path, passes) in [
        (server.mtls, "/oauth2/userinfo", 403),
        (server.gateway, "/oauth2/userinfo", 403),
        (server.mtls, "/ssf/streams", 403),
        (server.gateway, "/orders/1", 200),
    ] {
        let answer = server.ask(port, Some(&own), &get(path, &token, ""));
        assert_eq!(answer.status, passes, "{path}: {answer:?}");
        // Another certificate of the same client, one of nobody, the same key in other bytes.
        let renewed = Shown::signed(&named("machine", "machine.example"), &server.ours);
        for thief in [Some(&renewed), Some(&Shown::own("thief")), Some(&own.again("machine")), None]
        {
            server.ask(port, thief, &get(path, &token, "")).refuses_token();
        }
        // It is no DPoP token either.
        let dpop = get(path, &token, "").replace("Bearer", "DPoP");
        assert_eq!(server.ask(port, Some(&own), &dpop).status, 401);
    }
    // Where nothing asks for a certificate, it is nothing.
    server.ask(server.public, Some(&own), &get("/oauth2/userinfo", &token, "")).refuses_token();
    let seen = server.ask(server.gateway, Some(&own), &get("/orders/1", &token, "")).body;
    assert!(!seen.to_ascii_lowercase().contains("client-cert"), "{seen}");

    // Introspection says what whoever asks has to check.
    let form = format!("token={token}&client_id=machine");
    let request = post("/oauth2/introspect", &form, "");
    let answer = server.ask(server.mtls, Some(&own), &request).json();
    assert_eq!(answer["active"], true);
    assert_eq!(answer["cnf"], json!({"x5t#S256": own.x5t()}));
    assert_eq!(answer["token_type"], "Bearer");

    // A token of a client that does not ask for it is bound to nothing, certificate or not.
    let request = post("/oauth2/token", "grant_type=client_credentials", &basic("free", SECRET));
    let free = server.ask(server.mtls, Some(&own), &request).access_token();
    assert_eq!(bound_to(&free), serde_json::Value::Null);
    for shown in [Some(&own), None] {
        assert_eq!(server.ask(server.gateway, shown, &get("/orders/1", &free, "")).status, 200);
    }
}

#[test]
fn a_client_with_a_secret_can_have_its_tokens_bound() {
    let clients = machine(
        "bound",
        &format!("client_secret = \"{SECRET}\"\ntls_client_certificate_bound_access_tokens = true"),
    );
    let server = Server::with_tls(&clients);
    let shown = Shown::own("any");
    let request = post("/oauth2/token", "grant_type=client_credentials", &basic("bound", SECRET));
    let token = server.ask(server.mtls, Some(&shown), &request).access_token();
    assert_eq!(bound_to(&token), json!({"x5t#S256": shown.x5t()}));
    server.ask(server.mtls, None, &request).refuses(400, "invalid_request");
    server.ask(server.mtls, Some(&shown.expired("any")), &request).refuses(400, "invalid_request");
    server.ask(server.public, Some(&shown), &request).refuses(400, "invalid_request");
    assert_eq!(server.ask(server.gateway, Some(&shown), &get("/orders/1", &token, "")).status, 200);
    server.ask(server.gateway, None, &get("/orders/1", &token, "")).refuses_token();
}
