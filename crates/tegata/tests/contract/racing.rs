//! The same thing done at once by many: one of them wins, or all are given the same.

use std::{collections::BTreeSet, thread};

use super::{
    browser::{Browser, a_code, ask_token, redeem, tokens},
    demo::demo,
    http::Answer,
};

/// How many try at once.
const MANY: usize = 12;

/// Does something many times at once; answers the answers.
fn at_once(work: impl Fn() -> Answer + Sync) -> Vec<Answer> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..MANY).map(|_| scope.spawn(&work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The values of a member in the answers that are 200.
fn given(answers: &[Answer], name: &str) -> BTreeSet<String> {
    let good = answers.iter().filter(|answer| answer.status == 200);
    good.map(|answer| answer.json()[name].as_str().unwrap().to_owned()).collect()
}

/// The errors in those that are not.
fn errors(answers: &[Answer]) -> BTreeSet<String> {
    let bad = answers.iter().filter(|answer| answer.status != 200);
    bad.map(|answer| answer.json()["error"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn one_refresh_token_has_one_successor_however_many_ask() {
    let demo = demo();
    let client = demo.client("demo-spa");
    let first = tokens(demo, &client, &demo.person("customer"));
    let token = first["refresh_token"].as_str().unwrap();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let answers = at_once(|| ask_token(demo, &client, &fields));
    assert!(answers.iter().any(|answer| answer.status == 200));
    let successors = given(&answers, "refresh_token");
    assert_eq!(successors.len(), 1, "{successors:?}");
    assert!(errors(&answers).is_empty(), "{:?}", errors(&answers));
    // And it counts.
    let successor = successors.into_iter().next().unwrap();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", successor.as_str())];
    ask_token(demo, &client, &fields).expect(200);
}

#[test]
fn one_code_is_redeemed_once_however_many_try() {
    let demo = demo();
    let client = demo.client("demo-web");
    let code = a_code(demo, &client, &demo.person("customer"));
    let answers = at_once(|| redeem(demo, &client, &code));
    assert!(given(&answers, "refresh_token").len() <= 1);
    assert_eq!(errors(&answers), ["invalid_grant".to_owned()].into());
    // Whoever won has lost again: a code that is presented twice was stolen.
    for token in given(&answers, "access_token") {
        demo.gateway.get("/echo/x").bearer(&token).send().expect(401);
    }
}

#[test]
fn tabs_that_refresh_at_once_are_given_one_answer() {
    let demo = demo();
    let (browser, _) = Browser::signed_in(demo.public, &demo.person("customer"));
    let ask = browser.changing(demo.public.post("/api/auth/refresh"));
    let answers = at_once(|| ask.send());
    assert!(answers.iter().all(|answer| answer.status == 200), "{:?}", errors(&answers));
    let cookies: BTreeSet<_> = answers
        .iter()
        .flat_map(|answer| answer.all("set-cookie"))
        .filter(|line| line.starts_with("refresh_token="))
        .collect();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
}

#[test]
fn a_session_serves_many_requests_at_once_and_is_ended_for_all() {
    let demo = demo();
    let (mut browser, _) = Browser::signed_in(demo.public, &demo.person("customer"));
    let ask = browser.changing(demo.gateway.get("/echo/x"));
    assert!(at_once(|| ask.send()).iter().all(|answer| answer.status == 200));
    browser.change(demo.public.post("/api/auth/logout")).expect(204);
    assert!(at_once(|| ask.send()).iter().all(|answer| answer.status == 401));
}

#[test]
fn one_name_is_registered_once() {
    let demo = demo();
    let name = super::demo::unique("wanted");
    let done: Vec<_> = thread::scope(|scope| {
        let add = || demo.run(&["user", "add", &name, "--no-password"]).status.code();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(done.iter().filter(|code| **code == Some(0)).count(), 1, "{done:?}");
    assert!(done.iter().all(|code| matches!(code, Some(0 | 1))), "{done:?}");
}
