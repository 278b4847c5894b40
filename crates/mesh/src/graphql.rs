//! A route whose bodies are GraphQL: what is looked at before a service sees them.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use tegata_core::RateLimit;

use crate::{
    declared::{AuthMode, DeclaredRoute},
    map::{Check, Rule},
    name::RoleName,
    path::Target,
};

/// The longest schema, in bytes.
pub const LARGEST_SCHEMA: usize = 256 * 1024;

/// Below which path such routes are, and nothing else is.
pub(crate) const BELOW: &str = "/graphql";

/// How many operations are counted by name.
const MOST_OPERATIONS: usize = 100;

/// The most that a bound may be.
const MOST: u32 = 1_000_000;

/// `graphql = { … }` of a `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredGraphql {
    /// Where the schema is, relative to the file that declares it. Whoever applies it reads it, and the
    /// text is kept in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_file: Option<PathBuf>,
    /// The schema, in the schema definition language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The path that the service answers at.
    #[serde(default = "upstream_path")]
    pub upstream_path: String,
    /// How deep fields stand in fields.
    #[serde(default = "ten")]
    pub depth: u32,
    /// How many fields have another name in the answer, in one request.
    #[serde(default = "thirty")]
    pub aliases: u32,
    /// How many operations come in one request. 0: none come together.
    #[serde(default = "ten")]
    pub batch: u32,
    /// What one request may cost: each field 1, as often as the lists above it are long.
    #[serde(default = "thousand")]
    pub cost: u32,
    /// What all requests of one caller may cost in a span of time, on each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_limit: Option<RateLimit>,
    /// Who may ask for the schema.
    #[serde(default, skip_serializing_if = "Introspection::is_nobody")]
    pub introspection: Introspection,
    /// Names of operations that are counted by name. All others are counted together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
}

/// Who may ask for the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Introspection {
    /// Everybody whom the route lets pass, or nobody.
    All(bool),
    /// Whoever has this role.
    Role(String),
    /// Whoever has one of these.
    Roles(Vec<String>),
}

impl Default for Introspection {
    fn default() -> Self {
        Self::All(false)
    }
}

impl Introspection {
    fn is_nobody(&self) -> bool {
        *self == Self::default()
    }
}

fn upstream_path() -> String {
    "/graphql".to_owned()
}

const fn ten() -> u32 {
    10
}

const fn thirty() -> u32 {
    30
}

const fn thousand() -> u32 {
    1000
}

impl Default for DeclaredGraphql {
    fn default() -> Self {
        Self {
            schema_file: None,
            schema: None,
            upstream_path: upstream_path(),
            depth: ten(),
            aliases: thirty(),
            batch: ten(),
            cost: thousand(),
            cost_limit: None,
            introspection: Introspection::default(),
            operations: Vec::new(),
        }
    }
}

/// What holds for the bodies of a route. Whether the schema is one is for whoever compiles it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graphql {
    /// The schema, in the schema definition language.
    pub schema: Arc<str>,
    /// The path that the service answers at.
    pub upstream_path: String,
    /// How deep fields stand in fields.
    pub depth: u32,
    /// How many fields have another name in the answer.
    pub aliases: u32,
    /// How many operations come in one request.
    pub batch: u32,
    /// What one request may cost.
    pub cost: u32,
    /// What all requests of one caller may cost in a span of time.
    pub cost_limit: Option<RateLimit>,
    /// Who may ask for the schema: whoever has one of these roles. `None`: everybody.
    pub introspection: Option<BTreeSet<RoleName>>,
    /// Operations that are counted by name.
    pub operations: BTreeSet<String>,
}

