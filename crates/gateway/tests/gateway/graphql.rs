//! Requests in GraphQL: what is refused reaches no service, and what passes is what was judged.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tegata_core::{Node, SessionId};
use tegata_engines::{process::program, tools::present};
use tegata_gateway::{
    DecisionLog, Signer,
    decision_log::{self, Mode},
};
use tegata_token::{Algorithm, SigningKey, revocation::Target};

use crate::{
    echo, framed, grpc,
    world::{Answer, Plan, World, get, request},
};

const SCHEMA: &str = include_str!("graphql.graphql");
const PATH: &str = "/graphql/shop";
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn route(path: &str, more: &Value) -> Value {
    let mut route = json!({
        "path": path, "service": "echo",
        "graphql": {"schema": SCHEMA, "upstream_path": "/gql", "introspection": "operators",
                    "operations": ["Home", "Basket"]},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        match (route.get_mut(name), value.as_object()) {
            (Some(Value::Object(members)), Some(value)) => members.extend(value.clone()),
            _ => route[name] = value.clone(),
        }
    }
    route
}

fn plan(more: &Value) -> (Plan, Arc<AtomicU32>) {
    let (address, asked) = echo::counting();
    let mut plan = Plan::with(address);
    plan.routes = json!([
        route(PATH, more),
        route("/graphql/open", &json!({"auth": "optional"})),
        route("/graphql/staff", &json!({"roles": ["admin"]})),
        {"path": "/echo", "service": "echo"},
    ]);
    (plan, asked)
}

fn world(more: &Value) -> (World, Arc<AtomicU32>) {
    let (plan, asked) = plan(more);
    (plan.start(), asked)
}

fn bearer(world: &World, roles: &[&str], scope: &str) -> String {
    let mut claims = world.claims();
    (claims["roles"], claims["scope"]) = (json!(roles), json!(scope));
    format!("Bearer {}", world.sign(&claims))
}

fn post(world: &World, token: &str, body: &str) -> Answer {
    world.ask(&request("POST", PATH, &[("Authorization", token), JSON], body))
}

fn query(text: &str) -> String {
    json!({"query": text}).to_string()
}

/// The reason, of a refusal in the right form.
fn code(answer: &Answer) -> String {
    assert_eq!(answer.field("content-type"), Some("application/json"), "{answer:?}");
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let body = answer.json();
    assert!(body.get("data").is_none(), "{body}");
    let errors = body["errors"].as_array().unwrap();
    for error in errors {
        assert!(error["message"].is_string(), "{body}");
        assert_eq!(error["extensions"]["trace_id"].as_str().map(str::len), Some(32), "{body}");
    }
    errors[0]["extensions"]["code"].as_str().unwrap().to_owned()
}

/// Everything that tools for attacks on GraphQL try, with what is answered.
fn attacks() -> Vec<(String, u16, &'static str)> {
    let mut all: Vec<(String, u16, &'static str)> = Vec::new();
    let mut add = |text: &str, status, code| all.push((query(text), status, code));
    // Cycles, of one and of three.
    add("{ me { ...A } } fragment A on Person { ...A }", 400, "graphql_cycle");
    add(
        "{ depth { ...A } } fragment A on Level { level { ...B } } fragment B on Level { level { ...C } } \
         fragment C on Level { level { ...A } }",
        400,
        "graphql_cycle",
    );
    // What would be 2^30 fields.
    let mut doubling = "{ depth { ...F0 } }".to_owned();
    for n in 0..30 {
        doubling += &format!(" fragment F{n} on Level {{ ...F{0} ...F{0} }}", n + 1);
    }
    add(&(doubling + " fragment F30 on Level { n }"), 400, "graphql_size");
    // Depth, by fields and by brackets alone.
    let deep =
        |many: usize| format!("{{ depth {{ {}n{} }} }}", "level {".repeat(many), "}".repeat(many));
    add(&deep(9), 400, "graphql_depth");
    add(&deep(2000), 400, "graphql_depth");
    add(&"{".repeat(50_000), 400, "graphql_size");
    // Names, many of them.
    let names = |many: usize, what: &str| -> String {
        (0..many).map(|n| format!("a{n}: {what} ")).collect()
    };
    add(&format!("{{ {} }}", names(31, "me { id }")), 400, "graphql_aliases");
    add(&format!("mutation {{ {} }}", names(31, "order(id: 1) { id }")), 400, "graphql_aliases");
    add(&format!("{{ {} }}", names(10_000, "__typename")), 400, "graphql_size");
    add(&format!("{{ me {{ {} }} }}", "__typename ".repeat(9000)), 400, "graphql_size");
    add(&format!("{{ me {{ id {} }} }}", "@skip(if: false) ".repeat(10_000)), 400, "graphql_size");
    add("{ me { id @skip(if: true) @skip(if: true) } }", 400, "graphql_invalid");
    add("{ me { id @nothing } }", 400, "graphql_invalid");
    // What is too much only when it is executed.
    add("{ products(first: 1000000) { id } }", 400, "graphql_cost");
    add("{ products(first: -1) { id } }", 400, "graphql_cost");
    add("{ products(first: 100) { like(first: 100) { id } } }", 400, "graphql_cost");
    // The schema.
    add("{ __schema { types { name } } }", 403, "graphql_introspection");
    add("{ x: __type(name: \"Draft\") { name } }", 403, "graphql_introspection");
    add(
        "query A { ...F } fragment F on Query { __schema { types { name } } }",
        403,
        "graphql_introspection",
    );
    add("{ nothing }", 400, "graphql_invalid");
    // What is for others.
    add("{ product(id: 1) { bought } }", 403, "graphql_forbidden");
    add("{ product(id: 1) { name: bought } }", 403, "graphql_forbidden");
    add(
        "{ node(id: 1) { ... on Product { ...F } } } fragment F on Product { b: bought }",
        403,
        "graphql_forbidden",
    );
    add("{ node(id: 1) { id } }", 403, "graphql_forbidden");
    add("{ me { email } }", 403, "graphql_forbidden");
    add("mutation { describe(id: 1, name: \"x\") { id } }", 403, "graphql_forbidden");
    // What it is not.
    add("subscription { ticks }", 400, "graphql_subscription");
    add("{ me { id } } { me { name } }", 400, "graphql_operation");
    add("query A { me { id } } query B { me { name } }", 400, "graphql_operation");
    add("{ me { id } } type Query { a: Int }", 400, "graphql_invalid");
    add("{ me { id ", 400, "graphql_syntax");
    add("", 400, "graphql_syntax");
    let mut raw = |body: String, status, code| all.push((body, status, code));
    let one = query("{ me { id } }");
    raw(format!("[{}]", [one.as_str(); 11].join(",")), 400, "graphql_batch");
    raw(format!("[{one},{}]", query("{ product(id: 1) { bought } }")), 403, "graphql_forbidden");
    raw(format!("[{one},{}]", query("{")), 400, "graphql_syntax");
    raw(format!("[[{one}]]"), 400, "graphql_malformed");
    raw("[]".to_owned(), 400, "graphql_malformed");
    raw(
        r#"{"query": "{ me { email } }", "query": "{ me { id } }"}"#.to_owned(),
        400,
        "graphql_malformed",
    );
    raw(format!("\u{feff}{one}"), 400, "graphql_malformed");
    let deep = format!(
        r#"{{"query": "{{ me {{ id }} }}", "variables": {{"a": {}1{}}}}}"#,
        "[".repeat(1000),
        "]".repeat(1000)
    );
    raw(deep, 400, "graphql_malformed");
    let with =
        |query: &str, variables: Value| json!({"query": query, "variables": variables}).to_string();
    let list = "query($n: Int) { products(first: $n) { id } }";
    raw(with(list, json!({"n": 1_000_000})), 400, "graphql_cost");
    raw(with(list, json!({"n": "1e9"})), 400, "graphql_variables");
    raw(with(list, json!({"n": 1e9})), 400, "graphql_variables");
    raw(
        with("query($n: Int = 100000) { products(first: $n) { id } }", json!({})),
        400,
        "graphql_cost",
    );
    raw(
        with(
            "query($if: Boolean!) { product(id: 1) { bought @include(if: $if) } }",
            json!({"if": false}),
        ),
        403,
        "graphql_forbidden",
    );
    raw(
        r#"{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}}"#.to_owned(),
        400,
        "graphql_persisted_query",
    );
    raw(
        with(
            &format!("{{ found(words: \"{}\") {{ nothing }} }}", "x".repeat(900_000)),
            json!(null),
        ),
        400,
        "graphql_invalid",
    );
    all
}

#[test]
fn a_cycle_of_fragments_never_reaches_the_upstream() {
    let (world, asked) = world(&json!({}));
    let token = bearer(&world, &["customer"], "orders.read");
    for (body, status, expected) in attacks() {
        let answer = post(&world, &token, &body);
        let short: String = body.chars().take(200).collect();
        assert_eq!((answer.status, code(&answer)), (status, expected.to_owned()), "{short}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // Nothing of it has harmed anybody.
    assert_eq!(post(&world, &token, &query("{ me { id } }")).status, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn what_a_browser_sends_from_elsewhere_never_reaches_the_upstream() {
    let (world, asked) = world(&json!({}));
    let token = bearer(&world, &["customer"], "orders.read");
    let auth = ("Authorization", token.as_str());
    let body = query("mutation { order(id: 1) { id } }");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json, text/plain",
    ] {
        let answer = world.ask(&request("POST", PATH, &[auth, ("Content-Type", kind)], &body));
        assert_eq!((answer.status, &*code(&answer)), (415, "graphql_media_type"), "{kind}");
    }
    let without = world.ask(&request("POST", PATH, &[auth], &body));
    assert_eq!(without.status, 415);
    let packed =
        world.ask(&request("POST", PATH, &[auth, JSON, ("Content-Encoding", "gzip")], &body));
    assert_eq!(packed.status, 415);
    let mutation = format!("{PATH}?query=mutation%7Border(id:1)%7Bid%7D%7D");
    let answer = world.ask(&get(&mutation, &[auth]));
    assert_eq!((answer.status, &*code(&answer)), (405, "graphql_mutation_by_get"));
    assert_eq!(answer.field("allow"), Some("POST"));
    let answer =
        world.ask(&request("HEAD", &format!("{PATH}?query=%7Bme%7Bid%7D%7D"), &[auth], ""));
    assert_eq!(answer.status, 405);
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer = world.ask(&request(method, PATH, &[auth, JSON], &body));
        assert_eq!((answer.status, &*answer.problem()), (405, "method_not_allowed"), "{method}");
    }
    // A body behind a `GET`, and a question behind a `POST`.
    let answer = world.ask(&request("GET", PATH, &[auth, JSON], &body));
    assert_eq!((answer.status, &*code(&answer)), (400, "graphql_malformed"));
    let answer = world.ask(&request("POST", &mutation, &[auth, JSON], &body));
    assert_eq!((answer.status, &*code(&answer)), (400, "graphql_malformed"));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_document_judged_is_the_document_sent() {
    let (world, asked) = world(&json!({}));
    let token = bearer(&world, &["customer"], "orders.read");
    let auth = ("Authorization", token.as_str());
    let body = json!({
        "query": "# first\nquery Home($n: Int) { products(first: $n) { ...P } }\n\
                  query Other { me { name } } fragment P on Product { id }",
        "operationName": "Home", "variables": {"n": 3, "more": 1}, "extensions": {"a": 1},
    });
    let wanted = json!({
        "query": "query Home($n: Int) { products(first: $n) { ...P } } fragment P on Product { id }",
        "operationName": "Home", "variables": {"n": 3},
    });
    let fields =
        [auth, JSON, ("Accept", "application/graphql-response+json"), ("X-User-ID", "usr_x")];
    let answer = world.ask(&request("POST", PATH, &fields, &body.to_string()));
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = answer.json();
    assert_eq!((&seen["method"], &seen["path"]), (&json!("POST"), &json!("/gql")));
    let sent: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
    assert_eq!(sent, wanted);
    assert_eq!(answer.seen("x-user-id").as_deref(), Some("usr_alice"));
    assert_eq!(answer.seen("x-user-roles").as_deref(), Some("customer"));
    assert!(answer.seen("x-internal-token").is_some() && answer.seen("authorization").is_none());
    let length = seen["body"].as_str().unwrap().len().to_string();
    assert_eq!(answer.seen("content-length"), Some(length));
    // In pieces, and without a length.
    let text = body.to_string();
    let (first, second) = text.split_at(40);
    let chunked = request("POST", PATH, &[auth, JSON, ("Transfer-Encoding", "chunked")], "")
        + &format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
    assert_eq!(world.ask(&chunked).json()["body"], seen["body"]);
    // What is asked with `GET` is sent in the same way, and nothing behind `?` is.
    let path = format!(
        "{PATH}?variables=%7B%22n%22:3%7D&operationName=Home&query=query+Home($n:Int)%7Bproducts(first:$n)\
         %7B...P%7D%7Dfragment+P+on+Product%7Bid%7D"
    );
    let answer = world.ask(&get(&path, &[auth, ("If-None-Match", "\"x\"")]));
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = answer.json();
    assert!(answer.seen("if-none-match").is_none());
    assert_eq!(answer.seen("content-type").as_deref(), Some("application/json"));
    assert_eq!(
        (&seen["method"], &seen["path"], &seen["query"]),
        (&json!("POST"), &json!("/gql"), &Value::Null)
    );
    let sent: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
    assert_eq!(sent, wanted);
    let batch = format!("[{0},{0}]", query("{ me { id } }"));
    let answer = post(&world, &token, &batch);
    let sent: Value = serde_json::from_str(answer.json()["body"].as_str().unwrap()).unwrap();
    assert_eq!(sent, json!([{"query": "{ me { id } }"}, {"query": "{ me { id } }"}]));
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    // The connection is as good as before, whatever it was told.
    let mut client = world.connect();
    for (text, status) in
        [("{ me { id } }", 200), ("{ no }", 400), ("{ me { email } }", 403), ("{ me { id } }", 200)]
    {
        let answer = client.ask(&request("POST", PATH, &[auth, JSON], &query(text)));
        assert_eq!(answer.status, status, "{text}");
    }
}

#[test]
fn what_a_route_asks_is_asked_before_a_body_is_read() {
    let (world, asked) = world(&json!({}));
    let body = query("{ me { id } }");
    let answer = world.ask(&request("POST", PATH, &[JSON], &body));
    assert_eq!((answer.status, &*answer.problem()), (401, "not_authenticated"));
    let token = bearer(&world, &["customer"], "");
    let auth = ("Authorization", token.as_str());
    let answer = world.ask(&request("POST", "/graphql/staff", &[auth, JSON], "{"));
    assert_eq!((answer.status, &*answer.problem()), (403, "missing_role"));
    for path in ["/graphql", "/graphql/", "/graphql/none", "/graphql/shop/more"] {
        let answer = world.ask(&request("POST", path, &[auth, JSON], &body));
        assert_eq!((answer.status, &*answer.problem()), (404, "no_route"), "{path}");
    }
    let large = "x".repeat(1024 * 1024 + 1);
    let answer = world.ask(&request("POST", PATH, &[auth, JSON], &query(&large)));
    assert_eq!((answer.status, &*answer.problem()), (413, "body_too_large"));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // Where nobody has to be known, fields may ask for somebody.
    let open = |fields: &[(&str, &str)], text: &str| {
        let fields = [fields, &[JSON]].concat();
        world.ask(&request("POST", "/graphql/open", &fields, &query(text)))
    };
    assert_eq!(open(&[], "{ me { id } }").status, 200);
    let answer = open(&[], "{ me { email } }");
    assert_eq!((answer.status, &*code(&answer)), (401, "not_authenticated"));
    assert!(answer.field("www-authenticate").is_some());
    let token = bearer(&world, &[], "email");
    assert_eq!(open(&[("Authorization", &token)], "{ me { email } }").status, 200);
    let admin = bearer(&world, &["admin"], "email");
    for text in [
        "{ node(id: 1) { id } }",
        "{ product(id: 1) { bought } }",
        "mutation { describe(id: 1, name: \"\") { id } }",
    ] {
        assert_eq!(post(&world, &admin, &query(text)).status, 200, "{text}");
    }
    let operators = bearer(&world, &["operators"], "");
    assert_eq!(post(&world, &operators, &query("{ __schema { types { name } } }")).status, 200);
}

#[test]
fn what_is_taken_back_while_its_body_comes_asks_for_nothing() {
    let (world, asked) = world(&json!({}));
    let token = bearer(&world, &["customer"], "");
    let mut client = world.connect();
    let body = query("mutation { order(id: 1) { id } }");
    let (first, second) = body.split_at(20);
    let length = body.len().to_string();
    let fields = [("Authorization", token.as_str()), JSON, ("Content-Length", length.as_str())];
    client.write(request("POST", PATH, &fields, ""));
    client.write(first);
    assert!(client.is_quiet());
    world.revoke(Target::Session(SessionId::new("1.30000.s").unwrap()));
    client.write(second);
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, &*answer.problem()), (401, "token_revoked"));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn over_http2_each_stream_is_looked_at() {
    let (mut plan, asked) = plan(&json!({}));
    plan.real_time = true;
    plan.declared = vec![framed::declared("framed", framed::start())];
    plan.routes =
        json!([route(PATH, &json!({})), route("/graphql/framed", &json!({"service": "framed"})),]);
    let world = plan.start();
    let token = bearer(&world, &["customer"], "");
    const GOOD: &str = r#"{"query": "{ me { id } }"}"#;
    const BAD: &str = r#"{"query": "{ me { email } }"}"#;
    grpc::block_on(async {
        let mut sender = grpc::client(&world).await;
        let mut ask = async |path: &str, body: grpc::Body| {
            let request = http::Request::post(format!("http://gateway.example{path}"))
                .header("authorization", &token)
                .header("content-type", "application/json")
                .body(body);
            let answer = sender.send_request(request.unwrap()).await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice::<Value>(&body).unwrap())
        };
        // What stands behind a body says nothing, and reaches nobody.
        let trailers: &[(&str, &str)] = &[("x-more", "1")];
        for path in [PATH, "/graphql/framed"] {
            let (status, refused) = ask(path, grpc::whole(BAD, &[])).await;
            let code = &refused["errors"][0]["extensions"]["code"];
            assert_eq!((status, code), (403, &json!("graphql_forbidden")));
            let (status, seen) = ask(path, grpc::whole(GOOD, trailers)).await;
            assert_eq!((status, &seen["path"]), (200, &json!("/gql")), "{seen}");
            let body: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
            assert_eq!(body, json!({"query": "{ me { id } }"}));
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_body_that_breaks_off_reaches_nobody() {
    let (world, asked) = world(&json!({}));
    let token = bearer(&world, &["customer"], "");
    let auth = ("Authorization", token.as_str());
    let body = query("{ me { id } }");
    // What came is a whole document already, and there was to be more.
    for fields in
        [[auth, JSON, ("Content-Length", "500")], [auth, JSON, ("Transfer-Encoding", "chunked")]]
    {
        let mut client = world.connect();
        client.write(request("POST", PATH, &fields, ""));
        client.write(format!("{:x}\r\n{body}\r\n", body.len()));
        assert!(client.is_quiet());
        drop(client);
    }
    assert_eq!(post(&world, &token, &body).status, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn limits_hold_at_exactly_ten_thirty_and_ten() {
    let (world, asked) = world(&json!({}));
    let token = bearer(&world, &["customer"], "");
    let deep = |many: usize| {
        query(&format!("{{ depth {{ {}n{} }} }}", "level {".repeat(many), "}".repeat(many)))
    };
    let names = |many: usize| {
        let all: String = (0..many).map(|n| format!("a{n}: me {{ id }} ")).collect();
        query(&format!("{{ {all} }}"))
    };
    let batch = |many: usize| format!("[{}]", vec![query("{ me { id } }"); many].join(","));
    let cost = |first: usize| query(&format!("{{ products(first: {first}) {{ id }} }}"));
    for (just, beyond, expected) in [
        (deep(8), deep(9), "graphql_depth"),
        (names(30), names(31), "graphql_aliases"),
        (batch(10), batch(11), "graphql_batch"),
        (cost(999), cost(1000), "graphql_cost"),
    ] {
        assert_eq!(post(&world, &token, &just).status, 200, "{expected}");
        let answer = post(&world, &token, &beyond);
        assert_eq!((answer.status, &*code(&answer)), (400, expected));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[test]
fn a_caller_who_has_asked_for_too_much_waits() {
    let (world, asked) = world(&json!({"graphql": {"cost": 60, "cost_limit": "60/m"}}));
    let token = bearer(&world, &["customer"], "");
    let body = query("query Home { products(first: 39) { id } }");
    assert_eq!(post(&world, &token, &body).status, 200);
    let answer = post(&world, &token, &body);
    assert_eq!((answer.status, &*code(&answer)), (429, "graphql_cost_limit"));
    assert_eq!(answer.field("retry-after"), Some("20"));
    // Somebody else has as much for themselves, and less is left of what is whole.
    let mut claims = world.claims();
    claims["sub"] = json!("usr_bob");
    let other = format!("Bearer {}", world.sign(&claims));
    assert_eq!(post(&world, &other, &body).status, 200);
    assert_eq!(post(&world, &token, &query("{ products(first: 19) { id } }")).status, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    // A new map changes nothing of it.
    let (mut next, _) = plan(&json!({"graphql": {"cost": 60, "cost_limit": "60/m"}}));
    next.routes.as_array_mut().unwrap().push(json!({"path": "/more", "service": "echo"}));
    world.gateway.replace(&next.map(), Vec::new()).unwrap();
    assert_eq!(post(&world, &token, &body).status, 429);
    world.clock.advance(std::time::Duration::from_secs(60));
    world.refresh_revocations();
    let token = bearer(&world, &["customer"], "");
    assert_eq!(post(&world, &token, &body).status, 200);
}

#[test]
fn names_of_operations_cannot_flood_the_metrics() {
    let (world, _) = world(&json!({}));
    let token = bearer(&world, &["customer"], "");
    for n in 0..300 {
        let passed = post(&world, &token, &query(&format!("query N{n} {{ me {{ id }} }}")));
        assert_eq!(passed.status, 200);
        let refused = post(&world, &token, &query(&format!("query M{n} {{ me {{ email }} }}")));
        assert_eq!(refused.status, 403);
    }
    post(&world, &token, &query("query Home { me { id } }"));
    post(&world, &token, &query("{ me { id } }"));
    post(&world, &token, "{");
    let shown = world.metrics();
    let count = |operation: &str, result: &str, count: u32| {
        let line = format!(
            "graphql_requests_total{{route=\"{PATH}\",operation=\"{operation}\",result=\"{result}\"}} {count}"
        );
        assert!(shown.contains(&line), "{line}\n{shown}");
    };
    count("other", "passed", 300);
    count("other", "graphql_forbidden", 300);
    count("Home", "passed", 1);
    count("none", "passed", 1);
    count("none", "graphql_malformed", 1);
    assert!(shown.contains(&format!("graphql_cost_total{{route=\"{PATH}\"}} 604")), "{shown}");
    // Not the whole page: what a worker counts is there from when it has started.
    let series = shown.lines().filter(|line| line.starts_with("graphql_requests_total"));
    assert_eq!(series.count(), 5, "{shown}");
    assert!(!shown.contains("N299"), "{shown}");
    // What is gone is shown no more.
    let (mut next, _) = plan(&json!({}));
    next.routes = json!([{"path": "/echo", "service": "echo"}]);
    world.gateway.replace(&next.map(), Vec::new()).unwrap();
    assert!(!world.metrics().contains(PATH));
}

fn records(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("0000000001.log")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str(&line[65..]).unwrap());
    records.filter(|record: &Value| record.get("log").is_none()).collect()
}

#[test]
fn a_refusal_is_written_down_as_a_denial_with_the_names_of_operations() {
    for mode in [Mode::BestEffort, Mode::Required] {
        let directory = tempfile::tempdir().unwrap();
        let config = decision_log::Config { mode, ..decision_log::Config::at(directory.path()) };
        let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
        let signer: Signer = Arc::new(move || Some(Arc::clone(&key)));
        let log = DecisionLog::open(&config, &Node::for_tests(1), signer).unwrap();
        let (mut plan, asked) = plan(&json!({}));
        plan.decisions = Some(log.clone());
        let world = plan.start();
        let token = bearer(&world, &["customer"], "");
        assert_eq!(post(&world, &token, &query("query Secret { me { email } }")).status, 403);
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        assert_eq!(post(&world, &token, &query("query Home { me { id } }")).status, 200);
        let batch =
            format!("[{},{}]", query("query A { me { id } }"), query("query B { me { id } }"));
        assert_eq!(post(&world, &token, &batch).status, 200);
        drop(world);
        log.close();
        let all: Vec<String> = records(directory.path())
            .iter()
            .map(|record| {
                let text = |name: &str| record[name].as_str().unwrap_or_default();
                format!("{} {} {}", text("result"), text("reason"), text("operation"))
            })
            .collect();
        let refused = "deny graphql_forbidden Secret";
        let wanted: &[&str] = match mode {
            Mode::BestEffort => &[refused, "allow  Home", "allow  A,B"],
            // First what was decided, and then how it went.
            Mode::Required => &[
                refused,
                "answer graphql_forbidden Secret",
                "allow  Home",
                "answer  Home",
                "allow  A,B",
                "answer  A,B",
            ],
        };
        assert_eq!(all, wanted);
    }
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway").join(name)
}

/// Documents, valid and not.
const DOCUMENTS: &[&str] = &[
    "{ me { id name } }",
    "query Home($n: Int = 3) { products(first: $n) { id ...P } } fragment P on Product { name priceCents }",
    "query($w: Where, $k: [Kind!] = [PRODUCT]) { found(words: \"x\", kinds: $k, where: $w) { __typename ... on Product { name } ... on Person { name } } }",
    "{ found(words: \"x\", where: {all: [{word: \"a\"}, {most: 1}], word: null}) { ... on Node { __typename } } }",
    "{ found(words: \"\"\"a \\\"\"\" b\"\"\", kinds: PERSON) { __typename } }",
    "{ me { name name id: id } }",
    "{ found(words: \"x\", kinds: [PERSON]) { __typename } found(words: \"x\", kinds: [PERSON, PRODUCT]) { __typename } }",
    "{ found(words: \"x\", kinds: [PERSON]) { __typename } found(words: \"x\", kinds: [PERSON]) { __typename } }",
    "{ a: me { id } a: me { name } }",
    "{ a: me { id } a: product(id: 1) { id } }",
    "{ product(id: 1) { name } product(id: 2) { name } }",
    "{ product(id: 1) { x: name x: priceCents } }",
    "{ found(words: \"x\") { ... on Product { x: name } ... on Person { x: id } } }",
    "{ found(words: \"x\") { ... on Product { x: name } ... on Person { x: name } } }",
    "{ me }",
    "{ me { id { a } } }",
    "{ me { nothing } }",
    "{ nothing }",
    "{ product { id } }",
    "{ product(id: 1, more: 2) { id } }",
    "{ product(id: 1, id: 2) { id } }",
    "{ product(id: true) { id } }",
    "{ products(first: \"1\") { id } }",
    "{ products(first: 1.5) { id } }",
    "{ products(first: 99999999999) { id } }",
    "{ found(words: \"x\", kinds: [OTHER]) { __typename } }",
    "{ found(words: \"x\", kinds: \"PERSON\") { __typename } }",
    "{ found(words: \"x\", where: {word: 1}) { __typename } }",
    "{ found(words: \"x\", where: {nothing: 1}) { __typename } }",
    "{ found(words: \"x\", where: {word: \"a\", word: \"b\"}) { __typename } }",
    "{ found(words: null) { __typename } }",
    "{ found(words: \"x\") { id } }",
    "{ found(words: \"x\") { ... on Draft { id } } }",
    "{ found(words: \"x\") { ... on Nothing { id } } }",
    "{ me { ... on Product { id } } }",
    "{ me { ... on Int { id } } }",
    "{ me { ...F } }",
    "{ me { ...F } } fragment F on Product { id }",
    "{ me { id } } fragment F on Person { id }",
    "query($a: Int) { me { id } }",
    "query($a: Int, $a: Int) { products(first: $a) { id } }",
    "{ products(first: $a) { id } }",
    "query($a: String) { products(first: $a) { id } }",
    "query($a: Int) { product(id: $a) { id } }",
    "query($a: ID) { product(id: $a) { id } }",
    "query($a: ID = null) { product(id: $a) { id } }",
    "query($a: String) { found(words: \"x\", where: {word: $a}) { __typename } }",
    "query($a: Int) { found(words: \"x\", where: {word: $a}) { __typename } }",
    "query($a: Where) { found(words: \"x\", where: {all: [$a]}) { __typename } }",
    "query($a: [Where!]) { found(words: \"x\", where: {all: $a}) { __typename } }",
    "query($a: Where) { found(words: \"x\", where: {all: $a}) { __typename } }",
    "query($a: ID = \"1\") { product(id: $a) { id } }",
    "query($a: [Kind]) { found(words: \"x\", kinds: $a) { __typename } }",
    "query($a: Kind = PERSON) { found(words: \"x\", kinds: [$a]) { __typename } }",
    "query($a: Kind) { found(words: \"x\", kinds: [$a]) { __typename } }",
    "query($w: Where = {word: \"a\", word: \"b\"}) { found(words: \"x\", where: $w) { __typename } }",
    "{ found(words: \"x\", where: {all: [{word: \"a\", word: \"a\"}]}) { __typename } }",
    "query($a: Product) { me { id } }",
    "query($a: Nothing) { me { id } }",
    "query($a: Int = \"x\") { products(first: $a) { id } }",
    "{ me { id @skip } }",
    "{ me { id @skip(if: 1) } }",
    "{ me { id @include(if: true) } }",
    "query @skip(if: true) { me { id } }",
    "query A { me { id } } query A { me { id } }",
    "{ me { id } } query A { me { id } }",
    "mutation { order(id: 1) { id } }",
    "mutation M { a: order(id: 1) { id } b: order(id: 2, many: 3) { id } }",
    "mutation { nothing }",
    "{ __typename }",
    "{ me { __typename } depth { levels(first: 2) { n } } }",
    "{ me { } }",
    "{ }",
    "query { me { id } ",
    "{ me { id }} }",
    "query A($a: Int { me { id } }",
    "{ me(: 1) { id } }",
    "{ a: : me { id } }",
    "{ me { id ... } }",
    "{ me { ...on } } fragment on on Person { id }",
    "{ me { id } } # \u{e9}\n",
    "\u{feff}{ me { id } }",
    "{ found(words: \"a\nb\") { __typename } }",
    "{ found(words: \"\\q\") { __typename } }",
    "{ found(words: \"\\u00\") { __typename } }",
    "{ found(words: \"\\u{1F600}\\uD83D\\uDE00\") { __typename } }",
    "{ found(words: \"\\uD83D\") { __typename } }",
    "{ product(id: 01) { id } }",
    "{ product(id: 1a) { id } }",
    "{ product(id: -0) { id } }",
    "{ me { \u{e9} } }",
    "{ me { id } } \u{0}",
    "{,,, me ,,, { ,id, } ,}",
    "{ me { ...A } } fragment A on Person { ...B } fragment B on Person { ...A }",
    "fragment A on Person { id }",
    "{ me { id } } extend type Query { a: Int }",
    "query on { me { id } }",
    "query query { query: me { id } }",
    "{ node(id: 1) { ... on Product { like(first: 2) { id } } ... on Person { name } } }",
];

#[test]
fn graphql_js_and_the_gateway_agree_on_what_is_valid() {
    let (world, _) = world(&json!({}));
    let token = bearer(&world, &["admin", "operators"], "email");
    let mut script = Command::new(program("node", "nodejs"))
        .arg(here("graphql.mjs"))
        .arg(present("graphql").join("node_modules"))
        .arg(here("graphql.graphql"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(script.stdout.take().unwrap()).lines();
    let mut to = script.stdin.take().unwrap();
    let mut client = world.connect();
    let mut differ = Vec::new();
    let (mut valid, mut invalid, mut lenient) = (0, 0, 0);
    let own = DOCUMENTS.iter().map(|text| (*text).to_owned());
    for text in own.chain(changed(1000)) {
        let fields = [("Authorization", token.as_str()), JSON];
        let answer = client.ask(&request("POST", PATH, &fields, &query(&text)));
        let sent =
            (answer.status == 200).then(|| answer.json()["body"].as_str().unwrap().to_owned());
        writeln!(to, "{}", json!({"query": text, "sent": sent})).unwrap();
        let said: Value = serde_json::from_str(&told.next().unwrap().unwrap()).unwrap();
        let ours = if sent.is_some() { String::new() } else { code(&answer) };
        // What is asked beyond validity: what is meant, how much it is, and what values there are.
        let beyond = ["operation", "variables", "subscription", "introspection", "depth", "cost"];
        let agrees = match (said["valid"].as_bool(), &sent) {
            // Of what passes, what is sent is to mean the same to whoever executes it.
            (_, Some(_)) if said["sent"] != json!([]) => false,
            (Some(true), Some(_)) => said["same"] == true,
            // A mark that is missing may be passed over here: what is sent has it.
            (_, Some(_)) if said["syntax"] == true => {
                lenient += 1;
                true
            }
            (Some(true), None) => beyond.iter().any(|it| ours == format!("graphql_{it}")),
            (_, sent) => sent.is_none(),
        };
        if !agrees {
            differ.push(format!("{text:?}: gateway `{ours}`, graphql-js {said}"));
        } else if sent.is_some() {
            valid += 1;
        } else {
            invalid += 1;
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(valid > 50 && invalid > 300 && lenient < 10, "{valid} {invalid} {lenient}");
    drop(to);
    assert!(script.wait().unwrap().success());
}

/// The documents with one or two of their words left out, doubled, exchanged, or put in the place of another.
fn changed(many: usize) -> Vec<String> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let words = |text: &str| {
        let mut words = vec![String::new()];
        for c in text.chars() {
            let is_part = c.is_alphanumeric() || matches!(c, '_' | '"' | '\\');
            if !is_part
                || words
                    .last()
                    .unwrap()
                    .chars()
                    .last()
                    .is_some_and(|last| "{}()[]:=!$@ ,.".contains(last))
            {
                words.push(String::new());
            }
            words.last_mut().unwrap().push(c);
        }
        words
    };
    let all: Vec<String> = DOCUMENTS.iter().flat_map(|text| words(text)).collect();
    let change = |_| {
        let mut words = words(DOCUMENTS[random(DOCUMENTS.len())]);
        for _ in 0..=random(2) {
            let (at, other) = (random(words.len()), random(words.len()));
            match random(4) {
                0 => drop(words.remove(at)),
                1 => words.insert(at, words[other].clone()),
                2 => words.swap(at, other),
                _ => words[at] = all[random(all.len())].clone(),
            }
            if words.is_empty() {
                break;
            }
        }
        words.concat()
    };
    (0..many).map(change).collect()
}

#[test]
fn a_client_and_a_service_of_others_understand_each_other() {
    let mut script = Command::new(program("node", "nodejs"))
        .arg(here("graphql-client.mjs"))
        .arg(present("graphql").join("node_modules"))
        .arg(here("graphql.graphql"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(script.stdout.take().unwrap()).lines();
    let port: u16 = told.next().unwrap().unwrap().parse().unwrap();
    let mut plan = Plan::with(([127, 0, 0, 1], port).into());
    plan.routes = json!([route(PATH, &json!({"graphql": {"upstream_path": "/gql"}}))]);
    plan.real_time = true;
    let world = plan.start();
    let to = json!({"url": format!("http://{}{PATH}", world.address), "token": world.token()});
    writeln!(script.stdin.as_mut().unwrap(), "{to}").unwrap();
    let said: Value = serde_json::from_str(&told.next().unwrap().unwrap()).unwrap();
    assert!(script.wait().unwrap().success());
    assert_eq!(
        said["products"],
        json!({"products": [{"id": "0", "cents": 100}, {"id": "1", "cents": 100}]})
    );
    assert_eq!(said["found"]["found"][1], json!({"__typename": "Person", "name": "two"}));
    assert_eq!(said["ordered"], json!({"order": {"id": "7", "name": "3 ordered"}}));
    assert_eq!(said["got"], json!({"products": [{"id": "0"}]}));
    assert_eq!(said["refused"], 403);
    let asked = said["asked"].as_array().unwrap();
    assert!(asked.iter().all(|it| it[0] == "POST" && it[1] == "/gql"), "{said}");
    let names: Vec<_> = asked.iter().map(|it| it[2].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["Home", "", "Order", "Got"], "{said}");
}

#[test]
fn no_other_route_leads_to_where_bodies_are_looked_at() {
    let (address, asked) = echo::counting();
    let mut plan = Plan::with(address);
    // The same address under another name is the same address.
    plan.services.push(("again".to_owned(), vec![address]));
    plan.services.push(("other".to_owned(), vec![echo::start()]));
    plan.routes = json!([
        route(PATH, &json!({})),
        {"path": "/echo", "service": "echo", "auth": "none"},
        {"path": "/gql", "service": "echo", "auth": "none", "strip_prefix": false},
        {"path": "/again", "service": "again", "auth": "none"},
        {"path": "/other", "service": "other", "auth": "none"},
    ]);
    let world = plan.start();
    let body = query("{ me { email } }");
    for path in [
        "/echo/gql",
        "/echo/gql/",
        "/echo/gql/x",
        "/echo/%67ql",
        "/echo/GQL",
        "/echo/Gql?x",
        "/echo/gql;a=b",
        "/gql",
        "/again/gql",
    ] {
        let answer = world.ask(&request("POST", path, &[JSON], &body));
        // Some are refused before it is known where they lead.
        assert!(
            ["no_route", "path_parameters"].contains(&&*answer.problem()),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    for path in ["/echo/gqlx", "/echo/graphql", "/echo", "/again/x", "/other/gql"] {
        assert_eq!(world.ask(&request("POST", path, &[JSON], &body)).status, 200, "{path}");
    }
}
