//! What an outsider finds first: the description, the listeners, the metadata, the keys.

use serde_json::{Value, json};

use super::{
    demo::demo,
    http::Place,
    jwt::{names, sorted, verified},
};

/// Members of the description that are lists of objects with the member `name`, of which one is
/// `value`.
fn holds(list: &Value, name: &str, value: &str) -> bool {
    let mut items = list.as_array().unwrap().iter();
    items.any(|item| item[name].as_array().unwrap().iter().any(|one| one == value))
}

#[test]
fn the_description_has_the_promised_names_and_inhabitants() {
    let described = &demo().described;
    let promised = "issuer gateway operations admin users clients partner services \
                    protected_path public_path";
    for name in promised.split_whitespace() {
        assert!(!described[name].is_null(), "{name}");
    }
    assert_eq!(names(&described["admin"]), ["password", "username"]);
    for user in described["users"].as_array().unwrap() {
        assert_eq!(names(user), ["password", "roles", "totp_secret", "username"]);
        assert!(user["password"].as_str().unwrap().len() >= 12);
    }
    for role in ["customer", "admin"] {
        assert!(holds(&described["users"], "roles", role), "{role}");
    }
    let clients = &described["clients"];
    for client in clients.as_array().unwrap() {
        let promised = "client_id client_secret grant_types scope redirect_uris";
        assert_eq!(names(client), sorted(promised));
    }
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    for grant in ["client_credentials", "authorization_code", exchange] {
        assert!(holds(clients, "grant_types", grant), "{grant}");
    }
    assert!(holds(clients, "redirect_uris", "http://127.0.0.1:9999/callback"));
    let promised = "client_id client_secret issuer token_endpoint";
    assert_eq!(names(&described["partner"]), sorted(promised));
    let of_browsers =
        clients.as_array().unwrap().iter().filter(|it| !it["redirect_uris"][0].is_null());
    let (public, confidential): (Vec<_>, Vec<_>) =
        of_browsers.partition(|client| client["client_secret"].is_null());
    assert!(!public.is_empty() && !confidential.is_empty());
    for service in described["services"].as_array().unwrap() {
        let name = service["name"].as_str().unwrap();
        assert_eq!(service["path"], format!("/{name}"));
    }
    assert!(described["services"].as_array().unwrap().len() >= 11);
}

#[test]
fn the_described_paths_are_protected_and_open_as_they_say() {
    let (demo, described) = (demo(), &demo().described);
    let path = |name: &str| described[name].as_str().unwrap();
    demo.gateway.get(path("public_path")).send().expect(200);
    demo.gateway.get(path("protected_path")).send().expect(401);
}

#[test]
fn the_listeners_stand_side_by_side_on_both_loopback_addresses() {
    let demo = demo();
    let base = demo.public.port;
    assert_eq!((demo.gateway.port, demo.operations.port), (base + 1, base + 2));
    let has_six = std::net::TcpListener::bind("[::1]:0").is_ok();
    assert_eq!(Place::of(demo.described["partner"]["issuer"].as_str().unwrap()).port, base + 4);
    for port in (base..base + 3).chain([base + 4]) {
        assert_eq!(std::net::TcpStream::connect(("::1", port)).is_ok(), has_six, "{port}");
    }
    // The shop begins at N+10; each service says that it is well.
    Place { port: base + 10 }.get("/health").send().expect(200);
}

#[test]
fn both_metadata_documents_are_one_and_name_endpoints_that_answer() {
    let demo = demo();
    let open_id = demo.public.get("/.well-known/openid-configuration").send().expect(200);
    let oauth = demo.public.get("/.well-known/oauth-authorization-server").send().expect(200);
    assert_eq!(open_id.body, oauth.body);
    assert_eq!(open_id.field("content-type"), Some("application/json"));
    assert_eq!(open_id.field("access-control-allow-origin"), Some("*"));
    let metadata = open_id.json();
    assert_eq!(metadata["issuer"], demo.issuer);
    let at = |path: &str| json!(format!("{}{path}", demo.issuer));
    for (name, path) in [
        ("authorization_endpoint", "/oauth2/authorize"),
        ("token_endpoint", "/oauth2/token"),
        ("introspection_endpoint", "/oauth2/introspect"),
        ("revocation_endpoint", "/oauth2/revoke"),
        ("userinfo_endpoint", "/oauth2/userinfo"),
        ("end_session_endpoint", "/oauth2/logout"),
        ("jwks_uri", "/.well-known/jwks.json"),
    ] {
        assert_eq!(metadata[name], at(path), "{name}");
    }
    // Whatever it names is there, and whatever it says that it can, it can.
    for (name, value) in metadata.as_object().unwrap() {
        if !name.ends_with("_endpoint") && !name.ends_with("_uri") {
            continue;
        }
        let path = value.as_str().unwrap().strip_prefix(&demo.issuer).unwrap();
        let status = demo.public.get(path).send().status;
        assert!(matches!(status, 200 | 400 | 401 | 405), "{name}: {status}");
    }
    let lists = |name: &str, value: &str| {
        assert!(metadata[name].as_array().unwrap().iter().any(|it| it == value), "{name} {value}");
    };
    for grant in [
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    ] {
        lists("grant_types_supported", grant);
    }
    for method in ["client_secret_basic", "client_secret_post", "none"] {
        lists("token_endpoint_auth_methods_supported", method);
    }
    lists("response_types_supported", "code");
    lists("code_challenge_methods_supported", "S256");
    lists("subject_types_supported", "public");
    lists("id_token_signing_alg_values_supported", "RS256");
    assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
}

#[test]
fn the_keys_are_public_and_cached_for_as_long_as_they_may_be() {
    let demo = demo();
    let answer = demo.public.get("/.well-known/jwks.json").send().expect(200);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    assert!(answer.field("cache-control").unwrap().starts_with("public, max-age="));
    let tag = answer.field("etag").unwrap();
    let known = demo.public.get("/.well-known/jwks.json").field("If-None-Match", tag).send();
    // The keys can have been rotated by another test in between.
    assert!(known.status == 304 || known.body != answer.body, "{}", known.status);
    let keys = answer.json();
    let mut seen = std::collections::BTreeSet::new();
    for key in keys["keys"].as_array().unwrap() {
        assert_eq!(key["use"], "sig");
        let members = match key["kty"].as_str().unwrap() {
            "RSA" => "alg e kid kty n use",
            "EC" => "alg crv kid kty use x y",
            "OKP" => "alg crv kid kty use x",
            other => panic!("`{other}`"),
        };
        assert_eq!(names(key), sorted(members));
        assert!(seen.insert(key["kid"].as_str().unwrap()), "{key}");
    }
    assert!(seen.len() >= 2);
}

#[test]
fn a_token_verifies_by_the_published_keys_alone() {
    let demo = demo();
    let client = demo.client("demo-service");
    let ask = [("grant_type", "client_credentials")];
    let answer = super::browser::ask_token(demo, &client, &ask).expect(200).json();
    let jwt = verified(answer["access_token"].as_str().unwrap());
    assert_eq!(jwt.claims["iss"], demo.issuer);
}
