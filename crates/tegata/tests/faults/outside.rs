//! Verifiers that are no nodes: what a confirmation says of them, and that it is so.

use std::{path::Path, time::Duration};

use serde_json::Value;
use tegata_core::Node;
use tegata_engines::Mode;
use tegata_faults::{
    http::Ask,
    sidecar::Sidecar,
    stage::{self, claims},
    time::until,
};

use super::{PROGRAM, two_that_hear_each_other};

/// A time, as it is told: of two, the later one is the greater text.
fn now() -> String {
    Node::start().now().to_string()
}

fn text<'v>(told: &'v Value, name: &str) -> &'v str {
    told[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {told}"))
}

#[test]
fn a_confirmation_says_until_when_verifiers_that_are_not_asked_may_accept_it() {
    let stage = two_that_hear_each_other();
    let sidecar = Sidecar::start(&stage, Path::new(PROGRAM)).unwrap();
    let access = stage::issued(&mut stage.public(0)).unwrap();
    assert_eq!(sidecar.check(&access), 200);

    // Nobody asks the sidecar, and it hears nothing any more.
    stage.cluster().front().set(Mode::BlackHole);
    let (client, secret) = stage::ROBOT;
    let ask = Ask::form("/oauth2/revoke?wait=confirmed", &[("token", &access.token)]);
    let mut public = stage.public(0).waiting(Duration::from_secs(30));
    let asked = Node::start().now();
    let told = public.ask(&ask.basic(client, secret)).unwrap().json();
    let confirmed = &told["confirmed"];
    assert_eq!(confirmed["by"].as_array().map(Vec::len), Some(2), "{told}");
    let external = &confirmed["external"];
    let (followers, lists) = (text(external, "followers"), text(external, "status_lists"));
    let says = text(confirmed, "says");
    println!("{says}");
    assert!(says.starts_with("refused by all 2 points after "), "{says}");
    assert!(says.contains(followers) && says.contains(lists), "{says}");
    assert_eq!(text(external, "until"), lists);

    // It goes by what it knew, and not for longer than that; then it knows that it knows too little.
    let mut last = None;
    let knows_too_little = until(Duration::from_secs(60), || {
        let began = now();
        match sidecar.check(&access) {
            200 => last = Some(began),
            503 => return true,
            other => panic!("the sidecar cannot know of it, and answers {other}"),
        }
        false
    });
    assert!(knows_too_little.is_some());
    let late = last.as_deref().is_some_and(|last| last > followers);
    assert!(!late, "accepted at {last:?}, and {followers} was said");
    stage.cluster().front().set(Mode::Sound);
    assert!(until(Duration::from_secs(60), || sidecar.check(&access) == 401).is_some());

    // A list that was fetched just before is kept for its `ttl`, by whoever had it from a cache, too.
    let place = claims(&access.token).unwrap()["status"]["status_list"].clone();
    let path = text(&place, "uri").trim_start_matches(stage.cluster().issuer()).to_owned();
    let list = stage.public(1).ask(&Ask::get(&path)).unwrap();
    assert_eq!(list.status, 200, "{}", list.text());
    let cached = list.field("cache-control").and_then(|it| it.rsplit_once("max-age="));
    let cached: u64 = cached.unwrap().1.parse().unwrap();
    let ttl = claims(&list.text()).unwrap()["ttl"].as_u64().unwrap();
    assert!(cached > 0 && ttl > 0, "{cached} {ttl}");
    let kept = (asked + Duration::from_secs(cached + ttl)).to_string();
    assert!(lists > kept.as_str(), "{lists} is no later than {kept}");
}

#[test]
fn an_order_says_what_no_status_list_shows_and_of_whom_nothing_can_be_said() {
    let stage = two_that_hear_each_other();
    let node = &stage.cluster().member(0).node;
    let access = stage::issued(&mut stage.public(0)).unwrap();
    let order = |args: &[&str]| {
        let all = [&["revoke"][..], args, &["--reason", "test", "--wait"]].concat();
        String::from_utf8(node.run(&all).stdout).unwrap()
    };
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&order(&[args, &["--format", "json"]].concat())).unwrap()
    };
    // A token's place is known: its list shows it a minute later.
    let listed = json(&["--token", &access.token]);
    let minute = (Node::start().now() + Duration::from_secs(300)).to_string();
    let external = |told: &Value| told["confirmed"]["external"].clone();
    assert!(text(&external(&listed), "until") < minute.as_str(), "{listed}");
    // What a client got is refused by name: readers of lists accept it as long as it lives.
    let named = json(&["--client", stage::ROBOT.0]);
    assert!(text(&external(&named), "status_lists") > minute.as_str(), "{named}");
    assert!(text(&external(&named), "followers") < minute.as_str(), "{named}");
    // People read the same.
    let words = order(&["--client", stage::ROBOT.0]);
    for part in ["external", "followers", "; outside, services that follow"] {
        assert!(words.contains(part), "{words}");
    }
}
