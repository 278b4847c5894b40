use http::{HeaderMap, Method, header};
use serde_json::{Value, json};
use tegata_mesh::{DeclaredRoute, DeclaredService};

use super::*;

const SCHEMA: &str = r#"
type Query {
  me: User
  user(id: ID!): User
  users(first: Int = 20, ids: [ID!]): [User!]!
  page(first: Int, after: String): Users!
  node(id: ID!): Node
  found(words: String!, limit: Float): [Found!]!
  named: Named
  nodes(ids: [ID!]!): [Node]! @listSize(slicingArguments: ["ids"])
  dear: Int @cost(weight: 900)
  vault: Vault
  matrix: [[User!]!]!
  step: Step
}
type Mutation @allow(roles: ["writer", "admin"]) { rename(name: String!): User, drop: Int @allow(scopes: ["orders.write"]) }
type Subscription { ticks: Int }
interface Node { id: ID! }
interface Named { name: String! @allow(scopes: ["profile"]) }
type User implements Node & Named {
  id: ID!
  name: String!
  email: String @allow(roles: ["admin", "support"])
  friends(first: Int): [User!]!
  balance: Int @allow(roles: ["admin"], scopes: ["orders.read"]) @allow(scopes: ["orders.write"])
}
type Secret implements Node @allow(roles: ["admin"]) { id: ID!, text: String! }
type Vault @allow { gold: Int }
type Users { edges: [Edge!]!, total: Int! }
type Edge { node: User!, cursor: String! }
union Found = User | Secret
interface Step { id: ID!, next(all: [Int]): Step }
type Left implements Step { id: ID!, next(all: [Int]): Step }
type Right implements Step { id: ID!, next(all: [Int]): Step }
input Filter { all: [Filter!], word: String }
"#;

fn set(rest: &str) -> Graphql {
    let text = json!(SCHEMA);
    let text = format!(
        r#"{{"path": "/graphql/a", "service": "a", "graphql": {{"schema": {text}{rest}}}}}"#
    );
    let route: DeclaredRoute = serde_json::from_str(&text).unwrap();
    let service = DeclaredService {
        name: "a".into(),
        upstreams: vec!["http://127.0.0.1:1".into()],
        ..DeclaredService::default()
    };
    let map = ServiceMap::check(&[service], &[route]).unwrap();
    map.routes().next().unwrap().graphql.clone().unwrap()
}

const ADMIN: Rights<'static> = Rights {
    known: true,
    roles: &["admin", "operators"],
    scopes: &["orders.read", "orders.write", "profile"],
};

fn judged(endpoint: &Endpoint, body: &[u8], rights: Rights<'_>) -> Result<Judged, Wrong> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    let request = Request { method: &Method::POST, headers: &headers, query: None, body };
    endpoint.judge(&request, rights)
}

fn ask_with(
    rest: &str,
    query: &str,
    variables: &Value,
    rights: Rights<'_>,
) -> Result<Judged, Wrong> {
    let body = json!({"query": query, "variables": variables}).to_string();
    judged(&Endpoint::new(&set(rest)), body.as_bytes(), rights)
}

fn ask(query: &str) -> Result<Judged, Wrong> {
    ask_with("", query, &Value::Null, ADMIN)
}

fn id(query: &str) -> &'static str {
    match ask(query) {
        Ok(judged) => panic!("{query} passes: {judged:?}"),
        Err(wrong) => wrong.id,
    }
}

fn sent(judged: &Judged) -> Value {
    serde_json::from_slice(&judged.body).unwrap()
}