impl Graphql {
    /// Checks what a route says of it, and what the route says that does not go with it.
    pub(crate) fn check(route: &DeclaredRoute, check: &mut Check<'_>) -> Option<Self> {
        let declared = route.graphql.as_ref()?;
        let wrong = |check: &mut Check<'_>, key, reason| check.fault(Rule::Word { key, reason });
        let schema = match (&declared.schema, &declared.schema_file) {
            (Some(_), Some(_)) => {
                wrong(check, "graphql.schema", "and `schema_file` are both given: keep one");
                None
            }
            (Some(schema), None) => Some(schema),
            (None, Some(_)) => {
                wrong(
                    check,
                    "graphql.schema_file",
                    "is read by `tegata apply`, or say the text itself in `schema`",
                );
                None
            }
            (None, None) => {
                wrong(check, "graphql.schema_file", "is missing: name the file of the schema");
                None
            }
        };
        if schema.is_some_and(|schema| schema.len() > LARGEST_SCHEMA) {
            wrong(check, "graphql.schema", "is larger than 256 KiB");
        }
        let path = &declared.upstream_path;
        if Target::parse(path.as_bytes()).map_or(true, |it| it.path().as_str() != path)
            || !path.bytes().all(|it| it.is_ascii_alphanumeric() || b"/-._~".contains(&it))
        {
            wrong(
                check,
                "graphql.upstream_path",
                "must be a path of letters, digits, `-`, `.`, `_`, `~` in its normal form: `/graphql`",
            );
        }
        for (key, bound, least) in [
            ("graphql.depth", declared.depth, 1),
            ("graphql.aliases", declared.aliases, 0),
            ("graphql.batch", declared.batch, 0),
            ("graphql.cost", declared.cost, 1),
        ] {
            if !(least..=MOST).contains(&bound) {
                wrong(check, key, "is out of bounds: at most 1000000, and as a rule not 0");
            }
        }
        if declared.depth > 50 {
            wrong(check, "graphql.depth", "is 50 at most");
        }
        if declared.batch > 100 {
            wrong(check, "graphql.batch", "is 100 at most");
        }
        if declared.cost_limit.is_some_and(|limit| limit.count().get() < declared.cost) {
            wrong(
                check,
                "graphql.cost_limit",
                "is less than one request may cost (`cost`), which then would never pass",
            );
        }
        if declared.operations.len() > MOST_OPERATIONS {
            wrong(check, "graphql.operations", "holds more than 100 names");
        }
        if !declared.operations.iter().all(|name| is_name(name)) {
            wrong(
                check,
                "graphql.operations",
                "holds what is no name of an operation: letters, digits and `_`, 64 at most",
            );
        }
        if !route.methods.iter().all(|method| method == "GET" || method == "POST") {
            wrong(check, "methods", "of GraphQL are `GET` and `POST`: leave out the others");
        }
        if route.websocket {
            wrong(check, "websocket", "does not go with `graphql`: leave out one of the two");
        }
        if !route.strip_prefix {
            wrong(
                check,
                "strip_prefix",
                "says nothing beside `graphql.upstream_path`: leave it out",
            );
        }
        let roles = match &declared.introspection {
            Introspection::All(true) => None,
            Introspection::All(false) => Some(BTreeSet::new()),
            Introspection::Role(role) => {
                Some(check.names(std::slice::from_ref(role), RoleName::new))
            }
            Introspection::Roles(roles) => Some(check.names(roles, RoleName::new)),
        };
        if route.auth == AuthMode::None && roles.as_ref().is_some_and(|roles| !roles.is_empty()) {
            check.fault(Rule::NeedsAuth("graphql.introspection"));
        }
        Some(Self {
            schema: schema?.as_str().into(),
            upstream_path: path.clone(),
            depth: declared.depth,
            aliases: declared.aliases,
            batch: declared.batch,
            cost: declared.cost,
            cost_limit: declared.cost_limit,
            introspection: roles,
            operations: declared.operations.iter().cloned().collect(),
        })
    }
}

