//! Libraries of clients that others wrote drive the provider: openid-client and oauth4webapi
//! (JavaScript), authlib and pycose (Python). What they take for wrong, others would. And a real browser drives the
//! pages, where only a browser can.
//!
//! Each test runs one script of `tests/clients` against a demo that all share. The scripts go through
//! the real pages, as a browser does.

#![cfg(test)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use serde_json::{Value, json};
use tegata_engines::{process::program, tools::present};

#[expect(dead_code, reason = "hostile tests need more certificates than scripts do")]
#[path = "mtls/certificates.rs"]
mod certificates;
#[expect(dead_code, reason = "the contract needs more of a demo than scripts do")]
#[path = "contract/demo.rs"]
mod demo;
#[expect(dead_code, reason = "scripts speak HTTP themselves")]
#[path = "contract/http.rs"]
mod http;
#[expect(dead_code, reason = "hostile tests ask more of a server than scripts do")]
#[path = "mtls/world.rs"]
mod world;

use certificates::{Shown, named};
use demo::demo;
use world::{Server, machine, own};

/// Of whoever signs in where a script has a server of its own.
const PASSWORD: &str = "a long and private phrase";

/// The file that tells a script where everything is.
fn context() -> &'static str {
    static CONTEXT: LazyLock<String> = LazyLock::new(|| {
        let database = demo().database();
        let mut told = demo().described.clone();
        let more: [(&str, Value); 7] = [
            ("chromium", json!(program("chromium", "chromium"))),
            ("modules", json!(present("openid-client").join("node_modules"))),
            ("axe", json!(present("axe").join("node_modules/axe-core/axe.min.js"))),
            ("validators", json!(present("openapi").join("node_modules"))),
            ("typescript", json!(present("typescript").join("node_modules"))),
            ("program", json!(env!("CARGO_BIN_EXE_tegata"))),
            ("data", json!(database.parent().unwrap())),
        ];
        for (name, value) in more {
            told[name] = value;
        }
        demo().file(&told.to_string())
    });
    &CONTEXT
}

/// Runs a script, which must end well.
fn run(interpreter: PathBuf, script: &str) {
    run_with(interpreter, script, context(), &[]);
}

/// The same with another file, and with these variables.
fn run_with(interpreter: PathBuf, script: &str, context: &str, variables: &[(&str, &Path)]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let output = Command::new(interpreter)
        .arg(file)
        .arg(context)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} ended with {}:\n{said}", output.status);
}

fn javascript(script: &str) {
    run(program("node", "nodejs"), script);
}

fn python(library: &str, script: &str) {
    run(present(library).join("bin/python"), script);
}

#[test]
fn chromium_sets_up_uses_and_removes_a_passkey() {
    javascript("passkeys.mjs");
}

/// Looks at all pages in a language.
fn pages(language: &str) {
    let language = [("TEGATA_LANGUAGE", Path::new(language))];
    run_with(program("node", "nodejs"), "pages.mjs", context(), &language);
}

#[test]
fn chromium_shows_pages_that_everybody_can_use() {
    pages("en");
}

#[test]
fn chromium_shows_pages_that_everybody_can_use_in_japanese() {
    pages("ja");
}

/// A server that sends mail, demands a second factor of some, knows clients that describe themselves, and asks
/// whoever allows a device to show that they are there.
fn seldom(language: &str) {
    let server = Server::start(|[public, _, gateway, _]| {
        format!(
            "[public]\nlisten = \"127.0.0.1:{public}\"\nissuer = \"http://localhost:{public}\"\n\
             [gateway]\nlisten = \"127.0.0.1:{gateway}\"\naudience = \"http://localhost:{gateway}\"\n\
             [operations]\nlisten = \"127.0.0.1:0\"\n[keys]\nalgorithms = [\"ES256\"]\n\
             [sessions]\napproval_proof = \"always\"\n\
             [clients]\nmetadata_documents = true\nmetadata_document_hosts = [\"127.0.0.1\"]\n\
             reach = [\"127.0.0.0/8\"]\n\
             [users]\nregistration = \"open\"\nsign_in_by_mail = true\n\
             second_factor_roles = [\"editor\"]\n\
             [[user]]\nusername = \"maria\"\npassword = \"{PASSWORD}\"\n\
             [[user]]\nusername = \"editor\"\npassword = \"{PASSWORD}\"\nroles = [\"editor\"]\n\
             [[client]]\nclient_id = \"screen\"\nclient_name = \"A screen in the kitchen\"\n\
             public = true\nscope = \"openid profile email offline_access\"\ngrant_types = \
             [\"urn:ietf:params:oauth:grant-type:device_code\", \"refresh_token\"]\n"
        )
    });
    looks("seldom.mjs", language, &server, &["maria", "editor"]);
}

