//! The command line against the running demo.

use std::{fs, io::Read as _, net::TcpStream};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    browser::{Browser, ask_token, tokens},
    demo::{Demo, demo, said, unique, until},
    jwt::verified,
};

/// The member of a list whose `name` is `value`.
fn member(list: &Value, name: &str, value: &str) -> Option<Value> {
    list.as_array().unwrap().iter().find(|item| item[name] == value).cloned()
}

/// Whether a token opens the gateway.
fn passes(demo: &Demo, token: &str) -> bool {
    demo.gateway.get("/echo/x").bearer(token).send().status == 200
}

#[test]
fn people_are_added_listed_shown_disabled_and_given_new_passwords() {
    let demo = demo();
    let person = demo.person("customer");
    let listed = member(&demo.command(&["user", "list"]), "username", &person.username).unwrap();
    let mut shown = demo.command(&["user", "show", &person.username]);
    // Of one person it also says by what they prove themselves.
    let factors =
        [("passkeys", json!(0)), ("totp_since", json!(null)), ("recovery_codes", json!(0))];
    for (name, none) in factors {
        assert_eq!(shown.as_object_mut().unwrap().remove(name), Some(none));
    }
    assert_eq!(listed, shown);
    assert_eq!((&shown["id"], &shown["roles"]), (&json!(person.id), &json!(["customer"])));
    assert!(!shown.to_string().contains("password") && !shown.to_string().contains("argon2"));

    let file = demo.file("another correct horse\n");
    demo.command(&["user", "passwd", &person.username, "--password-file", &file]);
    let mut browser = Browser::new(demo.public);
    browser.sign_in(&person).expect(401);
    let changed =
        super::demo::Person { password: "another correct horse".to_owned(), ..person.clone() };
    browser.sign_in(&changed).expect(200);
    assert_eq!(demo.command(&["user", "disable", &person.username])["disabled"], true);
    browser.sign_in(&changed).expect(401);
    let undone = demo.command(&["user", "disable", &person.username, "--undo"]);
    assert_eq!(undone["disabled"], false);
    browser.sign_in(&changed).expect(200);

    let twice = ["user", "add", person.username.as_str(), "--no-password"];
    demo.refused(&twice, 1);
    demo.refused(&["user", "show", &unique("nobody")], 1);
}

#[test]
fn disabling_somebody_ends_their_sessions() {
    let demo = demo();
    let person = demo.person("customer");
    let (mut browser, told) = Browser::signed_in(demo.public, &person);
    let mut other = Browser::signed_in(demo.public, &person).0;
    let token = told["access_token"].as_str().unwrap();
    assert!(passes(demo, token));
    demo.command(&["user", "disable", &person.username]);
    assert!(!passes(demo, token));
    for browser in [&mut browser, &mut other] {
        browser.get("/api/auth/session").expect(401);
    }
}

#[test]
fn a_client_has_its_secret_shown_once_and_rotated() {
    let demo = demo();
    let client = demo.new_client(&["--grant-type", "client_credentials", "--scope", "a.b"]);
    let listed = member(&demo.command(&["client", "list"]), "client_id", &client.id).unwrap();
    assert!(!listed.to_string().contains(client.secret.as_deref().unwrap()));
    let grant = [("grant_type", "client_credentials")];
    let answer = ask_token(demo, &client, &grant).expect(200).json();
    let token = answer["access_token"].as_str().unwrap();
    let rotated = demo.command(&["client", "rotate-secret", &client.id]);
    let secret = rotated["client_secret"].as_str().unwrap().to_owned();
    let fresh = super::demo::Client { secret: Some(secret), ..client.clone() };
    // The one before works until the next rotation.
    ask_token(demo, &client, &grant).expect(200);
    ask_token(demo, &fresh, &grant).expect(200);
    demo.command(&["client", "rotate-secret", &client.id]);
    ask_token(demo, &client, &grant).expect(401);

    assert!(passes(demo, token));
    demo.command(&["client", "remove", &client.id]);
    assert!(!passes(demo, token));
    ask_token(demo, &fresh, &grant).expect(401);
    demo.refused(&["client", "remove", &client.id], 1);
}

