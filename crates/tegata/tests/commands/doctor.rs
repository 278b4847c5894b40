//! `tegata doctor` finds what would keep the server from starting, and makes nothing.

use std::time::Duration;

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
fn finds_every_file_that_is_named_and_not_there() {
    let issuer = "[[issuer]]\nissuer = \"https://idp.example\"\nca_file = \"no.pem\"\n";
    let service = "[[service]]\nname = \"a\"\nupstreams = [\"https://a.example\"]\n\
                   ca_file = \"/nowhere/no.pem\"\n";
    for (more, check) in [
        ("[clients]\nca_file = \"no.pem\"\n", "[clients] ca_file"),
        ("[users]\nbreached_passwords = \"no.txt\"\n", "[users] breached_passwords"),
        (
            "[ext_authz]\nlisten = \"127.0.0.1:0\"\nsecret_file = \"no.secret\"\n",
            "[ext_authz] secret_file",
        ),
        ("[sidecar]\nca_file = \"no.pem\"\n", "[sidecar] ca_file"),
        ("[signals]\nca_file = \"no.pem\"\n", "[signals] ca_file"),
        ("[redis]\nurl_file = \"no.url\"\n", "configuration"),
        (issuer, "[[issuer]] ca_file"),
        (service, "[[service]] `a` ca_file"),
    ] {
        let place = Place::new();
        place.write("tegata.toml", &format!("{CONFIGURATION}{more}"));
        let found = wrong(&place);
        let own = found.iter().find(|(name, _)| name == check);
        let (_, detail) = own.unwrap_or_else(|| panic!("{check}: {found:?}"));
        assert!(detail.contains("no."), "{detail}");
    }
}

/// A certificate for `a.example` that ends so many days from now, and its key.
fn certificate(days: i64) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    let now = i64::try_from(tegata_core::Node::start().now().secs()).unwrap();
    let since = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = since
        + Duration::from_secs(u64::try_from(now - since.unix_timestamp() + days * 86_400).unwrap());
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn finds_certificates_that_have_expired_and_says_which_will_soon() {
    let checks = |place: &Place| -> Vec<serde_json::Value> {
        let output = place.run(&["doctor", "--format", "json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for (days, ok, word) in
        [(-1, false, "expired"), (13, true, "warning: "), (15, true, ""), (400, true, "")]
    {
        let place = Place::new();
        let (certificate, key) = certificate(days);
        place.write("a.pem", &certificate);
        place.write("a.key", &key);
        place.write("ca.pem", &certificate);
        let tls = "certificate_file = \"a.pem\"\nkey_file = \"a.key\"\n";
        let more = format!("[gateway.tls]\n{tls}[gateway.upstream]\nca_file = \"ca.pem\"\n");
        place.write("tegata.toml", &format!("{CONFIGURATION}{more}"));
        let found = checks(&place);
        for check in ["[gateway.tls] certificate_file", "[gateway.upstream] ca_file"] {
            let of = |it: &&serde_json::Value| {
                it["check"] == check && it["detail"].as_str().unwrap().contains("expire")
            };
            let told = found.iter().find(of);
            if word.is_empty() {
                assert!(told.is_none(), "{told:?}");
                continue;
            }
            let told = told.unwrap_or_else(|| panic!("{check} {days}: {found:?}"));
            let detail = told["detail"].as_str().unwrap();
            assert_eq!(told["ok"], ok, "{detail}");
            assert!(detail.contains(word) && detail.contains("Z"), "{detail}");
        }
    }
    // Of several who vouch for others one may be old: those that are not still do.
    let place = Place::new();
    let both = format!("{}{}", certificate(-1).0, certificate(400).0);
    place.write("ca.pem", &both);
    let more = "[gateway.upstream]\nca_file = \"ca.pem\"\n";
    place.write("tegata.toml", &format!("{CONFIGURATION}{more}"));
    assert_eq!(wrong(&place), []);
    let found = checks(&place);
    assert!(found.iter().any(|it| it["detail"].as_str().unwrap().starts_with("warning: ")));
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
