//! Clients prove who they are by a certificate, and nobody else does.

use std::process::Command;

use rcgen::DnType;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tegata_token::Jwk;

use super::{
    certificates::{Shown, authority, named},
    world::{Publisher, Server, basic, bound_to, credentials, machine, own, post, until},
};

#[test]
fn a_client_is_who_an_authority_says_and_nobody_else() {
    let clients = machine("machine", "tls_client_auth_san_dns = \"machine.example\"")
        + &machine("named", "tls_client_auth_subject_dn = \"CN=named, O=Example\"")
        + &machine("secret", "client_secret = \"a secret of this client\"");
    let server = Server::with_tls(&clients);
    let ours = &server.ours;
    let good = Shown::signed(&named("machine", "machine.example"), ours);
    let token = server.access_token(Some(&good), &credentials("machine"));
    assert_eq!(bound_to(&token), json!({"x5t#S256": good.x5t()}));
    let other = Shown::signed(&named("named", "elsewhere.example"), ours);
    server.access_token(Some(&other), &credentials("named"));

    let theirs = authority("ours");
    let mut expired = named("machine", "machine.example");
    expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let mut reordered = rcgen::CertificateParams::default();
    reordered.distinguished_name.push(DnType::CommonName, "named");
    reordered.distinguished_name.push(DnType::OrganizationName, "Example");
    let mut of_server = named("machine", "machine.example");
    of_server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    for (client, shown, why) in [
        (
            "machine",
            Shown::signed(&named("machine", "machine.example"), &theirs),
            "another authority",
        ),
        (
            "named",
            Shown::signed(&named("named", "elsewhere.example"), &theirs),
            "another authority",
        ),
        ("machine", Shown::signed(&named("machine", "other.example"), ours), "another name"),
        ("machine", Shown::signed(&named("machine.example", "x.example"), ours), "only a subject"),
        ("named", Shown::signed(&named("Named", "named"), ours), "another subject"),
        ("named", Shown::signed(&reordered, ours), "another order"),
        ("machine", Shown::signed(&expired, ours), "expired"),
        ("machine", Shown::signed(&of_server, ours), "a server's"),
        ("machine", Shown::own("machine"), "its own signature"),
        ("named", good.again("named"), "another certificate of a known key"),
        ("named", Shown::signed(&named("machine", "machine.example"), ours), "another client"),
        // A certificate proves nothing of who proves themselves otherwise, or of whom there is not.
        ("secret", Shown::signed(&named("secret", "secret"), ours), "has a secret"),
        ("nobody", Shown::signed(&named("nobody", "nobody"), ours), "there is none"),
    ] {
        let answer = server.token(Some(&shown), &credentials(client));
        assert_eq!(answer.status, 401, "{why}: {answer:?}");
        answer.refuses(401, "invalid_client");
    }
    server.token(None, &credentials("machine")).refuses(401, "invalid_client");
    // Nothing asks for it there, so it is not shown.
    let main =
        server.ask(server.public, Some(&good), &post("/oauth2/token", &credentials("machine"), ""));
    main.refuses(401, "invalid_client");
    // Two ways at once.
    let form = "grant_type=client_credentials";
    let secret = basic("machine", "a secret of this client");
    let both = server.ask(server.mtls, Some(&good), &post("/oauth2/token", form, &secret));
    both.refuses(401, "invalid_client");
    let form = format!("{}&client_secret=x", credentials("machine"));
    server.token(Some(&good), &form).refuses(401, "invalid_client");
    // Nobody is anybody without saying who.
    server.token(Some(&good), form_without_client()).refuses(401, "invalid_client");
    // A header counts for nothing where the handshake does.
    let spoofed = format!("Client-Cert: :{}:\r\n", base64(&good.der));
    for port in [server.mtls, server.public, server.gateway] {
        let request = post("/oauth2/token", &credentials("machine"), &spoofed);
        server.ask(port, None, &request).refuses(401, "invalid_client");
    }
    // The endpoints behind the gateway see what the gateway sees.
    let through = post("/oauth2/token", &credentials("machine"), "");
    let token = server.ask(server.gateway, Some(&good), &through).access_token();
    assert_eq!(bound_to(&token), json!({"x5t#S256": good.x5t()}));
}

#[test]
fn a_certificate_of_ones_own_is_renewed_where_its_key_is_published() {
    let publisher = Publisher::start();
    let rest = format!(
        "token_endpoint_auth_method = \"self_signed_tls_client_auth\"\njwks_uri = \"{}\"",
        publisher.address
    );
    let server = Server::with_tls(&machine("reports", &rest));
    let request = post("/oauth2/token", &credentials("reports"), "");
    let counts = |shown: &Shown| {
        server.attempt(server.mtls, Some(shown), &TLS13, &request).unwrap().status == 200
    };
    // Keys need no name, and no algorithm.
    let bare = |shown: &Shown| Jwk { kid: None, alg: None, ..shown.jwk() };
    let with = |shown: &Shown, key: Jwk| Jwk { x5c: vec![base64(&shown.der)], ..key };
    let first = Shown::own("reports");
    publisher.publishes(with(&first, bare(&first)));
    assert!(counts(&first));
    // The same key in another certificate, whose name in the set stays what it was.
    let same_key = first.again("reports");
    assert!(!counts(&same_key));
    publisher.publishes(with(&same_key, bare(&first)));
    until("the renewed certificate counts", || counts(&same_key));
    assert!(!counts(&first));
    // Another key, by its thumbprint or by a name of the client's own.
    for kid in [None, Some("2026".to_owned())] {
        let next = Shown::own("reports");
        publisher.publishes(Jwk { kid, ..bare(&next) });
        until("the new key counts", || counts(&next));
        assert!(!counts(&same_key));
    }
}

