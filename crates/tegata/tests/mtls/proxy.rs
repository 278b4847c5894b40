//! Certificates that a proxy tells of: from trusted ones alone, and as RFC 9440 writes them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    certificates::{Shown, authority, named},
    world::{Server, ask_from, bound_to, credentials, get, machine, post},
};

const PROXY: [u8; 4] = [127, 0, 0, 2];
const STRANGER: [u8; 4] = [127, 0, 0, 1];

fn item(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

fn told(name: &str, value: &str) -> String {
    format!("{name}: {value}\r\n")
}

#[test]
fn a_trusted_proxy_is_believed_about_a_certificate_and_nobody_else_is() {
    let clients = machine("machine", "tls_client_auth_san_dns = \"machine.example\"");
    let server = Server::behind_proxies(&clients);
    let own = Shown::signed(&named("machine", "machine.example"), &server.ours);
    let line = told("Client-Cert", &item(&own.der));
    let token = |from, lines: &str| {
        ask_from(from, server.public, &post("/oauth2/token", &credentials("machine"), lines))
    };
    let good = token(PROXY, &line).access_token();
    assert_eq!(bound_to(&good), json!({"x5t#S256": own.x5t()}));
    // Whoever writes it themselves, whoever else they say to be, and in other spellings.
    token(STRANGER, &line).refuses(401, "invalid_client");
    let forwarded = format!("{line}X-Forwarded-For: 127.0.0.2\r\n");
    token(STRANGER, &forwarded).refuses(401, "invalid_client");
    token(PROXY, "").refuses(401, "invalid_client");
    for name in ["Client_Cert", "X-Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Client-Cert"] {
        token(PROXY, &told(name, &item(&own.der))).refuses(401, "invalid_client");
    }
    // What the proxy tells is judged like any other: it need not have been.
    let theirs = authority("ours");
    let other = Shown::signed(&named("machine", "machine.example"), &theirs);
    token(PROXY, &told("Client-Cert", &item(&other.der))).refuses(401, "invalid_client");
    let chained =
        told("Client-Cert", &item(&other.der)) + &told("Client-Cert-Chain", &item(theirs.der()));
    token(PROXY, &chained).refuses(401, "invalid_client");

    for (port, path, passes) in
        [(server.public, "/oauth2/userinfo", 403), (server.gateway, "/orders/1", 200)]
    {
        let ask = |from, lines: &str| ask_from(from, port, &get(path, &good, lines));
        assert_eq!(ask(PROXY, &line).status, passes, "{path}");
        ask(STRANGER, &line).refuses_token();
        ask(PROXY, "").refuses_token();
        ask(PROXY, &told("Client-Cert", &item(&other.der))).refuses_token();
        assert_eq!(ask(PROXY, &format!("{line}{line}")).status, 400, "{path}");
    }
    let seen = ask_from(PROXY, server.gateway, &get("/orders/1", &good, &line)).body;
    assert!(!seen.to_ascii_lowercase().contains("client-cert"), "{seen}");
    // Through the gateway to our own endpoints: it tells of what it was told, and of nothing else.
    let through = |from, lines: &str| {
        ask_from(from, server.gateway, &post("/oauth2/token", &credentials("machine"), lines))
    };
    through(PROXY, &line).access_token();
    through(STRANGER, &line).refuses(401, "invalid_client");
}

#[test]
fn what_a_trusted_proxy_lets_through_that_cannot_be_is_refused() {
    let clients = machine("machine", "tls_client_auth_san_dns = \"machine.example\"");
    let server = Server::behind_proxies(&clients);
    let own = Shown::signed(&named("machine", "machine.example"), &server.ours);
    let good = item(&own.der);
    let token = |lines: &str| {
        let request = post("/oauth2/token", &credentials("machine"), lines);
        ask_from(PROXY, server.public, &request)
    };
    let line = |value: &str| told("Client-Cert", value);
    token(&line(&good)).access_token();
    let oversized = item(&vec![0x30; 9000]);
    for (lines, why) in [
        (line(&good) + &line(&good), "twice"),
        (line("") + &line(&good), "twice, once empty"),
        (line(&good) + &told("client-cert", ""), "twice, in another case"),
        (line(&format!("{good}, {good}")), "two in one"),
        (line(""), "empty"),
        (line("::"), "an empty sequence"),
        (line(&STANDARD.encode(&own.der)), "no sequence"),
        (line(&format!("\"{good}\"")), "a text"),
        (line(&format!("{good};a=1")), "parameters"),
        (line(":AAAA:"), "no certificate"),
        (line(&format!(":{}:", STANDARD.encode([&own.der[..], &[0]].concat()))), "more behind it"),
        (line(&format!(":{}:", STANDARD.encode(&own.der[..own.der.len() - 1]))), "cut"),
        (line(&oversized), "oversized"),
        (told("Client-Cert-Chain", &good), "a chain alone"),
        (line(&good) + &told("Client-Cert-Chain", "x"), "a broken chain"),
    ] {
        let answer = token(&lines);
        assert_eq!(answer.status, 400, "{why}: {answer:?}");
        answer.refuses(400, "invalid_request");
    }
}
