use serde_json::json;

use super::*;
use crate::{Forbid, Requirement, Rules};

const SCHEMA: &str = r#"
entity Group in [Group];
entity Color enum ["red", "green"];
entity Person in [Group] { level?: Long, name?: String, friend?: Person, home?: { city?: String, tags?: Set<String> } };
entity Paper in [Group] { owner?: Person, secret?: Bool, from?: ipaddr, price?: decimal, color?: Color, readers?: Set<Person>, due?: datetime };
action "edit";
action "view", "sign" in ["edit"] appliesTo { principal: [Person], resource: [Paper, Person], context: { mfa?: Bool, n?: Long } };
"#;

/// A set with these policies, and nothing else.
fn set(policies: &str) -> PolicySet {
    let bundle = Bundle::read([("own.cedarschema", SCHEMA)], [("some.cedar", policies)]);
    let mut rules = Rules::default();
    rules.bundle(Arc::new(bundle.unwrap_or_else(|found| panic!("{found}"))));
    PolicySet::compile(rules).unwrap()
}

/// What is asked, in the form of AuthZEN.
fn ask<'s>(set: &'s PolicySet, asked: &Value) -> Answer<'s> {
    let empty = Map::new();
    let map = |value: &'_ Value| value.as_object().cloned().unwrap_or_default();
    let of = |thing: &str| {
        let thing = asked.get(thing).unwrap_or(&Value::Null);
        let text =
            |name: &str| thing.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        (
            text("type"),
            text("id"),
            text("name"),
            map(thing.get("properties").unwrap_or(&Value::Null)),
        )
    };
    let (subject, action, resource) = (of("subject"), of("action"), of("resource"));
    let context = map(asked.get("context").unwrap_or(&Value::Null));
    drop(empty);
    set.evaluate(&Evaluation {
        subject: Thing { kind: &subject.0, id: &subject.1, properties: &subject.3 },
        action: &action.2,
        action_properties: &action.3,
        resource: Thing { kind: &resource.0, id: &resource.1, properties: &resource.3 },
        context: &context,
        now: None,
    })
}

fn base() -> Value {
    json!({
        "subject": {"type": "Person", "id": "p"},
        "action": {"name": "view"},
        "resource": {"type": "Paper", "id": "d"},
    })
}

/// The base, with something at a place, as in `/subject/properties/level`.
fn with(pointer: &str, value: Value) -> Value {
    let mut asked = base();
    let mut at = &mut asked;
    for name in pointer.split('/').skip(1) {
        at = at.as_object_mut().unwrap().entry(name).or_insert_with(|| json!({}));
    }
    *at = value;
    asked
}

fn reason(set: &PolicySet, asked: &Value) -> Option<ReasonId> {
    ask(set, asked).reason
}

const ALL: &str = "permit (principal, action, resource);";

#[test]
fn says_which_policies_determined_it() {
    let set = set(
        "@id(\"b\") permit (principal, action, resource);\n@id(\"a\") permit (principal == Person::\"p\", action in Action::\"edit\", resource);\n@id(\"c\") forbid (principal, action == Action::\"sign\", resource);\n@id(\"d\") forbid (principal, action, resource is Paper) when { resource has secret && resource.secret };",
    );
    let by = |asked: &Value| {
        let answer = ask(&set, asked);
        (answer.reason, answer.policies.iter().map(|policy| policy.id.as_str()).collect::<Vec<_>>())
    };
    assert_eq!(by(&base()), (None, vec!["b", "a"]));
    let forbids = Some(ReasonId::PolicyForbids);
    assert_eq!(by(&with("/action/name", json!("sign"))), (forbids, vec!["c"]));
    assert_eq!(by(&with("/resource/properties/secret", json!(true))), (forbids, vec!["d"]));
    assert_eq!(by(&with("/resource/properties/secret", json!(false))), (None, vec!["b", "a"]));
}

