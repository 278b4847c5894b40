//! A certificate is a credential by itself where a route says so.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use tegata_core::Node;

use super::{
    certificates::{Shown, named},
    world::{Answer, Server, machine, until},
};

const ROUTE: &str = "[[route]]\npath = \"/alone\"\nservice = \"orders\"\nscope = \"orders.read\"\n\
                     credentials = [\"certificate\"]\n";

/// One for clients, which begins to count now.
fn fresh(server: &Server) -> Shown {
    let mut params = named("machine", "machine.example");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let now = Duration::from_secs(Node::start().now().secs());
    params.not_before = date_time_ymd(1970, 1, 1) + now;
    Shown::signed(&params, &server.ours)
}

fn ask(server: &Server, shown: Option<&Shown>, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    server.ask(server.gateway, shown, &request)
}

#[test]
fn a_certificate_opens_a_route_until_its_client_is_taken_back() {
    let client = machine("machine", "tls_client_auth_san_dns = \"machine.example\"");
    let server = Server::with_tls(&(client + ROUTE));
    let own = fresh(&server);
    let answer = ask(&server, Some(&own), "/alone/1");
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = answer.body.to_ascii_lowercase();
    assert!(seen.contains("x-user-id: machine") && seen.contains("x-internal-token: "), "{seen}");
    assert!(!seen.contains("client-cert"), "{seen}");
    // Whoever has the certificate and not its key does not come to ask.
    assert_eq!(ask(&server, None, "/alone/1").status, 401);
    assert_eq!(ask(&server, Some(&own), "/orders/1").status, 401);
    // What is not said to be for clients may be a server's.
    let of_server = Shown::signed(&named("machine", "machine.example"), &server.ours);
    assert_eq!(ask(&server, Some(&of_server), "/alone/1").status, 401);
    assert_eq!(ask(&server, Some(&Shown::own("machine")), "/alone/1").status, 401);

    let revoked = Command::new(env!("CARGO_BIN_EXE_tegata"))
        .args(["revoke", "--service", "machine", "--reason", "test", "--wait"])
        .current_dir(server.path())
        .stdout(Stdio::null())
        .status();
    assert!(revoked.unwrap().success());
    assert_eq!(ask(&server, Some(&own), "/alone/1").status, 401);
    // Another, which began to count later, is known as soon as its second is another one.
    until("a new certificate counts", || {
        ask(&server, Some(&fresh(&server)), "/alone/1").status == 200
    });
    assert_eq!(ask(&server, Some(&own), "/alone/1").status, 401);
}