#[test]
fn services_are_added_allowed_listed_and_removed() {
    let demo = demo();
    let (name, caller) = (unique("service"), demo.client("demo-service"));
    let upstream = format!("http://127.0.0.1:{}", demo.public.port + 20);
    demo.command(&["service", "add", &name, "--upstream", &upstream]);
    let listed = member(&demo.command(&["service", "list"]), "name", &name).unwrap();
    assert_eq!(listed["upstreams"], json!([upstream]));
    let fields = [("grant_type", "client_credentials"), ("audience", name.as_str())];
    ask_token(demo, &caller, &fields).expect(400);
    demo.command(&["service", "allow", &name, &caller.id]);
    ask_token(demo, &caller, &fields).expect(200);
    demo.command(&["service", "remove", &name]);
    assert_eq!(member(&demo.command(&["service", "list"]), "name", &name), None);
    ask_token(demo, &caller, &fields).expect(400);
    demo.refused(&["service", "remove", &name], 1);
}

#[test]
fn keys_are_listed_and_an_unknown_one_is_not_retired() {
    let demo = demo();
    let keys = demo.command(&["key", "list"]);
    let states: Vec<_> = keys.as_array().unwrap().iter().map(|key| &key["state"]).collect();
    assert!(states.contains(&&json!("current")) && states.contains(&&json!("next")), "{keys}");
    assert!(!keys.to_string().contains("PRIVATE"));
    demo.refused(&["key", "retire", "nothing"], 1);
    let file = demo.file("no key\n");
    let output = demo.run(&["key", "import", &file]);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{}", said(&output));
}

#[test]
fn keys_rotate_while_tokens_of_the_old_ones_go_on() {
    let demo = demo();
    let client = demo.client("demo-service");
    let token = || {
        let answer = ask_token(demo, &client, &[("grant_type", "client_credentials")]);
        answer.expect(200).json()["access_token"].as_str().unwrap().to_owned()
    };
    let kid = |token: &str| verified(token).header["kid"].clone();
    let before = token();
    // The next key is published for a while before it signs.
    let rotate = ["key", "rotate", "--algorithm", "RS256"];
    until("the next key may sign", || {
        let done = demo.run(&rotate).status.success();
        if !done {
            be_hung_up_on(demo);
        }
        done
    });
    let after = token();
    assert_ne!(kid(&before), kid(&after));
    assert!(passes(demo, &before) && passes(demo, &after));
    let keys = demo.command(&["key", "list"]);
    let state =
        |token: &str| member(&keys, "kid", kid(token).as_str().unwrap()).unwrap()["state"].clone();
    assert_eq!((state(&before), state(&after)), (json!("previous"), json!("current")));
    // Tokens of the old one are alive.
    demo.refused(&["key", "retire", kid(&before).as_str().unwrap()], 1);
}

/// Says nothing to the demo until it hangs up, which is some seconds later: in the meantime other
/// tests have the machine.
fn be_hung_up_on(demo: &Demo) {
    let mut silent = TcpStream::connect(("127.0.0.1", demo.public.port)).unwrap();
    let _nothing = silent.read(&mut [0]);
}

#[test]
fn an_imported_key_is_published_under_its_name_and_signs() {
    let demo = demo();
    let file = demo.file(&pem());
    let kid = unique("imported");
    demo.command(&["key", "import", &file, "--kid", &kid]);
    let keys = demo.public.get("/.well-known/jwks.json").send().expect(200).json();
    let key = member(&keys["keys"], "kid", &kid).unwrap();
    assert_eq!((&key["kty"], &key["alg"]), (&json!("EC"), &json!("ES256")));
    let fields = [("grant_type", "client_credentials"), ("audience", "carts")];
    let answer = ask_token(demo, &demo.client("orders"), &fields).expect(200).json();
    assert_eq!(verified(answer["access_token"].as_str().unwrap()).header["kid"], kid);
    demo.refused(&["key", "import", &file, "--kid", &kid], 1);
}