#[test]
fn what_no_policy_permits_is_denied() {
    let set = set("permit (principal, action, resource) when { context has mfa && context.mfa };");
    assert_eq!(reason(&set, &base()), Some(ReasonId::NoPolicy));
    assert_eq!(reason(&set, &with("/context/mfa", json!(true))), None);
    assert_eq!(reason(&self::set(""), &base()), Some(ReasonId::NoPolicy));
    assert_eq!(reason(&PolicySet::default(), &base()), Some(ReasonId::UnknownType));
    let own = json!({
        "subject": {"type": "user", "id": "u"},
        "action": {"name": "GET"},
        "resource": {"type": "route", "id": "x:/"},
    });
    assert_eq!(reason(&PolicySet::default(), &own), Some(ReasonId::NoRule));
}

#[test]
fn types_and_actions_that_nobody_declared_are_denied_by_name() {
    let set = set(ALL);
    for (pointer, value, expected) in [
        ("/subject/type", "Nobody", ReasonId::UnknownType),
        ("/subject/type", "", ReasonId::UnknownType),
        ("/subject/type", "Person::\"p\"", ReasonId::UnknownType),
        ("/subject/type", "tegata::user", ReasonId::UnknownType),
        ("/resource/type", "Paper ", ReasonId::UnknownType),
        ("/resource/type", "Group", ReasonId::UnknownAction),
        ("/subject/type", "Paper", ReasonId::UnknownAction),
        ("/subject/type", "Tegata::User", ReasonId::UnknownAction),
        ("/action/name", "shred", ReasonId::UnknownAction),
        ("/action/name", "edit", ReasonId::UnknownAction),
        ("/action/name", "Action::\"view\"", ReasonId::UnknownAction),
        ("/action/name", "GET", ReasonId::UnknownAction),
        ("/action/name", "", ReasonId::UnknownAction),
    ] {
        let answer = ask(&set, &with(pointer, json!(value)));
        assert_eq!(answer.reason, Some(expected), "{pointer} {value}");
        assert!(answer.about.is_some());
    }
    for (pointer, value) in [("/subject/type", "person"), ("/resource/type", "PAPER")] {
        assert_eq!(reason(&set, &with(pointer, json!(value))), None);
    }
}

#[test]
fn a_name_that_two_types_share_has_to_be_whole() {
    let schema = "namespace A { entity User, Post; } namespace B { entity user, Paper; }";
    let bundle = Bundle::read([("a", schema)], [("b", ALL)]).unwrap();
    for (name, expected) in [
        ("user", None),
        ("User", None),
        ("USER", None),
        ("A::User", Some("A::User")),
        ("B::user", Some("B::user")),
        ("a::user", None),
        ("Tegata::User", Some("Tegata::User")),
        ("post", Some("A::Post")),
        ("ROLE", Some("Tegata::Role")),
    ] {
        let found = bundle.words.entity_type(name).map(ToString::to_string);
        assert_eq!(found.as_deref(), expected, "{name}");
    }
    // What an installation declares itself comes first.
    let schema = "namespace Shop { entity User, Role; }";
    let bundle = Bundle::read([("a", schema)], [("b", ALL)]).unwrap();
    for (name, expected) in
        [("user", "Shop::User"), ("role", "Shop::Role"), ("client", "Tegata::Client")]
    {
        assert_eq!(bundle.words.entity_type(name).unwrap().to_string(), expected);
    }
}