/// A server with a name of its own, the theme of `docs/sessions.md`, and one for all that this leaves as it is.
fn themed(language: &str) {
    let documented = include_str!("../../../docs/sessions.md");
    let (_, section) = documented.split_once("\n## The pages in your colours\n").unwrap();
    let (_, sheet) = section.split_once("```css\n").unwrap();
    let (sheet, _) = sheet.split_once("```").unwrap();
    let theme = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&theme, format!("{sheet}\n{}", include_str!("clients/theme.css"))).unwrap();
    let file = theme.path().to_str().unwrap();
    let server = Server::start(|[public, _, gateway, _]| {
        format!(
            "[public]\nlisten = \"127.0.0.1:{public}\"\nissuer = \"http://localhost:{public}\"\n\
             brand = \"Example Travel\"\ntheme_file = \"{file}\"\n\
             [gateway]\nlisten = \"127.0.0.1:{gateway}\"\naudience = \"http://localhost:{gateway}\"\n\
             [operations]\nlisten = \"127.0.0.1:0\"\n[keys]\nalgorithms = [\"ES256\"]\n\
             [consent]\nbanner = true\n\
             [[user]]\nusername = \"maria\"\npassword = \"{PASSWORD}\"\nroles = [\"admin\"]\n\
             [[client]]\nclient_id = \"travel\"\nclient_name = \"Example Travel\"\npublic = true\n\
             grant_types = [\"authorization_code\"]\nscope = \"openid profile email\"\n\
             redirect_uris = [\"http://127.0.0.1:9999/callback\"]\n"
        )
    });
    looks("themed.mjs", language, &server, &["maria"]);
}

/// Looks at pages of a server with these people in a language.
fn looks(script: &str, language: &str, server: &Server, people: &[&str]) {
    let users = people.iter().map(|name| json!({"username": name, "password": PASSWORD}));
    let context = json!({
        "issuer": format!("http://localhost:{}", server.public),
        "gateway": format!("http://localhost:{}", server.gateway),
        "users": users.collect::<Vec<_>>(),
        "clients": [],
        "chromium": program("chromium", "chromium"),
        "axe": present("axe").join("node_modules/axe-core/axe.min.js"),
    });
    let file = server.path().join("context.json");
    std::fs::write(&file, context.to_string()).unwrap();
    let language = [("TEGATA_LANGUAGE", Path::new(language))];
    run_with(program("node", "nodejs"), script, file.to_str().unwrap(), &language);
}

#[test]
fn everybody_can_use_the_pages_that_people_meet_seldom() {
    seldom("en");
}

#[test]
fn everybody_can_use_the_pages_that_people_meet_seldom_in_japanese() {
    seldom("ja");
}

#[test]
fn everybody_can_use_the_pages_and_the_banner_in_an_operators_colours() {
    themed("en");
}

#[test]
fn everybody_can_use_the_pages_and_the_banner_in_an_operators_colours_in_japanese() {
    themed("ja");
}

/// Plays a script in a language.
fn in_language(script: &str, language: &str) {
    let language = [("TEGATA_LANGUAGE", Path::new(language))];
    run_with(program("node", "nodejs"), script, context(), &language);
}

#[test]
fn two_administrators_in_chromium_do_not_overwrite_each_other() {
    in_language("console_changes.mjs", "en");
}

#[test]
fn two_administrators_in_chromium_do_not_overwrite_each_other_in_japanese() {
    in_language("console_changes.mjs", "ja");
}

#[test]
fn chromium_shows_the_console_and_what_is_taken_back_meanwhile() {
    in_language("console.mjs", "en");
}

#[test]
fn chromium_shows_the_console_in_japanese() {
    in_language("console.mjs", "ja");
}

#[test]
fn chromium_is_asked_for_cookies_and_does_as_it_was_told() {
    javascript("consent.mjs");
}

#[test]
fn tabs_of_a_browser_are_one_session() {
    javascript("session/tabs.mjs");
}

#[test]
fn lost_answers_sleep_and_broken_networks_sign_nobody_out() {
    javascript("session/losses.mjs");
}

#[test]
fn the_browser_sdk_says_of_its_browser_what_a_server_cannot_see_and_to_nobody_else() {
    javascript("session/hints.mjs");
}

#[test]
fn a_page_with_the_csrf_token_in_its_head_asks_for_none() {
    javascript("session/meta.mjs");
}

#[test]
fn chromium_runs_what_the_policy_of_a_page_allows_and_nothing_else() {
    javascript("policy.mjs");
}

#[test]
fn a_hostile_script_takes_nothing_that_outlives_the_session() {
    javascript("session/secrets.mjs");
}

#[test]
fn a_hostile_script_takes_nothing_at_all_where_pages_are_given_no_tokens() {
    let (name, password) = ("maria", PASSWORD);
    let server = Server::behind_proxies(&format!(
        "[tokens]\nfor_pages = false\n[[user]]\nusername = \"{name}\"\npassword = \"{password}\"\n"
    ));
    let context = json!({
        "issuer": format!("http://localhost:{}", server.public),
        "gateway": format!("http://localhost:{}", server.gateway),
        "users": [{"name": name, "username": name, "password": password}],
        "clients": [],
        "chromium": program("chromium", "chromium"),
    });
    let file = server.path().join("context.json");
    std::fs::write(&file, context.to_string()).unwrap();
    let node = program("node", "nodejs");
    run_with(node, "session/cookie_alone.mjs", file.to_str().unwrap(), &[]);
}

