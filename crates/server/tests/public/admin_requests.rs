//! What administrators may send, and what they are told that send something else.

use std::sync::atomic::Ordering;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tegata_server::admin::{Operation, TABLE, Verb};

use super::{
    admin::{Office, sample},
    browser::Answer,
};

async fn ask(office: &Office, method: &str, target: &str) -> Answer {
    send(office, method, target, &[], Body::empty()).await
}

async fn send(
    office: &Office,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Answer {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(target)
        .header(header::AUTHORIZATION, format!("Bearer {}", office.token(&[])));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    office.send(request.body(body).unwrap()).await
}

async fn post(office: &Office, target: &str, body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    send(office, "POST", target, &json, Body::from(body.to_string())).await
}

/// The places of the faults of an answer.
fn pointers(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    let problem = answer.json();
    assert_eq!(problem["error"], "invalid_request");
    assert!(problem["trace_id"].as_str().is_some_and(|id| id.len() == 32));
    let errors = problem["errors"].as_array().unwrap();
    errors.iter().map(|fault| fault["pointer"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn paths_that_there_are_not_and_methods_that_they_do_not_have_are_problems() {
    let office = Office::new().await;
    for path in [
        "",
        "/",
        "/x",
        "/users/",
        "/users//",
        "//users",
        "/users/a/b",
        "/users/../clients",
        "/users/a/../../clients",
        "/Users",
        "/users/%",
        "/users/%zz",
        "/users/%ff",
        "/openapi.json/",
        "/%2e%2e/users",
        "/users%2Fa",
    ] {
        let answer = ask(&office, "GET", &format!("/admin/v1{path}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        let problem = answer.json();
        assert_eq!((&problem["error"], &problem["status"]), (&json!("not_found"), &json!(404)));
    }
    for (method, path, allow) in [
        ("PUT", "/users", "GET, POST, HEAD"),
        ("DELETE", "/users/x", "GET, PATCH, HEAD"),
        ("GET", "/tokens/inspect", "POST"),
        ("TRACE", "/keys", "GET, HEAD"),
        ("BREW", "/keys", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ] {
        let answer = ask(&office, method, &format!("/admin/v1{path}")).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    assert!(office.bench.administered.0.lock().unwrap().is_empty());
    assert_eq!(ask(&office, "HEAD", "/admin/v1/keys").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_document_is_there_for_everybody_and_says_all_that_there_is() {
    let office = Office::new().await;
    let request = Request::get("/admin/v1/openapi.json").body(Body::empty()).unwrap();
    let answer = office.send(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    // Whatever it names, the router answers by the method that it names.
    for (path, operations) in document["paths"].as_object().unwrap() {
        let target = path.replace("{id}", "x").replace("{sid}", "x").replace("{kid}", "x");
        let target = target.replace("{name}", "x").replace("{user}", "x").replace("{client}", "x");
        for method in operations.as_object().unwrap().keys() {
            let status = ask(&office, &method.to_uppercase(), &target).await.status;
            let is_there =
                status != StatusCode::NOT_FOUND && status != StatusCode::METHOD_NOT_ALLOWED;
            assert!(is_there, "{method} {target}: {status}");
        }
    }
}

#[tokio::test]
async fn bodies_are_what_they_must_be_or_nobody_hears_of_them() {
    let office = Office::new().await;
    let users = "/admin/v1/users";
    assert_eq!(pointers(&post(&office, users, &json!({})).await), ["/username"]);
    let bad = json!({"username": 1, "roles": ["a", 2], "admin": true, "email": "a@b.example"});
    let mut told = pointers(&post(&office, users, &bad).await);
    told.sort();
    assert_eq!(told, ["/admin", "/roles/1", "/username"]);
    // What was sent is not said back, for it may be a secret.
    let answer =
        post(&office, users, &json!({"username": "x", "password": "p".repeat(2000)})).await;
    assert_eq!(pointers(&answer), ["/password"]);
    assert!(!answer.body.contains("pppp"));

    let json = ("content-type", "application/json");
    for (headers, body, status) in [
        (&[json][..], "", 400),
        (&[json], "[]", 400),
        (&[json], "{", 400),
        (&[json], "{} {}", 400),
        (&[], "{}", 415),
        (&[("content-type", "text/plain")], "{}", 415),
        (&[("content-type", "application/merge-patch+json")], "{}", 415),
        (&[json, json], "{}", 415),
    ] {
        let answer = send(&office, "POST", users, headers, Body::from(body)).await;
        assert_eq!(answer.status.as_u16(), status, "{headers:?} {body}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let large = format!("{{\"username\": \"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let answer = send(&office, "POST", users, &[json], Body::from(large)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let deep = format!("{{\"username\": {}}}", "[".repeat(40) + &"]".repeat(40));
    let answer = send(&office, "POST", users, &[json], Body::from(deep)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(office.bench.administered.0.lock().unwrap().is_empty());
    // A change may come as what it is.
    let patch = [("content-type", "application/merge-patch+json; charset=utf-8")];
    let answer = send(&office, "PATCH", "/admin/v1/users/x", &patch, Body::from("{}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test]
async fn queries_are_known_or_refused() {
    let office = Office::new().await;
    for (query, pointer) in [
        ("limit=0", "?limit"),
        ("limit=201", "?limit"),
        ("limit=-1", "?limit"),
        ("limit=1&limit=1", "?limit"),
        ("cursor=%", "?"),
        ("cursor=!", "?cursor"),
        ("cursor=", "?cursor"),
        ("cursor=AA", "?cursor"),
        ("wait=confirmed", "?wait"),
        ("user=usr_1", "?user"),
        ("usernam=x", "?usernam"),
        ("username=", "?username"),
    ] {
        let answer = ask(&office, "GET", &format!("/admin/v1/users?{query}")).await;
        assert_eq!(pointers(&answer).first().map(String::as_str), Some(pointer), "{query}");
    }
    let target = "/admin/v1/sessions/x?wait=yes";
    assert_eq!(pointers(&ask(&office, "DELETE", target).await), ["?wait"]);
    assert!(office.bench.administered.0.lock().unwrap().is_empty());
    let target = "/admin/v1/users?limit=200&cursor=dXNyXzE&username=x";
    assert_eq!(ask(&office, "GET", target).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_condition_is_taken_where_it_can_be_kept_and_refused_elsewhere() {
    let office = Office::new().await;
    for row in TABLE.iter().filter(|row| row.verb != Verb::Get) {
        office.bench.administered.2.store(7, Ordering::SeqCst);
        let headers = [("content-type", "application/json"), ("if-match", "\"7\"")];
        let target = format!("/admin/v1{}", row.path.replace(['{', '}'], ""));
        let body = row.body.map(|form| Body::from(sample(form).to_string())).unwrap_or_default();
        let answer = send(&office, row.verb.name(), &target, &headers, body).await;
        let expected = if row.is_conditional { row.status } else { 400 };
        assert_eq!(answer.status.as_u16(), expected, "{}: {}", row.id, answer.body);
    }
    let heard = office.bench.administered.0.lock().unwrap();
    let conditional = [
        Operation::UserChange,
        Operation::ClientChange,
        Operation::ClientSecret,
        Operation::ServiceChange,
        Operation::BffPut,
    ];
    assert!(heard.iter().all(|(operation, _)| conditional.contains(operation)));
}