#[test]
fn a_value_of_another_type_is_refused_and_never_passed_over() {
    let set = set(ALL);
    let long = "9".repeat(40);
    for (pointer, value) in [
        ("/subject/properties/level", json!("3")),
        ("/subject/properties/level", json!(3.5)),
        ("/subject/properties/level", json!(9_223_372_036_854_775_808_u64)),
        ("/subject/properties/level", serde_json::from_str(&long).unwrap()),
        ("/subject/properties/level", json!([3])),
        ("/subject/properties/level", json!({"__extn": {"fn": "decimal", "arg": "1.0"}})),
        ("/subject/properties/name", json!(3)),
        ("/subject/properties/name", json!({"__entity": {"type": "Person", "id": "p"}})),
        ("/subject/properties/name", json!({"__expr": "\"x\""})),
        ("/subject/properties/friend", json!({"type": "Group", "id": "g"})),
        ("/subject/properties/friend", json!({"type": "Person"})),
        ("/subject/properties/friend", json!(3)),
        ("/subject/properties/home", json!("Kyoto")),
        ("/subject/properties/home/city", json!(3)),
        ("/subject/properties/home/tags", json!(["a", 3])),
        ("/subject/properties/home/tags", json!([null])),
        ("/resource/properties/secret", json!("true")),
        ("/resource/properties/secret", json!(1)),
        ("/resource/properties/from", json!("10.0.0.300")),
        ("/resource/properties/from", json!("10.0.0.1 || true")),
        ("/resource/properties/from", json!("")),
        ("/resource/properties/price", json!("1.23456")),
        ("/resource/properties/price", json!(1.5)),
        ("/resource/properties/due", json!("tomorrow")),
        ("/resource/properties/color", json!("blue")),
        ("/resource/properties/readers", json!([{"type": "Paper", "id": "x"}])),
        ("/resource/properties/readers", json!(vec![json!("p"); 10_001])),
        ("/context/mfa", json!("yes")),
        ("/action/properties/n", json!("1")),
        ("/subject/properties/parents", json!("g")),
        ("/subject/properties/parents", json!([{"type": "Paper", "id": "x"}])),
        ("/subject/properties/parents", json!([{"type": "Nothing", "id": "x"}])),
        ("/subject/properties/parents", json!([{"type": "Person", "id": "p"}])),
        ("/subject/properties/parents", json!(["g"])),
    ] {
        let answer = ask(&set, &with(pointer, value.clone()));
        assert_eq!(answer.reason, Some(ReasonId::InvalidValue), "{pointer} {value}");
        let about = answer.about.unwrap();
        let path = pointer.trim_start_matches('/').replace('/', ".");
        assert!(path.starts_with(&about), "{about} {path}");
    }
    for (pointer, value) in [
        ("/subject/properties/level", json!(i64::MIN)),
        ("/subject/properties/level", json!(null)),
        ("/subject/properties/nothing", json!({"of": ["this", 1.5]})),
        ("/subject/properties/home", json!({"city": "Kyoto", "else": 1})),
        ("/subject/properties/friend", json!("q")),
        ("/subject/properties/friend", json!({"type": "person", "id": "q"})),
        ("/resource/properties/from", json!("2001:db8::/32")),
        ("/resource/properties/price", json!("1.2345")),
        ("/resource/properties/due", json!("2026-11-23T12:00:00Z")),
        ("/resource/properties/readers", json!(vec![json!("p"); 9_000])),
        ("/subject/properties/parents", json!([{"type": "group", "id": "g"}])),
        ("/context/unheard", json!("of")),
    ] {
        assert_eq!(reason(&set, &with(pointer, value.clone())), None, "{pointer} {value}");
    }
}

#[test]
fn an_error_in_a_forbid_denies_and_says_so() {
    // One that overflows, and one that reads what is declared, and not said.
    let policies = "permit (principal, action, resource);\n@id(\"sum\") forbid (principal, action, resource) when { context has n && context.n + 1 < 0 };\n@id(\"permit-sum\") permit (principal, action, resource) when { context has n && context.n + 1 > 0 };";
    let set = set(policies);
    let answer = ask(&set, &with("/context/n", json!(i64::MAX)));
    assert_eq!(answer.reason, Some(ReasonId::PolicyError));
    assert_eq!(
        answer.policies.iter().map(|policy| policy.id.as_str()).collect::<Vec<_>>(),
        ["sum"]
    );
    assert_eq!(ask(&set, &with("/context/n", json!(1))).policies.len(), 2);

    let schema =
        "entity A { x: Long }; entity B; action \"a\" appliesTo { principal: [A], resource: [B] };";
    let forbid = "permit (principal, action, resource); @id(\"f\") forbid (principal is A, action, resource) when { principal.x > 3 };".replace("; @", ";\n@");
    let bundle = Bundle::read([("a", schema)], [("b", forbid.as_str())]).unwrap();
    let mut rules = Rules::default();
    rules.bundle(Arc::new(bundle));
    let set = PolicySet::compile(rules).unwrap();
    let asked = json!({"subject": {"type": "A", "id": "a"}, "action": {"name": "a"}, "resource": {"type": "B", "id": "b"}});
    assert_eq!(reason(&set, &asked), Some(ReasonId::PolicyError));
    let asked = json!({"subject": {"type": "A", "id": "a", "properties": {"x": 3}}, "action": {"name": "a"}, "resource": {"type": "B", "id": "b"}});
    assert_eq!(reason(&set, &asked), None);
}

