//! Requests in GraphQL: none makes the program stop, and what is sent on is judged as it was before.
#![no_main]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method, header};
use libfuzzer_sys::fuzz_target;
use tegata_gateway::graphql::{Endpoint, Judged, Request, Rights, Wrong};
use tegata_mesh::{DeclaredRoute, DeclaredService, ServiceMap};

const SCHEMA: &str = include_str!("../../crates/gateway/tests/gateway/graphql.graphql");

static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| {
    let route = serde_json::json!({
        "path": "/graphql/a", "service": "a",
        "graphql": {"schema": SCHEMA, "introspection": "operators"},
    });
    let route: DeclaredRoute = serde_json::from_value(route).expect("a route");
    let upstreams = vec!["http://127.0.0.1:1".to_owned()];
    let service = DeclaredService { name: "a".to_owned(), upstreams, ..DeclaredService::default() };
    let map = ServiceMap::check(&[service], &[route]).expect("a map");
    let graphql = map.routes().next().and_then(|route| route.graphql.as_ref());
    Endpoint::new(graphql.expect("a route with a schema"))
});

fn judge(body: &[u8], rights: Rights<'_>) -> Result<Judged, Wrong> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = Request { method: &Method::POST, headers: &headers, query: None, body };
    ENDPOINT.judge(&request, rights)
}

fn hold(body: &[u8]) {
    let all = Rights { known: true, roles: &["admin", "operators"], scopes: &["email"] };
    let some = Rights { known: true, roles: &["customer"], scopes: &[] };
    let judged = match judge(body, all) {
        Ok(judged) => judged,
        // Whoever may do everything is told no other than whoever may do less.
        Err(_) => return assert!(judge(body, some).is_err()),
    };
    assert!(judged.cost <= 1000);
    match judge(&judged.body, all) {
        Ok(again) => {
            assert_eq!(again.body, judged.body);
            assert_eq!((again.cost, again.names), (judged.cost, judged.names));
        }
        // Written anew, there is a space where there was none.
        Err(wrong) => assert_eq!(wrong.id, "graphql_size"),
    }
    if let Ok(less) = judge(body, some) {
        assert_eq!(less.body, judged.body);
    }
}

fuzz_target!(|bytes: &[u8]| {
    hold(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    hold(serde_json::json!({"query": text}).to_string().as_bytes());
});