/// A new private key of P-256, as PKCS#8 in PEM.
pub(crate) fn pem() -> String {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let text = STANDARD.encode(key.as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

#[test]
fn a_token_is_inspected_whatever_kind_it_is() {
    let demo = demo();
    let person = demo.person("customer");
    let given = tokens(demo, &demo.client("demo-spa"), &person);
    let text = |name: &str| given[name].as_str().unwrap();
    let access = demo.command(&["token", "inspect", text("access_token")]);
    assert_eq!(access["claims"]["sub"], person.id);
    assert_eq!(access["standing"], "valid");
    let refresh = demo.command(&["token", "inspect", text("refresh_token")]);
    assert_eq!((&refresh["sub"], &refresh["ended"]), (&json!(person.id), &Value::Null));
    demo.refused(&["token", "inspect", "nonsense"], 1);
}

#[test]
fn whatever_is_revoked_is_refused_when_the_command_is_done() {
    let demo = demo();
    let revoke = |what: &str, value: &str| {
        demo.command(&["revoke", what, value, "--reason", "test", "--wait"])
    };
    let session = || {
        let person = demo.person("customer");
        let (browser, told) = Browser::signed_in(demo.public, &person);
        let token = told["access_token"].as_str().unwrap().to_owned();
        assert!(passes(demo, &token));
        (person, browser, told, token)
    };
    let (_, mut browser, _, token) = session();
    let done = revoke("--token", &token);
    assert!(done["confirmed"].is_object(), "{done}");
    assert!(!passes(demo, &token));
    browser.get("/api/auth/session").expect(200);

    let (_, _, _, token) = session();
    let claims = super::jwt::unverified(&token).claims;
    revoke("--jti", claims["jti"].as_str().unwrap());
    assert!(!passes(demo, &token));

    let (_, mut browser, _, token) = session();
    let claims = super::jwt::unverified(&token).claims;
    revoke("--family", claims["fid"].as_str().unwrap());
    assert!(!passes(demo, &token));
    browser.change(demo.public.post("/api/auth/refresh")).expect(401);

    let (_, mut browser, told, token) = session();
    revoke("--session", told["sid"].as_str().unwrap());
    assert!(!passes(demo, &token));
    browser.get("/api/auth/session").expect(401);

    let (person, mut browser, _, token) = session();
    let given = tokens(demo, &demo.client("demo-web"), &person);
    revoke("--user", &person.username);
    assert!(!passes(demo, &token) && !passes(demo, given["access_token"].as_str().unwrap()));
    browser.get("/api/auth/session").expect(401);
    // They can sign in again.
    browser.sign_in(&person).expect(200);

    let client = demo.new_client(&["--grant-type", "client_credentials"]);
    let grant = [("grant_type", "client_credentials")];
    let token = ask_token(demo, &client, &grant).expect(200).json();
    let token = token["access_token"].as_str().unwrap();
    revoke("--client", &client.id);
    assert!(!passes(demo, token));
    let token = ask_token(demo, &client, &grant).expect(200).json();
    assert!(passes(demo, token["access_token"].as_str().unwrap()));

    demo.refused(&["revoke", "--user", &unique("nobody"), "--reason", "test"], 1);
    demo.refused(&["revoke", "--token", "nonsense", "--reason", "test"], 1);
    for usage in [&["revoke", "--reason", "x"][..], &["revoke", "--user", "a"]] {
        assert_eq!(demo.run(usage).status.code(), Some(2));
    }
}

#[test]
fn sessions_are_listed_and_ended() {
    let demo = demo();
    let person = demo.person("customer");
    let (mut browser, told) = Browser::signed_in(demo.public, &person);
    let sid = told["sid"].as_str().unwrap();
    let own = demo.command(&["session", "list", "--user", &person.username]);
    assert_eq!(own.as_array().unwrap().len(), 1);
    assert_eq!(own[0]["sid"], sid);
    assert!(member(&demo.command(&["session", "list"]), "sid", sid).is_some());
    assert!(!own.to_string().contains(browser.cookie("session_id").unwrap()));
    demo.command(&["session", "end", sid]);
    browser.get("/api/auth/session").expect(401);
    demo.refused(&["session", "end", sid], 1);
}

#[test]
fn consents_are_listed_and_withdrawn() {
    let demo = demo();
    let person = demo.person("customer");
    let client = demo.client("demo-web");
    let had = tokens(demo, &client, &person);
    let list = || demo.command(&["consent", "list", "--user", &person.username]);
    assert_eq!(list()[0]["client_id"], "demo-web");
    assert!(member(&demo.command(&["consent", "list"]), "user_id", &person.id).is_some());
    let withdraw = ["consent", "withdraw", &person.username, "demo-web"];
    assert_eq!(demo.command(&withdraw)["families"], 1);
    assert!(!passes(demo, had["access_token"].as_str().unwrap()));
    assert_eq!(list(), json!([]));
    demo.refused(&withdraw, 1);
}

#[test]
fn what_is_applied_is_there_and_applying_again_changes_nothing() {
    let demo = demo();
    let (user, client) = (unique("applied"), unique("applied"));
    let json = json!({
        "user": [{"username": user, "password": "correct horse battery staple", "roles": ["customer"]}],
        "client": [{
            "client_id": client, "client_secret": "a secret of some length",
            "grant_types": ["client_credentials"], "scope": "orders.read",
            "token_endpoint_auth_method": "client_secret_basic", "may_introspect": true,
        }],
    });
    let file = format!("{}.json", demo.file(""));
    fs::write(&file, json.to_string()).unwrap();
    let count = |args: &[&str]| demo.command(args)["changed"].as_array().unwrap().len();
    assert_eq!(count(&["apply", &file, "--dry-run"]), 2);
    demo.refused(&["user", "show", &user], 1);
    assert_eq!(count(&["apply", &file]), 2);
    assert_eq!(count(&["apply", &file]), 0);
    let secret = Some("a secret of some length".to_owned());
    let client = super::demo::Client { id: client, secret };
    ask_token(demo, &client, &[("grant_type", "client_credentials")]).expect(200);
    demo.command(&["user", "show", &user]);
    assert!(demo.refused(&["apply", "nowhere.toml"], 2).contains("nowhere.toml"));
}

#[test]
fn doctor_finds_a_running_demo_in_order() {
    let checks = demo().command(&["doctor"]);
    for check in checks.as_array().unwrap() {
        assert_eq!(check["ok"], true, "{check}");
    }
    let text = demo().run(&["doctor"]);
    assert_eq!(text.status.code(), Some(0));
}

#[test]
fn help_is_everywhere_and_wrong_usage_is_2() {
    let demo = demo();
    let commands = "demo serve init doctor apply user client service key token revoke session";
    for command in commands.split(' ') {
        let output = demo.run(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage:"), "{command}");
        let output = demo.run(&[command, "--no-such-option"]);
        assert_eq!(output.status.code(), Some(2), "{command}");
    }
    assert_eq!(demo.run(&["user", "list", "--format", "xml"]).status.code(), Some(2));
    // For people, the same as a table.
    let table = demo.run(&["key", "list"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("KID"));
}

#[test]
fn a_second_demo_on_the_same_ports_is_exit_code_2() {
    let demo = demo();
    let port = demo.public.port.to_string();
    let elsewhere = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tegata"))
        .args(["demo", "--port-base", &port, "--data-dir"])
        .arg(elsewhere.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains(&port));
}
