//! The shop in GraphQL, through the gateway of the demo.

use serde_json::{Value, json};

use super::{
    browser::Browser,
    demo::{demo, unique},
    gateway::{refused, somebody},
    http::Answer,
};

fn ask(token: &str, body: &Value) -> Answer {
    let path = demo().described["graphql"]["path"].as_str().unwrap().to_owned();
    let ask = demo().gateway.post(&path).bearer(token);
    ask.body("application/json", body.to_string().as_bytes()).send()
}

fn code(answer: &Answer) -> (u16, String) {
    let code = &answer.json()["errors"][0]["extensions"]["code"];
    (answer.status, code.as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_shop_answers_in_graphql_what_a_caller_may_see() {
    let (_, token) = somebody();
    let query = "query Shelf($n: Int) { products(first: $n) { id name category { name } } }";
    let body = json!({"query": query, "variables": {"n": 3}, "operationName": "Shelf"});
    let answer = ask(&token, &body).expect(200).json();
    assert_eq!(answer["data"]["products"].as_array().unwrap().len(), 3, "{answer}");
    for (query, status, expected) in [
        ("{ product(id: \"hat-sedge\") { costCents } }", 403, "graphql_forbidden"),
        ("{ product(id: \"hat-sedge\") { priceCents: costCents } }", 403, "graphql_forbidden"),
        (
            "mutation { describe(id: \"x\", name: \"x\", category: \"x\", priceCents: 1) { id } }",
            403,
            "graphql_forbidden",
        ),
        ("{ __schema { types { name } } }", 403, "graphql_introspection"),
        (
            "{ categories { products(first: 100) { category { products(first: 100) { id } } } } }",
            400,
            "graphql_cost",
        ),
    ] {
        let answer = ask(&token, &json!({"query": query}));
        assert_eq!(code(&answer), (status, expected.to_owned()), "{query}");
    }
    let path = demo().described["graphql"]["path"].as_str().unwrap();
    let unknown = demo().gateway.post(path).body("application/json", b"{}").send();
    refused(&unknown, 401);
    let schema = demo().described["graphql"]["schema"].as_str().unwrap();
    assert!(schema.contains("type Query"));
}

#[test]
fn an_administrator_sees_more_of_the_shop_in_graphql() {
    let demo = demo();
    let admin = demo.person("admin");
    let (_, told) = Browser::signed_in(demo.public, &admin);
    let token = told["access_token"].as_str().unwrap();
    let query = "{ product(id: \"hat-sedge\") { costCents } __type(name: \"Product\") { name } }";
    let answer = ask(token, &json!({"query": query})).expect(200).json();
    assert_eq!(answer["data"]["product"], json!({"costCents": 1920}), "{answer}");
    let shown = demo.operations.get("/metrics").send().expect(200).text();
    let line =
        "graphql_requests_total{route=\"/graphql/shop\",operation=\"none\",result=\"passed\"}";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn a_schema_is_read_from_its_file_and_what_is_wrong_with_it_says_where() {
    let demo = demo();
    let directory = tempfile::tempdir().unwrap();
    let name = unique("graph");
    let write = |schema: &str| {
        std::fs::write(directory.path().join("own.graphql"), schema).unwrap();
        let route = format!("/graphql/{name}");
        let declared = json!({
            "service": [{"name": name, "upstreams": ["http://127.0.0.1:9"]}],
            "route": [{"path": route, "service": name, "graphql": {"schema_file": "own.graphql"}}],
        });
        let file = directory.path().join("own.json");
        std::fs::write(&file, declared.to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let file = write("type Query {\n  a: Nothing\n}\n");
    for dry in [true, false] {
        let args: &[&str] = if dry { &["apply", &file, "--dry-run"] } else { &["apply", &file] };
        let told = demo.refused(args, 1);
        assert!(told.contains("line 2, column 6") && told.contains("Nothing"), "{told}");
    }
    let large = write(&format!("type Query {{ a: Int }} #{}", "x".repeat(256 * 1024)));
    assert!(demo.refused(&["apply", &large], 2).contains("256 KiB"));
    let file = write("type Query {\n  a: Int\n}\n");
    let changes = |file: &str| demo.command(&["apply", file])["changed"].as_array().unwrap().len();
    assert_eq!((changes(&file), changes(&file)), (2, 0));
    // What holds is what was read, until it is applied again; a file that is gone is a mistake.
    let (_, token) = somebody();
    let asked = |query: &str| {
        let ask = demo.gateway.post(&format!("/graphql/{name}")).bearer(&token);
        let body = json!({"query": query}).to_string();
        ask.body("application/json", body.as_bytes()).send()
    };
    assert_eq!(code(&asked("{ b }")), (400, "graphql_invalid".to_owned()));
    refused(&asked("{ a }"), 502);
    let file = write("type Query {\n  b: Int\n}\n");
    assert_eq!(code(&asked("{ b }")), (400, "graphql_invalid".to_owned()));
    assert_eq!(changes(&file), 1);
    refused(&asked("{ b }"), 502);
    std::fs::remove_file(directory.path().join("own.graphql")).unwrap();
    assert!(demo.refused(&["apply", &file], 2).contains("own.graphql"));
}
