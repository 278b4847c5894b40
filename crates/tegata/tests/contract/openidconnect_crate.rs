//! The crate `openidconnect` drives the provider. It is a program of its own, and this its browser.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use tegata_engines::tools::present;

use super::{
    browser::{Browser, CALLBACK},
    demo::{Client, Demo, Person, demo, unique},
    http::query,
};

const AFTER: &str = "http://127.0.0.1:9999/goodbye";

/// Runs the program, and goes where it sends its person; answers where that was.
fn driven(client: &Client, person: &Person) -> Vec<String> {
    let mut program = Command::new(present("openidconnect").join("debug/openidconnect"))
        .args([&demo().issuer, &client.id, client.secret.as_deref().unwrap_or("-")])
        .args([CALLBACK, AFTER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut browser = Browser::new(demo().public);
    let (mut answers, mut went) = (program.stdin.take().unwrap(), Vec::new());
    for line in BufReader::new(program.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let came = match line.rsplit_once(' ') {
            Some(("sign in", address)) => sign_in(&mut browser, address, person),
            Some(("sign out", address)) => sign_out(&mut browser, demo(), address),
            _ => String::new(),
        };
        went.push(line.split(" http").next().unwrap().to_owned());
        if !came.is_empty() {
            writeln!(answers, "{came}").unwrap();
        }
    }
    let output = program.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{went:?}: {said}");
    went
}

fn sign_in(browser: &mut Browser, address: &str, person: &Person) -> String {
    let asked = query(address);
    let asked: Vec<_> = asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.authorize(&asked, person)
}

fn sign_out(browser: &mut Browser, demo: &Demo, address: &str) -> String {
    let target = address.strip_prefix(demo.issuer.as_str()).unwrap();
    let page = browser.get(target).expect(200).text();
    browser.submit(&page, &[("decision", "logout")]).location().to_owned()
}

#[test]
fn it_finds_the_issuer_signs_people_in_asks_who_they_are_refreshes_and_signs_them_out() {
    for secret in [Some("the secret of a client that others wrote"), None] {
        let id = unique("openidconnect");
        let proof = secret.map_or_else(
            || "public = true\n".to_owned(),
            |secret| format!("client_secret = \"{secret}\"\n"),
        );
        let declared = format!(
            "[[client]]\nclient_id = \"{id}\"\n{proof}redirect_uris = [\"{CALLBACK}\"]\n\
             post_logout_redirect_uris = [\"{AFTER}\"]\n\
             grant_types = [\"authorization_code\", \"refresh_token\"]\n\
             scope = \"openid profile email offline_access\"\n"
        );
        demo().command(&["apply", &demo().file(&declared)]);
        let client = Client { id, secret: secret.map(str::to_owned) };
        let went = driven(&client, &demo().person("customer"));
        assert_eq!(went, ["sign in", "sign in", "sign out", "done"]);
    }
}