fn form_without_client() -> &'static str {
    "grant_type=client_credentials"
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

#[test]
fn a_certificate_of_ones_own_counts_by_what_was_registered() {
    let (key, exact, others) = (Shown::own("key"), Shown::own("exact"), Shown::own("others"));
    let clients =
        own("key", &key, false) + &own("exact", &exact, true) + &own("others", &others, false);
    let server = Server::with_tls(&clients);
    for (client, shown) in [("key", &key), ("exact", &exact), ("others", &others)] {
        let token = server.access_token(Some(shown), &credentials(client));
        assert_eq!(bound_to(&token), json!({"x5t#S256": shown.x5t()}));
    }
    // The same key in another certificate: where the key was registered, it counts, and the token is
    // bound to what was shown; where the certificate was, it does not.
    let again = key.again("renewed");
    let token = server.access_token(Some(&again), &credentials("key"));
    assert_eq!(bound_to(&token), json!({"x5t#S256": again.x5t()}));
    for (client, shown, why) in [
        ("exact", exact.again("renewed"), "the same key, other bytes"),
        ("key", key.expired("key"), "expired"),
        ("key", others.again("key"), "registered for another client"),
        ("others", key.again("others"), "registered for another client"),
        ("key", Shown::own("key"), "nobody's"),
        ("key", Shown::signed(&named("key", "own.example"), &server.ours), "an authority's"),
    ] {
        let answer = server.token(Some(&shown), &credentials(client));
        assert_eq!(answer.status, 401, "{why}: {answer:?}");
    }
}

#[test]
fn who_has_a_certificate_without_its_key_has_nothing() {
    let shown = Shown::own("key");
    let server = Server::with_tls(&own("key", &shown, false));
    let stolen = shown.stolen();
    for port in [server.mtls, server.gateway] {
        let request = post("/oauth2/token", &credentials("key"), "");
        for version in [&TLS12, &TLS13] {
            assert!(server.attempt(port, Some(&shown), version, &request).is_some());
            let answer = server.attempt(port, Some(&stolen), version, &request);
            assert!(answer.is_none(), "{answer:?}");
        }
    }
}

#[test]
fn what_is_offered_is_said_and_can_be_registered() {
    let server = Server::with_tls("");
    let metadata = "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: localhost\r\n\
                    Connection: close\r\n\r\n";
    let metadata = server.ask(server.public, None, metadata).json();
    let base = format!("https://127.0.0.1:{}", server.mtls);
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], true);
    for endpoint in ["token", "revocation", "introspection", "userinfo", "device_authorization"] {
        let name = format!("{endpoint}_endpoint");
        let own = metadata[&name].as_str().unwrap().rsplit('/').next().unwrap();
        assert_eq!(metadata["mtls_endpoint_aliases"][&name], format!("{base}/oauth2/{own}"));
    }
    for member in ["token", "introspection", "revocation"] {
        let methods = &metadata[format!("{member}_endpoint_auth_methods_supported")];
        for method in ["tls_client_auth", "self_signed_tls_client_auth"] {
            assert!(methods.as_array().unwrap().contains(&json!(method)), "{methods}");
        }
    }
    let register = |wanted: serde_json::Value| {
        let body = wanted.to_string();
        let request = format!(
            "POST /oauth2/register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        server.attempt(server.public, None, &TLS13, &request).unwrap()
    };
    let good = json!({
        "redirect_uris": ["https://app.example/cb"], "token_endpoint_auth_method": "tls_client_auth",
        "tls_client_auth_san_uri": "spiffe://example/app",
        "tls_client_certificate_bound_access_tokens": true,
    });
    let made = register(good.clone());
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert!(made.get("client_secret").is_none(), "{made}");
    for (name, value) in good.as_object().unwrap() {
        assert_eq!(made[name], *value, "{made}");
    }
    let with = |name: &str, value: &str| {
        let mut changed = good.clone();
        changed[name] = json!(value);
        changed
    };
    for bad in [
        with("tls_client_auth_san_dns", "a.example"),
        with("token_endpoint_auth_method", "client_secret_basic"),
        with("token_endpoint_auth_method", "self_signed_tls_client_auth"),
        with("tls_client_auth_san_uri", ""),
    ] {
        register(bad).refuses(400, "invalid_client_metadata");
    }
}

#[test]
fn a_client_is_added_by_the_file_of_its_certificate() {
    let server = Server::with_tls("");
    let shown = Shown::own("reports");
    let (certificate, key) = shown.pem();
    std::fs::write(server.path().join("reports.pem"), certificate).unwrap();
    std::fs::write(server.path().join("reports.key"), key).unwrap();
    let add = |id: &str, file: &str| {
        let args = ["client", "add", id, "--grant-type", "client_credentials"];
        let output = Command::new(env!("CARGO_BIN_EXE_tegata"))
            .args(args)
            .args(["--certificate", file])
            .current_dir(server.path())
            .env_clear()
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(add("reports", "reports.pem"), (Some(0), String::new()));
    server.access_token(Some(&shown), &credentials("reports"));
    server
        .token(Some(&shown.again("reports")), &credentials("reports"))
        .refuses(401, "invalid_client");
    for file in ["reports.key", "nowhere.pem"] {
        let (code, said) = add("other", file);
        assert!(code == Some(2) && said.contains(file), "{said}");
    }
}
