//! `tegata doctor` finds what would keep the server from starting, and makes nothing.

use crate::{CONFIGURATION, Place};

/// What is wrong, by the name of the check.
fn wrong(place: &Place) -> Vec<(String, String)> {
    let output = place.run(&["doctor", "--format", "json"]);
    let checks: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let wrong = checks.iter().filter(|check| check["ok"] == false);
    let text = |check: &serde_json::Value, name: &str| check[name].as_str().unwrap().to_owned();
    let wrong: Vec<_> = wrong.map(|check| (text(check, "check"), text(check, "detail"))).collect();
    assert_eq!(output.status.code(), Some(i32::from(!wrong.is_empty())));
    wrong
}

#[test]
fn nothing_is_made_by_looking() {
    let place = Place::new();
    assert_eq!(wrong(&place), []);
    let names = std::fs::read_dir(place.path()).unwrap();
    let mut names: Vec<_> =
        names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["root.key", "tegata.toml"]);
}

#[test]
fn finds_certificates_that_are_not_there_and_routes_to_nowhere() {
    let route = "[[route]]\npath = \"/x\"\nservice = \"nowhere\"\n";
    let mail = |more: &str| {
        let url = "smtps://tegata@mail.example";
        format!("[mail]\nurl = \"{url}\"\nfrom = \"no-reply@example.com\"\n{more}\n")
    };
    let (password, authorities) = (mail("password_file = \"no.pw\""), mail("ca_file = \"no.pem\""));
    let secret = "[[user]]\nusername = \"a\"\npassword_file = \"no.pw\"\n";
    for (more, check, word) in [
        (
            "[public.tls]\ncertificate_file = \"no.pem\"\nkey_file = \"no.key\"\n",
            "[public.tls]",
            "no.pem",
        ),
        (
            "[gateway.tls]\ncertificate_file = \"no.pem\"\nkey_file = \"no.key\"\n",
            "[gateway.tls]",
            "no.pem",
        ),
        ("[gateway.upstream]\nca_file = \"no.pem\"\n", "[gateway.upstream] ca_file", "no.pem"),
        (password.as_str(), "mail", "no.pw"),
        (authorities.as_str(), "mail", "no.pem"),
        (route, "declarations", "nowhere"),
        (secret, "declarations", "no.pw"),
    ] {
        let place = Place::new();
        place.write("tegata.toml", &format!("{CONFIGURATION}{more}"));
        for has_store in [false, true] {
            if has_store {
                place.write("tegata.toml", CONFIGURATION);
                place.json(&["key", "list"]);
                place.write("tegata.toml", &format!("{CONFIGURATION}{more}"));
            }
            let found = wrong(&place);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].0 == check && found[0].1.contains(word), "{found:?}");
        }
    }
}

#[test]
fn finds_clients_whose_tokens_no_key_signs() {
    let place = Place::new();
    place.write("tegata.toml", &CONFIGURATION.replace("[\"ES256\"]", "[\"ES256\", \"EdDSA\"]"));
    place.write(
        "app.toml",
        "[[client]]\nclient_id = \"app\"\ngrant_types = [\"client_credentials\"]\n\
         access_token_signed_response_alg = \"EdDSA\"\n",
    );
    place.json(&["apply", "app.toml"]);
    assert_eq!(wrong(&place), []);
    place.write("tegata.toml", CONFIGURATION);
    let found = wrong(&place);
    assert!(found.iter().any(|(_, it)| it.contains("`app`") && it.contains("EdDSA")), "{found:?}");
}
