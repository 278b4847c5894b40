//! Administration by many at once.

use std::{collections::BTreeMap, thread};

use serde_json::{Value, json};

use super::{
    administration::Administrator,
    demo::{demo, unique},
    http::encoded,
};

const MANY: usize = 8;

#[test]
fn of_many_changes_that_were_decided_on_by_one_version_one_is_made() {
    let admin = Administrator::machine(demo(), "admin.write");
    let client = unique("client");
    let said = json!({"client_id": client, "grant_types": ["client_credentials"]});
    admin.post("/clients", &said).expect(201);
    let service = unique("svc");
    let said = json!({"name": service, "upstreams": ["http://127.0.0.1:9"]});
    admin.post("/services", &said).expect(201);
    for (place, member) in [
        (format!("/users/{}", demo().person("customer").id), "roles"),
        (format!("/clients/{client}"), "audiences"),
        (format!("/services/{service}"), "callers"),
    ] {
        let read = admin.get(&place).expect(200);
        let tag = read.field("etag").unwrap();
        let change = |n: usize| {
            let body = json!({member: [format!("role-{n}")]});
            admin.ask("PATCH", &place).field("If-Match", tag).json(&body).send()
        };
        let answers = thread::scope(|scope| {
            let change = &change;
            let threads: Vec<_> = (0..MANY).map(|n| scope.spawn(move || change(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        let mut expected = vec![412; MANY];
        expected[0] = 200;
        assert_eq!(statuses, expected, "{place}");
        let won = answers.iter().find(|answer| answer.status == 200).unwrap();
        let now = admin.get(&place).expect(200);
        assert_eq!((now.json(), now.field("etag")), (won.json(), won.field("etag")), "{place}");
    }
}

#[test]
fn changes_of_different_things_of_one_person_all_count() {
    let admin = Administrator::machine(demo(), "admin.write");
    let place = format!("/users/{}", demo().person("customer").id);
    let changes = [json!({"email": "x@y.example"}), json!({"locale": "ja"}), json!({"roles": []})];
    thread::scope(|scope| {
        for change in &changes {
            scope.spawn(|| admin.patch(&place, change).expect(200));
        }
    });
    let now = admin.get(&place).expect(200).json();
    assert_eq!((&now["email"], &now["locale"]), (&json!("x@y.example"), &json!("ja")));
    assert_eq!(now["roles"], json!([]));
}

/// All of a list, a piece at a time, with how often each is in it.
fn all(admin: &Administrator, path: &str, name: &str, between: impl Fn()) -> BTreeMap<String, u32> {
    let mut seen = BTreeMap::new();
    let mut cursor = None;
    for _ in 0..10_000 {
        let join = if path.contains('?') { '&' } else { '?' };
        let from = cursor.map(|cursor: String| format!("&cursor={}", encoded(&cursor)));
        let target = format!("{path}{join}limit=3{}", from.unwrap_or_default());
        let piece: Value = admin.get(&target).expect(200).json();
        let items = piece["items"].as_array().unwrap();
        assert!(items.len() <= 3, "{piece}");
        for item in items {
            *seen.entry(item[name].as_str().unwrap().to_owned()).or_default() += 1;
        }
        match piece["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return seen,
        }
        between();
    }
    panic!("{path} has no end");
}

#[test]
fn a_list_shows_whoever_was_there_once_while_others_come() {
    let admin = Administrator::machine(demo(), "admin.write");
    let add = || {
        let said = json!({"username": unique("listed")});
        let user = admin.post("/users", &said).expect(201).json();
        user["id"].as_str().unwrap().to_owned()
    };
    let there: Vec<_> = (0..12).map(|_| add()).collect();
    let seen = all(&admin, "/users", "id", || drop(add()));
    assert!(there.iter().all(|id| seen.get(id) == Some(&1)), "{seen:?}");
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    let clients = all(&admin, "/clients", "client_id", || {});
    assert!(clients.values().all(|count| *count == 1) && clients.contains_key("demo-web"));
    let services = all(&admin, "/services", "name", || {});
    assert!(services.values().all(|count| *count == 1) && services.contains_key("echo"));
    for (path, name) in
        [("/sessions", "sid"), ("/tokens", "family"), ("/tokens?client=demo-web", "family")]
    {
        assert!(all(&admin, path, name, || {}).values().all(|count| *count == 1), "{path}");
    }
}
