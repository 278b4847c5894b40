//! A refused sign-in says nothing of who there is: the answer is the same, and so is the time that it takes.

use std::time::Duration;

use serde_json::{Value, json};
use tegata_core::Node;

use super::{
    demo::{Demo, unique},
    http::Answer,
};

/// How often each is tried. They take turns, so that whatever else the machine does meets all of them.
const ROUNDS: usize = 9;

/// Between what the medians must lie. A hash that is left out makes an answer faster by more than that.
const APART: f64 = 1.6;

/// A hash of another system, of a password that nobody says. It takes about as long as one of ours.
const BCRYPT: &str = "$2b$10$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2";

/// Fields that differ from answer to answer, whoever is asked for.
const NAMED: [&str; 2] = ["date", "x-request-id"];

#[test]
fn a_refusal_is_the_same_in_words_and_in_time_whoever_is_asked_for() {
    // One of its own: wherever there is a hash of another system, every refusal takes longer.
    let demo = Demo::start(&[]);
    let known = demo.person("customer");
    let disabled = demo.person("customer");
    demo.command(&["user", "disable", &disabled.username]);
    // Somebody who signs in with a passkey alone.
    let passkey = unique("person");
    demo.command(&["user", "add", &passkey, "--role", "customer", "--no-password"]);
    // Somebody who comes from another system, and has not signed in since.
    let imported = unique("person");
    let line = json!({"username": imported, "password_hash": BCRYPT, "roles": ["customer"]});
    demo.command(&["user", "import", &demo.file(&format!("{line}\n"))]);
    let nobody = unique("nobody");
    let wrong = "not the password of this person";
    let kinds = [
        ("a wrong password", known.username.as_str(), wrong),
        ("nobody", nobody.as_str(), wrong),
        ("no password", passkey.as_str(), wrong),
        ("a hash of another system", imported.as_str(), wrong),
        ("disabled, and right", disabled.username.as_str(), disabled.password.as_str()),
        ("disabled, and wrong", disabled.username.as_str(), wrong),
    ];
    let node = Node::start();
    let mut times = vec![Vec::new(); kinds.len()];
    let mut told = None;
    // What is done once, such as opening files, is done before.
    for round in 0..=ROUNDS {
        for (times, (what, username, password)) in times.iter_mut().zip(kinds) {
            let body = json!({"username": username, "password": password});
            let ask = demo.public.post("/api/auth/login").json(&body);
            let began = node.since_boot();
            let answer = ask.send();
            if round > 0 {
                times.push(node.elapsed(began));
            }
            let said = said(&answer);
            assert_eq!(*told.get_or_insert_with(|| said.clone()), said, "{what}");
        }
    }
    assert!(
        told.is_some_and(
            |(status, _, said)| status == 401 && said["error"] == "invalid_credentials"
        )
    );
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    let (fastest, slowest) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    let shown: Vec<_> = kinds.iter().map(|(what, ..)| *what).zip(&medians).collect();
    assert!(*slowest < fastest.mul_f64(APART), "{shown:?}");
    // That it is the hash that takes the time: what hashes nothing is answered at once.
    let quick = (0..ROUNDS).map(|_| {
        let ask = demo.public.post("/api/auth/login").json(&json!({"username": known.username}));
        let began = node.since_boot();
        assert_ne!(ask.send().status, 200);
        node.elapsed(began)
    });
    let quick = median(quick.collect());
    assert!(quick.mul_f64(APART) < *fastest, "{quick:?} {shown:?}");
}

/// What is told: the status, the fields, and the body but for what names the request.
fn said(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    let mut body = answer.problem();
    body["trace_id"].take();
    let mut fields = answer.fields.clone();
    for (name, value) in &mut fields {
        if NAMED.contains(&name.to_ascii_lowercase().as_str()) {
            value.clear();
        }
    }
    assert!(answer.all("set-cookie").is_empty());
    (answer.status, fields, body)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
