//! One answer from several services, with the shop's own behind it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    administration::Administrator,
    browser::Browser,
    demo::{demo, unique},
    gateway::{refused, somebody},
};

fn machine() -> Administrator {
    Administrator::machine(demo(), "admin.read admin.write")
}

#[test]
fn the_home_screen_has_its_five_things_from_three_services() {
    let demo = demo();
    let described = &demo.described["bff"][0];
    assert_eq!(described, &json!({"name": "home", "path": "/bff/home"}));
    let listed = demo.command(&["bff", "list"]);
    let home = listed.as_array().unwrap().iter().find(|it| it["name"] == "home").unwrap();
    let paths = home["part"].as_array().unwrap().iter().map(|part| part["path"].as_str().unwrap());
    let services: BTreeSet<_> = paths.map(|path| path.split('/').nth(1).unwrap()).collect();
    assert_eq!(services.into_iter().collect::<Vec<_>>(), ["notifications", "preferences", "users"]);

    let (person, token) = somebody();
    let told = demo.gateway.get("/bff/home").bearer(&token).send().expect(200);
    assert_eq!(told.field("cache-control"), Some("no-store"));
    let told = told.json();
    assert_eq!(told["errors"], json!([]));
    let user = &told["data"]["user"];
    assert_eq!((&user["id"], &user["name"]), (&json!(person.id), &json!("Traveller")));
    assert!(user["avatar"].as_str().unwrap().starts_with("data:image/svg+xml,"));
    let rest = json!({"notifications": {"unread_count": 0}, "preferences": {"theme": "system"}});
    assert_eq!(told["data"]["notifications"], rest["notifications"]);
    assert_eq!(told["data"]["preferences"], rest["preferences"]);

    // Whatever changes in one of the services is there the next time, by a session as by a token.
    let (mut browser, _) = Browser::signed_in(demo.gateway, &person);
    let put = |path: &str, body: &Value| {
        demo.gateway.ask("PUT", path).bearer(&token).json(body).send().expect(200)
    };
    put("/users/me", &json!({"name": "Alice"}));
    put("/preferences/me", &json!({"theme": "dark"}));
    let bad = demo.gateway.ask("PUT", "/preferences/me").bearer(&token);
    bad.json(&json!({"theme": "pink"})).send().expect(422);
    let told = browser.get("/bff/home").expect(200).json();
    assert_eq!(told["data"]["user"]["name"], "Alice");
    assert_eq!(told["data"]["preferences"], json!({"theme": "dark"}));
    refused(&demo.gateway.get("/bff/home").send(), 401);
}

#[test]
fn what_is_declared_is_served_when_the_command_has_answered_and_until_it_is_removed() {
    let (demo, name) = (demo(), unique("screen"));
    let (_, token) = somebody();
    let declared = |select: &str| {
        json!({"bff": [{"name": name, "part": [
            {"name": "it", "path": "/echo/{sub}", "select": [select]},
            {"name": "staff", "path": "/staff/echo/x", "select": ["path"], "default": {"path": "none"}},
        ]}]})
    };
    let apply = |declared: &Value, more: &[&str]| {
        let file = demo.file(&declared.to_string());
        let file_of_json = format!("{file}.json");
        std::fs::rename(&file, &file_of_json).unwrap();
        let told = demo.command(&[&["apply", &file_of_json], more].concat());
        told["changed"].as_array().unwrap().len()
    };
    let path = format!("/bff/{name}");
    let ask = || demo.gateway.get(&path).bearer(&token).send();
    assert_eq!(apply(&declared("method"), &["--dry-run"]), 1);
    refused(&ask(), 404);
    assert_eq!((apply(&declared("method"), &[]), apply(&declared("method"), &[])), (1, 0));
    let told = json!({
        "data": {"it": {"method": "GET"}, "staff": {"path": "none"}},
        "errors": [{"part": "staff", "reason": "missing_role", "status": 403}],
    });
    assert_eq!(ask().expect(200).json(), told);
    assert_eq!(apply(&declared("query"), &[]), 1);
    assert_eq!(ask().expect(200).json()["data"]["it"], json!({"query": ""}));
    // What leads nowhere, or to Tegata itself, is not taken over.
    for path in ["/nowhere/x", "/bff/home", "/oauth2/userinfo"] {
        let mut wrong = declared("path");
        wrong["bff"][0]["part"][0]["path"] = json!(path);
        let file = demo.file(&wrong.to_string());
        let file_of_json = format!("{file}.json");
        std::fs::rename(&file, &file_of_json).unwrap();
        let said = demo.refused(&["apply", &file_of_json], 1);
        assert!(said.contains("part.path"), "{said}");
    }
    assert_eq!(ask().expect(200).json()["data"]["it"], json!({"query": ""}));
    demo.command(&["bff", "remove", &name]);
    refused(&ask(), 404);
    let said = demo.refused(&["bff", "remove", &name], 1);
    assert!(said.contains("tegata bff list"), "{said}");
}

#[test]
fn programs_put_and_remove_them_too() {
    let (admin, name) = (machine(), unique("screen"));
    let (_, token) = somebody();
    let place = format!("/bffs/{name}");
    let body = json!({"part": [{"name": "it", "path": "/echo/x", "select": ["method"]}]});
    let put = |body: &Value| admin.ask("PUT", &place).json(body).send();
    admin.get(&place).expect(404);
    let made = put(&body).expect(200);
    let told = made.json();
    let whole = json!({"name": name, "auth": "required", "roles": [], "part": body["part"]});
    assert_eq!(told, whole);
    let path = format!("/bff/{name}");
    let status = || demo().gateway.get(&path).bearer(&token).send().status;
    assert_eq!(status(), 200);
    // Whoever has seen an older one changes nothing.
    let version = made.field("etag").unwrap().to_owned();
    let change = json!({"roles": ["staff"], "part": body["part"]});
    let changing =
        |version: &str| admin.ask("PUT", &place).field("If-Match", version).json(&change).send();
    changing(&version).expect(200);
    assert_eq!(status(), 403);
    changing(&version).expect(412);
    for wrong in [
        json!({}),
        json!({"part": []}),
        json!({"part": body["part"], "name": "other"}),
        json!({"part": [{"name": "it", "path": "/nowhere", "select": ["x"]}]}),
        json!({"part": [{"name": "it", "path": "/echo/x", "select": ["x"], "service": "echo"}]}),
    ] {
        let status = put(&wrong).status;
        assert!(matches!(status, 400 | 422), "{wrong}: {status}");
    }
    let listed = admin.get("/bffs").expect(200).json();
    assert!(listed["items"].as_array().unwrap().iter().any(|it| it["name"] == json!(name)));
    let reader = Administrator::machine(demo(), "admin.read");
    reader.ask("PUT", &place).json(&body).send().expect(403);
    admin.delete(&place).expect(200);
    admin.delete(&place).expect(404);
    assert_eq!(status(), 404);
}