#[test]
fn what_is_said_of_an_action_counts_as_the_context_and_cannot_contradict_it() {
    let set = set("permit (principal, action, resource) when { context has n && context.n == 1 };");
    assert_eq!(reason(&set, &with("/action/properties/n", json!(1))), None);
    let mut both = with("/action/properties/n", json!(1));
    both["context"] = json!({"n": 1});
    assert_eq!(reason(&set, &both), None);
    both["context"] = json!({"n": 2});
    assert_eq!(reason(&set, &both), Some(ReasonId::InvalidValue));
    both["context"] = json!({"n": null});
    assert_eq!(reason(&set, &both), None);
}

#[test]
fn things_that_are_in_each_other_or_are_the_same_are_found() {
    let set = set(
        "permit (principal in Group::\"g\", action, resource in Group::\"h\");\npermit (principal, action, resource is Person) when { principal == resource && principal has level && principal.level == 1 };",
    );
    let group = |id: &str| json!([{"type": "Group", "id": id}]);
    let mut asked = with("/subject/properties/parents", group("g"));
    assert_eq!(reason(&set, &asked), Some(ReasonId::NoPolicy));
    asked["resource"]["properties"] = json!({"parents": group("h")});
    assert_eq!(reason(&set, &asked), None);
    asked["resource"]["properties"] = json!({"parents": group("g")});
    assert_eq!(reason(&set, &asked), Some(ReasonId::NoPolicy));

    let same = |subject: Value, resource: Value| {
        json!({
            "subject": {"type": "Person", "id": "p", "properties": subject},
            "action": {"name": "view"},
            "resource": {"type": "Person", "id": "p", "properties": resource},
        })
    };
    assert_eq!(reason(&set, &same(json!({"level": 1}), json!({}))), None);
    assert_eq!(reason(&set, &same(json!({}), json!({"level": 1}))), None);
    assert_eq!(reason(&set, &same(json!({"level": 1}), json!({"level": 1}))), None);
    let twice = same(json!({"level": 1}), json!({"level": 2}));
    assert_eq!(reason(&set, &twice), Some(ReasonId::InvalidValue));
}

#[test]
fn memberships_that_go_round_are_refused() {
    let schema = "entity A in [B]; entity B in [A]; action \"a\" appliesTo { principal: [A], resource: [B] };";
    let mut rules = Rules::default();
    rules.bundle(Arc::new(Bundle::read([("a", schema)], [("b", ALL)]).unwrap()));
    let set = PolicySet::compile(rules).unwrap();
    let asked = |round: bool| {
        let up = json!({"parents": [{"type": "B", "id": "b"}]});
        let down = if round { json!({"parents": [{"type": "A", "id": "a"}]}) } else { json!({}) };
        json!({
            "subject": {"type": "A", "id": "a", "properties": up},
            "action": {"name": "a"},
            "resource": {"type": "B", "id": "b", "properties": down},
        })
    };
    assert_eq!(reason(&set, &asked(false)), None);
    assert_eq!(reason(&set, &asked(true)), Some(ReasonId::InvalidValue));
}

#[test]
fn what_one_is_in_may_be_the_other_which_is_in_more() {
    let schema = "entity A in [B]; entity B in [C]; entity C; action \"a\" appliesTo { principal: [A, B], resource: [A, B] };";
    let policies = "permit (principal in C::\"c\", action, resource is B);\npermit (principal is B, action, resource in C::\"c\");";
    let mut rules = Rules::default();
    rules.bundle(Arc::new(Bundle::read([("a", schema)], [("b", policies)]).unwrap()));
    let set = PolicySet::compile(rules).unwrap();
    let a = json!({"type": "A", "id": "a", "properties": {"parents": [{"type": "B", "id": "b"}]}});
    let b = json!({"type": "B", "id": "b", "properties": {"parents": [{"type": "C", "id": "c"}]}});
    let name = json!({"name": "a"});
    assert_eq!(reason(&set, &json!({"subject": a, "action": name, "resource": b})), None);
    assert_eq!(reason(&set, &json!({"subject": b, "action": name, "resource": a})), None);
}