fn cost(query: &str, variables: &Value) -> u32 {
    ask_with(r#", "cost": 1000000"#, query, variables, ADMIN).unwrap().cost
}

#[test]
fn a_document_judged_is_the_document_sent() {
    let endpoint = Endpoint::new(&set(""));
    let query = "# a comment\nquery A($n: Int) { users(first: $n) { ...F } } query B { me { ...G } } \
                 fragment F on User { id ...G } fragment G on User { name: id }";
    let ask = |name: &str| {
        let body = json!({
            "query": query, "operationName": name, "variables": {"n": 3, "other": [1]},
            "extensions": {"trace": 1}, "more": true,
        });
        judged(&endpoint, body.to_string().as_bytes(), ADMIN).unwrap()
    };
    let (first, second) = (ask("A"), ask("B"));
    assert_eq!(
        sent(&first),
        json!({
            "query": "query A($n: Int) { users(first: $n) { ...F } } \
                      fragment F on User { id ...G } fragment G on User { name: id }",
            "operationName": "A",
            "variables": {"n": 3},
        })
    );
    assert_eq!(
        sent(&second),
        json!({
            "query": "query B { me { ...G } } fragment G on User { name: id }",
            "operationName": "B",
            "variables": {},
        })
    );
    assert_eq!(first.names, "A");
    // What was written is what is read again, to the byte.
    let again = judged(&endpoint, &first.body, ADMIN).unwrap();
    assert_eq!(again.body, first.body);
    assert_eq!(again.cost, first.cost);
}

#[test]
fn texts_in_a_document_come_through_as_they_are() {
    for (literal, text) in [
        (r#""a\"b\\c\u0041\n\u{1F600}\t\/""#, "a\"b\\cA\n😀\t/"),
        (r#""\uD83D\uDE00""#, "😀"),
        ("\"\"\"\n   one\n     two \\\"\"\" \"x\"\n\"\"\"", "one\n  two \"\"\" \"x\""),
        ("\"\"\"} me { email\"\"\"", "} me { email"),
        (r#"" # no comment ""#, " # no comment "),
        ("\"\u{feff}\u{2028}é\"", "\u{feff}\u{2028}é"),
        (r#""""#, ""),
    ] {
        let judged = ask(&format!("{{ found(words: {literal}) {{ __typename }} }}")).unwrap();
        let written = sent(&judged)["query"].as_str().unwrap().to_owned();
        // Read by somebody else: the one who executes it.
        let document = apollo_compiler::ast::Document::parse(written.clone(), "x").unwrap();
        let operation = document.definitions[0].as_operation_definition().unwrap();
        let field = operation.selection_set[0].as_field().unwrap();
        assert_eq!(field.arguments[0].value.as_str(), Some(text), "{written}");
    }
}

#[test]
fn a_cycle_of_fragments_is_refused() {
    for cycle in [
        "{ me { ...A } } fragment A on User { ...A }",
        "{ me { ...A } } fragment A on User { friends { ...B } } fragment B on User { ...A }",
        "{ me { ...A } } fragment A on User { ...B } fragment B on User { friends { ... on User { ...C } } } \
         fragment C on User { ...A }",
        "{ me { id } } fragment A on User { ...B } fragment B on User { ...A }",
    ] {
        assert_eq!(id(cycle), "graphql_cycle", "{cycle}");
    }
}

#[test]
fn fragments_that_double_thirty_times_cost_no_more_than_their_text() {
    let mut query = "{ me { ...F0 } }".to_owned();
    for n in 0..30 {
        query += &format!(" fragment F{n} on User {{ ...F{} ...F{} }}", n + 1, n + 1);
    }
    query += " fragment F30 on User { id }";
    assert_eq!(id(&query), "graphql_size");
    let mut query = "{ me { ...F0 } }".to_owned();
    for n in 0..30 {
        query += &format!(
            " fragment F{n} on User {{ a: friends {{ ...F{0} }} b: friends {{ ...F{0} }} }}",
            n + 1
        );
    }
    query += " fragment F30 on User { id }";
    assert_eq!(id(&query), "graphql_size");
    // Each way to combine names of fields is another place where fields come together.
    let mut query = "{ me { ...G0 ...M0 } }".to_owned();
    for n in 0..12 {
        let next = n + 1;
        query += &format!(
            " fragment G{n} on User {{ x: friends {{ ...G{next} ...M{next} }} y: friends {{ ...G{next} }} }} \
             fragment M{n} on User {{ x: friends {{ ...M{next} }} y: friends {{ ...M{next} id }} }}"
        );
    }
    query += " fragment G12 on User { id } fragment M12 on User { id }";
    assert_eq!(id(&query), "graphql_size");
}

#[test]
fn types_in_types_make_no_more_places_than_are_looked_at() {
    // Below each step it is another set of fields for whoever went left and for whoever went right.
    let steps = |many: usize| {
        let mut query = "id".to_owned();
        for below in 0..many {
            let way = |key: &str| {
                let (open, close) = ("next { ".repeat(below), "}".repeat(below));
                format!("next {{ {open} {key}: id {close} }}")
            };
            query = format!(
                "next {{ {query} }} ... on Left {{ {} }} ... on Right {{ {} }}",
                way(&format!("l{below}")),
                way(&format!("r{below}")),
            );
        }
        format!("{{ step {{ {query} }} }}")
    };
    let wide = r#", "depth": 50, "aliases": 1000, "cost": 100000"#;
    let ask = |many: usize| ask_with(wide, &steps(many), &Value::Null, ADMIN).map_err(|it| it.id);
    assert!(ask(6).is_ok());
    for many in [14, 20, 35] {
        assert_eq!(ask(many).unwrap_err(), "graphql_size", "{many}");
    }
    // Where fields come together, their lists are the same.
    for (first, second, passes) in [
        ("[1]", "[1]", true),
        ("[1]", "[1, 2]", false),
        ("[]", "[1]", false),
        ("[1, 2]", "[1]", false),
        ("null", "[1]", false),
    ] {
        for query in [
            "{ step { next(all: FIRST) { id } next(all: SECOND) { id } } }",
            "{ step { next(all: FIRST) { id } ... on Left { next(all: SECOND) { id } } } }",
            "{ step { next { next(all: FIRST) { id } } ...F } } fragment F on Step { next { next(all: SECOND) { id } } }",
        ] {
            let query = query.replace("FIRST", first).replace("SECOND", second);
            let said = ask_with("", &query, &Value::Null, ADMIN);
            assert_eq!(said.is_ok(), passes, "{query}");
        }
    }
    let apart = "{ step { ... on Left { next(all: [1]) { id } } ... on Right { next(all: [1, 2]) { id } } } }";
    assert!(ask_with("", apart, &Value::Null, ADMIN).is_ok());
}

#[test]
fn what_stands_in_itself_ends_nowhere_but_in_a_refusal() {
    let nested = |open: &str, times: usize, close: &str| {
        format!("{{ me {{ {}id{} }} }}", open.repeat(times), close.repeat(times))
    };
    assert_eq!(id(&nested("friends{", 200, "}")), "graphql_depth");
    assert_eq!(id(&nested("...{", 64, "}")), "graphql_depth");
    assert_eq!(id(&nested("... on User{", 1000, "}")), "graphql_depth");
    assert_eq!(id(&nested("...{", 9000, "}")), "graphql_size");
    let mut chain = "{ me { ...F0 } }".to_owned();
    for n in 0..600 {
        chain += &format!(" fragment F{n} on User{{...F{}}}", n + 1);
    }
    chain += " fragment F600 on User{id}";
    assert_eq!(id(&chain), "graphql_depth");
    // Also where nothing uses it, and where the ends are read first.
    let mut chain = "{ me { id } }".to_owned();
    for n in (0..600).rev() {
        chain += &format!(" fragment F{n} on User{{...F{}}}", n + 1);
    }
    assert_eq!(id(&chain), "graphql_depth");
    for (open, close) in [("[", "]"), ("{a:", "}")] {
        let value = format!("{}1{}", open.repeat(1000), close.repeat(1000));
        assert_eq!(id(&format!("{{ user(id: {value}) {{ id }} }}")), "graphql_depth");
    }
    let open = "{".repeat(100_000);
    assert!(["graphql_size", "graphql_depth"].contains(&id(&open)));
}

#[test]
fn floods_of_small_things_are_refused() {
    for flood in [
        format!("{{ me {{ {} }} }}", "__typename ".repeat(10_000)),
        format!("{{ me {{ id {} }} }}", "@include(if: true) ".repeat(10_000)),
        format!("{{ {} }}", (0..10_000).map(|n| format!("a{n}: me {{ id }} ")).collect::<String>()),
        format!(
            "query({}) {{ me {{ id }} }}",
            (0..10_000).map(|n| format!("$a{n}: Int ")).collect::<String>()
        ),
        "#\n".repeat(20_000),
        "\u{0}".repeat(20_000),
        "é".repeat(20_000),
        ",".repeat(20_000),
    ] {
        assert_eq!(id(&flood), "graphql_size", "{}", &flood[..20]);
    }
    let fields = format!("{{ me {{ {} }} }}", "id ".repeat(2900));
    assert_eq!(ask_with(r#", "cost": 10000"#, &fields, &Value::Null, ADMIN).unwrap().cost, 2901);
    // Mistakes are told, but not all of them, and not all of each.
    let wrong = ask(&format!("{{ {} }}", "no ".repeat(3000))).unwrap_err();
    assert_eq!((wrong.id, wrong.told.len()), ("graphql_invalid", 10));
    let long = "x".repeat(500_000);
    let wrong = ask(&format!("{{ {long} }}")).unwrap_err();
    assert!(wrong.body("t").to_string().len() < 1000);
    let text = "x".repeat(500_000);
    assert!(ask(&format!("{{ user(id: \"{text}\") {{ id }} }}")).is_ok());
}

#[test]
fn limits_hold_at_exactly_ten_thirty_and_ten() {
    let deep = |levels: usize| {
        format!(
            "{{ me {{ {}id{} }} }}",
            "friends(first: 1) {".repeat(levels - 2),
            "}".repeat(levels - 2)
        )
    };
    assert!(ask(&deep(10)).is_ok());
    assert_eq!(id(&deep(11)), "graphql_depth");
    // The same through fragments.
    let spread = "{ me { ...A } } fragment A on User { friends(first: 1) { friends(first: 1) { ...B } } } \
                  fragment B on User { friends(first: 1) { friends(first: 1) { friends(first: 1) { \
                  friends(first: 1) { friends(first: 1) { DEEPER } } } } } }";
    assert!(ask(&spread.replace("DEEPER", "... on User { ... { id } }")).is_ok());
    assert_eq!(id(&spread.replace("DEEPER", "friends { friends { id } }")), "graphql_depth");
    let names = |many: usize| {
        let all: String = (0..many).map(|n| format!("a{n}: __typename ")).collect();
        format!("{{ {all} }}")
    };
    assert!(ask(&names(30)).is_ok());
    assert_eq!(id(&names(31)), "graphql_aliases");
    // A fragment counts as often as it stands.
    let thrice = "{ a: me { ...F } b: me { ...F } me { ...F } } fragment F on User { NAMES id }";
    let of = |many: usize| (0..many).map(|n| format!("n{n}: id ")).collect::<String>();
    assert!(ask(&thrice.replace("NAMES", &of(9))).is_ok());
    assert_eq!(id(&thrice.replace("NAMES", &of(10))), "graphql_aliases");
    let endpoint = Endpoint::new(&set(""));
    let batch = |many: usize, query: &str| {
        let all = vec![json!({"query": query}); many];
        judged(&endpoint, json!(all).to_string().as_bytes(), ADMIN)
    };
    let passed = batch(10, "{ me { id } }").unwrap();
    assert_eq!(sent(&passed).as_array().unwrap().len(), 10);
    assert_eq!(batch(11, "{ me { id } }").unwrap_err().id, "graphql_batch");
    assert_eq!(batch(100_000, "{").unwrap_err().id, "graphql_batch");
    // What comes together is counted together: ten times three names are thirty.
    assert!(batch(10, "{ a: me { id } b: me { id } c: me { id } }").is_ok());
    let four = "{ a: me { id } b: me { id } c: me { id } d: me { id } }";
    assert_eq!(batch(10, four).unwrap_err().id, "graphql_aliases");
    let large = format!("{{ me {{ {} }} }}", "id ".repeat(370));
    let wide = Endpoint::new(&set(r#", "cost": 100000"#));
    let batch_of = |many: usize| {
        let all = vec![json!({"query": large}); many];
        judged(&wide, json!(all).to_string().as_bytes(), ADMIN)
    };
    assert!(batch_of(8).is_ok());
    assert_eq!(batch_of(9).unwrap_err().id, "graphql_size");
    assert!(batch(1, "{ dear }").is_ok());
    assert_eq!(batch(2, "{ dear }").unwrap_err().id, "graphql_cost");
    let none = Endpoint::new(&set(r#", "batch": 0"#));
    let one = json!([{"query": "{ me { id } }"}]).to_string();
    assert_eq!(judged(&none, one.as_bytes(), ADMIN).unwrap_err().id, "graphql_batch");
}

#[test]
fn what_is_no_request_is_refused() {
    let endpoint = Endpoint::new(&set(""));
    let query = r#""query": "{ me { id } }""#;
    for body in [
        String::new(),
        "null".into(),
        "1".into(),
        "[]".into(),
        "{}".into(),
        "[[]]".into(),
        format!("[[{{{query}}}]]"),
        r#"[["{ me { id } }", null, null, null]]"#.into(),
        format!("{{{query}}}{{{query}}}"),
        format!("{{{query}, {query}}}"),
        r#"{"query": "{ me { email } }", "qu\u0065ry": "{ me { id } }"}"#.into(),
        format!(r#"{{{query}, "variables": []}}"#),
        format!(r#"{{{query}, "variables": "{{}}"}}"#),
        format!(r#"{{{query}, "variables": {{}}, "variables": {{}}}}"#),
        format!(r#"{{{query}, "operationName": 1}}"#),
        format!(r#"{{{query}, "extensions": 1}}"#),
        r#"{"query": ["{ me { id } }"]}"#.into(),
        r#"{"query": {"text": "{ me { id } }"}}"#.into(),
        format!("\u{feff}{{{query}}}"),
        format!(r#"{{{query}, "variables": {{"a": {}1{}}}}}"#, "[".repeat(1000), "]".repeat(1000)),
        format!(r#"[{{{query}}}, {{}}]"#),
        format!(r#"[{{{query}}}, null]"#),
    ] {
        let wrong = judged(&endpoint, body.as_bytes(), ADMIN).unwrap_err();
        assert_eq!(wrong.id, "graphql_malformed", "{body}");
    }
    let deep =
        format!(r#"{{{query}, "variables": {{"a": {}1{}}}}}"#, "[".repeat(40), "]".repeat(40));
    assert_eq!(judged(&endpoint, deep.as_bytes(), ADMIN).unwrap_err().id, "graphql_variables");
    assert_eq!(
        judged(&endpoint, b"{\"query\": \"\xff\"}", ADMIN).unwrap_err().id,
        "graphql_malformed"
    );
    let hash = r#"{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "x"}}}"#;
    let wrong = judged(&endpoint, hash.as_bytes(), ADMIN).unwrap_err();
    assert_eq!(
        (wrong.id, &*wrong.told[0].0),
        ("graphql_persisted_query", "PersistedQueryNotSupported")
    );
    for (query, id_) in [
        ("", "graphql_syntax"),
        ("{", "graphql_syntax"),
        ("{ me { id } } {", "graphql_syntax"),
        ("{ no }", "graphql_invalid"),
        ("{ me { id } } type A { a: Int }", "graphql_invalid"),
        ("fragment A on User { id }", "graphql_operation"),
        ("{ me { id } } { me { id } }", "graphql_operation"),
        ("query A { me { id } } query A { me { id } }", "graphql_operation"),
        ("{ me { ...A } } fragment A on User { id } fragment A on User { id }", "graphql_invalid"),
        ("{ me { id @defer } }", "graphql_invalid"),
        ("{ ... @defer { me { id } } }", "graphql_invalid"),
        ("subscription { ticks }", "graphql_subscription"),
    ] {
        assert_eq!(id(query), id_, "{query}");
    }
    for (name, passes) in [("A", true), ("C", false), ("", false), ("a", false)] {
        let body =
            json!({"query": "query A { me { id } } query B { me { id } }", "operationName": name});
        assert_eq!(judged(&endpoint, body.to_string().as_bytes(), ADMIN).is_ok(), passes, "{name}");
    }
    let at = ask("{\n  me { id }\n  no }").unwrap_err();
    assert_eq!(at.told[0].1, Some((3, 3)), "{at:?}");
}

#[test]
fn what_is_not_sent_as_json_is_no_request() {
    let endpoint = Endpoint::new(&set(""));
    let body = br#"{"query": "{ me { id } }"}"#;
    let with = |fields: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let request = Request { method: &Method::POST, headers: &headers, query: None, body };
        endpoint.judge(&request, ADMIN).map_err(|wrong| (wrong.status.as_u16(), wrong.id))
    };
    for kind in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json;",
    ] {
        assert!(with(&[("content-type", kind)]).is_ok(), "{kind}");
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; boundary=x",
        "application/jsonx",
        "text/plain; application/json",
        "",
    ] {
        assert_eq!(
            with(&[("content-type", kind)]).unwrap_err(),
            (415, "graphql_media_type"),
            "{kind}"
        );
    }
    let json = ("content-type", "application/json");
    assert!(with(&[]).is_err() && with(&[json, json]).is_err());
    assert!(with(&[json, ("content-encoding", "identity")]).is_ok());
    assert!(with(&[json, ("content-encoding", "gzip")]).is_err());
    for method in [Method::PUT, Method::HEAD, Method::DELETE, Method::OPTIONS] {
        let request = Request { method: &method, headers: &HeaderMap::new(), query: None, body };
        assert_eq!(endpoint.judge(&request, ADMIN).unwrap_err().id, "graphql_method");
    }
}

fn get(query: &str) -> Result<Judged, &'static str> {
    let headers = HeaderMap::new();
    let query = Some(query);
    let request = Request { method: &Method::GET, headers: &headers, query, body: b"" };
    Endpoint::new(&set("")).judge(&request, ADMIN).map_err(|wrong| wrong.id)
}

#[test]
fn a_mutation_by_get_is_refused() {
    let judged =
        get("query=query+A(%24n:Int)%7Busers(first:%24n)%7Bid%7D%7D&variables=%7B%22n%22:2%7D")
            .unwrap();
    assert_eq!(
        sent(&judged),
        json!({"query": "query A($n: Int) { users(first: $n) { id } }", "operationName": "A", "variables": {"n": 2}})
    );
    assert_eq!(
        get("query=mutation%7Brename(name:%22x%22)%7Bid%7D%7D").unwrap_err(),
        "graphql_mutation_by_get"
    );
    let both = "query=query%20A%7Bme%7Bid%7D%7D%20mutation%20B%7Brename(name:%22x%22)%7Bid%7D%7D";
    assert!(get(&format!("{both}&operationName=A")).is_ok());
    assert_eq!(get(&format!("{both}&operationName=B")).unwrap_err(), "graphql_mutation_by_get");
    assert_eq!(
        get(&format!("{both}&operationName=A&operationName=B")).unwrap_err(),
        "graphql_malformed"
    );
    for bad in [
        "",
        "query",
        "query=%7Bme%7Bid%7D%7D&query=x",
        "query=%ff",
        "query=%zz",
        "query=%7",
        "variables=%7B",
    ] {
        let refused = get(bad).unwrap_err();
        assert!(["graphql_malformed", "graphql_syntax"].contains(&refused), "{bad}: {refused}");
    }
    assert_eq!(
        get("extensions=%7B%22persistedQuery%22:%7B%7D%7D").unwrap_err(),
        "graphql_persisted_query"
    );
}

#[test]
fn a_body_and_a_query_are_not_both_read() {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    let body: &[u8] = br#"{"query": "{ me { id } }"}"#;
    let query = Some("query=%7Bvault%7Bgold%7D%7D");
    for method in [Method::GET, Method::POST] {
        let request = Request { method: &method, headers: &headers, query, body };
        assert_eq!(
            Endpoint::new(&set("")).judge(&request, ADMIN).unwrap_err().id,
            "graphql_malformed"
        );
    }
}

#[test]
fn an_alias_does_not_hide_a_field() {
    let customer = Rights { known: true, roles: &["customer"], scopes: &["orders.read"] };
    for query in [
        "{ me { email } }",
        "{ me { id: email } }",
        "{ me { ... on User { id ... { name2: email } } } }",
        "{ me { ...F } } fragment F on User { friends { ...G } } fragment G on User { x: email }",
        "{ me { email @skip(if: true) } }",
        "query($no: Boolean!) { me { email @include(if: $no) } }",
        "{ page { edges { node { email } } } }",
        "{ me { balance } }",
        "mutation { rename(name: \"x\") { id } }",
        "{ node(id: 1) { ... on Secret { text } } }",
        "{ node(id: 1) { ... on Secret { __typename } } }",
    ] {
        let wrong = ask_with("", query, &json!({"no": false}), customer).unwrap_err();
        assert_eq!((wrong.status.as_u16(), wrong.id), (403, "graphql_forbidden"), "{query}");
    }
    let told = ask_with("", "{ me { email balance } }", &Value::Null, customer).unwrap_err().told;
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0].0, "`User.email` is not for you");
    assert!(ask_with("", "{ me { id friends { id } } }", &Value::Null, customer).is_ok());
    // All of several, one of the roles, all of the scopes.
    let some = Rights { known: true, roles: &["admin"], scopes: &["orders.read"] };
    assert!(ask_with("", "{ me { email } }", &Value::Null, some).is_ok());
    assert!(ask_with("", "{ me { balance } }", &Value::Null, some).is_err());
    assert!(ask_with("", "{ me { balance } }", &Value::Null, ADMIN).is_ok());
    let writer = Rights { known: true, roles: &["writer"], scopes: &[] };
    assert!(ask_with("", "mutation { rename(name: \"x\") { id } }", &Value::Null, writer).is_ok());
    assert!(ask_with("", "mutation { drop }", &Value::Null, writer).is_err());
    // `@allow` alone asks for somebody.
    let vault = |rights| ask_with("", "{ vault { gold } }", &Value::Null, rights);
    assert!(vault(customer).is_ok());
    let wrong = vault(Rights::default()).unwrap_err();
    assert_eq!((wrong.status.as_u16(), wrong.id), (401, "not_authenticated"));
    // Whoever names roles and is not known has none of them.
    let nobody = Rights { known: false, roles: &["admin"], scopes: &[] };
    assert!(ask_with("", "{ me { email } }", &Value::Null, nobody).is_err());
}

#[test]
fn each_type_of_a_union_is_asked() {
    let customer = Rights { known: true, roles: &["customer"], scopes: &[] };
    let may = |query: &str, rights| ask_with("", query, &Value::Null, rights).is_ok();
    // What stands there may be a secret, whose id is for nobody else.
    assert!(!may("{ node(id: 1) { id } }", customer));
    assert!(!may("{ node(id: 1) { ... on Node { x: id } } }", customer));
    assert!(may("{ node(id: 1) { ... on User { id } } }", customer));
    assert!(may("{ node(id: 1) { __typename } }", customer));
    assert!(may("{ found(words: \"x\") { ... on User { id } } }", customer));
    assert!(!may("{ found(words: \"x\") { ... on User { id } ... on Secret { id } } }", customer));
    assert!(!may("{ found(words: \"x\") { ... on Node { id } } }", customer));
    assert!(may("{ node(id: 1) { id ... on Secret { text } } }", ADMIN));
    // What an interface asks, its objects ask, too.
    assert!(!may("{ named { name } }", customer));
    assert!(!may("{ me { name } }", customer));
    assert!(!may("{ found(words: \"x\") { ... on Named { name } } }", customer));
    let profile = Rights { known: true, roles: &[], scopes: &["profile"] };
    assert!(may("{ me { name } named { name } }", profile));
}

#[test]
fn introspection_is_for_those_who_may() {
    let operators = r#", "introspection": "operators""#;
    let customer = Rights { known: true, roles: &["customer"], scopes: &[] };
    for query in [
        "{ __schema { types { name } } }",
        "{ x: __schema { queryType { name } } }",
        "{ __type(name: \"User\") { name } }",
        "{ ...F } fragment F on Query { ... { y: __type(name: \"User\") { name } } }",
        "{ me { id } ... @include(if: false) { __schema { queryType { name } } } }",
    ] {
        for rest in ["", operators, r#", "introspection": []"#, r#", "introspection": false"#] {
            let wrong = ask_with(rest, query, &Value::Null, customer).unwrap_err();
            assert_eq!(
                (wrong.status.as_u16(), wrong.id),
                (403, "graphql_introspection"),
                "{query}"
            );
        }
        assert!(ask_with("", query, &Value::Null, ADMIN).is_err());
        assert!(ask_with(operators, query, &Value::Null, ADMIN).is_ok(), "{query}");
        let all = ask_with(r#", "introspection": true"#, query, &Value::Null, customer);
        assert!(all.is_ok(), "{query}");
    }
    let mutation = "mutation { __schema { queryType { name } } }";
    assert!(ask_with(operators, mutation, &Value::Null, ADMIN).is_err());
    assert!(ask_with("", "{ __typename me { __typename } }", &Value::Null, customer).is_ok());
    // What tools ask is deeper than ten, and passes; what multiplies does not.
    assert!(ask_with(operators, TOOLS, &Value::Null, ADMIN).is_ok());
    let many = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }";
    assert_eq!(ask_with(operators, many, &Value::Null, ADMIN).unwrap_err().id, "graphql_depth");
}

/// What graphql-js asks to build a schema.
const TOOLS: &str = "query IntrospectionQuery { __schema { description queryType { name } mutationType { name } \
    subscriptionType { name } types { ...FullType } directives { name description locations \
    args(includeDeprecated: true) { ...InputValue } } } } \
    fragment FullType on __Type { kind name description specifiedByURL fields(includeDeprecated: true) { name \
    description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated \
    deprecationReason } inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef } \
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } \
    possibleTypes { ...TypeRef } } \
    fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated \
    deprecationReason } \
    fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind \
    name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name \
    } } } } } } } } } }";

#[test]
fn cost_counts_variables_and_their_defaults() {
    let none = Value::Null;
    assert_eq!(cost("{ me { id } }", &none), 2);
    assert_eq!(cost("{ users(first: 100) { id } }", &none), 101);
    // The schema's default, and what stands for a list of which nothing is said.
    assert_eq!(cost("{ users { id } }", &none), 21);
    assert_eq!(cost("{ me { friends { id } } }", &none), 12);
    assert_eq!(cost("{ matrix { id } }", &none), 101);
    assert_eq!(
        cost("{ me { friends(first: 7) { friends(first: 3) { id } } } }", &none),
        1 + 1 + 7 * (1 + 3)
    );
    let by =
        |value: Value| cost("query($n: Int) { users(first: $n) { id } }", &json!({"n": value}));
    assert_eq!(by(json!(50)), 51);
    // `null` and 0 say nothing: then it is as if nothing were asked.
    assert_eq!((by(Value::Null), by(json!(0))), (11, 11));
    assert_eq!(cost("query($n: Int) { users(first: $n) { id } }", &none), 21);
    assert_eq!(cost("query($n: Int = 40) { users(first: $n) { id } }", &none), 41);
    assert_eq!(cost("query($n: Int = 40) { users(first: $n) { id } }", &json!({"n": 3})), 4);
    // What a connection says holds for the list in it.
    let page = "query($n: Int) { page(first: $n) { total edges { cursor node { id } } } }";
    assert_eq!(cost(page, &json!({"n": 100})), 1 + 1 + 1 + 100 * 3);
    let spread = "{ page(first: 100) { ...P } p: page(first: 5) { ...P } } fragment P on Users { edges { cursor } }";
    assert_eq!(cost(spread, &none), 1 + 1 + 100 + 1 + 1 + 5);
    assert_eq!(cost("{ nodes(ids: [1, 2, 3]) { __typename } }", &none), 4);
    assert_eq!(
        cost("query($i: [ID!]!) { nodes(ids: $i) { __typename } }", &json!({"i": [1, 2]})),
        3
    );
    assert_eq!(cost("{ dear }", &none), 900);
    let too_much = |query: &str, variables: Value| {
        ask_with("", query, &variables, ADMIN).map(|judged| judged.cost).map_err(|wrong| wrong.id)
    };
    for query in [
        "{ users(first: 1000000) { id } }",
        "{ users(first: -1) { id } }",
        "{ a: dear b: dear }",
        "{ found(words: \"x\", limit: 1e9) { ... on User { id } } }",
        "{ me { friends { friends { friends { id } } } } }",
        "query($n: Int = 1000000) { users(first: $n) { id } }",
    ] {
        assert_eq!(too_much(query, json!({})), Err("graphql_cost"), "{query}");
    }
    for n in [json!(1_000_000), json!(-1)] {
        let said = too_much("query($n: Int) { users(first: $n) { id } }", json!({"n": n}));
        assert_eq!(said, Err("graphql_cost"));
    }
    for n in [
        json!("1e9"),
        json!(1e9),
        json!(1.5),
        json!([1]),
        json!({"a": 1}),
        json!(true),
        json!(1_u64 << 40),
    ] {
        let said = too_much("query($n: Int) { users(first: $n) { id } }", json!({"n": n}));
        assert_eq!(said, Err("graphql_variables"), "{n}");
    }
    let float = "query($n: Float) { found(words: \"x\", limit: $n) { ... on User { id } } }";
    assert_eq!(too_much(float, json!({"n": 1e9})), Err("graphql_cost"));
    assert_eq!(
        too_much("query($n: Int!) { users(first: $n) { id } }", json!({})),
        Err("graphql_variables")
    );
    // A condition changes nothing.
    let unless = "query($no: Boolean!) { users(first: 5000) @include(if: $no) { id } }";
    assert_eq!(too_much(unless, json!({"no": false})), Err("graphql_cost"));
}

#[test]
fn a_caller_spends_what_requests_may_cost() {
    let endpoint = Endpoint::new(&set(r#", "cost": 100, "cost_limit": "100/m""#));
    let at = |secs: u64| SinceBoot(std::time::Duration::from_secs(1000 + secs));
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let passes = |who, cost, secs| endpoint.spend(who, address, cost, at(secs)).unwrap().passes;
    assert!(passes(Some("usr_a"), 60, 0));
    assert!(!passes(Some("usr_a"), 60, 0));
    assert!(passes(Some("usr_a"), 40, 0));
    assert!(passes(Some("usr_b"), 100, 0));
    let answer = endpoint.spend(Some("usr_b"), address, 50, at(0)).unwrap();
    assert_eq!((answer.passes, answer.seconds()), (false, 30));
    assert!(passes(Some("usr_b"), 50, 30));
    // Whoever is not known is where they come from.
    assert!(passes(None, 100, 0) && !passes(None, 1, 0));
    let other = endpoint.spend(None, "192.0.2.2".parse().unwrap(), 1, at(0)).unwrap();
    assert!(other.passes);
    let unlimited = Endpoint::new(&set(""));
    assert!(unlimited.spend(Some("usr_a"), address, u32::MAX, at(0)).is_none());
}

#[test]
fn what_is_remembered_of_one_document_never_serves_for_another() {
    let endpoint = Endpoint::new(&set(""));
    let ask = |body: Value| judged(&endpoint, body.to_string().as_bytes(), ADMIN);
    let two = "query A { me { id } } query B { me { name } }";
    for (name, field) in [("A", "id"), ("B", "name"), ("A", "id"), ("B", "name")] {
        let judged = ask(json!({"query": two, "operationName": name})).unwrap();
        assert!(sent(&judged)["query"].as_str().unwrap().contains(field));
    }
    assert!(ask(json!({"query": two})).is_err());
    // Neither does what one caller may see.
    let email = json!({"query": "{ me { email } }"});
    assert!(ask(email.clone()).is_ok());
    let customer = Rights { known: true, roles: &["customer"], scopes: &[] };
    assert!(judged(&endpoint, email.to_string().as_bytes(), customer).is_err());
    // However many there are, no more are kept than there is room for.
    for n in 0..2000 {
        let query = format!("{{ me {{ a{n}: id {} }} }}", "id ".repeat(100));
        ask(json!({"query": query})).unwrap();
    }
    assert!(endpoint.operations.weight() <= REMEMBERED, "{}", endpoint.operations.weight());
}

#[test]
fn a_schema_that_is_wrong_says_where() {
    let faults = |text: &str| match Schema::compile(text) {
        Ok(_) => panic!("{text} is taken"),
        Err(faults) => faults,
    };
    for (text, line, column, word) in [
        ("type Query {\n  a: Int\n  b Int\n}", 3, 5, ""),
        ("type Query {\n  a: Nowhere\n}", 2, 6, "Nowhere"),
        ("type Query {\n  a: Int @allow(role: \"x\")\n}", 2, 17, "role"),
        ("type Query {\n  a: Int @allow(roles: [])\n}", 2, 10, "names no role"),
        ("type Query {\n  a: Int @allow(roles: [\"Ü\"])\n}", 2, 10, "no name of a role"),
        ("type Query {\n  a: Int @allow(scopes: [\"a b\"])\n}", 2, 10, "no scope"),
        ("type Query {\n  a: Int @allow(roles: 1)\n}", 2, 24, ""),
        (
            "type Query {\n  a: Int @listSize(slicingArguments: [\"n\"])\n}",
            2,
            10,
            "no argument `n`",
        ),
        ("type Query {\n  a: Int @cost(weight: -1)\n}", 2, 10, "less than 0"),
        ("enum A @allow { B }\ntype Query { a: A }", 1, 8, "allow"),
        ("type Query { a(b: Int @allow): Int }", 1, 23, "allow"),
        ("type A { a: Int }", 1, 1, ""),
        ("{ me }", 1, 1, ""),
        ("", 1, 1, ""),
    ] {
        let faults = faults(text);
        let first = &faults[0];
        assert!(first.reason.contains(word), "{text}: {faults:?}");
        assert_eq!((first.line, first.column), (line, column), "{text}: {faults:?}");
    }
    let route: DeclaredRoute = serde_json::from_value(json!({
        "path": "/graphql/a", "service": "a", "graphql": {"schema": "type Query {\n  a: No\n}"},
    }))
    .unwrap();
    let service = DeclaredService {
        name: "a".into(),
        upstreams: vec!["http://127.0.0.1:1".into()],
        ..DeclaredService::default()
    };
    let map = ServiceMap::check(&[service], &[route]).unwrap();
    let told = check(&map, |_| true).unwrap_err().to_string();
    assert!(
        told.starts_with("[[route]] `/graphql/a`: `graphql.schema`, line 2, column 6: "),
        "{told}"
    );
    assert!(check(&map, |_| false).is_ok());
    // Where it is there all the same, nothing passes.
    let endpoint = Endpoint::new(map.routes().next().unwrap().graphql.as_ref().unwrap());
    let wrong = judged(&endpoint, br#"{"query": "{ a }"}"#, ADMIN).unwrap_err();
    assert_eq!((wrong.status.as_u16(), wrong.id), (503, "graphql_schema"));
    // One that is used elsewhere may declare the same.
    let declares = "directive @allow(roles: [String!], scopes: [String!]) on FIELD_DEFINITION | OBJECT\n\
                    type Query { a: Int @allow(roles: \"admin\") @allow }";
    assert!(Schema::compile(declares).is_ok());
}

#[test]
fn what_is_sent_on_is_judged_as_it_was_before() {
    let seeds: [&[u8]; 6] = [
        br#"{"query": "query A($n: Int = 3) { users(first: $n) { id ...F } } fragment F on User { a: name friends(first: 2) { id } }", "variables": {"n": 2}}"#,
        br#"[{"query": "{ me { id } }"}, {"query": "mutation { rename(name: \"x\") { id } }", "extensions": {}}]"#,
        br#"{"query": "{ found(words: \"\\u00e9\\n\") { __typename ... on User @skip(if: false) { email } ... on Node { id } } }"}"#,
        br#"{"query": "query B { page(first: 5) { edges { node { id ... { name } } } total } } query C { dear }", "operationName": "B"}"#,
        br#"{"query": "{ nodes(ids: [1, \"2\", null]) { ... on Secret { text } } __type(name: \"User\") { name } }", "operationName": null}"#,
        br#"{"query": "query($f: Float = -1.5e3) { found(words: \"\"\"\n a\n  b\"\"\", limit: $f) { __typename } }", "variables": {"f": 2.5}}"#,
    ];
    let endpoint = Endpoint::new(&set(r#", "introspection": "operators""#));
    let some = Rights { known: true, roles: &["customer"], scopes: &[] };
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below.max(1)).unwrap()).unwrap()
    };
    let mut passed = 0;
    for round in 0..4000 {
        let mut body = seeds[random(seeds.len())].to_vec();
        for _ in 0..random(4) {
            let (at, other) = (random(body.len()), random(body.len()));
            match random(5) {
                0 => drop(body.remove(at)),
                1 => body.insert(at, body[other]),
                2 => body.swap(at, other),
                3 => body[at] = b"{}()[]:\"\\$!@.,#0aA_\xc3\x00"[random(20)],
                _ => {
                    let part = body[at.min(other)..at.max(other)].to_vec();
                    body.splice(at..at, part);
                }
            }
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        let Ok(first) = judged(&endpoint, &body, ADMIN) else {
            // Whoever may less is told no more.
            assert!(judged(&endpoint, &body, some).is_err(), "{text}");
            continue;
        };
        passed += 1;
        assert!(first.cost <= 1000, "{text}");
        let again =
            judged(&endpoint, &first.body, ADMIN).unwrap_or_else(|it| panic!("{text}: {it:?}"));
        assert_eq!(again.body, first.body, "{round}: {text}");
        assert_eq!((again.cost, &again.names), (first.cost, &first.names), "{text}");
        if let Ok(less) = judged(&endpoint, &body, some) {
            assert_eq!(less.body, first.body, "{text}");
        }
    }
    assert!(passed > 400, "{passed}");
}