#[test]
fn a_hostile_script_allows_nothing_in_the_persons_name() {
    javascript("session/presence.mjs");
}

#[test]
fn the_browser_sdk_does_without_tokens_where_it_is_given_none() {
    javascript("session/bare.mjs");
}

#[test]
fn people_are_told_that_their_session_has_ended() {
    javascript("session/notices.mjs");
}

#[test]
fn people_shop_with_the_browser_sdk() {
    javascript("session/shop.mjs");
}

#[test]
fn everybody_can_use_the_shop_and_read_the_notice() {
    in_language("session/everybody.mjs", "en");
}

#[test]
fn everybody_can_use_the_shop_and_read_the_notice_in_japanese() {
    in_language("session/everybody.mjs", "ja");
}

#[test]
fn the_browser_sdk_is_small_and_its_types_are_right() {
    javascript("session/sdk.mjs");
}

#[test]
fn openid_client_signs_people_in_and_takes_care_of_their_tokens() {
    javascript("code.mjs");
}

#[test]
fn openid_client_pushes_and_signs_requests_and_reads_signed_answers() {
    javascript("requests.mjs");
}

#[test]
fn openid_client_binds_tokens_to_its_key() {
    javascript("dpop.mjs");
}

#[test]
fn openid_client_goes_from_a_challenge_to_a_token_that_meets_it() {
    javascript("step_up.mjs");
}

#[test]
fn openid_client_registers_itself_with_secrets_and_with_published_keys() {
    javascript("registered.mjs");
}

#[test]
fn openid_client_waits_on_a_device_for_its_person() {
    javascript("device.mjs");
}

#[test]
fn openid_client_knows_people_by_names_of_its_sector() {
    javascript("pairwise.mjs");
}

#[test]
fn openid_client_signs_people_out_and_hears_of_it() {
    javascript("logout.mjs");
}

#[test]
fn openid_client_gets_tokens_for_services_and_exchanges_them() {
    javascript("services.mjs");
}

#[test]
fn oauth4webapi_accepts_the_access_tokens_of_every_grant() {
    javascript("access_tokens.mjs");
}

#[test]
fn oauth4webapi_does_all_of_fapi_2() {
    javascript("fapi.mjs");
}

#[test]
fn authlib_gets_tokens_by_every_grant_and_gives_them_back() {
    python("authlib", "grants.py");
}

#[test]
fn authlib_waits_on_a_device_for_its_person() {
    python("authlib", "device.py");
}

#[test]
fn authlib_pushes_its_requests() {
    python("authlib", "pushed.py");
}

#[test]
fn authlib_registers_reads_changes_and_removes_a_client() {
    python("authlib", "registration.py");
}

#[test]
fn pycose_reads_and_verifies_a_status_list() {
    python("pycose", "status_lists.py");
}

#[test]
fn openid_client_oauth4webapi_and_authlib_show_certificates() {
    let (by_key, password) = (Shown::own("own"), "correct horse battery staple");
    let wallet = "[[client]]\nclient_id = \"wallet\"\npublic = true\n\
                  grant_types = [\"authorization_code\", \"refresh_token\"]\n\
                  redirect_uris = [\"http://127.0.0.1:9999/callback\"]\n\
                  scope = \"openid profile email offline_access\"\n\
                  tls_client_certificate_bound_access_tokens = true\n";
    let user = format!("[[user]]\nusername = \"alice\"\npassword = \"{password}\"\n");
    let named_one = machine("machine", "tls_client_auth_san_dns = \"machine.example\"");
    let server = Server::with_tls(&(user + &named_one + &own("own", &by_key, true) + wallet));
    let signed = Shown::signed(&named("machine", "machine.example"), &server.ours);
    let pem = |shown: &Shown| {
        let (cert, key) = shown.pem();
        json!({"cert": cert, "key": key})
    };
    let context = json!({
        "issuer": format!("https://127.0.0.1:{}", server.public),
        "gateway": format!("https://127.0.0.1:{}", server.gateway),
        "protected_path": "/orders/1",
        "users": [{"username": "alice", "password": password}],
        "clients": [],
        "modules": present("openid-client").join("node_modules"),
        "certificates": {
            "machine": pem(&signed),
            "own": pem(&by_key),
            "wallet": pem(&Shown::own("wallet")),
            "other": pem(&Shown::own("other")),
        },
    });
    let file = server.path().join("context.json");
    std::fs::write(&file, context.to_string()).unwrap();
    let trust = server.path().join("ca.pem");
    let node = program("node", "nodejs");
    run_with(node, "mtls.mjs", file.to_str().unwrap(), &[("NODE_EXTRA_CA_CERTS", &trust)]);
    let python = present("authlib").join("bin/python");
    run_with(python, "mtls.py", file.to_str().unwrap(), &[("REQUESTS_CA_BUNDLE", &trust)]);
}

#[test]
fn ajv_finds_every_answer_of_administration_as_the_document_says() {
    javascript("admin.mjs");
}