#[test]
fn a_route_is_answered_as_the_gateway_answers() {
    let mut rules = Rules::default();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let requirement = Requirement {
        roles: names(&["clerk"]),
        scopes: names(&["orders.read"]),
        methods: names(&["GET", "PURGE"]),
        ..Requirement::default()
    };
    rules.permit("orders", "/orders:all", requirement);
    rules.forbid(Forbid { principals: names(&["mallory"]), ..Forbid::named("no-mallory") });
    let policy = "@id(\"no-hidden\") forbid (principal, action, resource in Tegata::Service::\"orders\") when { context.path like \"*/hidden*\" };";
    rules.bundle(Arc::new(Bundle::read([], [("a", policy)]).unwrap()));
    let set = PolicySet::compile(rules).unwrap();
    let asked = |id: &str, name: &str, path: &str| {
        json!({
            "subject": {"type": "user", "id": id, "properties": {"roles": ["clerk"]}},
            "action": {"name": name},
            "resource": {"type": "Tegata::Route", "id": "orders:/orders:all"},
            "context": {"scopes": ["orders.read"], "path": path, "method": "PURGE"},
        })
    };
    assert_eq!(reason(&set, &asked("alice", "GET", "/orders:all")), None);
    assert_eq!(reason(&set, &asked("alice", "other", "/orders:all")), None);
    assert_eq!(reason(&set, &asked("mallory", "GET", "/")), Some(ReasonId::Forbidden));
    assert_eq!(reason(&set, &asked("alice", "DELETE", "/")), Some(ReasonId::MethodNotAllowed));
    let hidden = asked("alice", "GET", "/orders:all/hidden");
    let hidden = ask(&set, &hidden);
    assert_eq!(hidden.reason, Some(ReasonId::PolicyForbids));
    assert_eq!(hidden.policies[0].id.as_str(), "no-hidden");
    assert_eq!(hidden.rule.unwrap().as_str(), "orders:/orders:all");
    let mut other = asked("alice", "GET", "/");
    other["subject"]["properties"] = json!({"roles": ["admin"]});
    assert_eq!(reason(&set, &other), Some(ReasonId::MissingRole));
    other["subject"]["properties"] = json!({"roles": "clerk"});
    assert_eq!(reason(&set, &other), Some(ReasonId::InvalidValue));
    other["subject"] = json!({"type": "anonymous", "id": "", "properties": {"roles": ["clerk"]}});
    assert_eq!(reason(&set, &other), Some(ReasonId::NotAuthenticated));
    for (name, value) in
        [("scopes", json!("a")), ("acr", json!(1)), ("auth_age", json!(-1)), ("ip", json!("x"))]
    {
        let mut other = asked("alice", "GET", "/");
        other["context"][name] = value;
        assert_eq!(ask(&set, &other).about, Some(format!("context.{name}")));
    }
    let mut both = asked("alice", "GET", "/");
    both["action"]["properties"] = json!({"scopes": ["orders.write"]});
    assert_eq!(ask(&set, &both).about.as_deref(), Some("action.properties.scopes"));
    both["context"]["scopes"] = json!(null);
    assert_eq!(reason(&set, &both), Some(ReasonId::MissingScope));
    both["action"]["properties"] = json!({"scopes": ["orders.read"]});
    assert_eq!(reason(&set, &both), None);
    let mut get = asked("alice", "other", "/");
    get["context"]["method"] = json!("GET");
    assert_eq!(ask(&set, &get).about.as_deref(), Some("context.method"));

    let mut nowhere = asked("alice", "GET", "/");
    for id in ["orders:/", "orders", "", "orders:/orders:all ", ":", "x:/orders:all"] {
        nowhere["resource"]["id"] = json!(id);
        assert_eq!(reason(&set, &nowhere), Some(ReasonId::NoRule), "{id}");
    }
}