/// Whether a path is one of such a route: `/graphql/` and one segment.
pub(crate) fn is_below(path: &str) -> bool {
    let name = path.strip_prefix(BELOW).and_then(|rest| rest.strip_prefix('/'));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// A name of GraphQL (§2.1.9), short enough for a label.
fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeclaredService, ServiceMap};

    fn faults(path: &str, graphql: &str, rest: &str) -> String {
        let text = format!(r#"{{"path": "{path}", "service": "a", "graphql": {graphql}{rest}}}"#);
        let route: DeclaredRoute = serde_json::from_str(&text).unwrap();
        let service = DeclaredService {
            name: "a".into(),
            upstreams: vec!["http://127.0.0.1:1".into()],
            ..DeclaredService::default()
        };
        match ServiceMap::check(&[service], &[route]) {
            Ok(map) => {
                assert!(map.routes().next().unwrap().graphql.is_some());
                String::new()
            }
            Err(invalid) => invalid.to_string(),
        }
    }

    #[test]
    fn what_is_left_out_is_what_the_limits_are() {
        let declared: DeclaredGraphql = serde_json::from_str(r#"{"schema": "x"}"#).unwrap();
        assert_eq!(
            declared,
            DeclaredGraphql { schema: Some("x".into()), ..DeclaredGraphql::default() }
        );
        assert_eq!((declared.depth, declared.aliases, declared.batch), (10, 30, 10));
        assert_eq!(declared.introspection, Introspection::All(false));
        let route = DeclaredRoute::new("/a", "a");
        assert!(serde_json::to_value(&route).unwrap().get("graphql").is_none());
        for (text, introspection) in [
            (r#""operators""#, Introspection::Role("operators".into())),
            (r#"["a", "b"]"#, Introspection::Roles(vec!["a".into(), "b".into()])),
            ("true", Introspection::All(true)),
        ] {
            let text = format!(r#"{{"schema": "x", "introspection": {text}}}"#);
            let declared: DeclaredGraphql = serde_json::from_str(&text).unwrap();
            assert_eq!(declared.introspection, introspection);
            let again = serde_json::to_value(&declared).unwrap();
            assert_eq!(serde_json::from_value::<DeclaredGraphql>(again).unwrap(), declared);
        }
    }

    #[test]
    fn stands_below_its_path_and_nothing_else_does() {
        let schema = r#"{"schema": "type Query { a: Int }"}"#;
        assert_eq!(faults("/graphql/shop", schema, ""), "");
        for path in ["/graphql", "/graphql/a/b", "/graph", "/graphqlx/a", "/", "/a/graphql/b"] {
            assert!(faults(path, schema, "").contains("`/graphql/NAME`"), "{path}");
        }
        let service = DeclaredService {
            name: "a".into(),
            upstreams: vec!["http://127.0.0.1:1".into()],
            ..DeclaredService::default()
        };
        let plain = DeclaredRoute::new("/graphql/shop", "a");
        let refused = ServiceMap::check(&[service], &[plain]).unwrap_err().to_string();
        assert!(refused.contains("`/graphql`"), "{refused}");
    }

    #[test]
    fn what_does_not_go_with_it_is_a_fault() {
        let good = r#"{"schema": "x"}"#;
        for (graphql, rest, word) in [
            ("{}", "", "schema_file"),
            (r#"{"schema_file": "a"}"#, "", "tegata apply"),
            (r#"{"schema_file": "a", "schema": "x"}"#, "", "both"),
            (r#"{"schema": "x", "upstream_path": "graphql"}"#, "", "upstream_path"),
            (r#"{"schema": "x", "upstream_path": "/a/../b"}"#, "", "upstream_path"),
            (r#"{"schema": "x", "upstream_path": "/a?b=c"}"#, "", "upstream_path"),
            (r#"{"schema": "x", "depth": 0}"#, "", "depth"),
            (r#"{"schema": "x", "depth": 51}"#, "", "depth"),
            (r#"{"schema": "x", "batch": 101}"#, "", "batch"),
            (r#"{"schema": "x", "cost": 0}"#, "", "cost"),
            (r#"{"schema": "x", "cost": 100, "cost_limit": "99/m"}"#, "", "cost_limit"),
            (r#"{"schema": "x", "operations": ["a b"]}"#, "", "operations"),
            (r#"{"schema": "x", "operations": ["1a"]}"#, "", "operations"),
            (r#"{"schema": "x", "introspection": "Über"}"#, "", ""),
            (r#"{"schema": "x", "introspection": "a"}"#, r#", "auth": "none""#, "auth"),
            (good, r#", "methods": ["PUT"]"#, "methods"),
            (good, r#", "websocket": true"#, "websocket"),
            (good, r#", "strip_prefix": false"#, "strip_prefix"),
        ] {
            let told = faults("/graphql/a", graphql, rest);
            assert!(!told.is_empty() && told.contains(word), "{graphql}{rest}: {told}");
        }
        let large = "x".repeat(LARGEST_SCHEMA + 1);
        assert!(
            faults("/graphql/a", &format!(r#"{{"schema": "{large}"}}"#), "").contains("256 KiB")
        );
        for bad in [r#"{"schema": "x", "depths": 1}"#, r#"{"schema": "x", "introspection": 1}"#] {
            let text = format!(r#"{{"path": "/graphql/a", "service": "a", "graphql": {bad}}}"#);
            assert!(serde_json::from_str::<DeclaredRoute>(&text).is_err(), "{bad}");
        }
    }
}
